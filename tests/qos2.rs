//! QoS 2 [MQTT §4.3.3] [MQTT5 §4.3.3]: PUBREC, PUBREL and PUBCOMP in both directions.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::reason::ReasonCode;
use table::*;

/// Ann publishes, Bob has subscribed at QoS 2; the sessions of both last.
fn ann_and_bob(version: ProtocolVersion) -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let ann = comes(&mut t, version, "ann");
    let bob = comes(&mut t, version, "bob");
    t.sends(bob, subscribe(1, "tea/#", 2));
    t.gets(bob, suback(1, &[2]));
    (t, ann, bob)
}

/// Somebody connects, to the session there is if there is one.
fn comes(t: &mut Table, version: ProtocolVersion, name: &str) -> Seat {
    t.connects(version, connect(name).lasting(1000))
}

/// Ann publishes at QoS 2, from the first packet to the last.
fn publishes(t: &mut Table, ann: Seat, topic: &str, payload: &str) {
    t.sends(ann, publish(topic, payload).qos2(77));
    t.gets(ann, pubrec(77));
    t.sends(ann, pubrel(77));
    t.gets(ann, pubcomp(77));
}

fn not_found(answer: Say, sentence: &str) -> Say {
    answer
        .reason(ReasonCode::PacketIdentifierNotFound)
        .because(sentence)
}

const NOT_IN_FLIGHT: &str = "no message with this Packet Identifier is in flight";
const NOT_HELD: &str = "no message with this Packet Identifier waits to be released";

#[test]
fn a_message_is_passed_on_once_until_it_is_released() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, publish("tea", "hot").qos2(7));
        t.gets(ann, pubrec(7)); // [MQTT-4.3.3-2] [MQTT5-4.3.3-8]
        t.gets(bob, publish("tea", "hot").qos2(1));
        // [MQTT-4.3.3-2] [MQTT5-4.3.3-10]: with DUP and, from a careless client, without.
        for again in [
            publish("tea", "hot").qos2(7).dup(),
            publish("tea", "hot").qos2(7),
        ] {
            t.sends(ann, again);
            t.gets(ann, pubrec(7));
        }
        t.silence();
        t.sends(ann, pubrel(7));
        t.gets(ann, pubcomp(7)); // [MQTT-4.3.3-2] [MQTT5-4.3.3-11] [MQTT5-3.7.2-1]
        t.sends(ann, publish("tea", "hot").qos2(7));
        t.gets(ann, pubrec(7));
        t.gets(bob, publish("tea", "hot").qos2(2)); // [MQTT-4.3.3-2] [MQTT5-4.3.3-12]
        t.silence();
    }
}

#[test]
fn a_message_released_is_new_even_with_dup() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.sends(ann, publish("tea", "hot").qos2(77).dup());
        t.gets(ann, pubrec(77));
        t.gets(bob, publish("tea", "hot").qos2(2)); // [MQTT5-4.3.3-12]
        t.silence();
    }
}

#[test]
fn an_identifier_is_held_over_a_reconnect() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, publish("tea", "hot").qos2(7));
        t.gets(ann, pubrec(7));
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.drops(ann);
        let ann = comes(&mut t, version, "ann");
        t.sends(ann, publish("tea", "hot").qos2(7).dup());
        t.gets(ann, pubrec(7)); // [MQTT-4.3.3-2] [MQTT5-4.3.3-10]
        t.silence();
        t.drops(ann);
        let ann = comes(&mut t, version, "ann");
        t.sends(ann, pubrel(7));
        t.gets(ann, pubcomp(7));
        t.drops(ann);
        let ann = comes(&mut t, version, "ann");
        t.sends(ann, pubrel(7));
        t.gets(ann, not_found(pubcomp(7), NOT_HELD)); // [MQTT5-3.7.2-1]
        t.silence();
    }
}

#[test]
fn a_clean_start_lets_go_of_identifiers() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, publish("tea", "hot").qos2(7));
        t.gets(ann, pubrec(7));
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.drops(ann);
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").qos2(7).dup());
        t.gets(ann, pubrec(7));
        t.gets(bob, publish("tea", "hot").qos2(2));
        t.silence();
    }
}

#[test]
fn qos_1_and_qos_2_of_one_identifier_are_two_messages() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, publish("tea", "two").qos2(7));
        t.gets(ann, pubrec(7));
        t.gets(bob, publish("tea", "two").qos2(1));
        t.sends(ann, publish("tea", "one").qos1(7));
        t.gets(ann, puback(7));
        t.gets(bob, publish("tea", "one").qos1(2));
        t.sends(ann, pubrel(7));
        t.gets(ann, pubcomp(7));
        t.silence();
    }
}

#[test]
fn a_refused_message_leaves_its_identifier_free() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    t.sends(ann, publish("$SYS/x", "hot").qos2(7));
    let refused = pubrec(7).reason(ReasonCode::NotAuthorized);
    t.gets(ann, refused.because("you may not publish to this topic")); // [MQTT5-3.5.2-1]
    t.sends(ann, publish("tea", "hot").qos2(7));
    t.gets(ann, pubrec(7));
    t.gets(bob, publish("tea", "hot").qos2(1)); // [MQTT5-4.3.3-9]
    t.silence();
}

#[test]
fn a_message_goes_out_in_four_packets() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        let heard = t.next(bob).unwrap();
        assert_eq!(heard[0], 0x34); // [MQTT-4.3.3-1] [MQTT5-4.3.3-2]: QoS 2, DUP 0
        assert_eq!(heard, publish("tea", "hot").qos2(1).bytes(version));
        t.passes(3600).silence();
        t.sends(bob, pubrec(1));
        let heard = t.next(bob).unwrap();
        assert_eq!(heard, b"\x62\x02\0\x01"); // [MQTT-3.6.1-1] [MQTT5-3.6.1-1] [MQTT5-4.3.3-4]
        t.passes(3600).silence();
        t.sends(bob, pubcomp(1));
        t.passes(3600).silence();
        t.drops(bob);
        comes(&mut t, version, "bob");
        t.silence();
    }
}

#[test]
fn a_pubrec_that_only_remarks_something_is_answered_like_any_other() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    publishes(&mut t, ann, "tea", "hot");
    t.gets(bob, publish("tea", "hot").qos2(1));
    t.sends(bob, pubrec(1).reason(ReasonCode::NoMatchingSubscribers));
    t.gets(bob, pubrel(1)); // [MQTT5-4.3.3-4] [MQTT5-3.6.2-1]
    t.silence();
}

#[test]
fn until_pubrec_the_message_is_sent_again_after_a_reconnect() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(1));
        for _ in 0..3 {
            t.drops(bob);
            let bob = comes(&mut t, version, "bob");
            // [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT5-3.3.1-1] [MQTT5-4.3.3-3] [MQTT5-4.4.0-1]
            t.gets(bob, publish("tea", "hot").qos2(1).dup());
            t.passes(60).silence(); // [MQTT5-4.4.0-1]
            t.drops(bob);
        }
    }
}

#[test]
fn after_pubrec_only_pubrel_is_sent_again() {
    for version in EVERY {
        let (mut t, ann, mut bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.sends(bob, pubrec(1));
        t.gets(bob, pubrel(1));
        for _ in 0..3 {
            t.drops(bob);
            bob = comes(&mut t, version, "bob");
            // [MQTT-4.3.3-1] [MQTT-4.4.0-1] [MQTT5-4.3.3-5] [MQTT5-4.3.3-6] [MQTT5-4.4.0-1]
            t.gets(bob, pubrel(1));
            t.passes(60).silence(); // [MQTT5-4.4.0-1]
        }
        t.sends(bob, pubcomp(1));
        t.drops(bob);
        comes(&mut t, version, "bob");
        t.silence(); // [MQTT-4.3.3-1] [MQTT5-4.3.3-5]
    }
}

#[test]
fn an_identifier_is_in_use_until_pubcomp() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        for id in 1..=3 {
            publishes(&mut t, ann, "tea", "hot");
            t.gets(bob, publish("tea", "hot").qos2(id)); // [MQTT-4.3.3-1] [MQTT5-4.3.3-1]
            t.sends(bob, pubrec(id));
            t.gets(bob, pubrel(id));
        }
        t.silence();
    }
}

#[test]
fn identifiers_wrap_around_and_leave_out_those_that_wait_for_pubcomp() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    for (id, has_pubrec) in [(1, true), (2, false)] {
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(id));
        if has_pubrec {
            t.sends(bob, pubrec(id));
            t.gets(bob, pubrel(id));
        }
    }
    // [MQTT5-4.3.2-1] [MQTT5-4.3.3-1]: 0 is no identifier, 1 and 2 are in use.
    for id in (3..=65_535).chain(3..6) {
        t.sends(ann, publish("tea", "hot").qos1(1));
        t.gets(ann, puback(1));
        t.gets(bob, publish("tea", "hot").qos1(id));
        t.sends(bob, puback(id));
    }
    t.sends(bob, pubcomp(1));
    t.silence();
}

#[test]
fn a_refused_message_is_not_sent_again_and_its_identifier_is_free() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    publishes(&mut t, ann, "tea", "hot");
    t.gets(bob, publish("tea", "hot").qos2(1));
    t.sends(
        bob,
        pubrec(1).reason(ReasonCode::ImplementationSpecificError),
    );
    t.silence(); // [MQTT5-4.3.3-4]: no PUBREL
    t.drops(bob);
    let bob = comes(&mut t, V5, "bob");
    t.silence(); // [MQTT5-4.4.0-2]
    t.sends(bob, pubrec(1));
    t.gets(bob, not_found(pubrel(1), NOT_IN_FLIGHT)); // [MQTT5-3.6.2-1]
    t.silence();
}

#[test]
fn a_second_pubrec_brings_a_second_pubrel() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(1));
        for _ in 0..3 {
            t.sends(bob, pubrec(1));
            t.gets(bob, pubrel(1));
        }
        t.sends(bob, pubcomp(1));
        t.silence();
    }
}

#[test]
fn a_pubrec_for_nothing_is_answered_so_that_its_sender_can_let_go() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(bob, pubrec(9));
        t.gets(bob, not_found(pubrel(9), NOT_IN_FLIGHT)); // [MQTT5-3.6.2-1]
        t.sends(bob, pubcomp(9));
        t.silence();
        t.open(ann);
        t.open(bob);
    }
}

#[test]
fn a_refusal_of_nothing_is_ignored() {
    let (mut t, _, bob) = ann_and_bob(V5);
    t.sends(bob, pubrec(9).reason(ReasonCode::UnspecifiedError));
    t.silence();
    t.open(bob);
}

#[test]
fn a_pubrel_for_nothing_is_answered() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, pubrel(9));
        t.gets(ann, not_found(pubcomp(9), NOT_HELD)); // [MQTT5-3.7.2-1]
        t.silence();
        t.open(ann);
        t.open(bob);
    }
}

#[test]
fn a_pubrel_that_says_not_found_releases_all_the_same() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    t.sends(ann, publish("tea", "hot").qos2(7));
    t.gets(ann, pubrec(7));
    t.gets(bob, publish("tea", "hot").qos2(1));
    t.sends(ann, pubrel(7).reason(ReasonCode::PacketIdentifierNotFound));
    t.gets(ann, pubcomp(7));
    t.silence();
}

#[test]
fn a_pubcomp_for_nothing_is_ignored() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(bob, pubcomp(9));
        t.sends(ann, pubcomp(1));
        t.silence();
        t.open(ann);
        t.open(bob);
    }
}

#[test]
fn a_pubcomp_that_says_not_found_ends_the_message() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    publishes(&mut t, ann, "tea", "hot");
    t.gets(bob, publish("tea", "hot").qos2(1));
    t.sends(bob, pubrec(1));
    t.gets(bob, pubrel(1));
    t.sends(bob, pubcomp(1).reason(ReasonCode::PacketIdentifierNotFound));
    t.drops(bob);
    comes(&mut t, V5, "bob");
    t.silence();
}

#[test]
fn puback_and_an_early_pubcomp_do_not_answer_a_qos_2_message() {
    for version in EVERY {
        for (answer, name) in [(puback(1), "PUBACK"), (pubcomp(1), "PUBCOMP")] {
            let (mut t, ann, bob) = ann_and_bob(version);
            publishes(&mut t, ann, "tea", "hot");
            t.gets(bob, publish("tea", "hot").qos2(1));
            t.sends(bob, answer);
            let sentence = format!("{name} does not fit the QoS of the message it acknowledges");
            t.cut_off(bob, ReasonCode::ProtocolError, &sentence);
            let bob = comes(&mut t, version, "bob");
            t.gets(bob, publish("tea", "hot").qos2(1).dup());
            t.silence();
            t.open(ann);
        }
    }
}

#[test]
fn puback_does_not_answer_pubrel() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "hot");
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.sends(bob, pubrec(1));
        t.gets(bob, pubrel(1));
        t.sends(bob, puback(1));
        let sentence = "PUBACK does not fit the QoS of the message it acknowledges";
        t.cut_off(bob, ReasonCode::ProtocolError, sentence);
        let bob = comes(&mut t, version, "bob");
        t.gets(bob, pubrel(1));
        t.silence();
    }
}

#[test]
fn pubrecs_go_out_in_the_order_of_their_messages() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        let bytes = [3, 1, 2].map(|id| publish("tea", id.to_string()).qos2(id).bytes(version));
        t.sends_bytes(ann, &bytes.concat());
        for (id, given) in [(3, 1), (1, 2), (2, 3)] {
            t.gets(ann, pubrec(id)); // [MQTT-4.6.0-3]
            t.gets(bob, publish("tea", id.to_string()).qos2(given));
        }
        for id in [2, 3, 1] {
            t.sends(ann, pubrel(id));
            t.gets(ann, pubcomp(id));
        }
        t.silence();
    }
}

#[test]
fn pubrels_go_out_in_the_order_of_the_pubrecs() {
    for version in EVERY {
        let (mut t, ann, mut bob) = ann_and_bob(version);
        for id in 1..=5 {
            publishes(&mut t, ann, "tea", "hot");
            t.gets(bob, publish("tea", "hot").qos2(id));
        }
        let bytes = [2, 4, 1].map(|id| pubrec(id).bytes(version));
        t.sends_bytes(bob, &bytes.concat());
        for id in [2, 4, 1] {
            t.gets(bob, pubrel(id)); // [MQTT-4.6.0-4]
        }
        for _ in 0..2 {
            t.drops(bob);
            bob = comes(&mut t, version, "bob");
            for id in [2, 4, 1] {
                t.gets(bob, pubrel(id)); // [MQTT-4.6.0-4], on the next connection too
            }
            for id in [3, 5] {
                t.gets(bob, publish("tea", "hot").qos2(id).dup()); // [MQTT-4.6.0-1]
            }
            t.silence();
        }
        t.sends(bob, pubrec(5));
        t.gets(bob, pubrel(5));
        t.sends(bob, pubcomp(4));
        t.drops(bob);
        let bob = comes(&mut t, version, "bob");
        for id in [2, 1, 5] {
            t.gets(bob, pubrel(id));
        }
        t.gets(bob, publish("tea", "hot").qos2(3).dup());
        t.silence();
    }
}

#[test]
fn a_message_whose_subscriber_is_away_is_finished_with_its_publisher() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.drops(bob);
        publishes(&mut t, ann, "tea", "hot");
        let bob = comes(&mut t, version, "bob");
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.silence();
    }
}

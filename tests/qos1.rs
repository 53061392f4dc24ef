//! QoS 1 [MQTT §4.3.2] [MQTT5 §4.3.2], PUBACK in both directions, and what a reconnect does to it.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

/// Ann publishes; Bob, whose session lasts, has subscribed at QoS 1.
fn ann_and_bob(version: ProtocolVersion) -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let (ann, bob) = (t.client(version, "ann"), comes(&mut t, version));
    t.sends(bob, subscribe(1, "tea/#", 1));
    t.gets(bob, suback(1, &[1]));
    (t, ann, bob)
}

/// Bob connects, to the session he has if there is one.
fn comes(t: &mut Table, version: ProtocolVersion) -> Seat {
    t.connects(version, connect("bob").lasting(1000))
}

/// Ann publishes at QoS 1, and is answered.
fn publishes(t: &mut Table, ann: Seat, topic: &str, payload: &str) {
    t.sends(ann, publish(topic, payload).qos1(77));
    t.gets(ann, puback(77));
}

#[test]
fn an_acknowledged_identifier_is_free_for_a_new_message() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(ann, publish("tea", "one").qos1(5));
        t.gets(ann, puback(5));
        t.gets(bob, publish("tea", "one").qos1(1));
        // [MQTT-4.3.2-2] [MQTT5-4.3.2-5]: a new message, whatever DUP says.
        t.sends(ann, publish("tea", "one").qos1(5).dup());
        t.gets(ann, puback(5));
        t.gets(bob, publish("tea", "one").qos1(2));
        t.silence();
    }
}

#[test]
fn each_message_has_an_identifier_of_its_own_until_it_is_acknowledged() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        for id in 1..=3 {
            publishes(&mut t, ann, "tea", "hot");
            let heard = t.next(bob).unwrap();
            assert_eq!(heard[0], 0x32); // [MQTT-4.3.2-1] [MQTT5-4.3.2-2]: QoS 1, DUP 0
            // [MQTT-2.3.1-4] [MQTT5-4.3.2-1]
            assert_eq!(heard, publish("tea", "hot").qos1(id).bytes(version));
        }
        t.passes(3600).silence(); // [MQTT5-4.4.0-1]: nothing is sent again on a live connection
    }
}

#[test]
fn what_was_not_acknowledged_is_sent_again_after_a_reconnect_in_order() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        let payloads = ["one", "two", "three", "four"];
        for (id, payload) in (1..).zip(payloads) {
            publishes(&mut t, ann, "tea", payload);
            t.gets(bob, publish("tea", payload).qos1(id));
        }
        t.sends(bob, puback(2));
        t.drops(bob);
        let bob = comes(&mut t, version);
        // [MQTT-3.3.1-1] [MQTT-4.3.2-1] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
        // [MQTT5-3.3.1-1] [MQTT5-4.3.2-3] [MQTT5-4.4.0-1]
        t.gets(bob, publish("tea", "one").qos1(1).dup());
        t.gets(bob, publish("tea", "three").qos1(3).dup());
        t.gets(bob, publish("tea", "four").qos1(4).dup());
        t.passes(3600).silence(); // [MQTT5-4.4.0-1]
        for id in [1, 3, 4] {
            t.sends(bob, puback(id));
        }
        t.drops(bob);
        comes(&mut t, version);
        t.silence(); // [MQTT-4.3.2-1] [MQTT5-4.3.2-3]: acknowledged is done with
    }
}

#[test]
fn what_is_sent_again_goes_before_what_came_meanwhile() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        t.drops(bob);
        publishes(&mut t, ann, "tea", "two");
        let bob = comes(&mut t, version);
        // [MQTT-4.6.0-6] [MQTT5-4.6.0-5]
        t.gets(bob, publish("tea", "one").qos1(1).dup());
        t.gets(bob, publish("tea", "two").qos1(2));
        publishes(&mut t, ann, "tea", "three");
        t.gets(bob, publish("tea", "three").qos1(3));
        t.silence();
    }
}

#[test]
fn a_session_goes_on_in_whatever_version_its_client_speaks_next() {
    for (before, after) in [(V311, V5), (V5, V311), (V31, V5), (V5, V31)] {
        let mut t = Table::new();
        let (ann, bob) = (t.client(V5, "ann"), comes(&mut t, before));
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        let named = Property::ContentType("x");
        t.sends(ann, publish("tea", "one").qos1(1).with(named));
        t.gets(ann, puback(1));
        t.gets(bob, publish("tea", "one").qos1(1).with(named));
        t.drops(bob);
        t.sends(ann, publish("tea", "two").qos1(1).with(named));
        t.gets(ann, puback(1));
        let bob = comes(&mut t, after);
        t.gets(bob, publish("tea", "one").qos1(1).dup().with(named));
        t.gets(bob, publish("tea", "two").qos1(2).with(named));
        t.silence();
    }
}

#[test]
fn a_takeover_sends_again_as_a_lost_connection_does() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        let again = comes(&mut t, version);
        t.cut_off(bob, ReasonCode::SessionTakenOver, "session taken over");
        t.gets(again, publish("tea", "one").qos1(1).dup());
        t.silence();
    }
}

#[test]
fn a_clean_start_forgets_what_was_not_acknowledged() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        t.drops(bob);
        let bob = t.connects(version, connect("bob"));
        t.silence();
        t.sends(bob, subscribe(1, "tea/#", 1));
        t.gets(bob, suback(1, &[1]));
        publishes(&mut t, ann, "tea", "two");
        t.gets(bob, publish("tea", "two").qos1(1));
        t.silence();
    }
}

#[test]
fn a_puback_that_tells_of_a_failure_ends_the_message_too() {
    for code in [ReasonCode::UnspecifiedError, ReasonCode::QuotaExceeded] {
        let (mut t, ann, bob) = ann_and_bob(V5);
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        t.sends(bob, puback(1).reason(code).because("no room"));
        t.silence();
        t.drops(bob);
        comes(&mut t, V5);
        t.silence(); // [MQTT5-4.4.0-2]
    }
}

#[test]
fn pubacks_go_out_in_the_order_of_their_messages() {
    for version in EVERY {
        let (mut t, ann, _) = ann_and_bob(version);
        let bytes = [3, 1, 2].map(|id| publish("milk", "cold").qos1(id).bytes(version));
        t.sends_bytes(ann, &bytes.concat());
        for id in [3, 1, 2] {
            // [MQTT-4.6.0-2]
            t.gets(ann, puback(id).reason(ReasonCode::NoMatchingSubscribers));
        }
        t.silence();
    }
}

#[test]
fn a_puback_for_nothing_is_ignored() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        t.sends(bob, puback(1));
        t.sends(bob, puback(65_535));
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        t.sends(bob, puback(1));
        t.sends(bob, puback(1));
        t.sends(ann, puback(1));
        t.silence();
        t.open(ann);
        t.open(bob);
    }
}

#[test]
fn pubrec_and_pubcomp_do_not_answer_a_qos_1_message() {
    for version in EVERY {
        for answer in [pubrec(1), pubcomp(1)] {
            let (mut t, ann, bob) = ann_and_bob(version);
            publishes(&mut t, ann, "tea", "one");
            t.gets(bob, publish("tea", "one").qos1(1));
            let name = if answer.bytes(version)[0] == 0x50 {
                "PUBREC"
            } else {
                "PUBCOMP"
            };
            t.sends(bob, answer);
            let sentence = format!("{name} does not fit the QoS of the message it acknowledges");
            t.cut_off(bob, ReasonCode::ProtocolError, &sentence);
            let bob = comes(&mut t, version);
            t.gets(bob, publish("tea", "one").qos1(1).dup());
            t.silence();
            t.open(ann);
        }
    }
}

#[test]
fn identifiers_wrap_around_and_leave_out_those_in_use() {
    let (mut t, ann, bob) = ann_and_bob(V311);
    // Two messages stay unacknowledged all the way round.
    for turn in 0..65_535 + 10_u32 {
        publishes(&mut t, ann, "tea", "hot");
        let id = match turn {
            0..65_535 => turn as u16 + 1,
            // [MQTT-2.3.1-4] [MQTT-4.3.2-1]: 0 is no identifier, 2 and 4 are in use.
            _ => [1, 3, 5, 6, 7, 8, 9, 10, 11, 12][turn as usize - 65_535],
        };
        t.gets(bob, publish("tea", "hot").qos1(id));
        if id != 2 && id != 4 {
            t.sends(bob, puback(id));
        }
    }
    t.drops(bob);
    let bob = comes(&mut t, V311);
    t.gets(bob, publish("tea", "hot").qos1(2).dup());
    t.gets(bob, publish("tea", "hot").qos1(4).dup());
    t.silence();
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version);
        for id in 1..=4 {
            publishes(&mut t, ann, "tea", "hot");
            t.gets(bob, publish("tea", "hot").qos1(id));
        }
        for id in [3, 1, 4] {
            t.sends(bob, puback(id));
        }
        t.silence();
        t.drops(bob);
        let bob = comes(&mut t, version);
        t.gets(bob, publish("tea", "hot").qos1(2).dup());
        t.silence();
    }
}

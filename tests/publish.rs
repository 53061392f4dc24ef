//! PUBLISH [MQTT §3.3] [MQTT5 §3.3]: what is passed on and how, what is refused, who is told.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::topic::name::TopicNameError;
use table::*;

/// Ann publishes, Bob has subscribed to everything at `qos`.
fn ann_and_bob(version: ProtocolVersion, qos: u8) -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
    t.sends(bob, subscribe(1, "#", qos));
    t.gets(bob, suback(1, &[qos]));
    (t, ann, bob)
}

#[test]
fn at_qos_0_a_message_goes_on_as_it_came_and_is_not_answered() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        t.sends(ann, publish("tea/green", "hot"));
        let heard = t.next(bob).unwrap();
        assert_eq!(heard[0], 0x30); // [MQTT-4.3.1-1] [MQTT5-4.3.1-1]: QoS 0, DUP 0
        assert_eq!(heard[2..13], *b"\0\x09tea/green"); // [MQTT-3.3.2-1] [MQTT5-3.3.2-1]
        // [MQTT-2.3.1-5] [MQTT5-2.2.1-2]: no Packet Identifier between topic and payload.
        let properties = if version == V5 { &b"\0"[..] } else { b"" };
        assert_eq!(heard[13..], *[properties, b"hot"].concat());
        t.silence(); // [MQTT-3.3.4-1] [MQTT5-3.3.4-1]
    }
}

#[test]
fn each_qos_has_its_own_answer() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 0);
        t.sends(ann, publish("tea", "0"));
        t.nothing(ann); // [MQTT-3.3.4-1] [MQTT5-3.3.4-1]
        t.sends(ann, publish("tea", "1").qos1(5));
        t.gets(ann, puback(5)); // [MQTT-4.3.2-2] [MQTT5-4.3.2-4] [MQTT5-3.4.2-1]
        t.sends(ann, publish("tea", "2").qos2(6));
        t.gets(ann, pubrec(6)); // [MQTT-4.3.3-2] [MQTT5-4.3.3-8] [MQTT5-3.5.2-1]
        for payload in ["0", "1", "2"] {
            t.gets(bob, publish("tea", payload));
        }
        t.silence();
    }
}

#[test]
fn a_message_goes_out_at_the_lower_of_its_qos_and_the_one_granted() {
    for version in EVERY {
        for granted in 0..=2 {
            let (mut t, ann, bob) = ann_and_bob(version, granted);
            for published in 0..=2 {
                t.sends(ann, publish("tea", "hot").qos(published, 9));
                t.ignores(ann);
                let qos = granted.min(published);
                t.hears(bob, |packet| {
                    let Packet::Publish(heard) = packet else {
                        panic!("{packet:?}")
                    };
                    assert_eq!((heard.qos.bits(), heard.dup), (qos, false));
                    assert_eq!(heard.packet_identifier.is_some(), qos > 0);
                });
            }
        }
    }
}

#[test]
fn dup_is_not_passed_on() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        t.sends(ann, publish("tea", "1").qos1(5).dup());
        t.gets(ann, puback(5));
        t.gets(bob, publish("tea", "1").qos1(1)); // [MQTT-3.3.1-3] [MQTT5-3.3.1-3]
        t.sends(ann, publish("tea", "2").qos2(6).dup());
        t.gets(ann, pubrec(6));
        t.gets(bob, publish("tea", "2").qos2(2)); // [MQTT-3.3.1-3] [MQTT5-3.3.1-3]
        t.silence();
    }
}

#[test]
fn dup_at_qos_0_is_malformed() {
    for version in [V311, V5] {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        t.sends_bytes(ann, b"\x38\x06\0\x03tea\0"); // [MQTT-3.3.1-2] [MQTT5-3.3.1-2]
        let sentence = "PUBLISH has the DUP flag with QoS 0";
        t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
        t.silence();
        t.open(bob);
    }
}

#[test]
fn dup_at_qos_0_is_ignored_in_3_1() {
    let (mut t, ann, bob) = ann_and_bob(V31, 2);
    t.sends_bytes(ann, b"\x38\x08\0\x03teahot");
    t.gets(bob, publish("tea", "hot"));
    t.silence();
}

#[test]
fn qos_3_is_malformed() {
    for version in EVERY {
        for first in [0x36, 0x37, 0x3e, 0x3f] {
            let (mut t, ann, bob) = ann_and_bob(version, 2);
            t.sends_bytes(ann, &[first, 8, 0, 3, b't', b'e', b'a', 0, 1, 0]);
            let sentence = "PUBLISH has QoS 3, which does not exist";
            // [MQTT-3.3.1-4] [MQTT5-3.3.1-4]
            t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn packet_identifier_0_is_refused() {
    for version in EVERY {
        for first in [0x32, 0x34] {
            let (mut t, ann, bob) = ann_and_bob(version, 2);
            t.sends_bytes(ann, &[first, 8, 0, 3, b't', b'e', b'a', 0, 0, 0]);
            let sentence = "PUBLISH has the Packet Identifier 0";
            t.cut_off(ann, ReasonCode::ProtocolError, sentence); // [MQTT-2.3.1-1] [MQTT5-2.2.1-3]
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_publish_that_ends_too_early_is_malformed() {
    for version in EVERY {
        for bytes in [
            &b"\x30\x00"[..],
            b"\x30\x01\0",
            b"\x30\x04\0\x03te",
            b"\x32\x06\0\x03tea\0",
        ] {
            let (mut t, ann, bob) = ann_and_bob(version, 2);
            t.sends_bytes(ann, bytes);
            let sentence = "packet ends in the middle of a field";
            t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_topic_that_is_not_utf_8_is_malformed() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        t.sends_bytes(ann, b"\x30\x06\0\x02a\xff\0x"); // [MQTT-3.3.2-1] [MQTT5-3.3.2-1]
        let sentence = "packet has a string that is not UTF-8";
        t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
        t.silence();
        t.open(bob);
    }
}

#[test]
fn a_topic_with_a_wildcard_is_refused() {
    for version in EVERY {
        for topic in ["#", "+", "a/+", "a/#", "a/+/b", "a#b"] {
            for qos in 0..=2 {
                let (mut t, ann, bob) = ann_and_bob(version, 2);
                t.sends(ann, publish(topic, "hot").qos(qos, 7));
                let sentence = TopicNameError::Wildcard.to_string();
                // [MQTT-3.3.2-2] [MQTT5-3.3.2-2]
                t.cut_off(ann, ReasonCode::TopicNameInvalid, &sentence);
                t.silence();
                t.open(bob);
            }
        }
    }
}

#[test]
fn a_publish_without_a_topic_is_refused() {
    for version in EVERY {
        for qos in 0..=2 {
            let (mut t, ann, bob) = ann_and_bob(version, 2);
            t.sends(ann, publish("", "hot").qos(qos, 7));
            let sentence = "PUBLISH has neither Topic Name nor Topic Alias";
            t.cut_off(ann, ReasonCode::ProtocolError, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_topic_may_have_200_levels_and_not_201() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        let topic = "a/".repeat(199) + "a";
        t.sends(ann, publish(&topic, "deep"));
        t.gets(bob, publish(&topic, "deep"));
        t.sends(ann, publish(&format!("{topic}/a"), "deep"));
        let sentence = TopicNameError::TooManyLevels.to_string();
        t.cut_off(ann, ReasonCode::TopicNameInvalid, &sentence);
        t.silence();
    }
}

#[test]
fn a_topic_may_have_65535_bytes() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        let topic = "x".repeat(65_535);
        t.sends(ann, publish(&topic, "long").qos1(1));
        t.gets(ann, puback(1));
        t.gets(bob, publish(&topic, "long").qos1(1));
        t.silence();
    }
}

#[test]
fn a_payload_may_be_empty() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2);
        for qos in 0..=2 {
            t.sends(ann, publish("tea", "").qos(qos, 1));
            t.ignores(ann);
            t.gets(bob, publish("tea", "").qos(qos, qos.into()));
        }
        t.silence();
    }
}

#[test]
fn a_payload_of_1_9_megabytes_reaches_every_subscriber_whole() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let readers = EVERY.map(|version| t.client(version, &format!("{version:?}")));
        for reader in readers {
            t.sends(reader, subscribe(1, "film", 2));
            t.gets(reader, suback(1, &[2]));
        }
        let payload: Vec<u8> = (0..1_900_000_u32).map(|at| (at % 251) as u8).collect();
        for qos in 0..=2 {
            t.sends(ann, publish("film", &payload).qos(qos, 1));
            t.ignores(ann);
            for reader in readers {
                t.gets(reader, publish("film", &payload).qos(qos, qos.into()));
            }
        }
        t.silence();
    }
}

#[test]
fn a_client_gets_its_own_messages() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "tea", 2));
        t.gets(ann, suback(1, &[2]));
        t.sends(ann, publish("tea", "0"));
        t.gets(ann, publish("tea", "0"));
        // Packet Identifiers of the two directions have nothing to do with each other.
        t.sends(ann, publish("tea", "1").qos1(1));
        t.gets(ann, publish("tea", "1").qos1(1));
        t.gets(ann, puback(1));
        t.sends(ann, puback(1));
        t.sends(ann, publish("tea", "2").qos2(2));
        t.gets(ann, publish("tea", "2").qos2(2));
        t.gets(ann, pubrec(2));
        t.sends(ann, pubrec(2));
        t.gets(ann, pubrel(2));
        t.sends(ann, pubrel(2));
        t.gets(ann, pubcomp(2));
        t.sends(ann, pubcomp(2));
        t.passes(60).silence();
    }
}

#[test]
fn the_topic_sent_matches_the_filter_and_is_not_changed() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "tea/+", 0));
        t.gets(bob, suback(1, &[0]));
        for topic in [
            "tea/green",
            "Tea/green",
            "tea",
            "tea/green/hot",
            "tea/",
            "b",
        ] {
            t.sends(ann, publish(topic, "x"));
        }
        t.gets(bob, publish("tea/green", "x")); // [MQTT-3.3.2-3] [MQTT5-3.3.2-3]
        t.gets(bob, publish("tea/", "x"));
        t.silence();
    }
}

#[test]
fn a_message_is_kept_for_every_session_that_matches() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let names = ["bob", "cid", "dot"];
        for name in names {
            let seat = t.connects(version, connect(name).lasting(1000));
            t.sends(seat, subscribe(1, "tea", 1));
            t.gets(seat, suback(1, &[1]));
            if name != "dot" {
                t.leaves(seat);
            }
        }
        t.sends(ann, publish("tea", "hot").qos1(7));
        t.gets(ann, puback(7));
        for name in names {
            let seat = t.connects(version, connect(name).lasting(1000));
            // [MQTT-4.5.0-1] [MQTT5-4.5.0-1]. Dot was there, and has not acknowledged.
            let expected = publish("tea", "hot").qos1(1);
            t.gets(
                seat,
                if name == "dot" {
                    expected.dup()
                } else {
                    expected
                },
            );
        }
    }
}

#[test]
fn qos_0_messages_are_not_kept_for_absent_sessions() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let bob = t.connects(version, connect("bob").lasting(1000));
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        t.drops(bob);
        t.sends(ann, publish("tea", "lost"));
        t.connects(version, connect("bob").lasting(1000));
        t.silence();
    }
}

#[test]
fn topics_of_the_broker_are_not_for_clients_to_publish_to() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "$SYS/#", 2));
        t.gets(bob, suback(1, &[2]));
        let denied = |answer: Say| {
            let sentence = "you may not publish to this topic";
            answer.reason(ReasonCode::NotAuthorized).because(sentence)
        };
        t.sends(ann, publish("$SYS/broker/uptime", "0"));
        t.silence();
        t.sends(ann, publish("$SYS/broker/uptime", "1").qos1(3));
        t.gets(ann, denied(puback(3))); // [MQTT-3.3.5-2] [MQTT5-3.4.2-1]
        t.sends(ann, publish("$SYS/broker/uptime", "2").qos2(4));
        t.gets(ann, denied(pubrec(4))); // [MQTT-3.3.5-2] [MQTT5-3.5.2-1]
        if version != V5 {
            t.sends(ann, pubrel(4)); // It cannot know.
            t.gets(ann, pubcomp(4));
        }
        t.silence();
        t.sends(ann, publish("$SYS/broker/uptime", "3").retain());
        t.sends(ann, subscribe(2, "$SYS/broker/uptime", 0));
        t.gets(ann, suback(2, &[0]));
        t.silence();
    }
}

#[test]
fn the_publisher_is_told_when_nobody_subscribes() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let nobody = |answer: Say| answer.reason(ReasonCode::NoMatchingSubscribers);
        t.sends(ann, publish("tea", "1").qos1(3));
        t.gets(ann, nobody(puback(3))); // [MQTT5-3.4.2-1]
        t.sends(ann, publish("tea", "2").qos2(4));
        t.gets(ann, nobody(pubrec(4))); // [MQTT5-3.5.2-1]
        t.sends(ann, pubrel(4));
        t.gets(ann, pubcomp(4)); // [MQTT5-3.7.2-1]
        t.silence();
    }
}

#[test]
fn a_client_must_not_name_a_subscription() {
    for qos in 0..=2 {
        let (mut t, ann, bob) = ann_and_bob(V5, 2);
        let property = Property::SubscriptionIdentifier(1);
        t.sends(ann, publish("tea", "hot").qos(qos, 7).with(property));
        let sentence = "PUBLISH from a client has a Subscription Identifier";
        t.cut_off(ann, ReasonCode::ProtocolError, sentence); // [MQTT5-3.3.4-6]
        t.silence();
        t.open(bob);
    }
}

#[test]
fn overlapping_subscriptions_each_bring_a_copy() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        for (id, filter, qos) in [(1, "tea/#", 0), (2, "tea/green", 2)] {
            let named = Property::SubscriptionIdentifier(id);
            t.sends(bob, subscribe(id as u16, filter, qos).with(named));
            t.gets(bob, suback(id as u16, &[qos]));
        }
        t.sends(ann, publish("tea/green", "hot").qos2(7));
        t.gets(ann, pubrec(7));
        let copy = publish("tea/green", "hot");
        let named = |copy: Say, id| copy.with(Property::SubscriptionIdentifier(id));
        // [MQTT-3.3.5-1] [MQTT5-3.3.4-2] [MQTT5-3.3.4-3] [MQTT5-3.3.4-5]
        t.gets_all(bob, [named(copy.clone(), 1), named(copy.qos2(1), 2)]);
        t.silence();
    }
}

#[test]
fn overlapping_subscriptions_bring_one_copy_where_duplicates_are_not_allowed() {
    for version in EVERY {
        let mut t = Table::with(|config| config.allow_duplicate_messages = false);
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        for (id, filter, qos) in [(1, "tea/#", 0), (2, "tea/green", 2)] {
            let named = Property::SubscriptionIdentifier(id);
            t.sends(bob, subscribe(id as u16, filter, qos).with(named));
            t.gets(bob, suback(id as u16, &[qos]));
        }
        t.sends(bob, subscribe(3, "+/green", 1));
        t.gets(bob, suback(3, &[1]));
        t.sends(ann, publish("tea/green", "hot").qos2(7));
        t.gets(ann, pubrec(7));
        t.hears(bob, |packet| {
            let Packet::Publish(heard) = packet else {
                panic!("{packet:?}")
            };
            assert_eq!(heard.qos.bits(), 2); // [MQTT-3.3.5-1] [MQTT5-3.3.4-2]
            let mut identifiers: Vec<_> = heard.properties.subscription_identifiers().collect();
            identifiers.sort_unstable();
            let expected: &[u32] = if version == V5 { &[1, 2] } else { &[] };
            assert_eq!(identifiers, expected); // [MQTT5-3.3.4-3] [MQTT5-3.3.4-4]
        });
        t.silence();
    }
}

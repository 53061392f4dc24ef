//! SUBSCRIBE and SUBACK [MQTT §3.8, §3.9] [MQTT5 §3.8, §3.9]: what is granted, what is refused and
//! how, what a second SUBSCRIBE to the same filter changes. No Local has a file of its own, as have retained
//! messages, shared and overlapping subscriptions.

mod table;
use midge::broker::Sizes;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::SubscriptionOptions;
use table::*;

fn identifier(number: u32) -> Property<'static> {
    Property::SubscriptionIdentifier(number)
}

fn no_local(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        no_local: true,
        ..options(qos)
    }
}

fn subscriptions(t: &Table) -> usize {
    let Sizes { subscriptions, .. } = t.broker.sizes();
    subscriptions
}

/// A SUBSCRIBE with Packet Identifier 1 and this payload, whatever it is.
fn raw_subscribe(version: midge::codec::dialect::ProtocolVersion, payload: &[u8]) -> Vec<u8> {
    let head: &[u8] = if version == V5 { &[0, 1, 0] } else { &[0, 1] };
    let mut bytes = vec![0x82, u8::try_from(head.len() + payload.len()).unwrap()];
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_suback_has_the_identifier_of_its_subscribe_and_a_code_for_each_filter_in_order() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(0xffff, "a", 2).and("b", 0).and("c", 1));
        // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
        // [MQTT5-3.8.4-1] [MQTT5-3.8.4-2] [MQTT5-3.8.4-5] [MQTT5-3.8.4-6] [MQTT5-3.8.4-7]
        // [MQTT5-3.9.3-1] [MQTT5-3.9.3-2]
        t.gets(ann, suback(0xffff, &[2, 0, 1]));
        t.sends(ann, subscribe(1, "d", 1));
        t.gets(ann, suback(1, &[1]));
        assert_eq!(subscriptions(&t), 4);
        t.silence();
    }
}

#[test]
fn each_filter_of_one_packet_subscribes() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "a", 0).and("b/+", 0).and("c/#", 0));
        t.gets(ann, suback(1, &[0, 0, 0])); // [MQTT-3.8.4-4] [MQTT5-3.8.4-5]
        for topic in ["a", "b/x", "c", "c/y/z"] {
            t.sends(bob, publish(topic, topic));
            t.gets(ann, publish(topic, topic));
        }
        t.sends(bob, publish("d", "d"));
        t.silence();
    }
}

#[test]
fn a_message_goes_out_with_the_lower_of_its_own_and_the_granted_qos() {
    for version in EVERY {
        for granted in 0..=2 {
            for published in 0..=2 {
                let mut t = Table::new();
                let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
                t.sends(ann, subscribe(1, "a", granted));
                t.gets(ann, suback(1, &[granted]));
                t.sends(
                    bob,
                    publish("a", "x").qos(published, 9 * u16::from(published)),
                );
                t.ignores(bob);
                let lower = granted.min(published);
                // [MQTT-3.8.4-6] [MQTT5-3.8.4-8]
                t.gets(ann, publish("a", "x").qos(lower, u16::from(lower > 0)));
                t.silence();
            }
        }
    }
}

#[test]
fn the_same_filter_again_replaces_the_subscription() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
        t.sends(bob, publish("a", "kept").retain());
        t.sends(ann, subscribe(1, "a", 0));
        t.gets(ann, suback(1, &[0]));
        t.gets(ann, publish("a", "kept").retain());
        t.sends(ann, subscribe(2, "a", 1));
        t.gets(ann, suback(2, &[1]));
        // [MQTT-3.8.4-3] [MQTT5-3.8.4-3] [MQTT5-3.8.4-4]: the retained message comes again,
        t.gets(ann, publish("a", "kept").retain());
        t.sends(bob, publish("a", "new").qos1(1));
        t.gets(bob, puback(1));
        t.gets(ann, publish("a", "new").qos1(1)); // and what is published once, at the new QoS.
        assert_eq!(subscriptions(&t), 1);
        t.sends(ann, puback(1));
        t.silence();
    }
}

#[test]
fn replacing_a_subscription_loses_nothing_that_waits() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 2);
        let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
        t.sends(ann, subscribe(1, "a", 2));
        t.gets(ann, suback(1, &[2]));
        for number in 1..=6_u16 {
            t.sends(bob, publish("a", number.to_string()).qos1(number));
            t.gets(bob, puback(number));
            if number == 4 {
                t.gets(ann, publish("a", "1").qos1(1));
                t.gets(ann, publish("a", "2").qos1(2));
                t.sends(ann, subscribe(2, "a", 1));
                t.gets(ann, suback(2, &[1]));
            }
        }
        t.silence();
        for number in 1..=6_u16 {
            t.sends(ann, puback(number));
            if number <= 4 {
                let next = number + 2;
                t.gets(ann, publish("a", next.to_string()).qos1(next)); // [MQTT-3.8.4-3] [MQTT5-3.8.4-4]
            }
        }
        t.silence();
    }
}

#[test]
fn the_same_filter_again_replaces_identifier_and_options() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let keeps = SubscriptionOptions {
        retain_as_published: true,
        ..no_local(1)
    };
    t.sends(ann, subscribe_with(1, "a", keeps).with(identifier(1)));
    t.gets(ann, suback(1, &[1]));
    t.sends(ann, publish("a", "own"));
    t.silence();
    t.sends(ann, subscribe(2, "a", 2).with(identifier(268_435_455)));
    t.gets(ann, suback(2, &[2]));
    t.sends(ann, publish("a", "own").retain());
    // [MQTT5-3.8.4-3]: No Local and Retain As Published are off, and the identifier is the new one.
    t.gets(ann, publish("a", "own").with(identifier(268_435_455)));
    t.sends(ann, subscribe(3, "a", 2));
    t.gets(ann, suback(3, &[2]));
    t.gets(ann, publish("a", "own").retain());
    t.sends(ann, publish("a", "own")); // Without an identifier: it has none any more.
    t.gets(ann, publish("a", "own"));
    assert_eq!(subscriptions(&t), 1);
    t.silence();
}

#[test]
fn subscription_identifier_zero_is_refused() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, subscribe(1, "a", 0).with(identifier(0)));
    t.cut_off(
        ann,
        ReasonCode::ProtocolError, // [MQTT5 §3.8.2.1.2]
        "packet has the property Subscription Identifier with a value it may not have",
    );
    t.open(bob);
    let twice = subscribe(1, "a", 0).with(identifier(1)).with(identifier(2));
    t.sends(bob, twice);
    t.cut_off(
        bob,
        ReasonCode::ProtocolError,
        "packet has the property Subscription Identifier twice",
    );
    assert_eq!(subscriptions(&t), 0);
}

const LEVELS_TOO_MANY: usize = 201;

/// Filters that are none, and what is said about each.
fn bad_filters() -> Vec<(String, &'static str)> {
    let last = "The wildcard # must be the last level of a Topic Filter";
    let hash = "The wildcard # must fill its level of the Topic Filter";
    let plus = "The wildcard + must fill its level of the Topic Filter";
    let rows = [
        ("a/#/b", last),
        ("Myhome/#/", last),
        ("#/a", last),
        ("a#", hash),
        ("a+", plus),
        ("+a", plus),
        ("a/+b", plus),
        ("", "A Topic Filter needs at least one character"),
        ("$share//x", "The share name after $share/ is empty"),
        ("$share/", "The share name after $share/ is empty"),
        ("$share/a", "No Topic Filter follows the share name"),
        ("$share/a/", "No Topic Filter follows the share name"),
        (
            "$share/a+/x",
            "A share name must not hold the wildcards + and #",
        ),
        (
            "$share/#/x",
            "A share name must not hold the wildcards + and #",
        ),
        ("$share/a/b#", hash),
    ];
    let mut rows: Vec<_> = rows.map(|(filter, why)| (filter.to_string(), why)).into();
    let deep = vec!["a"; LEVELS_TOO_MANY].join("/");
    rows.push((deep, "The Topic Filter has too many levels"));
    rows
}

#[test]
fn a_bad_filter_among_good_ones_is_refused_by_itself_in_5() {
    for (bad, why) in bad_filters() {
        let mut t = Table::new();
        let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
        t.sends(ann, subscribe(7, "a", 1).and(&bad, 1).and("b", 2));
        let sentence = format!("'{bad}': {why}");
        let clipped = &sentence[..sentence.len().min(256)];
        // [MQTT5-3.8.4-6] [MQTT5-3.8.4-7] [MQTT5-3.9.3-1] [MQTT5-3.9.3-2] [MQTT5-4.7.1-1]
        // [MQTT5-4.7.1-2] [MQTT5-4.7.3-1] [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
        t.gets(ann, suback(7, &[1, 0x8f, 2]).because(clipped));
        assert_eq!(subscriptions(&t), 2);
        t.sends(bob, publish("b", "x"));
        t.gets(ann, publish("b", "x"));
        t.silence();
    }
}

#[test]
fn every_bad_filter_of_one_packet_is_answered_and_the_first_is_named() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    t.sends(ann, subscribe(1, "a#", 0).and("ok", 0).and("$share/g", 0));
    let sentence = "'a#': The wildcard # must fill its level of the Topic Filter";
    t.gets(ann, suback(1, &[0x8f, 0, 0x8f]).because(sentence)); // [MQTT5-3.8.4-6]
    t.open(ann);
    t.silence();
}

#[test]
fn a_bad_filter_closes_the_connection_of_a_client_that_cannot_be_told() {
    for version in [V31, V311] {
        for (bad, _) in bad_filters() {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, subscribe(1, "a", 0));
            t.gets(bob, suback(1, &[0]));
            t.sends(ann, subscribe(7, "a", 1).and(&bad, 1).and("b", 2));
            // [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.8.0-1]
            t.closed(ann);
            t.sends(bob, publish("a", "still here"));
            t.gets(bob, publish("a", "still here"));
            t.silence();
        }
    }
}

#[test]
fn wildcards_that_fill_their_level_are_granted() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let good = ["#", "a/#", "+", "a/+/b", "+/+", "/#", "/", "+/a/#"];
        let packet = good[1..]
            .iter()
            .fold(subscribe(1, good[0], 0), |packet, filter| {
                packet.and(filter, 0)
            });
        t.sends(ann, packet);
        t.gets(ann, suback(1, &[0; 8])); // [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT5-4.7.1-1] [MQTT5-4.7.1-2]
        let deep = vec!["+"; LEVELS_TOO_MANY - 1].join("/");
        t.sends(ann, subscribe(2, &deep, 0).and("$share/g/a/#", 1));
        t.gets(ann, suback(2, &[0, 1])); // [MQTT5-4.8.2-2]
        t.silence();
    }
}

#[test]
fn a_malformed_subscribe_ends_its_connection_and_no_other() {
    let flags = "SUBSCRIBE has flags in its first byte that it may not have";
    let rows: [(&str, &[u8], ReasonCode, &str); 7] = [
        (
            "no filter",
            b"",
            ReasonCode::ProtocolError,
            "SUBSCRIBE has no Topic Filter",
        ),
        (
            "no UTF-8",
            b"\0\x01\xff\0",
            ReasonCode::MalformedPacket,
            "packet has a string that is not UTF-8",
        ),
        (
            "surrogate",
            b"\0\x03\xed\xa0\x80\0",
            ReasonCode::MalformedPacket,
            "packet has a string that is not UTF-8",
        ),
        (
            "null",
            b"\0\x03a\0b\0",
            ReasonCode::MalformedPacket,
            "packet has a string with a null character in it",
        ),
        (
            "QoS 3",
            b"\0\x01a\x03",
            ReasonCode::ProtocolError,
            "SUBSCRIBE asks for QoS 3, which does not exist",
        ),
        (
            "no QoS",
            b"\0\x01a\x01\0\x01b",
            ReasonCode::MalformedPacket,
            "packet ends in the middle of a field",
        ),
        (
            "reserved",
            b"\0\x01a\x80",
            ReasonCode::MalformedPacket,
            "SUBSCRIBE has reserved option bits set",
        ),
    ];
    for version in EVERY {
        // [MQTT-3.8.3-1] [MQTT-3.8.3-3] [MQTT-3.8.3-4] [MQTT-4.7.3-2] [MQTT-4.8.0-1]
        // [MQTT5-3.8.3-1] [MQTT5-3.8.3-2] [MQTT5-3.8.3-5] [MQTT5-4.7.3-2]
        for (what, payload, reason, sentence) in rows {
            if (what, version) == ("reserved", V31) {
                continue; // Unused bits there, whatever they are [MQTT31 §3.8].
            }
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &raw_subscribe(version, payload));
            t.cut_off(ann, reason, sentence);
            t.sends(bob, pingreq());
            t.gets(bob, pingresp());
            assert_eq!(subscriptions(&t), 0);
            t.silence();
        }
        for first in [0x80, 0x83, 0x8a] {
            if (first, version) == (0x8a, V31) {
                continue; // DUP, which it may have there [MQTT31 §2.1.2].
            }
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            let mut bytes = raw_subscribe(version, b"\0\x01a\0");
            bytes[0] = first;
            t.sends_bytes(ann, &bytes);
            t.cut_off(ann, ReasonCode::MalformedPacket, flags); // [MQTT-3.8.1-1] [MQTT5-3.8.1-1]
            t.open(bob);
            t.silence();
        }
    }
}

#[test]
fn options_that_do_not_exist_are_refused() {
    for (bits, reason, sentence) in [
        (
            0x40,
            ReasonCode::MalformedPacket,
            "SUBSCRIBE has reserved option bits set",
        ), // [MQTT5-3.8.3-5]
        (
            0x30,
            ReasonCode::ProtocolError,
            "SUBSCRIBE has Retain Handling 3, which does not exist",
        ),
    ] {
        let mut t = Table::new();
        let ann = t.client(V5, "ann");
        t.sends_bytes(ann, &raw_subscribe(V5, &[0, 1, b'a', bits]));
        t.cut_off(ann, reason, sentence);
        t.silence();
    }
    // 3.1.1 has only the QoS in that byte.
    let mut t = Table::new();
    let ann = t.client(V311, "ann");
    t.sends_bytes(ann, &raw_subscribe(V311, b"\0\x01a\x04"));
    t.closed(ann); // [MQTT-3.8.3-4]
}

#[test]
fn no_reason_string_makes_a_suback_too_large_for_its_client() {
    let mut t = Table::new();
    let maximum = Property::MaximumPacketSize(30.try_into().unwrap());
    let ann = t.connects(V5, connect("ann").with(maximum));
    t.sends(ann, subscribe(1, "a#", 0).and("b", 1));
    t.gets(ann, suback(1, &[0x8f, 1])); // [MQTT5-3.9.2-1] [MQTT5-3.9.2-2]
    let quiet = Property::RequestProblemInformation(false);
    let bob = t.connects(V5, connect("bob").with(quiet));
    t.sends(bob, subscribe(1, "a#", 0));
    t.gets(bob, suback(1, &[0x8f])); // [MQTT5-3.1.2-29]
    t.silence();
}

#[test]
fn a_resumed_session_keeps_its_subscriptions_and_gets_no_retained_messages() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        t.sends(bob, publish("a", "kept").retain());
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.sends(ann, subscribe(1, "a", 1).and("$share/g/b", 1));
        t.gets(ann, suback(1, &[1, 1]));
        t.gets(ann, publish("a", "kept").retain());
        t.leaves(ann);
        assert_eq!(subscriptions(&t), 2);
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.silence(); // [MQTT-3.3.1-6] [MQTT5-3.3.1-9]: only a SUBSCRIBE brings them.
        t.sends(bob, publish("a", "new"));
        t.gets(ann, publish("a", "new"));
        t.leaves(ann);
        let ann = t.connects(version, connect("ann")); // Clean: all are gone.
        assert_eq!(subscriptions(&t), 0);
        t.sends(bob, publish("a", "newer"));
        t.open(ann);
        t.silence();
    }
}

#[test]
fn subscriptions_are_counted_until_their_session_ends() {
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").lasting(10));
    let bob = t.client(V311, "bob");
    t.sends(
        ann,
        subscribe(1, "a", 0)
            .and("a", 1)
            .and("$share/g/a", 0)
            .and("$share/h/a", 0),
    );
    t.sends(
        bob,
        subscribe(1, "a", 0)
            .and("$share/g/a", 0)
            .and("$share/g/a", 2),
    );
    t.gets(ann, suback(1, &[0, 1, 0, 0]));
    t.gets(bob, suback(1, &[0, 0, 2]));
    assert_eq!(subscriptions(&t), 5);
    t.drops(bob);
    assert_eq!(subscriptions(&t), 3);
    t.drops(ann);
    t.passes(9);
    assert_eq!(subscriptions(&t), 3);
    t.passes(2);
    assert_eq!(subscriptions(&t), 0);
    t.silence();
}

#[test]
fn a_packet_that_ends_its_connection_subscribes_to_nothing() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").lasting(1000));
        let packet = subscribe(1, "a", 1);
        t.sends(
            ann,
            match version {
                V5 => packet.and_with("$share/g/b", no_local(1)), // [MQTT5-3.8.3-4]
                V31 | V311 => packet.and("b#", 1),                // [MQTT-4.8.0-1]
            },
        );
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "No Local is set on a shared subscription",
        );
        assert_eq!(t.broker.sizes().sessions, 1);
        assert_eq!(subscriptions(&t), 0);
    }
}

//! UNSUBSCRIBE and UNSUBACK [MQTT §3.10, §3.11] [MQTT5 §3.10, §3.11]: what is deleted, what is still
//! delivered, and what is answered.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

/// An UNSUBSCRIBE with Packet Identifier 1 and this payload, whatever it is.
fn raw_unsubscribe(version: ProtocolVersion, payload: &[u8]) -> Vec<u8> {
    let head: &[u8] = if version == V5 { &[0, 1, 0] } else { &[0, 1] };
    let mut bytes = vec![0xa2, u8::try_from(head.len() + payload.len()).unwrap()];
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn nothing_new_comes_after_unsuback() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "a", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(ann, unsubscribe(0x0102, &["a"]));
        t.gets(ann, unsuback(0x0102, &[0])); // [MQTT-3.10.4-4] [MQTT5-3.10.4-4] [MQTT5-3.10.4-5]
        t.sends(bob, publish("a", "x"));
        t.silence(); // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT5-3.10.4-1] [MQTT5-3.10.4-2]
        assert_eq!(t.broker.sizes().subscriptions, 0);
    }
}

#[test]
fn a_filter_is_compared_byte_for_byte_with_the_held_ones() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(
            ann,
            subscribe(1, "a/+", 0).and("a/b", 1).and("$share/g/c", 0),
        );
        t.gets(ann, suback(1, &[0, 1, 0]));
        let strangers = [
            "a/#",
            "a/c",
            "A/b",
            "a/b/",
            "+/b",
            "#",
            "a",
            "c",
            "$share/h/c",
            "$share/g/+",
        ];
        t.sends(ann, unsubscribe(2, &strangers));
        // [MQTT-3.10.4-1] [MQTT-3.10.4-5] [MQTT5-3.10.4-1] [MQTT5-3.10.4-5] [MQTT5-3.11.3-2]
        t.gets(ann, unsuback(2, &[0x11; 10]));
        assert_eq!(t.broker.sizes().subscriptions, 3);
        t.sends(ann, unsubscribe(3, &["a/b"]));
        t.gets(ann, unsuback(3, &[0]));
        t.sends(bob, publish("a/b", "x").qos1(1));
        t.gets(bob, puback(1));
        t.gets(ann, publish("a/b", "x")); // By a/+ alone, at its QoS.
        t.sends(ann, unsubscribe(4, &["$share/g/c"]));
        t.gets(ann, unsuback(4, &[0]));
        assert_eq!(t.broker.sizes().subscriptions, 1);
        t.silence();
    }
}

#[test]
fn an_unsuback_has_a_code_for_each_filter_in_order() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "a", 0).and("b", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.sends(ann, unsubscribe(2, &["none", "b", "b", "a"]));
        // [MQTT-3.10.4-6] [MQTT5-3.10.4-6] [MQTT5-3.11.3-1] [MQTT5-3.11.3-2]
        t.gets(ann, unsuback(2, &[0x11, 0, 0x11, 0]));
        t.sends(bob, publish("a", "x"));
        t.sends(bob, publish("b", "x"));
        t.silence();
    }
}

#[test]
fn deliveries_begun_before_unsubscribe_are_completed() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.sends(ann, subscribe(1, "a", 2));
        t.gets(ann, suback(1, &[2]));
        t.sends(bob, publish("a", "one").qos1(1));
        t.sends(bob, publish("a", "two").qos2(2));
        t.ignores(bob);
        t.gets(ann, publish("a", "one").qos1(1));
        t.gets(ann, publish("a", "two").qos2(2));
        t.sends(ann, unsubscribe(2, &["a"]));
        t.gets(ann, unsuback(2, &[0]));
        t.drops(ann);
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.gets(ann, publish("a", "one").qos1(1).dup()); // [MQTT-3.10.4-3] [MQTT5-3.10.4-3]
        t.gets(ann, publish("a", "two").qos2(2).dup());
        t.sends(ann, puback(1));
        t.sends(ann, pubrec(2));
        t.gets(ann, pubrel(2));
        t.sends(ann, pubcomp(2));
        t.silence();
    }
}

#[test]
fn what_waits_behind_the_window_still_comes_after_unsubscribe() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
        t.sends(ann, subscribe(1, "a", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(bob, publish("a", "one").qos1(1));
        t.sends(bob, publish("a", "two").qos1(2));
        t.ignores(bob);
        t.gets(ann, publish("a", "one").qos1(1));
        t.sends(ann, unsubscribe(2, &["a"]));
        t.gets(ann, unsuback(2, &[0]));
        t.sends(ann, puback(1));
        t.gets(ann, publish("a", "two").qos1(2)); // It was for the subscription there was.
        t.sends(ann, puback(2));
        t.silence();
    }
}

#[test]
fn a_bad_filter_is_refused_by_itself_in_5_and_closes_in_3() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "a", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(ann, unsubscribe(2, &["a", "b/#/c", "none"]));
        if version == V5 {
            let sentence = "'b/#/c': The wildcard # must be the last level of a Topic Filter";
            // [MQTT5-3.11.3-1] [MQTT5-3.11.3-2] [MQTT5-4.7.1-1]
            t.gets(ann, unsuback(2, &[0, 0x8f, 0x11]).because(sentence));
            assert_eq!(t.broker.sizes().subscriptions, 0);
        } else {
            t.closed(ann); // [MQTT-4.7.1-2] [MQTT-4.8.0-1]
        }
        t.open(bob);
        t.silence();
    }
}

#[test]
fn a_malformed_unsubscribe_ends_its_connection_and_no_other() {
    let rows: [(&[u8], ReasonCode, &str); 4] = [
        (
            b"",
            ReasonCode::ProtocolError,
            "UNSUBSCRIBE has no Topic Filter",
        ),
        (
            b"\0\x01\xff",
            ReasonCode::MalformedPacket,
            "packet has a string that is not UTF-8",
        ),
        (
            b"\0\x03a\0b",
            ReasonCode::MalformedPacket,
            "packet has a string with a null character in it",
        ),
        (
            b"\0\x05a",
            ReasonCode::MalformedPacket,
            "packet ends in the middle of a field",
        ),
    ];
    for version in EVERY {
        // [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT5-3.10.3-1] [MQTT5-3.10.3-2]
        for (payload, reason, sentence) in rows {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &raw_unsubscribe(version, payload));
            t.cut_off(ann, reason, sentence);
            t.open(bob);
            t.silence();
        }
        for first in [0xa0, 0xa3, 0xaa] {
            if (first, version) == (0xaa, V31) {
                continue; // DUP, which it may have there [MQTT31 §2.1.2].
            }
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            let mut bytes = raw_unsubscribe(version, b"\0\x01a");
            bytes[0] = first;
            t.sends_bytes(ann, &bytes);
            let sentence = "UNSUBSCRIBE has flags in its first byte that it may not have";
            t.cut_off(ann, ReasonCode::MalformedPacket, sentence); // [MQTT-3.10.1-1] [MQTT5-3.10.1-1]
            t.open(bob);
            t.silence();
        }
    }
}

#[test]
fn no_reason_string_makes_an_unsuback_too_large_for_its_client() {
    let mut t = Table::new();
    let maximum = Property::MaximumPacketSize(30.try_into().unwrap());
    let ann = t.connects(V5, connect("ann").with(maximum));
    t.sends(ann, unsubscribe(1, &["a#", "b"]));
    t.gets(ann, unsuback(1, &[0x8f, 0x11])); // [MQTT5-3.11.2-1] [MQTT5-3.11.2-2]
    t.silence();
}

#[test]
fn a_packet_that_ends_its_connection_unsubscribes_from_nothing() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").durable());
        t.sends(ann, subscribe(1, "a", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(ann, unsubscribe(2, &["a", "b#"]));
        t.closed(ann); // [MQTT-4.8.0-1]
        assert_eq!(t.broker.sizes().subscriptions, 1);
    }
}

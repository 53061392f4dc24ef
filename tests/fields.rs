//! What packets are made of: strings, Packet Identifiers, property lengths [MQTT §1.5, §2.3]
//! [MQTT5 §1.5, §2.2].

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::{packet, string};
use table::*;

const NO_STRINGS: [(&[u8], &str); 7] = [
    (b"\xc3\x28", "packet has a string that is not UTF-8"),
    (b"tea\xff", "packet has a string that is not UTF-8"),
    (b"\xed\xa0\x80", "packet has a string that is not UTF-8"),
    (b"\xed\xbf\xbf", "packet has a string that is not UTF-8"),
    (b"\xf4\x90\x80\x80", "packet has a string that is not UTF-8"),
    (b"\xe2\x82", "packet has a string that is not UTF-8"),
    (b"a\0b", "packet has a string with a null character in it"),
];

#[test]
fn a_string_that_is_none_ends_the_connection() {
    for version in EVERY {
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        for (bad, sentence) in NO_STRINGS {
            let bad = string(bad);
            for bytes in [
                packet(0x30, &[&bad, no_properties, b"hot"].concat()),
                packet(0x32, &[&bad, &b"\0\x01"[..], no_properties].concat()),
                packet(0x82, &[b"\0\x01", no_properties, &bad, b"\0"].concat()),
                packet(0xa2, &[b"\0\x01", no_properties, &bad].concat()),
            ] {
                let mut t = Table::new();
                let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
                t.sends(bob, subscribe(1, "#", 0));
                t.gets(bob, suback(1, &[0]));
                t.sends_bytes(ann, &bytes);
                // [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT5-1.5.4-1] [MQTT5-1.5.4-2] [MQTT5-4.13.1-1]
                t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
                t.silence();
                t.open(bob);
            }
        }
    }
}

#[test]
fn both_halves_of_a_user_property_are_strings() {
    for (bad, sentence) in NO_STRINGS {
        for (name, value) in [(bad, &b"x"[..]), (b"x", bad)] {
            let property = [&[0x26][..], &string(name), &string(value)].concat();
            let length = u8::try_from(property.len()).unwrap();
            let body = [&string("tea"), &[length][..], &property, b"hot"].concat();
            let mut t = Table::new();
            let ann = t.client(V5, "ann");
            t.sends_bytes(ann, &packet(0x30, &body));
            t.cut_off(ann, ReasonCode::MalformedPacket, sentence); // [MQTT5-1.5.7-1]
        }
    }
}

#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "\u{feff}ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "\u{feff}tea", 0));
        t.gets(bob, suback(1, &[0]));
        t.sends(ann, publish("tea", "hot"));
        t.silence();
        let property = Property::UserProperty("\u{feff}", "x\u{feff}");
        t.sends(ann, publish("\u{feff}tea", "hot").with(property));
        t.gets(bob, publish("\u{feff}tea", "hot").with(property)); // [MQTT-1.5.3-3] [MQTT5-1.5.4-3]
        t.client(version, "ann"); // another one
        t.silence();
        t.open(ann);
    }
}

#[test]
fn the_packet_identifier_zero_ends_the_connection() {
    for version in EVERY {
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let tea = string("tea");
        for (name, bytes) in [
            (
                "PUBLISH",
                packet(0x32, &[&tea, &b"\0\0"[..], no_properties].concat()),
            ),
            (
                "PUBLISH",
                packet(0x34, &[&tea, &b"\0\0"[..], no_properties].concat()),
            ),
            (
                "SUBSCRIBE",
                packet(0x82, &[b"\0\0", no_properties, &tea, b"\0"].concat()),
            ),
            (
                "UNSUBSCRIBE",
                packet(0xa2, &[b"\0\0", no_properties, &tea].concat()),
            ),
            ("PUBACK", packet(0x40, b"\0\0")),
            ("PUBREC", packet(0x50, b"\0\0")),
            ("PUBREL", packet(0x62, b"\0\0")),
            ("PUBCOMP", packet(0x70, b"\0\0")),
        ] {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, subscribe(1, "#", 0));
            t.gets(bob, suback(1, &[0]));
            t.sends_bytes(ann, &bytes);
            let sentence = format!("{name} has the Packet Identifier 0");
            // [MQTT-2.3.1-1] [MQTT5-2.2.1-3]
            t.cut_off(ann, ReasonCode::ProtocolError, &sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn answers_have_the_packet_identifier_of_what_they_answer() {
    for version in EVERY {
        for id in [1, 0x1234, 0xabcd, 0xffff] {
            let mut t = Table::new();
            let ann = t.client(version, "ann");
            t.sends(ann, subscribe(id, "tea", 0));
            t.gets(ann, suback(id, &[0])); // [MQTT-2.3.1-7] [MQTT5-2.2.1-6]
            t.sends(ann, publish("x", "").qos1(id));
            let unheard = ReasonCode::NoMatchingSubscribers;
            t.gets(ann, puback(id).reason(unheard)); // [MQTT-2.3.1-6] [MQTT5-2.2.1-5]
            t.sends(ann, publish("x", "").qos2(id));
            t.gets(ann, pubrec(id).reason(unheard)); // [MQTT-2.3.1-6] [MQTT5-2.2.1-5]
            t.sends(ann, pubrel(id));
            t.gets(ann, pubcomp(id)); // [MQTT5-2.2.1-5]
            t.sends(ann, unsubscribe(id, &["tea"]));
            t.gets(ann, unsuback(id, &[0])); // [MQTT-2.3.1-7] [MQTT5-2.2.1-6]
            t.silence();
        }
    }
}

#[test]
fn the_broker_gives_out_identifiers_that_are_free() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 100);
        let ann = t.connects(version, connect("ann").lasting(100));
        t.sends(ann, subscribe(1, "tea", 2));
        t.gets(ann, suback(1, &[2]));
        let bob = t.client(version, "bob");
        for count in 1..=20 {
            t.sends(bob, publish("tea", "hot").qos(1 + (count & 1) as u8, count));
            t.ignores(bob);
        }
        let mut free = Vec::new();
        for count in 1..=20 {
            // [MQTT-2.3.1-4] [MQTT5-2.2.1-4]: not zero, and none twice
            t.gets(ann, publish("tea", "hot").qos(1 + (count & 1) as u8, count));
            free.push(count);
        }
        t.sends(ann, puback(4));
        t.sends(ann, publish("tea", "cold").qos1(9));
        t.gets(ann, publish("tea", "cold").qos1(21));
        t.ignores(ann);
        t.drops(ann);
        let ann = t.connects(version, connect("ann").lasting(100));
        for count in free.into_iter().filter(|count| *count != 4) {
            // [MQTT-2.3.1-4]: the same again
            let packet = publish("tea", "hot").dup();
            t.gets(ann, packet.qos(1 + (count & 1) as u8, count));
        }
        t.gets(ann, publish("tea", "cold").dup().qos1(21));
        t.silence();
    }
}

#[test]
fn identifiers_go_round_and_leave_out_those_in_flight() {
    for version in [V311, V5] {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "tea", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(bob, publish("tea", "").qos1(1));
        t.gets(ann, publish("tea", "").qos1(1)); // never acknowledged
        t.gets(bob, puback(1));
        for id in 2..=u16::MAX {
            t.sends(bob, publish("tea", "").qos1(1));
            t.ignores(bob);
            t.ignores(ann);
            t.sends(ann, puback(id));
        }
        t.sends(bob, publish("tea", "last").qos1(1));
        t.gets(ann, publish("tea", "last").qos1(2)); // [MQTT-2.3.1-4] [MQTT5-2.2.1-4]
    }
}

#[test]
fn a_qos_0_publish_has_no_packet_identifier() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "tea", 2));
        t.gets(bob, suback(1, &[2]));
        t.sends(ann, publish("tea", b"\x00\x01hot"));
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let body = [&string("tea"), no_properties, b"\x00\x01hot"].concat();
        // [MQTT-2.3.1-5] [MQTT5-2.2.1-2]
        assert_eq!(t.next(bob).unwrap(), packet(0x30, &body));
        t.silence();
    }
}

#[test]
fn no_properties_are_said_by_the_length_zero() {
    // [MQTT5-2.2.2-1]: sent,
    let mut t = Table::with(|config| {
        config.listeners[0].max_topic_alias = 0;
        config.max_packet_size = 0;
        config.max_inflight_messages = 0;
    });
    let ann = t.says_connect(V5, connect("ann"));
    assert_eq!(t.next(ann).unwrap(), [0x20, 3, 0, 0, 0]);
    t.sends(ann, subscribe(1, "tea", 0));
    assert_eq!(t.next(ann).unwrap(), [0x90, 4, 0, 1, 0, 0]);
    t.sends(ann, publish("tea", "hot"));
    assert_eq!(t.next(ann).unwrap(), *b"\x30\x09\x00\x03tea\x00hot");
    t.sends(ann, unsubscribe(2, &["tea"]));
    assert_eq!(t.next(ann).unwrap(), [0xb0, 4, 0, 2, 0, 0]);
    // [MQTT5-2.2.2-1]: and asked for.
    t.sends_bytes(ann, &packet(0x30, &string("tea")));
    t.cut_off(
        ann,
        ReasonCode::MalformedPacket,
        "packet ends in the middle of a field",
    );
    let bob = t.says_bytes(V5, &packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00"));
    t.refused(
        bob,
        ReasonCode::MalformedPacket,
        "packet ends in the middle of a field",
    );
}

#[test]
fn lengths_the_broker_writes_are_the_shortest() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        for count in [121, 122, 123, 16_377, 16_378, 16_379] {
            let text = "x".repeat(count);
            let property = Property::UserProperty(&text, "");
            let hot = publish("tea", &text).with(property);
            t.sends(ann, hot.clone());
            t.gets(bob, hot); // [MQTT5-1.5.5-1]: byte for byte
        }
    }
}

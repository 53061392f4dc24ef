//! A CONNECT of the wrong form: name and level, flags, strings, properties, and what each gets.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::{connect_as, connect_with, packet, string};
use table::*;

/// Connect Flags.
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS_1: u8 = 0x08;
const WILL_QOS_3: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// From 3.1.1 on, where more is forbidden.
const SINCE_311: [ProtocolVersion; 2] = [V311, V5];

#[test]
fn another_protocol_name_is_not_answered() {
    for (name, level) in [
        ("MQTS", 4),
        ("mqtt", 4),
        ("MQTT ", 4),
        ("MQTX", 5),
        ("MQIsdP", 3),
        ("", 4),
    ] {
        let mut t = Table::new();
        let ann = t.says_bytes(V311, &connect_as(name, level, CLEAN, &[&string("ann")]));
        t.closed(ann); // [MQTT-3.1.2-1] [MQTT5-3.1.2-1]
    }
}

#[test]
fn an_unknown_level_is_refused_in_the_form_of_the_nearest_version() {
    for (name, level, version) in [
        ("MQTT", 0, V311),
        ("MQTT", 3, V311),
        ("MQTT", 0x83, V311),
        ("MQIsdp", 4, V31),
        ("MQIsdp", 5, V31),
        ("MQTT", 6, V5),
        ("MQTT", 127, V5),
        // The bridge bit is not for 5.0.
        ("MQTT", 0x85, V5),
    ] {
        let mut t = Table::new();
        let ann = t.says_bytes(version, &connect_as(name, level, CLEAN, &[&string("ann")]));
        let sentence = format!("CONNECT asks for protocol level {level}, which is not served");
        // [MQTT-3.1.2-2] [MQTT-3.2.2-5] [MQTT5-3.1.2-2] [MQTT5-3.2.2-7]
        t.refused(ann, ReasonCode::UnsupportedProtocolVersion, &sentence);
    }
}

#[test]
fn the_level_decides_before_what_follows_it_is_read() {
    let mut t = Table::new();
    let ann = t.says_bytes(V311, &packet(0x10, b"\x00\x04MQTT\x02"));
    t.gets(ann, refusal(false, ReasonCode::UnsupportedProtocolVersion));
    t.closed(ann);
}

#[test]
fn flags_and_payload_must_agree() {
    let (id, x) = (string("ann"), string("x"));
    let short = "packet ends in the middle of a field";
    let long = "packet goes on after its last field";
    let rows: [(u8, Vec<&[u8]>, &str); 7] = [
        // [MQTT-3.1.2-18] [MQTT5-3.1.2-16]: no User Name Flag, yet a string
        (0, vec![&id, &x], long),
        // [MQTT-3.1.2-19] [MQTT5-3.1.2-17]: User Name Flag, no string
        (USER_NAME, vec![&id], short),
        // [MQTT-3.1.2-20] [MQTT5-3.1.2-18]: no Password Flag, yet a second string
        (USER_NAME, vec![&id, &x, &x], long),
        // [MQTT-3.1.2-21] [MQTT5-3.1.2-19]: Password Flag, no second string
        (USER_NAME | PASSWORD, vec![&id, &x], short),
        // [MQTT-3.1.2-9] [MQTT5-3.1.2-9]: Will Flag, nothing more
        (WILL, vec![&id], short),
        // [MQTT-3.1.2-11]: no Will Flag, yet its fields
        (0, vec![&id, &x, &x], long),
        // [MQTT-3.1.3-3] [MQTT5-3.1.3-3]: no Client Identifier
        (0, vec![], short),
    ];
    for version in SINCE_311 {
        for (flags, payload, sentence) in &rows {
            let mut t = Table::new();
            let bob = t.client(version, "bob");
            let ann = t.says_bytes(version, &connect_with(version, flags | CLEAN, payload));
            // [MQTT-3.1.4-1] [MQTT-3.2.2-6] [MQTT5-3.1.4-1] [MQTT5-4.13.1-1]
            t.refused(ann, ReasonCode::MalformedPacket, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_will_announced_must_be_whole() {
    for version in SINCE_311 {
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let id = string("ann");
        let topic = string("gone");
        let mut t = Table::new();
        let ann = t.says_bytes(
            version,
            &connect_with(version, WILL | CLEAN, &[&id, no_properties, &topic]),
        );
        // [MQTT-3.1.2-9] [MQTT5-3.1.2-9]
        t.refused(
            ann,
            ReasonCode::MalformedPacket,
            "packet ends in the middle of a field",
        );
    }
    // 3.1 lets go the strings behind the Will, but not the Will.
    let mut t = Table::new();
    let ann = t.says_bytes(V31, &connect_with(V31, WILL | CLEAN, &[&string("ann")]));
    t.closed(ann);
    let bob = t.says_bytes(
        V31,
        &connect_with(V31, USER_NAME | CLEAN, &[&string("bob")]),
    );
    t.gets(bob, connack(false));
    t.open(bob);
}

#[test]
fn flags_that_contradict_each_other_are_malformed() {
    let rows = [
        // [MQTT-3.1.2-3] [MQTT5-3.1.2-3]
        (RESERVED, "CONNECT has the reserved flag set"),
        // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT5-3.1.2-11]
        (
            WILL_QOS_1,
            "CONNECT has Will QoS or Will Retain but no Will",
        ),
        // [MQTT-3.1.2-11] [MQTT-3.1.2-15] [MQTT5-3.1.2-13]
        (
            WILL_RETAIN,
            "CONNECT has Will QoS or Will Retain but no Will",
        ),
        // [MQTT-3.1.2-14] [MQTT5-3.1.2-12]
        (
            WILL | WILL_QOS_3,
            "CONNECT has a Will with QoS 3, which does not exist",
        ),
        (
            WILL_QOS_3,
            "CONNECT has a Will with QoS 3, which does not exist",
        ),
    ];
    for version in SINCE_311 {
        for (flags, sentence) in rows {
            let mut t = Table::new();
            let bob = t.client(version, "bob");
            t.sends(bob, subscribe(1, "#", 0));
            t.gets(bob, suback(1, &[0]));
            let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
            let mut payload = vec![string("ann")];
            if flags & WILL != 0 {
                payload.extend([no_properties.to_vec(), string("gone"), string("x")]);
            }
            let bytes = connect_with(version, flags | CLEAN, &[&payload.concat()]);
            let ann = t.says_bytes(version, &bytes);
            t.refused(ann, ReasonCode::MalformedPacket, sentence);
            t.silence();
        }
    }
}

#[test]
fn flags_that_3_1_gives_no_meaning_are_ignored_there() {
    for flags in [RESERVED, WILL_QOS_1, WILL_RETAIN] {
        let mut t = Table::new();
        let ann = t.says_bytes(V31, &connect_with(V31, flags | CLEAN, &[&string("ann")]));
        t.gets(ann, connack(false));
        t.open(ann);
    }
}

#[test]
fn strings_of_a_connect_that_are_no_strings_are_malformed() {
    for version in EVERY {
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        for (bad, sentence) in [
            (&b"\xff\xfe"[..], "packet has a string that is not UTF-8"),
            (b"\xc0\x80", "packet has a string that is not UTF-8"),
            (b"\xed\xa0\x80", "packet has a string that is not UTF-8"),
            (b"a\0b", "packet has a string with a null character in it"),
        ] {
            let (id, bad) = (string("ann"), string(bad));
            let will = [&id, no_properties, &bad, &string("x")].concat();
            let rows: [(u8, Vec<&[u8]>); 3] = [
                // [MQTT-3.1.3-4] [MQTT5-3.1.3-4]
                (0, vec![&bad]),
                // [MQTT-3.1.3-10] [MQTT5-3.1.3-11]
                (WILL, vec![&will]),
                // [MQTT-3.1.3-11] [MQTT5-3.1.3-12]
                (USER_NAME, vec![&id, &bad]),
            ];
            for (flags, payload) in rows {
                let mut t = Table::new();
                let ann = t.says_bytes(version, &connect_with(version, flags | CLEAN, &payload));
                // [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT5-1.5.4-1] [MQTT5-1.5.4-2]
                t.refused(ann, ReasonCode::MalformedPacket, sentence);
            }
        }
    }
}

#[test]
fn a_will_topic_that_is_no_topic_is_refused() {
    for version in EVERY {
        for (topic, why) in [
            ("", "A Topic Name needs at least one character"),
            ("a/#", "A Topic Name must not hold the wildcards + and #"),
            ("+", "A Topic Name must not hold the wildcards + and #"),
        ] {
            let mut t = Table::new();
            let ann = t.says_connect(version, connect("ann").will(topic, "x", 0, false));
            // [MQTT-3.2.2-6]: no return code fits
            t.refused(
                ann,
                ReasonCode::TopicNameInvalid,
                &format!("Will Topic: {why}"),
            );
        }
    }
}

#[test]
fn properties_of_a_connect_that_break_the_rules_are_refused() {
    let auth_data = Property::AuthenticationData(b"x");
    let rows: [(Vec<Property<'_>>, ReasonCode, &str); 4] = [
        (
            vec![
                Property::ReceiveMaximum(1.try_into().unwrap()),
                Property::ReceiveMaximum(1.try_into().unwrap()),
            ],
            ReasonCode::ProtocolError,
            "packet has the property Receive Maximum twice",
        ),
        (
            vec![Property::MaximumQoS(true)],
            ReasonCode::MalformedPacket,
            "CONNECT has the property Maximum QoS, which does not belong there",
        ),
        (
            vec![auth_data],
            ReasonCode::ProtocolError,
            "packet has Authentication Data but no Authentication Method",
        ),
        // [MQTT5-4.12.0-1] [MQTT5-4.12.0-4]
        (
            vec![Property::AuthenticationMethod("GS2-KRB5"), auth_data],
            ReasonCode::BadAuthenticationMethod,
            "this Authentication Method is not supported; none is",
        ),
    ];
    for (properties, code, sentence) in rows {
        let mut t = Table::new();
        let packet = properties.into_iter().fold(connect("ann"), Say::with);
        let ann = t.says_connect(V5, packet);
        t.refused(ann, code, sentence); // [MQTT5-3.1.4-1] [MQTT5-3.1.4-2] [MQTT5-3.2.2-7]
    }
}

#[test]
fn numbers_that_may_not_be_zero_are_refused() {
    for (property, name) in [
        (&b"\x21\x00\x00"[..], "Receive Maximum"),
        (b"\x27\x00\x00\x00\x00", "Maximum Packet Size"),
        (b"\x17\x02", "Request Problem Information"),
        (b"\x19\x02", "Request Response Information"),
    ] {
        let length = u8::try_from(property.len()).unwrap();
        let body = [
            b"\x00\x04MQTT\x05\x02\x00\x00".as_slice(),
            &[length],
            property,
            &string("ann"),
        ];
        let mut t = Table::new();
        let ann = t.says_bytes(V5, &packet(0x10, &body.concat()));
        let sentence = format!("packet has the property {name} with a value it may not have");
        t.refused(ann, ReasonCode::ProtocolError, &sentence);
    }
}

//! Packets that are wrong in themselves or for whom they come from: reserved types and flags, what
//! only servers send, AUTH out of the blue, fields cut short. Whoever sends one is closed, 5.0 hears
//! why, and nobody else notices.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::PacketType;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::packet;
use table::*;

/// A packet of each type that a client sends, but PUBLISH, whose flags have a meaning.
fn samples(version: ProtocolVersion) -> Vec<Vec<u8>> {
    let mut samples = vec![
        puback(1).bytes(version),
        pubrec(1).bytes(version),
        pubrel(1).bytes(version),
        pubcomp(1).bytes(version),
        subscribe(1, "a", 0).bytes(version),
        unsubscribe(1, &["a"]).bytes(version),
        pingreq().bytes(version),
        disconnect().bytes(version),
        connect("ann").bytes(version),
    ];
    if version == V5 {
        samples.push(auth(ReasonCode::ReAuthenticate).bytes(version));
    }
    samples
}

/// What only servers send.
fn server_packets(version: ProtocolVersion) -> Vec<Vec<u8>> {
    vec![
        connack(false).bytes(version),
        suback(1, &[0]).bytes(version),
        unsuback(1, &[0]).bytes(version),
        pingresp().bytes(version),
    ]
}

fn name_of(bytes: &[u8]) -> &'static str {
    PacketType::from_first_byte(bytes[0]).name()
}

#[test]
fn flags_a_packet_may_not_have_end_the_connection() {
    for version in EVERY {
        for sample in samples(version) {
            for flags in 0..16_u8 {
                // [MQTT31 §2.1.2]: there DUP may be set on what is sent with QoS 1.
                let dup = if version == V31 && sample[0] & 0x0f == 2 {
                    8
                } else {
                    0
                };
                if flags & !dup == sample[0] & 0x0f {
                    continue;
                }
                let mut t = Table::new();
                let bob = t.client(version, "bob");
                t.sends(bob, subscribe(1, "gone", 0));
                t.gets(bob, suback(1, &[0]));
                let ann = t.connects(version, connect("ann").will("gone", "ann", 0, false));
                let mut bytes = sample.clone();
                bytes[0] = bytes[0] & 0xf0 | flags;
                t.sends_bytes(ann, &bytes);
                let name = name_of(&sample);
                let sentence = format!("{name} has flags in its first byte that it may not have");
                // [MQTT-2.2.2-2] [MQTT-3.14.1-1] [MQTT5-2.1.3-1] [MQTT5-3.14.1-1]
                // [MQTT5-3.15.1-1] [MQTT5-4.13.1-1]
                t.cut_off(ann, ReasonCode::MalformedPacket, &sentence);
                t.gets(bob, publish("gone", "ann"));
                t.silence();
                t.open(bob);
            }
        }
    }
}

#[test]
fn flags_of_a_connect_that_is_the_first_packet() {
    for version in EVERY {
        for flags in 1..16_u8 {
            let mut bytes = connect("ann").bytes(version);
            bytes[0] |= flags;
            let mut t = Table::new();
            let ann = t.says_bytes(version, &bytes);
            // [MQTT-2.2.2-2] [MQTT-3.1.4-1] [MQTT5-2.1.3-1] [MQTT5-3.14.0-1]
            t.refused(
                ann,
                ReasonCode::MalformedPacket,
                "CONNECT has flags in its first byte that it may not have",
            );
        }
    }
}

#[test]
fn every_packet_the_broker_sends_has_the_flags_of_the_table() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.says_connect(version, connect("ann"));
        let mut heard = vec![t.next(ann).unwrap()[0]];
        for packet in [
            subscribe(1, "tea", 2),
            publish("x", "").qos1(2),
            publish("x", "").qos2(3),
            pubrel(3),
            unsubscribe(4, &["x"]),
            pingreq(),
            publish("tea", "hot").qos2(5),
            pubrec(1),
        ] {
            t.sends(ann, packet);
            while let Some(bytes) = t.next(ann) {
                heard.push(bytes[0]);
            }
        }
        // [MQTT-2.2.2-1] [MQTT5-2.1.3-1]
        let expected = [0x20, 0x90, 0x40, 0x50, 0x70, 0xb0, 0xd0, 0x34, 0x50, 0x62];
        heard.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(heard, expected);
    }
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    t.sends_bytes(ann, &[0xd0, 0]);
    assert_eq!(t.next(ann).unwrap()[0], 0xe0); // [MQTT5-3.14.1-1]
}

#[test]
fn packet_types_without_a_meaning_end_the_connection() {
    for version in EVERY {
        for first in [0x00, 0x0f, 0xf0] {
            if version == V5 && first == 0xf0 {
                continue;
            }
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &[first, 0]);
            let sentence = format!("packet has type {}, which does not exist", first >> 4);
            t.cut_off(ann, ReasonCode::MalformedPacket, &sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn packets_that_only_servers_send_end_the_connection() {
    for version in EVERY {
        for bytes in server_packets(version) {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &bytes);
            let sentence = format!("{} is for servers to send", name_of(&bytes));
            t.cut_off(ann, ReasonCode::ProtocolError, &sentence); // [MQTT-4.8.0-1] [MQTT5-4.13.1-1]
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn auth_out_of_the_blue_ends_the_connection() {
    for reason in [
        ReasonCode::Success,
        ReasonCode::ContinueAuthentication,
        ReasonCode::ReAuthenticate,
    ] {
        for method in [None, Some(Property::AuthenticationMethod("X"))] {
            let mut t = Table::new();
            let ann = t.client(V5, "ann");
            t.sends(ann, method.into_iter().fold(auth(reason), Say::with));
            // [MQTT5-4.12.0-7] [MQTT5-4.12.1-2]
            t.cut_off(
                ann,
                ReasonCode::ProtocolError,
                "AUTH without an exchange under way",
            );
        }
    }
}

#[test]
fn auth_with_a_code_it_does_not_have() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    t.sends_bytes(ann, &[0xf0, 1, 0x42]);
    // [MQTT5-3.15.2-1]
    t.cut_off(
        ann,
        ReasonCode::ProtocolError,
        "AUTH has the Reason Code 0x42, which it may not have",
    );
}

#[test]
fn a_body_where_there_is_none_ends_the_connection() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends_bytes(ann, &[0xc0, 1, 0]);
        t.cut_off(
            ann,
            ReasonCode::MalformedPacket,
            "packet goes on after its last field",
        );
    }
}

#[test]
fn a_packet_cut_in_the_middle_of_a_field_ends_the_connection() {
    for version in EVERY {
        for bytes in [
            packet(0x30, b""),
            packet(0x30, b"\x00"),
            packet(0x30, b"\x00\x05tea"),
            packet(0x32, b"\x00\x03tea\x00"),
            packet(0x40, b"\x01"),
            packet(0x82, b"\x00"),
            packet(0xa2, b""),
        ] {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &bytes);
            t.cut_off(
                ann,
                ReasonCode::MalformedPacket,
                "packet ends in the middle of a field",
            );
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_length_in_more_bytes_than_needed_inside_a_packet_is_malformed() {
    for body in [
        &b"\x00\x03tea\x80\x00hot"[..],
        b"\x00\x03tea\x80\x80\x80\x80\x00",
    ] {
        let mut t = Table::new();
        let ann = t.client(V5, "ann");
        t.sends_bytes(ann, &packet(0x30, body));
        // [MQTT5-1.5.5-1]
        t.cut_off(
            ann,
            ReasonCode::MalformedPacket,
            "packet has a Variable Byte Integer in too many bytes",
        );
    }
}

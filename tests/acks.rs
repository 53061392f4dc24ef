//! PUBACK, PUBREC, PUBREL and PUBCOMP as packets [MQTT §3.4 to §3.7] [MQTT5 §3.4 to §3.7]: their forms,
//! flags, Reason Codes and Reason Strings.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
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

/// Ann publishes at QoS 1, and is answered.
fn publishes(t: &mut Table, ann: Seat, topic: &str, payload: &str) {
    t.sends(ann, publish(topic, payload).qos1(77));
    t.gets(ann, puback(77));
}

#[test]
fn a_puback_that_is_malformed_ends_the_connection() {
    let flags = "PUBACK has flags in its first byte that it may not have";
    let rows: [(&[u8], &str); 3] = [
        (b"\x42\x02\0\x01", flags),
        (b"\x40\x00", "packet ends in the middle of a field"),
        (b"\x40\x01\0", "packet ends in the middle of a field"),
    ];
    for version in EVERY {
        for (bytes, sentence) in rows {
            let (mut t, ann, bob) = ann_and_bob(version);
            t.sends_bytes(bob, bytes);
            t.cut_off(bob, ReasonCode::MalformedPacket, sentence);
            t.silence();
            t.open(ann);
        }
        let (mut t, _, bob) = ann_and_bob(version);
        t.sends_bytes(bob, b"\x40\x02\0\0");
        let sentence = "PUBACK has the Packet Identifier 0";
        t.cut_off(bob, ReasonCode::ProtocolError, sentence);
        t.silence();
    }
}

#[test]
fn a_puback_with_a_reason_code_it_may_not_have_ends_the_connection() {
    let (mut t, ann, bob) = ann_and_bob(V5);
    publishes(&mut t, ann, "tea", "one");
    t.gets(bob, publish("tea", "one").qos1(1));
    t.sends_bytes(bob, b"\x40\x03\0\x01\x42"); // [MQTT5-3.4.2-1]
    let sentence = "PUBACK has the Reason Code 0x42, which it may not have";
    t.cut_off(bob, ReasonCode::ProtocolError, sentence);
    t.silence();
}

#[test]
fn a_puback_longer_than_its_identifier_is_malformed_in_3() {
    for version in [V31, V311] {
        let (mut t, _, bob) = ann_and_bob(version);
        t.sends_bytes(bob, b"\x40\x03\0\x01\0");
        t.cut_off(bob, ReasonCode::MalformedPacket, "");
        t.silence();
    }
}

#[test]
fn every_form_of_puback_is_taken() {
    for bytes in [
        &b"\x40\x02\0\x01"[..],
        b"\x40\x03\0\x01\0",
        b"\x40\x04\0\x01\0\0",
        b"\x40\x04\0\x01\x10\0",
        b"\x40\x0b\0\x01\0\x07\x26\0\x01a\0\x01b",
    ] {
        let (mut t, ann, bob) = ann_and_bob(V5);
        publishes(&mut t, ann, "tea", "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        t.sends_bytes(bob, bytes);
        t.silence();
        t.drops(bob);
        comes(&mut t, V5, "bob");
        t.silence();
    }
}

#[test]
fn a_reason_string_is_left_out_where_it_makes_the_packet_too_large() {
    let small = connect("ann").with(Property::MaximumPacketSize(40.try_into().unwrap()));
    let mut t = Table::new();
    let ann = t.connects(V5, small);
    t.sends(ann, publish("$SYS/x", "1").qos1(3));
    // [MQTT5-3.4.2-2] [MQTT5-3.4.2-3]
    t.gets(ann, puback(3).reason(ReasonCode::NotAuthorized));
    t.sends(ann, publish("$SYS/x", "1").qos2(4));
    // [MQTT5-3.5.2-2] [MQTT5-3.5.2-3]
    t.gets(ann, pubrec(4).reason(ReasonCode::NotAuthorized));
    t.sends(ann, pubrec(5));
    // [MQTT5-3.6.2-2] [MQTT5-3.6.2-3]
    t.gets(ann, pubrel(5).reason(ReasonCode::PacketIdentifierNotFound));
    t.sends(ann, pubrel(6));
    // [MQTT5-3.7.2-2] [MQTT5-3.7.2-3]
    t.gets(ann, pubcomp(6).reason(ReasonCode::PacketIdentifierNotFound));
    t.silence();
}

#[test]
fn a_reason_string_is_left_out_for_who_does_not_want_one() {
    let quiet = connect("ann").with(Property::RequestProblemInformation(false));
    let mut t = Table::new();
    let ann = t.connects(V5, quiet);
    t.sends(ann, publish("$SYS/x", "1").qos1(3));
    t.gets(ann, puback(3).reason(ReasonCode::NotAuthorized)); // [MQTT5-3.1.2-29]
    t.silence();
}

#[test]
fn flags_other_than_0010_are_malformed_in_pubrel() {
    for version in EVERY {
        for flags in 0..16 {
            // 3.1 has DUP there as well.
            if flags == 0b0010 || version == V31 && flags == 0b1010 {
                continue;
            }
            let (mut t, ann, bob) = ann_and_bob(version);
            t.sends(ann, publish("tea", "hot").qos2(7));
            t.gets(ann, pubrec(7));
            t.gets(bob, publish("tea", "hot").qos2(1));
            t.sends_bytes(ann, &[0x60 | flags, 2, 0, 7]);
            let sentence = "PUBREL has flags in its first byte that it may not have";
            // [MQTT-3.6.1-1] [MQTT5-3.6.1-1]
            t.cut_off(ann, ReasonCode::MalformedPacket, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn pubrel_may_have_dup_in_3_1() {
    let (mut t, ann, bob) = ann_and_bob(V31);
    t.sends(ann, publish("tea", "hot").qos2(7));
    t.gets(ann, pubrec(7));
    t.gets(bob, publish("tea", "hot").qos2(1));
    t.sends_bytes(ann, b"\x6a\x02\0\x07");
    t.gets(ann, pubcomp(7));
    t.silence();
}

#[test]
fn flags_are_malformed_in_pubrec_and_pubcomp() {
    for version in EVERY {
        for (first, name) in [(0x52, "PUBREC"), (0x72, "PUBCOMP")] {
            let (mut t, ann, bob) = ann_and_bob(version);
            t.sends_bytes(bob, &[first, 2, 0, 7]);
            let sentence = format!("{name} has flags in its first byte that it may not have");
            t.cut_off(bob, ReasonCode::MalformedPacket, &sentence);
            t.silence();
            t.open(ann);
        }
    }
}

#[test]
fn a_reason_code_that_does_not_belong_there_ends_the_connection() {
    // [MQTT5-3.5.2-1] [MQTT5-3.6.2-1] [MQTT5-3.7.2-1]
    let rows = [
        (0x50, 0x42, "PUBREC"),
        (0x50, 0x92, "PUBREC"),
        (0x62, 0x42, "PUBREL"),
        (0x62, 0x10, "PUBREL"),
        (0x62, 0x80, "PUBREL"),
        (0x70, 0x42, "PUBCOMP"),
        (0x70, 0x10, "PUBCOMP"),
    ];
    for (first, code, name) in rows {
        let (mut t, ann, bob) = ann_and_bob(V5);
        t.sends_bytes(bob, &[first, 3, 0, 7, code]);
        let sentence = format!("{name} has the Reason Code 0x{code:02x}, which it may not have");
        t.cut_off(bob, ReasonCode::ProtocolError, &sentence);
        t.silence();
        t.open(ann);
    }
}

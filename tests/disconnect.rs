//! DISCONNECT [MQTT §3.14] [MQTT5 §3.14], from either side.

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::packet;
use table::*;

#[test]
fn disconnect_closes_and_is_not_answered() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends_bytes(ann, &[0xe0, 0]);
        t.closed(ann);
        t.silence();
        t.open(bob);
        assert_eq!(t.broker.sizes().sessions, 1);
    }
}

#[test]
fn every_form_of_a_normal_disconnect() {
    for bytes in [&b"\xe0\x00"[..], b"\xe0\x01\x00", b"\xe0\x02\x00\x00"] {
        let mut t = Table::new();
        let bob = t.client(V5, "bob");
        t.sends(bob, subscribe(1, "gone", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.connects(V5, connect("ann").will("gone", "ann", 0, false));
        t.sends_bytes(ann, bytes);
        t.closed(ann);
        t.silence(); // [MQTT5-3.14.4-3]
    }
}

#[test]
fn disconnect_may_say_why() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let because = disconnect().because("it is late");
    t.sends(ann, because.with(Property::UserProperty("at", "23:59")));
    t.closed(ann);
}

#[test]
fn nothing_behind_a_disconnect_is_looked_at() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let mut bytes = disconnect().bytes(version);
        bytes.extend(publish("tea", "hot").bytes(version));
        bytes.extend([0xff; 10]);
        t.sends_bytes(ann, &bytes);
        t.closed(ann);
        t.silence(); // [MQTT5-3.14.4-1]
    }
}

#[test]
fn disconnect_of_3_has_no_body() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends_bytes(ann, &packet(0xe0, b"\x04"));
        t.closed(ann);
    }
}

#[test]
fn disconnect_with_a_code_it_does_not_have() {
    for code in [0x01, 0x02, 0x10, 0x42, 0x84, 0x85, 0x86, 0x91, 0x92, 0xff] {
        let mut t = Table::new();
        let bob = t.client(V5, "bob");
        t.sends(bob, subscribe(1, "gone", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.connects(V5, connect("ann").will("gone", "ann", 0, false));
        t.sends_bytes(ann, &[0xe0, 1, code]);
        let sentence =
            format!("DISCONNECT has the Reason Code 0x{code:02x}, which it may not have");
        t.cut_off(ann, ReasonCode::ProtocolError, &sentence); // [MQTT5-3.14.2-1]
        t.gets(bob, publish("gone", "ann"));
    }
}

#[test]
fn the_broker_says_why_with_nothing_that_it_may_not_say() {
    let sessions_end = |t: &mut Table, seat: Seat| {
        t.hears(seat, |packet| {
            let Packet::Disconnect(packet) = packet else {
                panic!("{packet:?} is no DISCONNECT")
            };
            // [MQTT5-3.14.2-1]: by decoding; [MQTT5-3.14.2-2] [MQTT5-3.14.2-4]: no other property
            let properties: Vec<_> = packet.properties.iter().collect();
            assert!(matches!(properties[..], [Property::ReasonString(_)]));
            packet.reason
        })
    };
    for (bytes, code) in [
        (&b"\xc1\x00"[..], ReasonCode::MalformedPacket),
        (b"\xd0\x00", ReasonCode::ProtocolError),
        (b"\xf0\x00", ReasonCode::ProtocolError),
        (b"\x30\x80\x80\x80\x01", ReasonCode::PacketTooLarge),
        (b"\x30\x04\x00\x01#\x00", ReasonCode::TopicNameInvalid),
        (
            b"\x30\x07\x00\x01a\x03\x23\x00\x0b",
            ReasonCode::TopicAliasInvalid,
        ),
    ] {
        let mut t = Table::new();
        let ann = t.connects(V5, connect("ann").lasting(100));
        t.sends_bytes(ann, bytes);
        assert_eq!(sessions_end(&mut t, ann), code);
        t.closed(ann); // [MQTT5-3.14.4-2] [MQTT5-4.13.1-1] [MQTT5-4.13.2-1]
    }
    let mut t = Table::new();
    let old = t.connects(V5, connect("ann").lasting(100));
    let new = t.connects(V5, connect("ann").lasting(100).keep_alive(1));
    assert_eq!(sessions_end(&mut t, old), ReasonCode::SessionTakenOver);
    t.closed(old);
    t.passes_ms(1500);
    assert_eq!(sessions_end(&mut t, new), ReasonCode::KeepAliveTimeout);
    t.closed(new);
}

#[test]
fn a_disconnect_is_no_longer_than_the_client_takes() {
    let sentence = "PINGRESP is for servers to send";
    for (bytes, sentence) in [(42, Some(sentence)), (37, None), (16, None)] {
        let mut t = Table::new();
        let maximum = Property::MaximumPacketSize(bytes.try_into().unwrap());
        let ann = t.connects(V5, connect("ann").with(maximum));
        t.sends_bytes(ann, &[0xd0, 0]);
        let told = disconnect().reason(ReasonCode::ProtocolError);
        // [MQTT5-3.14.2-3]
        t.gets(ann, sentence.into_iter().fold(told, Say::because));
        t.closed(ann);
    }
}

#[test]
fn nothing_follows_a_disconnect_of_the_broker() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, subscribe(1, "tea", 2));
    t.gets(ann, suback(1, &[2]));
    t.stalls(ann);
    t.sends(bob, publish("tea", "1"));
    t.sends_bytes(ann, &[0xd0, 0]);
    assert!(t.is_closed(ann)); // [MQTT5-3.14.4-2]
    t.sends(bob, publish("tea", "2"));
    t.sends(bob, publish("tea", "3").qos1(1));
    t.ignores(bob);
    t.reads_again(ann);
    t.gets(ann, publish("tea", "1"));
    // [MQTT5-3.14.4-1]: the last it hears
    t.cut_off(
        ann,
        ReasonCode::ProtocolError,
        "PINGRESP is for servers to send",
    );
}

#[test]
fn a_rule_broken_by_one_is_noticed_by_no_other() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        for count in 0..100 {
            let name = format!("ann {count}");
            let ann = t.connects(version, connect(&name).lasting(10));
            t.sends(ann, publish("tea", "hot").qos1(1));
            t.gets(ann, puback(1));
            t.gets(bob, publish("tea", "hot").qos1(count + 1));
            t.sends(bob, puback(count + 1));
            t.sends_bytes(ann, &[0xd0, 0]);
            // [MQTT-4.8.0-1]
            t.cut_off(
                ann,
                ReasonCode::ProtocolError,
                "PINGRESP is for servers to send",
            );
            t.silence();
        }
        t.open(bob);
    }
}

//! Client Identifiers [MQTT §3.1.3.1] [MQTT5 §3.1.3.1]: which are taken, which are given, and what
//! a bridge's level changes.

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

const EMPTY: &str = "an empty Client Identifier is not possible here; choose one";

/// The Client Identifier that CONNACK assigns.
fn assigned(t: &mut Table, seat: Seat) -> String {
    t.hears(seat, |packet| {
        let Packet::ConnAck(packet) = packet else {
            panic!("{packet:?} is no CONNACK")
        };
        let first = packet.properties.iter().next();
        let Some(Property::AssignedClientIdentifier(name)) = first else {
            panic!("{first:?} stands first")
        };
        name.to_string()
    })
}

#[test]
fn client_identifiers_of_every_form_are_taken() {
    let long = "a".repeat(65_535);
    let long_ones = "é".repeat(100);
    for version in EVERY {
        for name in [
            "a",
            "0123456789abcdefghijklm",
            "nopqrstuvwxyzABCDEFGHIJ",
            "KLMNOPQRSTUVWXYZ",
            "Ann's phone",
            " ",
            "a/b",
            "+",
            "a/#",
            "$SYS",
            "$share/x/y",
            "auto-1",
            "日本",
            &long_ones,
            &long,
        ] {
            let mut t = Table::new();
            let ann = t.connects(version, connect(name).durable()); // [MQTT-3.1.3-5] [MQTT5-3.1.3-5]
            let bob = t.connects(version, connect(name).durable());
            t.cut_off(ann, ReasonCode::SessionTakenOver, "session taken over");
            t.sends(bob, pingreq());
            t.gets(bob, pingresp());
        }
    }
}

#[test]
fn client_identifiers_that_differ_at_all_are_two_clients() {
    for version in EVERY {
        let mut t = Table::new();
        for name in ["ann", "Ann", "ann ", " ann", "an", "annn", "ann/"] {
            t.client(version, name);
        }
        t.silence();
        assert_eq!(t.broker.sizes().connections, 7);
    }
}

#[test]
fn an_empty_client_identifier_of_3_1_is_refused() {
    for packet in [connect(""), connect("").durable()] {
        let mut t = Table::new();
        let ann = t.says_connect(V31, packet);
        assert_eq!(t.next(ann).unwrap(), [0x20, 2, 0, 2]);
        t.closed(ann);
    }
}

#[test]
fn an_empty_client_identifier_of_3_1_1_must_come_with_clean_session() {
    let mut t = Table::new();
    let ann = t.says_connect(V311, connect("").durable());
    assert_eq!(t.next(ann).unwrap(), [0x20, 2, 0, 2]); // [MQTT-3.1.3-8] [MQTT-3.2.2-5]
    t.closed(ann);
    let (bob, cat) = (t.client(V311, ""), t.client(V311, ""));
    t.open(bob); // [MQTT-3.1.3-6]: not taken over by cat
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    t.sends(cat, publish("tea", "hot"));
    t.gets(bob, publish("tea", "hot"));
    t.silence();
    t.drops(bob);
    assert_eq!(t.broker.sizes().sessions, 1);
}

#[test]
fn an_assigned_client_identifier_is_told_and_goes_on() {
    for packet in [connect(""), connect("").durable()] {
        let mut t = Table::new();
        let packet = packet.with(Property::SessionExpiryInterval(100));
        let ann = t.says_connect(V5, packet.clone());
        let name = assigned(&mut t, ann);
        let bob = t.says_connect(V5, packet);
        // [MQTT5-3.1.3-6] [MQTT5-3.2.2-16]: unique
        assert_ne!(assigned(&mut t, bob), name);
        t.open(ann);
        t.sends(ann, subscribe(1, "tea", 1));
        t.gets(ann, suback(1, &[1]));
        t.drops(ann);
        t.sends(bob, publish("tea", "hot").qos1(1));
        t.gets(bob, puback(1));
        // [MQTT5-3.1.3-7]: it is hers
        let ann = t.says_connect(V5, connect(&name).lasting(100));
        t.gets(ann, connack5(true));
        t.gets(ann, publish("tea", "hot").qos1(1));
        t.silence();
    }
}

#[test]
fn an_assigned_client_identifier_is_a_prefix_and_a_uuid() {
    for (prefix, expected) in [("auto-", "auto-"), ("", ""), ("Gäste/", "Gäste/")] {
        let mut t =
            Table::with_listeners(|listener| listener.security.auto_id_prefix = prefix.into());
        let ann = t.says_connect(V5, connect(""));
        let name = assigned(&mut t, ann);
        let uuid = name.strip_prefix(expected).unwrap();
        let form: String = uuid
            .chars()
            .map(|c| match c {
                '0'..='9' | 'A'..='F' => 'X',
                other => other,
            })
            .collect();
        assert_eq!(form, "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX");
        assert_eq!(&uuid[14..15], "4");
        assert!("89AB".contains(&uuid[19..20]));
    }
}

#[test]
fn empty_client_identifiers_can_be_turned_off() {
    for version in EVERY {
        for packet in [connect(""), connect("").durable()] {
            let mut t = Table::with_listeners(|listener| {
                listener.security.allow_zero_length_clientid = false
            });
            let ann = t.says_connect(version, packet);
            // [MQTT-3.1.3-9] [MQTT-3.2.2-5] [MQTT5-3.1.3-8] [MQTT5-3.2.2-7]
            t.refused(ann, ReasonCode::ClientIdentifierNotValid, EMPTY);
            assert_eq!(t.broker.sizes().sessions, 0);
        }
    }
}

#[test]
fn a_bridge_does_not_get_its_own_messages_and_keeps_retain() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").bridge());
        let bob = t.client(version, "bob");
        for (seat, id) in [(ann, 1), (bob, 2)] {
            t.sends(seat, subscribe(id, "tea/#", 1));
            t.gets(seat, suback(id, &[1]));
        }
        t.sends(ann, publish("tea/green", "hot").qos1(1).retain());
        t.gets(ann, puback(1));
        t.gets(bob, publish("tea/green", "hot").qos1(1));
        t.sends(bob, publish("tea/black", "cold").retain());
        t.gets(bob, publish("tea/black", "cold"));
        t.gets(ann, publish("tea/black", "cold").retain());
        t.silence();
    }
}

#[test]
fn the_bridge_bit_on_the_wire() {
    for (bytes, version) in [
        (
            &b"\x10\x11\x00\x06MQIsdp\x83\x02\x00\x00\x00\x03ann"[..],
            V31,
        ),
        (b"\x10\x0f\x00\x04MQTT\x84\x02\x00\x00\x00\x03ann", V311),
    ] {
        let mut t = Table::new();
        let ann = t.says_bytes(version, bytes);
        t.gets(ann, connack(false));
        t.sends(ann, subscribe(1, "tea", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(ann, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn a_bridge_that_comes_back_as_a_plain_client_is_one() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").durable().bridge());
        t.drops(ann);
        let ann = t.connects(version, connect("ann").durable());
        t.sends(ann, subscribe(1, "tea", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(ann, publish("tea", "hot"));
        t.gets(ann, publish("tea", "hot"));
    }
}

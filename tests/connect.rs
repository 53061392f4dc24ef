//! CONNECT and CONNACK: who is let in and who is not. The form of a CONNECT, Client Identifiers and
//! what CONNACK tells have files of their own.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::{connect_as, connect_with, string};
use table::*;

/// Connect Flags.
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_QOS_1: u8 = 0x08;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;

#[test]
fn a_client_of_each_version_is_let_in() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.says_connect(version, connect("ann"));
        let expected = if version == V5 {
            connack5(false)
        } else {
            connack(false)
        };
        t.gets(ann, expected); // [MQTT-3.1.4-4] [MQTT-3.2.0-1] [MQTT5-3.1.4-5] [MQTT5-3.2.0-1]
        t.silence();
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
    }
}

#[test]
fn the_answer_to_a_plain_connect_is_the_same_to_the_byte() {
    let mut t = Table::new();
    let ann = t.says_bytes(V31, &connect_as("MQIsdp", 3, CLEAN, &[&string("ann")]));
    assert_eq!(t.next(ann).unwrap(), [0x20, 2, 0, 0]);
    let bob = t.says_bytes(V311, &connect_as("MQTT", 4, CLEAN, &[&string("bob")]));
    assert_eq!(t.next(bob).unwrap(), [0x20, 2, 0, 0]); // [MQTT-3.1.4-4]
    let cat = t.says_bytes(V5, &connect_as("MQTT", 5, CLEAN, &[&string("cat")]));
    let limits = [
        [0x22, 0, 10].as_slice(),
        &[0x27, 0, 0x1e, 0x84, 0x80],
        &[0x21, 0, 20],
    ];
    let expected = [&[0x20, 14, 0, 0, 11], limits.concat().as_slice()].concat();
    assert_eq!(t.next(cat).unwrap(), expected); // [MQTT5-3.1.4-5] [MQTT5-3.2.2-1]
    t.silence();
}

#[test]
fn publish_reaches_a_subscriber_of_every_version_from_every_version() {
    for from in EVERY {
        for to in EVERY {
            let mut t = Table::new();
            let (ann, bob) = (t.client(from, "ann"), t.client(to, "bob"));
            t.sends(bob, subscribe(1, "tea/+", 1));
            t.gets(bob, suback(1, &[1]));
            t.sends(ann, publish("tea/green", "hot").qos1(7));
            t.gets(ann, puback(7));
            t.gets(bob, publish("tea/green", "hot").qos1(1));
            t.passes(30).silence(); // [MQTT5-4.4.0-1]: nothing is resent on a live connection
            t.sends(bob, puback(1));
            t.silence();
        }
    }
}

#[test]
fn packets_may_follow_a_connect_at_once() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let mut bytes = connect("ann").bytes(version);
        bytes.extend(publish("tea", "hot").bytes(version));
        bytes.extend(pingreq().bytes(version));
        let ann = t.says_bytes(version, &bytes);
        assert_eq!(t.next(ann).unwrap()[0], 0x20); // [MQTT-3.2.0-1] [MQTT5-3.2.0-1]
        t.gets(ann, pingresp());
        t.gets(bob, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn all_that_a_connect_can_hold_is_taken_in_its_order() {
    for version in EVERY {
        // The username is told by its effect: it is the Client Identifier by the second listener.
        let mut t = Table::with(|config| config.listeners[1].use_username_as_clientid = true);
        let bob = t.connects(version, connect("bob").user("bob"));
        t.sends(bob, subscribe(1, "#", 1));
        t.gets(bob, suback(1, &[1]));
        t.comes_by(1);
        let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let payload = [
            string("ann"),
            no_properties.to_vec(),
            string("last/words"),
            string("bye"),
            string("user"),
            string("secret"),
        ]
        .concat();
        let flags = USER_NAME | PASSWORD | WILL | WILL_QOS_1 | CLEAN;
        let ann = t.says_bytes(version, &connect_with(version, flags, &[&payload]));
        // [MQTT-3.1.3-1] [MQTT5-3.1.3-1]: the User Name, without which it would be refused
        assert_eq!(t.next(ann).unwrap()[3], 0);
        t.drops(ann);
        // [MQTT-3.1.2-9] [MQTT5-3.1.2-9] [MQTT-3.1.3-1] [MQTT5-3.1.3-1]
        t.gets(bob, publish("last/words", "bye").qos1(1));
        t.silence();
    }
}

#[test]
fn a_refused_client_is_not_listened_to() {
    for version in EVERY {
        let mut t = Table::with(|config| config.listeners[1].security.allow_anonymous = false);
        let bob = t.connects(version, connect("bob").user("bob"));
        t.sends(bob, subscribe(1, "#", 1));
        t.gets(bob, suback(1, &[1]));
        t.comes_by(1);
        let mut bytes = connect("ann").will("gone", "ann", 0, false).bytes(version);
        bytes.extend(publish("tea", "hot").bytes(version));
        bytes.extend(pingreq().bytes(version));
        let ann = t.says_bytes(version, &bytes);
        // [MQTT-3.2.2-4] [MQTT-3.2.2-5] [MQTT5-3.1.4-2] [MQTT5-3.2.2-6] [MQTT5-3.2.2-7]
        // [MQTT5-3.2.2-8]
        t.refused(
            ann,
            ReasonCode::NotAuthorized,
            "clients without a username are not let in",
        );
        t.silence(); // [MQTT-3.1.4-5] [MQTT5-3.1.4-6]: bob hears neither the message nor the Will
    }
}

#[test]
fn nobody_is_let_in_without_a_list_of_users_if_so_set() {
    for version in EVERY {
        let mut t = Table::with_listeners(|listener| listener.security.allow_anonymous = false);
        let sentence = "clients without a username are not let in";
        let ann = t.says_connect(version, connect("ann"));
        t.refused(ann, ReasonCode::NotAuthorized, sentence);
        // An empty one is none.
        let bob = t.says_connect(version, connect("bob").user(""));
        t.refused(bob, ReasonCode::NotAuthorized, sentence);
        let sentence = "nobody is let in here, for no list of users is set";
        for packet in [
            connect("cat").user("cat"),
            connect("dan").user("dan").pass(b"\x00\xff"),
            connect("eve").user("eve").pass(b""),
        ] {
            let named = t.says_connect(version, packet);
            t.refused(named, ReasonCode::NotAuthorized, sentence);
        }
        t.silence();
    }
}

#[test]
fn the_codes_of_3_1_1_and_5_for_not_authorized_on_the_wire() {
    let mut t = Table::with_listeners(|listener| listener.security.allow_anonymous = false);
    for version in [V31, V311] {
        let ann = t.says_connect(version, connect("ann").durable());
        assert_eq!(t.next(ann).unwrap(), [0x20, 2, 0, 5]); // [MQTT-3.2.2-4] [MQTT-3.2.2-5]
        t.closed(ann);
    }
    let bob = t.says_connect(V5, connect("bob"));
    assert_eq!(t.next(bob).unwrap()[2..4], [0, 0x87]); // [MQTT5-3.2.2-6] [MQTT5-3.2.2-8]
    t.closed(bob);
}

#[test]
fn a_password_without_a_user_name_is_for_5_alone() {
    let mut t = Table::new();
    t.connects(V5, connect("ann").pass(b"token")); // [MQTT5-3.1.2-19]
    for version in [V31, V311] {
        let bytes = connect_with(version, PASSWORD | CLEAN, &[&string("bob"), &string("x")]);
        let bob = t.says_bytes(version, &bytes);
        t.closed(bob); // [MQTT-3.1.2-22]
    }
    let mut t = Table::with_listeners(|listener| listener.security.allow_anonymous = false);
    let ann = t.says_connect(V5, connect("ann").pass(b"token"));
    t.refused(
        ann,
        ReasonCode::NotAuthorized,
        "clients without a username are not let in",
    );
}

#[test]
fn passwords_and_will_payloads_may_hold_any_bytes() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "gone", 0));
        t.gets(bob, suback(1, &[0]));
        let packet = connect("ann").user("ann").pass(b"\0\xff\xfe");
        let ann = t.connects(version, packet.will("gone", b"\0\xff\xfe", 0, false));
        t.drops(ann);
        t.gets(bob, publish("gone", b"\0\xff\xfe"));
    }
}

#[test]
fn a_refusal_is_no_longer_than_the_client_takes() {
    let mut t = Table::with_listeners(|listener| listener.security.allow_anonymous = false);
    let sentence = "clients without a username are not let in";
    // Fixed header, flags, Reason Code, Property Length, then the Reason String with its head.
    let whole = 5 + 3 + u32::try_from(sentence.len()).unwrap();
    for (bytes, expected) in [
        (
            whole,
            Some(refusal(false, ReasonCode::NotAuthorized).because(sentence)),
        ),
        // [MQTT5-3.2.2-19] [MQTT5-3.2.2-20]: nor is there ever a User Property in it
        (whole - 1, Some(refusal(false, ReasonCode::NotAuthorized))),
        (10, Some(refusal(false, ReasonCode::NotAuthorized))),
        (5, Some(refusal(false, ReasonCode::NotAuthorized))),
        (4, None), // [MQTT5-3.1.2-24]
        (1, None),
    ] {
        let maximum = Property::MaximumPacketSize(bytes.try_into().unwrap());
        let ann = t.says_connect(V5, connect("ann").with(maximum));
        if let Some(expected) = expected {
            t.gets(ann, expected);
        }
        t.closed(ann);
    }
}

#[test]
fn a_client_that_takes_no_connack_is_not_let_in() {
    let mut t = Table::new();
    let maximum = |bytes: u32| Property::MaximumPacketSize(bytes.try_into().unwrap());
    let bob = t.client(V5, "ann");
    for bytes in [15, 5] {
        let ann = t.says_connect(V5, connect("ann").with(maximum(bytes)));
        // [MQTT5-3.1.2-24]
        t.gets(ann, refusal(false, ReasonCode::PacketTooLarge));
        t.closed(ann);
    }
    let ann = t.says_connect(V5, connect("ann").with(maximum(4)));
    t.closed(ann);
    t.silence();
    t.open(bob);
    let ann = t.says_connect(V5, connect("ann").with(maximum(16)));
    t.gets(ann, connack5(false));
    t.cut_off(bob, ReasonCode::SessionTakenOver, "session taken over");
}

#[test]
fn a_second_connect_ends_the_connection() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (
            t.connects(version, connect("ann").will("gone", "ann", 0, false)),
            t.client(version, "bob"),
        );
        t.sends(bob, subscribe(1, "gone", 0));
        t.gets(bob, suback(1, &[0]));
        t.sends(ann, connect("ann"));
        // [MQTT-3.1.0-2] [MQTT-4.8.0-1] [MQTT5-3.1.0-2] [MQTT5-3.2.0-2]: and no second CONNACK
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "a second CONNECT on one connection",
        );
        t.gets(bob, publish("gone", "ann"));
        t.silence();
        t.open(bob);
    }
}

#[test]
fn two_connects_in_one_go_are_one_too_many() {
    for version in EVERY {
        let mut t = Table::new();
        let bytes = [connect("ann").bytes(version), connect("ann").bytes(version)].concat();
        let ann = t.says_bytes(version, &bytes);
        assert_eq!(t.next(ann).unwrap()[0], 0x20);
        // [MQTT-3.1.0-2] [MQTT5-3.1.0-2] [MQTT5-3.2.0-2]
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "a second CONNECT on one connection",
        );
    }
}

//! What CONNACK tells a client of 5.0, in mosquitto's order, and that the broker holds both sides
//! to it [MQTT5 §3.2.2.3]; and what CONNECT tells the broker about its client [MQTT5 §3.1.2.11].

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::message::QoS;
use table::*;

/// The bytes of these properties.
fn wire(properties: &[Property<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for property in properties {
        property.encode(&mut out);
    }
    out
}

#[test]
fn the_properties_of_a_connack_stand_in_mosquittos_order() {
    let mut t = Table::with(|config| {
        config.max_keepalive = 60;
        config.listeners[0].max_qos = QoS::AtLeastOnce;
        config.retain_available = false;
    });
    let ann = t.says_connect(V5, connect(""));
    let bytes = t.next(ann).unwrap();
    let name = std::str::from_utf8(&bytes[8..49]).unwrap();
    assert!(name.starts_with("auto-"));
    let properties = wire(&[
        Property::AssignedClientIdentifier(name),
        Property::ServerKeepAlive(60),
        Property::MaximumQoS(true),
        Property::RetainAvailable(false),
        Property::TopicAliasMaximum(10),
        Property::MaximumPacketSize(2_000_000.try_into().unwrap()),
        Property::ReceiveMaximum(20.try_into().unwrap()),
    ]);
    let length = u8::try_from(properties.len()).unwrap();
    let expected = [&[0x20, length + 3, 0, 0, length], properties.as_slice()].concat();
    assert_eq!(bytes, expected);
}

#[test]
fn what_has_no_bound_is_not_told() {
    let mut t = Table::with(|config| {
        config.listeners[0].max_topic_alias = 0;
        config.max_packet_size = 0;
        config.max_inflight_messages = 0;
    });
    let ann = t.says_connect(V5, connect("ann").lasting(100));
    t.gets(ann, connack(false));
}

#[test]
fn no_authentication_method_and_no_response_information_unasked() {
    for ask in [None, Some(false), Some(true)] {
        let mut t = Table::new();
        let ask = ask.map(Property::RequestResponseInformation);
        let ann = t.says_connect(V5, ask.into_iter().fold(connect("ann"), Say::with));
        t.gets(ann, connack5(false)); // [MQTT5-3.1.2-28] [MQTT5-4.12.0-6]: neither is in it
        t.silence();
    }
}

#[test]
fn a_maximum_qos_is_told_and_kept() {
    for (maximum, told) in [(QoS::AtMostOnce, false), (QoS::AtLeastOnce, true)] {
        let mut t = Table::with_listeners(|listener| listener.max_qos = maximum);
        let ann = t.says_connect(V5, connect("ann"));
        let expected = connack(false)
            .with(Property::MaximumQoS(told))
            .with(Property::TopicAliasMaximum(10))
            .with(Property::MaximumPacketSize(2_000_000.try_into().unwrap()))
            .with(Property::ReceiveMaximum(20.try_into().unwrap()));
        t.gets(ann, expected); // [MQTT5-3.2.2-9]
        for qos in 0..3 {
            t.sends(ann, subscribe(1, "tea", qos));
            t.gets(ann, suback(1, &[qos.min(maximum.bits())])); // [MQTT5-3.2.2-10]
        }
    }
}

#[test]
fn a_publish_above_the_maximum_qos_ends_the_connection() {
    for version in EVERY {
        for (maximum, qos) in [
            (QoS::AtMostOnce, 1),
            (QoS::AtMostOnce, 2),
            (QoS::AtLeastOnce, 2),
        ] {
            let mut t = Table::with_listeners(|listener| listener.max_qos = maximum);
            let bob = t.client(version, "bob");
            t.sends(bob, subscribe(1, "#", 2));
            t.gets(bob, suback(1, &[maximum.bits()]));
            let ann = t.client(version, "ann");
            for below in 0..=maximum.bits() {
                let id = u16::from(below);
                t.sends(ann, publish("tea", "hot").qos(below, id));
                t.ignores(ann);
                t.gets(bob, publish("tea", "hot").qos(below, id));
            }
            t.sends(ann, publish("tea", "hot").qos(qos, 9));
            let sentence = format!("QoS {qos} is above the maximum here");
            t.cut_off(ann, ReasonCode::QoSNotSupported, &sentence); // [MQTT5-3.2.2-11]
            t.silence();
        }
    }
}

#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    for version in EVERY {
        let mut t = Table::with_listeners(|listener| listener.max_qos = QoS::AtMostOnce);
        t.connects(version, connect("bob").will("gone", "bob", 0, false));
        for qos in [1, 2] {
            let ann = t.says_connect(version, connect("ann").will("gone", "ann", qos, false));
            let sentence = format!("QoS {qos} is above the maximum here");
            t.refused(ann, ReasonCode::QoSNotSupported, &sentence); // [MQTT5-3.2.2-12]
        }
        t.silence();
    }
}

#[test]
fn that_nothing_is_retained_is_told_and_kept() {
    for version in EVERY {
        let mut t = Table::with(|config| config.retain_available = false);
        let ann = t.says_connect(version, connect("ann"));
        let limits = connack(false)
            .with(Property::RetainAvailable(false))
            .with(Property::TopicAliasMaximum(10))
            .with(Property::MaximumPacketSize(2_000_000.try_into().unwrap()))
            .with(Property::ReceiveMaximum(20.try_into().unwrap()));
        t.gets(ann, limits);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "#", 0));
        t.gets(bob, suback(1, &[0]));
        t.sends(ann, publish("tea", "hot").retain());
        let sentence = "retained messages are turned off here";
        t.cut_off(ann, ReasonCode::RetainNotSupported, sentence); // [MQTT5-3.2.2-14]
        let cat = t.says_connect(version, connect("cat").will("gone", "cat", 0, true));
        t.refused(cat, ReasonCode::RetainNotSupported, sentence); // [MQTT5-3.2.2-13]
        t.connects(version, connect("dan").will("gone", "dan", 0, false));
        t.silence();
        assert_eq!(t.broker.sizes().retained, 0);
    }
}

#[test]
fn a_topic_alias_above_the_maximum_ends_the_connection() {
    for (maximum, alias, is_taken) in [(10, 10, true), (10, 11, false), (0, 1, false)] {
        let mut t = Table::with_listeners(|listener| listener.max_topic_alias = maximum);
        let bob = t.client(V5, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.client(V5, "ann");
        let alias_property = Property::TopicAlias(alias.try_into().unwrap());
        t.sends(ann, publish("tea", "hot").with(alias_property));
        if is_taken {
            t.gets(bob, publish("tea", "hot"));
            t.sends(ann, publish("", "cold").with(alias_property));
            t.gets(bob, publish("tea", "cold"));
        } else {
            let sentence = format!("Topic Alias {alias} is above the maximum of {maximum}");
            // [MQTT5-3.2.2-17] [MQTT5-3.2.2-18]
            t.cut_off(ann, ReasonCode::TopicAliasInvalid, &sentence);
        }
        t.silence();
    }
}

#[test]
fn the_broker_sets_no_more_topic_aliases_than_the_client_takes() {
    for (taken, set) in [(None, 0), (Some(0), 0), (Some(2), 2), (Some(100), 10)] {
        let mut t = Table::new();
        let taken = taken.map(Property::TopicAliasMaximum);
        let bob = t.connects(V5, taken.into_iter().fold(connect("bob"), Say::with));
        t.sends(bob, subscribe(1, "#", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.client(V5, "ann");
        for round in 0..2 {
            for number in 1..=15_u16 {
                let topic = format!("tea/{number}");
                t.sends(ann, publish(&topic, ""));
                let expected = match (number <= set, round) {
                    (false, _) => publish(&topic, ""),
                    (true, 0) => publish(&topic, "").with(alias(number)),
                    (true, _) => publish("", "").with(alias(number)),
                };
                t.gets(bob, expected); // [MQTT5-3.1.2-26] [MQTT5-3.1.2-27]
            }
        }
    }
}

fn alias(number: u16) -> Property<'static> {
    Property::TopicAlias(number.try_into().unwrap())
}

#[test]
fn nothing_larger_than_the_client_takes_is_sent() {
    let mut t = Table::new();
    let maximum = Property::MaximumPacketSize(50.try_into().unwrap());
    let bob = t.connects(V5, connect("bob").with(maximum).lasting(100));
    for (id, topic) in [(1, "tea"), (2, "milk")] {
        t.sends(bob, subscribe(id, topic, 2));
        t.gets(bob, suback(id, &[2]));
    }
    let ann = t.client(V5, "ann");
    // Fixed header 2, topic 5, Packet Identifier 2, Property Length 1.
    let (fits, does_not) = ("x".repeat(40), "x".repeat(41));
    for round in 0..30 {
        t.sends(ann, publish("tea", &does_not).qos1(1));
        t.gets(ann, puback(1));
        t.sends(ann, publish("tea", "x".repeat(43)));
        t.silence(); // [MQTT5-3.1.2-24]
        t.sends(ann, publish("tea", "x".repeat(42)));
        t.gets(bob, publish("tea", "x".repeat(42)));
        t.sends(ann, publish("tea", &fits).qos1(1));
        t.gets(ann, puback(1));
        // [MQTT5-3.1.2-25]: as if it had been sent; the window is not used up by it
        let id = t.hears(bob, |packet| match packet {
            Packet::Publish(packet) => packet.packet_identifier,
            other => panic!("{other:?} in round {round}"),
        });
        t.sends(bob, puback(id.unwrap().get()));
    }
    t.drops(bob);
    t.sends(ann, publish("tea", &does_not).qos1(1));
    t.sends(ann, publish("tea", &fits).qos2(2));
    t.ignores(ann);
    let bob = t.says_connect(V5, connect("bob").with(maximum).lasting(100));
    t.gets(bob, connack5(true));
    t.hears(bob, |packet| match packet {
        Packet::Publish(packet) => assert_eq!(packet.payload.len(), 40),
        other => panic!("{other:?}"),
    });
    t.silence(); // [MQTT5-3.1.2-24] [MQTT5-3.1.2-25]
    t.open(bob);
}

#[test]
fn a_client_that_wants_no_reasons_gets_none_where_it_says() {
    for (ask, is_told) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut t = Table::new();
        let ask = ask.map(Property::RequestProblemInformation);
        let ann = t.connects(V5, ask.into_iter().fold(connect("ann"), Say::with));
        let because = |say: Say, sentence: &str| match is_told {
            true => say.because(sentence),
            false => say,
        };
        // [MQTT5-3.1.2-29]
        t.sends(ann, publish("$SYS/x", "").qos1(1));
        let denied = puback(1).reason(ReasonCode::NotAuthorized);
        t.gets(ann, because(denied, "you may not publish to this topic"));
        t.sends(ann, publish("$SYS/x", "").qos2(2));
        let denied = pubrec(2).reason(ReasonCode::NotAuthorized);
        t.gets(ann, because(denied, "you may not publish to this topic"));
        t.sends(ann, pubrel(2));
        let unknown = pubcomp(2).reason(ReasonCode::PacketIdentifierNotFound);
        let sentence = "no message with this Packet Identifier waits to be released";
        t.gets(ann, because(unknown, sentence));
        t.sends(ann, pubrec(3));
        let unknown = pubrel(3).reason(ReasonCode::PacketIdentifierNotFound);
        let sentence = "no message with this Packet Identifier is in flight";
        t.gets(ann, because(unknown, sentence));
        t.sends(ann, subscribe(4, "a#", 0));
        let has_reason = t.hears(ann, |packet| match packet {
            Packet::SubAck(packet) => !packet.properties.is_empty(),
            other => panic!("{other:?}"),
        });
        assert_eq!(has_reason, is_told);
        t.sends(ann, unsubscribe(5, &["a#"]));
        let has_reason = t.hears(ann, |packet| match packet {
            Packet::UnsubAck(packet) => !packet.properties.is_empty(),
            other => panic!("{other:?}"),
        });
        assert_eq!(has_reason, is_told);
        // DISCONNECT may say why all the same.
        t.sends(ann, pingresp());
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "PINGRESP is for servers to send",
        );
    }
}

#[test]
fn user_properties_of_a_message_are_passed_on_whatever_is_wanted() {
    let mut t = Table::new();
    let packet = connect("bob").with(Property::RequestProblemInformation(false));
    let bob = t.connects(V5, packet);
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    let ann = t.client(V5, "ann");
    let hot = publish("tea", "hot").with(Property::UserProperty("a", "b"));
    t.sends(ann, hot.clone());
    t.gets(bob, hot); // [MQTT5-3.1.2-29]: PUBLISH is one of those
}

#[test]
fn a_bound_on_packets_is_the_brokers_or_the_clients_whichever_is_less() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_packet_size = 100);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea/with/a/long/name", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea/with/a/long/name", "x".repeat(70)));
        t.gets(bob, publish("tea/with/a/long/name", "x".repeat(70)));
        t.sends(ann, publish("tea/with/a/long/name", "x".repeat(90)));
        // [MQTT5-3.2.2-15]
        t.cut_off(
            ann,
            ReasonCode::PacketTooLarge,
            "packet is larger than allowed",
        );
        t.silence();
    }
}

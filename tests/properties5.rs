//! The properties of a 5.0 PUBLISH: passed on unaltered, or refused [MQTT5 §3.3.2.3].

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::{Property, PropertyHolder};
use midge::codec::reason::ReasonCode;
use table::*;

/// Every property a receiver gets as it was sent.
fn lasting() -> Vec<Property<'static>> {
    vec![
        Property::UserProperty("a", "1"),
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::UserProperty("b", ""),
        Property::ResponseTopic("answers/ann"),
        Property::UserProperty("a", "1"),
        Property::CorrelationData(b"\0\xff\x01"),
        Property::UserProperty("", "ünï"),
        Property::UserProperty("a", "0"),
    ]
}

fn with_all(say: Say) -> Say {
    lasting().into_iter().fold(say, Say::with)
}

fn ann_and_bob() -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let bob = comes(&mut t);
    t.sends(bob, subscribe(1, "#", 2));
    t.gets(bob, suback(1, &[2]));
    (t, ann, bob)
}

fn comes(t: &mut Table) -> Seat {
    t.connects(V5, connect("bob").lasting(1000))
}

/// Hears the message with all its properties, compared by their bytes.
#[track_caller]
fn gets_all_properties(t: &mut Table, seat: Seat, payload: &[u8]) {
    let mut expected = Vec::new();
    lasting()
        .iter()
        .for_each(|property| property.encode(&mut expected));
    t.hears(seat, |packet| {
        let Packet::Publish(packet) = packet else {
            panic!("{packet:?}")
        };
        assert_eq!(packet.payload, payload);
        assert_eq!(packet.properties.as_bytes(), expected);
    });
}

#[test]
fn every_property_is_passed_on_unaltered_and_in_order() {
    // A short body is copied, a long one shared.
    for payload in [vec![b'x'; 3], vec![b'x'; 5000]] {
        for qos in 0..=2 {
            let (mut t, ann, bob) = ann_and_bob();
            t.sends(ann, with_all(publish("tea", &payload).qos(qos, 1)));
            t.ignores(ann);
            // [MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17]
            // [MQTT5-3.3.2-18] [MQTT5-3.3.2-20]
            gets_all_properties(&mut t, bob, &payload);
            t.silence();
        }
    }
}

#[test]
fn messages_that_wait_keep_their_properties() {
    for payload in [vec![b'x'; 3], vec![b'x'; 5000]] {
        for qos in [1, 2] {
            let (mut t, ann, bob) = ann_and_bob();
            t.drops(bob);
            t.sends(ann, with_all(publish("tea", &payload).qos(qos, 1)));
            t.ignores(ann);
            t.passes(100);
            for _ in 0..2 {
                // Out of the queue first, then again out of the flight.
                let bob = comes(&mut t);
                gets_all_properties(&mut t, bob, &payload); // [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
                t.drops(bob);
            }
        }
    }
}

#[test]
fn retained_messages_keep_their_properties() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    t.sends(ann, with_all(publish("tea", "hot").retain()));
    t.leaves(ann);
    let bob = t.client(V5, "bob");
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    gets_all_properties(&mut t, bob, b"hot"); // [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
    t.silence();
}

#[test]
fn what_belongs_to_one_hop_is_taken_out_and_the_rest_left_alone() {
    let (mut t, ann, bob) = ann_and_bob();
    let alias = Property::TopicAlias(3.try_into().unwrap());
    for (first, last) in [(true, false), (false, true)] {
        let mut say = publish("tea", "hot");
        if first {
            say = say.with(alias);
        }
        say = with_all(say);
        if last {
            say = say.with(alias);
        }
        t.sends(ann, say);
        gets_all_properties(&mut t, bob, b"hot"); // [MQTT5-3.3.2-7]
    }
    // The expiry comes first, wherever it stood.
    let expiry = Property::MessageExpiryInterval(60);
    t.sends(ann, with_all(publish("tea", "hot")).with(expiry));
    t.gets(bob, with_all(publish("tea", "hot").with(expiry)));
    t.silence();
}

#[test]
fn names_of_subscriptions_stand_beside_the_message_s_own_properties() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    let named = Property::SubscriptionIdentifier(268_435_455);
    t.sends(bob, subscribe(1, "tea", 0).with(named));
    t.gets(bob, suback(1, &[0]));
    t.sends(ann, with_all(publish("tea", "hot")));
    t.gets(bob, with_all(publish("tea", "hot").with(named)));
    t.silence();
}

#[test]
fn clients_of_3_get_the_payload_alone_and_give_no_properties() {
    for version in [V31, V311] {
        let (mut t, ann, bob) = ann_and_bob();
        let old = t.client(version, "old");
        t.sends(old, subscribe(1, "#", 0));
        t.gets(old, suback(1, &[0]));
        for payload in [vec![b'x'; 3], vec![b'x'; 5000]] {
            t.sends(ann, with_all(publish("tea", &payload)));
            t.gets(old, publish("tea", &payload));
            gets_all_properties(&mut t, bob, &payload);
            t.sends(old, publish("tea", &payload));
            t.gets(old, publish("tea", &payload));
            t.gets(bob, publish("tea", &payload));
        }
        t.silence();
    }
}

#[test]
fn the_payload_is_not_held_against_its_format_indicator() {
    let (mut t, ann, bob) = ann_and_bob();
    for is_text in [false, true] {
        let format = Property::PayloadFormatIndicator(is_text);
        t.sends(ann, publish("tea", b"\xff\0").with(format));
        t.gets(bob, publish("tea", b"\xff\0").with(format)); // [MQTT5-3.3.2-4]
    }
    t.silence();
}

#[test]
fn a_great_many_user_properties_keep_their_order() {
    let (mut t, ann, bob) = ann_and_bob();
    let mut say = publish("tea", "hot");
    let names: Vec<String> = (0..2000_u32)
        .map(|n| (n * 7919 % 100).to_string())
        .collect();
    for name in &names {
        say = say.with(Property::UserProperty(name, "x"));
    }
    t.sends(ann, say.clone());
    t.gets(bob, say); // [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
    t.silence();
}

/// Ann sends a PUBLISH to "tea" with these bytes as properties, at each QoS; the connection ends.
#[track_caller]
fn refused(properties: &[u8], code: ReasonCode, sentence: &str) {
    for qos in 0..=2_u8 {
        let (mut t, ann, bob) = ann_and_bob();
        let identifier: &[u8] = if qos == 0 { b"" } else { b"\0\x01" };
        let length = [properties.len() as u8];
        let body = [b"\0\x03tea", identifier, &length, properties, b"hot"].concat();
        let packet = [&[0x30 | qos << 1, body.len() as u8], &body[..]].concat();
        t.sends_bytes(ann, &packet);
        t.cut_off(ann, code, sentence);
        t.silence();
        t.open(bob);
    }
}

#[test]
fn strings_that_are_not_utf_8_are_malformed() {
    let rows: [&[u8]; 5] = [
        b"\x03\0\x01\xff",         // [MQTT5-3.3.2-19]
        b"\x08\0\x01\xff",         // [MQTT5-3.3.2-13]
        b"\x08\0\x03\xed\xa0\x80", // a surrogate
        b"\x26\0\x01\xff\0\x01a",
        b"\x26\0\x01a\0\x01\xff",
    ];
    for properties in rows {
        let sentence = "packet has a string that is not UTF-8";
        refused(properties, ReasonCode::MalformedPacket, sentence);
    }
    let sentence = "packet has a string with a null character in it";
    refused(b"\x03\0\x01\0", ReasonCode::MalformedPacket, sentence);
}

#[test]
fn a_response_topic_has_no_wildcards() {
    for topic in ["#", "a/#", "+", "a/+/b"] {
        let mut properties = Vec::new();
        Property::ResponseTopic(topic).encode(&mut properties);
        let sentence = "packet has a Response Topic with a wildcard";
        refused(&properties, ReasonCode::ProtocolError, sentence); // [MQTT5-3.3.2-14]
    }
}

#[test]
fn a_property_that_may_be_there_once_is_not_there_twice() {
    let once = [
        (
            Property::PayloadFormatIndicator(true),
            "Payload Format Indicator",
        ),
        (
            Property::MessageExpiryInterval(9),
            "Message Expiry Interval",
        ),
        (Property::TopicAlias(1.try_into().unwrap()), "Topic Alias"),
        (Property::ResponseTopic("a"), "Response Topic"),
        (Property::CorrelationData(b"a"), "Correlation Data"),
        (Property::ContentType("a"), "Content Type"),
    ];
    for (property, name) in once {
        let mut properties = Vec::new();
        property.encode(&mut properties);
        property.encode(&mut properties);
        let sentence = format!("packet has the property {name} twice");
        refused(&properties, ReasonCode::ProtocolError, &sentence);
    }
}

#[test]
fn a_format_indicator_is_0_or_1() {
    let sentence = "packet has the property Payload Format Indicator with a value it may not have";
    refused(b"\x01\x02", ReasonCode::ProtocolError, sentence);
}

#[test]
fn properties_of_other_packets_and_of_none_are_malformed() {
    let holder = PropertyHolder::Publish.name();
    let misplaced = [
        (
            Property::SessionExpiryInterval(1),
            "Session Expiry Interval",
        ),
        (Property::ReasonString("a"), "Reason String"),
        (
            Property::ReceiveMaximum(1.try_into().unwrap()),
            "Receive Maximum",
        ),
        (Property::WillDelayInterval(1), "Will Delay Interval"),
    ];
    for (property, name) in misplaced {
        let mut properties = Vec::new();
        property.encode(&mut properties);
        let sentence = format!("{holder} has the property {name}, which does not belong there");
        refused(&properties, ReasonCode::MalformedPacket, &sentence);
    }
    let sentence = "packet has property 0x7f, which does not exist";
    refused(b"\x7f\x01", ReasonCode::MalformedPacket, sentence);
}

#[test]
fn properties_that_end_too_early_are_malformed() {
    for properties in [&b"\x01"[..], b"\x02\0\0", b"\x03\0\x05a", b"\x26\0\x01a"] {
        let sentence = "packet ends in the middle of a field";
        refused(properties, ReasonCode::MalformedPacket, sentence);
    }
}

#[test]
fn a_request_finds_its_answer() {
    // [MQTT5 §4.10]
    let (mut t, ann, bob) = ann_and_bob();
    t.sends(ann, subscribe(1, "answers/ann", 1));
    t.gets(ann, suback(1, &[1]));
    let data = Property::CorrelationData(b"\x01");
    let request = publish("time", "?")
        .qos1(1)
        .with(Property::ResponseTopic("answers/ann"));
    t.sends(ann, request.clone().with(data));
    t.gets(ann, puback(1));
    t.gets(bob, request.with(data)); // [MQTT5-3.3.2-15] [MQTT5-3.3.2-16]
    t.sends(bob, puback(1));
    t.sends(bob, publish("answers/ann", "noon").qos1(5).with(data));
    t.gets(ann, publish("answers/ann", "noon").qos1(1).with(data)); // [MQTT5-3.3.2-16]
    t.gets(bob, publish("answers/ann", "noon").qos1(2).with(data)); // Bob hears everything.
    t.gets(bob, puback(5));
    t.silence();
}

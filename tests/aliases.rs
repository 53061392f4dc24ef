//! Topic Aliases in both directions [MQTT5 §3.3.2.3.4].

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::limits;
use table::*;

fn alias(number: u16) -> Property<'static> {
    Property::TopicAlias(number.try_into().unwrap())
}

/// Ann publishes with aliases, Bob has subscribed to everything.
fn ann_and_bob() -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(bob, subscribe(1, "#", 0));
    t.gets(bob, suback(1, &[0]));
    (t, ann, bob)
}

/// Bob takes `maximum` aliases and has subscribed to everything at QoS 1; Ann publishes.
fn bob_takes(maximum: u16) -> (Table, Seat, Seat) {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let bob = bob_comes(&mut t, maximum);
    t.sends(bob, subscribe(1, "#", 1));
    t.gets(bob, suback(1, &[1]));
    (t, ann, bob)
}

fn bob_comes(t: &mut Table, maximum: u16) -> Seat {
    let packet = connect("bob").lasting(1000);
    t.connects(V5, packet.with(Property::TopicAliasMaximum(maximum)))
}

#[test]
fn an_alias_stands_for_its_topic_once_it_is_set() {
    for qos in 0..=2 {
        let (mut t, ann, bob) = ann_and_bob();
        t.sends(ann, publish("tea/green", "1").qos(qos, 1).with(alias(1)));
        t.sends(ann, publish("", "2").qos(qos, 2).with(alias(1)));
        t.ignores(ann);
        t.gets(bob, publish("tea/green", "1")); // The alias is Ann's own.
        t.gets(bob, publish("tea/green", "2"));
        t.silence();
        t.open(ann);
    }
}

#[test]
fn every_alias_up_to_the_maximum_is_taken() {
    let (mut t, ann, bob) = ann_and_bob();
    for number in 1..=10 {
        let topic = format!("tea/{number}");
        t.sends(ann, publish(&topic, "set").with(alias(number))); // [MQTT5-3.3.2-12]
        t.gets(bob, publish(&topic, "set"));
    }
    for number in (1..=10).rev() {
        t.sends(ann, publish("", "used").with(alias(number)));
        t.gets(bob, publish(&format!("tea/{number}"), "used")); // [MQTT5-3.3.2-12]
    }
    t.silence();
}

#[test]
fn an_alias_can_be_set_anew() {
    let (mut t, ann, bob) = ann_and_bob();
    for topic in ["tea", "milk", "tea"] {
        t.sends(ann, publish(topic, "set").with(alias(10)));
        t.gets(bob, publish(topic, "set"));
        t.sends(ann, publish("", "used").with(alias(10)));
        t.gets(bob, publish(topic, "used"));
    }
    t.silence();
}

#[test]
fn two_aliases_may_stand_for_one_topic() {
    let (mut t, ann, bob) = ann_and_bob();
    for number in [1, 2] {
        t.sends(ann, publish("tea", "set").with(alias(number)));
        t.gets(bob, publish("tea", "set"));
    }
    for number in [1, 2] {
        t.sends(ann, publish("", "used").with(alias(number)));
        t.gets(bob, publish("tea", "used"));
    }
    t.silence();
}

#[test]
fn an_alias_is_set_by_a_message_that_is_denied_or_a_repetition() {
    let (mut t, ann, bob) = ann_and_bob();
    t.sends(ann, publish("$SYS/x", "denied").with(alias(1)));
    t.sends(ann, publish("", "denied too").qos1(5).with(alias(1)));
    let denied = puback(5).reason(ReasonCode::NotAuthorized);
    t.gets(ann, denied.because("you may not publish to this topic"));
    t.sends(ann, publish("tea", "hot").qos2(7).with(alias(2)));
    t.gets(ann, pubrec(7));
    t.gets(bob, publish("tea", "hot"));
    t.sends(ann, publish("tea", "hot").qos2(7).dup().with(alias(3)));
    t.gets(ann, pubrec(7));
    t.sends(ann, publish("", "cold").with(alias(3)));
    t.gets(bob, publish("tea", "cold"));
    t.silence();
}

#[test]
fn alias_0_is_refused() {
    for topic in ["tea", ""] {
        let (mut t, ann, bob) = ann_and_bob();
        let mut bytes = publish(topic, "hot").with(alias(1)).bytes(V5);
        let at = bytes.windows(3).position(|w| w == [0x23, 0, 1]).unwrap();
        bytes[at + 2] = 0;
        t.sends_bytes(ann, &bytes); // [MQTT5-3.3.2-8]
        let sentence = "PUBLISH has the Topic Alias 0";
        t.cut_off(ann, ReasonCode::TopicAliasInvalid, sentence);
        t.silence();
        t.open(bob);
    }
}

#[test]
fn an_alias_above_the_maximum_is_refused() {
    for number in [11, 65_535] {
        for topic in ["tea", ""] {
            let (mut t, ann, bob) = ann_and_bob();
            t.sends(ann, publish(topic, "hot").with(alias(number)));
            let sentence = format!("Topic Alias {number} is above the maximum of 10");
            // [MQTT5-3.3.2-9]
            t.cut_off(ann, ReasonCode::TopicAliasInvalid, &sentence);
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn the_maximum_is_what_the_configuration_says() {
    let mut t = Table::with_listeners(|listener| listener.max_topic_alias = 0);
    let ann = t.client(V5, "ann");
    t.sends(ann, publish("tea", "hot").with(alias(1)));
    let sentence = "Topic Alias 1 is above the maximum of 0";
    t.cut_off(ann, ReasonCode::TopicAliasInvalid, sentence);

    let mut t = Table::with_listeners(|listener| listener.max_topic_alias = 65_535);
    let ann = t.client(V5, "ann");
    t.sends(ann, subscribe(1, "tea", 0));
    t.gets(ann, suback(1, &[0]));
    t.sends(ann, publish("tea", "set").with(alias(65_535)));
    t.sends(ann, publish("", "used").with(alias(65_535)));
    t.gets(ann, publish("tea", "set"));
    t.gets(ann, publish("tea", "used"));
    t.silence();
}

#[test]
fn an_alias_that_was_not_set_is_refused() {
    let (mut t, ann, bob) = ann_and_bob();
    t.sends(ann, publish("tea", "hot").with(alias(2)));
    t.gets(bob, publish("tea", "hot"));
    t.sends(ann, publish("", "hot").with(alias(1)));
    let sentence = "Topic Alias 1 was not set on this connection";
    t.cut_off(ann, ReasonCode::ProtocolError, sentence);
    t.silence();
    t.open(bob);
}

#[test]
fn an_alias_belongs_to_its_connection() {
    let (mut t, ann, bob) = ann_and_bob();
    t.sends(ann, publish("tea", "hot").with(alias(1)));
    t.gets(bob, publish("tea", "hot"));
    t.sends(bob, publish("milk", "cold").with(alias(1)));
    t.gets(bob, publish("milk", "cold"));
    t.sends(ann, publish("", "hot").with(alias(1)));
    t.gets(bob, publish("tea", "hot"));
    let cid = t.client(V5, "cid");
    t.sends(cid, publish("", "hot").with(alias(1)));
    let sentence = "Topic Alias 1 was not set on this connection";
    t.cut_off(cid, ReasonCode::ProtocolError, sentence);
    t.silence();
}

#[test]
fn aliases_a_client_set_do_not_outlive_its_connection() {
    let (mut t, _, bob) = ann_and_bob();
    let cid = t.connects(V5, connect("cid").lasting(1000));
    t.sends(cid, publish("tea", "hot").with(alias(1)));
    t.gets(bob, publish("tea", "hot"));
    t.drops(cid);
    let cid = t.connects(V5, connect("cid").lasting(1000));
    t.sends(cid, publish("", "hot").with(alias(1))); // [MQTT5-3.3.2-7]
    let sentence = "Topic Alias 1 was not set on this connection";
    t.cut_off(cid, ReasonCode::ProtocolError, sentence);
    t.silence();
}

#[test]
fn a_client_that_takes_none_is_sent_none() {
    let (mut t, ann, bob) = bob_takes(0);
    let cid = t.client(V5, "cid");
    t.sends(cid, subscribe(1, "#", 0));
    t.gets(cid, suback(1, &[0]));
    for _ in 0..3 {
        t.sends(ann, publish("tea", "hot"));
        t.gets(bob, publish("tea", "hot")); // [MQTT5-3.3.2-11]
        t.gets(cid, publish("tea", "hot")); // [MQTT5-3.3.2-11]
    }
    t.silence();
}

#[test]
fn the_first_topics_to_come_get_an_alias_as_far_as_the_client_takes_them() {
    for (takes, given) in [(1, 1), (2, 2), (10, 10), (11, 10), (65_535, 10)] {
        let (mut t, ann, bob) = bob_takes(takes);
        for round in 0..3 {
            for number in 1..=12 {
                let topic = format!("tea/{number}");
                t.sends(ann, publish(&topic, "hot"));
                let expected = match (number <= given, round) {
                    (true, 0) => publish(&topic, "hot").with(alias(number)),
                    (true, _) => publish("", "hot").with(alias(number)),
                    (false, _) => publish(&topic, "hot"), // [MQTT5-3.3.2-11]
                };
                t.gets(bob, expected);
            }
        }
        t.silence();
    }
}

#[test]
fn the_broker_gives_no_more_aliases_than_the_configuration_says() {
    let mut t = Table::with_listeners(|listener| listener.max_topic_alias_broker = 0);
    let (ann, bob) = (t.client(V5, "ann"), bob_comes(&mut t, 10));
    t.sends(bob, subscribe(1, "#", 0));
    t.gets(bob, suback(1, &[0]));
    t.sends(ann, publish("tea", "hot"));
    t.gets(bob, publish("tea", "hot"));
    t.silence();
}

#[test]
fn aliases_the_broker_set_do_not_outlive_the_connection() {
    let (mut t, ann, bob) = bob_takes(2);
    t.sends(ann, publish("milk", "cold"));
    t.gets(bob, publish("milk", "cold").with(alias(1)));
    t.sends(ann, publish("tea", "1").qos1(1));
    t.sends(ann, publish("tea", "2").qos1(2));
    t.ignores(ann);
    t.gets(bob, publish("tea", "1").qos1(1).with(alias(2)));
    t.gets(bob, publish("", "2").qos1(2).with(alias(2)));
    t.drops(bob);
    let bob = bob_comes(&mut t, 2);
    // [MQTT5-3.3.2-7]: the topic in full, with an alias of this connection.
    t.gets(bob, publish("tea", "1").qos1(1).dup().with(alias(1)));
    t.gets(bob, publish("", "2").qos1(2).dup().with(alias(1)));
    t.drops(bob);
    let bob = bob_comes(&mut t, 0);
    t.gets(bob, publish("tea", "1").qos1(1).dup());
    t.gets(bob, publish("tea", "2").qos1(2).dup());
    t.silence();
}

#[test]
fn aliases_go_with_queued_and_retained_messages_too() {
    let (mut t, ann, bob) = bob_takes(1);
    t.drops(bob);
    t.sends(ann, publish("tea", "1").qos1(1));
    t.sends(ann, publish("tea", "2").qos1(2).retain());
    t.ignores(ann);
    let bob = bob_comes(&mut t, 1);
    t.gets(bob, publish("tea", "1").qos1(1).with(alias(1)));
    t.gets(bob, publish("", "2").qos1(2).with(alias(1)));
    t.sends(bob, subscribe(2, "tea", 0));
    t.gets(bob, suback(2, &[0]));
    t.gets(bob, publish("", "2").retain().with(alias(1)));
    t.silence();
}

#[test]
fn a_message_too_large_for_its_receiver_sets_no_alias() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let packet = connect("bob").with(Property::TopicAliasMaximum(1));
    let bob = t.connects(
        V5,
        packet.with(Property::MaximumPacketSize(50.try_into().unwrap())),
    );
    t.sends(bob, subscribe(1, "#", 0));
    t.gets(bob, suback(1, &[0]));
    t.sends(ann, publish("milk", "x".repeat(50)));
    t.nothing(bob);
    t.sends(ann, publish("tea", "1"));
    t.gets(bob, publish("tea", "1").with(alias(1)));
    t.sends(ann, publish("tea", "x".repeat(50)));
    t.sends(ann, publish("tea", "2"));
    t.gets(bob, publish("", "2").with(alias(1)));
    t.sends(ann, publish("milk", "3"));
    t.gets(bob, publish("milk", "3"));
    t.silence();
}

#[test]
fn no_message_is_too_large_only_for_its_alias() {
    for topic in ["t", "te", "tea", "tea/green"] {
        let plain = publish(topic, "hot").bytes(V5).len();
        for spare in 0..5 {
            let mut t = Table::new();
            let ann = t.client(V5, "ann");
            let maximum = u32::try_from(plain.max(20) + spare).unwrap();
            let packet = connect("bob").with(Property::TopicAliasMaximum(1));
            let packet = packet.with(Property::MaximumPacketSize(maximum.try_into().unwrap()));
            let bob = t.connects(V5, packet);
            t.sends(bob, subscribe(1, "#", 0));
            t.gets(bob, suback(1, &[0]));
            let payload = "x".repeat(3 + plain.max(20) - plain);
            for _ in 0..3 {
                t.sends(ann, publish(topic, &payload));
                let heard = t.next(bob).expect("it fits without an alias");
                assert!(heard.len() <= maximum as usize); // [MQTT5-3.1.2-24]
            }
            assert_eq!(t.broker.stats().dropped_oversize, 0);
            t.silence();
        }
    }
}

#[test]
fn a_message_that_a_slow_reader_misses_sets_no_alias() {
    let (mut t, ann, bob) = bob_takes(2);
    t.stalls(bob);
    let film = vec![7; limits::WRITE_QUEUE_BYTES_MAX];
    t.sends(ann, publish("film", &film));
    t.sends(ann, publish("tea", "lost"));
    assert_eq!(t.broker.stats().dropped_slow_reader, 1);
    t.reads_again(bob);
    t.gets(bob, publish("film", &film).with(alias(1)));
    t.sends(ann, publish("tea", "hot"));
    t.gets(bob, publish("tea", "hot").with(alias(2)));
    t.silence();
}

#[test]
fn in_3_there_is_no_alias() {
    for version in [V31, V311] {
        let (mut t, _, bob) = ann_and_bob();
        let cid = t.client(version, "cid");
        // Where 5.0 has properties, 3.x has its payload.
        t.sends_bytes(cid, b"\x30\x09\0\x03tea\x03\x23\0\x01");
        t.gets(bob, publish("tea", b"\x03\x23\0\x01"));
        t.silence();
    }
}

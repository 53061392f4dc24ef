//! What fuzzing has found, as dialogues.

mod table;
use midge::broker::Closed;
use midge::broker::key::ConnId;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

#[test]
fn no_close_is_left_over_for_whoever_has_the_key_of_a_lost_connection_next() {
    for version in EVERY {
        let mut t = Table::new();
        t.client(version, "ann");
        let (conn, now) = (ConnId::from_index(0), t.now());
        t.broker.closed(conn, Closed::ByPeer, now);
        assert!(t.broker.effects().closes.is_empty());
    }
}

#[test]
fn a_subscribe_whose_answer_is_too_large_for_its_client_ends_the_connection() {
    let at_most = |bytes: u32| Property::MaximumPacketSize(bytes.try_into().unwrap());
    let eleven = |packet: Say| (1..11).fold(packet, |packet, _| packet.and("a", 0));
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").with(at_most(16)));
    t.sends(ann, eleven(subscribe(1, "a", 0)));
    t.gets(ann, suback(1, &[0; 11]));
    t.sends(ann, eleven(subscribe(2, "a", 0)).and("b", 0));
    t.gets(ann, disconnect().reason(ReasonCode::PacketTooLarge)); // [MQTT5-3.1.2-24]
    t.closed(ann);

    let bob = t.connects(V5, connect("bob").with(at_most(16)));
    t.sends(bob, unsubscribe(1, &["a"; 12]));
    t.gets(bob, disconnect().reason(ReasonCode::PacketTooLarge));
    t.closed(bob);
    t.silence();
}

#[test]
fn a_shared_message_passes_over_who_could_only_lose_it() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").lasting(1000));
        let bob = t.connects(version, connect("bob").lasting(1000));
        let cat = t.client(version, "cat");
        t.sends(ann, subscribe(1, "$share/g/tea", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(bob, subscribe(1, "$share/g/tea", 1));
        t.gets(bob, suback(1, &[1]));
        t.drops(ann);
        t.drops(bob);
        // Whose turn it is makes no difference: ann can never get them, bob can later.
        for id in 1..=2 {
            t.sends(cat, publish("tea", format!("cup {id}")).qos1(id));
            t.gets(cat, puback(id));
        }
        let bob = t.connects(version, connect("bob").lasting(1000));
        t.gets(bob, publish("tea", "cup 1").qos1(1));
        t.gets(bob, publish("tea", "cup 2").qos1(2));
        t.silence();
    }
}

/// The same, where it is a full queue that could only lose it.
#[test]
fn a_shared_message_passes_over_a_full_queue() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_queued_messages = 1);
        for name in ["ann", "bob"] {
            let seat = t.connects(version, connect(name).lasting(1000));
            let filter = if name == "ann" { "jam" } else { "pie" };
            t.sends(seat, subscribe(1, "$share/g/tea", 1).and(filter, 1));
            t.gets(seat, suback(1, &[1, 1]));
            t.drops(seat);
        }
        let cat = t.client(version, "cat");
        t.sends(cat, publish("jam", "fills the queue of ann").qos1(1));
        t.gets(cat, puback(1));
        t.sends(cat, publish("tea", "cup").qos1(2));
        t.gets(cat, puback(2));
        let bob = t.connects(version, connect("bob").lasting(1000));
        t.gets(bob, publish("tea", "cup").qos1(1));
        t.silence();
    }
}

/// SUBSCRIBE to the same filter brings its retained messages again [MQTT-3.8.4-3]
/// [MQTT5-3.8.4-4], even while the window has no room for those of the first.
#[test]
fn retained_messages_come_again_with_a_second_subscribe_while_the_first_is_not_served() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").qos1(1).retain());
        t.gets(ann, puback_unmatched(version, 1));
        t.sends(ann, subscribe(2, "tea", 1));
        t.gets(ann, suback(2, &[1]));
        t.gets(ann, publish("tea", "hot").qos1(1).retain());
        t.sends(ann, publish("tea", "cold").qos1(3).retain());
        t.gets(ann, puback(3)); // and it waits for a place in the window
        t.sends(ann, subscribe(4, "tea", 1));
        t.gets(ann, suback(4, &[1]));
        t.nothing(ann);
        t.sends(ann, puback(1));
        t.gets(ann, publish("tea", "cold").qos1(2));
        t.sends(ann, puback(2));
        t.gets(ann, publish("tea", "cold").qos1(3).retain());
        t.sends(ann, puback(3));
        t.silence();
    }
}

fn puback_unmatched(version: ProtocolVersion, id: u16) -> Say {
    match version {
        V5 => puback(id).reason(ReasonCode::NoMatchingSubscribers),
        _ => puback(id),
    }
}

/// PUBREC for a message that was sent on an earlier connection and, the window being smaller now,
/// not on this one: the exchange goes on [MQTT-4.4.0-1] [MQTT5-4.4.0-1].
#[test]
fn a_pubrec_before_its_publish_is_sent_again_is_not_forgotten() {
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").lasting(1000));
    let bob = t.client(V5, "bob");
    t.sends(ann, subscribe(1, "tea", 2));
    t.gets(ann, suback(1, &[2]));
    for id in 1..=3 {
        t.sends(bob, publish("tea", "hot").qos2(id));
        t.gets(bob, pubrec(id));
        t.gets(ann, publish("tea", "hot").qos2(id));
    }
    t.drops(ann);
    let narrow = connect("ann").lasting(1000);
    let narrow = narrow.with(Property::ReceiveMaximum(2.try_into().unwrap()));
    let ann = t.connects(V5, narrow);
    t.gets(ann, publish("tea", "hot").qos2(1).dup());
    t.gets(ann, publish("tea", "hot").qos2(2).dup());
    t.sends(ann, pubrec(3));
    t.gets(ann, pubrel(3));
    for id in 1..=2 {
        t.sends(ann, pubrec(id));
        t.gets(ann, pubrel(id));
        t.sends(ann, pubcomp(id));
    }
    t.silence();
    t.drops(ann);
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.gets(ann, pubrel(3)); // [MQTT5-4.3.3-5]
    t.sends(ann, pubcomp(3));
    t.silence();
}

/// Found by fuzzing: the answer was DISCONNECT with 0x84, which DISCONNECT does not have.
#[test]
fn a_second_connect_is_a_protocol_error_whatever_it_says() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    t.sends_bytes(ann, &[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', 9]);
    let sentence = "a second CONNECT on one connection";
    t.cut_off(ann, ReasonCode::ProtocolError, sentence); // [MQTT5-3.1.0-2]
}

//! Overlapping subscriptions of one client [MQTT §3.3.5] [MQTT5 §3.3.4], in both of the ways the
//! specification allows: a copy for each, or one copy for all (`allow_duplicate_messages false`).

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::subscribe::SubscriptionOptions;
use table::*;

fn identifier(number: u32) -> Property<'static> {
    Property::SubscriptionIdentifier(number)
}

fn one_copy() -> Table {
    Table::with(|config| config.allow_duplicate_messages = false)
}

/// Subscribes with a SUBSCRIBE of its own, for it to have an identifier of its own.
fn subscribes(t: &mut Table, seat: Seat, filter: &str, options: SubscriptionOptions, number: u32) {
    let packet = subscribe_with(1, filter, options);
    let packet = if number == 0 {
        packet
    } else {
        packet.with(identifier(number))
    };
    t.sends(seat, packet);
    t.gets(seat, suback(1, &[options.qos.bits()]));
}

/// QoS and Subscription Identifiers (ascending) of the PUBLISH that is heard next.
#[track_caller]
fn next_copy(t: &mut Table, seat: Seat) -> (u8, Vec<u32>) {
    t.hears(seat, |packet| {
        let Packet::Publish(publish) = packet else {
            panic!("no PUBLISH: {packet:?}")
        };
        let mut identifiers: Vec<_> = publish.properties.subscription_identifiers().collect();
        identifiers.sort_unstable();
        (publish.qos.bits(), identifiers)
    })
}

#[test]
fn each_subscription_gets_a_copy_with_its_own_qos_and_identifier() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V311, "bob"));
    subscribes(&mut t, ann, "a/b", options(0), 1);
    subscribes(&mut t, ann, "a/+", options(1), 268_435_455);
    subscribes(&mut t, ann, "a/#", options(2), 0);
    subscribes(&mut t, ann, "b", options(2), 7);
    t.sends(bob, publish("a/b", "x").qos2(1));
    t.ignores(bob);
    let mut copies: Vec<_> = (0..3).map(|_| next_copy(&mut t, ann)).collect();
    copies.sort();
    // [MQTT5-3.3.4-4] [MQTT-3.8.4-6] [MQTT5-3.8.4-8]
    assert_eq!(copies, [(0, vec![1]), (1, vec![268_435_455]), (2, vec![])]);
    t.silence();
}

#[test]
fn each_subscription_gets_a_copy_in_every_version() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
        t.sends(ann, subscribe(1, "a", 1).and("#", 1).and("+", 0));
        t.gets(ann, suback(1, &[1, 1, 0]));
        t.sends(bob, publish("a", "x").qos1(1));
        t.gets(bob, puback(1));
        let mut levels: Vec<_> = (0..3).map(|_| next_copy(&mut t, ann).0).collect();
        levels.sort_unstable();
        assert_eq!(levels, [0, 1, 1]);
        t.silence();
    }
}

#[test]
fn one_copy_has_the_highest_qos_and_all_identifiers() {
    let mut t = one_copy();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V311, "bob"));
    let carl = t.client(V5, "carl");
    subscribes(&mut t, ann, "a/b", options(0), 3);
    subscribes(&mut t, ann, "a/+", options(2), 0);
    subscribes(&mut t, ann, "#", options(1), 2);
    subscribes(&mut t, ann, "b", options(2), 7);
    subscribes(&mut t, carl, "#", options(0), 9);
    t.sends(bob, publish("a/b", "x").qos2(1));
    t.ignores(bob);
    // [MQTT-3.3.5-1] [MQTT5-3.3.4-2] [MQTT5-3.3.4-3]
    assert_eq!(next_copy(&mut t, ann), (2, vec![2, 3]));
    assert_eq!(next_copy(&mut t, carl), (0, vec![9]));
    t.sends(bob, publish("a/b", "x").qos1(2));
    t.ignores(bob);
    assert_eq!(next_copy(&mut t, ann), (1, vec![2, 3]));
    assert_eq!(next_copy(&mut t, carl), (0, vec![9]));
    t.silence();
}

#[test]
fn one_copy_in_every_version_and_also_while_the_client_is_away() {
    for version in EVERY {
        let mut t = one_copy();
        let bob = t.client(V311, "bob");
        let ann = t.connects(version, connect("ann").lasting(100));
        t.sends(ann, subscribe(1, "a", 0).and("#", 1).and("+", 2));
        t.gets(ann, suback(1, &[0, 1, 2]));
        t.sends(bob, publish("a", "x").qos1(1));
        t.gets(bob, puback(1));
        t.gets(ann, publish("a", "x").qos1(1)); // [MQTT-3.3.5-1]
        t.sends(ann, puback(1));
        t.drops(ann);
        t.sends(bob, publish("a", "y").qos1(2));
        t.gets(bob, puback(2));
        let ann = t.connects(version, connect("ann").lasting(100));
        t.gets(ann, publish("a", "y").qos1(2));
        t.silence();
    }
}

#[test]
fn no_local_and_retain_as_published_are_those_of_the_subscriptions_that_take_the_message() {
    let no_local = SubscriptionOptions {
        no_local: true,
        retain_as_published: true,
        ..options(2)
    };
    let mut t = one_copy();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V311, "bob"));
    subscribes(&mut t, ann, "a", no_local, 1);
    subscribes(&mut t, ann, "#", options(0), 2);
    t.sends(ann, publish("a", "own").retain());
    t.gets(ann, publish("a", "own").with(identifier(2))); // [MQTT5-3.8.3-3] [MQTT5-3.3.1-12]
    t.sends(bob, publish("a", "bob's").retain());
    t.hears(ann, |packet| match packet {
        Packet::Publish(publish) => assert!(publish.retain), // [MQTT5-3.3.1-13]
        other => panic!("no PUBLISH: {other:?}"),
    });
    t.silence();
}

#[test]
fn a_shared_subscription_beside_a_plain_one_brings_a_copy_in_both_ways() {
    for version in EVERY {
        for duplicates in [true, false] {
            let mut t = Table::with(|config| config.allow_duplicate_messages = duplicates);
            let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
            t.sends(ann, subscribe(1, "a", 0).and("$share/g/a", 0));
            t.gets(ann, suback(1, &[0, 0]));
            t.sends(bob, publish("a", "x"));
            t.gets(ann, publish("a", "x"));
            t.gets(ann, publish("a", "x"));
            t.silence();
        }
    }
}

#[test]
fn unsubscribing_from_one_leaves_the_others() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(V311, "bob"));
        t.sends(ann, subscribe(1, "a", 0).and("#", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.sends(ann, unsubscribe(2, &["#"]));
        t.gets(ann, unsuback(2, &[0])); // [MQTT-3.10.4-1] [MQTT5-3.10.4-1]
        t.sends(bob, publish("a", "x"));
        t.gets(ann, publish("a", "x"));
        t.sends(bob, publish("b", "x"));
        t.silence();
    }
}

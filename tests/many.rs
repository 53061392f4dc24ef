//! Very many subscriptions: of one client, on one filter, in one group. There is nothing here to
//! measure by the clock; what takes a time that grows with the square would not come to its end.

mod table;
use midge::codec::dialect::ProtocolVersion;
use table::*;

const MANY: usize = 100_000;
const CLIENTS: usize = 10_000;

/// One SUBSCRIBE and one UNSUBSCRIBE for all of `filters`.
fn packets(filters: &[String]) -> (Say, Say) {
    let subscribes = filters[1..]
        .iter()
        .fold(subscribe(1, &filters[0], 1), |packet, filter| {
            packet.and(filter, 1)
        });
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
    (subscribes, unsubscribe(2, &names))
}

fn comes_and_goes(version: ProtocolVersion, filters: &[String], topic: &str, copies: usize) {
    let (subscribes, unsubscribes) = packets(filters);
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    for round in 0..2 {
        let ann = t.client(version, "ann");
        t.sends(ann, subscribes.clone());
        t.gets(ann, suback(1, &vec![1; filters.len()]));
        t.sends(ann, subscribes.clone());
        t.gets(ann, suback(1, &vec![1; filters.len()]));
        assert_eq!(t.broker.sizes().subscriptions, filters.len());
        t.sends(bob, publish(topic, "x"));
        for _ in 0..copies {
            t.gets(ann, publish(topic, "x"));
        }
        if round == 0 {
            t.sends(ann, unsubscribes.clone());
            t.gets(ann, unsuback(2, &vec![0; filters.len()]));
            assert_eq!(t.broker.sizes().subscriptions, 0);
            t.sends(bob, publish(topic, "x"));
            t.silence();
        }
        t.leaves(ann);
        assert_eq!(t.broker.sizes().subscriptions, 0);
        t.silence();
    }
}

#[test]
fn one_client_may_have_very_many_subscriptions() {
    let filters: Vec<_> = (0..MANY).map(|number| format!("a/{number}/+")).collect();
    comes_and_goes(V5, &filters, "a/77/x", 1);
}

#[test]
fn one_filter_may_have_very_many_groups() {
    let filters: Vec<_> = (0..MANY)
        .map(|number| format!("$share/{number}/x"))
        .collect();
    comes_and_goes(V5, &filters, "y", 0);
}

#[test]
fn one_filter_may_have_very_many_subscribers() {
    let mut bytes = connect("bob").bytes(V311);
    let mut t = Table::new();
    let bob = t.opens();
    t.sends_bytes(bob, &bytes);
    t.gets(bob, connack(false));
    // Many clients by way of one table would have it look at all of them each time: they go in by
    // the broker's own door.
    let conns: Vec<_> = (1..=CLIENTS)
        .map(midge::broker::key::ConnId::from_index)
        .collect();
    let now = t.now();
    for (number, conn) in conns.iter().enumerate() {
        let peer = midge::broker::client::Peer::new(([127, 0, 0, 1], 4000).into(), 1883, 0);
        bytes = connect(&format!("client {number}")).bytes(V311);
        let filter = if number % 2 == 0 { "a" } else { "$share/g/a" };
        bytes.extend(subscribe(1, filter, 0).bytes(V311));
        t.broker.opened(*conn, peer, now);
        assert_eq!(t.broker.received(*conn, &bytes, now), bytes.len());
    }
    assert_eq!(t.broker.sizes().subscriptions, CLIENTS);
    let drain = |t: &mut Table| {
        let heard = conns.iter().map(|conn| {
            let output = t.broker.output(*conn).unwrap();
            let bytes = output.bytes();
            output.consume(bytes);
            bytes
        });
        heard.sum::<usize>()
    };
    let answers = connack(false).bytes(V311).len() + suback(1, &[0]).bytes(V311).len();
    assert_eq!(drain(&mut t), CLIENTS * answers);
    let message = publish("a", "x");
    t.sends(bob, message.clone());
    // Every plain subscriber, and one of the group.
    assert_eq!(drain(&mut t), (CLIENTS / 2 + 1) * message.bytes(V311).len());
    for conn in conns.iter().rev() {
        t.broker.closed(*conn, midge::broker::Closed::ByPeer, now);
    }
    assert_eq!(t.broker.sizes().subscriptions, 0);
    t.silence();
}

#[test]
fn very_many_subscriptions_may_go_before_their_retained_messages_come() {
    let filters: Vec<_> = (0..MANY).map(|number| format!("a/{number}")).collect();
    let (subscribes, unsubscribes) = packets(&filters);
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(bob, publish("a/7", "x").retain());
    let mut bytes = subscribes.bytes(V5);
    bytes.extend(subscribes.bytes(V5));
    bytes.extend(unsubscribes.bytes(V5));
    bytes.extend(subscribe(3, "a/7", 0).bytes(V5));
    t.sends_bytes(ann, &bytes);
    t.gets(ann, suback(1, &vec![1; MANY]));
    t.gets(ann, suback(1, &vec![1; MANY]));
    t.gets(ann, unsuback(2, &vec![0; MANY]));
    t.gets(ann, suback(3, &[0]));
    t.gets(ann, publish("a/7", "x").retain());
    t.silence();
}

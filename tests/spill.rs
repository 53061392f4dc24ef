//! Queues of which most is in the store alone, a share of two messages in memory: what comes back
//! does so in its order, once, and whatever happens meanwhile.

mod table;

use midge::codec::property::Property;
use table::*;

fn table() -> Table {
    Table::with(|config| {
        config.max_queued_messages = 0;
        config.max_inflight_messages = 2;
    })
    .remembers()
    .keeps_in_memory(2)
}

/// bob is away, and so many messages wait for him.
fn leaves(t: &mut Table, count: u16) -> Seat {
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 2));
    t.gets(bob, suback(1, &[2]));
    t.drops(bob);
    let ann = t.client(V311, "ann");
    for number in 1..=count {
        says(t, ann, number);
    }
    ann
}

fn says(t: &mut Table, ann: Seat, number: u16) {
    t.sends(ann, publish("tea", number.to_string()).qos1(number));
    t.gets(ann, puback(number));
}

/// bob hears these next, and acknowledges them.
#[track_caller]
fn takes(t: &mut Table, bob: Seat, numbers: impl IntoIterator<Item = u16>) {
    for number in numbers {
        let id = t.hears(bob, |packet| match packet {
            midge::codec::packet::Packet::Publish(packet) => {
                assert_eq!(packet.payload, number.to_string().as_bytes());
                packet.packet_identifier.unwrap().get()
            }
            other => panic!("{other:?}"),
        });
        t.sends(bob, puback(id));
    }
}

/// Of ten messages bob has had the two that were in memory; those on the disk cannot be read.
fn stops_reading() -> (Table, Seat, Seat) {
    let mut t = table();
    let ann = leaves(&mut t, 10);
    t.is_unreadable(true);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, 1..=2);
    (t, ann, bob)
}

#[test]
fn a_long_queue_comes_back_in_its_order() {
    let mut t = table();
    leaves(&mut t, 50);
    assert_eq!(t.spilled(), 48);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, 1..=50);
    t.silence();
    assert_eq!(t.spilled(), 0);
}

#[test]
fn what_comes_meanwhile_stands_behind() {
    let mut t = table();
    let ann = leaves(&mut t, 20);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, 1..=5);
    for number in 21..=30 {
        says(&mut t, ann, number);
    }
    takes(&mut t, bob, 6..=12);
    says(&mut t, ann, 31);
    takes(&mut t, bob, 13..=31);
    says(&mut t, ann, 32);
    takes(&mut t, bob, [32]);
    t.silence();
}

#[test]
fn nothing_overtakes_what_cannot_be_read() {
    let (mut t, ann, bob) = stops_reading();
    says(&mut t, ann, 11);
    t.sends(bob, pingreq());
    t.gets(bob, pingresp());
    t.silence();
    // He goes and comes while it is asked for.
    t.drops(bob);
    says(&mut t, ann, 12);
    let bob = t.connects(V311, connect("bob").durable());
    t.silence();
    t.is_unreadable(false);
    takes(&mut t, bob, 3..=12);
    t.silence();
}

#[test]
fn somebody_else_takes_the_session_over_while_it_is_read() {
    let (mut t, _, bob) = stops_reading();
    let other = t.connects(V311, connect("bob").durable());
    t.closed(bob);
    t.is_unreadable(false);
    takes(&mut t, other, 3..=10);
    t.silence();
}

#[test]
fn an_answer_for_a_session_that_is_over_does_nothing() {
    let (mut t, ann, bob) = stops_reading();
    let bob = {
        let again = t.connects(V311, connect("bob"));
        t.closed(bob);
        again
    };
    assert_eq!(t.spilled(), 0);
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    t.is_unreadable(false);
    t.silence();
    says(&mut t, ann, 99);
    takes(&mut t, bob, [99]);
    t.silence();
}

#[test]
fn after_a_restart_the_rest_is_only_counted() {
    let mut t = table();
    leaves(&mut t, 30);
    t.restarts();
    assert_eq!(t.spilled(), 28);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, 1..=7);
    t.restarts();
    let bob = t.connects(V311, connect("bob").durable());
    // Two were in flight.
    t.ignores(bob);
    t.drops(bob);
    let bob = t.connects(V311, connect("bob").durable());
    let mut heard = Vec::new();
    while let Some(answer) = t.next_answer(bob, |packet| {
        if let midge::codec::packet::Packet::Publish(packet) = packet {
            heard.push(String::from_utf8(packet.payload.to_vec()).unwrap());
        }
    }) {
        t.sends(bob, answer);
    }
    let due: Vec<_> = (8..=30).map(|number| number.to_string()).collect();
    assert_eq!(heard, due);
}

#[test]
fn limits_count_what_is_in_the_store() {
    for (count_max, bytes_max) in [(10, 0), (0, 10)] {
        let mut t = Table::with(|config| {
            config.max_queued_messages = count_max;
            config.max_queued_bytes = bytes_max;
        })
        .remembers()
        .keeps_in_memory(2);
        let ann = leaves(&mut t, 9);
        says(&mut t, ann, 1);
        assert_eq!(t.spilled(), 8);
        says(&mut t, ann, 2);
        assert_eq!(t.spilled(), 8);
        assert_eq!(t.broker.stats().dropped_queue_full, 1);
        t.restarts();
        assert_eq!(t.spilled(), 8);
        let ann = t.client(V311, "ann");
        says(&mut t, ann, 3);
        assert_eq!(t.broker.stats().dropped_queue_full, 1);
    }
}

#[test]
fn what_has_expired_in_the_store_is_dropped_when_it_is_read() {
    let mut t = table();
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    t.drops(bob);
    let ann = t.client(V5, "ann");
    for number in 1..=20 {
        let mut packet = publish("tea", number.to_string()).qos1(number);
        if number % 2 == 0 {
            packet = packet.with(Property::MessageExpiryInterval(5));
        }
        t.sends(ann, packet);
        t.gets(ann, puback(number));
    }
    t.passes(6);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, (1..=20).step_by(2));
    t.silence();
    assert_eq!(t.broker.stats().dropped_expired, 10);
}

#[test]
fn a_session_that_expires_leaves_nothing() {
    let mut t = table();
    let packet = connect("bob").with(Property::SessionExpiryInterval(10));
    let bob = t.connects(V5, packet);
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    t.drops(bob);
    let ann = t.client(V311, "ann");
    for number in 1..=10 {
        says(&mut t, ann, number);
    }
    assert_eq!(t.spilled(), 8);
    t.passes(11);
    assert_eq!((t.spilled(), t.broker.sizes().sessions), (0, 1));
}

/// It fetches what waits, and is not to be kept: it is remembered until all was read.
#[test]
fn a_session_that_is_to_end_with_its_connection_gets_all_of_it() {
    let mut t = table();
    let ann = leaves(&mut t, 20);
    let keep_nothing = || connect("bob").durable();
    let bob = t.connects(V5, keep_nothing());
    takes(&mut t, bob, 1..=6);
    says(&mut t, ann, 21);
    takes(&mut t, bob, 7..=21);
    t.silence();
    says(&mut t, ann, 22);
    takes(&mut t, bob, [22]);
    t.drops(bob);
    assert_eq!(t.broker.sizes().sessions, 1);

    let ann = leaves(&mut t, 20);
    let bob = t.connects(V5, keep_nothing());
    takes(&mut t, bob, 1..=3);
    t.drops(bob);
    assert_eq!((t.spilled(), t.broker.sizes().sessions), (0, 1));
    t.drops(ann);
}

#[test]
fn another_member_gets_what_an_ended_one_had_in_the_store() {
    let mut t = table();
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "$share/g/tea", 1));
    t.gets(bob, suback(1, &[1]));
    t.drops(bob);
    let ann = t.client(V311, "ann");
    for number in 1..=20 {
        says(&mut t, ann, number);
    }
    let cat = t.client(V311, "cat");
    t.sends(cat, subscribe(1, "$share/g/tea", 1));
    t.gets(cat, suback(1, &[1]));
    assert_eq!(t.spilled(), 18);
    let bob = t.client(V311, "bob");
    takes(&mut t, cat, 1..=20);
    t.silence();
    t.drops(bob);
}

#[test]
fn qos_0_that_waits_comes_as_it_is_read() {
    let mut t = Table::with(|config| {
        config.max_queued_messages = 0;
        config.queue_qos0_messages = true;
    })
    .remembers()
    .keeps_in_memory(2);
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    t.drops(bob);
    let ann = t.client(V311, "ann");
    let body = |number: u32| format!("{number} {}", "x".repeat(5000));
    for number in 0..100 {
        t.sends(ann, publish("tea", body(number)));
    }
    assert_eq!(t.spilled(), 98);
    let bob = t.opens();
    t.stalls(bob);
    t.sends(bob, connect("bob").durable());
    assert!(t.waiting(bob) < 200_000, "it does not read");
    t.reads_again(bob);
    t.gets(bob, connack(true));
    for number in 0..100 {
        t.gets(bob, publish("tea", body(number)));
    }
    t.silence();
}

#[test]
fn a_client_that_is_there_and_slow_has_its_queue_in_the_store_too() {
    let mut t = table();
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    let ann = t.client(V311, "ann");
    for number in 1..=20 {
        says(&mut t, ann, number);
    }
    assert_eq!(t.spilled(), 16);
    takes(&mut t, bob, 1..=20);
    t.silence();
}

#[test]
fn what_is_not_remembered_stays_in_memory() {
    let mut t = Table::with(|config| config.max_queued_messages = 0).keeps_in_memory(2);
    let ann = leaves(&mut t, 50);
    assert_eq!(t.spilled(), 0);
    let bob = t.connects(V311, connect("bob").durable());
    takes(&mut t, bob, 1..=50);
    t.silence();
    t.drops(ann);
}

#[test]
fn where_the_store_is_lost_the_rest_goes_on() {
    let (mut t, ann, bob) = stops_reading();
    says(&mut t, ann, 11);
    assert_eq!(t.loses_store(), 9);
    t.is_unreadable(false);
    t.silence();
    says(&mut t, ann, 12);
    takes(&mut t, bob, [12]);
    t.silence();
}

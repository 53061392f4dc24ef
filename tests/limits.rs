//! Limits of the whole broker and of a listener, each at none (0), at one and at its maximum; those in
//! bytes are in `byte_limits.rs`, windows and queues in `flow.rs`, times in `lasting.rs`.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
use midge::message::QoS;
use std::num::NonZeroU16;
use table::*;

/// Whether this many idle connections stay open.
fn takes(t: &mut Table, count: usize) -> bool {
    let seats: Vec<_> = (0..count).map(|_| t.opens()).collect();
    let is_open = seats.iter().all(|seat| !t.is_closed(*seat));
    for seat in seats {
        t.drops(seat);
    }
    is_open
}

#[test]
fn a_listener_closes_what_is_above_its_maximum_of_connections() {
    for version in EVERY {
        let mut t = Table::with(|config| config.listeners[1].max_connections = 1);
        t.comes_by(1);
        let ann = t.client(version, "ann");
        let bob = t.opens_as(version);
        t.closed(bob);
        t.open(ann);
        t.comes_by(0);
        t.client(version, "bob");
        t.comes_by(1);
        t.leaves(ann);
        let cat = t.client(version, "cat");
        t.drops(cat);
        let dan = t.opens_as(version);
        t.sends(dan, connect("dan"));
        t.ignores(dan);
        t.open(dan);
        let eve = t.opens_as(version);
        t.closed(eve);
        t.silence();
    }
}

#[test]
fn a_maximum_of_connections_at_none_one_and_all() {
    for (maximum, count, is_open) in [
        (0, 100, true),
        (1, 1, true),
        (1, 2, false),
        (99, 99, true),
        (99, 100, false),
        (u32::MAX, 100, true),
    ] {
        let mut t = Table::with_listeners(|listener| listener.max_connections = maximum);
        assert_eq!(takes(&mut t, count), is_open, "max_connections {maximum}");
        let mut t = Table::with(|config| config.global_max_connections = maximum);
        assert_eq!(takes(&mut t, count), is_open, "global {maximum}");
        assert!(takes(&mut t, 1)); // those that went have made room
    }
}

#[test]
fn connections_by_all_listeners_count_together() {
    let mut t = Table::with(|config| config.global_max_connections = 2);
    let ann = t.client(V311, "ann");
    t.comes_by(1);
    let bob = t.client(V5, "bob");
    for listener in [0, 1] {
        t.comes_by(listener);
        let cat = t.opens();
        t.closed(cat);
    }
    t.leaves(bob);
    t.client(V5, "cat");
    t.open(ann);
    t.silence();
}

#[test]
fn sessions_above_the_maximum_are_refused() {
    for version in EVERY {
        let mut t = Table::with(|config| config.global_max_clients = 2);
        let ann = t.connects(version, connect("ann").lasting(100));
        t.client(version, "bob");
        t.drops(ann); // its session counts on
        let sentence = "there are as many sessions here as there may be";
        let cat = t.says_connect(version, connect("cat"));
        t.gets(
            cat,
            if version == V5 {
                refusal(false, ReasonCode::QuotaExceeded).because(sentence)
            } else {
                refusal(false, ReasonCode::ServerUnavailable)
            },
        );
        t.closed(cat);
        // Whoever has a session may go on with it, or begin it anew.
        let ann = t.connects(version, connect("ann").lasting(100));
        t.drops(ann);
        let ann = t.client(version, "ann");
        t.leaves(ann);
        t.client(version, "cat");
        t.silence();
    }
}

#[test]
fn a_maximum_of_sessions_at_none_one_and_all() {
    for (maximum, let_in) in [(0, 10), (1, 1), (9, 9), (u32::MAX, 10)] {
        let mut t = Table::with(|config| config.global_max_clients = maximum);
        let is_let_in = |t: &mut Table, index: usize| {
            let seat = t.says_connect(V311, connect(&format!("client {index}")));
            t.next(seat).unwrap()[3] == 0
        };
        let count = (0..10).filter(|index| is_let_in(&mut t, *index)).count();
        assert_eq!(count, let_in, "global_max_clients {maximum}");
    }
}

#[test]
fn client_identifiers_must_begin_as_is_set() {
    for version in EVERY {
        let prefix = |prefix: &str| {
            let prefix = prefix.to_owned();
            Table::with(|config: &mut Config| config.clientid_prefixes = Some(prefix))
        };
        let mut t = prefix("shop-");
        t.client(version, "shop-ann");
        t.client(version, "shop-");
        for name in ["ann", "shop", "Shop-ann", " shop-ann"] {
            let ann = t.says_connect(version, connect(name));
            let sentence = "this Client Identifier does not begin as it must here";
            t.refused(ann, ReasonCode::NotAuthorized, sentence);
        }
        t.silence();
        let mut t = prefix("");
        t.client(version, "ann");
    }
    // The broker's own count, too.
    let mut t = Table::with(|config| config.clientid_prefixes = Some("auto-".into()));
    t.connects(V5, connect(""));
}

#[test]
fn a_keep_alive_at_a_limit_of_none_one_and_all() {
    for (limit, asked, is_shortened) in [
        (0, 0, false),
        (0, 65_535, false),
        (1, 1, false),
        (1, 2, true),
        (1, 0, true),
        (65_535, 65_535, false),
        (65_535, 0, true),
    ] {
        for version in EVERY {
            let mut t = Table::with(|config| config.max_keepalive = limit);
            let ann = t.says_connect(version, connect("ann").keep_alive(asked));
            let answer = t.next(ann).unwrap();
            let told = [0x13].into_iter().chain(limit.to_be_bytes());
            match (version, is_shortened) {
                (V5, true) => assert_eq!(answer[5..8], told.collect::<Vec<_>>()),
                (V5, false) => assert_ne!(answer[5], 0x13, "{limit} {asked}"),
                (_, true) => assert_eq!(answer, [0x20, 2, 0, 2]),
                (_, false) => assert_eq!(answer, connack(false).bytes(version)),
            }
        }
    }
}

#[test]
fn the_highest_qos_at_none_one_and_two() {
    for (limit, maximum) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .zip(0..)
    {
        for (version, qos) in EVERY
            .into_iter()
            .flat_map(|version| (0..3).map(move |qos| (version, qos)))
        {
            let mut t = Table::with_listeners(|listener| listener.max_qos = limit);
            let ann = t.says_connect(version, connect("ann"));
            let is_told = t
                .next(ann)
                .unwrap()
                .windows(2)
                .any(|two| two == [0x24, maximum]);
            assert_eq!(is_told, version == V5 && maximum < 2); // [MQTT5-3.2.2-9]
            t.sends(ann, publish("tea", "hot").qos(qos, 1));
            t.ignores(ann);
            assert_eq!(
                t.is_closed(ann),
                qos > maximum,
                "{version:?} {qos} of {maximum}"
            );
        }
    }
}

#[test]
fn aliases_of_clients_at_a_limit_of_none_one_and_all() {
    for (limit, alias, is_taken) in [
        (0, 1, false),
        (1, 1, true),
        (1, 2, false),
        (65_534, 65_535, false),
        (65_535, 65_535, true),
    ] {
        let mut t = Table::with_listeners(|listener| listener.max_topic_alias = limit);
        let ann = t.client(V5, "ann");
        let alias = Property::TopicAlias(NonZeroU16::new(alias).unwrap());
        t.sends(ann, publish("tea", "hot").with(alias));
        t.ignores(ann);
        assert_eq!(!t.is_closed(ann), is_taken, "max_topic_alias {limit}");
    }
}

#[test]
fn aliases_of_the_broker_at_a_limit_of_none_one_and_all() {
    for (limit, given) in [(0, 0), (1, 1), (299, 299), (65_535, 300)] {
        let mut t = Table::with_listeners(|listener| listener.max_topic_alias_broker = limit);
        let takes_all = connect("ann").with(Property::TopicAliasMaximum(65_535));
        let ann = t.connects(V5, takes_all);
        t.sends(ann, subscribe(1, "#", 0));
        t.gets(ann, suback(1, &[0]));
        let bob = t.client(V311, "bob");
        for number in 1..=300 {
            let message = publish(&format!("tea/{number}"), "hot");
            t.sends(bob, Say::clone(&message));
            let alias = NonZeroU16::new(number).filter(|_| number <= given);
            let expected = alias.map(Property::TopicAlias);
            t.gets(ann, expected.into_iter().fold(message, Say::with));
        }
        t.silence();
    }
}

#[test]
fn a_packet_at_the_smallest_and_the_largest_limit() {
    for (limit, bytes, is_taken) in [
        (20, 20, true),
        (20, 21, false),
        (2_147_483_647, 100_000, true),
    ] {
        for version in [V31, V311] {
            let mut t = Table::with(|config| config.max_packet_size = limit);
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(ann, subscribe(1, "t", 0));
            t.gets(ann, suback(1, &[0]));
            let head = if bytes > 127 { 4 + 3 } else { 2 + 3 };
            let message = publish("t", vec![b'x'; bytes - head]);
            assert_eq!(message.bytes(version).len(), bytes);
            t.sends(bob, Say::clone(&message));
            assert_eq!(!t.is_closed(bob), is_taken, "{bytes} of {limit}");
            if is_taken {
                t.gets(ann, message);
            }
            t.silence();
        }
    }
}

#[test]
fn messages_that_wait_and_fly_at_the_largest_limit() {
    let mut t = Table::with(|config| {
        config.max_queued_messages = u32::MAX;
        config.max_inflight_messages = u16::MAX;
        config.max_inflight_bytes = u64::MAX;
        config.max_queued_bytes = u64::MAX;
    });
    let ann = t.connects(V311, connect("ann").durable());
    t.sends(ann, subscribe(1, "tea", 1));
    t.gets(ann, suback(1, &[1]));
    let bob = t.client(V311, "bob");
    t.drops(ann);
    for id in 1..=1200 {
        t.sends(bob, publish("tea", "hot").qos1(id));
        t.gets(bob, puback(id));
    }
    let ann = t.connects(V311, connect("ann").durable());
    for id in 1..=1200 {
        t.gets(ann, publish("tea", "hot").qos1(id));
    }
    t.silence();
}

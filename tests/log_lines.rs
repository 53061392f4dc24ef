//! What the log says of connections, and how often.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::config::LogWording;
use table::log::{lines, listen, warnings};
use table::*;

#[test]
fn connections_above_a_limit_are_said_once_a_minute() {
    listen();
    let mut t = Table::with_listeners(|listener| listener.max_connections = 1);
    t.client(V311, "ann");
    lines();
    for minute in 0..3 {
        for _ in 0..10 {
            let seat = t.opens();
            t.closed(seat);
            t.passes(1);
        }
        let expected = "denied: max_connections exceeded.";
        let said = lines();
        let denied = said.iter().filter(|line| line.ends_with(expected));
        assert_eq!(denied.count(), 1, "minute {minute}: {said:?}");
        t.passes(50);
        lines();
    }
}

/// A client that connects with this name, whoever has it.
fn takes(t: &mut Table, version: ProtocolVersion, name: &str) -> Seat {
    let seat = t.connects(version, connect(name));
    t.passes_ms(100);
    seat
}

#[test]
fn two_clients_that_fight_over_a_name_are_told_apart_once_a_minute() {
    for version in EVERY {
        listen();
        let mut t = Table::new();
        for _ in 0..3 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(warnings(), [""; 0]); // twice may be one client that comes back
        for _ in 0..20 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(
            warnings(),
            [
                "Two clients use the Client Identifier ann, and each one's connection closes the \
              other's: 127.0.0.1:40002 and 127.0.0.1:40003 (3 times within a minute). Give each \
              its own."
            ]
        );
        t.passes(60);
        for _ in 0..5 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(warnings().len(), 1);
        t.passes(60);
        for _ in 0..10 {
            takes(&mut t, version, "ann");
            t.passes(40); // now and then, it is none
        }
        assert_eq!(warnings(), [""; 0]);
    }
}

#[test]
fn what_is_remembered_of_fights_is_bounded() {
    listen();
    let mut t = Table::new();
    for round in 0..4 {
        for name in 0..200 {
            let seat = t.connects(V311, connect(&format!("client {name}")));
            if round == 3 {
                t.drops(seat);
            }
        }
    }
    // Too many at one time to be known again, and none of them is accused wrongly.
    assert_eq!(warnings(), [""; 0]);
    for _ in 0..5 {
        takes(&mut t, V311, "ann");
    }
    assert_eq!(warnings().len(), 1);
}

/// What every kind of end brings to the log.
fn ends(t: &mut Table) -> Vec<String> {
    let ann = t.connects(V5, connect("ann").user("eve"));
    t.leaves(ann);
    let ann = t.client(V311, "ann");
    t.drops(ann);
    t.connects(V31, connect("ann").keep_alive(10));
    t.passes(15);
    t.client(V5, "ann");
    let ann = t.client(V5, "ann");
    t.sends(ann, connack(false));
    t.comes_by(1);
    t.says_connect(V311, connect("ann"));
    lines()
}

#[test]
fn each_end_has_a_line_in_the_words_of_2_1() {
    listen();
    let mut t = Table::with(|config| config.listeners[1].security.allow_anonymous = false);
    let said: Vec<String> = ends(&mut t);
    assert_eq!(
        said,
        [
            "New connection from 127.0.0.1:40000 on port 1883.",
            "New client connected from 127.0.0.1:40000 as ann (p5, c1, k0, u'eve').",
            "Client ann [127.0.0.1:40000] disconnected.",
            "New connection from 127.0.0.1:40001 on port 1883.",
            "New client connected from 127.0.0.1:40001 as ann (p4, c1, k0).",
            "Client ann [127.0.0.1:40001] disconnected: connection closed by client.",
            "New connection from 127.0.0.1:40002 on port 1883.",
            "New client connected from 127.0.0.1:40002 as ann (p3, c1, k10).",
            "Client ann [127.0.0.1:40002] disconnected: exceeded timeout.",
            "New connection from 127.0.0.1:40003 on port 1883.",
            "New client connected from 127.0.0.1:40003 as ann (p5, c1, k0).",
            "New connection from 127.0.0.1:40004 on port 1883.",
            "Client ann [127.0.0.1:40003] disconnected: session taken over.",
            "New client connected from 127.0.0.1:40004 as ann (p5, c1, k0).",
            "Client ann [127.0.0.1:40004] disconnected: protocol error (CONNACK is for servers to \
             send).",
            "New connection from 127.0.0.1:40005 on port 1883.",
            "Client ann [127.0.0.1:40005] disconnected: not authorised (clients without a \
             username are not let in).",
        ]
    );
}

#[test]
fn each_end_has_a_line_in_the_words_of_2_0_if_so_set() {
    listen();
    let mut t = Table::with(|config| {
        config.midge_log_wording = LogWording::V2_0;
        config.listeners[1].security.allow_anonymous = false;
    });
    let mut said = ends(&mut t);
    said.retain(|line| !line.starts_with("New connection"));
    assert_eq!(
        said,
        [
            "New client connected from 127.0.0.1:40000 as ann (p5, c1, k0, u'eve').",
            "Client ann disconnected.",
            "New client connected from 127.0.0.1:40001 as ann (p2, c1, k0).",
            "Client ann closed its connection.",
            "New client connected from 127.0.0.1:40002 as ann (p1, c1, k10).",
            "Client ann has exceeded timeout, disconnecting.",
            "New client connected from 127.0.0.1:40003 as ann (p5, c1, k0).",
            "Client ann already connected, closing old connection.",
            "New client connected from 127.0.0.1:40004 as ann (p5, c1, k0).",
            "Client ann disconnected due to protocol error (CONNACK is for servers to send).",
            "Client ann disconnected, not authorised.",
        ]
    );
}

#[test]
fn connections_are_not_logged_if_so_set() {
    listen();
    let mut t = Table::with(|config| {
        config.connection_messages = false;
        config.listeners[1].security.allow_anonymous = false;
    });
    assert_eq!(ends(&mut t), [""; 0]);
}

#[test]
fn a_full_queue_is_said_once_and_in_the_end_how_many_were_dropped() {
    listen();
    let mut t = Table::with(|config| config.max_queued_messages = 2);
    let ann = t.client(V311, "ann");
    let mut bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    for episode in 0..2 {
        t.drops(bob);
        lines();
        for id in 1..=5 {
            t.sends(ann, publish("tea", "hot").qos1(id));
            t.gets(ann, puback(id));
        }
        let expected = ["Outgoing messages are being dropped for client bob."];
        assert_eq!(lines(), expected, "episode {episode}");
        bob = t.connects(V311, connect("bob").durable());
        let said = lines();
        assert_eq!(
            said.last().map(String::as_str),
            Some("3 outgoing messages were dropped for client bob, which keeps up again."),
            "episode {episode}: {said:?}"
        );
    }
}

#[test]
fn a_slow_reader_is_said_once_and_in_the_end_how_many_were_dropped() {
    listen();
    let mut t = Table::new();
    let (ann, bob) = (t.client(V311, "ann"), t.client(V311, "bob"));
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    for episode in 0..2 {
        t.stalls(bob);
        lines();
        for _ in 0..7 {
            t.sends(
                ann,
                publish("tea", vec![7; midge::limits::WRITE_QUEUE_BYTES_MAX / 4]),
            );
        }
        let expected = ["Outgoing messages are being dropped for client bob."];
        assert_eq!(lines(), expected, "episode {episode}");
        let dropped = t.broker.stats().dropped_slow_reader / (episode + 1);
        t.reads_again(bob);
        t.takes(bob);
        t.sends(ann, publish("tea", "back"));
        t.gets(bob, publish("tea", "back"));
        let words = "outgoing messages were dropped for client bob, which keeps up again.";
        assert_eq!(lines(), [format!("{dropped} {words}")], "episode {episode}");
    }
}

#[test]
fn a_session_that_ends_says_how_many_it_never_got() {
    listen();
    let mut t = Table::with(|config| config.max_queued_messages = 1);
    let ann = t.client(V311, "ann");
    let bob = t.connects(V5, connect("bob").lasting(60));
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    t.drops(bob);
    for id in 1..=3 {
        t.sends(ann, publish("tea", "hot").qos1(id));
        t.gets(ann, puback(id));
    }
    lines();
    t.passes(61);
    let words = "2 outgoing messages were dropped for client bob, whose session has ended.";
    assert!(lines().iter().any(|line| line == words));
}

//! Limits of the whole broker, each at none (0), at one and at its maximum.

mod table;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
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

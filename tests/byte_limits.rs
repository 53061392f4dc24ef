//! Limits in bytes, of one message, of what is in flight and of what waits: each at none (0), at one
//! and at its maximum. What counts is the payload, not the topic, nor the properties.

mod table;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
use table::*;

const TOO_LARGE: &str = "the payload is larger than payloads may be here";

/// Ann subscribes to `tea` for good, bob publishes.
fn ann_and_bob(
    version: midge::codec::dialect::ProtocolVersion,
    qos: u8,
    change: impl FnOnce(&mut Config),
) -> (Table, Seat, Seat) {
    let mut t = Table::with(change);
    let ann = t.connects(version, connect("ann").lasting(1000));
    t.sends(ann, subscribe(1, "tea", qos));
    t.gets(ann, suback(1, &[qos]));
    let bob = t.client(version, "bob");
    (t, ann, bob)
}

#[test]
fn a_payload_above_the_limit_goes_nowhere_and_its_exchange_is_completed() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2, |config| config.message_size_limit = 3);
        let refused = |ack: Say| match version {
            V5 => ack
                .reason(ReasonCode::ImplementationSpecificError)
                .because(TOO_LARGE),
            _ => ack,
        };
        t.sends(bob, publish("tea", "cold"));
        t.sends(bob, publish("tea", "cold").qos1(1));
        t.gets(bob, refused(puback(1)));
        t.sends(bob, publish("tea", "cold").qos2(2));
        t.gets(bob, refused(pubrec(2)));
        if version != V5 {
            t.sends(bob, pubrel(2));
            t.gets(bob, pubcomp(2));
        }
        t.sends(bob, publish("tea", "cold").retain());
        t.silence();
        t.sends(bob, publish("tea", "hot"));
        t.gets(ann, publish("tea", "hot"));
        t.sends(ann, subscribe(2, "#", 0));
        t.gets(ann, suback(2, &[0])); // nothing was retained
        assert_eq!(t.broker.stats().dropped_message_size, 4);
        t.silence();
    }
}

#[test]
fn a_payload_at_a_limit_of_none_one_and_all() {
    for (limit, bytes, is_taken) in [
        (0, 100_000, true),
        (1, 0, true),
        (1, 1, true),
        (1, 2, false),
        (99_999, 99_999, true),
        (99_999, 100_000, false),
        (u32::MAX, 100_000, true),
    ] {
        let (mut t, ann, bob) = ann_and_bob(V311, 0, |config| config.message_size_limit = limit);
        let payload = vec![b'x'; bytes];
        t.sends(bob, publish("tea", &payload));
        if is_taken {
            t.gets(ann, publish("tea", &payload));
        }
        t.silence();
    }
}

#[test]
fn a_will_above_the_limit_is_not_let_in() {
    for version in EVERY {
        let mut t = Table::with(|config| config.message_size_limit = 3);
        let ann = t.says_connect(version, connect("ann").will("gone", "cold", 0, false));
        let sentence = "the Will Payload is larger than payloads may be here";
        let code = match version {
            V5 => ReasonCode::PacketTooLarge,
            _ => ReasonCode::NotAuthorized, // 3.x has no word for it; it is mosquitto's
        };
        t.refused(ann, code, sentence);
        t.connects(version, connect("ann").will("gone", "hot", 0, false));
        t.silence();
    }
}

/// How many of ten messages, with payloads of seven bytes, are in flight at once.
fn in_flight(qos: u8, limit: u64) -> usize {
    let (mut t, ann, bob) = ann_and_bob(V5, qos, |config| config.max_inflight_bytes = limit);
    for id in 1..=10 {
        t.sends(bob, publish("tea", "seven b").qos(qos, id));
        t.ignores(bob);
        if qos == 2 {
            t.sends(bob, pubrel(id));
            t.ignores(bob);
        }
    }
    let mut count = 0;
    while t.next(ann).is_some() {
        count += 1;
    }
    count
}

#[test]
fn bytes_in_flight_at_a_limit_of_none_one_and_all() {
    for qos in [1, 2] {
        assert_eq!(in_flight(qos, 0), 10);
        assert_eq!(in_flight(qos, 1), 1); // larger than the limit, and so alone
        assert_eq!(in_flight(qos, 7), 1);
        assert_eq!(in_flight(qos, 8), 2);
        assert_eq!(in_flight(qos, 63), 9);
        assert_eq!(in_flight(qos, u64::MAX), 10);
    }
}

#[test]
fn what_lands_makes_room_for_bytes() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2, |config| config.max_inflight_bytes = 14);
        for (id, payload) in [(1, "seven b"), (2, "seven b"), (3, "x"), (4, "y"), (5, "z")] {
            t.sends(bob, publish("tea", payload).qos1(id));
            t.ignores(bob);
        }
        t.gets(ann, publish("tea", "seven b").qos1(1));
        t.gets(ann, publish("tea", "seven b").qos1(2));
        t.silence();
        t.sends(ann, puback(1));
        t.gets(ann, publish("tea", "x").qos1(3));
        t.gets(ann, publish("tea", "y").qos1(4));
        t.gets(ann, publish("tea", "z").qos1(5));
        t.silence();
        // Nor is more sent again than there is room for.
        t.drops(ann);
        let ann = t.connects(version, connect("ann").lasting(1000));
        for (id, payload) in [(2, "seven b"), (3, "x"), (4, "y"), (5, "z")] {
            t.gets(ann, publish("tea", payload).qos1(id).dup());
        }
        t.silence();
    }
}

#[test]
fn a_qos_2_message_counts_until_pubcomp() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 2, |config| config.max_inflight_bytes = 1);
        for id in [1, 2] {
            t.sends(bob, publish("tea", "hot").qos2(id));
            t.sends(bob, pubrel(id));
            t.ignores(bob);
        }
        t.gets(ann, publish("tea", "hot").qos2(1));
        t.sends(ann, pubrec(1));
        t.gets(ann, pubrel(1));
        t.silence();
        t.drops(ann);
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.gets(ann, pubrel(1));
        t.silence();
        t.sends(ann, pubcomp(1));
        t.gets(ann, publish("tea", "hot").qos2(2));
        t.silence();
    }
}

/// How many of ten messages, with payloads of seven bytes, wait for a client that is away.
fn waiting(limit: u64) -> u64 {
    let (mut t, ann, bob) = ann_and_bob(V311, 1, |config| config.max_queued_bytes = limit);
    t.drops(ann);
    for id in 1..=10 {
        t.sends(bob, publish("tea", "seven b").qos1(id));
    }
    10 - t.broker.stats().dropped_queue_full
}

#[test]
fn bytes_that_wait_at_a_limit_of_none_one_and_all() {
    assert_eq!(waiting(0), 10);
    assert_eq!(waiting(1), 1); // the last one may exceed it
    assert_eq!(waiting(7), 1);
    assert_eq!(waiting(8), 2);
    assert_eq!(waiting(63), 9);
    assert_eq!(waiting(u64::MAX), 10);
}

#[test]
fn a_queue_that_empties_has_room_for_bytes_again() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 1, |config| {
            config.max_queued_bytes = 1;
            config.max_inflight_messages = 1;
        });
        for id in 1..=4 {
            t.sends(bob, publish("tea", [b'0' + id]).qos1(u16::from(id)));
        }
        t.ignores(bob);
        t.gets(ann, publish("tea", "1").qos1(1));
        t.sends(ann, puback(1));
        t.gets(ann, publish("tea", "2").qos1(2));
        t.sends(bob, publish("tea", "5").qos1(5));
        t.ignores(bob);
        t.sends(ann, puback(2));
        t.gets(ann, publish("tea", "5").qos1(3));
        t.sends(ann, puback(3));
        t.silence();
    }
}

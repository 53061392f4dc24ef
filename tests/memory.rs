//! `memory_limit`: what is refused as the heap fills, in which order, who is told and how, and that
//! what was accepted stays. The heap is a number that the test sets; what a real one does under a
//! storm is in `memory_storm.rs`.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
use midge::limits;
use std::cell::Cell;
use table::log::{listen, warnings};
use table::*;

/// A limit whose sixteenths are easy to read: a million bytes each.
const LIMIT: u64 = 16_000_000;
const SIXTEENTH: usize = 1_000_000;

/// What a refused publisher, a refused subscriber and a connection that must end are told.
const SEND_LATER: &str = "memory is short here; send it again later";
const TRY_LATER: &str = "memory is short here; try again later";

thread_local! {
    static HEAP: Cell<usize> = const { Cell::new(0) };
    static GROWTH: Cell<usize> = const { Cell::new(0) };
}

/// Each time it is asked there may be more.
fn heap() -> usize {
    HEAP.replace(HEAP.get() + GROWTH.get())
}

/// The heap is this full from now on, in thousandths of a sixteenth of the limit.
fn fill(thousandths: usize) {
    HEAP.set(thousandths * (SIXTEENTH / 1000));
}

/// Just above a mark, and below the next one.
fn fill_above(sixteenths: usize) {
    fill(sixteenths * 1000 + 1);
}

fn limited(change: impl FnOnce(&mut Config)) -> Table {
    listen();
    fill(0);
    let mut t = Table::with(|config| {
        config.memory_limit = LIMIT;
        change(config);
    });
    t.broker.measure(heap);
    t
}

/// A durable session of this name, away, that has subscribed at QoS 1.
fn away(t: &mut Table, version: ProtocolVersion, name: &str, filter: &str) {
    let seat = t.connects(version, connect(name).lasting(100_000));
    t.sends(seat, subscribe(1, filter, 1));
    t.gets(seat, suback(1, &[1]));
    t.drops(seat);
}

/// The session comes back: how many messages it gets, each acknowledged.
fn fetches(t: &mut Table, version: ProtocolVersion, name: &str) -> usize {
    let seat = t.connects(version, connect(name).lasting(100_000));
    let mut count = 0;
    while let Some(answer) = t.next_answer(seat, |_| count += 1) {
        t.sends(seat, answer);
    }
    t.drops(seat);
    count
}

#[test]
fn first_qos_0_to_slow_readers_is_dropped() {
    for version in EVERY {
        let mut t = limited(|_| {});
        let ann = t.client(version, "ann");
        let (bob, cid) = (t.client(version, "bob"), t.client(version, "cid"));
        for seat in [bob, cid] {
            t.sends(seat, subscribe(1, "tea", 0));
            t.gets(seat, suback(1, &[0]));
        }
        t.stalls(bob);
        let payload = vec![7; limits::SLOW_READER_BYTES];
        let says = |t: &mut Table| {
            t.sends(ann, publish("tea", &payload));
            t.gets(cid, publish("tea", &payload));
        };
        fill(limits::MEMORY_SLOW_READERS * 1000 - 200);
        says(&mut t);
        let waiting = t.waiting(bob);
        assert!(waiting > limits::SLOW_READER_BYTES);
        fill_above(limits::MEMORY_SLOW_READERS);
        for _ in 0..3 {
            says(&mut t);
        }
        assert_eq!(t.waiting(bob), waiting);
        assert_eq!(t.broker.stats().dropped_memory, 3);
        // What waited is not lost, and with memory back neither is what comes.
        fill(0);
        says(&mut t);
        t.reads_again(bob);
        t.gets(bob, publish("tea", &payload));
        t.gets(bob, publish("tea", &payload));
        t.silence();
        assert_eq!(t.broker.stats().dropped(), 3);
    }
}

#[test]
fn the_fuller_the_heap_the_less_may_wait_for_a_reader() {
    let mut t = limited(|_| {});
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    for (sixteenths, waiting_max) in [
        (limits::MEMORY_SLOW_READERS, limits::SLOW_READER_BYTES),
        (limits::MEMORY_QUEUES, limits::PROMPT_READER_BYTES),
        (limits::MEMORY_PACKETS, limits::PROMPT_READER_BYTES),
        (limits::MEMORY_CONNECTIONS, 0),
    ] {
        fill_above(sixteenths);
        t.stalls(bob);
        for _ in 0..2000 {
            t.sends(ann, publish("tea", [7; 100]));
        }
        let waiting = t.waiting(bob);
        let expected = match waiting_max {
            0 => 0..=0,
            bytes => bytes + 1..=bytes + 110,
        };
        assert!(expected.contains(&waiting), "{waiting} above {sixteenths}");
        t.reads_again(bob);
        t.ignores(bob);
    }
}

#[test]
fn then_what_would_have_to_wait_is_refused() {
    for qos in [1, 2] {
        let mut t = limited(|_| {});
        away(&mut t, V5, "bob", "tea");
        let ann = t.client(V5, "ann");
        let ack = |id| if qos == 1 { puback(id) } else { pubrec(id) };
        fill(limits::MEMORY_QUEUES * 1000 - 10);
        t.sends(ann, publish("tea", "hot").qos(qos, 1));
        t.gets(ann, ack(1));
        fill_above(limits::MEMORY_QUEUES);
        t.sends(ann, publish("tea", "cold").qos(qos, 2));
        let refused = ack(2).reason(ReasonCode::QuotaExceeded);
        t.gets(ann, refused.because(SEND_LATER));
        // Nobody keeps it, and nothing else about the client has changed.
        t.sends(ann, publish("milk", "cold").qos(qos, 3));
        t.gets(ann, ack(3).reason(ReasonCode::NoMatchingSubscribers));
        fill(0);
        t.sends(ann, publish("tea", "cold").qos(qos, 4));
        t.gets(ann, ack(4));
        assert_eq!(t.broker.stats().refused_messages, 1);
        assert_eq!(t.broker.stats().dropped(), 0);
        assert_eq!(fetches(&mut t, V5, "bob"), 2);
    }
}

#[test]
fn a_large_message_is_refused_before_a_small_one() {
    let mut t = limited(|_| {});
    away(&mut t, V5, "bob", "tea");
    let ann = t.client(V5, "ann");
    fill(limits::MEMORY_QUEUES * 1000 - 100);
    t.sends(ann, publish("tea", vec![7; 200_000]).qos1(1));
    let refused = puback(1).reason(ReasonCode::QuotaExceeded);
    t.gets(ann, refused.because(SEND_LATER));
    t.sends(ann, publish("tea", vec![7; 50_000]).qos1(2));
    t.gets(ann, puback(2));
    assert_eq!(fetches(&mut t, V5, "bob"), 1);
}

#[test]
fn a_client_of_3_x_loses_its_connection_and_not_its_message() {
    for version in [V31, V311] {
        for qos in [1, 2] {
            let mut t = limited(|_| {});
            away(&mut t, version, "bob", "tea");
            let ann = t.connects(version, connect("ann").durable());
            fill_above(limits::MEMORY_QUEUES);
            t.sends(ann, publish("tea", "hot").qos(qos, 1));
            t.cut_off(ann, ReasonCode::QuotaExceeded, TRY_LATER);
            assert_eq!(t.broker.stats().refused_messages, 1);
            fill(0);
            let ann = t.connects(version, connect("ann").durable());
            t.sends(ann, publish("tea", "hot").qos(qos, 1).dup());
            t.gets(ann, if qos == 1 { puback(1) } else { pubrec(1) });
            assert_eq!(fetches(&mut t, version, "bob"), 1);
        }
    }
}

#[test]
fn at_qos_0_nobody_can_be_told() {
    for version in EVERY {
        let mut t = limited(|config| config.queue_qos0_messages = true);
        away(&mut t, version, "bob", "tea");
        let ann = t.client(version, "ann");
        fill_above(limits::MEMORY_QUEUES);
        t.sends(ann, publish("tea", "hot"));
        t.sends(ann, publish("kept", "hot").retain());
        t.silence();
        t.open(ann);
        assert_eq!(t.broker.stats().dropped_memory, 2);
        assert_eq!(t.broker.sizes().retained, 0);
    }
}

#[test]
fn those_who_keep_up_still_hear_one_another() {
    for version in EVERY {
        for qos in [1, 2] {
            let mut t = limited(|_| {});
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, subscribe(1, "tea", 2));
            t.gets(bob, suback(1, &[2]));
            fill_above(limits::MEMORY_QUEUES);
            t.sends(ann, publish("tea", "hot").qos(qos, 1));
            t.gets(ann, if qos == 1 { puback(1) } else { pubrec(1) });
            t.gets(bob, publish("tea", "hot").qos(qos, 1));
            fill_above(limits::MEMORY_PACKETS);
            t.sends(ann, publish("tea", "cold").qos(qos, 2));
            if version == V5 {
                let ack = if qos == 1 { puback(2) } else { pubrec(2) };
                let refused = ack.reason(ReasonCode::QuotaExceeded);
                t.gets(ann, refused.because(SEND_LATER));
            } else {
                t.cut_off(ann, ReasonCode::QuotaExceeded, TRY_LATER);
            }
            t.silence();
        }
    }
}

#[test]
fn a_message_sent_twice_at_qos_2_is_not_refused_the_second_time() {
    for version in EVERY {
        let mut t = limited(|_| {});
        away(&mut t, version, "bob", "tea");
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").qos2(1));
        t.gets(ann, pubrec(1));
        fill_above(limits::MEMORY_CONNECTIONS);
        t.sends(ann, publish("tea", "hot").qos2(1).dup());
        t.gets(ann, pubrec(1));
        t.sends(ann, pubrel(1));
        t.gets(ann, pubcomp(1));
        fill(0);
        assert_eq!(fetches(&mut t, version, "bob"), 1);
    }
}

#[test]
fn retained_messages_may_be_replaced_by_no_larger_ones_and_cleared() {
    for version in [V311, V5] {
        let mut t = limited(|_| {});
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "warm").retain());
        fill_above(limits::MEMORY_QUEUES);
        t.sends(ann, publish("tea", "cold").retain());
        t.sends(ann, publish("tea", "too hot").retain());
        t.sends(ann, publish("milk", "cold").retain());
        assert_eq!(t.broker.stats().dropped_memory, 2);
        let bob = t.client(version, "bob");
        fill(0);
        t.sends(bob, subscribe(1, "#", 0));
        t.gets(bob, suback(1, &[0]));
        t.gets(bob, publish("tea", "cold").retain());
        fill_above(limits::MEMORY_PACKETS);
        t.sends(ann, publish("tea", "").retain());
        assert_eq!(t.broker.sizes().retained, 0);
    }
}

#[test]
fn new_subscriptions_are_refused_and_old_ones_renewed() {
    for version in EVERY {
        for prefix in ["", "$share/all/"] {
            let mut t = limited(|_| {});
            let ann = t.client(version, "ann");
            let (old, new) = (format!("{prefix}old/+"), format!("{prefix}new/+"));
            t.sends(ann, subscribe(1, &old, 1));
            t.gets(ann, suback(1, &[1]));
            fill_above(limits::MEMORY_QUEUES);
            t.sends(ann, subscribe(2, &old, 1));
            t.gets(ann, suback(2, &[1]));
            t.sends(ann, subscribe(3, &old, 1).and(&new, 1));
            match version {
                V5 => {
                    let why = format!("'{new}': {TRY_LATER}");
                    t.gets(ann, suback(3, &[1, 0x97]).because(&why));
                }
                V311 => t.gets(ann, suback(3, &[1, 0x80])),
                V31 => t.cut_off(ann, ReasonCode::QuotaExceeded, TRY_LATER),
            }
            assert_eq!(t.broker.stats().refused_subscriptions, 1);
            if version != V31 {
                assert_eq!(t.broker.sizes().subscriptions, 1);
                fill(0);
                t.sends(ann, subscribe(4, &new, 1));
                t.gets(ann, suback(4, &[1]));
            }
        }
    }
}

#[test]
fn then_new_connections_are_refused() {
    for version in EVERY {
        let mut t = limited(|_| {});
        away(&mut t, version, "bob", "tea");
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").qos1(1));
        t.gets(ann, puback(1));
        // Where nothing new may wait, whoever comes for what does is let in.
        fill_above(limits::MEMORY_PACKETS);
        assert!(t.broker.admits(0, t.now()));
        assert_eq!(fetches(&mut t, version, "bob"), 1);
        fill_above(limits::MEMORY_CONNECTIONS);
        assert!(!t.broker.admits(0, t.now()));
        let cid = t.says_connect(version, connect("cid"));
        match version {
            V5 => {
                let refused = refusal(false, ReasonCode::QuotaExceeded);
                t.gets(cid, refused.because(TRY_LATER));
            }
            V31 | V311 => t.gets(cid, refusal(false, ReasonCode::ServerUnavailable)),
        }
        t.closed(cid);
        assert_eq!(t.broker.stats().refused_connections, 2);
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
        fill(0);
        assert!(t.broker.admits(0, t.now()));
        t.client(version, "cid");
    }
}

#[test]
fn a_connect_is_weighed_with_its_will() {
    for version in EVERY {
        let mut t = limited(|_| {});
        fill(limits::MEMORY_CONNECTIONS * 1000 - 50);
        let will = connect("ann").will("tea", vec![7; 60_000], 1, false);
        let ann = t.says_connect(version, will);
        assert!(t.is_closed(ann));
        t.drops(ann);
        t.client(version, "ann");
        assert_eq!(t.broker.stats().refused_connections, 1);
    }
}

#[test]
fn a_password_whose_check_takes_more_than_there_is_is_not_checked() {
    // Of 19 MiB, by `argon2 saltsalt -id -k 19456`; any password does, for none is checked.
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$\
                RYq0PKbJYvhZhzOhZjb2Y4pJQOVtNQbBSaP8HbBQdyg";
    let users = format!("ann:{hash}\n");
    listen();
    fill(0);
    let mut t = Table::with_files(&[("users", &users)], |config| {
        config.memory_limit = LIMIT;
        config.listeners[0].security.password_file = Some("users".into());
    });
    t.broker.measure(heap);
    let ann = t.says_connect(V5, connect("ann").user("ann").pass(b"secret"));
    t.refused(ann, ReasonCode::QuotaExceeded, TRY_LATER);
    let said = warnings();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("0 bytes are in use, 19922944 more are needed"),
        "{said:?}"
    );
}

#[test]
fn a_will_finds_room_where_nothing_new_does() {
    for version in EVERY {
        let mut t = limited(|_| {});
        away(&mut t, version, "bob", "gone/+");
        let ann = t.connects(version, connect("ann").will("gone/ann", "1", 1, true));
        let cid = t.connects(version, connect("cid").will("gone/cid", "2", 1, true));
        fill_above(limits::MEMORY_CONNECTIONS);
        t.drops(ann);
        fill_above(limits::MEMORY_WILLS);
        t.drops(cid);
        assert_eq!(t.broker.stats().dropped_memory, 1);
        fill(0);
        assert_eq!(t.broker.sizes().retained, 1);
        assert_eq!(fetches(&mut t, version, "bob"), 1);
    }
}

#[test]
fn a_topic_alias_that_cannot_be_kept_ends_the_connection() {
    let mut t = limited(|_| {});
    let ann = t.client(V5, "ann");
    let alias = Property::TopicAlias(3.try_into().unwrap());
    t.sends(ann, publish("tea", "hot").with(alias));
    fill_above(limits::MEMORY_PACKETS);
    t.sends(ann, publish("tea", "hot").with(alias));
    t.cut_off(ann, ReasonCode::QuotaExceeded, TRY_LATER);
}

#[test]
fn whoever_does_not_read_its_answers_is_not_heard() {
    for version in EVERY {
        let mut t = limited(|_| {});
        let ann = t.client(version, "ann");
        t.stalls(ann);
        fill_above(limits::MEMORY_CONNECTIONS);
        for _ in 0..50 {
            t.sends(ann, pingreq());
        }
        assert_eq!(t.waiting(ann), 2);
        fill_above(limits::MEMORY_QUEUES);
        for _ in 0..limits::READ_PAUSE_SHORT_BYTES {
            t.sends(ann, pingreq());
        }
        assert_eq!(t.waiting(ann), limits::READ_PAUSE_SHORT_BYTES + 2);
        t.open(ann);
    }
}

#[test]
fn refusals_are_bare_for_who_does_not_read_them() {
    let mut t = limited(|_| {});
    away(&mut t, V5, "bob", "tea");
    let ann = t.client(V5, "ann");
    t.stalls(ann);
    fill_above(limits::MEMORY_QUEUES);
    for id in 1..=1000 {
        t.sends(ann, publish("tea", "hot").qos1(id));
    }
    let worded = puback(1).reason(ReasonCode::QuotaExceeded);
    let worded_bytes = worded.because(SEND_LATER).bytes(V5).len();
    let waiting = t.waiting(ann);
    assert!(
        waiting <= limits::READ_PAUSE_SHORT_BYTES + worded_bytes,
        "{waiting}"
    );
}

#[test]
fn retained_messages_that_are_owed_wait_for_memory() {
    for version in EVERY {
        for qos in [0, 1] {
            let mut t = limited(|_| {});
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            for topic in ["a", "b", "c"] {
                t.sends(ann, publish(topic, "kept").qos(1, 1).retain());
                t.ignores(ann);
            }
            t.sends(bob, subscribe(1, "none", qos));
            t.gets(bob, suback(1, &[qos]));
            fill(limits::MEMORY_QUEUES * 1000 - 10);
            t.sends(bob, subscribe(2, "#", qos));
            t.gets(bob, suback(2, &[qos]));
            for _ in 0..3 {
                t.next(bob).expect("one at a time");
            }
            fill(limits::MEMORY_PACKETS * 1000 - 100);
            t.sends(bob, subscribe(3, "#", qos));
            t.gets(bob, suback(3, &[qos]));
            t.passes(100).silence();
            fill(0);
            for _ in 0..3 {
                t.next(bob).expect("what is owed");
            }
            assert_eq!(t.broker.stats().dropped(), 0);
        }
    }
}

#[test]
fn a_wide_window_is_filled_one_by_one() {
    for version in EVERY {
        let mut t = limited(|config| config.max_inflight_messages = 0);
        away(&mut t, version, "bob", "tea");
        let ann = t.client(version, "ann");
        for id in 1..=10 {
            t.sends(ann, publish("tea", "hot").qos1(id));
            t.gets(ann, puback(id));
        }
        // It is let in with the last of the room there is, and served without any.
        fill(limits::MEMORY_CONNECTIONS * 1000 - 10);
        let bob = t.opens_as(version);
        let packet = connect("bob").lasting(100_000).bytes(version);
        GROWTH.set(SIXTEENTH);
        t.sends_bytes(bob, &packet);
        GROWTH.set(0);
        fill_above(limits::MEMORY_CONNECTIONS);
        assert_eq!(t.next(bob).map(|bytes| bytes[0]), Some(0x20));
        let mut count = 0;
        let mut most = 0;
        loop {
            let mut answers = Vec::new();
            while let Some(answer) = t.next_answer(bob, |_| count += 1) {
                answers.push(answer);
            }
            most = most.max(answers.len());
            if answers.is_empty() {
                break;
            }
            for answer in answers {
                t.sends(bob, answer);
            }
        }
        assert_eq!((count, most), (10, 1));
    }
}

#[test]
fn what_waited_for_memory_goes_before_what_comes_when_there_is_some() {
    for version in EVERY {
        let mut t = limited(|_| {});
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        let ann = t.client(version, "ann");
        let says = |t: &mut Table, id: u16, payload: &str| {
            t.sends(ann, publish("tea", payload).qos1(id));
            t.gets(ann, puback(id));
        };
        says(&mut t, 1, "one");
        t.gets(bob, publish("tea", "one").qos1(1));
        // It is taken at the third look, while there is room, and none is left at the fourth.
        fill((limits::MEMORY_PACKETS - 4) * 1000 - 500);
        let packet = publish("tea", "two").qos1(2).bytes(version);
        GROWTH.set(2 * SIXTEENTH);
        t.sends_bytes(ann, &packet);
        GROWTH.set(0);
        t.gets(ann, puback(2));
        t.nothing(bob);
        fill(0);
        says(&mut t, 3, "three");
        t.gets(bob, publish("tea", "two").qos1(2)); // [MQTT-4.6.0-6] [MQTT5-4.6.0-5]
        t.gets(bob, publish("tea", "three").qos1(3));
        t.silence();
    }
}

#[test]
fn what_is_to_be_sent_again_goes_before_what_comes_when_there_is_memory() {
    for version in EVERY {
        let mut t = limited(|_| {});
        let bob = t.connects(version, connect("bob").lasting(1000));
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        let ann = t.client(version, "ann");
        for (id, payload) in [(1, "one"), (2, "two"), (3, "three")] {
            t.sends(ann, publish("tea", payload).qos1(id));
            t.gets(ann, puback(id));
        }
        t.ignores(bob);
        t.drops(bob);
        fill(limits::MEMORY_CONNECTIONS * 1000 - 10);
        let bob = t.opens_as(version);
        let packet = connect("bob").lasting(1000).bytes(version);
        GROWTH.set(SIXTEENTH);
        t.sends_bytes(bob, &packet);
        GROWTH.set(0);
        assert_eq!(t.next(bob).map(|bytes| bytes[0]), Some(0x20));
        t.gets(bob, publish("tea", "one").qos1(1).dup());
        t.nothing(bob);
        fill(0);
        t.sends(ann, publish("tea", "four").qos1(4));
        t.gets(ann, puback(4));
        t.gets(bob, publish("tea", "two").qos1(2).dup());
        t.gets(bob, publish("tea", "three").qos1(3).dup());
        t.gets(bob, publish("tea", "four").qos1(4));
        for id in 1..=4 {
            t.sends(bob, puback(id));
        }
        t.silence();
    }
}

#[test]
fn an_episode_is_said_at_its_beginning_and_at_its_end() {
    let mut t = limited(|_| {});
    away(&mut t, V5, "bob", "tea");
    let ann = t.client(V5, "ann");
    fill_above(limits::MEMORY_CONNECTIONS);
    for round in 0..2 {
        for id in 1..=50 {
            t.sends(ann, publish("tea", "hot").qos1(id));
            t.ignores(ann);
            assert!(!t.broker.admits(0, t.now()));
            t.passes(1);
        }
        let said = warnings();
        assert_eq!(said.len(), 2, "round {round}: {said:?}");
        assert!(
            said[0].starts_with(
                "Memory is short: refusing messages that would have to wait. \
                 14001000 bytes are in use, "
            ) && said[0].ends_with(" more are needed, and memory_limit is 16000000."),
            "{}",
            said[0]
        );
        assert!(said[1].starts_with("Memory is short: refusing new connections. "));
        t.passes(limits::MEMORY_EPISODE_S);
        assert_eq!(
            warnings(),
            [
                "Memory suffices again: no longer refusing messages that would have to wait, after \
                 50 times.",
                "Memory suffices again: no longer refusing new connections, after 50 times.",
            ]
        );
        t.passes(1000);
        assert_eq!(warnings(), [""; 0]);
    }
}

#[test]
fn the_order_holds_while_the_heap_fills() {
    let mut t = limited(|_| {});
    away(&mut t, V5, "bob", "kept");
    let (ann, slow) = (t.client(V5, "ann"), t.client(V5, "slow"));
    t.sends(slow, subscribe(1, "seen", 0));
    t.gets(slow, suback(1, &[0]));
    t.stalls(slow);
    t.sends(ann, publish("seen", vec![7; 2 * limits::SLOW_READER_BYTES]));
    let mut refused = Vec::new();
    for thousandths in (8000..15_000).step_by(100) {
        fill(thousandths);
        t.sends(ann, publish("seen", "x"));
        t.sends(ann, publish("kept", "x").qos1(1));
        t.ignores(ann);
        t.broker.admits(0, t.now());
        let stats = t.broker.stats();
        let now = [
            stats.dropped_memory > 0,
            stats.refused_messages > 0,
            stats.refused_connections > 0,
        ];
        if refused.last() != Some(&now) {
            refused.push(now);
        }
    }
    assert_eq!(
        refused,
        [
            [false, false, false],
            [true, false, false],
            [true, true, false],
            [true, true, true],
        ]
    );
}

#[test]
fn a_reload_raises_lowers_and_lifts_it() {
    let mut t = limited(|_| {});
    away(&mut t, V5, "bob", "tea");
    let ann = t.client(V5, "ann");
    let says = |t: &mut Table, id: u16, is_refused: bool| {
        t.sends(ann, publish("tea", "hot").qos1(id));
        let refused = puback(id).reason(ReasonCode::QuotaExceeded);
        match is_refused {
            true => t.gets(ann, refused.because(SEND_LATER)),
            false => t.gets(ann, puback(id)),
        }
    };
    fill_above(limits::MEMORY_QUEUES);
    says(&mut t, 1, true);
    t.reconfigures(&[], |config| config.memory_limit = 2 * LIMIT);
    says(&mut t, 2, false);
    t.reconfigures(&[], |config| config.memory_limit = LIMIT);
    says(&mut t, 3, true);
    t.reconfigures(&[], |config| config.memory_limit = 0);
    fill(1_000_000);
    says(&mut t, 4, false);
    warnings();
    t.reconfigures(&[], |config| config.memory_limit = LIMIT);
    assert_eq!(
        warnings(),
        [
            "1000000000 bytes are in use, which leaves no room for connections below the \
             memory_limit of 16000000 bytes. Raise it."
        ]
    );
    // Nothing that was accepted goes.
    says(&mut t, 5, true);
    fill(0);
    assert_eq!(fetches(&mut t, V5, "bob"), 2);
}

#[test]
fn the_smallest_limit_lets_nobody_in_and_the_largest_everybody() {
    for (limit, lets_in) in [(0, true), (1, false), (i64::MAX as u64, true)] {
        let mut t = limited(|config| config.memory_limit = limit);
        fill(100);
        assert_eq!(t.broker.admits(0, t.now()), lets_in, "{limit}");
        let ann = t.says_connect(V311, connect("ann"));
        assert_eq!(t.is_closed(ann), !lets_in, "{limit}");
        if !lets_in {
            continue;
        }
        t.ignores(ann);
        away(&mut t, V311, "bob", "tea");
        fill(1_000_000);
        t.sends(ann, publish("tea", "hot").qos1(1));
        t.gets(ann, puback(1));
        assert_eq!(fetches(&mut t, V311, "bob"), 1);
        assert_eq!(warnings(), [""; 0]);
    }
}

#[test]
fn sys_tells_of_the_heap_and_of_what_was_refused() {
    let mut t = limited(|config| config.sys_interval = 10);
    fill(5000);
    t.passes(0);
    fill(3000);
    t.passes(20);
    let ann = t.client(V311, "ann");
    for (topic, payload) in [
        ("heap/current", "3000000"),
        ("heap/maximum", "5000000"),
        ("midge/dropped/memory", "0"),
        ("midge/refused/messages", "0"),
        ("midge/refused/connections", "0"),
    ] {
        let topic = format!("$SYS/broker/{topic}");
        t.sends(ann, subscribe(1, &topic, 0));
        t.gets(ann, suback(1, &[0]));
        t.gets(ann, publish(&topic, payload).retain());
    }
    fill(limits::MEMORY_CONNECTIONS * 1000 - 1);
    assert!(!t.broker.admits(0, t.now()));
    // It is told where memory is short, too: what is replaced is no larger.
    t.passes(10);
    t.gets_all(
        ann,
        [
            publish("$SYS/broker/heap/current", "13999000"),
            publish("$SYS/broker/heap/maximum", "13999000"),
            publish("$SYS/broker/midge/refused/connections", "1"),
        ],
    );
}

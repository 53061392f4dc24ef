//! Clients that do not read what they are sent: they lose QoS 0 messages, and nobody else anything.

mod table;
use midge::codec::packet::Packet;
use midge::limits;
use table::*;

/// Ann publishes; Bob and Cid have subscribed at this QoS, and Bob has stopped reading.
fn ann_bob_and_cid(qos: u8) -> (Table, Seat, Seat, Seat) {
    let mut t = Table::new();
    let (ann, bob, cid) = (
        t.client(V311, "ann"),
        t.client(V5, "bob"),
        t.client(V311, "cid"),
    );
    for seat in [bob, cid] {
        t.sends(seat, subscribe(1, "tea", qos));
        t.gets(seat, suback(1, &[qos]));
    }
    t.stalls(bob);
    (t, ann, bob, cid)
}

#[test]
fn what_waits_for_a_slow_reader_is_bounded_at_qos_0() {
    for size in [500, 5000, 100_000, 1_900_000] {
        let (mut t, ann, bob, cid) = ann_bob_and_cid(0);
        let payload = vec![7; size];
        let count = 4 * limits::WRITE_QUEUE_BYTES_MAX / size + 3;
        for _ in 0..count {
            t.sends(ann, publish("tea", &payload));
            t.gets(cid, publish("tea", &payload));
        }
        let packet_bytes = publish("tea", &payload).bytes(V5).len();
        assert!(t.waiting(bob) <= limits::WRITE_QUEUE_BYTES_MAX + packet_bytes);
        let waiting = t.waiting(bob) / packet_bytes;
        let stats = *t.broker.stats();
        assert_eq!(stats.dropped_slow_reader, (count - waiting) as u64);
        assert_eq!(stats.dropped(), stats.dropped_slow_reader);
        t.reads_again(bob);
        for _ in 0..waiting {
            t.gets(bob, publish("tea", &payload));
        }
        t.silence();
        t.sends(ann, publish("tea", "back"));
        t.gets(bob, publish("tea", "back"));
        t.gets(cid, publish("tea", "back"));
        t.silence();
        assert_eq!(t.broker.stats().dropped(), stats.dropped());
    }
}

#[test]
fn a_slow_reader_is_still_answered() {
    let (mut t, ann, bob, _) = ann_bob_and_cid(0);
    for _ in 0..3 {
        t.sends(ann, publish("tea", vec![7; limits::WRITE_QUEUE_BYTES_MAX]));
    }
    assert_eq!(t.broker.stats().dropped_slow_reader, 2);
    t.sends(bob, pingreq());
    t.sends(bob, publish("milk", "cold").qos1(3));
    t.reads_again(bob);
    t.next(bob).expect("the one message that was not dropped");
    t.gets(bob, pingresp());
    t.hears(bob, |packet| assert!(matches!(packet, Packet::Ack(_))));
    t.nothing(bob);
}

#[test]
fn at_qos_1_and_2_a_slow_reader_misses_nothing_that_the_queue_holds() {
    for qos in [1, 2] {
        let (mut t, ann, bob, cid) = ann_bob_and_cid(qos);
        let payload = vec![7; 100_000];
        for id in 1..=50 {
            t.sends(ann, publish("tea", &payload).qos(qos, id));
            t.ignores(ann);
            t.gets(cid, publish("tea", &payload).qos(qos, id));
            if qos == 1 {
                t.sends(cid, puback(id));
            } else {
                t.sends(cid, pubrec(id));
                t.gets(cid, pubrel(id));
                t.sends(cid, pubcomp(id));
            }
        }
        // No more than the window is on the way to its socket.
        assert!(t.waiting(bob) <= 20 * 100_100);
        t.reads_again(bob);
        let mut count = 0;
        while let Some(answer) = t.next_answer(bob, |packet| {
            count += u32::from(matches!(packet, Packet::Publish(_)));
        }) {
            t.sends(bob, answer);
        }
        assert_eq!(count, 50);
        assert_eq!(t.broker.stats().dropped(), 0);
    }
}

#[test]
fn a_slow_reader_that_leaves_takes_what_waited_with_it() {
    let (mut t, ann, bob, cid) = ann_bob_and_cid(0);
    t.sends(ann, publish("tea", "hot"));
    t.gets(cid, publish("tea", "hot"));
    t.drops(bob);
    let bob = t.client(V5, "bob");
    t.nothing(bob);
    t.sends(ann, publish("tea", "cold"));
    t.gets(cid, publish("tea", "cold"));
    t.silence();
}

//! What a message leaves behind in the heap once it has gone: nothing to speak of, however long its
//! properties were and however many filters it met. Counted by the allocator, in one test, because
//! there is one heap.

mod table;
use cap::Cap;
use midge::codec::property::Property;
use std::alloc::System;
use table::*;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// What may stay: short buffers that the next message takes.
const SPARE_BYTES: usize = 10_000;

fn heap() -> usize {
    usize::MAX - HEAP.remaining()
}

/// Bytes by which the heap has grown when this packet has gone its way.
fn left_by(t: &mut Table, seat: Seat, packet: Say) -> usize {
    let bytes = packet.bytes(V5);
    drop(packet);
    let (conn, now) = (t.conn(seat), t.now());
    let before = heap();
    assert_eq!(t.broker.received(conn, &bytes, now), bytes.len());
    t.broker.tick(now);
    heap().saturating_sub(before)
}

#[test]
fn a_message_leaves_nothing_behind() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    left_by(&mut t, ann, publish("tea", "hot"));

    // One of the properties counts down, so that the others are put together anew.
    let mut packet = publish("tea", "hot").with(Property::MessageExpiryInterval(9));
    let value = "x".repeat(60_000);
    for _ in 0..30 {
        packet = packet.with(Property::UserProperty("key", &value));
    }
    let left = left_by(&mut t, ann, packet);
    assert!(left < SPARE_BYTES, "{left} bytes are left of properties");

    // Each level is an `a` or a `+`: every filter matches, for somebody who is away.
    let bob = t.connects(V5, connect("bob").lasting(1000));
    let levels = 13;
    let filter = |number: u32| {
        let level = |at: u32| if number >> at & 1 == 0 { "a" } else { "+" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    let all = 1..1_u32 << levels;
    let packet = subscribe(1, &filter(0), 0);
    let packet = all.fold(packet, |packet, number| packet.and(&filter(number), 0));
    t.sends(bob, packet);
    t.ignores(bob);
    t.drops(bob);
    let topic = ["a"; 13].join("/");
    let left = left_by(&mut t, ann, publish(&topic, "hot"));
    assert!(left < SPARE_BYTES, "{left} bytes are left of a route");
}

//! What a client leaves behind that has filled the broker's tables and gone: next to nothing, though
//! others have something in the same tables still. Counted by the allocator.

mod table;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use table::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNT: usize = 6_000;
const LEFT_BYTES_MAX: isize = 128 << 10;

/// A client says so many things, five hundred in one write, and goes.
fn comes_and_goes(t: &mut Table, say: impl Fn(usize) -> Say) {
    let bob = t.client(V311, "bob");
    for from in (0..COUNT).step_by(500) {
        let bytes: Vec<u8> = (from..from + 500)
            .flat_map(|at| say(at).bytes(V311))
            .collect();
        // Not by way of the table, which would keep the room they took.
        let (conn, now) = (t.conn(bob), t.now());
        assert_eq!(t.broker.received(conn, &bytes, now), bytes.len());
        t.ignores(bob);
    }
    t.leaves(bob);
}

#[test]
fn who_has_gone_leaves_the_memory_to_others() {
    let mut t = Table::new();
    let ann = t.client(V311, "ann");
    t.sends(ann, subscribe(1, "calm", 0).and("$share/g/calm", 0));
    t.sends(ann, publish("state", "calm").retain());
    t.ignores(ann);
    let region = Region::new(ALLOCATOR);
    let check = |what: &str| {
        let change = region.change();
        let left = change.bytes_allocated as isize - change.bytes_deallocated as isize;
        assert!(left < LEFT_BYTES_MAX, "{what}: {left} bytes are left");
    };
    comes_and_goes(&mut t, |at| subscribe(1, &format!("storm/{at}/x"), 0));
    check("filters");
    comes_and_goes(&mut t, |at| {
        subscribe(1, &format!("$share/{at}/storm/{at}"), 0)
    });
    check("groups");
    for payload in ["storm", ""] {
        comes_and_goes(&mut t, |at| {
            publish(&format!("storm/{at}/x"), payload).retain()
        });
    }
    check("retained messages");
    t.sends(ann, publish("calm", "still"));
    t.gets_all(ann, [publish("calm", "still"), publish("calm", "still")]);
}

//! In which order one turn of the loop does things, and how much of them: whatever came while the
//! broker's process was stopped is there in its next turn, all at once.

mod process;
mod table;
use midge::codec::dialect::ProtocolVersion;
use process::*;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use table::*;

#[test]
fn whoever_has_gone_makes_room_for_whoever_comes_in_the_same_turn() {
    let folder = Folder::new("turns");
    let text = "listener PORT 127.0.0.1\nallow_anonymous true\nmax_connections 1\n";
    let midge = start(&folder, text);
    let first = midge.client(V311, "ann");
    midge.signals("-STOP");
    first.shutdown(Shutdown::Both).unwrap();
    let mut second = midge.opens();
    second.write_all(&connect("bob").bytes(V311)).unwrap();
    midge.signals("-CONT");
    assert_eq!(read_packet(&mut second), [0x20, 2, 0, 0]);
}

/// Sends the same bytes again and again until the socket takes no more; how many it took.
fn fills(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut count = 0;
    loop {
        match stream.write(&bytes[count % bytes.len()..]) {
            Ok(written) => count += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn whoever_sends_without_end_does_not_keep_others_from_being_heard() {
    let midge = Midge::start();
    let mut ann = midge.subscriber("ann", "tea", 0);
    let mut busy = ["b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"].map(|n| midge.client(V311, n));
    let mut dan = midge.client(V311, "dan");
    midge.signals("-STOP");
    let mut packet = publish("sea", vec![b'x'; 60_000]).bytes(V311);
    packet.extend(publish("tea", "and another").bytes(V311));
    let sent = busy.each_mut().map(|stream| fills(stream, &packet));
    assert!(sent.iter().all(|sent| *sent > 2_000_000), "{sent:?}");
    let hot = publish("tea", "hot").bytes(V311);
    dan.write_all(&hot).unwrap();
    midge.signals("-CONT");
    let mut before = 0;
    while read_packet(&mut ann) != hot {
        before += packet.len();
    }
    assert!(before < 4_000_000, "dan was heard after {before} bytes");
    drop(busy);
}

/// With so many filters that cross, each packet of a few bytes is given to many.
fn crossing_filters(levels: usize) -> Vec<String> {
    let filter = |number: usize| {
        let level = |at: usize| if number >> at & 1 == 0 { "a" } else { "+" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    (0..1 << levels).map(filter).collect()
}

/// A table where one client, who is away, has all these filters.
fn crossed(version: ProtocolVersion, levels: usize) -> (Table, Seat) {
    let mut t = Table::new();
    let ann = t.connects(version, connect("ann").lasting(1000));
    let filters = crossing_filters(levels);
    let packet = subscribe(1, &filters[0], 0);
    let packet = filters[1..]
        .iter()
        .fold(packet, |packet, filter| packet.and(filter, 0));
    t.sends(ann, packet);
    t.ignores(ann);
    t.drops(ann);
    let bob = t.client(version, "bob");
    (t, bob)
}

#[test]
fn a_turn_is_bounded_by_what_its_packets_cost() {
    for version in EVERY {
        let levels = 13;
        let (mut t, bob) = crossed(version, levels);
        let topic = ["a"; 13].join("/");
        let packet = publish(&topic, "hot").bytes(version);
        let bytes = packet.repeat(100);
        let (conn, now) = (t.conn(bob), t.now());
        let used = t.broker.received(conn, &bytes, now);
        assert!(used > 0 && used < bytes.len() / 2, "{used}");
        assert_eq!(used % packet.len(), 0);
        assert_eq!(t.broker.effects().again, [conn]);
        // Nobody is heard until the next turn, and then from where it was.
        assert_eq!(t.broker.received(conn, &bytes[used..], now), 0);
        t.broker.tick(now);
        assert_eq!(t.broker.received(conn, &bytes[used..], now), used);
        t.broker.effects().again.clear();
        t.broker.tick(now);
    }
}

#[test]
fn finding_nobody_is_work_too() {
    let (mut t, bob) = crossed(V311, 13);
    // Each of them is on nobody's way at its last level.
    let mut bytes = Vec::new();
    for number in 0..100 {
        let topic = format!("{}/{number}/x", ["a"; 12].join("/"));
        bytes.extend(publish(&topic, "").bytes(V311));
    }
    let (conn, now) = (t.conn(bob), t.now());
    let used = t.broker.received(conn, &bytes, now);
    assert!(used > 0 && used < bytes.len() / 2, "{used}");
}

#[test]
fn a_client_that_reads_loses_nothing_to_a_long_turn() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        for filter in ["tea/#", "tea/+", "tea/green", "#"] {
            t.sends(ann, subscribe(1, filter, 0));
            t.gets(ann, suback(1, &[0]));
        }
        let bob = t.client(version, "bob");
        let packet = publish("tea/green", vec![b'x'; 100_000]);
        t.sends_bytes(bob, &packet.bytes(version).repeat(10));
        for _ in 0..40 {
            t.gets(ann, packet.clone());
        }
        t.silence();
        assert_eq!(t.broker.stats().dropped_slow_reader, 0);
    }
}

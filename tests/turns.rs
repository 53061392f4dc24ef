//! In which order one turn of the loop does things, and how much of them: whatever came while the
//! broker's process was stopped is there in its next turn, all at once.

mod process;
mod table;
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

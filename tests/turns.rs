//! In which order one turn of the loop does things, and how much of them: whatever came while the
//! broker's process was stopped is there in its next turn, all at once.

mod process;
mod table;
use process::*;
use std::io::Write;
use std::net::Shutdown;
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

//! Queues of the real broker that are longer than what it keeps of them in memory: what they cost,
//! and that all of them comes back, once and in order, whatever happens to the process meanwhile.
//!
//! ```text
//!   MIDGE_QUEUED=1000000 cargo test --release --test long_queues -- --nocapture    with figures
//! ```

mod process;
mod table;

use process::{Folder, MIDGE, Midge, read_packet, start, start_unsignalled};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use table::*;

/// Messages that wait, unless `MIDGE_QUEUED` says otherwise.
const QUEUED: u32 = 200_000;

/// Bytes of payload in each.
const PAYLOAD_BYTES: usize = 64;

/// KiB by which the process may grow while any number of messages comes to wait: what is on its way
/// to the disk, SQLite's cache, and the front of the queue.
const GROWTH_KIB: u64 = 8 << 10;

fn queued() -> u32 {
    let given = std::env::var("MIDGE_QUEUED").ok();
    given.map_or(QUEUED, |given| given.parse().unwrap())
}

fn configuration(folder: &Folder, more: &str) -> String {
    format!(
        "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\npersistence true\n\
         persistence_location {}/\nmax_queued_messages 0\nmax_inflight_messages 100\n\
         log_type error\nlog_type information\n{more}",
        folder.file("").display()
    )
}

fn payload(number: u32) -> String {
    format!("{number:0>PAYLOAD_BYTES$}")
}

fn opens(midge: &Midge, packet: Say) -> TcpStream {
    let mut stream = midge.opens();
    stream.write_all(&packet.bytes(V311)).unwrap();
    let answer = read_packet(&mut stream);
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
    stream
}

/// A session that is away, subscribed to `filter`.
fn leaves(midge: &Midge, name: &str, filter: &str) {
    let mut stream = opens(midge, connect(name).durable());
    stream
        .write_all(&subscribe(1, filter, 1).bytes(V311))
        .unwrap();
    assert_eq!(read_packet(&mut stream), suback(1, &[1]).bytes(V311));
    stream.write_all(&disconnect().bytes(V311)).unwrap();
}

/// Messages with these numbers are published, and acknowledged.
fn fills(midge: &Midge, numbers: std::ops::Range<u32>) {
    let mut stream = opens(midge, connect("teller"));
    let mut reader = stream.try_clone().unwrap();
    let count = u64::from(numbers.end - numbers.start);
    let heard = spawn(move || {
        let mut acks = vec![0; 64 << 10];
        let mut left = 4 * count;
        while left > 0 {
            let read = reader.read(&mut acks).unwrap();
            assert_ne!(read, 0, "the broker has closed");
            left -= read as u64;
        }
    });
    let mut bytes = Vec::new();
    for number in numbers {
        let id = u16::try_from(number % 60_000 + 1).unwrap();
        bytes.extend(publish("tea", payload(number)).qos1(id).bytes(V311));
        if bytes.len() > 64 << 10 {
            stream.write_all(&bytes).unwrap();
            bytes.clear();
        }
    }
    stream.write_all(&bytes).unwrap();
    heard.join().unwrap();
}

/// Hears QoS 1 messages and acknowledges them until `count` have come; the numbers in them.
fn takes(stream: TcpStream, count: usize) -> Vec<u32> {
    takes_until(stream, |numbers| numbers.len() == count)
}

/// The same until it `is_enough`, or there are no more.
fn takes_until(mut stream: TcpStream, is_enough: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone().unwrap());
    let mut numbers = Vec::new();
    let mut acks = Vec::new();
    // Fixed header of two bytes, topic of three letters.
    let mut packet = [0; 2 + 2 + 3 + 2 + PAYLOAD_BYTES];
    while !is_enough(&numbers) && reader.read_exact(&mut packet).is_ok() {
        assert_eq!(packet[0] & 0xf7, 0x32, "{packet:x?}");
        let text = std::str::from_utf8(&packet[9..]).unwrap();
        numbers.push(text.parse().unwrap());
        acks.extend_from_slice(&[0x40, 2, packet[7], packet[8]]);
        if reader.buffer().is_empty() || is_enough(&numbers) {
            if stream.write_all(&acks).is_err() {
                break;
            }
            acks.clear();
        }
    }
    numbers
}

/// Exactly these, in order.
#[track_caller]
fn are_all(numbers: &[u32], due: std::ops::Range<u32>) {
    let odd = numbers
        .iter()
        .zip(due.clone())
        .find(|(one, two)| *one != two);
    assert_eq!(odd, None, "not the next one");
    assert_eq!(numbers.len(), due.len());
}

fn comes_back(midge: &Midge, count: usize) -> Vec<u32> {
    takes(opens(midge, connect("bob").durable()), count)
}

#[test]
fn a_long_queue_costs_no_memory_and_comes_back() {
    let folder = Folder::new("long-queue");
    let configuration = configuration(&folder, "");
    let mut midge = start(&folder, &configuration);
    leaves(&midge, "bob", "tea");
    let count = queued();
    // What a store that is written to takes in any case.
    fills(&midge, 0..5000);
    let before = midge.status("VmRSS");
    fills(&midge, 5000..count);
    let after = midge.status("VmRSS");
    assert!(after < before + GROWTH_KIB, "{before} KiB, then {after}");
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let midge = start(&folder, &configuration);
    let restored = midge.status("VmRSS");
    assert!(restored < before + GROWTH_KIB, "{restored} KiB restored");
    let began = Instant::now();
    are_all(&comes_back(&midge, count as usize), 0..count);
    let drained = midge.status("VmRSS");
    assert!(drained < before + GROWTH_KIB, "{drained} KiB drained");
    let log = midge.log();
    let line = log.lines().find(|line| line.contains("Restored"));
    eprintln!(
        "{line:?}\n{before} KiB with 5,000, {after} KiB with {count} waiting, {restored} KiB restored, \
         {drained} KiB when all had come, in {:?}",
        began.elapsed()
    );
    // Nothing is left, and nothing comes twice.
    fills(&midge, 7..8);
    are_all(&comes_back(&midge, 1), 7..8);
}

#[test]
fn a_queue_survives_kills_while_it_grows_and_while_it_is_sent() {
    for mode in ["always", "interval 60000", "none"] {
        let folder = Folder::new(&format!("long-kills-{}", &mode[..4]));
        let configuration = configuration(&folder, &format!("midge_persistence_sync {mode}\n"));
        let mut midge = start(&folder, &configuration);
        leaves(&midge, "bob", "tea");
        let count = 12_000;
        for part in 0..4 {
            fills(&midge, part * count / 4..(part + 1) * count / 4);
            midge.child.kill().unwrap();
            midge.child.wait().unwrap();
            midge = start(&folder, &configuration);
        }
        // What was acknowledged a moment before a kill may come again, and nothing else.
        let mut next = 0;
        while next < count {
            let bob = opens(&midge, connect("bob").durable());
            let heard = takes(bob, 2500.min((count - next) as usize));
            // What it has acknowledged is written within seconds, or now.
            midge.signals("-USR1");
            midge.waits_for_log("State is saved");
            let first = heard[0];
            assert!(first <= next, "{mode}: {first} comes before {next}");
            are_all(&heard, first..first + heard.len() as u32);
            next = next.max(first + heard.len() as u32);
            midge.child.kill().unwrap();
            midge.child.wait().unwrap();
            midge = start(&folder, &configuration);
        }
        assert_eq!(next, count, "{mode}");
    }
}

/// Messages of a session that has ended go to the other member of its group, even if the process ends
/// meanwhile.
#[test]
fn a_group_keeps_what_a_member_had_on_the_disk() {
    let folder = Folder::new("long-group");
    let configuration = configuration(&folder, "");
    let mut midge = start(&folder, &configuration);
    leaves(&midge, "ann", "$share/g/tea");
    let count = 15_000;
    fills(&midge, 0..count);
    leaves(&midge, "bob", "$share/g/tea");
    drop(opens(&midge, connect("ann")));
    for kill in 0..4_u64 {
        sleep(Duration::from_millis(10 + 20 * kill));
        midge.child.kill().unwrap();
        midge.child.wait().unwrap();
        midge = start(&folder, &configuration);
    }
    let mut heard = comes_back(&midge, count as usize);
    heard.sort_unstable();
    are_all(&heard, 0..count);
}

/// All copies of a message are one in the database, and each of them is read by itself.
#[test]
fn queues_that_share_their_messages_come_back_one_by_one() {
    let folder = Folder::new("long-shared");
    let configuration = configuration(&folder, "");
    let mut midge = start(&folder, &configuration);
    let names = ["ann", "bob", "cat"];
    for name in names {
        leaves(&midge, name, "tea");
    }
    let count = 6000;
    fills(&midge, 0..count);
    for name in names {
        let client = opens(&midge, connect(name).durable());
        are_all(&takes(client, 3000), 0..3000);
    }
    // One of them does without the rest.
    drop(opens(&midge, connect("ann")));
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let midge = start(&folder, &configuration);
    for name in ["cat", "bob"] {
        let client = opens(&midge, connect(name).durable());
        are_all(&takes(client, 3000), 3000..count);
    }
}

#[test]
fn an_export_has_what_is_on_the_disk_alone_and_so_has_an_import() {
    let folder = Folder::new("long-export");
    let mut midge = start(&folder, &configuration(&folder, ""));
    leaves(&midge, "bob", "tea");
    let count = 5000;
    fills(&midge, 0..count);
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let other = Folder::new("long-import");
    let status = Command::new(MIDGE)
        .arg("-c")
        .arg(folder.file("midge.conf"))
        .arg("export")
        .arg(other.file("mosquitto.db"))
        .status()
        .unwrap();
    assert!(status.success());
    assert!(fs::metadata(other.file("mosquitto.db")).unwrap().len() > 5000 * 64);
    let midge = start(&other, &configuration(&other, ""));
    are_all(&comes_back(&midge, count as usize), 0..count);
}

/// What cannot be read any more is lost, and said to be; everything else goes on.
#[test]
fn damage_on_the_disk_costs_what_was_there_alone() {
    let folder = Folder::new("long-damage");
    let midge = start(&folder, &configuration(&folder, ""));
    leaves(&midge, "bob", "tea");
    fills(&midge, 0..30_000);
    midge.signals("-USR1");
    midge.waits_for_log("State is saved");
    let path = folder.file("midge.sqlite3");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let noise = vec![0xff; usize::try_from(length / 2).unwrap()];
    file.write_all_at(&noise, length / 4 / 1024 * 1024).unwrap();
    let bob = opens(&midge, connect("bob").durable());
    let heard = spawn(move || takes_until(bob, |numbers| numbers.last() == Some(&30_009)));
    midge.waits_for_log("messages that waited on the disk alone are lost");
    fills(&midge, 30_000..30_010);
    let heard = heard.join().unwrap();
    assert!(heard.is_sorted_by(|one, two| one < two), "{heard:?}");
    are_all(&heard[..1000], 0..1000);
    are_all(&heard[heard.len() - 10..], 30_000..30_010);
    let names = fs::read_dir(&folder.path).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|name| name.contains("damaged")));
}

/// A disk that takes nothing more still gives what is on it, and nothing of that is lost when it takes
/// more again.
#[test]
fn a_queue_is_read_from_a_disk_that_is_full() {
    let folder = Folder::new("long-full");
    let text = configuration(&folder, "");
    let mut midge = start_unsignalled(&folder, &text);
    leaves(&midge, "bob", "tea");
    let count = 8000;
    fills(&midge, 0..count);
    let pid = midge.child.id().to_string();
    let limit = |bytes: &str| {
        let limit = format!("--fsize={bytes}:unlimited");
        let status = Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        assert!(status.unwrap().success());
    };
    let bob = opens(&midge, connect("bob").durable());
    limit("65536");
    let mut eve = opens(&midge, connect("eve"));
    let packet = publish("tea", payload(count)).qos1(7).bytes(V311);
    eve.write_all(&packet).unwrap();
    midge.waits_for_log("state cannot be kept in");
    are_all(&takes(bob, count as usize), 0..count);
    limit("unlimited");
    midge.waits_for_log("State is kept in");
    assert_eq!(read_packet(&mut eve), puback(7).bytes(V311));
    midge.signals("-USR1");
    midge.waits_for_log("State is saved");
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let midge = start(&folder, &text);
    are_all(&comes_back(&midge, 1), count..count + 1);
}

/// What a session has left is worked off piece by piece, and is nobody else's if the process ends
/// meanwhile: not even the next session's.
#[test]
fn what_a_session_has_left_is_no_other_session_s() {
    let folder = Folder::new("long-leavings");
    let configuration = configuration(&folder, "");
    let mut midge = start(&folder, &configuration);
    leaves(&midge, "bob", "tea");
    fills(&midge, 0..1);
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let database = rusqlite::Connection::open(folder.file("midge.sqlite3")).unwrap();
    // bob has ended, and there is a long way to the last that he has left.
    database
        .execute_batch(
            "INSERT INTO queue SELECT 10000000000, session, packet, flags, body, identifiers, share, \
             expires, topic, properties, payload FROM queue;
             DELETE FROM sessions; DELETE FROM subscriptions",
        )
        .unwrap();
    drop(database);
    let mut midge = start(&folder, &configuration);
    leaves(&midge, "eve", "coffee");
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let midge = start(&folder, &configuration);
    let mut eve = opens(&midge, connect("eve").durable());
    eve.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut eve), pingresp().bytes(V311));
}

/// What can neither be read nor put aside is not tried again and again.
#[test]
fn a_store_that_is_out_of_reach_takes_no_time() {
    let folder = Folder::new("long-away");
    fs::create_dir(folder.file("store")).unwrap();
    let text = configuration(&folder, "").replace("/\n", "/store/\n");
    let midge = start(&folder, &text);
    leaves(&midge, "bob", "tea");
    fills(&midge, 0..15_000);
    midge.signals("-USR1");
    midge.waits_for_log("State is saved");
    let bob = opens(&midge, connect("bob").durable());
    let path = folder.file("store/midge.sqlite3");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let noise = vec![0xff; usize::try_from(length).unwrap() - 8192];
    file.write_all_at(&noise, 8192).unwrap();
    fs::rename(folder.file("store"), folder.file("away")).unwrap();
    takes(bob.try_clone().unwrap(), 700);
    midge.waits_for_log("cannot be put aside");
    let before = midge.cpu_ticks();
    sleep(Duration::from_millis(400));
    let ticks = midge.cpu_ticks() - before;
    assert!(ticks < 15, "{ticks} hundredths of a second");
}

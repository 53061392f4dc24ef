//! The power cut at every point of a recorded run: what a broker under load tells the kernel is
//! written down (`strace`), and the directory is built again as a disk may have it at each sync,
//! with what was not synced dropped, kept, or torn in the middle. A real broker must find everything
//! there that was acknowledged by then; where syncs come at an interval, what was acknowledged that
//! long before. A sync that fails has kept nothing of what was written before it.
//!
//! ```text
//!   MIDGE_CUTS=100000 cargo test --test power        every sync of the run
//! ```
//!
//! What a file is called is taken to be on the disk when it was said: the broker syncs directories,
//! and file systems with a journal keep that order.

mod process;
mod table;

use process::{Folder, MIDGE, Midge, read_packet, start};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use table::*;

/// Syncs at which the power is cut, unless `MIDGE_CUTS` says otherwise.
const CUTS: usize = 12;

/// Messages that are said, each at QoS 1, and retained in a topic of its own.
const MESSAGES: u16 = 300;

/// Seconds between two syncs, in the mode that has them.
const INTERVAL_S: f64 = 0.2;

/// Seconds that a sync may be late, and take: other tests keep the machine busy.
const LATE_S: f64 = 0.3;

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    max_queued_messages 0\nmax_inflight_messages 0\npersistence true\n\
    persistence_location FOLDER/store/\n";

/// A run to be recorded.
struct Run {
    name: &'static str,
    configuration: String,
    /// Between two groups of messages.
    pause: Duration,
    /// What strace is to do to the broker, if anything.
    fault: Option<&'static str>,
    /// Seconds before a power cut in which what was acknowledged may be lost, if any may.
    loses_s: Option<f64>,
}

impl Run {
    fn always() -> Self {
        Self {
            name: "power",
            configuration: CONFIGURATION.to_owned(),
            pause: Duration::ZERO,
            fault: None,
            loses_s: None,
        }
    }
}

/// What was said at a time, in seconds.
struct Said {
    at_s: f64,
    call: Call,
}

/// What the kernel was told that matters to a disk or to a client.
enum Call {
    Open {
        fd: u32,
        name: String,
    },
    Close(u32),
    /// At an offset, or at the end.
    Write(u32, Option<u64>, Vec<u8>),
    Resize(u32, u64),
    Sync(u32),
    FailedSync(u32),
    Remove(String),
}

/// A quoted string of strace's with every byte in hexadecimal.
fn bytes_in(quoted: &str) -> Vec<u8> {
    let digits = quoted.split("\\x").skip(1);
    digits
        .map(|two| u8::from_str_radix(&two[..2], 16).unwrap())
        .collect()
}

/// A line of the record; `None`: one that changes nothing, or has failed.
fn said(line: &str) -> Option<Said> {
    let (at_s, line) = line.split_once(' ')?;
    let at_s = at_s.parse().ok()?;
    call(line).map(|call| Said { at_s, call })
}

fn call(line: &str) -> Option<Call> {
    let (head, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = head.split_once('(')?;
    if result.contains("EIO") {
        let fd = arguments.split(')').next().unwrap().parse();
        return Some(Call::FailedSync(fd.unwrap()));
    }
    let result: u64 = result.split(' ').next()?.parse().ok()?;
    let strings: Vec<Vec<u8>> = arguments
        .split('"')
        .skip(1)
        .step_by(2)
        .map(bytes_in)
        .collect();
    let text = |at: usize| String::from_utf8(strings[at].clone()).unwrap();
    let fd = || arguments.split([',', ')']).next().unwrap().parse().unwrap();
    let last = || -> u64 {
        let number = arguments
            .trim_end()
            .trim_end_matches(')')
            .rsplit(", ")
            .next();
        number.unwrap().parse().unwrap()
    };
    // As much as was taken of all that was given.
    let taken = || {
        let mut bytes = strings.concat();
        bytes.truncate(usize::try_from(result).unwrap());
        bytes
    };
    Some(match name {
        "openat" => Call::Open {
            fd: u32::try_from(result).unwrap(),
            name: text(0),
        },
        "close" => Call::Close(fd()),
        "pwrite64" => Call::Write(fd(), Some(last()), taken()),
        "write" | "writev" | "sendto" => Call::Write(fd(), None, taken()),
        "ftruncate" => Call::Resize(fd(), last()),
        "fdatasync" | "fsync" => Call::Sync(fd()),
        "unlink" => Call::Remove(text(0)),
        other => panic!("{other} is not known here: {line}"),
    })
}

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, Debug)]
enum Unsynced {
    Dropped,
    Kept,
    /// The first half of them, the last one cut in the middle.
    Torn,
}

/// A file: what is surely on the disk, and what was written since, at which offsets.
#[derive(Default)]
struct Recorded {
    synced: Vec<u8>,
    since: Vec<(usize, Vec<u8>)>,
}

impl Recorded {
    fn after(&self, unsynced: Unsynced) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let count = match unsynced {
            Unsynced::Dropped => 0,
            Unsynced::Kept => self.since.len(),
            Unsynced::Torn => self.since.len().div_ceil(2),
        };
        for (index, (at, written)) in self.since.iter().take(count).enumerate() {
            let is_torn = matches!(unsynced, Unsynced::Torn) && index + 1 == count;
            let length = if is_torn {
                written.len() / 2
            } else {
                written.len()
            };
            let end = at + length;
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(&written[..length]);
        }
        bytes
    }

    fn len(&self) -> usize {
        let ends = self.since.iter().map(|(at, written)| at + written.len());
        ends.max().unwrap_or_default().max(self.synced.len())
    }
}

/// The disk and the clients, as far as the record was followed.
#[derive(Default)]
struct Replay {
    open: BTreeMap<u32, String>,
    files: BTreeMap<String, Recorded>,
    /// Packet Identifiers that PUBACK has left for, and when: they are also what the messages say.
    acknowledged: BTreeMap<u16, f64>,
    /// When SUBACK has left.
    subscribed_at: Option<f64>,
}

impl Replay {
    /// Goes on by one call; `folder` is where the store is.
    fn follow(&mut self, said: &Said, folder: &str) {
        match &said.call {
            Call::Open { fd, name } => {
                self.open.insert(*fd, name.clone());
                let is_store = name.starts_with(folder) && !Path::new(name).is_dir();
                if is_store && !name.ends_with("-lock") {
                    self.files.entry(name.clone()).or_default();
                }
            }
            Call::Close(fd) => {
                self.open.remove(fd);
            }
            Call::Write(fd, at, bytes) => match self.open.get(fd) {
                Some(name) => {
                    if let Some(file) = self.files.get_mut(name) {
                        let at = at.map_or(file.len(), |at| usize::try_from(at).unwrap());
                        file.since.push((at, bytes.clone()));
                    }
                }
                // A socket.
                None => self.hears(bytes, said.at_s),
            },
            Call::Resize(fd, length) => {
                let file = self.open.get(fd).and_then(|name| self.files.get_mut(name));
                if let Some(file) = file {
                    assert_eq!(*length, 0, "nothing is cut in the middle");
                    *file = Recorded::default();
                }
            }
            Call::Sync(fd) => {
                let file = self.open.get(fd).and_then(|name| self.files.get_mut(name));
                if let Some(file) = file {
                    file.synced = file.after(Unsynced::Kept);
                    file.since.clear();
                }
            }
            Call::FailedSync(fd) => {
                let file = self.open.get(fd).and_then(|name| self.files.get_mut(name));
                if let Some(file) = file {
                    file.since.clear();
                }
            }
            Call::Remove(name) => {
                self.files.remove(name);
            }
        }
    }

    /// Packets to a client, all of them short.
    fn hears(&mut self, mut bytes: &[u8], at_s: f64) {
        while let [kind, length, rest @ ..] = bytes {
            let (body, behind) = rest.split_at(usize::from(*length).min(rest.len()));
            match (kind, body) {
                (0x40, [high, low]) => {
                    let id = u16::from_be_bytes([*high, *low]);
                    self.acknowledged.insert(id, at_s);
                }
                (0x90, _) => self.subscribed_at = Some(at_s),
                _ => {}
            }
            bytes = behind;
        }
    }

    /// Whether the call at hand is a sync that something waits for.
    fn is_cut_by(&self, said: &Said) -> bool {
        let (Call::Sync(fd) | Call::FailedSync(fd)) = &said.call else {
            return false;
        };
        let file = self.open.get(fd).and_then(|name| self.files.get(name));
        file.is_some_and(|file| !file.since.is_empty())
    }

    /// A broker on the disk as it may be now has all that was acknowledged before `due_s`.
    fn check(&self, run: &Run, unsynced: Unsynced, at: usize, due_s: f64) {
        let folder = Folder::new(&format!("{}-cut", run.name));
        fs::create_dir(folder.file("store")).unwrap();
        for (name, file) in &self.files {
            let name = Path::new(name).file_name().unwrap().to_str().unwrap();
            let path = folder.file("store").join(name);
            fs::write(path, file.after(unsynced)).unwrap();
        }
        let midge = start(&folder, CONFIGURATION);
        let what = format!("sync {at}, what was not synced {unsynced:?}");
        assert!(!midge.log().contains("Error"), "{what}: {}", midge.log());
        let retained = takes(&midge, "looker", true);
        let acknowledged = self.acknowledged.iter();
        let due = acknowledged.filter(|(_, at_s)| **at_s < due_s);
        let due: BTreeSet<u16> = due.map(|(id, _)| *id).collect();
        let lost: Vec<_> = due.difference(&retained).collect();
        assert!(lost.is_empty(), "{what}: retained messages lost: {lost:?}");
        if self.subscribed_at.is_some_and(|at_s| at_s < due_s) {
            let queued = takes(&midge, "late", false);
            let lost: Vec<_> = due.difference(&queued).collect();
            assert!(lost.is_empty(), "{what}: messages lost: {lost:?}");
        }
    }
}

/// What waits for a client, or is retained.
fn takes(midge: &Midge, name: &str, subscribes: bool) -> BTreeSet<u16> {
    let mut stream = midge.opens();
    let packet = if subscribes {
        connect(name)
    } else {
        connect(name).durable()
    };
    stream.write_all(&packet.bytes(V311)).unwrap();
    let answer = read_packet(&mut stream);
    assert!(
        subscribes || answer[2] == 1,
        "the session of {name} is gone"
    );
    if subscribes {
        stream
            .write_all(&subscribe(1, "late/#", 0).bytes(V311))
            .unwrap();
    }
    // Nothing is acknowledged: what waits is sent as a whole, and the answer to this behind it.
    stream.write_all(&pingreq().bytes(V311)).unwrap();
    let mut heard = BTreeSet::new();
    let mut is_answered = false;
    let wait = Duration::from_millis(50);
    stream.set_read_timeout(Some(wait)).unwrap();
    while !is_answered || stream.peek(&mut [0]).is_ok() {
        let packet = read_packet(&mut stream);
        match packet[0] >> 4 {
            3 => {
                let text = String::from_utf8_lossy(&packet);
                let said = text.rsplit('#').next().unwrap();
                heard.insert(said.parse().unwrap());
            }
            13 => is_answered = true,
            _ => {}
        }
    }
    heard
}

/// Publishes these messages, all together.
fn says(stream: &mut TcpStream, ids: &BTreeSet<u16>) {
    let wait = Duration::from_secs(3);
    stream.set_read_timeout(Some(wait)).unwrap();
    for id in ids {
        let filler = "x".repeat(usize::from(id % 7) * 200);
        let packet = publish(&format!("late/{id}"), format!("{filler}#{id}"));
        let packet = packet.retain().qos1(*id).bytes(V311);
        stream.write_all(&packet).unwrap();
    }
}

/// A run under load, as the kernel was told.
fn record(folder: &Folder, run: &Run) -> Vec<Said> {
    fs::create_dir(folder.file("store")).unwrap();
    let trace = folder.file("trace");
    let mut midge = Midge::start_as(|port| {
        let text = run.configuration.replace("PORT", &port.to_string());
        let text = text.replace("FOLDER", folder.path.to_str().unwrap());
        let path = folder.writes("midge.conf", &text);
        let mut command = Command::new("strace");
        // The process is the broker itself, and strace its grandchild.
        command.args(["-D", "-ttt", "-xx", "-s", "10000000", "-o"]);
        command.arg(&trace).arg("-e").arg(
            "trace=openat,close,pwrite64,write,writev,sendto,ftruncate,fdatasync,fsync,unlink",
        );
        if let Some(fault) = run.fault {
            command.args(["-e", fault]);
        }
        command.args([MIDGE, "-c"]).arg(path);
        command
    });
    let mut late = midge.opens();
    let hello = connect("late").durable();
    late.write_all(&hello.bytes(V311)).unwrap();
    read_packet(&mut late);
    late.write_all(&subscribe(1, "late/#", 1).bytes(V311))
        .unwrap();
    read_packet(&mut late);
    late.write_all(&disconnect().bytes(V311)).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap(), 0);
    let mut ann = midge.client(V311, "ann");
    let mut next = 1;
    while next <= MESSAGES {
        // One alone, then two, up to five together.
        let last = (next + next % 5).min(MESSAGES);
        let mut waiting: BTreeSet<u16> = (next..=last).collect();
        says(&mut ann, &waiting);
        while !waiting.is_empty() {
            if ann.peek(&mut [0]).unwrap_or_default() == 0 {
                // Refused, which 3.1.1 has no word for: it ends when there is room again, and one comes
                // again with what has no answer.
                ann = midge.client(V311, "ann");
                says(&mut ann, &waiting);
            }
            let answer = read_packet(&mut ann);
            assert_eq!(answer[0], 0x40);
            waiting.remove(&u16::from_be_bytes([answer[2], answer[3]]));
        }
        next = last + 1;
        sleep(run.pause);
    }
    // The last call before the kill may not be written down: let it be the answer to this.
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    read_packet(&mut ann);
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(&trace).unwrap();
        if text.contains("+++ killed by") {
            return text.lines().filter_map(said).collect();
        }
        assert!(Instant::now() < end, "strace does not end");
        sleep(Duration::from_millis(20));
    }
}

/// Cuts the power at syncs of a run, all over it. How many there are, of which how many have failed.
fn cuts(run: &Run) -> (usize, usize) {
    let wanted = std::env::var("MIDGE_CUTS").map_or(CUTS, |count| count.parse().unwrap());
    let folder = Folder::new(run.name);
    let calls = record(&folder, run);
    let store = folder.file("store").to_str().unwrap().to_owned();
    let mut counting = Replay::default();
    let (mut syncs, mut failed) = (0, 0);
    for said in &calls {
        syncs += usize::from(counting.is_cut_by(said));
        failed += usize::from(matches!(said.call, Call::FailedSync(_)));
        counting.follow(said, &store);
    }
    assert_eq!(counting.acknowledged.len(), usize::from(MESSAGES));
    let each = syncs.div_ceil(wanted);
    let mut replay = Replay::default();
    let (mut at, mut cuts) = (0, 0);
    for said in &calls {
        if replay.is_cut_by(said) {
            if at % each == 0 {
                let loses_s = run.loses_s.map(|loses_s| said.at_s - loses_s);
                for unsynced in [Unsynced::Dropped, Unsynced::Kept, Unsynced::Torn] {
                    replay.check(run, unsynced, at, loses_s.unwrap_or(f64::INFINITY));
                    cuts += 1;
                }
            }
            at += 1;
        }
        replay.follow(said, &store);
    }
    let name = run.name;
    eprintln!("{name}: {cuts} power cuts at {syncs} syncs, {MESSAGES} messages, none lost");
    (syncs, failed)
}

#[test]
fn nothing_acknowledged_is_lost_to_a_power_cut() {
    let (syncs, failed) = cuts(&Run::always());
    assert!(syncs > 50, "there are {syncs} syncs only");
    assert_eq!(failed, 0);
}

/// Where syncs come at an interval, a power cut costs what is younger than that, and no more.
#[test]
fn no_more_than_the_interval_is_lost_to_a_power_cut() {
    let ms = INTERVAL_S * 1000.0;
    let (syncs, _) = cuts(&Run {
        name: "power-interval",
        configuration: format!("{CONFIGURATION}midge_persistence_sync interval {ms}\n"),
        pause: Duration::from_millis(40),
        loses_s: Some(INTERVAL_S + LATE_S),
        ..Run::always()
    });
    assert!(syncs > 10, "there are {syncs} syncs only");
}

/// After a sync that has failed, the system has forgotten what was written before it: it is written
/// again before it is acknowledged, and not just synced again.
#[test]
fn what_a_failed_sync_was_to_keep_is_written_again() {
    let (syncs, failed) = cuts(&Run {
        name: "power-failing",
        fault: Some("inject=fdatasync:error=EIO:when=20+40"),
        ..Run::always()
    });
    assert!(syncs > 50, "there are {syncs} syncs only");
    assert!(failed > 1, "{failed} syncs have failed");
}

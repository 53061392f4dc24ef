//! A slow disk under a real broker: `strace` lets each sync take as long as one of an SD card does, and
//! writes down what the broker does meanwhile. What is said of time is said of that order, and of
//! shares of one run.

mod process;
mod table;

use process::{Folder, MIDGE, Midge, read_packet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};
use table::*;

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    max_queued_messages 0\nmax_inflight_messages 0\npersistence true\n\
    persistence_location FOLDER/store/\n";

/// Milliseconds that each sync takes on the slow disk.
const SYNC_MS: u64 = 15;

/// One test at a time: they look at time.
static ALONE: Mutex<()> = Mutex::new(());

/// A broker on a slow disk, which is watched.
struct Slow {
    midge: Midge,
    trace: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// What the broker does, as far as it is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Did {
    /// It has waited for events.
    Waited,
    /// It has read a PUBLISH.
    Read,
    /// It has synced, which has taken the device itself so many seconds beside [`SYNC_MS`].
    Synced(f64),
    /// It has written a PUBACK.
    Answered,
    /// It has passed on a message at QoS 0.
    Passed,
}

impl Slow {
    fn start(folder: &Folder, text: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir(folder.file("store")).unwrap();
        let trace = folder.file("trace");
        let midge = Midge::start_as(|port| {
            let text = text.replace("PORT", &port.to_string());
            let text = text.replace("FOLDER", folder.path.to_str().unwrap());
            let path = folder.writes("midge.conf", &text);
            let mut command = Command::new("strace");
            // The process is the broker itself, and strace its grandchild.
            command.args(["-D", "-ttt", "-T", "-xx", "-s", "8", "-o"]);
            command.arg(&trace).args([
                "-e",
                "trace=fdatasync,recvfrom,sendto,writev,epoll_wait",
                "-e",
                &format!("inject=fdatasync:delay_exit={}", SYNC_MS * 1000),
            ]);
            command.args([MIDGE, "-c"]).arg(path);
            command
        });
        Self {
            midge,
            trace,
            _alone: alone,
        }
    }

    /// What it has done, and when, in seconds.
    fn did(&self) -> Vec<(f64, Did)> {
        let text = fs::read_to_string(&self.trace).unwrap();
        let line = |line: &str| {
            let (at_s, call) = line.split_once(' ')?;
            let has = |bytes: &str| call.contains(&format!("\"{bytes}"));
            let took_s = || {
                let (_, took) = call.rsplit_once('<')?;
                took.strip_suffix('>')?.parse().ok()
            };
            let did = match call.split('(').next()? {
                "epoll_wait" => Did::Waited,
                "fdatasync" => Did::Synced(took_s()?),
                "recvfrom" if has("\\x30") || has("\\x32") => Did::Read,
                "sendto" | "writev" if has("\\x30") => Did::Passed,
                "sendto" | "writev" if has("\\x40") => Did::Answered,
                _ => return None,
            };
            Some((at_s.parse().ok()?, did))
        };
        text.lines().filter_map(line).collect()
    }

    fn syncs(&self) -> usize {
        syncs_s(&self.did()).len()
    }
}

/// What each sync has taken the device itself.
fn syncs_s(did: &[(f64, Did)]) -> Vec<f64> {
    let sync = |(_, did): &(f64, Did)| match did {
        Did::Synced(took_s) => Some(*took_s),
        _ => None,
    };
    did.iter().filter_map(sync).collect()
}

fn says(stream: &mut TcpStream, topic: &str, id: u16) {
    let packet = publish(topic, "x".repeat(100)).qos1(id);
    stream.write_all(&packet.bytes(V311)).unwrap();
}

/// A session that waits for everything below `load/`.
fn waits_for_load(midge: &Midge) {
    let mut late = midge.opens();
    late.write_all(&connect("late").durable().bytes(V311))
        .unwrap();
    read_packet(&mut late);
    late.write_all(&subscribe(1, "load/#", 1).bytes(V311))
        .unwrap();
    assert_eq!(read_packet(&mut late), suback(1, &[1]).bytes(V311));
    late.write_all(&disconnect().bytes(V311)).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap(), 0);
}

/// Who publishes alone has each answer one sync later: it leaves in the turn in which the message
/// came, but where a wait for others is tried once more.
#[test]
fn a_lone_publisher_waits_for_one_sync_and_nothing_else() {
    const MESSAGES: u16 = 100;
    let folder = Folder::new("disk-lone");
    let slow = Slow::start(&folder, CONFIGURATION);
    waits_for_load(&slow.midge);
    let mut ann = slow.midge.client(V311, "ann");
    for id in 1..=MESSAGES {
        says(&mut ann, "load/ann", id);
        assert_eq!(read_packet(&mut ann), puback(id).bytes(V311));
    }
    // The last answer may not be written down yet.
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    read_packet(&mut ann);
    sleep(Duration::from_millis(100));
    let did = slow.did();
    let reads = did
        .iter()
        .enumerate()
        .filter(|(_, (_, did))| *did == Did::Read);
    let mut more_ms = Vec::new();
    let (mut syncs, mut waits) = (0, 0);
    for (from, (read_s, _)) in reads {
        let rest = did[from..].iter();
        let until = rest.take_while(|(_, did)| *did != Did::Answered).count();
        let between = &did[from + 1..from + until];
        let synced_s = syncs_s(between);
        syncs += synced_s.len();
        waits += usize::from(between.iter().any(|(_, did)| *did == Did::Waited));
        let device_ms: f64 = synced_s
            .iter()
            .map(|took_s| took_s * 1000.0 + SYNC_MS as f64)
            .sum();
        more_ms.push((did[from + until].0 - read_s) * 1000.0 - device_ms);
    }
    more_ms.sort_by(f64::total_cmp);
    // What else the machine does makes many of them longer.
    let tenth_ms = more_ms[more_ms.len() / 10];
    eprintln!("{syncs} syncs, {waits} waits; a tenth within {tenth_ms:.3} ms and a sync");
    let all = usize::from(MESSAGES);
    assert_eq!((more_ms.len(), syncs), (all, all));
    assert!(waits <= all / 50, "{waits} answers had to wait for others");
    assert!(tenth_ms <= 1.0, "{tenth_ms} ms more than a sync");
}

/// Streams that each say the next message when the last one is answered, until `end`. How many
/// answers came.
fn publishes_in_closed_loop(streams: &mut [TcpStream], topic: &str, end: Instant) -> usize {
    let mut answers = 0;
    for stream in streams.iter_mut() {
        says(stream, topic, 1);
        stream.set_nonblocking(true).unwrap();
    }
    while Instant::now() < end {
        for stream in streams.iter_mut() {
            let mut answer = [0; 4];
            if stream.peek(&mut answer).is_ok_and(|count| count == 4) {
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer[..], puback(1).bytes(V311));
                answers += 1;
                says(stream, topic, 1);
            }
        }
        sleep(Duration::from_micros(200));
    }
    answers
}

#[test]
fn fifty_publishers_share_their_syncs() {
    let folder = Folder::new("disk-fifty");
    let slow = Slow::start(&folder, CONFIGURATION);
    waits_for_load(&slow.midge);
    let client = |number: usize| slow.midge.client(V311, &format!("ann{number}"));
    let mut streams: Vec<_> = (0..50).map(client).collect();
    let (before, began) = (slow.syncs(), Instant::now());
    let answers =
        publishes_in_closed_loop(&mut streams, "load/fifty", began + Duration::from_secs(4));
    let syncs = slow.syncs() - before;
    eprintln!("{answers} answers, {syncs} syncs");
    assert!(syncs > 20, "{syncs} syncs in four seconds");
    assert!(
        answers >= 40 * syncs,
        "{answers} answers shared {syncs} syncs"
    );
}

/// QoS 0 goes on while syncs are slow: between two of them there is as much time for others as one
/// takes, and what came before one began does not wait for it.
#[test]
fn qos_0_goes_on_beside_slow_syncs() {
    let folder = Folder::new("disk-beside");
    let slow = Slow::start(&folder, CONFIGURATION);
    waits_for_load(&slow.midge);
    let midge = &slow.midge;
    let mut live = midge.subscriber("live", "live/#", 0);
    let mut ann = vec![midge.client(V311, "ann")];
    let mut flood = midge.client(V311, "flood");
    let (before, began) = (slow.syncs(), Instant::now());
    let end = began + Duration::from_secs(3);
    let packet = publish("live/0", "x".repeat(100)).bytes(V311);
    let some = packet.repeat(50);
    let flooding = std::thread::spawn(move || {
        let mut said = 0;
        while Instant::now() < end {
            flood.write_all(&some).unwrap();
            said += 50;
        }
        said
    });
    live.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let bytes = packet.len();
    let hearing = std::thread::spawn(move || {
        let mut heard = 0;
        let mut scratch = vec![0; 1 << 20];
        while let Ok(count) = live.read(&mut scratch) {
            heard += count;
        }
        heard / bytes
    });
    let answers = publishes_in_closed_loop(&mut ann, "load/ann", end);
    let (said, heard) = (flooding.join().unwrap(), hearing.join().unwrap());
    let syncs = slow.syncs() - before;
    let share = syncs as f64 * SYNC_MS as f64 / 3000.0;
    eprintln!("{said} at QoS 0 said, {heard} heard, {answers} answers, {syncs} syncs: {share:.2}");
    assert!(heard > said / 10 * 9, "{heard} of {said}");
    assert!(answers >= 20, "{answers} answers in three seconds");
    assert!(share <= 0.55, "{share} of the time went into syncs");
}

/// What came in the same turn as a promise does not wait for the sync of that.
#[test]
fn qos_0_does_not_wait_for_a_sync_that_has_not_begun() {
    let folder = Folder::new("disk-before");
    let slow = Slow::start(&folder, CONFIGURATION);
    waits_for_load(&slow.midge);
    let mut live = slow.midge.subscriber("live", "live/#", 0);
    let mut ann = slow.midge.client(V311, "ann");
    let began = slow.did().len();
    for id in 1..=10 {
        let now = publish("live/0", "now").bytes(V311);
        let safe = publish("load/1", "safe").qos1(id).bytes(V311);
        ann.write_all(&[now.clone(), safe].concat()).unwrap();
        assert_eq!(read_packet(&mut live), now);
        assert_eq!(read_packet(&mut ann), puback(id).bytes(V311));
        // Until a promise is kept at once again.
        sleep(Duration::from_millis(80));
    }
    let mut passed = 0;
    let mut is_synced = false;
    for (_, did) in &slow.did()[began..] {
        match did {
            Did::Read => is_synced = false,
            Did::Synced(_) => is_synced = true,
            Did::Passed => {
                assert!(!is_synced, "it has waited for a sync");
                passed += 1;
            }
            Did::Waited | Did::Answered => {}
        }
    }
    assert_eq!(passed, 10);
}

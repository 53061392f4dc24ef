//! A disk that fills up under load: what is acknowledged is on it, what is not is refused, and when
//! there is room again the broker goes on by itself. The disk is a small file system in memory, in
//! a mount namespace of its own that ends with the process that holds it.

mod process;
mod table;

use process::{Folder, MIDGE, Midge, read_packet};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use table::*;

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    max_queued_messages 0\nmax_inflight_messages 0\npersistence true\n\
    persistence_location FOLDER/store/\n";

/// Kilobytes of the disk, and of what stands in the way on it: the log alone takes 4.4 MB, and with an
/// interval a start needs room to work in what stands beside the database.
const DISK_KB: u32 = 16_000;
const BALLAST_KB: u32 = 10_000;

/// Bytes of the filler of a message.
const FILLER_BYTES: usize = 3000;

/// Publishers, every other one of 5.0.
const PUBLISHERS: usize = 4;

/// The disk, and who holds it.
struct Disk {
    holder: Child,
    path: PathBuf,
}

impl Disk {
    fn new(folder: &Folder) -> Self {
        let path = folder.file("store");
        fs::create_dir(&path).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={DISK_KB}k tmpfs {path} && \
             head -c {BALLAST_KB}k /dev/zero > {path}/ballast && echo mounted && exec sleep 600",
            path = path.display()
        );
        let mut holder = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut word).unwrap();
        assert_eq!(word, "mounted\n", "no file system could be mounted");
        Self { holder, path }
    }

    fn start(&self, folder: &Folder, text: &str) -> Midge {
        Midge::start_as(|port| {
            let text = text.replace("PORT", &port.to_string());
            let text = text.replace("FOLDER", folder.path.to_str().unwrap());
            let configuration = folder.writes("midge.conf", &text);
            let mut command = Command::new("nsenter");
            let holder = self.holder.id().to_string();
            command.args(["-t", &holder, "-U", "-m", "--preserve-credentials"]);
            command.args([MIDGE, "-c"]).arg(configuration);
            command
        })
    }

    /// Makes room.
    fn drops_ballast(&self) {
        let seen = self.path.strip_prefix("/").unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        fs::remove_file(root.join(seen).join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// One who publishes below `load/`, and what was acknowledged of it.
struct Publisher {
    stream: TcpStream,
    number: usize,
    count: usize,
    acknowledged: BTreeSet<String>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Acknowledged,
    /// In words.
    Refused,
    /// There is no answer yet, and perhaps there never is.
    Silence,
}

impl Publisher {
    fn new(midge: &Midge, number: usize) -> Self {
        let version = if number % 2 == 0 { V5 } else { V311 };
        Self {
            stream: midge.client(version, &format!("ann{number}")),
            number,
            count: 0,
            acknowledged: BTreeSet::new(),
        }
    }

    fn said(&self) -> String {
        format!("{}-{}", self.number, self.count)
    }

    fn says(&mut self) -> Fate {
        self.count += 1;
        let payload = format!("{}#{}", "x".repeat(FILLER_BYTES), self.said());
        let packet = publish(&format!("load/{}", self.number), payload).qos1(1);
        let version = if self.number % 2 == 0 { V5 } else { V311 };
        self.stream.write_all(&packet.bytes(version)).unwrap();
        self.hears()
    }

    /// What comes of the last message within two seconds.
    fn hears(&mut self) -> Fate {
        let wait = Duration::from_secs(2);
        self.stream.set_read_timeout(Some(wait)).unwrap();
        if self.stream.peek(&mut [0]).is_err() {
            return Fate::Silence;
        }
        let answer = read_packet(&mut self.stream);
        assert_eq!(answer[0], 0x40, "{answer:x?}");
        match answer.get(4) {
            None | Some(0) => {
                self.acknowledged.insert(self.said());
                Fate::Acknowledged
            }
            Some(0x97) => Fate::Refused,
            Some(_) => panic!("{answer:x?}"),
        }
    }

    /// There is room again. What was promised before has its answer now, if it had none; and one of 3.x
    /// whose message was refused, which it cannot be told, has to come again.
    fn is_not_left_waiting(&mut self, midge: &Midge) {
        let wait = Duration::from_secs(10);
        self.stream.set_read_timeout(Some(wait)).unwrap();
        match self.number % 2 {
            0 => drop(self.hears()),
            _ if self.stream.peek(&mut [0]).unwrap() == 0 => {
                *self = Self {
                    acknowledged: std::mem::take(&mut self.acknowledged),
                    count: self.count,
                    ..Self::new(midge, self.number)
                };
            }
            _ => assert_eq!(self.hears(), Fate::Acknowledged),
        }
    }

    /// Goes on until something else than an acknowledgement comes.
    fn fills(mut self) -> (Self, Fate) {
        for _ in 0..5000 {
            match self.says() {
                Fate::Acknowledged => {}
                fate => return (self, fate),
            }
        }
        panic!("the disk is never full");
    }
}

/// Everything that waits for `late`.
fn waits_for_late(midge: &Midge) -> BTreeSet<String> {
    let mut late = midge.opens();
    let hello = connect("late").durable().bytes(V311);
    late.write_all(&[hello, pingreq().bytes(V311)].concat())
        .unwrap();
    assert_eq!(read_packet(&mut late)[2], 1, "the session is gone");
    let mut heard = BTreeSet::new();
    let mut is_answered = false;
    let wait = Duration::from_millis(300);
    late.set_read_timeout(Some(wait)).unwrap();
    while !is_answered || late.peek(&mut [0]).is_ok() {
        let packet = read_packet(&mut late);
        match packet[0] >> 4 {
            3 => {
                let text = String::from_utf8_lossy(&packet);
                let said = text.rsplit('#').next().unwrap();
                assert!(heard.insert(said.to_owned()), "{said} comes twice");
            }
            _ => is_answered = true,
        }
    }
    heard
}

fn fills_up(mode: &str) {
    let folder = Folder::new(&format!("full-{}", &mode[..4]));
    let text = format!("{CONFIGURATION}midge_persistence_sync {mode}\n");
    let disk = Disk::new(&folder);
    let mut midge = disk.start(&folder, &text);
    let mut late = midge.opens();
    let hello = connect("late").durable().bytes(V311);
    let wish = subscribe(1, "load/#", 1).bytes(V311);
    late.write_all(&[hello, wish, disconnect().bytes(V311)].concat())
        .unwrap();
    let mut answers = Vec::new();
    late.read_to_end(&mut answers).unwrap();
    assert_eq!(answers.len(), 4 + 5, "{answers:x?}");
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| Publisher::new(&midge, number))
        .map(|publisher| thread::spawn(|| publisher.fills()))
        .collect();
    let filled = publishers.into_iter().map(|thread| thread.join().unwrap());
    let mut publishers: Vec<_> = filled
        .map(|(publisher, fate)| {
            let is_new = publisher.number % 2 == 0;
            assert!(is_new || fate == Fate::Silence, "3.1.1 has no word for it");
            publisher
        })
        .collect();
    midge.waits_for_log("the disk is full");

    // Now everybody is refused, and what nobody has to keep goes on.
    let mut live = midge.subscriber("live", "live", 0);
    let mut refused = Vec::new();
    for (number, fate) in [(4, Fate::Refused), (5, Fate::Silence)] {
        let mut publisher = Publisher::new(&midge, number);
        assert_eq!(publisher.says(), fate, "{mode}");
        refused.push(publisher.stream);
        let packet = publish("live", "on").bytes(V311);
        let mut teller = midge.client(V311, "teller");
        teller.write_all(&packet).unwrap();
        assert_eq!(read_packet(&mut live), packet, "{mode}");
    }

    disk.drops_ballast();
    midge.waits_for_log("State is kept in");
    let mut old = refused.pop().unwrap();
    let wait = Duration::from_secs(10);
    old.set_read_timeout(Some(wait)).unwrap();
    assert_eq!(
        old.read(&mut [0]).unwrap(),
        0,
        "{mode}: it is to come again"
    );
    for publisher in &mut publishers {
        publisher.is_not_left_waiting(&midge);
        for _ in 0..20 {
            assert_eq!(publisher.says(), Fate::Acknowledged, "{mode}");
        }
    }
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let midge = disk.start(&folder, &text);
    let heard = waits_for_late(&midge);
    let mut count = 0;
    for publisher in &publishers {
        let lost: Vec<_> = publisher.acknowledged.difference(&heard).collect();
        assert!(lost.is_empty(), "{mode}: {lost:?} of {}", heard.len());
        count += publisher.acknowledged.len();
    }
    eprintln!("{mode}: {count} acknowledged, {} there", heard.len());
    assert!(count > 500, "{mode}: {count} acknowledged");
}

#[test]
fn a_disk_that_fills_up_loses_nothing_acknowledged() {
    fills_up("always");
}

#[test]
fn nor_where_syncs_come_at_an_interval() {
    fills_up("interval 1000");
}

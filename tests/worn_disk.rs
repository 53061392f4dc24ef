//! A store on a disk that has worn out: bits have flipped, sectors read as zeros or as what stood
//! there before. Whatever it is, the broker starts and serves, keeps what comes from then on, and
//! where the database itself was given up, it stands aside as it was found.
//!
//! ```text
//!   MIDGE_SEED=17 MIDGE_DAMAGES=500 cargo test --test worn_disk        in other, and more, places
//! ```

mod process;
mod table;

use process::{Folder, Midge, read_packet, start};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;
use table::*;

/// Damages in each state of the store, unless `MIDGE_DAMAGES` says otherwise.
const DAMAGES: u64 = 24;

const SECTOR_BYTES: usize = 512;

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    persistence true\npersistence_location FOLDER/\nmidge_persistence_sync interval 600000\n";

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().unwrap())
}

/// Chance, by xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// The files of a store, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Folder) -> Files {
    let entries = fs::read_dir(&folder.path).unwrap();
    let named = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.path())
    });
    let own = named.filter(|(name, _)| name.starts_with("midge.sqlite3"));
    own.map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Sessions with subscriptions and Wills, messages that wait for several of them, retained ones.
fn lives(midge: &Midge, round: u16) {
    for number in 0..10 {
        let name = format!("bob{number}");
        let mut bob = midge.opens();
        let hello = connect(&name).durable().will("will", "gone", 1, false);
        bob.write_all(&hello.bytes(V311)).unwrap();
        read_packet(&mut bob);
        bob.write_all(&subscribe(1, &format!("tea/{}/#", number % 4), 2).bytes(V311))
            .unwrap();
        while read_packet(&mut bob)[0] != 0x90 {}
    }
    let mut ann = midge.client(V311, "ann");
    for id in 1..=60 {
        let payload = format!("{round}{}", "x".repeat(usize::from(id) * 20));
        let packet = publish(&format!("tea/{}/{id}", id % 4), payload).retain();
        ann.write_all(&packet.qos1(id).bytes(V311)).unwrap();
        assert_eq!(read_packet(&mut ann), puback(id).bytes(V311));
    }
}

/// The store as a kill leaves it, with most of it in the log and some in the tail alone, and as an
/// end leaves it, with all of it in the database; each with what it was before that.
fn states() -> [(&'static str, Files, Files); 2] {
    let folder = Folder::new("worn");
    let mut midge = start(&folder, CONFIGURATION);
    lives(&midge, 1);
    let early = files(&folder);
    midge.signals("-USR1");
    midge.waits_for_log("State is saved");
    lives(&midge, 2);
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let killed = files(&folder);
    let mut midge = start(&folder, CONFIGURATION);
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let ended = files(&folder);
    assert!(killed["midge.sqlite3-tail"].len() > 50_000);
    assert!(ended["midge.sqlite3"].len() > 50_000);
    [("killed", early, killed.clone()), ("ended", killed, ended)]
}

/// Damages one of the files somewhere. What, in words.
fn damages(files: &mut Files, before: &Files, chance: &mut Chance) -> String {
    let names: Vec<_> = files.keys().cloned().collect();
    let candidates: Vec<_> = names
        .iter()
        .filter(|name| !files[*name].is_empty())
        .collect();
    let name = candidates[chance.below(candidates.len())];
    let bytes = files.get_mut(name).unwrap();
    // The log is as long as it will ever be, and mostly empty.
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap_or_default()
        + 1;
    let at = chance.below(end);
    let sector = at / SECTOR_BYTES * SECTOR_BYTES..(at / SECTOR_BYTES + 1) * SECTOR_BYTES;
    let sector = sector.start..sector.end.min(bytes.len());
    let what = match chance.below(5) {
        0 | 1 => {
            bytes[at] ^= 1 << chance.below(8);
            "a bit flipped"
        }
        2 => {
            bytes[sector].fill(0);
            "a sector of zeros"
        }
        3 => {
            bytes[sector].fill(0xa5);
            "a sector of garbage"
        }
        _ => {
            // It was never written, while what stands around it was.
            let old = before
                .get(name)
                .and_then(|before| before.get(sector.clone()));
            let zeros = vec![0; sector.len()];
            bytes[sector].copy_from_slice(old.unwrap_or(&zeros));
            "a sector as it was before"
        }
    };
    format!("{what} at {at} of {name}")
}

/// The broker begins with these files, serves and keeps. Whether it has found them damaged.
fn is_survived(name: &str, files: &Files, what: &str) -> bool {
    let folder = Folder::new(&format!("worn-{name}"));
    for (name, bytes) in files {
        fs::write(folder.file(name), bytes).unwrap();
    }
    let mut midge = start(&folder, CONFIGURATION);
    let log = midge.log();
    let words = ["The file is kept as", "A copy of all is kept as"];
    let is_found = words.iter().any(|words| log.contains(words));
    assert!(is_found || log.contains("Restored "), "{what}: {log}");
    let aside = self::files(&folder);
    let aside: Vec<_> = aside
        .iter()
        .filter(|(name, _)| name.contains("damaged"))
        .collect();
    assert_eq!(!aside.is_empty(), is_found, "{what}: {log}");
    for ending in ["", "-wal", "-tail"] {
        let of_that = |(name, _): &&(&String, &Vec<u8>)| {
            name.rsplit(|digit: char| digit.is_ascii_digit()).next() == Some(ending)
        };
        if let Some((_, kept)) = aside.iter().find(of_that) {
            let found = &files[&format!("midge.sqlite3{ending}")];
            assert_eq!(kept, &found, "{what}: {ending} is not as it was");
        }
    }
    let mut ann = midge.client(V5, "ann");
    let packet = publish("after", "kept").retain().qos1(7).bytes(V5);
    ann.write_all(&packet).unwrap();
    let answer = read_packet(&mut ann);
    assert_eq!(
        (answer[0], answer[2..4].to_vec()),
        (0x40, vec![0, 7]),
        "{what}"
    );
    assert!(
        answer.get(4).is_none_or(|code| *code < 0x80),
        "{what}: {answer:x?}"
    );
    // Whoever has lost its session begins one, and whoever has not is served.
    lives(&midge, 3);
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let midge = start(&folder, CONFIGURATION);
    let mut looker = midge.subscriber("looker", "after", 0);
    let kept = publish("after", "kept").retain().bytes(V311);
    assert_eq!(read_packet(&mut looker), kept, "{what}");
    is_found
}

#[test]
fn the_broker_starts_and_serves_whatever_has_worn_out() {
    let seed = number("MIDGE_SEED", 0x6d69_6467);
    let wanted = number("MIDGE_DAMAGES", DAMAGES);
    let mut chance = Chance(seed);
    for (name, before, whole) in states() {
        assert!(!is_survived(name, &whole, "nothing"), "it is whole");
        let mut found = 0;
        for round in 0..wanted {
            let mut files = whole.clone();
            let what = damages(&mut files, &before, &mut chance);
            let what = format!("seed {seed}, {name}, {round}: {what}");
            found += u64::from(is_survived(name, &files, &what));
        }
        eprintln!("{name}: {wanted} damages, seed {seed}, {found} of them found");
    }
}

/// The store of a broker that synced each of its commits and was killed, with the first of them lost.
fn loses_a_commit(folder: &Folder) {
    let text = CONFIGURATION.replace("interval 600000", "always");
    let mut midge = start(folder, &text);
    lives(&midge, 1);
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
    let log = folder.file("midge.sqlite3-wal");
    let mut bytes = fs::read(&log).unwrap();
    bytes[32 + 24 + 100] ^= 1;
    fs::write(log, bytes).unwrap();
}

fn copies(folder: &Folder) -> usize {
    let files = files(folder);
    let names = files.keys().filter(|name| name.contains("damaged"));
    names.filter(|name| !name.ends_with("-wal")).count()
}

/// Whatever else keeps the store from being opened, there is one copy of what was damaged, and not one
/// for each time that it is tried.
#[test]
fn what_is_damaged_is_copied_once() {
    let folder = Folder::new("worn-once");
    loses_a_commit(&folder);
    let database = fs::File::options()
        .write(true)
        .open(folder.file("midge.sqlite3"));
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(database.as_ref().unwrap(), exclusive).unwrap();
    let midge = start(&folder, CONFIGURATION);
    midge.waits_for_log("database is locked");
    assert_eq!(copies(&folder), 1);
    sleep(Duration::from_millis(1200));
    assert_eq!(copies(&folder), 1, "{}", midge.log());
}

/// Where nothing is synced, a power cut takes commits out of the middle of the log. That was agreed.
#[test]
fn nothing_is_missed_that_was_never_synced() {
    let folder = Folder::new("worn-none");
    loses_a_commit(&folder);
    let text = CONFIGURATION.replace("interval 600000", "none");
    let midge = start(&folder, &text);
    assert_eq!(copies(&folder), 0, "{}", midge.log());
}

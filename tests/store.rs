//! The store of a real broker: what it survives, and the way from mosquitto and back.

mod process;
mod table;

use midge::codec::property::Property;
use process::{
    Folder, MIDGE, Midge, free_port, read_packet, read_to_close, start, start_unsignalled,
};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};
use table::*;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    persistence true\npersistence_location FOLDER/\n";

fn opens(port: u16, packet: Say) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(&packet.bytes(V311)).unwrap();
    let answer = read_packet(&mut stream);
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
    (stream, answer[2] == 1)
}

fn asks(stream: &mut TcpStream, packet: Say, answer: Say) {
    stream.write_all(&packet.bytes(V311)).unwrap();
    assert_eq!(read_packet(stream), answer.bytes(V311));
}

/// A session that waits for one message, and a retained message.
fn leaves_something(port: u16) {
    let (mut bob, _) = opens(port, connect("bob").durable());
    asks(&mut bob, subscribe(1, "tea/+", 1), suback(1, &[1]));
    bob.write_all(&disconnect().bytes(V311)).unwrap();
    let (mut ann, _) = opens(port, connect("ann"));
    asks(&mut ann, publish("tea/green", "hot").qos1(7), puback(7));
    asks(
        &mut ann,
        publish("tea/pot", "full").retain().qos1(8),
        puback(8),
    );
}

/// What [`leaves_something`] has left is there.
#[track_caller]
fn finds_it(port: u16) {
    let (mut bob, is_present) = opens(port, connect("bob").durable());
    assert!(is_present, "the session is gone");
    let mut heard = [read_packet(&mut bob), read_packet(&mut bob)];
    for packet in &mut heard {
        let id_at = packet.len() - if packet.ends_with(b"hot") { 5 } else { 6 };
        let id = u16::from_be_bytes([packet[id_at], packet[id_at + 1]]);
        bob.write_all(&puback(id).bytes(V311)).unwrap();
        packet[id_at] = 0;
        packet[id_at + 1] = 1;
        packet[0] &= 0xf7; // DUP, perhaps
    }
    assert_eq!(heard[0], publish("tea/green", "hot").qos1(1).bytes(V311));
    assert_eq!(heard[1], publish("tea/pot", "full").qos1(1).bytes(V311));
    let (mut cat, _) = opens(port, connect("cat"));
    asks(&mut cat, subscribe(1, "tea/pot", 0), suback(1, &[0]));
    assert_eq!(
        read_packet(&mut cat),
        publish("tea/pot", "full").retain().bytes(V311)
    );
}

/// Nothing is there, and the broker serves and keeps.
fn begins_anew(midge: &Midge) {
    let (_, is_present) = opens(midge.port, connect("bob").durable());
    assert!(!is_present);
    leaves_something(midge.port);
}

fn kill(mut midge: Midge) {
    midge.child.kill().unwrap();
    midge.child.wait().unwrap();
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(&folder.path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_after_an_end() {
    let folder = Folder::new("store-plain");
    let midge = start(&folder, CONFIGURATION);
    leaves_something(midge.port);
    kill(midge);
    let mut midge = start(&folder, CONFIGURATION);
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let midge = start(&folder, CONFIGURATION);
    finds_it(midge.port);
}

#[test]
fn looser_modes_keep_everything_over_an_end() {
    for mode in ["interval 60000", "none"] {
        let folder = Folder::new(&format!("store-{}", &mode[..4]));
        let text = format!("{CONFIGURATION}midge_persistence_sync {mode}\n");
        let mut midge = start(&folder, &text);
        leaves_something(midge.port);
        midge.signals("-TERM");
        assert!(midge.ends().success());
        let midge = start(&folder, &text);
        finds_it(midge.port);
    }
}

#[test]
fn the_file_has_the_name_it_is_given() {
    for (text, name) in [
        (
            "retained_persistence true\npersistence_location FOLDER/\npersistence_file tea.db\n",
            "tea.db.sqlite3",
        ),
        (
            "plugin /usr/lib/mosquitto_persist_sqlite.so\nplugin_opt_sync full\n\
             plugin_opt_db_file FOLDER/mq.sqlite3\n",
            "mq.sqlite3.midge",
        ),
    ] {
        let folder = Folder::new(&format!("store-named-{name}"));
        let text = format!("listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n{text}");
        let midge = start(&folder, &text);
        leaves_something(midge.port);
        assert!(folder.file(name).exists(), "{:?}", names(&folder));
        kill(midge);
        finds_it(start(&folder, &text).port);
    }
}

/// Every kind of damage is put aside, said, and does not keep the broker from serving and keeping.
#[test]
fn damage_is_put_aside() {
    type Damage = fn(&Folder);
    let store = |folder: &Folder| folder.file("midge.sqlite3");
    let damages: [(&str, Damage); 4] = [
        ("foreign", |folder| {
            fs::write(
                folder.file("midge.sqlite3"),
                "this is no database\n".repeat(100),
            )
            .unwrap();
        }),
        ("truncated", |folder| {
            let file = fs::File::options()
                .write(true)
                .open(folder.file("midge.sqlite3"));
            file.unwrap().set_len(5000).unwrap();
        }),
        ("garbage", |folder| {
            let file = fs::File::options()
                .write(true)
                .open(folder.file("midge.sqlite3"));
            let file = file.unwrap();
            for page in 1..8 {
                file.write_all_at(&[0xa5; 700], page * 1024 + 100).unwrap();
            }
        }),
        ("other", |folder| {
            fs::remove_file(folder.file("midge.sqlite3")).unwrap();
            let _ = fs::remove_file(folder.file("midge.sqlite3-wal"));
            // Somebody else's database: SQLite's header, and a table of one's own.
            let mut header = b"SQLite format 3\0".to_vec();
            header.resize(4096, 0x11);
            fs::write(folder.file("midge.sqlite3"), header).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let folder = Folder::new(&format!("store-{name}"));
        let mut midge = start(&folder, CONFIGURATION);
        leaves_something(midge.port);
        midge.signals("-TERM");
        assert!(midge.ends().success());
        damage(&folder);
        let damaged = fs::read(store(&folder)).unwrap();
        let midge = start(&folder, CONFIGURATION);
        assert!(
            midge.log().contains("The file is kept as"),
            "{name}: {}",
            midge.log()
        );
        begins_anew(&midge);
        kill(midge);
        let aside = names(&folder)
            .into_iter()
            .find(|name| name.contains("damaged") && !name.ends_with("-wal"));
        let aside = aside.unwrap_or_else(|| panic!("{name}: nothing is put aside"));
        assert_eq!(fs::read(folder.file(&aside)).unwrap(), damaged, "{name}");
        finds_it(start(&folder, CONFIGURATION).port);
    }
}

#[test]
fn an_empty_file_is_a_new_store() {
    let folder = Folder::new("store-empty");
    folder.writes("midge.sqlite3", "");
    let midge = start(&folder, CONFIGURATION);
    leaves_something(midge.port);
    kill(midge);
    finds_it(start(&folder, CONFIGURATION).port);
}

#[test]
fn a_second_broker_ends_and_touches_nothing() {
    let folder = Folder::new("store-twice");
    let midge = start(&folder, CONFIGURATION);
    leaves_something(midge.port);
    let read = || {
        let name = |name: &String| fs::read(folder.file(name)).unwrap();
        names(&folder)
            .iter()
            .filter(|name| name.starts_with("midge.sqlite3"))
            .map(name)
            .collect::<Vec<_>>()
    };
    let before = read();
    let text = CONFIGURATION.replace("PORT", &free_port().to_string());
    let text = text.replace("FOLDER", folder.path.to_str().unwrap());
    let path = folder.writes("second.conf", &text);
    let second = Command::new(MIDGE).arg("-c").arg(path).output().unwrap();
    let words = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(14), "{words}");
    assert!(words.contains("is in use by another midge"), "{words}");
    assert_eq!(read(), before);
    kill(midge);
    finds_it(start(&folder, CONFIGURATION).port);
}

/// Where nothing can be kept, nothing that would have to be is acknowledged; when it can, it is.
#[test]
fn a_missing_directory_refuses_acknowledgements_until_it_is_there() {
    let folder = Folder::new("store-missing");
    let text = CONFIGURATION.replace("FOLDER", "FOLDER/later");
    let midge = start(&folder, &text);
    assert!(
        midge.log().contains("state cannot be kept in"),
        "{}",
        midge.log()
    );
    let mut bob = midge.opens();
    bob.write_all(&connect("bob").lasting(100).bytes(V5))
        .unwrap();
    read_packet(&mut bob);
    bob.write_all(&subscribe(1, "tea/+", 1).bytes(V5)).unwrap();
    let refusal = read_packet(&mut bob);
    assert_eq!(
        (refusal[0], refusal.last()),
        (0x90, Some(&0x97)),
        "{refusal:x?}"
    );
    let mut ann = midge.client(V5, "ann");
    ann.write_all(&publish("tea/pot", "full").retain().qos1(7).bytes(V5))
        .unwrap();
    let refusal = read_packet(&mut ann);
    assert_eq!((refusal[0], refusal[4]), (0x40, 0x97), "{refusal:x?}");
    let (mut old, _) = opens(midge.port, connect("old"));
    for packet in [
        publish("tea/pot", "full").retain().qos1(7),
        publish("tea/pot", "full").retain().qos2(8),
    ] {
        old.write_all(&packet.bytes(V311)).unwrap();
    }
    // What nobody has to keep goes on.
    asks(&mut old, pingreq(), pingresp());
    fs::create_dir(folder.file("later")).unwrap();
    midge.waits_for_log("State is kept in");
    leaves_something(midge.port);
    kill(midge);
    finds_it(start(&folder, &text).port);
}

/// What could not be read at the start is read when it can be, and nothing of it is lost.
#[test]
fn a_database_that_comes_late_is_read_then() {
    let folder = Folder::new("store-late");
    let text = CONFIGURATION.replace("FOLDER", "FOLDER/disk");
    let (disk, away) = (folder.file("disk"), folder.file("away"));
    fs::create_dir(&disk).unwrap();
    let midge = start(&folder, &text);
    leaves_something(midge.port);
    kill(midge);
    fs::rename(&disk, &away).unwrap();
    let midge = start(&folder, &text);
    assert!(midge.log().contains("state cannot be kept in"));
    let (mut bob, is_present) = opens(midge.port, connect("bob").durable());
    assert!(!is_present);
    let (mut ann, _) = opens(midge.port, connect("ann"));
    ann.write_all(&publish("tea/cup", "new").retain().bytes(V311))
        .unwrap();
    asks(&mut ann, pingreq(), pingresp());
    fs::rename(&away, &disk).unwrap();
    midge.waits_for_log("State is kept in");
    assert_eq!(bob.read(&mut [0; 9]).unwrap(), 0, "it is to come again");
    finds_it(midge.port);
    let (mut cat, _) = opens(midge.port, connect("cat"));
    asks(&mut cat, subscribe(1, "tea/cup", 0), suback(1, &[0]));
    let cup = publish("tea/cup", "new").retain().bytes(V311);
    assert_eq!(read_packet(&mut cat), cup, "what came meanwhile is there");
    kill(midge);
    let midge = start(&folder, &text);
    assert!(opens(midge.port, connect("bob").durable()).1);
    let mut cat = midge.subscriber("cat", "tea/cup", 0);
    assert_eq!(read_packet(&mut cat), cup, "and is kept");
}

/// A member of a group goes in the turn in which a message came for it: what the next one has is not
/// written in a row that has gone with the first.
#[test]
fn a_message_that_changes_hands_at_once_is_kept() {
    let folder = Folder::new("store-handed");
    let midge = start(&folder, CONFIGURATION);
    let (mut bob, _) = opens(midge.port, connect("bob").durable());
    asks(&mut bob, subscribe(1, "$share/g/tea", 1), suback(1, &[1]));
    bob.write_all(&disconnect().bytes(V311)).unwrap();
    let mut ann = midge.opens();
    let mut says = |packets: &[Say]| {
        let bytes: Vec<_> = packets.iter().flat_map(|say| say.bytes(V5)).collect();
        ann.write_all(&bytes).unwrap();
    };
    let ends = disconnect().with(Property::SessionExpiryInterval(0));
    says(&[
        connect("ann").lasting(100),
        subscribe(1, "$share/g/tea", 1),
        publish("tea", "hot").qos1(7),
        ends,
    ]);
    let answers = read_to_close(&mut ann);
    let ack = puback(7).bytes(V5);
    assert!(answers.windows(ack.len()).any(|bytes| bytes == ack));
    kill(midge);
    let midge = start(&folder, CONFIGURATION);
    let (mut bob, is_present) = opens(midge.port, connect("bob").durable());
    assert!(is_present);
    let due = publish("tea", "hot").qos1(1).bytes(V311);
    assert_eq!(read_packet(&mut bob), due);
}

/// Another program that looks into the database while the broker starts holds up nobody but those for
/// whom something is to be kept, and them as long as it looks.
#[test]
fn a_database_in_use_is_waited_for_by_nobody_else() {
    let folder = Folder::new("store-locked");
    let midge = start(&folder, CONFIGURATION);
    leaves_something(midge.port);
    kill(midge);
    let path = folder.file("midge.sqlite3");
    let other = fs::File::options().write(true).open(path).unwrap();
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&other, exclusive).unwrap();
    let began = Instant::now();
    let midge = start(&folder, CONFIGURATION);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(midge.log().contains("database is locked"));
    drop(other);
    midge.waits_for_log("State is kept in");
    finds_it(midge.port);
}

/// Writes beyond this many bytes of a file fail from now on.
fn limits_files(midge: &Midge, bytes: &str) {
    let mut command = Command::new("prlimit");
    let pid = midge.child.id().to_string();
    command.args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]);
    assert!(command.status().unwrap().success());
}

/// A disk that takes no more refuses what would have to be kept, and takes it when it can again.
#[test]
fn a_disk_that_refuses_is_tried_again() {
    for mode in ["always", "interval 60000", "none"] {
        let folder = Folder::new(&format!("store-refusing-{}", &mode[..4]));
        let text = format!("{CONFIGURATION}midge_persistence_sync {mode}\n");
        let text = text.replace("FOLDER", folder.path.to_str().unwrap());
        let midge = start_unsignalled(&folder, &text);
        leaves_something(midge.port);
        // The log of the broker itself is a file, too.
        limits_files(&midge, "65536");
        let mut ann = midge.client(V5, "ann");
        let filler = "x".repeat(10_000);
        let mut taken = 0;
        while !midge.log().contains("state cannot be kept in") {
            let packet = publish(&format!("fill/{taken}"), &filler).retain();
            ann.write_all(&packet.qos1(7).bytes(V5)).unwrap();
            taken += 1;
            assert!(taken < 100, "{mode}: nothing was refused");
            // The acknowledgement that does not come waits for the disk.
            let wait = Duration::from_millis(100);
            ann.set_read_timeout(Some(wait)).unwrap();
            if ann.peek(&mut [0]).is_ok() {
                read_packet(&mut ann);
            }
        }
        let mut eve = midge.client(V5, "eve");
        let packet = publish("fill/eve", "refused").retain().qos1(7).bytes(V5);
        eve.write_all(&packet).unwrap();
        let answer = read_packet(&mut eve);
        assert_eq!((answer[0], answer[4]), (0x40, 0x97), "{mode}: {answer:x?}");
        limits_files(&midge, "unlimited");
        midge.waits_for_log("State is kept in");
        ann.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(read_packet(&mut ann)[0], 0x40, "{mode}: the last one");
        kill(midge);
        let midge = start(&folder, &text);
        finds_it(midge.port);
        let mut cat = midge.subscriber("cat", "fill/#", 0);
        for _ in 0..taken {
            assert_eq!(read_packet(&mut cat)[0] & 0xf1, 0x31, "{mode}");
        }
    }
}

/// To be told to save does not make a disk take anything: what waits for it goes on waiting.
#[test]
fn a_save_that_fails_acknowledges_nothing() {
    let folder = Folder::new("store-unsaved");
    let text = CONFIGURATION.replace("FOLDER", folder.path.to_str().unwrap());
    let midge = start_unsignalled(&folder, &text);
    leaves_something(midge.port);
    limits_files(&midge, "65536");
    let (mut ann, _) = opens(midge.port, connect("ann"));
    let packet = publish("fill", "x".repeat(100_000)).retain().qos1(7);
    ann.write_all(&packet.bytes(V311)).unwrap();
    midge.waits_for_log("state cannot be kept in");
    midge.signals("-USR1");
    ann.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(ann.peek(&mut [0]).is_err(), "it is acknowledged");
    limits_files(&midge, "unlimited");
    ann.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(read_packet(&mut ann), puback(7).bytes(V311));
}

/// When the sessions in the store end, by client, in seconds from now.
fn ends(folder: &Folder) -> Vec<(String, Option<i64>)> {
    let database = rusqlite::Connection::open(folder.file("midge.sqlite3")).unwrap();
    let sql = "SELECT client, ends - ? FROM sessions WHERE NOT connected ORDER BY client";
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Whoever does not come back after a restart is not waited for longer with each that follows.
#[test]
fn sessions_end_however_often_the_broker_starts() {
    let folder = Folder::new("store-ends");
    let saves = |text: &str| {
        let midge = start(&folder, text);
        midge.signals("-USR1");
        midge.waits_for_log("State is saved");
        kill(midge);
        ends(&folder)
    };
    let midge = start(&folder, CONFIGURATION);
    opens(midge.port, connect("ann").durable());
    let mut bob = midge.opens();
    let hello = connect("bob").lasting(500).bytes(V5);
    bob.write_all(&hello).unwrap();
    read_packet(&mut bob);
    midge.signals("-USR1");
    midge.waits_for_log("State is saved");
    kill(midge);
    assert!(ends(&folder).iter().all(|(client, _)| client == "ann"));
    let near = |due: i64| due - 5..=due;
    let is_near = |ends: Option<i64>, due| ends.is_some_and(|ends| near(due).contains(&ends));
    let found = saves(CONFIGURATION);
    assert!(found.contains(&("ann".to_owned(), None)), "{found:?}");
    assert!(is_near(found[1].1, 500), "{found:?}");
    let found = saves(&format!(
        "{CONFIGURATION}persistent_client_expiration 100s\n"
    ));
    assert!(
        is_near(found[0].1, 100) && is_near(found[1].1, 100),
        "{found:?}"
    );
    let found = saves(CONFIGURATION);
    assert!(
        is_near(found[0].1, 100) && is_near(found[1].1, 100),
        "{found:?}"
    );
}

/// Where no commit has come yet, what was written beside the database counts, too. A file system in
/// memory has no disk to write to, and the kernel counts nothing there.
#[test]
fn what_the_tail_costs_is_counted() {
    const TMPFS: u64 = 0x0102_1994;
    let folder = Folder::new("store-counted");
    let kind = rustix::fs::statfs(&folder.path).unwrap().f_type;
    let is_in_memory = u64::try_from(kind) == Ok(TMPFS);
    let text = format!("{CONFIGURATION}midge_persistence_sync interval 60000\nsys_interval 1\n");
    let midge = start(&folder, &text);
    let mut eve = midge.subscriber("eve", "$SYS/broker/store/+/total", 0);
    let (mut ann, _) = opens(midge.port, connect("ann"));
    for id in 1..=10 {
        let packet = publish(&format!("fill/{id}"), "x".repeat(5000));
        asks(&mut ann, packet.retain().qos1(id), puback(id));
    }
    let (mut syncs, mut bytes) = (None, 0);
    while syncs.is_none() || !is_in_memory && bytes < 50_000 {
        let packet = String::from_utf8(read_packet(&mut eve)).unwrap();
        let (topic, number) = packet.rsplit_once("/total").unwrap();
        match topic.ends_with("syncs") {
            true => syncs = Some(number.to_owned()),
            false => bytes = number.parse().unwrap(),
        }
    }
    assert_eq!(syncs.as_deref(), Some("0"));
    assert!(!is_in_memory || bytes == 0);
}

/// What is off costs nothing, and opens nothing.
#[test]
fn without_persistence_no_file_is_open() {
    let folder = Folder::new("store-off");
    let text = CONFIGURATION.replace("persistence true", "persistence false");
    let midge = start(&folder, &text);
    leaves_something(midge.port);
    assert_eq!(names(&folder), ["midge.conf"]);
    let open = fs::read_dir(format!("/proc/{}/fd", midge.child.id())).unwrap();
    let files: Vec<_> = open
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|path| path.is_absolute() && !path.starts_with("/dev/") && *path != midge.log)
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

/// As many sessions, each with a subscription and a message that waits, and as many retained
/// messages as `MIDGE_SESSIONS` says; the log says how long it takes.
#[test]
fn many_sessions_come_back() {
    let count = std::env::var("MIDGE_SESSIONS").map_or(5000, |count| count.parse().unwrap());
    let folder = Folder::new("store-many");
    let mut midge = start(&folder, CONFIGURATION);
    leaves_something(midge.port);
    midge.signals("-TERM");
    assert!(midge.ends().success());
    let database = rusqlite::Connection::open(folder.file("midge.sqlite3")).unwrap();
    let rows =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{count})");
    // In place of all that is there, as the one session and message are, with names of their own.
    for sql in [
        "CREATE TEMP TABLE s AS SELECT * FROM sessions LIMIT 1",
        "CREATE TEMP TABLE q AS SELECT * FROM queue LIMIT 1",
        "CREATE TEMP TABLE r AS SELECT * FROM retained LIMIT 1",
        "DELETE FROM sessions",
        "DELETE FROM subscriptions",
        "DELETE FROM queue",
        "DELETE FROM retained",
        "INSERT INTO sessions N SELECT i, 'bob' || i, user, port, interval, connected, ends, \
         will_at FROM n, s",
        "INSERT INTO subscriptions N SELECT i, 'tea/' || i || '/#', 1, NULL FROM n",
        "INSERT INTO queue N SELECT i, i, NULL, flags, NULL, NULL, NULL, NULL, topic, NULL, \
         payload FROM n, q",
        "INSERT INTO retained N SELECT 'tea/' || i || '/pot', flags, expires, client, user, \
         properties, payload FROM n, r",
    ] {
        let sql = match sql.strip_prefix("INSERT") {
            Some(insert) => format!("{rows} INSERT{}", insert.replace(" N ", " ")),
            None => sql.to_owned(),
        };
        database.execute_batch(&sql).unwrap();
    }
    drop(database);
    let midge = start(&folder, CONFIGURATION);
    let log = midge.log();
    let words = format!(
        "Restored {count} sessions with {count} subscriptions and {count} messages, and {count} \
         retained messages"
    );
    assert!(log.contains(&words), "{log}");
    eprintln!(
        "{}",
        log.lines().find(|line| line.contains(&words)).unwrap()
    );
    let (mut bob, is_present) = opens(midge.port, connect(&format!("bob{count}")).durable());
    assert!(is_present);
    assert_eq!(
        read_packet(&mut bob),
        publish("tea/green", "hot").qos1(1).bytes(V311)
    );
    let mut cat = midge.subscriber("cat", &format!("tea/{count}/pot"), 0);
    assert_eq!(
        read_packet(&mut cat)[..2],
        publish(&format!("tea/{count}/pot"), "full")
            .retain()
            .bytes(V311)[..2]
    );
}

struct Mosquitto(Child, u16);

impl Mosquitto {
    fn start(folder: &Folder) -> Self {
        let port = free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\n",
            folder.path.display()
        );
        let path = folder.writes("mosquitto.conf", &text);
        let child = Command::new(MOSQUITTO)
            .arg("-c")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            sleep(Duration::from_millis(20));
        }
        Self(child, port)
    }

    fn ends(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn from_mosquitto_and_back() {
    let folder = Folder::new("store-migration");
    let mosquitto = Mosquitto::start(&folder);
    leaves_something(mosquitto.1);
    mosquitto.ends();
    let theirs = fs::read(folder.file("mosquitto.db")).unwrap();
    let mut midge = start(&folder, CONFIGURATION);
    assert!(
        midge.log().contains("Imported 1 sessions"),
        "{}",
        midge.log()
    );
    midge.signals("-TERM");
    assert!(midge.ends().success());
    assert_eq!(
        fs::read(folder.file("mosquitto.db")).unwrap(),
        theirs,
        "it stays as it is"
    );

    // The way back, of what midge has in its own store.
    fs::remove_file(folder.file("mosquitto.db")).unwrap();
    let export = || {
        let mut command = Command::new(MIDGE);
        command.arg("-c").arg(folder.file("midge.conf"));
        command
            .arg("export")
            .arg(folder.file("mosquitto.db"))
            .output()
            .unwrap()
    };
    let done = export();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let found = fs::metadata(folder.file("mosquitto.db")).unwrap();
    assert_eq!(found.mode() & 0o777, 0o600, "as mosquitto keeps it");
    let again = export();
    let why = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(14), "{why}");
    assert!(why.contains("mosquitto.db is there already"), "{why}");
    let mosquitto = Mosquitto::start(&folder);
    finds_it(mosquitto.1);
    mosquitto.ends();

    // And midge still has it.
    finds_it(start(&folder, CONFIGURATION).port);
}

#[test]
fn a_database_of_mosquitto_that_is_cut_gives_what_is_whole() {
    let folder = Folder::new("store-cut");
    let mosquitto = Mosquitto::start(&folder);
    leaves_something(mosquitto.1);
    mosquitto.ends();
    let theirs = fs::read(folder.file("mosquitto.db")).unwrap();
    fs::write(folder.file("mosquitto.db"), &theirs[..theirs.len() - 3]).unwrap();
    let midge = start(&folder, CONFIGURATION);
    assert!(
        midge.log().contains("is damaged from byte"),
        "{}",
        midge.log()
    );
    let (_, is_present) = opens(midge.port, connect("bob").durable());
    assert!(is_present, "what stands before the damage is there");
}

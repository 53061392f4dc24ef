//! A real broker in the place of a mosquitto: what that has left in its own file or in its SQLite
//! plugin's is there, its files are as they were, and the way back is open.

mod process;
mod table;

use midge::codec::property::Property;
use process::{Folder, MIDGE, Midge, read_packet, start};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};
use table::*;

const CONFIGURATION: &str = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
    persistence true\npersistence_location FOLDER/\n";

/// The tables of mosquitto 2.1.2, as it declares them.
const TABLES: &str = "
CREATE TABLE base_msgs (store_id INT64 PRIMARY KEY, expiry_time INT64, topic STRING NOT NULL,
    payload BLOB, source_id STRING, source_username STRING, payloadlen INTEGER,
    source_mid INTEGER, source_port INTEGER, qos INTEGER, retain INTEGER, properties STRING);
CREATE TABLE retains (topic STRING PRIMARY KEY, store_id INT64);
CREATE TABLE clients (client_id TEXT PRIMARY KEY, username TEXT, connection_time INT64,
    will_delay_time INT64, session_expiry_time INT64, listener_port INT, max_packet_size INT,
    max_qos INT, retain_available INT, session_expiry_interval INT, will_delay_interval INT);
CREATE TABLE subscriptions (client_id TEXT NOT NULL, topic TEXT NOT NULL,
    subscription_options INTEGER, subscription_identifier INTEGER,
    PRIMARY KEY (client_id, topic));
CREATE TABLE client_msgs (client_id TEXT NOT NULL, cmsg_id INT64, store_id INT64, dup INTEGER,
    direction INTEGER, mid INTEGER, qos INTEGER, retain INTEGER, state INTEGER,
    subscription_identifier INTEGER);
CREATE TABLE wills (client_id TEXT PRIMARY KEY, payload BLOB, topic STRING NOT NULL,
    payloadlen INTEGER, qos INTEGER, retain INTEGER, properties STRING);
CREATE TABLE version_info (component TEXT NOT NULL, major INTEGER NOT NULL,
    minor INTEGER NOT NULL, patch INTEGER NOT NULL);
CREATE INDEX client_msgs_client_id ON client_msgs(client_id);
CREATE INDEX client_msgs_store_id ON client_msgs(store_id, client_id);
CREATE INDEX retains_storeid ON retains(store_id);
INSERT INTO version_info VALUES ('database_schema', 1, 1, 0);
";

/// What a mosquitto 2.1.2 had written of such clients and messages when it was killed; NOW and LATER
/// are dates. Bob has an answer to each of what was sent to him outstanding, Willy has gone an hour
/// before his Will is due, and Old was connected.
const ROWS: &str = r#"
INSERT INTO clients VALUES
    ('bob', 'bobu', NOW, 0, LATER, 1883, 0, 2, 1, 5000, 0),
    ('willy', NULL, NOW, LATER, LATER, 1883, 0, 2, 1, 7200, 3600),
    ('old', NULL, NOW, 0, 0, 1883, 0, 2, 1, -1, 0),
    ('gone', NULL, NOW, 0, NOW - 10, 1883, 0, 2, 1, 60, 0);
INSERT INTO subscriptions VALUES ('bob', 'tea/#', 30, 7), ('bob', '$share/g/cup/#', 1, 0),
    ('old', 'tea/#', 1, 0), ('nobody', 'tea/#', 1, 0);
INSERT INTO base_msgs VALUES
    (1001, 0, 'tea/0', X'6d30', 'ann', 'annu', 2, 10, 1883, 1, 0,
        '[{"identifier":"user-property","name":"k","value":"v"}]'),
    (1002, LATER, 'tea/1', X'6d31', 'ann', 'annu', 2, 11, 1883, 2, 0, NULL),
    (1003, 0, 'tea/2', X'6d32', 'ann', 'annu', 2, 12, 1883, 2, 0, NULL),
    (1004, 0, 'tea/3', X'6d33', 'ann', 'annu', 2, 13, 1883, 1, 0, NULL),
    (1005, 0, 'bob/out', X'68656c64', 'bob', 'bobu', 4, 77, 1883, 2, 0, NULL),
    (1006, 0, 'cup', X'66756c6c', 'ann', 'annu', 4, 32, 1883, 1, 1,
        '[{"identifier":"content-type","value":"text/plain"}]'),
    (1007, 0, 123, X'343536', 77, NULL, 3, 33, 1883, 1, 1, NULL);
INSERT INTO retains VALUES ('cup', 1006), (123, 1007);
INSERT INTO client_msgs VALUES
    ('bob', 1, 1001, 1, 1, 1, 1, 0, 3, 7),
    ('bob', 2, 1002, 1, 1, 2, 2, 0, 9, 7),
    ('bob', 3, 1003, 1, 1, 3, 2, 0, 5, 7),
    ('bob', 4, 1004, 0, 1, 4, 1, 0, 11, 7),
    ('bob', 5, 1005, 0, 0, 77, 2, 0, 7, 0);
INSERT INTO wills VALUES
    ('old', X'676f6e65', 'will/old', 4, 1, 1, NULL),
    ('willy', X'676f6e65', 'will/willy', 4, 1, 1, NULL);
"#;

/// A database of the plugin at `path`, with what was written last in its log alone, as a mosquitto
/// that is killed leaves it.
fn leaves(path: &Path, rows: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let rows = rows.replace("NOW", &now.to_string());
    let rows = rows.replace("LATER", &(now + 3600).to_string());
    let name = path.file_name().unwrap().to_str().unwrap();
    let made = path.with_file_name("made");
    let database = rusqlite::Connection::open(&made).unwrap();
    database
        .query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))
        .unwrap();
    database.execute_batch(TABLES).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    database.execute_batch(&rows).unwrap();
    let log = path.with_file_name(format!("{name}-wal"));
    fs::copy(&made, path).unwrap();
    fs::copy(path.with_file_name("made-wal"), &log).unwrap();
    assert!(fs::metadata(log).unwrap().len() > 0);
    drop(database);
    fs::remove_file(made).unwrap();
}

/// Each file of the folder that has this beginning, and what is in it.
fn files(folder: &Folder, beginning: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(&folder.path).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with(beginning))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn ends(mut midge: Midge) {
    midge.signals("-TERM");
    assert!(midge.ends().success());
}

/// A client of 5.0 whose session is there.
fn returns(midge: &Midge, name: &str) -> TcpStream {
    let mut stream = midge.opens();
    stream
        .write_all(&connect(name).lasting(5000).bytes(V5))
        .unwrap();
    let answer = read_packet(&mut stream);
    assert_eq!((answer[0], answer[2]), (0x20, 1), "no session of {name}");
    stream
}

#[track_caller]
fn gets(stream: &mut TcpStream, expected: Say) {
    assert_eq!(read_packet(stream), expected.bytes(V5));
}

/// Also when it was sent before.
#[track_caller]
fn gets_perhaps_again(stream: &mut TcpStream, expected: Say) {
    let mut packet = read_packet(stream);
    packet[0] &= 0xf7;
    assert_eq!(packet, expected.bytes(V5));
}

/// What [`ROWS`] say of Bob and of retained messages is there.
#[track_caller]
fn finds_it(midge: &Midge) {
    let mut bob = returns(midge, "bob");
    let identifier = Property::SubscriptionIdentifier(7);
    let tea = |number: u8| publish(&format!("tea/{number}"), format!("m{number}")).with(identifier);
    gets(&mut bob, pubrel(2));
    let first = tea(0).with(Property::UserProperty("k", "v"));
    gets(&mut bob, first.qos1(1).dup());
    gets(&mut bob, tea(2).qos2(3).dup());
    gets_perhaps_again(&mut bob, tea(3).qos1(4));
    // The QoS 2 message of his own was passed on; a second one is none.
    bob.write_all(&publish("bob/out", "held").qos2(77).dup().bytes(V5))
        .unwrap();
    assert_eq!(read_packet(&mut bob)[..4], pubrec(77).bytes(V5)[..4]);
    let mut looker = midge.client(V5, "looker");
    for (filter, expected) in [
        (
            "cup",
            publish("cup", "full").with(Property::ContentType("text/plain")),
        ),
        ("123", publish("123", "456")),
        ("will/#", publish("will/old", "gone")),
    ] {
        looker
            .write_all(&subscribe(1, filter, 0).bytes(V5))
            .unwrap();
        gets(&mut looker, suback(1, &[0]));
        gets(&mut looker, expected.retain());
    }
}

#[test]
fn what_mosquittos_plugin_has_left_is_taken_over() {
    let plugin = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
        plugin /usr/lib/mosquitto_persist_sqlite.so\nplugin_opt_sync full\n";
    for (text, name, own) in [
        (
            CONFIGURATION.to_owned(),
            "mosquitto.sqlite3",
            "midge.sqlite3",
        ),
        (
            format!("{plugin}persistence_location FOLDER/\n"),
            "mosquitto.sqlite3",
            "midge.sqlite3",
        ),
        (
            format!("{plugin}plugin_opt_db_file FOLDER/mq.db\n"),
            "mq.db",
            "mq.db.midge",
        ),
    ] {
        let folder = Folder::new("takeover-plugin");
        leaves(&folder.file(name), ROWS);
        let theirs = |file: &(String, Vec<u8>)| !file.0.starts_with(own);
        let left: Vec<_> = files(&folder, name).into_iter().filter(theirs).collect();
        assert_eq!(left.len(), 2);
        let midge = start(&folder, &text);
        let log = midge.log();
        let words = "Imported 4 sessions with 3 subscriptions and 4 messages, and 2 retained";
        assert!(log.contains(words), "{log}");
        assert!(!log.contains("Error"), "{log}");
        midge.waits_for_log("gone");
        finds_it(&midge);
        ends(midge);
        let now: Vec<_> = files(&folder, name).into_iter().filter(theirs).collect();
        assert_eq!(now, left, "they stay as they are");
        assert!(folder.file(own).exists());
        let midge = start(&folder, &text);
        assert!(!midge.log().contains("Imported"), "once is enough");
        finds_it(&midge);
    }
}

/// A store that was made, and never written to, is no reason to leave what a mosquitto has left: a
/// process that ends between the two has taken over nothing.
#[test]
fn it_is_taken_over_until_something_was_written() {
    let folder = Folder::new("takeover-later");
    for _ in 0..2 {
        let mut midge = start(&folder, CONFIGURATION);
        midge.child.kill().unwrap();
        midge.child.wait().unwrap();
        assert!(folder.file("midge.sqlite3").exists());
    }
    leaves(&folder.file("mosquitto.sqlite3"), ROWS);
    let midge = start(&folder, CONFIGURATION);
    assert!(midge.log().contains("Imported 4 sessions"));
    finds_it(&midge);
}

/// Where the directory comes late, what a mosquitto has left there does, too.
#[test]
fn what_comes_late_is_taken_over_then() {
    let folder = Folder::new("takeover-late");
    let text = CONFIGURATION.replace("FOLDER", "FOLDER/disk");
    let midge = start(&folder, &text);
    assert!(midge.log().contains("state cannot be kept in"));
    let mut ann = midge.client(V5, "ann");
    let aside = folder.file("aside");
    fs::create_dir(&aside).unwrap();
    leaves(&aside.join("mosquitto.sqlite3"), ROWS);
    fs::rename(&aside, folder.file("disk")).unwrap();
    midge.waits_for_log("State is kept in");
    let log = midge.log();
    assert!(log.contains("Imported 4 sessions"), "{log}");
    let goodbye = read_packet(&mut ann);
    assert_eq!(goodbye[0], 0xe0, "she is to come again");
    midge.waits_for_log("gone");
    finds_it(&midge);
    ends(midge);
    let midge = start(&folder, &text);
    assert!(!midge.log().contains("Imported"), "{}", midge.log());
    finds_it(&midge);
}

/// A store of midge's own that is damaged is newer than anything that a mosquitto has left.
#[test]
fn nothing_is_taken_over_in_place_of_a_damaged_store() {
    let folder = Folder::new("takeover-damaged");
    leaves(&folder.file("mosquitto.sqlite3"), ROWS);
    folder.writes("midge.sqlite3", &"no database\n".repeat(100));
    for _ in 0..2 {
        let midge = start(&folder, CONFIGURATION);
        assert!(!midge.log().contains("mported"), "{}", midge.log());
        ends(midge);
    }
}

/// With both files there, it is the one that mosquitto would read.
#[test]
fn of_two_files_the_one_in_use_is_taken_over() {
    for (line, expected) in [
        ("persistence true", "mosquitto.db"),
        ("plugin mosquitto_persist_sqlite.so", "mosquitto.sqlite3"),
    ] {
        let folder = Folder::new("takeover-both");
        leaves(&folder.file("mosquitto.sqlite3"), ROWS);
        folder.writes("mosquitto.db", "no database of mosquitto's");
        let text = CONFIGURATION.replace("persistence true", line);
        let midge = start(&folder, &text);
        let log = midge.log();
        let words = [" imported from ", " messages, from "];
        let is_said = |line: &&str| words.iter().any(|words| line.contains(words));
        let imported = log.lines().find(is_said).unwrap();
        assert!(imported.contains(&format!("/{expected}")), "{log}");
        assert!(log.contains("is not imported"), "{log}");
    }
}

/// What cannot be read is said, and what can be is taken over; the broker serves in any case.
#[test]
fn a_damaged_database_of_the_plugin_gives_what_can_be_read() {
    fn rewrites(folder: &Folder, change: impl FnOnce(&mut Vec<u8>)) {
        // All in one file, so that the damage is in what is read.
        let path = folder.file("mosquitto.sqlite3");
        drop(rusqlite::Connection::open(&path).map(|database| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            database.query_row(checkpoint, [], |_| Ok(())).unwrap();
        }));
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
    type Damage = fn(&Folder);
    let damages: [(&str, Damage, &str); 6] = [
        (
            "foreign",
            |folder| {
                folder.writes("mosquitto.sqlite3", &"no database\n".repeat(100));
            },
            "it is no database of mosquitto's plugin",
        ),
        (
            "empty",
            |folder| {
                folder.writes("mosquitto.sqlite3", "");
            },
            "it is no database of mosquitto's plugin",
        ),
        (
            "later",
            |folder| {
                let path = folder.file("mosquitto.sqlite3");
                let database = rusqlite::Connection::open(path).unwrap();
                let sql = "UPDATE version_info SET major=2";
                database.execute_batch(sql).unwrap();
            },
            "its layout 2 is of a later mosquitto than 2.1",
        ),
        (
            "cut",
            |folder| rewrites(folder, |bytes| bytes.truncate(bytes.len() / 2)),
            "it cannot be read whole",
        ),
        (
            "garbage",
            |folder| {
                rewrites(folder, |bytes| {
                    let at = bytes.windows(4).position(|part| part == b"gone").unwrap();
                    bytes[at / 4096 * 4096..][..100].fill(0xa5);
                });
            },
            "it cannot be read whole",
        ),
        (
            "a directory",
            |folder| fs::create_dir(folder.file("mosquitto.sqlite3")).unwrap(),
            "nothing was imported",
        ),
    ];
    for (name, damage, words) in damages {
        let folder = Folder::new(&format!("takeover-{}", &name[..3]));
        if !["empty", "foreign", "a directory"].contains(&name) {
            leaves(&folder.file("mosquitto.sqlite3"), ROWS);
        }
        damage(&folder);
        let left = match name {
            "a directory" => Vec::new(),
            _ => files(&folder, "mosquitto"),
        };
        let midge = start(&folder, CONFIGURATION);
        assert!(midge.log().contains(words), "{name}: {}", midge.log());
        let mut ann = midge.client(V5, "ann");
        let packet = publish("tea/pot", "full").retain().qos1(7);
        ann.write_all(&packet.bytes(V5)).unwrap();
        assert_eq!(read_packet(&mut ann)[0], 0x40, "{name}: it keeps");
        if name != "a directory" {
            assert_eq!(files(&folder, "mosquitto"), left, "{name}");
        }
        ends(midge);
        let midge = start(&folder, CONFIGURATION);
        midge.subscriber("looker", "tea/pot", 0);
    }
}

/// One bad row costs itself.
#[test]
fn rows_that_make_no_sense_are_passed_over() {
    let folder = Folder::new("takeover-odd");
    let odd = r#"
        INSERT INTO clients VALUES ('odd', NULL, 0, 0, 0, 99999, 0, 2, 1, 60, 0);
        INSERT INTO subscriptions VALUES ('bob', 'tea/#/no', 1, 0), ('bob', 'qos', 3, 0),
            ('bob', 'options', 300, 0);
        INSERT INTO base_msgs VALUES (1, 0, 'tea/+', X'00', '', '', 1, 1, 1, 1, 0, NULL),
            (2, 0, 'tea', X'00', '', '', 1, 1, 1, 3, 0, NULL),
            (3, 0, 'tea', X'00', '', '', 1, 1, 1, 1, 0, '[{"identifier":5}]'),
            (-4, 0, 'tea', X'00', '', '', 1, 1, 1, 1, 0, NULL);
        INSERT INTO retains VALUES ('nothing', 4711);
        INSERT INTO client_msgs VALUES ('bob', 9, 1004, 0, 1, 70000, 1, 0, 11, 0),
            ('bob', 9, 1004, 0, 1, 9, 3, 0, 11, 0), ('bob', 9, 1004, 0, 0, 0, 2, 0, 7, 0);
        INSERT INTO wills VALUES ('bob', X'00', 'a/#', 1, 1, 0, NULL);
    "#;
    leaves(&folder.file("mosquitto.sqlite3"), &format!("{ROWS}{odd}"));
    let midge = start(&folder, CONFIGURATION);
    let log = midge.log();
    assert!(log.contains("13 entries of"), "{log}");
    finds_it(&midge);
}

#[test]
fn a_database_that_a_mosquitto_has_open_is_left_alone() {
    let folder = Folder::new("takeover-open");
    let path = folder.file("mosquitto.sqlite3");
    leaves(&path, ROWS);
    let database = rusqlite::Connection::open(&path).unwrap();
    let count = "SELECT count(*) FROM clients";
    let count = || database.query_row(count, [], |row| row.get::<_, i64>(0));
    assert_eq!(count().unwrap(), 4);
    let midge = start(&folder, CONFIGURATION);
    let log = midge.log();
    assert!(log.contains("has it open"), "{log}");
    assert_eq!(count().unwrap(), 4, "and it can go on");
}

fn export(folder: &Folder, to: &Path) -> Output {
    let mut command = Command::new(MIDGE);
    command.arg("-c").arg(folder.file("midge.conf"));
    command.arg("export").arg(to).output().unwrap()
}

/// Every row of the plugin's tables, as text.
fn rows(path: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut rows = Vec::new();
    for (table, columns) in [
        ("version_info", 4),
        ("clients", 11),
        ("subscriptions", 4),
        ("base_msgs", 12),
        ("retains", 2),
        ("client_msgs", 10),
        ("wills", 7),
    ] {
        let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let mut statement = database.prepare(&sql).unwrap();
        assert_eq!(statement.column_count(), columns, "{table}");
        let each = statement.query_map([], |row| {
            let values = (0..columns).map(|at| {
                let value = row.get_ref(at).unwrap();
                match value.data_type() {
                    // Dates, which pass, and ports, which are any.
                    rusqlite::types::Type::Integer if value.as_i64().unwrap() > 10_000 => {
                        "a date or port".to_owned()
                    }
                    _ => format!("{value:?}"),
                }
            });
            Ok(format!("{table}: {}", values.collect::<Vec<_>>().join(" ")))
        });
        rows.extend(each.unwrap().map(Result::unwrap));
    }
    rows
}

/// From the plugin into midge and back, and all of it once more: nothing changes on the way, topics
/// that look like numbers included.
#[test]
fn the_way_back_to_the_plugin_is_open() {
    let folder = Folder::new("takeover-back");
    leaves(&folder.file("mosquitto.sqlite3"), ROWS);
    let midge = start(&folder, CONFIGURATION);
    let mut ann = midge.client(V5, "ann");
    for (id, topic) in [(1, "007"), (2, "1e3"), (3, " 5"), (4, "inf")] {
        let packet = publish(topic, "number").retain().qos1(id);
        ann.write_all(&packet.bytes(V5)).unwrap();
        assert_eq!(read_packet(&mut ann)[0], 0x40);
    }
    drop(ann);
    ends(midge);
    let there = Folder::new("takeover-there");
    let theirs = there.file("mosquitto.sqlite3");
    let done = export(&folder, &theirs);
    let words = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{words}");
    // The two handshakes of QoS 2 whose message is over.
    assert!(words.contains("2 entries have no place there"), "{words}");
    assert_eq!(export(&folder, &theirs).status.code(), Some(14));

    let midge = start(&there, CONFIGURATION);
    assert!(!midge.log().contains("no sense"), "{}", midge.log());
    for topic in ["007", "1e3", " 5", "inf"] {
        let mut looker = midge.subscriber("looker", topic, 0);
        let expected = publish(topic, "number").retain().bytes(V311);
        assert_eq!(read_packet(&mut looker), expected);
    }
    ends(midge);
    let again = there.file("again.sqlite3");
    assert!(export(&there, &again).status.success());
    assert_eq!(rows(&again), rows(&theirs));
    assert!(rows(&again).len() > 20, "{:#?}", rows(&again));
}

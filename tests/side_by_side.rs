//! Debian's mosquitto 2.0.11 and this broker with the same files, before clients that do the same
//! things in the same order: what each client is told must be the same, byte for byte. Where it is
//! not, on purpose, [`Difference`] has both and the reason. These tests fail where mosquitto is not
//! installed: `tests/run` installs it.
//!
//! An account has one line for each thing that is done and each client that hears anything of it,
//! so that a message that one of the brokers does not send makes a line differ, and no more.

use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod process;
mod table;
use process::*;
use table::*;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// What both brokers are told at the beginning of every file. Without `max_packet_size` 2.0 sets
/// no bound, and 2.1 and midge do.
const COMMON: &str = "sys_interval 0\nuser root\n";

/// How lines of the account may differ, and must at least once: words of what was done, what then
/// is heard of mosquitto 2.0.11 and of midge, in whole or in part, and why that is meant.
type Difference = (&'static str, &'static str, &'static str, &'static str);

/// One of the brokers, and the clients before it.
struct Stage {
    port: u16,
    folder: Folder,
    child: Child,
    clients: Vec<Client>,
    account: Vec<(String, String)>,
    done: usize,
}

struct Client {
    name: &'static str,
    stream: TcpStream,
    version: ProtocolVersion,
    is_open: bool,
    /// Packet Identifiers of QoS 1 messages that it has not acknowledged.
    unacknowledged: Vec<u16>,
}

impl Stage {
    fn open(broker: &str, name: &str, conf: &str, acl: &str) -> Self {
        assert!(
            Path::new(broker).exists(),
            "{broker} is not installed; tests/run installs it"
        );
        let maker = broker.rsplit('/').next().unwrap();
        let folder = Folder::new(&format!("side-{maker}-{name}"));
        let port = free_port();
        folder.writes("acl", acl);
        let at = folder.path.to_str().unwrap();
        let conf = match conf.contains("listener") {
            true => format!("{COMMON}{conf}"),
            false => format!("{COMMON}listener PORT 127.0.0.1\nallow_anonymous true\n{conf}"),
        };
        let conf = match conf.contains("max_packet_size") {
            true => conf,
            false => format!("max_packet_size 2000000\n{conf}"),
        };
        let conf = conf
            .replace("PORT", &port.to_string())
            .replace("FOLDER", at);
        let file = folder.writes("both.conf", &conf);
        let child = Command::new(broker)
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.file("log")).unwrap())
            .spawn()
            .unwrap();
        let stage = Self {
            port,
            folder,
            child,
            clients: Vec::new(),
            account: Vec::new(),
            done: 0,
        };
        stage.waits_until_it_runs();
        stage
    }

    /// Not by connecting: 2.0.11 counts a connection off twice, so that each that was makes room for
    /// one more than `max_connections`.
    fn waits_until_it_runs(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let log = fs::read_to_string(self.folder.file("log")).unwrap();
            if log.contains(" running") {
                return;
            }
            assert!(Instant::now() < end, "it does not start: {log}");
            sleep(Duration::from_millis(10));
        }
    }

    /// A client connects; one of the same name is forgotten, which does not close it for the broker.
    fn comes(&mut self, name: &'static str, packet: Say, version: ProtocolVersion) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(&packet.bytes(version)).unwrap();
        let client = Client {
            name,
            stream,
            version,
            is_open: true,
            unacknowledged: Vec::new(),
        };
        self.clients.retain(|other| other.name != name);
        self.clients.push(client);
        self.note(&format!("{name} comes"), name, true);
    }

    /// A client says something, and is heard out; then all the others are. A message of QoS 2 is
    /// released where it was received: midge passes it on before that, mosquitto after it, as both
    /// may [MQTT §4.3.3].
    fn says(&mut self, name: &'static str, packet: Say) {
        let client = self.client(name);
        let bytes = packet.bytes(client.version);
        // One that was closed meanwhile may not be told so before it has written.
        let _ = client.stream.write_all(&bytes);
        let mut first = String::new();
        if bytes[0] & 0xf6 == 0x34 {
            first = client.hears(false);
            let at = identifier_at(&bytes);
            let received = [b"P\x02", &bytes[at..at + 2]].concat();
            if first.contains(&received.escape_ascii().to_string()) {
                let id = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                let _ = client.stream.write_all(&pubrel(id).bytes(client.version));
            }
        }
        let shown: String = bytes.escape_ascii().to_string().chars().take(60).collect();
        self.note(&format!("{name}: {shown}"), name, false);
        let heard = self
            .account
            .iter_mut()
            .rev()
            .find(|(line, _)| line.ends_with(&format!("-> {name}")));
        if let Some((_, heard)) = heard.filter(|_| !first.is_empty()) {
            *heard = format!("{first} | {heard}");
        }
    }

    /// A client acknowledges the oldest QoS 1 message.
    fn acknowledges(&mut self, name: &'static str) {
        let client = self.client(name);
        if !client.unacknowledged.is_empty() {
            let id = client.unacknowledged.remove(0);
            let bytes = puback(id).bytes(client.version);
            client.stream.write_all(&bytes).unwrap();
        }
        self.note(&format!("{name} acknowledges"), name, false);
    }

    /// A client's connection is lost.
    fn drops(&mut self, name: &'static str) {
        self.clients.retain(|client| client.name != name);
        sleep(Duration::from_millis(20));
        self.note(&format!("{name} is lost"), name, false);
    }

    fn leaves(&mut self, name: &'static str) {
        self.says(name, disconnect());
        self.clients.retain(|client| client.name != name);
    }

    fn reloads(&mut self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(kill.success());
        sleep(Duration::from_millis(300));
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let found = self.clients.iter_mut().find(|client| client.name == name);
        found.expect("a client that has come")
    }

    /// What everybody hears, the one who has acted first.
    fn note(&mut self, action: &str, actor: &str, is_connect: bool) {
        self.done += 1;
        let number = self.done;
        self.clients
            .sort_by_key(|client| (client.name != actor, client.name));
        for client in &mut self.clients {
            let awaits_connack = is_connect && client.name == actor;
            let heard = match client.is_open {
                true => client.hears(awaits_connack),
                false => "not there".to_owned(),
            };
            let line = format!("{number:03} {action} -> {}", client.name);
            self.account.push((line, heard));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.file("log"));
            eprintln!("a broker's log:\n{}", log.unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    /// Everything up to the answer to a PINGREQ, or to the end of the connection.
    fn hears(&mut self, awaits_connack: bool) -> String {
        let mut heard = Vec::new();
        if awaits_connack {
            heard.extend(self.next());
        }
        let _ = self.stream.write_all(&pingreq().bytes(self.version));
        loop {
            match self.next() {
                Some(packet) if packet[0] == 0xd0 => break,
                Some(packet) => heard.push(packet),
                None => {
                    self.is_open = false;
                    break;
                }
            }
        }
        // The order of what is retained is nobody's promise.
        let count = heard.len();
        if let Some(first) = heard.iter().position(|packet| is_retained(packet)) {
            let next = |packet: &Vec<u8>| !is_retained(packet);
            let end = heard[first..]
                .iter()
                .position(next)
                .map_or(count, |at| first + at);
            heard[first..end].sort();
        }
        let mut words: Vec<String> = heard.iter().map(|packet| self.shows(packet)).collect();
        for packet in heard.iter().filter(|packet| packet[0] & 0xf6 == 0x32) {
            let at = identifier_at(packet);
            let id = u16::from_be_bytes([packet[at], packet[at + 1]]);
            self.unacknowledged.push(id);
        }
        if !self.is_open {
            words.push("closed".to_owned());
        }
        words.join(" | ")
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if !self.is_open {
            return None;
        }
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(1) => {}
            Ok(_) => {
                self.is_open = false;
                return None;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.is_open = false;
                return None;
            }
            Err(error) => panic!("{} hears nothing: {error}", self.name),
        }
        let (mut length, mut bytes) = (0, vec![first[0]]);
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = bytes.len();
        bytes.resize(start + length, 0);
        self.stream.read_exact(&mut bytes[start..]).unwrap();
        Some(bytes)
    }

    /// A packet as text, without what a broker may choose: Packet Identifiers of messages, and of an
    /// assigned Client Identifier the random part.
    fn shows(&self, packet: &[u8]) -> String {
        let mut shown = packet.to_vec();
        let is_dash = |at: usize| shown.get(at) == Some(&b'-');
        let uuid =
            (0..shown.len()).find(|at| [8, 13, 18, 23].iter().all(|dash| is_dash(at + dash)));
        if let Some(at) = uuid.filter(|at| packet[0] == 0x20 && at + 36 <= packet.len()) {
            for byte in &mut shown[at..at + 36] {
                *byte = if *byte == b'-' { b'-' } else { b'X' };
            }
        }
        if packet[0] & 0xf0 == 0x30 && packet[0] & 6 != 0 {
            let at = identifier_at(packet);
            shown[at..at + 2].copy_from_slice(b"##");
        }
        let text = match (self.version, packet[0]) {
            (V5, 0x20) => format!(" {}", properties(&shown, 4)),
            (V5, 0xe0) => format!("\\xe0 {}", properties(&shown, 3)),
            _ => shown.escape_ascii().to_string(),
        };
        match text.len() > 200 {
            true => format!("{}... {} bytes", &text[..60], packet.len()),
            false => text,
        }
    }
}

fn is_retained(packet: &[u8]) -> bool {
    packet[0] & 0xf1 == 0x31
}

/// What stands before the properties of CONNACK or DISCONNECT, and those in ascending order: their
/// order says nothing. Reason Strings, which 2.0.11 never sends, are left out.
fn properties(packet: &[u8], start: usize) -> String {
    let (before, mut rest) = packet.split_at(start.min(packet.len()));
    rest = rest.get(1..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(id) = rest.first() {
        let length = match id {
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                2 + usize::from(u16::from_be_bytes([rest[1], rest[2]]))
            }
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x24 | 0x25 | 0x28..=0x2a => 1,
            _ => panic!("a property that these packets do not have: {packet:x?}"),
        };
        let (property, more) = rest.split_at(1 + length);
        if *id != 0x1f {
            found.push(property.escape_ascii().to_string());
        }
        rest = more;
    }
    found.sort();
    format!("{} {}", before[2..].escape_ascii(), found.join(" "))
        .trim_end()
        .to_owned()
}

/// CONNECT with a Keep Alive, without which a 5.0 client of 2.0.11 is given the longest there is.
fn hello(name: &str) -> Say {
    connect(name)
        .keep_alive(600)
        .with(Property::RequestProblemInformation(false))
}

/// Where the Packet Identifier of a QoS 1 or 2 PUBLISH stands.
fn identifier_at(packet: &[u8]) -> usize {
    let topic = 2 + packet[1..]
        .iter()
        .take_while(|byte| **byte & 0x80 != 0)
        .count();
    topic + 2 + usize::from(u16::from_be_bytes([packet[topic], packet[topic + 1]]))
}

/// Both brokers with one file before one script.
fn compare(name: &str, conf: &str, acl: &str, script: Script, differences: &[Difference]) {
    let account = |broker| {
        let mut stage = Stage::open(broker, name, conf, acl);
        script(&mut stage);
        std::mem::take(&mut stage.account)
    };
    let (theirs, ours) = (account(MOSQUITTO), account(MIDGE));
    let lines = |account: &[(String, String)]| account.iter().map(|line| line.0.clone()).collect();
    let (their_lines, our_lines): (Vec<String>, Vec<String>) = (lines(&theirs), lines(&ours));
    assert_eq!(
        their_lines, our_lines,
        "{name}: not the same clients are there"
    );
    let mut wrong = String::new();
    let mut met = vec![false; differences.len()];
    for ((line, their), (_, our)) in theirs.iter().zip(&ours) {
        if their == our {
            continue;
        }
        let is_it = |(at, theirs, ours, _): &&Difference| {
            let is_part = !theirs.is_empty() && their.replacen(theirs, ours, 1) == *our;
            line.contains(at) && (is_part || (their == theirs && our == ours))
        };
        match differences.iter().position(|row| is_it(&row)) {
            Some(at) => met[at] = true,
            None => wrong += &format!("{line}\n    mosquitto: {their}\n    midge:     {our}\n"),
        }
    }
    for (difference, _) in differences.iter().zip(met).filter(|(_, met)| !met) {
        wrong += &format!("does not differ so: {difference:?}\n");
    }
    assert!(wrong.is_empty(), "{name}:\n{wrong}");
}

const RULES: &str = "\
topic read all/#
topic readwrite free
topic $SYS/broker/x
user ann
topic readwrite a/#
topic deny a/secret/#
topic read all/+
topic write drop/ann
user bob
topic a/#
topic deny b/no
topic readwrite b/#
topic read $SYS/#
user dan
topic #
pattern readwrite id/%c/#
pattern write user/%u
pattern read user/+
pattern deny id/%c/shut
pattern readwrite x%c/y
";

#[test]
fn access_rules_message_by_message() {
    compare(
        "rules",
        "acl_file FOLDER/acl\nmax_inflight_messages 1000\nallow_duplicate_messages false\n",
        RULES,
        |s| {
            let users = [Some("ann"), Some("bob"), Some("cat"), Some("dan"), None];
            let names = ["ann", "bob", "cat", "dan", "eve"];
            for (name, user) in names.into_iter().zip(users) {
                let packet = hello(name);
                s.comes(name, user.into_iter().fold(packet, Say::user), V311);
                s.says(
                    name,
                    subscribe(1, "#", 1).and("$SYS/#", 0).and("a/secret/+", 2),
                );
            }
            for name in names {
                for topic in [
                    "all/x",
                    "all/x/y",
                    "free",
                    "a",
                    "a/x",
                    "a/secret",
                    "a/secret/x",
                    "drop/ann",
                    "b/no",
                    "b/yes",
                    "id/ann/x",
                    "id/ann/shut",
                    "id/eve/x",
                    "id/%c/x",
                    "user/ann",
                    "user/%u",
                    "$SYS/broker/x",
                    "$SYS/y",
                    "$other",
                    "nowhere",
                ] {
                    s.says(name, publish(topic, name).qos1(1));
                }
            }
        },
        &[],
    );
}

#[test]
fn access_rules_beyond_publish() {
    compare(
        "rules-more",
        "acl_file FOLDER/acl\n",
        RULES,
        |s| {
            for version in [V311, V5] {
                s.comes("dan", hello("dan").user("dan"), version);
                s.says("dan", subscribe(1, "#", 0));
                s.comes("ann", hello("ann").user("ann"), version);
                for topic in ["free", "a/secret/x", "all/x", "b/no", "nowhere"] {
                    s.says("ann", publish(topic, "kept").retain());
                    s.says("dan", publish(topic, "by dan").retain());
                    for level in [1, 2] {
                        s.says("ann", publish(topic, "acked").qos(level, 7));
                    }
                }
                // Read rights hold for what is retained, by whatever filter.
                for filter in [
                    "#",
                    "a/secret/x",
                    "all/+",
                    "b/#",
                    "+",
                    "$SYS/#",
                    "$share/g/b/#",
                ] {
                    s.says("ann", subscribe(2, filter, 1));
                }
                s.says("ann", unsubscribe(3, &["#", "nowhere"]));
                for topic in ["free", "a/secret/x", "nowhere"] {
                    s.comes(
                        "cat",
                        hello("cat").user("ann").will(topic, "gone", 0, false),
                        version,
                    );
                    s.drops("cat");
                }
                // Names that could be wildcards where patterns stand.
                for (name, user) in [
                    ("a+b", None),
                    ("a#", Some("ann")),
                    ("x/y", Some("ann")),
                    ("x", Some("b+")),
                ] {
                    let packet = hello(name);
                    s.comes("odd", user.into_iter().fold(packet, Say::user), version);
                    s.says("odd", subscribe(1, "#", 0));
                    s.says("odd", publish("free", "odd"));
                    s.says("odd", publish("a/x", "odd"));
                    s.leaves("odd");
                }
                for topic in ["free", "a/secret/x", "all/x", "b/no", "nowhere"] {
                    s.says("dan", publish(topic, "").retain());
                }
                s.leaves("dan");
                s.leaves("ann");
            }
        },
        &[],
    );
}

/// Limits: a name, the file, what is done, and what differs. Without a row: `global_max_*`, which 2.0
/// does not know, and `persistent_client_expiration`, whose shortest time there is an hour.
type Limit = (&'static str, &'static str, Script, &'static [Difference]);

/// What clients do before one broker, and then before the other.
type Script = fn(&mut Stage);

const LIMITS: &[Limit] = &[
    ("inflight-1", "max_inflight_messages 1\n", window, &[]),
    (
        "inflight-2",
        "max_inflight_messages 2\n",
        window,
        &[
            (
                "010 ann acknowledges",
                r" | 2\x08\x00\x03tea##4",
                "",
                WINDOW,
            ),
            (
                "011 ann acknowledges",
                r"2\x08\x00\x03tea##5 | 2\x08\x00\x03tea##6",
                r"2\x08\x00\x03tea##4",
                WINDOW,
            ),
            ("012 ann acknowledges", "", r"2\x08\x00\x03tea##5", WINDOW),
            ("013 ann acknowledges", "", r"2\x08\x00\x03tea##6", WINDOW),
        ],
    ),
    ("inflight-0", "max_inflight_messages 0\n", window, &[]),
    ("queued-1", "max_queued_messages 1\n", absence, &[]),
    ("queued-0", "max_queued_messages 0\n", absence, &[]),
    (
        "queued-bytes",
        "max_queued_bytes 3\nmax_queued_messages 0\n",
        absence,
        &[],
    ),
    ("queue-qos0", "queue_qos0_messages true\n", absence, &[]),
    ("upgrade", "upgrade_outgoing_qos true\n", absence, &[]),
    (
        "inflight-bytes",
        "max_inflight_bytes 3\n",
        window,
        &[
            ("008 bob", r"2\x08\x00\x03tea##4", "", BYTES),
            ("009 bob", r"2\x08\x00\x03tea##5", "", BYTES),
            (
                "010 ann",
                r"2\x08\x00\x03tea##6",
                r"2\x08\x00\x03tea##4",
                BYTES,
            ),
            ("011 ann", "", r"2\x08\x00\x03tea##5", BYTES),
            ("012 ann", "", r"2\x08\x00\x03tea##6", BYTES),
        ],
    ),
    ("packet", "max_packet_size 40\n", sizes, &[]),
    ("payload", "message_size_limit 5\n", sizes, TOO_LONG),
    ("payload-1", "message_size_limit 1\n", sizes, TOO_LONG),
    ("payload-0", "message_size_limit 0\n", sizes, &[]),
    ("keepalive", "max_keepalive 10\n", keep_alives, LONG),
    ("keepalive-all", "max_keepalive 65535\n", keep_alives, LONG),
    ("connections", "max_connections 2\n", connections, &[]),
    ("connections-1", "max_connections 1\n", connections, &[]),
    ("connections-all", "max_connections -1\n", connections, &[]),
    (
        "qos-0",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_qos 0\n",
        qos,
        QOS,
    ),
    (
        "qos-1",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_qos 1\n",
        qos,
        QOS_1,
    ),
    (
        "qos-2",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_qos 2\n",
        qos,
        QOS_2,
    ),
    (
        "alias-2",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_topic_alias 2\n",
        aliases,
        &[],
    ),
    (
        "alias-0",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_topic_alias 0\n",
        aliases,
        &[],
    ),
    (
        "alias-all",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmax_topic_alias 65535\n",
        aliases,
        &[],
    ),
    ("no-retain", "retain_available false\n", retain, &[]),
    (
        "no-empty-names",
        "allow_zero_length_clientid false\n",
        names,
        &[(
            "comes",
            r"\x80",
            r"\x85",
            "5.0 has a Reason Code for it [MQTT5-3.1.3-8], which midge sends and 2.1 does not either",
        )],
    ),
    ("empty-names", "auto_id_prefix made-\n", names, &[]),
    ("prefixes", "clientid_prefixes shop-\n", names, &[]),
    (
        "user-names",
        "listener PORT 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n",
        names,
        &[
            (
                "005 ann comes",
                r" \x02\x00\x02 | closed",
                r" \x02\x00\x00",
                NAMED,
            ),
            ("006 ann", "not there", "closed", NAMED),
            (
                "comes",
                r" \x02\x00\x02 | closed",
                r" \x02\x00\x05 | closed",
                "what is missing is the username, not the Client Identifier",
            ),
        ],
    ),
    (
        "duplicates",
        "allow_duplicate_messages true\n",
        overlap,
        &[
            (
                "bob",
                r"2\x08\x00\x03t/a##x | 0\x06\x00\x03t/ax",
                r"0\x06\x00\x03t/ax | 2\x08\x00\x03t/a##x",
                COPIES,
            ),
            (
                "bob",
                r"2\t\x00\x03t/a##\x00x | 0\x07\x00\x03t/a\x00x",
                r"0\x07\x00\x03t/a\x00x | 2\t\x00\x03t/a##\x00x",
                COPIES,
            ),
        ],
    ),
    (
        "no-duplicates",
        "allow_duplicate_messages false\n",
        overlap,
        &[
            (
                "006 bob",
                r"2\x08",
                r"4\x08",
                "one copy has the highest QoS [MQTT-3.3.5-1]",
            ),
            (
                "010 bob",
                r" | 0\x07\x00\x03t/a\x00x | 0\x07\x00\x03t/a\x00x",
                "",
                ONE_COPY,
            ),
            (
                "011 bob",
                r" | 0\x07\x00\x03t/a\x00x | 2\t\x00\x03t/a##\x00x",
                "",
                ONE_COPY,
            ),
            (
                "012 bob",
                r"2\t\x00\x03t/a##\x00x | 0\x07\x00\x03t/a\x00x | ",
                "",
                ONE_COPY,
            ),
        ],
    ),
    (
        "mount",
        "listener PORT 127.0.0.1\nallow_anonymous true\nmount_point up/\n",
        mount,
        &[(
            "bob",
            r"0\t\x00\x06up/t/ax",
            r"0\x06\x00\x03t/ax",
            "2.0 leaves its prefix before what it sends, against its manual; 2.1 takes it off",
        )],
    ),
    (
        "source",
        "check_retain_source true\nacl_file FOLDER/acl\n",
        source,
        &[],
    ),
    (
        "no-source",
        "check_retain_source false\nacl_file FOLDER/acl\n",
        source,
        &[],
    ),
];

const NAMED: &str = "with a username an empty Client Identifier of 3.1 is not used";

const WINDOW: &str =
    "as one message lands 2.0 sends two; midge never has more in flight than is set";

const BYTES: &str = "2.0 sends two messages beyond the bytes that are set; midge sends none";

const QOS: &[Difference] = &[("comes", r"\x9b $\x00", r"\x9b", REFUSED_QOS)];

const QOS_1: &[Difference] = &[("comes", r"\x9b $\x01", r"\x9b", REFUSED_QOS)];

const REFUSED_QOS: &str = "2.0 says beside the refusal of a Will which QoS it would take";

const QOS_2: &[Difference] = &[
    (
        "ann: 4",
        r"P\x02\x00\x01 | 4\x06\x00\x01t##x",
        r"4\x06\x00\x01t##x | P\x02\x00\x01",
        PASSED_ON,
    ),
    (
        "ann: 4",
        r"P\x02\x00\x01 | 4\x07\x00\x01t##\x00x",
        r"4\x07\x00\x01t##\x00x | P\x02\x00\x01",
        PASSED_ON,
    ),
];

const PASSED_ON: &str = "midge passes a QoS 2 message on as it comes, mosquitto as it is released";

const LONG: &[Difference] = &[
    (
        "ann comes",
        r" \x02\x00\x00",
        r" \x02\x00\x02 | closed",
        "2.0 lets 3.x clients have any Keep Alive; 2.1 refuses one that is too long, and so midge",
    ),
    (
        r"ann: \xe0\x00",
        "closed",
        "not there",
        "it was refused before",
    ),
];

const COPIES: &str = "nobody promises in which order the copies of one message come";

const ONE_COPY: &str = "to 5.0 clients mosquitto sends a copy for each subscription all the same";

const TOO_LONG: &[Difference] = &[
    ("bob", r"@\x03\x00\x01\x95", r"@\x03\x00\x01\x83", LIKE_2_1),
    ("bob", r"P\x03\x00\x02\x95", r"P\x03\x00\x02\x83", LIKE_2_1),
];

const LIKE_2_1: &str = "2.1 says 'implementation specific error', and so does midge";

/// What is in flight, and what waits behind it.
fn window(s: &mut Stage) {
    s.comes("ann", hello("ann").durable(), V311);
    s.says("ann", subscribe(1, "#", 1));
    s.comes("bob", hello("bob"), V311);
    for id in 1..=6 {
        s.says("bob", publish("tea", [b'0' + id]).qos1(u16::from(id)));
    }
    for _ in 1..=6 {
        s.acknowledges("ann");
    }
}

/// What waits for a client that is away.
fn absence(s: &mut Stage) {
    s.comes("ann", hello("ann").durable(), V311);
    s.says("ann", subscribe(1, "tea", 1).and("two", 2).and("none", 0));
    s.comes("bob", hello("bob"), V311);
    s.says("bob", publish("tea", "there"));
    s.leaves("ann");
    for id in 1..=4 {
        s.says("bob", publish("tea", [b'0' + id]).qos1(u16::from(id)));
    }
    for topic in ["tea", "two", "none"] {
        s.says("bob", publish(topic, "zero"));
    }
    s.comes("ann", hello("ann").durable(), V311);
    for _ in 1..=4 {
        s.acknowledges("ann");
    }
}

fn sizes(s: &mut Stage) {
    for version in [V311, V5] {
        s.comes("ann", hello("ann"), version);
        s.says("ann", subscribe(1, "t", 2));
        for level in [0, 1, 2] {
            for bytes in [0, 1, 5, 6, 30, 60] {
                s.comes("bob", hello("bob"), version);
                s.says(
                    "bob",
                    publish("t", vec![b'x'; bytes]).qos(level, u16::from(level)),
                );
                s.leaves("bob");
            }
        }
        s.comes(
            "bob",
            hello("bob").will("t", "x".repeat(6), 0, false),
            version,
        );
        s.drops("bob");
        s.leaves("ann");
    }
}

fn keep_alives(s: &mut Stage) {
    for version in [V31, V311, V5] {
        for seconds in [0, 1, 10, 11, 65_535] {
            s.comes("ann", connect("ann").keep_alive(seconds), version);
            s.leaves("ann");
        }
    }
}

fn connections(s: &mut Stage) {
    let mut held = Vec::new();
    for number in 1..=4 {
        let mut stream = TcpStream::connect(("127.0.0.1", s.port)).unwrap();
        let name = format!("client {number}");
        stream.write_all(&hello(&name).bytes(V311)).unwrap();
        let mut answer = [0; 4];
        let heard = match stream.read_exact(&mut answer) {
            Ok(()) => answer.escape_ascii().to_string(),
            Err(_) => "closed".to_owned(),
        };
        s.account.push((format!("{number} at once"), heard));
        held.push(stream);
    }
}

fn qos(s: &mut Stage) {
    for version in [V311, V5] {
        for level in 0..=2 {
            s.comes("ann", hello("ann"), version);
            s.says("ann", subscribe(1, "t", level));
            s.says("ann", publish("t", "x").qos(level, 1));
            s.leaves("ann");
            s.comes("ann", hello("ann").will("t", "x", level, false), version);
            s.leaves("ann");
        }
    }
}

fn aliases(s: &mut Stage) {
    for number in [1, 2, 3, 65_535] {
        s.comes("ann", hello("ann"), V5);
        s.says("ann", subscribe(1, "t", 0));
        let alias = || Property::TopicAlias(number.try_into().unwrap());
        s.says("ann", publish("t", "set").with(alias()));
        s.says("ann", publish("", "used").with(alias()));
        s.leaves("ann");
    }
}

fn retain(s: &mut Stage) {
    for version in [V311, V5] {
        s.comes("ann", hello("ann"), version);
        s.says("ann", subscribe(1, "t", 0));
        s.says("ann", publish("t", "x").retain());
        s.leaves("ann");
        s.comes("ann", hello("ann").will("t", "x", 0, true), version);
        s.leaves("ann");
    }
}

fn names(s: &mut Stage) {
    for version in [V31, V311, V5] {
        for packet in [
            hello(""),
            hello("").durable(),
            hello("").user("ann"),
            hello("shop-1"),
            hello("shop"),
            hello("bob").user("ann"),
        ] {
            s.comes("ann", packet, version);
            s.leaves("ann");
        }
    }
}

fn overlap(s: &mut Stage) {
    for version in [V311, V5] {
        s.comes("ann", hello("ann"), version);
        s.says("ann", subscribe(1, "t/#", 0).and("t/+", 1).and("+/a", 2));
        s.comes("bob", hello("bob"), version);
        s.says("bob", publish("t/a", "x"));
        s.says("bob", publish("t/a", "x").qos1(1));
        s.says("bob", publish("t/a", "x").qos2(2));
    }
}

/// One subscription after the other, so that nothing else is the first to match.
fn mount(s: &mut Stage) {
    s.comes("ann", hello("ann"), V311);
    s.comes("bob", hello("bob"), V311);
    for filter in ["t/#", "#"] {
        s.says("ann", subscribe(1, filter, 0));
        s.says("bob", publish("t/a", "x"));
        s.says("ann", unsubscribe(2, &[filter]));
    }
}

fn source(s: &mut Stage) {
    s.folder.writes(
        "acl",
        "topic read #\nuser ann\ntopic write tea\nuser bob\ntopic write milk\n",
    );
    s.reloads();
    s.comes("ann", hello("ann").user("ann"), V311);
    s.comes("bob", hello("bob").user("bob"), V311);
    s.says("ann", publish("tea", "hot").retain());
    s.says("bob", publish("milk", "cold").retain());
    s.leaves("ann");
    s.comes("cat", hello("cat"), V311);
    s.says("cat", subscribe(1, "#", 0));
    s.folder
        .writes("acl", "topic read #\nuser bob\ntopic write milk\n");
    s.reloads();
    s.says("cat", subscribe(2, "#", 0));
}

#[test]
fn limits() {
    let run = |part: &[Limit]| {
        for (name, conf, script, differences) in part {
            compare(name, conf, "topic readwrite #\n", *script, differences);
        }
    };
    // Both brokers wait more than they work.
    std::thread::scope(|scope| {
        let threads: Vec<_> = LIMITS
            .chunks(5)
            .map(|part| scope.spawn(move || run(part)))
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        assert!(ended.iter().all(Result::is_ok), "see above");
    });
}

/// The one thing about access rules that differs.
#[test]
fn tokens_within_a_level() {
    const TOKEN: &str =
        "2.0 puts a name in anywhere; 2.1, by its manual and in fact, for a whole level";
    compare(
        "tokens",
        "acl_file FOLDER/acl\n",
        "user dan\ntopic #\npattern write whole/%c\npattern write x%c/%u\n",
        |s| {
            s.comes("dan", hello("dan").user("dan"), V311);
            s.says("dan", subscribe(1, "#", 0));
            s.comes("ann", hello("ann").user("ann"), V311);
            for topic in ["whole/ann", "whole/%c", "xann/ann", "x%c/ann", "x%c/%u"] {
                s.says("ann", publish(topic, ""));
            }
        },
        &[
            ("xann/ann -> dan", r"0\n\x00\x08xann/ann", "", TOKEN),
            ("x%c/ann -> dan", "", r"0\t\x00\x07x%c/ann", TOKEN),
        ],
    );
}

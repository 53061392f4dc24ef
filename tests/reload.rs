//! Reloads that cannot succeed: files that vanished, are shut or broken, ports that are taken, no
//! file descriptors left. The running configuration stays whole, the log says why, clients stay and
//! are served; once the cause is gone the next reload applies what was meant. The broker runs as
//! `nobody` where the tests run as root, whom no file is shut to.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

mod process;
mod table;
use process::*;
use table::*;

/// Debian's number for `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// The largest payload tried; every `message_size_limit` of these tests lies below.
const LONGEST: usize = 64;

const STAYS: &str = "The running configuration stays in force.";

/// A broker with every kind of file, and two clients that are there from the first to the last.
/// `message_size_limit` tells which configuration is in force: it holds for them at once.
struct Scene {
    folder: Folder,
    midge: Midge,
    passwords: String,
    ann: TcpStream,
    bob: TcpStream,
}

impl Scene {
    fn new(name: &str, file_descriptors: usize) -> Self {
        let folder = Folder::new(name);
        shut(&folder.path, 0o755);
        let list = folder.file("passwords");
        let path = list.to_str().unwrap();
        for (user, create) in [("ann", "-c"), ("bob", "-b")] {
            let hashed = ["passwd", "-H", "sha512", "-b", create, path, user, "tea"];
            assert_eq!(run(&hashed).0, 0);
        }
        let passwords = fs::read_to_string(&list).unwrap();
        fs::create_dir(folder.file("log")).unwrap();
        if is_root(&folder) {
            chown(folder.file("log"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::create_dir(folder.file("shut")).unwrap();
        shut(&folder.file("shut"), 0o555);
        let midge = Midge::start_as(|port| {
            lay_out(&folder, &passwords, port, 1);
            let script = format!(
                "ulimit -n {file_descriptors} && exec '{MIDGE}' -c '{}'",
                folder.file("midge.conf").display()
            );
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        });
        let mut ann = logs_in(&midge, "ann", "tea").expect("ann is let in");
        ann.write_all(&subscribe(1, "tea/#", 0).bytes(V311))
            .unwrap();
        assert_eq!(read_packet(&mut ann), suback(1, &[0]).bytes(V311));
        let bob = logs_in(&midge, "bob", "tea").expect("bob is let in");
        Self {
            folder,
            midge,
            passwords,
            ann,
            bob,
        }
    }

    /// Everything as it is to be, with this limit.
    fn lay_out(&self, limit: usize) {
        lay_out(&self.folder, &self.passwords, self.midge.port, limit);
    }

    /// SIGHUP, and what the log says of it.
    fn reloads(&self) -> String {
        let before = self.midge.log().len();
        self.midge.signals("-HUP");
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.midge.log();
            let new = &log[before..];
            if new.contains(STAYS) || new.contains("message_size_limit: ") {
                // What follows these words in the same turn is no more than the rest of their line.
                return new.to_owned();
            }
            assert!(Instant::now() < end, "no end of the reload: {new}");
            sleep(Duration::from_millis(5));
        }
    }

    /// The limit in force: the longest of bob's messages that ann gets. Both are served, then, and
    /// each has the rights it had.
    fn limit(&mut self) -> usize {
        let mut packets = Vec::new();
        for bytes in 1..=LONGEST {
            packets.extend(publish("tea/bob", vec![b'x'; bytes]).bytes(V311));
        }
        packets.extend(publish("tea/ann", "not bob's").bytes(V311));
        packets.extend(publish("tea/bob", "").bytes(V311));
        self.bob.write_all(&packets).unwrap();
        let mut longest = 0;
        loop {
            let heard = read_packet(&mut self.ann);
            let (topic, payload) = heard[4..].split_at(7);
            assert_eq!(topic, b"tea/bob");
            if payload.is_empty() {
                return longest;
            }
            assert_eq!(payload.len(), longest + 1, "none is left out before");
            longest += 1;
        }
    }

    /// Users and their passwords are what they were.
    fn lets_in_its_users(&self) {
        assert!(logs_in(&self.midge, "cat", "tea").is_none());
        assert!(logs_in(&self.midge, "bob", "wrong").is_none());
        assert!(logs_in(&self.midge, "ann", "tea").is_some());
    }
}

fn lay_out(folder: &Folder, passwords: &str, port: u16, limit: usize) {
    let at = folder.path.display();
    let _ = fs::remove_dir_all(folder.file("midge.conf"));
    let _ = fs::create_dir(folder.file("conf.d"));
    shut(&folder.file("conf.d"), 0o755);
    let _ = fs::create_dir(folder.file("log"));
    for (name, text) in [
        (
            "midge.conf",
            format!(
                "user nobody\nlistener {port} 127.0.0.1\nmessage_size_limit {limit}\n\
                 password_file {at}/passwords\nacl_file {at}/acl\ninclude_dir {at}/conf.d\n\
                 log_dest stderr\nlog_dest file {at}/log/midge.log\nlog_timestamp false\n"
            ),
        ),
        ("conf.d/more.conf", "sys_interval 100\n".to_owned()),
        ("passwords", passwords.to_owned()),
        (
            "acl",
            "user ann\ntopic read tea/#\nuser bob\ntopic write tea/bob\n".to_owned(),
        ),
    ] {
        // Written beside and put in place: a file that is shut cannot be written by everybody.
        let new = folder.writes("new", &text);
        shut(&new, 0o644);
        fs::rename(new, folder.file(name)).unwrap();
    }
    if folder.file("log/midge.log").exists() {
        shut(&folder.file("log/midge.log"), 0o644);
    }
}

fn shut(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root(folder: &Folder) -> bool {
    fs::metadata(&folder.path).unwrap().uid() == 0
}

fn logs_in(midge: &Midge, user: &str, password: &str) -> Option<TcpStream> {
    let mut stream = midge.opens();
    let hello = connect("").user(user).pass(password.as_bytes());
    stream.write_all(&hello.bytes(V311)).unwrap();
    (read_packet(&mut stream)[3] == 0).then_some(stream)
}

/// Adds lines to the configuration file.
fn adds(folder: &Folder, lines: &str) {
    let path = folder.file("midge.conf");
    let text = fs::read_to_string(&path).unwrap() + lines;
    fs::write(path, text).unwrap();
}

/// What goes wrong, how it is brought about, and what the log says of it.
type Trouble = (&'static str, fn(&Folder), &'static [&'static str]);

const TROUBLES: &[Trouble] = &[
    (
        "the configuration file vanished",
        |folder| fs::remove_file(folder.file("midge.conf")).unwrap(),
        &["Unable to open config file", "midge.conf: there is none"],
    ),
    (
        "the configuration file is shut",
        |folder| shut(&folder.file("midge.conf"), 0),
        &["midge.conf", "its rights do not allow it"],
    ),
    (
        "the configuration file is a directory",
        |folder| {
            fs::remove_file(folder.file("midge.conf")).unwrap();
            fs::create_dir(folder.file("midge.conf")).unwrap();
        },
        &["midge.conf", "Is a directory"],
    ),
    (
        "the configuration file is no text",
        |folder| fs::write(folder.file("midge.conf"), b"\x7fELF\x02\0\xff\xfe\n").unwrap(),
        &["midge.conf:1"],
    ),
    (
        "a line of the configuration file is wrong",
        |folder| adds(folder, "max_keepalive soon\n"),
        &["midge.conf:10", "max_keepalive", "soon"],
    ),
    (
        "an option that is refused came in",
        |folder| adds(folder, "psk_file /some/where\n"),
        &["midge.conf:10", "psk_file", "TLS-PSK is not supported"],
    ),
    (
        "the directory of more files vanished",
        |folder| fs::remove_dir_all(folder.file("conf.d")).unwrap(),
        &["conf.d", "there is none"],
    ),
    (
        "the directory of more files is shut",
        |folder| shut(&folder.file("conf.d"), 0),
        &["conf.d", "its rights do not allow it"],
    ),
    (
        "one of the further files is shut",
        |folder| shut(&folder.file("conf.d/more.conf"), 0),
        &["more.conf", "its rights do not allow it"],
    ),
    (
        "one of the further files is wrong",
        |folder| fs::write(folder.file("conf.d/more.conf"), "max_keepalive\n").unwrap(),
        &["more.conf:1", "max_keepalive"],
    ),
    (
        "the password file vanished",
        |folder| fs::remove_file(folder.file("passwords")).unwrap(),
        &["password_file", "passwords", "there is none"],
    ),
    (
        "the password file is shut",
        |folder| shut(&folder.file("passwords"), 0),
        &["password_file", "passwords", "its rights do not allow it"],
    ),
    (
        "a line of the password file is broken",
        |folder| fs::write(folder.file("passwords"), "ann:$7$nonsense\n").unwrap(),
        &["password_file", "passwords", "line 1", "ann"],
    ),
    (
        "the access control file vanished",
        |folder| fs::remove_file(folder.file("acl")).unwrap(),
        &["acl_file", "acl", "there is none"],
    ),
    (
        "the access control file is shut",
        |folder| shut(&folder.file("acl"), 0),
        &["acl_file", "acl", "its rights do not allow it"],
    ),
    (
        "a line of the access control file is broken",
        |folder| fs::write(folder.file("acl"), "user ann\ntopic raed tea/#\n").unwrap(),
        &["acl_file", "line 2", "raed"],
    ),
    (
        "the directory of the log file vanished",
        |folder| {
            adds(
                folder,
                "log_type all\nlog_dest none\nlog_dest file /no/where/at/all\n",
            )
        },
        &["/no/where/at/all", "No such file or directory"],
    ),
    (
        "a listener has an address of another machine",
        |folder| adds(folder, &format!("listener {} 192.0.2.1\n", free_port())),
        &["192.0.2.1", "Cannot assign requested address"],
    ),
    (
        "a Unix socket has no directory",
        |folder| adds(folder, "listener 0 /no/where/at/all.sock\n"),
        &["/no/where/at/all.sock", "No such file or directory"],
    ),
    (
        "a Unix socket is in a directory that is shut",
        |folder| {
            let path = folder.file("shut/midge.sock");
            adds(folder, &format!("listener 0 {}\n", path.display()));
        },
        &["Not permitted to listen", "midge.sock"],
    ),
];

#[test]
fn a_reload_that_cannot_succeed_changes_nothing_and_the_next_one_does() {
    let mut scene = Scene::new("troubles", 1024);
    for (number, (what, breaks, says)) in TROUBLES.iter().enumerate() {
        let (old, new) = (number + 1, number + 2);
        scene.lay_out(new);
        breaks(&scene.folder);
        let log = scene.reloads();
        assert!(log.contains(STAYS), "{what}: it was taken: {log}");
        for words in *says {
            assert!(log.contains(words), "{what}: no '{words}' in: {log}");
        }
        assert_eq!(scene.limit(), old, "{what}: what is in force");
        scene.lets_in_its_users();
        scene.lay_out(new);
        let log = scene.reloads();
        let change = format!("message_size_limit: {old} becomes {new}");
        assert!(log.contains(&change), "{what}: {log}");
        assert_eq!(scene.limit(), new, "{what}: what is in force afterwards");
    }
    scene.lets_in_its_users();
}

#[test]
fn a_port_that_is_taken_leaves_everything_as_it_was() {
    let mut scene = Scene::new("taken", 1024);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (free, port) = (free_port(), taken.local_addr().unwrap().port());
    scene.lay_out(2);
    // The first of the two could be opened, and is given up again.
    let lines = format!("listener {free} 127.0.0.1\nlistener {port} 127.0.0.1\n");
    adds(&scene.folder, &lines);
    let log = scene.reloads();
    assert!(
        log.contains(&format!("Port {port} on 127.0.0.1 is in use")) && log.contains(STAYS),
        "{log}"
    );
    assert_eq!(scene.limit(), 1);
    assert!(TcpStream::connect(("127.0.0.1", free)).is_err());
    drop(taken);
    let log = scene.reloads();
    assert!(log.contains("message_size_limit: 1 becomes 2"), "{log}");
    assert_eq!(scene.limit(), 2);
    for port in [free, port] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

#[test]
fn a_log_that_cannot_be_opened_again_goes_on_as_it_was() {
    let scene = Scene::new("log-again", 1024);
    let (log, moved) = (scene.folder.file("log/midge.log"), scene.folder.file("old"));
    fs::rename(scene.folder.file("log"), &moved).unwrap();
    scene.midge.signals("-34");
    scene.midge.waits_for_log("the log goes on as it was");
    let lines = fs::read_to_string(moved.join("midge.log")).unwrap();
    assert!(lines.contains("No such file or directory"), "{lines}");
    fs::rename(&moved, scene.folder.file("log")).unwrap();
    fs::rename(&log, scene.folder.file("log/midge.log.1")).unwrap_or_else(|error| {
        panic!("{error}");
    });
    scene.midge.signals("-34");
    let end = Instant::now() + Duration::from_secs(5);
    while !log.exists() {
        assert!(Instant::now() < end, "no new log file");
        sleep(Duration::from_millis(5));
    }
    scene.lets_in_its_users();
    assert!(fs::read_to_string(&log).unwrap().contains("ann"));
}

#[test]
fn with_few_file_descriptors_left_or_none_a_reload_is_whole_or_none() {
    const LIMIT: usize = 64;
    let mut scene = Scene::new("descriptors", LIMIT);
    // The shell has gone on as the broker. What it inherited may lie above its limit.
    let folder = format!("/proc/{}/fd", scene.midge.child.id());
    let open = || {
        let files = fs::read_dir(&folder).unwrap();
        let number = |file: fs::DirEntry| file.file_name().to_str()?.parse::<usize>().ok();
        let numbers = files.filter_map(|file| number(file.unwrap()));
        numbers.filter(|number| *number < LIMIT).count()
    };
    let mut held = Vec::new();
    let (mut limit, mut refused) = (1, 0);
    // The files need one at a time, then the listeners one each, and the log one more.
    for left in 0..=5 {
        held.clear();
        // Until the last of them has gone.
        let mut seen = LIMIT;
        waits_for(|| {
            let before = std::mem::replace(&mut seen, open());
            sleep(Duration::from_millis(50));
            seen < LIMIT / 2 && seen == before
        });
        while open() < LIMIT - left {
            let before = open();
            held.push(scene.midge.opens());
            waits_for(|| open() > before);
        }
        let ports = [free_port(), free_port()];
        scene.lay_out(limit + 1);
        for port in ports {
            adds(&scene.folder, &format!("listener {port} 127.0.0.1\n"));
        }
        assert_eq!(open(), LIMIT - left);
        let log = scene.reloads();
        let is_refused = log.contains(STAYS);
        if is_refused {
            assert!(log.contains("Too many open files"), "{left} left: {log}");
            refused += 1;
        } else {
            limit += 1;
        }
        assert_eq!(scene.limit(), limit, "{left} left: {log}");
        for port in ports {
            let is_open = TcpStream::connect(("127.0.0.1", port)).is_ok();
            assert_eq!(is_open, !is_refused, "{left} left: {log}");
        }
    }
    // With four or more there is room for two sockets; the log file, which is open, needs none.
    assert_eq!(refused, 2);
    // And with none left the log cannot be opened again, and goes on.
    held.extend((0..LIMIT).map(|_| scene.midge.opens()));
    scene.midge.waits_for_log("Raise the limit of open files");
    scene.midge.signals("-34");
    scene.midge.waits_for_log("the log goes on as it was");
    drop(held);
    waits_for(|| open() < LIMIT / 2);
    scene.lay_out(limit + 1);
    let log = scene.reloads();
    assert!(!log.contains(STAYS), "{log}");
    assert_eq!(scene.limit(), limit + 1);
    scene.lets_in_its_users();
}

fn waits_for(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "it does not come to be");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_its_sockets_were_opened_with_waits_for_a_restart() {
    let folder = Folder::new("sockets");
    let open = "listener PORT 127.0.0.1\nallow_anonymous true\nuser root\n";
    let midge = start(&folder, open);
    reload(&folder, &midge, |text| {
        text + "socket_domain ipv4\nbind_interface lo\n"
    });
    for words in [
        "socket_domain: both becomes ipv4, after a restart",
        "bind_interface: all becomes lo, after a restart",
    ] {
        midge.waits_for_log(words);
    }
    midge.client(V311, "ann");
}

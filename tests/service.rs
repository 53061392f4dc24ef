//! The real binary as a service: configuration files, signals, logs, sockets and files.

use midge::config::options;
use midge::limits;
use midge::net::environment::Environment;
use midge::net::{Acceptors, Source};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

mod process;
mod table;
use process::*;
use table::*;

const OPEN: &str = "listener PORT 127.0.0.1\nallow_anonymous true\nuser root\n";

#[test]
fn a_configuration_is_tested_without_being_used() {
    let folder = Folder::new("test-config");
    let good = folder.writes("good.conf", "listener 1\nallow_anonymous true\n");
    let (code, _, err) = run(&["-c", good.to_str().unwrap(), "--test-config"]);
    assert_eq!((code, err.as_str()), (0, "Configuration file is OK.\n"));
    let bad = folder.writes("bad.conf", "listener 1\nmax_keepaliv 3\n");
    let (code, _, err) = run(&["-c", bad.to_str().unwrap(), "--test-config"]);
    assert_eq!(code, 3);
    assert!(
        err.contains("max_keepaliv") && err.contains("bad.conf:2"),
        "{err}"
    );
    let (code, _, err) = run(&["-c", folder.file("none.conf").to_str().unwrap()]);
    assert_eq!(code, 3);
    assert!(err.contains("none.conf"), "{err}");
    assert_eq!(
        fs::read_dir(&folder.path).unwrap().count(),
        2,
        "nothing is written"
    );
}

#[test]
fn what_export_wants_is_said() {
    let (code, out, _) = run(&["export", "--help"]);
    assert!(
        code == 0 && out.contains("midge export [-c FILE] NEW-FILE"),
        "{out}"
    );
    let (code, _, err) = run(&["export"]);
    assert!(
        code == 3 && err.contains("the name of one new file"),
        "{err}"
    );
    let folder = Folder::new("export");
    let text = format!(
        "{OPEN}persistence true\npersistence_location {}\n",
        folder.path.display()
    );
    let midge = start(&folder, &text);
    let conf = folder.file("midge.conf");
    let new = folder.file("mosquitto.db");
    let words = [
        "-c",
        conf.to_str().unwrap(),
        "export",
        new.to_str().unwrap(),
    ];
    let (code, _, err) = run(&words);
    assert!(code == 14 && err.contains("stop the broker first"), "{err}");
    drop(midge);
}

#[test]
fn the_options_are_listed() {
    let (code, out, _) = run(&["--options"]);
    assert_eq!(code, 0);
    assert!(
        out.lines().count() > 140 && out.contains("max_queued_messages"),
        "{out}"
    );
}

#[test]
fn settings_of_a_file_are_in_force() {
    let folder = Folder::new("in-force");
    let midge = start(
        &folder,
        &format!("{OPEN}max_inflight_messages 5\nmax_packet_size 3000\n"),
    );
    let mut ann = midge.opens();
    ann.write_all(&connect("ann").bytes(V5)).unwrap();
    let heard = read_packet(&mut ann);
    // Topic Alias Maximum 10, Maximum Packet Size 3000, Receive Maximum 5.
    assert_eq!(
        heard[4..],
        [0, 11, 0x22, 0, 10, 0x27, 0, 0, 0x0b, 0xb8, 0x21, 0, 5][1..]
    );
    midge.waits_for_log("Config loaded from");
}

#[test]
fn quiet_wins_over_verbose() {
    let midge_log = |arguments: &[&str]| {
        let folder = Folder::new(&format!("quiet{}", arguments.len()));
        let port = free_port();
        let path = folder.writes("midge.conf", &OPEN.replace("PORT", &port.to_string()));
        let mut child = Command::new(MIDGE)
            .arg("-c")
            .arg(path)
            .args(arguments)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            sleep(Duration::from_millis(10));
        }
        assert!(
            Command::new("kill")
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let mut text = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        child.wait().unwrap();
        text
    };
    assert_eq!(midge_log(&["-q", "-v"]), "");
    assert!(midge_log(&["-v"]).contains("Connection from"));
}

#[test]
fn a_reload_is_reported_and_a_broken_one_changes_nothing() {
    let folder = Folder::new("reload");
    let midge = start(&folder, &format!("{OPEN}max_keepalive 100\n"));
    let five = |midge: &Midge| {
        let mut ann = midge.opens();
        ann.write_all(&connect("ann").keep_alive(1000).bytes(V5))
            .unwrap();
        read_packet(&mut ann)
    };
    let server_keep_alive = |packet: &[u8]| packet[5..8].to_vec();
    assert_eq!(server_keep_alive(&five(&midge)), [0x13, 0, 100]);
    reload(&folder, &midge, |text| text.replace("100", "200"));
    midge.waits_for_log("max_keepalive: 100 becomes 200");
    assert_eq!(server_keep_alive(&five(&midge)), [0x13, 0, 200]);
    reload(&folder, &midge, |text| {
        text.replace("200", "300") + "no_such_option 1\n"
    });
    midge.waits_for_log("The running configuration stays in force.");
    assert!(midge.log().contains("no_such_option"));
    assert_eq!(server_keep_alive(&five(&midge)), [0x13, 0, 200]);
    fs::remove_file(folder.file("midge.conf")).unwrap();
    midge.signals("-HUP");
    sleep(Duration::from_millis(200));
    assert_eq!(midge.log().matches("stays in force").count(), 2);
    assert_eq!(server_keep_alive(&five(&midge)), [0x13, 0, 200]);
}

#[test]
fn listeners_come_and_go_with_a_reload_and_connections_stay() {
    let folder = Folder::new("listeners");
    let midge = start(&folder, OPEN);
    let mut ann = midge.client(V311, "ann");
    let other = free_port();
    let first = midge.port.to_string();
    reload(&folder, &midge, |text| {
        text.replace(&first, &other.to_string())
    });
    midge.waits_for_log(&format!("listener: {other} 127.0.0.1 is new"));
    assert!(TcpStream::connect(("127.0.0.1", midge.port)).is_err());
    let mut bob = TcpStream::connect(("127.0.0.1", other)).unwrap();
    bob.write_all(&connect("bob").bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut bob), connack(false).bytes(V311));
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), pingresp().bytes(V311));
    // A port in use: nothing changes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    reload(&folder, &midge, |text| {
        text.replace(&other.to_string(), &port.to_string())
    });
    midge.waits_for_log(&format!(
        "Port {port} on 127.0.0.1 is in use by another program"
    ));
    assert!(TcpStream::connect(("127.0.0.1", other)).is_ok());
    // And back to the first.
    reload(&folder, &midge, |text| {
        text.replace(&port.to_string(), &first)
    });
    midge.waits_for_log(&format!("listener: {first} 127.0.0.1 is new"));
    midge.client(V311, "cid");
}

#[test]
fn a_unix_socket_serves_and_is_cleaned_up() {
    let folder = Folder::new("unix");
    let socket = folder.file("midge.sock");
    // Somebody left a file behind at which nobody answers.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut midge = start(&folder, &format!("{OPEN}listener 0 FOLDER/midge.sock\n"));
    let mut ann = UnixStream::connect(&socket).unwrap();
    ann.write_all(&connect("ann").bytes(V311)).unwrap();
    let mut answer = [0; 4];
    ann.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..], connack(false).bytes(V311));
    midge.waits_for_log("New client connected from local socket as ann");
    midge.signals("-TERM");
    assert_eq!(midge.ends().code(), Some(0));
    assert!(!Path::exists(&socket));
}

#[test]
fn a_log_file_is_opened_again_when_it_was_moved_away() {
    let folder = Folder::new("log");
    let text =
        format!("{OPEN}log_dest stderr\nlog_dest file FOLDER/midge.log\nlog_timestamp false\n");
    let midge = start(&folder, &text);
    let log = folder.file("midge.log");
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .starts_with("midge version")
    );
    let old = folder.file("midge.log.1");
    fs::rename(&log, &old).unwrap();
    midge.signals("-34");
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while !log.exists() {
        assert!(std::time::Instant::now() < end, "no new log file");
        sleep(Duration::from_millis(10));
    }
    midge.client(V311, "ann");
    midge.waits_for_log("as ann");
    assert!(fs::read_to_string(&log).unwrap().contains("as ann"));
    assert!(!fs::read_to_string(&old).unwrap().contains("as ann"));
}

#[test]
fn a_pid_file_is_written_and_removed() {
    let folder = Folder::new("pid");
    let mut midge = start(&folder, &format!("{OPEN}pid_file FOLDER/midge.pid\n"));
    let pid = fs::read_to_string(folder.file("midge.pid")).unwrap();
    assert_eq!(pid, midge.child.id().to_string());
    midge.signals("-INT");
    assert_eq!(midge.ends().code(), Some(0));
    assert!(!folder.file("midge.pid").exists());
    let path = folder.writes("bad.conf", "listener 1\npid_file /nowhere/at/all\n");
    let (code, _, err) = run(&["-c", path.to_str().unwrap()]);
    assert_eq!(code, 14);
    assert!(
        err.contains("Unable to write pid file /nowhere/at/all"),
        "{err}"
    );
}

#[test]
fn a_reload_opens_a_port_to_the_network_and_closes_it_again() {
    let folder = Folder::new("opened");
    let midge = start(&folder, OPEN);
    let port = midge.port;
    // The whole net 127.0.0.0/8 is this machine's; a listener on 127.0.0.1 is not there in all of it.
    let elsewhere = || TcpStream::connect(("127.0.0.2", port));
    let mut ann = midge.client(V311, "ann");
    assert!(elsewhere().is_err());
    let (closed, open) = (format!("{port} 127.0.0.1"), format!("{port} 0.0.0.0"));
    reload(&folder, &midge, |text| text.replace(&closed, &open));
    midge.waits_for_log(&format!("listener: {open} is new"));
    assert!(elsewhere().is_ok());
    // Where anything is wrong, who steps aside for it comes back.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = taken.local_addr().unwrap();
    reload(&folder, &midge, |text| {
        text.replace(&open, &closed) + &format!("listener {} 127.0.0.1\n", other.port())
    });
    midge.waits_for_log("The running configuration stays in force.");
    assert!(elsewhere().is_ok());
    midge.client(V311, "bob");
    let text = format!("listener {closed}\nallow_anonymous true\nuser root\n");
    reload(&folder, &midge, |_| text);
    midge.waits_for_log(&format!("listener: {closed} is new"));
    assert!(elsewhere().is_err());
    midge.client(V311, "cid");
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), pingresp().bytes(V311));
}

#[test]
fn why_it_does_not_start_is_said_where_systemd_shows_it_too() {
    let folder = Folder::new("why");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let log = folder.file("log");
    let text = OPEN.replace("PORT", &port.to_string());
    let path = folder.writes(
        "m.conf",
        &format!("{text}log_dest file {}\n", log.display()),
    );
    let (code, err) = run_in(&[], &["-c", path.to_str().unwrap()]);
    let why = format!("Port {port} on 127.0.0.1 is in use by another program");
    assert_eq!((code, err.matches(&why).count()), (14, 1), "{err}");
    assert!(fs::read_to_string(log).unwrap().contains(&why));
    // Where the log is standard error, once is enough.
    let path = folder.writes("m.conf", &text);
    let (_, err) = run_in(&[], &["-c", path.to_str().unwrap()]);
    assert_eq!(err.matches(&why).count(), 1, "{err}");
}

#[test]
fn systemd_is_told_and_shown_signs_of_life() {
    let folder = Folder::new("notify");
    let path = folder.file("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let told = || {
        let mut bytes = [0; 200];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let midge = Midge::start_as(|port| {
        let text = OPEN.replace("PORT", &port.to_string()) + "sys_interval 0\n";
        let file = folder.writes("midge.conf", &text);
        let mut command = Command::new(MIDGE);
        command.arg("-c").arg(file);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "400000");
        command
    });
    assert_eq!(told().trim(), "READY=1");
    for _ in 0..3 {
        assert_eq!(told().trim(), "WATCHDOG=1");
    }
    midge.signals("-HUP");
    let mut heard = Vec::new();
    while !heard.iter().any(|line: &String| line.contains("READY=1")) {
        heard.push(told());
    }
    assert!(
        heard.iter().any(|line| line.contains("RELOADING=1")),
        "{heard:?}"
    );
    midge.signals("-TERM");
    while !told().contains("STOPPING=1") {}
}

#[test]
fn subscriptions_are_printed_on_request() {
    let folder = Folder::new("usr2");
    let port = free_port();
    let path = folder.writes("midge.conf", &OPEN.replace("PORT", &port.to_string()));
    let mut child = Command::new(MIDGE)
        .arg("-c")
        .arg(path)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut ann = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => sleep(Duration::from_millis(10)),
        }
    };
    let mut packets = connect("ann").bytes(V311);
    packets.extend(subscribe(1, "tea/+", 1).bytes(V311));
    ann.write_all(&packets).unwrap();
    ann.read_exact(&mut [0; 9]).unwrap();
    for signal in ["-USR2", "-USR1"] {
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
    let mut line = [0; 12];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ann 1 tea/+\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn users_and_rights_come_from_files_and_change_with_a_reload() {
    let folder = Folder::new("users");
    let passwords = folder.file("passwords");
    let add = |user: &str, password: &str, create: &[&str]| {
        let path = passwords.to_str().unwrap();
        let (code, _, err) = run(&[&["passwd", "-b"], create, &[path, user, password]].concat());
        assert_eq!(code, 0, "{err}");
    };
    add("ann", "secret", &["-c"]);
    folder.writes("acl", "user ann\ntopic read tea/#\ntopic write tea/ann\n");
    let text =
        "listener PORT 127.0.0.1\nuser root\npassword_file FOLDER/passwords\nacl_file FOLDER/acl\n";
    let midge = start(&folder, text);
    let logs_in = |user: &str, password: &[u8]| {
        let mut stream = midge.opens();
        stream
            .write_all(&connect(user).user(user).pass(password).bytes(V311))
            .unwrap();
        let code = read_packet(&mut stream)[3];
        (stream, code)
    };
    assert_eq!(logs_in("ann", b"wrong").1, 5);
    assert_eq!(logs_in("bob", b"secret").1, 5);
    let (mut ann, code) = logs_in("ann", b"secret");
    assert_eq!(code, 0);
    ann.write_all(&subscribe(1, "#", 0).bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), suback(1, &[0]).bytes(V311));
    for topic in ["tea/bob", "tea/ann", "milk"] {
        ann.write_all(&publish(topic, "hot").bytes(V311)).unwrap();
    }
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), publish("tea/ann", "hot").bytes(V311));
    assert_eq!(read_packet(&mut ann), pingresp().bytes(V311));
    // A second user, and fewer rights for the first.
    add("bob", "other", &[]);
    folder.writes("acl", "user bob\ntopic tea/#\n");
    midge.signals("-HUP");
    midge.waits_for_log("Reloading config.");
    ann.write_all(&publish("tea/ann", "hot").bytes(V311))
        .unwrap();
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), pingresp().bytes(V311));
    assert_eq!(logs_in("bob", b"other").1, 0);
    // A broken list changes nothing.
    fs::write(&passwords, "bob:$7$nonsense\n").unwrap();
    midge.signals("-HUP");
    midge.waits_for_log("The running configuration stays in force.");
    assert!(midge.log().contains("passwords"), "{}", midge.log());
    assert_eq!(logs_in("bob", b"other").1, 0);
}

#[test]
fn a_list_that_is_missing_or_broken_keeps_the_broker_from_starting() {
    let folder = Folder::new("lists");
    for (option, text) in [("password_file", "ann:$6$x"), ("acl_file", "topic\n")] {
        let list = folder.file("list");
        let line = format!("listener 1\n{option} {}\n", list.to_str().unwrap());
        let conf = folder.writes("midge.conf", &line);
        let _ = fs::remove_file(&list);
        for text in [None, Some(text)] {
            if let Some(text) = text {
                fs::write(&list, text).unwrap();
            }
            let (code, _, err) = run(&["-c", conf.to_str().unwrap()]);
            assert_eq!(code, 3, "{err}");
            assert!(err.contains(option) && err.contains("list"), "{err}");
        }
    }
}

#[test]
fn who_subscribes_is_logged_where_that_is_asked_for() {
    let folder = Folder::new("log-types");
    let types = "log_type information\nlog_type subscribe\nlog_type unsubscribe\n";
    let midge = start(&folder, &format!("{OPEN}{types}"));
    let mut ann = midge.subscriber("ann", "tea/+", 1);
    midge.waits_for_log("ann 1 tea/+");
    ann.write_all(&unsubscribe(2, &["tea/+"]).bytes(V311))
        .unwrap();
    assert_eq!(read_packet(&mut ann), unsuback(2, &[]).bytes(V311));
    midge.waits_for_log("ann tea/+");
    let shared = "$share/drinkers/tea/#";
    ann.write_all(&subscribe(3, shared, 0).bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), suback(3, &[0]).bytes(V311));
    midge.waits_for_log(&format!("ann 0 {shared}"));
    ann.write_all(&unsubscribe(4, &[shared]).bytes(V311))
        .unwrap();
    assert_eq!(read_packet(&mut ann), unsuback(4, &[]).bytes(V311));
    midge.waits_for_log(&format!("ann {shared}"));
    let log = midge.log();
    assert!(
        !log.contains("Sending"),
        "debug lines were not asked for:\n{log}"
    );
}

#[test]
fn a_listener_can_be_bound_to_a_network_interface() {
    let folder = Folder::new("interface");
    let midge = start(&folder, &format!("{OPEN}bind_interface lo\n"));
    midge.client(V311, "ann");
    let path = folder.writes(
        "none.conf",
        &format!(
            "listener {} 127.0.0.1\nbind_interface nosuch0\n",
            free_port()
        ),
    );
    let (code, _, err) = run(&["-c", path.to_str().unwrap()]);
    assert_eq!(code, 14);
    assert!(err.contains("Cannot listen on Port"), "{err}");
}

fn run_in(environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    // What ought to refuse to start might start.
    let mut command = Command::new("timeout");
    command.args(["10", MIDGE]).args(arguments);
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), err)
}

/// The user this test runs as.
fn own_id() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn a_wrong_variable_keeps_the_broker_from_starting() {
    let rows = [
        ("PUID", "mosquitto", "the number of a user or group"),
        ("PGID", "-1", "the number of a user or group"),
        ("UMASK_SET", "8", "an octal number"),
    ];
    for (name, value, words) in rows {
        for arguments in [&["--test-config"][..], &[]] {
            let (code, err) = run_in(&[(name, value)], arguments);
            assert_eq!(code, 3, "{err}");
            assert!(err.contains(&format!("{name} ({value})")), "{err}");
            assert!(err.contains(words), "{err}");
        }
    }
}

#[test]
fn the_environment_says_whom_to_run_as() {
    let folder = Folder::new("puid");
    let text = "listener PORT 127.0.0.1\nlog_dest stderr\nlog_dest file FOLDER/midge.log\n";
    let (user, group) = (54_321, 54_322);
    let environment = [("PUID", "54321"), ("PGID", "54322")];
    let midge = start_in(&environment, &folder, text);
    let (uid, gid) = match own_id() {
        0 => {
            midge.waits_for_log("Running as user 54321.");
            (user, group)
        }
        own => {
            midge.waits_for_log("Warning: PUID and PGID are not in effect");
            (own, fs::metadata("/proc/self").unwrap().gid())
        }
    };
    assert_eq!(midge.status("Uid:"), u64::from(uid));
    assert_eq!(midge.status("Gid:"), u64::from(gid));
    let log = fs::metadata(folder.file("midge.log")).unwrap();
    assert_eq!((log.uid(), log.gid()), (uid, gid));
    // What was opened by root is opened again by whom it is now.
    midge.signals("-HUP");
    midge.waits_for_log("Reloading config.");
    midge.signals("-USR1");
    midge.waits_for_log("Nothing to save");
    let odd = ["Error", "cannot open the log file"];
    assert!(!odd.iter().any(|words| midge.log().contains(words)));
    // A file that it may not open is no reason to refuse a reload.
    let log = folder.file("midge.log");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o000)).unwrap();
    reload(&folder, &midge, |text| text + "max_keepalive 100\n");
    midge.waits_for_log("The log goes on into the file it had.");
    midge.waits_for_log("max_keepalive: 0 becomes 100");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(fs::read_to_string(&log).unwrap().contains("0 becomes 100"));
}

#[test]
fn new_files_are_private_or_as_the_umask_says() {
    let text = format!(
        "{OPEN}listener 0 FOLDER/midge.sock\nlog_dest stderr\nlog_dest file FOLDER/midge.log\n"
    );
    for (environment, expected) in [(&[][..], 0o600), (&[("UMASK_SET", "027")], 0o640)] {
        let folder = Folder::new(&format!("umask{expected}"));
        let _midge = start_in(environment, &folder, &text);
        let mode = |name: &str| fs::metadata(folder.file(name)).unwrap().mode() & 0o777;
        assert_eq!(mode("midge.log"), expected);
        if !environment.is_empty() {
            assert_eq!(mode("midge.sock"), 0o750);
        }
    }
}

#[test]
fn the_environment_says_where_state_is_kept() {
    let folder = Folder::new("location");
    let file = folder.writes(
        "midge.conf",
        "listener 1\npersistence_location /of/the/file\n",
    );
    let found = |environment: Environment| {
        let source = Source {
            file: file.to_str().map(str::to_owned),
            environment,
            ..Source::default()
        };
        let config = source
            .read(&Acceptors::default())
            .map_err(|lines| lines.concat())
            .ok()
            .unwrap()
            .config;
        let option = options::find("persistence_location").unwrap();
        option.in_force(&config, None, None).unwrap()
    };
    assert_eq!(found(Environment::default()), "/of/the/file");
    let find = |name: &str| (name == "MOSQUITTO_PERSISTENCE_LOCATION").then(|| "/data".into());
    assert_eq!(found(Environment::read(find).unwrap()), "/data");
}

#[test]
fn links_of_strangers_are_not_followed() {
    let folder = Folder::new("links");
    let text = "listener PORT 127.0.0.1\nuser root\npassword_file FOLDER/passwords\n\
                pid_file FOLDER/midge.pid\nlog_dest stderr\nlog_dest file FOLDER/midge.log\n";
    // As Kubernetes mounts files: by way of a second link, to a directory.
    fs::create_dir(folder.file("version")).unwrap();
    symlink("version", folder.file("data")).unwrap();
    for name in ["passwords", "midge.pid", "midge.log"] {
        folder.writes(&format!("version/{name}"), "");
        symlink(format!("data/{name}"), folder.file(name)).unwrap();
    }
    let mut midge = start(&folder, text);
    assert!(
        !fs::read(folder.file("version/midge.log"))
            .unwrap()
            .is_empty()
    );
    midge.signals("-TERM");
    assert_eq!(midge.ends().code(), Some(0));
    if own_id() != 0 {
        return; // nobody else can give a link away; src/net/disk.rs has the table
    }
    let file = folder.file("midge.conf");
    for (name, code) in [("passwords", 3), ("midge.log", 14), ("midge.pid", 14)] {
        let link = folder.file(name);
        let _ = fs::remove_file(&link); // the pid file's is gone with the first broker
        symlink(format!("data/{name}"), &link).unwrap();
        lchown(&link, Some(54_321), None).unwrap();
        let arguments = ["-c", file.to_str().unwrap()];
        let (found, err) = run_in(&[], &arguments);
        let words = "a symbolic link that belongs to user 54321";
        let log = fs::read_to_string(folder.file("version/midge.log")).unwrap();
        assert_eq!(found, code, "{name}: {err}");
        assert!(err.contains(words) || log.contains(words), "{name}: {err}");
        let allowed = [("MOSQUITTO_UNSAFE_ALLOW_SYMLINKS", "1")];
        let midge = start_in(&allowed, &folder, text);
        drop(midge);
        lchown(&link, Some(0), None).unwrap();
    }
}

#[test]
fn a_storm_of_connections_is_told_in_a_bounded_number_of_lines() {
    let folder = Folder::new("storm");
    let midge = start(&folder, OPEN);
    let clients = 1000;
    let begun = std::time::Instant::now();
    for _ in 0..clients {
        drop(midge.client(V311, "ann"));
    }
    let seconds = begun.elapsed().as_secs() + 2;
    for kind in ["New connection from", "New client connected from"] {
        let count = || {
            let (mut written, mut told) = (0, 0);
            for line in midge.log().lines().filter(|line| line.contains(kind)) {
                match line.split_once(" more line") {
                    Some((begin, _)) => {
                        told += begin.split(": ").last().unwrap().parse::<u64>().unwrap()
                    }
                    None => written += 1,
                }
            }
            (written, told)
        };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while count().0 + count().1 < clients {
            assert!(std::time::Instant::now() < end, "{kind}: {:?}", count());
            sleep(Duration::from_millis(10));
        }
        let (written, told) = count();
        assert_eq!(written + told, clients, "{kind}");
        assert!(written <= seconds * u64::from(limits::LOG_LINES_PER_KIND));
        assert!(written >= u64::from(limits::LOG_LINES_PER_KIND), "{kind}");
    }
    // What comes afterwards is written again.
    midge.client(V311, "bob");
    midge.waits_for_log("as bob");
}

#[test]
fn destinations_and_types_that_mean_nothing_here_are_named_or_harmless() {
    let folder = Folder::new("odd-log");
    let path = folder.writes("midge.conf", "listener 1\nlog_dest dlt\nlog_dest android\n");
    let (code, _, err) = run(&["-c", path.to_str().unwrap(), "--test-config"]);
    assert_eq!(code, 0);
    for words in [
        "nothing is written to DLT",
        "nothing is written to Android's log",
    ] {
        assert!(err.contains(words), "{err}");
    }
    let midge = start(
        &folder,
        &format!("{OPEN}log_type information\nlog_type internal\nlog_type websockets\n"),
    );
    midge.subscriber("ann", "tea/+", 1);
    midge.waits_for_log("New client connected");
    let log = midge.log();
    assert!(
        !log.contains("Warning") && !log.contains("Sending"),
        "{log}"
    );
}

#[test]
fn a_key_log_for_tls_must_be_writable() {
    let (code, _, err) = run(&["--tls-keylog", "/nowhere/keys", "--test-config"]);
    assert_eq!(code, 3);
    assert!(
        err.starts_with("Error: Cannot write keys to /nowhere/keys: "),
        "{err}"
    );
    let (code, _, err) = run(&["--tls-keylog"]);
    assert_eq!(code, 3);
    assert!(err.contains("tls-keylog"), "{err}");
}

#[test]
fn memory_is_limited_and_a_reload_changes_how_far() {
    let folder = Folder::new("memory");
    let midge = start(&folder, &format!("{OPEN}memory_limit 1\nsys_interval 1\n"));
    midge.waits_for_log("which leaves no room for connections below the memory_limit of 1 bytes");
    // Closed before it has said anything.
    assert!(read_to_close(&mut midge.opens()).is_empty());
    assert!(read_to_close(&mut midge.opens()).is_empty());
    let refused = "Memory is short: refusing new connections.";
    assert_eq!(midge.log().matches(refused).count(), 1);
    reload(&folder, &midge, |text| {
        text.replace("memory_limit 1\n", "memory_limit 2000000\n")
    });
    midge.waits_for_log("memory_limit: 1 becomes 2000000");
    let mut ann = midge.client(V5, "ann");
    ann.write_all(&subscribe(1, "$SYS/broker/heap/maximum", 0).bytes(V5))
        .unwrap();
    assert_eq!(read_packet(&mut ann), suback(1, &[0]).bytes(V5));
    let told = read_packet(&mut ann);
    let digits = told
        .iter()
        .rposition(|byte| !byte.is_ascii_digit())
        .unwrap()
        + 1;
    let maximum: usize = std::str::from_utf8(&told[digits..])
        .unwrap()
        .parse()
        .unwrap();
    assert!((50_000..2_000_000).contains(&maximum), "{maximum}");
    // A packet that is too long for what is left, but not for the protocol.
    let mut bob = midge.client(V5, "bob");
    let packet = publish("tea", vec![7; 1_900_000]).bytes(V5);
    let _ = bob.write_all(&packet);
    assert_eq!(read_packet(&mut bob)[2], 0x97);
    midge.waits_for_log("Memory is short: closing connections whose packets need more.");
    // Others are served as before.
    ann.write_all(&publish("tea", "hot").qos1(2).bytes(V5))
        .unwrap();
    while read_packet(&mut ann)[0] != 0x40 {}
}

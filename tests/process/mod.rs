//! A broker in a process of its own, and what is needed to talk to it over real sockets.
#![allow(dead_code)]

use crate::table::*;
use midge::codec::dialect::ProtocolVersion;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const MIDGE: &str = env!("CARGO_BIN_EXE_midge");

/// A running broker, ended with the test.
pub struct Midge {
    pub child: Child,
    pub port: u16,
    pub log: PathBuf,
}

impl Midge {
    pub fn start() -> Self {
        Self::start_as(|port| {
            let mut command = Command::new(MIDGE);
            command.args(["-p", &port.to_string()]);
            command
        })
    }

    pub fn start_as(command: impl FnOnce(u16) -> Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let port = free_port();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("midge-wire-{port}-{number}.log"));
        let child = command(port)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let midge = Self { child, port, log };
        midge.waits_for_log("running");
        midge
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    pub fn waits_for_log(&self, words: &str) {
        self.waits_for_log_within(words, 10);
    }

    #[track_caller]
    pub fn waits_for_log_within(&self, words: &str, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !self.log().contains(words) {
            assert!(
                Instant::now() < end,
                "no '{words}' in the log:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(10));
        }
    }

    pub fn opens(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    pub fn client(&self, version: ProtocolVersion, name: &str) -> TcpStream {
        let mut stream = self.opens();
        stream.write_all(&connect(name).bytes(version)).unwrap();
        let answer = read_packet(&mut stream);
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
        stream
    }

    pub fn subscriber(&self, name: &str, filter: &str, qos: u8) -> TcpStream {
        let mut stream = self.client(V311, name);
        stream
            .write_all(&subscribe(1, filter, qos).bytes(V311))
            .unwrap();
        assert_eq!(read_packet(&mut stream), suback(1, &[qos]).bytes(V311));
        stream
    }

    pub fn signals(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            sleep(Duration::from_millis(10));
        }
    }

    /// A line of /proc/PID/status as a number.
    pub fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Clock ticks of CPU time used, of which there are 100 a second.
    pub fn cpu_ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = text
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Midge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// A directory of its own for one test, removed with it.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midge-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn writes(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.file(name), text).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A broker with a configuration file, in which PORT stands for its port.
pub fn start(folder: &Folder, text: &str) -> Midge {
    start_in(&[], folder, text)
}

/// The same with variables in its environment.
/// Starts the broker so that a file which may not grow is an error to it, and not its end.
pub fn start_unsignalled(folder: &Folder, text: &str) -> Midge {
    Midge::start_as(|port| {
        let path = folder.writes("midge.conf", &text.replace("PORT", &port.to_string()));
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" -c \"$1\"", MIDGE])
            .arg(path);
        command
    })
}

pub fn start_in(environment: &[(&str, &str)], folder: &Folder, text: &str) -> Midge {
    Midge::start_as(|port| {
        let text = text.replace("PORT", &port.to_string());
        let text = text.replace("FOLDER", folder.path.to_str().unwrap());
        let path = folder.writes("midge.conf", &text);
        let mut command = Command::new(MIDGE);
        command.arg("-c").arg(path);
        command.envs(environment.iter().copied());
        command
    })
}

/// Rewrites the configuration file and tells the broker.
pub fn reload(folder: &Folder, midge: &Midge, change: impl FnOnce(String) -> String) {
    let path = folder.file("midge.conf");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(text)).unwrap();
    midge.signals("-HUP");
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Reads exactly one packet.
pub fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; 1];
    stream.read_exact(&mut packet).expect("a packet");
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        packet.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let start = packet.len();
    packet.resize(start + length, 0);
    stream.read_exact(&mut packet[start..]).unwrap();
    packet
}

/// Reads until the broker closes.
pub fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) => panic!("{error} after {bytes:x?}"),
    }
}

pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(MIDGE).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

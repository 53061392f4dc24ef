//! What connections come by, in every combination: one port for all, Unix sockets, sockets that
//! systemd has opened; and those who never get as far as MQTT.
#![cfg(all(feature = "tls", feature = "websockets"))]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod authority;
mod process;
mod table;
use authority::*;
use process::*;
use table::*;

/// A broker with what `lines` says, where PORT stands for its port.
fn broker(authority: &Authority, lines: &str) -> Midge {
    Midge::start_as(|port| {
        let text = format!("allow_anonymous true\nuser root\nlog_type all\n{lines}\n");
        let text = text.replace("PORT", &port.to_string());
        let mut command = Command::new(MIDGE);
        command.args(["-c", &authority.writes(&format!("midge{port}.conf"), &text)]);
        command
    })
}

fn certificate(authority: &Authority) -> String {
    let (crt, key) = (authority.path("server.crt"), authority.path("server.key"));
    format!("certfile {crt}\nkeyfile {key}\n")
}

/// A WebSocket's request, and a frame with a CONNECT in it.
fn websocket(name: &str) -> Vec<u8> {
    let mut bytes =
        b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n"
            .to_vec();
    let packet = connect(name).bytes(V311);
    bytes.extend([0x82, 0x80 | u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(packet);
    bytes
}

/// Sends `bytes`, and waits for the CONNACK that lets it in.
#[track_caller]
fn comes_in(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(&[0x20, 2, 0, 0]) {
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
}

#[test]
fn one_port_takes_everything() {
    let authority = Authority::new();
    // Written so that mosquitto could still read the file.
    let lines = format!(
        "listener PORT 127.0.0.1\nprotocol mqtt\n#midge_protocol auto\n{}",
        certificate(&authority)
    );
    let midge = broker(&authority, &lines);
    comes_in(&mut midge.opens(), &connect("plain").bytes(V311));
    comes_in(&mut midge.opens(), &websocket("ws"));
    comes_in(
        &mut authority.knows().opens(midge.port),
        &connect("tls").bytes(V311),
    );
    comes_in(&mut authority.knows().opens(midge.port), &websocket("wss"));
    let log = midge.log();
    for (name, is_secure) in [
        ("plain", false),
        ("ws", false),
        ("tls", true),
        ("wss", true),
    ] {
        assert!(log.contains(&format!("as {name} ")), "{log}");
        assert_eq!(
            log.contains(&format!("Client {name} negotiated")),
            is_secure
        );
    }
    let mut stranger = midge.opens();
    stranger.write_all(&[0xc0, 0]).unwrap();
    assert_eq!(read_to_close(&mut stranger), b"");
    midge.waits_for_log("the first packet is PINGREQ, not CONNECT");
}

#[test]
fn one_port_that_asks_for_certificates_takes_nobody_without() {
    let authority = Authority::new();
    let ca = authority.path("ca.crt");
    let lines = format!(
        "listener PORT 127.0.0.1\nprotocol auto\n{}cafile {ca}\nrequire_certificate true",
        certificate(&authority)
    );
    let midge = broker(&authority, &lines);
    for bytes in [connect("plain").bytes(V311), websocket("ws")] {
        let mut stream = midge.opens();
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_to_close(&mut stream), b"");
    }
    midge.waits_for_log("the client showed no certificate");
    let ann = authority.client("ann", |_| {});
    comes_in(
        &mut authority.knows().with(&ann).opens(midge.port),
        &websocket("wss"),
    );
}

#[test]
fn every_stage_at_once() {
    let authority = Authority::new();
    let lines = format!(
        "listener PORT 127.0.0.1\nprotocol websockets\nenable_proxy_protocol 1\n{}",
        certificate(&authority)
    );
    let midge = broker(&authority, &lines);
    let mut stream = TcpStream::connect(("127.0.0.1", midge.port)).unwrap();
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 51234 8883\r\n")
        .unwrap();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(authority.knows().config(), name).unwrap();
    comes_in(
        &mut rustls::StreamOwned::new(client, stream),
        &websocket("ann"),
    );
    midge.waits_for_log("New client connected from 192.0.2.7:51234 as ann");
    midge.waits_for_log("Client ann negotiated TLSv1.3");
}

#[test]
fn a_unix_socket_is_for_its_owner_and_group_and_goes_at_the_end() {
    let authority = Authority::new();
    let path = authority.dir.join("m.sock");
    let line = format!("listener 0 {}\nlistener PORT 127.0.0.1", path.display());
    // One that nobody answers at is in nobody's way.
    drop(UnixListener::bind(&path).unwrap());
    let mut midge = broker(&authority, &line);
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    comes_in(
        &mut UnixStream::connect(&path).unwrap(),
        &connect("ann").bytes(V311),
    );
    midge.waits_for_log("New client connected from local socket as ann");
    // Another broker does not take it.
    let text = format!("listener 0 {}\n", path.display());
    let (code, _, said) = run(&["-c", &authority.writes("second.conf", &text)]);
    assert_eq!(code, 14, "{said}");
    assert!(said.contains("is in use by another program"), "{said}");
    comes_in(
        &mut UnixStream::connect(&path).unwrap(),
        &connect("bob").bytes(V311),
    );
    midge.signals("-TERM");
    assert!(midge.ends().success());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_belongs_to_the_user_that_the_broker_runs_as() {
    let authority = Authority::new();
    let own = fs::metadata(&authority.dir).unwrap().uid();
    let path = authority.dir.join("m.sock");
    let text = format!(
        "listener 0 {}\nlistener PORT 127.0.0.1\nuser nobody\n",
        path.display()
    );
    let midge = Midge::start_as(|port| {
        let text = text.replace("PORT", &port.to_string());
        let mut command = Command::new(MIDGE);
        command.args(["-c", &authority.writes("m.conf", &text)]);
        command
    });
    let found = fs::metadata(&path).unwrap().uid();
    assert_eq!(found, if own == 0 { 65_534 } else { own });
    drop(midge);
}

#[test]
fn sockets_that_systemd_has_opened_go_to_their_listeners() {
    let authority = Authority::new();
    let path = authority.dir.join("s.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let stray_address = stray.local_addr().unwrap();
    let text = format!(
        "listener {port} 127.0.0.1\nlistener 0 {}\nallow_anonymous true\nuser root\n",
        path.display()
    );
    let config = authority.writes("m.conf", &text);
    // They come as numbers 3 and up.
    let script = "exec 3<&0 4<&1 5<&2 0</dev/null 1>/dev/null 2>\"$2\"; \
                  LISTEN_PID=$$ LISTEN_FDS=3 exec \"$0\" -c \"$1\"";
    let log = authority.path("log");
    let mut child = Command::new("sh")
        .args(["-c", script, MIDGE, &config, &log])
        .stdin(Stdio::from(OwnedFd::from(tcp)))
        .stdout(Stdio::from(OwnedFd::from(unix)))
        .stderr(Stdio::from(OwnedFd::from(stray)))
        .spawn()
        .unwrap();
    comes_in(
        &mut TcpStream::connect(("127.0.0.1", port)).unwrap(),
        &connect("ann").bytes(V311),
    );
    comes_in(
        &mut UnixStream::connect(&path).unwrap(),
        &connect("bob").bytes(V311),
    );
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains(&format!(
            "Listening on 127.0.0.1:{port}, which systemd has opened."
        )),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "systemd has opened {stray_address}, which no listener"
        )),
        "{said}"
    );
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(path.exists(), "it is systemd's");
}

/// A connection that dawdles: what it sends at first, and then again and again.
struct Dawdler {
    what: &'static str,
    stream: TcpStream,
    again: &'static [u8],
    ended: Option<Duration>,
}

/// Nobody has longer than it takes to say CONNECT, whatever stage it dawdles in.
#[test]
fn whoever_dawdles_in_any_stage_is_cut_off_in_time() {
    let authority = Authority::new();
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let tls = certificate(&authority);
    let lines = format!(
        "listener PORT 127.0.0.1\nlistener {} 127.0.0.1\nenable_proxy_protocol 1\n\
         listener {} 127.0.0.1\n{tls}listener {} 127.0.0.1\nprotocol websockets\n\
         listener {} 127.0.0.1\nprotocol auto\n{tls}",
        ports[0], ports[1], ports[2], ports[3]
    );
    let midge = broker(&authority, &lines);
    let dawdler = |what, port: u16, first: &[u8], again| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.write_all(first).unwrap();
        Dawdler {
            what,
            stream,
            again,
            ended: None,
        }
    };
    // A ClientHello of 512 bytes, of which only the beginning comes.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let begun = Instant::now();
    let mut handshake = authority.knows().opens(ports[1]);
    while handshake.conn.is_handshaking() {
        handshake.conn.complete_io(&mut handshake.sock).unwrap();
    }
    let quiet = handshake.sock;
    quiet.set_nonblocking(true).unwrap();
    let request = websocket("x");
    let head = request.len() - connect("x").bytes(V311).len() - 6;
    let mut all = vec![
        dawdler("silence", midge.port, b"", b""),
        dawdler("PROXY header", ports[0], b"PROXY TCP", b"6"),
        dawdler("ClientHello", ports[1], hello, b"\0"),
        Dawdler {
            what: "after the handshake",
            stream: quiet,
            again: b"",
            ended: None,
        },
        dawdler("HTTP head", ports[2], b"GET / HTTP/1.1\r\nX: ", b"x"),
        dawdler(
            "frame",
            ports[2],
            &[&request[..head], b"\x82\xfe\x10"].concat(),
            b"",
        ),
        dawdler("pings", ports[2], &request[..head], b"\x89\x80abcd"),
        dawdler("undecided", ports[3], b"", b""),
    ];
    while all.iter().any(|one| one.ended.is_none()) {
        for one in all.iter_mut().filter(|one| one.ended.is_none()) {
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "{} goes on",
                one.what
            );
            let mut heard = [0; 4096];
            let is_over = match one
                .stream
                .write(one.again)
                .and_then(|_| one.stream.read(&mut heard))
            {
                Ok(count) => count == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            one.ended = is_over.then(|| begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for one in all {
        let seconds = one.ended.unwrap().as_secs();
        assert!((29..=34).contains(&seconds), "{}: {seconds} s", one.what);
    }
    assert_eq!(
        midge.log().matches("no CONNECT in time").count(),
        8,
        "{}",
        midge.log()
    );
}

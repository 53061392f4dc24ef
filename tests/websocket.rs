//! WebSockets: frames and the request in front of them, from bytes to bytes; and the broker behind
//! them.
#![cfg(feature = "websockets")]

use midge::net::fault::Fault;
use midge::net::upgrade;
use midge::net::websocket::{Frames, Heard, put_binary};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

mod process;
mod table;
use process::*;
use table::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// What comes of `bytes` in pieces of `step`: payload, answers, and how it ended.
fn decode(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Result<Heard, Fault>) {
    let mut frames = Frames::default();
    let (mut payload, mut answers) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let heard = frames.decode(&mut piece);
        payload.extend(piece);
        frames.put_pong(&mut answers);
        if heard != Ok(Heard::Open) {
            frames.put_close(heard.err(), &mut answers);
            return (payload, answers, heard);
        }
    }
    (payload, answers, Ok(Heard::Open))
}

/// Frames, and what they come to: payload, answers, end.
type Row = (
    Vec<Vec<u8>>,
    &'static [u8],
    &'static [u8],
    Result<Heard, Fault>,
);

#[test]
fn frames_come_to_the_same_however_they_are_cut() {
    let open = Ok(Heard::Open);
    let end = Ok(Heard::End);
    let wrong = |fault| Err(fault);
    let malformed = || wrong(Fault::FrameMalformed);
    let bad = b"\x88\x02\x03\xea"; // 1002
    let rows: Vec<Row> = vec![
        (vec![frame(0x82, b"tea")], b"tea", b"", open),
        (vec![frame(0x82, b"")], b"", b"", open),
        (
            vec![frame(0x82, b"te"), frame(0x82, b"a")],
            b"tea",
            b"",
            open,
        ),
        // A message in three frames, with a ping inside.
        (
            vec![
                frame(0x02, b"t"),
                frame(0x89, b"?"),
                frame(0x00, b"e"),
                frame(0x80, b"a"),
            ],
            b"tea",
            b"\x8a\x01?",
            open,
        ),
        (
            vec![frame(0x8a, b"unasked"), frame(0x82, b"tea")],
            b"tea",
            b"",
            open,
        ),
        (
            vec![frame(0x89, &[7; 125]), frame(0x82, b"tea")],
            b"tea",
            &[0x8a],
            open,
        ),
        (
            vec![frame(0x88, b"\x03\xe8bye"), frame(0x82, b"tea")],
            b"",
            b"\x88\x02\x03\xe8",
            end,
        ),
        (
            vec![frame(0x88, b"\x0f\xa0")],
            b"",
            b"\x88\x02\x0f\xa0",
            end,
        ),
        (vec![frame(0x88, b"")], b"", b"\x88\x02\x03\xe8", end),
        (vec![frame(0x88, b"\x03")], b"", bad, malformed()),
        (vec![frame(0x88, b"\x03\xed")], b"", bad, malformed()),
        (
            vec![frame(0x82, b"tea"), frame(0x81, b"text")],
            b"tea",
            b"\x88\x02\x03\xeb",
            wrong(Fault::FrameText),
        ),
        (
            vec![frame(0x82, b"tea"), frame(0x80, b"?")],
            b"tea",
            bad,
            malformed(),
        ),
        (
            vec![frame(0x02, b"t"), frame(0x82, b"?")],
            b"t",
            bad,
            malformed(),
        ),
        (
            vec![frame(0x02, b"t"), frame(0x81, b"?")],
            b"t",
            bad,
            malformed(),
        ),
        (vec![frame(0xc2, b"t")], b"", bad, malformed()),
        (vec![frame(0x83, b"t")], b"", bad, malformed()),
        (vec![frame(0x8b, b"t")], b"", bad, malformed()),
        (vec![frame(0x09, b"t")], b"", bad, malformed()),
        (vec![frame(0x89, &[7; 126])], b"", bad, malformed()),
        (
            vec![b"\x82\x03tea".to_vec()],
            b"",
            bad,
            wrong(Fault::FrameUnmasked),
        ),
        // More bytes of length than it takes, and more length than is meant.
        (
            vec![b"\x82\xfe\x00\x03abcdtea".to_vec()],
            b"",
            bad,
            malformed(),
        ),
        (
            vec![b"\x82\xff\0\0\0\0\0\0\xff\xffabcd".to_vec()],
            b"",
            bad,
            malformed(),
        ),
        (
            vec![b"\x82\xff\0\0\0\0\x10\0\0\x05abcd".to_vec()],
            b"",
            b"\x88\x02\x03\xf1",
            wrong(Fault::FrameTooLong),
        ),
        (
            vec![b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffabcd".to_vec()],
            b"",
            b"\x88\x02\x03\xf1",
            wrong(Fault::FrameTooLong),
        ),
    ];
    for (frames, payload, answers, heard) in rows {
        let bytes = frames.concat();
        for step in 1..=bytes.len() {
            let found = decode(&bytes, step);
            assert_eq!(
                (found.0.as_slice(), found.2),
                (payload, heard),
                "{bytes:x?} in {step}"
            );
            assert!(
                found.1.starts_with(answers),
                "{bytes:x?} in {step}: {:x?}",
                found.1
            );
            assert_eq!(found.1.is_empty(), answers.is_empty());
        }
    }
}

#[test]
fn long_payloads_come_out_as_they_went_in() {
    for length in [125, 126, 127, 65_535, 65_536, 200_000] {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        for step in [1, 3, 4096, 300_000] {
            let (found, _, heard) = decode(&frame(0x82, &payload), step);
            assert!(
                found == payload && heard == Ok(Heard::Open),
                "{length} in {step}"
            );
        }
        let mut own = Vec::new();
        put_binary(&payload, &mut own);
        assert_eq!(
            own.len() - payload.len(),
            if length < 126 {
                2
            } else if length < 65_536 {
                4
            } else {
                10
            }
        );
        assert!(own.ends_with(&payload));
    }
}

#[test]
fn only_the_last_of_many_pings_is_answered() {
    let mut frames = Frames::default();
    let mut bytes: Vec<u8> = (0..100).flat_map(|number| frame(0x89, &[number])).collect();
    frames.decode(&mut bytes).unwrap();
    let mut answer = Vec::new();
    frames.put_pong(&mut answer);
    frames.put_pong(&mut answer);
    assert_eq!(answer, [0x8a, 1, 99]);
}

const REQUEST: &str = "GET /any/path?q HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn request(more: &str) -> String {
    format!("{REQUEST}{more}\r\n")
}

#[test]
fn a_request_is_granted() {
    // The example of RFC 6455, section 1.3.
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let rows = [
        ("", ""),
        (
            "Sec-WebSocket-Protocol: mqtt\r\n",
            "Sec-WebSocket-Protocol: mqtt\r\n",
        ),
        (
            "Sec-WebSocket-Protocol: mqttv3.1\r\n",
            "Sec-WebSocket-Protocol: mqttv3.1\r\n",
        ),
        (
            "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n",
            "Sec-WebSocket-Protocol: mqtt\r\n",
        ),
        (
            "sec-websocket-protocol: x\r\nSEC-WEBSOCKET-PROTOCOL: mqtt\r\n",
            "Sec-WebSocket-Protocol: mqtt\r\n",
        ),
        ("Origin: https://x\r\nCookie: a=b\r\n", ""),
    ];
    for (more, expected) in rows {
        let request = request(more);
        let with_frames = [request.as_bytes(), &frame(0x82, b"tea")].concat();
        let granted = upgrade::answer(&with_frames, &[]).unwrap().unwrap();
        assert_eq!(granted.request_bytes, request.len());
        assert_eq!(
            String::from_utf8(granted.response).unwrap(),
            format!("{accepted}{expected}\r\n")
        );
        for end in 0..request.len() {
            assert_eq!(
                upgrade::answer(&request.as_bytes()[..end], &[]),
                Ok(None),
                "{end}"
            );
        }
    }
}

#[test]
fn a_request_that_is_not_granted_is_answered_in_words() {
    let no = |from: &str, to: &str| request("").replace(from, to);
    let rows = [
        (
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            Fault::HttpOnly,
            "200 OK",
        ),
        ("HEAD / HTTP/1.1\r\n\r\n".into(), Fault::HttpOnly, "200 OK"),
        (
            "POST / HTTP/1.1\r\n\r\n".into(),
            Fault::HttpOnly,
            "405 Method Not Allowed\r\nAllow: GET",
        ),
        (
            no("Upgrade: websocket", "Upgrade: h2c"),
            Fault::HttpOnly,
            "200 OK",
        ),
        (no("HTTP/1.1", "HTTP/1.0"), Fault::HttpMalformed, "400"),
        (
            no("Version: 13", "Version: 8"),
            Fault::WebSocketVersion,
            "426 Upgrade Required\r\nSec-WebSocket-Version: 13",
        ),
        (
            no("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            Fault::HttpMalformed,
            "400",
        ),
        (no("Sec-WebSocket-Key", "X"), Fault::HttpMalformed, "400"),
        (
            request("Sec-WebSocket-Protocol: stomp\r\n"),
            Fault::WebSocketProtocol,
            "400",
        ),
        ("\x16\x03\x01".into(), Fault::HttpMalformed, "400"),
        (request(&"X: y\r\n".repeat(70)), Fault::HttpTooLong, "431"),
        (
            request(&format!("Cookie: {}\r\n", "x".repeat(9000))),
            Fault::HttpTooLong,
            "431",
        ),
        (
            format!("{REQUEST}Cookie: {}", "x".repeat(9000)),
            Fault::HttpTooLong,
            "431",
        ),
    ];
    for (request, fault, status) in rows {
        let refused = upgrade::answer(request.as_bytes(), &[]).unwrap_err();
        let text = String::from_utf8(refused.response).unwrap();
        assert_eq!(refused.fault, fault, "{request}");
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        let (_, length) = text.split_once("Content-Length: ").unwrap();
        let (length, body) = length.split_once("\r\n").unwrap();
        assert_eq!(
            body.split_once("\r\n\r\n").unwrap().1.len().to_string(),
            length
        );
    }
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let origins = [
        "https://home.example".to_owned(),
        "http://localhost:8080".to_owned(),
    ];
    let answer = |more: &str| upgrade::answer(request(more).as_bytes(), &origins);
    assert!(
        answer("Origin: https://home.example\r\n")
            .unwrap()
            .is_some()
    );
    assert!(
        answer("origin: http://localhost:8080\r\n")
            .unwrap()
            .is_some()
    );
    for other in [
        "",
        "Origin: https://home.example.evil\r\n",
        "Origin: null\r\n",
        "Origin: https://HOME.example\r\n",
    ] {
        let refused = answer(other).unwrap_err();
        assert_eq!(refused.fault, Fault::WebSocketOrigin, "{other}");
        assert!(refused.response.starts_with(b"HTTP/1.1 403 Forbidden"));
    }
}

/// A broker with one listener that has what `more` says.
fn broker(more: &str) -> Midge {
    Midge::start_as(|port| {
        let path = std::env::temp_dir().join(format!("midge-websocket-{port}.conf"));
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\n{more}\n"
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(MIDGE);
        command.arg("-c").arg(path);
        command
    })
}

/// Opens a WebSocket.
fn opens(midge: &Midge, more: &str) -> TcpStream {
    let mut stream = midge.opens();
    stream.write_all(request(more).as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
    stream
}

#[track_caller]
fn gets(stream: &mut TcpStream, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn packets_are_split_and_joined_at_will() {
    for protocol in ["websockets", "auto"] {
        let midge = broker(&format!("protocol {protocol}"));
        let mut ann = opens(&midge, "Sec-WebSocket-Protocol: mqtt\r\n");
        let packets = [
            connect("ann").bytes(V311),
            subscribe(1, "tea", 0).bytes(V311),
        ]
        .concat();
        for byte in &packets[..5] {
            ann.write_all(&frame(0x82, &[*byte])).unwrap();
        }
        ann.write_all(&frame(0x02, &packets[5..9])).unwrap();
        ann.write_all(&frame(0x80, &packets[9..])).unwrap();
        gets(&mut ann, &[0x82, 9, 0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
        ann.write_all(&frame(0x89, b"still there?")).unwrap();
        gets(&mut ann, b"\x8a\x0cstill there?");
        ann.write_all(&frame(0x82, &publish("tea", "hot").bytes(V311)))
            .unwrap();
        gets(&mut ann, b"\x82\x0a\x30\x08\0\x03teahot");
        ann.write_all(&frame(0x88, b"\x03\xe9")).unwrap();
        gets(&mut ann, b"\x88\x02\x03\xe9");
        assert_eq!(read_to_close(&mut ann), b"");
        midge.waits_for_log("Client ann [127.0.0.1:");
        midge.waits_for_log("disconnected: connection closed by client");
    }
}

#[test]
fn a_long_message_goes_out_in_frames_of_a_bounded_length() {
    let midge = broker("protocol websockets");
    let mut ann = opens(&midge, "");
    let payload = "x".repeat(100_000);
    let packets = [
        connect("ann").bytes(V311),
        subscribe(1, "tea", 0).bytes(V311),
        publish("tea", &payload).bytes(V311),
    ];
    ann.write_all(&frame(0x82, &packets.concat())).unwrap();
    let mut expected = vec![0x20, 2, 0, 0, 0x90, 3, 0, 1, 0];
    expected.extend(publish("tea", &payload).bytes(V311));
    let mut found = Vec::new();
    while found.len() < expected.len() {
        let mut head = [0; 2];
        ann.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x82);
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                ann.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            short => usize::from(short),
        };
        assert!(length <= 16 << 10);
        let before = found.len();
        found.resize(before + length, 0);
        ann.read_exact(&mut found[before..]).unwrap();
    }
    assert!(found == expected);
}

#[test]
fn what_is_wrong_ends_it_with_a_status_and_a_line() {
    let midge = broker("protocol websockets\nwebsockets_origin http://here");
    let mut ann = opens(&midge, "Origin: http://here\r\n");
    ann.write_all(&frame(0x81, b"hello")).unwrap();
    assert_eq!(read_to_close(&mut ann), b"\x88\x02\x03\xeb");
    midge.waits_for_log("MQTT came in a WebSocket's text frame");
    // Behind a CONNECT of 5.0, in the same order: DISCONNECT, and the end of the WebSocket.
    let mut bob = opens(&midge, "Origin: http://here\r\n");
    bob.write_all(&frame(0x82, &connect("bob").bytes(V5)))
        .unwrap();
    let mut head = [0; 2];
    bob.read_exact(&mut head).unwrap();
    gets(&mut bob, &[0x20]);
    bob.read_exact(&mut vec![0; usize::from(head[1]) - 1])
        .unwrap();
    bob.write_all(b"\x82\x03tea").unwrap();
    let end = read_to_close(&mut bob);
    assert_eq!((end[0], end[2], end[4]), (0x82, 0xe0, 0x82), "{end:x?}");
    assert!(end.ends_with(b"\x88\x02\x03\xea"), "{end:x?}");
    let mut cat = midge.opens();
    cat.write_all(request("Origin: http://there\r\n").as_bytes())
        .unwrap();
    assert!(read_to_close(&mut cat).starts_with(b"HTTP/1.1 403"));
    midge.waits_for_log("whose origin is not among websockets_origin");
    let mut dan = midge.opens();
    dan.write_all(&connect("dan").bytes(V311)).unwrap();
    assert_eq!(read_to_close(&mut dan), b"");
    midge.waits_for_log("this looks like MQTT without a WebSocket");
    let mut eve = midge.opens();
    eve.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    assert_eq!(read_to_close(&mut eve), b"");
    midge.waits_for_log("a TLS client on the plain port");
    let mut browser = midge.opens();
    browser
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let page = String::from_utf8(read_to_close(&mut browser)).unwrap();
    assert!(page.contains("MQTT over WebSockets"), "{page}");
}

#[test]
fn the_address_that_a_proxy_nearby_has_seen_is_logged() {
    let midge = broker("protocol websockets");
    let rows = [
        ("X-Forwarded-For: 203.0.113.9, 192.0.2.7\r\n", "192.0.2.7:0"),
        ("X-Real-IP: 2001:db8::7\r\n", "2001:db8::7:0"),
        (
            "X-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.8\r\n",
            "192.0.2.8:0",
        ),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.1:"),
    ];
    for (at, (more, address)) in rows.into_iter().enumerate() {
        let mut stream = opens(&midge, more);
        let name = format!("ann{at}");
        stream
            .write_all(&frame(0x82, &connect(&name).bytes(V311)))
            .unwrap();
        midge.waits_for_log(&format!("New client connected from {address}"));
        midge.waits_for_log(&format!("as {name} "));
    }
    // Who comes by a proxy from far away cannot say where it is.
    let midge = broker("protocol websockets\nenable_proxy_protocol 1");
    let mut far = midge.opens();
    far.write_all(b"PROXY TCP4 198.51.100.3 127.0.0.1 1 2\r\n")
        .unwrap();
    far.write_all(request("X-Forwarded-For: 192.0.2.7\r\n").as_bytes())
        .unwrap();
    far.write_all(&frame(0x82, &connect("far").bytes(V311)))
        .unwrap();
    midge.waits_for_log("New client connected from 198.51.100.3:1 as far");
}

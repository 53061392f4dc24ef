//! The PROXY protocol's header, from bytes to what it says; and what the broker makes of it.

use midge::net::fault::Fault;
use midge::net::proxy::{Header, ProxiedTls, Version};
use std::io::Write;
use std::process::Command;

mod process;
mod table;
use process::*;
use table::*;

type Read = Result<Option<(Header, usize)>, Fault>;

fn from(address: &str) -> Header {
    Header {
        address: Some(address.parse().unwrap()),
        ..Header::default()
    }
}

/// A header of version 2 with this command, family and body.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn value(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}

const IPV4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0xc8, 0x22, 0x22, 0xb3];

fn with(values: &[Vec<u8>]) -> Vec<u8> {
    [IPV4, &values.concat()].concat()
}

/// What a proxy says of TLS: two bytes of flags and result, then values.
fn ssl(client: u8, verify: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let mut inside = vec![client];
    inside.extend(verify.to_be_bytes());
    inside.extend(values.concat());
    value(0x20, &inside)
}

/// Reads `bytes` with something behind them: what is read must not depend on where it was cut.
#[track_caller]
fn reads(bytes: &[u8], version: Version) -> Result<Header, Fault> {
    let more = [bytes, b"\x10\x0c"].concat();
    let whole = Header::read(&more, version);
    for end in 0..bytes.len() {
        let part: Read = Header::read(&bytes[..end], version);
        let is_early_error = part.is_err() && part == whole;
        assert!(part == Ok(None) || is_early_error, "{end} bytes: {part:?}");
    }
    whole.map(|found| {
        let (header, count) = found.expect("a whole header");
        assert_eq!(count, bytes.len());
        header
    })
}

#[test]
fn version_1_is_a_line() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let rows: [(&str, Result<Header, Fault>); 16] = [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883\r\n",
            Ok(from("192.0.2.7:51234")),
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n",
            Ok(from("[2001:db8::7]:1")),
        ),
        ("PROXY UNKNOWN\r\n", Ok(Header::default())),
        (
            "PROXY UNKNOWN ffff::1 ffff::2 1 2 and more\r\n",
            Ok(Header::default()),
        ),
        (
            longest,
            Ok(from("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883 1\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 192.0.2.7  198.51.100.1 51234 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 192.0.2.256 198.51.100.1 51234 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 2001:db8::7 198.51.100.1 51234 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        (
            "PROXY SCTP 192.0.2.7 198.51.100.1 1 8883\r\n",
            Err(Fault::ProxyMalformed),
        ),
        ("PROXY\r\n", Err(Fault::NoProxyHeader)),
        ("GET / HTTP/1.1\r\n", Err(Fault::NoProxyHeader)),
        ("\r\n\r\n\0\r\nQUIT\n", Err(Fault::ProxyVersion)),
    ];
    assert_eq!(longest.len(), 104);
    for (line, expected) in rows {
        assert_eq!(reads(line.as_bytes(), Version::V1), expected, "{line:?}");
    }
    let endless = "PROXY UNKNOWN ".to_owned() + &"x".repeat(200);
    assert_eq!(
        Header::read(endless.as_bytes(), Version::V1),
        Err(Fault::ProxyTooLong)
    );
    assert_eq!(
        Header::read(&endless.as_bytes()[..106], Version::V1),
        Ok(None)
    );
}

#[test]
fn version_2_is_binary() {
    let ipv6 = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[7],
        &[0; 16],
        &[0, 1, 0, 2],
    ]
    .concat();
    let rows: [(Vec<u8>, Result<Header, Fault>); 14] = [
        (v2(0x21, 0x11, IPV4), Ok(from("192.0.2.7:51234"))),
        (v2(0x21, 0x21, &ipv6), Ok(from("[2001:db8::7]:1"))),
        (v2(0x21, 0x31, &[0; 216]), Ok(Header::default())),
        (v2(0x21, 0x00, &[1, 2, 3]), Ok(Header::default())),
        (
            v2(0x20, 0x00, &[]),
            Ok(Header {
                is_local: true,
                ..Header::default()
            }),
        ),
        (
            v2(0x20, 0x11, IPV4),
            Ok(Header {
                is_local: true,
                ..Header::default()
            }),
        ),
        (
            v2(0x21, 0x11, &with(&[value(4, &[0; 7]), value(2, b"host")])),
            Ok(from("192.0.2.7:51234")),
        ),
        (v2(0x21, 0x11, &IPV4[..11]), Err(Fault::ProxyMalformed)),
        (v2(0x21, 0x21, IPV4), Err(Fault::ProxyMalformed)),
        (
            v2(0x21, 0x11, &[IPV4, &[4, 0]].concat()),
            Err(Fault::ProxyMalformed),
        ),
        (
            v2(0x21, 0x11, &[IPV4, &[4, 0, 2, 1]].concat()),
            Err(Fault::ProxyMalformed),
        ),
        (
            v2(0x21, 0x11, &with(&[value(0x20, &[1, 0, 0])])),
            Err(Fault::ProxyMalformed),
        ),
        (v2(0x22, 0x11, IPV4), Err(Fault::ProxyMalformed)),
        (v2(0x11, 0x11, IPV4), Err(Fault::ProxyMalformed)),
    ];
    for (bytes, expected) in rows {
        assert_eq!(
            reads(&bytes, Version::V2),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(
        Header::read(&v2(0x21, 0x11, &[0; 2049])[..16], Version::V2),
        Err(Fault::ProxyTooLong)
    );
    assert_eq!(
        Header::read(b"PROXY TCP4", Version::V2),
        Err(Fault::ProxyVersion)
    );
    assert_eq!(
        Header::read(b"\x10\x0c", Version::V2),
        Err(Fault::NoProxyHeader)
    );
}

#[test]
fn version_2_tells_of_tls() {
    let values = [
        value(0x21, b"TLSv1.3"),
        value(0x23, b"TLS_AES_128_GCM_SHA256"),
        value(0x22, b"ann"),
    ];
    let tls = |is_verified: bool| ProxiedTls {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        is_verified,
        common_name: is_verified.then(|| "ann".into()),
    };
    let rows = [
        // With TLS, with a certificate that was found valid: now, or when the session began.
        (ssl(0x03, 0, &values), Some(tls(true))),
        (ssl(0x05, 0, &values), Some(tls(true))),
        (ssl(0x07, 0, &values), Some(tls(true))),
        // Not found valid; none shown; no TLS at all.
        (ssl(0x07, 10, &values), Some(tls(false))),
        (ssl(0x01, 0, &values), Some(tls(false))),
        (ssl(0x00, 0, &[]), None),
    ];
    for (said, expected) in rows {
        let header = reads(&v2(0x21, 0x11, &with(&[said])), Version::V2).unwrap();
        assert_eq!(header.tls, expected);
    }
}

/// A broker with one listener that has what `more` says.
fn broker(more: &str) -> Midge {
    Midge::start_as(|port| {
        let path = std::env::temp_dir().join(format!("midge-proxy-{port}.conf"));
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\n{more}\n"
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(MIDGE);
        command.arg("-c").arg(path);
        command
    })
}

fn says(midge: &Midge, header: &[u8]) -> Vec<u8> {
    let mut stream = midge.opens();
    stream.write_all(header).unwrap();
    let _ = stream.write_all(&connect("ann").bytes(V311));
    let mut answer = vec![0; 4];
    match std::io::Read::read_exact(&mut stream, &mut answer) {
        Ok(()) => answer,
        Err(_) => Vec::new(),
    }
}

#[test]
fn the_client_is_where_the_proxy_says() {
    let midge = broker("enable_proxy_protocol 1");
    let let_in = [0x20, 2, 0, 0];
    assert_eq!(
        says(&midge, b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883\r\n"),
        let_in
    );
    midge.waits_for_log("New client connected from 192.0.2.7:51234 as ann");
    assert_eq!(says(&midge, b"PROXY UNKNOWN\r\n"), let_in);
    midge.waits_for_log("New client connected from 127.0.0.1:");
    assert_eq!(says(&midge, b""), b"");
    midge.waits_for_log("no PROXY header came");
    assert_eq!(says(&midge, &v2(0x21, 0x11, IPV4)), b"");
    midge.waits_for_log("the PROXY header is of the other version");
    // It comes byte by byte, with the CONNECT behind it in one piece.
    let mut stream = midge.opens();
    stream.set_nodelay(true).unwrap();
    let header = b"PROXY TCP6 2001:db8::7 2001:db8::1 77 8883\r\n";
    for byte in header {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&connect("bob").bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut stream), let_in);
    midge.waits_for_log("New client connected from 2001:db8::7:77 as bob");
}

#[test]
fn what_the_proxy_knows_of_tls_counts() {
    let midge = broker(
        "enable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\nuse_identity_as_username true",
    );
    let header = |said: Vec<u8>| v2(0x21, 0x11, &with(&[said]));
    let values = [
        value(0x21, b"TLSv1.2"),
        value(0x23, b"ECDHE"),
        value(0x22, b"sensor-1"),
    ];
    assert_eq!(
        says(&midge, &header(ssl(0x07, 0, &values))),
        [0x20, 2, 0, 0]
    );
    midge.waits_for_log("u'sensor-1'");
    midge.waits_for_log("Client ann negotiated TLSv1.2 cipher ECDHE");
    assert_eq!(
        says(&midge, &header(ssl(0x07, 1, &values))),
        [0x20, 2, 0, 4]
    );
    midge.waits_for_log("a certificate's name is the username here");
    assert_eq!(says(&midge, &header(ssl(0, 0, &[]))), b"");
    assert_eq!(says(&midge, &v2(0x21, 0x11, IPV4)), b"");
    midge.waits_for_log("the client came to the proxy without TLS");
    // A health check says who it is, and goes.
    let mut check = midge.opens();
    check.write_all(&v2(0x20, 0, &[])).unwrap();
    drop(check);

    let midge = broker("enable_proxy_protocol 2\nrequire_certificate true");
    assert_eq!(says(&midge, &header(ssl(0x07, 1, &values))), b"");
    midge.waits_for_log("the client showed the proxy no valid certificate");
    assert_eq!(
        says(&midge, &header(ssl(0x07, 0, &values))),
        [0x20, 2, 0, 0]
    );
}

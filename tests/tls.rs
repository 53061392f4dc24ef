//! TLS, with the real binary and an authority of the test's own: who comes in, who does not and
//! what the log says then, and what a reload puts in force.
#![cfg(feature = "tls")]

use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

mod authority;
mod process;
mod table;
use authority::*;
use process::*;
use table::*;

/// A broker with one listener that has TLS and what else `more` says.
fn broker(authority: &Authority, more: &str) -> Midge {
    Midge::start_as(|port| {
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\n\
             certfile {}\nkeyfile {}\n{more}\n",
            authority.path("server.crt"),
            authority.path("server.key")
        );
        let path = authority.writes("midge.conf", &text);
        let mut command = Command::new(MIDGE);
        command.args(["-c", &path]);
        command
    })
}

/// The lines for a listener that wants certificates.
fn mutual(authority: &Authority) -> String {
    format!(
        "cafile {}\nrequire_certificate true\n",
        authority.path("ca.crt")
    )
}

/// Says CONNECT, and waits for the answer that lets it in.
#[track_caller]
fn comes_in(stream: &mut Secure, name: &str) {
    stream.write_all(&connect(name).bytes(V311)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

/// Tries to come in, and does not.
#[track_caller]
fn stays_out(stream: &mut Secure) {
    let mut answer = [0; 4];
    // In TLS 1.3 the client is through before the broker has looked at its certificate.
    let _ = stream.write_all(&connect("ann").bytes(V311));
    let answered = stream.read_exact(&mut answer);
    assert!(answered.is_err(), "{answer:x?}");
}

#[test]
fn clients_come_in_with_every_version_of_tls_and_mqtt() {
    let authority = Authority::new();
    let midge = broker(&authority, "");
    let ciphers = [
        (
            &rustls::version::TLS13,
            "TLSv1.3 cipher TLS_AES_256_GCM_SHA384",
        ),
        (
            &rustls::version::TLS12,
            "TLSv1.2 cipher ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
    ];
    for (tls, words) in ciphers {
        for version in ANY {
            let name = format!("ann{}{}", version.level(), tls.version.as_str().unwrap());
            let mut ann = authority.knows().speaking(tls).opens(midge.port);
            ann.write_all(&connect(&name).bytes(version)).unwrap();
            let mut answer = [0; 4];
            ann.read_exact(&mut answer).unwrap();
            assert_eq!((answer[0], answer[3]), (0x20, 0));
            midge.waits_for_log(&format!("Client {name} negotiated {words}"));
        }
    }
}

#[test]
fn long_messages_cross_records_in_both_directions() {
    let authority = Authority::new();
    let midge = broker(&authority, "");
    let mut ann = authority.knows().opens(midge.port);
    comes_in(&mut ann, "ann");
    let payload = "x".repeat(300_000);
    ann.write_all(&subscribe(1, "tea", 0).bytes(V311)).unwrap();
    ann.write_all(&publish("tea", &payload).bytes(V311))
        .unwrap();
    ann.write_all(&[0xc0, 0]).unwrap();
    let mut expected = suback(1, &[0]).bytes(V311);
    expected.extend(publish("tea", &payload).bytes(V311));
    expected.extend([0xd0, 0]);
    let mut heard = vec![0; expected.len()];
    ann.read_exact(&mut heard).unwrap();
    assert!(heard == expected);
}

/// A broker that asks for certificates, a client, and the sentence about it.
#[test]
fn every_certificate_that_does_not_do_has_its_own_sentence() {
    let authority = Authority::new();
    let other = Authority::new();
    let revoked = authority.client("gone", |_| {});
    let list = authority.writes("crl.pem", &authority.revokes(revoked.serial));
    let midge = broker(&authority, &format!("{}crlfile {list}", mutual(&authority)));
    let knows = || authority.knows();
    let cases = [
        (None, "the client showed no certificate"),
        (
            Some(authority.client("ann", |p| p.not_after = date_time_ymd(2001, 1, 1))),
            "the client's certificate has expired",
        ),
        (
            Some(authority.client("ann", |p| p.not_before = date_time_ymd(3999, 1, 1))),
            "the client's certificate is not valid yet",
        ),
        (Some(revoked), "the client's certificate has been revoked"),
        (
            Some(other.client("ann", |_| {})),
            "the client's certificate comes from an unknown authority",
        ),
        (
            Some(authority.client("ann", |p| {
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })),
            "the client's certificate is not for clients",
        ),
    ];
    for tls in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (pair, words) in &cases {
            let before = midge.log().matches(words).count();
            let mut settings = knows().speaking(tls);
            settings.pair.clone_from(pair);
            stays_out(&mut settings.opens(midge.port));
            let end = Instant::now() + Duration::from_secs(10);
            while midge.log().matches(words).count() == before {
                assert!(Instant::now() < end, "no '{words}' in\n{}", midge.log());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    comes_in(
        &mut knows()
            .with(&authority.client("ann", |_| {}))
            .opens(midge.port),
        "ann",
    );
}

#[test]
fn what_the_client_does_not_like_of_the_broker_is_said_too() {
    let authority = Authority::new();
    let midge = broker(&authority, "");
    let other = Authority::new();
    stays_out(&mut other.knows().opens(midge.port));
    midge.waits_for_log("the client does not know the authority of this broker's certificate");
    stays_out(&mut secure(
        authority.knows().config(),
        "example.org",
        midge.port,
    ));
    midge.waits_for_log("it was most likely told to connect to a name that does not stand in it");
    authority.installs(&authority.server(|p| p.not_after = date_time_ymd(2001, 1, 1)));
    midge.signals("-HUP");
    midge.waits_for_log("expired on 2001-01-01");
    stays_out(&mut authority.knows().opens(midge.port));
    midge.waits_for_log("the client says that this broker's certificate has expired");
}

#[test]
fn those_who_speak_something_else_are_told_apart() {
    let authority = Authority::new();
    let midge = broker(&authority, "tls_version tlsv1.3");
    let mut plain = midge.opens();
    plain.write_all(&connect("ann").bytes(V311)).unwrap();
    assert_eq!(read_to_close(&mut plain), b"");
    midge.waits_for_log("a plain client on the TLS port");
    let mut browser = midge.opens();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_to_close(&mut browser), b"");
    midge.waits_for_log("this looks like HTTP without TLS");
    let mut noise = midge.opens();
    noise.write_all(b"\x01\x02\x03").unwrap();
    assert_eq!(read_to_close(&mut noise), b"");
    midge.waits_for_log("this is not TLS, which is spoken here");
    stays_out(
        &mut authority
            .knows()
            .speaking(&rustls::version::TLS12)
            .opens(midge.port),
    );
    midge.waits_for_log("the client speaks no version of TLS that is spoken here");
    let mut broken = midge.opens();
    broken
        .write_all(b"\x16\x03\x01\x00\x02\x01\x02\x16\x03\x01\xff\xff")
        .unwrap();
    let alert = read_to_close(&mut broken);
    assert_eq!((alert[0], alert.len()), (0x15, 7), "{alert:x?}");
    midge.waits_for_log("the client broke the rules of TLS");

    let bare = Midge::start();
    stays_out(&mut authority.knows().opens(bare.port));
    bare.waits_for_log("a TLS client on the plain port");
}

#[test]
fn the_common_name_or_the_subject_is_the_username() {
    let authority = Authority::new();
    let rules = authority.writes("acl", "user sensor-1\ntopic write a/#\n");
    let more = format!(
        "{}use_identity_as_username true\nacl_file {rules}\npassword_file {}",
        mutual(&authority),
        authority.writes("passwords", "")
    );
    let midge = broker(&authority, &more);
    let sensor = authority.client("sensor-1", |_| {});
    let mut ann = authority.knows().with(&sensor).opens(midge.port);
    let packet = connect("ann").user("admin").pass(b"wrong");
    ann.write_all(&packet.bytes(V311)).unwrap();
    let mut answer = [0; 4];
    ann.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "no password is asked for");
    midge.waits_for_log("u'sensor-1'");
    let nameless = authority.client("", |p| {
        p.distinguished_name
            .remove(DnType::CommonName)
            .then_some(())
            .unwrap()
    });
    let mut bob = authority.knows().with(&nameless).opens(midge.port);
    bob.write_all(&connect("bob").bytes(V311)).unwrap();
    bob.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 4]);
    midge
        .waits_for_log("a certificate's name is the username here, and this client has shown none");

    let more = format!("{}use_subject_as_username true", mutual(&authority));
    let midge = broker(&authority, &more);
    comes_in(
        &mut authority.knows().with(&sensor).opens(midge.port),
        "ann",
    );
    midge.waits_for_log("u'CN=sensor-1,O=Acme\\, Inc.'");
}

#[test]
fn a_chain_of_three_is_followed() {
    let authority = Authority::new();
    let middle = authority::authority("Middle", Some(&authority.root));
    let last = authority::authority("Last", Some(&middle));
    let mut pair = client_of(&last, "ann", |_| {});
    let midge = broker(&authority, &mutual(&authority));
    stays_out(&mut authority.knows().with(&pair).opens(midge.port));
    midge.waits_for_log("comes from an unknown authority");
    pair.chain = format!("{}{}{}", pair.chain, last.pem(), middle.pem());
    comes_in(&mut authority.knows().with(&pair).opens(midge.port), "ann");
}

/// As `openssl x509 -req` has made them for many years, by the instructions of mosquitto and others:
/// see `authority/version1`.
#[test]
fn certificates_of_version_1_are_taken_unless_revocation_counts() {
    let authority = Authority::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authority/version1");
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let pair = |name: &str| Pair {
        chain: read(&format!("{name}.crt")),
        key: read(&format!("{name}.key")),
        serial: 0,
    };
    authority.writes(
        "ca.crt",
        &format!("{}{}", read("ca.crt"), authority.root.pem()),
    );
    let more = format!("{}use_identity_as_username true", mutual(&authority));
    let midge = broker(&authority, &more);
    for tls in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for name in ["rsa", "ec"] {
            let settings = authority.knows().speaking(tls).with(&pair(name));
            comes_in(&mut settings.opens(midge.port), "ann");
            midge.waits_for_log(&format!("u'{name}'"));
        }
        // Another's certificate, without its key.
        let stolen = Pair {
            key: pair("stranger").key,
            ..pair("ec")
        };
        stays_out(
            &mut authority
                .knows()
                .speaking(tls)
                .with(&stolen)
                .opens(midge.port),
        );
        // An authority of the same name.
        stays_out(
            &mut authority
                .knows()
                .speaking(tls)
                .with(&pair("stranger"))
                .opens(midge.port),
        );
        stays_out(
            &mut authority
                .knows()
                .speaking(tls)
                .with(&pair("old"))
                .opens(midge.port),
        );
    }
    midge.waits_for_log("the signature of the client's certificate is wrong");
    midge.waits_for_log("the client's certificate has expired");
    let list = authority.writes("crl.pem", &authority.revokes(7));
    let midge = broker(&authority, &format!("{}crlfile {list}", mutual(&authority)));
    stays_out(&mut authority.knows().with(&pair("ec")).opens(midge.port));
    midge.waits_for_log("of X.509 version 1 where there is a crlfile");
}

#[test]
fn authorities_may_lie_in_a_directory_beside_other_files() {
    let authority = Authority::new();
    let directory = authority.dir.join("authorities");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("1a2b3c4d.0"), authority.root.pem()).unwrap();
    fs::write(directory.join("README"), "nothing").unwrap();
    let more = format!("capath {}\nrequire_certificate true", directory.display());
    let midge = broker(&authority, &more);
    let ann = authority.client("ann", |_| {});
    comes_in(&mut authority.knows().with(&ann).opens(midge.port), "ann");
}

#[test]
fn out_of_date_certificates_do_where_dates_do_not_count() {
    let authority = Authority::new();
    let more = format!("{}disable_client_cert_date_checks true", mutual(&authority));
    let midge = broker(&authority, &more);
    for year in [2001, 3999] {
        let pair = authority.client("ann", |p| match year {
            2001 => p.not_after = date_time_ymd(year, 1, 1),
            _ => p.not_before = date_time_ymd(year, 1, 1),
        });
        comes_in(&mut authority.knows().with(&pair).opens(midge.port), "ann");
    }
}

#[test]
fn who_comes_back_resumes_until_what_is_trusted_has_changed() {
    let authority = Authority::new();
    let ann = authority.client("ann", |_| {});
    let list = authority.writes("crl.pem", &authority.revokes(7));
    let midge = broker(&authority, &format!("{}crlfile {list}", mutual(&authority)));
    for tls in [&rustls::version::TLS12, &rustls::version::TLS13] {
        authority.writes("crl.pem", &authority.revokes(7));
        midge.signals("-HUP");
        let config = authority.knows().speaking(tls).with(&ann).config();
        let kinds = [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed];
        std::thread::sleep(Duration::from_millis(300));
        for kind in kinds {
            let mut stream = secure(config.clone(), "localhost", midge.port);
            comes_in(&mut stream, "ann");
            assert_eq!(stream.conn.handshake_kind(), Some(kind), "{tls:?}");
        }
        authority.writes("crl.pem", &authority.revokes(ann.serial));
        let before = midge.log().matches("Reloading config").count();
        midge.signals("-HUP");
        while midge.log().matches("Reloading config").count() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
        stays_out(&mut secure(config, "localhost", midge.port));
        midge.waits_for_log("has been revoked");
    }
}

/// The serial number of the certificate that a new client is shown.
fn shown(authority: &Authority, port: u16) -> Vec<u8> {
    let mut stream = authority.knows().opens(port);
    comes_in(&mut stream, "probe");
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_new_certificate_holds_for_new_connections_and_a_broken_one_for_none() {
    let authority = Authority::new();
    let midge = broker(&authority, "");
    let mut old = authority.knows().opens(midge.port);
    comes_in(&mut old, "old");
    let first = shown(&authority, midge.port);
    // The key of another: the old pair stays.
    let (one, other) = (authority.server(|_| {}), authority.server(|_| {}));
    authority.writes("server.crt", &one.chain);
    authority.writes("server.key", &other.key);
    midge.signals("-HUP");
    midge.waits_for_log("do not belong together");
    midge.waits_for_log("The running configuration stays in force.");
    assert_eq!(shown(&authority, midge.port), first);
    authority.installs(&one);
    midge.signals("-HUP");
    std::thread::sleep(Duration::from_millis(300));
    let second = shown(&authority, midge.port);
    assert_ne!(second, first);
    // Nobody says so: the files are looked at every ten seconds.
    authority.installs(&other);
    midge.waits_for_log_within("their files have changed", 25);
    assert!(![first, second].contains(&shown(&authority, midge.port)));
    old.write_all(&[0xc0, 0]).unwrap();
    let mut pong = [0; 2];
    old.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0xd0, 0]);
}

#[test]
fn the_end_of_a_certificate_is_seen_coming() {
    let authority = Authority::new();
    let soon = std::time::SystemTime::now() + Duration::from_secs(9 * 24 * 3600 + 3600);
    authority.installs(&authority.server(|p| p.not_after = soon.into()));
    let midge = broker(&authority, "");
    midge.waits_for_log("expires in 9 days, on ");
    let mut ann = authority.knows().opens(midge.port);
    comes_in(&mut ann, "ann");
    let topic = format!(
        "$SYS/broker/midge/listener/{} 127.0.0.1/certificate/days_left",
        midge.port
    );
    ann.write_all(&subscribe(1, &topic, 0).bytes(V311)).unwrap();
    let mut expected = suback(1, &[0]).bytes(V311);
    expected.extend(publish(&topic, "9").retain().bytes(V311));
    let mut heard = vec![0; expected.len()];
    ann.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

/// Runs openssl.
fn openssl(arguments: &str, dir: &Path) {
    let mut command = Command::new("openssl");
    let done = command.args(arguments.split(' ')).current_dir(dir).output();
    let done = done.expect("openssl is needed: apt-get install openssl");
    assert!(done.status.success(), "openssl {arguments}: {done:?}");
}

#[test]
fn keys_come_in_every_form() {
    let authority = Authority::new();
    let rows = [
        (
            "RSA, PKCS#8",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out k",
            "pkey -in k -out server.key",
            "BEGIN PRIVATE KEY",
        ),
        (
            "RSA, PKCS#1",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out k",
            "rsa -in k -traditional -out server.key",
            "BEGIN RSA PRIVATE KEY",
        ),
        (
            "ECDSA, SEC1",
            "ecparam -name secp384r1 -genkey -noout -out k",
            "ec -in k -out server.key",
            "BEGIN EC PRIVATE KEY",
        ),
        (
            "ECDSA, PKCS#8",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out k",
            "pkey -in k -out server.key",
            "BEGIN PRIVATE KEY",
        ),
        (
            "Ed25519",
            "genpkey -algorithm ED25519 -out k",
            "pkey -in k -out server.key",
            "BEGIN PRIVATE KEY",
        ),
    ];
    for (what, make, store, begins) in rows {
        openssl(make, &authority.dir);
        openssl(store, &authority.dir);
        assert!(
            fs::read_to_string(authority.path("server.key"))
                .unwrap()
                .contains(begins),
            "{what}"
        );
        openssl(
            "req -new -key server.key -subj /CN=localhost -out r",
            &authority.dir,
        );
        authority.writes("ca.key", &authority.root.key().serialize_pem());
        authority.writes("ext", "subjectAltName=DNS:localhost");
        openssl(
            "x509 -req -in r -CA ca.crt -CAkey ca.key -days 9 -extfile ext -out server.crt",
            &authority.dir,
        );
        let midge = broker(&authority, "");
        comes_in(&mut authority.knows().opens(midge.port), "ann");
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said_before_the_start() {
    let authority = Authority::new();
    let (crt, key) = (authority.path("server.crt"), authority.path("server.key"));
    let nothing = authority.writes("nothing", "nothing");
    let encrypted = authority.writes("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    let other = authority.writes("other", &authority.server(|_| {}).key);
    let rows = [
        (
            format!("certfile /no\nkeyfile {key}"),
            "certfile /no: it cannot be read, there is none.",
        ),
        (
            format!("certfile {nothing}\nkeyfile {key}"),
            "there is no certificate in it; it must be in PEM form",
        ),
        (
            format!("certfile {crt}\nkeyfile /no"),
            "keyfile /no: it cannot be read, there is none.",
        ),
        (
            format!("certfile {crt}\nkeyfile {nothing}"),
            "there is no private key in it",
        ),
        (
            format!("certfile {crt}\nkeyfile {encrypted}"),
            "the key is encrypted",
        ),
        (
            format!("certfile {crt}\nkeyfile {other}"),
            "do not belong together",
        ),
        (
            format!("certfile {crt}\nkeyfile {key}\ncafile {nothing}"),
            "cafile",
        ),
        (
            format!("certfile {crt}\nkeyfile {key}\ncapath /no"),
            "capath /no: it cannot be listed",
        ),
        (
            format!("certfile {crt}\nkeyfile {key}\ncrlfile {nothing}"),
            "there is no revocation list in it",
        ),
        (
            format!("certfile {crt}\nkeyfile {key}\nciphers RC4-SHA\nciphers_tls1.3 x"),
            "leave no cipher to speak",
        ),
    ];
    for (lines, words) in rows {
        let path = authority.writes("wrong.conf", &format!("listener 1883\n{lines}\n"));
        let (code, _, said) = run(&["-c", &path, "--test-config"]);
        assert!(said.contains(words), "{lines}:\n{said}");
        assert_eq!(code, 3, "{lines}");
    }
}

#[test]
fn ciphers_are_chosen_by_their_names() {
    let authority = Authority::new();
    let rows = [
        (
            "ciphers ECDHE-ECDSA-AES128-GCM-SHA256:RC4-SHA",
            &rustls::version::TLS12,
            "TLSv1.2 cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            "ciphers ECDHE+CHACHA20:!aNULL",
            &rustls::version::TLS12,
            "TLSv1.2 cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            "ciphers HIGH:!AES256:!CHACHA20:-aRSA:@STRENGTH",
            &rustls::version::TLS12,
            "TLSv1.2 cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            "ciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256",
            &rustls::version::TLS13,
            "TLSv1.3 cipher TLS_CHACHA20_POLY1305_SHA256",
        ),
    ];
    for (line, version, words) in rows {
        let midge = broker(&authority, line);
        comes_in(
            &mut authority.knows().speaking(version).opens(midge.port),
            "ann",
        );
        midge.waits_for_log(words);
        let is_odd = line.contains("RC4");
        assert_eq!(
            midge
                .log()
                .contains("ciphers: RC4-SHA cannot be spoken here"),
            is_odd
        );
    }
}

#[test]
fn the_keys_of_connections_are_written_down_where_asked() {
    let authority = Authority::new();
    let keys = authority.path("keys");
    let midge = Midge::start_as(|port| {
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\ncertfile {}\nkeyfile {}\n",
            authority.path("server.crt"),
            authority.path("server.key")
        );
        let mut command = Command::new(MIDGE);
        command.args([
            "-c",
            &authority.writes("m.conf", &text),
            "--tls-keylog",
            &keys,
        ]);
        command
    });
    comes_in(&mut authority.knows().opens(midge.port), "ann");
    let text = fs::read_to_string(&keys).unwrap();
    assert!(text.contains("CLIENT_TRAFFIC_SECRET_0 ") && text.contains("SERVER_TRAFFIC_SECRET_0 "));
    let mode = fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

//! Logins over real sockets: a whole server in a thread, with a password file. What the shell has to
//! do for those who wait is seen here, and what a storm of logins costs the others is measured.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use midge::config::{Config, Security};
use midge::net::Server;
use midge::policy::Lists;
use midge::policy::hash::{Recipe, StoredHash};
use mio::Events;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

mod table;
use table::*;

/// Serves until the process ends. Nobody needs a username; `ann`'s password is `tea`.
fn serves(hash: String) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let users = format!("ann:{hash}\n");
        let security = Security {
            allow_anonymous: true,
            password_file: Some("users".into()),
            ..Security::default()
        };
        let mut config = Config::default();
        for listener in &mut config.listeners {
            listener.security = security.clone();
        }
        let (lists, _) = Lists::read(&config, &FilesAt(&[("users", &users)])).unwrap();
        let mut server = Server::with_lists(Rc::new(config), &lists).unwrap();
        let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        tell.send(address).unwrap();
        let mut events = Events::with_capacity(64);
        loop {
            server.turn(&mut events).unwrap();
        }
    });
    told.recv().unwrap()
}

fn pbkdf2() -> String {
    let recipe = Recipe::DEFAULT;
    let salt = vec![7; recipe.salt_bytes()];
    let hash = StoredHash::new(recipe, b"tea", &salt).unwrap();
    hash.to_string()
}

/// With 4 MiB, where mosquitto's takes 46: fifty of those are too long a storm for a test whose
/// code is not optimised.
fn argon2id() -> String {
    let (memory_kib, salt) = (4096, [7; 16]);
    let params = Params::new(memory_kib, 1, 1, Some(32)).unwrap();
    let mut blocks = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = [0; 32];
    argon2
        .hash_password_into_with_memory(b"tea", &salt, &mut hash, &mut blocks)
        .unwrap();
    let (salt, hash) = (
        Base64Unpadded::encode_string(&salt),
        Base64Unpadded::encode_string(&hash),
    );
    format!("$argon2id$v=19$m={memory_kib},t=1,p=1${salt}${hash}")
}

fn opens(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

#[track_caller]
fn hears(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[test]
fn what_was_sent_behind_a_connect_is_heard_though_its_sender_has_gone() {
    let address = serves(pbkdf2());
    for version in EVERY {
        let mut bob = opens(address);
        let mut packets = connect("bob").bytes(V311);
        packets.extend(subscribe(1, "tea", 0).bytes(V311));
        bob.write_all(&packets).unwrap();
        hears(&mut bob, &connack(false).bytes(V311));
        hears(&mut bob, &suback(1, &[0]).bytes(V311));
        let mut ann = opens(address);
        let mut packets = connect("ann").user("ann").pass(b"tea").bytes(version);
        let long = "hot ".repeat(100_000);
        packets.extend(publish("tea", &long).bytes(version));
        packets.extend(publish("tea", "last").bytes(version));
        packets.extend(disconnect().bytes(version));
        ann.write_all(&packets).unwrap();
        ann.shutdown(Shutdown::Write).unwrap();
        hears(&mut bob, &publish("tea", &long).bytes(V311));
        hears(&mut bob, &publish("tea", "last").bytes(V311));
        let mut answer = Vec::new();
        ann.read_to_end(&mut answer).unwrap();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
    }
}

#[test]
fn a_message_waits_for_a_hash_or_two_while_fifty_log_in() {
    const STORM: usize = 50;
    let address = serves(argon2id());
    let mut talker = opens(address);
    let mut packets = connect("talker").bytes(V311);
    packets.extend(subscribe(1, "tea", 0).bytes(V311));
    talker.write_all(&packets).unwrap();
    hears(&mut talker, &connack(false).bytes(V311));
    hears(&mut talker, &suback(1, &[0]).bytes(V311));
    talker.set_nodelay(true).unwrap();

    let started = Instant::now();
    let mut storm: Vec<_> = (0..STORM).map(|_| opens(address)).collect();
    for (index, stream) in storm.iter_mut().enumerate() {
        let packet = connect(&format!("storm-{index}")).user("ann").pass(b"tea");
        stream.write_all(&packet.bytes(V311)).unwrap();
    }
    let last = storm.pop().unwrap();
    let waits = thread::spawn(move || {
        let mut last = last;
        hears(&mut last, &connack(false).bytes(V311));
        started.elapsed()
    });
    let tea = publish("tea", "hot").bytes(V311);
    let mut longest = Duration::ZERO;
    let mut count = 0;
    while !waits.is_finished() {
        let sent = Instant::now();
        talker.write_all(&tea).unwrap();
        hears(&mut talker, &tea);
        longest = longest.max(sent.elapsed());
        count += 1;
    }
    let storm_lasted = waits.join().unwrap();
    println!("{count} messages through a storm of {storm_lasted:?}, the longest in {longest:?}");
    // A machine that is busy with other things makes single turns long, hence not two fiftieths.
    assert!(
        longest < storm_lasted / 4,
        "{longest:?} of {storm_lasted:?}"
    );
    for stream in &mut storm {
        hears(stream, &connack(false).bytes(V311));
    }
}

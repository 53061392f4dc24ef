//! `memory_limit` under a storm, counted by the allocator byte by byte: a hundred thousand QoS 1
//! messages for sessions that are away and have no other limit, readers that do not read, and long
//! packets that are never finished. The heap must stay below the limit at every allocation, what
//! was acknowledged must arrive, and when the storm is over everybody must be served again.
//!
//! The server is in this process; its clients are this program once more, in another one.

use cap::Cap;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::config::Config;
use midge::limits;
use midge::net::Server;
use mio::Events;
use std::alloc::System;
use std::collections::BTreeSet;
use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod table;
use table::*;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

fn heap() -> usize {
    usize::MAX - HEAP.remaining()
}

const LIMIT: usize = 20 << 20;

/// Sessions that are away.
const ABSENT: usize = 10;
/// Clients that do not read, and the QoS 0 messages of a kilobyte that they are sent: ten times
/// what their sockets take.
const SLOW: usize = 16;
const SEEN: usize = 20_000;
const SEEN_BYTES: usize = 1000;
/// Clients that connect in the end, each with a Will, until no more are let in.
const CROWD: usize = 5000;
const WILL_BYTES: usize = 8000;
/// Clients that begin a packet of a million bytes and never end it.
const HALVES: usize = 40;
const HALF_BYTES: usize = 1_000_000;
/// Of them, half speak 5.0 and are told what is refused, half speak 3.1.1 and lose the connection.
const PUBLISHERS: usize = 4;
const MESSAGES: usize = 100_000;
const EACH: usize = MESSAGES / PUBLISHERS;
/// Messages a publisher sends before it waits for their acknowledgements.
const WINDOW: usize = 20;
const PAYLOAD_BYTES: usize = 250;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    match env::args().nth(1).as_deref() {
        Some("clients") => be_clients(&env::args().nth(2).expect("an address")),
        _ => the_heap_stays_below_the_limit_and_nothing_accepted_is_lost(),
    }
}

fn the_heap_stays_below_the_limit_and_nothing_accepted_is_lost() {
    let config = Config {
        memory_limit: LIMIT as u64,
        max_queued_messages: 0,
        sys_interval: 1,
        ..Config::default()
    };
    let mut server = Server::new(Rc::new(config)).unwrap();
    server.measure(heap);
    let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut clients = Command::new(env::current_exe().unwrap())
        .args(["clients", &address.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut events = Events::with_capacity(limits::EVENTS_PER_TURN);
    let status = loop {
        server.turn(&mut events).unwrap();
        if let Some(status) = clients.try_wait().unwrap() {
            break status;
        }
    };
    while server.broker().sizes().connections > 0 {
        server.turn(&mut events).unwrap();
    }
    let (most, left) = (HEAP.max_allocated(), heap());
    let stats = *server.broker().stats();
    println!(
        "at most {most} bytes of {LIMIT}, {left} at the end; {} messages dropped, {} refused, {} \
         packets, {} connections",
        stats.dropped_memory,
        stats.refused_messages,
        stats.refused_packets,
        stats.refused_connections
    );
    assert!(status.success(), "the clients have failed");
    assert!(most <= LIMIT, "{most} is more than {LIMIT}");
    assert!(most >= LIMIT / 16 * limits::MEMORY_QUEUES, "no storm");
    assert!(stats.dropped_memory > 0 && stats.refused_messages > 0);
    assert!(stats.refused_packets > 0 && stats.refused_connections > 0);
    assert!(left < LIMIT / 10, "{left} bytes are not given back");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

fn be_clients(address: &str) {
    for index in 0..ABSENT {
        let mut client = Talker::join(address, V311, &format!("away-{index}"));
        client.says(&subscribe(1, "flood/#", 1));
        client.hears();
    }
    let slow: Vec<_> = (0..SLOW)
        .map(|index| {
            let mut client = Talker::join(address, V5, &format!("slow-{index}"));
            client.says(&subscribe(1, "#", 0));
            client.hears();
            client
        })
        .collect();
    let done = AtomicUsize::new(0);
    let accepted: Vec<BTreeSet<String>> = thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|index| {
                let done = &done;
                scope.spawn(move || floods(address, index, done))
            })
            .collect();
        begins_long_packets(address, 0..MESSAGES / 4, &done);
        scope.spawn(|| shows(address));
        begins_long_packets(address, MESSAGES / 2..MESSAGES / 4 * 3, &done);
        let joined = publishers.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    });
    drop(slow);
    let accepted: BTreeSet<String> = accepted.into_iter().flatten().collect();
    println!("{} of {MESSAGES} messages were accepted", accepted.len());
    assert!(
        (1..MESSAGES).contains(&accepted.len()),
        "the storm was none"
    );
    let crowd = crowds(address);
    println!("{crowd} of a crowd were let in");
    assert!((1..CROWD).contains(&crowd));
    for index in 0..ABSENT {
        let received = fetches(address, &format!("away-{index}"));
        let lost = accepted.difference(&received).count();
        assert_eq!(lost, 0, "acknowledged, and not there");
    }
    is_served_as_ever(address);
}

/// Sends its share of the flood: the topics that were acknowledged as accepted.
fn floods(address: &str, index: usize, done: &AtomicUsize) -> BTreeSet<String> {
    let version = if index % 2 == 0 { V5 } else { V311 };
    let name = format!("publisher-{index}");
    let mut client = Talker::join(address, version, &name);
    let mut accepted = BTreeSet::new();
    for first in (0..EACH).step_by(WINDOW) {
        let topics: Vec<_> = (first..first + WINDOW)
            .map(|number| format!("flood/{index}/{number}"))
            .collect();
        let sent = client.try_publish(&topics, &mut accepted);
        if sent.is_err() {
            // What was not acknowledged was not accepted, or will be there once too often.
            client = Talker::join(address, version, &name);
        }
        done.fetch_add(WINDOW, Ordering::Relaxed);
    }
    accepted
}

/// Publishes at QoS 0, as fast as it is read.
fn shows(address: &str) {
    let mut client = Talker::join(address, V5, "shows");
    let packet = publish("seen", [7; SEEN_BYTES]);
    for _ in 0..SEEN {
        client.says(&packet);
    }
    // All of it has been read when this is answered.
    client.says(&pingreq());
    client.hears();
}

/// While the flood has come so far, many hold on to long packets that they have begun.
fn begins_long_packets(address: &str, during: Range<usize>, done: &AtomicUsize) {
    waits_until(|| done.load(Ordering::Relaxed) >= during.start);
    let mut halves = Vec::new();
    for index in 0..HALVES {
        let mut client = Talker::join(address, V5, &format!("half-{index}"));
        let packet = publish("long", vec![7; HALF_BYTES]).qos1(1).bytes(V5);
        // It may be cut off half way.
        let _ = client.stream.write_all(&packet[..HALF_BYTES - 1]);
        halves.push(client);
    }
    waits_until(|| done.load(Ordering::Relaxed) >= during.end);
}

/// Where what waits has taken its share, a crowd fills the rest up; how many of them are let in.
fn crowds(address: &str) -> usize {
    let will = connect("").will("gone", vec![7; WILL_BYTES], 1, false);
    let joined = (0..CROWD).map_while(|_| Talker::try_connect(address, V311, &will).ok());
    joined.collect::<Vec<_>>().len()
}

/// A session comes back for what waits: the topics of all that it is sent.
fn fetches(address: &str, name: &str) -> BTreeSet<String> {
    let mut client = Talker::join(address, V311, name);
    let mut received = BTreeSet::new();
    // Whoever sends a PINGREQ now is answered when the window is full, not when all was sent: the
    // end is where nothing comes for a while.
    let patience = Some(Duration::from_millis(500));
    client.stream.set_read_timeout(patience).unwrap();
    while let Ok(packet) = client.try_hear() {
        let frame = Frame::cut(&packet, limits::PACKET_BYTES_MAX);
        let frame = frame.unwrap().unwrap();
        let Packet::Publish(message) = Packet::decode(&frame, V311).unwrap() else {
            panic!("{packet:x?}");
        };
        received.insert(message.topic.to_owned());
        let id = message.packet_identifier.unwrap().get();
        client.says(&puback(id));
    }
    received
}

/// The storm is over: a new client gets all it asks for.
fn is_served_as_ever(address: &str) {
    for version in EVERY {
        let mut ann = Talker::try_connect(address, version, &connect("ann")).unwrap();
        ann.says(&subscribe(1, "calm/#", 1));
        assert_eq!(ann.hears(), suback(1, &[1]).bytes(version));
        let long = vec![7; HALF_BYTES];
        ann.says(&publish("calm", &long).qos1(2).retain());
        let heard = [ann.hears(), ann.hears()];
        assert!(heard.contains(&puback(2).bytes(version)));
        ann.says(&puback(1));
        ann.says(&publish("calm", "").qos1(3).retain());
    }
}

fn waits_until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client on a real socket.
struct Talker {
    stream: TcpStream,
    version: ProtocolVersion,
}

impl Talker {
    /// Connects, again and again while it is refused.
    fn join(address: &str, version: ProtocolVersion, name: &str) -> Self {
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::try_join(address, version, name) {
                Ok(client) => return client,
                Err(kind) => assert!(Instant::now() < end, "{name} is not let in: {kind}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn try_join(address: &str, version: ProtocolVersion, name: &str) -> Result<Self, ErrorKind> {
        Self::try_connect(address, version, &connect(name).lasting(1000))
    }

    fn try_connect(
        address: &str,
        version: ProtocolVersion,
        packet: &Say,
    ) -> Result<Self, ErrorKind> {
        let stream = TcpStream::connect(address).map_err(|error| error.kind())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream, version };
        let written = client.stream.write_all(&packet.bytes(version));
        written.map_err(|error| error.kind())?;
        match client.try_hear()? {
            answer if answer[0] == 0x20 && answer[3] == 0 => Ok(client),
            _ => Err(ErrorKind::ConnectionRefused),
        }
    }

    /// Publishes to these topics at QoS 1, and notes which of them were accepted.
    fn try_publish(
        &mut self,
        topics: &[String],
        accepted: &mut BTreeSet<String>,
    ) -> Result<(), ErrorKind> {
        let mut packets = Vec::new();
        for (topic, id) in topics.iter().zip(1..) {
            let packet = publish(topic, [7; PAYLOAD_BYTES]).qos1(id);
            packets.extend(packet.bytes(self.version));
        }
        let written = self.stream.write_all(&packets);
        written.map_err(|error| error.kind())?;
        for topic in topics {
            let packet = self.try_hear()?;
            let frame = Frame::cut(&packet, limits::PACKET_BYTES_MAX);
            match Packet::decode(&frame.unwrap().unwrap(), self.version).unwrap() {
                Packet::Ack(ack) if !ack.reason.is_failure() => {
                    accepted.insert(topic.clone());
                }
                Packet::Ack(_) => {}
                Packet::Disconnect(_) => return Err(ErrorKind::ConnectionAborted),
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }

    fn says(&mut self, packet: &Say) {
        self.stream.write_all(&packet.bytes(self.version)).unwrap();
    }

    fn hears(&mut self) -> Vec<u8> {
        self.try_hear().unwrap()
    }

    /// Exactly one packet.
    fn try_hear(&mut self) -> Result<Vec<u8>, ErrorKind> {
        let mut read = |bytes: &mut [u8]| {
            let read = self.stream.read_exact(bytes);
            read.map_err(|error| error.kind())
        };
        let mut packet = vec![0];
        read(&mut packet)?;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            read(&mut byte)?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        read(&mut packet[start..])?;
        Ok(packet)
    }
}

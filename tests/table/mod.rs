//! The dialogue table: the core on one side, any number of clients on the other, and a clock that
//! only the test moves. No sockets, no waiting.
//!
//! ```text
//!   let mut t = Table::new();
//!   let (ann, bob) = (t.client(V311, "ann"), t.client(V5, "bob"));
//!   t.sends(bob, subscribe(1, "tea/+", 1));
//!   t.gets(bob, suback(1, &[1]));
//!   t.sends(ann, publish("tea/green", "hot"));
//!   t.gets(bob, publish("tea/green", "hot"));
//!   t.silence();
//! ```
//!
//! What is expected is compared byte for byte; a failure prints both packets decoded. Every
//! method that lets the broker act also checks its bookkeeping.
#![allow(dead_code)]

pub mod ledger;
pub mod log;
pub mod raw;

use ledger::Ledger;
use midge::broker::client::{Introduction, Peer};
use midge::broker::key::ConnId;
use midge::broker::queue::Share;
use midge::broker::{Broker, Closed};
use midge::codec::ack::{Ack, AckKind};
use midge::codec::connect::{ConnAck, Connect, Will};
use midge::codec::control::{Auth, Disconnect};
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property};
use midge::codec::publish::Publish;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::{SubAck, SubscriptionOptions, encode_subscribe, encode_unsubscribe};
use midge::config::{Config, FileError, Files, Listener};
use midge::limits;
use midge::message::{PacketIdentifier, QoS};
use midge::policy::Lists;
use midge::time::{Mono, Now, Unix};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

pub use midge::codec::dialect::ProtocolVersion::{V5, V31, V311};

/// All versions, for dialogues that are the same in each.
pub const EVERY: [ProtocolVersion; 3] = [V31, V311, V5];

/// One connection at the table. The number never changes hands, unlike the broker's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(usize);

struct Chair {
    conn: ConnId,
    name: String,
    version: ProtocolVersion,
    /// What the broker has sent and nobody has looked at.
    heard: Vec<u8>,
    /// What was sent and not used: the front of a packet.
    unsent: Vec<u8>,
    /// Whether this client reads; if not, its write queue fills.
    reads: bool,
    /// Whether the broker has asked to close it.
    is_closed: bool,
    is_gone: bool,
}

/// The core, its clients and its clock.
pub struct Table {
    pub broker: Broker,
    now: Now,
    chairs: Vec<Chair>,
    free: Vec<ConnId>,
    /// The place of the listener that new connections come by.
    listener: usize,
    config: Rc<Config>,
    /// What the broker has told its journal, if it was asked to.
    ledger: Option<Ledger>,
    /// How much of a queue it keeps in memory.
    share: Share,
    /// Whether what it asks for cannot be read for now.
    is_unreadable: bool,
}

impl Table {
    /// A broker with default settings, but without `$SYS`.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A broker with other settings.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            sys_interval: 0,
            ..Config::default()
        };
        change(&mut config);
        Self::of(config, &Lists::default())
    }

    /// A broker with these files, by path, for the listeners that `change` gives them to.
    pub fn with_files(files: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let (config, lists) = configure(files, change);
        Self::of(config, &lists)
    }

    /// The broker is told to go on with other settings and files.
    pub fn reconfigures(&mut self, files: &[(&str, &str)], change: impl FnOnce(&mut Config)) {
        let (config, lists) = configure(files, change);
        self.broker.reconfigure(Rc::new(config), &lists, self.now);
        self.settle();
    }

    fn of(config: Config, lists: &Lists) -> Self {
        let now = Now {
            mono: Mono::from_millis(1_000_000),
            unix: Unix(1_800_000_000),
        };
        let config = Rc::new(config);
        Self {
            broker: Broker::with_lists(Rc::clone(&config), lists, 7),
            now,
            chairs: Vec::new(),
            free: Vec::new(),
            listener: 0,
            config,
            ledger: None,
            share: Share::default(),
            is_unreadable: false,
        }
    }

    /// From now on the broker remembers.
    pub fn remembers(mut self) -> Self {
        self.broker.effects().journal.begin(0);
        self.ledger = Some(Ledger::default());
        self
    }

    /// Of queues that are remembered the broker keeps so many messages in memory.
    pub fn keeps_in_memory(mut self, messages: usize) -> Self {
        self.share = Share {
            messages,
            ..Share::default()
        };
        self.broker.share_memory(self.share);
        self
    }

    /// Nothing can be read for now of what the broker remembers, or it can be again.
    pub fn is_unreadable(&mut self, is_unreadable: bool) {
        self.is_unreadable = is_unreadable;
        self.settle();
    }

    /// What was remembered and is in no memory is lost: how many messages.
    pub fn loses_store(&mut self) -> usize {
        if let Some(ledger) = &mut self.ledger {
            ledger.lose(self.broker.spilled());
        }
        let lost = self.broker.lose_stored(self.now);
        self.settle();
        lost
    }

    /// Messages that the broker has in its memory no more.
    pub fn spilled(&self) -> usize {
        self.broker.spilled().map(|(.., count)| count).sum()
    }

    /// The broker is killed, and another one goes on with what it remembered: nobody is connected.
    pub fn restarts(&mut self) {
        self.settle();
        let mut ledger = self.ledger.take().expect("the broker remembers");
        self.broker = Broker::with_lists(Rc::clone(&self.config), &Lists::default(), 8);
        self.broker.share_memory(self.share);
        ledger.restore(&mut self.broker, self.now);
        self.ledger = Some(ledger);
        self.free.clear();
        for chair in &mut self.chairs {
            chair.is_gone = true;
            chair.heard.clear();
        }
        self.settle();
    }

    /// What the broker told is safe, and is what there is to tell.
    fn enter(&mut self) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        for record in self.broker.effects().journal.take() {
            ledger.enter(record);
        }
        self.broker.kept();
        let (told, is) = (ledger.lines(), ledger.lines_of(&self.broker));
        let without = |of: &[String], others: &[String]| {
            let odd = of.iter().filter(|line| !others.contains(line));
            odd.cloned().collect::<Vec<_>>().join("\n  ")
        };
        assert!(
            told == is,
            "told, but not so:\n  {}\nso, but not told:\n  {}",
            without(&told, &is),
            without(&is, &told)
        );
    }

    /// Long queues leave the broker's memory, and come back as it asks; whether any did, or another
    /// session got what one has left that has ended.
    fn recall(&mut self) -> bool {
        let Some(ledger) = &mut self.ledger else {
            return false;
        };
        self.broker.stored(|_| {});
        let left = ledger.take_left();
        for delivery in &left {
            self.broker.hand_on(delivery, self.now);
        }
        if self.is_unreadable {
            return !left.is_empty();
        }
        let recalls = std::mem::take(&mut self.broker.effects().recalls);
        for recall in &recalls {
            let (found, next) = ledger.answer(recall);
            self.broker.recalled(recall, found, next, self.now);
        }
        !left.is_empty() || !recalls.is_empty()
    }

    /// A broker whose listeners all have other settings.
    pub fn with_listeners(change: impl FnMut(&mut Listener)) -> Self {
        Self::with(|config| config.listeners.iter_mut().for_each(change))
    }

    /// New connections come by another listener from now on; the first is 0.
    pub fn comes_by(&mut self, listener: usize) {
        self.listener = listener;
    }

    fn chair(&mut self, seat: Seat) -> &mut Chair {
        &mut self.chairs[seat.0]
    }

    /// A connection that has sent nothing yet.
    pub fn opens(&mut self) -> Seat {
        let conn = self.free.pop().unwrap_or_else(|| {
            let in_use = self.chairs.iter().filter(|chair| !chair.is_gone).count();
            ConnId::from_index(in_use)
        });
        let seat = Seat(self.chairs.len());
        let port = u16::try_from(40_000 + seat.0 % 20_000).unwrap();
        self.chairs.push(Chair {
            conn,
            name: format!("seat {}", seat.0),
            version: V311,
            heard: Vec::new(),
            unsent: Vec::new(),
            reads: true,
            is_closed: false,
            is_gone: false,
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peer = Peer::new(address, 1883, self.listener);
        self.broker.opened(conn, peer, self.now);
        self.settle();
        seat
    }

    /// What carries a connection has learnt more of its other end.
    pub fn introduces(&mut self, seat: Seat, introduction: Introduction) {
        let conn = self.chair(seat).conn;
        self.broker.introduced(conn, introduction);
        self.settle();
    }

    /// What carries a connection cannot go on, for this reason.
    pub fn rejects(&mut self, seat: Seat, why: Option<&'static str>) {
        let (conn, now) = (self.chair(seat).conn, self.now);
        self.broker.rejected(conn, why, now);
        self.settle();
    }

    /// A client that has connected cleanly: Clean Session or Clean Start, Keep Alive off.
    pub fn client(&mut self, version: ProtocolVersion, name: &str) -> Seat {
        self.connects(version, connect(name))
    }

    /// A client that has connected with this CONNECT and was let in.
    pub fn connects(&mut self, version: ProtocolVersion, packet: Say) -> Seat {
        let seat = self.says_connect(version, packet);
        match self.next(seat) {
            Some(bytes) if bytes[0] == 0x20 && bytes[3] == 0 => {}
            other => panic!("not let in: {other:x?}"),
        }
        seat
    }

    /// A new connection that sends this CONNECT; the answer is still to be looked at.
    pub fn says_connect(&mut self, version: ProtocolVersion, packet: Say) -> Seat {
        let seat = self.opens();
        let chair = self.chair(seat);
        chair.version = version;
        if let What::Connect { name, .. } = &packet.what {
            chair.name = name.clone();
        }
        self.sends(seat, packet);
        seat
    }

    /// A client sends a packet.
    pub fn sends(&mut self, seat: Seat, packet: Say) {
        let version = self.chair(seat).version;
        let bytes = packet.bytes(version);
        self.sends_bytes(seat, &bytes);
    }

    /// A client sends bytes. What the broker does not use is offered again with what comes next,
    /// as the shell does.
    pub fn sends_bytes(&mut self, seat: Seat, bytes: &[u8]) {
        let now = self.now;
        let chair = &mut self.chairs[seat.0];
        assert!(!chair.is_gone, "{} is gone and cannot send", chair.name);
        chair.unsent.extend_from_slice(bytes);
        if !chair.is_closed {
            let used = self.broker.received(chair.conn, &chair.unsent, now);
            chair.unsent.drain(..used);
        }
        self.settle();
    }

    /// A client hears exactly this next.
    #[track_caller]
    pub fn gets(&mut self, seat: Seat, expected: Say) {
        let version = self.chair(seat).version;
        let expected = expected.bytes(version);
        let Some(heard) = self.next(seat) else {
            let name = &self.chairs[seat.0].name;
            panic!(
                "{name} hears nothing, but should: {}",
                show(&expected, version)
            );
        };
        let name = &self.chairs[seat.0].name;
        assert!(
            heard == expected,
            "{name} should hear {}\n         but hears {}",
            show(&expected, version),
            show(&heard, version)
        );
    }

    /// A client hears these packets next, in any order (of different topics, say).
    #[track_caller]
    pub fn gets_all(&mut self, seat: Seat, expected: impl IntoIterator<Item = Say>) {
        let version = self.chair(seat).version;
        let mut expected: Vec<_> = expected.into_iter().map(|say| say.bytes(version)).collect();
        let mut heard: Vec<_> = (0..expected.len()).map_while(|_| self.next(seat)).collect();
        expected.sort();
        heard.sort();
        let show_all = |packets: &[Vec<u8>]| {
            packets
                .iter()
                .map(|p| show(p, version))
                .collect::<Vec<_>>()
                .join("\n  ")
        };
        assert!(
            heard == expected,
            "{} should hear\n  {}\nbut hears\n  {}",
            self.chairs[seat.0].name,
            show_all(&expected),
            show_all(&heard)
        );
    }

    /// The bytes of the packet a client hears next.
    pub fn next(&mut self, seat: Seat) -> Option<Vec<u8>> {
        self.settle();
        let chair = self.chair(seat);
        let frame = Frame::cut(&chair.heard, limits::PACKET_BYTES_MAX).expect("a whole packet")?;
        let bytes = frame.header.packet_bytes() as usize;
        Some(chair.heard.drain(..bytes).collect())
    }

    /// Looks at the packet a client hears next, decoded.
    #[track_caller]
    pub fn hears<R>(&mut self, seat: Seat, look: impl FnOnce(Packet<'_>) -> R) -> R {
        let version = self.chair(seat).version;
        let bytes = self.next(seat).expect("the client hears nothing");
        let frame = Frame::cut(&bytes, limits::PACKET_BYTES_MAX)
            .unwrap()
            .unwrap();
        look(Packet::decode(&frame, version).expect("the broker sends what decodes"))
    }

    /// Looks at the packet a client hears next, a QoS 1 or 2 PUBLISH or PUBREL, and says how it is
    /// answered; `None` if it hears nothing.
    #[track_caller]
    pub fn next_answer(&mut self, seat: Seat, look: impl FnOnce(&Packet<'_>)) -> Option<Say> {
        let version = self.chair(seat).version;
        let bytes = self.next(seat)?;
        let frame = Frame::cut(&bytes, limits::PACKET_BYTES_MAX).unwrap()?;
        let packet = Packet::decode(&frame, version).expect("the broker sends what decodes");
        look(&packet);
        Some(match packet {
            Packet::Publish(packet) => match (packet.qos, packet.packet_identifier) {
                (QoS::AtLeastOnce, Some(id)) => puback(id.get()),
                (QoS::ExactlyOnce, Some(id)) => pubrec(id.get()),
                other => panic!("{other:?} has no answer"),
            },
            Packet::Ack(packet) if packet.kind == AckKind::PubRel => {
                pubcomp(packet.packet_identifier.get())
            }
            other => panic!("{other:?} has no answer"),
        })
    }

    /// A client hears nothing more for now.
    #[track_caller]
    pub fn nothing(&mut self, seat: Seat) {
        let version = self.chair(seat).version;
        if let Some(heard) = self.next(seat) {
            panic!(
                "{} hears {}",
                self.chairs[seat.0].name,
                show(&heard, version)
            );
        }
    }

    /// Nobody hears anything more, and nobody is closed who was not.
    #[track_caller]
    pub fn silence(&mut self) {
        for index in 0..self.chairs.len() {
            self.nothing(Seat(index));
        }
    }

    /// Bytes a client has heard and not looked at.
    pub fn heard_bytes(&mut self, seat: Seat) -> usize {
        self.settle();
        self.chair(seat).heard.len()
    }

    /// All the bytes that a client has heard and nobody has looked at.
    pub fn takes(&mut self, seat: Seat) -> Vec<u8> {
        std::mem::take(&mut self.chair(seat).heard)
    }

    /// Forgets what a client has heard so far.
    pub fn ignores(&mut self, seat: Seat) {
        self.settle();
        self.chair(seat).heard.clear();
    }

    /// The broker has closed this connection (and all it had to say was heard).
    #[track_caller]
    pub fn closed(&mut self, seat: Seat) {
        self.nothing(seat);
        let chair = self.chair(seat);
        assert!(chair.is_closed, "{} is still connected", chair.name);
        self.free_closed(seat);
    }

    /// The broker closes this connection for a mistake of its client: 5.0 is told this, 3.x
    /// nothing.
    #[track_caller]
    pub fn cut_off(&mut self, seat: Seat, code: ReasonCode, sentence: &str) {
        if self.chair(seat).version.has_server_disconnect() {
            self.gets(seat, disconnect().reason(code).because(sentence));
        }
        self.closed(seat);
    }

    /// The broker's key for this connection, for tests that go through its door themselves.
    pub fn conn(&mut self, seat: Seat) -> ConnId {
        self.chair(seat).conn
    }

    /// The broker has not closed this connection.
    #[track_caller]
    pub fn open(&mut self, seat: Seat) {
        self.settle();
        let chair = self.chair(seat);
        assert!(!chair.is_closed, "{} is closed", chair.name);
    }

    /// Whether the broker has closed this connection.
    pub fn is_closed(&mut self, seat: Seat) -> bool {
        self.settle();
        self.chair(seat).is_closed
    }

    /// A client's connection is lost without a DISCONNECT.
    pub fn drops(&mut self, seat: Seat) {
        self.settle();
        let now = self.now;
        let chair = self.chair(seat);
        if !std::mem::replace(&mut chair.is_gone, true) {
            let conn = chair.conn;
            self.broker.closed(conn, Closed::ByPeer, now);
            self.free.push(conn);
        }
        self.settle();
    }

    /// A client says DISCONNECT, and its connection is closed.
    pub fn leaves(&mut self, seat: Seat) {
        self.sends(seat, disconnect());
        assert!(self.chair(seat).is_closed);
        self.free_closed(seat);
    }

    /// The broker has refused this CONNECT and closed: 5.0 hears the Reason Code and why, 3.x the
    /// return code that says it, if there is one.
    #[track_caller]
    pub fn refused(&mut self, seat: Seat, code: ReasonCode, sentence: &str) {
        let says_so =
            self.chair(seat).version.has_reason_codes() || code.connect_return_code() != 3;
        if says_so {
            self.gets(seat, refusal(false, code).because(sentence));
        }
        self.closed(seat);
    }

    /// A connection of a client of this version that has sent nothing yet.
    pub fn opens_as(&mut self, version: ProtocolVersion) -> Seat {
        let seat = self.opens();
        self.chair(seat).version = version;
        seat
    }

    /// A new connection that sends these bytes, to be answered in this version.
    pub fn says_bytes(&mut self, version: ProtocolVersion, bytes: &[u8]) -> Seat {
        let seat = self.opens_as(version);
        self.sends_bytes(seat, bytes);
        seat
    }

    /// The broker is told to stop.
    pub fn shuts_down(&mut self) {
        self.settle();
        self.broker.shut_down(self.now);
        self.settle();
    }

    /// Time passes and the broker is not run in it, as if its process were suspended.
    pub fn sleeps_ms(&mut self, millis: u64) {
        self.settle();
        self.set_time(self.now.mono.plus_ms(millis));
    }

    fn free_closed(&mut self, seat: Seat) {
        let now = self.now;
        let chair = self.chair(seat);
        if !std::mem::replace(&mut chair.is_gone, true) {
            let conn = chair.conn;
            self.broker.closed(conn, Closed::AsAsked, now);
            self.free.push(conn);
        }
    }

    /// A client stops reading: what is sent to it stays in its write queue.
    pub fn stalls(&mut self, seat: Seat) {
        self.settle();
        self.chair(seat).reads = false;
    }

    /// A client that had stopped reads again.
    pub fn reads_again(&mut self, seat: Seat) {
        self.chair(seat).reads = true;
        self.settle();
    }

    /// Bytes waiting for a client that does not read.
    pub fn waiting(&mut self, seat: Seat) -> usize {
        let conn = self.chair(seat).conn;
        self.broker.output(conn).map_or(0, |queue| queue.bytes())
    }

    /// Time passes, and every deadline in it fires at its own time.
    pub fn passes(&mut self, seconds: u64) -> &mut Self {
        self.passes_ms(seconds * 1000)
    }

    /// As [`Table::passes`], in milliseconds.
    pub fn passes_ms(&mut self, millis: u64) -> &mut Self {
        let end = self.now.mono.plus_ms(millis);
        while let Some(at) = self.broker.next_deadline().filter(|at| *at <= end) {
            self.set_time(at.max(self.now.mono));
            self.settle();
        }
        self.set_time(end);
        self.settle();
        self
    }

    /// The present reading of both clocks.
    pub fn now(&self) -> Now {
        self.now
    }

    fn set_time(&mut self, mono: Mono) {
        let passed_s = mono.as_millis() / 1000 - self.now.mono.as_millis() / 1000;
        self.now.mono = mono;
        self.now.unix.0 += passed_s;
    }

    /// Turns of the loop until the broker has nothing more to do now.
    fn settle(&mut self) {
        loop {
            self.broker.tick(self.now);
            self.enter();
            let recalled = self.recall();
            let wrote = self.flush() || recalled;
            let more = self
                .broker
                .next_deadline()
                .is_some_and(|at| at <= self.now.mono);
            if !wrote && !more {
                break;
            }
        }
        if let Err(wrong) = self.broker.check() {
            panic!("the broker's bookkeeping is wrong: {wrong}");
        }
    }

    /// Moves what waits for each client that reads to what it has heard; whether there was any.
    fn flush(&mut self) -> bool {
        let effects = self.broker.effects();
        effects.dirty.clear();
        let closes = std::mem::take(&mut effects.closes);
        let again = std::mem::take(&mut effects.again);
        let mut wrote = !again.is_empty();
        for chair in &mut self.chairs {
            if chair.is_gone {
                continue;
            }
            chair.is_closed |= closes.contains(&chair.conn);
            let queue = self.broker.output(chair.conn).expect("it is open");
            while chair.reads && !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); 16];
                let count = queue.slices(&[], &mut slices);
                let mut bytes = 0;
                for slice in &slices[..count] {
                    chair.heard.extend_from_slice(slice);
                    bytes += slice.len();
                }
                queue.consume(bytes);
                wrote = true;
            }
        }
        self.broker.effects().buffers.forget_common();
        for chair in &mut self.chairs {
            if !chair.is_gone && again.contains(&chair.conn) {
                let used = self.broker.received(chair.conn, &chair.unsent, self.now);
                chair.unsent.drain(..used);
            }
        }
        wrote
    }
}

/// Settings without `$SYS`, and the files they name.
fn configure(files: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> (Config, Lists) {
    let mut config = Config {
        sys_interval: 0,
        ..Config::default()
    };
    change(&mut config);
    let (lists, _) = Lists::read(&config, &FilesAt(files)).expect("files without an error");
    (config, lists)
}

/// Files by their paths.
pub struct FilesAt<'a>(pub &'a [(&'a str, &'a str)]);

impl Files for FilesAt<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let found = self.0.iter().find(|(known, _)| *known == path);
        let (_, text) = found.ok_or(FileError::NotFound)?;
        Ok(text.as_bytes().to_vec())
    }

    fn list(&self, _path: &str) -> Result<Vec<String>, FileError> {
        Err(FileError::NotFound)
    }
}

fn show(bytes: &[u8], version: ProtocolVersion) -> String {
    match Frame::cut(bytes, limits::PACKET_BYTES_MAX) {
        Ok(Some(frame)) => match Packet::decode(&frame, version) {
            Ok(Packet::Publish(publish)) if publish.payload.len() > 100 => format!(
                "PUBLISH '{}' q{} r{} of {} bytes",
                publish.topic,
                publish.qos.bits(),
                publish.retain,
                publish.payload.len()
            ),
            Ok(packet) => format!("{packet:?} {}", show_properties(&packet)),
            Err(error) => format!("{error:?} in {bytes:02x?}"),
        },
        other => format!("{other:?} in {bytes:02x?}"),
    }
}

fn show_properties(packet: &Packet<'_>) -> String {
    let properties = match packet {
        Packet::ConnAck(packet) => packet.properties,
        Packet::Publish(packet) => packet.properties,
        Packet::Ack(packet) => packet.properties,
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        _ => return String::new(),
    };
    format!("{:?}", properties.iter().collect::<Vec<_>>())
}

/// A packet to be sent or expected, in whatever version its client speaks.
#[derive(Clone, Debug)]
pub struct Say {
    what: What,
    properties: Vec<u8>,
}

#[derive(Clone, Debug)]
enum What {
    Connect {
        name: String,
        clean: bool,
        keep_alive_s: u16,
        bridge: bool,
        username: Option<String>,
        password: Option<Vec<u8>>,
        will: Option<SayWill>,
    },
    ConnAck {
        session_present: bool,
        reason: ReasonCode,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        dup: bool,
        id: u16,
    },
    Ack {
        kind: AckKind,
        id: u16,
        reason: ReasonCode,
    },
    Subscribe {
        id: u16,
        filters: Vec<(String, SubscriptionOptions)>,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    UnsubAck {
        id: u16,
        codes: Vec<u8>,
    },
    PingReq,
    PingResp,
    Disconnect {
        reason: ReasonCode,
    },
    Auth {
        reason: ReasonCode,
    },
}

#[derive(Clone, Debug)]
struct SayWill {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<u8>,
}

fn say(what: What) -> Say {
    Say {
        what,
        properties: Vec::new(),
    }
}

/// CONNECT, clean, Keep Alive off.
pub fn connect(name: &str) -> Say {
    say(What::Connect {
        name: name.into(),
        clean: true,
        keep_alive_s: 0,
        bridge: false,
        username: None,
        password: None,
        will: None,
    })
}

/// CONNACK that lets in, without properties (3.x).
pub fn connack(session_present: bool) -> Say {
    refusal(session_present, ReasonCode::Success)
}

/// CONNACK as 5.0 gets it with default settings.
pub fn connack5(session_present: bool) -> Say {
    connack(session_present)
        .with(Property::TopicAliasMaximum(10))
        .with(Property::MaximumPacketSize(2_000_000.try_into().unwrap()))
        .with(Property::ReceiveMaximum(20.try_into().unwrap()))
}

/// CONNACK with any code.
pub fn refusal(session_present: bool, reason: ReasonCode) -> Say {
    say(What::ConnAck {
        session_present,
        reason,
    })
}

/// PUBLISH at QoS 0.
pub fn publish(topic: &str, payload: impl AsRef<[u8]>) -> Say {
    let (topic, payload) = (topic.into(), payload.as_ref().into());
    say(What::Publish {
        topic,
        payload,
        qos: 0,
        retain: false,
        dup: false,
        id: 0,
    })
}

pub fn puback(id: u16) -> Say {
    say(What::Ack {
        kind: AckKind::PubAck,
        id,
        reason: ReasonCode::Success,
    })
}

pub fn pubrec(id: u16) -> Say {
    say(What::Ack {
        kind: AckKind::PubRec,
        id,
        reason: ReasonCode::Success,
    })
}

pub fn pubrel(id: u16) -> Say {
    say(What::Ack {
        kind: AckKind::PubRel,
        id,
        reason: ReasonCode::Success,
    })
}

pub fn pubcomp(id: u16) -> Say {
    say(What::Ack {
        kind: AckKind::PubComp,
        id,
        reason: ReasonCode::Success,
    })
}

/// SUBSCRIBE to one filter; [`Say::and`] adds more.
pub fn subscribe(id: u16, filter: &str, qos: u8) -> Say {
    say(What::Subscribe {
        id,
        filters: Vec::new(),
    })
    .and(filter, qos)
}

/// SUBSCRIBE to one filter with options.
pub fn subscribe_with(id: u16, filter: &str, options: SubscriptionOptions) -> Say {
    say(What::Subscribe {
        id,
        filters: vec![(filter.into(), options)],
    })
}

pub fn suback(id: u16, codes: &[u8]) -> Say {
    say(What::SubAck {
        id,
        codes: codes.into(),
    })
}

pub fn unsubscribe(id: u16, filters: &[&str]) -> Say {
    let filters = filters.iter().map(|filter| String::from(*filter)).collect();
    say(What::Unsubscribe { id, filters })
}

/// UNSUBACK; the codes are not sent in 3.x.
pub fn unsuback(id: u16, codes: &[u8]) -> Say {
    say(What::UnsubAck {
        id,
        codes: codes.into(),
    })
}

pub fn pingreq() -> Say {
    say(What::PingReq)
}

pub fn pingresp() -> Say {
    say(What::PingResp)
}

/// DISCONNECT, normal.
pub fn disconnect() -> Say {
    say(What::Disconnect {
        reason: ReasonCode::NORMAL_DISCONNECTION,
    })
}

pub fn auth(reason: ReasonCode) -> Say {
    say(What::Auth { reason })
}

/// Options with this QoS and all else 0.
pub fn options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions::of_qos(QoS::from_bits(qos).unwrap())
}

impl Say {
    /// Adds a property (5.0; left out for others).
    pub fn with(mut self, property: Property<'_>) -> Self {
        property.encode(&mut self.properties);
        self
    }

    /// Adds a Reason String.
    pub fn because(self, sentence: &str) -> Self {
        self.with(Property::ReasonString(sentence))
    }

    /// Sets the Reason Code of an acknowledgement, CONNACK, DISCONNECT or AUTH.
    pub fn reason(mut self, code: ReasonCode) -> Self {
        match &mut self.what {
            What::ConnAck { reason, .. }
            | What::Ack { reason, .. }
            | What::Disconnect { reason }
            | What::Auth { reason } => *reason = code,
            other => panic!("{other:?} has no Reason Code"),
        }
        self
    }

    /// PUBLISH: QoS 1 with this Packet Identifier.
    pub fn qos1(self, id: u16) -> Self {
        self.qos(1, id)
    }

    /// PUBLISH: QoS 2 with this Packet Identifier.
    pub fn qos2(self, id: u16) -> Self {
        self.qos(2, id)
    }

    /// PUBLISH: this QoS, and unless it is 0 this Packet Identifier.
    pub fn qos(mut self, level: u8, identifier: u16) -> Self {
        let What::Publish { qos, id, .. } = &mut self.what else {
            panic!("no PUBLISH")
        };
        (*qos, *id) = (level, if level == 0 { 0 } else { identifier });
        self
    }

    /// PUBLISH: RETAIN set.
    pub fn retain(mut self) -> Self {
        let What::Publish { retain, .. } = &mut self.what else {
            panic!("no PUBLISH")
        };
        *retain = true;
        self
    }

    /// PUBLISH: DUP set.
    pub fn dup(mut self) -> Self {
        let What::Publish { dup, .. } = &mut self.what else {
            panic!("no PUBLISH")
        };
        *dup = true;
        self
    }

    /// SUBSCRIBE: one more filter.
    pub fn and(self, filter: &str, qos: u8) -> Self {
        self.and_with(filter, options(qos))
    }

    /// SUBSCRIBE: one more filter with options.
    pub fn and_with(mut self, filter: &str, options: SubscriptionOptions) -> Self {
        let What::Subscribe { filters, .. } = &mut self.what else {
            panic!("no SUBSCRIBE")
        };
        filters.push((filter.into(), options));
        self
    }

    /// CONNECT: Clean Session or Clean Start off.
    pub fn durable(mut self) -> Self {
        let What::Connect { clean, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        *clean = false;
        self
    }

    /// CONNECT: a session that outlives the connection by `seconds` in 5.0 and without end in 3.x.
    pub fn lasting(self, seconds: u32) -> Self {
        self.durable()
            .with(Property::SessionExpiryInterval(seconds))
    }

    /// CONNECT: Keep Alive.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        let What::Connect { keep_alive_s, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        *keep_alive_s = seconds;
        self
    }

    /// CONNECT: the bridge bit of 3.x.
    pub fn bridge(mut self) -> Self {
        let What::Connect { bridge, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        *bridge = true;
        self
    }

    /// CONNECT: a User Name.
    pub fn user(mut self, name: &str) -> Self {
        let What::Connect { username, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        *username = Some(name.into());
        self
    }

    /// CONNECT: a Password.
    pub fn pass(mut self, bytes: &[u8]) -> Self {
        let What::Connect { password, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        *password = Some(bytes.into());
        self
    }

    /// CONNECT: a Will.
    pub fn will(mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8, retain: bool) -> Self {
        let What::Connect { will, .. } = &mut self.what else {
            panic!("no CONNECT")
        };
        let (topic, payload) = (topic.into(), payload.as_ref().into());
        *will = Some(SayWill {
            topic,
            payload,
            qos,
            retain,
            properties: Vec::new(),
        });
        self
    }

    /// CONNECT: a Will Property.
    pub fn will_with(mut self, property: Property<'_>) -> Self {
        let What::Connect {
            will: Some(will), ..
        } = &mut self.what
        else {
            panic!("no Will")
        };
        property.encode(&mut will.properties);
        self
    }

    /// The whole packet.
    pub fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        let properties = match version.has_properties() {
            true => Properties::trusted(&self.properties),
            false => Properties::default(),
        };
        let mut out = Vec::new();
        match &self.what {
            What::Connect { .. } => self.put_connect(version, properties, &mut out),
            What::ConnAck {
                session_present,
                reason,
            } => {
                ConnAck {
                    session_present: *session_present,
                    reason: *reason,
                    properties,
                }
                .encode(version, &mut out);
            }
            What::Publish {
                topic,
                payload,
                qos,
                retain,
                dup,
                id,
            } => Publish {
                dup: *dup,
                qos: QoS::from_bits(*qos).unwrap(),
                retain: *retain,
                topic,
                packet_identifier: PacketIdentifier::new(*id),
                properties,
                payload,
            }
            .encode(version, &mut out),
            What::Ack { kind, id, reason } => {
                Ack {
                    kind: *kind,
                    packet_identifier: pid(*id),
                    reason: *reason,
                    properties,
                }
                .encode(version, &mut out);
            }
            What::Subscribe { id, filters } => {
                let filters = filters
                    .iter()
                    .map(|(filter, options)| (filter.as_str(), *options));
                encode_subscribe(pid(*id), properties, filters, version, &mut out);
            }
            What::SubAck { id, codes } => {
                SubAck {
                    packet_identifier: pid(*id),
                    properties,
                    codes,
                }
                .encode(version, &mut out);
            }
            What::Unsubscribe { id, filters } => {
                let filters = filters.iter().map(String::as_str);
                encode_unsubscribe(pid(*id), properties, filters, version, &mut out);
            }
            What::UnsubAck { id, codes } => {
                let codes = if version.has_reason_codes() {
                    codes.as_slice()
                } else {
                    &[]
                };
                SubAck {
                    packet_identifier: pid(*id),
                    properties,
                    codes,
                }
                .encode_unsuback(version, &mut out);
            }
            What::PingReq => Packet::PingReq.encode(version, &mut out),
            What::PingResp => Packet::PingResp.encode(version, &mut out),
            What::Disconnect { reason } => {
                Disconnect {
                    reason: *reason,
                    properties,
                }
                .encode(version, &mut out);
            }
            What::Auth { reason } => Auth {
                reason: *reason,
                properties,
            }
            .encode(&mut out),
        }
        out
    }

    fn put_connect(&self, version: ProtocolVersion, properties: Properties<'_>, out: &mut Vec<u8>) {
        let What::Connect {
            name,
            clean,
            keep_alive_s,
            bridge,
            username,
            password,
            will,
        } = &self.what
        else {
            return;
        };
        let will = will.as_ref().map(|will| Will {
            topic: &will.topic,
            payload: &will.payload,
            qos: QoS::from_bits(will.qos).unwrap(),
            retain: will.retain,
            properties: match version.has_properties() {
                true => Properties::trusted(&will.properties),
                false => Properties::default(),
            },
        });
        Connect {
            version,
            bridge: *bridge,
            clean_start: *clean,
            keep_alive_s: *keep_alive_s,
            properties,
            client_identifier: name,
            will,
            username: username.as_deref(),
            password: password.as_deref(),
        }
        .encode(out);
    }
}

fn pid(id: u16) -> PacketIdentifier {
    PacketIdentifier::new(id).expect("a Packet Identifier is not 0")
}

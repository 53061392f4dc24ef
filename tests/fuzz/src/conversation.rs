//! A script of what several clients do, against a broker with a clock that only the script moves.
//! After each step the broker's bookkeeping must hold, what it sends must be what its receiver may
//! be sent ([`super::listener`]), and what it asks of the shell must make sense.
//!
//! ```text
//!   [ settings ] ( [ what | no tick ][ who ] … )*          what: see `Room::happens`
//! ```

use super::compose;
use super::listener::{Asked, Heard, Listener, Stage, is_for_clients};
use super::source::Source;
use midge::broker::client::Peer;
use midge::broker::key::ConnId;
use midge::broker::{Broker, Closed};
use midge::codec::connect::answer_version;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::config::Config;
use midge::message::QoS;
use midge::time::{Mono, Now, Unix};
use midge::write_queue::WriteQueue;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;

/// Clients at once.
const CHAIRS: usize = 5;

/// Steps of one script, so that none takes long.
const STEPS_MAX: usize = 300;

/// Set in a step's first byte: the next one follows in the same turn.
const NO_TICK: u8 = 0x80;

const MILLIS: [u64; 8] = [0, 1, 999, 1500, 15_000, 61_000, 3_600_000, 100_000_000_000];

/// A log that nobody reads, so that every line of it is put into words.
struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        write!(io::sink(), "{}", record.args()).expect("a sink takes anything");
    }

    fn flush(&self) {}
}

/// Set in the first byte of a script: all is logged.
const LOGGED: u8 = 0x80;

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let choice = source.u8();
    // It may have been set already.
    let _ = log::set_logger(&Log);
    log::set_max_level(match choice & LOGGED {
        0 => log::LevelFilter::Off,
        _ => log::LevelFilter::Trace,
    });
    let mut room = Room::new(settings(choice));
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        room.happens(&mut source);
    }
    room.ends();
}

fn settings(choice: u8) -> Config {
    // Without $SYS, whose topics would be the bulk of what there is to look at.
    let default = Config {
        sys_interval: 0,
        ..Config::default()
    };
    match choice % 8 {
        0..=2 => default,
        3 => Config {
            max_inflight_messages: 1,
            max_queued_messages: 2,
            ..default
        },
        4 => Config {
            max_inflight_messages: 0,
            max_queued_messages: 0,
            max_packet_size: 0,
            max_topic_alias: u16::MAX,
            max_topic_alias_broker: u16::MAX,
            ..default
        },
        5 => Config {
            allow_duplicate_messages: false,
            max_packet_size: 1100,
            max_topic_alias_broker: 1,
            ..default
        },
        6 => Config {
            retain_available: false,
            max_qos: QoS::AtLeastOnce,
            max_keepalive: 10,
            max_topic_alias: 0,
            ..default
        },
        _ => Config {
            allow_anonymous: false,
            allow_zero_length_clientid: false,
            max_inflight_messages: 2,
            allow_duplicate_messages: false,
            ..default
        },
    }
}

/// One connection.
#[derive(Default)]
struct Chair {
    is_open: bool,
    /// The broker has asked to close it.
    is_closing: bool,
    ears: Listener,
    /// What was sent and not used: the front of a packet.
    unsent: Vec<u8>,
    /// Bytes of its write queue that were looked at.
    seen: usize,
}

struct Room {
    broker: Broker,
    config: Rc<Config>,
    now: Now,
    chairs: [Chair; CHAIRS],
    asked: Asked,
}

impl Room {
    fn new(config: Config) -> Self {
        let config = Rc::new(config);
        Self {
            broker: Broker::new(Rc::clone(&config), 7),
            config,
            now: Now {
                mono: Mono::from_millis(1),
                unix: Unix(1_800_000_000),
            },
            chairs: Default::default(),
            asked: Asked::new(),
        }
    }

    fn happens(&mut self, source: &mut Source<'_>) {
        let what = source.u8();
        let who = source.below(CHAIRS);
        let version = self.chairs[who].ears.version;
        let mut packet = Vec::new();
        match what & !NO_TICK & 0x1f {
            0..=3 => {
                self.opens(who);
                compose::connect(source, &mut packet);
            }
            4 => self.opens(who),
            5..=7 => compose::subscribe(source, version, &mut packet),
            8 => compose::unsubscribe(source, version, &mut packet),
            9..=13 => compose::publish(source, version, &mut packet),
            14..=17 => self.answers(who, source, &mut packet),
            18 => compose::ack(source, version, &mut packet),
            19 => compose::disconnect(source, version, &mut packet),
            20 => self.drops(who, source.u8()),
            21 | 22 => self.passes(source),
            23..=25 => self.drains(who, source.u8()),
            26 => Packet::PingReq.encode(version, &mut packet),
            27 => compose::framed(source, &mut packet),
            28 => packet.extend_from_slice(source.bytes()),
            29 => {
                compose::publish(source, version, &mut packet);
                packet.truncate(source.below(40));
            }
            30 => (0..CHAIRS).for_each(|who| self.drains(who, 0)),
            _ => self.broker.shut_down(self.now),
        }
        self.sends(who, &packet);
        if what & NO_TICK == 0 {
            self.broker.tick(self.now);
        }
        self.listens(who);
        self.check();
    }

    /// A new connection, in place of the one that was there.
    fn opens(&mut self, who: usize) {
        self.drops(who, 0);
        let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), 1883, 0);
        self.broker.opened(conn(who), peer, self.now);
        self.chairs[who].is_open = true;
    }

    fn drops(&mut self, who: usize, how: u8) {
        if !std::mem::take(&mut self.chairs[who]).is_open {
            return;
        }
        let how = match how % 3 {
            0 => Closed::ByPeer,
            1 => Closed::Failed(ErrorKind::ConnectionReset),
            _ => Closed::AsAsked,
        };
        self.broker.closed(conn(who), how, self.now);
        self.listens(who);
    }

    /// A client answers the oldest or newest message it was sent, as it should.
    fn answers(&mut self, who: usize, source: &mut Source<'_>, packet: &mut Vec<u8>) {
        let ears = &self.chairs[who].ears;
        let newest = source.u8() & 1 != 0;
        let owed = match newest {
            true => ears.owed.last_key_value(),
            false => ears.owed.first_key_value(),
        };
        if let Some((identifier, kind)) = owed {
            let identifier = NonZeroU16::new(*identifier).expect("it was decoded");
            compose::ack_of(*kind, identifier, source, ears.version, packet);
        }
    }

    /// Time passes: each deadline fires at its own time, or all of them late.
    fn passes(&mut self, source: &mut Source<'_>) {
        let choice = source.u8();
        let end = self.now.mono.plus_ms(source.pick(&MILLIS));
        if choice & 1 == 0 {
            for _ in 0..200 {
                let Some(at) = self.broker.next_deadline().filter(|at| *at <= end) else {
                    break;
                };
                self.now.mono = at.max(self.now.mono);
                self.broker.tick(self.now);
            }
        }
        self.now.mono = end;
    }

    /// The socket takes what waits, or the first bytes of it.
    fn drains(&mut self, who: usize, bytes: u8) {
        let chair = &mut self.chairs[who];
        let Some(queue) = self.broker.output(conn(who)) else {
            return;
        };
        let count = match bytes {
            0..=127 => queue.bytes(),
            _ => queue.bytes().min(usize::from(bytes & 0x7f)),
        };
        queue.consume(count);
        chair.seen -= count;
    }

    /// A client sends bytes. They are offered a packet at a time, so that each can be held against
    /// its answer; that it does not matter how they are cut is for [`super::cuts`] to show.
    fn sends(&mut self, who: usize, bytes: &[u8]) {
        let chair = &mut self.chairs[who];
        if !chair.is_open || bytes.is_empty() {
            return;
        }
        chair.unsent.extend_from_slice(bytes);
        while !self.chairs[who].unsent.is_empty() && !self.chairs[who].is_closing {
            let unsent = std::mem::take(&mut self.chairs[who].unsent);
            let whole = match Frame::cut(&unsent, u32::MAX) {
                Ok(Some(frame)) => frame.header.packet_bytes() as usize,
                _ => unsent.len(),
            };
            let used = self.sends_one(who, &unsent[..whole]);
            self.chairs[who].unsent = unsent[used..].to_vec();
            if used == 0 {
                break;
            }
        }
    }

    /// One packet, or the front of one; how many bytes of it were used.
    fn sends_one(&mut self, who: usize, bytes: &[u8]) -> usize {
        let ears = &mut self.chairs[who].ears;
        let before = ears.stage;
        let frame = Frame::cut(bytes, u32::MAX).ok().flatten();
        let packet = frame.map(|frame| Packet::decode(&frame, ears.version));
        match (&packet, frame) {
            (Some(Ok(packet)), _) => ears.says(packet, &mut self.asked),
            (Some(Err(_)), Some(frame)) if before == Stage::Silent => {
                // It is refused in the version it seems to be of.
                ears.version = answer_version(frame.body).unwrap_or(ears.version);
            }
            _ => {}
        }
        if self.broker.is_spent() {
            self.broker.tick(self.now);
        }
        let used = self.broker.received(conn(who), bytes, self.now);
        assert!(used <= bytes.len());
        let heard = self.listens(who);
        let Chair {
            is_closing, ears, ..
        } = &self.chairs[who];
        if *is_closing {
            assert_eq!(
                used,
                bytes.len(),
                "what a closing connection sends is used up"
            );
            return used;
        }
        let Some(packet) = packet else {
            return used;
        };
        assert_eq!(used, bytes.len(), "a whole packet is used");
        let packet = packet.expect("what cannot be decoded ends the connection");
        let packet_type = frame.expect("it was decoded").header.packet_type;
        match before {
            Stage::In => {
                assert!(is_for_clients(packet_type), "{packet_type:?} was taken");
                ears.check_answer(&packet, &heard);
            }
            _ => assert_eq!(ears.stage, Stage::In, "a CONNECT is answered"),
        }
        used
    }

    /// Looks at what the broker has put on the write queues and asks of the shell; what `who` hears.
    fn listens(&mut self, who: usize) -> Vec<Heard> {
        let dirty = std::mem::take(&mut self.broker.effects().dirty);
        let closes = std::mem::take(&mut self.broker.effects().closes);
        let mut heard = Vec::new();
        for (index, chair) in self.chairs.iter_mut().enumerate() {
            let Some(queue) = self.broker.output(conn(index)) else {
                assert!(!chair.is_open, "the broker has forgotten a connection");
                continue;
            };
            if queue.bytes() > 0 && chair.seen == 0 {
                assert!(dirty.contains(&conn(index)), "nobody is told to write");
            }
            if queue.bytes() == chair.seen {
                continue;
            }
            let bytes = waiting(queue).split_off(chair.seen);
            chair.seen = queue.bytes();
            assert!(!chair.is_closing, "bytes after the end");
            let found = chair.ears.hears(&bytes, &self.asked, &self.config);
            if index == who {
                heard = found;
            }
        }
        self.broker.effects().buffers.forget_common();
        for close in closes {
            let chair = &mut self.chairs[close.index()];
            assert!(
                chair.is_open,
                "a connection is to be closed that is not open"
            );
            assert!(!chair.is_closing, "a connection is to be closed twice");
            chair.is_closing = true;
        }
        for chair in self.chairs.iter().filter(|chair| !chair.is_closing) {
            assert_ne!(chair.ears.stage, Stage::Over, "the last word, and no close");
        }
        heard
    }

    fn check(&mut self) {
        if let Err(wrong) = self.broker.check() {
            panic!("the broker's bookkeeping is wrong: {wrong}");
        }
    }

    /// All is done that can be done now, in a bounded number of turns.
    fn settles(&mut self) {
        for _ in 0..1000 {
            self.broker.tick(self.now);
            (0..CHAIRS).for_each(|who| {
                self.listens(who);
                self.drains(who, 0);
            });
            let next = self.broker.next_deadline();
            if next.is_none_or(|at| at > self.now.mono) {
                return self.check();
            }
        }
        panic!("the broker has something to do now for ever");
    }

    fn ends(mut self) {
        self.settles();
        (0..CHAIRS).for_each(|who| self.drops(who, 0));
        self.settles();
        let sizes = self.broker.sizes();
        assert_eq!(sizes.connections, 0);
        assert!(sizes.sessions > 0 || sizes.subscriptions == 0);
        // All but what never ends has ended a hundred and fifty years later: the Wills, and another
        // time the messages they left.
        for _ in 0..2 {
            self.now.mono = self.now.mono.plus_s(5_000_000_000);
            self.settles();
        }
        let next = self.broker.next_deadline();
        assert_eq!(next, None, "a deadline is left over");
    }
}

fn conn(who: usize) -> ConnId {
    ConnId::from_index(who)
}

fn waiting(queue: &WriteQueue) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); 2000];
    let count = queue.slices(&[], &mut slices);
    let bytes: Vec<u8> = slices[..count]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect();
    assert_eq!(bytes.len(), queue.bytes());
    bytes
}

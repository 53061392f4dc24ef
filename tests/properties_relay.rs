//! The short way of a message beside the long one: two brokers live through the same random script,
//! and one of them cannot relay anything, for an access control file, which allows everything, is to
//! be asked each time. Every client must hear the same bytes in the same order, and both brokers must
//! count the same. What should be heard, `properties.rs` knows.
//!
//! A step is a kind and a seed for all that it chooses, so that a script that fails is shortened by
//! leaving steps out. `MIDGE_SEED` and `MIDGE_RUNS` choose other scripts.

mod table;
use midge::codec::ack::AckKind;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::subscribe::SubscriptionOptions;
use midge::limits;
use midge::message::QoS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::num::{NonZeroU16, NonZeroU32};
use table::*;

const RUNS: u64 = 14;
const NAMES: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "fay"];
const FILTERS: [&str; 10] = [
    "a",
    "a/b",
    "a/+",
    "+/b",
    "#",
    "a/#",
    "b/c",
    "$share/g/a/#",
    "$share/g/+/b",
    "$share/h/#",
];
const TOPICS: [&str; 5] = ["a", "a/b", "b", "b/c", "c"];

/// What a step chooses by.
struct Dice(u64);

impl Dice {
    /// A number below `count`, by the generator SplitMix64.
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
            mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
        }
        ((mixed ^ (mixed >> 31)) % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A client, as both brokers know it.
#[derive(Clone)]
struct Player {
    name: &'static str,
    seat: Option<Seat>,
    version: ProtocolVersion,
    /// What it is to say because of what it heard.
    replies: Vec<Say>,
}

struct Run {
    /// The one that relays, and the one that does not.
    tables: [Table; 2],
    players: Vec<Player>,
    /// Messages so far: no two have the same payload.
    count: usize,
}

/// The packets in `bytes`.
fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(frame) = Frame::cut(bytes, limits::PACKET_BYTES_MAX).unwrap() {
        found.push(frame.bytes.to_vec());
        bytes = &bytes[frame.bytes.len()..];
    }
    assert!(bytes.is_empty(), "half a packet");
    found
}

fn decoded<R>(bytes: &[u8], version: ProtocolVersion, look: impl FnOnce(Packet<'_>) -> R) -> R {
    let frame = Frame::cut(bytes, limits::PACKET_BYTES_MAX).unwrap();
    look(Packet::decode(&frame.unwrap(), version).unwrap())
}

/// The same packets, but for the order of several copies of one message at QoS 0: those that are
/// relayed come first.
fn in_order(mut packets: Vec<Vec<u8>>, version: ProtocolVersion) -> Vec<Vec<u8>> {
    let payload = |bytes: &Vec<u8>| {
        decoded(bytes, version, |packet| match packet {
            Packet::Publish(packet) if packet.qos == QoS::AtMostOnce => {
                Some(packet.payload.to_vec())
            }
            _ => None,
        })
    };
    let is_copy = |one: &Vec<u8>, other: &Vec<u8>| {
        let payload_of_one = payload(one);
        payload_of_one.is_some() && payload_of_one == payload(other)
    };
    packets.chunk_by_mut(is_copy).for_each(<[_]>::sort);
    packets
}

impl Run {
    fn new(dice: &mut Dice) -> Self {
        let (window, window_bytes) = (dice.of(&[20, 1, 2, 3, 0]), dice.of(&[0, 0, 30, 300]));
        let (queued, queued_bytes) = (dice.of(&[1000, 0, 3, 10]), dice.of(&[0, 0, 50, 500]));
        let payload_bytes = dice.of(&[0, 0, 400]);
        let table = |is_asked: bool| {
            Table::with_files(&[("acl", "topic readwrite #\n")], |config| {
                config.max_inflight_messages = window;
                config.max_inflight_bytes = window_bytes;
                config.max_queued_messages = queued;
                config.max_queued_bytes = queued_bytes;
                config.message_size_limit = payload_bytes;
                for listener in &mut config.listeners {
                    listener.security.acl_file = is_asked.then(|| "acl".into());
                }
            })
        };
        let player = |name| Player {
            name,
            seat: None,
            version: V311,
            replies: Vec::new(),
        };
        Self {
            tables: [table(false), table(true)],
            players: NAMES.map(player).to_vec(),
            count: 0,
        }
    }

    fn both(&mut self, act: impl FnMut(&mut Table)) {
        self.tables.iter_mut().for_each(act);
    }

    /// The next payload, of at least so many bytes.
    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        self.count += 1;
        let mut payload = format!("{}.", self.count).into_bytes();
        payload.resize(bytes.max(payload.len()), b'.');
        payload
    }

    fn step(&mut self, (kind, seed): (u32, u64)) -> Result<(), String> {
        let dice = &mut Dice(seed);
        let from = dice.below(NAMES.len());
        let all = (from..NAMES.len()).chain(0..from);
        let here = all
            .filter_map(|who| Some((who, self.players[who].seat?)))
            .next();
        match (kind, here) {
            (0..12, _) => self.connects(from, dice)?,
            (12..18, _) => {
                let millis = dice.of(&[1, 100, 1000, 3000]);
                self.both(|t| {
                    t.passes_ms(millis);
                });
            }
            (_, None) => {}
            (18..32, Some((who, seat))) => self.subscribes(who, seat, dice),
            (32..64, Some((who, seat))) => self.talks(who, seat, dice),
            (64..84, Some((who, seat))) => self.replies(who, seat, dice),
            (84..86, Some((who, seat))) => self.floods(who, seat, dice),
            (86..88, Some((_, seat))) => self.both(|t| t.sends(seat, disconnect())),
            (88..91, Some((who, seat))) => {
                self.both(|t| t.drops(seat));
                self.players[who].seat = None;
            }
            (91..94, Some((_, seat))) => self.both(|t| t.stalls(seat)),
            (_, Some((_, seat))) => self.both(|t| t.reads_again(seat)),
        }
        self.compare()
    }

    fn connects(&mut self, who: usize, dice: &mut Dice) -> Result<(), String> {
        let version = dice.of(&[V31, V311, V5]);
        let mut packet = connect(NAMES[who]);
        if dice.one_in(2) {
            packet = packet.lasting(dice.of(&[2, u32::MAX]));
        }
        if dice.one_in(3) {
            let window = NonZeroU16::new(dice.of(&[1, 2, 5])).unwrap();
            packet = packet.with(Property::ReceiveMaximum(window));
        }
        if dice.one_in(4) {
            let bytes = NonZeroU32::new(dice.of(&[60, 120, 500, 1020])).unwrap();
            packet = packet.with(Property::MaximumPacketSize(bytes));
        }
        if dice.one_in(4) {
            packet = packet.with(Property::TopicAliasMaximum(2));
        }
        if dice.one_in(4) {
            let qos = dice.below(3) as u8;
            packet = packet.will(dice.of(&TOPICS), self.payload(0), qos, dice.one_in(4));
        }
        if dice.one_in(8) && version != V5 {
            packet = packet.bridge();
        }
        let seats = self.tables.each_mut();
        let [seat, _] = seats.map(|t| t.says_connect(version, packet.clone()));
        // Whoever was there before under this name hears that it is over.
        if let Some(before) = self.players[who].seat {
            self.both(|t| t.reads_again(before));
            self.compare_one(who)?;
        }
        let player = &mut self.players[who];
        (player.seat, player.version) = (Some(seat), version);
        player.replies.clear();
        Ok(())
    }

    fn subscribes(&mut self, who: usize, seat: Seat, dice: &mut Dice) {
        if dice.one_in(6) {
            let filter = dice.of(&FILTERS);
            return self.both(|t| t.sends(seat, unsubscribe(9, &[filter])));
        }
        let is_5 = self.players[who].version == V5;
        let mut terms = || {
            let filter = dice.of(&FILTERS);
            let terms = SubscriptionOptions {
                no_local: is_5 && dice.one_in(4) && !filter.starts_with('$'),
                retain_as_published: is_5 && dice.one_in(3),
                ..options(dice.of(&[0, 1, 1, 2]))
            };
            (filter, terms)
        };
        let ((first, terms_of_first), (second, terms_of_second)) = (terms(), terms());
        let mut say = subscribe_with(4, first, terms_of_first).and_with(second, terms_of_second);
        if dice.one_in(4) {
            say = say.with(Property::SubscriptionIdentifier(7));
        }
        self.both(|t| t.sends(seat, say.clone()));
    }

    /// Several packets at once, most of them PUBLISH, which may come in two pieces.
    fn talks(&mut self, who: usize, seat: Seat, dice: &mut Dice) {
        let version = self.players[who].version;
        let mut bytes = Vec::new();
        for _ in 0..1 + dice.below(6) {
            bytes.extend(self.message(who, dice).bytes(version));
            let id = 1 + dice.below(12) as u16;
            let filter = dice.of(&FILTERS);
            let other = match dice.below(16) {
                0..3 => pingreq(),
                3..6 => pubrel(id),
                6 => subscribe(3, filter, dice.below(3) as u8),
                7 => unsubscribe(3, &[filter]),
                _ => continue,
            };
            bytes.extend(other.bytes(version));
        }
        let (first, second) = bytes.split_at(match dice.one_in(3) {
            true => dice.below(bytes.len()),
            false => bytes.len(),
        });
        self.both(|t| {
            t.sends_bytes(seat, first);
            t.sends_bytes(seat, second);
        });
    }

    fn message(&mut self, who: usize, dice: &mut Dice) -> Say {
        let payload = match dice.below(30) {
            0 => Vec::new(),
            1..4 => self.payload(80 + dice.below(30)),
            4..7 => self.payload(380 + dice.below(300)),
            7..9 => self.payload(1000 + dice.below(40)),
            9 => self.payload(3000),
            _ => self.payload(0),
        };
        let (qos, id) = (dice.of(&[0, 0, 1, 1, 1, 2]), 1 + dice.below(12) as u16);
        let mut say = publish(dice.of(&TOPICS), payload).qos(qos, id);
        if dice.one_in(12) {
            say = say.retain();
        }
        if dice.one_in(12) && qos > 0 {
            say = say.dup();
        }
        let is_plain = self.players[who].version != V5 || dice.one_in(2);
        match dice.below(4) {
            _ if is_plain => say,
            0 => say.with(Property::MessageExpiryInterval(dice.below(4) as u32)),
            1 => say.with(Property::TopicAlias(NonZeroU16::MIN)),
            _ => say.with(Property::UserProperty("k", "v")),
        }
    }

    /// More than may wait for a client that does not read.
    fn floods(&mut self, who: usize, seat: Seat, dice: &mut Dice) {
        let (version, topic) = (self.players[who].version, dice.of(&TOPICS));
        let (size, qos) = (dice.of(&[100, 900]), dice.of(&[0, 0, 0, 1]));
        let mut bytes = Vec::new();
        for _ in 0..400 + dice.below(900) {
            let say = publish(topic, self.payload(size)).qos(qos, 5);
            bytes.extend(say.bytes(version));
        }
        self.both(|t| t.sends_bytes(seat, &bytes));
    }

    /// Says some of what is to be said, in whichever order.
    fn replies(&mut self, who: usize, seat: Seat, dice: &mut Dice) {
        let player = &mut self.players[who];
        let count = match dice.one_in(3) {
            true => dice.below(3).min(player.replies.len()),
            false => player.replies.len(),
        };
        let is_shuffled = dice.one_in(8);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let at = match is_shuffled {
                true => dice.below(player.replies.len()),
                false => 0,
            };
            bytes.extend(player.replies.remove(at).bytes(player.version));
        }
        self.both(|t| t.sends_bytes(seat, &bytes));
    }

    fn compare(&mut self) -> Result<(), String> {
        for who in 0..NAMES.len() {
            self.compare_one(who)?;
        }
        let [one, other] = self.tables.each_ref().map(|t| *t.broker.stats());
        match one == other {
            true => Ok(()),
            false => Err(format!("one counts {one:?},\nthe other {other:?}")),
        }
    }

    fn compare_one(&mut self, who: usize) -> Result<(), String> {
        let player = &mut self.players[who];
        let (name, version) = (player.name, player.version);
        let Some(seat) = player.seat else {
            return Ok(());
        };
        let seen = self.tables.each_mut().map(|t| {
            let is_closed = t.is_closed(seat);
            let heard = in_order(packets(&t.takes(seat)), version);
            (t.waiting(seat), is_closed, heard)
        });
        let [one, other] = &seen;
        if one != other {
            let show = |(waiting, is_closed, heard): &(usize, bool, Vec<Vec<u8>>)| {
                let heard = heard.iter().map(|bytes| {
                    let text = decoded(bytes, version, |packet| format!("{packet:?}"));
                    format!("\n  {}", text.chars().take(200).collect::<String>())
                });
                let heard: String = heard.collect();
                format!("{waiting} bytes wait, closed: {is_closed}, heard: {heard}")
            };
            return Err(format!("{name}: {}\nelse {}", show(one), show(other)));
        }
        let (_, is_closed, heard) = one;
        for bytes in heard {
            player.replies.extend(decoded(bytes, version, reply));
        }
        if *is_closed {
            player.seat = None;
            self.both(|t| t.drops(seat));
        }
        Ok(())
    }
}

/// How a client answers a packet.
fn reply(packet: Packet<'_>) -> Option<Say> {
    match packet {
        Packet::Publish(packet) => {
            let id = packet.packet_identifier?.get();
            Some(match packet.qos {
                QoS::ExactlyOnce => pubrec(id),
                _ => puback(id),
            })
        }
        Packet::Ack(ack) if ack.reason.is_failure() => None,
        Packet::Ack(ack) => match ack.kind {
            AckKind::PubRec => Some(pubrel(ack.packet_identifier.get())),
            AckKind::PubRel => Some(pubcomp(ack.packet_identifier.get())),
            AckKind::PubAck | AckKind::PubComp => None,
        },
        _ => None,
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn check(seed: u64) {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let script = (any::<u64>(), vec((0..100_u32, any::<u64>()), 1..400));
    let outcome = runner.run(&script, |(settings, steps)| {
        let mut run = Run::new(&mut Dice(settings));
        let mut steps = steps.into_iter();
        let played = steps.try_for_each(|step| run.step(step));
        played.map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, script)) => {
            panic!("MIDGE_SEED={seed} fails: {why}\nafter {script:?}")
        }
        Err(other) => panic!("MIDGE_SEED={seed}: {other}"),
    }
}

#[test]
fn what_is_relayed_is_what_would_have_been_delivered() {
    let seed = number("MIDGE_SEED");
    let runs = number("MIDGE_RUNS").unwrap_or(if seed.is_some() { 1 } else { RUNS });
    let first = seed.unwrap_or(1);
    (first..first + runs).for_each(check);
}

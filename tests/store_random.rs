//! Whatever clients do within one turn of the loop: what the database holds behind it is what the
//! broker has. Random turns, each written as one commit and read back by another broker; from time to
//! time that one goes on.
//!
//! ```text
//!   MIDGE_SEED=17 MIDGE_TURNS=5000 cargo test --test store_random        others, and more
//! ```

mod table;

use midge::broker::client::Peer;
use midge::broker::key::{ConnId, SessionId};
use midge::broker::queue::Share;
use midge::broker::record::Record;
use midge::broker::{Broker, Closed};
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::config::{Config, SyncMode};
use midge::limits;
use midge::message::QoS;
use midge::storage::Keeper;
use midge::time::{Mono, Now, Unix};
use std::collections::BTreeMap;
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use table::*;

/// Turns, unless `MIDGE_TURNS` says otherwise.
const TURNS: u64 = 150;

/// Turns from one look into the database to the next.
const LOOK_EACH: u64 = 3;

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];
const FILTERS: [&str; 4] = ["tea", "#", "$share/g/tea", "$share/g/+"];
const TOPICS: [&str; 2] = ["tea", "milk"];

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().unwrap())
}

/// Chance, by xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A broker with its store.
struct Kept {
    broker: Broker,
    keeper: Keeper,
}

impl Kept {
    /// With so many messages of a queue in memory where they need not all be.
    fn open(folder: &Path, messages: usize, now: Now) -> Self {
        let mut config = Config {
            sys_interval: 0,
            max_inflight_messages: 3,
            queue_qos0_messages: true,
            ..Config::default()
        };
        config.persistence.enabled = true;
        config.persistence.location = Some(folder.to_str().unwrap().into());
        // It is saved behind each turn, and syncs make it no more true.
        config.persistence.sync = SyncMode::None;
        let mut broker = Broker::new(Rc::new(config.clone()), 7);
        broker.share_memory(Share {
            messages,
            ..Share::WHOLE
        });
        let mut keeper = Keeper::default();
        keeper.open(&mut broker, &config, now).unwrap();
        Self { broker, keeper }
    }

    /// What is to outlive the process, a line each, and how many messages are on the disk alone.
    fn lines(&self) -> (Vec<String>, usize) {
        let mut names: BTreeMap<SessionId, String> = BTreeMap::new();
        let mut lines = Vec::new();
        self.broker.recount(&mut |record| {
            if let Record::Session(record) = &record {
                // Who has only messages on the disk ends with its connection.
                if record.expiry_interval_s > 0 {
                    let name = record.identity.client_identifier.to_string();
                    names.insert(record.session, name);
                }
            }
            lines.extend(line(&record, &names));
        });
        lines.sort();
        let spilled = self.broker.spilled();
        let spilled = spilled.filter(|(id, ..)| names.contains_key(id));
        (lines, spilled.map(|(.., count)| count).sum())
    }
}

/// A fact in words, with the names of its session.
fn line(record: &Record, names: &BTreeMap<SessionId, String>) -> Option<String> {
    Some(match record {
        Record::Session(record) => {
            let name = names.get(&record.session)?;
            format!("{name} for {} s", record.expiry_interval_s)
        }
        Record::Will(id, will) => format!("{} has {:?}", names.get(id)?, will.as_ref()?),
        Record::Subscribed(it) => {
            let name = names.get(&it.session)?;
            format!("{name} {} {} {:?}", it.filter, it.options, it.identifier)
        }
        Record::Queued(id, place, delivery, packet) => {
            let publication = delivery.message.publication();
            format!(
                "{} at {place} {packet:?}: {:?} {} {:?} '{}' {:?} of {:?}",
                names.get(id)?,
                delivery.qos,
                delivery.retain,
                delivery.identifiers,
                publication.topic,
                std::str::from_utf8(publication.payload),
                publication.qos,
            )
        }
        Record::Received {
            session,
            released,
            packet_identifier,
            ..
        } => format!("{} at {released} {packet_identifier}", names.get(session)?),
        Record::Held(id, packet) => format!("{} holds {packet}", names.get(id)?),
        Record::Retained(message) => {
            let publication = message.publication();
            let payload = std::str::from_utf8(publication.payload);
            format!("{} is {payload:?}", publication.topic)
        }
        other => panic!("{other:?} is not told of tables"),
    })
}

struct Folders([PathBuf; 2]);

impl Folders {
    fn new(name: &str) -> Self {
        Self(["", "-copy"].map(|end| {
            let name = format!("midge-{name}{end}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        }))
    }

    /// What another broker would read if this one were killed now.
    fn lines_of_copy(&self, now: Now) -> Vec<String> {
        let [from, to] = &self.0;
        // Behind a save nothing is in the log alone.
        let name = "midge.sqlite3";
        fs::copy(from.join(name), to.join(name)).unwrap();
        Kept::open(to, usize::MAX, now).lines().0
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Clients of one broker, by name: the connection of each that has one, and what it is to answer.
#[derive(Default)]
struct Clients {
    conns: BTreeMap<&'static str, ConnId>,
    answers: Vec<(ConnId, Say)>,
    opened: usize,
    published: u16,
}

impl Clients {
    fn acts(&mut self, broker: &mut Broker, chance: &mut Chance, now: Now) {
        let name = chance.of(&NAMES);
        let Some(conn) = self.conns.get(name).copied() else {
            return self.comes(name, broker, chance, now);
        };
        let id = u16::try_from(1 + chance.below(5)).unwrap();
        let filter = chance.of(&FILTERS);
        let topic = chance.of(&TOPICS);
        self.published += 1;
        let said = match chance.below(12) {
            0 | 1 => Some(subscribe(id, filter, u8::try_from(id % 3).unwrap())),
            2 => Some(unsubscribe(id, &[filter])),
            3..=6 => {
                let level = u8::try_from(chance.below(3)).unwrap();
                Some(publish(topic, self.published.to_string()).qos(level, id))
            }
            7 => {
                let payload = ["", "value"][chance.below(2)];
                let level = u8::try_from(chance.below(2)).unwrap();
                Some(publish(topic, payload).retain().qos(level, id))
            }
            8 => Some(pubrel(id)),
            9 => Some(disconnect().with(Property::SessionExpiryInterval(0))),
            10 => None,
            _ => return self.comes(name, broker, chance, now),
        };
        match said {
            Some(packet) => says(broker, conn, &packet, now),
            None => broker.closed(conn, Closed::ByPeer, now),
        }
        self.leave(broker, now);
    }

    fn comes(&mut self, name: &'static str, broker: &mut Broker, chance: &mut Chance, now: Now) {
        self.opened += 1;
        let conn = ConnId::from_index(self.opened);
        broker.opened(conn, Peer::local(0), now);
        let mut packet = connect(name);
        if chance.below(4) > 0 {
            packet = packet.durable();
        }
        packet = packet.with(Property::SessionExpiryInterval(chance.of(&[
            0,
            1000,
            u32::MAX,
        ])));
        if chance.below(3) == 0 {
            packet = packet.will(
                "milk",
                "gone",
                u8::try_from(chance.below(3)).unwrap(),
                false,
            );
        }
        says(broker, conn, &packet, now);
        self.conns.insert(name, conn);
        self.leave(broker, now);
    }

    /// Whoever the broker has marked is gone.
    fn leave(&mut self, broker: &mut Broker, now: Now) {
        for conn in std::mem::take(&mut broker.effects().closes) {
            broker.closed(conn, Closed::AsAsked, now);
        }
        let mut is_there = |conn: &ConnId| broker.output(*conn).is_some();
        self.conns.retain(|_, conn| is_there(conn));
    }

    /// Everybody reads, and answers some of what was read, or will in a later turn.
    fn read(&mut self, broker: &mut Broker, chance: &mut Chance, now: Now) {
        for conn in self.conns.values() {
            for answer in heard(broker, *conn) {
                self.answers.push((*conn, answer));
            }
        }
        broker.effects().buffers.forget_common();
        for (conn, answer) in std::mem::take(&mut self.answers) {
            match (self.conns.values().any(|it| *it == conn), chance.below(3)) {
                (false, _) => {}
                (true, 0) => self.answers.push((conn, answer)),
                (true, _) => says(broker, conn, &answer, now),
            }
        }
        self.leave(broker, now);
    }
}

fn says(broker: &mut Broker, conn: ConnId, packet: &Say, now: Now) {
    let bytes = packet.bytes(V5);
    broker.received(conn, &bytes, now);
}

/// What a client hears, as what it is to answer.
fn heard(broker: &mut Broker, conn: ConnId) -> Vec<Say> {
    let queue = broker.output(conn).unwrap();
    let mut bytes = Vec::new();
    while !queue.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = queue.slices(&[], &mut slices);
        let before = bytes.len();
        slices[..count]
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        queue.consume(bytes.len() - before);
    }
    let (mut rest, mut answers) = (&bytes[..], Vec::new());
    while let Some(frame) = Frame::cut(rest, limits::PACKET_BYTES_MAX).unwrap() {
        match Packet::decode(&frame, V5).unwrap() {
            Packet::Publish(packet) => match packet.qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => answers.push(puback(packet.packet_identifier.unwrap().get())),
                QoS::ExactlyOnce => answers.push(pubrec(packet.packet_identifier.unwrap().get())),
            },
            Packet::Ack(packet) if frame.header.packet_type.name() == "PUBREL" => {
                answers.push(pubcomp(packet.packet_identifier.get()));
            }
            _ => {}
        }
        rest = &rest[frame.bytes.len()..];
    }
    answers
}

/// With so many messages of a queue in memory.
fn is_the_same(messages: usize) {
    let seed = number("MIDGE_SEED", 1);
    let mut chance = Chance(seed);
    let folders = Folders::new(&format!("store-random-{messages}"));
    let mut now = Now {
        mono: Mono::from_millis(1_000_000),
        unix: Unix(1_800_000_000),
    };
    let mut kept = Kept::open(&folders.0[0], messages, now);
    let mut clients = Clients::default();
    let (mut spilled, mut all) = (0, 0);
    for turn in 0..number("MIDGE_TURNS", TURNS) {
        now.mono = now.mono.plus_s(1);
        now.unix.0 += 1;
        // What is asked for is read.
        kept.keeper.is_due(&mut kept.broker, false, now);
        for _ in 0..1 + chance.below(12) {
            clients.acts(&mut kept.broker, &mut chance, now);
            if chance.below(4) == 0 {
                clients.read(&mut kept.broker, &mut chance, now);
            }
        }
        kept.broker.tick(now);
        clients.leave(&mut kept.broker, now);
        kept.keeper.save(&mut kept.broker, now);
        if turn % LOOK_EACH != 0 {
            continue;
        }
        let ((is, apart), told) = (kept.lines(), folders.lines_of_copy(now));
        let only = |these: &[String], those: &[String]| {
            let odd = these.iter().filter(|line| !those.contains(line));
            odd.cloned().collect::<Vec<_>>().join("\n  ")
        };
        assert!(
            only(&is, &told).is_empty() && told.len() == is.len() + apart,
            "MIDGE_SEED={seed}, turn {turn}, {apart} on the disk alone\nnot in the database:\n  {}\n\
             not in the broker:\n  {}",
            only(&is, &told),
            only(&told, &is)
        );
        spilled += apart;
        all += is.len();
        if chance.below(20) == 0 {
            // Killed, but for what was read of it.
            clients = Clients::default();
            drop(kept);
            kept = Kept::open(&folders.0[0], messages, now);
        }
    }
    eprintln!("MIDGE_SEED={seed}: {all} lines, and {spilled} on the disk alone");
    assert!(
        all > 100 && (spilled > 10 || messages > TURNS as usize),
        "little has happened"
    );
}

#[test]
fn what_the_database_has_is_what_the_broker_has() {
    is_the_same(usize::MAX);
}

#[test]
fn what_the_broker_does_not_have_is_in_the_database() {
    is_the_same(1);
}

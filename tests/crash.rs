//! The broker killed at random moments under load, again and again on one store: nothing that was
//! acknowledged may be missing afterwards, nothing at QoS 2 may come twice, and what is retained may
//! not be older than what was acknowledged.
//!
//! ```text
//!   MIDGE_SEED=17 cargo test --test crash        repeats a run
//!   MIDGE_KILLS=500 cargo test --release --test crash
//! ```

mod process;
mod table;

use process::{Folder, Midge, start};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;
use table::*;

/// Kills, unless `MIDGE_KILLS` says otherwise.
const KILLS: u64 = 40;

/// The same, in each mode that waits for no sync.
const LOOSER_KILLS: u64 = 20;

/// Bytes that make every message for an absent session so long that most of them wait on the disk
/// alone.
const PADDING: usize = 60_000;

/// Topics with a retained message.
const RETAINED: usize = 6;

/// Filters that come and go.
const FILTERS: usize = 6;

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().unwrap())
}

/// Chance, by xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A packet as far as it matters here.
#[derive(Debug, PartialEq)]
enum Heard {
    Publish {
        topic: String,
        payload: String,
        qos: u8,
        id: u16,
        retain: bool,
    },
    Ack(u8, u16),
}

fn hear(bytes: &[u8]) -> Heard {
    let length_bytes = bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let body = &bytes[1 + length_bytes..];
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    if bytes[0] >> 4 != 3 {
        return Heard::Ack(bytes[0] >> 4, number(0));
    }
    let qos = bytes[0] >> 1 & 3;
    let topic_end = 2 + usize::from(number(0));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (id, from) = match qos {
        0 => (0, topic_end),
        _ => (number(topic_end), topic_end + 2),
    };
    Heard::Publish {
        topic: text(&body[2..topic_end]),
        payload: text(&body[from..]),
        qos,
        id,
        retain: bytes[0] & 1 != 0,
    }
}

/// A connection that may break off at any moment.
struct Line(TcpStream);

impl Line {
    /// CONNECT and CONNACK: whether the session was there.
    fn open(midge: &Midge, packet: Say) -> io::Result<(Self, bool)> {
        let stream = TcpStream::connect(("127.0.0.1", midge.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut line = Self(stream);
        line.say(packet)?;
        let answer = line.next()?;
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
        Ok((line, answer[2] & 1 != 0))
    }

    fn say(&mut self, packet: Say) -> io::Result<()> {
        self.0.write_all(&packet.bytes(V311))
    }

    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut first = [0];
        self.0.read_exact(&mut first)?;
        let mut packet = vec![first[0]];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.0.read_exact(&mut packet[start..])?;
        Ok(packet)
    }

    /// What has been heard already; `None`: nothing.
    fn next_now(&mut self) -> io::Result<Option<Heard>> {
        self.0.set_nonblocking(true)?;
        let looked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false)?;
        match looked {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(hear(&self.next()?))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is heard, if it begins within `wait`; `None`: nothing.
    fn next_within(&mut self, wait: Duration) -> io::Result<Option<Heard>> {
        self.0.set_read_timeout(Some(wait))?;
        let looked = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(Duration::from_secs(10)))?;
        match looked {
            Ok(_) => Ok(Some(hear(&self.next()?))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the clients know, over all crashes.
#[derive(Default)]
struct World {
    count: u64,
    /// Bytes behind each payload for `late` and the group.
    padding: usize,
    /// Payloads that `late` must still get, at QoS 1, and so must a member of the group.
    due_late: BTreeSet<String>,
    due_shared: BTreeSet<String>,
    /// Payloads at QoS 2 that were acknowledged, and those that were passed on.
    due_exact: BTreeSet<String>,
    passed_on: BTreeSet<String>,
    /// Packet Identifiers that `exact` has answered with PUBREC, and has not heard PUBREL for.
    exact_ids: BTreeSet<u16>,
    /// QoS 2 from `teller` that is not over: Packet Identifier, payload, whether PUBREC has come.
    telling: BTreeMap<u16, (String, bool)>,
    last_id: u16,
    /// By topic: the last value acknowledged, and the last said. 0: cleared.
    retained: [(u64, u64); RETAINED],
    /// By filter: whether it is subscribed to, as acknowledged, and as said.
    filters: [(bool, bool); FILTERS],
    /// Wills that a CONNACK has taken, until heard.
    wills: BTreeSet<String>,
}

impl World {
    fn payload(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn id(&mut self) -> u16 {
        self.last_id = self.last_id % 60_000 + 1;
        self.last_id
    }

    /// Subscriptions and sessions that all runs begin with.
    fn begins(&mut self, midge: &Midge) {
        for (name, filter, qos) in [
            ("late", "late/#", 1),
            ("shared", "$share/g/late/#", 1),
            ("exact", "exact/#", 2),
        ] {
            let (mut line, _) = Line::open(midge, connect(name).durable()).unwrap();
            line.say(subscribe(1, filter, qos)).unwrap();
            assert_eq!(line.next().unwrap(), suback(1, &[qos]).bytes(V311));
            line.say(disconnect()).unwrap();
        }
        let mut line = Line::open(midge, connect("teller").durable()).unwrap().0;
        // A session nobody was told of may be lost.
        line.say(subscribe(1, "nothing", 0)).unwrap();
        line.next().unwrap();
        let mut line = Line::open(midge, connect("moody").durable()).unwrap().0;
        line.say(subscribe(1, "nothing", 0)).unwrap();
        line.next().unwrap();
    }

    /// Everything at once until the connection breaks.
    fn plays(&mut self, midge: &Midge, chance: &mut Chance) -> io::Result<()> {
        let (mut exact, is_present) = Line::open(midge, connect("exact").durable())?;
        assert!(is_present, "the session of exact is gone");
        let (mut teller, is_present) = Line::open(midge, connect("teller").durable())?;
        assert!(is_present, "the session of teller is gone");
        for (id, (payload, is_received)) in &self.telling {
            teller.say(match is_received {
                true => pubrel(*id),
                false => publish("exact/x", payload).qos2(*id).dup(),
            })?;
        }
        let (mut moody, is_present) = Line::open(midge, connect("moody").durable())?;
        assert!(is_present, "the session of moody is gone");
        let mut plain = Line::open(midge, connect("plain"))?.0;
        let will = format!("will {}", self.payload());
        let doomed = connect("doomed")
            .durable()
            .will("late/will", &will, 1, false);
        let _doomed = Line::open(midge, doomed)?.0;
        self.wills.insert(will);
        loop {
            match chance.below(8) {
                0 | 1 => self.tells_late(&mut plain, chance)?,
                2 => self.retains(&mut plain, chance)?,
                3 => self.changes_its_mind(&mut moody, chance)?,
                4 | 5 => {
                    let (id, payload) = (self.id(), self.payload());
                    self.telling.insert(id, (payload.clone(), false));
                    teller.say(publish("exact/x", &payload).qos2(id))?;
                }
                6 => {
                    // Nobody needs these to last.
                    plain.say(publish("late/nothing", "at QoS 0"))?;
                }
                _ => thread::sleep(Duration::from_micros(chance.below(3000))),
            }
            while let Some(heard) = teller.next_now()? {
                self.answers_teller(heard, &mut teller)?;
            }
            while let Some(heard) = exact.next_now()? {
                self.answers_exact(heard, &mut exact)?;
            }
        }
    }

    /// Some QoS 1 messages together.
    fn tells_late(&mut self, plain: &mut Line, chance: &mut Chance) -> io::Result<()> {
        let burst: Vec<(u16, String)> = (0..1 + chance.below(4))
            .map(|_| (self.id(), self.payload()))
            .collect();
        for (id, payload) in &burst {
            let padded = format!("{payload}{}", " ".repeat(self.padding));
            plain.say(publish("late/x", padded).qos1(*id))?;
        }
        for (id, payload) in burst {
            let heard = hear(&plain.next()?);
            assert_eq!(heard, Heard::Ack(4, id));
            self.due_late.insert(payload.clone());
            self.due_shared.insert(payload);
        }
        Ok(())
    }

    fn retains(&mut self, plain: &mut Line, chance: &mut Chance) -> io::Result<()> {
        let topic = usize::try_from(chance.below(RETAINED as u64)).unwrap();
        self.count += 1;
        let value = self.count;
        let payload = match chance.below(4) {
            0 => String::new(),
            _ => value.to_string(),
        };
        self.retained[topic].1 = if payload.is_empty() { 0 } else { value };
        let id = self.id();
        plain.say(publish(&format!("r/{topic}"), payload).retain().qos1(id))?;
        assert_eq!(hear(&plain.next()?), Heard::Ack(4, id));
        self.retained[topic].0 = self.retained[topic].1;
        Ok(())
    }

    fn changes_its_mind(&mut self, moody: &mut Line, chance: &mut Chance) -> io::Result<()> {
        let filter = usize::try_from(chance.below(FILTERS as u64)).unwrap();
        let text = format!("moody/{filter}");
        let wants = !self.filters[filter].1;
        self.filters[filter].1 = wants;
        let id = self.id();
        match wants {
            true => moody.say(subscribe(id, &text, 1))?,
            false => moody.say(unsubscribe(id, &[&text]))?,
        }
        assert_eq!(
            hear(&moody.next()?),
            Heard::Ack(if wants { 9 } else { 11 }, id)
        );
        self.filters[filter].0 = wants;
        Ok(())
    }

    fn answers_teller(&mut self, heard: Heard, teller: &mut Line) -> io::Result<()> {
        match heard {
            Heard::Ack(5, id) => {
                if let Some((payload, is_received)) = self.telling.get_mut(&id) {
                    *is_received = true;
                    self.due_exact.insert(payload.clone());
                }
                teller.say(pubrel(id))
            }
            Heard::Ack(7, id) => {
                self.telling.remove(&id);
                Ok(())
            }
            other => panic!("teller hears {other:?}"),
        }
    }

    fn answers_exact(&mut self, heard: Heard, exact: &mut Line) -> io::Result<()> {
        match heard {
            Heard::Publish {
                payload,
                qos: 2,
                id,
                ..
            } => {
                // Passed on at once, and its Packet Identifier held [MQTT §4.3.3].
                if self.exact_ids.insert(id) {
                    let is_new = self.passed_on.insert(payload.clone());
                    assert!(is_new, "{payload} was passed on twice");
                }
                exact.say(pubrec(id))
            }
            Heard::Ack(6, id) => {
                self.exact_ids.remove(&id);
                exact.say(pubcomp(id))
            }
            other => panic!("exact hears {other:?}"),
        }
    }

    /// The broker is back: everything that was acknowledged is there.
    fn finds_all(&mut self, midge: &Midge) {
        let due_late = self.due_late.union(&self.wills).cloned().collect();
        let late = takes(midge, "late", &due_late);
        let shared = takes(midge, "shared", &self.due_shared);
        let lost = |due: &BTreeSet<String>, heard: &BTreeSet<String>| {
            due.difference(heard).cloned().collect::<Vec<_>>()
        };
        assert_eq!(lost(&self.due_late, &late), [""; 0], "lost to late");
        assert_eq!(
            lost(&self.due_shared, &shared),
            [""; 0],
            "lost to the group"
        );
        assert_eq!(lost(&self.wills, &late), [""; 0], "Wills lost");
        self.due_late.clear();
        self.due_shared.clear();
        self.wills.clear();
        self.finishes(midge);
        assert_eq!(
            lost(&self.due_exact, &self.passed_on),
            [""; 0],
            "lost to exact"
        );
        self.due_exact.clear();
        self.finds_retained(midge);
        self.finds_filters(midge);
    }

    /// What was under way at QoS 2 comes to its end, on both sides.
    fn finishes(&mut self, midge: &Midge) {
        let (mut teller, _) = Line::open(midge, connect("teller").durable()).unwrap();
        for (id, (payload, is_received)) in &self.telling {
            teller
                .say(match is_received {
                    true => pubrel(*id),
                    false => publish("exact/x", payload).qos2(*id).dup(),
                })
                .unwrap();
        }
        while !self.telling.is_empty() {
            let heard = hear(&teller.next().unwrap());
            self.answers_teller(heard, &mut teller).unwrap();
        }
        let (mut exact, _) = Line::open(midge, connect("exact").durable()).unwrap();
        while let Some(heard) = exact.next_within(Duration::from_millis(60)).unwrap() {
            self.answers_exact(heard, &mut exact).unwrap();
        }
    }

    fn finds_retained(&mut self, midge: &Midge) {
        let mut line = Line::open(midge, connect("looker")).unwrap().0;
        line.say(subscribe(1, "r/#", 0)).unwrap();
        line.next().unwrap();
        let mut found = [0; RETAINED];
        while let Some(heard) = line.next_within(Duration::from_millis(30)).unwrap() {
            let Heard::Publish {
                topic,
                payload,
                retain: true,
                ..
            } = heard
            else {
                panic!("{heard:?} is not retained");
            };
            let topic: usize = topic.strip_prefix("r/").unwrap().parse().unwrap();
            found[topic] = payload.parse().unwrap();
        }
        for (topic, value) in found.into_iter().enumerate() {
            let (acknowledged, said) = self.retained[topic];
            assert!(
                value == acknowledged || value == said,
                "r/{topic} is {value}, after {acknowledged} was acknowledged and {said} said"
            );
            self.retained[topic] = (value, value);
        }
    }

    /// By publishing to every filter that comes and goes.
    fn finds_filters(&mut self, midge: &Midge) {
        let (mut moody, is_present) = Line::open(midge, connect("moody").durable()).unwrap();
        assert!(is_present, "the session of moody is gone");
        let mut plain = Line::open(midge, connect("asker")).unwrap().0;
        for filter in 0..FILTERS {
            plain.say(publish(&format!("moody/{filter}"), "?")).unwrap();
        }
        // Whatever moody is to hear has come before it hears of this.
        plain.say(pingreq()).unwrap();
        assert_eq!(plain.next().unwrap(), pingresp().bytes(V311));
        moody.say(pingreq()).unwrap();
        let mut found = [false; FILTERS];
        loop {
            let packet = moody.next().unwrap();
            if packet == pingresp().bytes(V311) {
                break;
            }
            let Heard::Publish { topic, .. } = hear(&packet) else {
                panic!("moody hears {packet:?}");
            };
            let filter: usize = topic.strip_prefix("moody/").unwrap().parse().unwrap();
            found[filter] = true;
        }
        for (filter, is_there) in found.into_iter().enumerate() {
            let (acknowledged, said) = self.filters[filter];
            assert!(
                is_there == acknowledged || is_there == said,
                "moody/{filter}: {is_there}, after {acknowledged} was acknowledged and {said} said"
            );
            self.filters[filter] = (is_there, is_there);
        }
    }
}

/// All that waits for a client: more of a long queue follows as it is read from the disk, so that what
/// is due is waited for.
fn takes(midge: &Midge, name: &str, due: &BTreeSet<String>) -> BTreeSet<String> {
    let (mut line, is_present) = Line::open(midge, connect(name).durable()).unwrap();
    assert!(is_present, "the session of {name} is gone");
    let mut heard = BTreeSet::new();
    loop {
        let wait = match due.is_subset(&heard) {
            true => Duration::from_millis(60),
            false => Duration::from_secs(5),
        };
        match line.next_within(wait).unwrap() {
            None => break,
            Some(Heard::Publish {
                payload,
                qos: 1,
                id,
                ..
            }) => {
                heard.insert(payload.trim_end().to_owned());
                line.say(puback(id)).unwrap();
            }
            other => panic!("{name} hears {other:?}"),
        }
    }
    line.say(disconnect()).unwrap();
    heard
}

fn configuration(folder: &Folder, more: &str) -> String {
    format!(
        "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
         max_queued_messages 0\nmax_inflight_messages 0\nlog_type error\nlog_type information\n{more}",
        folder.file("").display()
    )
}

#[test]
fn nothing_acknowledged_is_lost_to_kills() {
    is_killed("always", KILLS, 0);
}

#[test]
fn nothing_acknowledged_is_lost_that_is_on_the_disk_alone() {
    is_killed("always", LOOSER_KILLS, PADDING);
    is_killed("interval 50", LOOSER_KILLS, PADDING);
}

#[test]
fn nothing_acknowledged_is_lost_to_kills_between_commits() {
    // No commit but that of the unhurried messages; one in most lives; and the unsynced ones.
    is_killed("interval 60000", LOOSER_KILLS, 0);
    is_killed("interval 50", LOOSER_KILLS, 0);
    is_killed("none", LOOSER_KILLS, 0);
}

/// Kills a broker in this mode of `midge_persistence_sync` again and again.
fn is_killed(mode: &str, kills: u64, padding: usize) {
    let seed = number("MIDGE_SEED", 1);
    let kills = number("MIDGE_KILLS", kills);
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let name = format!("crash-{}-{padding}", mode.replace(' ', "-"));
    let folder = Folder::new(&name);
    let more = format!("midge_persistence_sync {mode}\n");
    let mut world = World {
        padding,
        ..World::default()
    };
    let mut acknowledged = 0;
    for kill in 0..kills {
        eprintln!("MIDGE_SEED={seed}, {mode}, {padding} bytes more, kill {kill}");
        let mut midge = start(&folder, &configuration(&folder, &more));
        match kill {
            0 => world.begins(&midge),
            _ => world.finds_all(&midge),
        }
        let pid = midge.child.id().to_string();
        let wait = Duration::from_millis(5 + chance.below(250));
        let killer = thread::spawn(move || {
            thread::sleep(wait);
            assert!(
                Command::new("kill")
                    .args(["-9", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        });
        let before = world.count;
        let error = world.plays(&midge, &mut chance).unwrap_err();
        killer.join().unwrap();
        midge.child.wait().unwrap();
        acknowledged += world.count - before;
        assert_ne!(
            error.kind(),
            io::ErrorKind::WouldBlock,
            "the broker does not answer"
        );
    }
    let midge = start(&folder, &configuration(&folder, &more));
    world.finds_all(&midge);
    let asides = fs::read_dir(folder.file("")).unwrap();
    let names = asides.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("damaged")));
    eprintln!(
        "MIDGE_SEED={seed}, {mode}: {kills} kills, {acknowledged} messages, none lost, none twice"
    );
}

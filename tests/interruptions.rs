//! Every interruption of every exchange: a connection is lost between any two packets, with any
//! number of packets still under way in both directions, and all that was under way is lost with
//! it. The client follows the specification to the letter. Whatever happens, QoS 1 arrives at
//! least once and QoS 2 exactly once, in order, and nothing is left behind.
//!
//! ```text
//!            under way            under way
//!   client ------------> broker ------------> client
//!   one step:  a packet arrives at the broker | one arrives at the client | the connection is lost
//! ```
//!
//! All schedules are run, each from the beginning, by counting through the choices.

mod table;
use midge::codec::ack::AckKind;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::reason::ReasonCode;
use std::collections::{BTreeSet, VecDeque};
use table::*;

/// The choices of one schedule: those made before, then always the first.
#[derive(Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, count: usize) -> usize {
        if self.at == self.made.len() {
            self.made.push((0, count));
        }
        self.at += 1;
        self.made[self.at - 1].0
    }

    /// Moves on to the next schedule, if there is one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, count)) = self.made.pop() {
            if chosen + 1 < count {
                self.made.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

/// Runs every schedule; how many there are.
fn every_schedule(run: impl Fn(&mut Choices)) -> usize {
    let mut choices = Choices::default();
    for count in 1.. {
        run(&mut choices);
        if !choices.advance() {
            return count;
        }
    }
    unreachable!("there are not that many")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    ArriveAtBroker,
    ArriveAtClient,
    Lose,
}

/// What a packet from the broker is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Publish { id: u16, dup: bool, payload: String },
    Ack { kind: AckKind, id: u16 },
}

fn heard(bytes: &[u8], version: ProtocolVersion) -> Heard {
    let frame = Frame::cut(bytes, u32::MAX).unwrap().unwrap();
    match Packet::decode(&frame, version).unwrap() {
        Packet::Publish(packet) => Heard::Publish {
            id: packet.packet_identifier.unwrap().get(),
            dup: packet.dup,
            payload: String::from_utf8(packet.payload.into()).unwrap(),
        },
        Packet::Ack(packet) => {
            // A PUBREL whose PUBCOMP was lost finds nothing any more.
            let is_late = packet.kind == AckKind::PubComp
                && packet.reason == ReasonCode::PacketIdentifierNotFound;
            assert!(is_late || !packet.reason.is_failure(), "{packet:?}");
            Heard::Ack {
                kind: packet.kind,
                id: packet.packet_identifier.get(),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// A client's connection with what is under way on it, and how often it may still be lost.
struct Line {
    seat: Seat,
    version: ProtocolVersion,
    to_broker: VecDeque<Say>,
    to_client: VecDeque<Heard>,
    losses: usize,
}

impl Line {
    fn new(t: &mut Table, version: ProtocolVersion, losses: usize) -> Self {
        Self {
            seat: t.connects(version, connect("cid").lasting(1000)),
            version,
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            losses,
        }
    }

    /// Takes over what the broker has sent since.
    fn listen(&mut self, t: &mut Table) -> Vec<Heard> {
        let mut new = Vec::new();
        while let Some(bytes) = t.next(self.seat) {
            new.push(heard(&bytes, self.version));
        }
        self.to_client.extend(new.clone());
        new
    }

    /// What happens next; `None`: nothing is left to happen.
    fn choose(&self, choices: &mut Choices) -> Option<Step> {
        let mut steps = Vec::new();
        if !self.to_broker.is_empty() {
            steps.push(Step::ArriveAtBroker);
        }
        if !self.to_client.is_empty() {
            steps.push(Step::ArriveAtClient);
        }
        if steps.is_empty() {
            return None;
        }
        if self.losses > 0 {
            steps.push(Step::Lose);
        }
        Some(steps[choices.choose(steps.len())])
    }

    fn lose(&mut self, t: &mut Table) {
        self.losses -= 1;
        self.to_broker.clear();
        self.to_client.clear();
        t.drops(self.seat);
        self.seat = t.connects(self.version, connect("cid").lasting(1000));
    }
}

/// What a publisher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    PubAck,
    PubRec,
    PubComp,
    Nothing,
}

/// Cid publishes one message of each QoS in `levels`; Bob listens.
fn from_client(version: ProtocolVersion, levels: &[u8], losses: usize, choices: &mut Choices) {
    let mut t = Table::new();
    let bob = t.client(version, "bob");
    t.sends(bob, subscribe(1, "tea", 0));
    t.gets(bob, suback(1, &[0]));
    let mut line = Line::new(&mut t, version, losses);
    // A message's Packet Identifier is 10 more than its place.
    let message =
        |place: usize| publish("tea", place.to_string()).qos(levels[place], place as u16 + 10);
    let mut waits: Vec<Waits> = Vec::new();
    for (place, qos) in levels.iter().enumerate() {
        line.to_broker.push_back(message(place));
        waits.push(if *qos == 2 {
            Waits::PubRec
        } else {
            Waits::PubAck
        });
    }
    let mut arrived = vec![0; levels.len()];
    while let Some(step) = line.choose(choices) {
        match step {
            Step::ArriveAtBroker => {
                let packet = line.to_broker.pop_front().unwrap();
                let bytes = packet.bytes(version);
                if bytes[0] >> 4 == 3 {
                    arrived[usize::from(bytes[8] - 10)] += 1;
                }
                t.sends_bytes(line.seat, &bytes);
            }
            Step::ArriveAtClient => {
                let Some(Heard::Ack { kind, id }) = line.to_client.pop_front() else {
                    panic!("a PUBLISH to who has not subscribed")
                };
                let place = usize::from(id - 10);
                waits[place] = match (kind, waits[place]) {
                    (AckKind::PubAck, Waits::PubAck) => Waits::Nothing,
                    (AckKind::PubRec, Waits::PubRec) => {
                        line.to_broker.push_back(pubrel(id));
                        Waits::PubComp
                    }
                    (AckKind::PubComp, Waits::PubComp) => Waits::Nothing,
                    other => panic!("{other:?}"),
                };
            }
            Step::Lose => {
                line.lose(&mut t);
                for (place, waits) in waits.iter().enumerate() {
                    match waits {
                        Waits::PubAck | Waits::PubRec => {
                            line.to_broker.push_back(message(place).dup())
                        }
                        Waits::PubComp => line.to_broker.push_back(pubrel(place as u16 + 10)),
                        Waits::Nothing => {}
                    }
                }
            }
        }
        line.listen(&mut t);
    }
    assert!(waits.iter().all(|waits| *waits == Waits::Nothing));
    let mut delivered = Vec::new();
    while let Some(bytes) = t.next(bob) {
        delivered.push(usize::from(bytes.last().unwrap() - b'0'));
    }
    check_delivered(levels, &delivered);
    for (place, qos) in levels.iter().enumerate() {
        let count = delivered.iter().filter(|other| **other == place).count();
        let expected = if *qos == 2 { 1 } else { arrived[place] };
        assert_eq!(count, expected, "{choices:?}", choices = choices.made);
    }
    // Each identifier is free, and its next message a new one.
    for (place, qos) in levels.iter().enumerate() {
        t.sends(line.seat, message(place));
        let id = place as u16 + 10;
        t.gets(line.seat, if *qos == 2 { pubrec(id) } else { puback(id) });
        t.gets(bob, publish("tea", place.to_string()));
    }
    t.silence();
}

/// Cid has subscribed; Ann publishes one message of each QoS in `levels`; at most `window` of them
/// are in flight at a time.
fn to_client(
    version: ProtocolVersion,
    levels: &[u8],
    window: u16,
    losses: usize,
    choices: &mut Choices,
) {
    let mut t = Table::with(|config| config.max_inflight_messages = window);
    let ann = t.client(V311, "ann"); // 5.0 would be held to the same window.
    let mut line = Line::new(&mut t, version, losses);
    t.sends(line.seat, subscribe(1, "tea", 2));
    t.gets(line.seat, suback(1, &[2]));
    for (place, qos) in levels.iter().enumerate() {
        t.sends(
            ann,
            publish("tea", place.to_string()).qos(*qos, place as u16 + 1),
        );
    }
    t.ignores(ann);
    let mut delivered: Vec<usize> = Vec::new();
    let mut held = BTreeSet::new();
    let mut sent = BTreeSet::new();
    let mut recorded = BTreeSet::new();
    let mut new = line.listen(&mut t);
    loop {
        for packet in new.drain(..) {
            let Heard::Publish { id, dup, payload } = packet else {
                continue;
            };
            assert_eq!(usize::from(id), payload.parse::<usize>().unwrap() + 1);
            // DUP says exactly whether it was sent before; and none goes after PUBREC has come.
            assert_eq!(dup, !sent.insert(id));
            assert!(!recorded.contains(&id));
        }
        let Some(step) = line.choose(choices) else {
            break;
        };
        match step {
            Step::ArriveAtBroker => {
                let bytes = line.to_broker.pop_front().unwrap().bytes(version);
                if bytes[0] >> 4 == 5 {
                    recorded.insert(u16::from(bytes[3]));
                }
                t.sends_bytes(line.seat, &bytes);
            }
            Step::ArriveAtClient => match line.to_client.pop_front().unwrap() {
                Heard::Publish { id, payload, .. } => {
                    let place = payload.parse::<usize>().unwrap();
                    let is_twice = levels[place] == 2;
                    if !is_twice || held.insert(id) {
                        delivered.push(place);
                    }
                    line.to_broker
                        .push_back(if is_twice { pubrec(id) } else { puback(id) });
                }
                Heard::Ack { kind, id } => {
                    assert_eq!(kind, AckKind::PubRel);
                    held.remove(&id);
                    line.to_broker.push_back(pubcomp(id));
                }
            },
            Step::Lose => line.lose(&mut t),
        }
        new = line.listen(&mut t);
    }
    check_delivered(levels, &delivered);
    assert!(held.is_empty());
    // Nothing is left to send again.
    line.losses = 1;
    line.lose(&mut t);
    t.silence();
}

/// Once at least at QoS 1, exactly once at QoS 2; and first arrivals are in order.
fn check_delivered(levels: &[u8], delivered: &[usize]) {
    let mut first: Vec<usize> = Vec::new();
    for place in delivered {
        if !first.contains(place) {
            first.push(*place);
        } else {
            assert_ne!(levels[*place], 2, "delivered twice in {delivered:?}");
        }
    }
    for qos in [1, 2] {
        let of_qos = |place: &usize| levels[*place] == qos;
        let expected: Vec<usize> = (0..levels.len()).filter(of_qos).collect();
        first
            .iter()
            .copied()
            .filter(of_qos)
            .zip(&expected)
            .for_each(|(heard, sent)| assert_eq!(heard, *sent, "in {delivered:?}"));
    }
    assert_eq!(first.len(), levels.len(), "lost: {delivered:?}");
}

const PAIRS: [[u8; 2]; 4] = [[1, 1], [1, 2], [2, 1], [2, 2]];

#[test]
fn one_message_from_a_client_survives_every_four_losses() {
    for version in EVERY {
        for qos in [1, 2] {
            // [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT5-4.3.2-4] [MQTT5-4.3.3-10] [MQTT5-4.3.3-12]
            let count = every_schedule(|choices| from_client(version, &[qos], 4, choices));
            println!("{version:?} QoS {qos}: {count}");
        }
    }
}

#[test]
fn one_message_to_a_client_survives_every_four_losses() {
    for version in EVERY {
        for qos in [1, 2] {
            // [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1]
            // [MQTT5-4.3.2-3] [MQTT5-4.3.3-3] [MQTT5-4.3.3-5] [MQTT5-4.3.3-6] [MQTT5-4.4.0-1]
            let count = every_schedule(|choices| to_client(version, &[qos], 20, 4, choices));
            println!("{version:?} QoS {qos}: {count}");
        }
    }
}

#[test]
fn two_messages_from_a_client_survive_every_three_losses() {
    for version in [V311, V5] {
        for levels in PAIRS {
            // [MQTT-4.6.0-6] [MQTT5-4.6.0-5]
            let count = every_schedule(|choices| from_client(version, &levels, 3, choices));
            println!("{version:?} QoS {levels:?}: {count}");
        }
    }
}

#[test]
fn two_messages_to_a_client_survive_every_three_losses() {
    for version in [V311, V5] {
        for levels in PAIRS {
            for window in [1, 20] {
                // [MQTT-4.6.0-1] [MQTT-4.6.0-6] [MQTT5-4.6.0-5]
                let run = |choices: &mut Choices| to_client(version, &levels, window, 3, choices);
                let count = every_schedule(run);
                println!("{version:?} QoS {levels:?}, window {window}: {count}");
            }
        }
    }
}

#[test]
fn three_messages_to_a_client_survive_every_loss() {
    for levels in [[1, 1, 1], [2, 2, 2], [2, 1, 2]] {
        for window in [1, 2, 20] {
            let run = |choices: &mut Choices| to_client(V5, &levels, window, 1, choices);
            let count = every_schedule(run);
            println!("QoS {levels:?}, window {window}: {count}");
        }
    }
}

#[test]
fn three_messages_from_a_client_survive_every_loss() {
    for levels in [[1, 1, 1], [2, 2, 2], [2, 1, 2]] {
        let count = every_schedule(|choices| from_client(V5, &levels, 1, choices));
        println!("QoS {levels:?}: {count}");
    }
}

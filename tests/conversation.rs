//! Conversations gone wrong: valid packets of several clients, bent, cut, repeated and mixed with
//! noise, through the door of the core. Whatever comes, the broker does not panic, its bookkeeping
//! holds (the table looks after every step), what it says is whole packets, and a well-behaved
//! client beside all this is served as ever.
#![cfg(debug_assertions)] // `Broker::check` is not in a release build

mod table;

use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::property::Property;
use midge::limits;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use table::*;

/// Connections that come and go: the first three are let in before they do anything else, and speak
/// the version of their number, mostly.
const SEATS: usize = 4;

/// How the bytes of a valid packet are bent.
#[derive(Clone, Debug)]
enum Bend {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Length(u8),
    Repeat,
}

#[derive(Clone, Debug)]
enum Act {
    /// A packet, bent, in pieces.
    Say(
        usize,
        Box<Say>,
        Option<ProtocolVersion>,
        Vec<Bend>,
        Vec<Index>,
    ),
    Noise(usize, Vec<u8>),
    Leave(usize),
    Stall(usize),
    ReadAgain(usize),
    Pass(u64),
}

fn a_version() -> impl Strategy<Value = ProtocolVersion> {
    select(EVERY.to_vec())
}

fn a_topic() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a", "a/b", "$x", "", "a/+", "#", "/", "$SYS/a", "\u{fffe}",
    ])
}

fn a_filter() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "#",
        "a/#",
        "+/b",
        "$share/g/#",
        "$share/g/a",
        "",
        "a#",
        "$share/g",
        "$share/+/a",
        "$x",
    ])
}

fn a_connect() -> impl Strategy<Value = Say> {
    let terms = (any::<bool>(), 0..100u32, 0..30u16, 0..3u8);
    let name = select(vec!["ann", "bob", "cat", ""]);
    (name, option_of_will(), terms).prop_map(|(name, will, (clean, expiry_s, keep_alive_s, n))| {
        let mut packet = connect(name).keep_alive(keep_alive_s);
        if !clean {
            packet = packet.lasting(expiry_s);
        }
        if let Some((topic, qos, delay_s)) = will {
            packet = packet.will(topic, "will", qos, clean);
            packet = packet.will_with(Property::WillDelayInterval(delay_s));
        }
        match n {
            0 => packet.with(Property::ReceiveMaximum(1.try_into().unwrap())),
            1 => packet.with(Property::TopicAliasMaximum(3)),
            _ => packet,
        }
    })
}

fn option_of_will() -> impl Strategy<Value = Option<(&'static str, u8, u32)>> {
    prop::option::of((a_topic(), 0..3u8, 0..20u32))
}

fn a_publish() -> impl Strategy<Value = Say> {
    let rest = (0..3u8, 1..4u16, any::<[bool; 3]>(), 0..5u16);
    (a_topic(), vec(any::<u8>(), 0..20), rest).prop_map(|(topic, payload, rest)| {
        let (qos, id, [retain, dup, expires], alias) = rest;
        let mut packet = publish(topic, payload).qos(qos, if qos > 0 { id } else { 0 });
        if retain {
            packet = packet.retain();
        }
        if dup && qos > 0 {
            packet = packet.dup();
        }
        if expires {
            packet = packet.with(Property::MessageExpiryInterval(u32::from(alias)));
        }
        match alias.try_into() {
            Ok(alias) => packet.with(Property::TopicAlias(alias)),
            Err(_) => packet,
        }
    })
}

fn a_packet() -> impl Strategy<Value = Say> {
    let subscribed = (1..4u16, a_filter(), 0..3u8);
    let acked = (0..4usize, 1..5u16);
    prop_oneof![
        4 => a_connect(),
        6 => a_publish(),
        3 => subscribed.prop_map(|(id, filter, qos)| subscribe(id, filter, qos)),
        2 => (1..4u16, a_filter()).prop_map(|(id, filter)| unsubscribe(id, &[filter])),
        5 => acked.prop_map(|(kind, id)| [puback, pubrec, pubrel, pubcomp][kind](id)),
        1 => Just(pingreq()),
        1 => Just(disconnect()),
        1 => Just(connack(false)),
        1 => Just(suback(1, &[0])),
    ]
}

fn a_bend() -> impl Strategy<Value = Bend> {
    let inserted = (any::<Index>(), vec(any::<u8>(), 1..4));
    prop_oneof![
        (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Bend::Flip(at, bits)),
        any::<Index>().prop_map(Bend::Cut),
        inserted.prop_map(|(at, bytes)| Bend::Insert(at, bytes)),
        any::<u8>().prop_map(Bend::Length),
        Just(Bend::Repeat),
    ]
}

fn bend(bytes: &mut Vec<u8>, bend: &Bend) {
    match bend {
        _ if bytes.len() < 2 => {}
        Bend::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Bend::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Bend::Insert(at, inserted) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, inserted.iter().copied());
        }
        Bend::Length(length) => bytes[1] = *length,
        Bend::Repeat => bytes.extend_from_within(..),
    }
}

fn an_act() -> impl Strategy<Value = Act> {
    let who = || 0..SEATS;
    let bends = prop_oneof![4 => Just(Vec::new()), 1 => vec(a_bend(), 1..4)];
    let cuts = vec(any::<Index>(), 0..3);
    let other = prop::option::weighted(0.1, a_version());
    let said = (who(), a_packet(), other, bends, cuts);
    let said = said.prop_map(|(who, packet, other, bends, cuts)| {
        Act::Say(who, Box::new(packet), other, bends, cuts)
    });
    prop_oneof![
        60 => said,
        3 => (who(), vec(any::<u8>(), 0..60)).prop_map(|(who, bytes)| Act::Noise(who, bytes)),
        4 => who().prop_map(Act::Leave),
        1 => who().prop_map(Act::Stall),
        2 => who().prop_map(Act::ReadAgain),
        6 => (0..60_000u64).prop_map(Act::Pass),
    ]
}

/// The connections of one run, opened when they are needed.
struct Seats {
    t: Table,
    seats: [Option<Seat>; SEATS],
}

impl Seats {
    fn seat(&mut self, who: usize) -> Seat {
        let Self { t, seats } = self;
        *seats[who].get_or_insert_with(|| match EVERY.get(who) {
            Some(version) => t.connects(*version, connect(&format!("client{who}")).lasting(20)),
            None => t.opens(),
        })
    }

    fn says(&mut self, who: usize, bytes: &[u8]) {
        let seat = self.seat(who);
        self.t.sends_bytes(seat, bytes);
    }

    fn acts(&mut self, act: &Act) {
        match act {
            Act::Say(who, packet, other, bends, cuts) => {
                let own = EVERY.get(*who).copied().unwrap_or(V5);
                let mut bytes = packet.bytes(other.unwrap_or(own));
                bends.iter().for_each(|how| bend(&mut bytes, how));
                let mut cuts: Vec<usize> =
                    cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
                cuts.push(bytes.len());
                cuts.sort_unstable();
                let mut from = 0;
                for to in cuts {
                    self.says(*who, &bytes[from..to]);
                    from = to;
                }
            }
            Act::Noise(who, bytes) => self.says(*who, bytes),
            Act::Leave(who) => {
                let seat = self.seats[*who].take();
                seat.into_iter().for_each(|seat| self.t.drops(seat));
            }
            Act::Stall(who) => {
                let seat = self.seat(*who);
                self.t.stalls(seat);
            }
            Act::ReadAgain(who) => {
                let seat = self.seat(*who);
                self.t.reads_again(seat);
            }
            Act::Pass(millis) => {
                self.t.passes_ms(*millis);
            }
        }
    }

    /// What everybody heard is whole packets; who is closed is gone.
    fn looks(&mut self) {
        for slot in &mut self.seats {
            let Some(seat) = *slot else { continue };
            let heard = self.t.takes(seat);
            let mut rest = heard.as_slice();
            while !rest.is_empty() {
                let frame = Frame::cut(rest, limits::PACKET_BYTES_MAX).unwrap().unwrap();
                rest = &rest[frame.header.packet_bytes() as usize..];
            }
            if self.t.is_closed(seat) {
                self.t.closed(seat);
                *slot = None;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_conversation_upsets_the_broker_or_a_bystander(acts in vec(an_act(), 1..150)) {
        let mut run = Seats { t: Table::new(), seats: [None; SEATS] };
        let bystander = run.t.connects(V5, connect("bystander"));
        run.t.sends(bystander, subscribe(1, "only/mine", 2));
        run.t.gets(bystander, suback(1, &[2]));
        for act in &acts {
            run.acts(act);
            run.looks();
        }
        run.t.sends(bystander, publish("only/mine", "still here").qos2(9));
        run.t.gets(bystander, publish("only/mine", "still here").qos2(1));
        run.t.gets(bystander, pubrec(9));
        run.t.sends(bystander, pubrel(9));
        run.t.gets(bystander, pubcomp(9));
        run.t.nothing(bystander);
        for who in 0..SEATS {
            run.acts(&Act::Leave(who));
        }
        run.t.shuts_down();
    }
}

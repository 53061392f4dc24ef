//! Model clients at the dialogue table: each speaks its half of the protocol as it should, tells
//! the model what it does, and asks it about everything it hears.
//!
//! Every client has a millisecond of its own: number 3 acts only when the clock shows 3 modulo 8.
//! So no two deadlines of different clients ever fall together, and the model need not know which
//! of them the broker would serve first.

mod listen;
mod speak;
pub mod step;

use super::{Client, Connect, FOREVER, Message, Model, Rules, Will};
use crate::table::*;
use midge::codec::ack::AckKind;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use step::{Body, FILTERS, Step, WillStep};

/// Clients, each with a will topic and a millisecond of its own. The last but one takes small
/// packets only; the last looks at what is left in the end.
pub const CLIENTS: usize = 8;
const SMALL: Client = 6;
const OBSERVER: Client = 7;

/// Bytes of the largest packet that a small client takes, and of payloads.
const SMALL_PACKET_BYTES: u32 = 600;
const BIG_BYTES: usize = 2000;
const HUGE_BYTES: usize = 300_000;

/// Something a client is to say because of what it heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    /// PUBLISH again, after a reconnect.
    Again(u16),
}

/// An answer of the broker that a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    ConnAck(bool),
    Ack(AckKind, u16, ReasonCode),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
}

/// A QoS 1 or 2 PUBLISH that is not wholly acknowledged.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    id: u16,
    message: usize,
    qos: u8,
    expiry_s: Option<u32>,
    is_received: bool,
    is_released: bool,
}

struct Player {
    seat: Option<Seat>,
    version: ProtocolVersion,
    acknowledges: bool,
    reads: bool,
    replies: VecDeque<Reply>,
    answers: VecDeque<Answer>,
    outgoing: Vec<Outgoing>,
    last_id: u16,
    /// Topic Aliases it has set.
    aliases: BTreeMap<u16, String>,
    /// Topic Aliases the broker has set.
    broker_aliases: BTreeMap<u16, String>,
    alias_maximum: u16,
}

/// A table with model clients at it.
pub struct Run {
    t: Table,
    model: Model,
    players: Vec<Player>,
    /// Payloads made so far.
    payloads: usize,
    trace: bool,
}

type Outcome = Result<(), String>;

fn is_too_big(client: Client, message: &Message) -> bool {
    client == SMALL && message.payload.len() >= BIG_BYTES
}

fn filter_of(client: Client, filter: usize) -> String {
    let odd = client % 2 == 1;
    FILTERS[filter].replace("$share/g/", if odd { "$share/h/" } else { "$share/g/" })
}

fn name(client: Client) -> String {
    format!("client{client}")
}

/// Everybody, `who` first.
fn from(who: Client) -> impl Iterator<Item = Client> {
    (0..CLIENTS).map(move |step| (who + step) % CLIENTS)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Run {
    pub fn new(rules: Rules) -> Self {
        let mut t = Table::with(|config| {
            config.allow_duplicate_messages = rules.duplicates;
            config.max_queued_messages = u32::try_from(rules.queued_max).unwrap();
            config.max_inflight_messages = rules.window_max;
        })
        .remembers();
        if rules.in_memory > 0 {
            t = t.keeps_in_memory(rules.in_memory);
        }
        let now = t.now().mono.as_millis();
        let player = |_| Player {
            seat: None,
            version: V311,
            acknowledges: true,
            reads: true,
            replies: VecDeque::new(),
            answers: VecDeque::new(),
            outgoing: Vec::new(),
            last_id: 0,
            aliases: BTreeMap::new(),
            broker_aliases: BTreeMap::new(),
            alias_maximum: 0,
        };
        Self {
            t,
            model: Model::new(rules, now, is_too_big),
            players: (0..CLIENTS).map(player).collect(),
            payloads: 0,
            trace: std::env::var_os("MIDGE_TRACE").is_some(),
        }
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            let line: String = text().chars().take(200).collect();
            eprintln!("{:>8} {line}", self.model.now);
        }
    }

    /// One step, and all that comes of it.
    pub fn step(&mut self, step: &Step) -> Outcome {
        self.note(|| format!("== {step:?}"));
        match step {
            Step::Connect { .. } => self.connect(step)?,
            Step::Drop(who) => self.drop(*who)?,
            Step::Disconnect {
                who,
                with_will,
                expiry_s,
            } => self.disconnect(*who, *with_will, *expiry_s)?,
            Step::Babble(who) => self.babble(*who)?,
            Step::Subscribe {
                who,
                filters,
                identifier,
            } => self.subscribe(*who, filters, *identifier)?,
            Step::Unsubscribe { who, filters } => self.unsubscribe(*who, filters)?,
            Step::Publish { count, .. } => {
                for _ in 0..*count {
                    self.publish(step)?;
                }
            }
            Step::Repeat(who, which) => self.repeat(*who, *which)?,
            Step::ReleaseNothing(who) => self.release_nothing(*who)?,
            Step::StopAcknowledging(who) => self.players[*who].acknowledges = false,
            Step::StartAcknowledging(who) => self.players[*who].acknowledges = true,
            Step::Acknowledge { who, which, refuse } => self.acknowledge(*who, *which, *refuse)?,
            Step::AcknowledgeLate(who, which) => self.acknowledge_late(*who, *which)?,
            Step::Stall(who) => self.stall(*who),
            Step::ReadAgain(who) => self.read_again(*who)?,
            Step::Crash => self.crash()?,
            Step::Pass(seconds) => self.advance(self.model.now + seconds * 1000)?,
        }
        self.rests()
    }

    /// Everybody comes back, reads and acknowledges; an observer sees what is retained; the broker
    /// stops.
    pub fn ends(&mut self) -> Outcome {
        for who in 0..CLIENTS {
            self.players[who].acknowledges = true;
            self.read_again(who)?;
            if self.model.sessions.contains_key(&who) && !self.model.is_connected(who) {
                self.step(&comes_back(who, self.players[who].version))?;
            }
            self.rests()?;
        }
        self.step(&comes_back(OBSERVER, V5))?;
        let all = ["#", "$x/#", "$SYS/#"].map(|all| {
            let at = FILTERS.iter().position(|filter| *filter == all);
            (at.unwrap(), 2, false, true, 0)
        });
        self.step(&Step::Subscribe {
            who: OBSERVER,
            filters: all.into(),
            identifier: 77,
        })?;
        self.stop()
    }

    /// The broker is killed and starts again. Who leaves no session behind is cut off first: its
    /// Will is its session's, and is not remembered. So are all but one of those whose Will is due at
    /// once: which of them would come first is nowhere said.
    fn crash(&mut self) -> Outcome {
        let mut is_one_prompt = false;
        for who in 0..CLIENTS {
            let is_second =
                self.model.has_prompt_will(who) && std::mem::replace(&mut is_one_prompt, true);
            if self.model.is_connected(who) && (self.model.expiry_s(who) == 0 || is_second) {
                self.drop(who)?;
            }
        }
        self.t.restarts();
        for who in 0..CLIENTS {
            self.forget(who);
        }
        self.model.crashes();
        self.listen()
    }

    fn stop(&mut self) -> Outcome {
        self.note(|| String::from("== the broker stops"));
        self.t.shuts_down();
        self.model.stops();
        for client in 0..CLIENTS {
            let Some(seat) = self.players[client].seat.take() else {
                continue;
            };
            let heard = self.t.takes(seat);
            self.hear_all(client, &heard, Some(ReasonCode::ServerShuttingDown))?;
            self.t.closed(seat);
        }
        self.model.rests()?;
        for client in 0..CLIENTS {
            if self.model.is_connected(client) {
                self.model.loses(client, false);
            }
        }
        self.check_sizes()
    }

    // ---- who and when ----

    /// The first connected client from `who` on, in its own millisecond.
    fn turn(&mut self, who: Client) -> Result<Option<(Client, Seat)>, String> {
        let found = from(who).find(|client| self.players[*client].seat.is_some());
        let Some(client) = found else { return Ok(None) };
        self.wait_for(client)?;
        Ok(self.players[client].seat.map(|seat| (client, seat)))
    }

    fn wait_for(&mut self, client: Client) -> Outcome {
        for (client, session) in &mut self.model.sessions {
            if let Some(seat) = self.players[*client].seat {
                session.waiting = self.t.waiting(seat);
            }
        }
        let now = self.model.now;
        let wait = (client as u64 + CLIENTS as u64 - now % CLIENTS as u64) % CLIENTS as u64;
        self.advance(now + wait)
    }

    fn advance(&mut self, to: u64) -> Outcome {
        while let Some((at, client)) = self.model.next_event().filter(|(at, _)| *at <= to) {
            self.pass_until(at);
            self.note(|| format!("-- {} is due", name(client)));
            let is_closed = self.model.event(client);
            if is_closed {
                self.farewell(client, Some(ReasonCode::KeepAliveTimeout))?;
            }
            // All who were cut off by a crash were cut off at once.
            if self.model.next_event().is_none_or(|(next, _)| next > at) {
                self.listen()?;
            }
        }
        self.pass_until(to);
        Ok(())
    }

    fn pass_until(&mut self, at: u64) {
        if at > self.model.now {
            self.t.passes_ms(at - self.model.now);
            self.model.now = at;
        }
    }

    // ---- connections ----

    fn connect(&mut self, step: &Step) -> Outcome {
        let Step::Connect {
            who,
            version,
            clean,
            expiry_s,
            receive_maximum,
            alias_maximum,
            keep_alive_s,
            will,
        } = step.clone()
        else {
            return Ok(());
        };
        let version = if who == SMALL { V5 } else { version };
        self.wait_for(who)?;
        let will = will.map(|will| self.will(who, version, will));
        let mut packet = connect(&name(who)).keep_alive(keep_alive_s);
        if !clean {
            packet = packet.durable();
        }
        if expiry_s > 0 {
            packet = packet.with(Property::SessionExpiryInterval(expiry_s));
        }
        if let Some(maximum) = NonZeroU16::new(receive_maximum) {
            packet = packet.with(Property::ReceiveMaximum(maximum));
        }
        if alias_maximum > 0 {
            packet = packet.with(Property::TopicAliasMaximum(alias_maximum));
        }
        if who == SMALL {
            let bytes = NonZeroU32::new(SMALL_PACKET_BYTES).unwrap();
            packet = packet.with(Property::MaximumPacketSize(bytes));
        }
        if let Some(will) = &will {
            let Message {
                topic,
                payload,
                qos,
                retain,
                ..
            } = &will.message;
            packet = packet.will(topic, payload, *qos, *retain);
            if will.delay_s > 0 {
                packet = packet.will_with(Property::WillDelayInterval(will.delay_s));
            }
            if let Some(expiry_s) = will.expiry_s {
                packet = packet.will_with(Property::MessageExpiryInterval(expiry_s));
            }
        }
        let seat = self.t.says_connect(version, packet);
        self.farewell(who, Some(ReasonCode::SessionTakenOver))?;
        let is_present = self.model.connects(
            who,
            Connect {
                has_properties: version == V5,
                clean,
                expiry_s: match (version, clean) {
                    (V5, _) => expiry_s,
                    (_, true) => 0,
                    (_, false) => FOREVER,
                },
                window: match (version, receive_maximum) {
                    (V5, 1..) => receive_maximum,
                    _ => u16::MAX,
                },
                keep_alive_s,
                will,
            },
        );
        let player = &mut self.players[who];
        player.seat = Some(seat);
        player.version = version;
        player.alias_maximum = alias_maximum;
        let is_told = is_present && version != V31;
        player.answers.push_back(Answer::ConnAck(is_told));
        if is_present {
            let again = player
                .outgoing
                .iter()
                .map(|outgoing| match outgoing.is_received {
                    true => Reply::PubRel(outgoing.id),
                    false => Reply::Again(outgoing.id),
                });
            player.replies = again.collect();
        } else {
            player.outgoing.clear();
        }
        self.listen()
    }

    fn will(&mut self, who: Client, version: ProtocolVersion, will: WillStep) -> Will {
        let message = Message {
            from: who,
            topic: format!("w/{who}"),
            payload: self.payload(match will.body {
                Body::Empty => Body::Short,
                body => body,
            }),
            qos: will.qos,
            retain: will.retain,
        };
        let is_5 = version == V5;
        Will {
            message,
            delay_s: if is_5 { will.delay_s } else { 0 },
            expiry_s: will.expiry_s.filter(|_| is_5),
        }
    }

    /// A payload that no other message has, unless it is empty.
    fn payload(&mut self, body: Body) -> Vec<u8> {
        self.payloads += 1;
        let mut payload = format!("{}.", self.payloads).into_bytes();
        let bytes = match body {
            Body::Empty => 0,
            Body::Short => payload.len(),
            Body::Big => BIG_BYTES,
            Body::Huge => HUGE_BYTES,
        };
        payload.resize(bytes, b'.');
        payload
    }

    /// The broker has closed the connection of `who`, if it had one; a 5.0 client that reads was
    /// told why, and nothing else.
    fn farewell(&mut self, who: Client, reason: Option<ReasonCode>) -> Outcome {
        let player = &mut self.players[who];
        let Some(seat) = player.seat.take() else {
            return Ok(());
        };
        let heard = self.t.takes(seat);
        if self.players[who].reads {
            self.hear_all(who, &heard, reason)?;
        }
        self.t.closed(seat);
        self.forget(who);
        Ok(())
    }

    fn forget(&mut self, who: Client) {
        let player = &mut self.players[who];
        player.seat = None;
        player.reads = true;
        player.replies.clear();
        player.answers.clear();
        player.aliases.clear();
        player.broker_aliases.clear();
    }

    fn drop(&mut self, who: Client) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        self.t.drops(seat);
        self.forget(who);
        self.model.loses(who, true);
        self.listen()
    }

    fn disconnect(&mut self, who: Client, with_will: bool, expiry_s: Option<u32>) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        let is_5 = self.players[who].version == V5;
        let with_will = with_will && is_5;
        let expiry_s = expiry_s.filter(|_| is_5 && self.model.expiry_s(who) != 0);
        let mut packet = disconnect();
        if with_will {
            packet = packet.reason(ReasonCode::DisconnectWithWillMessage);
        }
        if let Some(expiry_s) = expiry_s {
            packet = packet.with(Property::SessionExpiryInterval(expiry_s));
        }
        self.t.sends(seat, packet);
        self.farewell(who, None)?;
        self.model.disconnects(who, with_will, expiry_s);
        self.listen()
    }

    fn babble(&mut self, who: Client) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        self.t.sends_bytes(seat, &[0x00, 0x00]);
        self.farewell(who, Some(ReasonCode::MalformedPacket))?;
        self.model.loses(who, true);
        self.listen()
    }

    fn stall(&mut self, who: Client) {
        if let (Some(seat), Some(session)) =
            (self.players[who].seat, self.model.sessions.get_mut(&who))
        {
            self.t.stalls(seat);
            self.players[who].reads = false;
            session.stalled = true;
            session.waiting = 0;
        }
    }

    fn read_again(&mut self, who: Client) -> Outcome {
        let Some(seat) = self.players[who].seat else {
            return Ok(());
        };
        self.t.reads_again(seat);
        self.players[who].reads = true;
        self.lag(who, true);
        self.listen()?;
        self.lag(who, false);
        Ok(())
    }

    fn lag(&mut self, who: Client, lagging: bool) {
        if let Some(session) = self.model.sessions.get_mut(&who) {
            session.stalled = false;
            session.lagging = lagging;
        }
    }

    // ---- resting ----

    /// Whoever acknowledges does, until nobody has anything to say; then all must be well.
    fn rests(&mut self) -> Outcome {
        self.listen()?;
        loop {
            let talks = |player: &&Player| {
                player.seat.is_some() && player.acknowledges && !player.replies.is_empty()
            };
            let Some(who) = self.players.iter().position(|player| talks(&player)) else {
                break;
            };
            // Waiting for its millisecond may bring more, or end its connection.
            self.wait_for(who)?;
            let replies: Vec<Reply> = self.players[who].replies.drain(..).collect();
            if !replies.is_empty() {
                self.say_all(who, &replies)?;
            }
        }
        self.model.rests()?;
        for (client, player) in self.players.iter_mut().enumerate() {
            let stalled = self
                .model
                .sessions
                .get(&client)
                .is_some_and(|session| session.stalled);
            let (seat, answers) = (player.seat, &player.answers);
            ensure(seat.is_none() || stalled || answers.is_empty(), || {
                format!("no answer: {answers:?}")
            })?;
            if let Some(seat) = seat {
                ensure(!self.t.is_closed(seat), || {
                    format!("{} is closed", name(client))
                })?;
            }
        }
        self.check_sizes()
    }

    fn check_sizes(&self) -> Outcome {
        let sizes = self.t.broker.sizes();
        let connections = self
            .players
            .iter()
            .filter(|player| player.seat.is_some())
            .count();
        let (retained_min, retained_max) = self.model.retained();
        let is_right = sizes.connections == connections
            && sizes.sessions == self.model.sessions.len()
            && sizes.subscriptions == self.model.subscriptions()
            && (retained_min..=retained_max).contains(&sizes.retained);
        ensure(is_right, || {
            let sessions: Vec<_> = self.model.sessions.keys().collect();
            let subscriptions = self.model.subscriptions();
            format!(
                "{sizes:?}, but {connections} connections, sessions of {sessions:?}, \
                 {subscriptions} subscriptions, {retained_min} to {retained_max} retained"
            )
        })
    }
}

fn comes_back(who: Client, version: ProtocolVersion) -> Step {
    Step::Connect {
        who,
        version,
        clean: false,
        expiry_s: 1000,
        receive_maximum: 0,
        alias_maximum: 10,
        keep_alive_s: 0,
        will: None,
    }
}

//! The core: knows MQTT and touches nothing outside itself. No socket, no file, no clock: bytes
//! and the time come in by [`Broker`]'s methods, and what is to be done comes out as write queues
//! and [`Effects`].
//!
//! ```text
//!   the door      mod                 decides which verb a packet is
//!   the way back  restore  spill      what was remembered
//!   the verbs     connect  login  publish  room  distribute  relay  deliver  layout  subscribe
//!                 replay  will  disconnect  sys
//!   the tables    client  session  inflight  subscriptions  routes  retained  timers  notices  stats
//!                 memory  topic_map  record  journal  queue                                           (state)
//! ```

pub mod cause;
pub mod client;
mod connect;
mod deliver;
mod disconnect;
mod distribute;
pub mod effects;
pub mod inflight;
pub mod journal;
pub mod key;
mod key_set;
mod layout;
mod login;
mod logins;
pub mod memory;
mod notices;
mod publish;
pub mod queue;
mod reach;
mod receiver;
pub mod record;
mod relay;
mod replay;
mod restore;
mod retained;
mod room;
mod routes;
pub mod session;
mod spill;
mod state;
pub mod stats;
mod subscribe;
mod subscriptions;
mod sys;
mod timers;
mod topic_map;
mod will;

use crate::bytes::cut_str;
use crate::codec::connect::answer_version;
use crate::codec::dialect::ProtocolVersion;
use crate::codec::frame::{self, Frame, PacketType};
use crate::codec::packet::Packet;
use crate::config::Config;
use crate::limits;
use crate::message::Message;
use crate::policy::Lists;
use crate::time::{Mono, Now, Unix};
use crate::write_queue::{Buffers, WriteQueue};
use cause::{Cause, Stranger, reject_strangers};
use client::{Client, Introduction, Peer, Stage};
use connect::{Entry, Hashing};
use disconnect::{close_connection, end_connection, turn_away};
use effects::Effects;
use key::{ConnId, SessionId};
use memory::{Gauge, Refused};
use publish::Sender;
use routes::Routes;
use state::State;
pub use stats::Sizes;
use stats::Stats;
use std::io;
use std::num::NonZeroU32;
use std::rc::Rc;
use timers::{Timer, TimerKey};

/// How a connection came to its end outside the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it.
    ByPeer,
    /// Reading or writing failed.
    Failed(io::ErrorKind),
    /// The shell has closed it, as [`Effects::closes`] asked.
    AsAsked,
}

/// The broker. The only door into the core.
pub struct Broker {
    state: State,
    /// Beside the state, not in it: a route is looked at while all the rest may change.
    routes: Routes,
}

impl Broker {
    /// A broker that knows nobody yet. `seed` must be secret and new at each start: Client
    /// Identifiers that it assigns come from it.
    pub fn new(config: Rc<Config>, seed: u128) -> Self {
        Self {
            state: State::new(config, &Lists::default(), seed),
            routes: Routes::default(),
        }
    }

    /// A broker that knows its users and their rights too: `lists` holds the files that `config`
    /// names.
    pub fn with_lists(config: Rc<Config>, lists: &Lists, seed: u128) -> Self {
        Self {
            state: State::new(config, lists, seed),
            routes: Routes::default(),
        }
    }

    /// Has `memory_limit` measured by `gauge` from now on.
    pub fn measure(&mut self, gauge: Gauge) {
        self.state.memory.measure(gauge);
    }

    /// Puts other settings and rules into force, as one. Whoever is connected stays, and is held to
    /// them from its next packet, or message, on; what CONNACK has told a client still holds for
    /// it. The listeners that stay must keep their places.
    pub fn reconfigure(&mut self, config: Rc<Config>, lists: &Lists, now: Now) {
        self.state.reconfigure(config, lists, now);
    }

    /// Whether there is memory for one more connection, for which the shell's own table needs
    /// `bytes`. If not, that is counted, and the shell must drop it.
    pub fn admits(&mut self, bytes: usize, now: Now) -> bool {
        let count = self.state.clients.len();
        let tables = match count.is_power_of_two() {
            true => count * limits::CONNECTION_TABLE_BYTES,
            false => 0,
        };
        let bytes = bytes + tables + limits::SESSION_BYTES;
        let State { memory, stats, .. } = &mut self.state;
        let is_admitted = memory.holds(bytes, limits::MEMORY_CONNECTIONS);
        if !is_admitted {
            memory.refuse(Refused::Connection, bytes, stats, now);
        }
        is_admitted
    }

    /// A connection was accepted. `conn` must be free. Above a limit of connections it is closed
    /// again at once.
    pub fn opened(&mut self, conn: ConnId, peer: Peer, now: Now) {
        let State {
            clients,
            timers,
            config,
            notices,
            stats,
            ..
        } = &mut self.state;
        stats.connections_opened += 1;
        clients.open(conn, peer, now.mono);
        if let Some(option) = clients.exceeded(peer.listener(), config) {
            notices.denied(&peer, option, now.mono);
            close_connection(conn, Cause::TooManyConnections, &mut self.state, now);
            return;
        }
        if let Some(client) = clients.get_mut(conn) {
            let deadline = now.mono.plus_s(limits::CONNECT_WAIT_S);
            timers.arm(TimerKey::Connection(conn), deadline, &mut client.timer_at);
        }
        log::debug!("Connection from {peer} on port {}.", peer.listener_port());
    }

    /// What carries a connection has learnt more of its other end than [`Broker::opened`] was told.
    /// To be said before any of its bytes.
    pub fn introduced(&mut self, conn: ConnId, introduction: Introduction) {
        let State {
            clients, strangers, ..
        } = &mut self.state;
        let Some(client) = clients.get_mut(conn) else {
            return;
        };
        if let Some(address) = introduction.address {
            client.peer = client.peer.moved_to(address);
        }
        if let Some(tls) = introduction.tls {
            strangers.insert(conn, tls);
        }
    }

    /// What carries a connection cannot go on, for the reason that `why` gives in words; it is
    /// closed. `None`: nobody needs to know.
    pub fn rejected(&mut self, conn: ConnId, why: Option<&'static str>, now: Now) {
        let cause = why.map_or(Cause::ClosedByClient, Cause::Transport);
        close_connection(conn, cause, &mut self.state, now);
    }

    /// Until when the certificates hold that clients are shown, by the names of their listeners;
    /// for `$SYS`.
    pub fn certified(&mut self, certificates: Vec<(String, Unix)>) {
        self.state.certificates = certificates;
    }

    /// Bytes have come: `bytes` is all that has not been used yet, oldest first. Returns how many
    /// are used now: whole packets only, and all of them once the connection is to end. The shell
    /// keeps the rest and offers it again with more behind it.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Now) -> usize {
        let used = match self.packets(conn, bytes, now) {
            Ok(used) => used,
            Err(cause) => {
                close_connection(conn, cause, &mut self.state, now);
                bytes.len()
            }
        };
        self.state.stats.bytes_received += used as u64;
        let rest = bytes.get(used..).unwrap_or_default();
        if !rest.is_empty() || used == 0 {
            self.note_rest(conn, used, rest, now);
        } else if let Some(client) = self.state.clients.get_mut(conn) {
            client.last_received = now.mono;
            client.packet_ends_by = Mono::NEVER;
        }
        used
    }

    /// Notes that of what has come `used` bytes were used, and `rest` was not.
    #[inline(never)]
    fn note_rest(&mut self, conn: ConnId, used: usize, rest: &[u8], now: Now) {
        // Choice: a long packet on a slow line breaks the silence before it is whole, as with
        // mosquitto; the specification makes no such exception [MQTT-3.1.2-24] [MQTT5-3.1.2-22].
        let is_alive = used > 0 || frame::missing_bytes(rest) > limits::SLOW_PACKET_BYTES;
        let State {
            clients, timers, ..
        } = &mut self.state;
        if let Some(client) = clients.get_mut(conn) {
            if is_alive {
                client.last_received = now.mono;
            }
            if !frame::is_unfinished(rest) {
                client.packet_ends_by = Mono::NEVER;
            } else if used > 0 || client.packet_ends_by == Mono::NEVER {
                client.packet_ends_by = now.mono.plus_s(limits::PACKET_WAIT_S);
                let key = TimerKey::Connection(conn);
                timers.arm(key, client.packet_ends_by, &mut client.timer_at);
            }
        }
    }

    /// Bytes that may be kept of a packet that is not whole yet, beside what is kept already.
    pub fn stash_bytes_max(&self) -> usize {
        self.state.memory.stash_bytes_max()
    }

    /// The rest of a packet, `bytes` long, could not be kept: its connection is to end.
    pub fn overflowed(&mut self, conn: ConnId, bytes: usize, now: Now) {
        let State { memory, stats, .. } = &mut self.state;
        memory.refuse(Refused::Packet, bytes, stats, now);
        close_connection(conn, Cause::MemoryShort, &mut self.state, now);
    }

    /// A connection is closed; its key is free after this.
    pub fn closed(&mut self, conn: ConnId, how: Closed, now: Now) {
        let cause = match how {
            Closed::ByPeer | Closed::AsAsked => Cause::ClosedByClient,
            Closed::Failed(kind) => Cause::Socket(kind),
        };
        end_connection(conn, cause, &mut self.state, now);
        self.state.strangers.remove(&conn);
        self.state.clients.remove(conn);
        let left = self.state.clients.len();
        self.state.effects.buffers.keep_for(left);
    }

    /// Does what is due. To be called once a turn.
    pub fn tick(&mut self, now: Now) {
        while let Some(timer) = self.state.timers.pop_due(now.mono) {
            if self.state.is_armed(&timer) {
                self.fire(timer, now);
            }
        }
        self.routes.turn();
        self.state.effects.work = 0;
        self.state.memory.turn(now);
        self.state.trim_timers();
        if !self.state.logins.is_empty() {
            login::serve(&mut self.state, now);
        }
        if !self.state.replaying.is_empty() {
            replay::serve(&mut self.state, now);
        }
        if !self.state.effects.wanting.is_empty() {
            spill::serve(&mut self.state);
        }
    }

    /// When [`Broker::tick`] has something to do next: the past if at once, `None` if never.
    #[inline(always)]
    pub fn next_deadline(&self) -> Option<Mono> {
        let is_owed = !self.state.replaying.is_empty() && replay::is_any_ready(&self.state);
        let is_wanted = !self.state.effects.wanting.is_empty() && spill::is_any_ready(&self.state);
        if is_owed || is_wanted || !self.state.logins.is_empty() {
            return Some(Mono::default());
        }
        let check_at = self.state.memory.check_at();
        let next = self.state.timers.next().unwrap_or(Mono::NEVER);
        Some(next.min(check_at)).filter(|at| *at != Mono::NEVER)
    }

    /// Whether a connection waits for its login to be decided: nothing behind its CONNECT is used
    /// until it stands in [`Effects::again`].
    pub fn is_deciding(&self, conn: ConnId) -> bool {
        let client = self.state.clients.get(conn);
        client.is_some_and(|client| client.stage == Stage::Authenticate)
    }

    /// Whether a connection is not heard for now: its login is not decided, or it
    /// [must read](Self::must_read) first.
    pub fn must_wait(&self, conn: ConnId) -> bool {
        self.state.clients.get(conn).is_some_and(|client| {
            client.stage == Stage::Authenticate || has_unread(client, &self.state)
        })
    }

    /// Whether so many answers wait for a client that it must read some before it is heard again.
    pub fn must_read(&self, conn: ConnId) -> bool {
        let client = self.state.clients.get(conn);
        client.is_some_and(|client| has_unread(client, &self.state))
    }

    /// Whether this turn has done enough for clients: none is heard again before [`Broker::tick`].
    pub fn is_spent(&self) -> bool {
        self.state.effects.is_spent()
    }

    /// Whether so much was relayed that it should be sent before more is read.
    pub fn has_enough_to_send(&self) -> bool {
        self.state.effects.buffers.is_enough()
    }

    /// What waits to be written to a connection, settled; `None` if the key is free.
    pub fn output(&mut self, conn: ConnId) -> Option<&mut WriteQueue> {
        let State {
            clients, effects, ..
        } = &mut self.state;
        let client = clients.get_mut(conn)?;
        client.output.settle(&mut effects.buffers);
        Some(&mut client.output)
    }

    /// The same as it is, with the bytes that it may refer to, if it may leave now: it must not while
    /// what it promises is not on the disk.
    #[inline]
    pub fn output_and_buffers(&mut self, conn: ConnId) -> Option<(&mut WriteQueue, &mut Buffers)> {
        let State {
            clients, effects, ..
        } = &mut self.state;
        let client = clients.get_mut(conn)?;
        if client.is_held {
            client.output.settle(&mut effects.buffers);
            return None;
        }
        Some((&mut client.output, &mut effects.buffers))
    }

    /// What the shell is asked to do, to be drained by it once a turn.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.state.effects
    }

    /// Ends every connection and publishes every Will that waits, for the broker is stopping.
    pub fn shut_down(&mut self, now: Now) {
        let conns: Vec<ConnId> = self.state.clients.iter().map(|(conn, _)| conn).collect();
        let sessions: Vec<SessionId> = self.state.sessions.iter().map(|(id, _)| id).collect();
        // What is remembered is published by the next process, when it is due.
        let is_last_chance = !self.state.effects.journal.is_on();
        for id in sessions.into_iter().filter(|_| is_last_chance) {
            if self
                .state
                .sessions
                .get(id)
                .is_some_and(|session| session.conn.is_none())
            {
                disconnect::publish_will(id, &mut self.state, now);
            }
        }
        for conn in conns {
            close_connection(conn, Cause::ServerShuttingDown, &mut self.state, now);
        }
    }

    /// Publishes a line of the log below `$SYS/broker/log`.
    pub fn publish_log(&mut self, kind: &str, text: &str, now: Now) {
        sys::publish_log(kind, text, &mut self.state, now);
    }

    /// Appends every subscription, one a line: Client Identifier, QoS, Topic Filter.
    pub fn describe_subscriptions(&self, out: &mut String) {
        for (id, session) in self.state.sessions.iter() {
            for node in session.subscriptions.iter() {
                let terms = self
                    .state
                    .subscriptions
                    .get(*node, id)
                    .map(|found| found.terms);
                let qos = terms.map_or(0, |terms| terms.qos().bits());
                out.push_str(&format!("{} {qos} ", session.client_identifier()));
                self.state.subscriptions.filter_text(*node, out);
                out.push('\n');
            }
        }
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.state.stats
    }

    /// Connections, sessions (absent ones included), subscriptions and retained messages held.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            connections: self.state.clients.len(),
            sessions: self.state.sessions.len(),
            subscriptions: self.state.subscriptions.count(),
            retained: self.state.retained.len(),
        }
    }

    /// Bookkeeping that must hold between any two calls, for tests.
    ///
    /// # Errors
    /// What does not, in words.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        self.state.check()
    }

    /// The first bytes of a connection have come: from now on it is worth a line in the log.
    fn greet(&mut self, conn: ConnId) {
        let client = self.state.clients.get_mut(conn);
        if let Some(client) = client.filter(|client| client.stage == Stage::Silent) {
            client.stage = Stage::AwaitConnect;
            log::log!(
                disconnect::connection_level(&self.state.config),
                "New connection from {} on port {}.",
                client.peer,
                client.peer.listener_port()
            );
        }
    }

    /// Handles the whole packets at the front of `bytes`: how many bytes they are.
    fn packets(&mut self, conn: ConnId, bytes: &[u8], now: Now) -> Result<usize, Cause> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.state.memory.is_limited() && self.must_read(conn) {
                break;
            }
            if self.is_spent() {
                self.state.effects.again.push(conn);
                break;
            }
            let Some(client) = self.state.clients.get(conn) else {
                return Ok(bytes.len());
            };
            let promises = self.state.effects.journal.promises();
            let count = match client.stage {
                Stage::Active(session) => {
                    let version = client.version;
                    self.session_packets(Sender { conn, session }, version, rest, now)
                }
                Stage::Silent | Stage::AwaitConnect => self.stranger_packet(conn, rest, now),
                Stage::Authenticate => Ok(0),
                Stage::Closing => Ok(rest.len()),
            };
            if self.state.effects.journal.promises() != promises {
                self.state.hold(conn);
            }
            match count? {
                0 => break,
                count => used += count,
            }
        }
        Ok(used)
    }

    /// Handles a run of packets of one session: up to the first that may change who it is from, or
    /// how it is read. How many bytes were used; 0 if not even one is whole.
    fn session_packets(
        &mut self,
        from: Sender,
        version: ProtocolVersion,
        bytes: &[u8],
        now: Now,
    ) -> Result<usize, Cause> {
        let Self { state, routes } = self;
        let maximum = state.config.packet_bytes_max();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..) {
            let frame = Frame::cut(rest, bound_of(rest, maximum)).map_err(Cause::Decode)?;
            let Some(frame) = frame else { break };
            state.stats.messages_received += 1;
            used += frame.bytes.len();
            if frame.header.packet_type == PacketType::Publish {
                publish::publish(from, &frame, version, routes, state, now)?;
            } else if let Some(packet) =
                Packet::decode_ack(&frame, version).map_err(Cause::Decode)?
            {
                publish::acknowledge(from, &packet, state, now)?;
            } else {
                self.packet(from, &frame, now)?;
                break;
            }
            if state.effects.is_spent() || state.memory.is_limited() {
                break; // each may be one too many
            }
        }
        Ok(used)
    }

    /// Handles the first packet of a connection, if it is whole: how many bytes were used.
    #[cold]
    fn stranger_packet(&mut self, conn: ConnId, bytes: &[u8], now: Now) -> Result<usize, Cause> {
        self.greet(conn);
        reject_strangers(bytes)?;
        let maximum = self.state.config.packet_bytes_max();
        let frame = Frame::cut(bytes, maximum.min(limits::CONNECT_BYTES_MAX));
        let Some(frame) = frame.map_err(Cause::Decode)? else {
            return Ok(0);
        };
        self.state.stats.messages_received += 1;
        self.first_packet(conn, &frame, now);
        Ok(frame.bytes.len())
    }

    /// The first packet: a CONNECT, or the end.
    fn first_packet(&mut self, conn: ConnId, frame: &Frame<'_>, now: Now) {
        let version = answer_version(frame.body);
        let packet = Packet::decode(frame, version.unwrap_or(ProtocolVersion::V311));
        let mut name = "";
        let result = match packet {
            Ok(Packet::Connect(packet)) => {
                name = packet.client_identifier;
                self.state.stats.connect_received += 1;
                if let Some(client) = self.state.clients.get_mut(conn) {
                    client.version = packet.version;
                    let asked = packet.properties.maximum_packet_size();
                    client.maximum_packet_size =
                        asked.map_or(limits::PACKET_BYTES_MAX, NonZeroU32::get);
                }
                let state = &mut self.state;
                match connect::connect(conn, &packet, Hashing::Later, state, now) {
                    Ok(Entry::Waits) => login::wait(conn, frame, state),
                    result => result.map(|_| ()),
                }
            }
            Ok(_) => Err(Cause::NotConnect(Stranger::Mqtt(frame.header.packet_type))),
            Err(error) => Err(Cause::Decode(error)),
        };
        if let Err(cause) = result {
            if let Some(version) = version {
                connect::refuse(conn, version, &cause, &mut self.state);
            }
            turn_away(conn, name, cause, &mut self.state, now);
        }
    }

    /// A packet of a session that is neither PUBLISH nor an acknowledgement.
    #[inline(never)]
    fn packet(&mut self, from: Sender, frame: &Frame<'_>, now: Now) -> Result<(), Cause> {
        let Self { state, .. } = self;
        let Some(client) = state.clients.get_mut(from.conn) else {
            return Ok(());
        };
        // Whatever is in it [MQTT-3.1.0-2] [MQTT5-3.1.0-2]; with flags it is not even one.
        if frame.header.packet_type == PacketType::Connect && frame.header.flags == 0 {
            return Err(Cause::SecondConnect);
        }
        let server = |packet| Err(Cause::ServerPacket(packet));
        match Packet::decode(frame, client.version).map_err(Cause::Decode)? {
            // Not reached: they were told apart before.
            Packet::Publish(_) | Packet::Ack(_) => Ok(()),
            Packet::Subscribe(packet) => subscribe::subscribe(from, &packet, state, now),
            Packet::Unsubscribe(packet) => subscribe::unsubscribe(from, &packet, state, now),
            Packet::PingReq => {
                let version = client.version;
                let State { effects, stats, .. } = state;
                client::send(client, from.conn, effects, stats, |out| {
                    Packet::PingResp.encode(version, out); // [MQTT-3.12.4-1] [MQTT5-3.12.4-1]
                });
                Ok(())
            }
            Packet::Disconnect(packet) => disconnect::disconnect(from, &packet, state),
            // No method is built in, so no exchange can be under way [MQTT5-4.12.0-6].
            Packet::Auth(_) => Err(Cause::UnexpectedAuth),
            Packet::Connect(_) => Err(Cause::SecondConnect),
            Packet::ConnAck(_) => server(PacketType::ConnAck),
            Packet::SubAck(_) => server(PacketType::SubAck),
            Packet::UnsubAck(_) => server(PacketType::UnsubAck),
            Packet::PingResp => server(PacketType::PingResp),
        }
    }

    #[inline(never)]
    fn fire(&mut self, timer: Timer, now: Now) {
        match timer.key {
            TimerKey::Connection(conn) => self.connection_due(conn, now),
            TimerKey::Session(session) => {
                if let Some(session) = self.state.sessions.get_mut(session) {
                    session.timer_at = Mono::NEVER;
                }
                disconnect::session_due(session, &mut self.state, now);
            }
            TimerKey::Sweep => {
                let State {
                    retained,
                    timers,
                    stats,
                    config,
                    effects,
                    ..
                } = &mut self.state;
                retained.timer_at = Mono::NEVER;
                let expired = |message: &Rc<Message>| effects.journal.expired(message);
                stats.dropped_expired += retained.sweep(now.mono, expired) as u64;
                let sweep_at = retained.sweep_at(config, now.mono);
                timers.arm(TimerKey::Sweep, sweep_at, &mut retained.timer_at);
            }
            TimerKey::Sys => sys::tell(&mut self.state, now),
        }
    }

    /// CONNECT wait or Keep Alive is over, if no packet has come meanwhile, or a packet lasts too
    /// long.
    fn connection_due(&mut self, conn: ConnId, now: Now) {
        let State {
            clients, timers, ..
        } = &mut self.state;
        let Some(client) = clients.get_mut(conn) else {
            return;
        };
        client.timer_at = Mono::NEVER;
        let cause = match client.stage {
            Stage::Closing => return,
            Stage::Silent | Stage::AwaitConnect => Cause::NoConnect, // [MQTT §3.1.4]
            Stage::Authenticate => {
                let version = client.version;
                connect::refuse(conn, version, &Cause::TooManyLogins, &mut self.state);
                Cause::TooManyLogins
            }
            Stage::Active(_) if client.silent_at() <= now.mono => Cause::KeepAliveTimeout,
            Stage::Active(_) if client.packet_ends_by <= now.mono => Cause::UnfinishedPacket,
            Stage::Active(_) => {
                let at = client.silent_at().min(client.packet_ends_by);
                timers.arm(TimerKey::Connection(conn), at, &mut client.timer_at);
                return;
            }
        };
        close_connection(conn, cause, &mut self.state, now);
    }
}

/// Whether more of its own waits for a client than it may leave unread.
fn has_unread(client: &Client, state: &State) -> bool {
    let own_bytes = client.output.own_bytes();
    own_bytes > 0 && own_bytes > state.memory.answer_bytes_max()
}

/// Bytes the packet at the front of `bytes` may have, by its type.
#[inline]
fn bound_of(bytes: &[u8], maximum: u32) -> u32 {
    match bytes
        .first()
        .map(|first| PacketType::from_first_byte(*first))
    {
        Some(
            PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Connect
            | PacketType::Auth,
        )
        | None => maximum,
        Some(_) => maximum.min(limits::SMALL_PACKET_BYTES_MAX),
    }
}

/// `sentence`, cut to what fits a Reason String here.
fn clip(sentence: &str) -> &str {
    cut_str(sentence, limits::REASON_STRING_BYTES_MAX)
}

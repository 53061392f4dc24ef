//! Everything the core owns, as fields that verbs borrow one by one.

#[cfg(any(test, debug_assertions))]
use super::client::{Client, Stage};
use super::client::{Clients, TlsPeer};
use super::effects::Effects;
use super::inflight::SpareFlights;
use super::key::{ConnId, GroupId, SessionId};
use super::logins::Logins;
use super::memory::Memory;
use super::notices::Notices;
use super::retained::Retained;
use super::session::Sessions;
use super::stats::{Stats, Sys};
use super::subscriptions::{Subscription, Subscriptions};
use super::timers::{Timer, TimerKey, Timers};
use super::topic_map::TopicMap;
use crate::config::{Config, Listener};
use crate::limits;
use crate::message::WireBuffer;
use crate::policy::{Lists, Policy};
use crate::time::{Mono, Now, Unix};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Chance, from a seed given at the start, so that a run can be repeated.
#[derive(Debug)]
pub struct Chance {
    seed: u128,
    count: u64,
}

impl Chance {
    /// The next 64 bits. SipHash over a secret seed and a counter: who sees some of them cannot
    /// tell the next.
    pub fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (self.seed, self.count).hash(&mut hasher);
        hasher.finish()
    }
}

/// The tables.
pub struct State {
    /// The settings in force.
    pub config: Rc<Config>,
    /// Who may do what.
    pub policy: Policy,
    /// Network Connections.
    pub clients: Clients,
    /// Sessions.
    pub sessions: Sessions,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Retained messages.
    pub retained: Retained,
    /// Deadlines.
    pub timers: Timers,
    /// Counters.
    pub stats: Stats,
    /// What is left of `memory_limit`.
    pub memory: Memory,
    /// Lines for the log that are held back.
    pub notices: Notices,
    /// What `$SYS` has told of them.
    pub sys: Sys,
    /// Requests to the shell.
    pub effects: Effects,
    /// Chance.
    pub chance: Chance,
    /// Connections whose password is still to be checked.
    pub logins: Logins,
    /// What TLS says of connections whose CONNECT has not been accepted yet; nothing of those that
    /// came without.
    pub strangers: HashMap<ConnId, TlsPeer>,
    /// Until when the certificates hold that clients are shown, by listener.
    pub certificates: Vec<(String, Unix)>,
    /// Sessions that are owed retained messages.
    pub replaying: Vec<SessionId>,
    /// Empty windows.
    pub spare_flights: SpareFlights,
    /// Bytes of the longest packet that may be [relayed](super::relay), by what is in force.
    pub relay_bytes_max: usize,
    /// Reused by every message that is relayed: those who cannot get it so.
    pub left_over: Vec<Subscription>,
    /// Reused by every publication that shared subscriptions match.
    pub groups: Vec<GroupId>,
    /// Reused by every PUBLISH from a client.
    pub scratch: Option<Box<Scratch>>,
}

/// What a PUBLISH from a client needs room for while it is passed on.
#[derive(Debug, Default)]
pub struct Scratch {
    /// 5.0 properties that are not passed on as they are.
    pub properties: Vec<u8>,
    /// The packet that its receivers get.
    pub wire: WireBuffer,
}

impl Scratch {
    /// Forgets what is in it, and gives back what a rare long message took.
    pub fn clear(&mut self) {
        self.wire.clear();
        if self.properties.capacity() > limits::SPARE_BUFFER_BYTES {
            self.properties = Vec::new();
        }
    }
}

impl State {
    /// A broker that knows nobody yet.
    pub fn new(config: Rc<Config>, lists: &Lists, seed: u128) -> Self {
        let (mut timers, mut sys) = (Timers::default(), Sys::default());
        if config.sys_interval > 0 {
            timers.arm(TimerKey::Sys, Mono::default(), &mut sys.timer_at);
        }
        let policy = Policy::new(&config, lists);
        Self {
            relay_bytes_max: relay_bytes_max(&config, &policy),
            left_over: Vec::new(),
            policy,
            memory: Memory::new(config.memory_limit),
            config,
            clients: Clients::default(),
            sessions: Sessions::default(),
            subscriptions: Subscriptions::default(),
            retained: Retained::default(),
            timers,
            stats: Stats::default(),
            notices: Notices::default(),
            sys,
            effects: Effects::default(),
            chance: Chance { seed, count: 0 },
            logins: Logins::default(),
            strangers: HashMap::new(),
            certificates: Vec::new(),
            replaying: Vec::new(),
            spare_flights: SpareFlights::default(),
            groups: Vec::new(),
            scratch: None,
        }
    }

    /// Puts other settings and rules into force.
    pub fn reconfigure(&mut self, config: Rc<Config>, lists: &Lists, now: Now) {
        self.policy = Policy::new(&config, lists);
        if config.memory_limit != self.config.memory_limit {
            self.memory.set_limit(config.memory_limit);
        }
        self.relay_bytes_max = relay_bytes_max(&config, &self.policy);
        self.config = config;
        let Self {
            config,
            timers,
            sys,
            retained,
            ..
        } = self;
        match config.sys_interval {
            0 => sys.timer_at = Mono::NEVER,
            _ => timers.arm(TimerKey::Sys, now.mono, &mut sys.timer_at),
        }
        let sweep_at = retained.sweep_at(config, now.mono);
        timers.arm(TimerKey::Sweep, sweep_at, &mut retained.timer_at);
        // Windows may have become wider.
        let sessions: Vec<SessionId> = self.sessions.iter().map(|(id, _)| id).collect();
        for id in sessions {
            if let Some(mut line) = self.line(id) {
                line.pump(now);
            }
        }
    }

    /// A packet has made promises, and its answer is one: it leaves when they are safe.
    #[cold]
    pub fn hold(&mut self, conn: ConnId) {
        let Self {
            clients, effects, ..
        } = self;
        if let Some(client) = clients.get_mut(conn) {
            effects.journal.hold(conn, &mut client.is_held);
        }
    }

    /// The settings of the listener that a connection came by.
    pub fn listener(&self, conn: ConnId) -> Option<&Listener> {
        let client = self.clients.get(conn)?;
        self.config.listeners.get(client.peer.listener())
    }

    /// How the topics of a connection are rewritten.
    pub fn topic_map(&self, conn: ConnId) -> TopicMap<'_> {
        self.listener(conn).map(TopicMap::of).unwrap_or_default()
    }

    /// Whether a timer is still its owner's.
    pub fn is_armed(&self, timer: &Timer) -> bool {
        let armed = match timer.key {
            TimerKey::Connection(conn) => self.clients.get(conn).map(|client| client.timer_at),
            TimerKey::Session(id) => self.sessions.get(id).map(|session| session.timer_at),
            TimerKey::Sweep => Some(self.retained.timer_at),
            TimerKey::Sys => Some(self.sys.timer_at),
        };
        armed == Some(timer.at)
    }

    /// Forgets stale timers once they outnumber the owners they could have.
    pub fn trim_timers(&mut self) {
        let owners = self.clients.len() + self.sessions.len();
        if self.timers.len() > 2 * owners + 64 {
            let mut timers = std::mem::take(&mut self.timers);
            timers.retain(|timer| self.is_armed(timer));
            self.timers = timers;
        }
    }

    /// Bookkeeping across the tables that must hold between any two packets.
    ///
    /// # Errors
    /// What does not, in words.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        self.subscriptions.check()?;
        self.retained.check()?;
        let is_open = |(_, client): &(ConnId, &Client)| client.stage != Stage::Closing;
        let open = self.clients.iter().filter(is_open).count();
        if open != self.clients.open_count() as usize {
            return Err(format!("{open} connections are open, the listeners differ"));
        }
        let is_waiting = |conn| {
            let client = self.clients.get(conn);
            client.is_some_and(|client| client.stage == Stage::Authenticate)
        };
        let waiting = self.clients.iter().filter(|(conn, _)| is_waiting(*conn));
        if waiting.count() != self.logins.conns().count() || !self.logins.conns().all(is_waiting) {
            return Err("those who wait for a login are not those who should".to_owned());
        }
        for (conn, client) in self.clients.iter() {
            let Some(id) = client.session() else { continue };
            if self.sessions.get(id).and_then(|session| session.conn) != Some(conn) {
                return Err(format!("{conn:?} and {id:?} do not agree"));
            }
        }
        let (mut subscriptions, mut pins) = (0, 0);
        for (id, session) in self.sessions.iter() {
            subscriptions += self.check_session(id, session)?;
            let replays = session.replays.as_ref();
            let current = replays.and_then(|replays| replays.current.as_ref());
            pins += current.map_or(0, |(_, walk)| walk.pins());
        }
        if pins != self.retained.pins() {
            return Err(format!(
                "walks hold {pins} retained nodes, of which {} are pinned",
                self.retained.pins()
            ));
        }
        if subscriptions != self.subscriptions.count() {
            return Err(format!(
                "sessions have {subscriptions} subscriptions, the trees {}",
                self.subscriptions.count()
            ));
        }
        Ok(())
    }

    /// One session's part of [`State::check`]: how many subscriptions it has.
    #[cfg(any(test, debug_assertions))]
    fn check_session(
        &self,
        id: SessionId,
        session: &super::session::Session,
    ) -> Result<usize, String> {
        let name = session.client_identifier();
        if self.sessions.find(name) != Some(id) {
            return Err(format!("{name} is not found by its Client Identifier"));
        }
        if session
            .subscriptions
            .iter()
            .any(|node| self.subscriptions.get(*node, id).is_none())
        {
            return Err(format!("{name} has a subscription that the tree has not"));
        }
        for group in session.shared.iter().flat_map(|groups| groups.iter()) {
            if !self
                .subscriptions
                .members(*group)
                .iter()
                .any(|member| member.session == id)
            {
                return Err(format!("{name} is no member of its group"));
            }
        }
        if session.replays.is_some() != self.replaying.contains(&id) {
            return Err(format!(
                "{name} is owed retained messages that nobody sends"
            ));
        }
        if let Some(flights) = &session.flights {
            flights.check()?;
            if flights.is_empty() {
                return Err(format!("{name} holds on to empty queues"));
            }
            let client = session.conn.and_then(|conn| self.clients.get(conn));
            let bytes_max = self.config.max_inflight_bytes;
            let has_room = |client: &Client| flights.has_room(client.window, bytes_max);
            // Where memory is short, or was when the window was filled, that is done one by one.
            let may_wait = self.memory.is_limited() && !flights.is_window_empty();
            if flights.queued() > 0 && client.is_some_and(has_room) && !may_wait {
                return Err(format!(
                    "{name} has messages waiting and room in its window"
                ));
            }
        }
        let has_deadline = session.ends_at.min(session.will_at) < Mono::NEVER;
        if session.conn.is_some() && has_deadline {
            return Err(format!(
                "{name} is connected and has a deadline of an absent session"
            ));
        }
        let shared = session.shared.as_ref().map_or(0, |groups| groups.len());
        Ok(session.subscriptions.len() + shared)
    }
}

/// Bytes of the longest packet that may be relayed where this is in force; 0: none may, for something
/// about each is to be decided, or kept.
fn relay_bytes_max(config: &Config, policy: &Policy) -> usize {
    let is_possible = config.allow_duplicate_messages
        && !config.upgrade_outgoing_qos
        && !config.queue_qos0_messages
        && config.memory_limit == 0
        && policy.lets_all_publish()
        && policy.lets_all_receive();
    match usize::try_from(config.message_size_limit) {
        _ if !is_possible => 0,
        // A whole packet within the limit of payloads has a payload within it.
        Ok(limit) if limit > 0 => limit.min(limits::RELAY_BYTES_MAX),
        _ => limits::RELAY_BYTES_MAX,
    }
}

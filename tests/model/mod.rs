//! What must happen, as plainly as it can be said: maps, vectors and a ten-line matcher, sharing no
//! code with the broker. It does not foretell packets. It keeps a list of what each session is
//! *due*, crosses off what is heard, and complains about what is heard and not due, and about what
//! is due and was not heard by a client that reads, acknowledges and has room.
//!
//! ```text
//!   publish ─► due (one session)  ─► hears ─► flying (QoS 1, 2) ─► acknowledged
//!           └► shared (one of several takers) ─┘
//! ```
//!
//! Where the specification or a limit leaves it open whether something comes, it is due but not
//! `required`.

mod due;
mod hear;
pub mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A time that never comes.
pub const NEVER: u64 = u64::MAX;

/// A Session Expiry Interval without end.
pub const FOREVER: u32 = u32::MAX;

/// Bytes waiting for a client beyond which QoS 0 messages to it may be dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Clients have numbers.
pub type Client = usize;

/// The settings that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether overlapping subscriptions bring a copy each.
    pub duplicates: bool,
    /// Messages that may wait in a session; 0: any number.
    pub queued_max: usize,
    /// Messages that may be in flight to a client; 0: any number.
    pub window_max: u16,
    /// Messages of a queue that stay in memory; 0: as many as usual.
    pub in_memory: usize,
}

/// What one subscription asks for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub qos: u8,
    pub no_local: bool,
    pub as_published: bool,
    /// Retain Handling.
    pub handling: u8,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
}

/// One Application Message.
#[derive(Clone)]
pub struct Message {
    pub from: Client,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

/// A Will. When it is due it is published as any other message.
#[derive(Clone, Debug)]
pub struct Will {
    pub message: Message,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    pub has_properties: bool,
    pub clean: bool,
    pub expiry_s: u32,
    /// Receive Maximum.
    pub window: u16,
    pub keep_alive_s: u16,
    pub will: Option<Will>,
}

/// How a message came to be due.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// As it was published: in order.
    Live,
    /// By a second PUBLISH of the same, or from the session of another: in any order.
    Unordered,
    /// Because it was retained when this filter was subscribed to: in any order. Of two subscriptions
    /// that were due the same and heard it once, nobody can tell which was served: it is either's.
    Replay(BTreeSet<String>),
}

/// How one copy of a message is to look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    qos: u8,
    retain: bool,
    /// Subscription Identifiers, ascending.
    identifiers: Vec<u32>,
}

/// One message that one session is due.
#[derive(Clone, Debug)]
struct Due {
    what: Published,
    copy: Copy,
    kind: Kind,
    required: bool,
    /// One of several was heard, and nobody knows which: this one may have the properties of the
    /// other.
    is_blurred: bool,
}

/// One publication.
#[derive(Clone, Copy, Debug)]
struct Published {
    message: usize,
    /// Its place in the order of all publications.
    number: u64,
    expires_at: u64,
}

/// One message that one of several sessions is due.
#[derive(Clone, Debug)]
struct Shared {
    what: Published,
    filter: String,
    /// Which life of the group: it ends with its last member.
    life: u64,
    takers: Vec<(Client, Copy)>,
    in_order: bool,
    required: bool,
    is_blurred: bool,
}

/// One QoS 1 or 2 message that was heard and is not wholly acknowledged.
#[derive(Clone, Debug)]
pub struct Flying {
    what: Published,
    copy: Copy,
    /// The connection it was heard on last.
    pub connection: u64,
    /// The connection that something of it was heard on last, be it only PUBREL.
    touched: u64,
    /// Whether PUBREC was said.
    pub is_received: bool,
}

/// One session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub connected: bool,
    has_properties: bool,
    /// The client has stopped reading.
    pub stalled: bool,
    /// Bytes that wait for it then.
    pub waiting: usize,
    /// What is heard now was perhaps sent a while ago.
    pub lagging: bool,
    /// Counts connections.
    pub connection: u64,
    pub window: usize,
    expiry_s: u32,
    ends_at: u64,
    will: Option<Will>,
    will_at: u64,
    keep_alive_s: u16,
    silent_at: u64,
    subscriptions: BTreeMap<String, Terms>,
    dues: Vec<Due>,
    pub flying: BTreeMap<u16, Flying>,
    /// Something may have been sent and not heard, so that its first hearing may say DUP.
    may_repeat: bool,
    /// The publication heard last, by publisher, topic and QoS.
    order: BTreeMap<(Client, String, u8), u64>,
    /// QoS 2 Packet Identifiers from this client that it has not released.
    held: BTreeSet<u16>,
}

/// A PUBLISH, as a client hears it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// 0 at QoS 0.
    pub packet_identifier: u16,
    pub identifiers: Vec<u32>,
    pub expiry_s: Option<u32>,
}

/// All of it.
pub struct Model {
    pub now: u64,
    pub sessions: BTreeMap<Client, Session>,
    pub rules: Rules,
    /// Clients that take no message longer than this.
    pub small: fn(Client, &Message) -> bool,
    /// The broker is stopping: sessions end in an order that nobody can know.
    pub stopping: bool,
    messages: Vec<Message>,
    retained: BTreeMap<String, Published>,
    shared: Vec<Shared>,
    lives: BTreeMap<String, u64>,
    count: u64,
}

/// Whether `filter` matches `topic`.
fn matches(filter: &str, topic: &str) -> bool {
    fn naive(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
            ([wanted, filter @ ..], [given, topic @ ..]) => wanted == given && naive(filter, topic),
            _ => false,
        }
    }
    let split = |text| str::split(text, '/').collect::<Vec<_>>();
    !(topic.starts_with('$') && filter.starts_with(['+', '#']))
        && naive(&split(filter), &split(topic))
}

/// The filter within `$share/NAME/FILTER`.
fn within_share(filter: &str) -> Option<&str> {
    let (_, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    Some(filter)
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = String::from_utf8_lossy(&self.payload)
            .chars()
            .take(9)
            .collect();
        let Self {
            from,
            topic,
            qos,
            retain,
            ..
        } = self;
        write!(
            f,
            "'{text}' on '{topic}' from {from}, QoS {qos}, retain {retain}"
        )
    }
}

impl Terms {
    fn copy(&self, message: &Message) -> Copy {
        Copy {
            qos: self.qos.min(message.qos),
            retain: message.retain && self.as_published,
            identifiers: self.identifiers(),
        }
    }

    fn identifiers(&self) -> Vec<u32> {
        [self.identifier]
            .into_iter()
            .filter(|id| *id != 0)
            .collect()
    }
}

impl Session {
    /// Messages sent on this connection and not wholly acknowledged.
    fn sent(&self) -> usize {
        let here = |flying: &&Flying| flying.connection == self.connection;
        self.flying.values().filter(here).count()
    }

    /// Packet Identifiers and QoS of what was heard on an earlier connection, is not acknowledged
    /// and was not sent again on this one.
    pub fn unrepeated(&self) -> Vec<(u16, u8)> {
        if !self.connected || self.stalled {
            return Vec::new();
        }
        let early = |(_, flying): &(&u16, &Flying)| {
            flying.connection < self.connection && !flying.is_received
        };
        let early = self.flying.iter().filter(early);
        early.map(|(id, flying)| (*id, flying.copy.qos)).collect()
    }

    fn fits(&self, heard: &Heard) -> Result<(), String> {
        match heard.qos > 0 && self.sent() > self.window {
            true => Err(format!("more is in flight than {}: {heard:?}", self.window)),
            false => Ok(()),
        }
    }

    /// Places of its window that may be taken.
    fn used(&self) -> usize {
        let here = |flying: &&Flying| flying.touched == self.connection;
        self.flying.values().filter(here).count()
    }

    /// Whether nothing keeps the broker from sending all it has.
    fn is_idle(&self) -> bool {
        self.connected && !self.stalled && self.used() < self.window
    }

    /// Whether `count` QoS 0 messages of this length are sure to reach it if it goes on reading.
    fn keeps_up(&self, count: usize, bytes: usize) -> bool {
        let waiting = if self.stalled {
            self.waiting + 65_536
        } else {
            0
        };
        waiting + (count + 15 * usize::from(self.stalled)) * bytes < WAITING_BYTES_MAX
    }

    /// Its connection is gone, and it is not.
    fn lose(&mut self, now: u64) {
        self.connected = false;
        self.may_repeat |= self.stalled;
        self.stalled = false;
        self.ends_at = match self.expiry_s {
            FOREVER => NEVER,
            seconds => now + u64::from(seconds) * 1000,
        };
        let will = self.will.as_ref();
        self.will_at = will.map_or(NEVER, |will| now + u64::from(will.delay_s) * 1000);
    }

    fn spoke(&mut self, now: u64) {
        self.silent_at = match self.keep_alive_s {
            0 => NEVER,
            seconds => now + u64::from(seconds) * 1500,
        };
    }

    fn plain(&self, message: &Message, from_itself: bool) -> Vec<Terms> {
        let wanted = |(filter, terms): &(&String, &Terms)| {
            within_share(filter).is_none()
                && matches(filter, &message.topic)
                && !(terms.no_local && from_itself)
        };
        let wanted = self.subscriptions.iter().filter(wanted);
        wanted.map(|(_, terms)| *terms).collect()
    }
}

impl Model {
    pub fn new(rules: Rules, now: u64, small: fn(Client, &Message) -> bool) -> Self {
        Self {
            now,
            sessions: BTreeMap::new(),
            rules,
            small,
            stopping: false,
            messages: Vec::new(),
            retained: BTreeMap::new(),
            shared: Vec::new(),
            lives: BTreeMap::new(),
            count: 0,
        }
    }

    // ---- what clients do ----

    /// CONNECT; whether there was a session to go on with.
    pub fn connects(&mut self, client: Client, packet: Connect) -> bool {
        if self.is_connected(client) {
            self.loses(client, true);
        }
        if packet.clean {
            self.ends(client);
        }
        let is_present = self.sessions.contains_key(&client);
        let window_max = match self.rules.window_max {
            0 => u16::MAX,
            maximum => maximum,
        };
        let now = self.now;
        let session = self.sessions.entry(client).or_default();
        session.connected = true;
        session.connection += 1;
        session.has_properties = packet.has_properties;
        session.window = usize::from(packet.window.min(window_max));
        session.expiry_s = packet.expiry_s;
        session.ends_at = NEVER;
        session.will = packet.will;
        session.will_at = NEVER;
        session.keep_alive_s = packet.keep_alive_s;
        session.spoke(now);
        is_present
    }

    /// DISCONNECT.
    pub fn disconnects(&mut self, client: Client, with_will: bool, expiry_s: Option<u32>) {
        if let (Some(session), Some(expiry_s)) = (self.sessions.get_mut(&client), expiry_s) {
            session.expiry_s = expiry_s;
        }
        self.loses(client, with_will);
    }

    /// The connection is gone.
    pub fn loses(&mut self, client: Client, with_will: bool) {
        self.forget_in_transit(client);
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.will = session.will.take().filter(|_| with_will);
        if session.expiry_s == 0 {
            session.connected = false;
            self.ends(client);
            return;
        }
        session.lose(now);
        if session.will_at == now {
            self.publish_will(client);
        }
    }

    /// The broker was killed and has started again: nobody is connected, and what was retained and
    /// not sent yet may not come any more.
    pub fn crashes(&mut self) {
        let clients: Vec<Client> = self.sessions.keys().copied().collect();
        for client in &clients {
            let filters: Vec<String> = self.sessions[client]
                .subscriptions
                .keys()
                .cloned()
                .collect();
            for filter in filters {
                self.slacken_replays(*client, &filter);
            }
            self.forget_in_transit(*client);
        }
        let now = self.now;
        for session in self.sessions.values_mut().filter(|s| s.connected) {
            session.lose(now);
        }
        for client in clients {
            if self.sessions[&client].will_at <= now {
                self.publish_will(client);
            }
        }
    }

    /// SUBSCRIBE, one filter of it.
    pub fn subscribes(&mut self, client: Client, filter: &str, terms: Terms) {
        let is_lonely = self.members(filter).is_empty();
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let is_idle = session.is_idle();
        let is_new = session.subscriptions.insert(filter.into(), terms).is_none();
        if within_share(filter).is_some() {
            if is_lonely {
                self.count += 1;
                self.lives.insert(filter.into(), self.count);
            }
        } else if terms.handling == 0 || (terms.handling == 1 && is_new) {
            self.slacken_replays(client, filter);
            self.replay(client, filter, terms, true);
        } else if !is_new && !is_idle {
            // What is left of an earlier replay comes under the new terms.
            self.slacken_replays(client, filter);
            self.replay(client, filter, terms, false);
        }
    }

    /// UNSUBSCRIBE, one filter of it; whether there was a subscription.
    pub fn unsubscribes(&mut self, client: Client, filter: &str) -> bool {
        self.slacken_replays(client, filter);
        let session = self.sessions.get_mut(&client);
        let was_there = session.is_some_and(|s| s.subscriptions.remove(filter).is_some());
        self.bury(filter);
        was_there
    }

    /// A new message; it is not published yet.
    pub fn message(&mut self, message: Message) -> usize {
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// Whether an empty message is on its way somewhere: of two on one topic nobody could tell which
    /// is which.
    pub fn is_empty_one_due(&self, topic: &str) -> bool {
        let dues = self.sessions.values().flat_map(|session| {
            let flying = session.flying.values().map(|flying| flying.what);
            session.dues.iter().map(|due| due.what).chain(flying)
        });
        let mut all = dues.chain(self.shared.iter().map(|shared| shared.what));
        all.any(|what| {
            let message = &self.messages[what.message];
            message.topic == topic && message.payload.is_empty()
        })
    }

    /// A message as it was given to [`Model::message`].
    pub fn told(&self, message: usize) -> &Message {
        &self.messages[message]
    }

    /// PUBLISH; whether anybody subscribes to it.
    pub fn publishes(&mut self, message: usize, expiry_s: Option<u32>, again: bool) -> bool {
        self.count += 1;
        let what = Published {
            message,
            number: self.count,
            expires_at: expiry_s.map_or(NEVER, |seconds| self.now + u64::from(seconds) * 1000),
        };
        let message = self.messages[message].clone();
        if message.retain {
            self.retain(&message, what);
        }
        let subscribed: BTreeSet<(Client, String)> = self.subscribed_to(&message.topic);
        if what.expires_at > self.now {
            let kind = if again { Kind::Unordered } else { Kind::Live };
            let clients: Vec<Client> = self.sessions.keys().copied().collect();
            for client in clients {
                self.publish_to(client, what, &message, &kind);
            }
            let groups: BTreeSet<&String> = subscribed.iter().map(|(_, filter)| filter).collect();
            for filter in groups {
                if within_share(filter).is_some() {
                    self.publish_shared(filter, what, !again);
                }
            }
        }
        !subscribed.is_empty()
    }

    /// A QoS 2 PUBLISH; whether it is the first with its Packet Identifier.
    pub fn holds(&mut self, client: Client, packet_identifier: u16) -> bool {
        let session = self.sessions.get_mut(&client);
        session.is_some_and(|session| session.held.insert(packet_identifier))
    }

    /// PUBREL; whether the Packet Identifier was held.
    pub fn releases(&mut self, client: Client, packet_identifier: u16) -> bool {
        let session = self.sessions.get_mut(&client);
        session.is_some_and(|session| session.held.remove(&packet_identifier))
    }

    /// Anything at all was said.
    pub fn speaks(&mut self, client: Client) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(&client) {
            session.spoke(now);
        }
    }

    /// The broker stops. A Will that is to wait, with its session, waits for the next start.
    pub fn stops(&mut self) {
        let clients: Vec<Client> = self.sessions.keys().copied().collect();
        let before = self.count;
        for client in &clients {
            let session = &self.sessions[client];
            let delay_s = session.will.as_ref().map_or(0, |will| will.delay_s);
            if session.connected && (delay_s == 0 || session.expiry_s == 0) {
                self.publish_will(*client);
            }
        }
        // Whether these are heard depends on who is cut off first.
        for session in self.sessions.values_mut() {
            let late = session
                .dues
                .iter_mut()
                .filter(|due| due.what.number > before);
            late.for_each(|due| due.required = false);
        }
        self.shared
            .iter_mut()
            .for_each(|shared| shared.required = false);
        self.stopping = true;
    }

    // ---- time ----

    /// What happens next by itself, and to whom.
    pub fn next_event(&self) -> Option<(u64, Client)> {
        let at = |session: &Session| match session.connected {
            true => session.silent_at,
            false => session.will_at.min(session.ends_at),
        };
        let events = self.sessions.iter().map(|(client, s)| (at(s), *client));
        events.min().filter(|(at, _)| *at != NEVER)
    }

    /// It happens; whether a connection was closed by it.
    pub fn event(&mut self, client: Client) -> bool {
        let Some(session) = self.sessions.get(&client) else {
            return false;
        };
        if session.connected {
            self.loses(client, true);
            return true;
        }
        if session.ends_at <= self.now {
            self.ends(client);
        } else {
            self.publish_will(client);
        }
        false
    }

    // ---- counts ----

    pub fn subscriptions(&self) -> usize {
        self.sessions
            .values()
            .map(|session| session.subscriptions.len())
            .sum()
    }

    /// Retained messages at least, and with those that expired and may still be there.
    pub fn retained(&self) -> (usize, usize) {
        let lasts = |what: &&Published| what.expires_at > self.now;
        (
            self.retained.values().filter(lasts).count(),
            self.retained.len(),
        )
    }

    pub fn is_connected(&self, client: Client) -> bool {
        self.sessions
            .get(&client)
            .is_some_and(|session| session.connected)
    }

    /// Whether its Will is due as soon as its connection breaks.
    pub fn has_prompt_will(&self, client: Client) -> bool {
        let will = self.sessions.get(&client).and_then(|s| s.will.as_ref());
        will.is_some_and(|will| will.delay_s == 0)
    }

    pub fn expiry_s(&self, client: Client) -> u32 {
        self.sessions
            .get(&client)
            .map_or(0, |session| session.expiry_s)
    }
}

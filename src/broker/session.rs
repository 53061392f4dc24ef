//! Sessions: what a client leaves with the broker between connections [MQTT5 §4.1]. An idle one is
//! as small as it can be; everything it may not need hangs off it.

use super::inflight::{Flights, SpareFlights};
use super::key::{ConnId, GroupId, SessionId};
use super::key_set::KeySet;
use crate::config::Config;
use crate::message::{Identity, PacketIdentifier, QoS};
use crate::time::Mono;
use crate::topic::tree::{NodeId, Walk};
use hashbrown::HashTable;
use slab::Slab;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU16;
use std::rc::Rc;

/// A Session Expiry Interval that never ends [MQTT5 §3.1.2.11.2].
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// A Session Expiry Interval within `persistent_client_expiration`, as with mosquitto for every
/// session that would last longer.
pub fn bounded_expiry(interval_s: u32, config: &Config) -> u32 {
    match config.persistent_client_expiration {
        None | Some(0) => interval_s,
        Some(maximum_s) => interval_s.min(u32::try_from(maximum_s).unwrap_or(u32::MAX)),
    }
}

/// A Will Message, not published yet. Its Topic Name is valid.
#[derive(Clone, Debug)]
pub struct WillMessage {
    /// Will Topic.
    pub topic: Box<str>,
    /// 5.0 properties to be published with it, in wire form.
    pub properties: Box<[u8]>,
    /// Will Payload.
    pub payload: Box<[u8]>,
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval, in seconds.
    pub delay_interval_s: u32,
    /// Message Expiry Interval, in seconds, counted from when it is published.
    pub message_expiry_interval_s: Option<u32>,
}

/// Retained messages that a subscription is being sent.
#[derive(Debug)]
pub struct PendingReplay {
    /// The subscription, by its node in the tree of filters.
    pub subscription: NodeId,
    /// Messages retained from this point on were delivered as they came.
    pub before: u64,
}

/// The retained messages a session is owed.
#[derive(Debug, Default)]
pub struct Replays {
    /// Subscriptions whose turn has not come, each with its [`PendingReplay::before`]. A map, for
    /// there may be as many of them as one packet subscribes to, or unsubscribes from.
    pub pending: BTreeMap<NodeId, u64>,
    /// The one being served, and where in the retained tree it has come to.
    pub current: Option<(PendingReplay, Walk)>,
}

impl Replays {
    /// The subscription that is served next.
    pub fn next_subscription(&self) -> Option<NodeId> {
        let current = self
            .current
            .as_ref()
            .map(|(current, _)| current.subscription);
        current.or_else(|| self.pending.first_key_value().map(|(node, _)| *node))
    }

    /// Stops serving the subscription at `node`, if it is the one being served.
    pub fn interrupt(&mut self, node: NodeId) -> Option<Walk> {
        let is_current = |(current, _): &mut (PendingReplay, Walk)| current.subscription == node;
        self.current.take_if(is_current).map(|(_, walk)| walk)
    }
}

/// One Session.
#[derive(Debug)]
pub struct Session {
    /// Who it belongs to.
    pub identity: Rc<Identity>,
    /// Its connection; `None` while it is absent.
    pub conn: Option<ConnId>,
    /// Seconds it outlives its connection; [`NEVER_EXPIRES`] without end.
    pub expiry_interval_s: u32,
    /// Its subscriptions as nodes of the tree of filters.
    pub subscriptions: KeySet<NodeId>,
    /// The groups it shares subscriptions in, if any.
    pub shared: Option<Box<KeySet<GroupId>>>,
    /// QoS 1 and 2 state, if any.
    pub flights: Option<Box<Flights>>,
    /// The Will, from CONNECT until it is published or deleted.
    pub will: Option<Box<WillMessage>>,
    /// Retained messages still owed, if any.
    pub replays: Option<Box<Replays>>,
    /// While absent: when the Will is due; [`Mono::NEVER`] if none is.
    pub will_at: Mono,
    /// While absent: when it ends; [`Mono::NEVER`] if it does not.
    pub ends_at: Mono,
    /// The entry in the deadline heap that is this session's.
    pub timer_at: Mono,
    /// The Packet Identifier given out last.
    pub last_packet_identifier: u16,
    /// How many after that one are known to be free.
    pub free_packet_identifiers: u16,
    /// Messages to it that were dropped in the present episode, which ends when it keeps up again.
    pub dropped: u32,
}

impl Session {
    /// A session that has just begun on `conn`, or goes on without a connection.
    pub fn new(identity: Rc<Identity>, conn: Option<ConnId>, expiry_interval_s: u32) -> Self {
        Self {
            identity,
            conn,
            expiry_interval_s,
            subscriptions: KeySet::default(),
            shared: None,
            flights: None,
            will: None,
            replays: None,
            will_at: Mono::NEVER,
            ends_at: Mono::NEVER,
            timer_at: Mono::NEVER,
            last_packet_identifier: 0,
            free_packet_identifiers: 0,
            dropped: 0,
        }
    }

    /// Whether it is remembered: it outlives its connection, or has messages in the store alone.
    pub fn is_lasting(&self) -> bool {
        let is_in_store = |flights: &Flights| flights.queue().stored_at().is_some();
        self.expiry_interval_s != 0 || self.flights.as_deref().is_some_and(is_in_store)
    }

    /// Whether a message that has come by `group`, or by none, may have to be sent again while it is in
    /// flight: to this client after a reconnect, or to another member of the group.
    pub fn may_send_again(&self, group: Option<GroupId>) -> bool {
        self.is_lasting() || group.is_some()
    }

    /// Its Client Identifier.
    pub fn client_identifier(&self) -> &str {
        &self.identity.client_identifier
    }

    /// A Packet Identifier that no flight has [MQTT-2.3.1-2] [MQTT5-2.2.1-3]. `None`: all 65,535
    /// are in flight.
    pub fn next_packet_identifier(&mut self) -> Option<PacketIdentifier> {
        if let Some(left) = self.free_packet_identifiers.checked_sub(1) {
            self.free_packet_identifiers = left;
            self.last_packet_identifier = self.last_packet_identifier.checked_add(1)?;
            return NonZeroU16::new(self.last_packet_identifier);
        }
        let none = Flights::default();
        let flights = self.flights.as_deref().unwrap_or(&none);
        let (first, more) = flights.free_after(self.last_packet_identifier)?;
        self.free_packet_identifiers = more;
        self.last_packet_identifier = first.get();
        Some(first)
    }

    /// Whether nothing is in flight on the present connection, so that no acknowledgement will come.
    pub fn is_window_empty(&self) -> bool {
        let flights = self.flights.as_ref();
        flights.is_none_or(|flights| flights.is_window_empty())
    }

    /// Whether nothing changes for it when a place in its window becomes free.
    pub fn is_settled(&self) -> bool {
        let flights = self.flights.as_ref();
        self.dropped == 0 && flights.is_none_or(|flights| !flights.has_waiting())
    }

    /// Gives back what `flights` held if nothing is left in it.
    pub fn trim_flights(&mut self, spare: &mut SpareFlights) {
        if let Some(flights) = self.flights.take_if(|flights| flights.is_empty()) {
            spare.give_back(flights);
        }
    }

    /// Counts a message to it that is dropped; the first of an episode is said in the log.
    #[cold]
    pub fn note_dropping(&mut self) {
        if self.dropped == 0 {
            let name = self.client_identifier();
            log::info!("Outgoing messages are being dropped for client {name}.");
        }
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Says how many messages were dropped, if any were, now that the episode is over, and why it is.
    pub fn end_dropping(&mut self, why: &str) {
        let count = std::mem::take(&mut self.dropped);
        if count > 0 {
            let name = self.client_identifier();
            log::info!("{count} outgoing messages were dropped for client {name}, {why}.");
        }
    }

    /// Notes that it is a member of `group`.
    pub fn note_group(&mut self, group: GroupId) {
        self.shared.get_or_insert_default().insert(group);
    }

    /// Forgets that it is a member of `group`.
    pub fn forget_group(&mut self, group: GroupId) {
        let Some(groups) = &mut self.shared else {
            return;
        };
        groups.remove(group);
        if groups.len() == 0 {
            self.shared = None;
        }
    }
}

/// All sessions, by key and by Client Identifier.
#[derive(Debug)]
pub struct Sessions {
    slab: Slab<Box<Session>>,
    by_client_identifier: HashTable<SessionId>,
    hasher: RandomState,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            slab: Slab::new(),
            by_client_identifier: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Sessions {
    /// The session at `session`.
    pub fn get(&self, session: SessionId) -> Option<&Session> {
        self.slab.get(session.index()).map(|session| &**session)
    }

    /// The session at `session`.
    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.slab
            .get_mut(session.index())
            .map(|session| &mut **session)
    }

    /// The session of this Client Identifier.
    pub fn find(&self, client_identifier: &str) -> Option<SessionId> {
        let hash = self.hasher.hash_one(client_identifier);
        let is_same = |session: &SessionId| {
            self.get(*session)
                .is_some_and(|found| found.client_identifier() == client_identifier)
        };
        self.by_client_identifier.find(hash, is_same).copied()
    }

    /// The key that the next session added will have.
    pub fn next_key(&self) -> SessionId {
        SessionId::from_index(self.slab.vacant_key())
    }

    /// Adds a session whose Client Identifier has none yet.
    pub fn insert(&mut self, session: Session) -> SessionId {
        let hash = self.hasher.hash_one(session.client_identifier());
        let id = SessionId::from_index(self.slab.insert(Box::new(session)));
        let Self {
            slab,
            by_client_identifier,
            hasher,
        } = self;
        by_client_identifier.insert_unique(hash, id, |session| {
            let session = slab.get(session.index());
            session.map_or(0, |session| hasher.hash_one(session.client_identifier()))
        });
        id
    }

    /// Takes a session out.
    pub fn remove(&mut self, session: SessionId) -> Option<Box<Session>> {
        let removed = self.slab.try_remove(session.index())?;
        let hash = self.hasher.hash_one(removed.client_identifier());
        if let Ok(entry) = self
            .by_client_identifier
            .find_entry(hash, |id| *id == session)
        {
            entry.remove();
        }
        if self.slab.is_empty() {
            self.slab = Slab::new();
            self.by_client_identifier = HashTable::new();
        }
        Some(removed)
    }

    /// Sessions, absent ones included.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Each session.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let sessions = self.slab.iter();
        sessions.map(|(index, session)| (SessionId::from_index(index), &**session))
    }
}

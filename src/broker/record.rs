//! A durable fact: what the core wants remembered past the end of the process, and what it is given
//! back at the next start. The core knows no files: it pushes records where it changes its tables,
//! and whoever keeps them feeds them to [`super::Broker::restore`] one day. Folded one after the
//! other they are what is durable of the core's state, no more and no less.
//!
//! ```text
//!   Session ─┬─ Will                    one at most
//!            ├─ Subscribed              by filter
//!            ├─ Held                    by Packet Identifier, from the client
//!            └─ Queued, Launched,       by place, to the client
//!               Received
//!   Retained                            by topic
//! ```
//!
//! Only sessions that outlive their connection are told of. Times are instants of this process;
//! whoever keeps them turns them into dates.

use super::inflight::Delivery;
pub use super::key::Place;
use super::key::{GroupId, SessionId};
use super::session::{Session, WillMessage};
use crate::config::Config;
use crate::message::{Identity, Message, PacketIdentifier};
use crate::time::Mono;
use std::num::NonZeroU32;
use std::rc::Rc;

/// One durable fact.
#[derive(Clone, Debug)]
pub enum Record {
    /// There is a session, and it is like this; one of the same key before it was the same one.
    Session(Box<SessionRecord>),
    /// A session is about to end, and of the messages between these places, which are in the store
    /// alone, those that came by a shared subscription are to be [handed on], and all are over.
    ///
    /// [handed on]: super::Broker::hand_on
    Abandoned(SessionId, Place, Place),
    /// A session has ended, or will with its connection: all that is its own is over.
    Ended(SessionId),
    /// The Will of a session, `None` if it has none any more.
    Will(SessionId, Option<Box<WillMessage>>),
    /// A session has this subscription, in place of one to the same filter.
    Subscribed(Box<SubscriptionRecord>),
    /// A session has no subscription to this filter, spelled with its `$share`, any more.
    Unsubscribed(SessionId, Box<str>),
    /// A message for a session, waiting or, with a Packet Identifier, in flight.
    Queued(SessionId, Place, Delivery, Option<PacketIdentifier>),
    /// A message that waited is in flight.
    Launched(Place, PacketIdentifier),
    /// PUBREC has come for a message in flight: it is over, and at `released` its Packet Identifier
    /// awaits PUBCOMP.
    Received {
        /// Whose.
        session: SessionId,
        /// Where the message was.
        place: Place,
        /// Where its Packet Identifier stands from now on.
        released: Place,
        /// Its Packet Identifier.
        packet_identifier: PacketIdentifier,
    },
    /// What stood at this place is over.
    Landed(Place),
    /// A QoS 2 PUBLISH of a session was taken: a second one is none.
    Held(SessionId, PacketIdentifier),
    /// And released.
    Released(SessionId, PacketIdentifier),
    /// A topic has this retained message, in place of another.
    Retained(Rc<Message>),
    /// A topic has none any more.
    Cleared(Box<str>),
}

/// Messages that are in the store alone, to be read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Whose.
    pub session: SessionId,
    /// The first place where one may stand.
    pub first: Place,
    /// The last one.
    pub last: Place,
    /// Messages wanted at most.
    pub messages_max: usize,
    /// Bytes of payload with which they suffice; the first message comes in any case.
    pub bytes_max: u64,
}

/// A session, without what hangs off it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its key.
    pub session: SessionId,
    /// Whose it is.
    pub identity: Rc<Identity>,
    /// The port of the listener its client came by; 0 for one without a port.
    pub listener_port: u16,
    /// Seconds it outlives its connection.
    pub expiry_interval_s: u32,
    /// Whether its client is there.
    pub is_connected: bool,
    /// While absent: when it ends.
    pub ends_at: Mono,
    /// While absent: when its Will is due.
    pub will_at: Mono,
}

impl SessionRecord {
    /// What there is to tell of `session`.
    pub fn of(id: SessionId, session: &Session, config: &Config) -> Self {
        let listener = config.listeners.get(session.identity.listener);
        Self {
            session: id,
            identity: Rc::clone(&session.identity),
            listener_port: listener.map_or(0, |listener| listener.port),
            expiry_interval_s: session.expiry_interval_s,
            is_connected: session.conn.is_some(),
            ends_at: session.ends_at,
            will_at: session.will_at,
        }
    }
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionRecord {
    /// Whose.
    pub session: SessionId,
    /// The Topic Filter, with `$share/NAME/` if it is shared.
    pub filter: Box<str>,
    /// The group that shares it, if it is shared.
    pub group: Option<GroupId>,
    /// Maximum QoS, No Local and Retain As Published, as in SUBSCRIBE.
    pub options: u8,
    /// Subscription Identifier.
    pub identifier: Option<NonZeroU32>,
}

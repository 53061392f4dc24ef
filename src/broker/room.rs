//! Whether there is room in memory for a message, asked before any of it is delivered, so that what
//! is refused is refused wholly. Apart from the way of a message, which does not come here unless
//! there is a `memory_limit`. It must never deliver or keep anything.
//!
//! A message can cost far more than its own bytes: every receiver's queue may have to grow, and one
//! that is full doubles. While half of the memory is free that cannot matter, and the receivers are
//! not looked at; above that, each of them is.

use super::cause::Cause;
use super::deliver;
use super::inflight::Flights;
use super::key::{ConnId, SessionId};
use super::memory::Refused;
use super::routes::Route;
use super::state::State;
use super::subscriptions::Subscription;
use crate::codec::dialect::ProtocolVersion;
use crate::codec::publish::RawPublish;
use crate::codec::reason::ReasonCode;
use crate::limits;
use crate::message::{Message, Publication, QoS};
use crate::time::Now;

/// A message, by what it costs to keep.
#[derive(Clone, Copy, Debug)]
struct Load<'a> {
    route: &'a Route,
    /// Bytes of properties and payload.
    bytes: usize,
    qos: QoS,
    retain: bool,
    clears: bool,
}

impl Load<'_> {
    fn topic(&self) -> &str {
        self.route.topic()
    }

    /// Bytes of its kept form.
    fn kept_bytes(&self) -> usize {
        size_of::<Message>() + 2 * size_of::<usize>() + self.topic().len() + self.bytes
    }

    /// Bytes of its own that it adds to one write queue: a head, with a Topic Alias that may have to
    /// be noted, and the body if that is copied.
    fn written_bytes(&self) -> usize {
        let copied = match self.bytes <= limits::COPY_BELOW {
            true => self.bytes,
            false => 0,
        };
        2 * self.topic().len() + HEAD_BYTES + copied
    }
}

/// Bytes of a PUBLISH and its bookkeeping beside topic and body, at most.
const HEAD_BYTES: usize = 64;

/// What delivering a message would take.
#[derive(Debug, Default)]
struct Need {
    bytes: usize,
    /// Whether any of it would have to wait: in a queue, or as a retained message.
    waits: bool,
    /// Whether any of it would be in flight.
    flies: bool,
}

/// Whether a message of a client is refused, and what its acknowledgement is to say then. One that
/// has to wait is refused first; for those who take it at once there is more room. `Choice:` at
/// QoS 0, where nobody can be told, it is dropped and counted.
#[inline]
pub fn refusal(
    publisher: SessionId,
    route: &Route,
    packet: &RawPublish<'_>,
    state: &mut State,
    now: Now,
) -> Option<(ReasonCode, Option<&'static str>)> {
    if !state.memory.is_limited() {
        return None;
    }
    let load = Load {
        route,
        bytes: packet.properties.as_bytes().len() + packet.payload.len(),
        qos: packet.qos,
        retain: packet.retain,
        clears: packet.payload.is_empty(),
    };
    let missing_bytes = missing(&load, held_growth(publisher, packet.qos, state), state)?;
    let what = match packet.qos {
        QoS::AtMostOnce => Refused::Sending,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Refused::Message,
    };
    state
        .memory
        .refuse(what, missing_bytes, &mut state.stats, now);
    Some((
        ReasonCode::QuotaExceeded,
        Some("memory is short here; send it again later"),
    ))
}

/// Whether a message that is published without a client, or for one that is gone, finds room within
/// so many sixteenths of the limit. If not, it is counted as dropped.
pub fn passes(
    route: &Route,
    publication: &Publication<'_>,
    sixteenths: usize,
    state: &mut State,
    now: Now,
) -> bool {
    if !state.memory.is_limited() {
        return true;
    }
    let load = Load {
        route,
        bytes: publication.properties.len() + publication.payload.len(),
        qos: publication.qos,
        retain: publication.retain,
        clears: publication.payload.is_empty(),
    };
    let need = need(&load, state);
    let is_needed = need.waits || need.flies;
    if !is_needed || state.memory.holds(need.bytes, sixteenths) {
        return true;
    }
    let State { memory, stats, .. } = state;
    memory.refuse(Refused::Sending, need.bytes, stats, now);
    false
}

/// `Choice:` a client of 3.x cannot be told that its message was refused, and an acknowledgement
/// would be a lie: its connection ends instead, so that it sends the message again later
/// [MQTT-3.3.5-2].
///
/// # Errors
/// That the connection must end.
#[inline]
pub fn end_untold(conn: ConnId, reason: ReasonCode, state: &State) -> Result<(), Cause> {
    if reason != ReasonCode::QuotaExceeded {
        return Ok(());
    }
    let client = state.clients.get(conn);
    let version = client.map_or(ProtocolVersion::V311, |client| client.version);
    match version.has_reason_codes() {
        true => Ok(()),
        false => Err(Cause::MemoryShort),
    }
}

/// The bytes for which there is no room; `None` if there is.
fn missing(load: &Load<'_>, held_bytes: usize, state: &State) -> Option<usize> {
    let count = state.subscriptions.count();
    let each = Flights::FIRST_BYTES + load.written_bytes();
    let most = load.kept_bytes().saturating_add(count.saturating_mul(each));
    if state.memory.holds_easily(most, limits::MEMORY_QUEUES) {
        return None;
    }
    let mut need = need(load, state);
    need.bytes += held_bytes;
    let fits = |sixteenths| state.memory.holds(need.bytes, sixteenths);
    let is_refused = match need {
        Need { waits: true, .. } => !fits(limits::MEMORY_QUEUES),
        Need { flies: true, .. } => !fits(limits::MEMORY_PACKETS),
        Need { .. } => held_bytes > 0 && !fits(limits::MEMORY_PACKETS),
    };
    is_refused.then_some(need.bytes)
}

/// Bytes that holding the Packet Identifier of a QoS 2 message takes.
fn held_growth(publisher: SessionId, qos: QoS, state: &State) -> usize {
    if qos != QoS::ExactlyOnce {
        return 0;
    }
    let session = state.sessions.get(publisher);
    let flights = session.and_then(|session| session.flights.as_deref());
    flights.map_or(Flights::FIRST_BYTES, Flights::hold_growth)
}

/// What delivering a message would take, by looking at everybody it is for.
fn need(load: &Load<'_>, state: &State) -> Need {
    let mut need = Need::default();
    let subscriptions = &state.subscriptions;
    for node in load.route.plain() {
        for subscription in subscriptions.at(*node) {
            need.add(receive(subscription, load, state));
        }
    }
    for group in load
        .route
        .shared()
        .iter()
        .flat_map(|node| subscriptions.groups_at(*node))
    {
        // One of them will have it.
        let members = subscriptions.members(group).iter();
        let needs = members.map(|member| receive(member, load, state));
        let worst = needs.max_by_key(|need| (need.waits, need.bytes));
        need.add(worst.unwrap_or_default());
    }
    need.add(retain(load, state));
    if need.waits || need.flies {
        need.bytes += load.kept_bytes();
    }
    need
}

impl Need {
    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.waits |= other.waits;
        self.flies |= other.flies;
    }
}

/// What one receiver's copy would take. QoS 0 that is sent at once is asked for when it is.
fn receive(subscription: &Subscription, load: &Load<'_>, state: &State) -> Need {
    let Some(session) = state.sessions.get(subscription.session) else {
        return Need::default();
    };
    let config = &state.config;
    let qos = deliver::outgoing_qos(subscription.terms.qos(), load.qos, config);
    let flights = session.flights.as_deref();
    let queued = flights.map_or(0, Flights::queued);
    let client = session.conn.and_then(|conn| state.clients.get(conn));
    match client {
        Some(_) if qos == QoS::AtMostOnce && queued == 0 => Need::default(),
        Some(client)
            if qos != QoS::AtMostOnce && deliver::window_has_room(session, client, config) =>
        {
            Need {
                bytes: flights.map_or(Flights::FIRST_BYTES, Flights::launch_growth)
                    + client.output.growth(load.written_bytes()),
                waits: false,
                flies: true,
            }
        }
        _ if deliver::may_wait(qos, config) && deliver::queue_has_room(session, config) => Need {
            bytes: flights.map_or(Flights::FIRST_BYTES, Flights::queue_growth),
            waits: true,
            flies: false,
        },
        _ => Need::default(),
    }
}

/// What retaining a message would take. One that is no larger than what it replaces does not wait
/// for more room: it only needs it until that is gone.
fn retain(load: &Load<'_>, state: &State) -> Need {
    if !load.retain || load.clears {
        return Need::default();
    }
    match state.retained.bytes_at(load.topic()) {
        Some(bytes) if bytes >= load.kept_bytes() => Need {
            bytes: 0,
            waits: false,
            flies: true,
        },
        Some(_) => Need {
            bytes: 0,
            waits: true,
            flies: false,
        },
        None => {
            let levels = load.topic().split('/').count();
            Need {
                bytes: levels * limits::LEVEL_BYTES + load.topic().len(),
                waits: true,
                flies: false,
            }
        }
    }
}

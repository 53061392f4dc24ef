//! Long queues of sessions that are remembered: what of them leaves memory once it is safe, and how it
//! comes back. The core cannot read the store: it asks, by [`Effects::recalls`], and whoever keeps
//! the records answers by [`Broker::recalled`].
//!
//! ```text
//!   all is safe ─► stored ─► gaps        a place is free ─► wanting ─► serve ─► recalls ─► recalled
//!   a session ends with a gap ─► Record::Abandoned ─► hand_on
//! ```
//!
//! It must never put anything but the front of a gap back in memory, nor more of it than is sent soon.
//!
//! [`Effects::recalls`]: super::effects::Effects::recalls

use super::Broker;
use super::client::{Client, Clients};
use super::distribute::deliver_shared;
use super::inflight::Delivery;
use super::key::SessionId;
use super::memory::Memory;
use super::queue::{Queue, Share};
use super::record::{Place, Recall};
use super::session::Session;
use super::state::State;
use crate::limits;
use crate::time::Now;

impl Broker {
    /// Sets how much of a queue stays in memory once all of it is in the store.
    pub fn share_memory(&mut self, share: Share) {
        self.state.effects.journal.set_share(share);
    }

    /// All records so far are in the store, and can be read from it. Long queues leave memory, each
    /// message told to `left`.
    pub fn stored(&mut self, mut left: impl FnMut(Place)) {
        let State {
            sessions, effects, ..
        } = &mut self.state;
        for id in effects.journal.take_long() {
            // The session may be another one by now, whose records are safe, too.
            if let Some(queue) = sessions.get_mut(id).and_then(queue_of) {
                queue.spill(effects.journal.share(), &mut left);
            }
        }
    }

    /// A message in the store waits for a session that is being restored, with `bytes` of payload and
    /// behind all others: `true` if it may stay there, or else it is to be restored.
    pub fn leave_stored(&mut self, id: SessionId, place: Place, bytes: u64) -> bool {
        let State {
            sessions, effects, ..
        } = &mut self.state;
        let Some(session) = sessions.get_mut(id) else {
            return false;
        };
        let flights = session.flights.get_or_insert_default();
        let share = effects.journal.share();
        flights.queue_mut().leave_stored(place, bytes, share)
    }

    /// What was asked for was read: the first messages in the store, in order, and the place at which
    /// the next one may stand. An answer that comes when nobody waits for it any more does nothing.
    pub fn recalled(&mut self, recall: &Recall, found: Vec<Delivery>, next: Place, now: Now) {
        let state = &mut self.state;
        let id = recall.session;
        let Some(session) = state.sessions.get_mut(id) else {
            return;
        };
        let queue = queue_of(session);
        let Some(missing) = queue.and_then(|queue| queue.fill(recall.first, found, next)) else {
            return;
        };
        if missing > 0 {
            log::error!(
                "Error: {missing} messages for client {} are not in the database, where they were \
                 written; it was changed by somebody else, or damaged.",
                session.client_identifier()
            );
        }
        // It may have been remembered for the sake of these messages alone.
        let journal = &mut state.effects.journal;
        if !session.is_lasting() {
            journal.session(id, session, true, &state.config);
        }
        session.trim_flights(&mut state.spare_flights);
        if let Some(mut line) = state.line(id) {
            line.pump(now);
        }
    }

    /// A message that came by a shared subscription was in the store alone when its session ended:
    /// another member may have it [MQTT5-4.8.2-4] [MQTT5-4.8.2-5].
    pub fn hand_on(&mut self, delivery: &Delivery, now: Now) {
        if let Some(group) = delivery.group {
            let mut publication = delivery.message.publication();
            deliver_shared(&mut publication, group, &mut self.state, now);
        }
    }

    /// Each session that has messages in the store alone, between which places, and how many.
    pub fn spilled(&self) -> impl Iterator<Item = (SessionId, Place, Place, usize)> {
        self.state.sessions.iter().filter_map(|(id, session)| {
            let queue = session.flights.as_ref()?.queue();
            let (first, last) = queue.stored_at()?;
            Some((id, first, last, queue.stored()))
        })
    }

    /// The store is lost, and with it all messages that were in it alone: how many.
    pub fn lose_stored(&mut self, now: Now) -> usize {
        let ids: Vec<SessionId> = self.spilled().map(|(id, ..)| id).collect();
        let mut lost = 0;
        for id in ids {
            let Some(session) = self.state.sessions.get_mut(id) else {
                continue;
            };
            lost += queue_of(session).map_or(0, Queue::lose_stored);
            session.trim_flights(&mut self.state.spare_flights);
            if let Some(mut line) = self.state.line(id) {
                line.pump(now);
            }
        }
        lost
    }
}

fn queue_of(session: &mut Session) -> Option<&mut Queue> {
    let flights = session.flights.as_mut()?;
    Some(flights.queue_mut())
}

/// Asks for the next messages of the sessions that have few left and keep up.
pub fn serve(state: &mut State) {
    let State {
        sessions,
        clients,
        effects,
        memory,
        ..
    } = state;
    let share = *effects.journal.share();
    let recalls = &mut effects.recalls;
    effects.wanting.retain(|id| {
        let Some(session) = sessions.get_mut(*id) else {
            return false;
        };
        let client = client_of(session, clients);
        let Some(queue) = queue_of(session).filter(|queue| queue.is_wanting()) else {
            return false;
        };
        let (Some(client), Some((first, last))) = (client, queue.stored_at()) else {
            // It asks again when it has come back.
            queue.wants_none();
            return false;
        };
        if !is_ready(client, queue, &share, memory) {
            return true;
        }
        recalls.push(Recall {
            session: *id,
            first,
            last,
            messages_max: share.messages,
            bytes_max: match has_memory(&share, memory) {
                true => share.bytes,
                false => 0,
            },
        });
        false
    });
}

/// Whether any session waits for messages that can be asked for now.
pub fn is_any_ready(state: &State) -> bool {
    let share = state.effects.journal.share();
    state.effects.wanting.iter().any(|id| {
        let session = state.sessions.get(*id);
        session.is_none_or(|session| {
            let flights = session.flights.as_ref();
            let client = client_of(session, &state.clients);
            match (client, flights) {
                (Some(client), Some(flights)) => {
                    is_ready(client, flights.queue(), share, &state.memory)
                }
                _ => true,
            }
        })
    })
}

fn client_of<'c>(session: &Session, clients: &'c Clients) -> Option<&'c Client> {
    session.conn.and_then(|conn| clients.get(conn))
}

/// Whether a client reads what it is sent, and there is memory for more. Where memory is short, what
/// is in it goes first.
fn is_ready(client: &Client, queue: &Queue, share: &Share, memory: &Memory) -> bool {
    client.output.bytes() < limits::REPLAY_BELOW_BYTES
        && (queue.is_interrupted() || has_memory(share, memory))
}

fn has_memory(share: &Share, memory: &Memory) -> bool {
    // A body, and as much again around it.
    let bytes = usize::try_from(share.bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    memory.holds(bytes, limits::MEMORY_QUEUES)
}

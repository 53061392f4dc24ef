//! Retained messages for new subscriptions [MQTT5 §3.8.4], a bounded number of steps a turn, so
//! that `#` over a hundred thousand of them stalls nobody, and only while the receiver keeps up.

use super::deliver::{self, Receiver};
use super::key::SessionId;
use super::session::{PendingReplay, Replays, Session};
use super::state::State;
use super::subscriptions::{Subscription, Subscriptions};
use crate::config::Config;
use crate::limits;
use crate::message::{Publication, QoS};
use crate::policy::Policy;
use crate::time::Now;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use crate::topic::tree::{NodeId, Walk};
use std::num::NonZeroU32;

/// Owes `session` the retained messages of its subscription at `node`. If it is owed them already,
/// what was sent of them is owed again [MQTT-3.8.4-3] [MQTT5-3.8.4-4]; what waits is sent once.
pub fn request(node: NodeId, session: SessionId, state: &mut State) {
    let State {
        sessions,
        retained,
        replaying,
        ..
    } = state;
    if retained.len() == 0 {
        return;
    }
    let Some(owed) = sessions.get_mut(session) else {
        return;
    };
    if owed.replays.is_none() {
        replaying.push(session);
    }
    let replays = owed.replays.get_or_insert_default();
    if let Some(walk) = replays.interrupt(node) {
        retained.end_walk(walk);
    }
    replays.pending.insert(node, retained.sequence());
}

/// The subscription at `node` is gone, and what it was owed with it.
pub fn cancel(node: NodeId, session: SessionId, state: &mut State) {
    let State {
        sessions,
        retained,
        replaying,
        ..
    } = state;
    let Some(owed) = sessions.get_mut(session) else {
        return;
    };
    let Some(replays) = &mut owed.replays else {
        return;
    };
    replays.pending.remove(&node);
    if let Some(walk) = replays.interrupt(node) {
        retained.end_walk(walk);
    }
    if replays.pending.is_empty() && replays.current.is_none() {
        owed.replays = None;
        replaying.retain(|other| *other != session);
    }
}

/// The session has ended, and what it was owed with it.
pub fn forget(replays: Option<Box<Replays>>, session: SessionId, state: &mut State) {
    let Some(replays) = replays else { return };
    if let Some((_, walk)) = replays.current {
        state.retained.end_walk(walk);
    }
    state.replaying.retain(|other| *other != session);
}

/// Whether any session could be sent some of what it is owed now.
#[cold]
pub fn is_any_ready(state: &State) -> bool {
    state.replaying.iter().any(|id| {
        let session = state.sessions.get(*id);
        session.is_some_and(|session| {
            let qos = qos_owed(*id, session, &state.subscriptions);
            is_ready(session, qos, state)
        })
    })
}

/// The QoS of the subscription whose turn it is.
fn qos_owed(id: SessionId, session: &Session, subscriptions: &Subscriptions) -> QoS {
    let replays = session.replays.as_ref();
    let node = replays.and_then(|replays| replays.next_subscription());
    let subscription = node.and_then(|node| subscriptions.get(node, id));
    subscription.map_or(QoS::AtMostOnce, |subscription| subscription.terms.qos())
}

/// Whether a session keeps up with messages of up to this QoS. An absent one is served too: into
/// its queue, as far as that goes.
fn is_ready(session: &Session, qos: QoS, state: &State) -> bool {
    // What is owed is not dropped where memory is short: it waits where it is.
    let has_memory = |sixteenths| state.memory.holds(limits::REPLAY_SPARE_BYTES, sixteenths);
    let client = session.conn.and_then(|conn| state.clients.get(conn));
    let Some(client) = client else {
        return has_memory(limits::MEMORY_QUEUES);
    };
    // The window is not for QoS 0 [MQTT5 §4.9].
    let has_room =
        qos == QoS::AtMostOnce || deliver::window_has_room(session, client, &state.config);
    has_room
        && match client.output.bytes() {
            0 => has_memory(limits::MEMORY_PACKETS),
            1..limits::REPLAY_BELOW_BYTES => has_memory(limits::MEMORY_QUEUES),
            _ => false,
        }
}

/// Serves the sessions that keep up for one turn. Those that it has no steps left for come first in
/// the next one.
pub fn serve(state: &mut State, now: Now) {
    let mut turn = std::mem::take(&mut state.replaying);
    let mut left = limits::REPLAY_STEPS_PER_TURN;
    let mut served = 0;
    for session in &turn {
        if left == 0 {
            break;
        }
        let mut steps = left.min(limits::REPLAY_STEPS_PER_SESSION_PER_TURN);
        left -= steps;
        if serve_one(*session, &mut steps, state, now) == Served::Partly {
            state.replaying.push(*session);
        } else if let Some(session) = state.sessions.get_mut(*session) {
            session.replays = None;
        }
        left += steps;
        served += 1;
    }
    turn.drain(..served);
    turn.append(&mut state.replaying);
    state.replaying = turn;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Partly,
    Wholly,
}

fn serve_one(id: SessionId, steps: &mut usize, state: &mut State, now: Now) -> Served {
    loop {
        let Some((due, mut walk)) = next_replay(id, state) else {
            return Served::Wholly;
        };
        let subscription = state.subscriptions.get(due.subscription, id).copied();
        let is_over = match subscription {
            None => true,
            Some(subscription) => {
                let before = due.before;
                send_some(&subscription, &mut walk, steps, before, state, now)
            }
        };
        if is_over {
            state.retained.end_walk(walk);
            // A walk that met no node has taken its time, too.
            *steps = steps.saturating_sub(1);
            continue;
        }
        if let Some(replays) = state.sessions.get_mut(id).and_then(|s| s.replays.as_mut()) {
            replays.current = Some((due, walk));
        }
        return Served::Partly;
    }
}

/// The replay under way, or the next one begun.
fn next_replay(id: SessionId, state: &mut State) -> Option<(PendingReplay, Walk)> {
    let replays = state.sessions.get_mut(id)?.replays.as_mut()?;
    if let Some(current) = replays.current.take() {
        return Some(current);
    }
    loop {
        let (subscription, before) = replays.pending.pop_first()?;
        let due = PendingReplay {
            subscription,
            before,
        };
        let mut text = String::new();
        state.subscriptions.filter_text(due.subscription, &mut text);
        if let Ok(filter) = TopicFilter::new(&text) {
            return Some((due, state.retained.walk(&filter)));
        }
        debug_assert!(false, "the tree holds a filter that is none");
    }
}

/// Sends what matches until the walk is over (`true`), the steps are used up or the receiver has
/// enough.
fn send_some(
    subscription: &Subscription,
    walk: &mut Walk,
    steps: &mut usize,
    before: u64,
    state: &mut State,
    now: Now,
) -> bool {
    loop {
        let Some(session) = state.sessions.get(subscription.session) else {
            return true;
        };
        if session.conn.is_none() && !can_wait(session, subscription, &state.config) {
            return true;
        }
        if *steps == 0 || !is_ready(session, subscription.terms.qos(), state) {
            return false;
        }
        let Some(message) = state.retained.step(walk, steps, before, now.mono) else {
            return walk.is_done();
        };
        let mut publication = message.publication();
        if subscription.terms.no_local() && publication.is_from(&session.identity) {
            continue;
        }
        if state.config.check_retain_source && !may_still_publish(&publication, &state.policy) {
            continue;
        }
        let receiver = Receiver {
            session: subscription.session,
            qos: deliver::outgoing_qos(subscription.terms.qos(), publication.qos, &state.config),
            retain: true, // [MQTT-3.3.1-8] [MQTT5-3.3.1-8]
            identifiers: subscription.identifier.map(NonZeroU32::get).into(),
            group: None,
        };
        state.tables().deliver(&mut publication, receiver, now);
    }
}

/// Whether whoever published a message still may; the broker itself always may.
fn may_still_publish(publication: &Publication<'_>, policy: &Policy) -> bool {
    let (Some(publisher), Ok(name)) = (publication.publisher, TopicName::new(publication.topic))
    else {
        return true;
    };
    policy.may_publish(publisher, &name)
}

/// Whether messages for an absent session would be kept at all.
fn can_wait(session: &Session, subscription: &Subscription, config: &Config) -> bool {
    deliver::may_wait(subscription.terms.qos(), config) && deliver::queue_has_room(session, config)
}

//! The one path by which every message, whoever published it, reaches its receivers: kept if it is to
//! be retained, then given to each subscription that matches, and to one member of each group.

use super::deliver::{self, Receiver};
use super::inflight::SubscriptionIdentifiers;
use super::key::{GroupId, SessionId};
use super::room;
use super::routes::Route;
use super::session::Sessions;
use super::state::State;
use super::subscriptions::{Reach, Subscription};
use super::timers::TimerKey;
use crate::limits;
use crate::message::Publication;
use crate::time::Now;
use crate::topic::name::TopicName;
use std::num::NonZeroU32;

/// Gives a message that no client has just sent to whoever subscribes to `name`, its topic, if it
/// finds room within so many sixteenths of `memory_limit`.
pub fn distribute_within(
    sixteenths: usize,
    name: &TopicName<'_>,
    publication: &mut Publication<'_>,
    state: &mut State,
    now: Now,
) {
    let route = Route::find(name, &state.subscriptions);
    if room::passes(&route, publication, sixteenths, state, now) {
        distribute(&route, publication, state, now);
    }
}

/// Gives a message to whoever subscribes, by the route of its topic.
pub fn distribute(route: &Route, publication: &mut Publication<'_>, state: &mut State, now: Now) {
    if publication.retain {
        retain(publication, state, now);
    }
    if !state.config.allow_duplicate_messages {
        deliver_once_each(route, publication, state, now);
    } else if !route.plain().is_empty() {
        let (subscriptions, mut tables) = state.subscriptions_and_tables();
        let mut count = 0;
        for node in route.plain() {
            let here = subscriptions.at(*node);
            count += here.len();
            for subscription in here {
                tables.deliver_match(publication, subscription, now);
            }
        }
        state.effects.work = state.effects.work.saturating_add(count);
    }
    share(route, publication, state, now);
}

/// Gives a message that was [relayed](super::relay) to whom that could not give it.
pub fn distribute_left_over(
    route: &Route,
    publication: &mut Publication<'_>,
    state: &mut State,
    now: Now,
) {
    let mut left_over = std::mem::take(&mut state.left_over);
    for subscription in left_over.drain(..) {
        state
            .tables()
            .deliver_match(publication, &subscription, now);
    }
    left_over.shrink_to(limits::TURN_LIST_PLACES);
    state.left_over = left_over;
    share(route, publication, state, now);
}

/// Gives a message to one member of each group.
fn share(route: &Route, publication: &mut Publication<'_>, state: &mut State, now: Now) {
    for node in route.shared() {
        let mut groups = std::mem::take(&mut state.groups);
        groups.extend(state.subscriptions.groups_at(*node));
        for group in groups.drain(..) {
            deliver_shared(publication, group, state, now);
        }
        state.groups = groups;
    }
}

fn retain(publication: &mut Publication<'_>, state: &mut State, now: Now) {
    let State {
        retained,
        timers,
        config,
        effects,
        ..
    } = state;
    retained.retain(publication);
    effects.journal.retained(publication);
    let sweep_at = retained.sweep_at(config, now.mono);
    timers.arm(TimerKey::Sweep, sweep_at, &mut retained.timer_at);
}

/// With `allow_duplicate_messages false`: one copy to each session, on behalf of all its
/// subscriptions that match [MQTT-3.3.5-1] [MQTT5-3.3.4-2].
fn deliver_once_each(
    route: &Route,
    publication: &mut Publication<'_>,
    state: &mut State,
    now: Now,
) {
    let at = |node| state.subscriptions.at(node).iter().copied();
    let mut found: Vec<Subscription> = route.plain().iter().copied().flat_map(at).collect();
    state.effects.work = state.effects.work.saturating_add(found.len());
    found.sort_by_key(|subscription| subscription.session);
    for same in found.chunk_by(|one, other| one.session == other.session) {
        if let Some(receiver) = receiver_of(same, publication, state) {
            state.tables().deliver(publication, receiver, now);
        }
    }
}

/// The terms of several subscriptions of one session as one; `None`: none of them wants this
/// message.
fn receiver_of(
    same: &[Subscription],
    publication: &Publication<'_>,
    state: &State,
) -> Option<Receiver> {
    let wanted = || {
        same.iter()
            .filter(|subscription| deliver::is_wanted(subscription, publication, &state.sessions))
    };
    let qos = wanted()
        .map(|subscription| subscription.terms.qos())
        .max()?;
    let keeps_retain = wanted().any(|subscription| subscription.terms.retain_as_published());
    Some(Receiver {
        session: same.first()?.session,
        qos: deliver::outgoing_qos(qos, publication.qos, &state.config),
        retain: publication.retain && keeps_retain, // [MQTT-3.3.1-9] [MQTT5-3.3.1-12]
        identifiers: identifiers_of(wanted()),
        group: None,
    })
}

/// The Subscription Identifiers of several overlapping subscriptions [MQTT5-3.3.4-3].
fn identifiers_of<'s>(
    subscriptions: impl Iterator<Item = &'s Subscription>,
) -> SubscriptionIdentifiers {
    let found = subscriptions.filter_map(|subscription| subscription.identifier);
    let identifiers: Box<[u32]> = found.map(NonZeroU32::get).collect();
    match *identifiers {
        [] => SubscriptionIdentifiers::None,
        [identifier] => SubscriptionIdentifiers::One(identifier),
        _ => SubscriptionIdentifiers::Many(identifiers),
    }
}

/// Delivers to one member of a group: the next in turn that can take it now; if none can, one that
/// will take it later, rather one that is connected than one that is away [MQTT5 §4.8.2].
pub fn deliver_shared(
    publication: &mut Publication<'_>,
    group: GroupId,
    state: &mut State,
    now: Now,
) {
    let State {
        subscriptions,
        sessions,
        clients,
        config,
        policy,
        effects,
        ..
    } = state;
    // Each of them may have to be looked at.
    let members = subscriptions.members(group).len();
    effects.work = effects.work.saturating_add(members);
    let published = publication.qos;
    let topic = publication.topic;
    let qos_of =
        |member: &Subscription| deliver::outgoing_qos(member.terms.qos(), published, config);
    let may_receive = |session: SessionId, sessions: &Sessions| {
        let session = sessions.get(session);
        session.is_some_and(|session| policy.may_receive(&session.identity, topic))
    };
    let chosen = subscriptions.choose(group, |member| {
        match may_receive(member.session, sessions) {
            true => deliver::reach(member.session, qos_of(member), sessions, clients, config),
            false => Reach::Lost,
        }
    });
    let Some(subscription) = chosen else { return };
    let receiver = Receiver {
        session: subscription.session,
        qos: qos_of(&subscription),
        retain: publication.retain && subscription.terms.retain_as_published(),
        identifiers: subscription.identifier.map(NonZeroU32::get).into(),
        group: Some(group),
    };
    state.tables().deliver(publication, receiver, now);
}

//! What the core has to do with whoever keeps its state. The way back: facts that were remembered
//! become tables again, before the first connection; the tables told whole, as one would hear of them
//! from the start; and who is held until what was told is safe.

use super::Broker;
use super::cause::Cause;
use super::disconnect;
use super::distribute::distribute_within;
use super::inflight::{Awaits, Delivery};
use super::key::{ConnId, GroupId, SessionId};
use super::record::{Place, Record, SessionRecord, SubscriptionRecord};
use super::session::{NEVER_EXPIRES, Session};
use super::state::State;
use super::stats::StoreStats;
use super::subscriptions::{Subscription, Terms};
use super::timers::TimerKey;
use crate::config::Config;
use crate::limits;
use crate::message::{Message, PacketIdentifier};
use crate::time::{Mono, Now};
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use std::rc::Rc;

impl Broker {
    /// Takes back what was remembered, before the first connection. Sessions must come in the order
    /// of their keys, and each before what belongs to it. `false`: there cannot be such a thing, and
    /// nothing was done; the rest may still be taken back.
    pub fn restore(&mut self, record: Record, now: Now) -> bool {
        let state = &mut self.state;
        match record {
            Record::Session(record) => session(*record, state, now),
            Record::Subscribed(record) => subscription(&record, state),
            Record::Queued(id, place, delivery, identifier) => {
                queued(id, place, delivery, identifier, state)
            }
            Record::Received {
                session,
                released,
                packet_identifier,
                ..
            } => with(session, state, |session| {
                let flights = session.flights.get_or_insert_default();
                flights.restore(packet_identifier, released, None)
            }),
            Record::Held(id, packet_identifier) => with(id, state, |session| {
                let flights = session.flights.get_or_insert_default();
                flights.hold(packet_identifier);
                true
            }),
            Record::Will(id, will) => {
                let is_right = will
                    .as_ref()
                    .is_some_and(|will| TopicName::new(&will.topic).is_ok());
                is_right
                    && with(id, state, |session| {
                        session.will = will;
                        true
                    })
                    && will_due(id, state, now)
            }
            Record::Retained(message) => retained(&message, state, now),
            Record::Ended(_)
            | Record::Abandoned(..)
            | Record::Unsubscribed(..)
            | Record::Launched(..)
            | Record::Landed(_)
            | Record::Released(..)
            | Record::Cleared(_) => false,
        }
    }

    /// The key that the next session gets that is taken back.
    pub fn next_session(&self) -> SessionId {
        self.state.sessions.next_key()
    }

    /// Ends every connection and session, for the sessions that were remembered can be taken back
    /// only now. Nobody was promised anything meanwhile; who comes again finds what was kept.
    pub fn make_way(&mut self, now: Now) {
        let state = &mut self.state;
        let conns: Vec<ConnId> = state.clients.iter().map(|(conn, _)| conn).collect();
        for conn in conns {
            disconnect::close_connection(conn, Cause::StateReturned, state, now);
        }
        let sessions: Vec<SessionId> = state.sessions.iter().map(|(id, _)| id).collect();
        for id in sessions {
            disconnect::end_session(id, state, now);
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Rc<Config> {
        &self.state.config
    }

    /// All that the journal has told is safe: who has waited for it is written to again.
    pub fn kept(&mut self) {
        let State {
            clients, effects, ..
        } = &mut self.state;
        for conn in effects.journal.keep() {
            if let Some(client) = clients.get_mut(conn) {
                client.is_held = false;
                effects.dirty.push(conn);
            }
        }
    }

    /// What is told can be made safe again, and all of it is. `Choice:` whoever of 3.x was refused
    /// anything has no answer to that, and no word could give it one: its connection ends, for what it
    /// sends again is taken now [MQTT-4.4.0-1].
    pub fn keeps_again(&mut self, now: Now) {
        self.kept();
        let state = &mut self.state;
        state.effects.journal.refuse(false);
        let unanswered = state.clients.iter();
        let unanswered = unanswered.filter(|(_, client)| client.is_unanswered);
        let unanswered: Vec<ConnId> = unanswered.map(|(conn, _)| conn).collect();
        for conn in unanswered {
            disconnect::close_connection(conn, Cause::Unanswered, state, now);
        }
    }

    /// The counters of what keeps the state, which are the shell's to count.
    pub fn store_stats(&mut self) -> &mut StoreStats {
        &mut self.state.stats.store
    }

    /// Publishes a message that was taken, and not passed on, by an earlier broker.
    pub fn publish_restored(&mut self, message: &Rc<Message>, now: Now) {
        let mut publication = message.publication();
        if let Ok(name) = TopicName::new(publication.topic) {
            distribute_within(
                limits::MEMORY_WILLS,
                &name,
                &mut publication,
                &mut self.state,
                now,
            );
        }
    }

    /// The group that shares `filter`, `$share` and all, if it has members.
    pub fn group(&self, filter: &str) -> Option<GroupId> {
        let filter = TopicFilter::new(filter).ok()?;
        self.state
            .subscriptions
            .find_group(filter.share_name()?, &filter)
    }

    /// Tells everything that is durable, as [`Broker::restore`] takes it. Messages that are in the
    /// store alone are not among it.
    pub fn recount(&self, tell: &mut dyn FnMut(Record)) {
        let state = &self.state;
        for (id, session) in state.sessions.iter().filter(|(_, s)| s.is_lasting()) {
            tell(Record::Session(Box::new(SessionRecord::of(
                id,
                session,
                &state.config,
            ))));
            if let Some(will) = &session.will {
                tell(Record::Will(id, Some(will.clone())));
            }
            recount_subscriptions(id, session, state, tell);
            let Some(flights) = &session.flights else {
                continue;
            };
            for packet_identifier in flights.held_identifiers() {
                tell(Record::Held(id, packet_identifier));
            }
            for flight in flights.in_flight() {
                let Some(place) = flight.place else { continue };
                let packet_identifier = flight.packet_identifier;
                tell(match (&flight.delivery, flight.awaits) {
                    (Some(delivery), Awaits::PubAck | Awaits::PubRec) => {
                        Record::Queued(id, place, delivery.clone(), Some(packet_identifier))
                    }
                    _ => Record::Received {
                        session: id,
                        place,
                        released: place,
                        packet_identifier,
                    },
                });
            }
            for delivery in flights.waiting() {
                if let Some(place) = delivery.place {
                    tell(Record::Queued(id, place, delivery.clone(), None));
                }
            }
        }
        for message in state.retained.in_order() {
            if !message.publication().topic.starts_with("$SYS/") {
                tell(Record::Retained(Rc::clone(message)));
            }
        }
    }
}

fn recount_subscriptions(
    id: SessionId,
    session: &Session,
    state: &State,
    tell: &mut dyn FnMut(Record),
) {
    let record = |filter: String, group, subscription: &Subscription| {
        Record::Subscribed(Box::new(SubscriptionRecord {
            session: id,
            filter: filter.into(),
            group,
            options: subscription.terms.bits(),
            identifier: subscription.identifier,
        }))
    };
    for node in session.subscriptions.iter() {
        if let Some(subscription) = state.subscriptions.get(*node, id) {
            let mut filter = String::new();
            state.subscriptions.filter_text(*node, &mut filter);
            tell(record(filter, None, subscription));
        }
    }
    for group in session.shared.iter().flat_map(|groups| groups.iter()) {
        let members = state.subscriptions.members(*group);
        if let Some(member) = members.iter().find(|member| member.session == id) {
            let mut filter = String::new();
            state.subscriptions.group_text(*group, &mut filter);
            tell(record(filter, Some(*group), member));
        }
    }
}

/// Changes a session that was restored.
fn with(id: SessionId, state: &mut State, change: impl FnOnce(&mut Session) -> bool) -> bool {
    let session = state.sessions.get_mut(id);
    session.is_some_and(change)
}

fn session(record: SessionRecord, state: &mut State, now: Now) -> bool {
    let SessionRecord {
        session: id,
        identity,
        expiry_interval_s,
        is_connected,
        ends_at,
        will_at,
        ..
    } = record;
    let is_known = state.sessions.find(&identity.client_identifier).is_some();
    if is_known || expiry_interval_s == 0 || state.sessions.next_key() != id {
        return false;
    }
    let mut session = Session::new(identity, None, expiry_interval_s);
    let longest = match expiry_interval_s {
        NEVER_EXPIRES => Mono::NEVER,
        interval_s => now.mono.plus_s(u64::from(interval_s)),
    };
    // Whoever was connected has lost its connection with the process; and no clock makes a session
    // last longer than it was to.
    session.ends_at = match is_connected {
        true => longest,
        false => ends_at.min(longest),
    };
    session.will_at = will_at;
    state.sessions.insert(session);
    disconnect::arm(id, state);
    true
}

/// A Will is due when it was to be, or its delay after now if its client was connected.
fn will_due(id: SessionId, state: &mut State, now: Now) -> bool {
    if let Some(session) = state.sessions.get_mut(id) {
        let delay_s = session
            .will
            .as_ref()
            .map_or(0, |will| will.delay_interval_s);
        let latest = now.mono.plus_s(u64::from(delay_s));
        session.will_at = session.will_at.min(latest);
    }
    disconnect::arm(id, state);
    true
}

fn subscription(record: &SubscriptionRecord, state: &mut State) -> bool {
    let (Ok(filter), Some(terms)) = (
        TopicFilter::new(&record.filter),
        Terms::from_bits(record.options),
    ) else {
        return false;
    };
    let subscription = Subscription {
        session: record.session,
        identifier: record.identifier,
        terms,
    };
    // They are owed no retained messages: they had them.
    let Some(session) = state.sessions.get_mut(record.session) else {
        return false;
    };
    match filter.share_name() {
        Some(name) => {
            let (group, is_new) = state.subscriptions.join(name, &filter, subscription);
            if is_new {
                session.note_group(group);
            }
        }
        None => {
            let subscribed = state.subscriptions.subscribe(&filter, subscription);
            if subscribed.is_new {
                session.subscriptions.insert(subscribed.node);
            }
        }
    }
    true
}

fn queued(
    id: SessionId,
    place: Place,
    mut delivery: Delivery,
    packet_identifier: Option<PacketIdentifier>,
    state: &mut State,
) -> bool {
    delivery.place = Some(place);
    let State {
        sessions, effects, ..
    } = state;
    let Some(session) = sessions.get_mut(id) else {
        return false;
    };
    let flights = session.flights.get_or_insert_default();
    match packet_identifier {
        // One that is in flight already is sent under another.
        Some(identifier) if !flights.is_in_flight(identifier) => {
            flights.restore(identifier, place, Some(delivery))
        }
        _ => {
            flights.enqueue(delivery);
            effects.journal.restored(id, flights);
            true
        }
    }
}

fn retained(message: &Rc<Message>, state: &mut State, now: Now) -> bool {
    let mut publication = message.publication();
    if TopicName::new(publication.topic).is_err() || publication.payload.is_empty() {
        return false;
    }
    let State {
        retained,
        timers,
        config,
        ..
    } = state;
    // Where it is taken back late, there may be a newer one.
    if retained.bytes_at(publication.topic).is_some() {
        return true;
    }
    retained.retain(&mut publication);
    let sweep_at = retained.sweep_at(config, now.mono);
    timers.arm(TimerKey::Sweep, sweep_at, &mut retained.timer_at);
    true
}

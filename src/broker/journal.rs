//! Where the core says what is to be remembered: a method for each fact, called on the line that
//! changes it. Where nothing is remembered, a method is one branch that is always taken the same
//! way, and allocates nothing.
//!
//! Some facts are *promised*: an acknowledgement tells a client that the broker has them. Whoever
//! keeps the records lets nothing leave for the connections named in `Journal::held` until they
//! are safe. The others (a message has landed, a client has come) may be lost with the last seconds
//! before a crash: the protocol repeats what they were about.

use super::inflight::{Delivery, Flights};
use super::key::{ConnId, GroupId, SessionId};
use super::queue::Share;
use super::record::{Place, Record, SessionRecord, SubscriptionRecord};
use super::session::{Session, WillMessage};
use super::subscriptions::Subscription;
use crate::config::Config;
use crate::limits;
use crate::message::{Message, PacketIdentifier, Publication, QoS};
use std::num::NonZeroU64;
use std::rc::Rc;

/// Records that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Journal {
    /// In the order of what they tell.
    records: Vec<Record>,
    /// Connections to which nothing may be written until all records so far are safe.
    held: Vec<ConnId>,
    /// Records of promises, since the start.
    promises: u64,
    /// Of these, how many are safe.
    kept: u64,
    /// Whether anything was told since all was safe.
    is_ahead: bool,
    /// Sessions whose queues need not be in memory as a whole once all is safe.
    long: Vec<SessionId>,
    /// How much of a queue stays there.
    share: Share,
    last_place: u64,
    is_on: bool,
    /// Whether what is told cannot be made safe for now.
    is_refusing: bool,
}

impl Journal {
    /// From now on facts are told. No place up to `last_place` is given out again.
    pub fn begin(&mut self, last_place: u64) {
        self.is_on = true;
        self.last_place = self.last_place.max(last_place);
    }

    /// Whether facts are told at all.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether promises cannot be kept from now on, or can be again. Messages that would have to be
    /// kept are refused then, and what else is promised is answered when it is safe.
    pub fn refuse(&mut self, is_refusing: bool) {
        self.is_refusing = is_refusing;
    }

    /// Whether promises cannot be kept now.
    pub fn is_refusing(&self) -> bool {
        self.is_refusing
    }

    /// Takes the records told so far.
    pub fn take(&mut self) -> std::vec::Drain<'_, Record> {
        self.records.drain(..)
    }

    /// Whether nothing was told that nobody has taken.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many promises were made since the start.
    pub fn promises(&self) -> u64 {
        self.promises
    }

    /// Whether any promise is not safe yet.
    pub fn has_promises(&self) -> bool {
        self.promises > self.kept
    }

    /// All that was told is safe: the connections that waited for it.
    pub fn keep(&mut self) -> Vec<ConnId> {
        self.kept = self.promises;
        self.is_ahead = false;
        self.records.shrink_to(limits::TURN_LIST_PLACES);
        std::mem::take(&mut self.held)
    }

    /// Nothing may be written to this connection until all that was told is safe.
    pub fn hold(&mut self, conn: ConnId, is_held: &mut bool) {
        if !std::mem::replace(is_held, true) {
            self.held.push(conn);
        }
    }

    /// A client is about to be told that its session is there, and with it all that was told of it.
    pub fn vouch(&mut self, conn: ConnId, is_held: &mut bool) {
        if self.is_ahead {
            self.promises += 1;
            self.hold(conn, is_held);
        }
    }

    /// How much of a queue stays in memory once all of it is safe.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Sets how much of a queue stays in memory once all of it is safe.
    pub fn set_share(&mut self, share: Share) {
        self.share = share;
    }

    /// The queue of a session has grown.
    #[inline]
    pub fn grown(&mut self, id: SessionId, flights: &mut Flights) {
        if self.is_on {
            self.restored(id, flights);
        }
    }

    /// The queue of a session has grown by what was remembered elsewhere.
    pub fn restored(&mut self, id: SessionId, flights: &mut Flights) {
        if flights.queue_mut().grows_long(&self.share) {
            self.long.push(id);
        }
    }

    /// The sessions whose queues have grown long.
    pub fn take_long(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.long)
    }

    fn tell(&mut self, record: Record) {
        self.is_ahead = true;
        self.records.push(record);
    }

    fn promise(&mut self, record: Record) {
        self.promises += 1;
        self.tell(record);
    }

    /// The next place in the order of all messages that wait.
    fn next_place(&mut self) -> Place {
        self.last_place += 1;
        NonZeroU64::MIN.saturating_add(self.last_place - 1)
    }

    /// A client has come or gone, and its session is like this now. `was_lasting`: it was told of
    /// before.
    pub fn session(
        &mut self,
        id: SessionId,
        session: &mut Session,
        was_lasting: bool,
        config: &Config,
    ) {
        if !self.is_on {
            return;
        }
        if session.is_lasting() {
            let record = SessionRecord::of(id, session, config);
            self.tell(Record::Session(Box::new(record)));
        } else if was_lasting {
            self.forget(id, session);
        }
    }

    /// A session is no more.
    pub fn ended(&mut self, id: SessionId, session: &mut Session) {
        if self.is_on && session.is_lasting() {
            self.forget(id, session);
        }
    }

    /// Nothing of a session is told any more.
    fn forget(&mut self, id: SessionId, session: &mut Session) {
        if let Some(flights) = &mut session.flights {
            flights.forget_places(|place| self.tell(Record::Landed(place)));
            if let Some((first, last)) = flights.queue().stored_at() {
                self.tell(Record::Abandoned(id, first, last));
            }
        }
        self.promise(Record::Ended(id));
    }

    /// The Will of a session was accepted, or there is none any more.
    pub fn will(&mut self, id: SessionId, session: &Session) {
        if !self.is_on || !session.is_lasting() {
            return;
        }
        let will: Option<Box<WillMessage>> = session.will.clone();
        match will.is_some() {
            true => self.promise(Record::Will(id, will)),
            false => self.tell(Record::Will(id, None)),
        }
    }

    /// A session has subscribed. `filter` is spelled with its `$share`.
    pub fn subscribed(
        &mut self,
        session: &Session,
        filter: &str,
        group: Option<GroupId>,
        subscription: &Subscription,
    ) {
        if self.is_on && session.is_lasting() {
            self.promise(Record::Subscribed(Box::new(SubscriptionRecord {
                session: subscription.session,
                filter: filter.into(),
                group,
                options: subscription.terms.bits(),
                identifier: subscription.identifier,
            })));
        }
    }

    /// A session has unsubscribed from `filter`.
    pub fn unsubscribed(&mut self, id: SessionId, session: &Session, filter: &str) {
        if self.is_on && session.is_lasting() {
            self.promise(Record::Unsubscribed(id, filter.into()));
        }
    }

    /// A message begins to wait for a session, or with a Packet Identifier is sent at once.
    pub fn queued(
        &mut self,
        id: SessionId,
        session: &Session,
        delivery: &mut Delivery,
        packet_identifier: Option<PacketIdentifier>,
    ) {
        if self.is_on && session.is_lasting() {
            let place = self.next_place();
            delivery.place = Some(place);
            let copy = delivery.clone();
            self.promise(Record::Queued(id, place, copy, packet_identifier));
        }
    }

    /// A message that waited is sent. At QoS 2 its Packet Identifier must be known again after a
    /// crash, or its receiver takes the same message for another one.
    pub fn launched(&mut self, delivery: &Delivery, packet_identifier: PacketIdentifier) {
        if let Some(place) = delivery.place.filter(|_| self.is_on) {
            let record = Record::Launched(place, packet_identifier);
            match delivery.qos {
                QoS::ExactlyOnce => self.promise(record),
                QoS::AtMostOnce | QoS::AtLeastOnce => self.tell(record),
            }
        }
    }

    /// PUBREC has come for the flight of this Packet Identifier, and PUBREL is to say so.
    pub fn received(
        &mut self,
        id: SessionId,
        flights: &mut Flights,
        packet_identifier: PacketIdentifier,
        place: Place,
    ) {
        let released = self.next_place();
        flights.set_place(packet_identifier, released);
        self.promise(Record::Received {
            session: id,
            place,
            released,
            packet_identifier,
        });
    }

    /// What stood at `place` is over: acknowledged, sent, expired or dropped.
    pub fn landed(&mut self, place: Option<Place>) {
        if let Some(place) = place.filter(|_| self.is_on) {
            self.tell(Record::Landed(place));
        }
    }

    /// A QoS 2 PUBLISH was taken.
    pub fn held_identifier(
        &mut self,
        id: SessionId,
        session: &Session,
        packet_identifier: PacketIdentifier,
    ) {
        if self.is_on && session.is_lasting() {
            self.promise(Record::Held(id, packet_identifier));
        }
    }

    /// PUBREL has come: its client may use the Packet Identifier for another message as soon as it
    /// has PUBCOMP.
    pub fn released(
        &mut self,
        id: SessionId,
        session: &Session,
        packet_identifier: PacketIdentifier,
    ) {
        if self.is_on && session.is_lasting() {
            self.promise(Record::Released(id, packet_identifier));
        }
    }

    /// A message was retained, or with an empty payload cleared. The broker's own are none to
    /// remember: they are told anew.
    pub fn retained(&mut self, publication: &mut Publication<'_>) {
        if !self.is_on || publication.topic.starts_with("$SYS/") {
            return;
        }
        let record = match publication.payload.is_empty() {
            true => Record::Cleared(publication.topic.into()),
            false => Record::Retained(publication.message()),
        };
        match publication.qos {
            QoS::AtMostOnce => self.tell(record),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.promise(record),
        }
    }

    /// A retained message has expired.
    pub fn expired(&mut self, message: &Rc<Message>) {
        if self.is_on {
            let topic = message.publication().topic.into();
            self.tell(Record::Cleared(topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_records_leaves_nothing_of_itself() {
        let mut journal = Journal::default();
        journal.begin(0);
        for _ in 0..10 * limits::TURN_LIST_PLACES {
            journal.landed(Some(Place::MIN));
        }
        drop(journal.take());
        journal.keep();
        assert!(journal.records.capacity() <= limits::TURN_LIST_PLACES);
    }
}

//! What a broker has told its journal, folded as plainly as it can be: what a store must give back.

use midge::broker::Broker;
use midge::broker::inflight::Delivery;
use midge::broker::key::{GroupId, SessionId};
use midge::broker::record::{Place, Recall, Record, SessionRecord, SubscriptionRecord};
use midge::broker::session::WillMessage;
use midge::message::{Message, PacketIdentifier};
use midge::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// One message for one session; `None`: its Packet Identifier awaits PUBCOMP.
type Entry = (SessionId, Option<Delivery>, Option<PacketIdentifier>);

/// The facts that hold.
#[derive(Default)]
pub struct Ledger {
    sessions: BTreeMap<SessionId, SessionRecord>,
    wills: BTreeMap<SessionId, Box<WillMessage>>,
    subscriptions: BTreeMap<(SessionId, Box<str>), SubscriptionRecord>,
    groups: BTreeMap<GroupId, Box<str>>,
    held: BTreeSet<(SessionId, PacketIdentifier)>,
    queue: BTreeMap<Place, Entry>,
    retained: BTreeMap<String, Rc<Message>>,
    /// What ended sessions have left, for others of their groups.
    left: Vec<Delivery>,
    /// Counts answers to questions, no two of which in a row are alike.
    answers: usize,
}

impl Ledger {
    /// One more fact.
    pub fn enter(&mut self, record: Record) {
        match record {
            Record::Session(record) => {
                self.sessions.insert(record.session, *record);
            }
            Record::Abandoned(id, first, last) => {
                let there = self.waiting(id, first, last).map(|(_, delivery)| delivery);
                let shared: Vec<_> = there.filter(|delivery| delivery.group.is_some()).collect();
                self.left.extend(shared);
            }
            Record::Ended(id) => self.end(id),
            Record::Will(id, Some(will)) => {
                self.wills.insert(id, will);
            }
            Record::Will(id, None) => {
                self.wills.remove(&id);
            }
            Record::Subscribed(record) => {
                if let Some(group) = record.group {
                    self.groups.insert(group, record.filter.clone());
                }
                let key = (record.session, record.filter.clone());
                self.subscriptions.insert(key, *record);
            }
            Record::Unsubscribed(id, filter) => {
                let was_there = self.subscriptions.remove(&(id, filter));
                assert!(was_there.is_some(), "{id:?} had no such subscription");
            }
            Record::Queued(id, place, delivery, identifier) => {
                let before = self.queue.insert(place, (id, Some(delivery), identifier));
                assert!(before.is_none(), "{place} is taken twice");
            }
            Record::Launched(place, identifier) => {
                self.queue.get_mut(&place).expect("it waits").2 = Some(identifier);
            }
            Record::Received {
                session,
                place,
                released,
                packet_identifier,
            } => {
                self.queue.remove(&place);
                let entry = (session, None, Some(packet_identifier));
                self.queue.insert(released, entry);
            }
            Record::Landed(place) => {
                self.queue.remove(&place);
            }
            Record::Held(id, identifier) => {
                assert!(self.held.insert((id, identifier)), "it is held already");
            }
            Record::Released(id, identifier) => {
                assert!(self.held.remove(&(id, identifier)), "it is not held");
            }
            Record::Retained(message) => {
                let topic = message.publication().topic.to_owned();
                self.retained.insert(topic, message);
            }
            Record::Cleared(topic) => {
                self.retained.remove(&*topic);
            }
        }
    }

    fn end(&mut self, id: SessionId) {
        self.sessions.remove(&id).expect("there is one to end");
        self.wills.remove(&id);
        self.subscriptions.retain(|(of, _), _| *of != id);
        self.held.retain(|(of, _)| *of != id);
        self.queue.retain(|_, (of, _, _)| *of != id);
    }

    /// The highest place there was.
    pub fn last_place(&self) -> u64 {
        self.queue.keys().last().map_or(0, |place| place.get())
    }

    /// Everything that holds, a line each, in an order that means nothing.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .records()
            .iter()
            .map(|r| line(r, &self.wills))
            .collect();
        lines.sort();
        lines
    }

    /// What a broker says of itself, told as [`Ledger::lines`]; of messages that it only counts, what
    /// is here.
    pub fn lines_of(&self, broker: &Broker) -> Vec<String> {
        let mut whole = Self::default();
        broker.recount(&mut |record| whole.enter(record));
        for (id, first, last, count) in broker.spilled() {
            let there: Vec<_> = self.waiting(id, first, last).collect();
            assert_eq!(there.len(), count, "{id:?}, from {first} to {last}");
            for (place, delivery) in there {
                whole.enter(Record::Queued(id, place, delivery, None));
            }
        }
        whole.lines()
    }

    /// Messages for a session that are not in flight, between two places.
    fn waiting(
        &self,
        id: SessionId,
        first: Place,
        last: Place,
    ) -> impl Iterator<Item = (Place, Delivery)> {
        let rows = self.queue.range(first..=last);
        rows.filter_map(move |(place, (of, delivery, identifier))| {
            let delivery = delivery
                .clone()
                .filter(|_| *of == id && identifier.is_none())?;
            Some((*place, delivery))
        })
    }

    /// What was asked for, and where the next one may stand: all that is wanted, one of them, or none
    /// where the first place looked at holds none.
    pub fn answer(&mut self, recall: &Recall) -> (Vec<Delivery>, Place) {
        assert!(recall.messages_max > 0);
        self.answers += 1;
        let limit = match self.answers % 3 {
            0 => recall.messages_max,
            _ => self.answers % 3 - 1,
        };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (place, delivery) in self.waiting(recall.session, recall.first, recall.last) {
            let is_enough = bytes >= recall.bytes_max && !found.is_empty();
            if is_enough || found.len() >= limit && place > recall.first {
                return (found, place);
            }
            bytes += u64::from(delivery.bytes());
            found.push(delivery);
        }
        (found, recall.last.saturating_add(1))
    }

    /// Messages at these places are lost.
    pub fn lose(&mut self, there: impl Iterator<Item = (SessionId, Place, Place, usize)>) {
        for (id, first, last, _) in there {
            let places: Vec<Place> = self.waiting(id, first, last).map(|(at, _)| at).collect();
            places.iter().for_each(|place| {
                self.queue.remove(place);
            });
        }
    }

    /// What sessions have left that have ended.
    pub fn take_left(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.left)
    }

    fn records(&self) -> Vec<Record> {
        let sessions = self.sessions.values().cloned();
        let sessions = sessions.map(|record| Record::Session(Box::new(record)));
        let wills = self.wills.iter();
        let wills = wills.map(|(id, will)| Record::Will(*id, Some(will.clone())));
        let subscriptions = self.subscriptions.values().cloned();
        let subscriptions = subscriptions.map(|record| Record::Subscribed(Box::new(record)));
        let held = self.held.iter().map(|(id, held)| Record::Held(*id, *held));
        let (released, waiting): (Vec<_>, Vec<_>) = self
            .queue
            .iter()
            .partition(|(_, (_, delivery, _))| delivery.is_none());
        let queue =
            released
                .into_iter()
                .chain(waiting)
                .map(
                    |(place, (id, delivery, identifier))| match (delivery, identifier) {
                        (None, Some(packet_identifier)) => Record::Received {
                            session: *id,
                            place: *place,
                            released: *place,
                            packet_identifier: *packet_identifier,
                        },
                        (Some(delivery), identifier) => {
                            Record::Queued(*id, *place, delivery.clone(), *identifier)
                        }
                        (None, None) => panic!("{place} holds nothing"),
                    },
                );
        let retained = self.retained.values().cloned().map(Record::Retained);
        sessions
            .chain(wills)
            .chain(subscriptions)
            .chain(held)
            .chain(queue)
            .chain(retained)
            .collect()
    }

    /// A broker that never heard of anything is given all of it. The ledger is of that broker from
    /// now on.
    pub fn restore(&mut self, broker: &mut Broker, now: Now) {
        // Keys begin anew.
        let ids: BTreeMap<SessionId, SessionId> = self
            .sessions
            .keys()
            .enumerate()
            .map(|(index, id)| (*id, SessionId::from_index(index)))
            .collect();
        let texts = self.groups.clone();
        let mut stored = Vec::new();
        for record in self.records() {
            let record = match record {
                Record::Session(mut record) => {
                    record.session = ids[&record.session];
                    Record::Session(record)
                }
                Record::Will(id, will) => Record::Will(ids[&id], will),
                Record::Subscribed(mut record) => {
                    record.session = ids[&record.session];
                    record.group = None;
                    Record::Subscribed(record)
                }
                Record::Held(id, identifier) => Record::Held(ids[&id], identifier),
                Record::Queued(id, place, mut delivery, identifier) => {
                    delivery.group = delivery
                        .group
                        .and_then(|group| broker.group(&texts[&group]));
                    Record::Queued(ids[&id], place, delivery, identifier)
                }
                Record::Received {
                    session,
                    place,
                    released,
                    packet_identifier,
                } => Record::Received {
                    session: ids[&session],
                    place,
                    released,
                    packet_identifier,
                },
                other => other,
            };
            if let Record::Queued(id, place, delivery, None) = &record {
                let bytes = u64::from(delivery.bytes());
                if broker.leave_stored(*id, *place, bytes) {
                    stored.push(record);
                    continue;
                }
            }
            let text = format!("{record:?}");
            assert!(broker.restore(record, now), "{text} is not taken back");
        }
        broker.effects().journal.begin(self.last_place());
        *self = Self::default();
        broker.recount(&mut |record| self.enter(record));
        stored.into_iter().for_each(|record| self.enter(record));
    }
}

/// A fact without what may differ and means nothing: when a Will is due that there is not.
fn line(record: &Record, wills: &BTreeMap<SessionId, Box<WillMessage>>) -> String {
    match record {
        Record::Session(record) => {
            let mut record = record.clone();
            if !wills.contains_key(&record.session) {
                record.will_at = Mono::NEVER;
            }
            format!("{record:?}")
        }
        Record::Queued(id, place, delivery, identifier) => {
            let Delivery {
                message,
                identifiers,
                group,
                qos,
                retain,
                ..
            } = delivery;
            let body = Rc::as_ptr(message);
            format!(
                "{id:?} {place} {body:?} {identifiers:?} {group:?} {qos:?} {retain} {identifier:?}"
            )
        }
        Record::Retained(message) => format!("retained {:?}", Rc::as_ptr(message)),
        Record::Will(id, Some(will)) => format!("{id:?} Will {}", will.topic),
        Record::Received {
            session,
            released,
            packet_identifier,
            ..
        } => format!("{session:?} {released} awaits PUBCOMP for {packet_identifier}"),
        other => format!("{other:?}"),
    }
}

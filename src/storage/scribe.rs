//! Records into rows: which operations a fact comes to. It knows what the rows are called: sessions
//! have numbers of their own here, for the core uses a key again, and a message for several sessions
//! is written once.

use super::batch::{Batch, Value};
use super::recall::Estate;
use super::schema::Op;
use crate::broker::inflight::{Delivery, SubscriptionIdentifiers};
use crate::broker::key::{GroupId, SessionId};
use crate::broker::record::{Place, Record, SessionRecord};
use crate::broker::session::WillMessage;
use crate::limits;
use crate::message::{Message, PacketIdentifier, Publication, QoS};
use crate::time::{Mono, Now};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// The row that holds a message for others, too.
#[derive(Debug, Default)]
struct Holder {
    /// Rows that point to it.
    shared_by: u32,
    /// Whether its own delivery is over.
    is_over: bool,
}

/// What turns records into rows.
#[derive(Debug, Default)]
pub struct Scribe {
    /// By session key; 0: there is no row.
    numbers: Vec<i64>,
    last_number: i64,
    groups: HashMap<GroupId, Box<str>>,
    /// Rows that hold a message for others, by place.
    holders: HashMap<i64, Holder>,
    /// Where the message of a row is, by its place, if not in itself; but for rows that are in no
    /// memory.
    shared: HashMap<i64, i64>,
    /// Rows that have gone since the last records were written.
    gone: HashSet<i64>,
    /// Retained messages that nobody was promised, the last of each topic.
    unhurried: BTreeMap<Box<str>, Option<Rc<Message>>>,
    unhurried_since: Option<Mono>,
    /// What sessions have left that have ended.
    estates: Vec<Estate>,
}

/// An SQLite integer of a place; both only count up.
fn row(place: Place) -> i64 {
    i64::try_from(place.get()).unwrap_or(i64::MAX)
}

/// Seconds since 1970 at `at`, rounded up.
fn date(at: Mono, now: Now) -> Option<i64> {
    let left_s = at.ms_since(now.mono).div_ceil(1000);
    let date = i64::try_from(now.unix.0.saturating_add(left_s)).unwrap_or(i64::MAX);
    (at != Mono::NEVER).then_some(date)
}

/// QoS and RETAIN of a publication in one number.
fn flags(publication: &Publication<'_>) -> i64 {
    i64::from(publication.qos.bits()) | i64::from(publication.retain) << 2
}

impl Scribe {
    /// A session was read from the row `number`: its key is the next one.
    pub fn known_session(&mut self, id: SessionId, number: i64) {
        *self.slot(id) = number;
        self.known_number(number);
    }

    /// A number stands somewhere, and no other session may have it: it would have what stands there.
    pub fn known_number(&mut self, number: i64) {
        self.last_number = self.last_number.max(number);
    }

    /// A group was joined by somebody who was read.
    pub fn known_group(&mut self, group: GroupId, filter: &str) {
        self.groups.insert(group, filter.into());
    }

    /// A row whose message is that of the row at `holder` was read for the first time.
    pub fn known_share(&mut self, holder: i64) {
        self.holders.entry(holder).or_default().shared_by += 1;
    }

    /// What is in a row is in memory from now on; its message may be that of the row at `holder`.
    pub fn took(&mut self, place: Place, holder: Option<i64>) {
        if let Some(holder) = holder {
            self.shared.insert(row(place), holder);
        }
    }

    /// What is in a row is in the database alone.
    pub fn left_memory(&mut self, place: Place) {
        self.shared.remove(&row(place));
    }

    /// A row was read that only holds a message for others.
    pub fn known_burial(&mut self, holder: Place) {
        self.holders.entry(row(holder)).or_default().is_over = true;
    }

    /// Rows were read of a session that there is not any more.
    pub fn known_estate(&mut self, estate: Estate) {
        self.known_number(estate.number);
        self.estates.push(estate);
    }

    /// The next of what sessions have left that have ended.
    pub fn estate(&self) -> Option<Estate> {
        self.estates.last().copied()
    }

    /// What is left of that.
    pub fn set_estate(&mut self, rest: Option<Estate>) {
        self.estates.pop();
        self.estates.extend(rest);
    }

    fn slot(&mut self, id: SessionId) -> &mut i64 {
        let index = id.index();
        if index >= self.numbers.len() {
            self.numbers.resize(index + 1, 0);
        }
        // It was just made long enough.
        self.numbers.get_mut(index).unwrap_or(&mut self.last_number)
    }

    /// The number of a session's row, if it has one.
    pub fn number(&self, id: SessionId) -> Option<i64> {
        let number = self.numbers.get(id.index()).copied()?;
        (number != 0).then_some(number)
    }

    /// Writes what the core has told.
    pub fn write(&mut self, records: impl Iterator<Item = Record>, batch: &mut Batch, now: Now) {
        // Alive until the end, so that a message is known by where it lies.
        let records: Vec<Record> = records.collect();
        let mut bodies: HashMap<*const Message, i64> = HashMap::new();
        self.gone = HashSet::new();
        for record in &records {
            self.write_one(record, &mut bodies, batch, now);
        }
        trim(&mut self.shared);
        trim(&mut self.holders);
    }

    fn write_one(
        &mut self,
        record: &Record,
        bodies: &mut HashMap<*const Message, i64>,
        batch: &mut Batch,
        now: Now,
    ) {
        match record {
            Record::Session(record) => self.session(record, batch, now),
            Record::Abandoned(id, first, last) => {
                if let Some(number) = self.number(*id) {
                    self.known_estate(Estate {
                        number,
                        first: *first,
                        last: *last,
                    });
                }
            }
            Record::Ended(id) => self.ended(*id, batch),
            Record::Will(id, will) => self.will(*id, will.as_deref(), batch),
            Record::Subscribed(record) => {
                if let Some(group) = record.group {
                    self.known_group(group, &record.filter);
                }
                if let Some(number) = self.number(record.session) {
                    let values = [
                        Value::Int(number),
                        Value::Text(&record.filter),
                        Value::Int(i64::from(record.options)),
                        record.identifier.map(|id| i64::from(id.get())).into(),
                    ];
                    batch.push(Op::SubscriptionPut, &values);
                }
            }
            Record::Unsubscribed(id, filter) => {
                if let Some(number) = self.number(*id) {
                    let values = [Value::Int(number), Value::Text(filter)];
                    batch.push(Op::SubscriptionDrop, &values);
                }
            }
            Record::Queued(id, place, delivery, packet) => {
                if let Some(number) = self.number(*id) {
                    self.queued((number, *place), delivery, *packet, bodies, batch, now);
                }
            }
            Record::Launched(place, packet) => {
                let packet = i64::from(packet.get());
                batch.push(
                    Op::QueueSend,
                    &[Value::Int(row(*place)), Value::Int(packet)],
                );
            }
            Record::Received {
                session,
                place,
                released,
                packet_identifier,
            } => {
                self.landed(*place, batch);
                if let Some(number) = self.number(*session) {
                    let mut values = [Value::Null; 11];
                    values[0] = Value::Int(row(*released));
                    values[1] = Value::Int(number);
                    values[2] = Value::Int(i64::from(packet_identifier.get()));
                    batch.push(Op::QueuePut, &values);
                }
            }
            Record::Landed(place) => self.landed(*place, batch),
            Record::Held(id, packet) => self.held(Op::HeldPut, *id, *packet, batch),
            Record::Released(id, packet) => self.held(Op::HeldDrop, *id, *packet, batch),
            Record::Retained(message) => {
                let publication = message.publication();
                match publication.qos {
                    QoS::AtMostOnce => {
                        self.later(publication.topic, Some(Rc::clone(message)), now);
                    }
                    QoS::AtLeastOnce | QoS::ExactlyOnce => {
                        self.unhurried.remove(publication.topic);
                        retained(message, batch, now);
                    }
                }
            }
            // Nobody knows how it was cleared; where the topic's last message is not written yet,
            // neither must its end be.
            Record::Cleared(topic) => {
                self.unhurried.remove(topic);
                batch.push(Op::RetainedDrop, &[Value::Text(topic)]);
            }
        }
    }

    fn session(&mut self, record: &SessionRecord, batch: &mut Batch, now: Now) {
        let number = match self.number(record.session) {
            Some(number) => number,
            None => {
                self.last_number += 1;
                *self.slot(record.session) = self.last_number;
                self.last_number
            }
        };
        let identity = &record.identity;
        batch.push(
            Op::SessionPut,
            &[
                Value::Int(number),
                Value::Text(&identity.client_identifier),
                identity.username.as_deref().into(),
                Value::Int(i64::from(record.listener_port)),
                Value::Int(i64::from(record.expiry_interval_s)),
                Value::Int(i64::from(record.is_connected)),
                date(record.ends_at, now).into(),
                date(record.will_at, now).into(),
            ],
        );
    }

    fn ended(&mut self, id: SessionId, batch: &mut Batch) {
        let Some(number) = self.number(id) else {
            return;
        };
        *self.slot(id) = 0;
        drop_session(number, batch);
    }

    fn will(&mut self, id: SessionId, will: Option<&WillMessage>, batch: &mut Batch) {
        let Some(number) = self.number(id) else {
            return;
        };
        let Some(will) = will else {
            batch.push(Op::WillDrop, &[Value::Int(number)]);
            return;
        };
        let flags = i64::from(will.qos.bits()) | i64::from(will.retain) << 2;
        batch.push(
            Op::WillPut,
            &[
                Value::Int(number),
                Value::Text(&will.topic),
                Value::Int(flags),
                Value::Int(i64::from(will.delay_interval_s)),
                will.message_expiry_interval_s.map(i64::from).into(),
                present(&will.properties),
                Value::Bytes(&will.payload),
            ],
        );
    }

    fn held(&self, op: Op, id: SessionId, packet: PacketIdentifier, batch: &mut Batch) {
        if let Some(number) = self.number(id) {
            let packet = Value::Int(i64::from(packet.get()));
            batch.push(op, &[Value::Int(number), packet]);
        }
    }

    fn queued(
        &mut self,
        (number, at): (i64, Place),
        delivery: &Delivery,
        packet: Option<PacketIdentifier>,
        bodies: &mut HashMap<*const Message, i64>,
        batch: &mut Batch,
        now: Now,
    ) {
        let place = row(at);
        let holder = bodies.entry(Rc::as_ptr(&delivery.message)).or_insert(place);
        // A message can change hands between two records: from a session that ends, to another one.
        if self.gone.contains(holder) {
            *holder = place;
        }
        let holder = *holder;
        let publication = delivery.message.publication();
        let delivered = i64::from(delivery.qos.bits()) | i64::from(delivery.retain) << 2;
        let share = delivery.group.and_then(|group| self.groups.get(&group));
        let identifiers = match &delivery.identifiers {
            SubscriptionIdentifiers::None => None,
            SubscriptionIdentifiers::One(identifier) => Some(i64::from(*identifier)),
            SubscriptionIdentifiers::Many(_) => None,
        };
        let many: Vec<u8> = match &delivery.identifiers {
            SubscriptionIdentifiers::Many(all) => {
                all.iter().flat_map(|id| id.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        };
        let is_own = holder == place;
        let own = |value| if is_own { value } else { Value::Null };
        batch.push(
            Op::QueuePut,
            &[
                Value::Int(place),
                Value::Int(number),
                packet.map(|packet| i64::from(packet.get())).into(),
                Value::Int(delivered | flags(&publication) << 3),
                (!is_own).then_some(holder).into(),
                match many.is_empty() {
                    true => identifiers.into(),
                    false => Value::Bytes(&many),
                },
                share.map(|share| &**share).into(),
                own(date(publication.expires_at, now).into()),
                own(Value::Text(publication.topic)),
                own(present(publication.properties)),
                own(Value::Bytes(publication.payload)),
            ],
        );
        if !is_own {
            self.known_share(holder);
            self.took(at, Some(holder));
        }
    }

    /// A delivery is over: its row goes, unless others share its message.
    pub fn landed(&mut self, place: Place, batch: &mut Batch) {
        let place = row(place);
        match self.holders.get_mut(&place) {
            Some(holder) => {
                holder.is_over = true;
                batch.push(Op::QueueBury, &[Value::Int(place)]);
            }
            None => self.drop_row(place, batch),
        }
        let Some(at) = self.shared.remove(&place) else {
            return;
        };
        let Some(holder) = self.holders.get_mut(&at) else {
            return;
        };
        holder.shared_by = holder.shared_by.saturating_sub(1);
        if holder.shared_by == 0 {
            let is_over = holder.is_over;
            self.holders.remove(&at);
            if is_over {
                self.drop_row(at, batch);
            }
        }
    }

    fn drop_row(&mut self, place: i64, batch: &mut Batch) {
        self.gone.insert(place);
        batch.push(Op::QueueDrop, &[Value::Int(place)]);
    }

    fn later(&mut self, topic: &str, message: Option<Rc<Message>>, now: Now) {
        self.unhurried_since.get_or_insert(now.mono);
        self.unhurried.insert(topic.into(), message);
    }

    /// When the retained messages that nobody was promised are to be written.
    pub fn unhurried_at(&self) -> Option<Mono> {
        let since = self.unhurried_since?;
        Some(since.plus_s(limits::STORE_UNHURRIED_S))
    }

    /// Writes them.
    pub fn write_unhurried(&mut self, batch: &mut Batch, now: Now) {
        self.unhurried_since = None;
        for (topic, message) in std::mem::take(&mut self.unhurried) {
            match message {
                Some(message) => retained(&message, batch, now),
                None => batch.push(Op::RetainedDrop, &[Value::Text(&topic)]),
            }
        }
    }
}

/// Gives the room of rows back that have gone: queues that were long once must not hold it for ever.
fn trim<V>(rows: &mut HashMap<i64, V>) {
    if rows.len() < rows.capacity() / 8 {
        rows.shrink_to(2 * rows.len());
    }
}

/// A session is over, but for its rows in `queue`.
pub fn drop_session(number: i64, batch: &mut Batch) {
    for op in [
        Op::SessionDrop,
        Op::WillDrop,
        Op::SubscriptionsDrop,
        Op::HeldDropAll,
    ] {
        batch.push(op, &[Value::Int(number)]);
    }
}

/// Bytes that are often none at all, which is shorter.
fn present(bytes: &[u8]) -> Value<'_> {
    match bytes.is_empty() {
        true => Value::Null,
        false => Value::Bytes(bytes),
    }
}

fn retained(message: &Rc<Message>, batch: &mut Batch, now: Now) {
    let publication = message.publication();
    let publisher = publication.publisher;
    batch.push(
        Op::RetainedPut,
        &[
            Value::Text(publication.topic),
            Value::Int(flags(&publication)),
            date(publication.expires_at, now).into(),
            publisher.map(|by| &*by.client_identifier).into(),
            publisher.and_then(|by| by.username.as_deref()).into(),
            present(publication.properties),
            Value::Bytes(publication.payload),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_queues_that_are_over_leave_nothing() {
        let (mut scribe, mut batch, now) = (Scribe::default(), Batch::default(), Now::default());
        let (holders, others) = (1..=1000, 1001..=10_000);
        let place = |at: u64| Place::MIN.saturating_add(at);
        for at in others.clone() {
            let holder = row(place(at % 1000 + 1));
            scribe.known_share(holder);
            scribe.took(place(at), Some(holder));
        }
        assert!(scribe.shared.len() == 9000 && scribe.holders.len() == 1000);
        let landed = holders.chain(others).map(|at| Record::Landed(place(at)));
        scribe.write(landed, &mut batch, now);
        assert!(scribe.shared.is_empty() && scribe.holders.is_empty());
        assert_eq!(
            (scribe.shared.capacity(), scribe.holders.capacity()),
            (0, 0)
        );
    }
}

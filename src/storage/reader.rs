//! Rows into records, at the start. A row that makes no sense is passed over and counted: one bad
//! message must not cost the others.

use super::batch::Batch;
use super::recall::Estate;
use super::rows::{Body, Dates, Queued, bytes, qos};
use super::scribe::{Scribe, drop_session};
use super::{Database, StoreError};
use crate::broker::Broker;
use crate::broker::key::{Place, SessionId};
use crate::broker::record::{Record, SessionRecord, SubscriptionRecord};
use crate::broker::session::{NEVER_EXPIRES, WillMessage, bounded_expiry};
use crate::config::Config;
use crate::limits;
use crate::message::{Identity, Message};
use crate::time::{Now, Unix};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages that wait, or are in flight.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
    /// Rows that make no sense.
    pub odd: u64,
    /// The last place in the order of messages.
    pub last_place: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            subscriptions,
            messages,
            retained,
            ..
        } = self;
        write!(
            f,
            "{sessions} sessions with {subscriptions} subscriptions and {messages} messages, and \
             {retained} retained messages"
        )
    }
}

impl Counts {
    /// Counts one record that is restored.
    pub fn count(&mut self, record: &Record) {
        match record {
            Record::Session(_) => self.sessions += 1,
            Record::Subscribed(_) => self.subscriptions += 1,
            Record::Queued(_, place, ..) | Record::Received { place, .. } => {
                self.messages += 1;
                self.last_place = self.last_place.max(place.get());
            }
            Record::Retained(_) => self.retained += 1,
            _ => {}
        }
    }
}

/// The last number that stands in any row, but for those of `queue`, which are looked at one by one.
const LAST_NUMBER: &str = "SELECT max(number) FROM (SELECT max(id) AS number FROM sessions \
    UNION ALL SELECT max(session) FROM wills UNION ALL SELECT max(session) FROM subscriptions \
    UNION ALL SELECT max(session) FROM held)";

/// One pass over the tables.
pub struct Reader<'r> {
    database: &'r Database,
    broker: &'r mut Broker,
    scribe: &'r mut Scribe,
    batch: &'r mut Batch,
    config: &'r Config,
    counts: Counts,
    sessions: HashMap<i64, SessionId>,
    /// Rows of sessions that make no sense.
    refused: HashSet<i64>,
    /// Rows of sessions that were to end with their connection, which the process has taken along.
    over: HashSet<i64>,
    /// Between which places sessions have left something that are not there.
    left: BTreeMap<i64, (Place, Place)>,
    now: Now,
    /// The wall clock as far as it can be believed.
    today: u64,
}

impl<'r> Reader<'r> {
    /// A pass that gives what it reads to `broker`, and tells `scribe` what the rows are called. What
    /// it finds over goes into `batch`.
    pub fn new(
        database: &'r Database,
        broker: &'r mut Broker,
        (scribe, batch): (&'r mut Scribe, &'r mut Batch),
        config: &'r Config,
        now: Now,
    ) -> Self {
        Self {
            database,
            broker,
            scribe,
            batch,
            config,
            counts: Counts::default(),
            sessions: HashMap::new(),
            refused: HashSet::new(),
            over: HashSet::new(),
            left: BTreeMap::new(),
            now,
            today: now.unix.0,
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// What SQLite says: what was read until then is in the broker.
    pub fn read(mut self) -> Result<Counts, StoreError> {
        self.today = self.believed_date()?;
        let connection = &self.database.connection;
        // No number stands anywhere, or what stands there is none.
        let last = |row: &Row<'_>| Ok(row.get(0).unwrap_or_default());
        let last = connection.query_row(LAST_NUMBER, [], last)?;
        self.scribe.known_number(last);
        self.read_sessions()?;
        self.read_subscriptions()?;
        self.read_wills()?;
        self.read_held()?;
        self.read_queue()?;
        self.read_retained()?;
        for number in self.over {
            drop_session(number, self.batch);
        }
        Ok(self.counts)
    }

    /// The date, or where the clock is behind what was written once, that: a board without a clock
    /// starts in 1970, and what waits must not wait for decades, nor what is due be gone.
    fn believed_date(&self) -> Result<u64, StoreError> {
        let seen: Option<i64> = self
            .database
            .connection
            .query_row("SELECT value FROM meta WHERE name='seen'", [], |row| {
                row.get(0)
            })
            .optional()?;
        let seen = u64::try_from(seen.unwrap_or_default()).unwrap_or_default();
        Ok(believed(self.now.unix.0, seen))
    }

    /// How dates are turned back into instants.
    fn dates(&self) -> Dates {
        Dates {
            now: self.now,
            today: self.today,
        }
    }

    fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(&mut Self, &Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), StoreError> {
        let database = self.database;
        let mut statement = database.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !take(self, row).unwrap_or(false) {
                self.counts.odd += 1;
            }
        }
        Ok(())
    }

    fn give(&mut self, record: Record) -> bool {
        self.broker.restore(record, self.now)
    }

    fn read_sessions(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT id, client, user, port, interval, connected, ends, will_at FROM sessions \
                   ORDER BY id";
        self.each(sql, |reader, row| {
            let id = reader.broker.next_session();
            let port: Option<u16> = row.get(3)?;
            let listeners = &reader.config.listeners;
            let listener = listeners.iter().position(|one| Some(one.port) == port);
            let identity = Rc::new(Identity {
                client_identifier: row.get::<_, String>(1)?.into(),
                username: row.get::<_, Option<String>>(2)?.map(Into::into),
                listener: listener.unwrap_or_default(),
            });
            let mut record = SessionRecord {
                session: id,
                identity,
                listener_port: port.unwrap_or_default(),
                expiry_interval_s: row.get(4)?,
                is_connected: row.get(5)?,
                ends_at: reader.dates().instant(row.get(6)?),
                will_at: reader.dates().instant(row.get(7)?),
            };
            let number: i64 = row.get(0)?;
            if record.expiry_interval_s == 0 {
                reader.over.insert(number);
                return Ok(true);
            }
            let has_new_end = reader.ends_anew(&mut record);
            if !reader.give(Record::Session(Box::new(record.clone()))) {
                reader.refused.insert(number);
                return Ok(false);
            }
            reader.sessions.insert(number, id);
            reader.scribe.known_session(id, number);
            if has_new_end {
                let record = Record::Session(Box::new(record));
                let (scribe, batch) = (&mut *reader.scribe, &mut *reader.batch);
                scribe.write([record].into_iter(), batch, reader.now);
            }
            reader.counts.sessions += 1;
            Ok(true)
        })
    }

    /// Whether a session ends at another time than its row says, from now on: its connection has ended
    /// with the process, or `persistent_client_expiration` is shorter than it was. The row must say so,
    /// or with each start there would be as much time again.
    fn ends_anew(&self, record: &mut SessionRecord) -> bool {
        let asked_s = record.expiry_interval_s;
        let interval_s = bounded_expiry(asked_s, self.config);
        let is_new = record.is_connected || interval_s != asked_s;
        if !is_new || interval_s == NEVER_EXPIRES {
            return false;
        }
        let latest = self.now.mono.plus_s(u64::from(interval_s));
        record.ends_at = match record.is_connected {
            true => latest,
            false => record.ends_at.min(latest),
        };
        record.expiry_interval_s = interval_s;
        record.is_connected = false;
        true
    }

    fn read_subscriptions(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT session, filter, options, identifier FROM subscriptions";
        self.each(sql, |reader, row| {
            let number = row.get(0)?;
            let Some(session) = reader.sessions.get(&number).copied() else {
                return Ok(reader.over.contains(&number));
            };
            let filter: String = row.get(1)?;
            let identifier: Option<u32> = row.get(3)?;
            let is_taken = reader.give(Record::Subscribed(Box::new(SubscriptionRecord {
                session,
                filter: filter.as_str().into(),
                group: None,
                options: row.get(2)?,
                identifier: identifier.and_then(NonZeroU32::new),
            })));
            if let Some(group) = reader.broker.group(&filter) {
                reader.scribe.known_group(group, &filter);
            }
            reader.counts.subscriptions += u64::from(is_taken);
            Ok(is_taken)
        })
    }

    fn read_wills(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT session, topic, flags, delay, expiry, properties, payload FROM wills";
        self.each(sql, |reader, row| {
            let number = row.get(0)?;
            let Some(session) = reader.sessions.get(&number).copied() else {
                return Ok(reader.over.contains(&number));
            };
            let flags: i64 = row.get(2)?;
            let will = WillMessage {
                topic: row.get::<_, String>(1)?.into(),
                properties: bytes(row, 5)?.into(),
                payload: bytes(row, 6)?.into(),
                qos: qos(flags),
                retain: flags & 4 != 0,
                delay_interval_s: row.get(3)?,
                message_expiry_interval_s: row.get(4)?,
            };
            Ok(reader.give(Record::Will(session, Some(Box::new(will)))))
        })
    }

    fn read_held(&mut self) -> Result<(), StoreError> {
        self.each("SELECT session, packet FROM held", |reader, row| {
            let number = row.get(0)?;
            let session = reader.sessions.get(&number).copied();
            let (Some(session), Some(packet)) = (session, NonZeroU16::new(row.get(1)?)) else {
                return Ok(reader.over.contains(&number));
            };
            Ok(reader.give(Record::Held(session, packet)))
        })
    }

    fn read_queue(&mut self) -> Result<(), StoreError> {
        let mut holders = HashSet::new();
        let sql = "SELECT body FROM queue WHERE body IS NOT NULL";
        self.each(sql, |_, row| {
            holders.insert(row.get::<_, i64>(0)?);
            Ok(true)
        })?;
        let mut bodies: HashMap<i64, Rc<Message>> = HashMap::new();
        let mut queued = Queued::new(self.database, self.dates())?;
        // Of most messages in a long queue no more is needed than how long they are.
        let sql = "SELECT q.place, q.session, q.packet, q.body, \
                   coalesce(length(q.payload), length(b.payload)) \
                   FROM queue q LEFT JOIN queue b ON b.place=q.body ORDER BY q.place";
        self.each(sql, |reader, row| {
            let place: i64 = row.get(0)?;
            let Some(at) = u64::try_from(place).ok().and_then(Place::new) else {
                return Ok(false);
            };
            reader.counts.last_place = reader.counts.last_place.max(at.get());
            let holder: Option<i64> = row.get(3)?;
            if let Some(holder) = holder {
                reader.scribe.known_share(holder);
            }
            let number: i64 = row.get(1)?;
            let Some(session) = reader.sessions.get(&number).copied() else {
                return Ok(reader.ownerless(number, at));
            };
            let packet = row.get::<_, Option<u16>>(2)?.and_then(NonZeroU16::new);
            let bytes: Option<u64> = row.get(4)?;
            let bytes = match (bytes, packet) {
                (None, None) => return Ok(false),
                (None, Some(packet_identifier)) => {
                    return Ok(reader.give(Record::Received {
                        session,
                        place: at,
                        released: at,
                        packet_identifier,
                    }));
                }
                (Some(bytes), _) => bytes,
            };
            reader.counts.messages += 1;
            if packet.is_none() && reader.broker.leave_stored(session, at, bytes) {
                return Ok(true);
            }
            reader.scribe.took(at, holder);
            let body = holder.unwrap_or(place);
            let Some(delivery) = queued.read(at, bodies.get(&body), reader.broker)? else {
                return Ok(false);
            };
            if holders.contains(&body) {
                bodies.insert(body, Rc::clone(&delivery.message));
            }
            Ok(reader.give(Record::Queued(session, at, delivery, packet)))
        })?;
        for (number, (first, last)) in std::mem::take(&mut self.left) {
            self.scribe.known_estate(Estate {
                number,
                first,
                last,
            });
        }
        Ok(())
    }

    /// A row of `queue` whose session there is not: it only holds a message for others, or its session
    /// has ended. Whether that makes sense.
    fn ownerless(&mut self, number: i64, place: Place) -> bool {
        if number == 0 {
            self.scribe.known_burial(place);
            return true;
        }
        if self.refused.contains(&number) {
            return false;
        }
        let places = self.left.entry(number).or_insert((place, place));
        places.1 = place;
        true
    }

    fn read_retained(&mut self) -> Result<(), StoreError> {
        // Publishers are few, and each is one.
        let mut publishers: HashMap<(String, Option<String>), Rc<Identity>> = HashMap::new();
        let sql = "SELECT topic, flags, expires, client, user, properties, payload FROM retained";
        self.each(sql, |reader, row| {
            let client: Option<String> = row.get(3)?;
            let user: Option<String> = row.get(4)?;
            let publisher = client.map(|client| {
                let known = publishers.entry((client, user));
                let new = |(client, user): &(String, Option<String>)| Identity {
                    client_identifier: client.as_str().into(),
                    username: user.as_deref().map(Into::into),
                    listener: 0,
                };
                Rc::clone(known.or_insert_with_key(|key| Rc::new(new(key))))
            });
            let ValueRef::Text(topic) = row.get_ref(0)? else {
                return Ok(false);
            };
            let body = Body {
                topic: std::str::from_utf8(topic).unwrap_or_default(),
                properties: bytes(row, 5)?,
                payload: bytes(row, 6)?,
                flags: row.get(1)?,
                expires: row.get(2)?,
            };
            let message = body.message(publisher.as_ref(), &reader.dates());
            reader.counts.retained += 1;
            Ok(reader.give(Record::Retained(message)))
        })
    }
}

/// The date, by a clock that says `now`, of a store that was written to when it said `seen`. A clock
/// that cannot be right knows less than the store does. One that can is believed, unless it is a
/// little behind: where it is far behind, it was wrong then, and would have everything expire.
fn believed(now: u64, seen: u64) -> u64 {
    if now < limits::CLOCK_MIN_S || seen <= now.saturating_add(limits::CLOCK_BEHIND_MAX_S) {
        return now.max(seen).max(limits::CLOCK_MIN_S);
    }
    now
}

/// Where the clock stands, for the store to know it again.
pub fn seen(now: Unix) -> i64 {
    i64::try_from(now.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_as_far_as_it_can_be() {
        const NOW: u64 = limits::CLOCK_MIN_S + 100_000_000;
        const DAY: u64 = 86_400;
        // What the clock says, what it said when the store was written, what is believed.
        let rows = [
            (NOW, 0, NOW),
            (NOW, NOW - DAY, NOW),
            (NOW, NOW + DAY, NOW + DAY),
            (NOW, NOW + 50 * 366 * DAY, NOW),
            (0, NOW, NOW),
            (0, 0, limits::CLOCK_MIN_S),
            (300, 200, limits::CLOCK_MIN_S),
        ];
        for (now, seen, expected) in rows {
            assert_eq!(believed(now, seen), expected, "{now}, {seen}");
        }
    }
}

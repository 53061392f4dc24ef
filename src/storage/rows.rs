//! Rows with a message into what the core knows. Apart from `reader.rs`, which reads all of them at
//! the start, and `recall.rs`, which reads some of them later.

use super::{Database, StoreError};
use crate::broker::Broker;
use crate::broker::inflight::{Delivery, SubscriptionIdentifiers};
use crate::broker::key::Place;
use crate::limits;
use crate::message::{Identity, Message, Publication, QoS};
use crate::time::{Mono, Now};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row};
use std::rc::Rc;

/// A row of `queue` as a whole, with the message that it may have in another row.
const QUEUED: &str = "SELECT q.flags, q.identifiers, q.share, coalesce(q.expires, b.expires), \
    coalesce(q.topic, b.topic), coalesce(q.properties, b.properties), \
    coalesce(q.payload, b.payload) \
    FROM queue q LEFT JOIN queue b ON b.place=q.body WHERE q.place=?";

/// How dates are turned back into instants.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// Both clocks.
    pub now: Now,
    /// The wall clock as far as it can be believed.
    pub today: u64,
}

impl Dates {
    /// The instant of a date.
    pub fn instant(&self, date: Option<i64>) -> Mono {
        let Some(date) = date else {
            return Mono::NEVER;
        };
        let date = u64::try_from(date).unwrap_or_default();
        if date < limits::CLOCK_MIN_S && self.today >= limits::CLOCK_MIN_S {
            // It was written by a clock that had not been set, and nobody knows when that was.
            return Mono::NEVER;
        }
        self.now.mono.plus_s(date.saturating_sub(self.today))
    }
}

/// The message of a row, all of it borrowed.
pub struct Body<'b> {
    /// Topic Name.
    pub topic: &'b str,
    /// 5.0 properties, in wire form.
    pub properties: &'b [u8],
    /// Payload.
    pub payload: &'b [u8],
    /// QoS and RETAIN it was published with.
    pub flags: i64,
    /// When it expires.
    pub expires: Option<i64>,
}

impl Body<'_> {
    /// The message.
    pub fn message(&self, publisher: Option<&Rc<Identity>>, dates: &Dates) -> Rc<Message> {
        let mut publication = Publication {
            topic: self.topic,
            properties: self.properties,
            payload: self.payload,
            qos: qos(self.flags),
            retain: self.flags & 4 != 0,
            expires_at: dates.instant(self.expires),
            publisher,
            came: None,
            wire: None,
            message: None,
        };
        publication.message()
    }
}

/// Reads rows of `queue` one by one.
pub struct Queued<'d> {
    statement: CachedStatement<'d>,
    dates: Dates,
}

impl<'d> Queued<'d> {
    /// Gets ready to read from this database.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn new(database: &'d Database, dates: Dates) -> Result<Self, StoreError> {
        Ok(Self {
            statement: database.connection.prepare_cached(QUEUED)?,
            dates,
        })
    }

    /// The message at `place`, in the shape of `known` if that is the same one; `None`: there is
    /// none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn read(
        &mut self,
        place: Place,
        known: Option<&Rc<Message>>,
        broker: &Broker,
    ) -> rusqlite::Result<Option<Delivery>> {
        let dates = self.dates;
        let mut rows = self.statement.query([place.get()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let flags: i64 = row.get(0)?;
        let share: Option<String> = row.get(2)?;
        let message = match known {
            Some(message) => Rc::clone(message),
            None => {
                let ValueRef::Text(topic) = row.get_ref(4)? else {
                    return Ok(None);
                };
                let body = Body {
                    topic: std::str::from_utf8(topic).unwrap_or_default(),
                    properties: bytes(row, 5)?,
                    payload: bytes(row, 6)?,
                    flags: flags >> 3,
                    expires: row.get(3)?,
                };
                body.message(None, &dates)
            }
        };
        Ok(Some(Delivery {
            message,
            identifiers: identifiers(row.get_ref(1)?),
            group: share.and_then(|share| broker.group(&share)),
            qos: qos(flags),
            retain: flags & 4 != 0,
            place: Some(place),
        }))
    }
}

/// The first two bits of the flags of a row.
pub fn qos(flags: i64) -> QoS {
    match flags & 3 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// A column of bytes, none if it is empty.
pub fn bytes<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        _ => &[],
    })
}

fn identifiers(value: ValueRef<'_>) -> SubscriptionIdentifiers {
    match value {
        ValueRef::Integer(one) => u32::try_from(one).ok().into(),
        ValueRef::Blob(many) => {
            let each = many.chunks_exact(4);
            let each = each.filter_map(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
            SubscriptionIdentifiers::Many(each.collect())
        }
        _ => SubscriptionIdentifiers::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Unix;

    #[test]
    fn dates_of_a_clock_that_was_not_set_say_nothing() {
        const TODAY: u64 = limits::CLOCK_MIN_S + 1000;
        let in_s = |seconds| Mono::from_millis(5000).plus_s(seconds);
        // What the clock says, the date, and the instant.
        let rows = [
            (TODAY, Some(TODAY + 10), in_s(10)),
            (TODAY, Some(TODAY - 10), in_s(0)),
            (TODAY, Some(3600), Mono::NEVER),
            (500, Some(510), in_s(10)),
            (500, Some(490), in_s(0)),
            (TODAY, None, Mono::NEVER),
        ];
        for (today, date, expected) in rows {
            let now = Now {
                mono: in_s(0),
                unix: Unix(today),
            };
            let dates = Dates { now, today };
            let date = date.map(|date| i64::try_from(date).unwrap());
            assert_eq!(dates.instant(date), expected, "{today}, {date:?}");
        }
    }
}

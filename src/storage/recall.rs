//! Queues that are in the store alone, once the broker runs: messages are read as their sessions want
//! them, and what a session leaves that has ended is given to others or dropped, piece by piece.
//! Nothing here writes: what is over is told to the batch, as everything else.

use super::batch::Batch;
use super::rows::{Dates, Queued};
use super::scribe::Scribe;
use super::{Database, StoreError};
use crate::broker::Broker;
use crate::broker::inflight::Delivery;
use crate::broker::key::Place;
use crate::broker::record::Recall;
use crate::limits;
use crate::time::{Mono, Now};
use std::collections::VecDeque;
use std::path::Path;

/// The messages of one session between two places that are in nobody's memory.
const WAITING: &str = "SELECT place, body FROM queue \
    WHERE place BETWEEN ?1 AND ?2 AND session=?3 AND packet IS NULL ORDER BY place";

/// The rows of a session that has ended, and whether another one may have the message.
const LEFT: &str = "SELECT place, body, share IS NOT NULL AND packet IS NULL FROM queue \
    WHERE place BETWEEN ?1 AND ?2 AND session=?3 ORDER BY place";

/// What is to be read.
#[derive(Debug, Default)]
pub struct Recalls {
    waiting: VecDeque<Recall>,
    /// While it cannot be read: when it is tried again.
    retry_at: Option<Mono>,
}

/// Rows that a session which has ended has left between two places.
#[derive(Clone, Copy, Debug)]
pub struct Estate {
    /// What the session was called here.
    pub number: i64,
    /// The first place where one may stand.
    pub first: Place,
    /// The last one.
    pub last: Place,
}

impl Recalls {
    /// Takes over what the core asks for.
    pub fn note(&mut self, broker: &mut Broker) {
        self.waiting.extend(broker.effects().recalls.drain(..));
    }

    /// Reads what sessions want, as far as one turn goes.
    ///
    /// # Errors
    /// What SQLite says. The messages stay where they are.
    pub fn serve(
        &mut self,
        database: &Database,
        scribe: &mut Scribe,
        broker: &mut Broker,
        now: Now,
    ) -> Result<(), StoreError> {
        for _ in 0..limits::QUEUE_READS_PER_TURN {
            let Some(recall) = self.waiting.front().copied() else {
                break;
            };
            let (found, next) = read(&recall, database, scribe, broker, now)?;
            self.waiting.pop_front();
            broker.recalled(&recall, found, next, now);
        }
        Ok(())
    }

    /// All could be read.
    pub fn succeeded(&mut self) {
        if self.retry_at.take().is_some() {
            log::info!("Messages that wait on the disk can be read again.");
        }
    }

    /// It is tried again later.
    pub fn failed(&mut self, error: &StoreError, path: &Path, now: Now) {
        let retry_at = now.mono.plus_ms(limits::STORE_RETRY_MS);
        if self.retry_at.replace(retry_at).is_none() {
            log::error!(
                "Error: messages that wait in {} cannot be read: {error}. They are sent when they \
                 can.",
                path.display()
            );
        }
    }

    /// Nobody waits for anything: there is nothing any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// When something can be read, if anything is to be.
    pub fn next_at(&self, has_estates: bool) -> Option<Mono> {
        let has_work = has_estates || !self.waiting.is_empty();
        has_work.then(|| self.retry_at.unwrap_or_default())
    }
}

/// The end of what one reading looks at, which begins at `first`.
fn reach(first: Place, last: Place) -> Place {
    last.min(first.saturating_add(limits::QUEUE_READ_PLACES - 1))
}

fn read(
    recall: &Recall,
    database: &Database,
    scribe: &mut Scribe,
    broker: &Broker,
    now: Now,
) -> Result<(Vec<Delivery>, Place), StoreError> {
    let end = reach(recall.first, recall.last);
    let number = scribe.number(recall.session).unwrap_or_default();
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut queued = Queued::new(database, dates(now))?;
    let mut statement = database.connection.prepare_cached(WAITING)?;
    let mut rows = statement.query((recall.first.get(), end.get(), number))?;
    while let Some(row) = rows.next()? {
        let Some(place) = Place::new(row.get(0)?) else {
            continue;
        };
        let is_enough = found.len() >= recall.messages_max || bytes >= recall.bytes_max;
        if is_enough && !found.is_empty() {
            return Ok((found, place));
        }
        if let Some(delivery) = sensible(queued.read(place, None, broker))? {
            bytes += u64::from(delivery.bytes());
            found.push(delivery);
            scribe.took(place, row.get(1).unwrap_or_default());
        }
    }
    Ok((found, end.saturating_add(1)))
}

/// A row that makes no sense is passed over, as at the start; one that cannot be read is tried again.
fn sensible<T>(read: rusqlite::Result<Option<T>>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.sqlite_error_code().is_some() => Err(error.into()),
        read => Ok(read.unwrap_or_default()),
    }
}

/// By the clock that what was written by this process was dated by.
fn dates(now: Now) -> Dates {
    Dates {
        now,
        today: now.unix.0,
    }
}

impl Estate {
    /// Hands on what others may have, and drops the rest, as far as one commit goes. What is left
    /// then; `None`: nothing. All that was changed before must be in the database.
    ///
    /// # Errors
    /// What SQLite says: nothing was done.
    pub fn settle(
        self,
        database: &Database,
        scribe: &mut Scribe,
        batch: &mut Batch,
        broker: &mut Broker,
        now: Now,
    ) -> Result<Option<Self>, StoreError> {
        let end = reach(self.first, self.last);
        let mut over = Vec::new();
        let mut shared = Vec::new();
        let mut next = end.saturating_add(1);
        let mut queued = Queued::new(database, dates(now))?;
        let mut statement = database.connection.prepare_cached(LEFT)?;
        let mut rows = statement.query((self.first.get(), end.get(), self.number))?;
        while let Some(row) = rows.next()? {
            let Some(place) = Place::new(row.get(0)?) else {
                continue;
            };
            if shared.len() == limits::QUEUE_SHARE_MESSAGES {
                next = place;
                break;
            }
            let holder: Option<i64> = row.get(1).unwrap_or_default();
            over.push((place, holder));
            if row.get(2)? {
                shared.extend(sensible(queued.read(place, None, broker))?);
            }
        }
        for delivery in shared {
            broker.hand_on(&delivery, now);
        }
        for (place, holder) in over {
            scribe.took(place, holder);
            scribe.landed(place, batch);
        }
        Ok((next <= self.last).then_some(Self {
            first: next,
            ..self
        }))
    }
}

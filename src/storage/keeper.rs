//! When the store is written to, what is held back until it was, and what is done when it cannot
//! be. The turn of the loop asks it once, behind the last change. Where it is time for a commit, the
//! loop writes to whoever waits for none first: nothing that can go at once waits for a sync that has
//! not begun.
//!
//! A disk that refuses does not stop the broker: clients get no acknowledgement of what would have
//! to be kept, what was changed waits in memory, and it is tried again every second. Where too much
//! waits, or the database is damaged, everything is written anew from the tables of the core.

use super::batch::{Batch, Value};
use super::meter::Meter;
use super::pace::Pace;
use super::reader::{self, Counts, Reader};
use super::recall::Recalls;
use super::schema::Op;
use super::scribe::Scribe;
use super::tail::{self, Tail};
use super::{Database, Lock, StoreError, Sync, copy_aside, set_aside, takeover, wal};
use crate::broker::Broker;
use crate::broker::record::Record;
use crate::config::{Config, SyncMode};
use crate::limits;
use crate::time::{Mono, Now};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// The file in `persistence_location`, unless `persistence_file` gives it another name.
const FILE_NAME: &str = "midge.sqlite3";

/// What keeps the state of a broker, if anything does.
#[derive(Debug, Default)]
pub struct Keeper {
    store: Option<Box<Store>>,
}

/// Why nothing is stored now.
#[derive(Debug)]
struct Trouble {
    retry_at: Mono,
    /// Whether all must be written anew.
    is_lost: bool,
}

#[derive(Debug)]
struct Store {
    path: PathBuf,
    /// Held as long as the process lives.
    lock: Option<Lock>,
    database: Option<Database>,
    mode: SyncMode,
    /// Commits so far.
    generation: u64,
    /// What the batch holds, where no acknowledgement waits for a commit.
    tail: Option<Tail>,
    scribe: Scribe,
    batch: Batch,
    pace: Pace,
    /// When the oldest change that nobody was promised was told.
    lazy_since: Option<Mono>,
    /// Whether nothing was ever written to the database.
    is_new: bool,
    /// Whether one before it was put aside: what a mosquitto has left is older than that.
    was_damaged: bool,
    /// The date that was written last.
    seen_s: u64,
    meter: Meter,
    recalls: Recalls,
    trouble: Option<Trouble>,
}

/// Where the state of a broker with this configuration is kept.
pub fn path(config: &Config) -> PathBuf {
    let persistence = &config.persistence;
    // mosquitto's own is never written to.
    if let Some(path) = &persistence.database {
        return format!("{path}.midge").into();
    }
    let name = match &persistence.file {
        Some(name) => format!("{name}.sqlite3"),
        None => FILE_NAME.to_owned(),
    };
    Path::new(persistence.location.as_deref().unwrap_or_default()).join(name)
}

impl Keeper {
    /// Opens the store that the configuration asks for, and gives the broker all that is in it. To
    /// be called once, before the first connection.
    ///
    /// # Errors
    /// Another broker has the directory. Whatever else is wrong is said in the log, and does not
    /// keep the broker from serving.
    pub fn open(
        &mut self,
        broker: &mut Broker,
        config: &Config,
        now: Now,
    ) -> Result<(), StoreError> {
        if !config.persistence.enabled {
            return Ok(());
        }
        let mut store = Store {
            path: path(config),
            lock: None,
            database: None,
            mode: config.persistence.sync,
            generation: 0,
            tail: None,
            scribe: Scribe::default(),
            batch: Batch::default(),
            pace: Pace::default(),
            lazy_since: None,
            is_new: false,
            was_damaged: false,
            seen_s: 0,
            meter: Meter::default(),
            recalls: Recalls::default(),
            trouble: None,
        };
        let opened = store.open(broker, now);
        let counts = match opened {
            Err(error @ StoreError::InUse(_)) => return Err(error),
            Ok(()) if store.is_new => match store.import(broker, config, now) {
                Ok(counts) => counts,
                Err(error) => {
                    store.fail(&error, broker, now);
                    Counts::default()
                }
            },
            Ok(()) => store.read(broker, config, now),
            Err(error @ (StoreError::Damaged(_) | StoreError::TooNew(_))) => {
                store.give_up(&error, broker, now);
                Counts::default()
            }
            Err(error) => {
                store.fail(&error, broker, now);
                Counts::default()
            }
        };
        broker.effects().journal.begin(counts.last_place);
        let stats = broker.store_stats();
        stats.is_on = true;
        self.store = Some(Box::new(store));
        Ok(())
    }

    /// Takes over what the core has told since it was last called, and says whether it is time for
    /// a commit. `is_busy`: the loop has more to do at once. Nothing that is held may leave before
    /// what was promised is kept.
    pub fn is_due(&mut self, broker: &mut Broker, is_busy: bool, now: Now) -> bool {
        let Some(store) = &mut self.store else {
            return false;
        };
        store.meter.pass(broker.store_stats(), now);
        store.serve_queues(broker, now);
        store.note(broker, now);
        let is_covered = store.is_covered(broker);
        if is_covered && store.mode != SyncMode::Always && store.trouble.is_none() {
            broker.kept();
        }
        let may_wait = is_busy && store.pace.is_resting(now.mono);
        !is_covered || store.is_due(now) && !may_wait
    }

    /// Keeps what was promised.
    pub fn commit(&mut self, broker: &mut Broker, now: Now) {
        if let Some(store) = &mut self.store {
            store.commit(broker, now);
        }
    }

    /// When there is something to do next.
    pub fn next_at(&self) -> Option<Mono> {
        self.store.as_ref()?.next_at()
    }

    /// Writes everything now, for the process is about to end.
    pub fn close(&mut self, broker: &mut Broker, now: Now) {
        if self.store.is_some() {
            self.save(broker, now);
        }
    }

    /// Writes everything now, for somebody has asked.
    pub fn save(&mut self, broker: &mut Broker, now: Now) {
        let Some(store) = &mut self.store else {
            log::info!("Nothing to save: persistence is off.");
            return;
        };
        store.note(broker, now);
        store.scribe.write_unhurried(&mut store.batch, now);
        store.commit(broker, now);
        if let (Some(database), None) = (&store.database, &store.trouble) {
            let stats = broker.store_stats();
            match store.meter.writing(stats, || database.checkpoint()) {
                Ok(()) => log::info!("State is saved in {}.", store.path.display()),
                Err(error) => {
                    log::warn!("Error: the log was not worked into the database: {error}.")
                }
            }
        }
    }
}

impl Store {
    /// Takes the lock and opens the database.
    fn open(&mut self, broker: &mut Broker, now: Now) -> Result<(), StoreError> {
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.path)?);
        }
        let sync = match self.mode {
            SyncMode::Always | SyncMode::Interval(_) => Sync::Always,
            SyncMode::None => Sync::Never,
        };
        // What was never synced may be missing.
        let must_be_whole = sync == Sync::Always;
        if must_be_whole && wal::is_damaged(&self.path)? {
            self.tell_damage(broker, now);
        }
        let (database, is_made) = Database::open(&self.path, sync)?;
        if must_be_whole && tail::is_ahead(&self.path, database.generation()?)? {
            self.tell_damage(broker, now);
        }
        if !is_made {
            database.replay()?;
        }
        self.generation = database.generation()?;
        // It may have been made by a process that came to nothing more.
        self.is_new = !database.was_written()?;
        // Whatever is in a tail is in the database now, or was another one's.
        self.tail = match self.mode {
            SyncMode::Always => Tail::remove(&self.path).map(|()| None)?,
            SyncMode::Interval(_) | SyncMode::None => {
                Some(Tail::open(&self.path, self.generation)?)
            }
        };
        self.database = Some(database);
        Ok(())
    }

    /// Takes over what mosquitto has left, if this is the first start. Its file stays as it is.
    fn import(
        &mut self,
        broker: &mut Broker,
        config: &Config,
        now: Now,
    ) -> Result<Counts, StoreError> {
        let left = takeover::find(config).filter(|_| !self.was_damaged);
        let Some(left) = left else {
            return Ok(Counts::default());
        };
        let counts = left.take_over(broker, config, now);
        // All of it, and what was just published, is written at once.
        let written = self.write_anew(broker, now);
        drop(broker.effects().journal.take());
        written?;
        broker.kept();
        Ok(counts)
    }

    /// Gives the broker all there is.
    fn read(&mut self, broker: &mut Broker, config: &Config, now: Now) -> Counts {
        let Some(database) = &self.database else {
            return Counts::default();
        };
        let began = Instant::now();
        let reader = Reader::new(
            database,
            broker,
            (&mut self.scribe, &mut self.batch),
            config,
            now,
        );
        match reader.read() {
            Ok(counts) => {
                let millis = began.elapsed().as_millis();
                log::info!("Restored {counts}, in {millis} ms.");
                if !self.batch.is_empty() {
                    self.lazy_since.get_or_insert(now.mono);
                }
                if counts.odd > 0 {
                    let path = self.path.display();
                    log::warn!("{} rows of {path} made no sense.", counts.odd);
                }
                counts
            }
            Err(error) => {
                self.give_up(&error, broker, now);
                // Whatever was read is written again, at places of its own.
                let mut last_place = 0;
                broker.recount(&mut |record| {
                    if let Record::Queued(_, place, ..) = &record {
                        last_place = last_place.max(place.get());
                    }
                });
                Counts {
                    last_place,
                    ..Counts::default()
                }
            }
        }
    }

    /// Gives the broker what could not be read, or imported, at the start. Whether there was anything:
    /// it is in the database then, and needs not be written.
    fn read_late(&mut self, broker: &mut Broker, now: Now) -> Result<bool, StoreError> {
        let config = Rc::clone(broker.config());
        let left = takeover::find(&config).filter(|_| !self.was_damaged);
        if self.is_new && left.is_none() {
            return Ok(false);
        }
        log::info!(
            "{} can be read now. All clients are disconnected, so that they find their sessions.",
            self.path.display()
        );
        broker.make_way(now);
        // What was told of others was never written; their names are used again.
        drop(broker.effects().journal.take());
        self.scribe = Scribe::default();
        self.batch.clear();
        let counts = match self.is_new {
            true => self.import(broker, &config, now)?,
            false => self.read(broker, &config, now),
        };
        broker.effects().journal.begin(counts.last_place);
        if self.database.is_none() {
            return Err(StoreError::Failed("it could not be read".to_owned()));
        }
        // What was retained meanwhile is all that there is beside.
        let mut retained = Vec::new();
        broker.recount(&mut |record| {
            if let Record::Retained(_) = record {
                retained.push(record);
            }
        });
        let (scribe, batch) = (&mut self.scribe, &mut self.batch);
        scribe.write(retained.into_iter(), batch, now);
        scribe.write_unhurried(batch, now);
        Ok(true)
    }

    /// Takes over what the core has told.
    fn note(&mut self, broker: &mut Broker, now: Now) {
        let journal = &mut broker.effects().journal;
        if journal.is_empty() {
            return;
        }
        if journal.has_promises() {
            self.pace.promised(now.mono);
        }
        self.scribe.write(journal.take(), &mut self.batch, now);
        self.lazy_since.get_or_insert(now.mono);
        let is_long = self.batch.len() > limits::STORE_WAITING_BYTES_MAX;
        if let Some(trouble) = &mut self.trouble {
            // Not where messages are in the database alone: it cannot be written anew then.
            let is_all_here =
                || self.scribe.estate().is_none() && broker.spilled().next().is_none();
            trouble.is_lost |= is_long && is_all_here();
            if trouble.is_lost {
                self.batch.clear();
            }
        }
    }

    /// Reads what sessions want of their queues, and works off a piece of what others have left. What
    /// is read is in the database, whatever waits in the batch: nothing leaves memory before, and of
    /// what is in no memory nothing changes.
    fn serve_queues(&mut self, broker: &mut Broker, now: Now) {
        self.recalls.note(broker);
        if self.read_at().is_none_or(|at| at > now.mono) {
            return;
        }
        match self.read_queues(broker, now) {
            Ok(()) => self.recalls.succeeded(),
            Err(error @ StoreError::Damaged(_)) => self.give_up(&error, broker, now),
            Err(error) => self.recalls.failed(&error, &self.path, now),
        }
    }

    fn read_queues(&mut self, broker: &mut Broker, now: Now) -> Result<(), StoreError> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        self.recalls
            .serve(database, &mut self.scribe, broker, now)?;
        // What it settles must be all that is to be committed, or it might see what is over already.
        let may_settle = self.batch.is_empty() && self.is_settling();
        if let Some(estate) = self.scribe.estate().filter(|_| may_settle) {
            let (scribe, batch) = (&mut self.scribe, &mut self.batch);
            let rest = estate.settle(database, scribe, batch, broker, now)?;
            self.scribe.set_estate(rest);
            self.lazy_since.get_or_insert(now.mono);
        }
        Ok(())
    }

    /// Whether a kill would find all that waits in the tail, where nothing else is waited for.
    fn is_covered(&mut self, broker: &mut Broker) -> bool {
        if self.trouble.is_some() {
            return true;
        }
        if self.batch.len() > limits::STORE_BATCH_BYTES_MAX {
            return false;
        }
        let Some(tail) = &mut self.tail else {
            return true;
        };
        if tail.covers(&self.batch) {
            return true;
        }
        let stats = broker.store_stats();
        match self.meter.writing(stats, || tail.cover(&self.batch)) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("Error: changes cannot be noted beside the database: {error}.");
                false
            }
        }
    }

    /// All that was told is in the database, as its next generation.
    fn written(&mut self, broker: &mut Broker) {
        self.batch.clear();
        self.generation += 1;
        if let Some(tail) = &mut self.tail {
            tail.begin(self.generation);
        }
        // What has been told since is not in it.
        if broker.effects().journal.is_empty() {
            broker.stored(|place| self.scribe.left_memory(place));
        }
    }

    /// Makes the batch the next generation, which voids the tail.
    fn seal(&mut self) {
        if self.tail.is_some() {
            self.batch.push_generation(self.generation + 1);
        }
    }

    /// When something is to be read or written next.
    fn next_at(&self) -> Option<Mono> {
        let both = [self.commit_at(), self.read_at()];
        both.into_iter().flatten().min()
    }

    /// When something of the queues is to be read; `None`: there is nothing, or nothing to read it from.
    fn read_at(&self) -> Option<Mono> {
        self.database.as_ref()?;
        self.recalls.next_at(self.is_settling())
    }

    /// Whether sessions that have ended have left something to be worked off, commit by commit.
    fn is_settling(&self) -> bool {
        self.scribe.estate().is_some() && self.trouble.is_none()
    }

    fn commit_at(&self) -> Option<Mono> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.retry_at);
        }
        if self.is_settling() && !self.batch.is_empty() {
            return Some(Mono::default());
        }
        let lazily = self.lazy_since.map(|since| match self.mode {
            SyncMode::Always => since.plus_s(limits::STORE_LAZY_S),
            SyncMode::Interval(interval_ms) => since.plus_ms(u64::from(interval_ms)),
            SyncMode::None => since.plus_ms(limits::STORE_UNSYNCED_MS),
        });
        let promised = self.pace.due_at().filter(|_| self.mode == SyncMode::Always);
        [lazily, promised, self.scribe.unhurried_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_due(&self, now: Now) -> bool {
        self.commit_at().is_some_and(|at| at <= now.mono)
    }

    /// Writes what waits, and says so to the broker.
    fn commit(&mut self, broker: &mut Broker, now: Now) {
        self.lazy_since = None;
        // What is unhurried stays where the next value takes its place.
        if let Some(trouble) = self.trouble.take() {
            return self.retry(trouble, broker, now);
        }
        if self.scribe.unhurried_at().is_some_and(|at| at <= now.mono) {
            self.scribe.write_unhurried(&mut self.batch, now);
        }
        self.pace.committed(now.mono);
        if self.batch.is_empty() {
            broker.kept();
            return;
        }
        // Once a minute at most: it costs a page.
        if now.unix.0.abs_diff(self.seen_s) >= 60 {
            self.note_date(now);
        }
        self.seal();
        let Some(database) = &self.database else {
            return;
        };
        let stats = broker.store_stats();
        match self.meter.committing(stats, || database.apply(&self.batch)) {
            Ok(()) => {
                self.pace.took(now.mono, self.meter.last_commit_ms());
                self.written(broker);
                broker.kept();
            }
            Err(error) => self.fail(&error, broker, now),
        }
    }

    /// Adds the date to what is written.
    fn note_date(&mut self, now: Now) {
        self.seen_s = now.unix.0;
        let date = Value::Int(reader::seen(now.unix));
        self.batch.push(Op::MetaPut, &[Value::Text("seen"), date]);
    }

    /// The disk has refused, or the database cannot be used: who was promised something learns
    /// that it was not kept.
    fn fail(&mut self, error: &StoreError, broker: &mut Broker, now: Now) {
        let is_lost = matches!(error, StoreError::Damaged(_)) || self.database.is_none();
        log::error!(
            "Error: state cannot be kept in {}: {error}. Messages that would have to be kept are \
             refused until it can.",
            self.path.display()
        );
        broker.effects().journal.refuse(true);
        self.pace = Pace::default();
        self.trouble = Some(Trouble {
            retry_at: now.mono.plus_ms(limits::STORE_RETRY_MS),
            is_lost,
        });
        broker.store_stats().failures += 1;
    }

    /// The log has lost what was in it. What it still says is all that can be read, and it is about to
    /// be worked into the database: somebody may want to look at it as it is.
    fn tell_damage(&mut self, broker: &mut Broker, now: Now) {
        // Once, however often it is tried to open it.
        if std::mem::replace(&mut self.was_damaged, true) {
            return;
        }
        broker.store_stats().damaged += 1;
        let path = self.path.display();
        match copy_aside(&self.path, now.unix.0) {
            Ok(aside) => log::error!(
                "Error: the log of {path} is damaged: what stands behind the damage is not \
                 restored. A copy of all is kept as {}.",
                aside.display()
            ),
            Err(why) => log::error!(
                "Error: the log of {path} is damaged: what stands behind the damage is not \
                 restored. No copy could be kept: {why}."
            ),
        }
    }

    /// The database is of no use: it is put aside, and another begun with what the broker has.
    fn give_up(&mut self, error: &StoreError, broker: &mut Broker, now: Now) {
        self.database = None;
        match set_aside(&self.path, now.unix.0) {
            Ok(aside) => log::error!(
                "Error: state was not restored from {}: {error}. The file is kept as {}; a new one \
                 is begun.",
                self.path.display(),
                aside.display()
            ),
            Err(why) => {
                log::error!("Error: {} cannot be put aside: {why}.", self.path.display());
                return self.fail(error, broker, now);
            }
        }
        self.was_damaged = true;
        broker.store_stats().damaged += 1;
        let begun = self.open(broker, now);
        let begun = begun.and_then(|()| self.write_anew(broker, now));
        if let Err(error) = begun {
            self.fail(&error, broker, now);
        }
    }

    /// Writes everything there is to a database that has nothing, or not that.
    fn write_anew(&mut self, broker: &mut Broker, now: Now) -> Result<(), StoreError> {
        let lost = broker.lose_stored(now);
        if lost > 0 {
            log::error!("Error: {lost} messages that waited on the disk alone are lost.");
        }
        self.recalls.clear();
        self.batch.clear();
        self.scribe = Scribe::default();
        let mut records = Vec::new();
        broker.recount(&mut |record| records.push(record));
        self.scribe.write(records.into_iter(), &mut self.batch, now);
        self.scribe.write_unhurried(&mut self.batch, now);
        self.note_date(now);
        self.seal();
        if let Some(database) = &self.database {
            let stats = broker.store_stats();
            self.meter
                .committing(stats, || database.replace(&self.batch))?;
        }
        self.written(broker);
        Ok(())
    }

    /// Tries again what has failed.
    fn retry(&mut self, mut trouble: Trouble, broker: &mut Broker, now: Now) {
        let done = self.try_again(&mut trouble, broker, now);
        match done {
            Ok(()) => {
                log::info!("State is kept in {} again.", self.path.display());
                broker.keeps_again(now);
            }
            Err(StoreError::Damaged(what)) => {
                self.give_up(&StoreError::Damaged(what), broker, now);
                if self.trouble.is_none() {
                    broker.keeps_again(now);
                }
            }
            Err(_) => {
                self.trouble = Some(Trouble {
                    retry_at: now.mono.plus_ms(limits::STORE_RETRY_MS),
                    ..trouble
                });
            }
        }
    }

    fn try_again(
        &mut self,
        trouble: &mut Trouble,
        broker: &mut Broker,
        now: Now,
    ) -> Result<(), StoreError> {
        if self.database.is_none() {
            self.open(broker, now)?;
            trouble.is_lost &= !self.read_late(broker, now)?;
        }
        if trouble.is_lost {
            return self.write_anew(broker, now);
        }
        self.seal();
        if let Some(database) = &self.database {
            let stats = broker.store_stats();
            self.meter
                .committing(stats, || database.apply(&self.batch))?;
        }
        self.written(broker);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::recall::Estate;
    use super::super::rows::{Body, Dates};
    use super::*;
    use std::num::NonZeroU64;

    /// A broker with a store that was read before, on a disk that takes nothing.
    fn without_disk() -> (Broker, Keeper) {
        let mut config = Config::default();
        config.persistence.enabled = true;
        config.persistence.location = Some("/nonexistent".into());
        let mut broker = Broker::new(Rc::new(config.clone()), 7);
        let mut keeper = Keeper::default();
        let opened = keeper.open(&mut broker, &config, Now::default());
        opened.unwrap();
        let store = keeper.store.as_mut().unwrap();
        store.trouble.as_mut().unwrap().is_lost = false;
        (broker, keeper)
    }

    #[test]
    fn values_that_nobody_was_promised_do_not_pile_up() {
        let (mut broker, mut keeper) = without_disk();
        let body = Body {
            topic: "tea",
            properties: &[],
            payload: &[b'x'; 1000],
            flags: 0b100,
            expires: None,
        };
        let (now, today) = (Now::default(), 0);
        let message = body.message(None, &Dates { now, today });
        for second in 1..60 {
            let now = Now {
                mono: Mono::from_millis(1000 * second),
                ..Now::default()
            };
            let store = keeper.store.as_mut().unwrap();
            let record = Record::Retained(Rc::clone(&message));
            store
                .scribe
                .write([record].into_iter(), &mut store.batch, now);
            assert!(store.batch.is_empty(), "at {second} s");
            if keeper.is_due(&mut broker, false, now) {
                keeper.commit(&mut broker, now);
            }
        }
    }

    #[test]
    fn what_is_on_the_disk_alone_is_not_written_over() {
        let (mut broker, mut keeper) = without_disk();
        let place = NonZeroU64::MIN;
        let long = vec![0; limits::STORE_WAITING_BYTES_MAX];
        let estate = Estate {
            number: 7,
            first: place,
            last: place,
        };
        for rest in [Some(estate), None] {
            let store = keeper.store.as_mut().unwrap();
            store.scribe.set_estate(rest);
            store.batch.push(Op::MetaPut, &[Value::Bytes(&long)]);
            broker.effects().journal.landed(Some(place));
            keeper.is_due(&mut broker, false, Now::default());
            let trouble = &keeper.store.as_ref().unwrap().trouble;
            assert_eq!(trouble.as_ref().unwrap().is_lost, rest.is_none());
        }
    }
}

//! What outlives the process: an SQLite database that is changed as the core's records say, one
//! transaction for all that is promised together. It belongs to the shell: the core tells records
//! and is given them back at the start, and knows nothing of files.
//!
//! ```text
//!   records ─► scribe ─► batch ─► database        mod      the file: opened, changed, given up
//!                                                 keeper   when that is done, and what if it fails
//!                                                 pace     when a commit is worth its sync
//!                                                 tail     changes that no commit holds yet
//!                                                 meter    what all that costs
//!                                                 wal      whether the log is whole
//!                                                 reader   rows into records, at the start
//!                                                 recall   queues that are nowhere else, later
//!   mosquitto.db ──────► import ─┐                           takeover which file, and once
//!   mosquitto.sqlite3 ─► plugin ─┴► gather ─► records        gather   what both come to
//!   records ─┬► export ─► mosquitto.db
//!            └► plugin ─► mosquitto.sqlite3
//! ```
//!
//! The database is in WAL mode and locked for this process alone: a commit is one write to the end
//! of a log, and one sync. The log is as long from the beginning as it will be, so that a sync has
//! no length of a file to write. It must never be written to before it was read to its end.

mod batch;
pub mod export;
mod gather;
pub mod import;
mod keeper;
mod meter;
mod pace;
mod plugin;
mod reader;
mod recall;
mod rows;
mod schema;
mod scribe;
mod tail;
mod takeover;
mod wal;

pub use keeper::Keeper;

use crate::broker::Broker;
use crate::broker::queue::Share;
use crate::broker::record::Record;
use crate::config::Config;
use crate::limits;
use crate::time::Now;
use batch::Batch;
use reader::Reader;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use scribe::Scribe;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Bytes that a batch keeps when it is empty.
const BATCH_KEPT_BYTES: usize = 64 << 10;

/// Bytes of a frame of the log around its page.
const FRAME_BYTES: u32 = 24;

/// Whether a commit is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Each one.
    Always,
    /// Never, by this process.
    Never,
}

/// What a store could not do.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it.
    InUse(PathBuf),
    /// There is no place for more.
    Full,
    /// The file holds something else, or is not whole.
    Damaged(String),
    /// It was made by a later midge.
    TooNew(i64),
    /// The system says no.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "{} is in use by another midge; each needs a persistence_location of its own",
                path.display()
            ),
            Self::Full => f.write_str("the disk is full"),
            Self::Damaged(what) => write!(f, "the database is damaged ({what})"),
            Self::TooNew(version) => write!(
                f,
                "the database has the layout {version} of a later midge, and this one knows {}",
                schema::VERSION
            ),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// One process at a time has a directory: a lock that goes with the process, whatever becomes of
/// the files.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory of `database`, without touching anything else in it.
    ///
    /// # Errors
    /// Another process has it, or no file can be made there.
    pub fn take(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database, "lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(database.into())),
            // A file system without locks: SQLite's own may do.
            Err(_) => Ok(Self { _file: file }),
        }
    }
}

/// The file beside `database` whose name goes on with `ending`.
fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-");
    name.push(ending);
    name.into()
}

/// An open database.
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the database at `path`, and makes it if there is none. Whether it is new.
    ///
    /// # Errors
    /// Why it cannot be used. Nothing was changed in it.
    pub fn open(path: &Path, sync: Sync) -> Result<(Self, bool), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(32);
        // Whoever else has it, the loop does not wait.
        connection.busy_timeout(Duration::ZERO)?;
        // Before the first look into the file: no other process reads it, and no memory is shared.
        pragma(&connection, "locking_mode", "exclusive")?;
        pragma(&connection, "page_size", &schema::PAGE_BYTES.to_string())?;
        pragma(&connection, "cache_size", "-512")?;
        pragma(&connection, "temp_store", "memory")?;
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let database = Self {
            connection,
            path: path.into(),
        };
        if tables > 0 {
            database.check_layout()?;
        }
        pragma(&database.connection, "journal_mode", "wal")?;
        database.set_sync(sync)?;
        let pages = limits::STORE_LOG_PAGES.to_string();
        pragma(&database.connection, "wal_autocheckpoint", &pages)?;
        if tables == 0 {
            database.create()?;
        }
        if let Err(error) = database.lengthen_log() {
            // It only spares the card; whether anything can be written shows when it must be.
            log::debug!(
                "The log of {} grows by each commit: {error}.",
                path.display()
            );
        }
        Ok((database, tables == 0))
    }

    fn check_layout(&self) -> Result<(), StoreError> {
        let number = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get(0))
        };
        let (application, version): (i64, i64) =
            (number("application_id")?, number("user_version")?);
        if application != schema::APPLICATION {
            return Err(StoreError::Damaged("it is not midge's".to_owned()));
        }
        if version > schema::VERSION {
            return Err(StoreError::TooNew(version));
        }
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        match verdict == "ok" {
            true => Ok(()),
            false => Err(StoreError::Damaged(verdict)),
        }
    }

    fn create(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN")?;
        self.connection.execute_batch(schema::CREATE)?;
        let (application, version) = (schema::APPLICATION, schema::VERSION);
        pragma(&self.connection, "application_id", &application.to_string())?;
        pragma(&self.connection, "user_version", &version.to_string())?;
        self.connection.execute_batch("COMMIT")?;
        sync_directory(&self.path)?;
        Ok(())
    }

    /// Whether commits are synced from now on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_sync(&self, sync: Sync) -> Result<(), StoreError> {
        let word = match sync {
            Sync::Always => "full",
            Sync::Never => "off",
        };
        pragma(&self.connection, "synchronous", word)
    }

    /// Makes the log as long as it will be. SQLite writes it over and over and never shortens it,
    /// and knows by its checksums where it ends; a file that grows by each commit costs a card
    /// three times as much.
    fn lengthen_log(&self) -> Result<(), StoreError> {
        let path = beside(&self.path, "wal");
        let frames = u64::from(limits::STORE_LOG_PAGES) + u64::from(limits::STORE_LOG_PAGES) / 16;
        let wanted = frames * u64::from(schema::PAGE_BYTES + FRAME_BYTES);
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        let zeros = [0; 16 << 10];
        let mut length = file.metadata()?.len();
        if length >= wanted {
            return Ok(());
        }
        while length < wanted {
            file.write_all(&zeros)?;
            length += zeros.len() as u64;
        }
        file.sync_all()?;
        sync_directory(&self.path)?;
        Ok(())
    }

    /// Applies a batch, as a whole or not at all.
    ///
    /// # Errors
    /// What SQLite says; nothing has changed then.
    pub fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let applied = self.apply_all(batch);
        let done = applied.and_then(|()| Ok(self.connection.execute_batch("COMMIT")?));
        if done.is_err() && !self.connection.is_autocommit() {
            // What it was is over; that this fails too changes nothing.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    fn apply_all(&self, batch: &Batch) -> Result<(), StoreError> {
        for (op, values) in batch.iter() {
            let mut statement = self.connection.prepare_cached(op.sql())?;
            statement.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    }

    /// Commits so far, where they are counted: the tail stands behind one of them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn generation(&self) -> Result<u64, StoreError> {
        let generation: Option<i64> = self
            .connection
            .query_row("SELECT value FROM meta WHERE name='tail'", [], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(u64::try_from(generation.unwrap_or_default()).unwrap_or_default())
    }

    /// Whether anything was ever written but its tables: the first commit leaves a date.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn was_written(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM meta)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Applies what was changed behind the last commit and is in no other place than the tail.
    ///
    /// # Errors
    /// What SQLite or the system says: the tail must be left as it is.
    pub fn replay(&self) -> Result<(), StoreError> {
        let generation = self.generation()?;
        let mut batch = tail::read(&self.path, generation)?;
        if batch.is_empty() {
            return Ok(());
        }
        log::info!("Changes that no commit held are read from the tail.");
        batch.push_generation(generation + 1);
        self.apply(&batch)
    }

    /// Empties every table, within a transaction of the caller's own.
    fn empty(&self) -> Result<(), StoreError> {
        for table in [
            "sessions",
            "wills",
            "subscriptions",
            "held",
            "queue",
            "retained",
        ] {
            self.connection
                .execute_batch(&format!("DELETE FROM {table}"))?;
        }
        Ok(())
    }

    /// Replaces all there is.
    ///
    /// # Errors
    /// What SQLite says; nothing has changed then.
    pub fn replace(&self, batch: &Batch) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let applied = self.empty().and_then(|()| self.apply_all(batch));
        let done = applied.and_then(|()| Ok(self.connection.execute_batch("COMMIT")?));
        if done.is_err() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    /// Works the log into the database.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
        Ok(())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

fn pragma(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    // Some answer with a row, some do not.
    connection
        .pragma_update_and_check(None, name, value, |_| Ok(()))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            error => Err(error.into()),
        })
}

/// Makes sure that the names in the directory of `path` are on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// A new file for those who may read the store, and nobody else.
fn create(out: &Path, store: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(out);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            StoreError::Failed(format!("{} is there already", out.display()))
        }
        _ => error.into(),
    })?;
    let owner = fs::metadata(store)?;
    // Only root can give it away; whoever else is here is that user, or reads it as this one.
    let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    Ok(file)
}

/// Writes what the store of this configuration holds to a new file at `out`, as mosquitto would, or
/// its SQLite plugin if it ends in `.sqlite3`. What was written, in words.
///
/// # Errors
/// A broker is running on the store, there is none, or the file is there already.
pub fn export(config: &Config, out: &Path, now: Now) -> Result<String, StoreError> {
    let path = keeper::path(config);
    if !path.exists() {
        let what = format!("there is no {}", path.display());
        return Err(StoreError::Failed(what));
    }
    let _lock = Lock::take(&path).map_err(|error| match error {
        StoreError::InUse(path) => {
            let path = path.display();
            StoreError::Failed(format!("{path} is in use; stop the broker first"))
        }
        other => other,
    })?;
    let (database, is_new) = Database::open(&path, Sync::Always)?;
    if !is_new {
        database.replay()?;
    }
    let mut broker = Broker::new(Rc::new(config.clone()), 0);
    broker.share_memory(Share::WHOLE);
    let (mut scribe, mut batch) = (Scribe::default(), Batch::default());
    let told = (&mut scribe, &mut batch);
    let reader = Reader::new(&database, &mut broker, told, config, now);
    reader.read()?;
    let mut records = Vec::new();
    broker.recount(&mut |record| records.push(record));
    let file = create(out, &path)?;
    let written = match is_for_plugin(out) {
        true => plugin::write::write(out, &records, now),
        false => write_own(file, &records, now),
    };
    let left_out = match written.and_then(|left_out| Ok((left_out, sync_directory(out)?))) {
        Ok((left_out, ())) => left_out,
        Err(error) => {
            // Half a file is worse than none: mosquitto would read it.
            let _ = fs::remove_file(out);
            return Err(error);
        }
    };
    Ok(format!(
        "{} bytes written to {}; {left_out} entries have no place there ({}).",
        fs::metadata(out)?.len(),
        out.display(),
        match is_for_plugin(out) {
            true => "unfinished QoS 2",
            false => "Wills, shared subscriptions, unfinished QoS 2",
        }
    ))
}

/// Whether a file of this name is read by mosquitto's SQLite plugin, and not by mosquitto itself.
fn is_for_plugin(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "sqlite3")
}

fn write_own(mut file: File, records: &[Record], now: Now) -> Result<u64, StoreError> {
    let exported = export::write(records, now);
    file.write_all(&exported.bytes)?;
    file.sync_all()?;
    Ok(exported.left_out)
}

/// Puts a database that cannot be used aside, with what belongs to it, under a name that says when.
///
/// # Errors
/// What the system says.
fn set_aside(path: &Path, date: u64) -> io::Result<PathBuf> {
    keep_aside(path, date, |from, to| fs::rename(from, to))
}

/// The same with a copy of it.
///
/// # Errors
/// What the system says.
fn copy_aside(path: &Path, date: u64) -> io::Result<PathBuf> {
    keep_aside(path, date, |from, to| match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => {
            // Half a copy is of no use, and takes what little room there is.
            let _ = fs::remove_file(to);
            Err(error)
        }
    })
}

fn keep_aside(
    path: &Path,
    date: u64,
    keep: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let aside = (0..1000)
        .map(|count| match count {
            0 => beside(path, &format!("damaged-{date}")),
            count => beside(path, &format!("damaged-{date}.{count}")),
        })
        .find(|aside| !aside.exists())
        .ok_or(io::ErrorKind::AlreadyExists)?;
    keep(path, &aside)?;
    for ending in ["wal", "shm", "journal", "tail"] {
        let part = beside(path, ending);
        if part.exists() {
            keep(&part, &beside(&aside, ending))?;
        }
    }
    sync_directory(path)?;
    Ok(aside)
}

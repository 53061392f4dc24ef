//! `mosquitto.sqlite3`, read: what it holds is gathered. A row that makes no sense is passed over and
//! counted, and where a table cannot be read on, the next one is read. The file is not changed, nor
//! is the log beside it, which a mosquitto that was killed has left: it may hold what the file does
//! not.
//!
//! Nor is it trusted: a database is a program, too. It must never cost more than its own bytes are
//! worth.

use super::super::beside;
use super::super::gather::{Client, ClientMessage, Gather, Imported};
use super::{COMPONENT, OUTGOING, json};
use crate::broker::session::{NEVER_EXPIRES, WillMessage};
use crate::config::Config;
use crate::limits;
use crate::message::{Publication, QoS};
use crate::time::{Mono, Now};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The layout that is known, of which later ones with the same first number add to it.
const MAJOR: i64 = 1;

/// Why a database was not read, or not all of it.
#[derive(Debug)]
pub enum ImportError {
    /// It is no database of the plugin's.
    Foreign,
    /// A mosquitto is running on it.
    InUse,
    /// It has a layout that is not known.
    Version(i64),
    /// More comes out of it than mosquitto can have put in.
    MadeUp,
    /// SQLite cannot read it, or no further.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is no database of mosquitto's plugin"),
            Self::InUse => f.write_str("another program, such as a running mosquitto, has it open"),
            Self::Version(version) => {
                write!(f, "its layout {version} is of a later mosquitto than 2.1")
            }
            Self::MadeUp => {
                f.write_str("it says more than it has bytes, as none of mosquitto's does")
            }
            Self::Failed(error) => write!(f, "it cannot be read whole ({error})"),
        }
    }
}

/// Reads a whole database: what it comes to, and what is wrong with the rest.
///
/// # Errors
/// Why nothing could be read.
pub fn read(
    path: &Path,
    config: &Config,
    now: Now,
) -> Result<(Imported, Option<ImportError>), ImportError> {
    let mut source = Source::open(path)?;
    let has_wills = source.check_layout()?;
    let mut import = Import {
        source,
        now,
        gather: Gather::new(config, now),
        error: None,
    };
    import.clients();
    import.messages();
    if has_wills {
        import.wills();
    }
    import.subscriptions();
    import.client_messages();
    import.retained();
    Ok((import.gather.finish(), import.error))
}

/// The open database.
struct Source {
    /// Closed before the log is looked after.
    connection: Option<Connection>,
    log: PathBuf,
    had_log: bool,
    /// Bytes that may still come out of it.
    bytes_left: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, ImportError> {
        let log = beside(path, "wal");
        let bytes = |path| fs::metadata(path).map_or(0, |file| file.len());
        let bytes = bytes(path).saturating_add(bytes(&log));
        let mut source = Self {
            connection: None,
            had_log: log.exists(),
            log,
            bytes_left: bytes.saturating_mul(limits::IMPORT_GROWTH),
        };
        // To write, for a lock that keeps a mosquitto off is asked of it; and nothing is written.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        let value_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        let sql_bytes = limits::IMPORT_SQL_BYTES_MAX;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, value_bytes.max(sql_bytes))?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, sql_bytes)?;
        // Without it, an index of the log would be made beside it.
        connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
        connection.pragma_update(None, "query_only", true)?;
        source.connection = Some(connection);
        Ok(source)
    }

    fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), ImportError> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let left = self.bytes_left.checked_sub(bytes_in(row)?);
            self.bytes_left = left.ok_or(ImportError::MadeUp)?;
            take(row)?;
        }
        Ok(())
    }

    /// Whether it is the plugin's, and of a layout that has Wills.
    fn check_layout(&mut self) -> Result<bool, ImportError> {
        let (mut is_theirs, mut has_wills) = (false, false);
        let sql = "SELECT name FROM sqlite_schema WHERE type='table'";
        self.each(sql, |row| {
            let name = text(row, 0)?;
            is_theirs |= name == "base_msgs";
            has_wills |= name == "wills";
            Ok(())
        })?;
        if !is_theirs {
            return Err(ImportError::Foreign);
        }
        let mut major = MAJOR;
        self.each("SELECT component, major FROM version_info", |row| {
            if text(row, 0)? == COMPONENT {
                major = row.get(1)?;
            }
            Ok(())
        })?;
        match major {
            MAJOR => Ok(has_wills),
            major => Err(ImportError::Version(major)),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.connection = None;
        // SQLite makes a log where there is none, and it is not ours to leave.
        let is_empty = fs::metadata(&self.log).is_ok_and(|log| log.len() == 0);
        if !self.had_log && is_empty {
            let _ = fs::remove_file(&self.log);
        }
    }
}

struct Import<'i> {
    source: Source,
    now: Now,
    gather: Gather<'i>,
    /// The first one.
    error: Option<ImportError>,
}

impl Import<'_> {
    /// Takes each row of a table; `None` from `take`: it makes no sense.
    fn each(&mut self, sql: &str, take: impl Fn(&mut Gather<'_>, &Row<'_>, Now) -> Option<()>) {
        let (gather, now) = (&mut self.gather, self.now);
        let read = self.source.each(sql, |row| {
            if take(gather, row, now).is_none() {
                gather.odd();
            }
            Ok(())
        });
        if let Err(error) = read {
            self.error.get_or_insert(error);
        }
    }

    fn clients(&mut self) {
        let sql = "SELECT client_id, username, listener_port, session_expiry_interval, \
                   session_expiry_time, will_delay_time FROM clients ORDER BY rowid";
        self.each(sql, |gather, row, now| {
            // What has no end is written as the number that says so, with a sign.
            let interval: i64 = number(row, 3)?;
            let interval_s = match interval {
                -1 => NEVER_EXPIRES,
                interval => u32::try_from(interval).ok()?,
            };
            // It ended with its connection, and that with the mosquitto.
            if interval_s == 0 {
                return Some(());
            }
            let ends_at = match gather.instant(number(row, 4)?) {
                _ if interval_s == NEVER_EXPIRES => Mono::NEVER,
                None => now.mono.plus_s(u64::from(interval_s)),
                Some(ends_at) => ends_at,
            };
            let will_at = gather.instant(number(row, 5)?);
            let (name, user) = (text(row, 0).ok()?, text(row, 1).ok()?);
            gather.client(&Client {
                name: &name,
                user: &user,
                port: number(row, 2).and_then(|port| u16::try_from(port).ok())?,
                interval_s,
                ends_at,
                will_at: will_at.unwrap_or(Mono::NEVER),
            });
            Some(())
        });
    }

    fn messages(&mut self) {
        let sql = "SELECT store_id, CAST(topic AS TEXT), payload, CAST(source_id AS TEXT), \
                   CAST(source_username AS TEXT), qos, retain, expiry_time, properties \
                   FROM base_msgs";
        self.each(sql, |gather, row, _| {
            let expires_at = gather.instant(number(row, 7)?);
            let topic = text(row, 1).ok()?;
            let properties = properties(row, 8)?;
            let publication = Publication {
                topic: &topic,
                properties: &properties,
                payload: bytes(row, 2)?,
                qos: qos(row, 5)?,
                retain: number(row, 6)? != 0,
                expires_at: expires_at.unwrap_or(Mono::NEVER),
                publisher: None,
                came: None,
                wire: None,
                message: None,
            };
            let (source, user) = (text(row, 3).ok()?, text(row, 4).ok()?);
            let id = u64::try_from(number(row, 0)?).ok()?;
            gather.message(id, &source, &user, publication);
            Some(())
        });
    }

    fn wills(&mut self) {
        let mut delays: HashMap<String, u32> = HashMap::new();
        let sql = "SELECT client_id, will_delay_interval FROM clients WHERE will_delay_interval>0";
        let read = self.source.each(sql, |row| {
            let delay_s = number(row, 1).and_then(|delay_s| u32::try_from(delay_s).ok());
            delays.insert(text(row, 0)?, delay_s.unwrap_or_default());
            Ok(())
        });
        if let Err(error) = read {
            self.error.get_or_insert(error);
        }
        let sql = "SELECT client_id, CAST(topic AS TEXT), payload, qos, retain, properties \
                   FROM wills";
        self.each(sql, |gather, row, _| {
            let client = text(row, 0).ok()?;
            let will = WillMessage {
                topic: text(row, 1).ok()?.into(),
                properties: properties(row, 5)?.into(),
                payload: bytes(row, 2)?.into(),
                qos: qos(row, 3)?,
                retain: number(row, 4)? != 0,
                delay_interval_s: delays.get(&client).copied().unwrap_or_default(),
                // It has no column.
                message_expiry_interval_s: None,
            };
            gather.will(&client, will);
            Some(())
        });
    }

    fn subscriptions(&mut self) {
        let sql = "SELECT client_id, topic, subscription_options, subscription_identifier \
                   FROM subscriptions";
        self.each(sql, |gather, row, _| {
            let options = u8::try_from(number(row, 2)?).ok()?;
            let identifier = u32::try_from(number(row, 3)?).ok()?;
            let (client, filter) = (text(row, 0).ok()?, text(row, 1).ok()?);
            gather.subscription(&client, &filter, options, identifier);
            Some(())
        });
    }

    fn client_messages(&mut self) {
        let sql = "SELECT client_id, store_id, direction, mid, qos, retain, state, \
                   subscription_identifier FROM client_msgs ORDER BY rowid";
        self.each(sql, |gather, row, _| {
            let small = |column| u8::try_from(number(row, column)?).ok();
            let client = text(row, 0).ok()?;
            gather.client_message(&ClientMessage {
                client: &client,
                message: u64::try_from(number(row, 1)?).ok()?,
                packet_identifier: u16::try_from(number(row, 3)?).ok()?,
                qos: small(4)?,
                state: small(6)?,
                retain: number(row, 5)? != 0,
                is_outgoing: number(row, 2)? == OUTGOING,
                identifier: u32::try_from(number(row, 7)?).ok()?,
            });
            Some(())
        });
    }

    fn retained(&mut self) {
        self.each("SELECT store_id FROM retains", |gather, row, _| {
            gather.retained(u64::try_from(number(row, 0)?).ok()?);
            Some(())
        });
    }
}

/// Bytes of a row: mosquitto has written as many, but for numbers that are read as texts.
fn bytes_in(row: &Row<'_>) -> rusqlite::Result<u64> {
    let mut bytes = limits::IMPORT_ROW_BYTES;
    for column in 0..row.as_ref().column_count() {
        if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column)? {
            bytes += value.len() as u64;
        }
    }
    Ok(bytes)
}

/// A number, 0 where there is none; `None`: it is something else.
fn number(row: &Row<'_>, column: usize) -> Option<i64> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(0),
        ValueRef::Integer(number) => Some(number),
        _ => None,
    }
}

/// A text, empty where there is none.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Option<String>>(column)?.unwrap_or_default())
}

/// Bytes, whatever they were taken for.
fn bytes<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a [u8]> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(&[]),
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes),
        _ => None,
    }
}

fn qos(row: &Row<'_>, column: usize) -> Option<QoS> {
    QoS::from_bits(u8::try_from(number(row, column)?).ok()?)
}

fn properties(row: &Row<'_>, column: usize) -> Option<Vec<u8>> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(Vec::new()),
        ValueRef::Text(text) => json::read(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::gather::state;
    use super::super::write;
    use super::*;
    use crate::broker::Broker;
    use crate::broker::record::Record;
    use std::fs::File;
    use std::rc::Rc;

    /// A file of one test, with what SQLite makes beside it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("midge-plugin-{name}-{}.sqlite3", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
            assert!(
                !beside(&self.0, "wal").exists(),
                "nothing is left beside it"
            );
        }
    }

    /// A few of each, as midge writes them.
    fn written(place: &Place, config: &Config) -> Vec<u8> {
        let mut gather = Gather::new(config, Now::default());
        for name in ["ann", "bob"] {
            gather.client(&Client {
                name,
                user: "",
                port: 1883,
                interval_s: 60,
                ends_at: Mono::NEVER,
                will_at: Mono::NEVER,
            });
            gather.subscription(name, "tea/#", 1, 7);
        }
        for id in 1..=20 {
            let topic = format!("tea/{id}");
            let publication = Publication {
                topic: &topic,
                properties: &[],
                payload: &[b'x'; 500],
                qos: QoS::AtLeastOnce,
                retain: true,
                expires_at: Mono::NEVER,
                publisher: None,
                came: None,
                wire: None,
                message: None,
            };
            gather.message(id, "ann", "", publication);
            gather.client_message(&ClientMessage {
                client: "bob",
                message: id,
                packet_identifier: 1,
                qos: 1,
                state: state::QUEUED,
                retain: false,
                is_outgoing: true,
                identifier: 7,
            });
            gather.retained(id);
        }
        drop(File::create(&place.0).unwrap());
        let records = gather.finish().records;
        assert_eq!(write::write(&place.0, &records, Now::default()).unwrap(), 0);
        fs::read(&place.0).unwrap()
    }

    /// Cut every few bytes, and with every few bytes changed: it is read as far as it can be, and a
    /// broker takes what was read.
    #[test]
    fn what_is_damaged_anywhere_breaks_nothing() {
        const STEP: usize = 197;
        let (place, config) = (Place::new("damaged"), Rc::new(Config::default()));
        let whole = written(&place, &config);
        let (mut same, mut less, mut none) = (0, 0, 0);
        let mut tries = |bytes: &[u8]| {
            fs::write(&place.0, bytes).unwrap();
            let read = read(&place.0, &config, Now::default());
            assert_eq!(fs::read(&place.0).unwrap(), bytes, "it is not written to");
            let Ok((imported, error)) = read else {
                none += 1;
                return;
            };
            let is_whole = error.is_none() && imported.odd == 0 && imported.records.len() == 44;
            *if is_whole { &mut same } else { &mut less } += 1;
            let mut broker = Broker::new(Rc::clone(&config), 7);
            for record in imported.records {
                broker.restore(record, Now::default());
            }
        };
        tries(&whole);
        for at in (0..whole.len()).step_by(STEP) {
            tries(&whole[..at]);
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            tries(&changed);
        }
        assert!(same > 1 && less > 1 && none > 1, "{same}, {less}, {none}");
        assert_eq!(same + less + none, 1 + 2 * whole.len().div_ceil(STEP));
    }

    /// What is read of the file of a few of each, on which somebody has worked: bytes of payload, and
    /// records, and bytes of the file.
    fn worked_on(name: &str, sql: &str) -> (usize, usize, usize) {
        let (place, config) = (Place::new(name), Config::default());
        written(&place, &config);
        let connection = Connection::open(&place.0).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let file_bytes = usize::try_from(fs::metadata(&place.0).unwrap().len()).unwrap();
        let read = read(&place.0, &config, Now::default());
        let records = read.map_or(Vec::new(), |(imported, _)| imported.records);
        let payload = records.iter().map(|record| match record {
            Record::Retained(message) => message.payload_bytes(),
            _ => 0,
        });
        (payload.sum(), records.len(), file_bytes)
    }

    const MESSAGES: &str = "store_id INTEGER PRIMARY KEY, topic, source_id, source_username, \
        qos, retain, expiry_time, properties";

    /// SQL makes much of little. A file may hold SQL, and it may not be a mosquitto's.
    #[test]
    fn no_more_comes_out_of_a_file_than_is_in_it() {
        let rows = |count: u32| {
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{count})")
        };
        let clients = format!(
            "DROP TABLE clients; CREATE VIEW clients AS {} SELECT 'c'||i AS client_id, \
             '' AS username, 0 AS listener_port, 60 AS session_expiry_interval, \
             0 AS session_expiry_time, 0 AS will_delay_time, i AS rowid FROM n",
            rows(20_000)
        );
        let (_, records, bytes) = worked_on("view", &clients);
        assert!(records < bytes / 4, "{records} of {bytes} bytes");
        let messages = format!(
            "DROP TABLE base_msgs; DELETE FROM retains; CREATE TABLE base_msgs({MESSAGES});
             INSERT INTO base_msgs {rows} SELECT i, 't', '', '', 0, 1, 0, NULL FROM n;
             INSERT INTO retains {rows} SELECT i, i FROM n;
             ALTER TABLE base_msgs ADD COLUMN payload BLOB DEFAULT x'{payload}'",
            rows = rows(5000),
            payload = "00".repeat(1500)
        );
        let (payload, _, bytes) = worked_on("default", &messages);
        assert!(payload < 4 * bytes, "{payload} of {bytes} bytes");
        let message = format!(
            "DROP TABLE base_msgs; CREATE TABLE base_msgs({MESSAGES}, \
             payload BLOB AS (zeroblob(20000000)));
             INSERT INTO base_msgs VALUES(1, 't', '', '', 0, 1, 0, NULL)"
        );
        let (payload, _, bytes) = worked_on("generated", &message);
        assert!(payload < 4 * bytes, "{payload} of {bytes} bytes");
    }

    /// Nobody has written this by hand either, and the stack has an end.
    #[test]
    fn a_column_that_is_a_long_sum_ends_nothing() {
        let sum = "1+".repeat(500_000);
        let sql = format!(
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET \
             sql='CREATE TABLE base_msgs(topic CHECK({sum}1))' WHERE name='base_msgs'"
        );
        assert_eq!(worked_on("deep", &sql).1, 0);
    }
}

//! `mosquitto.sqlite3` written, layout 1.1.0, for the way back. What it has no place for (QoS 2
//! handshakes whose message is over, the expiry of a Will, all but one Subscription Identifier of a
//! message) is left out; the first is counted.

use super::super::StoreError;
use super::super::gather::state;
use super::{COMPONENT, OUTGOING, json};
use crate::broker::inflight::Delivery;
use crate::broker::key::SessionId;
use crate::broker::record::{Record, SessionRecord, SubscriptionRecord};
use crate::broker::session::{NEVER_EXPIRES, WillMessage};
use crate::message::{Message, PacketIdentifier, QoS};
use crate::time::{Mono, Now};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OpenFlags, Transaction};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// The tables and indexes, with the names and types that mosquitto gives them.
const CREATE: &str = "
CREATE TABLE base_msgs(store_id INT64 PRIMARY KEY, expiry_time INT64, topic STRING NOT NULL,
    payload BLOB, source_id STRING, source_username STRING, payloadlen INTEGER,
    source_mid INTEGER, source_port INTEGER, qos INTEGER, retain INTEGER, properties STRING);
CREATE TABLE retains(topic STRING PRIMARY KEY, store_id INT64);
CREATE TABLE clients(client_id TEXT PRIMARY KEY, username TEXT, connection_time INT64,
    will_delay_time INT64, session_expiry_time INT64, listener_port INT, max_packet_size INT,
    max_qos INT, retain_available INT, session_expiry_interval INT, will_delay_interval INT);
CREATE TABLE subscriptions(client_id TEXT NOT NULL, topic TEXT NOT NULL,
    subscription_options INTEGER, subscription_identifier INTEGER,
    PRIMARY KEY(client_id, topic));
CREATE TABLE client_msgs(client_id TEXT NOT NULL, cmsg_id INT64, store_id INT64, dup INTEGER,
    direction INTEGER, mid INTEGER, qos INTEGER, retain INTEGER, state INTEGER,
    subscription_identifier INTEGER);
CREATE TABLE wills(client_id TEXT PRIMARY KEY, payload BLOB, topic STRING NOT NULL,
    payloadlen INTEGER, qos INTEGER, retain INTEGER, properties STRING);
CREATE TABLE version_info(component TEXT NOT NULL, major INTEGER NOT NULL,
    minor INTEGER NOT NULL, patch INTEGER NOT NULL);
CREATE INDEX client_msgs_client_id ON client_msgs(client_id);
CREATE INDEX client_msgs_store_id ON client_msgs(store_id, client_id);
CREATE INDEX retains_storeid ON retains(store_id);
";

/// Writes what `records` say, as of `now`, into the empty file at `path`. How many facts it has no
/// place for.
///
/// # Errors
/// What SQLite says.
pub fn write(path: &Path, records: &[Record], now: Now) -> Result<u64, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(CREATE)?;
    let mut export = Export {
        transaction,
        now,
        clients: HashMap::new(),
        messages: HashMap::new(),
        left_out: 0,
    };
    let version = "INSERT INTO version_info VALUES(?,1,1,0)";
    export.insert(version, &[&COMPONENT])?;
    for record in records {
        export.record(record)?;
    }
    let left_out = export.left_out;
    export.transaction.commit()?;
    Ok(left_out)
}

struct Export<'e> {
    transaction: Transaction<'e>,
    now: Now,
    clients: HashMap<SessionId, Client>,
    /// Their numbers in the file, by where they lie.
    messages: HashMap<*const Message, i64>,
    left_out: u64,
}

/// A client that was written.
struct Client {
    name: Box<str>,
    /// Its messages so far.
    messages: i64,
    last_packet_identifier: u16,
}

/// A text as a column of type STRING keeps it. One that SQLite would take for a number, and give back
/// as another text, is written as bytes, which it leaves alone and mosquitto reads all the same.
fn string(text: &str) -> Box<dyn ToSql + '_> {
    let is_plain = text
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == text);
    match text.trim().parse::<f64>() {
        Ok(_) if !is_plain => Box::new(text.as_bytes()),
        _ => Box::new(text),
    }
}

/// How many bytes, for the columns that say so.
fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

impl Export<'_> {
    fn insert(&self, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
        self.transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Seconds since 1970 at `at`; 0: never.
    fn date(&self, at: Mono) -> i64 {
        let left_s = at.ms_since(self.now.mono).div_ceil(1000);
        match at {
            Mono::NEVER => 0,
            _ => i64::try_from(self.now.unix.0.saturating_add(left_s)).unwrap_or(i64::MAX),
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Session(record) => self.client(record),
            Record::Will(id, Some(will)) => self.will(*id, will),
            Record::Subscribed(record) => self.subscription(record),
            Record::Queued(id, _, delivery, packet) => self.queued(*id, delivery, *packet),
            Record::Retained(message) => {
                let number = self.message(message)?;
                let topic = string(message.publication().topic);
                self.insert("INSERT INTO retains VALUES(?,?)", &[&topic, &number])
            }
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn client(&mut self, record: &SessionRecord) -> Result<(), StoreError> {
        let identity = &record.identity;
        let name = &identity.client_identifier;
        let interval = match record.expiry_interval_s {
            NEVER_EXPIRES => -1,
            interval_s => i64::from(interval_s),
        };
        self.insert(
            "INSERT INTO clients VALUES(?,?,?,?,?,?,0,2,1,?,0)",
            &[
                name,
                &identity.username,
                &i64::try_from(self.now.unix.0).unwrap_or_default(),
                &self.date(record.will_at),
                &self.date(record.ends_at),
                &record.listener_port,
                &interval,
            ],
        )?;
        let client = Client {
            name: name.clone(),
            messages: 0,
            last_packet_identifier: 0,
        };
        self.clients.insert(record.session, client);
        Ok(())
    }

    fn will(&mut self, id: SessionId, will: &WillMessage) -> Result<(), StoreError> {
        let Some(Client { name, .. }) = self.clients.get(&id) else {
            return Ok(());
        };
        self.insert(
            "INSERT INTO wills VALUES(?,?,?,?,?,?,?)",
            &[
                name,
                &will.payload,
                &string(&will.topic),
                &length(&will.payload),
                &will.qos.bits(),
                &will.retain,
                &json::write(&will.properties),
            ],
        )?;
        self.insert(
            "UPDATE clients SET will_delay_interval=?2 WHERE client_id=?1",
            &[name, &will.delay_interval_s],
        )
    }

    fn subscription(&mut self, record: &SubscriptionRecord) -> Result<(), StoreError> {
        let Some(Client { name, .. }) = self.clients.get(&record.session) else {
            return Ok(());
        };
        let identifier = record.identifier.map_or(0, |identifier| identifier.get());
        self.insert(
            "INSERT INTO subscriptions VALUES(?,?,?,?)",
            &[name, &record.filter, &record.options, &identifier],
        )
    }

    /// The number of a message, which is written the first time it is met.
    fn message(&mut self, message: &Rc<Message>) -> Result<i64, StoreError> {
        let next = i64::try_from(self.messages.len()).unwrap_or(i64::MAX - 1) + 1;
        let number = *self.messages.entry(Rc::as_ptr(message)).or_insert(next);
        if number != next {
            return Ok(number);
        }
        let publication = message.publication();
        let publisher = publication.publisher;
        let user = publisher.and_then(|by| by.username.as_deref());
        self.insert(
            "INSERT INTO base_msgs VALUES(?,?,?,?,?,?,?,0,0,?,?,?)",
            &[
                &number,
                &self.date(publication.expires_at),
                &string(publication.topic),
                &publication.payload,
                &publisher.map(|by| string(&by.client_identifier)),
                &user.map(string),
                &length(publication.payload),
                &publication.qos.bits(),
                &publication.retain,
                &json::write(publication.properties),
            ],
        )?;
        Ok(number)
    }

    fn queued(
        &mut self,
        id: SessionId,
        delivery: &Delivery,
        packet: Option<PacketIdentifier>,
    ) -> Result<(), StoreError> {
        let number = self.message(&delivery.message)?;
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        // mosquitto gives a message its Packet Identifier when it begins to wait, and none later.
        let last = client.last_packet_identifier;
        client.last_packet_identifier = match packet {
            Some(packet) => packet.get().max(last),
            None => last.checked_add(1).unwrap_or(1),
        };
        client.messages += 1;
        let packet_identifier = packet.map_or(client.last_packet_identifier, |packet| packet.get());
        let state = match (packet, delivery.qos) {
            (Some(_), QoS::ExactlyOnce) => state::WAIT_FOR_PUBREC,
            (Some(_), QoS::AtLeastOnce | QoS::AtMostOnce) => state::WAIT_FOR_PUBACK,
            (None, _) => state::QUEUED,
        };
        let (name, count) = (client.name.clone(), client.messages);
        let identifiers = delivery.identifiers.as_slice();
        self.insert(
            "INSERT INTO client_msgs VALUES(?,?,?,?,?,?,?,?,?,?)",
            &[
                &name,
                &count,
                &number,
                &packet.is_some(),
                &OUTGOING,
                &packet_identifier,
                &delivery.qos.bits(),
                &delivery.retain,
                &state,
                &identifiers.first().copied().unwrap_or_default(),
            ],
        )
    }
}

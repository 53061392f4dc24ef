//! `mosquitto.db` written, version 6, for the way back. What mosquitto's file has no place for
//! (shared subscriptions of absent clients it would lose itself, Wills, Packet Identifiers of QoS 2
//! messages from clients) is counted and left out.

use super::gather::state;
use super::import::{MAGIC, kind};
use crate::broker::inflight::Delivery;
use crate::broker::key::SessionId;
use crate::broker::record::{Record, SessionRecord};
use crate::bytes::{put_u16, put_u32, put_variable};
use crate::codec::property::Property;
use crate::message::{Message, PacketIdentifier, QoS};
use crate::time::{Mono, Now};
use std::collections::HashMap;
use std::rc::Rc;

/// A whole file.
#[derive(Debug, Default)]
pub struct Exported {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many facts it has no place for.
    pub left_out: u64,
}

/// Writes what `records` say, as of `now`.
pub fn write(records: &[Record], now: Now) -> Exported {
    let mut export = Export {
        now,
        clients: HashMap::new(),
        messages: HashMap::new(),
        stored: Vec::new(),
        rest: Vec::new(),
        retained: Vec::new(),
        left_out: 0,
    };
    for record in records {
        export.record(record);
    }
    let mut bytes = MAGIC.to_vec();
    put_u32(&mut bytes, 0);
    put_u32(&mut bytes, 6);
    let mut config = (export.messages.len() as u64).to_le_bytes().to_vec();
    // A clean end; identifiers of 8 bytes; padding.
    config.extend_from_slice(&[1, 8, 0, 0, 0, 0, 0, 0]);
    chunk(&mut bytes, kind::CONFIG, &config);
    for part in [export.stored, export.rest, export.retained] {
        bytes.extend_from_slice(&part);
    }
    Exported {
        bytes,
        left_out: export.left_out,
    }
}

struct Export {
    now: Now,
    clients: HashMap<SessionId, Client>,
    /// Their numbers in the file, by where they lie.
    messages: HashMap<*const Message, u64>,
    /// Chunks of messages, of clients with what is theirs, and of what is retained.
    stored: Vec<u8>,
    rest: Vec<u8>,
    retained: Vec<u8>,
    left_out: u64,
}

/// A client that was written.
struct Client {
    name: Box<str>,
    /// Where its last Packet Identifier stands in `rest`.
    last_at: usize,
    last: u16,
}

fn chunk(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    put_u32(out, kind);
    put_u32(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(body);
}

fn put_length(out: &mut Vec<u8>, text: &str) {
    // Everything here came in one packet, whose strings are no longer.
    put_u16(out, u16::try_from(text.len()).unwrap_or(u16::MAX));
}

/// A Property Length, and the properties behind it.
fn put_properties(out: &mut Vec<u8>, properties: &[u8]) {
    put_variable(out, u32::try_from(properties.len()).unwrap_or_default());
    out.extend_from_slice(properties);
}

impl Export {
    /// Seconds since 1970 at `at`; 0: never.
    fn date(&self, at: Mono) -> i64 {
        let left_s = at.ms_since(self.now.mono).div_ceil(1000);
        match at {
            Mono::NEVER => 0,
            _ => i64::try_from(self.now.unix.0.saturating_add(left_s)).unwrap_or(i64::MAX),
        }
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Session(record) => self.client(record),
            Record::Subscribed(record) if record.group.is_none() => {
                let Some(Client { name: client, .. }) = self.clients.get(&record.session) else {
                    return;
                };
                let mut body = Vec::new();
                put_u32(&mut body, record.identifier.map_or(0, |id| id.get()));
                put_length(&mut body, client);
                put_length(&mut body, &record.filter);
                body.extend_from_slice(&[record.options & 0b11, record.options & 0b1100, 0, 0]);
                body.extend_from_slice(client.as_bytes());
                body.extend_from_slice(record.filter.as_bytes());
                chunk(&mut self.rest, kind::SUBSCRIPTION, &body);
            }
            Record::Queued(id, _, delivery, packet) => self.queued(*id, delivery, *packet),
            Record::Retained(message) => {
                let number = self.message(message);
                chunk(&mut self.retained, kind::RETAINED, &number.to_le_bytes());
            }
            _ => self.left_out += 1,
        }
    }

    fn client(&mut self, record: &SessionRecord) {
        let identity = &record.identity;
        let user = identity.username.as_deref().unwrap_or_default();
        let mut body = self.date(record.ends_at).to_le_bytes().to_vec();
        put_u32(&mut body, record.expiry_interval_s);
        put_u16(&mut body, 0);
        put_length(&mut body, &identity.client_identifier);
        put_u16(&mut body, record.listener_port);
        put_length(&mut body, user);
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(identity.client_identifier.as_bytes());
        body.extend_from_slice(user.as_bytes());
        // Behind the head of the chunk, the date and the interval.
        let last_at = self.rest.len() + 8 + 12;
        chunk(&mut self.rest, kind::CLIENT, &body);
        let client = Client {
            name: identity.client_identifier.clone(),
            last_at,
            last: 0,
        };
        self.clients.insert(record.session, client);
    }

    /// The number of a message, which is written the first time it is met.
    fn message(&mut self, message: &Rc<Message>) -> u64 {
        let next = self.messages.len() as u64 + 1;
        let number = *self.messages.entry(Rc::as_ptr(message)).or_insert(next);
        if number != next {
            return number;
        }
        let publication = message.publication();
        let publisher = publication.publisher;
        let source = publisher.map_or("", |by| &by.client_identifier);
        let user = publisher
            .and_then(|by| by.username.as_deref())
            .unwrap_or("");
        let mut body = number.to_le_bytes().to_vec();
        body.extend_from_slice(&self.date(publication.expires_at).to_le_bytes());
        put_u32(
            &mut body,
            u32::try_from(publication.payload.len()).unwrap_or_default(),
        );
        put_u16(&mut body, 0);
        put_length(&mut body, source);
        put_length(&mut body, user);
        put_length(&mut body, publication.topic);
        put_u16(&mut body, 0);
        body.extend_from_slice(&[publication.qos.bits(), u8::from(publication.retain)]);
        for text in [source, user, publication.topic] {
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(publication.payload);
        if !publication.properties.is_empty() {
            put_properties(&mut body, publication.properties);
        }
        chunk(&mut self.stored, kind::MESSAGE, &body);
        number
    }

    fn queued(&mut self, id: SessionId, delivery: &Delivery, packet: Option<PacketIdentifier>) {
        let number = self.message(&delivery.message);
        let Some(Client {
            name: client,
            last_at,
            last,
        }) = self.clients.get_mut(&id)
        else {
            return;
        };
        // mosquitto gives a message its Packet Identifier when it begins to wait, and none later.
        *last = match packet {
            Some(packet) => packet.get().max(*last),
            None => last.checked_add(1).unwrap_or(1),
        };
        if let Some(place) = self.rest.get_mut(*last_at..*last_at + 2) {
            place.copy_from_slice(&last.to_be_bytes());
        }
        let packet_identifier = packet.map_or(*last, |packet| packet.get());
        let state = match (packet, delivery.qos) {
            (Some(_), QoS::ExactlyOnce) => state::WAIT_FOR_PUBREC,
            (Some(_), QoS::AtLeastOnce | QoS::AtMostOnce) => state::WAIT_FOR_PUBACK,
            (None, _) => state::QUEUED,
        };
        let mut body = number.to_le_bytes().to_vec();
        put_u16(&mut body, packet_identifier);
        put_length(&mut body, client);
        let retain = u8::from(delivery.retain) << 4;
        body.extend_from_slice(&[delivery.qos.bits(), state, retain, 1]);
        body.extend_from_slice(client.as_bytes());
        // mosquitto has a place for one.
        if let Some(identifier) = delivery.identifiers.as_slice().first() {
            let mut properties = Vec::new();
            Property::SubscriptionIdentifier(*identifier).encode(&mut properties);
            put_properties(&mut body, &properties);
        }
        chunk(&mut self.rest, kind::CLIENT_MESSAGE, &body);
    }
}

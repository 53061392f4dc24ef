//! mosquitto's own file, `mosquitto.db`, read: what it holds becomes records. It is apart because
//! nobody needs it twice. The file is never changed, and a damaged one gives what stands before the
//! damage.
//!
//! ```text
//!   00 B5 00 "mosquitto db" | crc, always 0 | version | chunk ...
//!   chunk, versions 5 and 6:  kind (u32) | length (u32) | a C struct | strings and bytes
//!   chunk, versions 2 to 4:   kind (u16) | length (u32) | members, strings with their length before
//! ```
//!
//! In the structs, members of 64 bits are in the order of the machine that wrote them, the others
//! big-endian. What is read here was written little-endian, as by every machine that midge runs on.

use crate::broker::inflight::Delivery;
use crate::broker::key::SessionId;
use crate::broker::record::{Place, Record, SessionRecord, SubscriptionRecord};
use crate::broker::session::NEVER_EXPIRES;
use crate::bytes::Reader;
use crate::codec::property::{Properties, Property, PropertyHolder};
use crate::config::Config;
use crate::message::{Identity, Message, PacketIdentifier, Publication, QoS};
use crate::time::{Mono, Now};
use std::collections::HashMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::rc::Rc;

/// What every file begins with.
pub const MAGIC: &[u8; 15] = b"\x00\xb5\x00mosquitto db";

/// Kinds of chunks.
pub mod kind {
    /// The last message id, and what the file was written for.
    pub const CONFIG: u32 = 1;
    /// A message.
    pub const MESSAGE: u32 = 2;
    /// A message for one client, or from it.
    pub const CLIENT_MESSAGE: u32 = 3;
    /// That a message is retained.
    pub const RETAINED: u32 = 4;
    /// A subscription.
    pub const SUBSCRIPTION: u32 = 5;
    /// A client.
    pub const CLIENT: u32 = 6;
}

/// States of a message for or from a client, as mosquitto numbers them.
pub mod state {
    /// Sent at QoS 1.
    pub const WAIT_FOR_PUBACK: u8 = 3;
    /// Sent at QoS 2.
    pub const WAIT_FOR_PUBREC: u8 = 5;
    /// PUBREC has come, and PUBREL is to be sent again.
    pub const RESEND_PUBREL: u8 = 6;
    /// PUBREL was sent.
    pub const WAIT_FOR_PUBCOMP: u8 = 9;
    /// Not sent yet.
    pub const QUEUED: u8 = 11;
}

/// Why a file was not read, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// It does not begin as mosquitto's do.
    Foreign,
    /// It is of a version that nobody knows.
    Version(u32),
    /// It ends, or makes no sense, at this byte.
    Damaged(usize),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is no database of mosquitto's"),
            Self::Version(version) => write!(f, "its version {version} is none of 2 to 6"),
            Self::Damaged(at) => write!(f, "it is damaged from byte {at} on"),
        }
    }
}

/// What a file comes to.
#[derive(Debug, Default)]
pub struct Imported {
    /// In the order in which they are to be restored.
    pub records: Vec<Record>,
    /// QoS 2 messages that mosquitto had taken and not passed on yet, which it does at PUBREL.
    pub unpublished: Vec<Rc<Message>>,
}

/// Reads a whole file: what it comes to, and what is wrong with the rest.
pub fn read(bytes: &[u8], config: &Config, now: Now) -> (Imported, Option<ImportError>) {
    let mut import = Import {
        config,
        now,
        version: 0,
        imported: Imported::default(),
        clients: HashMap::new(),
        sessions: Vec::new(),
        others: Vec::new(),
        messages: HashMap::new(),
        last_place: 0,
    };
    let error = import.read(bytes).err();
    let Import {
        mut imported,
        sessions,
        others,
        ..
    } = import;
    imported.records = sessions.into_iter().chain(others).collect();
    (imported, error)
}

struct Import<'i> {
    config: &'i Config,
    now: Now,
    version: u32,
    imported: Imported,
    clients: HashMap<String, SessionId>,
    sessions: Vec<Record>,
    others: Vec<Record>,
    messages: HashMap<u64, Rc<Message>>,
    last_place: u64,
}

/// A message of one client.
struct ClientMessage<'c> {
    client: &'c str,
    message: u64,
    packet_identifier: u16,
    qos: u8,
    state: u8,
    retain: bool,
    is_outgoing: bool,
    identifier: Option<u32>,
}

/// Bytes of a chunk that are still to be read.
struct Chunk<'c>(&'c [u8]);

impl<'c> Chunk<'c> {
    fn take(&mut self, count: usize) -> Option<&'c [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// In the order of the machine.
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self, length: u16) -> Option<&'c str> {
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }

    /// A string with its length before it.
    fn string(&mut self) -> Option<&'c str> {
        let length = self.u16()?;
        self.text(length)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties of a PUBLISH, if there are any.
    fn properties(&mut self) -> Option<Properties<'c>> {
        let mut reader = Reader::new(self.0);
        Properties::read(&mut reader, PropertyHolder::Publish).ok()
    }
}

/// Properties as a message keeps them.
fn lasting(properties: Properties<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (property, raw) in properties.iter_raw() {
        let is_hop = matches!(
            property,
            Property::TopicAlias(_) | Property::MessageExpiryInterval(_)
        );
        if !is_hop {
            bytes.extend_from_slice(raw);
        }
    }
    bytes
}

impl Import<'_> {
    fn read(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let mut reader = Chunk(bytes);
        if reader.take(MAGIC.len()) != Some(MAGIC) || reader.u32().is_none() {
            return Err(ImportError::Foreign);
        }
        self.version = reader.u32().ok_or(ImportError::Foreign)?;
        if !(2..=6).contains(&self.version) {
            return Err(ImportError::Version(self.version));
        }
        while !reader.is_empty() {
            let at = bytes.len() - reader.0.len();
            self.chunk(&mut reader).ok_or(ImportError::Damaged(at))?;
        }
        Ok(())
    }

    /// One chunk; `None`: it makes no sense. What one of an unknown kind says is passed over.
    fn chunk(&mut self, reader: &mut Chunk<'_>) -> Option<()> {
        let kind = match self.version {
            2..=4 => u32::from(reader.u16()?),
            _ => reader.u32()?,
        };
        let length = usize::try_from(reader.u32()?).ok()?;
        let mut chunk = Chunk(reader.take(length)?);
        let is_old = self.version <= 4;
        match kind {
            kind::MESSAGE if is_old => self.old_message(&mut chunk),
            kind::MESSAGE => self.message(&mut chunk),
            kind::CLIENT_MESSAGE => {
                let found = match is_old {
                    true => old_client_message(&mut chunk),
                    false => client_message(&mut chunk),
                };
                self.client_message(&found?)
            }
            kind::RETAINED => {
                let message = self.messages.get(&chunk.u64()?)?;
                let is_own = message.publication().topic.starts_with("$SYS/");
                if !is_own {
                    self.others.push(Record::Retained(Rc::clone(message)));
                }
                Some(())
            }
            kind::SUBSCRIPTION => self.subscription(&mut chunk, is_old),
            kind::CLIENT if is_old => self.old_client(&mut chunk),
            kind::CLIENT => self.client(&mut chunk),
            _ => Some(()),
        }
    }

    fn message(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let id = chunk.u64()?;
        let expires = chunk.u64()?;
        let payload_bytes = usize::try_from(chunk.u32()?).ok()?;
        let _source_identifier = chunk.u16()?;
        let (source, user, topic) = (chunk.u16()?, chunk.u16()?, chunk.u16()?);
        let _source_port = chunk.u16()?;
        let (qos, retain) = (chunk.u8()?, chunk.u8()?);
        let (source, user) = (chunk.text(source)?, chunk.text(user)?);
        let topic = chunk.text(topic)?;
        let payload = chunk.take(payload_bytes)?;
        let properties = match chunk.is_empty() {
            true => Vec::new(),
            false => lasting(chunk.properties()?),
        };
        let date = u64::try_from(i64::from_le_bytes(expires.to_le_bytes())).unwrap_or(0);
        let left_s = date.saturating_sub(self.now.unix.0);
        let expires_at = match date {
            0 => Mono::NEVER,
            _ => self.now.mono.plus_s(left_s),
        };
        let publication = Publication {
            topic,
            properties: &properties,
            payload,
            qos: QoS::from_bits(qos)?,
            retain: retain != 0,
            expires_at,
            publisher: None,
            came: None,
            wire: None,
            message: None,
        };
        self.keep(id, source, user, publication);
        Some(())
    }

    fn old_message(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let id = chunk.u64()?;
        let source = chunk.string()?;
        let user = match self.version {
            4 => {
                let user = chunk.string()?;
                chunk.u16()?;
                user
            }
            _ => "",
        };
        let _source_identifier = chunk.u16()?;
        let _identifier = chunk.u16()?;
        let topic = chunk.string()?;
        let (qos, retain) = (chunk.u8()?, chunk.u8()?);
        let payload_bytes = usize::try_from(chunk.u32()?).ok()?;
        let payload = chunk.take(payload_bytes)?;
        let publication = Publication {
            topic,
            properties: &[],
            payload,
            qos: QoS::from_bits(qos)?,
            retain: retain != 0,
            expires_at: Mono::NEVER,
            publisher: None,
            came: None,
            wire: None,
            message: None,
        };
        self.keep(id, source, user, publication);
        Some(())
    }

    fn keep(&mut self, id: u64, source: &str, user: &str, publication: Publication<'_>) {
        let identity = Rc::new(Identity {
            client_identifier: source.into(),
            username: Some(user).filter(|user| !user.is_empty()).map(Into::into),
            listener: 0,
        });
        let mut publication = Publication {
            publisher: Some(&identity).filter(|_| !source.is_empty()),
            ..publication
        };
        self.messages.insert(id, publication.message());
    }

    fn client(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let expires = i64::from_le_bytes(chunk.take(8)?.try_into().ok()?);
        let interval_s = chunk.u32()?;
        let _last_identifier = chunk.u16()?;
        let name = chunk.u16()?;
        let (port, user) = match self.version {
            6 => {
                let found = (chunk.u16()?, chunk.u16()?);
                chunk.take(4)?;
                found
            }
            _ => (0, 0),
        };
        let (name, user) = (chunk.text(name)?, chunk.text(user)?);
        let left_s = u64::try_from(expires)
            .unwrap_or(0)
            .saturating_sub(self.now.unix.0);
        let ends_at = match interval_s {
            0 | NEVER_EXPIRES => Mono::NEVER,
            _ if expires <= 0 => self.now.mono.plus_s(u64::from(interval_s)),
            _ => self.now.mono.plus_s(left_s),
        };
        // 0 is what an older version wrote of clients that never expire.
        let interval_s = if interval_s == 0 {
            NEVER_EXPIRES
        } else {
            interval_s
        };
        self.add_client(name, user, port, interval_s, ends_at);
        Some(())
    }

    fn old_client(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let name = chunk.string()?;
        // The last Packet Identifier, and from version 3 on when it left, in 4 bytes or 8.
        chunk.u16()?;
        self.add_client(name, "", 0, NEVER_EXPIRES, Mono::NEVER);
        Some(())
    }

    fn add_client(&mut self, name: &str, user: &str, port: u16, interval_s: u32, ends_at: Mono) {
        let listeners = &self.config.listeners;
        let listener = listeners.iter().position(|one| one.port == port);
        let session = SessionId::from_index(self.sessions.len());
        if self.clients.insert(name.to_owned(), session).is_some() {
            return;
        }
        self.sessions.push(Record::Session(Box::new(SessionRecord {
            session,
            identity: Rc::new(Identity {
                client_identifier: name.into(),
                username: Some(user).filter(|user| !user.is_empty()).map(Into::into),
                listener: listener.unwrap_or_default(),
            }),
            listener_port: port,
            expiry_interval_s: interval_s,
            is_connected: false,
            ends_at,
            will_at: Mono::NEVER,
        })));
    }

    fn subscription(&mut self, chunk: &mut Chunk<'_>, is_old: bool) -> Option<()> {
        let (client, filter, options, identifier) = match is_old {
            true => {
                let (client, filter) = (chunk.string()?, chunk.string()?);
                (client, filter, chunk.u8()?, 0)
            }
            false => {
                let identifier = chunk.u32()?;
                let (client, filter) = (chunk.u16()?, chunk.u16()?);
                let options = chunk.u8()? | chunk.u8()?;
                chunk.take(2)?;
                let client = chunk.text(client)?;
                (client, chunk.text(filter)?, options, identifier)
            }
        };
        if let Some(session) = self.clients.get(client).copied() {
            let record = SubscriptionRecord {
                session,
                filter: filter.into(),
                group: None,
                // Without Retain Handling, which has had its effect.
                options: options & 0b1111,
                identifier: NonZeroU32::new(identifier),
            };
            self.others.push(Record::Subscribed(Box::new(record)));
        }
        Some(())
    }

    fn client_message(&mut self, found: &ClientMessage<'_>) -> Option<()> {
        // A client or message that the file does not hold is no damage: mosquitto passes over it.
        let (Some(session), Some(message)) = (
            self.clients.get(found.client).copied(),
            self.messages.get(&found.message).cloned(),
        ) else {
            return Some(());
        };
        let packet_identifier = NonZeroU16::new(found.packet_identifier);
        if !found.is_outgoing {
            if let Some(packet_identifier) = packet_identifier {
                let record = Record::Held(session, packet_identifier);
                self.others.push(record);
                self.imported.unpublished.push(message);
            }
            return Some(());
        }
        let place = self.next_place();
        let delivery = Delivery {
            message,
            identifiers: found.identifier.into(),
            group: None,
            qos: QoS::from_bits(found.qos)?,
            retain: found.retain,
            place: Some(place),
        };
        self.others.push(outgoing(
            session,
            place,
            delivery,
            packet_identifier,
            found.state,
        ));
        Some(())
    }

    fn next_place(&mut self) -> Place {
        self.last_place += 1;
        NonZeroU64::MIN.saturating_add(self.last_place - 1)
    }
}

/// What a message to a client is, by its state.
fn outgoing(
    session: SessionId,
    place: Place,
    delivery: Delivery,
    packet_identifier: Option<PacketIdentifier>,
    state: u8,
) -> Record {
    match (state, packet_identifier) {
        (state::RESEND_PUBREL | state::WAIT_FOR_PUBCOMP, Some(packet_identifier)) => {
            Record::Received {
                session,
                place,
                released: place,
                packet_identifier,
            }
        }
        (state::WAIT_FOR_PUBACK | state::WAIT_FOR_PUBREC, packet_identifier) => {
            Record::Queued(session, place, delivery, packet_identifier)
        }
        _ => Record::Queued(session, place, delivery, None),
    }
}

fn client_message<'c>(chunk: &mut Chunk<'c>) -> Option<ClientMessage<'c>> {
    let message = chunk.u64()?;
    let packet_identifier = chunk.u16()?;
    let name = chunk.u16()?;
    let (qos, state, flags, direction) = (chunk.u8()?, chunk.u8()?, chunk.u8()?, chunk.u8()?);
    let client = chunk.text(name)?;
    let properties = chunk.properties().filter(|_| !chunk.is_empty());
    let identifier = properties.and_then(|found| found.subscription_identifiers().next());
    Some(ClientMessage {
        client,
        message,
        packet_identifier,
        qos,
        state,
        retain: flags >> 4 != 0,
        is_outgoing: direction == 1,
        identifier,
    })
}

fn old_client_message<'c>(chunk: &mut Chunk<'c>) -> Option<ClientMessage<'c>> {
    let client = chunk.string()?;
    let message = chunk.u64()?;
    let packet_identifier = chunk.u16()?;
    let (qos, retain, direction, state) = (chunk.u8()?, chunk.u8()?, chunk.u8()?, chunk.u8()?);
    Some(ClientMessage {
        client,
        message,
        packet_identifier,
        qos,
        state,
        retain: retain != 0,
        is_outgoing: direction == 1,
        identifier: None,
    })
}

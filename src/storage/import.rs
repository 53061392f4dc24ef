//! mosquitto's own file, `mosquitto.db`, read. It is apart because nobody needs it twice. The file is
//! never changed, and a damaged one gives what stands before the damage.
//!
//! ```text
//!   00 B5 00 "mosquitto db" | crc, always 0 | version | chunk ...
//!   chunk, versions 5 and 6:  kind (u32) | length (u32) | a C struct | strings and bytes
//!   chunk, versions 2 to 4:   kind (u16) | length (u32) | members, strings with their length before
//! ```
//!
//! In the structs, members of 64 bits are in the order of the machine that wrote them, the others
//! big-endian. What is read here was written little-endian, as by every machine that midge runs on.

use super::gather::{Client, ClientMessage, Gather, Imported, lasting};
use crate::broker::session::NEVER_EXPIRES;
use crate::bytes::Reader;
use crate::codec::property::{Properties, PropertyHolder};
use crate::config::Config;
use crate::message::{Publication, QoS};
use crate::time::{Mono, Now};
use std::fmt;

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

/// Reads a whole file: what it comes to, and what is wrong with the rest.
pub fn read(bytes: &[u8], config: &Config, now: Now) -> (Imported, Option<ImportError>) {
    let mut import = Import {
        now,
        version: 0,
        gather: Gather::new(config, now),
    };
    let error = import.read(bytes).err();
    (import.gather.finish(), error)
}

struct Import<'i> {
    now: Now,
    version: u32,
    gather: Gather<'i>,
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

    /// Seconds since 1970, in the order of the machine.
    fn date(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
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
                self.gather.client_message(&found?);
                Some(())
            }
            kind::RETAINED => {
                self.gather.retained(chunk.u64()?);
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
        let expires = chunk.date()?;
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
        let expires_at = self.gather.instant(expires).unwrap_or(Mono::NEVER);
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
        self.gather.message(id, source, user, publication);
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
        self.gather.message(id, source, user, publication);
        Some(())
    }

    fn client(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let expires = chunk.date()?;
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
        let ends_at = match (interval_s, self.gather.instant(expires)) {
            (0 | NEVER_EXPIRES, _) => Mono::NEVER,
            (_, None) => self.now.mono.plus_s(u64::from(interval_s)),
            (_, Some(ends_at)) => ends_at,
        };
        // 0 is what an older version wrote of clients that never expire.
        let interval_s = if interval_s == 0 {
            NEVER_EXPIRES
        } else {
            interval_s
        };
        self.gather.client(&Client {
            name,
            user,
            port,
            interval_s,
            ends_at,
            will_at: Mono::NEVER,
        });
        Some(())
    }

    fn old_client(&mut self, chunk: &mut Chunk<'_>) -> Option<()> {
        let name = chunk.string()?;
        // The last Packet Identifier, and from version 3 on when it left, in 4 bytes or 8.
        chunk.u16()?;
        self.gather.client(&Client {
            name,
            user: "",
            port: 0,
            interval_s: NEVER_EXPIRES,
            ends_at: Mono::NEVER,
            will_at: Mono::NEVER,
        });
        Some(())
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
        self.gather
            .subscription(client, filter, options, identifier);
        Some(())
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
        identifier: identifier.unwrap_or_default(),
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
        identifier: 0,
    })
}

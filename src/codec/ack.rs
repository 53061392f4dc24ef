//! PUBACK, PUBREC, PUBREL and PUBCOMP, which have one shape [MQTT §3.4 to §3.7] [MQTT5 §3.4 to §3.7]:
//!
//! ```text
//!   3.x:  [ Packet Identifier ]
//!   5.0:  [ Packet Identifier ][ Reason Code ][ properties ]   the last, or both, may be missing
//! ```

use super::dialect::ProtocolVersion;
use super::error::DecodeError;
use super::frame::{self, PacketType};
use super::property::{Properties, PropertyHolder};
use super::publish::read_packet_identifier;
use super::reason::{self, ReasonCode};
use crate::bytes::{Reader, put_u16};
use crate::message::PacketIdentifier;

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which.
    pub kind: AckKind,
    /// Of the PUBLISH it belongs to.
    pub packet_identifier: PacketIdentifier,
    /// `Success` in 3.x, and where 5.0 leaves it out.
    pub reason: ReasonCode,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

impl AckKind {
    /// The kind with the name of this packet type, if it is one of the four.
    pub const fn of(packet_type: PacketType) -> Option<Self> {
        match packet_type {
            PacketType::PubAck => Some(Self::PubAck),
            PacketType::PubRec => Some(Self::PubRec),
            PacketType::PubRel => Some(Self::PubRel),
            PacketType::PubComp => Some(Self::PubComp),
            _ => None,
        }
    }

    /// The packet type with the same name.
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    const fn holder(self) -> PropertyHolder {
        match self {
            Self::PubAck => PropertyHolder::PubAck,
            Self::PubRec => PropertyHolder::PubRec,
            Self::PubRel => PropertyHolder::PubRel,
            Self::PubComp => PropertyHolder::PubComp,
        }
    }
}

impl<'a> Ack<'a> {
    /// The acknowledgement that all went well.
    pub fn success(kind: AckKind, packet_identifier: PacketIdentifier) -> Self {
        Self {
            kind,
            packet_identifier,
            reason: ReasonCode::Success,
            properties: Properties::default(),
        }
    }

    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(
        kind: AckKind,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_identifier = read_packet_identifier(&mut reader, kind.packet_type())?;
        let (reason, properties) = if version.has_reason_codes() {
            reason::read_reason_and_properties(reader, kind.packet_type(), kind.holder())?
        } else {
            frame::finish(&reader)?;
            (ReasonCode::Success, Properties::default())
        };
        Ok(Self {
            kind,
            packet_identifier,
            reason,
            properties,
        })
    }

    /// Appends the acknowledgement that all went well, which is the same in every version.
    #[inline]
    pub fn encode_success(kind: AckKind, packet_identifier: PacketIdentifier, out: &mut Vec<u8>) {
        let packet_type = kind.packet_type();
        let first_byte = packet_type.value() << 4 | packet_type.fixed_flags().unwrap_or(0);
        let [high, low] = packet_identifier.get().to_be_bytes();
        out.extend_from_slice(&[first_byte, 2, high, low]);
    }

    /// Appends the whole packet, in the short form where Success without properties allows it.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        frame::write(self.kind.packet_type(), out, |out| {
            put_u16(out, self.packet_identifier.get());
            if version.has_reason_codes() {
                reason::put_reason_and_properties(self.reason, self.properties, out);
            }
        });
    }
}

//! PUBLISH [MQTT31 §3.3] [MQTT §3.3] [MQTT5 §3.3]. Apart because it is the hot path: decoding one
//! looks at each byte of the topic and of the properties once, and at none of the payload.

use super::dialect::ProtocolVersion;
use super::error::{DecodeError, Malformed, ProtocolError};
use super::frame::{Frame, PacketType};
use super::property::{Properties, PropertyHolder};
use super::utf8;
use crate::bytes::{Reader, put_binary, put_u16, put_variable, variable_bytes};
use crate::limits;
use crate::message::{PacketIdentifier, QoS, Wire};

/// A PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// This may be a second sending. Never with QoS 0 [MQTT-3.3.1-2] [MQTT5-3.3.1-2].
    pub dup: bool,
    /// Of this delivery.
    pub qos: QoS,
    /// To be retained, or (to a client) sent because it was.
    pub retain: bool,
    /// UTF-8, otherwise unchecked: may be empty (Topic Alias) or no valid Topic Name.
    pub topic: &'a str,
    /// There if and only if QoS is 1 or 2.
    pub packet_identifier: Option<PacketIdentifier>,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// May be empty.
    pub payload: &'a [u8],
}

/// A PUBLISH whose topic is not checked yet: who gets the same topic again and again knows it by
/// its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RawPublish<'a> {
    /// As in [`Publish`].
    pub dup: bool,
    /// As in [`Publish`].
    pub qos: QoS,
    /// As in [`Publish`].
    pub retain: bool,
    /// Any bytes.
    pub topic: &'a [u8],
    /// As in [`Publish`].
    pub packet_identifier: Option<PacketIdentifier>,
    /// As in [`Publish`].
    pub properties: Properties<'a>,
    /// As in [`Publish`].
    pub payload: &'a [u8],
    /// Whether its version has properties.
    has_properties: bool,
    /// All of it.
    frame: Option<&'a Frame<'a>>,
}

impl<'a> Publish<'a> {
    /// Decodes what follows the fixed header; `flags` is the lower half of its first byte.
    ///
    /// # Errors
    /// What is malformed or forbidden, with its clause at the deciding line.
    pub fn decode(
        flags: u8,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut topic = "";
        let raw = RawPublish::decode_body(flags, body, version, |bytes| {
            topic = utf8::check(bytes)?;
            Ok(())
        })?;
        Ok(Self {
            dup: raw.dup,
            qos: raw.qos,
            retain: raw.retain,
            topic,
            packet_identifier: raw.packet_identifier,
            properties: raw.properties,
            payload: raw.payload,
        })
    }

    /// Appends the whole packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        debug_assert_eq!(
            self.packet_identifier.is_some(),
            self.qos != QoS::AtMostOnce
        );
        let remaining_length = self.remaining_length(version);
        out.reserve(remaining_length.saturating_add(5));
        out.push(self.first_byte());
        put_variable(
            out,
            u32::try_from(remaining_length).unwrap_or(limits::REMAINING_LENGTH_MAX),
        );
        put_binary(out, self.topic.as_bytes());
        if let Some(packet_identifier) = self.packet_identifier {
            put_u16(out, packet_identifier.get());
        }
        if version.has_properties() {
            self.properties.encode(out);
        }
        out.extend_from_slice(self.payload);
    }

    /// The first byte of the fixed header.
    pub const fn first_byte(&self) -> u8 {
        let mut first = PacketType::Publish.value() << 4 | self.qos.bits() << 1;
        if self.dup {
            first |= DUP;
        }
        if self.retain {
            first |= RETAIN;
        }
        first
    }

    /// Bytes after the fixed header.
    fn remaining_length(&self, version: ProtocolVersion) -> usize {
        let mut bytes = 2 + self.topic.len() + self.payload.len();
        if self.packet_identifier.is_some() {
            bytes += 2;
        }
        if version.has_properties() {
            let property_length = self.properties.length();
            bytes += self.properties.as_bytes().len();
            bytes += usize::try_from(variable_bytes(property_length)).unwrap_or(4);
        }
        bytes
    }
}

impl<'a> RawPublish<'a> {
    /// Decodes a packet.
    ///
    /// # Errors
    /// As [`Publish::decode`], but for what the topic may contain.
    #[inline]
    pub fn decode(frame: &'a Frame<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let unchecked = |_: &[u8]| Ok(());
        let mut packet = Self::decode_body(frame.header.flags, frame.body, version, unchecked)?;
        packet.frame = Some(frame);
        Ok(packet)
    }

    /// All of it as it came, if its Remaining Length was in the shortest form.
    #[inline(always)]
    pub fn sent_as(&self) -> Option<Wire<'a>> {
        let frame = self.frame.filter(|frame| frame.header.is_shortest())?;
        let topic_at = frame.bytes.len() - frame.body.len() + 2;
        Some(Wire {
            bytes: frame.bytes,
            has_properties: self.has_properties,
            packet_identifier_at: topic_at + self.topic.len(),
        })
    }

    /// Decodes what follows the fixed header; `flags` is the lower half of its first byte. The topic
    /// is shown to `check_topic`.
    ///
    /// # Errors
    /// As [`Publish::decode`]; what the topic may not contain is for `check_topic` to say.
    #[inline]
    fn decode_body(
        flags: u8,
        body: &'a [u8],
        version: ProtocolVersion,
        check_topic: impl FnOnce(&'a [u8]) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        // [MQTT-3.3.1-4] [MQTT5-3.3.1-4]
        let qos = QoS::from_bits(flags >> 1 & 0b11).ok_or(Malformed::QosThree)?;
        let mut dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            // [MQTT-3.3.1-2] [MQTT5-3.3.1-2]. 3.1 says only that DUP applies to QoS 1 and 2.
            if version != ProtocolVersion::V31 {
                return Err(Malformed::DupWithQosZero.into());
            }
            dup = false;
        }
        let mut reader = Reader::new(body);
        let topic = reader.binary()?;
        check_topic(topic)?;
        let packet_identifier = match qos {
            QoS::AtMostOnce => None, // [MQTT-2.3.1-5] [MQTT5-2.2.1-2]
            _ => Some(read_packet_identifier(&mut reader, PacketType::Publish)?),
        };
        let properties = if version.has_properties() {
            Properties::read(&mut reader, PropertyHolder::Publish)?
        } else {
            Properties::default()
        };
        Ok(Self {
            dup,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            packet_identifier,
            properties,
            payload: reader.rest(),
            has_properties: version.has_properties(),
            frame: None,
        })
    }
}

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// Reads a Packet Identifier.
///
/// # Errors
/// `ProtocolError::PacketIdentifierZero` [MQTT-2.3.1-1] [MQTT5-2.2.1-3]; `Malformed::Truncated`.
pub(super) fn read_packet_identifier(
    reader: &mut Reader<'_>,
    packet_type: PacketType,
) -> Result<PacketIdentifier, DecodeError> {
    PacketIdentifier::new(reader.u16()?)
        .ok_or_else(|| ProtocolError::PacketIdentifierZero(packet_type).into())
}

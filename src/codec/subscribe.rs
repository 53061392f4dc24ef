//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK [MQTT §3.8 to §3.11] [MQTT5 §3.8 to §3.11].

use super::dialect::ProtocolVersion;
use super::error::{DecodeError, Malformed, ProtocolError};
use super::frame::{self, PacketType};
use super::property::{Properties, PropertyHolder};
use super::publish::read_packet_identifier;
use super::reason::ReasonCode;
use super::utf8;
use crate::bytes::{Reader, put_binary, put_u16};
use crate::message::{PacketIdentifier, QoS};

/// When retained messages are sent at SUBSCRIBE [MQTT5 §3.8.3.1].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: at each SUBSCRIBE.
    #[default]
    Send,
    /// 1: only if the subscription did not exist before.
    SendIfNew,
    /// 2: never.
    DoNotSend,
}

/// Subscription Options; all but the QoS are as if 0 in 3.x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// The payload of a SUBSCRIBE or UNSUBSCRIBE, checked: at least one Topic Filter, each UTF-8 and
/// otherwise unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a> {
    wire: &'a [u8],
    /// The bits of an options byte that mean anything in this version; 0: there is no such byte.
    option_bits: u8,
}

/// A SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To be echoed.
    pub packet_identifier: PacketIdentifier,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// Filters with options.
    pub filters: Filters<'a>,
}

/// An UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// To be echoed.
    pub packet_identifier: PacketIdentifier,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// Filters without options.
    pub filters: Filters<'a>,
}

/// A SUBACK or an UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Echoed.
    pub packet_identifier: PacketIdentifier,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// One a filter, in order, as on the wire. An UNSUBACK of 3.x has none.
    pub codes: &'a [u8],
}

const QOS_BITS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;

/// The bits of an options byte that mean anything: all but two in 5.0 [MQTT5 §3.8.3.1], only the
/// QoS in 3.x [MQTT §3.8.3].
const fn option_bits(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => QOS_BITS,
        ProtocolVersion::V5 => 0b0011_1111,
    }
}

impl SubscriptionOptions {
    /// Only a QoS; all else as 3.x has it.
    pub fn of_qos(qos: QoS) -> Self {
        Self {
            qos,
            ..Self::default()
        }
    }

    /// The options byte as 5.0 has it; its low two bits are the whole of it in 3.x.
    pub const fn bits(self) -> u8 {
        let mut bits = self.qos.bits();
        if self.no_local {
            bits |= NO_LOCAL;
        }
        if self.retain_as_published {
            bits |= RETAIN_AS_PUBLISHED;
        }
        let handling = match self.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        bits | handling << RETAIN_HANDLING_SHIFT
    }

    /// The options in a byte whose reserved bits are 0.
    ///
    /// # Errors
    /// `ProtocolError::SubscriptionQosThree`, `ProtocolError::RetainHandlingThree`.
    pub const fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        // [MQTT-3.8.3-4] [MQTT5 §3.8.3.1]
        let Some(qos) = QoS::from_bits(bits & QOS_BITS) else {
            return Err(ProtocolError::SubscriptionQosThree);
        };
        let retain_handling = match bits >> RETAIN_HANDLING_SHIFT & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            // [MQTT5 §3.8.3.1]: "It is a Protocol Error to send a Retain Handling value of 3."
            _ => return Err(ProtocolError::RetainHandlingThree),
        };
        Ok(Self {
            qos,
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }
}

impl<'a> Filters<'a> {
    /// Reads the rest of a SUBSCRIBE.
    fn read_with_options(
        mut reader: Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let filters = Self {
            wire: reader.rest(),
            option_bits: option_bits(version),
        };
        // [MQTT-3.8.3-3] [MQTT5-3.8.3-2]
        if reader.is_empty() {
            return Err(ProtocolError::NoTopicFilter(PacketType::Subscribe).into());
        }
        while !reader.is_empty() {
            utf8::read(&mut reader)?; // [MQTT-3.8.3-1] [MQTT5-3.8.3-1]
            let bits = reader.u8()?;
            // [MQTT-3.8.3-4] [MQTT5-3.8.3-5]. In 3.1 the other bits are unused, whatever they are.
            if bits & !filters.option_bits != 0 && version != ProtocolVersion::V31 {
                return Err(Malformed::SubscriptionOptionsReserved.into());
            }
            SubscriptionOptions::from_bits(bits & filters.option_bits)?;
        }
        Ok(filters)
    }

    /// Reads the rest of an UNSUBSCRIBE.
    fn read_without_options(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let filters = Self {
            wire: reader.rest(),
            option_bits: 0,
        };
        // [MQTT-3.10.3-2] [MQTT5-3.10.3-2]
        if reader.is_empty() {
            return Err(ProtocolError::NoTopicFilter(PacketType::Unsubscribe).into());
        }
        while !reader.is_empty() {
            utf8::read(&mut reader)?; // [MQTT-3.10.3-1] [MQTT5-3.10.3-1]
        }
        Ok(filters)
    }

    /// Each filter, with default options where there are none. The bytes were checked by one of
    /// the readers above, so nothing is left out.
    fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + 'a {
        let mut reader = Reader::new(self.wire);
        let option_bits = self.option_bits;
        std::iter::from_fn(move || {
            let filter = std::str::from_utf8(reader.binary().ok()?).ok()?;
            let bits = match option_bits {
                0 => 0,
                _ => reader.u8().ok()? & option_bits,
            };
            Some((filter, SubscriptionOptions::from_bits(bits).ok()?))
        })
    }
}

/// What all four packets begin with: Packet Identifier and, in 5.0, properties.
fn read_head<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    (packet_type, holder): (PacketType, PropertyHolder),
) -> Result<(PacketIdentifier, Properties<'a>), DecodeError> {
    let packet_identifier = read_packet_identifier(reader, packet_type)?;
    if !version.has_properties() {
        return Ok((packet_identifier, Properties::default()));
    }
    Ok((packet_identifier, Properties::read(reader, holder)?))
}

fn put_head(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    put_u16(out, packet_identifier.get());
    if version.has_properties() {
        properties.encode(out);
    }
}

const SUBSCRIBE: (PacketType, PropertyHolder) = (PacketType::Subscribe, PropertyHolder::Subscribe);
const SUBACK: (PacketType, PropertyHolder) = (PacketType::SubAck, PropertyHolder::SubAck);
const UNSUBSCRIBE: (PacketType, PropertyHolder) =
    (PacketType::Unsubscribe, PropertyHolder::Unsubscribe);
const UNSUBACK: (PacketType, PropertyHolder) = (PacketType::UnsubAck, PropertyHolder::UnsubAck);

impl<'a> Subscribe<'a> {
    /// The filters and options, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + 'a {
        self.filters.iter()
    }

    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_identifier, properties) = read_head(&mut reader, version, SUBSCRIBE)?;
        Ok(Self {
            packet_identifier,
            properties,
            filters: Filters::read_with_options(reader, version)?,
        })
    }

    /// Appends the whole packet. Options that `version` does not have are left out.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let (packet_identifier, properties) = (self.packet_identifier, self.properties);
        encode_subscribe(packet_identifier, properties, self.iter(), version, out);
    }
}

/// Appends a SUBSCRIBE for these filters, of which there is at least one.
pub fn encode_subscribe<'f>(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: impl IntoIterator<Item = (&'f str, SubscriptionOptions)>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    frame::write(PacketType::Subscribe, out, |out| {
        put_head(packet_identifier, properties, version, out);
        for (filter, options) in filters {
            put_binary(out, filter.as_bytes());
            out.push(options.bits() & option_bits(version));
        }
    });
}

impl<'a> Unsubscribe<'a> {
    /// The filters, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.filters.iter().map(|(filter, _)| filter)
    }

    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_identifier, properties) = read_head(&mut reader, version, UNSUBSCRIBE)?;
        Ok(Self {
            packet_identifier,
            properties,
            filters: Filters::read_without_options(reader)?,
        })
    }

    /// Appends the whole packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let (packet_identifier, properties) = (self.packet_identifier, self.properties);
        encode_unsubscribe(packet_identifier, properties, self.iter(), version, out);
    }
}

/// Appends an UNSUBSCRIBE for these filters, of which there is at least one.
pub fn encode_unsubscribe<'f>(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: impl IntoIterator<Item = &'f str>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    frame::write(PacketType::Unsubscribe, out, |out| {
        put_head(packet_identifier, properties, version, out);
        for filter in filters {
            put_binary(out, filter.as_bytes());
        }
    });
}

impl<'a> SubAck<'a> {
    /// Decodes what follows the fixed header of a SUBACK.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_identifier, properties) = read_head(&mut reader, version, SUBACK)?;
        let codes = reader.rest();
        check_codes(codes, PacketType::SubAck, |code| {
            // [MQTT-3.9.3-2] Choice: 3.1 has no refusal, but servers send it to 3.1 clients, too.
            let in_3_x = matches!(code, 0 | 1 | 2 | 0x80);
            in_3_x || version.has_reason_codes() && is_code_of(PacketType::SubAck, code)
        })?;
        Ok(Self {
            packet_identifier,
            properties,
            codes,
        })
    }

    /// Decodes what follows the fixed header of an UNSUBACK.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode_unsuback(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_identifier, properties) = read_head(&mut reader, version, UNSUBACK)?;
        let codes = reader.rest();
        if version.has_reason_codes() {
            let allowed = |code| is_code_of(PacketType::UnsubAck, code);
            check_codes(codes, PacketType::UnsubAck, allowed)?;
        } else {
            frame::finish(&reader)?; // [MQTT §3.11.3]: no payload.
        }
        Ok(Self {
            packet_identifier,
            properties,
            codes,
        })
    }

    /// Appends the whole packet as a SUBACK.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        frame::write(PacketType::SubAck, out, |out| {
            put_head(self.packet_identifier, self.properties, version, out);
            out.extend_from_slice(self.codes);
        });
    }

    /// Appends the whole packet as an UNSUBACK, which has no codes in 3.x.
    pub fn encode_unsuback(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        frame::write(PacketType::UnsubAck, out, |out| {
            put_head(self.packet_identifier, self.properties, version, out);
            if version.has_reason_codes() {
                out.extend_from_slice(self.codes);
            }
        });
    }
}

/// [MQTT5-3.9.3-2] [MQTT5-3.11.3-2]
fn is_code_of(packet_type: PacketType, code: u8) -> bool {
    ReasonCode::of_packet(packet_type, code).is_ok()
}

/// [MQTT-3.8.4-5] [MQTT5-3.8.4-6] [MQTT5 §3.11.3]: one code for each filter, and no packet asks
/// for none.
fn check_codes(
    codes: &[u8],
    packet_type: PacketType,
    allowed: impl Fn(u8) -> bool,
) -> Result<(), ProtocolError> {
    if codes.is_empty() {
        return Err(ProtocolError::NoReasonCode(packet_type));
    }
    match codes.iter().find(|code| !allowed(**code)) {
        Some(&value) => Err(ProtocolError::ReasonCodeValue { packet_type, value }),
        None => Ok(()),
    }
}

//! What can be wrong with a packet, by whose rule it is wrong. Each knows its Reason Code and a
//! sentence for people; the broker turns it into a DISCONNECT or CONNACK and a log line. What only
//! a broker can see (a second CONNECT, a Topic Alias never set) is not here.

use super::frame::PacketType;
use super::property::{self, PropertyHolder};
use super::reason::ReasonCode;
use crate::bytes::OutOfBytes;
use std::fmt;

/// Why bytes were not taken as a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes cannot be parsed by the specification [MQTT5 §1.2 Malformed Packet].
    Malformed(Malformed),
    /// They parse, but are not allowed to be so [MQTT5 §1.2 Protocol Error].
    Protocol(ProtocolError),
}

/// How bytes can fail to be a packet. All have the Reason Code 0x81 [MQTT5 §4.13.1].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The Remaining Length goes on past four bytes [MQTT §2.2.3] [MQTT5 §1.5.5].
    RemainingLength,
    /// The packet, or the properties in it, end in the middle of a field.
    Truncated,
    /// Bytes are left after the last field.
    TrailingBytes,
    /// A Variable Byte Integer inside the packet is longer than four bytes or than its value needs
    /// [MQTT5-1.5.5-1].
    VariableByteInteger,
    /// A packet type without a meaning: 0, and in 3.x also 15 [MQTT §2.2.1] [MQTT5 §2.1.2].
    ReservedPacketType(u8),
    /// Flags in the fixed header that this packet type does not have [MQTT-2.2.2-2]
    /// [MQTT5-2.1.3-1].
    FixedHeaderFlags(PacketType),
    /// A PUBLISH with both QoS bits set [MQTT-3.3.1-4] [MQTT5-3.3.1-4].
    QosThree,
    /// A PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2] [MQTT5-3.3.1-2].
    DupWithQosZero,
    /// A string that is not UTF-8 [MQTT-1.5.3-1] [MQTT5-1.5.4-1].
    Utf8,
    /// A string with U+0000 in it [MQTT-1.5.3-2] [MQTT5-1.5.4-2].
    NullCharacter,
    /// A string with a control character or a non-character in it [MQTT §1.5.3] [MQTT5 §1.5.4].
    DisallowedCharacter,
    /// Bit 0 of the Connect Flags is set [MQTT-3.1.2-3] [MQTT5-3.1.2-3].
    ConnectReservedFlag,
    /// A Will with both QoS bits set [MQTT-3.1.2-14] [MQTT5-3.1.2-12].
    WillQosThree,
    /// Will QoS or Will Retain without a Will [MQTT-3.1.2-13] [MQTT-3.1.2-15] [MQTT5-3.1.2-11]
    /// [MQTT5-3.1.2-13].
    WillFlagsWithoutWill,
    /// A password without a user name in 3.x [MQTT-3.1.2-22].
    PasswordWithoutUserName,
    /// Bits 7 to 1 of the Connect Acknowledge Flags are not all 0 [MQTT §3.2.2.1]
    /// [MQTT5-3.2.2-1].
    ConnectAcknowledgeFlags,
    /// A property identifier without a meaning [MQTT5 §2.2.2.2].
    UnknownProperty(u8),
    /// A property where its table does not have it [MQTT5 §2.2.2.2].
    MisplacedProperty {
        /// The property's identifier.
        property: u8,
        /// Where it stands.
        holder: PropertyHolder,
    },
    /// Reserved bits beside a Topic Filter's QoS are set [MQTT-3.8.3-4] [MQTT5-3.8.3-5].
    SubscriptionOptionsReserved,
}

/// What a well-formed packet may still not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The packet announces more bytes than the receiver takes [MQTT5-3.1.2-24] [MQTT5-3.2.2-15].
    PacketTooLarge,
    /// The Protocol Name of a CONNECT is neither `MQTT` nor `MQIsdp` [MQTT-3.1.2-1]
    /// [MQTT5-3.1.2-1].
    ProtocolName,
    /// A level that its Protocol Name does not have here [MQTT-3.1.2-2] [MQTT5-3.1.2-2].
    UnsupportedProtocolVersion(u8),
    /// Packet Identifier 0 [MQTT-2.3.1-1] [MQTT5-2.2.1-3] [MQTT5-2.2.1-4].
    PacketIdentifierZero(PacketType),
    /// A property that is there twice and may be there once; its identifier.
    DuplicateProperty(u8),
    /// A property with a value that it may not have; its identifier.
    PropertyValue(u8),
    /// Topic Alias 0 [MQTT5-3.3.2-8].
    TopicAliasZero,
    /// A Response Topic with `+` or `#` in it [MQTT5-3.3.2-14].
    ResponseTopicWildcard,
    /// Authentication Data without an Authentication Method [MQTT5 §3.1.2.11.10].
    AuthenticationDataWithoutMethod,
    /// A Reason Code (3.x: return code) that this packet does not have.
    ReasonCodeValue {
        /// Which packet.
        packet_type: PacketType,
        /// Its value on the wire.
        value: u8,
    },
    /// A refusing CONNACK that says Session Present [MQTT-3.2.2-4] [MQTT5-3.2.2-6].
    SessionPresentWithRefusal,
    /// A SUBSCRIBE or UNSUBSCRIBE without any Topic Filter [MQTT-3.8.3-3] [MQTT-3.10.3-2]
    /// [MQTT5-3.8.3-2] [MQTT5-3.10.3-2].
    NoTopicFilter(PacketType),
    /// A SUBACK, or in 5.0 an UNSUBACK, that answers no Topic Filter.
    NoReasonCode(PacketType),
    /// A Topic Filter asked for with QoS 3 [MQTT-3.8.3-4] [MQTT5 §3.8.3.1].
    SubscriptionQosThree,
    /// Retain Handling 3 [MQTT5 §3.8.3.1].
    RetainHandlingThree,
}

impl DecodeError {
    /// What a 5.0 peer is told.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Malformed(_) => ReasonCode::MalformedPacket,
            Self::Protocol(error) => error.reason_code(),
        }
    }
}

impl ProtocolError {
    /// What a 5.0 peer is told: the code its clause names, else 0x82 [MQTT5 §4.13.1].
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::UnsupportedProtocolVersion(_) => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            _ => ReasonCode::ProtocolError,
        }
    }
}

impl From<Malformed> for DecodeError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<ProtocolError> for DecodeError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<OutOfBytes> for DecodeError {
    fn from(OutOfBytes: OutOfBytes) -> Self {
        Self::Malformed(Malformed::Truncated)
    }
}

impl From<OutOfBytes> for Malformed {
    fn from(OutOfBytes: OutOfBytes) -> Self {
        Self::Truncated
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RemainingLength => "packet has a Remaining Length of more than four bytes",
            Self::Truncated => "packet ends in the middle of a field",
            Self::TrailingBytes => "packet goes on after its last field",
            Self::VariableByteInteger => "packet has a Variable Byte Integer in too many bytes",
            Self::ReservedPacketType(value) => {
                return write!(f, "packet has type {value}, which does not exist");
            }
            Self::FixedHeaderFlags(packet_type) => {
                let name = packet_type.name();
                return write!(f, "{name} has flags in its first byte that it may not have");
            }
            Self::QosThree => "PUBLISH has QoS 3, which does not exist",
            Self::DupWithQosZero => "PUBLISH has the DUP flag with QoS 0",
            Self::Utf8 => "packet has a string that is not UTF-8",
            Self::NullCharacter => "packet has a string with a null character in it",
            Self::DisallowedCharacter => "packet has a string with a control character in it",
            Self::ConnectReservedFlag => "CONNECT has the reserved flag set",
            Self::WillQosThree => "CONNECT has a Will with QoS 3, which does not exist",
            Self::WillFlagsWithoutWill => "CONNECT has Will QoS or Will Retain but no Will",
            Self::PasswordWithoutUserName => "CONNECT has a password but no user name",
            Self::ConnectAcknowledgeFlags => "CONNACK has reserved flags set",
            Self::UnknownProperty(property) => {
                return write!(
                    f,
                    "packet has property 0x{property:02x}, which does not exist"
                );
            }
            Self::MisplacedProperty { property, holder } => {
                let (holder, name) = (holder.name(), property::name(*property));
                return write!(
                    f,
                    "{holder} has the property {name}, which does not belong there"
                );
            }
            Self::SubscriptionOptionsReserved => "SUBSCRIBE has reserved option bits set",
        })
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketTooLarge => f.write_str("packet is larger than allowed"),
            Self::ProtocolName => f.write_str("CONNECT names a protocol that is not MQTT"),
            Self::UnsupportedProtocolVersion(level) => {
                write!(
                    f,
                    "CONNECT asks for protocol level {level}, which is not served"
                )
            }
            Self::PacketIdentifierZero(packet_type) => {
                write!(f, "{} has the Packet Identifier 0", packet_type.name())
            }
            Self::DuplicateProperty(property) => {
                write!(
                    f,
                    "packet has the property {} twice",
                    property::name(*property)
                )
            }
            Self::PropertyValue(property) => {
                let name = property::name(*property);
                write!(
                    f,
                    "packet has the property {name} with a value it may not have"
                )
            }
            Self::TopicAliasZero => f.write_str("PUBLISH has the Topic Alias 0"),
            Self::ResponseTopicWildcard => {
                f.write_str("packet has a Response Topic with a wildcard")
            }
            Self::AuthenticationDataWithoutMethod => {
                f.write_str("packet has Authentication Data but no Authentication Method")
            }
            Self::ReasonCodeValue { packet_type, value } => {
                let name = packet_type.name();
                write!(
                    f,
                    "{name} has the Reason Code 0x{value:02x}, which it may not have"
                )
            }
            Self::SessionPresentWithRefusal => {
                f.write_str("CONNACK refuses, yet has Session Present")
            }
            Self::NoTopicFilter(packet_type) => {
                write!(f, "{} has no Topic Filter", packet_type.name())
            }
            Self::NoReasonCode(packet_type) => {
                write!(f, "{} has no Reason Code", packet_type.name())
            }
            Self::SubscriptionQosThree => {
                f.write_str("SUBSCRIBE asks for QoS 3, which does not exist")
            }
            Self::RetainHandlingThree => {
                f.write_str("SUBSCRIBE has Retain Handling 3, which does not exist")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for Malformed {}
impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_knows_its_reason_code() {
        let told = |error: DecodeError| error.reason_code().value();
        assert_eq!(told(Malformed::QosThree.into()), 0x81);
        assert_eq!(told(OutOfBytes.into()), 0x81);
        assert_eq!(told(ProtocolError::DuplicateProperty(0x11).into()), 0x82);
        assert_eq!(told(ProtocolError::ProtocolName.into()), 0x84);
        assert_eq!(
            told(ProtocolError::UnsupportedProtocolVersion(6).into()),
            0x84
        );
        assert_eq!(told(ProtocolError::TopicAliasZero.into()), 0x94);
        assert_eq!(told(ProtocolError::PacketTooLarge.into()), 0x95);
    }

    #[test]
    fn errors_are_sentences() {
        let error = DecodeError::from(Malformed::QosThree);
        assert_eq!(error.to_string(), "PUBLISH has QoS 3, which does not exist");
        let (property, holder) = (0x24, PropertyHolder::Connect);
        let error = DecodeError::from(Malformed::MisplacedProperty { property, holder });
        let sentence = "CONNECT has the property Maximum QoS, which does not belong there";
        assert_eq!(error.to_string(), sentence);
    }
}

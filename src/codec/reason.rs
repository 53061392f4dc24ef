//! Reason Codes of 5.0 [MQTT5 §2.4], which packet may carry which, and what they become in 3.x.

use super::error::{DecodeError, ProtocolError};
use super::frame::{self, PacketType};
use super::property::{Properties, PropertyHolder};
use crate::bytes::Reader;
use std::fmt;

/// Every Reason Code of 5.0 by its value. The value 0 is Success, Normal Disconnection and Granted
/// QoS 0, depending on the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ReasonCode {
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    DisconnectWithWillMessage = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8a,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9a,
    QoSNotSupported = 0x9b,
    UseAnotherServer = 0x9c,
    ServerMoved = 0x9d,
    SharedSubscriptionsNotSupported = 0x9e,
    ConnectionRateExceeded = 0x9f,
    MaximumConnectTime = 0xa0,
    SubscriptionIdentifiersNotSupported = 0xa1,
    WildcardSubscriptionsNotSupported = 0xa2,
}

impl ReasonCode {
    /// What the value 0 means in a DISCONNECT [MQTT5 §3.14.2.1].
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// What the value 0 means in a SUBACK [MQTT5 §3.9.3].
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The value on the wire.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The code with this value, if 5.0 has one.
    pub const fn from_value(value: u8) -> Option<Self> {
        Some(match value {
            0x00 => Self::Success,
            0x01 => Self::GrantedQoS1,
            0x02 => Self::GrantedQoS2,
            0x04 => Self::DisconnectWithWillMessage,
            0x10 => Self::NoMatchingSubscribers,
            0x11 => Self::NoSubscriptionExisted,
            0x18 => Self::ContinueAuthentication,
            0x19 => Self::ReAuthenticate,
            0x80 => Self::UnspecifiedError,
            0x81 => Self::MalformedPacket,
            0x82 => Self::ProtocolError,
            0x83 => Self::ImplementationSpecificError,
            0x84 => Self::UnsupportedProtocolVersion,
            0x85 => Self::ClientIdentifierNotValid,
            0x86 => Self::BadUserNameOrPassword,
            0x87 => Self::NotAuthorized,
            0x88 => Self::ServerUnavailable,
            0x89 => Self::ServerBusy,
            0x8a => Self::Banned,
            0x8b => Self::ServerShuttingDown,
            0x8c => Self::BadAuthenticationMethod,
            0x8d => Self::KeepAliveTimeout,
            0x8e => Self::SessionTakenOver,
            0x8f => Self::TopicFilterInvalid,
            0x90 => Self::TopicNameInvalid,
            0x91 => Self::PacketIdentifierInUse,
            0x92 => Self::PacketIdentifierNotFound,
            0x93 => Self::ReceiveMaximumExceeded,
            0x94 => Self::TopicAliasInvalid,
            0x95 => Self::PacketTooLarge,
            0x96 => Self::MessageRateTooHigh,
            0x97 => Self::QuotaExceeded,
            0x98 => Self::AdministrativeAction,
            0x99 => Self::PayloadFormatInvalid,
            0x9a => Self::RetainNotSupported,
            0x9b => Self::QoSNotSupported,
            0x9c => Self::UseAnotherServer,
            0x9d => Self::ServerMoved,
            0x9e => Self::SharedSubscriptionsNotSupported,
            0x9f => Self::ConnectionRateExceeded,
            0xa0 => Self::MaximumConnectTime,
            0xa1 => Self::SubscriptionIdentifiersNotSupported,
            0xa2 => Self::WildcardSubscriptionsNotSupported,
            _ => return None,
        })
    }

    /// Whether it tells of a failure: 0x80 or greater.
    pub const fn is_failure(self) -> bool {
        self.value() >= 0x80
    }

    /// Whether packets of this type may carry it [MQTT5 §2.4, table 2-6], whoever sends them.
    pub const fn is_allowed_in(self, packet_type: PacketType) -> bool {
        use PacketType::{
            Auth, ConnAck, Disconnect, PubAck, PubComp, PubRec, PubRel, SubAck, UnsubAck,
        };
        match self {
            Self::Success => matches!(
                packet_type,
                ConnAck
                    | PubAck
                    | PubRec
                    | PubRel
                    | PubComp
                    | SubAck
                    | UnsubAck
                    | Disconnect
                    | Auth
            ),
            Self::GrantedQoS1 | Self::GrantedQoS2 => matches!(packet_type, SubAck),
            Self::NoMatchingSubscribers => matches!(packet_type, PubAck | PubRec),
            Self::NoSubscriptionExisted => matches!(packet_type, UnsubAck),
            Self::ContinueAuthentication | Self::ReAuthenticate => matches!(packet_type, Auth),
            Self::UnspecifiedError | Self::ImplementationSpecificError | Self::NotAuthorized => {
                matches!(
                    packet_type,
                    ConnAck | PubAck | PubRec | SubAck | UnsubAck | Disconnect
                )
            }
            Self::UnsupportedProtocolVersion
            | Self::ClientIdentifierNotValid
            | Self::BadUserNameOrPassword
            | Self::ServerUnavailable
            | Self::Banned => matches!(packet_type, ConnAck),
            Self::MalformedPacket
            | Self::ProtocolError
            | Self::ServerBusy
            | Self::BadAuthenticationMethod
            | Self::PacketTooLarge
            | Self::RetainNotSupported
            | Self::QoSNotSupported
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => matches!(packet_type, ConnAck | Disconnect),
            Self::DisconnectWithWillMessage
            | Self::ServerShuttingDown
            | Self::KeepAliveTimeout
            | Self::SessionTakenOver
            | Self::ReceiveMaximumExceeded
            | Self::TopicAliasInvalid
            | Self::MessageRateTooHigh
            | Self::AdministrativeAction
            | Self::MaximumConnectTime => matches!(packet_type, Disconnect),
            Self::TopicFilterInvalid => matches!(packet_type, SubAck | UnsubAck | Disconnect),
            Self::TopicNameInvalid | Self::PayloadFormatInvalid => {
                matches!(packet_type, ConnAck | PubAck | PubRec | Disconnect)
            }
            Self::PacketIdentifierInUse => {
                matches!(packet_type, PubAck | PubRec | SubAck | UnsubAck)
            }
            Self::PacketIdentifierNotFound => matches!(packet_type, PubRel | PubComp),
            Self::QuotaExceeded => {
                matches!(packet_type, ConnAck | PubAck | PubRec | SubAck | Disconnect)
            }
            Self::SharedSubscriptionsNotSupported
            | Self::SubscriptionIdentifiersNotSupported
            | Self::WildcardSubscriptionsNotSupported => matches!(packet_type, SubAck | Disconnect),
        }
    }

    /// The code with this value, if packets of this type may carry it.
    ///
    /// # Errors
    /// `ProtocolError::ReasonCodeValue`.
    pub fn of_packet(packet_type: PacketType, value: u8) -> Result<Self, ProtocolError> {
        // [MQTT5-3.2.2-8] [MQTT5-3.4.2-1] [MQTT5-3.5.2-1] [MQTT5-3.6.2-1] [MQTT5-3.7.2-1]
        // [MQTT5-3.9.3-2] [MQTT5-3.11.3-2] [MQTT5-3.14.2-1] [MQTT5-3.15.2-1]: each packet MUST use
        // one of its own codes.
        Self::from_value(value)
            .filter(|reason| reason.is_allowed_in(packet_type))
            .ok_or(ProtocolError::ReasonCodeValue { packet_type, value })
    }

    /// Reads the Reason Code of a packet of this type.
    ///
    /// # Errors
    /// `Malformed::Truncated`; `ProtocolError::ReasonCodeValue`.
    pub fn read(reader: &mut Reader<'_>, packet_type: PacketType) -> Result<Self, DecodeError> {
        Ok(Self::of_packet(packet_type, reader.u8()?)?)
    }

    /// The CONNACK return code of 3.x, 0 to 5 [MQTT §3.2.2.3].
    pub const fn connect_return_code(self) -> u8 {
        match self {
            reason if !reason.is_failure() => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            // Choice: "Server unavailable" for all that 3.x has no word for; it is the one refusal
            // that does not tell the client to change anything.
            _ => 3,
        }
    }

    /// The code that says what a CONNACK return code of 3.x says, 0 to 5 [MQTT §3.2.2.3].
    pub const fn from_connect_return_code(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }
}

/// The specification's name for it.
impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "Success",
            Self::GrantedQoS1 => "Granted QoS 1",
            Self::GrantedQoS2 => "Granted QoS 2",
            Self::DisconnectWithWillMessage => "Disconnect with Will Message",
            Self::NoMatchingSubscribers => "No matching subscribers",
            Self::NoSubscriptionExisted => "No subscription existed",
            Self::ContinueAuthentication => "Continue authentication",
            Self::ReAuthenticate => "Re-authenticate",
            Self::UnspecifiedError => "Unspecified error",
            Self::MalformedPacket => "Malformed Packet",
            Self::ProtocolError => "Protocol Error",
            Self::ImplementationSpecificError => "Implementation specific error",
            Self::UnsupportedProtocolVersion => "Unsupported Protocol Version",
            Self::ClientIdentifierNotValid => "Client Identifier not valid",
            Self::BadUserNameOrPassword => "Bad User Name or Password",
            Self::NotAuthorized => "Not authorized",
            Self::ServerUnavailable => "Server unavailable",
            Self::ServerBusy => "Server busy",
            Self::Banned => "Banned",
            Self::ServerShuttingDown => "Server shutting down",
            Self::BadAuthenticationMethod => "Bad authentication method",
            Self::KeepAliveTimeout => "Keep Alive timeout",
            Self::SessionTakenOver => "Session taken over",
            Self::TopicFilterInvalid => "Topic Filter invalid",
            Self::TopicNameInvalid => "Topic Name invalid",
            Self::PacketIdentifierInUse => "Packet Identifier in use",
            Self::PacketIdentifierNotFound => "Packet Identifier not found",
            Self::ReceiveMaximumExceeded => "Receive Maximum exceeded",
            Self::TopicAliasInvalid => "Topic Alias invalid",
            Self::PacketTooLarge => "Packet too large",
            Self::MessageRateTooHigh => "Message rate too high",
            Self::QuotaExceeded => "Quota exceeded",
            Self::AdministrativeAction => "Administrative action",
            Self::PayloadFormatInvalid => "Payload format invalid",
            Self::RetainNotSupported => "Retain not supported",
            Self::QoSNotSupported => "QoS not supported",
            Self::UseAnotherServer => "Use another server",
            Self::ServerMoved => "Server moved",
            Self::SharedSubscriptionsNotSupported => "Shared Subscriptions not supported",
            Self::ConnectionRateExceeded => "Connection rate exceeded",
            Self::MaximumConnectTime => "Maximum connect time",
            Self::SubscriptionIdentifiersNotSupported => "Subscription Identifiers not supported",
            Self::WildcardSubscriptionsNotSupported => "Wildcard Subscriptions not supported",
        })
    }
}

/// Reads what PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH end with: Reason Code and
/// properties, of which the latter, or both, may be left out [MQTT5 §3.4.2.1] [MQTT5 §3.14.2.1].
pub(super) fn read_reason_and_properties<'a>(
    mut reader: Reader<'a>,
    packet_type: PacketType,
    holder: PropertyHolder,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if reader.is_empty() {
        return Ok((ReasonCode::Success, Properties::default()));
    }
    let reason = ReasonCode::read(&mut reader, packet_type)?;
    if reader.is_empty() {
        return Ok((reason, Properties::default()));
    }
    let properties = Properties::read(&mut reader, holder)?;
    frame::finish(&reader)?;
    Ok((reason, properties))
}

/// Appends the same in the shortest form.
pub(super) fn put_reason_and_properties(
    reason: ReasonCode,
    properties: Properties<'_>,
    out: &mut Vec<u8>,
) {
    if reason == ReasonCode::Success && properties.is_empty() {
        return;
    }
    out.push(reason.value());
    if !properties.is_empty() {
        properties.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lead_back_to_their_codes() {
        let codes = (0..=255).filter_map(ReasonCode::from_value);
        assert_eq!(codes.clone().count(), 43);
        for value in 0..=255 {
            let Some(code) = ReasonCode::from_value(value) else {
                continue;
            };
            assert_eq!(code.value(), value);
            assert!(!code.to_string().is_empty());
        }
    }

    #[test]
    fn return_codes_of_3_x_lead_back_to_themselves() {
        for value in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(value).unwrap();
            assert_eq!(reason.connect_return_code(), value);
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        assert_eq!(ReasonCode::Banned.connect_return_code(), 5);
        assert_eq!(ReasonCode::ServerBusy.connect_return_code(), 3);
    }
}

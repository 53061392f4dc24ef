//! Every packet, and the dispatch on its type.

use super::ack::{Ack, AckKind};
use super::connect::{ConnAck, Connect};
use super::control::{self, Auth, Disconnect};
use super::dialect::ProtocolVersion;
use super::error::{DecodeError, Malformed};
use super::frame::{FixedHeader, Frame, PacketType};
use super::publish::Publish;
use super::subscribe::{SubAck, Subscribe, Unsubscribe};

/// One Control Packet, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(SubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes a frame by its type. `version` is the connection's; a CONNECT brings its own.
    ///
    /// # Errors
    /// What is malformed or forbidden: reserved types and flag bits [MQTT-2.2.2-2]
    /// [MQTT5-2.1.3-1], and whatever the packet's own decoder says.
    pub fn decode(frame: &Frame<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        check_flags(&frame.header, version)?;
        let body = frame.body;
        let ack = |kind| Ack::decode(kind, body, version).map(Self::Ack);
        match frame.header.packet_type {
            PacketType::Publish => {
                Publish::decode(frame.header.flags, body, version).map(Self::Publish)
            }
            PacketType::PubAck => ack(AckKind::PubAck),
            PacketType::PubRec => ack(AckKind::PubRec),
            PacketType::PubRel => ack(AckKind::PubRel),
            PacketType::PubComp => ack(AckKind::PubComp),
            PacketType::Connect => Connect::decode(body).map(Self::Connect),
            PacketType::ConnAck => ConnAck::decode(body, version).map(Self::ConnAck),
            PacketType::Subscribe => Subscribe::decode(body, version).map(Self::Subscribe),
            PacketType::SubAck => SubAck::decode(body, version).map(Self::SubAck),
            PacketType::Unsubscribe => Unsubscribe::decode(body, version).map(Self::Unsubscribe),
            PacketType::UnsubAck => SubAck::decode_unsuback(body, version).map(Self::UnsubAck),
            PacketType::PingReq => Ok(control::decode_empty(body).map(|()| Self::PingReq)?),
            PacketType::PingResp => Ok(control::decode_empty(body).map(|()| Self::PingResp)?),
            PacketType::Disconnect => Disconnect::decode(body, version).map(Self::Disconnect),
            // [MQTT §2.2.1, table 2.1]: 15 is AUTH in 5.0 alone.
            PacketType::Auth if version.has_reason_codes() => Auth::decode(body).map(Self::Auth),
            reserved @ (PacketType::Auth | PacketType::Reserved) => {
                Err(Malformed::ReservedPacketType(reserved.value()).into())
            }
        }
    }

    /// The same for one of the four acknowledgements alone; `None`: it is another packet.
    ///
    /// # Errors
    /// As [`Packet::decode`].
    #[inline]
    pub fn decode_ack(
        frame: &Frame<'a>,
        version: ProtocolVersion,
    ) -> Result<Option<Ack<'a>>, DecodeError> {
        let Some(kind) = AckKind::of(frame.header.packet_type) else {
            return Ok(None);
        };
        check_flags(&frame.header, version)?;
        Ack::decode(kind, frame.body, version).map(Some)
    }

    /// Appends the whole packet (for tests, bridges and fuzzing; the hot paths call the packet's
    /// own encoder).
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Ack(packet) => packet.encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode_unsuback(version, out),
            Self::PingReq => control::encode_ping_req(out),
            Self::PingResp => control::encode_ping_resp(out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(out),
        }
    }
}

/// [MQTT-2.2.2-2] [MQTT5-2.1.3-1]: flags that are reserved must have the value the table says.
fn check_flags(header: &FixedHeader, version: ProtocolVersion) -> Result<(), Malformed> {
    let packet_type = header.packet_type;
    let Some(fixed) = packet_type.fixed_flags() else {
        return Ok(());
    };
    // [MQTT31 §2.1.2]: in 3.1 what is sent with QoS 1 may be sent again, and then has DUP.
    let tolerated = match (version, fixed) {
        (ProtocolVersion::V31, 0b0010) => 0b1000,
        _ => 0,
    };
    if packet_type != PacketType::Reserved && header.flags & !tolerated != fixed {
        return Err(Malformed::FixedHeaderFlags(packet_type));
    }
    Ok(())
}

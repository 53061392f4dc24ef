//! PINGREQ, PINGRESP, DISCONNECT and AUTH [MQTT §3.12 to §3.14] [MQTT5 §3.12 to §3.15].

use super::dialect::ProtocolVersion;
use super::error::{DecodeError, Malformed};
use super::frame::{self, PacketType};
use super::property::{Properties, PropertyHolder};
use super::reason::{self, ReasonCode};
use crate::bytes::Reader;

/// A DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `NormalDisconnection` in 3.x, and where 5.0 leaves it out.
    pub reason: ReasonCode,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

/// An AUTH; 5.0 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success` where it is left out.
    pub reason: ReasonCode,
    /// Authentication Method among them.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden; in 3.x, any body at all [MQTT §3.14].
    pub fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        if !version.has_reason_codes() {
            decode_empty(body)?;
        }
        let (reason, properties) = reason::read_reason_and_properties(
            Reader::new(body),
            PacketType::Disconnect,
            PropertyHolder::Disconnect,
        )?;
        Ok(Self { reason, properties })
    }

    /// Appends the whole packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        frame::write(PacketType::Disconnect, out, |out| {
            if version.has_reason_codes() {
                reason::put_reason_and_properties(self.reason, self.properties, out);
            }
        });
    }
}

impl<'a> Auth<'a> {
    /// Decodes what follows the fixed header. Whether there is an Authentication Method, and the
    /// right one, is for the receiver to see.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (reason, properties) = reason::read_reason_and_properties(
            Reader::new(body),
            PacketType::Auth,
            PropertyHolder::Auth,
        )?;
        Ok(Self { reason, properties })
    }

    /// Appends the whole packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::write(PacketType::Auth, out, |out| {
            reason::put_reason_and_properties(self.reason, self.properties, out);
        });
    }
}

/// Checks the body of a packet that has none: PINGREQ, PINGRESP, and DISCONNECT in 3.x.
pub(super) fn decode_empty(body: &[u8]) -> Result<(), Malformed> {
    frame::finish(&Reader::new(body))
}

/// Appends a PINGREQ.
pub fn encode_ping_req(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.value() << 4, 0]);
}

/// Appends a PINGRESP.
pub fn encode_ping_resp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.value() << 4, 0]);
}

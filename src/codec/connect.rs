//! CONNECT and CONNACK [MQTT31 §3.1, §3.2] [MQTT §3.1, §3.2] [MQTT5 §3.1, §3.2]. A CONNECT is the
//! one packet that says itself which version it is written in:
//!
//! ```text
//!   [ Protocol Name ][ level ][ Connect Flags ][ Keep Alive ][ properties (5.0) ]
//!   [ Client Identifier ][ Will: properties (5.0), topic, payload ]? [ User Name ]? [ Password ]?
//! ```

use super::dialect::ProtocolVersion;
use super::error::{DecodeError, Malformed, ProtocolError};
use super::frame::{self, PacketType};
use super::property::{Properties, PropertyHolder};
use super::reason::ReasonCode;
use super::utf8;
use crate::bytes::{Reader, put_binary, put_u16};
use crate::message::QoS;

/// A CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// From Protocol Name and level.
    pub version: ProtocolVersion,
    /// Bit 0x80 of a 3.x level: the peer is a bridge, and wants its own messages not sent back.
    pub bridge: bool,
    /// Clean Session in 3.x.
    pub clean_start: bool,
    /// Seconds; 0 turns the mechanism off.
    pub keep_alive_s: u16,
    /// Empty in 3.x: none. Any length, any UTF-8.
    pub properties: Properties<'a>,
    /// May be empty.
    pub client_identifier: &'a str,
    /// The Will, if the flag is set.
    pub will: Option<Will<'a>>,
    /// Absent if the flag is not set.
    pub username: Option<&'a str>,
    /// Absent if the flag is not set. In 3.x only with a username [MQTT-3.1.2-22].
    pub password: Option<&'a [u8]>,
}

/// The Will Message of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic: UTF-8, otherwise unchecked.
    pub topic: &'a str,
    /// Will Payload (3.x: Will Message).
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties, Will Delay Interval among them.
    pub properties: Properties<'a>,
}

/// The version a CONNECT is to be answered in when it cannot be taken: its own if that is served,
/// else the nearest. `None` if `body` does not begin like a CONNECT at all, so that no answer would
/// be understood.
pub fn answer_version(body: &[u8]) -> Option<ProtocolVersion> {
    let mut reader = Reader::new(body);
    let name = reader.binary().ok()?;
    let level = reader.u8().ok()? & !BRIDGE;
    match (name, level) {
        (NAME_31, _) => Some(ProtocolVersion::V31),
        // Whoever speaks a later version than ours knows the form of 5.0 best.
        (NAME, 5..) => Some(ProtocolVersion::V5),
        (NAME, _) => Some(ProtocolVersion::V311),
        _ => None,
    }
}

/// The Protocol Name of 3.1 [MQTT31 §3.1].
const NAME_31: &[u8] = b"MQIsdp";
/// The Protocol Name from 3.1.1 on [MQTT-3.1.2-1] [MQTT5 §3.1.2.1].
const NAME: &[u8] = b"MQTT";

/// Set in the level by mosquitto's bridges and those that copy them (`try_private`), in 3.x only.
const BRIDGE: u8 = 0x80;

/// The Connect Flags [MQTT §3.1.2.3] [MQTT5 §3.1.2.3].
#[derive(Clone, Copy)]
struct ConnectFlags(u8);

impl ConnectFlags {
    const USER_NAME: u8 = 0x80;
    const PASSWORD: u8 = 0x40;
    const WILL_RETAIN: u8 = 0x20;
    const WILL_QOS_SHIFT: u8 = 3;
    const WILL: u8 = 0x04;
    const CLEAN_START: u8 = 0x02;
    const RESERVED: u8 = 0x01;

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn will_qos_bits(self) -> u8 {
        self.0 >> Self::WILL_QOS_SHIFT & 0b11
    }

    fn read(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let flags = Self(reader.u8()?);
        // [MQTT-3.1.2-3] [MQTT5-3.1.2-3]. 3.1 calls the bit unused and says nothing of its value.
        if flags.has(Self::RESERVED) && version != ProtocolVersion::V31 {
            return Err(Malformed::ConnectReservedFlag.into());
        }
        // [MQTT-3.1.2-14] [MQTT5-3.1.2-12]
        if flags.will_qos_bits() == 3 {
            return Err(Malformed::WillQosThree.into());
        }
        // [MQTT-3.1.2-13] [MQTT-3.1.2-15] [MQTT5-3.1.2-11] [MQTT5-3.1.2-13]. Without a Will 3.1 gives
        // these bits no meaning, and mosquitto ignores them there.
        let will_details = flags.will_qos_bits() != 0 || flags.has(Self::WILL_RETAIN);
        if will_details && !flags.has(Self::WILL) && version != ProtocolVersion::V31 {
            return Err(Malformed::WillFlagsWithoutWill.into());
        }
        // [MQTT-3.1.2-22]. 5.0 allows it, for passwords that are tokens [MQTT5 §3.1.2.9].
        let lone_password = flags.has(Self::PASSWORD) && !flags.has(Self::USER_NAME);
        if lone_password && version != ProtocolVersion::V5 {
            return Err(Malformed::PasswordWithoutUserName.into());
        }
        Ok(flags)
    }

    fn of(connect: &Connect<'_>) -> Self {
        let mut bits = 0;
        if let Some(will) = &connect.will {
            bits |= Self::WILL | will.qos.bits() << Self::WILL_QOS_SHIFT;
            bits |= if will.retain { Self::WILL_RETAIN } else { 0 };
        }
        bits |= if connect.clean_start {
            Self::CLEAN_START
        } else {
            0
        };
        bits |= if connect.username.is_some() {
            Self::USER_NAME
        } else {
            0
        };
        bits |= if connect.password.is_some() {
            Self::PASSWORD
        } else {
            0
        };
        Self(bits)
    }
}

/// Reads Protocol Name and level. The `bool`: whether the peer calls itself a bridge.
fn read_version(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), DecodeError> {
    let name = reader.binary()?;
    if name != NAME && name != NAME_31 {
        // [MQTT-3.1.2-1] [MQTT5-3.1.2-1]
        return Err(ProtocolError::ProtocolName.into());
    }
    let level = reader.u8()?;
    let version = match (name, level & !BRIDGE) {
        (NAME_31, 3) => ProtocolVersion::V31,
        (NAME, 4) => ProtocolVersion::V311,
        (NAME, 5) if level & BRIDGE == 0 => ProtocolVersion::V5,
        // [MQTT-3.1.2-2] [MQTT5-3.1.2-2]
        _ => return Err(ProtocolError::UnsupportedProtocolVersion(level).into()),
    };
    Ok((version, level & BRIDGE != 0))
}

/// The properties of 5.0; none in 3.x.
fn read_properties<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    holder: PropertyHolder,
) -> Result<Properties<'a>, DecodeError> {
    if version.has_properties() {
        Properties::read(reader, holder)
    } else {
        Ok(Properties::default())
    }
}

impl<'a> Will<'a> {
    fn read(
        reader: &mut Reader<'a>,
        flags: ConnectFlags,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            qos: QoS::from_bits(flags.will_qos_bits()).ok_or(Malformed::WillQosThree)?,
            retain: flags.has(ConnectFlags::WILL_RETAIN),
            properties: read_properties(reader, version, PropertyHolder::Will)?,
            topic: utf8::read(reader)?, // [MQTT-3.1.3-10] [MQTT5-3.1.3-11]
            payload: reader.binary()?,
        })
    }

    fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version.has_properties() {
            self.properties.encode(out);
        }
        put_binary(out, self.topic.as_bytes());
        put_binary(out, self.payload);
    }
}

impl<'a> Connect<'a> {
    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden, with its clause at the deciding line.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = read_version(&mut reader)?;
        let flags = ConnectFlags::read(&mut reader, version)?;
        let keep_alive_s = reader.u16()?;
        let properties = read_properties(&mut reader, version, PropertyHolder::Connect)?;
        let client_identifier = utf8::read(&mut reader)?; // [MQTT-3.1.3-4] [MQTT5-3.1.3-4]
        let will = match flags.has(ConnectFlags::WILL) {
            true => Some(Will::read(&mut reader, flags, version)?),
            false => None,
        };
        // [MQTT31 §3.1]: "the Remaining Length field takes precedence over the User Name flag";
        // a server must bear with the flag and no string behind it.
        let announced = |flag, reader: &Reader<'_>| {
            flags.has(flag) && !(version == ProtocolVersion::V31 && reader.is_empty())
        };
        let username = match announced(ConnectFlags::USER_NAME, &reader) {
            true => Some(utf8::read(&mut reader)?), // [MQTT-3.1.3-11] [MQTT5-3.1.3-12]
            false => None,
        };
        let password = match announced(ConnectFlags::PASSWORD, &reader) {
            true => Some(reader.binary()?),
            false => None,
        };
        frame::finish(&reader)?;
        Ok(Self {
            version,
            bridge,
            clean_start: flags.has(ConnectFlags::CLEAN_START),
            keep_alive_s,
            properties,
            client_identifier,
            will,
            username,
            password,
        })
    }

    /// Appends the whole packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let version = self.version;
        debug_assert!(!(self.bridge && version == ProtocolVersion::V5));
        frame::write(PacketType::Connect, out, |out| {
            let name = match version {
                ProtocolVersion::V31 => NAME_31,
                ProtocolVersion::V311 | ProtocolVersion::V5 => NAME,
            };
            put_binary(out, name);
            out.push(version.level() | if self.bridge { BRIDGE } else { 0 });
            out.push(ConnectFlags::of(self).0);
            put_u16(out, self.keep_alive_s);
            if version.has_properties() {
                self.properties.encode(out);
            }
            put_binary(out, self.client_identifier.as_bytes());
            if let Some(will) = &self.will {
                will.encode(version, out);
            }
            if let Some(username) = self.username {
                put_binary(out, username.as_bytes());
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }
}

/// A CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server goes on with an earlier session. Not sent in 3.1.
    pub session_present: bool,
    /// In 3.x turned into a return code by [`ReasonCode::connect_return_code`].
    pub reason: ReasonCode,
    /// Not sent in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    /// Decodes what follows the fixed header.
    ///
    /// # Errors
    /// What is malformed or forbidden.
    pub fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let value = reader.u8()?;
        // [MQTT §3.2.2.1] [MQTT5-3.2.2-1]. In 3.1 the whole byte is reserved and unused.
        if version.has_session_present() && flags & !SESSION_PRESENT != 0 {
            return Err(Malformed::ConnectAcknowledgeFlags.into());
        }
        let session_present = version.has_session_present() && flags & SESSION_PRESENT != 0;
        let reason = if version.has_reason_codes() {
            ReasonCode::of_packet(PacketType::ConnAck, value)? // [MQTT5-3.2.2-8]
        } else {
            let packet_type = PacketType::ConnAck;
            ReasonCode::from_connect_return_code(value)
                .ok_or(ProtocolError::ReasonCodeValue { packet_type, value })?
        };
        // [MQTT-3.2.2-4] [MQTT5-3.2.2-6]
        if session_present && reason != ReasonCode::Success {
            return Err(ProtocolError::SessionPresentWithRefusal.into());
        }
        let properties = read_properties(&mut reader, version, PropertyHolder::ConnAck)?;
        frame::finish(&reader)?;
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }

    /// Appends the whole packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        // [MQTT-3.2.2-4] [MQTT5-3.2.2-6]
        debug_assert!(!self.session_present || self.reason == ReasonCode::Success);
        frame::write(PacketType::ConnAck, out, |out| {
            let session_present = self.session_present && version.has_session_present();
            out.push(if session_present { SESSION_PRESENT } else { 0 });
            if version.has_reason_codes() {
                out.push(self.reason.value());
            } else {
                out.push(self.reason.connect_return_code());
            }
            if version.has_properties() {
                self.properties.encode(out);
            }
        });
    }
}

/// The one Connect Acknowledge Flag.
const SESSION_PRESENT: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_that_cannot_be_taken_is_answered_in_the_nearest_version() {
        use ProtocolVersion::{V5, V31, V311};
        let rows: [(&[u8], Option<ProtocolVersion>); 12] = [
            (b"\x00\x04MQTT\x04", Some(V311)),
            (b"\x00\x04MQTT\x84", Some(V311)),
            (b"\x00\x04MQTT\x05", Some(V5)),
            (b"\x00\x04MQTT\x06", Some(V5)),
            (b"\x00\x04MQTT\xff", Some(V5)),
            (b"\x00\x04MQTT\x02", Some(V311)),
            (b"\x00\x06MQIsdp\x03", Some(V31)),
            (b"\x00\x06MQIsdp\x04", Some(V31)),
            (b"\x00\x04MQTT", None),
            (b"\x00\x04HTTP\x04", None),
            (b"\x00\x09MQTT", None),
            (b"", None),
        ];
        for (body, version) in rows {
            assert_eq!(answer_version(body), version, "{body:x?}");
        }
    }
}

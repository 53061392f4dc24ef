//! Cuts packets off a byte sequence by their fixed header alone, and writes the fixed header of
//! outgoing ones. It never looks into a body: what a packet means is said in the files beside it.

use super::error::{DecodeError, Malformed, ProtocolError};
use crate::bytes::{Reader, put_variable, variable_bytes};
use crate::limits;

/// The sixteen values of a Control Packet's type [MQTT5 §2.1.2]; 0 is reserved in every version and
/// 15 in 3.x (refused by [`super::packet::Packet::decode`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PacketType {
    Reserved,
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

/// A fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Upper half of the first byte.
    pub packet_type: PacketType,
    /// Lower half of the first byte.
    pub flags: u8,
    /// Bytes that follow the fixed header.
    pub remaining_length: u32,
    /// Bytes of the fixed header itself: 2 to 5.
    pub header_bytes: u32,
}

/// One whole packet, still in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its fixed header.
    pub header: FixedHeader,
    /// What follows the fixed header, exactly.
    pub body: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

impl FixedHeader {
    /// Reads a fixed header off the front of `bytes`. `None`: not all here yet.
    ///
    /// # Errors
    /// `Malformed::RemainingLength` as soon as a fifth length byte is announced [MQTT5 §1.5.5]; a
    /// length in a longer form than needed is taken, as every other broker does (only 5.0 forbids
    /// it, for the sender).
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let mut remaining_length = 0;
        for (&byte, index) in rest.iter().zip(0..limits::FIXED_HEADER_BYTES_MAX - 1) {
            remaining_length |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(Self {
                    packet_type: PacketType::from_first_byte(first),
                    flags: first & 0x0f,
                    remaining_length,
                    header_bytes: index + 2,
                }));
            }
        }
        if bytes.len() >= size(limits::FIXED_HEADER_BYTES_MAX) {
            return Err(Malformed::RemainingLength.into());
        }
        Ok(None)
    }

    /// Bytes of the whole packet.
    pub const fn packet_bytes(&self) -> u32 {
        self.header_bytes + self.remaining_length
    }

    /// Whether the Remaining Length is in its shortest form, the one that a server sends.
    pub const fn is_shortest(&self) -> bool {
        self.header_bytes == 1 + variable_bytes(self.remaining_length)
    }
}

impl Frame<'_> {
    /// Cuts the next whole packet off the front of `bytes` (undecoded input, oldest first).
    /// `packet_bytes_max` bounds fixed header plus Remaining Length. `None`: not all here yet.
    ///
    /// # Errors
    /// As [`FixedHeader::read`]; `ProtocolError::PacketTooLarge` as soon as the length is
    /// announced, before any body is kept.
    pub fn cut(bytes: &[u8], packet_bytes_max: u32) -> Result<Option<Frame<'_>>, DecodeError> {
        let Some(header) = FixedHeader::read(bytes)? else {
            return Ok(None);
        };
        if header.packet_bytes() > packet_bytes_max {
            return Err(ProtocolError::PacketTooLarge.into());
        }
        let bytes = bytes.get(..size(header.packet_bytes()));
        Ok(bytes.and_then(|bytes| {
            let body = bytes.get(size(header.header_bytes)..)?;
            Some(Frame {
                header,
                body,
                bytes,
            })
        }))
    }
}

impl PacketType {
    /// The upper half of a packet's first byte.
    pub const fn from_first_byte(first: u8) -> Self {
        match first >> 4 {
            0 => Self::Reserved,
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            _ => Self::Auth,
        }
    }

    /// The value on the wire: 0 to 15.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The only flags this type may have in its fixed header [MQTT-2.2.2-1] [MQTT5-2.1.3-1];
    /// `None` for PUBLISH, where they have a meaning.
    pub const fn fixed_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// The name in capitals, as the specification writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved packet",
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

/// A size on the wire as one in memory. Nothing this runs on has a `usize` below 32 bits.
fn size(wire: u32) -> usize {
    usize::try_from(wire).unwrap_or(usize::MAX)
}

/// Bytes still to come of the packet at the front of `bytes`; 0 if it does not say yet.
pub fn missing_bytes(bytes: &[u8]) -> usize {
    let header = FixedHeader::read(bytes).ok().flatten();
    header.map_or(0, |header| {
        size(header.packet_bytes()).saturating_sub(bytes.len())
    })
}

/// Whether `bytes` are the beginning of a packet, and not all of it.
pub fn is_unfinished(bytes: &[u8]) -> bool {
    match FixedHeader::read(bytes) {
        Ok(Some(header)) => size(header.packet_bytes()) > bytes.len(),
        Ok(None) => !bytes.is_empty(),
        Err(_) => false,
    }
}

/// Reads a Variable Byte Integer that stands inside a packet.
///
/// # Errors
/// `Malformed::VariableByteInteger` past four bytes, or for a longer form than needed
/// [MQTT5-1.5.5-1]; `Malformed::Truncated`.
pub(super) fn read_variable(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let mut value = 0;
    for index in 0..4 {
        let byte = reader.u8()?;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte == 0 && index > 0 {
            return Err(Malformed::VariableByteInteger);
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::VariableByteInteger)
}

/// Fails if anything is left: every packet but PUBLISH has a last field that ends with it.
pub(super) fn finish(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.is_empty() {
        Ok(())
    } else {
        Err(Malformed::TrailingBytes)
    }
}

/// Appends a packet with the flags its type has, and what `body` appends as its body.
pub(super) fn write(packet_type: PacketType, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(packet_type.value() << 4 | packet_type.fixed_flags().unwrap_or(0));
    let length_at = out.len();
    // Nearly every such body is shorter than 128 bytes, so one byte is set aside for its length;
    // the others move once.
    out.push(0);
    body(out);
    let remaining_length = out.len() - length_at - 1;
    debug_assert!(remaining_length <= size(limits::REMAINING_LENGTH_MAX));
    let short = u8::try_from(remaining_length)
        .ok()
        .filter(|length| *length < 0x80);
    match (short, out.get_mut(length_at)) {
        (Some(length), Some(place)) => *place = length,
        _ => {
            let length = u32::try_from(remaining_length).unwrap_or(limits::REMAINING_LENGTH_MAX);
            let mut long = Vec::with_capacity(4);
            put_variable(&mut long, length);
            out.splice(length_at..=length_at, long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Option<(u32, u32)> {
        let read = FixedHeader::read(bytes).unwrap();
        read.map(|header| (header.header_bytes, header.remaining_length))
    }

    #[test]
    fn remaining_length_at_its_borders() {
        // [MQTT §2.2.3, table 2.4] [MQTT5 §1.5.5, table 1-1]
        assert_eq!(header(b"\x30\x00"), Some((2, 0)));
        assert_eq!(header(b"\x30\x7f"), Some((2, 127)));
        assert_eq!(header(b"\x30\x80\x01"), Some((3, 128)));
        assert_eq!(header(b"\x30\xff\x7f"), Some((3, 16_383)));
        assert_eq!(header(b"\x30\x80\x80\x01"), Some((4, 16_384)));
        assert_eq!(header(b"\x30\xff\xff\x7f"), Some((4, 2_097_151)));
        assert_eq!(header(b"\x30\x80\x80\x80\x01"), Some((5, 2_097_152)));
        assert_eq!(header(b"\x30\xff\xff\xff\x7f"), Some((5, 268_435_455)));
        assert_eq!(header(b"\x30\x80\x80\x80\x00"), Some((5, 0)));
    }

    #[test]
    fn a_header_that_is_not_all_here() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x80",
            b"\x30\x80\x80",
            b"\x30\x80\x80\x80",
        ] {
            assert_eq!(FixedHeader::read(bytes), Ok(None));
        }
    }

    #[test]
    fn a_fifth_length_byte_is_refused_before_it_comes() {
        let error = DecodeError::Malformed(Malformed::RemainingLength);
        assert_eq!(FixedHeader::read(b"\x30\x80\x80\x80\x80"), Err(error));
        assert_eq!(FixedHeader::read(b"\x30\xff\xff\xff\xff\x01"), Err(error));
    }

    #[test]
    fn a_packet_too_large_is_refused_by_its_header_alone() {
        let error = DecodeError::Protocol(ProtocolError::PacketTooLarge);
        assert_eq!(Frame::cut(b"\x30\x7f", 128), Err(error));
        assert_eq!(Frame::cut(b"\x30\x7f", 129), Ok(None));
    }

    #[test]
    fn a_packet_is_cut_off_what_follows_it() {
        let frame = Frame::cut(b"\x32\x02ab\xc0\x00", 100).unwrap().unwrap();
        assert_eq!(
            (frame.header.packet_type, frame.header.flags),
            (PacketType::Publish, 0b0010)
        );
        assert_eq!((frame.body, frame.header.packet_bytes()), (&b"ab"[..], 4));
        assert_eq!(Frame::cut(b"\x32\x02a", 100), Ok(None));
    }

    #[test]
    fn every_type_leads_back_to_its_value() {
        for value in 0..16 {
            assert_eq!(
                PacketType::from_first_byte(value << 4 | 0x0f).value(),
                value
            );
        }
    }

    #[test]
    fn a_written_packet_has_the_shortest_length() {
        for (count, header) in [
            (127, &b"\xc0\x7f"[..]),
            (128, b"\xc0\x80\x01"),
            (16_384, b"\xc0\x80\x80\x01"),
        ] {
            let mut out = vec![7];
            write(PacketType::PingReq, &mut out, |out| {
                out.resize(out.len() + count, 9)
            });
            assert_eq!(out[1..=header.len()], *header);
            assert_eq!(out.len(), 1 + header.len() + count);
        }
    }
}

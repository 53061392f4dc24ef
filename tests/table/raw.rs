//! Packets byte by byte, for dialogues with peers that break the rules.

use super::ProtocolVersion;

/// First byte, shortest Remaining Length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        out.push(u8::try_from(rest & 0x7f).unwrap() | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// A two-byte length and these bytes.
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A CONNECT with this Protocol Name and level and Connect Flags, Keep Alive 0, no properties where
/// `level` is 5, and this payload.
pub fn connect_as(name: &str, level: u8, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut body = string(name);
    body.extend_from_slice(&[level, flags, 0, 0]);
    if level == 5 {
        body.push(0);
    }
    body.extend(payload.concat());
    packet(0x10, &body)
}

/// A CONNECT of this version with these Connect Flags and this payload.
pub fn connect_with(version: ProtocolVersion, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let name = match version {
        ProtocolVersion::V31 => "MQIsdp",
        ProtocolVersion::V311 | ProtocolVersion::V5 => "MQTT",
    };
    connect_as(name, version.level(), flags, payload)
}

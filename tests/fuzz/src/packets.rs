//! Bytes as packets of one version: what is taken encodes to something that is taken the same way
//! again, in no more bytes, and to the same bytes from then on; what is refused is refused with a
//! Reason Code of failure and a sentence.

use super::source::VERSIONS;
use midge::codec::connect::answer_version;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::error::DecodeError;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::property::Properties;
use midge::limits::PACKET_BYTES_MAX;

pub fn run(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let version = VERSIONS[usize::from(*first) % VERSIONS.len()];
    let mut rest = bytes;
    loop {
        match Frame::cut(rest, PACKET_BYTES_MAX) {
            Ok(Some(frame)) => {
                check_frame(&frame, version);
                rest = &rest[frame.header.packet_bytes() as usize..];
            }
            Ok(None) => return,
            Err(error) => return check_error(&error),
        }
    }
}

fn check_frame(frame: &Frame<'_>, version: ProtocolVersion) {
    let _ = answer_version(frame.body);
    let packet = match Packet::decode(frame, version) {
        Ok(packet) => packet,
        Err(error) => return check_error(&error),
    };
    check_properties(&packet);
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let encoded = encode(&packet, version);
    assert!(encoded.len() <= frame.header.packet_bytes() as usize);
    let again = Frame::cut(&encoded, PACKET_BYTES_MAX)
        .expect("what we write can be cut")
        .expect("what we write is whole");
    assert_eq!(again.header.packet_bytes() as usize, encoded.len());
    let decoded = Packet::decode(&again, version).expect("what we write decodes");
    assert_eq!(describe(&decoded), describe(&packet));
    assert_eq!(encode(&decoded, version), encoded);
}

fn check_error(error: &DecodeError) {
    assert!(error.reason_code().is_failure());
    assert!(!error.to_string().is_empty());
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    out
}

/// The properties of a packet, its Will's among them, are all found and lead back to their bytes.
fn check_properties(packet: &Packet<'_>) {
    let will = match packet {
        Packet::Connect(connect) => connect.will.map(|will| will.properties),
        _ => None,
    };
    for properties in [properties_of(packet), will].into_iter().flatten() {
        let (mut written, mut raw_bytes) = (Vec::new(), 0);
        for (property, raw) in properties.iter_raw() {
            property.encode(&mut written);
            raw_bytes += raw.len();
        }
        assert_eq!(written, properties.as_bytes());
        assert_eq!(raw_bytes, written.len());
        assert!(properties.user_properties().count() <= properties.iter().count());
    }
}

/// The properties of a packet, if its type has any.
pub fn properties_of<'a>(packet: &Packet<'a>) -> Option<Properties<'a>> {
    Some(match packet {
        Packet::Connect(packet) => packet.properties,
        Packet::ConnAck(packet) => packet.properties,
        Packet::Publish(packet) => packet.properties,
        Packet::Ack(packet) => packet.properties,
        Packet::Subscribe(packet) => packet.properties,
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => packet.properties,
        Packet::Unsubscribe(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        Packet::Auth(packet) => packet.properties,
        Packet::PingReq | Packet::PingResp => return None,
    })
}

/// All that can be seen of a packet from outside.
pub fn describe(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Subscribe(packet) => {
            let filters: Vec<_> = packet.iter().collect();
            let (identifier, properties) = (packet.packet_identifier, packet.properties);
            format!("SUBSCRIBE {identifier} {properties:?} {filters:?}")
        }
        Packet::Unsubscribe(packet) => {
            let filters: Vec<_> = packet.iter().collect();
            let (identifier, properties) = (packet.packet_identifier, packet.properties);
            format!("UNSUBSCRIBE {identifier} {properties:?} {filters:?}")
        }
        packet => format!("{packet:?}"),
    }
}

//! Writes seeds into `corpus/`, so that the targets start deep: whole packets, streams that begin
//! with a CONNECT, and random scripts, which the targets' own reading of their input makes sense of.
//! The same ones each time; what they add to a corpus, `cargo fuzz cmin` decides.

use midge::codec::connect::ConnAck;
use midge::codec::control::Auth;
use midge::codec::dialect::ProtocolVersion::V5;
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property};
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::SubAck;
use midge_fuzz::compose;
use midge_fuzz::source::{Source, VERSIONS};
use std::num::NonZeroU16;
use std::path::Path;
use std::{fs, io};

/// Seeds of each kind.
const COUNT: usize = 200;

/// A linear congruential generator: nothing here needs better chance.
struct Chance(u64);

impl Chance {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = |_| {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 56) as u8
        };
        (0..count).map(next).collect()
    }
}

fn main() -> io::Result<()> {
    let mut chance = Chance(1);
    for number in 0..COUNT {
        let bytes = chance.bytes(400);
        write("packets", number, &packets(&bytes, number))?;
        write("cuts", number, &stream(&bytes))?;
        write("topics", number, &bytes)?;
        let length = 50 + number * 2;
        write("conversation", number, &script(&chance.bytes(length)))?;
    }
    Ok(())
}

fn write(target: &str, number: usize, bytes: &[u8]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(format!("seed-{number:03}")), bytes)
}

/// Some packets a client sends, or one that a server sends, behind the byte that says the version.
fn packets(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut source = Source::new(bytes);
    let first = source.u8();
    let version = VERSIONS[usize::from(first) % VERSIONS.len()];
    let mut out = vec![first];
    let mut properties = Vec::new();
    Property::ReasonString("why").encode(&mut properties);
    Property::UserProperty("name", "value").encode(&mut properties);
    let properties = match version {
        V5 => Properties::trusted(&properties),
        _ => Properties::default(),
    };
    let suback = SubAck {
        packet_identifier: NonZeroU16::MIN,
        properties,
        codes: &[0, 1, 2, 0x80],
    };
    let connack = ConnAck {
        session_present: number % 3 == 0,
        reason: ReasonCode::Success,
        properties,
    };
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties,
    };
    match number % 12 {
        0 | 1 => compose::connect(&mut source, &mut out),
        2 => compose::subscribe(&mut source, version, &mut out),
        3 => compose::unsubscribe(&mut source, version, &mut out),
        4 => compose::publish(&mut source, version, &mut out),
        5 => compose::ack(&mut source, version, &mut out),
        6 => compose::disconnect(&mut source, version, &mut out),
        7 => Packet::SubAck(suback).encode(version, &mut out),
        8 => Packet::UnsubAck(suback).encode(version, &mut out),
        9 => Packet::ConnAck(connack).encode(version, &mut out),
        10 => Packet::Auth(auth).encode(version, &mut out),
        _ => Packet::PingResp.encode(version, &mut out),
    }
    out.truncate(2000);
    out
}

/// Cuts, and a stream: a CONNECT and what its client may send behind it.
fn stream(bytes: &[u8]) -> Vec<u8> {
    let mut source = Source::new(bytes);
    let version = source.pick(&[0, 1, 2]);
    let mut out = vec![version, 3, source.u8() % 50, 1, source.u8() % 20];
    let at = out.len();
    compose::connect(&mut source, &mut out);
    // The stream is of the version that stands before it.
    let level = out[at..].iter().position(|byte| (3..=5).contains(byte));
    let version = match level.map(|level| out[at + level]) {
        Some(3) => VERSIONS[2],
        Some(4) => VERSIONS[1],
        _ => V5,
    };
    for _ in 0..6 {
        match source.below(5) {
            0 => compose::subscribe(&mut source, version, &mut out),
            1 => compose::unsubscribe(&mut source, version, &mut out),
            2 => compose::ack(&mut source, version, &mut out),
            3 => Packet::PingReq.encode(version, &mut out),
            _ => compose::publish(&mut source, version, &mut out),
        }
    }
    out.truncate(4000);
    out
}

/// Two clients, one of which subscribes, and whatever comes after that.
fn script(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![bytes[0]];
    out.extend([
        0, 0, bytes[1], bytes[2], 0, 0, 0, 0, 1, bytes[3], bytes[4], 1, 0, 0,
    ]);
    out.extend([5, 0, 1, 0, 1, 1, 2]);
    out.extend(bytes);
    out
}

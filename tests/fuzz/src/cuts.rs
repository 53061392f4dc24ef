//! One stream of bytes, whole and cut into pieces: the codec finds the same packets and the same
//! error in it, and the broker answers with the same bytes.
//!
//! ```text
//!   [ version ][ count ][ places, one byte each, as distances ] … [ stream ]
//! ```

use super::packets::describe;
use super::source::Source;
use midge::broker::Broker;
use midge::broker::client::Peer;
use midge::broker::key::ConnId;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::error::DecodeError;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::config::Config;
use midge::limits::PACKET_BYTES_MAX_DEFAULT;
use midge::time::{Mono, Now, Unix};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.version();
    let distances: Vec<usize> = (0..source.below(16))
        .map(|_| usize::from(source.u8()))
        .collect();
    let stream = source.rest();
    let pieces = cut(stream, &distances);
    assert_eq!(decode(&pieces, version), decode(&[stream], version));
    assert_eq!(converse(&pieces), converse(&[stream]));
}

/// The stream cut after each distance in turn, over and over; whole if there is none.
pub fn cut<'a>(stream: &'a [u8], distances: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for distance in distances.iter().cycle() {
        if rest.is_empty() || pieces.len() > 1000 {
            break;
        }
        let (piece, behind) = rest.split_at((*distance).clamp(1, rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

/// The packets in these pieces, the error that ends them if one does, and how many bytes are left.
fn decode(
    pieces: &[&[u8]],
    version: ProtocolVersion,
) -> (Vec<String>, Result<Vec<u8>, DecodeError>) {
    let (mut found, mut stash) = (Vec::new(), Vec::new());
    for piece in pieces {
        stash.extend_from_slice(piece);
        loop {
            let frame = match Frame::cut(&stash, PACKET_BYTES_MAX_DEFAULT) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            };
            match Packet::decode(&frame, version) {
                Ok(packet) => found.push(describe(&packet)),
                Err(error) => return (found, Err(error)),
            }
            let used = frame.header.packet_bytes() as usize;
            stash.drain(..used);
        }
    }
    (found, Ok(stash))
}

/// What a broker answers to these pieces, offered as the shell offers them, and whether it closes.
fn converse(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let now = Now {
        mono: Mono::from_millis(1),
        unix: Unix(1_800_000_000),
    };
    let conn = ConnId::from_index(0);
    let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), 1883, 0);
    let mut broker = Broker::new(Rc::new(Config::default()), 7);
    broker.opened(conn, peer, now);
    let mut stash = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        stash.extend_from_slice(piece);
        if broker.effects().closes.is_empty() {
            let used = broker.received(conn, &stash, now);
            stash.drain(..used);
        }
    }
    for _ in 0..100 {
        broker.tick(now);
    }
    let is_closed = !broker.effects().closes.is_empty();
    let queue = broker.output(conn).expect("it is open");
    let mut answer = Vec::new();
    while !queue.is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = queue.slices(&[], &mut slices);
        let before = answer.len();
        for slice in &slices[..count] {
            answer.extend_from_slice(slice);
        }
        let taken = answer.len() - before;
        queue.consume(taken);
    }
    (answer, is_closed)
}

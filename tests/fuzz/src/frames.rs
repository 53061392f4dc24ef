//! The frames of a WebSocket, whole and cut into pieces: the same payload, the same end.
//!
//! ```text
//!   [ count ][ places, one byte each, as distances ] … [ stream ]
//! ```

use super::cuts::cut;
use super::source::Source;
use midge::net::fault::Fault;
use midge::net::websocket::{Frames, Heard};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let distances: Vec<usize> = (0..source.below(16))
        .map(|_| usize::from(source.u8()))
        .collect();
    let stream = source.rest();
    assert_eq!(decode(&cut(stream, &distances)), decode(&[stream]));
}

/// The payload in these pieces, the answer to the last ping, and how it ended.
fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Result<Heard, Fault>) {
    let mut frames = Frames::default();
    let (mut payload, mut answer) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let heard = frames.decode(&mut bytes);
        assert!(bytes.len() <= piece.len());
        payload.extend(bytes);
        if heard != Ok(Heard::Open) {
            frames.put_pong(&mut answer);
            frames.put_close(heard.err(), &mut answer);
            return (payload, answer, heard);
        }
    }
    frames.put_pong(&mut answer);
    (payload, answer, Ok(Heard::Open))
}

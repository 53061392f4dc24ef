//! TLS as a stage, without sockets: a client and the broker's side in one process, with what the
//! client says cut and bent at random. A broker that runs for years meets everything.
#![cfg(feature = "tls")]

use midge::config::{Bind, Listener};
use midge::net::fault::Fault;
use midge::net::tls::{Acceptor, Session};
use midge::net::websocket::Heard;
use proptest::prelude::*;
use rustls::ClientConnection;
use std::sync::OnceLock;

mod authority;
use authority::*;

/// One authority, and a listener that asks for certificates, for all cases.
fn acceptor() -> &'static (Authority, Pair, Acceptor) {
    static MADE: OnceLock<(Authority, Pair, Acceptor)> = OnceLock::new();
    MADE.get_or_init(|| {
        let authority = Authority::new();
        let mut listener = Listener::new(Bind::Any, 8883);
        listener.tls.certfile = Some(authority.path("server.crt"));
        listener.tls.keyfile = Some(authority.path("server.key"));
        listener.tls.cafile = Some(authority.path("ca.crt"));
        listener.tls.require_certificate = true;
        let acceptor = Acceptor::read(&listener, None, None, &mut Vec::new());
        let ann = authority.client("ann", |_| {});
        (authority, ann, acceptor.unwrap().unwrap())
    })
}

/// Both ends, and all that went from one to the other.
struct Wire {
    client: ClientConnection,
    broker: Session,
    /// What the broker has understood.
    heard: Vec<u8>,
    ended: Option<Result<Heard, Fault>>,
}

impl Wire {
    fn new(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let (authority, ann, acceptor) = acceptor();
        let config = authority.knows().with(ann).speaking(version).config();
        let name = "localhost".try_into().unwrap();
        Self {
            client: ClientConnection::new(config, name).unwrap(),
            broker: Session::new(&acceptor.config).unwrap(),
            heard: Vec::new(),
            ended: None,
        }
    }

    /// Lets both talk until neither has more to say; `bend` may change what the client sends.
    fn talks(&mut self, distances: &[usize], bend: &mut impl FnMut(&mut Vec<u8>)) {
        loop {
            let mut said = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut said).unwrap();
            }
            if said.is_empty() {
                return;
            }
            bend(&mut said);
            let mut out = Vec::new();
            let (mut rest, mut distance) = (said.as_slice(), distances.iter().cycle());
            while !rest.is_empty() && self.ended.is_none() {
                let count = distance
                    .next()
                    .map_or(rest.len(), |count| (*count).clamp(1, rest.len()));
                let (piece, behind) = rest.split_at(count);
                rest = behind;
                match self
                    .broker
                    .decode(&mut piece.to_vec(), &mut self.heard, &mut out)
                {
                    Ok(Heard::Open) => {}
                    end => self.ended = Some(end),
                }
                // Whatever state it is in, it can be asked to speak.
                if self.broker.encode(b"x", &mut out).is_err() {
                    assert!(self.broker.is_handshaking() || self.ended.is_some());
                }
            }
            if self.ended.is_some() {
                let _ = self.broker.end(&mut out);
                return;
            }
            let mut out = out.as_slice();
            while !out.is_empty() {
                // It may have had enough of what it was answered.
                let is_over = self.client.read_tls(&mut out).is_err();
                if is_over || self.client.process_new_packets().is_err() {
                    break;
                }
            }
        }
    }

    fn says(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.client.writer(), bytes)
    }
}

fn versions() -> impl Strategy<Value = &'static rustls::SupportedProtocolVersion> {
    prop_oneof![Just(&rustls::version::TLS12), Just(&rustls::version::TLS13)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn cut_anywhere_it_understands_the_same(
        version in versions(),
        distances in prop::collection::vec(1_usize..2000, 0..8),
        length in 0_usize..40_000,
    ) {
        let mut wire = Wire::new(version);
        let mut nothing = |_: &mut Vec<u8>| {};
        wire.talks(&distances, &mut nothing);
        prop_assert!(!wire.client.is_handshaking() && !wire.broker.is_handshaking());
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        // The client's buffer takes 64 KiB.
        wire.says(&bytes).unwrap();
        wire.talks(&distances, &mut nothing);
        prop_assert!(wire.heard == bytes);
        wire.client.send_close_notify();
        wire.talks(&distances, &mut nothing);
        prop_assert_eq!(wire.ended, Some(Ok(Heard::End)));
    }

    #[test]
    fn bent_anywhere_it_ends_with_a_fault_or_goes_on(
        version in versions(),
        distances in prop::collection::vec(1_usize..2000, 0..8),
        places in prop::collection::vec((0_usize..6000, any::<u8>()), 1..6),
        from in 0_usize..4000,
        cut_out in 0_usize..40,
    ) {
        let mut wire = Wire::new(version);
        let mut at = 0;
        let mut bend = |said: &mut Vec<u8>| {
            for (place, bits) in &places {
                if let Some(byte) = place.checked_sub(at).and_then(|place| said.get_mut(place)) {
                    *byte ^= bits;
                }
            }
            at += said.len();
            let start = from.min(said.len());
            said.drain(start..(start + cut_out).min(said.len()));
        };
        wire.talks(&distances, &mut bend);
        // It may have given up.
        let _ = wire.says(b"tea");
        wire.talks(&distances, &mut bend);
        prop_assert!(wire.heard.is_empty() || b"tea".starts_with(&wire.heard));
    }
}

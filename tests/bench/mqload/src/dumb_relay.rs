//! The physical limit of a single-threaded socket relay: a server that knows
//! just enough MQTT to let clients in, and hands every QoS 0 PUBLISH on as the
//! bytes that it came as. No matching, no parsing, no state.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::args::Args;
use crate::mqtt;

const LISTENER: Token = Token(usize::MAX);
const READ_BUFFER: usize = 256 * 1024;
/// A subscriber that is this far behind misses what comes next.
const BACKLOG_LIMIT: usize = 64 << 20;
/// With `--fault`, every so many messages suffer it.
const FAULT_EVERY: u64 = 1000;

/// A deliberate mistake, to see that the load generator notices.
#[derive(Clone, Copy)]
enum Fault {
    Lose,
    Repeat,
    Swap,
    Corrupt,
}

struct Peer {
    stream: TcpStream,
    v5: bool,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
    /// What the socket has not taken.
    backlog: Vec<u8>,
    /// With `--route topic`: what is for this subscriber alone.
    dirty: bool,
}

struct Relay {
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    subscribers: Vec<usize>,
    /// The turn's messages, for every subscriber alike.
    batch: Vec<u8>,
    /// With `--route topic`: who subscribed to exactly this topic.
    routes: Option<HashMap<Vec<u8>, Vec<usize>>>,
    fault: Option<Fault>,
    published: u64,
    /// With `Fault::Swap`: what goes out after its successor.
    held: Vec<u8>,
    dirty: Vec<usize>,
    closing: Vec<usize>,
}

pub fn dumb_relay(args: &Args) -> Result<()> {
    let host: IpAddr = args.get("host", IpAddr::from([127, 0, 0, 1]))?;
    let port = args.get("port", 1883u16)?;
    let by_topic = match args.text("route").unwrap_or("all") {
        "all" => false,
        "topic" => true,
        other => return Err(format!("--route {other}: all or topic").into()),
    };
    let fault = match args.text("fault") {
        None => None,
        Some("lose") => Some(Fault::Lose),
        Some("repeat") => Some(Fault::Repeat),
        Some("swap") => Some(Fault::Swap),
        Some("corrupt") => Some(Fault::Corrupt),
        Some(other) => {
            return Err(format!("--fault {other}: lose, repeat, swap or corrupt").into());
        }
    };
    args.reject_unknown()?;
    if !host.is_loopback() {
        return Err("dumb-relay lets anyone in: loopback only".into());
    }
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4096);
    let mut listener = TcpListener::bind(SocketAddr::new(host, port))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut buffer = vec![0; READ_BUFFER];
    let mut relay = Relay {
        peers: Vec::new(),
        free: Vec::new(),
        subscribers: Vec::new(),
        batch: Vec::new(),
        routes: by_topic.then(HashMap::new),
        fault,
        published: 0,
        held: Vec::new(),
        dirty: Vec::new(),
        closing: Vec::new(),
    };
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.admit(stream, poll.registry())?;
                }
                continue;
            }
            let id = event.token().0;
            if event.is_writable() {
                relay.write(id, &[]);
            }
            if event.is_readable() {
                relay.read(id, &mut buffer);
            }
        }
        relay.deliver();
        relay.bury();
    }
}

impl Relay {
    fn admit(&mut self, mut stream: TcpStream, registry: &mio::Registry) -> Result<()> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        stream.set_nodelay(true)?;
        registry.register(
            &mut stream,
            Token(id),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.peers[id] = Some(Peer {
            stream,
            v5: false,
            partial: Vec::new(),
            backlog: Vec::new(),
            dirty: false,
        });
        Ok(())
    }

    fn read(&mut self, id: usize, buffer: &mut Vec<u8>) {
        loop {
            let Some(peer) = self.peers[id].as_mut() else {
                return;
            };
            let held = peer.partial.len();
            if buffer.len() < 2 * held {
                buffer.resize(4 * held, 0);
            }
            buffer[..held].copy_from_slice(&peer.partial);
            let end = match peer.stream.read(&mut buffer[held..]) {
                Ok(0) => return self.closing.push(id),
                Ok(count) => held + count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.closing.push(id),
            };
            peer.partial.clear();
            let taken = self.relay_packets(id, &buffer[..end]);
            if let Some(peer) = self.peers[id].as_mut() {
                peer.partial.extend_from_slice(&buffer[taken..end]);
            }
            if end < buffer.len() {
                return;
            }
        }
    }

    /// Handles the whole packets in `bytes`; returns how many bytes they were.
    fn relay_packets(&mut self, id: usize, bytes: &[u8]) -> usize {
        let mut at = 0;
        // Adjoining PUBLISH packets are copied as one run.
        let mut run = 0;
        while let Some((header, length)) = mqtt::frame(&bytes[at..]) {
            let packet = &bytes[at..at + length];
            if packet[0] >> 4 != 3 || self.routes.is_some() || self.fault.is_some() {
                self.batch.extend_from_slice(&bytes[run..at]);
                self.control(id, packet, header);
                run = at + length;
            }
            at += length;
        }
        self.batch.extend_from_slice(&bytes[run..at]);
        at
    }

    fn control(&mut self, id: usize, packet: &[u8], header: usize) {
        let body = &packet[header..];
        match packet[0] >> 4 {
            1 => {
                let v5 = body.get(6) == Some(&5);
                if let Some(peer) = self.peers[id].as_mut() {
                    peer.v5 = v5;
                }
                let accepted: &[u8] = if v5 {
                    &[0x20, 3, 0, 0, 0]
                } else {
                    &[0x20, 2, 0, 0]
                };
                self.write(id, accepted);
            }
            3 => match self.fault {
                Some(fault) => self.relay_badly(packet, fault),
                None => self.route(packet, body),
            },
            8 => self.subscribe(id, body),
            12 => self.write(id, &[0xd0, 0]),
            14 => self.closing.push(id),
            _ => {}
        }
    }

    fn relay_badly(&mut self, packet: &[u8], fault: Fault) {
        self.published += 1;
        let wrong = self.published % FAULT_EVERY == 0;
        match fault {
            Fault::Lose if wrong => {}
            Fault::Swap if wrong => self.held = packet.to_vec(),
            _ => self.batch.extend_from_slice(packet),
        }
        match fault {
            Fault::Repeat if wrong => self.batch.extend_from_slice(packet),
            Fault::Swap if !wrong => self.batch.append(&mut self.held),
            Fault::Corrupt if wrong => {
                if let Some(last) = self.batch.last_mut() {
                    *last ^= 1;
                }
            }
            _ => {}
        }
    }

    fn route(&mut self, packet: &[u8], body: &[u8]) {
        let Some(length) = body.first_chunk::<2>() else {
            return;
        };
        let topic = body.get(2..2 + usize::from(u16::from_be_bytes(*length)));
        let found = self.routes.as_ref().zip(topic);
        let Some(ids) = found.and_then(|(routes, topic)| routes.get(topic)) else {
            return;
        };
        for id in ids {
            if let Some(peer) = self.peers[*id].as_mut() {
                peer.backlog.extend_from_slice(packet);
                if !peer.dirty {
                    peer.dirty = true;
                    self.dirty.push(*id);
                }
            }
        }
    }

    fn subscribe(&mut self, id: usize, body: &[u8]) {
        let v5 = self.peers[id].as_ref().is_some_and(|peer| peer.v5);
        let mut answer = body[..2].to_vec();
        let mut filters = &body[2..];
        if v5 {
            filters = &filters[1..];
            answer.push(0);
        }
        while let Some(length) = filters.first_chunk::<2>() {
            let end = 2 + usize::from(u16::from_be_bytes(*length));
            if let Some(routes) = &mut self.routes {
                let topic = filters[2..end].to_vec();
                routes.entry(topic).or_default().push(id);
            }
            filters = &filters[end + 1..];
            answer.push(0);
        }
        if !self.subscribers.contains(&id) {
            self.subscribers.push(id);
        }
        answer.splice(..0, [0x90, answer.len() as u8]);
        self.write(id, &answer);
    }

    /// Writes the backlog, then `bytes`; what the socket does not take is kept.
    fn write(&mut self, id: usize, bytes: &[u8]) {
        let Some(peer) = self.peers[id].as_mut() else {
            return;
        };
        let mut taken = 0;
        if peer.backlog.is_empty() {
            while taken < bytes.len() {
                match peer.stream.write(&bytes[taken..]) {
                    Ok(count) => taken += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return self.closing.push(id),
                }
            }
            peer.backlog.extend_from_slice(&bytes[taken..]);
            return;
        }
        if peer.backlog.len() < BACKLOG_LIMIT {
            peer.backlog.extend_from_slice(bytes);
        }
        while taken < peer.backlog.len() {
            match peer.stream.write(&peer.backlog[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.closing.push(id),
            }
        }
        peer.backlog.drain(..taken);
    }

    /// Hands the turn's messages to the subscribers.
    fn deliver(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            for at in 0..self.subscribers.len() {
                self.write(self.subscribers[at], &batch);
            }
            self.batch = batch;
            self.batch.clear();
        }
        for id in std::mem::take(&mut self.dirty) {
            if let Some(peer) = self.peers[id].as_mut() {
                peer.dirty = false;
                self.write(id, &[]);
            }
        }
    }

    fn bury(&mut self) {
        for id in std::mem::take(&mut self.closing) {
            if self.peers[id].take().is_none() {
                continue;
            }
            self.free.push(id);
            self.subscribers.retain(|subscriber| *subscriber != id);
            if let Some(routes) = &mut self.routes {
                routes
                    .values_mut()
                    .for_each(|ids| ids.retain(|at| *at != id));
            }
        }
    }
}

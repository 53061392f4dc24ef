//! Network Connections as the core sees them: what lasts exactly as long as one connection.

use super::effects::Effects;
use super::key::{ConnId, SessionId};
use super::stats::Stats;
use crate::codec::dialect::ProtocolVersion;
use crate::config::Config;
use crate::limits;
use crate::message::QoS;
use crate::time::Mono;
use crate::write_queue::{Place, WriteQueue};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The other end, as the shell knows it. Kept without what a socket address has beside address and
/// port: there is one of these for every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    ip: IpAddr,
    port: u16,
    listener_port: u16,
    listener: u16,
}

impl Peer {
    /// A peer that connected from `address` to `listener_port`, by the listener that has this place
    /// among those of the configuration.
    pub fn new(address: SocketAddr, listener_port: u16, listener: usize) -> Self {
        // An IPv4 peer of an IPv6 socket is still an IPv4 peer.
        let ip = address.ip().to_canonical();
        Self {
            ip,
            port: address.port(),
            listener_port,
            // No port is opened twice: there are no more of them than numbers here, but for Unix
            // sockets, whose owner wrote each one down.
            listener: u16::try_from(listener).unwrap_or(u16::MAX),
        }
    }

    /// A peer on this machine that came through a Unix socket, which gives it no address.
    pub fn local(listener: usize) -> Self {
        Self::new((Ipv4Addr::UNSPECIFIED, 0).into(), 0, listener)
    }

    /// The same connection, from where it really comes.
    #[must_use]
    pub fn moved_to(self, address: SocketAddr) -> Self {
        Self::new(address, self.listener_port, self.listener())
    }

    /// The place of the listener it came by among those of the configuration.
    pub fn listener(&self) -> usize {
        usize::from(self.listener)
    }

    /// Its address, without the port.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The port it connected to.
    pub fn listener_port(&self) -> u16 {
        self.listener_port
    }
}

/// What becomes known of the other end only after a connection was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Where it really is, as a proxy in front says; `None`: where it was taken to be.
    pub address: Option<SocketAddr>,
    /// The TLS it came with; `None`: it came without.
    pub tls: Option<TlsPeer>,
}

/// What TLS says of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    /// As in `TLSv1.3`.
    pub version: Box<str>,
    /// As OpenSSL calls it.
    pub cipher: Box<str>,
    /// The common name of its certificate, if it has shown one that holds.
    pub common_name: Option<String>,
    /// The whole subject of that certificate.
    pub subject: Option<String>,
}

impl fmt::Display for Peer {
    /// As mosquitto writes it: no brackets around an IPv6 address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip.is_unspecified() {
            true => f.write_str("local socket"),
            false => write!(f, "{}:{}", self.ip, self.port),
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has arrived yet.
    Silent,
    /// Something has arrived, but no whole CONNECT.
    AwaitConnect,
    /// A CONNECT has come, and whether its password is right will be found out at its turn.
    Authenticate,
    /// CONNECT was accepted.
    Active(SessionId),
    /// What is queued may still be flushed; nothing more is read.
    Closing,
}

/// Topic Aliases of one connection.
#[derive(Debug, Default)]
pub struct TopicAliases {
    /// By alias less one, what the client set.
    pub inbound: Vec<Option<Box<str>>>,
    /// By alias less one, what the broker set.
    pub outbound: Vec<Box<str>>,
}

/// One Network Connection.
#[derive(Debug)]
pub struct Client {
    /// The other end.
    pub peer: Peer,
    /// How far it has come.
    pub stage: Stage,
    /// From its CONNECT; before that, the one answered in.
    pub version: ProtocolVersion,
    /// What waits for its socket.
    pub output: WriteQueue,
    /// When the last packet came (or much of a long one).
    pub last_received: Mono,
    /// When a packet that has begun must have ended; [`Mono::NEVER`] between packets.
    pub packet_ends_by: Mono,
    /// The entry in the deadline heap that is this connection's.
    pub timer_at: Mono,
    /// Milliseconds without a packet after which it is closed: 1.5 Keep Alives; 0: never.
    pub silence_max_ms: u64,
    /// QoS 1 and 2 messages that may be in flight to it.
    pub window: u16,
    /// Bytes of the largest packet it takes.
    pub maximum_packet_size: u32,
    /// Topic Aliases it takes from the broker, at most.
    pub topic_alias_maximum: u16,
    /// Bytes of the largest PUBLISH that may go to it as it came from somebody else; 0: none may, as it
    /// has names of its own for topics.
    pub relay_bytes_max: u32,
    /// Topic Aliases in use, if any.
    pub aliases: Option<Box<TopicAliases>>,
    /// Whether acknowledgements may carry a Reason String [MQTT5-3.1.2-29].
    pub problem_information: bool,
    /// The highest QoS it may publish with, as it was told.
    pub max_qos: QoS,
    /// Whether its topics are rewritten, so that no other has to ask how.
    pub is_mapped: bool,
    /// Whether it is a bridge by bit 0x80 of its 3.x level.
    pub bridge: bool,
    /// Whether nothing may be written to it until what the journal holds is safe.
    pub is_held: bool,
    /// Whether a message of its could not be kept, which it cannot be told.
    pub is_unanswered: bool,
}

impl Client {
    fn new(peer: Peer, now: Mono) -> Self {
        Self {
            peer,
            stage: Stage::Silent,
            version: ProtocolVersion::V311,
            output: WriteQueue::default(),
            last_received: now,
            packet_ends_by: Mono::NEVER,
            timer_at: Mono::NEVER,
            silence_max_ms: 0,
            window: 0,
            maximum_packet_size: limits::PACKET_BYTES_MAX,
            topic_alias_maximum: 0,
            relay_bytes_max: 0,
            aliases: None,
            problem_information: true,
            max_qos: QoS::ExactlyOnce,
            is_mapped: false,
            bridge: false,
            is_held: false,
            is_unanswered: false,
        }
    }

    /// Notes which packets may go to it as they came from somebody else, once it is settled how it
    /// gets its own.
    pub fn note_relay(&mut self) {
        let is_plain = !self.is_mapped && self.topic_alias_maximum == 0;
        self.relay_bytes_max = if is_plain {
            self.maximum_packet_size
        } else {
            0
        };
    }

    /// Whether a packet of so many bytes can be sent to it as it came from somebody else, with
    /// properties or without: it speaks the same version, has no names of its own for topics, and
    /// keeps up.
    #[inline]
    pub fn takes_as_it_is(&self, bytes: usize, has_properties: bool) -> bool {
        self.version.has_properties() == has_properties
            && bytes <= self.relay_bytes_max as usize
            && self.output.bytes() <= limits::WRITE_QUEUE_BYTES_MAX
    }

    /// Its session, once it has one.
    pub fn session(&self) -> Option<SessionId> {
        match self.stage {
            Stage::Active(session) => Some(session),
            Stage::Silent | Stage::AwaitConnect | Stage::Authenticate | Stage::Closing => None,
        }
    }

    /// When it will have been silent for too long; [`Mono::NEVER`] if it may be.
    pub fn silent_at(&self) -> Mono {
        match self.silence_max_ms {
            0 => Mono::NEVER,
            millis => self.last_received.plus_ms(millis),
        }
    }
}

/// All Network Connections, by the shell's keys.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    count: usize,
    /// Connections that are not closing, by listener.
    by_listener: Vec<u32>,
}

impl Clients {
    /// Puts a new connection at `conn`, a key that is free.
    pub fn open(&mut self, conn: ConnId, peer: Peer, now: Mono) {
        let index = conn.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            debug_assert!(slot.is_none(), "the shell reused a key in use");
            self.count += usize::from(slot.is_none());
            *slot = Some(Box::new(Client::new(peer, now)));
            let listener = peer.listener();
            if listener >= self.by_listener.len() {
                self.by_listener.resize(listener + 1, 0);
            }
            if let Some(count) = self.by_listener.get_mut(listener) {
                *count += 1;
            }
        }
    }

    /// Frees `conn`.
    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Client>> {
        let client = self.slots.get_mut(conn.index())?.take()?;
        self.count -= 1;
        if self.count == 0 {
            self.slots = Vec::new();
        }
        Some(client)
    }

    /// The connection at `conn`.
    pub fn get(&self, conn: ConnId) -> Option<&Client> {
        self.slots.get(conn.index())?.as_deref()
    }

    /// The connection at `conn`.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.slots.get_mut(conn.index())?.as_deref_mut()
    }

    /// Marks `conn` as closing, from when on no limit counts it; the stage it was in.
    pub fn begin_closing(&mut self, conn: ConnId) -> Option<Stage> {
        let client = self.slots.get_mut(conn.index())?.as_deref_mut()?;
        let stage = std::mem::replace(&mut client.stage, Stage::Closing);
        let count = self.by_listener.get_mut(client.peer.listener());
        if let Some(count) = count.filter(|_| stage != Stage::Closing) {
            *count = count.saturating_sub(1);
        }
        Some(stage)
    }

    /// Connections by one listener that are not closing.
    pub fn open_at(&self, listener: usize) -> u32 {
        self.by_listener.get(listener).copied().unwrap_or_default()
    }

    /// Connections that are not closing.
    pub fn open_count(&self) -> u32 {
        self.by_listener.iter().sum()
    }

    /// The limit of connections that the newest one, by this listener, has exceeded, by the name of its
    /// option.
    pub fn exceeded(&self, listener: usize, config: &Config) -> Option<&'static str> {
        let is_above = |count: u32, maximum: u32| maximum != 0 && count > maximum;
        let here = config.listeners.get(listener);
        let maximum = here.map_or(0, |listener| listener.max_connections);
        if is_above(self.open_at(listener), maximum) {
            return Some("max_connections");
        }
        is_above(self.open_count(), config.global_max_connections)
            .then_some("global_max_connections")
    }

    /// Connections.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Each connection.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Client)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((ConnId::from_index(index), slot.as_deref()?)))
    }
}

/// Queues what `encode` appends, a packet, for `client`, and marks the connection dirty if nothing
/// waited.
pub fn send(
    client: &mut Client,
    conn: ConnId,
    effects: &mut Effects,
    stats: &mut Stats,
    encode: impl FnOnce(&mut Vec<u8>),
) {
    if client.output.is_empty() {
        effects.dirty.push(conn);
    }
    stats.messages_sent += 1;
    let bytes = client.output.write(&mut effects.buffers, encode);
    stats.bytes_sent += bytes as u64;
    note_growth(client, bytes, effects);
}

/// Queues the packet at `place` of the common bytes for `client`, and marks the connection dirty if
/// nothing waited. Whoever does so counts it.
#[inline(always)]
pub fn relay(client: &mut Client, conn: ConnId, place: Place, effects: &mut Effects) {
    if client.output.is_empty() {
        effects.dirty.push(conn);
    }
    client.output.refer(&mut effects.buffers, place);
    note_growth(client, place.bytes(), effects);
}

/// Notes that what waits for `client` has grown by so many bytes.
#[inline]
pub fn note_growth(client: &Client, bytes: usize, effects: &mut Effects) {
    let waiting = client.output.bytes();
    if waiting >= limits::FLUSH_AT_BYTES && waiting - bytes < limits::FLUSH_AT_BYTES {
        effects.demand_flush();
    }
}

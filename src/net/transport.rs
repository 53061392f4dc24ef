//! What carries a connection, where that is more than a socket: stages in a fixed order, each from
//! slice to slice, composed here and nowhere else.
//!
//! ```text
//!   socket ⇄ PROXY header ⇄ TLS ⇄ WebSocket ⇄ MQTT bytes
//!            └── outer ──────┘    └─ inner ┘
//! ```
//!
//! A connection without any of them has no `Transport`; one whose stages have done their work, such
//! as plain MQTT behind a PROXY header, loses it. What no stage needs any more is not kept.

use super::fault::Fault;
use super::proxy::{Header, ProxiedTls, Version};
use super::tls::{Acceptor, Session};
use super::upgrade;
use super::websocket::{self, Frames, Heard};
use crate::broker::client::{Introduction, TlsPeer};
use crate::config::{Listener, Protocol};
use crate::limits;
use crate::time::Unix;
use crate::write_queue::WriteQueue;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// What one listener asks of the connections made to it.
#[derive(Debug)]
pub struct Terms {
    /// The PROXY header they begin with.
    proxy: Option<Version>,
    /// Whether that header must say that the client came with TLS.
    requires_proxied_tls: bool,
    /// Whether the client must show a certificate, here or to the proxy.
    requires_certificate: bool,
    /// Whether the configuration asks for TLS.
    is_tls_wanted: bool,
    /// TLS, if it is spoken.
    tls: Option<Acceptor>,
    protocol: Protocol,
    /// The pages WebSockets may come from; empty: all.
    origins: Vec<String>,
}

impl Terms {
    /// Those of `listener`; `None`: bare MQTT.
    pub fn of(listener: &Listener, tls: Option<Acceptor>) -> Option<Rc<Self>> {
        let proxy = match listener.enable_proxy_protocol {
            0 => None,
            1 => Some(Version::V1),
            _ => Some(Version::V2),
        };
        let protocol = listener.spoken();
        let is_tls_wanted = listener.tls.certfile.is_some();
        if proxy.is_none() && !is_tls_wanted && protocol == Protocol::Mqtt {
            return None;
        }
        Some(Rc::new(Self {
            proxy,
            requires_proxied_tls: listener.proxy_protocol_v2_require_tls,
            requires_certificate: listener.tls.require_certificate,
            is_tls_wanted,
            tls,
            protocol,
            origins: listener.websockets_origin.clone(),
        }))
    }
}

/// The stages of one connection.
#[derive(Debug)]
pub struct Transport {
    terms: Rc<Terms>,
    outer: Outer,
    inner: Inner,
    /// Bytes that wait for the socket.
    out: Vec<u8>,
    /// What the core has not been told yet.
    introduction: Option<Box<Introduction>>,
    /// Whether the client's address may be taken from the head of its request: it comes from this
    /// machine or this network, where its proxy is, if it has one.
    is_near: bool,
    /// Why it cannot go on.
    fault: Option<Fault>,
    is_ended: bool,
}

/// Between the socket and clear bytes.
#[derive(Debug)]
enum Outer {
    /// A PROXY header must come first; as far as it has.
    Proxy(Vec<u8>),
    /// The first byte will show what it is.
    Open,
    /// TLS, whose handshake has not been reported yet.
    Greeting(Box<Session>),
    /// TLS.
    Tls(Box<Session>),
    /// Nothing.
    Clear,
}

/// Between clear bytes and MQTT.
#[derive(Debug)]
enum Inner {
    /// The first byte will show what it is.
    Open,
    /// The request for a WebSocket, as far as it has come.
    Request(Vec<u8>),
    /// A WebSocket.
    Frames(Box<Frames>),
    /// Nothing.
    Bare,
}

impl Transport {
    /// For a connection from `address`, on these terms.
    pub fn new(terms: &Rc<Terms>, address: Option<SocketAddr>) -> Self {
        Self {
            terms: Rc::clone(terms),
            outer: match terms.proxy {
                Some(_) => Outer::Proxy(Vec::new()),
                None => Outer::Open,
            },
            inner: match terms.protocol {
                Protocol::Auto => Inner::Open,
                Protocol::Websockets => Inner::Request(Vec::new()),
                Protocol::Mqtt | Protocol::HttpApi => Inner::Bare,
            },
            out: Vec::new(),
            introduction: None,
            is_near: address.is_none_or(|address| is_near(address.ip())),
            fault: None,
            is_ended: false,
        }
    }

    /// Whether the handshake of TLS is still under way, each step of which takes long.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.outer, Outer::Greeting(_))
    }

    /// Whether all stages are behind it: what comes now is MQTT, and what goes is.
    pub fn is_done(&self) -> bool {
        matches!((&self.outer, &self.inner), (Outer::Clear, Inner::Bare))
            && self.out.is_empty()
            && self.introduction.is_none()
    }

    /// What has become known of the other end since this was asked last.
    pub fn take_introduction(&mut self) -> Option<Box<Introduction>> {
        self.introduction.take()
    }

    /// Puts into `mqtt` what `wire`, the bytes that have come, says; `wire` is scratched. What must
    /// be answered waits among [`Transport::waiting`].
    ///
    /// # Errors
    /// Why it cannot go on; what came before that is in `mqtt`.
    pub fn decode(
        &mut self,
        wire: &mut [u8],
        mqtt: &mut Vec<u8>,
        now: Unix,
    ) -> Result<Heard, Fault> {
        mqtt.clear();
        let heard = self.decode_outer(wire, mqtt, now).and_then(|outer| {
            Ok(match self.decode_inner(mqtt)? {
                Heard::Open => outer,
                Heard::End => Heard::End,
            })
        });
        if let Err(fault) = heard {
            self.fault = Some(fault);
        }
        heard
    }

    /// Down to clear bytes.
    fn decode_outer(
        &mut self,
        wire: &mut [u8],
        clear: &mut Vec<u8>,
        now: Unix,
    ) -> Result<Heard, Fault> {
        match &mut self.outer {
            Outer::Proxy(held) => {
                held.extend_from_slice(wire);
                let version = self.terms.proxy.unwrap_or(Version::V1);
                let Some((header, count)) = Header::read(held, version)? else {
                    return Ok(Heard::Open);
                };
                let mut rest = held.split_off(count);
                self.outer = Outer::Open;
                self.heed(header)?;
                self.decode_outer(&mut rest, clear, now)
            }
            Outer::Open => {
                let Some(first) = wire.first() else {
                    return Ok(Heard::Open);
                };
                self.outer = self.opening(*first)?;
                self.decode_outer(wire, clear, now)
            }
            Outer::Greeting(session) => {
                let heard = session.decode(wire, clear, &mut self.out)?;
                let acceptor = self.terms.tls.as_ref();
                let checks_dates = acceptor.is_some_and(|acceptor| acceptor.checks_dates);
                if let Some(peer) = session.peer(checks_dates.then_some(now))? {
                    self.introduction.get_or_insert_default().tls = Some(peer);
                    let open = std::mem::replace(&mut self.outer, Outer::Clear);
                    if let Outer::Greeting(session) = open {
                        self.outer = Outer::Tls(session);
                    }
                }
                Ok(heard)
            }
            Outer::Tls(session) => session.decode(wire, clear, &mut self.out),
            Outer::Clear => {
                clear.extend_from_slice(wire);
                Ok(Heard::Open)
            }
        }
    }

    /// Notes what a PROXY header says.
    fn heed(&mut self, header: Header) -> Result<(), Fault> {
        if header.is_local {
            return Ok(());
        }
        let terms = &self.terms;
        let tls = header.tls.as_ref();
        if terms.requires_proxied_tls && tls.is_none() {
            return Err(Fault::ProxyWithoutTls);
        }
        let is_verified = tls.is_some_and(|tls| tls.is_verified);
        if terms.requires_certificate && terms.tls.is_none() && !is_verified {
            return Err(Fault::ProxyWithoutCertificate);
        }
        if let Some(address) = header.address {
            self.is_near = is_near(address.ip());
        }
        self.introduction = Some(Box::new(Introduction {
            address: header.address,
            tls: header.tls.map(TlsPeer::from),
        }));
        Ok(())
    }

    /// What a connection is that begins with this byte.
    fn opening(&self, first: u8) -> Result<Outer, Fault> {
        /// The first byte of TLS: a record of the handshake. Of SSL 2, which some still begin with.
        const HANDSHAKE: u8 = 0x16;
        const SSL_2: u8 = 0x80;
        let terms = &self.terms;
        let is_auto = terms.protocol == Protocol::Auto;
        match (&terms.tls, first) {
            // Nobody is served in the clear because a certificate was not read.
            (None, _) if terms.is_tls_wanted => Err(Fault::TlsFailed),
            (Some(acceptor), HANDSHAKE) => {
                Session::new(&acceptor.config).map(|tls| Outer::Greeting(Box::new(tls)))
            }
            (Some(_), _) if is_auto && terms.requires_certificate => Err(Fault::NoCertificate),
            (Some(_), _) if is_auto => Ok(Outer::Clear),
            (Some(_), CONNECT) => Err(Fault::PlainMqtt),
            (Some(_), b'A'..=b'Z') => Err(Fault::PlainHttp),
            (Some(_), SSL_2) => Err(Fault::NoCommonVersion),
            (Some(_), _) => Err(Fault::NotTls),
            (None, HANDSHAKE) if terms.protocol == Protocol::Websockets => Err(Fault::TlsOnPlain),
            (None, CONNECT) if terms.protocol == Protocol::Websockets => Err(Fault::BareMqtt),
            (None, _) => Ok(Outer::Clear),
        }
    }

    /// From clear bytes, in place, to MQTT.
    fn decode_inner(&mut self, bytes: &mut Vec<u8>) -> Result<Heard, Fault> {
        if matches!(self.inner, Inner::Open) {
            self.inner = match bytes.first() {
                None => return Ok(Heard::Open),
                Some(b'A'..=b'Z') => Inner::Request(Vec::new()),
                Some(_) => Inner::Bare,
            };
        }
        if let Inner::Request(held) = &mut self.inner {
            held.append(bytes);
            // Bytes that are not there cannot be wrong.
            let answer = match held.is_empty() {
                true => return Ok(Heard::Open),
                false => upgrade::answer(held, &self.terms.origins),
            };
            match answer {
                Ok(None) => return Ok(Heard::Open),
                Ok(Some(upgrade)) => {
                    *bytes = held.split_off(upgrade.request_bytes);
                    self.inner = Inner::Frames(Box::default());
                    if let Some(ip) = upgrade.forwarded_for.filter(|_| self.is_near) {
                        let introduction = self.introduction.get_or_insert_default();
                        introduction.address = Some((ip, 0).into());
                    }
                    self.put(&upgrade.response)?;
                }
                Err(refused) => {
                    self.put(&refused.response)?;
                    return Err(refused.fault);
                }
            }
        }
        match &mut self.inner {
            Inner::Frames(frames) => frames.decode(bytes),
            Inner::Open | Inner::Request(_) | Inner::Bare => Ok(Heard::Open),
        }
    }

    /// Puts bytes of the inner stage among those that wait for the socket.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match &mut self.outer {
            Outer::Tls(session) | Outer::Greeting(session) => session.encode(bytes, &mut self.out),
            Outer::Proxy(_) | Outer::Open | Outer::Clear => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The bytes that wait for the socket.
    pub fn waiting(&self) -> &[u8] {
        &self.out
    }

    /// Whether there is something to write although the core may have nothing.
    pub fn has_own_output(&self) -> bool {
        !self.out.is_empty() || matches!(&self.inner, Inner::Frames(frames) if frames.owes_pong())
    }

    /// Forgets the `count` oldest bytes that wait: the socket has taken them.
    pub fn consume(&mut self, count: usize) {
        if count >= self.out.len() {
            self.out = Vec::new();
        } else {
            self.out.drain(..count);
        }
    }

    /// Takes what comes next, a record's worth at most, off `queue`, which is settled, and puts it among the bytes
    /// that wait.
    ///
    /// # Errors
    /// When nothing more can be said.
    pub fn fill(&mut self, queue: &mut WriteQueue) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        if let Inner::Frames(frames) = &mut self.inner {
            frames.put_pong(&mut bytes);
        }
        // Whoever has been told the end hears nothing behind it.
        if self.is_ended {
            queue.clear();
        }
        let mut slices = [IoSlice::new(&[]); limits::WRITE_VECTORS_MAX];
        let count = queue.slices(&[], &mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let taken = match (&self.inner, slices) {
            (Inner::Frames(_), _) => {
                let payload = gather(slices);
                if !payload.is_empty() {
                    websocket::put_binary(&payload, &mut bytes);
                }
                self.put(&bytes)?;
                payload.len()
            }
            (_, [one]) => {
                let count = one.len().min(limits::STAGED_WRITE_BYTES);
                self.put(one.get(..count).unwrap_or_default())?;
                count
            }
            (_, []) => 0,
            (_, many) => {
                let payload = gather(many);
                self.put(&payload)?;
                payload.len()
            }
        };
        queue.consume(taken);
        Ok(())
    }

    /// Says, once, that nothing more will be written, in the words of each stage.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        let mut bytes = Vec::new();
        if let Inner::Frames(frames) = &self.inner {
            frames.put_close(self.fault, &mut bytes);
        }
        // Where it can no longer be said, the end of the stream has to do.
        let _ = self.put(&bytes);
        if let Outer::Tls(session) = &mut self.outer {
            let _ = session.end(&mut self.out);
        }
    }
}

/// The first byte of a CONNECT.
const CONNECT: u8 = 0x10;

/// The slices as one, as far as fits a record.
fn gather(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut bytes = Vec::with_capacity(total.min(limits::STAGED_WRITE_BYTES));
    for slice in slices {
        let room = limits::STAGED_WRITE_BYTES - bytes.len();
        bytes.extend_from_slice(slice.get(..room).unwrap_or(slice));
    }
    bytes
}

/// Whether an address is of this machine or of a private network.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => {
            let high = ip.octets()[0];
            // fc00::/7 and fe80::/10.
            ip.is_loopback() || high & 0xfe == 0xfc || ip.segments()[0] & 0xffc0 == 0xfe80
        }
    }
}

impl From<ProxiedTls> for TlsPeer {
    fn from(tls: ProxiedTls) -> Self {
        Self {
            version: tls.version.into(),
            cipher: tls.cipher.into(),
            common_name: tls.common_name,
            subject: None,
        }
    }
}

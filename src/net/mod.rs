//! The shell: owns the poll, the sockets and the clock, and knows no MQTT. One thread, one loop:
//!
//! ```text
//!   one turn:   wait → read → tick → commit → flush → reap → accept
//! ```
//!
//! mio is edge-triggered: an event that is not worked off is lost. Whatever a turn cuts short (a
//! socket with more to read, a write queue with more to send, a listener with more waiting) goes
//! on the *again* list, and the next wait is zero.

#[cfg(feature = "tls")]
mod acceptor;
mod activation;
#[cfg(feature = "tls")]
pub mod certificate;
#[cfg(feature = "tls")]
mod ciphers;
#[cfg(feature = "tls")]
mod client_verifier;
mod clocks;
mod disk;
pub mod environment;
pub mod fault;
mod link;
mod listener;
pub mod logger;
pub mod proxy;
mod security;
pub mod service;
mod setup;
mod signals;
mod staged;
mod stream;
mod syslog;
mod throttle;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
pub mod tls;
pub mod transport;
#[cfg_attr(not(feature = "websockets"), path = "upgrade_absent.rs")]
pub mod upgrade;
pub mod websocket;

pub use clocks::now;
pub use disk::Disk;
pub use security::Acceptors;
pub use setup::{ListenError, Setup, Source, addresses};
pub use tls::KeyLogFile;

use crate::broker::client::Peer;
use crate::broker::key::ConnId;
use crate::broker::memory::Gauge;
use crate::broker::{Broker, Closed};
use crate::config::Config;
use crate::limits;
use crate::policy::Lists;
use crate::storage::{Keeper, StoreError};
use crate::time::{Mono, Now};
use activation::Inheritance;
use clocks::Clocks;
use environment::Environment;
use link::{Flushed, Link, ReadOutcome};
use listener::{Accepted, Access, Listener, Pause};
use logger::Logger;
use mio::event::Event;
use mio::{Events, Poll, Token};
use security::Security;
use service::{Manager, Rights};
use signals::{Signal, Signals};
use slab::Slab;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use stream::Stream;
use transport::Transport;

/// The signals' event.
const SIGNALS: Token = Token(usize::MAX - 1);

/// The first listener's event; the others count down from here. (The connections' count up from 0,
/// and never meet them.)
const LISTENERS: usize = usize::MAX - 2;

/// A broker with its sockets.
pub struct Server {
    poll: Poll,
    signals: Signals,
    /// By event; a listener that was closed leaves its place empty.
    listeners: Vec<Option<Listener>>,
    links: Slab<Link>,
    /// What is in force; its listeners keep their places from reload to reload.
    config: Rc<Config>,
    /// Whom the files of Unix sockets are for.
    socket_access: Access,
    /// Sockets that systemd has opened, until their listeners take them.
    inheritance: Inheritance,
    /// What was read last.
    loaded: Config,
    /// What the configuration was read from, to be read again.
    source: Source,
    logger: Option<Logger>,
    manager: Manager,
    broker: Broker,
    keeper: Keeper,
    clocks: Clocks,
    /// The clocks as this turn read them, or the last one.
    now: Now,
    /// What every read goes into first.
    scratch: Box<[u8]>,
    /// What becomes MQTT of it, where that is something else.
    mqtt: Vec<u8>,
    /// TLS, and all else that a listener asks for before MQTT.
    security: Security,
    /// Steps of TLS handshakes that this turn may still do.
    handshake_steps: usize,
    /// Links to be read, or written, again without a new event.
    again: Vec<ConnId>,
    /// Listeners at which somebody waits, to be asked at the end of the turn.
    awaited: Vec<usize>,
    /// Whether no connections can be accepted now.
    pause: Pause,
    /// Links that are to be closed, flushing.
    closing: Vec<ConnId>,
    /// Links that are done with, and how; freed at the end of the turn.
    dead: Vec<(ConnId, Closed)>,
    is_stopping: bool,
}

impl Server {
    /// A server without a listener.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(config: Rc<Config>) -> io::Result<Self> {
        Self::with_lists(config, &Lists::default())
    }

    /// A server without a listener, that knows its users and their rights.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn with_lists(config: Rc<Config>, lists: &Lists) -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = Signals::new(poll.registry(), SIGNALS)?;
        Ok(Self {
            poll,
            signals,
            listeners: Vec::new(),
            socket_access: Access::default(),
            inheritance: Inheritance::default(),
            config: Rc::clone(&config),
            loaded: (*config).clone(),
            source: Source::default(),
            logger: None,
            manager: Manager::new(),
            links: Slab::new(),
            broker: Broker::with_lists(config, lists, setup::seed()),
            keeper: Keeper::default(),
            clocks: Clocks::new(),
            now: Now::default(),
            scratch: vec![0; limits::READ_SCRATCH_BYTES].into_boxed_slice(),
            mqtt: Vec::new(),
            security: Security::default(),
            handshake_steps: 0,
            again: Vec::new(),
            awaited: Vec::new(),
            pause: Pause::default(),
            closing: Vec::new(),
            dead: Vec::new(),
            is_stopping: false,
        })
    }

    /// Whom the files of Unix sockets are for; to be said before [`Server::open_listeners`].
    pub fn give_sockets(&mut self, rights: &Rights, environment: &Environment) {
        self.socket_access = Access {
            owner: match rights {
                Rights::Dropped(account) => Some((account.user_id, account.group_id)),
                Rights::Kept | Rights::Root => None,
            },
            is_by_umask: environment.umask.is_some(),
        };
    }

    /// Takes the sockets that systemd has opened for this process; to be called once, before
    /// [`Server::open_listeners`].
    pub fn inherit(&mut self) {
        self.inheritance = Inheritance::take();
    }

    /// Remembers what the configuration was read from, and where the log goes, for a reload.
    pub fn remember(&mut self, source: Source, logger: Logger) {
        self.source = source;
        self.logger = Some(logger);
    }

    /// Opens a listening socket; port 0 lets the kernel choose. Returns where it listens. The first
    /// one has the settings of the configuration's first listener, and so on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let token = Token(LISTENERS - self.listeners.len());
        let index = self.listeners.len();
        let listener = Listener::open(index, address, None, self.poll.registry(), token)?;
        let address = listener.address().unwrap_or(address);
        self.listeners.push(Some(listener));
        Ok(address)
    }

    /// Has `memory_limit` measured by `gauge`.
    pub fn measure(&mut self, gauge: Gauge) {
        self.broker.measure(gauge);
    }

    /// Opens what keeps the state over a restart, and takes it back. To be called once, before the
    /// first turn.
    ///
    /// # Errors
    /// Another broker has the directory.
    pub fn open_store(&mut self) -> Result<(), StoreError> {
        self.now = self.clocks.read();
        let config = Rc::clone(&self.config);
        self.keeper.open(&mut self.broker, &config, self.now)
    }

    /// The core.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Serves until a signal says stop.
    ///
    /// # Errors
    /// When waiting for events fails, which nothing a peer does can cause.
    pub fn run(&mut self) -> io::Result<()> {
        self.manager.ready();
        let mut events = Events::with_capacity(limits::EVENTS_PER_TURN);
        while !(self.is_stopping && self.links.is_empty()) {
            self.turn(&mut events)?;
        }
        let now = self.clocks.read();
        self.keeper.close(&mut self.broker, now);
        if let Some(logger) = &self.logger {
            logger.end();
        }
        Ok(())
    }

    /// One turn: waits until something happens or is due, and works it off.
    ///
    /// # Errors
    /// When waiting fails, which nothing a peer does can cause.
    pub fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let now = self.clocks.read();
        self.now = now;
        if let Some(logger) = &self.logger {
            logger.advance(now.mono);
        }
        let mut budget = limits::READ_BYTES_PER_TURN;
        self.handshake_steps = limits::HANDSHAKE_STEPS_PER_TURN;
        self.work_off_again(&mut budget, now);
        for event in events.iter() {
            self.handle(event, &mut budget, now);
        }
        self.manager.live(now.mono);
        self.watch_files(now);
        self.publish_log(now);
        self.broker.tick(now);
        self.note_decided();
        let is_busy = !self.again.is_empty();
        if self.keeper.is_due(&mut self.broker, is_busy, now) {
            // Whoever waits for no sync does not wait for the one that begins now.
            self.flush_dirty();
            self.keeper.commit(&mut self.broker, now);
        }
        self.flush_dirty();
        self.close_marked(now);
        self.reap(now);
        self.accept_awaited(now);
        Ok(())
    }

    /// How long the next wait may last; `None`: until something happens.
    fn timeout(&mut self) -> Option<Duration> {
        // Reaping may have published a Will, or marked others to be closed.
        let is_cut_short = !self.again.is_empty() || !self.awaited.is_empty();
        if is_cut_short || !self.broker.effects().is_empty() {
            return Some(Duration::ZERO);
        }
        let mut deadline = self.broker.next_deadline().unwrap_or(Mono::NEVER);
        for other in [
            self.manager.next_sign_at(),
            self.security.next_look_at(),
            self.pause.until(),
            self.logger.as_ref().and_then(Logger::next_deadline),
            self.next_closing(),
            self.keeper.next_at(),
        ] {
            deadline = deadline.min(other.unwrap_or(Mono::NEVER));
        }
        // Counted from the last reading: late by what that turn took, and never early.
        let wait = Duration::from_millis(deadline.ms_since(self.now.mono));
        (deadline != Mono::NEVER).then_some(wait)
    }

    /// When the first of the links that are closing has waited long enough.
    fn next_closing(&self) -> Option<Mono> {
        let conns = self.closing.iter();
        conns
            .filter_map(|conn| self.links.get(conn.index())?.closing())
            .min()
    }

    fn handle(&mut self, event: &Event, budget: &mut usize, now: Now) {
        match event.token() {
            SIGNALS => {
                for signal in self.signals.take() {
                    self.obey(signal, now);
                }
            }
            Token(token) if token > LISTENERS - self.listeners.len() => {
                self.note_awaited(LISTENERS - token);
            }
            Token(token) => {
                let conn = ConnId::from_index(token);
                if event.is_writable() {
                    self.flush(conn);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(
                        conn,
                        event.is_read_closed() || event.is_error(),
                        budget,
                        now,
                    );
                }
            }
        }
    }

    /// What the last turn cut short. A link stands on the list once, in the order it was cut; those
    /// whose turn does not come even now are the first in the next one.
    fn work_off_again(&mut self, budget: &mut usize, now: Now) {
        if self.again.is_empty() {
            return;
        }
        let mut left = std::mem::take(&mut self.again);
        let mut served = 0;
        for conn in left.iter().copied() {
            if *budget == 0 {
                self.flush(conn);
                continue;
            }
            served += 1;
            let Self { links, broker, .. } = self;
            if let Some(link) = links.get_mut(conn.index()) {
                link.is_on_again = false;
                // Whole packets are left over behind a CONNECT that had to wait, or where answers
                // must be read first.
                link.feed_leftover(|bytes| broker.received(conn, bytes, now));
                spend(budget, broker);
                if link.is_over && !broker.is_spent() {
                    link.is_over = false;
                    broker.rejected(conn, None, now);
                }
            }
            self.flush(conn);
            // The end, if it was in sight, still is: reading on finds it.
            self.read(conn, true, budget, now);
        }
        left.drain(..served);
        left.append(&mut self.again);
        self.again = left;
    }

    fn note_again(&mut self, conn: ConnId) {
        let link = self.links.get_mut(conn.index());
        if let Some(link) = link.filter(|link| !link.is_on_again) {
            link.is_on_again = true;
            self.again.push(conn);
        }
    }

    /// Lets in whoever waits: last, so that whoever has just gone has made room.
    fn accept_awaited(&mut self, now: Now) {
        if self.pause.is_over(now.mono) {
            self.awaited.clear();
            self.awaited.extend(0..self.listeners.len());
        }
        for _ in 0..self.awaited.len() {
            let index = self.awaited.remove(0);
            self.accept(index, now);
        }
    }

    fn note_awaited(&mut self, index: usize) {
        if !self.awaited.contains(&index) {
            self.awaited.push(index);
        }
    }

    #[inline(never)]
    fn accept(&mut self, index: usize, now: Now) {
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let Some(Some(listener)) = self.listeners.get_mut(index) else {
                return;
            };
            if self.pause.until().is_some() {
                return;
            }
            let (index, port) = (listener.index, listener.port());
            match listener.accept() {
                Accepted::Stream(stream, address) => {
                    let peer = match address {
                        Some(address) => Peer::new(address, port, index),
                        None => Peer::local(index),
                    };
                    let terms = self.security.terms(index);
                    let transport = terms.map(|terms| Transport::new(terms, address));
                    self.open(stream, transport, peer, now);
                }
                Accepted::Nobody => return self.pause.end(),
                Accepted::Shortage(error) => return self.pause.begin(&error, now.mono),
            }
        }
        self.note_awaited(index);
    }

    fn open(&mut self, stream: Stream, transport: Option<Transport>, peer: Peer, now: Now) {
        // A reply that waits for more to be sent with it waits 40 ms or more; what can be sent
        // together is put together in the write queue.
        let ready = stream.set_nodelay(self.config.set_tcp_nodelay);
        if !self.broker.admits(table_growth(&self.links), now) {
            return;
        }
        let entry = self.links.vacant_entry();
        let conn = ConnId::from_index(entry.key());
        let token = Token(entry.key());
        match ready.and_then(|()| Link::open(stream, transport, self.poll.registry(), token)) {
            Ok(link) => {
                entry.insert(link);
                self.broker.opened(conn, peer, now);
            }
            // It can have been reset already.
            Err(error) => log::debug!("Connection from {peer} failed: {error}."),
        }
    }

    /// Reads a burst from one link and gives it to the core.
    fn read(&mut self, conn: ConnId, is_ended: bool, budget: &mut usize, now: Now) {
        for _ in 0..limits::READS_PER_LINK_PER_TURN {
            if self.broker.has_enough_to_send() {
                self.flush_dirty();
            }
            let Self {
                links,
                scratch,
                mqtt,
                handshake_steps,
                broker,
                dead,
                ..
            } = self;
            let Some(link) = links.get_mut(conn.index()) else {
                return;
            };
            if *budget == 0 {
                break;
            }
            if link.closing().is_none() && broker.must_wait(conn) {
                link.is_paused = true;
                return;
            }
            if staged::is_handshaking(link) {
                if *handshake_steps == 0 {
                    break;
                }
                *handshake_steps -= 1;
            }
            let (count, has_more) = match link.read(scratch, is_ended) {
                ReadOutcome::Bytes(count, has_more) => (count, has_more),
                ReadOutcome::Nothing => return,
                ReadOutcome::End => return dead.push((conn, Closed::ByPeer)),
                ReadOutcome::Failed(kind) => return dead.push((conn, Closed::Failed(kind))),
            };
            *budget = budget.saturating_sub(count);
            if link.closing().is_none() {
                let bytes = scratch.get_mut(..count).unwrap_or_default();
                match link.transport() {
                    None => staged::feed(link, bytes, conn, broker, now),
                    Some(_) => staged::receive(link, bytes, mqtt, conn, broker, now),
                }
                spend(budget, broker);
                if link.is_stashed() && broker.must_wait(conn) {
                    link.is_paused = true;
                    return;
                }
            }
            if !has_more {
                return;
            }
        }
        self.note_again(conn);
    }

    fn flush(&mut self, conn: ConnId) {
        self.flush_now(conn);
    }

    #[inline(always)]
    fn flush_now(&mut self, conn: ConnId) {
        let Self {
            links,
            broker,
            poll,
            dead,
            ..
        } = self;
        let Some(link) = links.get_mut(conn.index()) else {
            return;
        };
        let Some((queue, buffers)) = broker.output_and_buffers(conn) else {
            return;
        };
        if link.transport().is_some() {
            queue.settle(buffers);
        }
        let token = Token(conn.index());
        let flushed = link.flush(queue, buffers.common(), poll.registry(), token);
        match flushed {
            Flushed::All => buffers.empty(queue),
            Flushed::Failed(kind) => {
                queue.clear();
                dead.push((conn, Closed::Failed(kind)));
            }
            Flushed::Blocked | Flushed::Enough => queue.settle(buffers),
        }
        let may_read_on = link.is_paused && !broker.must_wait(conn);
        if may_read_on {
            link.is_paused = false;
        }
        if may_read_on || flushed == Flushed::Enough {
            self.note_again(conn);
        }
    }

    /// Puts those on the *again* list whom the core hears again.
    fn note_decided(&mut self) {
        if self.broker.effects().again.is_empty() {
            return;
        }
        for conn in std::mem::take(&mut self.broker.effects().again) {
            if let Some(link) = self.links.get_mut(conn.index()) {
                link.is_paused = false;
                self.note_again(conn);
            }
        }
    }

    #[inline(never)]
    fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.broker.effects().dirty);
        for conn in dirty.drain(..) {
            self.flush_now(conn);
        }
        dirty.shrink_to(limits::TURN_LIST_PLACES);
        let effects = self.broker.effects();
        effects.dirty = dirty;
        effects.buffers.forget_common();
    }

    /// Begins to close what the core has marked, and ends what has waited long enough.
    fn close_marked(&mut self, now: Now) {
        if self.closing.is_empty() && self.broker.effects().closes.is_empty() {
            return;
        }
        for conn in std::mem::take(&mut self.broker.effects().closes) {
            let link = self.links.get_mut(conn.index());
            if let Some(link) = link.filter(|link| link.closing().is_none()) {
                link.close_by(now.mono.plus_ms(limits::CLOSING_FLUSH_MS));
                self.closing.push(conn);
            }
        }
        let Self {
            links,
            broker,
            closing,
            dead,
            poll,
            ..
        } = self;
        closing.retain(|conn| {
            let Some(link) = links.get_mut(conn.index()) else {
                return false;
            };
            let is_late = link.closing().is_none_or(|deadline| deadline <= now.mono);
            if is_late {
                dead.push((*conn, Closed::AsAsked));
                return false;
            }
            if broker.output(*conn).is_none_or(|queue| queue.is_empty()) {
                link.end_writing(poll.registry(), Token(conn.index()));
            }
            true
        });
    }

    /// Frees what is done with: only now, so that no event of this turn met a stranger.
    fn reap(&mut self, now: Now) {
        if self.dead.is_empty() {
            return;
        }
        let mut dead = std::mem::take(&mut self.dead);
        for (conn, how) in dead.drain(..) {
            if let Some(mut link) = self.links.try_remove(conn.index()) {
                link.deregister(self.poll.registry());
                self.broker.closed(conn, how, now);
                self.closing.retain(|other| *other != conn);
                self.pause.shorten(now.mono);
            }
        }
        if self.links.is_empty() {
            self.links = Slab::new();
        }
        dead.shrink_to(limits::TURN_LIST_PLACES);
        self.closing.shrink_to(limits::TURN_LIST_PLACES);
        self.dead = dead;
    }

    #[cold]
    fn obey(&mut self, signal: Signal, now: Now) {
        match signal {
            Signal::Stop => self.stop(now),
            Signal::Reload => self.reload(now),
            Signal::Save => self.keeper.save(&mut self.broker, now),
            Signal::PrintSubscriptions => {
                let mut text = String::new();
                self.broker.describe_subscriptions(&mut text);
                // Whoever closed standard output does not want to read it.
                let _ = io::stdout().write_all(text.as_bytes());
            }
            Signal::ReopenLog => self.reopen_log(),
        }
    }

    /// Stops accepting, and tells everybody.
    fn stop(&mut self, now: Now) {
        self.is_stopping = true;
        self.manager.stopping();
        self.listeners.clear();
        self.broker.shut_down(now);
    }

    fn reopen_log(&self) {
        if let Some(Err(why)) = self.logger.as_ref().map(Logger::reopen) {
            log::error!("Error: {why}; the log goes on as it was.");
        }
    }

    /// Publishes what was logged for the topics below `$SYS/broker/log`.
    fn publish_log(&mut self, now: Now) {
        if !self.config.log.destinations.topic {
            return;
        }
        let lines = self
            .logger
            .as_ref()
            .map(Logger::take_lines)
            .unwrap_or_default();
        for line in lines {
            self.broker.publish_log(line.kind, &line.text, now);
        }
    }
}

/// Nothing more is read in this turn once the core has done enough for it.
fn spend(budget: &mut usize, broker: &Broker) {
    if broker.is_spent() {
        *budget = 0;
    }
}

/// Bytes by which the table of links grows for one more.
fn table_growth(links: &Slab<Link>) -> usize {
    match links.len() < links.capacity() {
        true => 0,
        false => links.capacity() * size_of::<Option<Link>>(),
    }
}

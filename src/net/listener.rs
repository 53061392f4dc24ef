//! One listening socket: opening it, and accepting without spinning when the process runs out of
//! file descriptors.

use crate::limits;
use crate::time::Mono;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;

/// Linux's numbers for what `accept` says when a connection is there but cannot be had now: ENFILE,
/// EMFILE, ENOMEM, ENOBUFS.
const OUT_OF_RESOURCES: [i32; 4] = [23, 24, 12, 105];

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// What became of one attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Stream(TcpStream, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// Somebody may wait, but the process is out of file descriptors or memory.
    Shortage(io::Error),
}

impl Listener {
    /// Opens a listening socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = TcpListener::bind(address)?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts one connection.
    pub fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, address)) => return Accepted::Stream(stream, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::Nobody,
                Err(error) if is_shortage(&error) => return Accepted::Shortage(error),
                // The peer is gone already, or a signal came: the next may be fine.
                Err(error) => log::debug!("Accepting a connection failed: {error}."),
            }
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| OUT_OF_RESOURCES.contains(&code))
}

/// The pause that all listeners make while the process is out of file descriptors: the kernel
/// says so even where nobody waits, and says it again at once if asked again.
#[derive(Debug, Default)]
pub struct Pause {
    until: Option<Mono>,
    /// Whether the present shortage was said in the log.
    is_said: bool,
}

impl Pause {
    /// Begins, or goes on, because of `error`.
    pub fn begin(&mut self, error: &io::Error, now: Mono) {
        self.until = Some(now.plus_ms(limits::ACCEPT_PAUSE_MS));
        if !std::mem::replace(&mut self.is_said, true) {
            log::warn!(
                "No new connections for now: {error}. Raise the limit of open files \
                 (LimitNOFILE= in the service unit, or ulimit -n)."
            );
        }
    }

    /// Everybody who waited was accepted: the shortage is over.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// When accepting is tried again; `None` while there is no pause.
    pub fn until(&self) -> Option<Mono> {
        self.until
    }

    /// A connection was closed: accepting can be tried again now.
    pub fn shorten(&mut self, now: Mono) {
        self.until = self.until.map(|until| until.min(now));
    }

    /// Whether it is time to try again. The pause is over then, or begins anew.
    pub fn is_over(&mut self, now: Mono) -> bool {
        let is_over = self.until.is_some_and(|until| until <= now);
        if is_over {
            self.until = None;
        }
        is_over
    }
}

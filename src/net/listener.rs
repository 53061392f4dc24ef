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
    /// Accepting goes on then; `None` while it is not paused.
    paused_until: Option<Mono>,
    /// Whether the present shortage was said in the log.
    warned: bool,
}

/// What became of one attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Stream(TcpStream, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// Somebody waits, but the process is out of file descriptors or memory.
    Paused,
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
        Ok(Self {
            socket,
            address,
            paused_until: None,
            warned: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts one connection.
    pub fn accept(&mut self, now: Mono) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, address)) => {
                    self.paused_until = None;
                    return Accepted::Stream(stream, address);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.paused_until = None;
                    self.warned = false;
                    return Accepted::Nobody;
                }
                Err(error) if is_shortage(&error) => {
                    self.pause(&error, now);
                    return Accepted::Paused;
                }
                // The peer is gone already, or a signal came: the next may be fine.
                Err(error) => log::debug!("Accepting a connection failed: {error}."),
            }
        }
    }

    fn pause(&mut self, error: &io::Error, now: Mono) {
        self.paused_until = Some(now.plus_ms(limits::ACCEPT_PAUSE_MS));
        if !self.warned {
            self.warned = true;
            log::warn!(
                "No new connections on port {} for now: {error}. Raise the limit of open files \
                 (LimitNOFILE= in the service unit, or ulimit -n).",
                self.address.port()
            );
        }
    }

    /// When accepting goes on; `None` while it is not paused.
    pub fn paused_until(&self) -> Option<Mono> {
        self.paused_until
    }
}

fn is_shortage(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| OUT_OF_RESOURCES.contains(&code))
}

//! Sockets that systemd has opened for this process (`sd_listen_fds`): each goes to the listener of
//! the configuration that is at its address or path.

use crate::config::{Bind, Listener};
use listenfd::ListenFd;
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// One socket, and where it listens.
#[derive(Debug)]
pub enum Inherited {
    /// Over TCP.
    Tcp(TcpListener, SocketAddr),
    /// On this machine, through a file.
    Unix(UnixListener, PathBuf),
}

/// The sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inheritance(Vec<Inherited>);

impl Inheritance {
    /// Takes them out of the environment. What is no listening stream socket is left alone.
    pub fn take() -> Self {
        let mut given = ListenFd::from_env();
        let all = 0..given.len();
        Self(all.filter_map(|index| take(&mut given, index)).collect())
    }

    /// Those for this listener.
    pub fn take_for(&mut self, listener: &Listener) -> Vec<Inherited> {
        let all = std::mem::take(&mut self.0);
        let (own, rest) = all.into_iter().partition(|socket| socket.is_at(listener));
        self.0 = rest;
        own
    }

    /// Those that are for none.
    pub fn rest(&mut self) -> Vec<Inherited> {
        std::mem::take(&mut self.0)
    }
}

fn take(given: &mut ListenFd, index: usize) -> Option<Inherited> {
    if let Ok(Some(socket)) = given.take_tcp_listener(index) {
        let address = socket.local_addr().ok()?;
        return Some(Inherited::Tcp(socket, address));
    }
    let socket = given.take_unix_listener(index).ok().flatten()?;
    let path = socket.local_addr().ok()?.as_pathname()?.to_path_buf();
    Some(Inherited::Unix(socket, path))
}

impl Inherited {
    fn is_at(&self, listener: &Listener) -> bool {
        match (self, &listener.bind) {
            (Self::Unix(_, path), Bind::Unix(wanted)) => path == Path::new(wanted),
            (Self::Tcp(_, address), Bind::Any) => {
                address.port() == listener.port && address.ip().is_unspecified()
            }
            (Self::Tcp(_, address), Bind::Address(host)) => {
                let is_it = |wanted: IpAddr| wanted == address.ip();
                address.port() == listener.port && host.parse().is_ok_and(is_it)
            }
            (Self::Unix(..), _) | (_, Bind::Unix(_)) => false,
        }
    }
}

impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(f),
            Self::Unix(_, path) => path.display().fmt(f),
        }
    }
}

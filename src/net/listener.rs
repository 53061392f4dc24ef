//! One listening socket: opening it, and accepting without spinning when the process runs out of
//! file descriptors.

use super::activation::Inherited;
use super::stream::Stream;
use crate::limits;
use crate::time::Mono;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};
use std::fs::{self, Permissions};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Linux's numbers for what `accept` says when a connection is there but cannot be had now: ENFILE,
/// EMFILE, ENOMEM, ENOBUFS.
const OUT_OF_RESOURCES: [i32; 4] = [23, 24, 12, 105];

/// Who may connect through a Unix socket: its owner and its group. mosquitto leaves it to the umask,
/// by which, in most places, the owner alone may.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// Whom the files of Unix sockets are for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// The numbers of the user and the group they are given to.
    pub owner: Option<(u32, u32)>,
    /// Whether the umask says who may connect.
    pub is_by_umask: bool,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The listener in the configuration it belongs to; several sockets may.
    pub index: usize,
    /// Whether it was opened here, and is nobody else's as well.
    is_own: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    /// With the path of its file, which goes with it; `None`: it belongs to somebody else.
    Unix(UnixListener, Option<PathBuf>),
}

/// What became of one attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection; where from, if it has an address.
    Stream(Stream, Option<SocketAddr>),
    /// Nobody waits.
    Nobody,
    /// Somebody may wait, but the process is out of file descriptors or memory.
    Shortage(io::Error),
}

impl Listener {
    /// Opens a TCP socket for listener `index`, on one network interface if one is named. An IPv6
    /// socket serves IPv6 alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(
        index: usize,
        address: SocketAddr,
        interface: Option<&str>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        socket.listen(limits::LISTEN_BACKLOG)?;
        let mut socket = TcpListener::from_std(socket.into());
        registry.register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket: Socket::Tcp(socket, address),
            index,
            is_own: true,
        })
    }

    /// Opens a Unix socket for listener `index`, for those that `access` names. A socket that another
    /// broker left behind is replaced, one that somebody answers at is not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_unix(
        index: usize,
        path: &Path,
        access: Access,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            fs::remove_file(path)?;
        }
        let mut socket = UnixListener::bind(path)?;
        let path = path.to_path_buf();
        if let Some((user, group)) = access.owner {
            chown(&path, Some(user), Some(group))?;
        }
        if !access.is_by_umask {
            fs::set_permissions(&path, Permissions::from_mode(UNIX_SOCKET_MODE))?;
        }
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self {
            socket: Socket::Unix(socket, Some(path)),
            index,
            is_own: true,
        })
    }

    /// Takes over a socket that listens already, for listener `index`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn adopt(
        index: usize,
        inherited: Inherited,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let socket = match inherited {
            Inherited::Tcp(socket, address) => {
                socket.set_nonblocking(true)?;
                let mut socket = TcpListener::from_std(socket);
                registry.register(&mut socket, token, Interest::READABLE)?;
                Socket::Tcp(socket, address)
            }
            Inherited::Unix(socket, _) => {
                socket.set_nonblocking(true)?;
                let mut socket = UnixListener::from_std(socket);
                registry.register(&mut socket, token, Interest::READABLE)?;
                Socket::Unix(socket, None)
            }
        };
        Ok(Self {
            socket,
            index,
            is_own: false,
        })
    }

    /// The TCP port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.address().map_or(0, |address| address.port())
    }

    /// Where it listens; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(_, address) => Some(*address),
            Socket::Unix(..) => None,
        }
    }

    /// Lets another socket have the port, as one for all addresses needs it that comes in place of
    /// one for a single address. What else it has, a port below 1024 above all, it keeps, so that it
    /// can come back; until then it must not be asked to accept.
    pub fn step_aside(&self) {
        if let (Socket::Tcp(socket, _), true) = (&self.socket, self.is_own) {
            // Where it fails, the other socket says what is in its way.
            let _ = SockRef::from(socket).shutdown(Shutdown::Read);
        }
    }

    /// Listens again after it stepped aside.
    pub fn come_back(&self) {
        if let (Socket::Tcp(socket, address), true) = (&self.socket, self.is_own) {
            if let Err(error) = SockRef::from(socket).listen(limits::LISTEN_BACKLOG) {
                log::error!("Error: nobody can connect to {address} any more: {error}.");
            }
        }
    }

    /// Accepts one connection.
    pub fn accept(&mut self) -> Accepted {
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(socket, _) => socket
                    .accept()
                    .map(|(stream, address)| (Stream::Tcp(stream), Some(address))),
                Socket::Unix(socket, _) => socket
                    .accept()
                    .map(|(stream, _)| (Stream::Unix(stream), None)),
            };
            match accepted {
                Ok((stream, address)) => return Accepted::Stream(stream, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::Nobody,
                Err(error) if is_shortage(&error) => return Accepted::Shortage(error),
                // The peer is gone already, or a signal came: the next may be fine.
                Err(error) => log::debug!("Accepting a connection failed: {error}."),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, Some(path)) = &self.socket {
            // Somebody else may have removed it already.
            let _ = fs::remove_file(path);
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

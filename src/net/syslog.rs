//! The system's log: a datagram for each line, to the socket that every syslog daemon opens.
//!
//! The daemon may not be there yet, or be restarted: a line that cannot be sent makes this look for
//! it once more, and is lost if there is none. That is how syslog(3) behaves, and why a broker that
//! logs there starts without it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process;

/// Where it is found on every Unix.
pub const SOCKET: &str = "/dev/log";

/// The facility `daemon`.
const DAEMON: u8 = 3;

/// The facility `local0`.
const LOCAL0: u8 = 16;

/// A way to the system's log.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    facility: u8,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// A way to the daemon behind `path`, for lines of the facility local0 to local7, or of
    /// `daemon`.
    pub fn new(path: &Path, local: Option<u8>) -> Self {
        Self {
            path: path.to_path_buf(),
            facility: local.map_or(DAEMON, |local| LOCAL0 + local),
            socket: None,
        }
    }

    /// Whether the daemon is there.
    ///
    /// # Errors
    /// Why it cannot be reached now.
    pub fn connect(&mut self) -> io::Result<()> {
        self.socket = None;
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        // A daemon that does not keep up must not stop the broker.
        socket.set_nonblocking(true)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends one line; `priority` is syslog's, 3 for an error to 7 for debugging.
    pub fn send(&mut self, priority: u8, line: &[u8]) {
        let code = self.facility * 8 + priority;
        let mut message = format!("<{code}>midge[{}]: ", process::id()).into_bytes();
        message.extend_from_slice(line);
        let sent = self.socket.as_ref().map(|socket| socket.send(&message));
        let is_gone = match sent {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(error)) => error.kind() != io::ErrorKind::WouldBlock,
        };
        if is_gone && self.connect().is_ok() {
            let _ = self.socket.as_ref().map(|socket| socket.send(&message));
        }
    }
}

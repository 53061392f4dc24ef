//! SIGTERM and SIGINT as a readable event, so that the loop meets them between two turns like
//! anything else.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Read};

/// The reading end of a pipe that each signal writes a byte to.
#[derive(Debug)]
pub struct Signals {
    reader: UnixStream,
}

impl Signals {
    /// Takes the signals over from their default actions.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        let mut reader = UnixStream::from_std(reader);
        registry.register(&mut reader, token, Interest::READABLE)?;
        Ok(Self { reader })
    }

    /// Whether a signal to stop has come.
    pub fn is_stop(&mut self) -> bool {
        let mut bytes = [0; 16];
        matches!(self.reader.read(&mut bytes), Ok(count) if count > 0)
    }
}

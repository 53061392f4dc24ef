//! Signals as readable events, so that the loop meets them between two turns like anything else.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// Linux's first real-time signal as the C library gives it out, mosquitto's for log rotation. musl
/// keeps one more for itself than glibc does, and refuses to have it handled.
const SIGRTMIN: i32 = if cfg!(target_env = "musl") { 35 } else { 34 };

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: stop.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: save the state.
    Save,
    /// SIGUSR2: print the subscriptions.
    PrintSubscriptions,
    /// SIGRTMIN: open the log file again.
    ReopenLog,
}

const ALL: [(i32, Signal); 6] = [
    (SIGTERM, Signal::Stop),
    (SIGINT, Signal::Stop),
    (SIGHUP, Signal::Reload),
    (SIGUSR1, Signal::Save),
    (SIGUSR2, Signal::PrintSubscriptions),
    (SIGRTMIN, Signal::ReopenLog),
];

/// A pipe for each signal, which writes a byte to it. They are read when any of them is.
#[derive(Debug)]
pub struct Signals {
    readers: Vec<(UnixStream, Signal)>,
}

impl Signals {
    /// Takes the signals over from their default actions.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut readers = Vec::with_capacity(ALL.len());
        for (number, signal) in ALL {
            let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            pipe::register(number, OwnedFd::from(writer))?;
            let mut reader = UnixStream::from_std(reader);
            registry.register(&mut reader, token, Interest::READABLE)?;
            readers.push((reader, signal));
        }
        Ok(Self { readers })
    }

    /// The signals that have come, each once however often it came.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut taken = Vec::new();
        for (reader, signal) in &mut self.readers {
            let mut bytes = [0; 64];
            if matches!(reader.read(&mut bytes), Ok(count) if count > 0) && !taken.contains(signal)
            {
                taken.push(*signal);
            }
        }
        taken
    }
}

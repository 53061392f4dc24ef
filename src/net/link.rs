//! One socket: bytes in, bytes out, and nothing about what they mean. The core has the other half
//! of the connection under the same key.

use super::stream::Stream;
use crate::limits;
use crate::time::Mono;
use crate::write_queue::WriteQueue;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};

/// One connection's socket.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// The beginning of a packet whose end has not come yet. Grows with what was received, never
    /// with what was promised.
    stash: Option<Box<Vec<u8>>>,
    /// When it is closed even if the peer has not taken everything; [`Mono::NEVER`] while it is open.
    closing: Mono,
    waits_writable: bool,
    /// Whether the peer was told that nothing more will be written.
    is_ended: bool,
    /// Whether nothing is read from it until more of what waits for it is written.
    pub is_paused: bool,
    /// Whether it is on the list of links to be read again without a new event.
    pub is_on_again: bool,
}

/// What one read brought.
#[derive(Debug)]
pub enum ReadOutcome {
    /// So many bytes; whether more may be waiting.
    Bytes(usize, bool),
    /// Nothing now.
    Nothing,
    /// The peer has closed its side.
    End,
    /// The connection is lost.
    Failed(io::ErrorKind),
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket takes no more now; an event will say when.
    Blocked,
    /// The socket would take more, but others must have their turn.
    Enough,
    /// The connection is lost.
    Failed(io::ErrorKind),
}

/// The part of a packet that has come cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// What it would take.
    pub bytes: usize,
}

/// Bytes by which a vector grows to take `more`: it doubles, or takes what that is too little for.
fn growth(vector: &Vec<u8>, more: usize) -> usize {
    let free = vector.capacity() - vector.len();
    match more.checked_sub(free) {
        None | Some(0) => 0,
        Some(missing) => missing.max(vector.capacity()),
    }
}

impl Link {
    /// Takes an accepted socket over.
    ///
    /// # Errors
    /// What the kernel says to registering it.
    pub fn open(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            stash: None,
            closing: Mono::NEVER,
            waits_writable: false,
            is_ended: false,
            is_paused: false,
            is_on_again: false,
        })
    }

    /// Reads once into `scratch`. `is_ended`: the kernel has said that the peer's end is in sight,
    /// so that a short read does not mean there is nothing behind it.
    pub fn read(&mut self, scratch: &mut [u8], is_ended: bool) -> ReadOutcome {
        match self.stream.read(scratch) {
            Ok(0) => ReadOutcome::End,
            Ok(count) => ReadOutcome::Bytes(count, is_ended || count == scratch.len()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => ReadOutcome::Nothing,
                io::ErrorKind::Interrupted => ReadOutcome::Bytes(0, true),
                kind => ReadOutcome::Failed(kind),
            },
        }
    }

    /// Offers `bytes`, and what was left of earlier ones, to `use_up`, which says how many it has
    /// used; keeps the rest, for which `room_bytes` more may be taken.
    ///
    /// # Errors
    /// There is not that much: nothing is kept any more, and the link can only be closed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        room_bytes: usize,
        use_up: impl FnOnce(&[u8]) -> usize,
    ) -> Result<(), Overflow> {
        let Some(stash) = &mut self.stash else {
            let used = use_up(bytes);
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.len() > room_bytes {
                return Err(Overflow { bytes: rest.len() });
            }
            if !rest.is_empty() {
                self.stash = Some(Box::new(rest.to_vec()));
            }
            return Ok(());
        };
        let growth = growth(stash, bytes.len());
        if growth > room_bytes {
            self.stash = None;
            return Err(Overflow { bytes: growth });
        }
        stash.extend_from_slice(bytes);
        let used = use_up(stash).min(stash.len());
        if used == stash.len() {
            self.stash = None;
        } else if used > 0 {
            // What is left is less than one read, however long the packet before it was.
            **stash = stash.split_off(used);
        }
        Ok(())
    }

    /// Whether anything is left of earlier bytes.
    pub fn is_stashed(&self) -> bool {
        self.stash.is_some()
    }

    /// Offers what was left of earlier bytes once more, without new ones.
    pub fn feed_leftover(&mut self, use_up: impl FnOnce(&[u8]) -> usize) {
        if self.stash.is_some() {
            // Nothing grows.
            let _ = self.feed(&[], 0, use_up);
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn flush(&mut self, queue: &mut WriteQueue, registry: &Registry, token: Token) -> Flushed {
        // Nearly always one write takes all there is.
        let mut written = 0;
        while !queue.is_empty() {
            if written >= limits::WRITE_BYTES_PER_LINK_PER_TURN {
                return Flushed::Enough;
            }
            match self.write(queue) {
                Ok(0) => return Flushed::Failed(io::ErrorKind::WriteZero),
                Ok(count) => {
                    queue.consume(count);
                    written += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.set_waiting(true, registry, token);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Flushed::Failed(error.kind()),
            }
        }
        self.set_waiting(false, registry, token)
    }

    fn write(&mut self, queue: &WriteQueue) -> io::Result<usize> {
        if let Some(bytes) = queue.single() {
            return self.stream.write(bytes);
        }
        self.write_pieces(queue)
    }

    /// Apart from the usual case for the room it takes.
    #[inline(never)]
    fn write_pieces(&mut self, queue: &WriteQueue) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); limits::WRITE_VECTORS_MAX];
        let count = queue.slices(&mut slices);
        self.stream
            .write_vectored(slices.get(..count).unwrap_or_default())
    }

    /// Asks for an event when the socket takes bytes again, or no longer.
    #[inline]
    fn set_waiting(&mut self, waits: bool, registry: &Registry, token: Token) -> Flushed {
        if waits != self.waits_writable {
            self.waits_writable = waits;
            let interest = match waits {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            if let Err(error) = registry.reregister(&mut self.stream, token, interest) {
                return Flushed::Failed(error.kind());
            }
        }
        if waits {
            Flushed::Blocked
        } else {
            Flushed::All
        }
    }

    /// Marks it as closing, to be cut at `deadline` at the latest.
    pub fn close_by(&mut self, deadline: Mono) {
        self.stash = None;
        self.closing = self.closing.min(deadline);
    }

    /// When it is cut; `None` while it is open.
    pub fn closing(&self) -> Option<Mono> {
        (self.closing != Mono::NEVER).then_some(self.closing)
    }

    /// Says, once, that nothing more will be written. The socket stays until the peer has closed its side
    /// too: closing with unread bytes would make the kernel take back what was just written.
    pub fn end_writing(&mut self) {
        // It fails only if the peer is gone, which reading will show.
        if !std::mem::replace(&mut self.is_ended, true) {
            let _ = self.stream.end_writing();
        }
    }

    /// Forgets the socket's registration; it is closed when the link is dropped.
    pub fn deregister(&mut self, registry: &Registry) {
        // It fails only if it is not registered.
        let _ = registry.deregister(&mut self.stream);
    }
}

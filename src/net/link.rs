//! One socket: bytes in, bytes out, and nothing about what they mean. The core has the other half
//! of the connection under the same key.

use super::stream::Stream;
use super::transport::Transport;
use crate::limits;
use crate::time::Mono;
use crate::write_queue::WriteQueue;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};

/// One connection's socket.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// What few links have.
    more: Option<Box<More>>,
    /// When it is closed even if the peer has not taken everything; [`Mono::NEVER`] while it is open.
    closing: Mono,
    waits_writable: bool,
    /// Whether the peer was told that nothing more will be written.
    is_ended: bool,
    /// Whether nothing is read from it until more of what waits for it is written.
    pub is_paused: bool,
    /// Whether its peer has said, by a stage, that nothing more comes, and the core has still to hear
    /// what came before.
    pub is_over: bool,
    /// Whether it is on the list of links to be read again without a new event.
    pub is_on_again: bool,
}

/// What a link has beside its socket, if anything.
#[derive(Debug, Default)]
struct More {
    /// The beginning of a packet whose end has not come yet. Grows with what was received, never
    /// with what was promised.
    stash: Vec<u8>,
    /// What stands between the socket and MQTT.
    transport: Option<Box<Transport>>,
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
    /// All that waited is written: the queue may be emptied.
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
    pub fn open(
        mut stream: Stream,
        transport: Option<Transport>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE)?;
        let more = transport.map(|transport| More {
            stash: Vec::new(),
            transport: Some(Box::new(transport)),
        });
        Ok(Self {
            stream,
            more: more.map(Box::new),
            closing: Mono::NEVER,
            waits_writable: false,
            is_ended: false,
            is_paused: false,
            is_over: false,
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

    /// Keeps `rest`, the beginning of a packet, where nothing is left of earlier bytes. `room_bytes`
    /// may be taken for it.
    ///
    /// # Errors
    /// There is not that much: the link can only be closed.
    pub fn keep(&mut self, rest: &[u8], room_bytes: usize) -> Result<(), Overflow> {
        if rest.len() > room_bytes {
            return Err(Overflow { bytes: rest.len() });
        }
        self.more.get_or_insert_default().stash = rest.to_vec();
        Ok(())
    }

    /// Offers what was left of earlier bytes, and `bytes` behind it, to `use_up`, which says how many
    /// it has used; keeps the rest, for which `room_bytes` more may be taken.
    ///
    /// # Errors
    /// There is not that much: nothing is kept any more, and the link can only be closed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        room_bytes: usize,
        use_up: impl FnOnce(&[u8]) -> usize,
    ) -> Result<(), Overflow> {
        let Some(more) = &mut self.more else {
            return Ok(()); // not reached: it is for links that have something left
        };
        let stash = &mut more.stash;
        let growth = growth(stash, bytes.len());
        if growth > room_bytes {
            self.drop_stash();
            return Err(Overflow { bytes: growth });
        }
        stash.extend_from_slice(bytes);
        let used = use_up(stash).min(stash.len());
        if used == stash.len() {
            self.drop_stash();
        } else if used > 0 {
            // What is left is less than one read, however long the packet before it was.
            *stash = stash.split_off(used);
        }
        Ok(())
    }

    fn drop_stash(&mut self) {
        match &mut self.more {
            Some(more) if more.transport.is_some() => more.stash = Vec::new(),
            _ => self.more = None,
        }
    }

    /// Whether anything is left of earlier bytes.
    pub fn is_stashed(&self) -> bool {
        self.more
            .as_ref()
            .is_some_and(|more| !more.stash.is_empty())
    }

    /// Offers what was left of earlier bytes once more, without new ones.
    pub fn feed_leftover(&mut self, use_up: impl FnOnce(&[u8]) -> usize) {
        if self.is_stashed() {
            // Nothing grows.
            let _ = self.feed(&[], 0, use_up);
        }
    }

    /// What stands between the socket and MQTT, if anything does.
    pub fn transport(&mut self) -> Option<&mut Transport> {
        self.more.as_mut()?.transport.as_deref_mut()
    }

    /// Forgets the stages between the socket and MQTT: there are none any more.
    pub fn drop_transport(&mut self) {
        match &mut self.more {
            Some(more) if !more.stash.is_empty() => more.transport = None,
            _ => self.more = None,
        }
    }

    /// Writes what waits, as far as the socket takes it. `common`: what is
    /// [common](Buffers::common) to all queues.
    #[inline(always)]
    pub fn flush(
        &mut self,
        queue: &mut WriteQueue,
        common: &[u8],
        registry: &Registry,
        token: Token,
    ) -> Flushed {
        // Nearly always one write takes all there is, in one piece, and nobody has waited for that.
        let is_usual = self.more.is_none() && !self.waits_writable && !queue.is_empty();
        let Some(bytes) = queue.single(common).filter(|_| is_usual) else {
            return self.flush_rest(None, queue, common, registry, token);
        };
        match self.stream.write(bytes) {
            Ok(count) if count == bytes.len() => Flushed::All,
            outcome => self.flush_rest(Some(outcome), queue, common, registry, token),
        }
    }

    /// Goes on with a flush after its first write.
    #[inline(never)]
    fn flush_rest(
        &mut self,
        mut outcome: Option<io::Result<usize>>,
        queue: &mut WriteQueue,
        common: &[u8],
        registry: &Registry,
        token: Token,
    ) -> Flushed {
        if self.transport().is_some() {
            return self.flush_staged(queue, registry, token);
        }
        let mut written = 0;
        while !queue.is_empty() {
            if written >= limits::WRITE_BYTES_PER_LINK_PER_TURN {
                return Flushed::Enough;
            }
            match outcome.take().unwrap_or_else(|| self.write(queue, common)) {
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

    /// As [`Link::flush`], by way of the stages. Out of the way of the plain ones.
    #[inline(never)]
    fn flush_staged(
        &mut self,
        queue: &mut WriteQueue,
        registry: &Registry,
        token: Token,
    ) -> Flushed {
        let Self { stream, more, .. } = self;
        let mut written = 0;
        let Some(transport) = more.as_mut().and_then(|more| more.transport.as_mut()) else {
            return Flushed::All;
        };
        while !queue.is_empty() || transport.has_own_output() {
            if written >= limits::WRITE_BYTES_PER_LINK_PER_TURN {
                return Flushed::Enough;
            }
            if transport.waiting().is_empty() && transport.fill(queue).is_err() {
                return Flushed::Failed(io::ErrorKind::ConnectionAborted);
            }
            if transport.waiting().is_empty() {
                continue;
            }
            match stream.write(transport.waiting()) {
                Ok(0) => return Flushed::Failed(io::ErrorKind::WriteZero),
                Ok(count) => {
                    transport.consume(count);
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

    fn write(&mut self, queue: &WriteQueue, common: &[u8]) -> io::Result<usize> {
        if let Some(bytes) = queue.single(common) {
            return self.stream.write(bytes);
        }
        let mut slices = [IoSlice::new(&[]); limits::WRITE_VECTORS_MAX];
        let count = queue.slices(common, &mut slices);
        self.stream
            .write_vectored(slices.get(..count).unwrap_or_default())
    }

    /// Asks for an event when the socket takes bytes again, or no longer.
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
        self.drop_stash();
        self.closing = self.closing.min(deadline);
    }

    /// When it is cut; `None` while it is open.
    pub fn closing(&self) -> Option<Mono> {
        (self.closing != Mono::NEVER).then_some(self.closing)
    }

    /// Says, once, that nothing more will be written. The socket stays until the peer has closed its side
    /// too: closing with unread bytes would make the kernel take back what was just written.
    pub fn end_writing(&mut self, registry: &Registry, token: Token) {
        if self.is_ended {
            return;
        }
        if let Some(transport) = self.transport() {
            transport.end();
            let nothing = &mut WriteQueue::default();
            if matches!(
                self.flush(nothing, &[], registry, token),
                Flushed::Blocked | Flushed::Enough
            ) {
                return;
            }
        }
        self.is_ended = true;
        // It fails only if the peer is gone, which reading will show.
        let _ = self.stream.end_writing();
    }

    /// Forgets the socket's registration; it is closed when the link is dropped.
    pub fn deregister(&mut self, registry: &Registry) {
        // It fails only if it is not registered.
        let _ = registry.deregister(&mut self.stream);
    }
}

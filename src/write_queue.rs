//! What waits for one socket: ordered bytes, of which long message bodies are shared, not copied.
//! Apart from the socket, so that the core fills it and the shell empties it. It never drops
//! anything by itself; whoever fills it looks at [`WriteQueue::bytes`] first.
//!
//! ```text
//!   front: [......written|small packets, coalesced......]
//!   more:  Shared(message, 23..100023)  Bytes([...])  Shared(...)
//! ```
//!
//! Most queues live and die as `front` alone. An empty queue owns no memory once its buffer has gone
//! back to the [`SpareBuffers`], from where the next one that fills takes it.

use crate::limits;
use crate::message::Message;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

/// A piece of the queue behind `front`.
#[derive(Debug)]
enum Chunk {
    /// Own bytes.
    Bytes(Vec<u8>),
    /// A slice of a message's body.
    Shared(Rc<Message>, Range<u32>),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(message, range) => message
                .body()
                .get(range.start as usize..range.end as usize)
                .unwrap_or_default(),
        }
    }
}

/// Bytes waiting for one socket, oldest first.
#[derive(Debug, Default)]
pub struct WriteQueue {
    front: Vec<u8>,
    /// Bytes of `front` that the socket has taken.
    written: usize,
    more: Option<Box<More>>,
    bytes: usize,
}

/// Buffers that write queues have emptied, for those that fill next: a message that is passed on at
/// once asks for no memory.
#[derive(Debug, Default)]
pub struct SpareBuffers {
    buffers: Vec<Vec<u8>>,
    /// What they could hold, together.
    bytes: usize,
}

impl SpareBuffers {
    /// The buffer given back last, empty; a new one if there is none.
    fn lend(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps the buffer of an empty queue, unless it is a large one or there are enough.
    #[inline]
    pub fn give_back(&mut self, queue: &mut WriteQueue) {
        let buffer = queue.take_buffer();
        let bytes = buffer.capacity();
        let is_small = bytes > 0 && bytes <= limits::SPARE_BUFFER_BYTES;
        if is_small && self.bytes + bytes <= limits::SPARE_BUFFERS_BYTES {
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

/// Bytes that the first allocation of a vector of bytes takes, at least.
const MIN_BYTES: usize = 8;

/// What waits behind `front`.
#[derive(Debug, Default)]
struct More {
    chunks: VecDeque<Chunk>,
    /// Bytes of shared bodies in it.
    shared_bytes: usize,
}

impl WriteQueue {
    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes waiting that are this queue's own: heads, short bodies, answers.
    pub fn own_bytes(&self) -> usize {
        self.bytes - self.more.as_ref().map_or(0, |more| more.shared_bytes)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of heap that appending `bytes` own bytes, or a shared slice, takes at most.
    pub fn growth(&self, bytes: usize) -> usize {
        let full = |len: usize, capacity: usize| match len + bytes <= capacity {
            true => 0,
            false => capacity.max(len + bytes - capacity).max(MIN_BYTES),
        };
        let chunk = size_of::<Chunk>();
        match &self.more {
            None if self.front.len() < limits::CHUNK_BYTES_MAX => {
                full(self.front.len(), self.front.capacity()) + size_of::<More>() + 4 * chunk
            }
            None => bytes + size_of::<More>() + 4 * chunk,
            Some(more) => {
                let table = match more.chunks.len() + 1 < more.chunks.capacity() {
                    true => 0,
                    false => more.chunks.capacity() * chunk,
                };
                let tail = match more.chunks.back() {
                    Some(Chunk::Bytes(tail)) if tail.len() < limits::CHUNK_BYTES_MAX => {
                        full(tail.len(), tail.capacity())
                    }
                    _ => bytes,
                };
                table + tail
            }
        }
    }

    /// Appends what `encode` appends to the vector it is given. It must not touch what is there.
    /// Returns how many bytes that was.
    #[inline]
    pub fn write(&mut self, spare: &mut SpareBuffers, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.bytes == 0 && self.front.capacity() == 0 {
            self.front = spare.lend();
        }
        let tail = self.tail();
        let before = tail.len();
        encode(tail);
        let added = tail.len().saturating_sub(before);
        self.bytes += added;
        added
    }

    /// Appends a slice of `message`'s body without copying it. Returns how many bytes that was.
    pub fn share(&mut self, message: &Rc<Message>, from: usize) -> usize {
        let end = message.body().len();
        // A body is part of one packet: below 2^28.
        let (Ok(start), Ok(stop)) = (u32::try_from(from), u32::try_from(end)) else {
            debug_assert!(false, "a body longer than any packet");
            return 0;
        };
        if start >= stop {
            return 0;
        }
        self.bytes += end - from;
        let more = self.more.get_or_insert_default();
        more.shared_bytes += end - from;
        let chunk = Chunk::Shared(Rc::clone(message), start..stop);
        more.chunks.push_back(chunk);
        end - from
    }

    /// The vector that own bytes are appended to now.
    #[inline]
    fn tail(&mut self) -> &mut Vec<u8> {
        match self.more.is_none() && self.front.len() < limits::CHUNK_BYTES_MAX {
            true => &mut self.front,
            false => self.tail_behind(),
        }
    }

    #[cold]
    fn tail_behind(&mut self) -> &mut Vec<u8> {
        let Self { front, more, .. } = self;
        let More { chunks, .. } = &mut **more.get_or_insert_default();
        let full = match chunks.back() {
            Some(Chunk::Bytes(bytes)) => bytes.len() >= limits::CHUNK_BYTES_MAX,
            _ => true,
        };
        if full {
            chunks.push_back(Chunk::Bytes(Vec::new()));
        }
        match chunks.back_mut() {
            Some(Chunk::Bytes(bytes)) => bytes,
            // Not reached: a `Bytes` was pushed just now if there was none.
            _ => front,
        }
    }

    /// The bytes waiting if they are in one piece, as they nearly always are.
    pub fn single(&self) -> Option<&[u8]> {
        match self.more {
            None => self.front.get(self.written..),
            Some(_) => None,
        }
    }

    /// Fills `slices` with the first pieces waiting, oldest first; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let front = self.front.get(self.written..).unwrap_or_default();
        let pieces = std::iter::once(front)
            .chain(
                self.more
                    .iter()
                    .flat_map(|more| more.chunks.iter().map(Chunk::as_slice)),
            )
            .filter(|piece| !piece.is_empty());
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Forgets the `count` oldest bytes: the socket has taken them.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.bytes);
        self.bytes = self.bytes.saturating_sub(count);
        match self.bytes {
            0 => self.clear(),
            _ => self.advance(count),
        }
    }

    /// Drops the `count` oldest bytes, which are not all there are.
    fn advance(&mut self, count: usize) {
        let mut left = count;
        let in_front = left.min(self.front.len() - self.written);
        self.written += in_front;
        left -= in_front;
        if self.written == self.front.len() {
            self.front = Vec::new();
            self.written = 0;
        }
        let Some(more) = &mut self.more else { return };
        while left > 0 {
            let Some(chunk) = more.chunks.pop_front() else {
                break;
            };
            let len = chunk.as_slice().len();
            if matches!(chunk, Chunk::Shared(..)) {
                more.shared_bytes -= len.min(left);
            }
            if len <= left {
                left -= len;
                continue;
            }
            match chunk {
                Chunk::Bytes(bytes) => {
                    self.front = bytes;
                    self.written = left;
                }
                Chunk::Shared(message, range) => {
                    let taken = u32::try_from(left).unwrap_or(u32::MAX);
                    let start = range.start.saturating_add(taken);
                    let rest = Chunk::Shared(message, start..range.end);
                    more.chunks.push_front(rest);
                }
            }
            left = 0;
        }
        if more.chunks.is_empty() {
            self.more = None;
        }
    }

    /// Forgets everything, but for a buffer of its own.
    pub fn clear(&mut self) {
        self.front.clear();
        self.written = 0;
        self.bytes = 0;
        if self.more.is_some() {
            self.more = None;
        }
    }

    /// The buffer of an empty queue, which owns nothing then; of any other, none.
    fn take_buffer(&mut self) -> Vec<u8> {
        match self.bytes {
            0 => std::mem::take(&mut self.front),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Publication, QoS};
    use crate::time::Mono;

    fn message(payload: &[u8]) -> Rc<Message> {
        Publication {
            topic: "t",
            properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: Mono::NEVER,
            publisher: None,
            message: None,
            came: None,
            wire: None,
        }
        .message()
    }

    fn read_all(queue: &WriteQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = queue.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }

    #[test]
    fn keeps_order_across_own_and_shared_bytes_however_it_is_drained() {
        let shared = message(b"PAYLOAD");
        let expected = b"headPAYLOADmidPAYLOADtail";
        for step in 1..=expected.len() {
            let (mut queue, mut spare) = (WriteQueue::default(), SpareBuffers::default());
            queue.write(&mut spare, |out| out.extend_from_slice(b"head"));
            queue.share(&shared, 1);
            queue.write(&mut spare, |out| out.extend_from_slice(b"mid"));
            queue.share(&shared, 1);
            queue.write(&mut spare, |out| out.extend_from_slice(b"tail"));
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let waiting = read_all(&queue);
                assert_eq!(waiting.len(), queue.bytes());
                let shared = waiting.iter().filter(|byte| byte.is_ascii_uppercase());
                assert_eq!(queue.own_bytes(), waiting.len() - shared.count());
                let count = step.min(waiting.len());
                seen.extend_from_slice(&waiting[..count]);
                queue.consume(count);
            }
            assert_eq!(seen, expected, "in steps of {step}");
            spare.give_back(&mut queue);
            assert!(queue.more.is_none() && queue.front.capacity() == 0);
        }
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn one_chunk_does_not_grow_without_end() {
        let (mut queue, mut spare) = (WriteQueue::default(), SpareBuffers::default());
        for _ in 0..3 * limits::CHUNK_BYTES_MAX / 100 {
            queue.write(&mut spare, |out| out.extend_from_slice(&[7; 100]));
        }
        assert!(queue.front.len() <= limits::CHUNK_BYTES_MAX + 100);
        let bytes = queue.bytes();
        assert_eq!(read_all(&queue).len(), bytes);
        queue.consume(bytes);
        assert!(queue.is_empty());
        // A buffer that has grown so far is not kept.
        spare.give_back(&mut queue);
        assert_eq!((spare.bytes, queue.front.capacity()), (0, 0));
    }

    #[test]
    fn emptied_buffers_are_lent_to_the_next_that_fill() {
        let (mut queue, mut spare) = (WriteQueue::default(), SpareBuffers::default());
        queue.write(&mut spare, |out| out.extend_from_slice(b"hello"));
        let at = queue.front.as_ptr();
        spare.give_back(&mut queue);
        assert_eq!(
            queue.bytes(),
            5,
            "a queue that is not empty keeps its buffer"
        );
        queue.consume(5);
        spare.give_back(&mut queue);
        assert_eq!(queue.front.capacity(), 0);
        let mut other = WriteQueue::default();
        other.write(&mut spare, |out| out.extend_from_slice(b"there"));
        assert_eq!(
            (other.front.as_ptr(), other.single()),
            (at, Some(&b"there"[..]))
        );
        for _ in 0..2 * limits::SPARE_BUFFERS_BYTES / limits::SPARE_BUFFER_BYTES {
            let mut queue = WriteQueue {
                front: Vec::with_capacity(limits::SPARE_BUFFER_BYTES),
                ..WriteQueue::default()
            };
            spare.give_back(&mut queue);
        }
        assert!(spare.bytes <= limits::SPARE_BUFFERS_BYTES && spare.bytes > 0);
    }
}

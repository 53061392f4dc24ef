//! What waits for one socket: ordered bytes, of which long message bodies are shared, not copied.
//! Apart from the socket, so that the core fills it and the shell empties it. It never drops
//! anything by itself; whoever fills it looks at [`WriteQueue::bytes`] first.
//!
//! ```text
//!   front: own bytes     [......written|small packets, coalesced......]
//!      or: common bytes  12..47 ──▶ [ packets that many queues wait with, until the end of the turn ]
//!   more:  Shared(message, 23..100023)  Bytes([...])  Shared(...)  last: [......]
//! ```
//!
//! Most queues live and die as `front` alone. An empty queue owns no memory once its buffer has gone
//! back to the [`Buffers`], from where the next one that fills takes it. One that refers to common
//! bytes owns none either, but must be emptied, or [settled](WriteQueue::settle), before the turn ends.

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

/// The place of a packet among the common bytes, or of several in a row. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    start: u32,
    end: u32,
}

impl Place {
    /// Bytes there.
    pub fn bytes(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// What a queue begins with.
#[derive(Debug)]
enum Front {
    /// Bytes of its own, of which the socket has taken so many.
    Own(Vec<u8>, usize),
    /// Common bytes.
    Common(Place),
}

impl Default for Front {
    fn default() -> Self {
        Self::Own(Vec::new(), 0)
    }
}

impl Front {
    /// What of it waits, given the common bytes.
    #[inline]
    fn as_slice<'a>(&'a self, common: &'a [u8]) -> &'a [u8] {
        let waiting = match self {
            Self::Own(bytes, written) => bytes.get(*written..),
            Self::Common(place) => common.get(place.start as usize..place.end as usize),
        };
        waiting.unwrap_or_default()
    }

    fn len(&self) -> usize {
        match self {
            Self::Own(bytes, written) => bytes.len() - written,
            Self::Common(place) => place.bytes(),
        }
    }
}

/// Bytes waiting for one socket, oldest first.
#[derive(Debug, Default)]
pub struct WriteQueue {
    front: Front,
    more: Option<Box<More>>,
    bytes: usize,
}

/// What all write queues have in common.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Packets that queues refer to, in the order they were relayed in this turn.
    common: Vec<u8>,
    /// Buffers that queues have emptied, for those that fill next: a message that is passed on at once
    /// asks for no memory.
    spare: Vec<Vec<u8>>,
    /// What the spare ones could hold, together.
    spare_bytes: usize,
}

impl Buffers {
    /// Writes a packet down for all queues that are going to [refer](WriteQueue::refer) to it. `None`:
    /// there are too many already.
    #[inline(always)]
    pub fn put_common(&mut self, packet: &[u8]) -> Option<Place> {
        let end = u32::try_from(self.common.len() + packet.len()).ok()?;
        let start = end - u32::try_from(packet.len()).ok()?;
        self.common.extend_from_slice(packet);
        Some(Place { start, end })
    }

    /// The packets that queues refer to.
    #[inline]
    pub fn common(&self) -> &[u8] {
        &self.common
    }

    /// Whether they should be sent before there are more.
    pub fn is_enough(&self) -> bool {
        self.common.len() >= limits::COMMON_BYTES_ENOUGH
    }

    /// The turn has ended: no queue refers to anything any more.
    pub fn forget_common(&mut self) {
        self.common.clear();
        if self.common.capacity() > limits::COMMON_BYTES_KEPT {
            self.common.shrink_to(limits::COMMON_BYTES_KEPT);
        }
    }

    /// The buffer given back last, empty; a new one if there is none.
    fn lend(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Empties a queue, and takes its buffer back, unless that is a large one or there are enough.
    #[inline]
    pub fn empty(&mut self, queue: &mut WriteQueue) {
        queue.bytes = 0;
        if queue.more.is_some() {
            queue.more = None;
        }
        let Front::Own(mut buffer, _) = std::mem::take(&mut queue.front) else {
            return;
        };
        buffer.clear();
        let bytes = buffer.capacity();
        let is_small = bytes > 0 && bytes <= limits::SPARE_BUFFER_BYTES;
        if is_small && self.spare_bytes + bytes <= limits::SPARE_BUFFERS_BYTES {
            self.spare_bytes += bytes;
            self.spare.push(buffer);
        }
    }

    /// Gives back what so few connections do not fill at once: a storm that is over leaves nothing
    /// of itself here.
    pub fn keep_for(&mut self, connections: usize) {
        let kept = connections.max(limits::SPARE_BUFFERS_LEFT);
        if self.spare.len() > kept {
            for buffer in self.spare.drain(kept..) {
                self.spare_bytes -= buffer.capacity();
            }
        }
        if self.spare.capacity() > 4 * kept {
            self.spare.shrink_to(2 * kept);
        }
        self.common.shrink_to(limits::COMMON_BYTES_ENOUGH);
    }
}

/// Bytes of a chunk that is full, with the packet that has filled it, unless that is a long one.
const CHUNK_ROOM_BYTES: usize = limits::CHUNK_BYTES_MAX + 2 * limits::COPY_BELOW;

/// Bytes that the first allocation of a vector of bytes takes, at least.
const MIN_BYTES: usize = 8;

/// Bytes by which a vector of `len` bytes grows at most to take `more`.
fn growth(len: usize, capacity: usize, more: usize) -> usize {
    match len + more <= capacity {
        true => 0,
        false => capacity.max(len + more - capacity).max(MIN_BYTES),
    }
}

/// What waits behind `front`.
#[derive(Debug, Default)]
struct More {
    chunks: VecDeque<Chunk>,
    /// Own bytes behind all chunks.
    last: Vec<u8>,
    /// Bytes of shared bodies in it.
    shared_bytes: usize,
}

impl More {
    fn push(&mut self, chunk: Chunk) {
        if !self.last.is_empty() {
            let mut last = std::mem::take(&mut self.last);
            if last.capacity() - last.len() > limits::COPY_BELOW {
                last.shrink_to_fit(); // it was to be a long one
            }
            self.chunks.push_back(Chunk::Bytes(last));
        }
        self.chunks.push_back(chunk);
    }

    /// The oldest chunk.
    fn pop(&mut self) -> Option<Chunk> {
        match self.chunks.pop_front() {
            None if self.last.is_empty() => None,
            None => Some(Chunk::Bytes(std::mem::take(&mut self.last))),
            chunk => chunk,
        }
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let chunks = self.chunks.iter().map(Chunk::as_slice);
        chunks.chain(std::iter::once(&self.last[..]))
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.last.is_empty()
    }
}

impl WriteQueue {
    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes waiting that are not shared bodies: heads, short bodies, answers.
    pub fn own_bytes(&self) -> usize {
        self.bytes - self.more.as_ref().map_or(0, |more| more.shared_bytes)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of heap that appending `bytes` own bytes, or a shared slice, takes at most.
    pub fn growth(&self, bytes: usize) -> usize {
        let chunk = size_of::<Chunk>();
        let Some(more) = &self.more else {
            let front = match &self.front {
                Front::Own(own, _) if own.len() < limits::CHUNK_BYTES_MAX => {
                    growth(own.len(), own.capacity(), bytes)
                }
                Front::Own(..) => CHUNK_ROOM_BYTES.max(bytes),
                Front::Common(place) => 2 * (place.bytes() + bytes), // to be settled first
            };
            return front + size_of::<More>() + 4 * chunk;
        };
        let table = match more.chunks.len() + 2 < more.chunks.capacity() {
            true => 0,
            false => more.chunks.capacity().max(4) * chunk,
        };
        match more.last.len() < limits::CHUNK_BYTES_MAX {
            true => table + growth(more.last.len(), more.last.capacity(), bytes),
            false => table + CHUNK_ROOM_BYTES.max(bytes),
        }
    }

    /// Appends what `encode` appends to the vector it is given. It must not touch what is there.
    /// Returns how many bytes that was.
    #[inline]
    pub fn write(&mut self, buffers: &mut Buffers, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let tail = self.tail(buffers);
        let before = tail.len();
        encode(tail);
        let added = tail.len().saturating_sub(before);
        self.bytes += added;
        added
    }

    /// Appends the packet at `place` of the common bytes: without a copy if nothing waits but what is
    /// in front of it there.
    #[inline(always)]
    pub fn refer(&mut self, buffers: &mut Buffers, place: Place) {
        match &mut self.front {
            _ if self.bytes == 0 => self.front = Front::Common(place),
            Front::Common(before) if before.end == place.start && self.more.is_none() => {
                before.end = place.end;
            }
            _ => return self.copy_common(buffers, place),
        }
        self.bytes += place.bytes();
    }

    #[inline(never)]
    fn copy_common(&mut self, buffers: &mut Buffers, place: Place) {
        self.tail(buffers); // so that nothing of it has to be settled behind what comes now
        let Buffers { common, .. } = buffers;
        let packet = common.get(place.start as usize..place.end as usize);
        let packet = packet.unwrap_or_default();
        self.own_tail().extend_from_slice(packet);
        self.bytes += packet.len();
    }

    /// Makes its own what it refers to.
    #[inline]
    pub fn settle(&mut self, buffers: &mut Buffers) {
        if matches!(self.front, Front::Common(_)) {
            self.settle_front(buffers);
        }
    }

    #[cold]
    fn settle_front(&mut self, buffers: &mut Buffers) {
        let mut own = buffers.lend();
        own.extend_from_slice(self.front.as_slice(&buffers.common));
        self.front = Front::Own(own, 0);
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
        more.push(Chunk::Shared(Rc::clone(message), start..stop));
        end - from
    }

    /// The vector that own bytes are appended to now.
    #[inline]
    fn tail(&mut self, buffers: &mut Buffers) -> &mut Vec<u8> {
        match &mut self.front {
            Front::Own(own, _) if self.bytes == 0 && own.capacity() == 0 => *own = buffers.lend(),
            Front::Own(..) => {}
            Front::Common(_) => self.settle_front(buffers),
        }
        self.own_tail()
    }

    /// The same, of a queue that refers to nothing.
    #[inline]
    fn own_tail(&mut self) -> &mut Vec<u8> {
        match &mut self.front {
            Front::Own(own, _) if self.more.is_none() && own.len() < limits::CHUNK_BYTES_MAX => own,
            _ => tail_behind(&mut self.more),
        }
    }

    /// The bytes waiting if they are in one piece, as they nearly always are.
    #[inline]
    pub fn single<'a>(&'a self, common: &'a [u8]) -> Option<&'a [u8]> {
        match self.more {
            None => Some(self.front.as_slice(common)),
            Some(_) => None,
        }
    }

    /// Fills `slices` with the first pieces waiting, oldest first; returns how many. `common`: what
    /// is [common](Buffers::common).
    pub fn slices<'a>(&'a self, common: &'a [u8], slices: &mut [IoSlice<'a>]) -> usize {
        let more = self.more.iter().flat_map(|more| more.slices());
        let pieces = std::iter::once(self.front.as_slice(common))
            .chain(more)
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
        let in_front = count.min(self.front.len());
        match &mut self.front {
            Front::Own(_, written) => *written += in_front,
            Front::Common(place) => {
                place.start += u32::try_from(in_front).unwrap_or_default();
            }
        }
        if self.front.len() == 0 {
            self.front = Front::default();
        }
        let mut left = count - in_front;
        let Some(more) = &mut self.more else { return };
        while left > 0 {
            let Some(chunk) = more.pop() else {
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
                Chunk::Bytes(bytes) => self.front = Front::Own(bytes, left),
                Chunk::Shared(message, range) => {
                    let taken = u32::try_from(left).unwrap_or(u32::MAX);
                    let start = range.start.saturating_add(taken);
                    let rest = Chunk::Shared(message, start..range.end);
                    more.chunks.push_front(rest);
                }
            }
            left = 0;
        }
        if more.is_empty() {
            self.more = None;
        }
    }

    /// Forgets everything, but for a buffer of its own.
    pub fn clear(&mut self) {
        match &mut self.front {
            Front::Own(bytes, written) => {
                bytes.clear();
                *written = 0;
            }
            Front::Common(_) => self.front = Front::default(),
        }
        self.bytes = 0;
        self.more = None;
    }
}

/// The vector that own bytes are appended to behind `front`.
#[cold]
fn tail_behind(more: &mut Option<Box<More>>) -> &mut Vec<u8> {
    // Behind a full one comes another: it is made as long as it may become, for a vector that doubles
    // would end up with twice as much.
    let another = || Vec::with_capacity(CHUNK_ROOM_BYTES);
    let more = more.get_or_insert_with(|| {
        Box::new(More {
            last: another(),
            ..More::default()
        })
    });
    if more.last.len() >= limits::CHUNK_BYTES_MAX {
        let mut full = std::mem::replace(&mut more.last, another());
        full.shrink_to(CHUNK_ROOM_BYTES);
        more.chunks.push_back(Chunk::Bytes(full));
    }
    &mut more.last
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

    fn read_all(queue: &WriteQueue, common: &[u8]) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = queue.slices(common, &mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }

    fn capacity(queue: &WriteQueue) -> usize {
        match &queue.front {
            Front::Own(bytes, _) => bytes.capacity(),
            Front::Common(_) => 0,
        }
    }

    /// Does all that can be done to a queue, in every order that `steps` spells (its digits to the
    /// base of four), and holds what it has against plain bytes.
    fn try_all(steps: usize, shared: &Rc<Message>) {
        let (mut queue, mut buffers) = (WriteQueue::default(), Buffers::default());
        let mut expected = Vec::new();
        for (step, letter) in (0..6).zip(b'a'..) {
            match steps >> (2 * step) & 0b11 {
                0 => {
                    let place = buffers.put_common(&[letter; 3]).unwrap();
                    queue.refer(&mut buffers, place);
                    expected.extend([letter; 3]);
                }
                1 => {
                    queue.write(&mut buffers, |out| out.push(letter));
                    expected.push(letter);
                }
                2 => {
                    queue.share(shared, 1);
                    expected.extend(b"PAYLOAD");
                }
                _ => {
                    // For somebody else.
                    buffers.put_common(b"-");
                    let count = queue.bytes().min(2);
                    if count > 0 {
                        queue.consume(count);
                    }
                    expected.drain(..count);
                }
            }
            let waiting = read_all(&queue, buffers.common());
            assert_eq!((&waiting, waiting.len()), (&expected, queue.bytes()));
        }
        queue.settle(&mut buffers);
        buffers.forget_common();
        assert_eq!(read_all(&queue, &[]), expected);
    }

    #[test]
    fn keeps_order_whatever_is_put_behind_what() {
        let shared = message(b"PAYLOAD");
        for steps in 0..1 << 12 {
            try_all(steps, &shared);
        }
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn what_many_wait_for_is_there_once() {
        let mut buffers = Buffers::default();
        let mut queues = [(); 3].map(|()| WriteQueue::default());
        for packet in [b"one", b"two"] {
            let place = buffers.put_common(packet).unwrap();
            for queue in &mut queues {
                queue.refer(&mut buffers, place);
            }
        }
        assert_eq!(buffers.common(), b"onetwo");
        for queue in &mut queues {
            assert_eq!(queue.single(buffers.common()), Some(&b"onetwo"[..]));
            assert_eq!((queue.bytes(), capacity(queue)), (6, 0));
            buffers.empty(queue);
            assert!(queue.is_empty());
        }
        assert_eq!(buffers.spare_bytes, 0);
    }

    #[test]
    fn keeps_order_across_own_and_shared_bytes_however_it_is_drained() {
        let shared = message(b"PAYLOAD");
        let expected = b"headPAYLOADmidPAYLOADtail";
        for step in 1..=expected.len() {
            let (mut queue, mut buffers) = (WriteQueue::default(), Buffers::default());
            queue.write(&mut buffers, |out| out.extend_from_slice(b"head"));
            queue.share(&shared, 1);
            queue.write(&mut buffers, |out| out.extend_from_slice(b"mid"));
            queue.share(&shared, 1);
            queue.write(&mut buffers, |out| out.extend_from_slice(b"tail"));
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let waiting = read_all(&queue, &[]);
                assert_eq!(waiting.len(), queue.bytes());
                let shared = waiting.iter().filter(|byte| byte.is_ascii_uppercase());
                assert_eq!(queue.own_bytes(), waiting.len() - shared.count());
                let count = step.min(waiting.len());
                seen.extend_from_slice(&waiting[..count]);
                queue.consume(count);
            }
            assert_eq!(seen, expected, "in steps of {step}");
            buffers.empty(&mut queue);
            assert!(queue.more.is_none() && capacity(&queue) == 0);
        }
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn one_chunk_does_not_grow_without_end() {
        let (mut queue, mut buffers) = (WriteQueue::default(), Buffers::default());
        for _ in 0..8 * limits::CHUNK_BYTES_MAX / 100 {
            queue.write(&mut buffers, |out| out.extend_from_slice(&[7; 100]));
        }
        assert!(queue.front.len() <= limits::CHUNK_BYTES_MAX + 100);
        let more = queue.more.as_ref().unwrap();
        let capacities = more.chunks.iter().map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes.capacity(),
            Chunk::Shared(..) => 0,
        });
        let held = capacity(&queue) + capacities.sum::<usize>() + more.last.capacity();
        // The first one and the last one may be half empty.
        let held_max = queue.bytes() + 2 * limits::CHUNK_BYTES_MAX;
        assert!(held <= held_max, "{held} bytes for {}", queue.bytes());
        let bytes = queue.bytes();
        assert_eq!(read_all(&queue, &[]).len(), bytes);
        queue.consume(bytes);
        assert!(queue.is_empty());
        // A buffer that has grown so far is not kept.
        buffers.empty(&mut queue);
        assert_eq!((buffers.spare_bytes, capacity(&queue)), (0, 0));
    }

    #[test]
    fn no_more_buffers_are_kept_than_connections_are_left() {
        let mut buffers = Buffers::default();
        let mut queues: Vec<_> = (0..200).map(|_| WriteQueue::default()).collect();
        for queue in &mut queues {
            queue.write(&mut buffers, |out| out.extend_from_slice(&[7; 100]));
        }
        for queue in &mut queues {
            buffers.empty(queue);
        }
        for (connections, kept) in [(300, 200), (50, 50), (0, limits::SPARE_BUFFERS_LEFT)] {
            buffers.keep_for(connections);
            assert_eq!(
                (buffers.spare.len(), buffers.spare_bytes),
                (kept, 100 * kept)
            );
        }
        assert!(buffers.spare.capacity() <= 4 * limits::SPARE_BUFFERS_LEFT);
    }

    #[test]
    fn emptied_buffers_are_lent_to_the_next_that_fill() {
        let (mut queue, mut buffers) = (WriteQueue::default(), Buffers::default());
        queue.write(&mut buffers, |out| out.extend_from_slice(b"hello"));
        let at = queue.single(&[]).map(<[u8]>::as_ptr);
        buffers.empty(&mut queue);
        assert_eq!((queue.bytes(), capacity(&queue)), (0, 0));
        let mut other = WriteQueue::default();
        other.write(&mut buffers, |out| out.extend_from_slice(b"there"));
        assert_eq!(other.single(&[]), Some(&b"there"[..]));
        assert_eq!(other.single(&[]).map(<[u8]>::as_ptr), at);
        for _ in 0..2 * limits::SPARE_BUFFERS_BYTES / limits::SPARE_BUFFER_BYTES {
            let mut queue = WriteQueue {
                front: Front::Own(Vec::with_capacity(limits::SPARE_BUFFER_BYTES), 0),
                ..WriteQueue::default()
            };
            buffers.empty(&mut queue);
        }
        assert!(buffers.spare_bytes <= limits::SPARE_BUFFERS_BYTES && buffers.spare_bytes > 0);
    }
}

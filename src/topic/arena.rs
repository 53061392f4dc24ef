//! The nodes of one tree, side by side in chunks.
//!
//! ```text
//!   chunks   [ 0 … 255 ][ given back ][ 512 …           NodeId = position + 1
//!   unused   ──▶ 17 ──▶ 200           ──▶ 530           in each chunk, linked through `next`
//! ```
//!
//! It is apart from the tree so that what a node costs is decided in one file. Chunks instead of one
//! vector: growing never copies the nodes there are, and never asks for twice the memory; and a chunk
//! whose nodes have all gone gives its memory back, or whoever has once filled the tree would hold it
//! for ever. New nodes go where the first room is, so that the chunks behind empty. It must never give
//! one slot to two nodes, and never move a node: a [`NodeId`] is its place.

use super::level::Level;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut, Range};

/// Nodes in one chunk, as a power of two.
const CHUNK_BITS: u32 = 8;
const CHUNK_NODES: usize = 1 << CHUNK_BITS;

/// The key of a node: its place in the arena. A tree gives it out with a value and takes it back
/// with the value; after that the same key may come to mean another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU32);

impl NodeId {
    /// The place of the node above all first levels.
    pub(super) const ROOT: Self = Self(NonZeroU32::MIN);

    /// Its position in the arena, counted from 0; positions of removed nodes are used again.
    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// The key of a position. Saturates where no key is left, which is out of reach: long before,
    /// 2^29 nodes take twenty gigabytes.
    fn at(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }
}

/// The children of a node: the first in their list, and what a match has to know of the others.
/// Packed, so that it is known without looking at a child.
///
/// ```text
///   bit 31: '#' is one     30: '+' is one     29: there are several     28 … 0: the first, 0 for none
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Children(u32);

impl Children {
    const HASH: u32 = 1 << 31;
    const PLUS: u32 = 1 << 30;
    const SEVERAL: u32 = 1 << 29;
    const FIRST: u32 = Self::SEVERAL - 1;

    /// No child at all.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The head of the list: `#` before `+` before the literal levels.
    pub(super) fn first(self) -> Option<NodeId> {
        NonZeroU32::new(self.0 & Self::FIRST).map(NodeId)
    }

    /// Whether `#` or `+` is a child.
    pub(super) fn has_wildcard(self) -> bool {
        self.0 & (Self::HASH | Self::PLUS) != 0
    }

    pub(super) fn has_hash(self) -> bool {
        self.0 & Self::HASH != 0
    }

    pub(super) fn has_plus(self) -> bool {
        self.0 & Self::PLUS != 0
    }

    /// Puts another head on the list.
    pub(super) fn set_first(&mut self, first: Option<NodeId>) {
        let id = first.map_or(0, |node| node.0.get());
        debug_assert!(id <= Self::FIRST, "out of keys");
        self.0 = self.0 & !Self::FIRST | id;
    }

    /// Whether there is more than one.
    pub(super) fn has_several(self) -> bool {
        self.0 & Self::SEVERAL != 0
    }

    /// Notes whether there is more than one.
    pub(super) fn set_several(&mut self, several: bool) {
        self.set(Self::SEVERAL, several);
    }

    /// Notes that a child of this text has come (`present`) or gone.
    pub(super) fn mark(&mut self, level: &[u8], present: bool) {
        let bit = match level {
            b"#" => Self::HASH,
            b"+" => Self::PLUS,
            _ => return,
        };
        self.set(bit, present);
    }

    fn set(&mut self, bit: u32, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

/// One level of one path. A slot not in use has no parent and no value.
pub(super) struct Node<T> {
    pub(super) level: Level,
    pub(super) parent: Option<NodeId>,
    /// Of its path, as `edges.rs` has it.
    pub(super) hash: u32,
    pub(super) children: Children,
    pub(super) previous: Option<NodeId>,
    pub(super) next: Option<NodeId>,
    pub(super) value: Option<T>,
}

impl<T> Node<T> {
    /// A node without links, value or meaning.
    const fn blank() -> Self {
        Self {
            level: Level::EMPTY,
            parent: None,
            hash: 0,
            children: Children(0),
            previous: None,
            next: None,
            value: None,
        }
    }
}

/// Slots side by side.
struct Chunk<T> {
    /// Empty once it is given back.
    nodes: Vec<Node<T>>,
    unused: Option<NodeId>,
    used: u32,
}

impl<T> Chunk<T> {
    /// Without a slot.
    const EMPTY: Self = Self {
        nodes: Vec::new(),
        unused: None,
        used: 0,
    };

    fn has_room(&self) -> bool {
        self.unused.is_some() || self.nodes.len() < CHUNK_NODES
    }
}

/// All nodes of one tree; the root is always there.
pub(super) struct Arena<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks that have room for one more node.
    roomy: BTreeSet<usize>,
    live: u32,
}

impl<T> Arena<T> {
    /// The root alone.
    pub(super) fn new() -> Self {
        let chunk = Chunk {
            nodes: vec![Node::blank()],
            unused: None,
            used: 1,
        };
        Self {
            chunks: vec![chunk],
            roomy: BTreeSet::from([0]),
            live: 1,
        }
    }

    /// Slots there are, in use or not; every [`NodeId::index`] is below it.
    pub(super) fn slots(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) << CHUNK_BITS;
        let last = self.chunks.last().map_or(0, |chunk| chunk.nodes.len());
        u32::try_from(full + last).unwrap_or(u32::MAX)
    }

    /// Nodes in use, the root among them.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// The node at `id`; in a slot not in use, a blank one or none.
    #[inline]
    pub(super) fn get(&self, id: NodeId) -> Option<&Node<T>> {
        let index = id.index() as usize;
        let chunk = self.chunks.get(index >> CHUNK_BITS)?;
        chunk.nodes.get(index % CHUNK_NODES)
    }

    /// The node at `id`, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node<T>> {
        let index = id.index() as usize;
        let chunk = self.chunks.get_mut(index >> CHUNK_BITS)?;
        chunk.nodes.get_mut(index % CHUNK_NODES)
    }

    /// Puts a node of this text and hash under `parent`, in a slot used before if there is one. It is in no
    /// list yet.
    pub(super) fn add(&mut self, parent: NodeId, level: Level, hash: u32) -> NodeId {
        let node = Node {
            level,
            parent: Some(parent),
            hash,
            ..Node::blank()
        };
        let roomy = self.roomy.first().copied();
        let at = roomy.unwrap_or_else(|| {
            self.chunks.push(Chunk::EMPTY);
            self.roomy.insert(self.chunks.len() - 1);
            self.chunks.len() - 1
        });
        let chunk = &mut self.chunks[at];
        let unused = chunk.unused.map(|id| id.index() as usize % CHUNK_NODES);
        let place = match unused {
            Some(place) => {
                let left = std::mem::replace(&mut chunk.nodes[place], node);
                chunk.unused = left.next;
                place
            }
            None => {
                if chunk.nodes.capacity() == 0 {
                    chunk.nodes.reserve_exact(CHUNK_NODES);
                }
                chunk.nodes.push(node);
                chunk.nodes.len() - 1
            }
        };
        chunk.used += 1;
        if !chunk.has_room() {
            self.roomy.remove(&at);
        }
        self.live += 1;
        let index = u32::try_from((at << CHUNK_BITS) + place);
        NodeId::at(index.unwrap_or(u32::MAX))
    }

    /// Gives the slot of a node that is in no list any more to the next one that asks, or back.
    pub(super) fn free(&mut self, id: NodeId) {
        let index = id.index() as usize;
        let at = index >> CHUNK_BITS;
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Some(slot) = chunk.nodes.get_mut(index % CHUNK_NODES) {
            *slot = Node {
                next: chunk.unused,
                ..Node::blank()
            };
            chunk.unused = Some(id);
            chunk.used -= 1;
            self.live -= 1;
            self.roomy.insert(at);
        }
        // Not the only one with room: the next node may come at once.
        if chunk.used == 0 && self.roomy.len() > 1 {
            *chunk = Chunk::EMPTY;
            self.trim();
        }
    }

    /// Forgets chunks at the end that were given back.
    fn trim(&mut self) {
        while self.chunks.last().is_some_and(|last| last.nodes.is_empty()) {
            self.chunks.pop();
            self.roomy.remove(&self.chunks.len());
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }

    /// The nodes in a range of slots, those not in use among them, in the order of their keys.
    pub(super) fn range(&self, slots: Range<u32>) -> impl Iterator<Item = (NodeId, &Node<T>)> {
        let end = slots.end.min(self.slots());
        (slots.start..end)
            .map(NodeId::at)
            .filter_map(|id| Some((id, self.get(id)?)))
    }
}

/// Only for keys just made: one that was kept may be void, and is for [`Arena::get`].
impl<T> Index<NodeId> for Arena<T> {
    type Output = Node<T>;

    fn index(&self, id: NodeId) -> &Node<T> {
        let index = id.index() as usize;
        &self.chunks[index >> CHUNK_BITS].nodes[index % CHUNK_NODES]
    }
}

impl<T> IndexMut<NodeId> for Arena<T> {
    fn index_mut(&mut self, id: NodeId) -> &mut Node<T> {
        let index = id.index() as usize;
        &mut self.chunks[index >> CHUNK_BITS].nodes[index % CHUNK_NODES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut arena = Arena::<u8>::new();
        let ids: Vec<_> = (0..1000)
            .map(|_| arena.add(NodeId::ROOT, Level::EMPTY, 0))
            .collect();
        assert_eq!((arena.slots(), arena.live()), (1001, 1001));
        assert_eq!(
            ids.iter().map(|id| id.index()).collect::<Vec<_>>(),
            (1..=1000).collect::<Vec<_>>()
        );
        for &id in ids.iter().step_by(2) {
            arena.free(id);
        }
        assert_eq!((arena.slots(), arena.live()), (1001, 501));
        for _ in 0..500 {
            assert!(arena.add(NodeId::ROOT, Level::EMPTY, 0).index() <= 1000);
        }
        assert_eq!((arena.slots(), arena.live()), (1001, 1001));
        assert_eq!(arena.range(990..5000).count(), 11);
    }

    #[test]
    fn chunks_whose_nodes_have_gone_are_given_back() {
        let mut arena = Arena::<u8>::new();
        let add = |arena: &mut Arena<u8>| arena.add(NodeId::ROOT, Level::EMPTY, 0);
        let ids: Vec<_> = (0..4 * CHUNK_NODES).map(|_| add(&mut arena)).collect();
        let held = |arena: &Arena<u8>| {
            let chunks = arena.chunks.iter();
            chunks.filter(|chunk| chunk.nodes.capacity() > 0).count()
        };
        assert_eq!(held(&arena), 5);
        // All but the last one: what is in it keeps its place.
        let (last, others) = ids.split_last().unwrap();
        others.iter().for_each(|id| arena.free(*id));
        assert_eq!((held(&arena), arena.live()), (2, 2));
        assert_eq!(arena.slots() as usize, 4 * CHUNK_NODES + 1);
        assert!(arena.get(others[CHUNK_NODES]).is_none());
        assert_eq!(arena.range(0..arena.slots()).count(), CHUNK_NODES + 1);
        arena.free(*last);
        assert_eq!((held(&arena), arena.live()), (1, 1));
        assert_eq!(arena.slots() as usize, CHUNK_NODES);
        // And all of it can be had again.
        let again: Vec<_> = (0..4 * CHUNK_NODES).map(|_| add(&mut arena)).collect();
        let mut places: Vec<_> = again.iter().map(|id| id.index() as usize).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(1..=4 * CHUNK_NODES));
    }

    #[test]
    fn who_comes_and_goes_at_the_edge_of_a_chunk_asks_for_no_memory() {
        let mut arena = Arena::<u8>::new();
        let mut id = NodeId::ROOT;
        for _ in 0..CHUNK_NODES {
            id = arena.add(NodeId::ROOT, Level::EMPTY, 0);
        }
        let at = std::ptr::from_ref(&arena[id]);
        for _ in 0..3 {
            arena.free(id);
            assert_eq!(arena.add(NodeId::ROOT, Level::EMPTY, 0), id);
            assert_eq!(std::ptr::from_ref(&arena[id]), at);
        }
    }

    #[test]
    fn children_keep_marks_beside_the_first() {
        let mut children = Children::default();
        assert!(children.is_empty() && children.first().is_none());
        children.set_first(Some(NodeId::at(70_000)));
        children.mark(b"+", true);
        children.mark(b"tea", true);
        assert!(children.has_plus() && !children.has_hash() && !children.is_empty());
        children.mark(b"#", true);
        children.mark(b"+", false);
        assert!(!children.has_plus() && children.has_hash());
        assert_eq!(children.first(), Some(NodeId::at(70_000)));
        children.mark(b"#", false);
        children.set_several(true);
        children.set_first(None);
        assert!(children.has_several() && children.first().is_none());
        children.set_several(false);
        assert!(children.is_empty());
    }

    /// What a node costs. A bigger one is a decision, not an accident.
    #[test]
    fn node_sizes() {
        assert_eq!(size_of::<Option<NodeId>>(), 4);
        let fixed = 16 + 5 * 4; // the level, the hash and four links
        let padding = (size_of::<usize>() - 4) % 8;
        assert_eq!(
            size_of::<Node<Box<u64>>>(),
            fixed + padding + size_of::<usize>()
        );
        assert_eq!(
            size_of::<Node<Vec<u8>>>(),
            fixed + padding + 3 * size_of::<usize>()
        );
    }
}

//! The edges of a tree: from a parent and a level's text to the child.
//!
//! ```text
//!   hash of a node   keyed(hash of its parent, its level)      the root's is 0
//!                    [ 31 … 24 tag | 23 … 18 table | 17 … 0 place in the table ]
//!   tables           [ 0 ][ 1 ] … [ 63 ]   of NodeId: `buckets.rs`
//! ```
//!
//! It is apart from the tree because it is the one place where a peer could make work out of all
//! proportion: by levels that collide, which the key of [`EdgeHasher`] prevents, or by being the one
//! whose insertion doubles a table. Hence many small tables: each doubles on its own, and the longest
//! stall is a sixty-fourth of what one table would cost. It must never hold an edge to a node not in
//! use.
//!
//! A hash comes from the text of a path alone, not from where its parent stands: a processor that
//! looks ahead then fetches the tables' lines for several levels at once, where it had to wait for
//! one level to learn where the next one is. Paths whose hashes are equal by chance cost a look at
//! one node too many.

use super::arena::{Arena, NodeId};
use super::buckets::Buckets;
use std::hash::{BuildHasher, Hasher, RandomState};

/// SipHash under a random key. Levels are chosen by peers, who must not be able to choose which of
/// them collide; faster hashes promise nothing against a peer who measures.
type EdgeHasher = RandomState;

/// Tables, as a power of two. More would cost a small tree more than they save a big one.
const TABLE_BITS: u32 = 6;

/// Where the bits that choose the table begin: above those that choose the bucket in it, and below
/// the eight by which a bucket tells its edges apart.
const TABLE_SHIFT: u32 = 18;

/// All edges of one tree.
pub(super) struct Edges {
    /// None before the first edge.
    tables: Vec<Buckets>,
    hasher: EdgeHasher,
}

impl Edges {
    /// No edges, under a new key.
    pub(super) fn new() -> Self {
        Self {
            tables: Vec::new(),
            hasher: EdgeHasher::default(),
        }
    }

    /// The hash of the child `level` of a node with this hash.
    #[inline]
    pub(super) fn hash(&self, parent: u32, level: &[u8]) -> u32 {
        let mut state = self.hasher.build_hasher();
        state.write_u32(parent);
        state.write(level);
        (state.finish() >> 32) as u32
    }

    /// The child of `parent` with this text, whose hash is `hash`.
    #[inline]
    pub(super) fn find<T>(
        &self,
        nodes: &Arena<T>,
        hash: u32,
        parent: NodeId,
        level: &[u8],
    ) -> Option<NodeId> {
        let is_it = |id: NodeId| {
            nodes
                .get(id)
                .is_some_and(|node| node.parent == Some(parent) && node.level.is(level))
        };
        self.tables.get(table(hash))?.find(hash, is_it)
    }

    /// Notes the edge to a node that has its hash, and had no edge.
    pub(super) fn insert<T>(&mut self, nodes: &Arena<T>, id: NodeId) {
        if self.tables.is_empty() {
            self.tables.resize_with(1 << TABLE_BITS, Buckets::default);
        }
        let hash = node_hash(nodes, id);
        if let Some(table) = self.tables.get_mut(table(hash)) {
            table.insert(hash, id, |id| node_hash(nodes, id));
        }
    }

    /// Forgets the edge to a node that still has its hash.
    pub(super) fn remove<T>(&mut self, nodes: &Arena<T>, id: NodeId) {
        let hash = node_hash(nodes, id);
        if let Some(table) = self.tables.get_mut(table(hash)) {
            table.remove(hash, id, |id| node_hash(nodes, id));
        }
    }

    /// Gives all memory back.
    pub(super) fn clear(&mut self) {
        self.tables = Vec::new();
    }

    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(Buckets::len).sum()
    }
}

/// The table an edge belongs to.
fn table(hash: u32) -> usize {
    ((hash >> TABLE_SHIFT) % (1 << TABLE_BITS)) as usize
}

fn node_hash<T>(nodes: &Arena<T>, id: NodeId) -> u32 {
    nodes.get(id).map_or(0, |node| node.hash)
}

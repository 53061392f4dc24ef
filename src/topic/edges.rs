//! The edges of a tree: from a parent and a level's text to the child.
//!
//! ```text
//!   hash(parent, level)   [ … 23 | 22 … 17 table | 16 … 0 place in the table ]
//!   tables                [ 0 ][ 1 ] … [ 63 ]   of NodeId; the text stands in the node alone
//! ```
//!
//! It is apart from the tree because it is the one place where a peer could make work out of all
//! proportion: by levels that collide, which the key of [`EdgeHasher`] prevents, or by being the one
//! whose insertion doubles a table. Hence many small tables: each doubles on its own, and the longest
//! stall is a sixty-fourth of what one table would cost. It must never hold an edge to a node not in
//! use.

use super::arena::{Arena, Node, NodeId};
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher, RandomState};

/// SipHash under a random key. Levels are chosen by peers, who must not be able to choose which of
/// them collide; faster hashes promise nothing against a peer who measures.
type EdgeHasher = RandomState;

/// Tables, as a power of two. More would cost a small tree more than they save a big one.
const TABLE_BITS: u32 = 6;

/// Where the bits that choose the table begin: above those that choose the place in it, and below
/// the seven highest of a `usize`, also of 32 bits, by which the table tells its entries apart.
const TABLE_SHIFT: u32 = 17;

/// All edges of one tree.
pub(super) struct Edges {
    /// None before the first edge.
    tables: Vec<HashTable<NodeId>>,
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

    /// The child of `parent` with this text.
    #[inline]
    pub(super) fn find<T>(&self, nodes: &Arena<T>, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        let hash = edge_hash(&self.hasher, parent, level);
        let is_it = |&id: &NodeId| {
            nodes
                .get(id)
                .is_some_and(|node| node.parent == Some(parent) && node.level.is(level))
        };
        self.tables.get(table(hash))?.find(hash, is_it).copied()
    }

    /// Notes the edge to a node that has its parent and text, and had no edge.
    pub(super) fn insert<T>(&mut self, nodes: &Arena<T>, id: NodeId) {
        if self.tables.is_empty() {
            self.tables.resize_with(1 << TABLE_BITS, HashTable::new);
        }
        let Self { tables, hasher } = self;
        let hash = node_hash(hasher, nodes.get(id));
        if let Some(table) = tables.get_mut(table(hash)) {
            table.insert_unique(hash, id, |&id| node_hash(hasher, nodes.get(id)));
        }
    }

    /// Forgets the edge to a node that still has its parent and text.
    pub(super) fn remove<T>(&mut self, nodes: &Arena<T>, id: NodeId) {
        let hash = node_hash(&self.hasher, nodes.get(id));
        let Some(table) = self.tables.get_mut(table(hash)) else {
            return;
        };
        if let Ok(edge) = table.find_entry(hash, |&other| other == id) {
            edge.remove();
        }
    }

    /// Gives all memory back.
    pub(super) fn clear(&mut self) {
        self.tables = Vec::new();
    }

    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }
}

/// The table an edge belongs to.
fn table(hash: u64) -> usize {
    ((hash >> TABLE_SHIFT) % (1 << TABLE_BITS)) as usize
}

/// The hash of the edge from `parent` to its child `level`.
fn edge_hash(hasher: &EdgeHasher, parent: NodeId, level: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(parent.index());
    state.write(level);
    state.finish()
}

/// The hash of the edge that leads to `node`.
fn node_hash<T>(hasher: &EdgeHasher, node: Option<&Node<T>>) -> u64 {
    match node {
        Some(Node {
            parent: Some(parent),
            level,
            ..
        }) => edge_hash(hasher, *parent, level.as_bytes()),
        // Neither the root nor a removed node has an edge.
        _ => 0,
    }
}

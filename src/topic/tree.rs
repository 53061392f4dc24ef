//! One tree of topic levels for both uses: subscriptions (paths are Topic Filters, a name is given:
//! `matching.rs`) and retained messages (paths are Topic Names, a filter is given: `walk.rs`).
//!
//! ```text
//!   a/b        root ──first──▶ '+' ──next──▶ 'a' ──next──▶ 'bench' ──▶ …
//!   a/#                         │             │
//!   +/b                        'b'           '#' ──next──▶ 'b'
//!
//!   edges:  hash of a path ──▶ node            for the whole tree at once: `edges.rs`
//!   lists:  parent ──▶ first ⇄ next ⇄ next     '#' and '+' stand at the head, and the parent has a
//!                                              mark for each: a tree of literals asks for neither
//! ```
//!
//! It is apart because it knows neither Clients nor permissions: it keeps a value at a path, and
//! says which values match. Edges in common instead of a map in each node keep a node small and a
//! lookup flat however many children a level has. It must never recurse (a path may have hundreds of
//! levels), and never keep a node that nothing needs.

pub use super::arena::NodeId;
pub use super::walk::Walk;

use super::arena::{Arena, Node};
use super::edges::Edges;
use super::level::Level;
use std::collections::BTreeMap;
use std::ops::Range;

/// Values at paths of topic levels. A node holds a value, or leads to one, or is about to be
/// visited by a [`Walk`]; any other is removed at once.
pub struct Tree<T> {
    pub(super) nodes: Arena<T>,
    edges: Edges,
    values: usize,
    /// Nodes that paused walks go on with, and how many of them each.
    pub(super) pins: BTreeMap<NodeId, u32>,
}

/// A node, and its hash, which is known before the node has been looked at.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) id: NodeId,
    pub(super) hash: u32,
}

impl Spot {
    /// Where all paths begin.
    pub(super) const ROOT: Self = Self {
        id: NodeId::ROOT,
        hash: 0,
    };
}

impl<T> Tree<T> {
    /// A tree without values.
    pub fn new() -> Self {
        Self {
            nodes: Arena::new(),
            edges: Edges::new(),
            values: 0,
            pins: BTreeMap::new(),
        }
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.values
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// How many levels its paths have, those they share counted once.
    pub fn node_count(&self) -> usize {
        self.nodes.live().saturating_sub(1) as usize
    }

    /// Puts `value` at `path` (a Topic Name or the text of a Topic Filter) and returns what was
    /// there before.
    pub fn insert(&mut self, path: &str, value: T) -> (NodeId, Option<T>) {
        let id = self.make_path(path);
        let old = self
            .nodes
            .get_mut(id)
            .and_then(|node| node.value.replace(value));
        if old.is_none() {
            self.values += 1;
        }
        (id, old)
    }

    /// The value at `path`, made first if there is none.
    pub fn get_or_insert_with(&mut self, path: &str, make: impl FnOnce() -> T) -> (NodeId, &mut T) {
        let id = self.make_path(path);
        let value = &mut self.nodes[id].value;
        if value.is_none() {
            self.values += 1;
        }
        (id, value.get_or_insert_with(make))
    }

    /// The node at `path`, if it holds a value.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let mut id = NodeId::ROOT;
        for level in path.split('/') {
            id = self.child(id, level.as_bytes())?;
        }
        self.get(id).map(|_| id)
    }

    /// The value of a node.
    pub fn get(&self, node: NodeId) -> Option<&T> {
        self.nodes.get(node)?.value.as_ref()
    }

    /// The value of a node, to be changed.
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut T> {
        self.nodes.get_mut(node)?.value.as_mut()
    }

    /// Takes the value of a node, and the node with it unless it leads to others. The key is void
    /// afterwards.
    pub fn remove(&mut self, node: NodeId) -> Option<T> {
        let value = self.nodes.get_mut(node)?.value.take()?;
        self.values -= 1;
        self.prune(node);
        Some(value)
    }

    /// Appends the path of a node to `out`; nothing for a node without a value.
    pub fn path(&self, node: NodeId, out: &mut String) {
        if self.get(node).is_none() {
            return;
        }
        let upwards = std::iter::successors(self.nodes.get(node), |at| self.nodes.get(at.parent?));
        let mut levels: Vec<&str> = upwards.map(|at| at.level.as_str()).collect();
        levels.pop(); // the root has no text
        for (count, level) in levels.iter().rev().enumerate() {
            if count > 0 {
                out.push('/');
            }
            out.push_str(level);
        }
    }

    /// The values in the slots from `index` on, in the order of [`NodeId::index`]: a sweep that
    /// stopped at a node goes on from its index plus one.
    pub fn values_from(&self, index: u32) -> impl Iterator<Item = (NodeId, &T)> {
        self.values_in(index..self.slots())
    }

    /// The values in a range of slots, in the order of [`NodeId::index`]. Its cost is bounded by
    /// the range, also where most slots hold nothing.
    pub fn values_in(&self, slots: Range<u32>) -> impl Iterator<Item = (NodeId, &T)> {
        self.nodes
            .range(slots)
            .filter_map(|(id, node)| Some((id, node.value.as_ref()?)))
    }

    /// How many slots there are: every [`NodeId::index`] is below it. Some hold no value.
    pub fn slots(&self) -> u32 {
        self.nodes.slots()
    }
}

/// Links: the edges and the lists of children.
impl<T> Tree<T> {
    /// The child of `parent` with this text.
    pub(super) fn child(&self, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        let node = self.nodes.get(parent)?;
        let at = Spot {
            id: parent,
            hash: node.hash,
        };
        Some(self.child_of(at, node, level)?.id)
    }

    /// The child with this text of `node`, which is at `at`. An only child needs no hash; below the
    /// first levels that is the usual case.
    #[inline]
    pub(super) fn child_of(&self, at: Spot, node: &Node<T>, level: &[u8]) -> Option<Spot> {
        if node.children.has_several() {
            let hash = self.edges.hash(at.hash, level);
            let id = self.edges.find(&self.nodes, hash, at.id, level)?;
            return Some(Spot { id, hash });
        }
        let id = node.children.first()?;
        let only = self.nodes.get(id)?;
        if only.level.is(level) {
            let hash = only.hash;
            Some(Spot { id, hash })
        } else {
            None
        }
    }

    /// The child `#`, the first in the list if there is one.
    pub(super) fn hash_child(&self, parent: &Node<T>) -> Option<NodeId> {
        if parent.children.has_hash() {
            parent.children.first()
        } else {
            None
        }
    }

    /// The child `+`, which follows `#` if there is one.
    pub(super) fn plus_child(&self, parent: &Node<T>) -> Option<NodeId> {
        match (parent.children.has_plus(), self.hash_child(parent)) {
            (false, _) => None,
            (true, None) => parent.children.first(),
            (true, Some(hash)) => self.nodes.get(hash)?.next,
        }
    }

    /// The node at `path`, with every level on the way that is missing.
    fn make_path(&mut self, path: &str) -> NodeId {
        let mut id = NodeId::ROOT;
        for level in path.split('/') {
            id = self
                .child(id, level.as_bytes())
                .unwrap_or_else(|| self.add_child(id, level));
        }
        id
    }

    /// Makes a child that is not there yet.
    fn add_child(&mut self, parent: NodeId, text: &str) -> NodeId {
        let above = self.nodes.get(parent).map_or(0, |node| node.hash);
        let hash = self.edges.hash(above, text.as_bytes());
        let id = self.nodes.add(parent, Level::new(text), hash);
        self.link(parent, id, text.as_bytes());
        self.edges.insert(&self.nodes, id);
        id
    }

    /// Puts a child at its place in the list: the wildcards, then the newest literal, then the
    /// older ones. A walk on its way through the list goes to the older ones, so that it ends
    /// however fast new ones come.
    fn link(&mut self, parent: NodeId, id: NodeId, level: &[u8]) {
        let Some(above) = self.nodes.get(parent) else {
            return;
        };
        let previous = match level {
            b"#" => None,
            b"+" => self.hash_child(above),
            _ => self.plus_child(above).or_else(|| self.hash_child(above)),
        };
        let next = match previous {
            Some(previous) => self.nodes.get(previous).and_then(|node| node.next),
            None => above.children.first(),
        };
        if let Some(node) = self.nodes.get_mut(id) {
            (node.previous, node.next) = (previous, next);
        }
        self.join(parent, previous, Some(id));
        self.join(parent, Some(id), next);
        self.mark(parent, level, true);
    }

    /// Makes `next` follow `previous` among the children of `parent`; `None` stands for either end.
    fn join(&mut self, parent: NodeId, previous: Option<NodeId>, next: Option<NodeId>) {
        match previous {
            Some(previous) => {
                if let Some(node) = self.nodes.get_mut(previous) {
                    node.next = next;
                }
            }
            None => {
                if let Some(above) = self.nodes.get_mut(parent) {
                    above.children.set_first(next);
                }
            }
        }
        if let Some(node) = next.and_then(|next| self.nodes.get_mut(next)) {
            node.previous = previous;
        }
    }

    /// Removes a node without value, child or pin, then its parent if that has become one, and so
    /// on up to the root.
    pub(super) fn prune(&mut self, leaf: NodeId) {
        let mut id = leaf;
        while let Some(node) = self.nodes.get(id) {
            let Some(parent) = node.parent else { break };
            if node.value.is_some() || !node.children.is_empty() || self.pins.contains_key(&id) {
                break;
            }
            self.detach(id, parent);
            self.nodes.free(id);
            id = parent;
        }
        // An empty tree gives everything back.
        if self.nodes.live() == 1 {
            self.nodes = Arena::new();
            self.edges.clear();
        }
    }

    /// Takes a node out of the table and out of its list.
    fn detach(&mut self, id: NodeId, parent: NodeId) {
        self.edges.remove(&self.nodes, id);
        let Some(node) = self.nodes.get(id) else {
            return;
        };
        let (previous, next) = (node.previous, node.next);
        let mark = [b"#", b"+"].into_iter().find(|mark| node.level.is(*mark));
        self.join(parent, previous, next);
        self.mark(parent, mark.map_or(&[], |mark| mark), false);
    }

    /// Brings the marks of `parent` up to date once a child of this text has come or gone.
    fn mark(&mut self, parent: NodeId, level: &[u8], present: bool) {
        let Some(above) = self.nodes.get(parent) else {
            return;
        };
        let first = above
            .children
            .first()
            .and_then(|first| self.nodes.get(first));
        let several = first.is_some_and(|first| first.next.is_some());
        if let Some(above) = self.nodes.get_mut(parent) {
            above.children.mark(level, present);
            above.children.set_several(several);
        }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, debug_assertions))]
impl<T> Tree<T> {
    /// Whether the tree agrees with itself: counts, lists, marks, edges, and no node without a use.
    /// # Errors
    /// What does not, in words, with the path concerned.
    pub fn check(&self) -> Result<(), String> {
        let (mut live, mut values) = (0, 0);
        for (id, node) in self.nodes.range(0..self.slots()) {
            if node.parent.is_none() && id != NodeId::ROOT {
                if node.value.is_some() || !node.children.is_empty() {
                    return Err(format!("unused slot {id:?} holds something"));
                }
                continue;
            }
            live += 1;
            values += usize::from(node.value.is_some());
            self.check_node(id, node)
                .map_err(|what| format!("{:?} {id:?}: {what}", node.level.as_str()))?;
            self.check_children(id, node)
                .map_err(|what| format!("{:?} {id:?}: {what}", node.level.as_str()))?;
        }
        match () {
            () if live != self.nodes.live() => {
                Err(format!("{live} nodes, {} counted", self.nodes.live()))
            }
            () if values != self.values => Err(format!("{values} values, {} counted", self.values)),
            () if self.edges.len() != self.node_count() => {
                Err(format!("{} edges", self.edges.len()))
            }
            () => Ok(()),
        }
    }

    /// How many pins walks under way must hold between them.
    pub fn pins(&self) -> usize {
        self.pins.values().map(|count| *count as usize).sum()
    }

    /// One node as its parent sees it.
    fn check_node(&self, id: NodeId, node: &Node<T>) -> Result<(), &'static str> {
        let Some(parent) = node.parent else {
            return if node.value.is_some() {
                Err("the root holds a value")
            } else {
                Ok(())
            };
        };
        let above = self.nodes.get(parent).map_or(0, |parent| parent.hash);
        let level = node.level.as_bytes();
        if node.hash != self.edges.hash(above, level) {
            return Err("the node has the hash of another path");
        }
        if self.edges.find(&self.nodes, node.hash, parent, level) != Some(id) {
            return Err("no edge leads to the node");
        }
        if node.value.is_none() && node.children.is_empty() && !self.pins.contains_key(&id) {
            return Err("the node has no use");
        }
        Ok(())
    }

    /// The list of one node's children.
    fn check_children(&self, id: NodeId, node: &Node<T>) -> Result<(), &'static str> {
        let mut seen = 0_u32;
        let (mut previous, mut next) = (None, node.children.first());
        while let Some(child_id) = next {
            let child = self.nodes.get(child_id).ok_or("a child is out of range")?;
            if child.parent != Some(id) || child.previous != previous {
                return Err("a child is linked elsewhere");
            }
            let (is_hash, is_plus) = (
                child.level.as_bytes() == b"#",
                child.level.as_bytes() == b"+",
            );
            if is_hash != (seen == 0 && node.children.has_hash())
                || is_plus
                    != (seen == u32::from(node.children.has_hash()) && node.children.has_plus())
            {
                return Err("a wildcard is not at its place");
            }
            seen += 1;
            if seen > self.nodes.live() {
                return Err("the children run in a circle");
            }
            (previous, next) = (next, child.next);
        }
        if node.children.has_several() != (seen > 1) {
            return Err("the mark for several children is wrong");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with the number of each path as its value.
    fn tree(paths: &[&str]) -> Tree<usize> {
        let mut tree = Tree::new();
        for (number, path) in paths.iter().enumerate() {
            assert_eq!(tree.insert(path, number).1, None, "{path}");
            tree.check().unwrap();
        }
        tree
    }

    fn path(tree: &Tree<usize>, node: NodeId) -> String {
        let mut out = String::new();
        tree.path(node, &mut out);
        out
    }

    #[test]
    fn a_value_stays_at_its_path() {
        // Empty levels, a level too long to be kept inline, and prefixes of one another.
        let paths = [
            "a",
            "a/b",
            "a/b/",
            "/",
            "/a",
            "//",
            "a//b",
            "+/b/#",
            "#",
            "$SYS/a level of many bytes/x",
        ];
        let mut tree = tree(&paths);
        assert_eq!(tree.len(), paths.len());
        for (number, text) in paths.iter().enumerate() {
            let node = tree.find(text).unwrap();
            assert_eq!(tree.get(node), Some(&number));
            assert_eq!(path(&tree, node), *text);
            assert_eq!(tree.insert(text, number + 100), (node, Some(number)));
            assert_eq!(
                tree.get_or_insert_with(text, || unreachable!()),
                (node, &mut (number + 100))
            );
        }
        for missing in ["", "b", "a/", "+", "+/b", "$SYS", "a level of many bytes"] {
            assert_eq!(tree.find(missing), None, "{missing}");
        }
        assert_eq!(tree.len(), paths.len());
        for (number, text) in paths.iter().enumerate() {
            let node = tree.find(text).unwrap();
            assert_eq!(tree.remove(node), Some(number + 100));
            assert_eq!(
                (tree.remove(node), tree.get(node), tree.find(text)),
                (None, None, None)
            );
            tree.check().unwrap();
        }
        assert_eq!(
            (tree.is_empty(), tree.node_count(), tree.slots()),
            (true, 0, 1)
        );
    }

    #[test]
    fn levels_are_shared_and_pruned() {
        let mut tree = tree(&["a/b/c", "a/b/d", "a"]);
        assert_eq!(tree.node_count(), 4);
        let (c, d, a) = (
            tree.find("a/b/c").unwrap(),
            tree.find("a/b/d").unwrap(),
            tree.find("a").unwrap(),
        );
        tree.remove(a);
        assert_eq!(tree.node_count(), 4); // still leads to others
        tree.remove(c);
        assert_eq!(tree.node_count(), 3);
        tree.remove(d);
        assert_eq!(tree.node_count(), 0);
        tree.check().unwrap();
    }

    #[test]
    fn get_or_insert_with_counts_once() {
        let mut tree = Tree::new();
        let (node, list) = tree.get_or_insert_with("tea/+", Vec::new);
        list.push(1);
        let (again, list) = tree.get_or_insert_with("tea/+", Vec::new);
        list.push(2);
        assert_eq!((node, tree.len()), (again, 1));
        assert_eq!(tree.get_mut(node), Some(&mut vec![1, 2]));
    }

    #[test]
    fn a_sweep_resumes_at_an_index() {
        let mut tree = tree(&["a/b", "c", "d/e/f", "g"]);
        let (first, _) = tree.values_from(0).next().unwrap();
        let rest: Vec<_> = tree
            .values_from(first.index() + 1)
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(rest, [1, 2, 3]);
        let gone = tree.find("c").unwrap();
        tree.remove(gone);
        let all: Vec<_> = tree
            .values_in(0..tree.slots())
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(all, [0, 2, 3]);
        assert_eq!(tree.values_in(500..u32::MAX).count(), 0);
        tree.insert("h", 9); // in the slot of "c"
        assert_eq!(
            tree.values_in(gone.index()..gone.index() + 1)
                .map(|(_, v)| *v)
                .collect::<Vec<_>>(),
            [9]
        );
    }
}

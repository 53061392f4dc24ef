//! A walk over stored Topic Names that match one filter, a few nodes at a time.
//!
//! ```text
//!   filter  sport/+/#        waiting   [ golf, level 1 ]      next sibling of where it went down
//!           0     6 8                  [ player1, level 2 ]   ◀── visited next
//! ```
//!
//! It is apart from the tree because it outlives a call: replaying a million retained messages takes
//! many turns of the loop, and between two of them names come and go. What waits is pinned, so that
//! its node stays until it is visited; nothing else is. Hence a walk costs the tree at most one
//! otherwise useless node for each level, however long its receiver sleeps. It must never copy the
//! children of a node, and never visit more nodes than it has steps.

use super::arena::{Node, NodeId};
use super::filter::TopicFilter;
use super::tree::Tree;

/// A walk, paused. Made by [`Tree::walk`], to be given back to [`Tree::end_walk`] of the same tree:
/// one that is dropped instead leaves its pins behind.
#[derive(Debug)]
#[must_use = "a walk is given back to `Tree::end_walk`"]
pub struct Walk {
    filter: Box<str>,
    waiting: Vec<Waiting>,
}

/// A node to be visited, and where in the filter the level it is held against begins. If that level
/// is a wildcard, the siblings behind the node wait with it.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    node: NodeId,
    offset: usize,
}

impl Walk {
    /// Whether nothing is left to visit.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Pins it holds in its tree.
    #[cfg(any(test, debug_assertions))]
    pub fn pins(&self) -> usize {
        self.waiting.len()
    }

    /// The level of the filter that begins at `offset`; `None` behind the last one.
    fn level(&self, offset: usize) -> Option<&str> {
        self.filter.get(offset..)?.split('/').next()
    }
}

/// What one visit leads to.
struct Visit {
    matches: bool,
    sibling: Option<Waiting>,
    child: Option<Waiting>,
}

/// Walking: stored paths are Topic Names.
impl<T> Tree<T> {
    /// Begins a walk over the values whose names match `filter`. Those that are there from now until
    /// the walk ends are found once each; those that come or go meanwhile, once or not at all.
    pub fn walk(&mut self, filter: &TopicFilter<'_>) -> Walk {
        let mut walk = Walk {
            filter: filter.filter().into(),
            waiting: Vec::new(),
        };
        if let Some(first) = self.below(&walk, NodeId::ROOT, 0) {
            self.wait(&mut walk, first);
        }
        walk
    }

    /// Goes on to the next value that matches. Each node visited takes one of `steps`. `None` with
    /// no steps left: not done yet, or just done (see [`Walk::is_done`]); `None` with steps left:
    /// there are no more.
    pub fn step(&mut self, walk: &mut Walk, steps: &mut usize) -> Option<NodeId> {
        while *steps > 0 {
            let at = walk.waiting.pop()?;
            *steps -= 1;
            let visit = self.visit(walk, at);
            for waiting in [visit.sibling, visit.child].into_iter().flatten() {
                self.wait(walk, waiting);
            }
            self.unpin(at.node);
            if visit.matches && self.get(at.node).is_some() {
                return Some(at.node);
            }
        }
        None
    }

    /// Ends a walk, done or not.
    pub fn end_walk(&mut self, walk: Walk) {
        for waiting in walk.waiting.into_iter().rev() {
            self.unpin(waiting.node);
        }
    }

    /// Holds one node against its level of the filter.
    fn visit(&self, walk: &Walk, at: Waiting) -> Visit {
        let mut visit = Visit {
            matches: false,
            sibling: None,
            child: None,
        };
        let (Some(node), Some(level)) = (self.nodes.get(at.node), walk.level(at.offset)) else {
            return visit;
        };
        if is_wildcard(level) {
            visit.sibling = node.next.map(|next| Waiting { node: next, ..at });
            // [MQTT-4.7.2-1] [MQTT5-4.7.2-1] `$` topics are not for filters led by a wildcard.
            if node.parent == Some(NodeId::ROOT) && starts_with_dollar(node) {
                return visit;
            }
        }
        if level == "#" {
            visit.matches = true;
            visit.child = self.below(walk, at.node, at.offset);
            return visit;
        }
        let offset_next = at.offset + level.len() + 1;
        // `sport/#` matches `sport` too [MQTT-4.7.1-2] [MQTT5-4.7.1-1].
        visit.matches = matches!(walk.level(offset_next), None | Some("#"));
        visit.child = self.below(walk, at.node, offset_next);
        visit
    }

    /// The first child of `parent` to be held against the level at `offset`: any one for a wildcard,
    /// else the one with that text.
    fn below(&self, walk: &Walk, parent: NodeId, offset: usize) -> Option<Waiting> {
        let level = walk.level(offset)?;
        let node = match is_wildcard(level) {
            true => self.nodes.get(parent)?.children.first(),
            false => self.child(parent, level.as_bytes()),
        };
        Some(Waiting {
            node: node?,
            offset,
        })
    }

    /// Pins what the walk will go on with.
    fn wait(&mut self, walk: &mut Walk, waiting: Waiting) {
        *self.pins.entry(waiting.node).or_insert(0) += 1;
        walk.waiting.push(waiting);
    }

    /// Takes one pin off a node, which may have been its last use.
    fn unpin(&mut self, id: NodeId) {
        match self.pins.get_mut(&id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.pins.remove(&id);
                self.prune(id);
            }
        }
    }
}

fn is_wildcard(level: &str) -> bool {
    matches!(level, "+" | "#")
}

fn starts_with_dollar<T>(node: &Node<T>) -> bool {
    node.level.as_bytes().first() == Some(&b'$')
}

#[cfg(test)]
mod tests {
    use super::super::name::TopicName;
    use super::*;

    const NAMES: [&str; 12] = [
        "sport",
        "sport/",
        "sport/tennis",
        "sport/tennis/player1",
        "sport/tennis/player1/ranking",
        "sport/golf/player1",
        "/finance",
        "/",
        "$SYS",
        "$SYS/monitor/Clients",
        "finance",
        "sport/$x/player1",
    ];

    fn tree() -> Tree<()> {
        let mut tree = Tree::new();
        for name in NAMES {
            tree.insert(name, ());
        }
        tree
    }

    fn path<T>(tree: &Tree<T>, node: NodeId) -> String {
        let mut out = String::new();
        tree.path(node, &mut out);
        out
    }

    /// The names found with as many steps as it takes, `budget` of them at a time.
    fn names_found<T>(tree: &mut Tree<T>, filter: &str, budget: usize) -> Vec<String> {
        let mut walk = tree.walk(&TopicFilter::new(filter).unwrap());
        let mut found = Vec::new();
        while !walk.is_done() {
            let mut steps = budget;
            while let Some(node) = tree.step(&mut walk, &mut steps) {
                found.push(path(tree, node));
            }
            assert!(steps == 0 || walk.is_done());
            tree.check().unwrap();
        }
        tree.end_walk(walk);
        tree.check().unwrap();
        found
    }

    #[test]
    fn walks_find_what_the_filter_matches() {
        let filters = [
            "#",
            "+",
            "+/+",
            "/+",
            "sport/#",
            "sport/+",
            "sport/+/player1",
            "+/tennis/#",
            "+/+/player1/#",
            "sport/tennis",
            "$SYS/#",
            "$SYS/+/Clients",
            "+/monitor/Clients",
            "/#",
            "nothing/#",
            "sport/tennis/player1/ranking/#",
            "$share/g/sport/#",
        ];
        let mut tree = tree();
        for text in filters {
            let filter = TopicFilter::new(text).unwrap();
            let matches = |name: &&str| filter.matches(&TopicName::new(name).unwrap());
            let mut expected: Vec<_> = NAMES.into_iter().filter(matches).collect();
            expected.sort_unstable();
            for budget in [1, 2, 1000] {
                let mut found = names_found(&mut tree, text, budget);
                found.sort();
                assert_eq!(found, expected, "{text} by {budget}");
            }
        }
    }

    #[test]
    fn dollar_topics_are_not_for_leading_wildcards() {
        // [MQTT-4.7.2-1] [MQTT5-4.7.2-1]
        let mut tree = tree();
        for filter in ["#", "+", "+/#", "+/monitor/Clients"] {
            let found = names_found(&mut tree, filter, 1000);
            assert!(
                found.iter().all(|name| !name.starts_with('$')),
                "{filter} {found:?}"
            );
        }
        assert_eq!(
            names_found(&mut tree, "$SYS/#", 1000),
            ["$SYS", "$SYS/monitor/Clients"]
        );
    }

    #[test]
    fn a_literal_filter_goes_straight_there() {
        let mut tree = tree();
        for number in 0..1000 {
            tree.insert(&format!("sport/tennis/{number}"), ());
        }
        let mut walk = tree.walk(&TopicFilter::new("sport/tennis/player1").unwrap());
        let mut steps = 1000;
        assert!(tree.step(&mut walk, &mut steps).is_some());
        assert_eq!(steps, 997); // one for each level
        assert_eq!(tree.step(&mut walk, &mut steps), None);
        assert!(walk.is_done());
        tree.end_walk(walk);
    }

    #[test]
    fn many_children_wait_in_one_place() {
        let mut tree = Tree::new();
        for number in 0..10_000 {
            tree.insert(&format!("a/{number}"), number);
        }
        let mut walk = tree.walk(&TopicFilter::new("a/+").unwrap());
        let (mut count, mut steps) = (0, usize::MAX);
        while tree.step(&mut walk, &mut steps).is_some() {
            count += 1;
            assert!(walk.waiting.len() <= 1 && tree.pins.len() <= 1);
        }
        assert_eq!(count, 10_000);
        tree.end_walk(walk);
    }

    #[test]
    fn names_come_and_go_between_two_steps() {
        let mut tree = Tree::new();
        for name in ["a/1", "a/2", "a/3", "b/1"] {
            tree.insert(name, ());
        }
        let filter = TopicFilter::new("a/+").unwrap();
        let mut walk = tree.walk(&filter);
        let mut steps = 2;
        let first = tree.step(&mut walk, &mut steps).unwrap();
        assert_eq!(path(&tree, first), "a/3");
        // The name to be visited next goes: its node stays, without a value.
        let second = tree.find("a/2").unwrap();
        tree.remove(second);
        tree.remove(first);
        assert_eq!((tree.find("a/2"), tree.node_count()), (None, 5));
        tree.insert("a/4", ());
        tree.check().unwrap();
        let mut steps = 10;
        let third = tree.step(&mut walk, &mut steps).unwrap();
        assert_eq!(path(&tree, third), "a/1");
        assert_eq!(tree.step(&mut walk, &mut steps), None);
        tree.end_walk(walk);
        tree.check().unwrap();
        assert_eq!(tree.node_count(), 5); // a, a/1, a/4, b, b/1
    }

    #[test]
    fn a_sleeping_walk_keeps_little() {
        // A receiver that stands still in the middle of a replay, and topics used once each.
        let mut tree = Tree::new();
        for number in 0..100 {
            tree.insert(&format!("a/{number}/x"), ());
        }
        let mut walk = tree.walk(&TopicFilter::new("#").unwrap());
        let mut steps = 50;
        while tree.step(&mut walk, &mut steps).is_some() {}
        for number in 0..10_000 {
            let (node, _) = tree.insert(&format!("b/{number}/x"), ());
            tree.remove(node);
        }
        for node in tree
            .values_from(0)
            .map(|(node, _)| node)
            .collect::<Vec<_>>()
        {
            tree.remove(node);
        }
        tree.check().unwrap();
        assert!(tree.node_count() <= 4, "{}", tree.node_count());
        tree.end_walk(walk);
        assert_eq!((tree.node_count(), tree.pins.len()), (0, 0));
    }
}

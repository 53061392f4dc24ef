//! Which stored Topic Filters match a Topic Name.
//!
//! ```text
//!   name  a/b/c      at      [ node of 'a', 'b' is next ]      the literal path goes on
//!           ▲        forks   [ node of '+', 'b' is next ]      taken once that has ended
//! ```
//!
//! It is apart because every PUBLISH comes by: this is the one part of the tree whose instructions are
//! counted. It must never allocate where a filter or two match, never recurse, and never cost more
//! for filters that lie off the name's way.

use super::arena::NodeId;
use super::name::TopicName;
use super::tree::{Spot, Tree};

/// Matching: stored paths are Topic Filters.
impl<T> Tree<T> {
    /// Hands every value whose path, read as a Topic Filter, matches `name` to `found`, in an order
    /// that depends only on the filters. It visits one node a level for the literal path, and those
    /// of each `+` on the way; how many that are is returned.
    pub fn for_each_match<'t>(
        &'t self,
        name: &TopicName<'_>,
        mut found: impl FnMut(NodeId, &'t T),
    ) -> usize {
        let text = name.as_str().as_bytes();
        let mut report = |id: Option<NodeId>| {
            if let Some((id, value)) = id.and_then(|id| Some((id, self.get(id)?))) {
                found(id, value);
            }
        };
        let mut forks = Forks::new();
        let mut visited = 0;
        let mut next = Some(Place {
            spot: Spot::ROOT,
            offset: 0,
        });
        while let Some(at) = next {
            visited += 1;
            next = self.match_below(text, at, &mut forks, &mut report);
            if next.is_none() {
                next = forks.pop();
            }
        }
        visited
    }

    /// Reports what matches directly below one node, and says where to go on.
    #[inline]
    fn match_below(
        &self,
        text: &[u8],
        at: Place,
        forks: &mut Forks,
        report: &mut impl FnMut(Option<NodeId>),
    ) -> Option<Place> {
        let node = self.nodes.get(at.spot.id)?;
        // Past the end of the text there is no level left, not even an empty one.
        let Some(rest) = text.get(at.offset..) else {
            report(Some(at.spot.id));
            // `sport/#` matches `sport` [MQTT-4.7.1-2] [MQTT5-4.7.1-1].
            report(self.hash_child(node));
            return None;
        };
        let level = first_level(rest);
        let offset = at.offset + level.len() + 1;
        // [MQTT-4.7.2-1] [MQTT5-4.7.2-1] `$` topics are not for filters led by a wildcard.
        let kept_away = at.offset == 0 && level.first() == Some(&b'$');
        if node.children.has_wildcard() && !kept_away {
            report(self.hash_child(node));
            if let Some(spot) = self.plus_child(node).and_then(|plus| self.spot(plus)) {
                forks.push(Place { spot, offset });
            }
        }
        let spot = self.child_of(at.spot, node, level)?;
        Some(Place { spot, offset })
    }

    fn spot(&self, id: NodeId) -> Option<Spot> {
        let hash = self.nodes.get(id)?.hash;
        Some(Spot { id, hash })
    }
}

/// A node, and where in the name the level below it begins.
#[derive(Clone, Copy)]
struct Place {
    spot: Spot,
    offset: usize,
}

/// Branches of a match still to be taken: at most one a level. The usual few need no allocation.
struct Forks {
    inline: [Place; Self::INLINE],
    length: usize,
    spilled: Vec<Place>,
}

impl Forks {
    const INLINE: usize = 4;

    const fn new() -> Self {
        let unused = Place {
            spot: Spot::ROOT,
            offset: 0,
        };
        Self {
            inline: [unused; Self::INLINE],
            length: 0,
            spilled: Vec::new(),
        }
    }

    fn push(&mut self, place: Place) {
        match self.inline.get_mut(self.length) {
            Some(room) => {
                *room = place;
                self.length += 1;
            }
            None => self.spilled.push(place),
        }
    }

    /// The branch pushed last: those that spilled came after those that did not.
    fn pop(&mut self) -> Option<Place> {
        if let Some(place) = self.spilled.pop() {
            return Some(place);
        }
        self.length = self.length.checked_sub(1)?;
        self.inline.get(self.length).copied()
    }
}

/// Everything up to the first separator.
fn first_level(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&byte| byte == b'/');
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::filter::TopicFilter;
    use super::*;
    use crate::limits::TOPIC_LEVELS_MAX;

    fn name(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

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

    /// The filters of `tree` that match, in the order they are found in.
    fn matches(tree: &Tree<usize>, topic: &str) -> Vec<String> {
        let mut found = Vec::new();
        tree.for_each_match(&name(topic), |node, value| {
            assert_eq!(tree.get(node), Some(value));
            found.push(path(tree, node));
        });
        found
    }

    #[test]
    fn matching_follows_the_specification() {
        let tree = tree(&[
            "#",
            "+",
            "+/+",
            "/+",
            "sport/#",
            "sport/tennis/player1/#",
            "sport/tennis/+",
            "+/tennis/#",
            "sport/+/player1",
            "sport/+",
            "$SYS/#",
            "$SYS/monitor/+",
            "+/monitor/Clients",
            "/finance",
            "finance",
        ]);
        let rows: [(&str, &[&str]); 11] = [
            // [MQTT-4.7.1-2] [MQTT5-4.7.1-1] `#` also matches the level above it
            ("sport", &["#", "+", "sport/#"]),
            // [MQTT-4.7.1-3] [MQTT5-4.7.1-2] `+` matches one level, also an empty one
            ("sport/", &["#", "+/+", "sport/#", "sport/+"]),
            (
                "sport/tennis",
                &["#", "+/+", "+/tennis/#", "sport/#", "sport/+"],
            ),
            (
                "sport/tennis/player1",
                &[
                    "#",
                    "+/tennis/#",
                    "sport/#",
                    "sport/+/player1",
                    "sport/tennis/+",
                    "sport/tennis/player1/#",
                ],
            ),
            (
                "sport/tennis/player1/ranking",
                &["#", "+/tennis/#", "sport/#", "sport/tennis/player1/#"],
            ),
            ("/finance", &["#", "+/+", "/+", "/finance"]),
            ("finance", &["#", "+", "finance"]),
            ("Finance", &["#", "+"]), // [MQTT-4.7.3-4] [MQTT5-4.7.3-4]
            // [MQTT-4.7.2-1] [MQTT5-4.7.2-1]
            ("$SYS/monitor/Clients", &["$SYS/#", "$SYS/monitor/+"]),
            ("$SYS", &["$SYS/#"]),
            ("$other", &[]),
        ];
        for (topic, expected) in rows {
            let mut found = matches(&tree, topic);
            assert_eq!(
                found,
                matches(&tree, topic),
                "{topic}: the order is not the same twice"
            );
            found.sort();
            assert_eq!(found, expected, "{topic}");
            for (number, _) in expected.iter().enumerate() {
                let filter = TopicFilter::new(expected[number]).unwrap();
                assert!(filter.matches(&name(topic)), "{topic} {expected:?}");
            }
        }
    }

    #[test]
    fn order_comes_from_the_filters() {
        let paths = ["a/b", "#", "a/#", "+/b", "a/+", "+/+", "a/b/#"];
        let expected = ["#", "a/#", "a/b", "a/b/#", "a/+", "+/b", "+/+"];
        assert_eq!(matches(&tree(&paths), "a/b"), expected);
        let reversed: Vec<_> = paths.into_iter().rev().collect();
        assert_eq!(matches(&tree(&reversed), "a/b"), expected);
    }

    #[test]
    fn deep_and_forked_paths() {
        // A `+` beside every literal level: as many open branches as a match can have.
        let mut tree = Tree::new();
        let levels = vec!["x"; TOPIC_LEVELS_MAX];
        tree.insert(&levels.join("/"), 0);
        for at in 0..TOPIC_LEVELS_MAX {
            let mut filter = levels.clone();
            filter[at] = "+";
            tree.insert(&filter.join("/"), at);
        }
        tree.check().unwrap();
        let mut count = 0;
        tree.for_each_match(&name(&levels.join("/")), |_, _| count += 1);
        assert_eq!(count, TOPIC_LEVELS_MAX + 1);
        for node in tree
            .values_from(0)
            .map(|(node, _)| node)
            .collect::<Vec<_>>()
        {
            tree.remove(node);
        }
        tree.check().unwrap();
        assert_eq!(tree.node_count(), 0);
    }
}

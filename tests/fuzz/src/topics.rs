//! Topic Names, Topic Filters and the level tree against models short enough to be seen to be right:
//! a ten-line matcher over split levels, and a map of paths.

use super::source::Source;
use midge::topic::filter::TopicFilter;
use midge::topic::name::TopicName;
use midge::topic::tree::{NodeId, Tree, Walk};
use std::collections::{BTreeMap, BTreeSet};

/// Walks under way at once, at most.
const WALKS_MAX: usize = 4;

const LEVELS: [&str; 8] = [
    "a",
    "b",
    "",
    "+",
    "#",
    "$x",
    "a level too long to be inline",
    "$share",
];

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mut run = Run::default();
    while !source.is_empty() {
        run.happens(&mut source);
        run.check();
    }
    run.ends();
}

/// Levels from a small set, so that paths meet; or any text.
fn path(source: &mut Source<'_>) -> String {
    let choice = source.u8();
    match choice {
        0..=199 => (0..=choice % 5)
            .map(|_| source.pick(&LEVELS))
            .collect::<Vec<_>>()
            .join("/"),
        200..=210 => vec![source.pick(&LEVELS); usize::from(source.u8())].join("/"),
        _ => source.text().to_owned(),
    }
}

/// Whether `filter` matches `name`, levels already split.
fn naive(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => naive(filter, name),
        ([wanted, filter @ ..], [given, name @ ..]) => wanted == given && naive(filter, name),
        _ => false,
    }
}

/// [`naive`], with the rule for `$` topics [MQTT-4.7.2-1] [MQTT5-4.7.2-1].
pub fn matches(filter: &str, name: &str) -> bool {
    let kept_away = name.starts_with('$') && filter.starts_with(['+', '#']);
    let split = |text| str::split(text, '/').collect::<Vec<_>>();
    !kept_away && naive(&split(filter), &split(name))
}

/// A walk under way, and what it must find and may find.
struct Under {
    walk: Walk,
    filter: String,
    /// Names there since it began, not found yet.
    owed: BTreeSet<String>,
    /// Names found; none of them twice while it stays.
    found: BTreeSet<String>,
}

/// A tree of filters, a tree of names with walks over it, and their models.
#[derive(Default)]
struct Run {
    filters: Tree<u32>,
    filter_model: BTreeMap<String, u32>,
    names: Tree<u32>,
    name_model: BTreeMap<String, (NodeId, u32)>,
    walks: Vec<Under>,
    next: u32,
}

fn path_of<T>(tree: &Tree<T>, node: NodeId) -> String {
    let mut path = String::new();
    tree.path(node, &mut path);
    path
}

impl Run {
    fn happens(&mut self, source: &mut Source<'_>) {
        let event = source.u8() % 8;
        let walk = source.below(WALKS_MAX);
        match event {
            0 => self.add_filter(&path(source)),
            1 => self.remove_filter(&path(source)),
            2 => self.add_name(&path(source)),
            3 => self.remove_name(&path(source)),
            4 => self.match_name(&path(source)),
            5 => self.begin_walk(&path(source)),
            6 => self.step(walk, 1 + source.below(8)),
            _ if walk < self.walks.len() => {
                let under = self.walks.remove(walk);
                self.names.end_walk(under.walk);
            }
            _ => {}
        }
    }

    fn add_filter(&mut self, text: &str) {
        let Ok(filter) = TopicFilter::new(text) else {
            return;
        };
        let path = filter.filter();
        assert!(text.ends_with(path) && !path.is_empty());
        assert_eq!(filter.has_wildcard(), path.contains(['+', '#']));
        assert_eq!(filter.levels().collect::<Vec<_>>().join("/"), path);
        self.next += 1;
        let (node, old) = self.filters.insert(path, self.next);
        assert_eq!(old, self.filter_model.insert(path.to_owned(), self.next));
        assert_eq!(path_of(&self.filters, node), path);
    }

    fn remove_filter(&mut self, path: &str) {
        let found = self.filters.find(path);
        let taken = found.and_then(|node| self.filters.remove(node));
        assert_eq!(taken, self.filter_model.remove(path));
    }

    fn match_name(&mut self, text: &str) {
        let Ok(name) = TopicName::new(text) else {
            return;
        };
        let mut found = Vec::new();
        self.filters.for_each_match(&name, |node, _| {
            found.push(path_of(&self.filters, node));
        });
        found.sort();
        let is_match = |filter: &&String| matches(filter, text);
        let expected: Vec<_> = self.filter_model.keys().filter(is_match).cloned().collect();
        assert_eq!(found, expected, "{text}");
        for filter in self.filter_model.keys() {
            let parsed = TopicFilter::new(filter).ok();
            // A path such as `$share/x` can stand in the tree: what follows a share name.
            let alone = parsed.filter(|parsed| parsed.share_name().is_none());
            if let Some(alone) = alone {
                assert_eq!(
                    alone.matches(&name),
                    matches(filter, text),
                    "{filter} {text}"
                );
            }
        }
    }

    fn add_name(&mut self, path: &str) {
        if TopicName::new(path).is_err() {
            return;
        }
        self.next += 1;
        let (node, old) = self.names.insert(path, self.next);
        let before = self.name_model.insert(path.to_owned(), (node, self.next));
        assert_eq!(old, before.map(|(_, value)| value));
        assert!(before.is_none_or(|(id, _)| id == node), "a value moved");
    }

    fn remove_name(&mut self, path: &str) {
        let found = self.names.find(path);
        assert_eq!(found, self.name_model.get(path).map(|(node, _)| *node));
        let taken = found.and_then(|node| self.names.remove(node));
        assert_eq!(taken, self.name_model.remove(path).map(|(_, value)| value));
        for under in &mut self.walks {
            // It may come back, and then be found again.
            under.owed.remove(path);
            under.found.remove(path);
        }
    }

    fn begin_walk(&mut self, text: &str) {
        let Ok(filter) = TopicFilter::new(text) else {
            return;
        };
        if self.walks.len() >= WALKS_MAX {
            return;
        }
        let is_match = |name: &&String| matches(filter.filter(), name);
        self.walks.push(Under {
            owed: self.name_model.keys().filter(is_match).cloned().collect(),
            walk: self.names.walk(&filter),
            filter: filter.filter().to_owned(),
            found: BTreeSet::new(),
        });
    }

    fn step(&mut self, walk: usize, mut steps: usize) {
        let Some(under) = self.walks.get_mut(walk) else {
            return;
        };
        while let Some(node) = self.names.step(&mut under.walk, &mut steps) {
            let name = path_of(&self.names, node);
            assert!(matches(&under.filter, &name), "{} {name}", under.filter);
            assert!(self.name_model.contains_key(&name));
            under.owed.remove(&name);
            assert!(under.found.insert(name), "found twice");
        }
        assert!(steps == 0 || under.walk.is_done());
        if under.walk.is_done() {
            assert!(
                under.owed.is_empty(),
                "missed by {}: {:?}",
                under.filter,
                under.owed
            );
        }
    }

    fn check(&self) {
        self.filters.check().expect("the tree of filters is sound");
        self.names.check().expect("the tree of names is sound");
        assert_eq!(self.filters.len(), self.filter_model.len());
        assert_eq!(self.names.len(), self.name_model.len());
    }

    /// Lets every walk end by itself and removes every value: nothing may be left.
    fn ends(mut self) {
        for walk in 0..self.walks.len() {
            self.step(walk, usize::MAX);
        }
        for under in std::mem::take(&mut self.walks) {
            self.names.end_walk(under.walk);
        }
        for path in self.name_model.keys().cloned().collect::<Vec<_>>() {
            self.remove_name(&path);
        }
        for path in self.filter_model.keys().cloned().collect::<Vec<_>>() {
            self.remove_filter(&path);
        }
        self.check();
        assert_eq!((self.names.node_count(), self.filters.node_count()), (0, 0));
    }
}

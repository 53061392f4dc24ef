//! Random runs of the topic tree against models short enough to be seen to be right: a ten-line
//! matcher over split levels, and a `BTreeMap` of paths. The alphabet is small on purpose, so that
//! paths meet: two letters, `$`, a long level, the empty level and, in filters, the wildcards.
#![cfg(debug_assertions)] // `Tree::check` is not in a release build

use midge::topic::filter::TopicFilter;
use midge::topic::name::TopicName;
use midge::topic::tree::{NodeId, Tree, Walk};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use std::collections::{BTreeMap, BTreeSet};

/// Every case prints its seed when it fails; nothing is written to the working copy.
fn cases(count: u32) -> Config {
    Config {
        cases: count,
        failure_persistence: None,
        ..Config::default()
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
fn matches(filter: &str, name: &str) -> bool {
    let kept_away = name.starts_with('$') && filter.starts_with(['+', '#']);
    let split = |text| str::split(text, '/').collect::<Vec<_>>();
    !kept_away && naive(&split(filter), &split(name))
}

const LONG: &str = "a level too long to be inline";

fn a_name() -> impl Strategy<Value = String> {
    let level = select(vec!["a", "b", "", "$", "$a", LONG]);
    vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |name| !name.is_empty())
}

fn a_filter() -> impl Strategy<Value = String> {
    let level = select(vec!["a", "b", "", "$", "$a", "+", "+", LONG]);
    let levels = (vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, hash)| {
        levels.extend(hash.then_some("#"));
        levels.join("/")
    });
    levels.prop_filter("empty", |filter| !filter.is_empty())
}

fn topic_name(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap()
}

fn topic_filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn path<T>(tree: &Tree<T>, node: NodeId) -> String {
    let mut path = String::new();
    tree.path(node, &mut path);
    path
}

/// A value at each path: its number.
fn tree_of(paths: &BTreeSet<String>) -> Tree<usize> {
    let mut tree = Tree::new();
    for (number, path) in paths.iter().enumerate() {
        tree.insert(path, number);
    }
    tree.check().unwrap();
    tree
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_filter_alone_agrees_with_the_naive_matcher(filter in a_filter(), name in a_name()) {
        let parsed = topic_filter(&filter);
        prop_assert_eq!(parsed.matches(&topic_name(&name)), matches(&filter, &name));
        prop_assert_eq!(parsed.has_wildcard(), filter.contains(['+', '#']));
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "[ab$+#/]{0,12}|\\$share/[ab+#/]{0,8}|\\PC{0,12}") {
        if let Ok(filter) = TopicFilter::new(&text) {
            prop_assert_eq!(filter.whole(), &text);
            prop_assert!(text.ends_with(filter.filter()) && !filter.filter().is_empty());
            let levels: Vec<_> = filter.levels().collect();
            for (at, level) in levels.iter().enumerate() {
                prop_assert!(*level == "+" || !level.contains('+'));
                prop_assert!(*level == "#" && at + 1 == levels.len() || !level.contains('#'));
            }
        }
        prop_assert_eq!(TopicName::new(&text).is_ok(), !text.is_empty() && !text.contains(['+', '#']));
    }

    #[test]
    fn a_tree_of_filters_agrees_with_the_naive_matcher(
        filters in proptest::collection::btree_set(a_filter(), 0..40),
        names in vec(a_name(), 1..10),
    ) {
        let tree = tree_of(&filters);
        for name in &names {
            let mut found = Vec::new();
            tree.for_each_match(&topic_name(name), |node, _| found.push(path(&tree, node)));
            found.sort();
            let expected: Vec<_> = filters.iter().filter(|filter| matches(filter, name)).cloned().collect();
            prop_assert_eq!(found, expected, "{}", name);
        }
    }

    #[test]
    fn a_tree_of_names_agrees_with_the_naive_matcher(
        names in proptest::collection::btree_set(a_name(), 0..40),
        filters in vec(a_filter(), 1..10),
        budget in 1_usize..5,
    ) {
        let mut tree = tree_of(&names);
        for filter in &filters {
            let mut walk = tree.walk(&topic_filter(filter));
            let mut found = Vec::new();
            while !walk.is_done() {
                let mut steps = budget;
                while let Some(node) = tree.step(&mut walk, &mut steps) {
                    found.push(path(&tree, node));
                }
                prop_assert!(steps == 0 || walk.is_done());
            }
            tree.end_walk(walk);
            tree.check().unwrap();
            found.sort();
            let expected: Vec<_> = names.iter().filter(|name| matches(filter, name)).cloned().collect();
            prop_assert_eq!(found, expected, "{}", filter);
        }
    }
}

/// One thing that happens to the tree.
#[derive(Clone, Debug)]
enum Event {
    Insert(String),
    GetOrInsert(String),
    Remove(String),
    /// Removes the value in the slot nearest to this one, as a sweep would.
    Sweep(u32),
    BeginWalk(String),
    /// Which walk, and with how many steps.
    Step(usize, usize),
    EndWalk(usize),
}

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => a_name().prop_map(Event::Insert),
        1 => a_name().prop_map(Event::GetOrInsert),
        4 => a_name().prop_map(Event::Remove),
        2 => (0_u32..40).prop_map(Event::Sweep),
        2 => a_filter().prop_map(Event::BeginWalk),
        8 => (0_usize..4, 1_usize..4).prop_map(|(walk, steps)| Event::Step(walk, steps)),
        1 => (0_usize..4).prop_map(Event::EndWalk),
    ]
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

/// The tree, its model, and the walks.
#[derive(Default)]
struct Run {
    tree: Tree<u32>,
    model: BTreeMap<String, (NodeId, u32)>,
    walks: Vec<Under>,
    next: u32,
}

impl Run {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Insert(path) => self.insert(path),
            Event::GetOrInsert(path) => self.get_or_insert(path),
            Event::Remove(path) => self.remove(path),
            Event::Sweep(index) => {
                let at = self
                    .tree
                    .values_from(*index)
                    .next()
                    .map(|(node, _)| path(&self.tree, node));
                if let Some(path) = at {
                    self.remove(&path);
                }
            }
            Event::BeginWalk(filter) if self.walks.len() < 4 => self.begin_walk(filter),
            Event::BeginWalk(_) => {}
            Event::Step(walk, steps) => self.step(*walk, *steps),
            Event::EndWalk(walk) if *walk < self.walks.len() => {
                let under = self.walks.remove(*walk);
                self.tree.end_walk(under.walk);
            }
            Event::EndWalk(_) => {}
        }
    }

    fn insert(&mut self, path: &str) {
        self.next += 1;
        let (node, old) = self.tree.insert(path, self.next);
        let before = self.model.insert(path.to_owned(), (node, self.next));
        assert_eq!(old, before.map(|(_, value)| value));
        assert!(before.is_none_or(|(id, _)| id == node), "a value moved");
    }

    fn get_or_insert(&mut self, path: &str) {
        self.next += 1;
        let next = self.next;
        let (node, value) = self.tree.get_or_insert_with(path, || next);
        assert_eq!(
            self.model.entry(path.to_owned()).or_insert((node, next)),
            &(node, *value)
        );
    }

    fn remove(&mut self, path: &str) {
        let found = self.tree.find(path);
        assert_eq!(found, self.model.get(path).map(|(node, _)| *node));
        let taken = found.and_then(|node| self.tree.remove(node));
        assert_eq!(taken, self.model.remove(path).map(|(_, value)| value));
        for under in &mut self.walks {
            // It may come back, and then be found again.
            under.owed.remove(path);
            under.found.remove(path);
        }
    }

    fn begin_walk(&mut self, filter: &str) {
        let owed = self
            .model
            .keys()
            .filter(|name| matches(filter, name))
            .cloned()
            .collect();
        let walk = self.tree.walk(&topic_filter(filter));
        self.walks.push(Under {
            walk,
            filter: filter.to_owned(),
            owed,
            found: BTreeSet::new(),
        });
    }

    fn step(&mut self, walk: usize, mut steps: usize) {
        let Some(under) = self.walks.get_mut(walk) else {
            return;
        };
        while let Some(node) = self.tree.step(&mut under.walk, &mut steps) {
            let name = path(&self.tree, node);
            assert!(matches(&under.filter, &name), "{} {name}", under.filter);
            assert!(self.model.contains_key(&name));
            under.owed.remove(&name);
            assert!(under.found.insert(name), "found twice");
        }
        assert!(steps == 0 || under.walk.is_done());
        if under.walk.is_done() {
            assert_eq!(under.owed, BTreeSet::new(), "missed by {}", under.filter);
        }
    }

    fn check(&self) {
        self.tree.check().unwrap();
        assert_eq!(self.tree.len(), self.model.len());
        assert_eq!(self.tree.is_empty(), self.model.is_empty());
        let all: BTreeMap<_, _> = self
            .tree
            .values_from(0)
            .map(|(node, value)| (path(&self.tree, node), (node, *value)))
            .collect();
        assert_eq!(all, self.model);
        if self.walks.is_empty() {
            assert_eq!(self.tree.node_count(), self.prefixes().len());
        }
    }

    /// The paths that need a node: those with a value, and all that lead to one.
    fn prefixes(&self) -> BTreeSet<&str> {
        let above = |path: &'_ String| {
            path.match_indices('/')
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        };
        let paths = self.model.keys();
        paths
            .flat_map(|path| {
                above(path)
                    .into_iter()
                    .chain([path.len()])
                    .map(|at| &path[..at])
            })
            .collect()
    }

    /// Lets every walk end by itself and removes every value: nothing may be left.
    fn ends(mut self) {
        for walk in 0..self.walks.len() {
            self.step(walk, 1_000_000);
        }
        for under in std::mem::take(&mut self.walks) {
            self.tree.end_walk(under.walk);
            self.tree.check().unwrap();
        }
        self.check();
        for path in self.model.keys().cloned().collect::<Vec<_>>() {
            self.remove(&path);
            self.tree.check().unwrap();
        }
        assert_eq!((self.tree.len(), self.tree.node_count()), (0, 0));
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// Values come and go while walks are under way; what was there throughout is found exactly once.
    #[test]
    fn a_tree_agrees_with_a_map(events in vec(an_event(), 1..120)) {
        let mut run = Run::default();
        for event in &events {
            run.happens(event);
            run.check();
        }
        run.ends();
    }
}

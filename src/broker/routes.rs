//! The topics published to last, each with the filters that match it. A device publishes to the same
//! few topics for years: the second message on a topic is spared the checks of its name and the way
//! through the tree.
//!
//! ```text
//!   hash(topic) ──▶ [ … | "home/kitchen/temp" → nodes of '#', 'home/+/temp' | … ]
//! ```
//!
//! It is apart from the tree because it may forget anything at any time. A route holds nodes, not
//! subscribers, so that it is out of date only when a filter comes or goes; that it is so must
//! always be noticed, for a node can have come to mean another filter.

use super::subscriptions::Subscriptions;
use crate::limits;
use crate::topic::name::TopicName;
use crate::topic::tree::NodeId;

/// The filters that match one topic.
#[derive(Debug, Default)]
pub struct Route {
    /// A valid Topic Name.
    topic: String,
    /// The [`Subscriptions::generation`] it was found in.
    generation: u64,
    /// Whether it is one of those that begin with `$`.
    is_reserved: bool,
    /// Filters that are not shared.
    plain: Vec<NodeId>,
    /// Filters that are.
    shared: Vec<NodeId>,
}

impl Route {
    /// The filters that match `name`.
    pub fn find(name: &TopicName<'_>, subscriptions: &Subscriptions) -> Self {
        let mut route = Self::default();
        route.fill(name, subscriptions);
        route
    }

    /// Returns how many nodes were visited.
    fn fill(&mut self, name: &TopicName<'_>, subscriptions: &Subscriptions) -> usize {
        self.topic.clear();
        self.topic.push_str(name.as_str());
        self.generation = subscriptions.generation();
        self.is_reserved = name.starts_with_dollar();
        self.plain.clear();
        self.shared.clear();
        subscriptions.filters(name, &mut self.plain, &mut self.shared)
    }

    /// Its topic, as text.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its topic.
    pub fn name(&self) -> TopicName<'_> {
        TopicName::known(&self.topic)
    }

    /// Whether its topic begins with `$`.
    pub fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Nodes of the filters that are not shared, in the order their subscribers are served in.
    pub fn plain(&self) -> &[NodeId] {
        &self.plain
    }

    /// Nodes of the shared filters.
    pub fn shared(&self) -> &[NodeId] {
        &self.shared
    }

    /// Whether anybody subscribes.
    pub fn is_matched(&self) -> bool {
        !self.plain.is_empty() || !self.shared.is_empty()
    }

    /// Whether it is the route of `topic`, and nothing has changed since `generation`.
    #[inline]
    fn is_of(&self, topic: &[u8], generation: u64) -> bool {
        self.generation == generation && self.topic.as_bytes() == topic
    }

    fn is_short(&self) -> bool {
        let filters = self.plain.capacity() + self.shared.capacity();
        self.topic.capacity() <= limits::ROUTE_TOPIC_BYTES && filters <= limits::ROUTE_FILTERS
    }
}

/// Routes, each in the one place its topic has.
#[derive(Debug, Default)]
pub struct Routes {
    /// Empty before the first message.
    places: Vec<Route>,
    /// The last one that was not worth remembering, until the end of the turn.
    aside: Route,
}

impl Routes {
    /// The route of `topic`: the one remembered if nothing has changed since, or else one found
    /// anew, once `check` has taken the topic for a Topic Name. The nodes visited for that are added
    /// to `work`.
    ///
    /// # Errors
    /// What `check` says.
    #[inline(always)]
    pub fn find<'t, E>(
        &mut self,
        topic: &'t [u8],
        subscriptions: &Subscriptions,
        work: &mut usize,
        check: impl FnOnce(&'t [u8]) -> Result<TopicName<'t>, E>,
    ) -> Result<&Route, E> {
        let (index, generation) = (place(topic), subscriptions.generation());
        let remembered = self.places.get(index);
        if !remembered.is_some_and(|route| route.is_of(topic, generation)) {
            return self.find_anew(index, topic, subscriptions, work, check);
        }
        Ok(self.places.get(index).unwrap_or(&self.aside))
    }

    /// The same where it is not remembered.
    #[inline(never)]
    fn find_anew<'t, E>(
        &mut self,
        index: usize,
        topic: &'t [u8],
        subscriptions: &Subscriptions,
        work: &mut usize,
        check: impl FnOnce(&'t [u8]) -> Result<TopicName<'t>, E>,
    ) -> Result<&Route, E> {
        if self.places.is_empty() {
            self.places.resize_with(limits::ROUTES, Route::default);
        }
        let Self { places, aside } = self;
        let Some(route) = places.get_mut(index) else {
            return Ok(aside); // not reached: there are as many as a place may say
        };
        *work = work.saturating_add(route.fill(&check(topic)?, subscriptions));
        if !route.is_short() {
            // Not to be held on to: it moves aside, where the next one like it replaces it.
            *aside = std::mem::take(route);
            return Ok(aside);
        }
        Ok(route)
    }

    /// Once a turn: gives back what is not worth remembering.
    pub fn turn(&mut self) {
        if !self.aside.is_short() {
            self.aside = Route::default();
        }
    }
}

/// The place of a topic. Topics that share one drive each other out, and no more than that: there
/// is nothing to be gained by finding some that do.
#[inline(always)]
fn place(topic: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let words = topic.chunks_exact(8);
    let (mut hash, rest) = (topic.len() as u64, words.remainder());
    for word in words {
        hash = mix(hash, word.try_into().map_or(0, u64::from_le_bytes));
    }
    // What is left over, with some of what is not where there is enough.
    hash = match topic.last_chunk() {
        Some(last) => mix(hash, u64::from_le_bytes(*last)),
        None => rest
            .iter()
            .fold(hash, |hash, byte| mix(hash, u64::from(*byte))),
    };
    (hash >> 32) as usize % limits::ROUTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::key::SessionId;
    use crate::broker::subscriptions::Subscription;
    use crate::codec::subscribe::SubscriptionOptions;
    use crate::topic::filter::TopicFilter;

    fn subscription() -> Subscription {
        Subscription {
            session: SessionId::from_index(0),
            identifier: None,
            terms: SubscriptionOptions::default().into(),
        }
    }

    /// The route of a topic, and whether its name had to be looked at.
    fn find<'r>(
        routes: &'r mut Routes,
        topic: &str,
        subscriptions: &Subscriptions,
    ) -> (&'r Route, bool) {
        let mut is_new = false;
        let found = routes.find(topic.as_bytes(), subscriptions, &mut 0, |topic| {
            is_new = true;
            TopicName::new(std::str::from_utf8(topic).unwrap())
        });
        (found.unwrap(), is_new)
    }

    #[test]
    fn a_route_is_remembered_until_a_filter_comes_or_goes() {
        let mut all = Subscriptions::default();
        let mut routes = Routes::default();
        let (route, is_new) = find(&mut routes, "a/b", &all);
        assert_eq!(
            (route.name().as_str(), route.is_matched(), is_new),
            ("a/b", false, true)
        );
        assert!(!find(&mut routes, "a/b", &all).1);
        let filter = TopicFilter::new("a/+").unwrap();
        let node = all.subscribe(&filter, subscription()).node;
        let (route, is_new) = find(&mut routes, "a/b", &all);
        assert_eq!((route.plain(), is_new), (&[node][..], true));
        let (group, _) = all.join("g", &filter, subscription());
        let (route, is_new) = find(&mut routes, "a/b", &all);
        assert_eq!((route.shared().len(), is_new), (1, true));
        assert!(all.leave(group, SessionId::from_index(0)));
        let (route, is_new) = find(&mut routes, "a/b", &all);
        assert_eq!((route.shared().len(), is_new), (0, true));
        assert!(!find(&mut routes, "a/b", &all).1);
        assert!(all.remove(node, SessionId::from_index(0)));
        let (route, is_new) = find(&mut routes, "a/b", &all);
        assert_eq!((route.is_matched(), is_new), (false, true));
    }

    #[test]
    fn what_is_no_name_is_not_remembered() {
        let (all, mut routes) = (Subscriptions::default(), Routes::default());
        for _ in 0..2 {
            let error = routes.find(b"a/#", &all, &mut 0, |_| Err("a wildcard"));
            assert_eq!(error.err(), Some("a wildcard"));
        }
    }

    #[test]
    fn a_long_topic_is_not_remembered() {
        let (all, mut routes) = (Subscriptions::default(), Routes::default());
        let long = "x".repeat(limits::ROUTE_TOPIC_BYTES + 1);
        for _ in 0..2 {
            let (route, is_new) = find(&mut routes, &long, &all);
            assert_eq!((route.name().as_str(), is_new), (&*long, true));
        }
    }

    #[test]
    fn usual_topics_spread() {
        let mut used = vec![0_u32; limits::ROUTES];
        for room in 0..20 {
            for kind in ["temperature", "humidity", "power", "state"] {
                used[place(format!("home/room{room}/{kind}").as_bytes())] += 1;
            }
        }
        assert!(used.iter().filter(|count| **count > 0).count() > 55);
        assert!(used.iter().all(|count| *count <= 6));
    }
}

//! Who gets what: the tree of Topic Filters, with the subscribers at each, and the groups that
//! share one. It knows sessions by key only, and sends nothing.
//!
//! ```text
//!   plain:  tree of filters → [ subscription of ann, of bob, … ]     every one gets a copy
//!   shared: tree of filters → { name: group, … } → members           one of them gets it
//! ```

use super::key::{GroupId, SessionId};
use crate::codec::subscribe::SubscriptionOptions;
use crate::message::QoS;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use crate::topic::tree::{NodeId, Tree};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::rc::Rc;

/// What a subscription asks for, packed: a broker holds millions of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    bits: u8,
}

impl Terms {
    const QOS: u8 = 0b0011;
    const NO_LOCAL: u8 = 0b0100;
    const RETAIN_AS_PUBLISHED: u8 = 0b1000;

    /// Maximum QoS.
    pub fn qos(self) -> QoS {
        QoS::from_bits(self.bits & Self::QOS).unwrap_or_default()
    }

    /// No Local.
    pub fn no_local(self) -> bool {
        self.bits & Self::NO_LOCAL != 0
    }

    /// Retain As Published.
    pub fn retain_as_published(self) -> bool {
        self.bits & Self::RETAIN_AS_PUBLISHED != 0
    }
}

impl Terms {
    /// As in SUBSCRIBE, without Retain Handling.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Those that had these `bits` once. `None`: no terms have.
    pub fn from_bits(bits: u8) -> Option<Self> {
        let known = Self::QOS | Self::NO_LOCAL | Self::RETAIN_AS_PUBLISHED;
        let is_right = bits & !known == 0 && QoS::from_bits(bits & Self::QOS).is_some();
        is_right.then_some(Self { bits })
    }
}

impl From<SubscriptionOptions> for Terms {
    fn from(options: SubscriptionOptions) -> Self {
        let mut bits = options.qos.bits();
        if options.no_local {
            bits |= Self::NO_LOCAL;
        }
        if options.retain_as_published {
            bits |= Self::RETAIN_AS_PUBLISHED;
        }
        Self { bits }
    }
}

/// One session's subscription to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Whose.
    pub session: SessionId,
    /// Subscription Identifier, if it has one.
    pub identifier: Option<NonZeroU32>,
    /// What it asks for.
    pub terms: Terms,
}

/// The subscriptions to one filter, ascending by session. Most filters have one.
#[derive(Debug)]
enum Subscribers {
    One(Subscription),
    /// Boxed, so that the usual one decides what a node costs.
    Many(Box<Vec<Subscription>>),
}

impl Subscribers {
    fn as_slice(&self) -> &[Subscription] {
        match self {
            Self::One(subscription) => std::slice::from_ref(subscription),
            Self::Many(subscriptions) => subscriptions,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Subscription] {
        match self {
            Self::One(subscription) => std::slice::from_mut(subscription),
            Self::Many(subscriptions) => subscriptions,
        }
    }

    fn position(&self, session: SessionId) -> Result<usize, usize> {
        self.as_slice()
            .binary_search_by_key(&session, |subscription| subscription.session)
    }

    fn insert(&mut self, position: usize, subscription: Subscription) {
        if let Self::One(first) = self {
            *self = Self::Many(Box::new(vec![*first]));
        }
        if let Self::Many(subscriptions) = self {
            subscriptions.insert(position, subscription);
        }
    }

    /// Removes one; `false` if it was the last.
    fn remove(&mut self, position: usize) -> bool {
        let Self::Many(subscriptions) = self else {
            return false;
        };
        subscriptions.remove(position);
        if let [last] = subscriptions.as_slice() {
            *self = Self::One(*last);
        }
        true
    }
}

/// What would become of a message given to a member of a group, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It would be lost.
    Lost,
    /// It would wait for its client to come back.
    Absent,
    /// It would wait behind others that its client has to take first.
    Behind,
    /// It would be sent at once.
    Now,
}

/// The members of one `$share/NAME/FILTER`.
#[derive(Debug)]
pub struct Group {
    /// The ShareName.
    name: Rc<str>,
    /// The filter's node in the shared tree.
    node: NodeId,
    /// Never empty.
    members: Vec<Subscription>,
    /// Where the search for the next receiver begins.
    next: usize,
}

/// What a SUBSCRIBE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The filter's node.
    pub node: NodeId,
    /// Whether the session did not have this subscription before.
    pub is_new: bool,
}

/// All subscriptions.
#[derive(Default)]
pub struct Subscriptions {
    plain: Tree<Subscribers>,
    /// At each filter its groups, by ShareName.
    shared: Tree<BTreeMap<Rc<str>, GroupId>>,
    groups: HashMap<GroupId, Group>,
    /// The key of the group made last. A queued message may outlive its group: keys are not reused
    /// before all of them have been used.
    last_group: u32,
    count: usize,
    /// Of these, members of groups.
    shared_count: usize,
    /// How often a filter has come or gone.
    generation: u64,
}

impl Subscriptions {
    /// Subscriptions, one for each session and filter, shared ones included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Of these, the shared ones, one for each session and group.
    pub fn shared_count(&self) -> usize {
        self.shared_count
    }

    /// Adds or replaces `subscription` to a filter that is not shared
    /// [MQTT-3.8.4-3] [MQTT5-3.8.4-3].
    pub fn subscribe(
        &mut self,
        filter: &TopicFilter<'_>,
        subscription: Subscription,
    ) -> Subscribed {
        let mut is_new_filter = false;
        let (node, subscribers) = self.plain.get_or_insert_with(filter.filter(), || {
            is_new_filter = true;
            Subscribers::One(subscription)
        });
        let mut is_new = is_new_filter;
        match subscribers.position(subscription.session) {
            Ok(position) => {
                if let Some(slot) = subscribers.as_mut_slice().get_mut(position) {
                    *slot = subscription;
                }
            }
            Err(position) => {
                is_new = true;
                subscribers.insert(position, subscription);
            }
        }
        self.count += usize::from(is_new);
        self.generation += u64::from(is_new_filter);
        Subscribed { node, is_new }
    }

    /// Whether `session` has a subscription to this filter, shared or not.
    pub fn holds(&self, filter: &TopicFilter<'_>, session: SessionId) -> bool {
        if let Some(name) = filter.share_name() {
            let group = self.find_group(name, filter);
            let mut members = group.into_iter().flat_map(|group| self.members(group));
            return members.any(|member| member.session == session);
        }
        let node = self.plain.find(filter.filter());
        node.is_some_and(|node| self.get(node, session).is_some())
    }

    /// Bytes by which the table of groups grows for one more.
    pub fn group_growth(&self) -> usize {
        match self.groups.len() < self.groups.capacity() {
            true => 0,
            // As many places again, an eighth of which stays empty, with a byte of bookkeeping each.
            false => self.groups.capacity() / 7 * 8 * (size_of::<(GroupId, Group)>() + 1),
        }
    }

    /// The subscription of `session` at `node`.
    pub fn get(&self, node: NodeId, session: SessionId) -> Option<&Subscription> {
        let subscribers = self.plain.get(node)?;
        subscribers
            .as_slice()
            .get(subscribers.position(session).ok()?)
    }

    /// Appends the text of the filter at `node`.
    pub fn filter_text(&self, node: NodeId, out: &mut String) {
        self.plain.path(node, out);
    }

    /// Removes the subscription of `session` to a filter that is not shared; its node if there was
    /// one.
    pub fn unsubscribe(&mut self, filter: &TopicFilter<'_>, session: SessionId) -> Option<NodeId> {
        let node = self.plain.find(filter.filter())?;
        self.remove(node, session).then_some(node)
    }

    /// Removes the subscription of `session` at `node`; whether there was one.
    pub fn remove(&mut self, node: NodeId, session: SessionId) -> bool {
        let Some(subscribers) = self.plain.get_mut(node) else {
            return false;
        };
        let Ok(position) = subscribers.position(session) else {
            return false;
        };
        if !subscribers.remove(position) {
            self.plain.remove(node);
            self.generation += 1;
        }
        self.count -= 1;
        true
    }

    /// Adds or replaces `subscription` in the group `name` of `filter`; the group, and whether the
    /// session is new in it.
    pub fn join(
        &mut self,
        name: &str,
        filter: &TopicFilter<'_>,
        subscription: Subscription,
    ) -> (GroupId, bool) {
        let (node, here) = self.shared.get_or_insert_with(filter.filter(), || {
            self.generation += 1;
            BTreeMap::new()
        });
        let group = here.get(name).copied().unwrap_or_else(|| {
            let group = free_key(&mut self.last_group, &self.groups);
            let name: Rc<str> = name.into();
            here.insert(Rc::clone(&name), group);
            let members = Vec::new();
            self.groups.insert(
                group,
                Group {
                    name,
                    node,
                    members,
                    next: 0,
                },
            );
            group
        });
        let Some(Group { members, .. }) = self.groups.get_mut(&group) else {
            debug_assert!(false, "a filter names a group that is none");
            return (group, false);
        };
        let is_new = match members
            .iter_mut()
            .find(|m| m.session == subscription.session)
        {
            Some(member) => {
                *member = subscription;
                false
            }
            None => {
                members.push(subscription);
                true
            }
        };
        self.count += usize::from(is_new);
        self.shared_count += usize::from(is_new);
        (group, is_new)
    }

    /// The group `name` of `filter`, if it has members.
    pub fn find_group(&self, name: &str, filter: &TopicFilter<'_>) -> Option<GroupId> {
        let here = self.shared.get(self.shared.find(filter.filter())?)?;
        here.get(name).copied()
    }

    /// Appends the text of a shared subscription, `$share` and all.
    pub fn group_text(&self, group: GroupId, out: &mut String) {
        if let Some(group) = self.groups.get(&group) {
            out.push_str("$share/");
            out.push_str(&group.name);
            out.push('/');
            self.shared.path(group.node, out);
        }
    }

    /// Removes `session` from a group; whether it was a member.
    pub fn leave(&mut self, group_id: GroupId, session: SessionId) -> bool {
        let Some(group) = self.groups.get_mut(&group_id) else {
            return false;
        };
        let Some(position) = group.members.iter().position(|m| m.session == session) else {
            return false;
        };
        group.members.remove(position);
        // The turn stays with the member that had it.
        group.next -= usize::from(position < group.next);
        self.count -= 1;
        self.shared_count -= 1;
        if group.members.is_empty() {
            let (node, name) = (group.node, Rc::clone(&group.name));
            self.groups.remove(&group_id);
            if self.groups.len() < self.groups.capacity() / 8 {
                self.groups.shrink_to(2 * self.groups.len());
            }
            if let Some(here) = self.shared.get_mut(node) {
                here.remove(&name);
                if here.is_empty() {
                    self.shared.remove(node);
                    self.generation += 1;
                }
            }
        }
        true
    }

    /// The member of a group that is best placed to take a message; of equals, the one whose turn
    /// comes first.
    pub fn choose(
        &mut self,
        group: GroupId,
        mut reach: impl FnMut(&Subscription) -> Reach,
    ) -> Option<Subscription> {
        let group = self.groups.get_mut(&group)?;
        let count = group.members.len();
        let mut best: Option<(usize, Reach)> = None;
        for at in (group.next..count).chain(0..group.next.min(count)) {
            let Some(found) = group.members.get(at).map(&mut reach) else {
                continue;
            };
            if best.is_none_or(|(_, best)| found > best) {
                best = Some((at, found));
            }
            if found == Reach::Now {
                break;
            }
        }
        let (chosen, _) = best?;
        group.next = (chosen + 1) % count;
        group.members.get(chosen).copied()
    }

    /// The members of a group.
    pub fn members(&self, group: GroupId) -> &[Subscription] {
        self.groups.get(&group).map_or(&[], |group| &group.members)
    }

    /// Changes whenever a filter, shared or not, comes or goes: nodes found before are void then.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Appends the nodes of the filters that match: to `plain` those that are not shared, to
    /// `shared` those that are. Returns how many nodes were visited.
    pub fn filters(
        &self,
        name: &TopicName<'_>,
        plain: &mut Vec<NodeId>,
        shared: &mut Vec<NodeId>,
    ) -> usize {
        let visited = self.plain.for_each_match(name, |node, _| plain.push(node));
        if self.shared.is_empty() {
            return visited;
        }
        visited
            + self
                .shared
                .for_each_match(name, |node, _| shared.push(node))
    }

    /// The subscriptions to the filter at `node`, which is not shared.
    #[inline]
    pub fn at(&self, node: NodeId) -> &[Subscription] {
        self.plain.get(node).map_or(&[], Subscribers::as_slice)
    }

    /// The groups that share the filter at `node`.
    pub fn groups_at(&self, node: NodeId) -> impl Iterator<Item = GroupId> {
        self.shared
            .get(node)
            .into_iter()
            .flat_map(|here| here.values().copied())
    }

    /// Bookkeeping that must hold between any two packets.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        self.plain.check()?;
        self.shared.check()?;
        let plain = self
            .plain
            .values_from(0)
            .map(|(_, here)| here.as_slice().len());
        let shared = self.groups.values().map(|group| group.members.len());
        let (plain, shared): (usize, usize) = (plain.sum(), shared.sum());
        if (plain + shared, shared) != (self.count, self.shared_count) {
            return Err(format!(
                "{plain} subscriptions and {shared} shared ones, count says {} and {}",
                self.count, self.shared_count
            ));
        }
        for (_, here) in self.plain.values_from(0) {
            if !here.as_slice().is_sorted_by(|a, b| a.session < b.session) {
                return Err(String::from("subscribers out of order"));
            }
        }
        if self.groups.values().any(|group| group.members.is_empty()) {
            return Err(String::from("a group without members"));
        }
        Ok(())
    }
}

/// The next key that no group has: somebody who makes groups and lets them go for half a day gets
/// to the end of the keys.
fn free_key(last: &mut u32, groups: &HashMap<GroupId, Group>) -> GroupId {
    loop {
        *last = last.wrapping_add(1);
        let group = GroupId::from_index(*last as usize);
        if !groups.contains_key(&group) {
            return group;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_keeps_its_key_when_the_keys_begin_anew() {
        let mut all = Subscriptions::default();
        let filter = TopicFilter::new("a").unwrap();
        let subscription = Subscription {
            session: SessionId::from_index(0),
            identifier: None,
            terms: Terms { bits: 0 },
        };
        let first = all.join("0", &filter, subscription).0;
        all.last_group = u32::MAX - 3;
        let mut groups: Vec<_> = (1..10)
            .map(|name| all.join(&name.to_string(), &filter, subscription).0)
            .chain([first])
            .collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), 10);
        all.check().unwrap();
    }
}

//! How things come to be due, and cease to be: publication, retained messages, shared subscriptions
//! and ends.

use super::{Client, Copy, Due, Kind, Message, Model, NEVER, Published, Session, Shared, Terms};
use super::{matches, within_share};
use std::collections::BTreeSet;

impl Model {
    /// Every session and filter that matches a topic.
    pub(super) fn subscribed_to(&self, topic: &str) -> BTreeSet<(Client, String)> {
        let all = self.sessions.iter().flat_map(|(client, session)| {
            session
                .subscriptions
                .keys()
                .map(|filter| (*client, filter.clone()))
        });
        all.filter(|(_, filter)| matches(within_share(filter).unwrap_or(filter), topic))
            .collect()
    }

    pub(super) fn members(&self, filter: &str) -> Vec<(Client, Terms)> {
        let terms = |(client, session): (&Client, &Session)| {
            session
                .subscriptions
                .get(filter)
                .map(|terms| (*client, *terms))
        };
        self.sessions.iter().filter_map(terms).collect()
    }

    /// Ends the life of a group without members.
    pub(super) fn bury(&mut self, filter: &str) {
        if self.members(filter).is_empty() {
            self.lives.remove(filter);
        }
    }

    /// QoS 1 and 2 messages a session may have in its queue, at most.
    pub(super) fn unheard(&self, client: Client) -> usize {
        let dues = self
            .sessions
            .get(&client)
            .map_or(&[][..], |session| &session.dues);
        let shared = self.shared.iter().flat_map(|shared| &shared.takers);
        dues.iter().filter(|due| due.copy.qos > 0).count()
            + shared
                .filter(|(taker, copy)| *taker == client && copy.qos > 0)
                .count()
    }

    pub(super) fn has_room_for(&self, client: Client, count: usize) -> bool {
        self.rules.queued_max == 0 || self.unheard(client) + count <= self.rules.queued_max
    }

    pub(super) fn publish_to(
        &mut self,
        client: Client,
        what: Published,
        message: &Message,
        kind: &Kind,
    ) {
        let Some(session) = self.sessions.get(&client) else {
            return;
        };
        let found = session.plain(message, message.from == client);
        let mut copies: Vec<Copy> = found.iter().map(|terms| terms.copy(message)).collect();
        if !self.rules.duplicates && copies.len() > 1 {
            let mut identifiers = copies
                .iter()
                .flat_map(|copy| copy.identifiers.clone())
                .collect::<Vec<_>>();
            identifiers.sort_unstable();
            copies = vec![Copy {
                qos: copies.iter().map(|copy| copy.qos).max().unwrap_or(0),
                retain: copies.iter().any(|copy| copy.retain),
                identifiers,
            }];
        }
        // Nobody says which of the copies comes first.
        let count = copies.iter().filter(|copy| copy.qos > 0).count();
        let fits = self.has_room_for(client, count);
        let keeps_up = session.keeps_up(copies.len(), message.payload.len());
        for copy in copies {
            let is_sure = if copy.qos == 0 { keeps_up } else { fits };
            self.owe(client, what, copy, kind.clone(), is_sure);
        }
    }

    pub(super) fn owe(
        &mut self,
        client: Client,
        what: Published,
        copy: Copy,
        kind: Kind,
        is_sure: bool,
    ) {
        let message = &self.messages[what.message];
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let can_come = session.connected || copy.qos > 0;
        let is_too_big = (self.small)(client, message);
        if !can_come || (is_too_big && copy.qos == 0) {
            return;
        }
        // What is too big for a client may wait in its queue all the same.
        let required = is_sure && !is_too_big;
        session.dues.push(Due {
            what,
            copy,
            kind,
            required,
            is_blurred: false,
        });
    }

    /// The members that could be given a message, and whether one of them surely is.
    pub(super) fn takers(&self, filter: &str, message: &Message) -> (Vec<(Client, Copy)>, bool) {
        let members = self.members(filter).into_iter();
        let copies = members.map(|(client, terms)| (client, terms.copy(message)));
        let takers: Vec<_> = copies
            .filter(|(client, copy)| self.is_connected(*client) || copy.qos > 0)
            .collect();
        let keeps_up = |client: &Client| {
            let session = self.sessions.get(client);
            session.is_some_and(|session| session.keeps_up(8, message.payload.len()))
        };
        let can_take = |(client, copy): &(Client, Copy)| match copy.qos {
            0 => keeps_up(client),
            _ => self.has_room_for(*client, 1),
        };
        let is_too_big = |(client, _): &(Client, Copy)| (self.small)(*client, message);
        let is_sure = takers.iter().any(can_take) && !takers.iter().any(is_too_big);
        (takers, is_sure)
    }

    pub(super) fn publish_shared(&mut self, filter: &str, what: Published, in_order: bool) {
        let (takers, required) = self.takers(filter, &self.messages[what.message]);
        let life = self.lives.get(filter).copied().unwrap_or_default();
        if !takers.is_empty() {
            self.shared.push(Shared {
                what,
                filter: filter.into(),
                life,
                takers,
                in_order,
                required,
                is_blurred: false,
            });
        }
    }

    pub(super) fn publish_will(&mut self, client: Client) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.will_at = NEVER;
        if let Some(will) = session.will.take() {
            let message = self.message(will.message);
            self.publishes(message, will.expiry_s, false);
        }
    }

    /// A session ends: its part of what is shared goes to others.
    pub fn ends(&mut self, client: Client) {
        let Some(session) = self.sessions.remove(&client) else {
            return;
        };
        for filter in session.subscriptions.keys() {
            self.bury(filter);
        }
        let mut shared = std::mem::take(&mut self.shared);
        for shared in &mut shared {
            self.inherit(client, shared);
        }
        for flying in session
            .flying
            .values()
            .filter(|flying| flying.copy.qos == 1)
        {
            shared.extend(self.second_hand(flying.what));
        }
        self.shared = shared;
        if let Some(will) = session.will {
            let message = self.message(will.message);
            self.publishes(message, will.expiry_s, false);
        }
    }

    /// `client` is no more, and may have been the one this message waited for.
    pub(super) fn inherit(&self, client: Client, shared: &mut Shared) {
        let gone: Vec<_> = shared
            .takers
            .iter()
            .filter(|(taker, _)| *taker == client)
            .cloned()
            .collect();
        shared.takers.retain(|(taker, _)| *taker != client);
        let Some(qos) = gone.iter().map(|(_, copy)| copy.qos).max() else {
            return;
        };
        if qos > 0 {
            let (takers, is_sure) =
                self.takers(&shared.filter, &self.messages[shared.what.message]);
            let lives = self.lives.get(&shared.filter) == Some(&shared.life);
            // All it had comes at once, which may be too much at QoS 0.
            let is_sure = is_sure && takers.iter().all(|(_, copy)| copy.qos > 0);
            // At QoS 2 it may have arrived, and goes to nobody else.
            shared.required &= is_sure && lives && qos == 1 && self.rules.queued_max == 0;
            shared.takers.extend(takers);
            shared.in_order = false;
        }
        shared.required &= !shared.takers.is_empty();
    }

    /// A QoS 1 message that was heard and not acknowledged may go to another member.
    pub(super) fn second_hand(&self, what: Published) -> Vec<Shared> {
        let message = &self.messages[what.message];
        let topic = &message.topic;
        let groups = self.lives.iter().filter(|(filter, _)| {
            within_share(filter).is_some_and(|filter| matches(filter, topic))
        });
        let shared = groups.map(|(filter, life)| Shared {
            what,
            filter: filter.clone(),
            life: *life,
            takers: self.takers(filter, message).0,
            in_order: false,
            required: false,
            is_blurred: false,
        });
        shared.collect()
    }

    /// What was on its way to a client when its connection was lost.
    pub(super) fn forget_in_transit(&mut self, client: Client) {
        // A Will may come before the rest of a replay.
        let is_tight = !self.has_room_for(client, 20);
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let is_replay = |due: &Due| matches!(due.kind, Kind::Replay(_));
        session
            .dues
            .retain(|due| due.copy.qos > 0 || is_replay(due));
        for due in session.dues.iter_mut().filter(|due| is_replay(due)) {
            due.required &= due.copy.qos > 0 && !is_tight;
        }
        for shared in &mut self.shared {
            let before = shared.takers.len();
            shared
                .takers
                .retain(|(taker, copy)| *taker != client || copy.qos > 0);
            shared.required &= shared.takers.len() == before;
        }
    }

    /// Keeps a message, or clears its topic. Who was owed what it replaces may go without.
    pub(super) fn retain(&mut self, message: &Message, what: Published) {
        let replaced = match message.payload.is_empty() {
            true => self.retained.remove(&message.topic),
            false => self.retained.insert(message.topic.clone(), what),
        };
        let Some(replaced) = replaced else { return };
        let dues = self
            .sessions
            .values_mut()
            .flat_map(|session| &mut session.dues);
        for due in dues {
            let is_replay = matches!(due.kind, Kind::Replay(_));
            due.required &= !(is_replay && due.what.message == replaced.message);
        }
    }

    /// The retained messages for a subscription. They wait for room, so that nothing is too full
    /// for them.
    pub(super) fn replay(&mut self, client: Client, filter: &str, terms: Terms, required: bool) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        for what in self.retained.values().filter(|what| what.expires_at > now) {
            let message = &self.messages[what.message];
            let is_unwanted = terms.no_local && message.from == client;
            let is_too_big = (self.small)(client, message);
            if matches(filter, &message.topic) && !is_unwanted {
                session.dues.push(Due {
                    what: *what,
                    copy: Copy {
                        retain: true,
                        ..terms.copy(message)
                    },
                    kind: Kind::Replay([filter.into()].into()),
                    required: required && !is_too_big,
                    is_blurred: false,
                });
            }
        }
    }

    pub(super) fn slacken_replays(&mut self, client: Client, filter: &str) {
        let dues = self
            .sessions
            .get_mut(&client)
            .map(|session| &mut session.dues);
        for due in dues.into_iter().flatten() {
            due.required &= !matches!(&due.kind, Kind::Replay(of) if of.contains(filter));
        }
    }
}

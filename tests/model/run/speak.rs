//! What model clients say: SUBSCRIBE, PUBLISH, acknowledgements.

use super::step::{Body, FILTERS, Step, TOPICS};
use super::{Answer, HUGE_BYTES, Outcome, Outgoing, Player, Reply, Run, filter_of, from, name};
use crate::model::{Client, Message, Session, Terms};
use crate::table::*;
use midge::codec::ack::AckKind;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::{RetainHandling, SubscriptionOptions};
use midge::message::QoS;
use std::collections::BTreeMap;
use std::num::NonZeroU16;

impl Run {
    // ---- subscriptions ----

    pub(super) fn subscribe(
        &mut self,
        who: Client,
        filters: &[(usize, u8, bool, bool, u8)],
        identifier: u32,
    ) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        let is_5 = self.players[who].version == V5;
        let mut distinct: BTreeMap<usize, Terms> = BTreeMap::new();
        for (filter, qos, no_local, as_published, handling) in filters {
            let is_shared = FILTERS[*filter].starts_with("$share");
            distinct.insert(
                *filter,
                Terms {
                    qos: *qos,
                    no_local: is_5 && *no_local && !is_shared,
                    as_published: is_5 && *as_published,
                    handling: if is_5 { *handling } else { 0 },
                    identifier: if is_5 { identifier } else { 0 },
                },
            );
        }
        let id = self.next_id(who);
        let mut packet: Option<Say> = None;
        for (filter, terms) in &distinct {
            let options = SubscriptionOptions {
                qos: QoS::from_bits(terms.qos).unwrap(),
                no_local: terms.no_local,
                retain_as_published: terms.as_published,
                retain_handling: match terms.handling {
                    0 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    _ => RetainHandling::DoNotSend,
                },
            };
            let filter = filter_of(who, *filter);
            packet = Some(match packet {
                None => subscribe_with(id, &filter, options),
                Some(packet) => packet.and_with(&filter, options),
            });
            self.model.subscribes(who, &filter, *terms);
        }
        let Some(mut packet) = packet else {
            return Ok(());
        };
        if identifier != 0 {
            packet = packet.with(Property::SubscriptionIdentifier(identifier));
        }
        let codes = distinct.values().map(|terms| terms.qos).collect();
        self.says(who, seat, packet);
        self.players[who]
            .answers
            .push_back(Answer::SubAck(id, codes));
        self.listen()
    }

    pub(super) fn unsubscribe(&mut self, who: Client, filters: &[usize]) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        let id = self.next_id(who);
        let filters: Vec<String> = filters.iter().map(|f| filter_of(who, *f)).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut codes = Vec::new();
        for filter in &filters {
            codes.push(if self.model.unsubscribes(who, filter) {
                0
            } else {
                0x11
            });
        }
        if self.players[who].version != V5 {
            codes.clear();
        }
        self.says(who, seat, unsubscribe(id, &filters));
        self.players[who]
            .answers
            .push_back(Answer::UnsubAck(id, codes));
        self.listen()
    }

    // ---- publishing ----

    pub(super) fn publish(&mut self, step: &Step) -> Outcome {
        let Step::Publish {
            who,
            topic,
            qos,
            retain,
            body,
            expiry_s,
            alias,
            ..
        } = step.clone()
        else {
            return Ok(());
        };
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        let is_5 = self.players[who].version == V5;
        let outgoing = &self.players[who].outgoing;
        let unreleased = outgoing.iter().filter(|outgoing| outgoing.qos == 2).count();
        let window_max = self.model.rules.window_max;
        let is_full = window_max != 0 && unreleased >= usize::from(window_max);
        if outgoing.len() > 100 || (qos == 2 && is_full) {
            return Ok(());
        }
        let body = match body {
            Body::Empty if self.model.is_empty_one_due(TOPICS[topic]) => Body::Short,
            body => body,
        };
        let message = Message {
            from: who,
            topic: TOPICS[topic].into(),
            payload: self.payload(body),
            qos,
            retain,
        };
        let expiry_s = expiry_s.filter(|_| is_5);
        let index = self.model.message(message.clone());
        let id = if qos > 0 { self.next_id(who) } else { 0 };
        let mut packet = say_publish(&message, id, expiry_s);
        if let Some(alias) = NonZeroU16::new(alias).filter(|_| is_5) {
            let known = self.players[who]
                .aliases
                .insert(alias.get(), message.topic.clone());
            if known.as_ref() == Some(&message.topic) {
                let unnamed = Message {
                    topic: String::new(),
                    ..message.clone()
                };
                packet = say_publish(&unnamed, id, expiry_s);
            }
            packet = packet.with(Property::TopicAlias(alias));
        }
        if qos > 0 {
            self.players[who].outgoing.push(Outgoing {
                id,
                message: index,
                qos,
                expiry_s,
                is_received: false,
                is_released: false,
            });
        }
        self.says(who, seat, packet);
        self.published(who, id, index, &message, expiry_s, false);
        self.listen()
    }

    /// A PUBLISH has reached the broker: the model's part, and the answer it is to get.
    pub(super) fn published(
        &mut self,
        who: Client,
        id: u16,
        index: usize,
        message: &Message,
        expiry_s: Option<u32>,
        again: bool,
    ) {
        let is_denied = message.topic.starts_with("$SYS");
        let is_new = message.qos < 2 || is_denied || self.model.holds(who, id);
        let mut reason = ReasonCode::Success;
        if is_denied {
            reason = ReasonCode::NotAuthorized;
        } else if is_new && !self.model.publishes(index, expiry_s, again) {
            reason = ReasonCode::NoMatchingSubscribers;
        }
        let player = &mut self.players[who];
        if player.version != V5 {
            reason = ReasonCode::Success;
        }
        let kind = match message.qos {
            0 => return,
            1 => AckKind::PubAck,
            _ => AckKind::PubRec,
        };
        player.answers.push_back(Answer::Ack(kind, id, reason));
    }

    pub(super) fn repeat(&mut self, who: Client, which: usize) -> Outcome {
        let can = |player: &Player| {
            let can = |outgoing: &&Outgoing| outgoing.qos == 2 && !outgoing.is_released;
            let can = player
                .outgoing
                .iter()
                .filter(can)
                .map(|outgoing| outgoing.id);
            can.filter(|_| player.seat.is_some()).collect::<Vec<u16>>()
        };
        let players = &self.players;
        let Some(who) = from(who).find(|client| !can(&players[*client]).is_empty()) else {
            return Ok(());
        };
        let ids = can(&players[who]);
        self.say_all(who, &[Reply::Again(ids[which % ids.len()])])
    }

    pub(super) fn release_nothing(&mut self, who: Client) -> Outcome {
        let Some((who, seat)) = self.turn(who)? else {
            return Ok(());
        };
        let id = self.next_id(who);
        self.says(who, seat, pubrel(id));
        let reason = match self.players[who].version {
            V5 => ReasonCode::PacketIdentifierNotFound,
            _ => ReasonCode::Success,
        };
        self.players[who]
            .answers
            .push_back(Answer::Ack(AckKind::PubComp, id, reason));
        self.listen()
    }

    pub(super) fn next_id(&mut self, who: Client) -> u16 {
        let player = &mut self.players[who];
        loop {
            player.last_id = player.last_id % 200 + 1;
            let id = player.last_id;
            if player.outgoing.iter().all(|outgoing| outgoing.id != id) {
                return id;
            }
        }
    }

    pub(super) fn says(&mut self, who: Client, seat: Seat, packet: Say) {
        self.note(|| format!("{} says {packet:?}", name(who)));
        self.t.sends(seat, packet);
        self.model.speaks(who);
    }

    // ---- acknowledging ----

    pub(super) fn acknowledge(&mut self, who: Client, which: usize, refuse: bool) -> Outcome {
        let can = |client: &Client| !self.players[*client].replies.is_empty();
        let Some(who) = from(who).find(can) else {
            return Ok(());
        };
        let count = self.players[who].replies.len();
        let reply = self.players[who].replies.remove(which % count).unwrap();
        let refusable = matches!(reply, Reply::PubRec(_)) && self.players[who].version == V5;
        if refuse && refusable {
            return self.refuse(who, reply);
        }
        self.say_all(who, &[reply])
    }

    /// PUBREC with a Reason Code that ends the exchange.
    pub(super) fn refuse(&mut self, who: Client, reply: Reply) -> Outcome {
        let Reply::PubRec(id) = reply else {
            return Ok(());
        };
        self.wait_for(who)?;
        let Some(seat) = self.players[who].seat else {
            return Ok(());
        };
        self.says(who, seat, pubrec(id).reason(ReasonCode::QuotaExceeded));
        self.lands(who, id);
        self.listen()
    }

    pub(super) fn acknowledge_late(&mut self, who: Client, which: usize) -> Outcome {
        let sessions = &self.model.sessions;
        let late = |client: Client| {
            sessions
                .get(&client)
                .map_or(Vec::new(), Session::unrepeated)
        };
        let Some(who) = from(who).find(|client| !late(*client).is_empty()) else {
            return Ok(());
        };
        let ids = late(who);
        let reply = match ids[which % ids.len()] {
            (id, 1) => Reply::PubAck(id),
            (id, _) => Reply::PubRec(id),
        };
        self.say_all(who, &[reply])
    }

    pub(super) fn lands(&mut self, who: Client, id: u16) {
        if let Some(session) = self.model.sessions.get_mut(&who) {
            session.flying.remove(&id);
        }
    }

    /// Says these, in one write, in the client's own millisecond.
    pub(super) fn say_all(&mut self, who: Client, replies: &[Reply]) -> Outcome {
        self.wait_for(who)?;
        let Some(seat) = self.players[who].seat else {
            return Ok(());
        };
        let version = self.players[who].version;
        let mut bytes = Vec::new();
        for reply in replies {
            self.note(|| format!("{} says {reply:?}", name(who)));
            if let Some(packet) = self.reply(who, *reply) {
                bytes.extend(packet.bytes(version));
                self.model.speaks(who);
            }
            // What comes in one turn must not overflow the write queue of a subscriber.
            if bytes.len() >= HUGE_BYTES {
                self.t.sends_bytes(seat, &bytes);
                bytes.clear();
            }
        }
        self.t.sends_bytes(seat, &bytes);
        self.listen()
    }

    pub(super) fn reply(&mut self, who: Client, reply: Reply) -> Option<Say> {
        match reply {
            Reply::PubAck(id) => {
                self.lands(who, id);
                Some(puback(id))
            }
            Reply::PubRec(id) => {
                let session = self.model.sessions.get_mut(&who);
                if let Some(flying) = session.and_then(|session| session.flying.get_mut(&id)) {
                    flying.is_received = true;
                }
                Some(pubrec(id))
            }
            Reply::PubComp(id) => {
                self.lands(who, id);
                Some(pubcomp(id))
            }
            Reply::PubRel(id) => {
                let is_5 = self.players[who].version == V5;
                let mut outgoing = self.players[who].outgoing.iter_mut();
                outgoing.find(|outgoing| outgoing.id == id)?.is_released = true;
                let reason = match self.model.releases(who, id) {
                    false if is_5 => ReasonCode::PacketIdentifierNotFound,
                    _ => ReasonCode::Success,
                };
                let answer = Answer::Ack(AckKind::PubComp, id, reason);
                self.players[who].answers.push_back(answer);
                Some(pubrel(id))
            }
            Reply::Again(id) => {
                let outgoing = *self.players[who].outgoing.iter().find(|o| o.id == id)?;
                let message = self.model.told(outgoing.message).clone();
                let expiry_s = outgoing
                    .expiry_s
                    .filter(|_| self.players[who].version == V5);
                self.published(who, id, outgoing.message, &message, expiry_s, true);
                Some(say_publish(&message, id, expiry_s).dup())
            }
        }
    }
}

fn say_publish(message: &Message, id: u16, expiry_s: Option<u32>) -> Say {
    let mut packet = publish(&message.topic, &message.payload).qos(message.qos, id);
    if message.retain {
        packet = packet.retain();
    }
    match expiry_s {
        Some(expiry_s) => packet.with(Property::MessageExpiryInterval(expiry_s)),
        None => packet,
    }
}

//! What a mosquitto has left, in whichever of its files, on its way to records: clients, messages
//! and what connects them, under mosquitto's own names for them. Both readers need it, and neither
//! the other. What is said of a client or a message that was never told is passed over, as mosquitto
//! does itself.

use crate::broker::inflight::{Delivery, SubscriptionIdentifiers};
use crate::broker::key::SessionId;
use crate::broker::record::{Place, Record, SessionRecord, SubscriptionRecord};
use crate::broker::session::{NEVER_EXPIRES, WillMessage, bounded_expiry};
use crate::codec::property::{Properties, Property};
use crate::config::Config;
use crate::limits;
use crate::message::{Identity, Message, PacketIdentifier, Publication, QoS};
use crate::time::{Mono, Now};
use crate::topic::name::TopicName;
use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::rc::Rc;

/// States of a message for or from a client, as mosquitto numbers them.
pub mod state {
    /// Sent at QoS 1.
    pub const WAIT_FOR_PUBACK: u8 = 3;
    /// Sent at QoS 2.
    pub const WAIT_FOR_PUBREC: u8 = 5;
    /// PUBREC has come, and PUBREL is to be sent again.
    pub const RESEND_PUBREL: u8 = 6;
    /// PUBREL was sent.
    pub const WAIT_FOR_PUBCOMP: u8 = 9;
    /// Not sent yet.
    pub const QUEUED: u8 = 11;
}

/// What a file comes to.
#[derive(Debug, Default)]
pub struct Imported {
    /// In the order in which they are to be restored.
    pub records: Vec<Record>,
    /// QoS 2 messages that mosquitto had taken and not passed on yet, which it does at PUBREL.
    pub unpublished: Vec<Rc<Message>>,
    /// How many entries made no sense.
    pub odd: u64,
}

/// A client.
#[derive(Debug)]
pub struct Client<'c> {
    /// Its Client Identifier.
    pub name: &'c str,
    /// Its User Name; empty: it has none.
    pub user: &'c str,
    /// The port it came by; 0: not told.
    pub port: u16,
    /// Its Session Expiry Interval.
    pub interval_s: u32,
    /// When its session ends.
    pub ends_at: Mono,
    /// When its Will is due.
    pub will_at: Mono,
}

/// A message for one client, or from it.
#[derive(Debug)]
pub struct ClientMessage<'c> {
    /// Whose.
    pub client: &'c str,
    /// Which one.
    pub message: u64,
    /// 0: it has none.
    pub packet_identifier: u16,
    /// Of this delivery.
    pub qos: u8,
    /// One of [`state`].
    pub state: u8,
    /// RETAIN of this delivery.
    pub retain: bool,
    /// Whether it is for the client.
    pub is_outgoing: bool,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
}

/// What was told so far.
#[derive(Debug)]
pub struct Gather<'g> {
    config: &'g Config,
    now: Now,
    clients: HashMap<String, SessionId>,
    sessions: Vec<Record>,
    others: Vec<Record>,
    messages: HashMap<u64, Rc<Message>>,
    unpublished: Vec<Rc<Message>>,
    last_place: u64,
    odd: u64,
}

impl<'g> Gather<'g> {
    /// Nothing yet, for a broker of this configuration.
    pub fn new(config: &'g Config, now: Now) -> Self {
        Self {
            config,
            now,
            clients: HashMap::new(),
            sessions: Vec::new(),
            others: Vec::new(),
            messages: HashMap::new(),
            unpublished: Vec::new(),
            last_place: 0,
            odd: 0,
        }
    }

    /// The instant of a date in seconds since 1970; `None` if there is none, which is written as 0.
    pub fn instant(&self, date: i64) -> Option<Mono> {
        let date = u64::try_from(date).ok().filter(|date| *date > 0)?;
        let left_s = date.saturating_sub(self.now.unix.0);
        Some(self.now.mono.plus_s(left_s))
    }

    /// One entry made no sense.
    pub fn odd(&mut self) {
        self.odd += 1;
    }

    /// There is a client.
    pub fn client(&mut self, client: &Client<'_>) {
        let session = SessionId::from_index(self.sessions.len());
        let name = client.name;
        if name.len() > usize::from(u16::MAX) || self.clients.contains_key(name) {
            return self.odd();
        }
        self.clients.insert(name.to_owned(), session);
        let listeners = &self.config.listeners;
        let listener = listeners.iter().position(|one| one.port == client.port);
        let user = Some(client.user).filter(|user| !user.is_empty());
        let interval_s = bounded_expiry(client.interval_s, self.config);
        let latest = match interval_s {
            NEVER_EXPIRES => Mono::NEVER,
            interval_s => self.now.mono.plus_s(u64::from(interval_s)),
        };
        self.sessions.push(Record::Session(Box::new(SessionRecord {
            session,
            identity: Rc::new(Identity {
                client_identifier: name.into(),
                username: user.map(Into::into),
                listener: listener.unwrap_or_default(),
            }),
            listener_port: client.port,
            expiry_interval_s: interval_s,
            is_connected: false,
            ends_at: client.ends_at.min(latest),
            will_at: client.will_at,
        })));
    }

    /// A client has a Will.
    pub fn will(&mut self, client: &str, will: WillMessage) {
        if let Some(session) = self.clients.get(client).copied() {
            let record = Record::Will(session, Some(Box::new(will)));
            self.others.push(record);
        }
    }

    /// There is a message `id`, published by `user` as `source`.
    pub fn message(&mut self, id: u64, source: &str, user: &str, publication: Publication<'_>) {
        if TopicName::new(publication.topic).is_err() {
            return self.odd();
        }
        let identity = Rc::new(Identity {
            client_identifier: source.into(),
            username: Some(user).filter(|user| !user.is_empty()).map(Into::into),
            listener: 0,
        });
        let mut publication = Publication {
            publisher: Some(&identity).filter(|_| !source.is_empty()),
            ..publication
        };
        self.messages.insert(id, publication.message());
    }

    /// The message `id` is retained. What a broker says of itself is not taken from another.
    pub fn retained(&mut self, id: u64) {
        match self.messages.get(&id) {
            Some(message) if message.publication().topic.starts_with("$SYS/") => {}
            Some(message) => self.others.push(Record::Retained(Rc::clone(message))),
            None => self.odd(),
        }
    }

    /// A client has a subscription; `identifier` 0: without one.
    pub fn subscription(&mut self, client: &str, filter: &str, options: u8, identifier: u32) {
        if let Some(session) = self.clients.get(client).copied() {
            let record = SubscriptionRecord {
                session,
                filter: filter.into(),
                group: None,
                // Without Retain Handling, which has had its effect.
                options: options & 0b1111,
                identifier: NonZeroU32::new(subscription_identifier(identifier)),
            };
            self.others.push(Record::Subscribed(Box::new(record)));
        }
    }

    /// A message is for a client, or from it.
    pub fn client_message(&mut self, found: &ClientMessage<'_>) {
        let (Some(session), Some(message)) = (
            self.clients.get(found.client).copied(),
            self.messages.get(&found.message).cloned(),
        ) else {
            return;
        };
        let packet_identifier = NonZeroU16::new(found.packet_identifier);
        match (QoS::from_bits(found.qos), packet_identifier) {
            (None, _) => self.odd(),
            (_, Some(packet_identifier)) if !found.is_outgoing => {
                let record = Record::Held(session, packet_identifier);
                self.others.push(record);
                self.unpublished.push(message);
            }
            (_, None) if !found.is_outgoing => self.odd(),
            (Some(qos), packet_identifier) => {
                let place = self.next_place();
                let delivery = Delivery {
                    message,
                    identifiers: match subscription_identifier(found.identifier) {
                        0 => SubscriptionIdentifiers::None,
                        identifier => SubscriptionIdentifiers::One(identifier),
                    },
                    group: None,
                    qos,
                    retain: found.retain,
                    place: Some(place),
                };
                let state = found.state;
                let record = outgoing(session, place, delivery, packet_identifier, state);
                self.others.push(record);
            }
        }
    }

    fn next_place(&mut self) -> Place {
        self.last_place += 1;
        NonZeroU64::MIN.saturating_add(self.last_place - 1)
    }

    /// All of it.
    pub fn finish(self) -> Imported {
        Imported {
            records: self.sessions.into_iter().chain(self.others).collect(),
            unpublished: self.unpublished,
            odd: self.odd,
        }
    }
}

/// A Subscription Identifier, 0 for none, and for what no packet can say [MQTT5 §3.8.2.1.2].
fn subscription_identifier(identifier: u32) -> u32 {
    match identifier <= limits::REMAINING_LENGTH_MAX {
        true => identifier,
        false => 0,
    }
}

/// What a message to a client is, by its state.
fn outgoing(
    session: SessionId,
    place: Place,
    delivery: Delivery,
    packet_identifier: Option<PacketIdentifier>,
    state: u8,
) -> Record {
    match (state, packet_identifier) {
        (state::RESEND_PUBREL | state::WAIT_FOR_PUBCOMP, Some(packet_identifier)) => {
            Record::Received {
                session,
                place,
                released: place,
                packet_identifier,
            }
        }
        (state::WAIT_FOR_PUBACK | state::WAIT_FOR_PUBREC, packet_identifier) => {
            Record::Queued(session, place, delivery, packet_identifier)
        }
        _ => Record::Queued(session, place, delivery, None),
    }
}

/// Properties as a message keeps them.
pub fn lasting(properties: Properties<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (property, raw) in properties.iter_raw() {
        let is_hop = matches!(
            property,
            Property::TopicAlias(_)
                | Property::MessageExpiryInterval(_)
                | Property::SubscriptionIdentifier(_)
        );
        if !is_hop {
            bytes.extend_from_slice(raw);
        }
    }
    bytes
}

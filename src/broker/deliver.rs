//! One message to one session: sent now, put in flight, queued, or dropped and counted. The bytes
//! of an outgoing PUBLISH are laid out here and nowhere else.

use super::client::{self, Client, Clients};
use super::effects::Effects;
use super::inflight::{Awaits, Delivery, SubscriptionIdentifiers};
use super::key::{ConnId, GroupId, SessionId};
use super::session::{Session, Sessions};
use super::state::State;
use super::stats::Stats;
use super::subscriptions::Reach;
use super::topic_map::TopicMap;
use crate::bytes::{put_binary, put_u16, put_variable, variable_bytes};
use crate::codec::ack::{Ack, AckKind};
use crate::codec::property::{Properties, Property};
use crate::codec::reason::ReasonCode;
use crate::config::Config;
use crate::limits;
use crate::message::{PacketIdentifier, Publication, QoS};
use crate::policy::Policy;
use crate::time::Now;
use std::num::NonZeroU16;

/// For whom a message is, and on which terms.
#[derive(Debug)]
pub struct Receiver {
    /// Whose.
    pub session: SessionId,
    /// QoS it goes out with.
    pub qos: QoS,
    /// RETAIN flag it goes out with.
    pub retain: bool,
    /// What the matching subscriptions are called.
    pub identifiers: SubscriptionIdentifiers,
    /// The shared subscription it came by, if it did.
    pub group: Option<GroupId>,
}

impl Receiver {
    fn delivery(self, publication: &mut Publication<'_>) -> Delivery {
        Delivery {
            message: publication.message(),
            identifiers: self.identifiers,
            group: self.group,
            qos: self.qos,
            retain: self.retain,
        }
    }
}

/// The tables a delivery touches.
#[derive(Debug)]
pub struct Tables<'s> {
    sessions: &'s mut Sessions,
    clients: &'s mut Clients,
    effects: &'s mut Effects,
    stats: &'s mut Stats,
    config: &'s Config,
    policy: &'s Policy,
}

/// A session that is connected, and all that sending to it touches.
#[derive(Debug)]
pub struct Line<'s> {
    session: &'s mut Session,
    client: &'s mut Client,
    conn: ConnId,
    effects: &'s mut Effects,
    stats: &'s mut Stats,
    config: &'s Config,
    policy: &'s Policy,
}

impl State {
    /// The tables a delivery touches.
    pub fn tables(&mut self) -> Tables<'_> {
        Tables {
            sessions: &mut self.sessions,
            clients: &mut self.clients,
            effects: &mut self.effects,
            stats: &mut self.stats,
            config: &self.config,
            policy: &self.policy,
        }
    }

    /// The line to a session; `None` while it is absent.
    pub fn line(&mut self, session: SessionId) -> Option<Line<'_>> {
        let session = self.sessions.get_mut(session)?;
        let conn = session.conn?;
        let client = self.clients.get_mut(conn)?;
        let (effects, stats) = (&mut self.effects, &mut self.stats);
        let (config, policy) = (&self.config, &self.policy);
        Some(Line {
            session,
            client,
            conn,
            effects,
            stats,
            config,
            policy,
        })
    }
}

impl Tables<'_> {
    /// Delivers `publication` to one receiver [MQTT-3.3.5-1] [MQTT5-3.3.4-1].
    pub fn deliver(&mut self, publication: &mut Publication<'_>, receiver: Receiver, now: Now) {
        let Some(session) = self.sessions.get_mut(receiver.session) else {
            return;
        };
        if !self
            .policy
            .may_receive(&session.identity, publication.topic)
        {
            return;
        }
        // `Choice:` a Message Expiry Interval of 0 is for those who are there at once.
        if publication.expires_at < now.mono {
            self.stats.dropped_expired += 1;
            return;
        }
        let connected = session
            .conn
            .and_then(|conn| Some((conn, self.clients.get_mut(conn)?)));
        let Some((conn, client)) = connected else {
            if may_wait(receiver.qos, self.config) {
                enqueue(
                    receiver.delivery(publication),
                    session,
                    self.config,
                    self.stats,
                    now,
                );
            }
            return;
        };
        let (effects, stats) = (&mut *self.effects, &mut *self.stats);
        let mut line = Line {
            session,
            client,
            conn,
            effects,
            stats,
            config: self.config,
            policy: self.policy,
        };
        if receiver.qos == QoS::AtMostOnce && !line.must_queue_at_most_once() {
            line.send_at_most_once(publication, &receiver, now);
        } else if receiver.qos != QoS::AtMostOnce && line.has_room() {
            let delivery = receiver.delivery(publication);
            line.launch(delivery, now);
        } else {
            enqueue(
                receiver.delivery(publication),
                line.session,
                self.config,
                line.stats,
                now,
            );
        }
    }
}

/// What would become of a message of this QoS given to a session.
pub fn reach(
    session: SessionId,
    qos: QoS,
    sessions: &Sessions,
    clients: &Clients,
    config: &Config,
) -> Reach {
    let Some(session) = sessions.get(session) else {
        return Reach::Lost;
    };
    let can_wait = may_wait(qos, config) && queue_has_room(session, config);
    let Some(client) = session.conn.and_then(|conn| clients.get(conn)) else {
        return if can_wait { Reach::Absent } else { Reach::Lost };
    };
    let has_room = qos == QoS::AtMostOnce || window_has_room(session, client, config);
    if has_room && client.output.bytes() <= limits::WRITE_QUEUE_BYTES_MAX {
        return Reach::Now;
    }
    if can_wait { Reach::Behind } else { Reach::Lost }
}

/// Whether messages of this QoS wait for clients that are away.
pub fn may_wait(qos: QoS, config: &Config) -> bool {
    qos != QoS::AtMostOnce || config.queue_qos0_messages
}

/// The QoS a message goes out with [MQTT-3.8.4-6] [MQTT5-3.8.4-8]: the lower of its own and the
/// subscription's, unless it is to be upgraded.
pub fn outgoing_qos(subscribed: QoS, published: QoS, config: &Config) -> QoS {
    match config.upgrade_outgoing_qos {
        true => subscribed,
        false => subscribed.min(published),
    }
}

/// Whether the in-flight window has room for one more message.
pub fn window_has_room(session: &Session, client: &Client, config: &Config) -> bool {
    let flights = session.flights.as_ref();
    flights.is_none_or(|flights| flights.has_room(client.window, config.max_inflight_bytes))
}

/// Queues a message, or drops it if `max_queued_messages`, or `max_queued_bytes` of them, wait
/// already that have not expired [MQTT5-3.3.2-5].
fn enqueue(
    delivery: Delivery,
    session: &mut Session,
    config: &Config,
    stats: &mut Stats,
    now: Now,
) {
    if !queue_has_room(session, config) {
        let flights = session.flights.get_or_insert_default();
        stats.dropped_expired += flights.drop_expired(now.mono) as u64;
    }
    if queue_has_room(session, config) {
        session.flights.get_or_insert_default().enqueue(delivery);
    } else {
        stats.dropped_queue_full += 1;
        note_dropping(session);
    }
    session.trim_flights();
}

/// Whether one more message may wait in a session. `Choice:` by bytes it may until
/// `max_queued_bytes` wait, as with mosquitto: the last one may exceed them.
pub fn queue_has_room(session: &Session, config: &Config) -> bool {
    let Some(flights) = &session.flights else {
        return true;
    };
    let queued = u32::try_from(flights.queued()).unwrap_or(u32::MAX);
    let (count_max, bytes_max) = (config.max_queued_messages, config.max_queued_bytes);
    (count_max == 0 || queued < count_max) && (bytes_max == 0 || flights.queued_bytes() < bytes_max)
}

/// Says once per episode that messages to this session are lost.
fn note_dropping(session: &mut Session) {
    if !session.dropping {
        session.dropping = true;
        let name = session.client_identifier();
        log::info!("Outgoing messages are being dropped for client {name}.");
    }
}

impl Line<'_> {
    /// Whether the in-flight window has room for one more message.
    pub fn has_room(&self) -> bool {
        window_has_room(self.session, self.client, self.config)
    }

    /// Whether a QoS 0 message has to wait behind others that wait, as it does where QoS 0 messages
    /// may: they stay in their order [MQTT5-4.6.0-5].
    fn must_queue_at_most_once(&self) -> bool {
        let queued = |session: &Session| session.flights.as_ref().map_or(0, |f| f.queued());
        self.config.queue_qos0_messages && queued(self.session) > 0
    }

    /// A topic as the client knows it, if it does.
    fn topic_outward<'t>(&self, topic: &'t str) -> Option<&'t str> {
        match self.client.is_mapped {
            true => TopicMap::at(self.client.peer.listener(), self.config).outward(topic),
            false => Some(topic),
        }
    }

    /// Sends at QoS 0, or drops if the client has too much waiting already.
    fn send_at_most_once(
        &mut self,
        publication: &mut Publication<'_>,
        receiver: &Receiver,
        now: Now,
    ) {
        if self.client.output.bytes() > limits::WRITE_QUEUE_BYTES_MAX {
            self.stats.dropped_slow_reader += 1;
            note_dropping(self.session);
            return;
        }
        let Some(topic) = self.topic_outward(publication.topic) else {
            return;
        };
        let head = Head {
            topic,
            qos: QoS::AtMostOnce,
            dup: false,
            retain: receiver.retain,
            packet_identifier: None,
            identifiers: receiver.identifiers.as_slice(),
        };
        self.send_publish(publication, &head, now);
    }

    /// Sends a QoS 1 or 2 message for the first time; there must be room in the window. A message
    /// larger than the client takes, or on a topic that it knows nothing of, is dropped as if it had
    /// been sent [MQTT5-3.1.2-25].
    pub fn launch(&mut self, delivery: Delivery, now: Now) {
        let Some(packet_identifier) = self.session.next_packet_identifier() else {
            debug_assert!(
                false,
                "the window is no wider than there are Packet Identifiers"
            );
            return;
        };
        if self.send_delivery(&delivery, Some(packet_identifier), false, now) {
            let flights = self.session.flights.get_or_insert_default();
            flights.launch(packet_identifier, delivery);
        }
    }

    fn send_delivery(
        &mut self,
        delivery: &Delivery,
        packet_identifier: Option<PacketIdentifier>,
        dup: bool,
        now: Now,
    ) -> bool {
        let mut publication = delivery.message.publication();
        let Some(topic) = self.topic_outward(publication.topic) else {
            return false;
        };
        let head = Head {
            topic,
            qos: delivery.qos,
            dup,
            retain: delivery.retain,
            packet_identifier,
            identifiers: delivery.identifiers.as_slice(),
        };
        self.send_publish(&mut publication, &head, now)
    }

    /// The connection is new: sends again what was in flight, in the order it was first sent in
    /// [MQTT-4.4.0-1] [MQTT5-4.4.0-1], then what waits.
    pub fn resume(&mut self, now: Now) {
        let Some(flights) = &mut self.session.flights else {
            return;
        };
        let released: Vec<_> = flights
            .in_flight_mut()
            .filter(|flight| flight.awaits == Awaits::PubComp)
            .map(|flight| {
                flight.sent = true;
                (flight.packet_identifier, flight.bytes)
            })
            .collect();
        for (packet_identifier, bytes) in released {
            if let Some(flights) = &mut self.session.flights {
                flights.note_sent(bytes);
            }
            self.send_ack(
                AckKind::PubRel,
                packet_identifier,
                ReasonCode::Success,
                None,
            );
        }
        self.pump(now);
    }

    /// Whether the client may still have a message that has waited: rules change, and a session can
    /// be taken up under another username.
    fn may_receive(&self, delivery: &Delivery) -> bool {
        let identity = &self.session.identity;
        self.policy
            .may_receive(identity, delivery.message.publication().topic)
    }

    /// Fills the window: first with what was in flight on an earlier connection, then from the
    /// queue. To be called whenever a place has become free.
    pub fn pump(&mut self, now: Now) {
        while self.has_room() {
            let Some(flights) = &mut self.session.flights else {
                return;
            };
            if let Some(flight) = flights.next_unsent() {
                flight.sent = true;
                let packet_identifier = flight.packet_identifier;
                let (delivery, bytes) = (flight.delivery.clone(), flight.bytes);
                flights.note_sent(bytes);
                let is_sent = delivery.is_some_and(|delivery| {
                    self.may_receive(&delivery)
                        && self.send_delivery(&delivery, Some(packet_identifier), true, now)
                });
                if !is_sent {
                    if let Some(flights) = &mut self.session.flights {
                        flights.abandon(packet_identifier);
                    }
                }
                continue;
            }
            let Some(delivery) = flights.dequeue() else {
                break;
            };
            if delivery.message.expires_at() <= now.mono {
                self.stats.dropped_expired += 1;
            } else if !self.may_receive(&delivery) {
                // It was allowed when it came.
            } else if delivery.qos == QoS::AtMostOnce {
                // However much that is: it was in memory all the time.
                self.send_delivery(&delivery, None, false, now);
            } else {
                self.launch(delivery, now);
            }
        }
        self.session.trim_flights();
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP, with `sentence` as Reason String where the client
    /// takes one [MQTT5-3.1.2-29] [MQTT5-3.4.2-2].
    pub fn send_ack(
        &mut self,
        kind: AckKind,
        packet_identifier: PacketIdentifier,
        reason: ReasonCode,
        sentence: Option<&str>,
    ) {
        let Self {
            client,
            conn,
            effects,
            session,
            stats,
            ..
        } = self;
        let version = client.version;
        let mut properties = Vec::new();
        let may_tell = client.problem_information && version.has_properties();
        if let Some(sentence) = sentence.filter(|_| may_tell) {
            Property::ReasonString(sentence).encode(&mut properties);
        }
        // Fixed header, Packet Identifier, Reason Code, Property Length: at most 11 bytes.
        if properties.len() + 11 > client.maximum_packet_size as usize {
            properties.clear();
        }
        let ack = Ack {
            kind,
            packet_identifier,
            reason,
            properties: Properties::trusted(&properties),
        };
        log::debug!(
            "Sending {} to {} (m{packet_identifier}, rc{})",
            kind.packet_type().name(),
            session.client_identifier(),
            reason.value()
        );
        client::send(client, *conn, effects, stats, |out| {
            ack.encode(version, out)
        });
    }

    /// Lays out one PUBLISH on the client's write queue. `false`: it is larger than the client
    /// takes, and was not sent.
    ///
    /// ```text
    ///   fixed header | topic | packet identifier | own properties | shared properties | payload
    ///   `------------------- this client's own ------------------'`---- the message's, shared --'
    /// ```
    fn send_publish(
        &mut self,
        publication: &mut Publication<'_>,
        head: &Head<'_>,
        now: Now,
    ) -> bool {
        let layout = Layout::fitting(publication, head, self.client, now);
        if layout.packet_bytes > u64::from(self.client.maximum_packet_size) {
            self.stats.dropped_oversize += 1;
            return false;
        }
        if let Alias::New(_) = layout.alias {
            let aliases = self.client.aliases.get_or_insert_default();
            aliases.outbound.push(head.topic.into());
        }
        self.log_publish(publication, head);
        let (properties, payload) = (publication.properties, publication.payload);
        let is_short = properties.len() + payload.len() <= limits::COPY_BELOW;
        let has_properties = self.client.version.has_properties();
        if is_short {
            // Below 2^28, and in one piece.
            let bytes = usize::try_from(layout.packet_bytes).unwrap_or_default();
            self.client.output.reserve(bytes);
        }
        client::send(self.client, self.conn, self.effects, self.stats, |out| {
            layout.encode_head(head, out);
            if is_short && has_properties {
                out.extend_from_slice(properties);
            }
            if is_short {
                out.extend_from_slice(payload);
            }
        });
        if !is_short {
            let message = publication.message();
            let from = if has_properties {
                message.properties_at()
            } else {
                message.payload_at()
            };
            self.stats.bytes_sent += self.client.output.share(&message, from) as u64;
        }
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += payload.len() as u64;
        true
    }

    fn log_publish(&self, publication: &Publication<'_>, head: &Head<'_>) {
        log::debug!(
            "Sending PUBLISH to {} (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            self.session.client_identifier(),
            u8::from(head.dup),
            head.qos.bits(),
            u8::from(head.retain),
            head.packet_identifier.map_or(0, NonZeroU16::get),
            head.topic,
            publication.payload.len()
        );
    }
}

/// What differs from receiver to receiver in the head of a PUBLISH.
#[derive(Debug)]
struct Head<'h> {
    /// As the client knows it.
    topic: &'h str,
    qos: QoS,
    dup: bool,
    retain: bool,
    packet_identifier: Option<PacketIdentifier>,
    identifiers: &'h [u32],
}

/// The Topic Alias of one PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alias {
    /// The topic goes out as it is.
    None,
    /// The topic goes out with an alias that is set by it.
    New(NonZeroU16),
    /// The alias goes out alone.
    Known(NonZeroU16),
}

impl Alias {
    /// First come, first served, up to the client's Topic Alias Maximum [MQTT5-3.3.2-8].
    fn of(topic: &str, client: &Client) -> Self {
        if client.topic_alias_maximum == 0 {
            return Self::None;
        }
        let topics = client
            .aliases
            .as_ref()
            .map_or(&[][..], |aliases| &aliases.outbound);
        let known = topics.iter().position(|known| **known == *topic);
        let index = known.unwrap_or(topics.len());
        let alias = u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        match (alias, known) {
            (Some(alias), Some(_)) => Self::Known(alias),
            (Some(alias), None) if alias.get() <= client.topic_alias_maximum => Self::New(alias),
            _ => Self::None,
        }
    }
}

/// The sizes of one PUBLISH, worked out before a byte of it is written. A payload and its
/// properties are below 2^28 bytes, so that no sum here overflows 64 bits, and none that is
/// written 32.
#[derive(Debug)]
struct Layout {
    alias: Alias,
    expiry_s: Option<u32>,
    has_properties: bool,
    properties_bytes: u64,
    remaining_length: u64,
    packet_bytes: u64,
}

impl Layout {
    /// With the Topic Alias there is for the topic, unless that makes the packet too large.
    fn fitting(publication: &Publication<'_>, head: &Head<'_>, client: &Client, now: Now) -> Self {
        let alias = Alias::of(head.topic, client);
        let layout = Self::new(publication, head, alias, client, now);
        if alias != Alias::None && layout.packet_bytes > u64::from(client.maximum_packet_size) {
            return Self::new(publication, head, Alias::None, client, now);
        }
        layout
    }

    fn new(
        publication: &Publication<'_>,
        head: &Head<'_>,
        alias: Alias,
        client: &Client,
        now: Now,
    ) -> Self {
        let has_properties = client.version.has_properties();
        let identifier_bytes = if head.packet_identifier.is_some() {
            2
        } else {
            0
        };
        let mut layout = Self {
            alias,
            expiry_s: None,
            has_properties,
            properties_bytes: 0,
            remaining_length: identifier_bytes + publication.payload.len() as u64,
            packet_bytes: 0,
        };
        if has_properties {
            layout.expiry_s = publication.remaining_s(now.mono);
            layout.properties_bytes = layout.own_bytes(head) + publication.properties.len() as u64;
            let bytes = u32::try_from(layout.properties_bytes).unwrap_or(u32::MAX);
            layout.remaining_length += u64::from(variable_bytes(bytes)) + layout.properties_bytes;
        }
        let topic = if matches!(layout.alias, Alias::Known(_)) {
            ""
        } else {
            head.topic
        };
        layout.remaining_length += 2 + topic.len() as u64;
        let remaining = u32::try_from(layout.remaining_length).unwrap_or(u32::MAX);
        layout.packet_bytes = 1 + u64::from(variable_bytes(remaining)) + layout.remaining_length;
        layout
    }

    /// Bytes of the properties that are this receiver's own.
    fn own_bytes(&self, head: &Head<'_>) -> u64 {
        let alias = if self.alias == Alias::None { 0 } else { 3 };
        let expiry = if self.expiry_s.is_some() { 5 } else { 0 };
        let identifiers = head
            .identifiers
            .iter()
            .map(|id| 1 + u64::from(variable_bytes(*id)));
        alias + expiry + identifiers.sum::<u64>()
    }

    fn encode_head(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        let flags = u8::from(head.dup) << 3 | head.qos.bits() << 1 | u8::from(head.retain);
        out.push(0x30 | flags);
        put_variable(
            out,
            u32::try_from(self.remaining_length).unwrap_or_default(),
        );
        let known = matches!(self.alias, Alias::Known(_));
        put_binary(out, if known { &[] } else { head.topic.as_bytes() });
        if let Some(packet_identifier) = head.packet_identifier {
            put_u16(out, packet_identifier.get());
        }
        if !self.has_properties {
            return;
        }
        put_variable(
            out,
            u32::try_from(self.properties_bytes).unwrap_or_default(),
        );
        if let Some(expiry_s) = self.expiry_s {
            Property::MessageExpiryInterval(expiry_s).encode(out);
        }
        if let Alias::New(alias) | Alias::Known(alias) = self.alias {
            Property::TopicAlias(alias).encode(out);
        }
        for identifier in head.identifiers {
            Property::SubscriptionIdentifier(*identifier).encode(out);
        }
    }
}

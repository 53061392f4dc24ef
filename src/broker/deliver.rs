//! One message to one session: sent now, put in flight, queued, or dropped and counted.

use super::client::{self, Client, Clients};
use super::effects::Effects;
use super::inflight::{Awaits, Delivery, SpareFlights, counted};
use super::journal::Journal;
use super::key::{ConnId, SessionId};
use super::layout::{Alias, Head, Layout, lay_out};
use super::memory::{Memory, Refused};
pub use super::reach::{may_wait, outgoing_qos, queue_has_room, reach, window_has_room};
pub use super::receiver::Receiver;
use super::session::{Session, Sessions};
use super::state::State;
use super::stats::Stats;
use super::subscriptions::{Subscription, Subscriptions};
use super::topic_map::TopicMap;
use crate::codec::ack::{Ack, AckKind};
use crate::codec::property::{Properties, Property};
use crate::codec::reason::ReasonCode;
use crate::config::Config;
use crate::limits;
use crate::message::{PacketIdentifier, Publication, QoS, Wire};
use crate::policy::Policy;
use crate::time::Now;
use std::num::{NonZeroU16, NonZeroU32};

/// The tables a delivery touches.
#[derive(Debug)]
pub struct Tables<'s> {
    pub(super) sessions: &'s mut Sessions,
    pub(super) clients: &'s mut Clients,
    pub(super) effects: &'s mut Effects,
    pub(super) stats: &'s mut Stats,
    pub(super) spare_flights: &'s mut SpareFlights,
    pub(super) memory: &'s mut Memory,
    pub(super) config: &'s Config,
    pub(super) policy: &'s Policy,
}

/// A session that is connected, and all that sending to it touches.
#[derive(Debug)]
pub struct Line<'s> {
    session: &'s mut Session,
    client: &'s mut Client,
    conn: ConnId,
    effects: &'s mut Effects,
    stats: &'s mut Stats,
    spare_flights: &'s mut SpareFlights,
    memory: &'s mut Memory,
    config: &'s Config,
    policy: &'s Policy,
}

impl State {
    /// The tables a delivery touches.
    pub fn tables(&mut self) -> Tables<'_> {
        self.subscriptions_and_tables().1
    }

    /// The tables a delivery touches, with the subscriptions that it is for.
    pub fn subscriptions_and_tables(&mut self) -> (&Subscriptions, Tables<'_>) {
        let tables = Tables {
            sessions: &mut self.sessions,
            clients: &mut self.clients,
            effects: &mut self.effects,
            stats: &mut self.stats,
            spare_flights: &mut self.spare_flights,
            memory: &mut self.memory,
            config: &self.config,
            policy: &self.policy,
        };
        (&self.subscriptions, tables)
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
            spare_flights: &mut self.spare_flights,
            memory: &mut self.memory,
            config,
            policy,
        })
    }
}

impl Tables<'_> {
    /// Delivers `publication` to the session of a subscription that matches.
    #[inline]
    pub fn deliver_match(
        &mut self,
        publication: &mut Publication<'_>,
        subscription: &Subscription,
        now: Now,
    ) {
        let terms = subscription.terms;
        if !is_wanted(subscription, publication, self.sessions) {
            return;
        }
        let receiver = Receiver {
            session: subscription.session,
            qos: outgoing_qos(terms.qos(), publication.qos, self.config),
            // [MQTT-3.3.1-9] [MQTT5-3.3.1-12]
            retain: publication.retain && terms.retain_as_published(),
            identifiers: subscription.identifier.map(NonZeroU32::get).into(),
            group: None,
        };
        self.deliver(publication, receiver, now);
    }

    /// Delivers `publication` to one receiver [MQTT-3.3.5-1] [MQTT5-3.3.4-1].
    #[inline]
    pub fn deliver(&mut self, publication: &mut Publication<'_>, receiver: Receiver, now: Now) {
        let id = receiver.session;
        let Some(session) = self.sessions.get_mut(id) else {
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
                    (id, session),
                    self.config,
                    self.stats,
                    self.spare_flights,
                    &mut self.effects.journal,
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
            spare_flights: self.spare_flights,
            memory: self.memory,
            config: self.config,
            policy: self.policy,
        };
        if line.is_behind() {
            line.pump(now);
        }
        if receiver.qos == QoS::AtMostOnce && !line.must_queue_at_most_once() {
            line.send_at_most_once(publication, &receiver, now);
        } else if receiver.qos != QoS::AtMostOnce && line.has_room() {
            line.launch_now(publication, receiver, now);
        } else {
            enqueue(
                receiver.delivery(publication),
                (id, line.session),
                self.config,
                line.stats,
                line.spare_flights,
                &mut line.effects.journal,
                now,
            );
        }
    }
}

/// Whether a subscription takes this message: not its client's own, under No Local
/// [MQTT5-3.8.3-3].
pub fn is_wanted(
    subscription: &Subscription,
    publication: &Publication<'_>,
    sessions: &Sessions,
) -> bool {
    let is_own = || {
        let session = sessions.get(subscription.session);
        session.is_some_and(|session| publication.is_from(&session.identity))
    };
    !(subscription.terms.no_local() && is_own())
}

/// Queues a message, or drops it if `max_queued_messages`, or `max_queued_bytes` of them, wait
/// already that have not expired [MQTT5-3.3.2-5].
fn enqueue(
    mut delivery: Delivery,
    (id, session): (SessionId, &mut Session),
    config: &Config,
    stats: &mut Stats,
    spare_flights: &mut SpareFlights,
    journal: &mut Journal,
    now: Now,
) {
    if !queue_has_room(session, config) {
        let flights = session.flights.get_or_insert_default();
        let landed = |delivery: &Delivery| journal.landed(delivery.place);
        stats.dropped_expired += flights.drop_expired(now.mono, landed) as u64;
    }
    if queue_has_room(session, config) {
        journal.queued(id, session, &mut delivery, None);
        let flights = session.flights.get_or_insert_default();
        flights.enqueue(delivery);
        journal.grown(id, flights);
    } else {
        stats.dropped_queue_full += 1;
        session.note_dropping();
    }
    session.trim_flights(spare_flights);
}

impl Line<'_> {
    /// Whether the in-flight window has room for one more message. Where memory is short, it is
    /// filled one by one.
    pub fn has_room(&self) -> bool {
        window_has_room(self.session, self.client, self.config)
            && (self.memory.holds(0, limits::MEMORY_CONNECTIONS) || self.session.is_window_empty())
    }

    /// Whether something waits although there is room in the window: memory was short, and is not
    /// any more. It goes before what comes now [MQTT-4.6.0-6] [MQTT5-4.6.0-5].
    fn is_behind(&self) -> bool {
        let flights = self.session.flights.as_ref();
        flights.is_some_and(|flights| flights.has_waiting()) && self.has_room()
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
            self.session.note_dropping();
            return;
        }
        if self.memory.is_limited() && self.lacks_memory(publication, now) {
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
        self.note_keeping_up();
    }

    /// An episode of dropped messages ends when nothing waits in the session, and little in front of
    /// it.
    #[inline]
    fn note_keeping_up(&mut self) {
        if self.session.dropped > 0 {
            let queued = self.session.flights.as_ref().map_or(0, |f| f.queued());
            if queued == 0 && self.client.output.bytes() <= limits::SLOW_READER_BYTES {
                self.session.end_dropping("which keeps up again");
            }
        }
    }

    /// Whether there is too little memory to send a message at QoS 0, which is dropped then.
    fn lacks_memory(&mut self, publication: &Publication<'_>, now: Now) -> bool {
        let output = &self.client.output;
        let bytes = output.growth(publication.new_bytes());
        if self.memory.may_send(output.bytes(), bytes) {
            return false;
        }
        self.memory.refuse(Refused::Sending, bytes, self.stats, now);
        self.session.note_dropping();
        true
    }

    /// Sends a QoS 1 or 2 message that has just been published; there must be room in the window.
    fn launch_now(&mut self, publication: &mut Publication<'_>, receiver: Receiver, now: Now) {
        let (Some(packet_identifier), Some(topic)) = (
            self.session.next_packet_identifier(),
            self.topic_outward(publication.topic),
        ) else {
            return;
        };
        let head = Head {
            topic,
            qos: receiver.qos,
            dup: false,
            retain: receiver.retain,
            packet_identifier: Some(packet_identifier),
            identifiers: receiver.identifiers.as_slice(),
        };
        if !self.send_publish(publication, &head, now) {
            return;
        }
        let (qos, bytes) = (receiver.qos, counted(publication.payload.len()));
        let delivery = match self.session.may_send_again(receiver.group) {
            true => Some(self.note_delivery(publication, receiver, packet_identifier)),
            false => None,
        };
        self.note_flight(packet_identifier, qos, bytes, delivery);
    }

    /// What is kept of a message while it is in flight, told to the journal.
    fn note_delivery(
        &mut self,
        publication: &mut Publication<'_>,
        receiver: Receiver,
        packet_identifier: PacketIdentifier,
    ) -> Delivery {
        let id = receiver.session;
        let mut delivery = receiver.delivery(publication);
        let journal = &mut self.effects.journal;
        journal.queued(id, self.session, &mut delivery, Some(packet_identifier));
        delivery
    }

    /// Sends a QoS 1 or 2 message that has waited for the first time; there must be room in the
    /// window. A message larger than the client takes, or on a topic that it knows nothing of, is
    /// dropped as if it had been sent [MQTT5-3.1.2-25].
    pub fn launch(&mut self, delivery: Delivery, now: Now) {
        let Some(packet_identifier) = self.session.next_packet_identifier() else {
            debug_assert!(
                false,
                "the window is no wider than there are Packet Identifiers"
            );
            return;
        };
        let is_sent = self.send_delivery(&delivery, Some(packet_identifier), false, now);
        let journal = &mut self.effects.journal;
        if !is_sent {
            journal.landed(delivery.place);
            return;
        }
        journal.launched(&delivery, packet_identifier);
        let (qos, bytes, group) = (delivery.qos, delivery.bytes(), delivery.group);
        let delivery = Some(delivery).filter(|_| self.session.may_send_again(group));
        self.note_flight(packet_identifier, qos, bytes, delivery);
    }

    fn note_flight(
        &mut self,
        packet_identifier: PacketIdentifier,
        qos: QoS,
        bytes: u32,
        delivery: Option<Delivery>,
    ) {
        let Self {
            session,
            client,
            effects,
            spare_flights,
            ..
        } = self;
        // At QoS 2 it leaves only when its Packet Identifier is remembered.
        let is_told = delivery
            .as_ref()
            .is_some_and(|delivery| delivery.place.is_some());
        if qos == QoS::ExactlyOnce && is_told {
            effects.journal.hold(self.conn, &mut client.is_held);
        }
        let flights = session.flights.get_or_insert_with(|| spare_flights.lend());
        flights.launch(packet_identifier, qos, bytes, delivery);
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
                break;
            };
            if let Some(flight) = flights.next_unsent() {
                flight.sent = true;
                let packet_identifier = flight.packet_identifier;
                let (delivery, bytes) = (flight.delivery.clone(), flight.bytes);
                let place = flight.place;
                flights.note_sent(bytes);
                let is_sent = delivery.is_some_and(|delivery| {
                    self.may_receive(&delivery)
                        && self.send_delivery(&delivery, Some(packet_identifier), true, now)
                });
                if !is_sent {
                    self.effects.journal.landed(place);
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
                self.effects.journal.landed(delivery.place);
            } else if !self.may_receive(&delivery) {
                // It was allowed when it came.
                self.effects.journal.landed(delivery.place);
            } else if delivery.qos == QoS::AtMostOnce {
                // However much that is: it was in memory all the time.
                self.send_delivery(&delivery, None, false, now);
                self.effects.journal.landed(delivery.place);
            } else {
                self.launch(delivery, now);
            }
        }
        self.session.trim_flights(self.spare_flights);
        self.effects
            .want_stored(self.client.session(), self.session);
        self.note_keeping_up();
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
        if reason == ReasonCode::Success && !log::log_enabled!(log::Level::Debug) {
            return client::send(client, *conn, effects, stats, |out| {
                Ack::encode_success(kind, packet_identifier, out);
            });
        }
        let mut properties = Vec::new();
        let may_tell = client.problem_information && version.has_properties();
        let is_read = client.output.own_bytes() <= limits::REASON_STRINGS_BELOW_BYTES;
        if let Some(sentence) = sentence.filter(|_| may_tell && is_read) {
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
        if self.client.topic_alias_maximum == 0 && head.identifiers.is_empty() {
            if let Some(is_sent) = self.send_wire(publication, head, now) {
                return is_sent;
            }
        }
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
        client::send(self.client, self.conn, self.effects, self.stats, |out| {
            if is_short {
                // Below 2^28, and in one piece.
                out.reserve(usize::try_from(layout.packet_bytes).unwrap_or_default());
            }
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
            let bytes = self.client.output.share(&message, from);
            self.stats.bytes_sent += bytes as u64;
            client::note_growth(self.client, bytes, self.effects);
        }
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += payload.len() as u64;
        true
    }

    /// Sends a packet that other receivers get, too, but for its Packet Identifier. `None`: not this
    /// one; `false` as with [`Line::send_publish`].
    #[inline]
    fn send_wire(
        &mut self,
        publication: &mut Publication<'_>,
        head: &Head<'_>,
        now: Now,
    ) -> Option<bool> {
        let bytes = publication.properties.len() + publication.payload.len();
        if bytes > limits::COPY_BELOW || self.client.is_mapped {
            return None;
        }
        let (first_byte, has_properties) =
            (head.first_byte(), self.client.version.has_properties());
        if let Some(came) = publication
            .came
            .filter(|came| came.is(first_byte, has_properties))
        {
            return Some(self.copy_wire(*came, publication, head));
        }
        let buffer = publication.wire.take()?;
        if !buffer.wire().is(first_byte, has_properties) {
            lay_out(buffer, publication, head, self.client, now);
        }
        let is_sent = self.copy_wire(buffer.wire(), publication, head);
        publication.wire = Some(buffer);
        Some(is_sent)
    }

    #[inline]
    fn copy_wire(
        &mut self,
        wire: Wire<'_>,
        publication: &Publication<'_>,
        head: &Head<'_>,
    ) -> bool {
        if wire.bytes.len() > self.client.maximum_packet_size as usize {
            self.stats.dropped_oversize += 1;
            return false;
        }
        self.log_publish(publication, head);
        client::send(self.client, self.conn, self.effects, self.stats, |out| {
            wire.put(head.packet_identifier, out);
        });
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += publication.payload.len() as u64;
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

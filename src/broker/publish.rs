//! PUBLISH from a client [MQTT §3.3] [MQTT5 §3.3], the acknowledgements in both directions, and the
//! one path by which every message, whoever published it, reaches its receivers.

use super::cause::Cause;
use super::client::TopicAliases;
use super::deliver::{self, Receiver};
use super::inflight::{Acked, Awaits, SubscriptionIdentifiers};
use super::key::{ConnId, GroupId, SessionId};
use super::session::Session;
use super::state::State;
use super::subscriptions::{Match, Reach, Subscription};
use super::timers::TimerKey;
use crate::codec::ack::{Ack, AckKind};
use crate::codec::property::{Properties, Property};
use crate::codec::publish::Publish;
use crate::codec::reason::ReasonCode;
use crate::message::{Identity, PacketIdentifier, Publication, QoS};
use crate::time::{Mono, Now};
use crate::topic::name::TopicName;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// Who sent a packet, both sides of it.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The connection it came by.
    pub conn: ConnId,
    /// The session it belongs to.
    pub session: SessionId,
}

/// A PUBLISH has come.
///
/// # Errors
/// Why the connection must end.
pub fn publish(
    from: Sender,
    packet: &Publish<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    state.stats.publish_received += 1;
    state.stats.publish_bytes_received += packet.payload.len() as u64;
    let Some(client) = state.clients.get(from.conn) else {
        return Ok(());
    };
    let is_mapped = client.is_mapped;
    if packet.qos > client.max_qos {
        return Err(Cause::QoSNotSupported(packet.qos)); // [MQTT5-3.2.2-11]
    }
    if packet.retain && !state.config.retain_available {
        return Err(Cause::RetainNotSupported); // [MQTT5-3.2.2-14]
    }
    if packet
        .properties
        .subscription_identifiers()
        .next()
        .is_some()
    {
        return Err(Cause::SubscriptionIdentifier); // [MQTT5-3.3.4-6]
    }
    let aliased = resolve_alias(from, packet, state)?;
    let topic = aliased.as_deref().unwrap_or(packet.topic);
    if is_mapped {
        return publish_mapped(from, topic, packet, state, now);
    }
    publish_to(from, topic, packet, state, now)
}

/// Publishes on `topic`, by the name its client knows it by.
#[cold]
fn publish_mapped(
    from: Sender,
    topic: &str,
    packet: &Publish<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let topic = state.topic_map(from.conn).inward(topic);
    let topic = topic.ok_or(Cause::TopicTooLong)?;
    publish_to(from, &topic, packet, state, now)
}

/// Publishes on `topic`, by the name the broker knows it by.
#[inline(always)]
fn publish_to(
    from: Sender,
    topic: &str,
    packet: &Publish<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let name = TopicName::new(topic).map_err(Cause::TopicName)?; // [MQTT-3.3.2-2] [MQTT5-3.3.2-2]
    match packet.packet_identifier {
        None => {
            accept(from, &name, packet, state, now);
        }
        Some(packet_identifier) if packet.qos == QoS::ExactlyOnce => {
            publish_exactly_once(from, packet_identifier, &name, packet, state, now)?;
        }
        Some(packet_identifier) => {
            let (reason, sentence) = accept(from, &name, packet, state, now);
            if let Some(mut line) = state.line(from.session) {
                line.send_ack(AckKind::PubAck, packet_identifier, reason, sentence);
            }
        }
    }
    Ok(())
}

/// QoS 2: the message is published at the first PUBLISH, and its Packet Identifier held until
/// PUBREL, so that a second one is only acknowledged. `Choice:` the second of the two methods the
/// specification describes [MQTT §4.3.3] [MQTT5 §4.3.3]; it stores two bytes, not the message.
fn publish_exactly_once(
    from: Sender,
    packet_identifier: PacketIdentifier,
    name: &TopicName<'_>,
    packet: &Publish<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let maximum = receive_maximum(state, from.conn);
    let Some(session) = state.sessions.get_mut(from.session) else {
        return Ok(());
    };
    let flights = session.flights.as_deref();
    let is_repeated = flights.is_some_and(|flights| flights.holds(packet_identifier));
    let held = flights.map_or(0, |flights| flights.held());
    let (reason, sentence) = if is_repeated {
        (ReasonCode::Success, None) // [MQTT-4.3.3-2] [MQTT5-4.3.3-10]
    } else if !packet.dup && maximum.is_some_and(|maximum| held >= usize::from(maximum.get())) {
        // [MQTT5-3.3.4-8]; what is sent again after a reconnect counts anew [MQTT5 §4.9], and clients
        // send all of it at once.
        return Err(Cause::ReceiveMaximumExceeded(
            maximum.map_or(0, NonZeroU16::get),
        ));
    } else {
        accept(from, name, packet, state, now)
    };
    let session = state.sessions.get_mut(from.session);
    if let Some(session) = session.filter(|_| !reason.is_failure()) {
        session
            .flights
            .get_or_insert_default()
            .hold(packet_identifier);
    }
    if let Some(mut line) = state.line(from.session) {
        line.send_ack(AckKind::PubRec, packet_identifier, reason, sentence);
    }
    Ok(())
}

/// The Receive Maximum this client was told at CONNACK; `None` where it cannot be told, or there
/// is no bound but that of Packet Identifiers.
fn receive_maximum(state: &State, conn: ConnId) -> Option<NonZeroU16> {
    let version = state.clients.get(conn)?.version;
    let maximum = NonZeroU16::new(state.config.max_inflight_messages)?;
    version.has_properties().then_some(maximum)
}

/// Gives a message to all who subscribe, if its publisher may publish it. Returns what the
/// acknowledgement is to say.
fn accept(
    from: Sender,
    name: &TopicName<'_>,
    packet: &Publish<'_>,
    state: &mut State,
    now: Now,
) -> (ReasonCode, Option<&'static str>) {
    let Some(session) = state.sessions.get(from.session) else {
        return (ReasonCode::UnspecifiedError, None);
    };
    let identity = Rc::clone(&session.identity);
    log_publish(&identity, name, packet);
    if !state.policy.may_publish(&identity, name) {
        return deny(&identity, name);
    }
    let payload_bytes_max = usize::try_from(state.config.message_size_limit).unwrap_or(usize::MAX);
    if payload_bytes_max != 0 && packet.payload.len() > payload_bytes_max {
        return refuse_size(&identity, state);
    }
    let mut scratch = std::mem::take(&mut state.properties);
    scratch.clear();
    let expiry_s = packet.properties.message_expiry_interval();
    let mut publication = Publication {
        topic: name.as_str(),
        properties: lasting_properties(packet.properties, &mut scratch),
        payload: packet.payload,
        qos: packet.qos,
        retain: packet.retain,
        expires_at: expires_at(expiry_s, now),
        publisher: Some(&identity),
        message: None,
    };
    let is_matched = route(name, &mut publication, state, now);
    drop(publication);
    state.properties = scratch;
    match is_matched {
        true => (ReasonCode::Success, None),
        false => (ReasonCode::NoMatchingSubscribers, None),
    }
}

/// Drops a message whose publisher may not publish to its topic.
#[cold]
fn deny(identity: &Identity, name: &TopicName<'_>) -> (ReasonCode, Option<&'static str>) {
    log::debug!(
        "Denied PUBLISH from {} to '{}'",
        identity.client_identifier,
        name.as_str()
    );
    (
        ReasonCode::NotAuthorized,
        Some("you may not publish to this topic"),
    )
}

/// Drops a message whose payload is above `message_size_limit`.
#[cold]
fn refuse_size(identity: &Identity, state: &mut State) -> (ReasonCode, Option<&'static str>) {
    state.stats.dropped_message_size += 1;
    let name = &identity.client_identifier;
    log::debug!("Dropped too large PUBLISH from {name}");
    (
        ReasonCode::ImplementationSpecificError,
        Some("the payload is larger than payloads may be here"),
    )
}

fn log_publish(identity: &Identity, name: &TopicName<'_>, packet: &Publish<'_>) {
    log::debug!(
        "Received PUBLISH from {} (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        identity.client_identifier,
        u8::from(packet.dup),
        packet.qos.bits(),
        u8::from(packet.retain),
        packet.packet_identifier.map_or(0, NonZeroU16::get),
        name.as_str(),
        packet.payload.len()
    );
}

/// When a message with this Message Expiry Interval expires.
pub fn expires_at(interval_s: Option<u32>, now: Now) -> Mono {
    interval_s.map_or(Mono::NEVER, |interval_s| {
        now.mono.plus_s(u64::from(interval_s))
    })
}

/// The properties that go on to receivers, in wire form: all but Topic Alias, which is this
/// connection's [MQTT5-3.3.2-7], and Message Expiry Interval, which counts down.
pub fn lasting_properties<'a>(properties: Properties<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let is_hop = |property: &Property<'_>| {
        matches!(
            property,
            Property::TopicAlias(_)
                | Property::MessageExpiryInterval(_)
                | Property::WillDelayInterval(_)
        )
    };
    if !properties.iter().any(|property| is_hop(&property)) {
        return properties.as_bytes();
    }
    for (property, raw) in properties.iter_raw() {
        if !is_hop(&property) {
            scratch.extend_from_slice(raw);
        }
    }
    scratch
}

/// The topic that a Topic Alias stands for, if the packet leaves it to one; and a new alias is
/// noted [MQTT5 §3.3.2.3.4].
fn resolve_alias(
    from: Sender,
    packet: &Publish<'_>,
    state: &mut State,
) -> Result<Option<Box<str>>, Cause> {
    let Some(alias) = packet.properties.topic_alias() else {
        let is_missing = packet.topic.is_empty();
        return if is_missing {
            Err(Cause::NoTopic)
        } else {
            Ok(None)
        };
    };
    let maximum = state
        .listener(from.conn)
        .map_or(0, |listener| listener.max_topic_alias);
    if alias.get() > maximum {
        return Err(Cause::TopicAliasTooHigh {
            alias: alias.get(),
            maximum,
        }); // [MQTT5-3.3.2-9]
    }
    let Some(client) = state.clients.get_mut(from.conn) else {
        return Ok(None);
    };
    let index = usize::from(alias.get() - 1);
    if packet.topic.is_empty() {
        let known = client
            .aliases
            .as_ref()
            .and_then(|aliases| aliases.inbound.get(index)?.clone());
        return known.map(Some).ok_or(Cause::TopicAliasUnknown(alias.get()));
    }
    // A topic that is none must not be noted; the connection ends over it anyway.
    if TopicName::new(packet.topic).is_ok() {
        let TopicAliases { inbound, .. } = &mut **client.aliases.get_or_insert_default();
        if index >= inbound.len() {
            inbound.resize(index + 1, None);
        }
        if let Some(slot) = inbound.get_mut(index) {
            *slot = Some(packet.topic.into());
        }
    }
    Ok(None)
}

/// Every message takes this way: a client's, a Will, the broker's own. Keeps it if it is to be
/// retained, and delivers it to whoever subscribes. Whether anybody does.
pub fn route(
    name: &TopicName<'_>,
    publication: &mut Publication<'_>,
    state: &mut State,
    now: Now,
) -> bool {
    if publication.retain {
        state.retained.retain(publication);
        let State {
            retained,
            timers,
            config,
            ..
        } = state;
        let sweep_at = retained.sweep_at(config, now.mono);
        timers.arm(TimerKey::Sweep, sweep_at, &mut retained.timer_at);
    }
    let mut found = std::mem::take(&mut state.found);
    let mut groups = std::mem::take(&mut state.groups);
    state.subscriptions.matches(name, &mut found, &mut groups);
    let is_matched = !found.is_empty() || !groups.is_empty();
    if !state.config.allow_duplicate_messages {
        found.sort_unstable_by_key(|found| found.subscription.session);
    }
    let mut rest = found.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let count = match state.config.allow_duplicate_messages {
            true => 0,
            false => overlapping(first, others),
        };
        let (same, behind) = others.split_at_checked(count).unwrap_or((&[], others));
        deliver_match(publication, first, same, state, now);
        rest = behind;
    }
    for group in groups.drain(..) {
        deliver_shared(publication, group, state, now);
    }
    found.clear();
    state.found = found;
    state.groups = groups;
    is_matched
}

/// How many of `others`, sorted by session, are of the same session as `first`.
fn overlapping(first: &Match, others: &[Match]) -> usize {
    let session = first.subscription.session;
    others
        .iter()
        .take_while(|other| other.subscription.session == session)
        .count()
}

/// Delivers one copy to the session of `first`, on behalf of `first` and of `same`, other
/// subscriptions of that session [MQTT-3.3.5-1] [MQTT5-3.3.4-2].
fn deliver_match(
    publication: &mut Publication<'_>,
    first: &Match,
    same: &[Match],
    state: &mut State,
    now: Now,
) {
    let Some(session) = state.sessions.get(first.subscription.session) else {
        return;
    };
    let wants = |subscription: &&Subscription| wants(subscription, publication, session);
    let all = || {
        std::iter::once(first)
            .chain(same)
            .map(|found| &found.subscription)
            .filter(wants)
    };
    let Some(qos) = all().map(|subscription| subscription.terms.qos()).max() else {
        return;
    };
    let keeps_retain = all().any(|subscription| subscription.terms.retain_as_published());
    let identifiers = match same.is_empty() {
        true => first.subscription.identifier.map(NonZeroU32::get).into(),
        false => identifiers_of(all()),
    };
    let receiver = Receiver {
        session: first.subscription.session,
        qos: deliver::outgoing_qos(qos, publication.qos, &state.config),
        retain: publication.retain && keeps_retain, // [MQTT-3.3.1-9] [MQTT5-3.3.1-12]
        identifiers,
        group: first.group,
    };
    state.tables().deliver(publication, receiver, now);
}

/// Whether a subscription takes this message: not its client's own, under No Local
/// [MQTT5-3.8.3-3].
fn wants(subscription: &Subscription, publication: &Publication<'_>, session: &Session) -> bool {
    !(subscription.terms.no_local() && publication.is_from(&session.identity))
}

/// The Subscription Identifiers of several overlapping subscriptions [MQTT5-3.3.4-3].
fn identifiers_of<'s>(
    subscriptions: impl Iterator<Item = &'s Subscription>,
) -> SubscriptionIdentifiers {
    let found = subscriptions.filter_map(|subscription| subscription.identifier);
    let identifiers: Box<[u32]> = found.map(NonZeroU32::get).collect();
    match *identifiers {
        [] => SubscriptionIdentifiers::None,
        [identifier] => SubscriptionIdentifiers::One(identifier),
        _ => SubscriptionIdentifiers::Many(identifiers),
    }
}

/// Delivers to one member of a group: the next in turn that can take it now; if none can, one that
/// will take it later, rather one that is connected than one that is away [MQTT5 §4.8.2].
pub fn deliver_shared(
    publication: &mut Publication<'_>,
    group: GroupId,
    state: &mut State,
    now: Now,
) {
    let State {
        subscriptions,
        sessions,
        clients,
        config,
        policy,
        ..
    } = state;
    let published = publication.qos;
    let topic = publication.topic;
    let qos_of =
        |member: &Subscription| deliver::outgoing_qos(member.terms.qos(), published, config);
    let chosen = subscriptions.choose(group, |member| {
        let session = sessions.get(member.session);
        if !session.is_some_and(|session| policy.may_receive(&session.identity, topic)) {
            return Reach::Lost;
        }
        deliver::reach(member.session, qos_of(member), sessions, clients, config)
    });
    let Some(subscription) = chosen else { return };
    let receiver = Receiver {
        session: subscription.session,
        qos: qos_of(&subscription),
        retain: publication.retain && subscription.terms.retain_as_published(),
        identifiers: subscription.identifier.map(NonZeroU32::get).into(),
        group: Some(group),
    };
    state.tables().deliver(publication, receiver, now);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP has come.
///
/// # Errors
/// Why the connection must end.
pub fn acknowledge(
    from: Sender,
    packet: &Ack<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let Some(session) = state.sessions.get_mut(from.session) else {
        return Ok(());
    };
    log::debug!(
        "Received {} from {} (m{}, rc{})",
        packet.kind.packet_type().name(),
        session.client_identifier(),
        packet.packet_identifier,
        packet.reason.value()
    );
    if packet.kind == AckKind::PubRel {
        release(from, packet, state);
        return Ok(());
    }
    let flights = session.flights.as_deref_mut();
    let acked = flights.map_or(Acked::Unknown, |flights| match packet.kind {
        AckKind::PubAck => flights.complete(packet.packet_identifier, Awaits::PubAck),
        AckKind::PubComp => flights.complete(packet.packet_identifier, Awaits::PubComp),
        AckKind::PubRec | AckKind::PubRel => {
            flights.received_by_peer(packet.packet_identifier, packet.reason.is_failure())
        }
    });
    let Some(mut line) = state.line(from.session) else {
        return Ok(());
    };
    match (packet.kind, acked) {
        (_, Acked::Wrong) => return Err(Cause::WrongAcknowledgement(packet.kind.packet_type())),
        (AckKind::PubRec, Acked::Taken) if !packet.reason.is_failure() => {
            line.send_ack(
                AckKind::PubRel,
                packet.packet_identifier,
                ReasonCode::Success,
                None,
            );
        }
        (AckKind::PubRec, Acked::Unknown) if !packet.reason.is_failure() => {
            // The peer holds a message that this side has forgotten: let it end its exchange.
            let reason = ReasonCode::PacketIdentifierNotFound;
            let sentence = Some("no message with this Packet Identifier is in flight");
            line.send_ack(AckKind::PubRel, packet.packet_identifier, reason, sentence);
        }
        _ => line.pump(now),
    }
    Ok(())
}

/// PUBREL: lets go of the Packet Identifier and says PUBCOMP [MQTT-4.3.3-2] [MQTT5-4.3.3-11].
fn release(from: Sender, packet: &Ack<'_>, state: &mut State) {
    let Some(session) = state.sessions.get_mut(from.session) else {
        return;
    };
    let flights = session.flights.as_deref_mut();
    let was_held = flights.is_some_and(|flights| flights.release(packet.packet_identifier));
    session.trim_flights();
    let (reason, sentence) = match was_held {
        true => (ReasonCode::Success, None),
        false => (
            ReasonCode::PacketIdentifierNotFound,
            Some("no message with this Packet Identifier waits to be released"),
        ),
    };
    if let Some(mut line) = state.line(from.session) {
        line.send_ack(AckKind::PubComp, packet.packet_identifier, reason, sentence);
    }
}

//! PUBLISH from a client [MQTT §3.3] [MQTT5 §3.3], and the acknowledgements in both directions. Where
//! a message goes once it is accepted is said in `distribute.rs`.

use super::cause::Cause;
use super::client::{Client, TopicAliases};
use super::distribute::{distribute, distribute_left_over};
use super::inflight::{Acked, Awaits, Flights};
use super::journal::Journal;
use super::key::{ConnId, SessionId};
use super::memory::Memory;
use super::relay::{Relayed, relay};
use super::room;
use super::routes::{Route, Routes};
use super::session::Session;
use super::state::{Scratch, State};
use super::stats::Stats;
use super::topic_map::TopicMap;
use crate::codec::ack::{Ack, AckKind};
use crate::codec::dialect::ProtocolVersion;
use crate::codec::error::Malformed;
use crate::codec::frame::Frame;
use crate::codec::property::Properties;
use crate::codec::publish::RawPublish;
use crate::codec::reason::ReasonCode;
use crate::codec::utf8;
use crate::config::Config;
use crate::limits;
use crate::message::{Identity, PacketIdentifier, Publication, QoS};
use crate::time::{Mono, Now};
use crate::topic::name::TopicName;
use std::borrow::Cow;
use std::num::NonZeroU16;
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
#[inline]
pub fn publish(
    from: Sender,
    frame: &Frame<'_>,
    version: ProtocolVersion,
    routes: &mut Routes,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    match relay(from.conn, frame, version, routes, state) {
        Relayed::Wholly => Ok(()),
        relayed => publish_rest(from, frame, version, relayed, routes, state, now),
    }
}

/// A PUBLISH has come that was relayed only partly, or not at all.
#[inline(never)]
fn publish_rest(
    from: Sender,
    frame: &Frame<'_>,
    version: ProtocolVersion,
    relayed: Relayed,
    routes: &mut Routes,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let packet = &RawPublish::decode(frame, version).map_err(Cause::Decode)?;
    if relayed == Relayed::None {
        state.stats.publish_received += 1;
        state.stats.publish_bytes_received += packet.payload.len() as u64;
    }
    let route = find_route(from, packet, routes, state)?;
    if relayed == Relayed::None {
        return publish_to(from, route, packet, state, now);
    }
    deliver(from, route, packet, distribute_left_over, state, now);
    if let Some(packet_identifier) = packet.packet_identifier {
        answer(from, packet_identifier, taken(route), state);
    }
    Ok(())
}

/// Where a message goes, if its client may ask for what it asks for.
#[inline]
fn find_route<'r>(
    from: Sender,
    packet: &RawPublish<'_>,
    routes: &'r mut Routes,
    state: &mut State,
) -> Result<&'r Route, Cause> {
    let State {
        clients,
        config,
        memory,
        subscriptions,
        effects,
        ..
    } = state;
    let work = &mut effects.work;
    let Some(client) = clients.get_mut(from.conn) else {
        return Err(Cause::ClosedByClient); // not reached: it has just sent this
    };
    if packet.qos > client.max_qos {
        return Err(Cause::QoSNotSupported(packet.qos)); // [MQTT5-3.2.2-11]
    }
    if packet.retain && !config.retain_available {
        return Err(Cause::RetainNotSupported); // [MQTT5-3.2.2-14]
    }
    let (is_mapped, listener) = (client.is_mapped, client.peer.listener());
    let topic = match packet.properties.is_empty() {
        true => packet.topic,
        false => topic_by_properties(packet, client, config, memory)?,
    };
    if topic.is_empty() {
        return Err(Cause::NoTopic);
    }
    let mapped;
    let topic = match is_mapped {
        true => {
            mapped = map_inward(topic, listener, config)?;
            mapped.as_bytes()
        }
        false => topic,
    };
    routes.find(topic, subscriptions, work, check_name)
}

/// A topic as all clients but those of this listener know it.
#[cold]
fn map_inward<'t>(
    topic: &'t [u8],
    listener: usize,
    config: &Config,
) -> Result<Cow<'t, str>, Cause> {
    let topic = utf8::check(topic).map_err(malformed)?;
    let mapped = TopicMap::at(listener, config).inward(topic);
    mapped.ok_or(Cause::TopicTooLong)
}

/// The Topic Name in `topic`, if it is one [MQTT-3.3.2-2] [MQTT5-3.3.2-2].
fn check_name(topic: &[u8]) -> Result<TopicName<'_>, Cause> {
    let text = utf8::check(topic).map_err(malformed)?;
    TopicName::new(text).map_err(Cause::TopicName)
}

fn malformed(error: Malformed) -> Cause {
    Cause::Decode(error.into())
}

/// The topic of a message with properties: its own, or that of its Topic Alias.
#[inline(never)]
fn topic_by_properties<'t>(
    packet: &RawPublish<'t>,
    client: &'t mut Client,
    config: &Config,
    memory: &Memory,
) -> Result<&'t [u8], Cause> {
    let mut identifiers = packet.properties.subscription_identifiers();
    if identifiers.next().is_some() {
        return Err(Cause::SubscriptionIdentifier); // [MQTT5-3.3.4-6]
    }
    match packet.properties.topic_alias() {
        None => Ok(packet.topic),
        Some(alias) => resolve_alias(alias, packet.topic, client, config, memory),
    }
}

/// The topic that a Topic Alias stands for, if the packet leaves it to one; and a new alias is
/// noted [MQTT5 §3.3.2.3.4].
fn resolve_alias<'t>(
    alias: NonZeroU16,
    topic: &'t [u8],
    client: &'t mut Client,
    config: &Config,
    memory: &Memory,
) -> Result<&'t [u8], Cause> {
    let listener = config.listeners.get(client.peer.listener());
    let maximum = listener.map_or(0, |listener| listener.max_topic_alias);
    let alias = alias.get();
    if alias > maximum {
        return Err(Cause::TopicAliasTooHigh { alias, maximum }); // [MQTT5-3.3.2-9]
    }
    let index = usize::from(alias - 1);
    let TopicAliases { inbound, .. } = &mut **client.aliases.get_or_insert_default();
    if topic.is_empty() {
        let known = inbound.get(index).and_then(Option::as_deref);
        return known
            .map(str::as_bytes)
            .ok_or(Cause::TopicAliasUnknown(alias));
    }
    if !memory.holds(topic.len(), limits::MEMORY_PACKETS) {
        return Err(Cause::MemoryShort);
    }
    // A topic that is none must not be noted; the connection ends over it anyway.
    let text = utf8::check(topic).map_err(malformed)?;
    let name = TopicName::new(text).map_err(Cause::TopicName)?;
    if index >= inbound.len() {
        inbound.resize(index + 1, None);
    }
    if let Some(slot) = inbound.get_mut(index) {
        *slot = Some(name.as_str().into());
    }
    Ok(topic)
}

#[inline(never)]
fn publish_to(
    from: Sender,
    route: &Route,
    packet: &RawPublish<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let Some(packet_identifier) = packet.packet_identifier else {
        accept(from, route, packet, state, now);
        return Ok(());
    };
    if packet.qos == QoS::ExactlyOnce {
        return publish_exactly_once(from, packet_identifier, route, packet, state, now);
    }
    let (reason, sentence) = accept(from, route, packet, state, now);
    if !may_answer(from.conn, reason, state) {
        return Ok(());
    }
    room::end_untold(from.conn, reason, state)?;
    answer(from, packet_identifier, (reason, sentence), state);
    Ok(())
}

/// Sends PUBACK.
fn answer(
    from: Sender,
    packet_identifier: PacketIdentifier,
    (reason, sentence): (ReasonCode, Option<&'static str>),
    state: &mut State,
) {
    if let Some(mut line) = state.line(from.session) {
        line.send_ack(AckKind::PubAck, packet_identifier, reason, sentence);
    }
}

/// QoS 2: the message is published at the first PUBLISH, and its Packet Identifier held until
/// PUBREL, so that a second one is only acknowledged. `Choice:` the second of the two methods the
/// specification describes [MQTT §4.3.3] [MQTT5 §4.3.3]; it stores two bytes, not the message.
fn publish_exactly_once(
    from: Sender,
    packet_identifier: PacketIdentifier,
    route: &Route,
    packet: &RawPublish<'_>,
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
        accept(from, route, packet, state, now)
    };
    if !may_answer(from.conn, reason, state) {
        return Ok(());
    }
    room::end_untold(from.conn, reason, state)?;
    let session = state.sessions.get_mut(from.session);
    if let Some(session) = session.filter(|_| !reason.is_failure() && !is_repeated) {
        let journal = &mut state.effects.journal;
        journal.held_identifier(from.session, session, packet_identifier);
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
    route: &Route,
    packet: &RawPublish<'_>,
    state: &mut State,
    now: Now,
) -> (ReasonCode, Option<&'static str>) {
    if let Some(refusal) = refusal(from, route, packet, state, now) {
        return refusal;
    }
    deliver(from, route, packet, distribute, state, now);
    taken(route)
}

/// What the acknowledgement of a message that was passed on is to say.
fn taken(route: &Route) -> (ReasonCode, Option<&'static str>) {
    match route.is_matched() {
        true => (ReasonCode::Success, None),
        false => (ReasonCode::NoMatchingSubscribers, None),
    }
}

/// What the acknowledgement is to say of a message that is not taken.
fn refusal(
    from: Sender,
    route: &Route,
    packet: &RawPublish<'_>,
    state: &mut State,
    now: Now,
) -> Option<(ReasonCode, Option<&'static str>)> {
    let Some(session) = state.sessions.get(from.session) else {
        return Some((ReasonCode::UnspecifiedError, None)); // not reached: it has just sent this
    };
    let identity = &session.identity;
    let name = route.name();
    log_publish(identity, &name, packet);
    if !state.policy.may_publish(identity, &name) {
        return Some(deny(identity, &name));
    }
    let payload_bytes_max = usize::try_from(state.config.message_size_limit).unwrap_or(usize::MAX);
    if payload_bytes_max != 0 && packet.payload.len() > payload_bytes_max {
        return Some(refuse_size(identity, &mut state.stats));
    }
    if state.effects.journal.is_refusing()
        && packet.qos > QoS::AtMostOnce
        && would_be_kept(route, packet.retain, state)
    {
        return Some(refuse_keeping(identity));
    }
    room::refusal(from.session, route, packet, state, now)
}

/// Gives a message to those for whom `distribute` is.
#[inline(never)]
fn deliver(
    from: Sender,
    route: &Route,
    packet: &RawPublish<'_>,
    distribute: fn(&Route, &mut Publication<'_>, &mut State, Now),
    state: &mut State,
    now: Now,
) {
    let Some(session) = state.sessions.get(from.session) else {
        return;
    };
    let identity = Rc::clone(&session.identity);
    let name = route.name();
    let mut scratch = state.scratch.take().unwrap_or_default();
    let Scratch { properties, wire } = &mut *scratch;
    let (lasting, expiry_s) = match packet.properties.is_empty() {
        true => (&[][..], None),
        false => (
            lasting_properties(packet.properties, properties),
            packet.properties.message_expiry_interval(),
        ),
    };
    let is_whole = lasting.len() == packet.properties.as_bytes().len();
    let is_same = is_whole && packet.topic.len() == name.as_str().len();
    let came = packet.sent_as().filter(|_| is_same);
    let mut publication = Publication {
        topic: name.as_str(),
        properties: lasting,
        payload: packet.payload,
        qos: packet.qos,
        retain: packet.retain,
        expires_at: expires_at(expiry_s, now),
        publisher: Some(&identity),
        message: None,
        came: came.as_ref(),
        wire: Some(wire),
    };
    distribute(route, &mut publication, state, now);
    drop(publication);
    scratch.clear();
    state.scratch = Some(scratch);
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
fn refuse_size(identity: &Identity, stats: &mut Stats) -> (ReasonCode, Option<&'static str>) {
    stats.dropped_message_size += 1;
    let name = &identity.client_identifier;
    log::debug!("Dropped too large PUBLISH from {name}");
    (
        ReasonCode::ImplementationSpecificError,
        Some("the payload is larger than payloads may be here"),
    )
}

/// Whether a message would have to be remembered: retained, or for a session that outlives its
/// connection.
#[cold]
fn would_be_kept(route: &Route, retain: bool, state: &State) -> bool {
    let subscriptions = &state.subscriptions;
    let plain = route
        .plain()
        .iter()
        .flat_map(|node| subscriptions.at(*node));
    let groups = route
        .shared()
        .iter()
        .flat_map(|node| subscriptions.groups_at(*node));
    let members = groups.flat_map(|group| subscriptions.members(group));
    let mut all = plain
        .chain(members)
        .map(|subscription| subscription.session);
    let is_lasting = |id| state.sessions.get(id).is_some_and(Session::is_lasting);
    retain || all.any(is_lasting)
}

/// Drops a message that could not be remembered: its publisher still has it, and is not told
/// otherwise.
#[cold]
fn refuse_keeping(identity: &Identity) -> (ReasonCode, Option<&'static str>) {
    let name = &identity.client_identifier;
    log::debug!("Refused PUBLISH from {name}: it cannot be stored now");
    (
        ReasonCode::QuotaExceeded,
        Some("messages cannot be stored now: the broker's disk is full or failing"),
    )
}

/// Whether an acknowledgement that says this may go out: one of 3.x says yes to everything, and
/// must not to what was refused for now.
fn may_answer(conn: ConnId, reason: ReasonCode, state: &mut State) -> bool {
    if reason != ReasonCode::QuotaExceeded || !state.effects.journal.is_refusing() {
        return true;
    }
    let Some(client) = state.clients.get_mut(conn) else {
        return false;
    };
    client.is_unanswered = !client.version.has_reason_codes();
    !client.is_unanswered
}

fn log_publish(identity: &Identity, name: &TopicName<'_>, packet: &RawPublish<'_>) {
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
    if !properties.has_hop() {
        return properties.as_bytes();
    }
    scratch.clear();
    for (property, raw) in properties.iter_raw() {
        if !property.is_of_one_hop() {
            scratch.extend_from_slice(raw);
        }
    }
    scratch
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP has come.
///
/// # Errors
/// Why the connection must end.
#[inline(never)]
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
    let acked = flights.map_or(Acked::Unknown, |flights| {
        land(from.session, flights, packet, &mut state.effects.journal)
    });
    if acked == Acked::Taken && packet.kind != AckKind::PubRec && session.is_settled() {
        session.trim_flights(&mut state.spare_flights);
        return Ok(());
    }
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

/// PUBACK, PUBREC or PUBCOMP moves a flight on, or lands it.
fn land(id: SessionId, flights: &mut Flights, packet: &Ack<'_>, journal: &mut Journal) -> Acked {
    let packet_identifier = packet.packet_identifier;
    let is_refused = packet.reason.is_failure();
    let told = match journal.is_on() {
        true => flights.place_of(packet_identifier),
        false => None,
    };
    let acked = match packet.kind {
        AckKind::PubAck => flights.complete(packet_identifier, Awaits::PubAck),
        AckKind::PubComp => flights.complete(packet_identifier, Awaits::PubComp),
        AckKind::PubRec | AckKind::PubRel => {
            flights.received_by_peer(packet_identifier, is_refused)
        }
    };
    if let Some((place, awaited)) = told.filter(|_| acked == Acked::Taken) {
        match (packet.kind, awaited) {
            (AckKind::PubRec, Awaits::PubRec) if !is_refused => {
                journal.received(id, flights, packet_identifier, place);
            }
            (AckKind::PubRec, Awaits::PubComp) => {}
            _ => journal.landed(Some(place)),
        }
    }
    acked
}

/// PUBREL: lets go of the Packet Identifier and says PUBCOMP [MQTT-4.3.3-2] [MQTT5-4.3.3-11].
fn release(from: Sender, packet: &Ack<'_>, state: &mut State) {
    let State {
        sessions,
        spare_flights,
        effects,
        ..
    } = state;
    let Some(session) = sessions.get_mut(from.session) else {
        return;
    };
    let flights = session.flights.as_deref_mut();
    let was_held = flights.is_some_and(|flights| flights.release(packet.packet_identifier));
    if was_held {
        let journal = &mut effects.journal;
        journal.released(from.session, session, packet.packet_identifier);
    }
    session.trim_flights(spare_flights);
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

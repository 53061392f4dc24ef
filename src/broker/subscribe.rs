//! SUBSCRIBE and UNSUBSCRIBE [MQTT §3.8 to §3.11] [MQTT5 §3.8 to §3.11]. What 5.0 and 3.1.1 can be
//! told about one filter they are told; a version that cannot be told loses the connection.

use super::cause::Cause;
use super::client;
use super::key::SessionId;
use super::memory::Refused;
use super::publish::Sender;
use super::replay;
use super::state::State;
use super::subscriptions::{Subscription, Terms};
use crate::bytes::variable_bytes;
use crate::codec::dialect::ProtocolVersion;
use crate::codec::frame::PacketType;
use crate::codec::property::{Properties, Property};
use crate::codec::reason::ReasonCode;
use crate::codec::subscribe::{
    RetainHandling, SubAck, Subscribe, SubscriptionOptions, Unsubscribe,
};
use crate::limits;
use crate::message::PacketIdentifier;
use crate::time::Now;
use crate::topic::filter::TopicFilter;
use crate::topic::tree::NodeId;
use std::num::NonZeroU32;

/// The answers to the filters of one packet.
#[derive(Debug, Default)]
struct Answers {
    codes: Vec<u8>,
    /// Why the first filter that was refused was.
    sentence: Option<String>,
}

impl Answers {
    fn refuse(&mut self, code: u8, filter: &str, why: &dyn std::fmt::Display) {
        self.codes.push(code);
        self.sentence
            .get_or_insert_with(|| format!("'{filter}': {why}"));
    }
}

/// A SUBSCRIBE has come. SUBACK goes out before the retained messages.
///
/// # Errors
/// Why the connection must end.
pub fn subscribe(
    from: Sender,
    packet: &Subscribe<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    check_answer_fits(from, packet.iter().count(), state)?;
    check_steps(packet.iter().count(), state, now)?;
    let version = version_of(from, state);
    for (text, options) in packet.iter() {
        check(text, options, version)?;
    }
    if state.memory.is_limited() && !version.has_suback_failure() {
        check_room(from, packet, state, now)?;
    }
    let identifier = packet
        .properties
        .subscription_identifiers()
        .next()
        .and_then(NonZeroU32::new);
    let mut answers = Answers::default();
    let mut replays = Vec::new();
    for (text, options) in packet.iter() {
        subscribe_one(
            from,
            (text, options),
            identifier,
            state,
            &mut answers,
            &mut replays,
            now,
        );
    }
    answer(
        from,
        packet.packet_identifier,
        answers,
        PacketType::SubAck,
        state,
    );
    for node in replays {
        replay::request(node, from.session, state);
    }
    Ok(())
}

/// What a client that cannot be told otherwise loses its connection over. It is found before any
/// filter takes effect: a packet that ends its connection must not leave half of itself behind.
fn check(text: &str, options: SubscriptionOptions, version: ProtocolVersion) -> Result<(), Cause> {
    match TopicFilter::new(text) {
        Ok(filter) if filter.share_name().is_some() && options.no_local => {
            Err(Cause::NoLocalShared) // [MQTT5-3.8.3-4]
        }
        // [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.8.0-1]
        Err(error) if !version.has_reason_codes() => Err(Cause::TopicFilter(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn version_of(from: Sender, state: &State) -> ProtocolVersion {
    let client = state.clients.get(from.conn);
    client.map_or(ProtocolVersion::V311, |client| client.version)
}

fn subscribe_one(
    from: Sender,
    (text, options): (&str, SubscriptionOptions),
    identifier: Option<NonZeroU32>,
    state: &mut State,
    answers: &mut Answers,
    replays: &mut Vec<NodeId>,
    now: Now,
) {
    let Some(client) = state.clients.get(from.conn) else {
        return;
    };
    let version = client.version;
    let filter = match TopicFilter::new(text) {
        Ok(filter) => filter,
        Err(error) => {
            answers.refuse(ReasonCode::TopicFilterInvalid.value(), text, &error);
            return;
        }
    };
    let mapped = state.topic_map(from.conn).filter_inward(&filter);
    let mapped = mapped.as_deref().map(TopicFilter::new);
    let Some(Ok(filter)) = mapped else {
        let code = failure(ReasonCode::TopicFilterInvalid, options, version);
        answers.refuse(code, text, &"this filter is not possible here");
        return;
    };
    let Some(session) = state.sessions.get(from.session) else {
        return;
    };
    if !state.policy.may_subscribe(&session.identity, &filter) {
        let code = failure(ReasonCode::NotAuthorized, options, version);
        answers.refuse(code, text, &"you may not subscribe to this");
        return;
    }
    if state.effects.journal.is_refusing() && session.is_lasting() {
        let code = failure(ReasonCode::QuotaExceeded, options, version);
        answers.refuse(code, text, &"subscriptions cannot be stored now");
        return;
    }
    let lacking = lacking_bytes(&filter, from.session, state);
    if lacking > 0 && !state.memory.holds(lacking, limits::MEMORY_QUEUES) {
        let State { memory, stats, .. } = state;
        memory.refuse(Refused::Subscription, lacking, stats, now);
        let code = failure(ReasonCode::QuotaExceeded, options, version);
        answers.refuse(code, text, &"memory is short here; try again later");
        return;
    }
    log::debug!(
        target: "subscribe",
        "{} {} {text}",
        session.client_identifier(),
        options.qos.bits()
    );
    // `Choice:` what is asked for is granted, up to the highest QoS there is here [MQTT-3.8.4-6]
    // [MQTT5-3.2.2-10] [MQTT5-3.8.4-8].
    let maximum = state.listener(from.conn).map(|listener| listener.max_qos);
    let qos = options.qos.min(maximum.unwrap_or_default());
    // A bridge of 3.x is served as 5.0's options would ask for.
    let terms = Terms::from(SubscriptionOptions {
        no_local: options.no_local || (client.bridge && filter.share_name().is_none()),
        retain_as_published: options.retain_as_published || client.bridge,
        qos,
        ..options
    });
    let subscription = Subscription {
        session: from.session,
        identifier,
        terms,
    };
    if let Some(node) = add(&filter, subscription, options.retain_handling, state) {
        replays.push(node);
    }
    answers.codes.push(qos.bits());
}

/// Bytes that a subscription takes, at most; 0 where the session has it already, or nobody asks.
fn lacking_bytes(filter: &TopicFilter<'_>, id: SessionId, state: &State) -> usize {
    if !state.memory.is_limited() || state.subscriptions.holds(filter, id) {
        return 0;
    }
    let levels = filter.levels().count() * limits::LEVEL_BYTES;
    let groups = match filter.share_name() {
        Some(_) => state.subscriptions.group_growth(),
        None => 0,
    };
    filter.whole().len() + levels + groups + limits::SUBSCRIPTION_BYTES
}

/// `Choice:` 3.1 cannot be told that there is no subscription. Its connection ends before any
/// filter takes effect, rather than that its client waits for messages that will not come.
fn check_room(
    from: Sender,
    packet: &Subscribe<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let map = state.topic_map(from.conn);
    let lacking = packet.iter().filter_map(|(text, _)| {
        let inward = map.filter_inward(&TopicFilter::new(text).ok()?)?;
        let filter = TopicFilter::new(&inward).ok()?;
        Some(lacking_bytes(&filter, from.session, state))
    });
    let bytes = lacking.sum();
    if bytes == 0 || state.memory.holds(bytes, limits::MEMORY_QUEUES) {
        return Ok(());
    }
    let State { memory, stats, .. } = state;
    memory.refuse(Refused::Subscription, bytes, stats, now);
    Err(Cause::MemoryShort)
}

/// How SUBACK says that there is no subscription.
fn failure(reason: ReasonCode, options: SubscriptionOptions, version: ProtocolVersion) -> u8 {
    match (version.has_reason_codes(), version.has_suback_failure()) {
        (true, _) => reason.value(),
        (false, true) => ReasonCode::UnspecifiedError.value(),
        // 3.1 has no way to say so.
        (false, false) => options.qos.bits(),
    }
}

/// Adds a subscription; its node if retained messages are to follow [MQTT5-3.3.1-9]
/// [MQTT5-3.3.1-10] [MQTT5-3.3.1-11]. They never follow a shared one [MQTT5 §4.8.2].
fn add(
    filter: &TopicFilter<'_>,
    subscription: Subscription,
    handling: RetainHandling,
    state: &mut State,
) -> Option<NodeId> {
    let session = state.sessions.get_mut(subscription.session)?;
    if let Some(name) = filter.share_name() {
        let (group, is_new) = state.subscriptions.join(name, filter, subscription);
        if is_new {
            session.note_group(group);
        }
        let journal = &mut state.effects.journal;
        journal.subscribed(session, filter.whole(), Some(group), &subscription);
        return None;
    }
    let journal = &mut state.effects.journal;
    journal.subscribed(session, filter.whole(), None, &subscription);
    let subscribed = state.subscriptions.subscribe(filter, subscription);
    if subscribed.is_new {
        session.subscriptions.insert(subscribed.node);
    }
    match handling {
        RetainHandling::Send => Some(subscribed.node),
        RetainHandling::SendIfNew => subscribed.is_new.then_some(subscribed.node),
        RetainHandling::DoNotSend => None,
    }
}

/// An UNSUBSCRIBE has come.
///
/// # Errors
/// Why the connection must end.
pub fn unsubscribe(
    from: Sender,
    packet: &Unsubscribe<'_>,
    state: &mut State,
    now: Now,
) -> Result<(), Cause> {
    let version = version_of(from, state);
    let code_count = match version.has_reason_codes() {
        true => packet.iter().count(),
        false => 0, // [MQTT §3.11.3]
    };
    check_answer_fits(from, code_count, state)?;
    check_steps(code_count, state, now)?;
    for text in packet.iter() {
        check(text, SubscriptionOptions::default(), version)?;
    }
    let mut answers = Answers::default();
    for text in packet.iter() {
        match TopicFilter::new(text) {
            Ok(filter) => {
                let mapped = state.topic_map(from.conn).filter_inward(&filter);
                let mapped = mapped.as_deref().map(TopicFilter::new);
                let is_removed = match mapped {
                    Some(Ok(filter)) => remove(&filter, from.session, state),
                    Some(Err(_)) | None => false,
                };
                let reason = match is_removed {
                    true => {
                        log_unsubscribed(from, text, state);
                        ReasonCode::Success
                    }
                    false => ReasonCode::NoSubscriptionExisted,
                };
                answers.codes.push(reason.value());
            }
            Err(error) => answers.refuse(ReasonCode::TopicFilterInvalid.value(), text, &error),
        }
    }
    if !version.has_reason_codes() {
        answers.codes.clear(); // [MQTT §3.11.3]: an UNSUBACK of 3.x has no payload.
    }
    answer(
        from,
        packet.packet_identifier,
        answers,
        PacketType::UnsubAck,
        state,
    );
    Ok(())
}

fn log_unsubscribed(from: Sender, text: &str, state: &State) {
    if let Some(session) = state.sessions.get(from.session) {
        log::debug!(target: "unsubscribe", "{} {text}", session.client_identifier());
    }
}

/// Removes a subscription by its text, character by character [MQTT-3.10.4-1] [MQTT5-3.10.4-1];
/// whether there was one.
fn remove(filter: &TopicFilter<'_>, id: SessionId, state: &mut State) -> bool {
    if let Some(name) = filter.share_name() {
        let Some(group) = state.subscriptions.find_group(name, filter) else {
            return false;
        };
        let was_member = state.subscriptions.leave(group, id);
        if let Some(session) = state.sessions.get_mut(id).filter(|_| was_member) {
            let journal = &mut state.effects.journal;
            journal.unsubscribed(id, session, filter.whole());
            session.forget_group(group);
        }
        return was_member;
    }
    let Some(node) = state.subscriptions.unsubscribe(filter, id) else {
        return false;
    };
    if let Some(session) = state.sessions.get_mut(id) {
        session.subscriptions.remove(node);
        let journal = &mut state.effects.journal;
        journal.unsubscribed(id, session, filter.whole());
    }
    replay::cancel(node, id, state);
    true
}

/// Whether the client takes a SUBACK or UNSUBACK with so many codes. It cannot be left unanswered,
/// nor be sent more than it takes [MQTT5-3.1.2-24]: before anything is done, the connection ends.
fn check_answer_fits(from: Sender, code_count: usize, state: &State) -> Result<(), Cause> {
    let client = state.clients.get(from.conn);
    let maximum = client.map_or(0, |client| client.maximum_packet_size);
    match code_count + answer_bytes(code_count) > maximum as usize {
        true => Err(Cause::AnswerTooLarge),
        false => Ok(()),
    }
}

/// Whether there is memory for answering so many filters, whatever becomes of each.
fn check_steps(count: usize, state: &mut State, now: Now) -> Result<(), Cause> {
    let bytes = count * limits::SUBSCRIBE_STEP_BYTES;
    if state.memory.holds(bytes, limits::MEMORY_CONNECTIONS) {
        return Ok(());
    }
    let State { memory, stats, .. } = state;
    memory.refuse(Refused::Packet, bytes, stats, now);
    Err(Cause::MemoryShort)
}

/// Bytes of a SUBACK or UNSUBACK around its codes, without properties, at most: fixed header, Packet
/// Identifier, Property Length.
fn answer_bytes(code_count: usize) -> usize {
    let length = u32::try_from(code_count + 3).unwrap_or(u32::MAX);
    4 + variable_bytes(length) as usize
}

/// Sends SUBACK or UNSUBACK: one code a filter, in order [MQTT-3.8.4-5] [MQTT5-3.8.4-6].
fn answer(
    from: Sender,
    packet_identifier: PacketIdentifier,
    answers: Answers,
    packet_type: PacketType,
    state: &mut State,
) {
    let State {
        clients,
        effects,
        stats,
        ..
    } = state;
    let Some(client) = clients.get_mut(from.conn) else {
        return;
    };
    let version = client.version;
    let mut properties = Vec::new();
    let may_tell = client.problem_information && version.has_properties();
    if let Some(sentence) = answers.sentence.as_ref().filter(|_| may_tell) {
        let sentence = super::clip(sentence);
        Property::ReasonString(sentence).encode(&mut properties);
    }
    // Fixed header, Packet Identifier, Property Length: at most 11 bytes.
    let bytes = properties.len() + answers.codes.len() + 11;
    if bytes > client.maximum_packet_size as usize {
        properties.clear(); // [MQTT5-3.9.2-1] [MQTT5-3.11.2-1]
    }
    let suback = SubAck {
        packet_identifier,
        properties: Properties::trusted(&properties),
        codes: &answers.codes,
    };
    client::send(client, from.conn, effects, stats, |out| match packet_type {
        PacketType::UnsubAck => suback.encode_unsuback(version, out),
        _ => suback.encode(version, out),
    });
}

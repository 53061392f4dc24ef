//! CONNECT [MQTT §3.1] [MQTT5 §3.1]: who may come in, which session it goes on with, and what
//! CONNACK tells it.

use super::cause::Cause;
use super::client::{self, Stage};
use super::disconnect::{close_connection, connection_level, end_session, session_due};
use super::key::{ConnId, SessionId};
use super::memory::Refused;
use super::session::{NEVER_EXPIRES, Session, bounded_expiry};
use super::state::{Chance, State};
use super::timers::TimerKey;
use super::will;
use crate::codec::connect::{ConnAck, Connect};
use crate::codec::dialect::ProtocolVersion;
use crate::codec::property::{Properties, Property};
use crate::codec::reason::ReasonCode;
use crate::config::{Config, Listener, LogWording, Versions};
use crate::limits;
use crate::message::{Identity, QoS};
use crate::policy::hash::Cost;
use crate::policy::{Admission, Refusal};
use crate::time::{Mono, Now};
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// What the client is told because it may assume otherwise.
#[derive(Debug, Default)]
struct Told {
    assigned_client_identifier: bool,
    server_keep_alive_s: Option<u16>,
    session_expiry_interval_s: Option<u32>,
}

/// What has become of a CONNECT that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is answered.
    Done,
    /// Its password must be hashed, for which there is no time now. Nothing has changed.
    Waits,
}

/// Whether there is time for what is slow on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// A password may be hashed now.
    Now,
    /// Others must have their turn first.
    Later,
}

/// A first CONNECT has come, or it has waited and its turn has come.
///
/// # Errors
/// Why it is refused.
pub fn connect(
    conn: ConnId,
    packet: &Connect<'_>,
    hashing: Hashing,
    state: &mut State,
    now: Now,
) -> Result<Entry, Cause> {
    if packet.properties.authentication_method().is_some() {
        return Err(Cause::AuthenticationMethod); // [MQTT5-4.12.0-1]
    }
    let config = Rc::clone(&state.config);
    let Some(listener) = listener_of(conn, state, &config) else {
        return Ok(Entry::Done);
    };
    if !is_accepted(packet.version, listener.accept_protocol_versions) {
        return Err(Cause::VersionNotAccepted(packet.version)); // [MQTT-3.1.2-2] [MQTT5-3.1.2-2]
    }
    let bytes = bytes_needed(packet, state);
    if !state.memory.holds(bytes, limits::MEMORY_CONNECTIONS) {
        return Err(short(bytes, state, now));
    }
    let mut told = Told::default();
    let keep_alive_s = keep_alive(packet, &config, &mut told)?;
    let username = username(conn, packet, listener, state)?;
    let identity = identify(conn, packet, username, listener, state, &mut told)?;
    let is_certified = listener.tls.names_clients();
    if !is_certified
        && authenticate(&identity, packet.password, hashing, state, now)? == Entry::Waits
    {
        return Ok(Entry::Waits);
    }
    let will = packet
        .will
        .as_ref()
        .map(|will| will::keep(will, listener, &config))
        .transpose()?;
    let mut properties = Vec::new();
    if is_one_too_many(&identity.client_identifier, state) {
        return Err(Cause::TooManySessions);
    }
    let expiry_interval_s = bounded_expiry(session_expiry(packet), &config);
    if expiry_interval_s != session_expiry(packet) {
        told.session_expiry_interval_s = Some(expiry_interval_s);
    }
    if packet.version.has_properties() {
        tell(&identity, &told, listener, &config, &mut properties);
    }
    let connack = ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: Properties::trusted(&properties),
    };
    if !fits(&connack, conn, state) {
        return Err(Cause::ConnAckTooLarge); // [MQTT5-3.1.2-24]
    }

    let resumed = displace(
        conn,
        &identity.client_identifier,
        packet.clean_start,
        state,
        now,
    );
    let is_resumed = resumed.is_some();
    let id = match resumed {
        Some(id) => id,
        None => {
            let session = Session::new(Rc::clone(&identity), Some(conn), expiry_interval_s);
            state.sessions.insert(session)
        }
    };
    if let Some(session) = state.sessions.get_mut(id) {
        let was_lasting = is_resumed && session.is_lasting();
        let had_will = session.will.is_some();
        session.identity = Rc::clone(&identity);
        session.conn = Some(conn);
        session.expiry_interval_s = expiry_interval_s;
        session.will = will;
        session.will_at = Mono::NEVER; // [MQTT5-3.1.3-9]
        session.ends_at = Mono::NEVER;
        let journal = &mut state.effects.journal;
        journal.session(id, session, was_lasting, &config);
        if had_will || session.will.is_some() {
            journal.will(id, session);
        }
    }
    open(conn, id, packet, keep_alive_s, listener, state);
    log_connected(conn, packet, keep_alive_s, &identity, state);
    state.strangers.remove(&conn);
    let connack = ConnAck {
        session_present: is_resumed,
        ..connack
    };
    acknowledge(conn, &identity, &connack, state);
    if let Some(client) = state.clients.get_mut(conn).filter(|_| is_resumed) {
        state.effects.journal.vouch(conn, &mut client.is_held);
    }
    if let Some(mut line) = state.line(id).filter(|_| is_resumed) {
        line.resume(now);
    }
    Ok(Entry::Done)
}

/// Whether the policy lets this client in: decided now, unless that takes a hash and there is no
/// time for one.
fn authenticate(
    identity: &Identity,
    password: Option<&[u8]>,
    hashing: Hashing,
    state: &mut State,
    now: Now,
) -> Result<Entry, Cause> {
    let admission = state.policy.admit(identity, password);
    let check = match admission.map_err(Cause::Refused)? {
        Admission::Granted => return Ok(Entry::Done),
        Admission::Check(check) => check,
    };
    if hashing == Hashing::Later && check.cost_hint() != Cost::default() {
        return Ok(Entry::Waits);
    }
    let bytes = check.cost_hint().memory_bytes;
    if !state.memory.holds(bytes, limits::MEMORY_CONNECTIONS) {
        return Err(short(bytes, state, now));
    }
    match check.run() {
        true => Ok(Entry::Done),
        false => Err(Cause::Refused(Refusal::Credentials)),
    }
}

/// Bytes that letting a client in takes, at most.
fn bytes_needed(packet: &Connect<'_>, state: &State) -> usize {
    let will = packet.will.as_ref();
    let will_bytes = will.map_or(0, |will| {
        will.topic.len() + will.properties.as_bytes().len() + will.payload.len()
    });
    let count = state.sessions.len();
    let tables = match count.is_power_of_two() {
        true => count * limits::SESSION_TABLE_BYTES,
        false => 0,
    };
    let names = packet.client_identifier.len() + packet.username.map_or(0, str::len);
    let password = packet.password.map_or(0, <[u8]>::len);
    2 * (names + password + will_bytes) + tables + limits::SESSION_BYTES
}

/// Counts a client that is not let in because of `bytes` that there are not.
fn short(bytes: usize, state: &mut State, now: Now) -> Cause {
    let State { memory, stats, .. } = state;
    memory.refuse(Refused::Connection, bytes, stats, now);
    Cause::MemoryShort
}

fn listener_of<'c>(conn: ConnId, state: &State, config: &'c Config) -> Option<&'c Listener> {
    let client = state.clients.get(conn)?;
    config.listeners.get(client.peer.listener())
}

fn is_accepted(version: ProtocolVersion, accepted: Versions) -> bool {
    match version {
        ProtocolVersion::V31 => accepted.v3_1,
        ProtocolVersion::V311 => accepted.v3_1_1,
        ProtocolVersion::V5 => accepted.v5_0,
    }
}

/// The Keep Alive in force. Above `max_keepalive` 5.0 is told a shorter one [MQTT5-3.1.2-21]
/// [MQTT5-3.2.2-22]; 3.x cannot be told and is refused, as mosquitto does.
fn keep_alive(packet: &Connect<'_>, config: &Config, told: &mut Told) -> Result<u16, Cause> {
    let maximum = config.max_keepalive;
    let asked = packet.keep_alive_s;
    if maximum == 0 || (1..=maximum).contains(&asked) {
        return Ok(asked);
    }
    if !packet.version.has_properties() {
        return Err(Cause::KeepAliveTooLong(maximum));
    }
    told.server_keep_alive_s = Some(maximum);
    Ok(maximum)
}

/// What the client is called: as its certificate says, where that counts, or else as it says.
fn username(
    conn: ConnId,
    packet: &Connect<'_>,
    listener: &Listener,
    state: &State,
) -> Result<Option<Box<str>>, Cause> {
    if !listener.tls.names_clients() {
        // Choice: an empty username is none, as with mosquitto.
        let given = packet.username.filter(|name| !name.is_empty());
        return Ok(given.map(Box::from));
    }
    let tls = state.strangers.get(&conn);
    let name = match listener.tls.use_subject_as_username {
        true => tls.and_then(|tls| tls.subject.as_deref()),
        false => tls.and_then(|tls| tls.common_name.as_deref()),
    };
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Ok(Some(name.into())),
        None => Err(Cause::NoCertificateName),
    }
}

/// Who this is: by its own Client Identifier, its username where that takes its place, or an
/// identifier made up for it.
fn identify(
    conn: ConnId,
    packet: &Connect<'_>,
    username: Option<Box<str>>,
    listener: &Listener,
    state: &mut State,
    told: &mut Told,
) -> Result<Rc<Identity>, Cause> {
    let mut client_identifier: Box<str> = packet.client_identifier.into();
    if listener.use_username_as_clientid {
        told.assigned_client_identifier = client_identifier.is_empty();
        client_identifier = username.clone().unwrap_or_default();
        if client_identifier.is_empty() {
            return Err(Cause::NoUsername);
        }
    } else if client_identifier.is_empty() {
        let may_be_assigned = match packet.version {
            ProtocolVersion::V31 => false,               // [MQTT31 §3.1]
            ProtocolVersion::V311 => packet.clean_start, // [MQTT-3.1.3-7] [MQTT-3.1.3-8]
            ProtocolVersion::V5 => true,                 // [MQTT5-3.1.3-6]
        };
        if !may_be_assigned || !listener.security.allow_zero_length_clientid {
            return Err(Cause::NoClientIdentifier);
        }
        client_identifier = assign(&listener.security.auto_id_prefix, state);
        told.assigned_client_identifier = true;
    }
    let prefix = state.config.clientid_prefixes.as_deref();
    if !client_identifier.starts_with(prefix.unwrap_or_default()) {
        return Err(Cause::ClientIdentifierPrefix);
    }
    let client = state.clients.get(conn);
    Ok(Rc::new(Identity {
        client_identifier,
        username,
        listener: client.map_or(usize::MAX, |client| client.peer.listener()),
    }))
}

/// Whether this client needs a session of its own above `global_max_clients`.
fn is_one_too_many(client_identifier: &str, state: &State) -> bool {
    let maximum = usize::try_from(state.config.global_max_clients).unwrap_or(usize::MAX);
    maximum != 0
        && state.sessions.len() >= maximum
        && state.sessions.find(client_identifier).is_none()
}

/// A Client Identifier that nobody has [MQTT-3.1.3-6] [MQTT5-3.2.2-16].
fn assign(prefix: &str, state: &mut State) -> Box<str> {
    loop {
        let identifier = format!("{prefix}{}", uuid(&mut state.chance));
        if state.sessions.find(&identifier).is_none() {
            return identifier.into();
        }
    }
}

/// A random UUID (version 4), in capitals as mosquitto writes it.
fn uuid(chance: &mut Chance) -> String {
    let high = (chance.next() & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (chance.next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Seconds the session outlives this connection. 3.x: without end, or with Clean Session not at all.
fn session_expiry(packet: &Connect<'_>) -> u32 {
    match (packet.version.has_properties(), packet.clean_start) {
        (true, _) => packet.properties.session_expiry_interval().unwrap_or(0),
        (false, true) => 0,
        (false, false) => NEVER_EXPIRES,
    }
}

/// Ends the connection that has this Client Identifier [MQTT-3.1.4-2] [MQTT5-3.1.4-3], and with
/// `clean_start` its session [MQTT-3.1.2-6] [MQTT5-3.1.2-4]; the session to go on with, if any.
fn displace(
    new: ConnId,
    client_identifier: &str,
    clean_start: bool,
    state: &mut State,
    now: Now,
) -> Option<SessionId> {
    let old = state.sessions.find(client_identifier)?;
    // Packets are read before timers fire: it may be past its end [MQTT5-4.1.0-2].
    session_due(old, state, now);
    let old = state.sessions.find(client_identifier)?;
    if let Some(conn) = state.sessions.get(old)?.conn {
        let State {
            clients, notices, ..
        } = state;
        if let (Some(old), Some(new)) = (clients.get(conn), clients.get(new)) {
            notices.taken_over(client_identifier, &old.peer, &new.peer, now.mono);
        }
        close_connection(conn, Cause::SessionTakenOver, state, now);
    }
    // It may have ended with its connection.
    let old = state.sessions.find(client_identifier)?;
    if clean_start {
        end_session(old, state, now);
        return None;
    }
    Some(old)
}

/// Makes the connection an active one.
fn open(
    conn: ConnId,
    id: SessionId,
    packet: &Connect<'_>,
    keep_alive_s: u16,
    listener: &Listener,
    state: &mut State,
) {
    let State {
        clients,
        timers,
        config,
        ..
    } = state;
    let Some(client) = clients.get_mut(conn) else {
        return;
    };
    let properties = &packet.properties;
    let window = NonZeroU16::new(config.max_inflight_messages).unwrap_or(NonZeroU16::MAX);
    client.stage = Stage::Active(id);
    client.bridge = packet.bridge;
    client.max_qos = listener.max_qos;
    client.is_mapped = listener.mount_point.is_some();
    client.silence_max_ms = u64::from(keep_alive_s) * 1500; // [MQTT-3.1.2-24] [MQTT5-3.1.2-22]
    client.window = window
        .min(properties.receive_maximum().unwrap_or(NonZeroU16::MAX))
        .get();
    client.maximum_packet_size = client.maximum_packet_size.min(config.packet_bytes_max());
    client.topic_alias_maximum = properties
        .topic_alias_maximum()
        .unwrap_or(0)
        .min(listener.max_topic_alias_broker);
    client.note_relay();
    client.problem_information = properties.request_problem_information().unwrap_or(true);
    timers.arm(
        TimerKey::Connection(conn),
        client.silent_at(),
        &mut client.timer_at,
    );
}

fn log_connected(
    conn: ConnId,
    packet: &Connect<'_>,
    keep_alive_s: u16,
    identity: &Identity,
    state: &State,
) {
    let Some(client) = state.clients.get(conn) else {
        return;
    };
    let kind = if packet.bridge { "bridge" } else { "client" };
    let username = match &identity.username {
        Some(username) => format!(", u'{username}'"),
        None => String::new(),
    };
    log::log!(
        connection_level(&state.config),
        "New {kind} connected from {} as {} (p{}, c{}, k{keep_alive_s}{username}).",
        client.peer,
        identity.client_identifier,
        logged_version(packet.version, state.config.midge_log_wording),
        u8::from(packet.clean_start)
    );
    if let Some(tls) = state.strangers.get(&conn) {
        log::log!(
            connection_level(&state.config),
            "Client {} negotiated {} cipher {}",
            identity.client_identifier,
            tls.version,
            tls.cipher
        );
    }
    if let Some(will) = &packet.will {
        log::debug!(
            "Will message specified ({} bytes) (r{}, q{}): {}",
            will.payload.len(),
            u8::from(will.retain),
            will.qos.bits(),
            will.topic
        );
    }
}

/// The number of a version in the log: mosquitto 2.0 counted 1, 2, 5.
fn logged_version(version: ProtocolVersion, wording: LogWording) -> u8 {
    match (wording, version) {
        (LogWording::V2_0, ProtocolVersion::V31) => 1,
        (LogWording::V2_0, ProtocolVersion::V311) => 2,
        _ => version.level(),
    }
}

/// Whether the client takes a packet as long as this one.
fn fits(connack: &ConnAck<'_>, conn: ConnId, state: &State) -> bool {
    let Some(client) = state.clients.get(conn) else {
        return false;
    };
    let mut bytes = Vec::new();
    connack.encode(client.version, &mut bytes);
    bytes.len() <= client.maximum_packet_size as usize
}

/// Sends a CONNACK that lets the client in.
fn acknowledge(conn: ConnId, identity: &Identity, connack: &ConnAck<'_>, state: &mut State) {
    let State {
        clients,
        effects,
        stats,
        ..
    } = state;
    let Some(client) = clients.get_mut(conn) else {
        return;
    };
    let version = client.version;
    log::debug!(
        "Sending CONNACK to {} ({}, 0)",
        identity.client_identifier,
        u8::from(connack.session_present)
    );
    client::send(client, conn, effects, stats, |out| {
        connack.encode(version, out);
    });
}

/// The properties of a CONNACK, in mosquitto's order: some clients' tests compare bytes.
fn tell(identity: &Identity, told: &Told, listener: &Listener, config: &Config, out: &mut Vec<u8>) {
    if told.assigned_client_identifier {
        Property::AssignedClientIdentifier(&identity.client_identifier).encode(out);
    }
    if let Some(interval_s) = told.session_expiry_interval_s {
        Property::SessionExpiryInterval(interval_s).encode(out); // [MQTT5 §3.2.2.3.2]
    }
    if let Some(keep_alive_s) = told.server_keep_alive_s {
        Property::ServerKeepAlive(keep_alive_s).encode(out);
    }
    if listener.max_qos < QoS::ExactlyOnce {
        Property::MaximumQoS(listener.max_qos == QoS::AtLeastOnce).encode(out); // [MQTT5-3.2.2-9]
    }
    if !config.retain_available {
        Property::RetainAvailable(false).encode(out);
    }
    if listener.max_topic_alias > 0 {
        Property::TopicAliasMaximum(listener.max_topic_alias).encode(out);
    }
    if let Some(bytes) = NonZeroU32::new(config.max_packet_size) {
        Property::MaximumPacketSize(bytes).encode(out);
    }
    if let Some(messages) = NonZeroU16::new(config.max_inflight_messages) {
        Property::ReceiveMaximum(messages).encode(out);
    }
}

/// Sends a CONNACK that refuses, where the version has one for this cause [MQTT-3.2.2-4]
/// [MQTT5-3.1.4-2], in the length that the client takes.
pub fn refuse(conn: ConnId, version: ProtocolVersion, cause: &Cause, state: &mut State) {
    let reason = match (cause, version.has_reason_codes()) {
        // Choice: 3.x has no word for it either; it is mosquitto's, which the client can act on.
        (Cause::WillTooLarge, false) => ReasonCode::NotAuthorized,
        (cause, _) => cause.reason(),
    };
    let sayable = matches!(
        reason,
        ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::ClientIdentifierNotValid
            | ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::QuotaExceeded
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
    );
    // [MQTT-3.1.4-1]: what else is wrong with a CONNECT of 3.x gets no answer.
    if !version.has_reason_codes() && !sayable {
        return;
    }
    if let Some(client) = state.clients.get_mut(conn) {
        client.version = version;
    }
    let mut properties = Vec::new();
    let sentence = cause.to_string();
    Property::ReasonString(super::clip(&sentence)).encode(&mut properties);
    let mut connack = ConnAck {
        session_present: false, // [MQTT-3.2.2-4] [MQTT5-3.2.2-6]
        reason,
        properties: Properties::trusted(&properties),
    };
    if !fits(&connack, conn, state) {
        connack.properties = Properties::default(); // [MQTT5-3.2.2-19]
    }
    if !fits(&connack, conn, state) {
        return; // [MQTT5-3.1.2-24]
    }
    let State {
        clients,
        effects,
        stats,
        ..
    } = state;
    if let Some(client) = clients.get_mut(conn) {
        client::send(client, conn, effects, stats, |out| {
            connack.encode(version, out);
        });
    }
}

//! How connections and sessions end [MQTT §3.14, §4.1] [MQTT5 §3.14, §4.1]. Every end of a
//! connection, whoever wants it, comes through [`end_connection`].

use super::cause::Cause;
use super::client::{self, Client, Stage};
use super::distribute::deliver_shared;
use super::key::{ConnId, SessionId};
use super::publish::Sender;
use super::replay;
use super::session::{NEVER_EXPIRES, Session, bounded_expiry};
use super::state::State;
use super::timers::TimerKey;
use super::will;
use crate::codec::control::Disconnect;
use crate::codec::dialect::ProtocolVersion;
use crate::codec::packet::Packet;
use crate::codec::property::{Properties, Property};
use crate::codec::reason::ReasonCode;
use crate::config::{Config, LogWording};
use crate::time::{Mono, Now};
use log::Level;
use std::rc::Rc;

/// What mosquitto calls a client that has not said who it is.
const UNKNOWN: &str = "<unknown>";

/// A DISCONNECT has come.
///
/// # Errors
/// Why the connection must end: it always must.
pub fn disconnect(from: Sender, packet: &Disconnect<'_>, state: &mut State) -> Result<(), Cause> {
    let interval_s = packet.properties.session_expiry_interval();
    let session = state.sessions.get_mut(from.session);
    if let (Some(session), Some(interval_s)) = (session, interval_s) {
        if session.expiry_interval_s == 0 && interval_s != 0 {
            return Err(Cause::SessionExpiryRevived); // [MQTT5-3.14.2-2]
        }
        let was_lasting = session.is_lasting();
        session.expiry_interval_s = bounded_expiry(interval_s, &state.config);
        if was_lasting && !session.is_lasting() {
            let journal = &mut state.effects.journal;
            journal.session(from.session, session, true, &state.config);
        }
    }
    match packet.reason {
        ReasonCode::Success => Err(Cause::Disconnect),
        _ => Err(Cause::DisconnectWithWill), // [MQTT5-3.14.4-3]
    }
}

/// Ends a connection that is still there, and asks the shell to close it. Its slot is freed when
/// the shell has.
pub fn close_connection(conn: ConnId, cause: Cause, state: &mut State, now: Now) {
    if end_connection(conn, cause, state, now) {
        state.effects.closes.push(conn);
    }
}

/// As [`close_connection`] for a client that is not let in, and is called so in the log.
pub fn turn_away(conn: ConnId, name: &str, cause: Cause, state: &mut State, now: Now) {
    let name = if name.is_empty() { UNKNOWN } else { name };
    if end(conn, name, cause, state, now) {
        state.effects.closes.push(conn);
    }
}

/// Ends a connection, unless that was done already: tells the peer where it can be told, and lets
/// go of its session.
pub fn end_connection(conn: ConnId, cause: Cause, state: &mut State, now: Now) -> bool {
    end(conn, UNKNOWN, cause, state, now)
}

/// Ends a connection; `stranger` is what a client without a session is called in the log.
fn end(conn: ConnId, stranger: &str, cause: Cause, state: &mut State, now: Now) -> bool {
    let State {
        clients,
        effects,
        sessions,
        stats,
        config,
        ..
    } = state;
    let stage = clients.begin_closing(conn).unwrap_or(Stage::Closing);
    let Some(client) = clients.get_mut(conn).filter(|_| stage != Stage::Closing) else {
        return false;
    };
    client.aliases = None;
    let may_tell = client.version.has_server_disconnect() && !cause.is_by_peer();
    if matches!(stage, Stage::Active(_)) && may_tell {
        let maximum = client.maximum_packet_size;
        client::send(client, conn, effects, stats, |out| {
            encode_disconnect(&cause, maximum, out)
        });
    }
    let name = match stage {
        Stage::Active(id) => sessions.get(id).map(Session::client_identifier),
        Stage::Silent | Stage::AwaitConnect | Stage::Authenticate | Stage::Closing => None,
    };
    log_end(name.unwrap_or(stranger), stage, client, &cause, config);
    if stage == Stage::Authenticate {
        state.logins.forget(conn);
        // The shell has stopped reading from it.
        state.effects.again.push(conn);
    }
    if let Stage::Active(id) = stage {
        leave(id, &cause, state, now);
    }
    true
}

/// How much a connection that comes or goes matters in the log.
pub fn connection_level(config: &Config) -> Level {
    match config.connection_messages {
        true => Level::Info,
        false => Level::Debug,
    }
}

fn log_end(name: &str, stage: Stage, client: &Client, cause: &Cause, config: &Config) {
    // A health probe opens and closes, and must not fill the log.
    let is_probe = stage == Stage::Silent && cause.is_by_peer();
    // Said already, as often as is good.
    let is_denied = matches!(cause, Cause::TooManyConnections | Cause::MemoryShort);
    let level = match is_probe || is_denied {
        true => Level::Debug,
        false => connection_level(config),
    };
    if log::log_enabled!(level) {
        let line = match config.midge_log_wording {
            LogWording::V2_0 => cause.log_line_2_0(name),
            LogWording::V2_1 => cause.log_line(name, &client.peer),
        };
        log::log!(level, "{line}");
    }
}

/// DISCONNECT with a Reason String, if that leaves it within `maximum` bytes [MQTT5-3.14.2-3].
fn encode_disconnect(cause: &Cause, maximum: u32, out: &mut Vec<u8>) {
    let sentence = cause.to_string();
    let mut properties = Vec::new();
    Property::ReasonString(super::clip(&sentence)).encode(&mut properties);
    // Fixed header, Reason Code, Property Length: at most 8 bytes.
    if properties.len() + 8 > maximum as usize {
        properties.clear();
    }
    let packet = Packet::Disconnect(Disconnect {
        reason: cause.reason(),
        properties: Properties::trusted(&properties),
    });
    packet.encode(ProtocolVersion::V5, out);
}

/// The connection of a session is gone: decides over its Will and how long it lasts.
fn leave(id: SessionId, cause: &Cause, state: &mut State, now: Now) {
    let Some(session) = state.sessions.get_mut(id) else {
        return;
    };
    session.conn = None;
    if let Some(flights) = &mut session.flights {
        flights.connection_lost();
    }
    let journal = &mut state.effects.journal;
    if cause.deletes_will() && session.will.take().is_some() {
        journal.will(id, session);
    }
    if session.expiry_interval_s == 0 {
        end_session(id, state, now); // [MQTT-3.1.2-6] [MQTT5-3.1.2-23]
        return;
    }
    session.ends_at = match session.expiry_interval_s {
        NEVER_EXPIRES => Mono::NEVER,
        interval_s => now.mono.plus_s(u64::from(interval_s)),
    };
    let delay_s = session.will.as_ref().map(|will| will.delay_interval_s);
    // What is remembered is published by the next process, when it is due.
    let is_last_chance = *cause == Cause::ServerShuttingDown && !journal.is_on();
    let is_will_due = matches!(delay_s, Some(0)) || is_last_chance;
    if let Some(delay_s) = delay_s.filter(|_| !is_will_due) {
        session.will_at = now.mono.plus_s(u64::from(delay_s));
    }
    journal.session(id, session, true, &state.config);
    arm(id, state);
    if is_will_due {
        publish_will(id, state, now);
    }
}

/// Arms the timer of an absent session for whatever comes next.
pub fn arm(id: SessionId, state: &mut State) {
    let State {
        sessions, timers, ..
    } = state;
    let Some(session) = sessions.get_mut(id) else {
        return;
    };
    let at = session.will_at.min(session.ends_at);
    timers.arm(TimerKey::Session(id), at, &mut session.timer_at);
}

/// Does what is due of an absent session, and arms its timer for what comes next.
pub fn session_due(id: SessionId, state: &mut State, now: Now) {
    let Some(session) = state.sessions.get_mut(id) else {
        return;
    };
    if session.conn.is_some() {
        return;
    }
    if session.ends_at <= now.mono {
        log::info!("Client {} session expired.", session.client_identifier());
        state.stats.sessions_expired += 1;
        end_session(id, state, now);
        return;
    }
    if session.will_at <= now.mono {
        publish_will(id, state, now);
    }
    arm(id, state);
}

/// Publishes the Will of a session, if it has one, and deletes it [MQTT-3.1.2-10] [MQTT5-3.1.2-10].
pub fn publish_will(id: SessionId, state: &mut State, now: Now) {
    let Some(session) = state.sessions.get_mut(id) else {
        return;
    };
    session.will_at = Mono::NEVER;
    let Some(message) = session.will.take() else {
        return;
    };
    state.effects.journal.will(id, session);
    let identity = Rc::clone(&session.identity);
    will::publish_will(&message, &identity, state, now);
}

/// Ends a session that is not connected: its subscriptions and queues go; what it shared goes to
/// other members; a Will that waited is published [MQTT5-3.1.2-8].
pub fn end_session(id: SessionId, state: &mut State, now: Now) {
    let Some(mut session) = state.sessions.remove(id) else {
        return;
    };
    debug_assert!(session.conn.is_none(), "its connection ends first");
    session.end_dropping("whose session has ended");
    state.effects.journal.ended(id, &mut session);
    for node in session.subscriptions {
        state.subscriptions.remove(node, id);
    }
    for group in session
        .shared
        .into_iter()
        .flat_map(|groups| groups.into_iter())
    {
        state.subscriptions.leave(group, id);
    }
    replay::forget(session.replays, id, state);
    for delivery in session
        .flights
        .into_iter()
        .flat_map(|flights| flights.into_shared())
    {
        if let Some(group) = delivery.group {
            let mut publication = delivery.message.publication();
            deliver_shared(&mut publication, group, state, now);
        }
    }
    if let Some(message) = session.will {
        will::publish_will(&message, &session.identity, state, now);
    }
}

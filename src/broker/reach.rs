//! What would become of a message given to a session: whether it may wait, and where there is room
//! for it. Apart from `deliver.rs` because these questions are asked before anything is done.

use super::client::{Client, Clients};
use super::key::SessionId;
use super::session::{Session, Sessions};
use super::subscriptions::Reach;
use crate::config::Config;
use crate::limits;
use crate::message::QoS;

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

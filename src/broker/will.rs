//! The Will: kept at CONNECT, published when the connection ends badly or its delay has passed,
//! deleted when it ends well [MQTT §3.1.2.5] [MQTT5 §3.1.2.5].

use super::cause::Cause;
use super::distribute::distribute_within;
use super::publish;
use super::session::WillMessage;
use super::state::State;
use super::topic_map::TopicMap;
use crate::codec::connect::Will;
use crate::config::{Config, Listener};
use crate::limits;
use crate::message::{Identity, Publication};
use crate::time::Now;
use crate::topic::name::TopicName;
use std::rc::Rc;

/// The Will of a CONNECT as the session keeps it.
///
/// # Errors
/// Why a client with such a Will is not let in.
pub fn keep(
    will: &Will<'_>,
    listener: &Listener,
    config: &Config,
) -> Result<Box<WillMessage>, Cause> {
    let topic = TopicMap::of(listener)
        .inward(will.topic)
        .ok_or(Cause::TopicTooLong)?;
    TopicName::new(will.topic).map_err(Cause::WillTopic)?;
    TopicName::new(&topic).map_err(Cause::WillTopic)?;
    if will.qos > listener.max_qos {
        return Err(Cause::QoSNotSupported(will.qos)); // [MQTT5-3.2.2-12]
    }
    if will.retain && !config.retain_available {
        return Err(Cause::RetainNotSupported); // [MQTT5-3.2.2-13]
    }
    let payload_bytes_max = usize::try_from(config.message_size_limit).unwrap_or(usize::MAX);
    if payload_bytes_max != 0 && will.payload.len() > payload_bytes_max {
        return Err(Cause::WillTooLarge);
    }
    let mut scratch = Vec::new();
    Ok(Box::new(WillMessage {
        topic: topic.into(),
        properties: publish::lasting_properties(will.properties, &mut scratch).into(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        delay_interval_s: will.properties.will_delay_interval().unwrap_or(0),
        message_expiry_interval_s: will.properties.message_expiry_interval(),
    }))
}

/// Publishes a Will, if its client may publish there.
pub fn publish_will(will: &WillMessage, identity: &Rc<Identity>, state: &mut State, now: Now) {
    let Ok(name) = TopicName::new(&will.topic) else {
        debug_assert!(false, "checked when it was kept");
        return;
    };
    if !state.policy.may_publish(identity, &name) {
        log::info!(
            "Will of client {} denied: it may not publish to '{}'.",
            identity.client_identifier,
            will.topic
        );
        return;
    }
    let mut publication = Publication {
        topic: &will.topic,
        properties: &will.properties,
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain, // [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT5-3.1.2-14] [MQTT5-3.1.2-15]
        expires_at: publish::expires_at(will.message_expiry_interval_s, now),
        publisher: Some(identity),
        message: None,
        came: None,
        wire: None,
    };
    // `Choice:` a Will was accepted with its CONNECT, and finds room where nothing new does any more;
    // but to how many it will go nobody can know before.
    distribute_within(limits::MEMORY_WILLS, &name, &mut publication, state, now);
}

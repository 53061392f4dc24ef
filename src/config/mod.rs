//! The settings in force: one immutable value, built before the broker starts.

use crate::limits;
use crate::message::QoS;

/// What the core needs to know. Names are those of mosquitto.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// QoS 1 and 2 messages in flight to one client, and from one 5.0 client (its Receive
    /// Maximum); 0 sets no bound.
    pub max_inflight_messages: u16,
    /// QoS 1 and 2 messages waiting in one session beyond those in flight; 0 sets no bound.
    pub max_queued_messages: u32,
    /// Bytes of one packet, in and out; 0 leaves the protocol's own bound.
    pub max_packet_size: u32,
    /// Topic Aliases a client may set on one connection.
    pub max_topic_alias: u16,
    /// Topic Aliases the broker sets on one connection, if the client takes as many.
    pub max_topic_alias_broker: u16,
    /// Whether a client with overlapping subscriptions gets a message once for each of them.
    pub allow_duplicate_messages: bool,
    /// Whether a client may leave its Client Identifier to the broker.
    pub allow_zero_length_clientid: bool,
    /// What assigned Client Identifiers begin with.
    pub auto_id_prefix: String,
    /// Whether retained messages are kept at all.
    pub retain_available: bool,
    /// The highest QoS a client may publish with.
    pub max_qos: QoS,
    /// Seconds of Keep Alive a client may ask for; 0 sets no bound.
    pub max_keepalive: u16,
    /// Whether clients without a username are let in.
    pub allow_anonymous: bool,
}

impl Default for Config {
    /// What mosquitto 2.1 does without a configuration file.
    fn default() -> Self {
        Self {
            max_inflight_messages: limits::INFLIGHT_MAX_DEFAULT,
            max_queued_messages: limits::QUEUED_MESSAGES_MAX_DEFAULT,
            max_packet_size: limits::PACKET_BYTES_MAX_DEFAULT,
            max_topic_alias: limits::TOPIC_ALIAS_MAX_DEFAULT,
            max_topic_alias_broker: limits::TOPIC_ALIAS_MAX_DEFAULT,
            allow_duplicate_messages: true,
            allow_zero_length_clientid: true,
            auto_id_prefix: String::from("auto-"),
            retain_available: true,
            max_qos: QoS::ExactlyOnce,
            max_keepalive: 0,
            allow_anonymous: true,
        }
    }
}

impl Config {
    /// Bytes of one packet from a client at most.
    pub fn packet_bytes_max(&self) -> u32 {
        match self.max_packet_size {
            0 => limits::PACKET_BYTES_MAX,
            bytes => bytes.min(limits::PACKET_BYTES_MAX),
        }
    }
}

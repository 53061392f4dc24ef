//! The settings in force: one immutable value, read from mosquitto's configuration files.
//!
//! ```text
//!   bytes ──parse──▶ lines ──options──▶ Draft ──resolve──▶ Config
//!            name, rest      the table: type,      every listener with
//!                            range, default        its own settings
//! ```
//!
//! [`load::load`] goes the whole way and asks for files by name, through [`load::Files`]; nothing
//! in here opens one. The table in [`options`] is the only place that knows an option's name.

use crate::limits;
use crate::message::QoS;

pub mod bridge;
mod difference;
mod draft;
pub mod listener;
pub mod load;
pub mod log;
pub mod options;
pub mod parse;
pub mod problem;
pub mod reading;
mod render;
mod resolve;
mod sections;
pub mod value;

pub use bridge::Bridge;
pub use difference::Difference;
pub use listener::{Bind, Listener, Protocol, Security, SocketDomain, Tls, Versions};
pub use load::{FileError, Files, Input, Loaded, load, read};
pub use log::{Destinations, Log, LogTypes};
pub use parse::Place;
pub use problem::{ConfigError, Warning};
pub use reading::Reading;

/// The port of MQTT without TLS [MQTT5 §4.2].
pub const DEFAULT_PORT: u16 = 1883;

/// What the broker is set to. Names are those of mosquitto.conf.
///
/// The fields that a listener may set for itself (`allow_anonymous`, `max_qos` and their like) say
/// here what a listener has that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// QoS 1 and 2 messages in flight to one client, and from one 5.0 client (its Receive
    /// Maximum); 0 sets no bound.
    pub max_inflight_messages: u16,
    /// Bytes of QoS 1 and 2 messages in flight to one client; 0 sets no bound.
    pub max_inflight_bytes: u64,
    /// QoS 1 and 2 messages waiting in one session beyond those in flight; 0 sets no bound.
    pub max_queued_messages: u32,
    /// Bytes of messages waiting in one session beyond those in flight; 0 sets no bound.
    pub max_queued_bytes: u64,
    /// Bytes of one packet, in and out; 0 leaves the protocol's own bound.
    pub max_packet_size: u32,
    /// Bytes of one payload; 0 sets no bound.
    pub message_size_limit: u32,
    /// Bytes of heap the broker may use; 0 sets no bound.
    pub memory_limit: u64,
    /// Sessions, their clients connected or not; 0 sets no bound.
    pub global_max_clients: u32,
    /// Connections on all listeners together; 0 sets no bound.
    pub global_max_connections: u32,
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
    /// What a Client Identifier must begin with to be let in.
    pub clientid_prefixes: Option<String>,
    /// Whether retained messages are kept at all.
    pub retain_available: bool,
    /// Minutes between two sweeps for expired retained messages; 0: the broker's own pace.
    pub retain_expiry_interval: u32,
    /// Whether a retained message goes out only while its publisher still may publish it.
    pub check_retain_source: bool,
    /// The highest QoS a client may publish with.
    pub max_qos: QoS,
    /// Whether messages go out with the QoS of the subscription even where theirs is lower.
    pub upgrade_outgoing_qos: bool,
    /// Whether QoS 0 messages wait for clients that are away, too.
    pub queue_qos0_messages: bool,
    /// Seconds of Keep Alive a client may ask for; 0 sets no bound.
    pub max_keepalive: u16,
    /// Seconds a session may wait for its client; `None`: for ever.
    pub persistent_client_expiration: Option<u64>,
    /// Whether clients without a username are let in.
    pub allow_anonymous: bool,
    /// Whether each listener has security settings of its own.
    pub per_listener_settings: bool,
    /// Whether clients that come and go are logged.
    pub connection_messages: bool,
    /// Whether small packets leave at once (TCP_NODELAY).
    pub set_tcp_nodelay: bool,
    /// Seconds between two updates of `$SYS`; 0: there is no `$SYS`.
    pub sys_interval: u16,
    /// Whether `$CONTROL/broker/v1` answers.
    pub enable_control_api: bool,
    /// Where the process id is written.
    pub pid_file: Option<String>,
    /// Whose rights the process takes on; `None`: those of `mosquitto`, else of `nobody`.
    pub user: Option<String>,
    /// Bytes of a connection's read buffer in mosquitto.
    pub packet_buffer_size: u16,
    /// What is logged, how, and where to.
    pub log: Log,
    /// What is kept over a restart.
    pub persistence: Persistence,
    /// Which mosquitto's words the log speaks.
    pub midge_log_wording: LogWording,
    /// What `$SYS/broker/version` says.
    pub midge_sys_version: SysVersion,
    /// Whether no listener was asked for, so that only this machine is served.
    pub local_only: bool,
    /// Where clients connect, each with all its own settings.
    pub listeners: Vec<Listener>,
    /// The brokers to connect to.
    pub bridges: Vec<Bridge>,
}

/// What is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Whether anything is.
    pub enabled: bool,
    /// The file's name; `None`: `mosquitto.db`.
    pub file: Option<String>,
    /// The directory; `None`: the current one.
    pub location: Option<String>,
    /// Whether mosquitto would keep it with its SQLite plugin.
    pub is_by_plugin: bool,
    /// The path of that one's database; `None`: `mosquitto.sqlite3` in `location`.
    pub database: Option<String>,
    /// Seconds between two saves, or changes between them; 0: only at the end.
    pub autosave_interval: u32,
    /// Whether `autosave_interval` counts changes.
    pub autosave_on_changes: bool,
    /// When what was stored is safe from a power cut.
    pub sync: SyncMode,
}

/// When what was stored is safe from a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Before it is acknowledged.
    Always,
    /// So many milliseconds later at most.
    Interval(u32),
    /// When the operating system sees fit.
    None,
}

/// Which mosquitto's words the log speaks; rules that read logs know one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogWording {
    /// Those of 2.0.
    V2_0,
    /// Those of 2.1.
    V2_1,
}

/// What `$SYS/broker/version` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysVersion {
    /// `mosquitto version …`, which some tools look for.
    Mosquitto,
    /// `midge version …`.
    Midge,
}

impl Default for Config {
    /// What mosquitto 2.1 does without a configuration file: it serves this machine alone.
    fn default() -> Self {
        let mut config = Self::without_listeners();
        config.allow_anonymous = true;
        config.local_only = true;
        let security = Security {
            allow_anonymous: true,
            ..Security::default()
        };
        config.listeners = Listener::local(&[DEFAULT_PORT], &security);
        config
    }
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            enabled: false,
            file: None,
            location: None,
            is_by_plugin: false,
            database: None,
            autosave_interval: 1800,
            autosave_on_changes: false,
            sync: SyncMode::Always,
        }
    }
}

impl Config {
    /// Every default, before it is known who listens.
    fn without_listeners() -> Self {
        Self {
            max_inflight_messages: limits::INFLIGHT_MAX_DEFAULT,
            max_inflight_bytes: 0,
            max_queued_messages: limits::QUEUED_MESSAGES_MAX_DEFAULT,
            max_queued_bytes: 0,
            max_packet_size: limits::PACKET_BYTES_MAX_DEFAULT,
            message_size_limit: 0,
            memory_limit: 0,
            global_max_clients: 0,
            global_max_connections: 0,
            max_topic_alias: limits::TOPIC_ALIAS_MAX_DEFAULT,
            max_topic_alias_broker: limits::TOPIC_ALIAS_MAX_DEFAULT,
            allow_duplicate_messages: true,
            allow_zero_length_clientid: true,
            auto_id_prefix: String::from(listener::AUTO_ID_PREFIX),
            clientid_prefixes: None,
            retain_available: true,
            retain_expiry_interval: 0,
            check_retain_source: false,
            max_qos: QoS::ExactlyOnce,
            upgrade_outgoing_qos: false,
            queue_qos0_messages: false,
            max_keepalive: 0,
            persistent_client_expiration: None,
            allow_anonymous: false,
            per_listener_settings: false,
            connection_messages: true,
            set_tcp_nodelay: true,
            sys_interval: 10,
            enable_control_api: false,
            pid_file: None,
            user: None,
            packet_buffer_size: 4096,
            log: Log::default(),
            persistence: Persistence::default(),
            midge_log_wording: LogWording::V2_1,
            midge_sys_version: SysVersion::Mosquitto,
            local_only: false,
            listeners: Vec::new(),
            bridges: Vec::new(),
        }
    }

    /// Bytes of one packet from a client at most.
    pub fn packet_bytes_max(&self) -> u32 {
        match self.max_packet_size {
            0 => limits::PACKET_BYTES_MAX,
            bytes => bytes.min(limits::PACKET_BYTES_MAX),
        }
    }
}

//! A bridge: another broker to connect to, and which topics go there and come from there.
//!
//! The types and the grammar of a `connection` section's own words (`address`, `topic`,
//! `restart_timeout`) stand here, because no other section shares them. What a bridge *does* is
//! none of this file's business.

use super::value::{self, Invalid, Note, Rule, Value};
use crate::message::QoS;
use crate::topic::filter::TopicFilter;
use std::fmt;

/// One `connection` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// What tells it from the others.
    pub name: String,
    /// Where the other broker is, in order of preference.
    pub addresses: Vec<Address>,
    /// Which topics go where.
    pub topics: Vec<BridgeTopic>,
    /// Client Identifier there; `None`: the host's name, a dot and the section's name.
    pub remote_clientid: Option<String>,
    /// Username there.
    pub remote_username: Option<String>,
    /// Password there.
    pub remote_password: Option<Secret>,
    /// Client Identifier here; `None`: `local.` and the one there.
    pub local_clientid: Option<String>,
    /// Username here.
    pub local_username: Option<String>,
    /// Password here.
    pub local_password: Option<Secret>,
    /// Whether the session there begins anew with each connection.
    pub cleansession: bool,
    /// The same for the session here; `None`: as there.
    pub local_cleansession: Option<bool>,
    /// Seconds of Keep Alive.
    pub keepalive_interval: u16,
    /// When it connects.
    pub start_type: StartType,
    /// How long it waits before it tries again.
    pub restart_timeout: RestartTimeout,
    /// Seconds without messages after which a lazy bridge hangs up.
    pub idle_timeout: u32,
    /// Messages that wait before a lazy bridge connects.
    pub threshold: u32,
    /// Whether its state is published.
    pub notifications: bool,
    /// Whether its state is published here only.
    pub notifications_local_only: bool,
    /// Where its state is published; `None`: below `$SYS/broker/connection`.
    pub notification_topic: Option<String>,
    /// Whether all addresses are equal; otherwise the first is gone back to.
    pub round_robin: bool,
    /// Whether it tells the other broker that it is a bridge.
    pub try_private: bool,
    /// Whether it unsubscribes there from topics that only go out.
    pub bridge_attempt_unsubscribe: bool,
    /// Protocol version.
    pub bridge_protocol_version: BridgeVersion,
    /// Bytes of one packet; 0 sets no bound.
    pub bridge_max_packet_size: u32,
    /// Topic Aliases the other broker may set.
    pub bridge_max_topic_alias: u16,
    /// Receive Maximum; `None`: `max_inflight_messages`.
    pub bridge_receive_maximum: Option<u16>,
    /// Session Expiry Interval in seconds.
    pub bridge_session_expiry_interval: u32,
    /// Whether outgoing messages keep their RETAIN flag.
    pub bridge_outgoing_retain: bool,
    /// The address of this machine to connect from.
    pub bridge_bind_address: Option<String>,
    /// TCP keepalive: idle seconds, seconds between probes, probes; `None`: the system's.
    pub bridge_tcp_keepalive: Option<[u32; 3]>,
    /// Milliseconds unacknowledged bytes may wait (TCP_USER_TIMEOUT); 0: the system's.
    pub bridge_tcp_user_timeout: u32,
    /// When a reload's changes reach it.
    pub bridge_reload_type: ReloadType,
    /// TLS towards the other broker.
    pub tls: BridgeTls,
}

/// TLS towards the other broker, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// Authorities the other broker's certificate must come from, in one file.
    pub cafile: Option<String>,
    /// The same, as a directory.
    pub capath: Option<String>,
    /// Whether the system's authorities count.
    pub use_os_certs: bool,
    /// The certificate to show.
    pub certfile: Option<String>,
    /// Its private key.
    pub keyfile: Option<String>,
    /// Whether the name in the certificate may be another host's.
    pub insecure: bool,
    /// The protocol name to ask for (ALPN).
    pub alpn: Option<String>,
    /// The version, as a word such as `tlsv1.2`.
    pub tls_version: Option<String>,
    /// Ciphers up to TLS 1.2, in OpenSSL's notation.
    pub ciphers: Option<String>,
    /// Ciphers of TLS 1.3, in OpenSSL's notation.
    pub ciphers_tls13: Option<String>,
    /// Identity for TLS-PSK.
    pub identity: Option<String>,
    /// Key for TLS-PSK, in hexadecimal.
    pub psk: Option<Secret>,
    /// Whether the certificate's revocation must be answered for (OCSP).
    pub require_ocsp: bool,
}

/// A text that no log and no listing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where another broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// One `topic` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// A Topic Filter; `None`: the two prefixes alone.
    pub pattern: Option<String>,
    /// Which way messages go.
    pub direction: Direction,
    /// QoS of the subscriptions.
    pub qos: QoS,
    /// What topics begin with here, in place of what they begin with there.
    pub local_prefix: Option<String>,
    /// What topics begin with there.
    pub remote_prefix: Option<String>,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From here to there.
    Out,
    /// From there to here.
    In,
    /// Both ways.
    Both,
}

/// When a bridge connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartType {
    /// At once, and again whenever the connection is lost.
    Automatic,
    /// When enough messages wait.
    Lazy,
    /// At once, and never again.
    Once,
}

/// Protocol version towards the other broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeVersion {
    /// MQTT 3.1.
    V3_1,
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.0.
    V5_0,
}

/// When a reload's changes reach a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadType {
    /// When it connects the next time.
    Lazy,
    /// At once: it hangs up and connects again.
    Immediate,
}

/// How long a bridge waits before it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartTimeout {
    /// Always this many seconds.
    Constant(u32),
    /// Longer and longer, with chance mixed in.
    Jitter {
        /// Seconds at least.
        base_s: u32,
        /// Seconds at most.
        cap_s: u32,
        /// Seconds a connection must last to begin at the base again; 0: it need not.
        stable_s: u32,
    },
}

/// The words of `start_type`.
pub(super) const START_TYPES: &[(&str, StartType)] = &[
    ("automatic", StartType::Automatic),
    ("lazy", StartType::Lazy),
    ("once", StartType::Once),
];

/// The words of `bridge_protocol_version`.
pub(super) const VERSIONS: &[(&str, BridgeVersion)] = &[
    ("mqttv31", BridgeVersion::V3_1),
    ("mqttv311", BridgeVersion::V3_1_1),
    ("mqttv50", BridgeVersion::V5_0),
];

/// The words of `bridge_reload_type`.
pub(super) const RELOAD_TYPES: &[(&str, ReloadType)] = &[
    ("lazy", ReloadType::Lazy),
    ("immediate", ReloadType::Immediate),
];

/// The words of a topic's direction; mosquitto takes them in capitals, too.
const DIRECTIONS: &[(&str, Direction)] = &[
    ("out", Direction::Out),
    ("in", Direction::In),
    ("both", Direction::Both),
];

/// The port of an address without one.
const PORT: u16 = super::DEFAULT_PORT;

impl Bridge {
    /// A bridge with mosquitto's defaults, which lacks an address and a topic.
    pub fn new(name: String) -> Self {
        Self {
            name,
            addresses: Vec::new(),
            topics: Vec::new(),
            remote_clientid: None,
            remote_username: None,
            remote_password: None,
            local_clientid: None,
            local_username: None,
            local_password: None,
            cleansession: false,
            local_cleansession: None,
            keepalive_interval: 60,
            start_type: StartType::Automatic,
            restart_timeout: RestartTimeout::default(),
            idle_timeout: 60,
            threshold: 10,
            notifications: true,
            notifications_local_only: false,
            notification_topic: None,
            round_robin: false,
            try_private: true,
            bridge_attempt_unsubscribe: true,
            bridge_protocol_version: BridgeVersion::V3_1_1,
            bridge_max_packet_size: 0,
            bridge_max_topic_alias: 10,
            bridge_receive_maximum: None,
            bridge_session_expiry_interval: 0,
            bridge_outgoing_retain: true,
            bridge_bind_address: None,
            bridge_tcp_keepalive: None,
            bridge_tcp_user_timeout: 0,
            bridge_reload_type: ReloadType::Lazy,
            tls: BridgeTls::default(),
        }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self::new(String::new())
    }
}

impl Default for RestartTimeout {
    fn default() -> Self {
        Self::Jitter {
            base_s: 5,
            cap_s: 30,
            stable_s: 0,
        }
    }
}

impl Secret {
    /// Hides `text`.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for BridgeTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = self.pattern.as_deref().unwrap_or("\"\"");
        let direction = value::word_for(self.direction, DIRECTIONS);
        write!(f, "{pattern} {direction} {}", self.qos.bits())?;
        if self.local_prefix.is_some() || self.remote_prefix.is_some() {
            let local = self.local_prefix.as_deref().unwrap_or("\"\"");
            let remote = self.remote_prefix.as_deref().unwrap_or("\"\"");
            write!(f, " {local} {remote}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RestartTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(seconds) => write!(f, "{seconds}"),
            Self::Jitter {
                base_s,
                cap_s,
                stable_s: 0,
            } => write!(f, "{base_s} {cap_s}"),
            Self::Jitter {
                base_s,
                cap_s,
                stable_s,
            } => write!(f, "{base_s} {cap_s} {stable_s}"),
        }
    }
}

/// `address HOST[:PORT] ...`, up to a comment.
pub(super) fn add_addresses(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    let before = bridge.addresses.len();
    while let Some(word) = value.text_word()? {
        bridge.addresses.push(address(&word)?);
    }
    if bridge.addresses.len() == before {
        return Err(Invalid::Empty);
    }
    Ok(())
}

/// The port is behind the last colon, so that an IPv6 address needs one.
fn address(word: &str) -> Result<Address, Invalid> {
    let Some((host, port)) = word.rsplit_once(':') else {
        return Ok(Address {
            host: word.to_owned(),
            port: PORT,
        });
    };
    let given = value::c_number(port).ok_or_else(|| Invalid::NotNumber(port.to_owned()))?;
    let given = value::in_range(given, 1, 65_535)?;
    Ok(Address {
        host: host.to_owned(),
        port: u16::try_from(given).unwrap_or(PORT),
    })
}

/// `topic PATTERN [DIRECTION [QOS [LOCAL [REMOTE]]]]`.
pub(super) fn add_topic(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    let pattern = value.quoted()?;
    let direction = match value.word() {
        Some(word) => value::find_word(&word.to_ascii_lowercase(), DIRECTIONS)?,
        None => Direction::Out,
    };
    let qos = match value.word_before_comment() {
        Some(word) => {
            let given = value::c_number(&word).ok_or(Invalid::NotNumber(word.into_owned()))?;
            value::qos(given)?
        }
        None => QoS::AtMostOnce,
    };
    let local_prefix = prefix(value)?;
    let remote_prefix = prefix(value)?;
    value.end();
    // An empty pattern stands for the prefixes alone, so that there must be two.
    let both = local_prefix.is_some() && remote_prefix.is_some();
    let pattern = match (pattern.is_empty(), both) {
        (true, false) => return Err(Invalid::Rule(Rule::Remapping)),
        (true, true) => None,
        (false, _) => Some(pattern),
    };
    let filter = pattern.as_deref().map(TopicFilter::new);
    if matches!(filter, Some(Err(_))) {
        return Err(Invalid::Rule(Rule::TopicFilter));
    }
    bridge.topics.push(BridgeTopic {
        pattern,
        direction,
        qos,
        local_prefix,
        remote_prefix,
    });
    Ok(())
}

/// A prefix of a topic; `""` is none.
fn prefix(value: &mut Value<'_>) -> Result<Option<String>, Invalid> {
    match value.text_word()? {
        None => Ok(None),
        Some(word) if word == "\"\"" => Ok(None),
        Some(word) if word.contains(['+', '#']) => Err(Invalid::Rule(Rule::BridgePrefix)),
        Some(word) => Ok(Some(word)),
    }
}

/// `start_type WORD`; `manual` is a word that mosquitto knows and refuses.
pub(super) fn set_start_type(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    let word = value.needed()?;
    if word == "manual" {
        return Err(Invalid::Rule(Rule::StartManual));
    }
    bridge.start_type = value::find_word(&word, START_TYPES)?;
    value.end();
    Ok(())
}

/// `restart_timeout SECONDS`, or `restart_timeout BASE CAP [STABLE]`.
pub(super) fn set_restart(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    let base_s = seconds(value, 3600)?.ok_or(Invalid::Empty)?;
    let Some(cap_s) = seconds(value, 7200)? else {
        bridge.restart_timeout = RestartTimeout::Constant(base_s);
        return Ok(());
    };
    if cap_s < base_s {
        return Err(Invalid::Rule(Rule::BackOff));
    }
    let stable_s = seconds(value, i64::from(u32::MAX))?.unwrap_or(0);
    value.end();
    bridge.restart_timeout = RestartTimeout::Jitter {
        base_s,
        cap_s,
        stable_s,
    };
    Ok(())
}

/// A number of seconds, moved into 1 to `max`.
fn seconds(value: &mut Value<'_>, max: i64) -> Result<Option<u32>, Invalid> {
    let Some(word) = value.word_before_comment() else {
        return Ok(None);
    };
    let given = value::c_number(&word).ok_or(Invalid::NotNumber(word.into_owned()))?;
    let taken = given.clamp(1, max);
    if taken != given {
        value.note(Note::Moved { given, taken });
    }
    Ok(u32::try_from(taken).ok())
}

/// `bridge_tcp_keepalive IDLE INTERVAL COUNT`.
pub(super) fn set_keepalive(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let word = value.word().ok_or(Invalid::Rule(Rule::TcpKeepalive))?;
        let given = value::c_number(&word).ok_or(Invalid::NotNumber(word.into_owned()))?;
        let given = value::in_range(given, 1, i64::from(i32::MAX))?;
        *number = u32::try_from(given).unwrap_or_default();
    }
    value.end();
    bridge.bridge_tcp_keepalive = Some(numbers);
    Ok(())
}

/// `bridge_psk HEX`.
pub(super) fn set_psk(bridge: &mut Bridge, value: &mut Value<'_>) -> Result<(), Invalid> {
    if bridge.tls.psk.is_some() {
        return Err(Invalid::Duplicate);
    }
    let text = value.text(value::STRING_BYTES_MAX)?;
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Invalid::Rule(Rule::NotHex));
    }
    bridge.tls.psk = Some(Secret::new(text));
    Ok(())
}

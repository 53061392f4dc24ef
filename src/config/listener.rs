//! One listener with all its settings: where it is bound, what it allows, whom it lets in.

use super::DEFAULT_PORT;
use crate::limits;
use crate::message::QoS;
use std::fmt;
use std::net::IpAddr;

/// What assigned Client Identifiers begin with by default.
pub const AUTO_ID_PREFIX: &str = "auto-";

/// Where clients connect, and on what terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address or path.
    pub bind: Bind,
    /// The TCP port; 0 for a Unix socket.
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is spoken all the same: mosquitto reads the other one.
    pub midge_protocol: Option<Protocol>,
    /// The network interface to bind to; `None`: all of them.
    pub bind_interface: Option<String>,
    /// IPv4 or IPv6 alone; `None`: both.
    pub socket_domain: Option<SocketDomain>,
    /// Connections at one time; 0 sets no bound.
    pub max_connections: u32,
    /// The highest QoS a client may publish with.
    pub max_qos: QoS,
    /// Topic Aliases a client may set on one connection.
    pub max_topic_alias: u16,
    /// Topic Aliases the broker sets on one connection, if the client takes as many.
    pub max_topic_alias_broker: u16,
    /// What is put before every topic of a client, and taken off again on the way to it.
    pub mount_point: Option<String>,
    /// Whether the username takes the place of the Client Identifier.
    pub use_username_as_clientid: bool,
    /// The protocol versions that are let in.
    pub accept_protocol_versions: Versions,
    /// The version of the PROXY protocol that connections begin with; 0: none.
    pub enable_proxy_protocol: u8,
    /// Whether a PROXY header must say that the client came over TLS.
    pub proxy_protocol_v2_require_tls: bool,
    /// Where files for browsers lie.
    pub http_dir: Option<String>,
    /// The only values of Origin a WebSocket may come with; empty: any.
    pub websockets_origin: Vec<String>,
    /// Who is let in, and what they may do.
    pub security: Security,
    /// The settings of TLS, as they were given.
    pub tls: Tls,
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    /// All addresses of the machine.
    Any,
    /// This address or host name.
    Address(String),
    /// A Unix socket at this path.
    Unix(String),
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT over TCP, TLS or a Unix socket.
    Mqtt,
    /// MQTT over WebSockets.
    Websockets,
    /// What a connection's first bytes show: MQTT, with or without WebSockets, with or without TLS.
    Auto,
    /// mosquitto's HTTP API.
    HttpApi,
}

/// One of the two families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketDomain {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Which protocol versions are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// MQTT 3.1.
    pub v3_1: bool,
    /// MQTT 3.1.1.
    pub v3_1_1: bool,
    /// MQTT 5.0.
    pub v5_0: bool,
}

/// Who is let in, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Whether clients without a username are let in.
    pub allow_anonymous: bool,
    /// Users and what their passwords must hash to.
    pub password_file: Option<String>,
    /// Who may do what to which topic.
    pub acl_file: Option<String>,
    /// Identities and keys for TLS-PSK.
    pub psk_file: Option<String>,
    /// Whether a client may leave its Client Identifier to the broker.
    pub allow_zero_length_clientid: bool,
    /// What assigned Client Identifiers begin with.
    pub auto_id_prefix: String,
    /// Whether the access rules came as a plugin that denies everything to a client whose
    /// username or Client Identifier holds `+`, `#` or `/` (`auth_plugin_deny_special_chars`).
    pub deny_special_chars: bool,
}

/// The settings of TLS on one listener, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that client certificates must come from, in one file.
    pub cafile: Option<String>,
    /// The same, as a directory.
    pub capath: Option<String>,
    /// The server's certificate, with what leads to its authority.
    pub certfile: Option<String>,
    /// The server's private key.
    pub keyfile: Option<String>,
    /// Certificates that have been revoked.
    pub crlfile: Option<String>,
    /// Ciphers up to TLS 1.2, in OpenSSL's notation.
    pub ciphers: Option<String>,
    /// Ciphers of TLS 1.3, in OpenSSL's notation.
    pub ciphers_tls13: Option<String>,
    /// The lowest version, as a word such as `tlsv1.2`.
    pub tls_version: Option<String>,
    /// Whether a client must show a certificate.
    pub require_certificate: bool,
    /// Whether the certificate's common name, or the PSK identity, is the username.
    pub use_identity_as_username: bool,
    /// Whether the certificate's whole subject is the username.
    pub use_subject_as_username: bool,
    /// Whether client certificates may be out of date.
    pub disable_client_cert_date_checks: bool,
    /// What is sent to clients of TLS-PSK; it also turns TLS-PSK on.
    pub psk_hint: Option<String>,
}

impl Listener {
    /// A listener with mosquitto's defaults.
    pub fn new(bind: Bind, port: u16) -> Self {
        Self {
            bind,
            port,
            protocol: Protocol::Mqtt,
            midge_protocol: None,
            bind_interface: None,
            socket_domain: None,
            max_connections: 0,
            max_qos: QoS::ExactlyOnce,
            max_topic_alias: limits::TOPIC_ALIAS_MAX_DEFAULT,
            max_topic_alias_broker: limits::TOPIC_ALIAS_MAX_DEFAULT,
            mount_point: None,
            use_username_as_clientid: false,
            accept_protocol_versions: Versions::ALL,
            enable_proxy_protocol: 0,
            proxy_protocol_v2_require_tls: false,
            http_dir: None,
            websockets_origin: Vec::new(),
            security: Security::default(),
            tls: Tls::default(),
        }
    }

    /// 127.0.0.1 and ::1 at each of `ports`: what mosquitto serves when it was told nothing.
    pub fn local(ports: &[u16], security: &Security) -> Vec<Self> {
        let mut listeners = Vec::new();
        for port in ports {
            for host in ["127.0.0.1", "::1"] {
                let mut listener = Self::new(Bind::Address(host.to_owned()), *port);
                listener.security = security.clone();
                listeners.push(listener);
            }
        }
        listeners
    }

    /// What is spoken.
    pub fn spoken(&self) -> Protocol {
        self.midge_protocol.unwrap_or(self.protocol)
    }

    /// How the listener is written behind `listener` in a file: what tells it from the others.
    pub fn name(&self) -> String {
        match &self.bind {
            Bind::Any => self.port.to_string(),
            Bind::Address(host) => format!("{} {host}", self.port),
            Bind::Unix(path) => format!("0 {path}"),
        }
    }
}

impl Bind {
    /// The family that an address in numbers belongs to; `None` for names, paths and all.
    pub fn socket_domain(&self) -> Option<SocketDomain> {
        match self {
            Self::Address(host) => host.parse::<IpAddr>().ok().map(|address| match address {
                IpAddr::V4(_) => SocketDomain::Ipv4,
                IpAddr::V6(_) => SocketDomain::Ipv6,
            }),
            Self::Any | Self::Unix(_) => None,
        }
    }
}

impl Tls {
    /// Whether clients are called what their certificates say.
    pub fn names_clients(&self) -> bool {
        self.use_identity_as_username || self.use_subject_as_username
    }

    /// Whether the ciphers are left to be chosen.
    pub fn ciphers_are_default(&self) -> bool {
        self.ciphers.is_none() && self.ciphers_tls13.is_none()
    }
}

impl Versions {
    /// All of them.
    pub const ALL: Self = Self {
        v3_1: true,
        v3_1_1: true,
        v5_0: true,
    };

    /// The numbers, as in a file.
    pub fn words(self) -> String {
        let rows = [("3", self.v3_1), ("4", self.v3_1_1), ("5", self.v5_0)];
        let words: Vec<_> = rows.iter().filter(|row| row.1).map(|row| row.0).collect();
        words.join(",")
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new(Bind::Any, DEFAULT_PORT)
    }
}

impl Default for Security {
    /// What a listener has that a file asks for, and says no more about.
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            password_file: None,
            acl_file: None,
            psk_file: None,
            allow_zero_length_clientid: true,
            auto_id_prefix: AUTO_ID_PREFIX.to_owned(),
            deny_special_chars: false,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("all addresses"),
            Self::Address(text) | Self::Unix(text) => f.write_str(text),
        }
    }
}

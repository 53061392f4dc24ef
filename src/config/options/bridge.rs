//! Options of one bridge.

use super::super::bridge::{self, Bridge, BridgeTopic};
use super::super::value::word_for;
use super::{Kind, Opt, Reload, Scope, Section, Target, alias, range, range_moved, section, text};

/// What a warning says of each bridge.
pub(in super::super) const NOT_MADE: &str = "this bridge is not made";

const INT_MAX: i64 = i32::MAX as i64;

const fn bridge(
    name: &'static str,
    default: &'static str,
    kind: Kind<Bridge>,
    doc: &'static str,
) -> Opt {
    Opt::new(name, default, Target::Bridge(kind), Reload::Reconnects, doc).warns(NOT_MADE)
}

/// What begins a bridge first, what it needs next, then in the order of the alphabet.
pub(super) const ROWS: &[Opt] = &[
    section(
        "connection",
        Scope::Bridge,
        Section::Connection,
        "NAME",
        "Begins a bridge to another broker. The bridge options behind it are its \
             own.",
    )
    .at(Reload::Reconnects)
    .warns(NOT_MADE),
    bridge(
        "address",
        "none",
        Kind::Own("HOST[:PORT] ...", bridge::add_addresses, |b| {
            joined(&b.addresses)
        }),
        "Where the other broker is; several addresses are tried in turn. The \
             port is 1883 where none is given; an IPv6 address needs one.",
    ),
    alias("addresses", "address", "Another name of address.")
        .at(Reload::Reconnects)
        .warns(NOT_MADE),
    bridge(
        "topic",
        "none",
        Kind::Own(
            "FILTER [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]; may be \
             repeated",
            bridge::add_topic,
            topics,
        ),
        "Passes on messages that match the filter, in the given direction, \
             exchanging the prefixes. \"\" stands for an empty filter or prefix.",
    ),
    bridge(
        "bridge_alpn",
        "none",
        text(|b| &mut b.tls.alpn),
        "The protocol that TLS asks for (ALPN), as cloud brokers want on port \
             443.",
    ),
    bridge(
        "bridge_attempt_unsubscribe",
        "true",
        Kind::Bool(|b| &mut b.bridge_attempt_unsubscribe),
        "Unsubscribes at the other broker from topics that only go out, in case \
             they once came in.",
    ),
    bridge(
        "bridge_bind_address",
        "any",
        text(|b| &mut b.bridge_bind_address),
        "The address of this machine that the bridge connects from.",
    ),
    bridge(
        "bridge_cafile",
        "none",
        text(|b| &mut b.tls.cafile),
        "The authorities that the other broker's certificate must come from, in \
             one file; it turns TLS on.",
    ),
    bridge(
        "bridge_capath",
        "none",
        text(|b| &mut b.tls.capath),
        "The same in a directory.",
    ),
    bridge(
        "bridge_certfile",
        "none",
        text(|b| &mut b.tls.certfile),
        "The certificate that the bridge shows.",
    ),
    bridge(
        "bridge_ciphers",
        "the library's",
        text(|b| &mut b.tls.ciphers),
        "The ciphers for TLS up to 1.2.",
    )
    .note("since mosquitto 2.1"),
    bridge(
        "bridge_ciphers_tls1.3",
        "the library's",
        text(|b| &mut b.tls.ciphers_tls13),
        "The ciphers for TLS 1.3.",
    )
    .note("since mosquitto 2.1"),
    bridge(
        "bridge_identity",
        "none",
        text(|b| &mut b.tls.identity),
        "The identity for TLS-PSK.",
    ),
    bridge(
        "bridge_insecure",
        "false",
        Kind::Bool(|b| &mut b.tls.insecure),
        "Takes a certificate that was made for another host.",
    ),
    bridge(
        "bridge_keyfile",
        "none",
        text(|b| &mut b.tls.keyfile),
        "The private key of bridge_certfile.",
    ),
    bridge(
        "bridge_max_packet_size",
        "0",
        Kind::U32(range_moved(0, INT_MAX, "bytes"), |b| {
            &mut b.bridge_max_packet_size
        }),
        "Bytes of one packet to the other broker; 0 sets no bound.",
    ),
    bridge(
        "bridge_max_topic_alias",
        "10",
        Kind::U16(range(0, 65_535, "aliases"), |b| {
            &mut b.bridge_max_topic_alias
        }),
        "Topic Aliases the other broker may set.",
    ),
    bridge(
        "bridge_outgoing_retain",
        "true",
        Kind::Bool(|b| &mut b.bridge_outgoing_retain),
        "Sends retained messages as retained.",
    ),
    bridge(
        "bridge_protocol_version",
        "mqttv311",
        Kind::Own(
            "mqttv31, mqttv311 or mqttv50",
            |b, v| {
                b.bridge_protocol_version = v.one_of(bridge::VERSIONS)?;
                Ok(())
            },
            |b| word_for(b.bridge_protocol_version, bridge::VERSIONS),
        ),
        "The version of MQTT that the bridge speaks.",
    ),
    bridge(
        "bridge_psk",
        "none",
        Kind::OwnSecret("hexadecimal digits", bridge::set_psk, |b| &mut b.tls.psk),
        "The key for TLS-PSK.",
    ),
    bridge(
        "bridge_receive_maximum",
        "max_inflight_messages",
        Kind::OptU16(range(1, 65_535, "messages"), |b| {
            &mut b.bridge_receive_maximum
        }),
        "QoS 1 and 2 messages the other broker may have in flight to the bridge.",
    )
    .note("since mosquitto 2.1"),
    bridge(
        "bridge_reload_type",
        "lazy",
        Kind::Own(
            "lazy or immediate",
            |b, v| {
                b.bridge_reload_type = v.one_of(bridge::RELOAD_TYPES)?;
                Ok(())
            },
            |b| word_for(b.bridge_reload_type, bridge::RELOAD_TYPES),
        ),
        "Whether a reload's changes wait for the next connection, or make the \
             bridge connect again.",
    ),
    bridge(
        "bridge_require_ocsp",
        "false",
        Kind::Bool(|b| &mut b.tls.require_ocsp),
        "Asks for a proof that the certificate has not been revoked.",
    ),
    bridge(
        "bridge_session_expiry_interval",
        "0",
        Kind::U32(range(0, 0xFFFF_FFFF, "seconds"), |b| {
            &mut b.bridge_session_expiry_interval
        }),
        "Seconds the other broker keeps the bridge's session, with MQTT 5.0.",
    )
    .note("since mosquitto 2.1"),
    bridge(
        "bridge_tcp_keepalive",
        "off",
        Kind::Own("IDLE INTERVAL COUNT", bridge::set_keepalive, |b| {
            b.bridge_tcp_keepalive
                .map_or_else(|| "off".to_owned(), |numbers| joined(&numbers))
        }),
        "Seconds without traffic before TCP probes the connection, seconds \
             between probes, and probes before it gives up.",
    ),
    bridge(
        "bridge_tcp_user_timeout",
        "0",
        Kind::U32(range(0, INT_MAX, "milliseconds"), |b| {
            &mut b.bridge_tcp_user_timeout
        }),
        "Milliseconds that bytes may stay unacknowledged before TCP gives up; 0: \
             the system's.",
    ),
    bridge(
        "bridge_tls_use_os_certs",
        "false",
        Kind::Bool(|b| &mut b.tls.use_os_certs),
        "Takes the system's authorities; it turns TLS on.",
    )
    .note("since mosquitto 2.1"),
    bridge(
        "bridge_tls_version",
        "tlsv1.2",
        text(|b| &mut b.tls.tls_version),
        "The version of TLS that the bridge speaks.",
    ),
    bridge(
        "cleansession",
        "false",
        Kind::Bool(|b| &mut b.cleansession),
        "Begins a new session at the other broker with each connection.",
    ),
    alias(
        "clientid",
        "remote_clientid",
        "An older name of remote_clientid.",
    )
    .at(Reload::Reconnects)
    .warns(NOT_MADE),
    bridge(
        "idle_timeout",
        "60",
        Kind::U32(range_moved(1, INT_MAX, "seconds"), |b| &mut b.idle_timeout),
        "Seconds without messages after which a lazy bridge hangs up.",
    ),
    bridge(
        "keepalive_interval",
        "60",
        Kind::U16(range_moved(5, 65_535, "seconds"), |b| {
            &mut b.keepalive_interval
        }),
        "Seconds of Keep Alive.",
    ),
    bridge(
        "local_cleansession",
        "cleansession",
        Kind::OptBool(|b| &mut b.local_cleansession),
        "Begins a new session here with each connection.",
    ),
    bridge(
        "local_clientid",
        "local. and the one there",
        text(|b| &mut b.local_clientid),
        "The bridge's Client Identifier here.",
    ),
    bridge(
        "local_password",
        "none",
        Kind::Secret(|b| &mut b.local_password),
        "The bridge's password here.",
    ),
    bridge(
        "local_username",
        "none",
        text(|b| &mut b.local_username),
        "The bridge's username here, for the access rules.",
    ),
    bridge(
        "notification_topic",
        "$SYS/broker/connection/CLIENTID/state",
        text(|b| &mut b.notification_topic),
        "Where the bridge's state is published: 1 or 0.",
    ),
    bridge(
        "notifications",
        "true",
        Kind::Bool(|b| &mut b.notifications),
        "Publishes whether the bridge is connected, here and at the other broker.",
    ),
    bridge(
        "notifications_local_only",
        "false",
        Kind::Bool(|b| &mut b.notifications_local_only),
        "Publishes it here only.",
    ),
    alias(
        "password",
        "remote_password",
        "An older name of remote_password.",
    )
    .at(Reload::Reconnects)
    .warns(NOT_MADE),
    bridge(
        "remote_clientid",
        "the host's name, a dot and NAME",
        text(|b| &mut b.remote_clientid),
        "The bridge's Client Identifier at the other broker.",
    ),
    bridge(
        "remote_password",
        "none",
        Kind::Secret(|b| &mut b.remote_password),
        "The bridge's password at the other broker.",
    ),
    bridge(
        "remote_username",
        "none",
        text(|b| &mut b.remote_username),
        "The bridge's username at the other broker.",
    ),
    bridge(
        "restart_timeout",
        "5 30",
        Kind::Own("SECONDS, or BASE CAP [STABLE]", bridge::set_restart, |b| {
            b.restart_timeout.to_string()
        }),
        "Seconds before the bridge tries again: always the same, or longer each \
             time from BASE to CAP, beginning anew after a connection of STABLE \
             seconds.",
    ),
    bridge(
        "round_robin",
        "false",
        Kind::Bool(|b| &mut b.round_robin),
        "Treats all addresses as equal; false: goes back to the first when it \
             can.",
    ),
    bridge(
        "start_type",
        "automatic",
        Kind::Own("automatic, lazy or once", bridge::set_start_type, |b| {
            word_for(b.start_type, bridge::START_TYPES)
        }),
        "When the bridge connects: at once and again, when messages wait, or at \
             once only.",
    ),
    bridge(
        "threshold",
        "10",
        Kind::U32(range_moved(1, INT_MAX, "messages"), |b| &mut b.threshold),
        "Messages that wait before a lazy bridge connects.",
    ),
    bridge(
        "try_private",
        "true",
        Kind::Bool(|b| &mut b.try_private),
        "Tells the other broker that this is a bridge; some brokers refuse that.",
    ),
    alias(
        "username",
        "remote_username",
        "An older name of remote_username.",
    )
    .at(Reload::Reconnects)
    .warns(NOT_MADE),
];

/// The things with blanks between them.
fn joined<T: ToString>(things: &[T]) -> String {
    if things.is_empty() {
        return String::from("none");
    }
    let things: Vec<_> = things.iter().map(T::to_string).collect();
    things.join(" ")
}

fn topics(bridge: &Bridge) -> String {
    if bridge.topics.is_empty() {
        return String::from("none");
    }
    let topics: Vec<_> = bridge.topics.iter().map(BridgeTopic::to_string).collect();
    topics.join("; ")
}

//! Options of one listener.

use super::super::draft::SecurityDraft;
use super::super::listener::{Listener, Protocol, SocketDomain, Versions};
use super::super::value::{self, Invalid, Rule, Value, word_for};
use super::{
    Again, Kind, Opt, Reload, Scope, Section, Support, Target, alias, ignored, range, section,
    text, text_last,
};

const NO_TLS: &str = "this midge was built without TLS, so that connections would not be encrypted";

const NO_PSK: &str = "TLS-PSK is not supported, so that its clients could not come in; give the \
                      listener a certificate (certfile, keyfile) instead";

const OF_TLS: Support = match cfg!(feature = "tls") {
    true => Support::Works,
    false => Support::Refuses(NO_TLS),
};

const fn listener(
    name: &'static str,
    default: &'static str,
    kind: Kind<Listener>,
    doc: &'static str,
) -> Opt {
    Opt::new(
        name,
        default,
        Target::Listener(kind),
        Reload::NewConnections,
        doc,
    )
}

const fn own_security(
    name: &'static str,
    default: &'static str,
    kind: Kind<SecurityDraft>,
    doc: &'static str,
) -> Opt {
    Opt::new(
        name,
        default,
        Target::Override(kind),
        Reload::NewConnections,
        doc,
    )
    .explicit()
    .note("since mosquitto 2.1")
}

/// What begins a listener first, then in the order of the alphabet.
pub(super) const ROWS: &[Opt] = &[
    section(
        "listener",
        Scope::Listener,
        Section::Listener,
        "PORT [ADDRESS], or 0 PATH for a Unix socket",
        "Begins a listener. The listener options behind it are its own.",
    ),
    section(
        "port",
        Scope::Listener,
        Section::Port,
        "1 to 65535",
        "Begins the default listener on this port.",
    )
    .note("deprecated: see listener"),
    section(
        "bind_address",
        Scope::Listener,
        Section::BindAddress,
        "ADDRESS",
        "Binds the default listener to this address alone.",
    )
    .note("deprecated: see listener"),
    listener(
        "accept_protocol_versions",
        "3,4,5",
        Kind::Own("3, 4, 5, separated by commas", versions, |l| {
            l.accept_protocol_versions.words()
        }),
        "Lets in only clients of these protocol versions: 3 is MQTT 3.1, 4 is \
             3.1.1, 5 is 5.0.",
    )
    .explicit()
    .note("since mosquitto 2.1"),
    listener(
        "bind_interface",
        "all",
        text(|l| &mut l.bind_interface),
        "Binds the listener to this network interface alone.",
    )
    .at(Reload::Restart),
    listener(
        "cafile",
        "none",
        text_last(|l| &mut l.tls.cafile),
        "The authorities that client certificates must come from, in one file.",
    )
    .supported(OF_TLS),
    listener(
        "capath",
        "none",
        text_last(|l| &mut l.tls.capath),
        "The authorities that client certificates must come from, in a directory.",
    )
    .supported(OF_TLS),
    listener(
        "certfile",
        "none",
        text_last(|l| &mut l.tls.certfile),
        "The server's certificate; with keyfile it turns TLS on.",
    )
    .supported(OF_TLS),
    listener(
        "ciphers",
        "the library's",
        text(|l| &mut l.tls.ciphers),
        "The ciphers for TLS up to 1.2.",
    )
    .supported(OF_TLS),
    listener(
        "ciphers_tls1.3",
        "the library's",
        text(|l| &mut l.tls.ciphers_tls13),
        "The ciphers for TLS 1.3.",
    )
    .supported(OF_TLS),
    listener(
        "crlfile",
        "none",
        text_last(|l| &mut l.tls.crlfile),
        "Client certificates that have been revoked.",
    )
    .supported(OF_TLS),
    ignored(
        "dhparamfile",
        Scope::Listener,
        "Was a file of Diffie-Hellman parameters.",
        "TLS has parameters of its own",
    )
    .note("without effect since mosquitto 2.1"),
    listener(
        "disable_client_cert_date_checks",
        "false",
        Kind::Bool(|l| &mut l.tls.disable_client_cert_date_checks),
        "Takes client certificates that are out of date.",
    )
    .supported(OF_TLS)
    .note("since mosquitto 2.1"),
    listener(
        "enable_proxy_protocol",
        "0",
        Kind::Own("1 or 2", proxy, |l| l.enable_proxy_protocol.to_string()),
        "Expects each connection to begin with a header of the PROXY protocol of \
             this version, which says where it comes from.",
    )
    .note("since mosquitto 2.1"),
    listener(
        "http_dir",
        "none",
        text(|l| &mut l.http_dir),
        "Serves browsers the files in this directory.",
    )
    .warns("no files are served to browsers"),
    listener(
        "keyfile",
        "none",
        text_last(|l| &mut l.tls.keyfile),
        "The private key of the server's certificate.",
    )
    .supported(OF_TLS),
    own_security(
        "listener_allow_anonymous",
        "allow_anonymous",
        Kind::OptBool(|s| &mut s.allow_anonymous),
        "Lets in clients that give no username, on this listener, whatever \
             allow_anonymous says.",
    ),
    own_security(
        "listener_auto_id_prefix",
        "auto_id_prefix",
        Kind::Text(Again::Duplicate, 50, |s| &mut s.auto_id_prefix),
        "What Client Identifiers begin with that the broker assigns on this \
             listener.",
    ),
    listener(
        "max_connections",
        "-1",
        Kind::Count(|l| &mut l.max_connections),
        "Bounds the number of connections; -1 and 0 set no bound.",
    ),
    listener(
        "max_qos",
        "2",
        Kind::Own(
            "0 to 2",
            |l, v| {
                l.max_qos = v.qos()?;
                Ok(())
            },
            |l| l.max_qos.bits().to_string(),
        ),
        "The highest QoS a client may publish with; one that goes higher is \
             disconnected.",
    ),
    listener(
        "max_topic_alias",
        "10",
        Kind::U16(range(0, 65_535, "aliases"), |l| &mut l.max_topic_alias),
        "Topic Aliases a client of MQTT 5.0 may set on one connection.",
    ),
    listener(
        "max_topic_alias_broker",
        "10",
        Kind::U16(range(0, 65_535, "aliases"), |l| {
            &mut l.max_topic_alias_broker
        }),
        "Topic Aliases the broker sets on one connection of MQTT 5.0.",
    )
    .note("since mosquitto 2.1"),
    alias("maximum_qos", "max_qos", "An older name of max_qos.").at(Reload::NewConnections),
    listener(
        "midge_protocol",
        "as protocol",
        Kind::Own("mqtt, websockets or auto", own_protocol, |l| {
            let own = l.midge_protocol;
            own.map_or_else(
                || "as protocol".to_owned(),
                |own| word_for(own, OWN_PROTOCOLS),
            )
        }),
        "What is spoken on the listener, whatever protocol says: for files that must \
             still start mosquitto.",
    )
    .note("midge's own"),
    listener(
        "mount_point",
        "none",
        Kind::Own("text without + and #", mount_point, |l| {
            l.mount_point.clone().unwrap_or_else(|| "none".to_owned())
        }),
        "Puts this before every topic of the listener's clients, so that they \
             see only what begins so.",
    )
    .explicit(),
    listener(
        "protocol",
        "mqtt",
        Kind::Own("mqtt, websockets, http_api or auto", protocol, |l| {
            word_for(l.protocol, PROTOCOLS)
        }),
        "What is spoken on the listener; auto, which is midge's own, looks at the first \
             bytes of each connection and takes MQTT, TLS, WebSockets and WebSockets over TLS \
             on one port.",
    )
    .note("a listener with http_api is not opened"),
    listener(
        "proxy_protocol_v2_require_tls",
        "false",
        Kind::Bool(|l| &mut l.proxy_protocol_v2_require_tls),
        "Refuses connections that, by their PROXY header, came without TLS.",
    )
    .note("since mosquitto 2.1"),
    listener(
        "psk_hint",
        "none",
        text(|l| &mut l.tls.psk_hint),
        "What clients of TLS-PSK are told; it turns TLS-PSK on.",
    )
    .refuses(NO_PSK),
    listener(
        "require_certificate",
        "false",
        Kind::Bool(|l| &mut l.tls.require_certificate),
        "Lets in only clients with a certificate.",
    )
    .supported(OF_TLS),
    listener(
        "socket_domain",
        "both",
        Kind::Own(
            "ipv4 or ipv6",
            |l, v| {
                l.socket_domain = Some(v.one_of(DOMAINS)?);
                Ok(())
            },
            domain,
        ),
        "Listens on IPv4 or IPv6 alone.",
    )
    .at(Reload::Restart),
    ignored(
        "tls_engine",
        Scope::Listener,
        "An OpenSSL engine for the server's key.",
        "there are no OpenSSL engines here",
    )
    .at(Reload::Restart),
    ignored(
        "tls_engine_kpass_sha1",
        Scope::Listener,
        "The SHA-1 of the password of the engine's key.",
        "there are no OpenSSL engines here",
    )
    .at(Reload::Restart),
    ignored(
        "tls_keyform",
        Scope::Listener,
        "The form of the server's key, pem or engine.",
        "there are no OpenSSL engines here",
    )
    .at(Reload::Restart),
    listener(
        "tls_version",
        "tlsv1.2",
        Kind::Own("tlsv1.2 or tlsv1.3", tls_version, |l| {
            let lowest = l.tls.tls_version.clone();
            lowest.unwrap_or_else(|| "tlsv1.2".to_owned())
        }),
        "The lowest version of TLS that is spoken; tlsv1 and tlsv1.1 count as tlsv1.2.",
    )
    .supported(OF_TLS),
    listener(
        "use_identity_as_username",
        "false",
        Kind::Bool(|l| &mut l.tls.use_identity_as_username),
        "Takes the common name of the client's certificate, or its TLS-PSK \
             identity, for its username, and asks for no password.",
    )
    .supported(OF_TLS),
    listener(
        "use_subject_as_username",
        "false",
        Kind::Bool(|l| &mut l.tls.use_subject_as_username),
        "Takes the whole subject of the client's certificate for its username, \
             and asks for no password.",
    )
    .supported(OF_TLS),
    listener(
        "use_username_as_clientid",
        "false",
        Kind::Bool(|l| &mut l.use_username_as_clientid),
        "Takes the username for the Client Identifier, so that a user is \
             connected once at most; a client without one is refused.",
    ),
    listener(
        "websockets_origin",
        "any",
        Kind::Own("text; may be repeated", origin, |l| {
            match l.websockets_origin.is_empty() {
                true => "any".to_owned(),
                false => l.websockets_origin.join(" "),
            }
        }),
        "Takes WebSockets only from pages of this origin.",
    ),
];

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("mqtt", Protocol::Mqtt),
    ("websockets", Protocol::Websockets),
    ("http_api", Protocol::HttpApi),
    ("auto", Protocol::Auto),
];

const OWN_PROTOCOLS: &[(&str, Protocol)] = &[
    ("mqtt", Protocol::Mqtt),
    ("websockets", Protocol::Websockets),
    ("auto", Protocol::Auto),
];

const DOMAINS: &[(&str, SocketDomain)] =
    &[("ipv4", SocketDomain::Ipv4), ("ipv6", SocketDomain::Ipv6)];

/// `protocol WORD`.
fn protocol(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    listener.protocol = value.one_of(PROTOCOLS)?;
    Ok(())
}

/// `tls_version WORD`.
fn tls_version(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    const KNOWN: &[(&str, &str)] = &[
        ("tlsv1.3", "tlsv1.3"),
        ("tlsv1.2", "tlsv1.2"),
        ("tlsv1.1", "tlsv1.1"),
        ("tlsv1", "tlsv1"),
    ];
    if listener.tls.tls_version.is_some() {
        return Err(Invalid::Duplicate);
    }
    listener.tls.tls_version = Some(value.one_of(KNOWN)?.to_owned());
    Ok(())
}

/// `midge_protocol WORD`.
fn own_protocol(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    listener.midge_protocol = Some(value.one_of(OWN_PROTOCOLS)?);
    Ok(())
}

fn domain(listener: &Listener) -> String {
    match listener.socket_domain {
        Some(domain) => word_for(domain, DOMAINS),
        None => String::from("both"),
    }
}

/// `enable_proxy_protocol VERSION`.
fn proxy(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    listener.enable_proxy_protocol = u8::try_from(value.int(1, 2)?).unwrap_or_default();
    Ok(())
}

/// `websockets_origin TEXT`, which adds one.
fn origin(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    let origin = value.text(value::STRING_BYTES_MAX)?;
    listener.websockets_origin.push(origin);
    Ok(())
}

/// `mount_point PREFIX`.
fn mount_point(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    if listener.mount_point.is_some() {
        return Err(Invalid::Duplicate);
    }
    let prefix = value.text(value::STRING_BYTES_MAX)?;
    if prefix.contains(['+', '#']) {
        return Err(Invalid::Rule(Rule::Wildcard));
    }
    listener.mount_point = Some(prefix);
    Ok(())
}

/// `accept_protocol_versions 3,4,5`, up to a comment.
fn versions(listener: &mut Listener, value: &mut Value<'_>) -> Result<(), Invalid> {
    let mut versions = Versions {
        v3_1: false,
        v3_1_1: false,
        v5_0: false,
    };
    let mut any = false;
    while let Some(word) = value.word_before_comment() {
        for number in word.split(',').filter(|number| !number.is_empty()) {
            any = true;
            match number {
                "3" => versions.v3_1 = true,
                "4" => versions.v3_1_1 = true,
                "5" => versions.v5_0 = true,
                _ => {
                    return Err(Invalid::NotOneOf {
                        given: number.to_owned(),
                        known: vec!["3", "4", "5"],
                    });
                }
            }
        }
    }
    if !any {
        return Err(Invalid::Empty);
    }
    listener.accept_protocol_versions = versions;
    Ok(())
}

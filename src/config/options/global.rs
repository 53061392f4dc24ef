//! Options of the whole broker.

use super::super::value::{Invalid, Note, STRING_BYTES_MAX, Value, word_for};
use super::super::{Config, Destinations, LogTypes, LogWording, SyncMode, SysVersion};
use super::{
    Again, Kind, Opt, Reload, Scope, Section, Target, alias, ignored, range, range_moved, section,
    text, text_last,
};

const INT_MAX: i64 = i32::MAX as i64;

const NO_BUFFERS: &str = "connections have no read buffers of their own here";

const NO_SAVES: &str =
    "every change is written as it happens, and midge_persistence_sync says when it is safe";

const fn global(
    name: &'static str,
    default: &'static str,
    kind: Kind<Config>,
    doc: &'static str,
) -> Opt {
    Opt::new(name, default, Target::Global(kind), Reload::Now, doc)
}

/// In the order of the alphabet, midge's own last.
pub(super) const ROWS: &[Opt] = &[
    global(
        "allow_duplicate_messages",
        "true",
        Kind::Bool(|c| &mut c.allow_duplicate_messages),
        "Sends a message once for each subscription of a client that it matches; \
             false: once a client.",
    )
    .note("deprecated in mosquitto 2.1"),
    global(
        "autosave_interval",
        "1800",
        Kind::U32(range_moved(0, INT_MAX, "seconds"), |c| {
            &mut c.persistence.autosave_interval
        }),
        "Seconds between two saves of all state, or changes between them with \
             autosave_on_changes; 0 saves at the end only.",
    )
    .replaced(NO_SAVES),
    global(
        "autosave_on_changes",
        "false",
        Kind::Bool(|c| &mut c.persistence.autosave_on_changes),
        "Makes autosave_interval a number of changes.",
    )
    .replaced(NO_SAVES),
    global(
        "check_retain_source",
        "false",
        Kind::Bool(|c| &mut c.check_retain_source),
        "Sends a retained message only while its publisher may still publish it.",
    )
    .note("mosquitto's manual says true, its program does as with false"),
    global(
        "clientid_prefixes",
        "none",
        text_last(|c| &mut c.clientid_prefixes),
        "Lets in only clients whose Client Identifier begins so.",
    )
    .at(Reload::NewConnections)
    .note("deprecated in mosquitto 2.1"),
    global(
        "connection_messages",
        "true",
        Kind::Bool(|c| &mut c.connection_messages),
        "Logs clients that connect and disconnect.",
    ),
    global(
        "enable_control_api",
        "false",
        Kind::Bool(|c| &mut c.enable_control_api),
        "Answers requests on $CONTROL/broker/v1.",
    )
    .warns("$CONTROL/broker/v1 does not answer")
    .note("since mosquitto 2.1"),
    global(
        "global_max_clients",
        "-1",
        Kind::Count(|c| &mut c.global_max_clients),
        "Bounds the number of sessions, their clients connected or not; -1 and 0 \
             set no bound.",
    )
    .note("since mosquitto 2.1"),
    global(
        "global_max_connections",
        "-1",
        Kind::Count(|c| &mut c.global_max_connections),
        "Bounds the number of connections on all listeners together; -1 and 0 \
             set no bound.",
    )
    .note("since mosquitto 2.1"),
    section(
        "include_dir",
        Scope::Global,
        Section::IncludeDir,
        "DIRECTORY",
        "Reads all files *.conf in this directory, in the order of the alphabet.",
    ),
    global(
        "log_dest",
        "stderr",
        Kind::Own(
            "stdout, stderr, syslog, topic, none or file PATH; may be repeated",
            log_dest,
            |c| c.log.destinations.words(),
        ),
        "Where log lines go.",
    ),
    global(
        "log_facility",
        "daemon",
        Kind::Own("0 to 7", log_facility, |c| {
            c.log
                .facility
                .map_or_else(|| "daemon".to_owned(), |number| number.to_string())
        }),
        "The facility that syslog is told: local0 to local7.",
    ),
    global(
        "log_timestamp",
        "true",
        Kind::Bool(|c| &mut c.log.timestamp),
        "Begins each log line with the time.",
    ),
    global(
        "log_timestamp_format",
        "seconds since 1970",
        text(|c| &mut c.log.timestamp_format),
        "How the time is written, in the notation of strftime(3), in local time.",
    ),
    global(
        "log_type",
        "error warning notice information",
        Kind::Own(
            "error, warning, notice, information, debug, subscribe, unsubscribe, \
             internal, websockets, none or all; may be repeated",
            log_type,
            |c| c.log.types.words(),
        ),
        "Which lines are logged.",
    ),
    global(
        "max_inflight_bytes",
        "0",
        Kind::U64(range_moved(0, i64::MAX, "bytes"), |c| {
            &mut c.max_inflight_bytes
        }),
        "Bytes of payload in flight to one client at QoS 1 and 2; 0 sets no bound. \
             A single longer message still goes.",
    ),
    global(
        "max_inflight_messages",
        "20",
        Kind::Own("0 to 65535 messages", max_inflight_messages, |c| {
            c.max_inflight_messages.to_string()
        }),
        "QoS 1 and 2 messages in flight to one client, and from one client of \
             MQTT 5.0; 0 sets no bound. 1 keeps strict order.",
    )
    .at(Reload::NewConnections),
    global(
        "max_keepalive",
        "0",
        Kind::U16(range(0, 65_535, "seconds"), |c| &mut c.max_keepalive),
        "The longest Keep Alive a client may ask for; 0 sets no bound. A client \
             of MQTT 5.0 is told; an older one is refused.",
    )
    .at(Reload::NewConnections),
    global(
        "max_packet_size",
        "2000000",
        Kind::U32(range(20, INT_MAX, "bytes"), |c| &mut c.max_packet_size),
        "Bytes of one packet at most, in and out.",
    )
    .at(Reload::NewConnections)
    .note("no bound before mosquitto 2.1"),
    global(
        "max_queued_bytes",
        "0",
        Kind::U64(range_moved(0, i64::MAX, "bytes"), |c| {
            &mut c.max_queued_bytes
        }),
        "Bytes of payload that wait for one client beyond what is in flight; 0 \
             sets no bound.",
    ),
    global(
        "max_queued_messages",
        "1000",
        Kind::U32(range_moved(0, INT_MAX, "messages"), |c| {
            &mut c.max_queued_messages
        }),
        "Messages that wait for one client beyond those in flight; 0 sets no \
             bound. Where persistence is on, those behind the first 1000, or behind \
             262144 bytes of payload, are on the disk and not in memory.",
    ),
    global(
        "memory_limit",
        "0",
        Kind::U64(range(0, i64::MAX, "bytes"), |c| &mut c.memory_limit),
        "Bytes of heap the broker may use; 0 sets no bound. As it fills, QoS 0 \
             messages to slow readers are dropped first, then messages that \
             would have to wait are refused, then new connections.",
    ),
    global(
        "message_size_limit",
        "0",
        Kind::U32(range(0, 268_435_455, "bytes"), |c| {
            &mut c.message_size_limit
        }),
        "Bytes of one payload; a longer message is taken and not passed on. 0 \
             sets no bound.",
    )
    .note("max_packet_size is better"),
    global(
        "packet_buffer_size",
        "4096",
        Kind::U16(range(0, 65_535, "bytes"), |c| &mut c.packet_buffer_size),
        "Bytes of the read buffer of each connection in mosquitto.",
    )
    .warns(NO_BUFFERS)
    .note("since mosquitto 2.1"),
    global(
        "persistence",
        "false",
        Kind::Bool(|c| &mut c.persistence.enabled),
        "Keeps sessions, waiting messages and retained messages over a restart.",
    )
    .at(Reload::Restart),
    global(
        "persistence_file",
        "mosquitto.db",
        text(|c| &mut c.persistence.file),
        "A mosquitto.db under this name is imported at the first start; state is kept in the file \
             of this name and .sqlite3, or in midge.sqlite3.",
    )
    .at(Reload::Restart),
    global(
        "persistence_location",
        "the current directory",
        Kind::Text(Again::LastWinsWithNote, 65_535, |c| {
            &mut c.persistence.location
        }),
        "The directory that state is kept in.",
    )
    .at(Reload::Restart),
    global(
        "persistent_client_expiration",
        "never",
        Kind::Own(
            "a number and s, h, d, w, m (30 days) or y",
            |c, v| {
                c.persistent_client_expiration = Some(v.duration_s()?);
                Ok(())
            },
            |c| {
                c.persistent_client_expiration
                    .map_or_else(|| "never".to_owned(), |seconds| format!("{seconds}s"))
            },
        ),
        "How long the session of a client of MQTT 3.1 or 3.1.1 waits for it. \
             There is no unit for minutes.",
    ),
    global(
        "pid_file",
        "none",
        text(|c| &mut c.pid_file),
        "Writes the process id to this file.",
    )
    .at(Reload::Restart),
    global(
        "queue_qos0_messages",
        "false",
        Kind::Bool(|c| &mut c.queue_qos0_messages),
        "Lets QoS 0 messages wait, too, for clients with a session that are away.",
    ),
    global(
        "retain_available",
        "true",
        Kind::Bool(|c| &mut c.retain_available),
        "Keeps retained messages; false: whoever publishes one is disconnected.",
    )
    .at(Reload::NewConnections),
    global(
        "retain_expiry_interval",
        "0",
        Kind::U32(range(0, INT_MAX, "minutes"), |c| {
            &mut c.retain_expiry_interval
        }),
        "Minutes between two looks for retained messages that have expired; 0: \
             the broker's own pace.",
    )
    .note("since mosquitto 2.1"),
    alias(
        "retained_persistence",
        "persistence",
        "An older name of persistence.",
    )
    .at(Reload::Restart),
    ignored(
        "retry_interval",
        Scope::Global,
        "Was the time after which messages were sent again.",
        "messages are sent again only after a reconnect, as MQTT asks",
    )
    .note("without effect since mosquitto 1.5"),
    global(
        "set_tcp_nodelay",
        "true",
        Kind::Bool(|c| &mut c.set_tcp_nodelay),
        "Sends small packets at once instead of collecting them.",
    )
    .at(Reload::NewConnections)
    .note("false in mosquitto"),
    ignored(
        "store_clean_interval",
        Scope::Global,
        "Was the time between two clean-ups of stored messages.",
        "messages nobody needs any more are dropped at once",
    )
    .note("removed in mosquitto 1.5"),
    global(
        "sys_interval",
        "10",
        Kind::U16(range(0, 65_535, "seconds"), |c| &mut c.sys_interval),
        "Seconds between two updates of the topics below $SYS; 0: there are none.",
    ),
    global(
        "upgrade_outgoing_qos",
        "false",
        Kind::Bool(|c| &mut c.upgrade_outgoing_qos),
        "Sends messages with the QoS of the subscription, even where they were \
             published with a lower one.",
    ),
    global(
        "user",
        "mosquitto, else nobody",
        text_last(|c| &mut c.user),
        "Whose rights the broker takes on when it was started by root.",
    )
    .at(Reload::Restart),
    alias(
        "websockets_headers_size",
        "packet_buffer_size",
        "An older name of packet_buffer_size.",
    )
    .warns(NO_BUFFERS),
    ignored(
        "websockets_log_level",
        Scope::Global,
        "What the library for WebSockets logs.",
        "there is no such library here",
    )
    .note("legacy WebSockets library only"),
    global(
        "midge_log_wording",
        "2.1",
        Kind::Own(
            "2.0 or 2.1",
            |c, v| {
                c.midge_log_wording = v.one_of(WORDINGS)?;
                Ok(())
            },
            |c| word_for(c.midge_log_wording, WORDINGS),
        ),
        "Which mosquitto's words log lines use, for rules that look for them.",
    )
    .note("midge's own"),
    global(
        "midge_persistence_sync",
        "always",
        Kind::Own(
            "always, interval MS or none",
            midge_persistence_sync,
            |c| match c.persistence.sync {
                SyncMode::Always => "always".to_owned(),
                SyncMode::Interval(interval_ms) => format!("interval {interval_ms}"),
                SyncMode::None => "none".to_owned(),
            },
        ),
        "When what persistence keeps is safe from a power cut: before it is acknowledged, MS \
             milliseconds later at most, or when the system writes it. Nothing acknowledged is \
             lost to a kill in any of them.",
    )
    .at(Reload::Restart)
    .note("midge's own"),
    global(
        "midge_sys_version",
        "mosquitto",
        Kind::Own(
            "mosquitto or midge",
            |c, v| {
                c.midge_sys_version = v.one_of(SYS_VERSIONS)?;
                Ok(())
            },
            |c| word_for(c.midge_sys_version, SYS_VERSIONS),
        ),
        "Whether $SYS/broker/version begins with mosquitto, as tools expect, or \
             with midge.",
    )
    .note("midge's own"),
];

const WORDINGS: &[(&str, LogWording)] = &[("2.0", LogWording::V2_0), ("2.1", LogWording::V2_1)];

const SYS_VERSIONS: &[(&str, SysVersion)] = &[
    ("mosquitto", SysVersion::Mosquitto),
    ("midge", SysVersion::Midge),
];

/// `max_inflight_messages`: 65535 is no bound to a 5.0 client, and none here.
fn max_inflight_messages(config: &mut Config, value: &mut Value<'_>) -> Result<(), Invalid> {
    let given = value.int_or_zero(65_535)?;
    config.max_inflight_messages = match u16::try_from(given) {
        Ok(u16::MAX) | Err(_) => 0,
        Ok(messages) => messages,
    };
    Ok(())
}

/// `midge_persistence_sync`.
fn midge_persistence_sync(config: &mut Config, value: &mut Value<'_>) -> Result<(), Invalid> {
    let word = value.needed()?;
    config.persistence.sync = match &*word {
        "always" => SyncMode::Always,
        "none" => SyncMode::None,
        "interval" => {
            let interval_ms = value.int(1, 3_600_000)?;
            SyncMode::Interval(u32::try_from(interval_ms).unwrap_or(1000))
        }
        _ => {
            return Err(Invalid::NotOneOf {
                given: word.into_owned(),
                known: vec!["always", "interval MS", "none"],
            });
        }
    };
    value.end();
    Ok(())
}

/// `log_facility`.
fn log_facility(config: &mut Config, value: &mut Value<'_>) -> Result<(), Invalid> {
    config.log.facility = u8::try_from(value.int(0, 7)?).ok();
    Ok(())
}

/// `log_dest`: each line adds a destination; `none` takes all away.
fn log_dest(config: &mut Config, value: &mut Value<'_>) -> Result<(), Invalid> {
    let destinations = &mut config.log.destinations;
    let word = value.needed()?;
    match &*word {
        "stdout" => destinations.stdout = true,
        "stderr" => destinations.stderr = true,
        "syslog" => destinations.syslog = true,
        "topic" => destinations.topic = true,
        "none" => *destinations = Destinations::none(),
        "file" if destinations.file.is_some() => return Err(Invalid::Duplicate),
        "file" => {
            destinations.file = Some(value.text(STRING_BYTES_MAX)?);
            return Ok(());
        }
        "dlt" => value.note(Note::NotInEffect("nothing is written to DLT")),
        "android" => value.note(Note::NotInEffect("nothing is written to Android's log")),
        _ => {
            return Err(Invalid::NotOneOf {
                given: word.into_owned(),
                known: vec!["stdout", "stderr", "syslog", "topic", "file PATH", "none"],
            });
        }
    }
    value.end();
    Ok(())
}

/// `log_type`: each line adds a type; `none` takes all away.
fn log_type(config: &mut Config, value: &mut Value<'_>) -> Result<(), Invalid> {
    let word = value.needed()?;
    let Some(types) = LogTypes::from_word(&word) else {
        return Err(Invalid::NotOneOf {
            given: word.into_owned(),
            known: LogTypes::known(),
        });
    };
    config.log.types = match types {
        LogTypes::NONE => LogTypes::NONE,
        types => config.log.types.with(types),
    };
    value.end();
    Ok(())
}

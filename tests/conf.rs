//! Configuration files as people have them, and what becomes of them: settings, warnings, and the
//! exact sentence for what is wrong.

mod conf_files;

use conf_files::{Disk, errors, first_error, loaded, settings, warnings};
use midge::config::bridge::{Direction, RestartTimeout, StartType};
use midge::config::{
    Bind, Config, Input, LogTypes, LogWording, SocketDomain, SyncMode, SysVersion, load, read,
};
use midge::message::QoS;

fn names(config: &Config) -> Vec<String> {
    config
        .listeners
        .iter()
        .map(|listener| listener.name())
        .collect()
}

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/conf/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

#[test]
fn without_a_file_this_machine_alone_is_served() {
    let (config, warnings) = load(&Input::default(), &Disk::default()).unwrap();
    assert_eq!(config, Config::default());
    assert!(warnings.is_empty());
    assert!(config.local_only && config.allow_anonymous);
    assert_eq!(names(&config), ["1883 127.0.0.1", "1883 ::1"]);
    assert!(config.listeners.iter().all(|l| l.security.allow_anonymous));

    let input = Input {
        ports: &[1884, 1885],
        ..Input::default()
    };
    let (config, _) = load(&input, &Disk::default()).unwrap();
    let expected = ["1884 127.0.0.1", "1884 ::1", "1885 127.0.0.1", "1885 ::1"];
    assert_eq!(names(&config), expected);
}

#[test]
fn debian_default_with_an_include_directory() {
    let mut disk = Disk::default();
    disk.put("/etc/mosquitto/mosquitto.conf", &file("debian.conf"));
    disk.directory("/etc/mosquitto/conf.d");
    let (config, warnings) = loaded(&disk, "/etc/mosquitto/mosquitto.conf");
    assert!(config.local_only && config.persistence.enabled);
    assert_eq!(
        config.pid_file.as_deref(),
        Some("/run/mosquitto/mosquitto.pid")
    );
    assert_eq!(
        config.log.destinations.words(),
        "file /var/log/mosquitto/mosquitto.log"
    );
    assert_eq!(warnings, Vec::<String>::new());

    // What a user puts there opens the network; the location a second time is no reason to stop.
    disk.put(
        "/etc/mosquitto/conf.d/local.conf",
        b"listener 1883\npassword_file /etc/mosquitto/passwd\npersistence_location /mnt/\n",
    );
    let (config, warnings) = loaded(&disk, "/etc/mosquitto/mosquitto.conf");
    assert!(!config.local_only && !config.allow_anonymous);
    assert_eq!(names(&config), ["1883"]);
    let security = &config.listeners[0].security;
    assert_eq!(
        security.password_file.as_deref(),
        Some("/etc/mosquitto/passwd")
    );
    assert_eq!(config.persistence.location.as_deref(), Some("/mnt/"));
    assert!(warnings.contains(&String::from(
        "Warning: persistence_location is given twice; this one is used, not the one at \
         /etc/mosquitto/mosquitto.conf:8. Found at /etc/mosquitto/conf.d/local.conf:3."
    )));
}

#[test]
fn docker_images() {
    let config = settings(&file("docker-2.0.conf"));
    assert_eq!(names(&config), ["1883"]);
    assert!(!config.local_only && config.listeners[0].security.allow_anonymous);

    let (config, warnings) = {
        let mut disk = Disk::default();
        disk.put("m.conf", &file("docker-2.1.conf"));
        loaded(&disk, "m.conf")
    };
    assert_eq!(names(&config), ["1883"]);
    assert_eq!(
        warnings,
        [
            "Warning: http_dir is accepted, but not in effect: no files are served to browsers. \
             Found at m.conf:7.",
            "Warning: listener 9883 is accepted, but not opened: the HTTP API is not served. Found \
             at m.conf:6.",
        ]
    );
}

#[test]
fn the_home_assistant_add_on() {
    let mut disk = Disk::default();
    disk.put("/etc/mosquitto.conf", &file("homeassistant.conf"));
    disk.directory("/share/mosquitto");
    let found = errors(&disk, "/etc/mosquitto.conf");
    assert_eq!(
        found,
        [
            "Error: The plugin /usr/share/mosquitto/go-auth.so keeps midge from starting: go-auth \
             is not supported yet, so that its users and rules would not be enforced. Error found \
             at /etc/mosquitto.conf:16."
        ]
    );

    // Without what is not supported yet, the rest holds.
    let text = String::from_utf8(file("homeassistant.conf")).unwrap();
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("auth_"))
        .collect();
    disk.put("/etc/mosquitto.conf", kept.join("\n").as_bytes());
    let (config, _) = loaded(&disk, "/etc/mosquitto.conf");
    assert_eq!(names(&config), ["1883", "1884", "8883", "8884"]);
    assert_eq!(config.max_queued_messages, 8192);
    assert_eq!(config.user.as_deref(), Some("root"));
    assert_eq!(config.log.destinations.words(), "stdout");
    assert_eq!(config.log.types.words(), "error warning notice information");
    let format = config.log.timestamp_format.as_deref();
    assert_eq!(format, Some("%Y-%m-%d %H:%M:%S"));
}

#[test]
fn openwrt_as_generated() {
    let mut disk = Disk::default();
    disk.put("m.conf", &file("openwrt.conf"));
    let (config, warnings) = loaded(&disk, "m.conf");
    // The default listener comes last, as in mosquitto.
    assert_eq!(names(&config), ["1884 192.168.1.1", "1883 localhost"]);
    assert!(config.allow_anonymous);
    assert_eq!(config.listeners[0].max_connections, 30);
    assert_eq!(config.listeners[0].mount_point.as_deref(), Some("lan/"));
    assert_eq!(config.listeners[1].max_connections, 0);
    assert_eq!(config.max_queued_messages, 100);
    assert_eq!(config.message_size_limit, 65_536);
    assert_eq!(config.persistent_client_expiration, Some(14 * 86_400));
    assert_eq!(config.log.facility, Some(3));
    assert_eq!(config.log.types, LogTypes::ERROR.with(LogTypes::WARNING));
    assert_eq!(config.sys_interval, 30);
    assert_eq!(
        warnings,
        [
            "Warning: store_clean_interval is accepted, but not in effect: messages nobody needs \
             any more are dropped at once. Found at m.conf:16.",
            "Warning: connection uplink is accepted, but this bridge is not made: nothing goes to \
             or comes from the other broker. Found at m.conf:26.",
        ]
    );
}

#[test]
fn a_file_from_windows() {
    let config = settings(&file("windows.conf"));
    assert_eq!(names(&config), ["1883"]);
    let security = &config.listeners[0].security;
    assert!(!security.allow_anonymous);
    assert_eq!(
        security.password_file.as_deref(),
        Some("C:/mosquitto/passwd")
    );
    assert_eq!(config.max_inflight_messages, 16);
    assert_eq!(config.max_keepalive, 8);
}

#[test]
fn a_tutorial_with_settings_for_each_listener() {
    let config = settings(&file("tutorial.conf"));
    assert_eq!(names(&config), ["1883 127.0.0.1", "1884 0.0.0.0"]);
    let [local, open] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert!(local.security.allow_anonymous && local.security.password_file.is_none());
    assert!(!open.security.allow_anonymous);
    assert_eq!(
        open.security.acl_file.as_deref(),
        Some("/etc/mosquitto/acl")
    );
    assert_eq!(open.bind, Bind::Address(String::from("0.0.0.0")));
    assert_eq!(
        (local.max_qos, open.max_qos),
        (QoS::ExactlyOnce, QoS::AtLeastOnce)
    );
    assert_eq!((local.max_connections, open.max_connections), (0, 100));
    assert!(!config.allow_anonymous && config.per_listener_settings);
    assert_eq!(config.max_inflight_messages, 1);
    assert_eq!(config.max_queued_messages, 0);
    assert_eq!(config.log.destinations.words(), "stdout");
    assert_eq!(config.log.types, LogTypes::ALL);
    assert!(config.queue_qos0_messages && !config.connection_messages);
}

#[test]
fn a_bridge_to_the_cloud() {
    let config = settings(&file("aws.conf"));
    let bridge = &config.bridges[0];
    assert_eq!(bridge.name, "aws");
    assert_eq!(bridge.addresses[0].port, 8883);
    let topics: Vec<_> = bridge.topics.iter().map(ToString::to_string).collect();
    assert_eq!(
        topics,
        [
            "telemetry/# out 1",
            "commands and more/# in 1 \"\" site/",
            "\"\" both 0 local/ remote/",
        ]
    );
    assert_eq!(bridge.topics[2].direction, Direction::Both);
    assert_eq!(
        bridge.remote_username.as_deref(),
        Some("host/client/?api-version=2021-04-12")
    );
    assert_eq!(bridge.local_username.as_deref(), Some("dummy gateway"));
    assert_eq!(bridge.start_type, StartType::Automatic);
    let expected = RestartTimeout::Jitter {
        base_s: 10,
        cap_s: 30,
        stable_s: 60,
    };
    assert_eq!(bridge.restart_timeout, expected);
    let not_made: Vec<_> = warnings(&file("aws.conf"));
    assert_eq!(not_made.len(), 1, "{not_made:?}");
}

#[test]
fn built_in_plugins_are_what_the_options_are() {
    let config = settings(&file("plugins.conf"));
    let security = &config.listeners[0].security;
    assert_eq!(
        security.password_file.as_deref(),
        Some("/etc/mosquitto/passwd")
    );
    assert_eq!(security.acl_file.as_deref(), Some("/etc/mosquitto/acl"));
    assert!(!security.deny_special_chars);
    assert!(config.persistence.enabled);
    assert_eq!(warnings(&file("plugins.conf")), [""; 0]);

    let each = "per_listener_settings true\nplugin_load p /x/mosquitto_password_file.so\n\
                plugin_opt_password_file /a\nlistener 1\nplugin_use p\nlistener 2\n\
                plugin /x/mosquitto_acl_file.so\nplugin_opt_acl_file /b\n";
    let config = settings(each.as_bytes());
    let [one, two] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert_eq!(one.security.password_file.as_deref(), Some("/a"));
    assert_eq!(one.security.acl_file, None);
    assert_eq!(two.security.password_file, None);
    assert_eq!(two.security.acl_file.as_deref(), Some("/b"));
    assert!(two.security.deny_special_chars);

    let rows = [
        (
            "plugin /x/mosquitto_dynamic_security.so",
            "The plugin /x/mosquitto_dynamic_security.so keeps midge from starting: dynamic \
             security is not supported yet, so that its rules would not be enforced.",
        ),
        (
            "plugin /x/mine.so",
            "The plugin /x/mine.so keeps midge from starting: native plugins cannot be loaded, and \
             what this one decides would not be enforced.",
        ),
        (
            "plugin mosquitto_acl_file.so",
            "mosquitto_acl_file needs plugin_opt_acl_file beside it.",
        ),
        (
            "password_file /a\nplugin mosquitto_password_file.so\nplugin_opt_password_file /b",
            "Two different files are given as password_file, by a plugin and an option or by two \
             plugins; midge reads one.",
        ),
    ];
    for (text, expected) in rows {
        let error = first_error(text.as_bytes());
        assert!(error.starts_with(&format!("Error: {expected} ")), "{error}");
    }
}

#[test]
fn the_sqlite_plugin_is_the_built_in_store() {
    let text = |more: &str| {
        let before = "listener 1883\nplugin /usr/lib/mosquitto_persist_sqlite.so\n";
        format!("{before}{more}").into_bytes()
    };
    let rows = [
        ("", SyncMode::Interval(5000)),
        ("plugin_opt_sync extra\n", SyncMode::Always),
        (
            "plugin_opt_sync full\nplugin_opt_flush_period 1\n",
            SyncMode::Always,
        ),
        (
            "plugin_opt_sync normal\nplugin_opt_flush_period 1\n",
            SyncMode::Interval(1000),
        ),
        ("plugin_opt_flush_period 0\n", SyncMode::Always),
        ("plugin_opt_sync off\n", SyncMode::None),
        (
            "plugin_opt_sync off\nmidge_persistence_sync always\n",
            SyncMode::Always,
        ),
    ];
    for (more, expected) in rows {
        let persistence = settings(&text(more)).persistence;
        assert!(persistence.enabled, "{more}");
        assert_eq!(persistence.sync, expected, "{more}");
        assert_eq!(warnings(&text(more)), [""; 0], "{more}");
    }
    let persistence = settings(&text("plugin_opt_db_file /data/mq.sqlite3\n")).persistence;
    assert_eq!(persistence.database.as_deref(), Some("/data/mq.sqlite3"));
    let said = warnings(&text("plugin_opt_page_size 4096\n"));
    assert!(
        said[0].contains("The plugin option page_size is accepted, but not in effect"),
        "{said:?}"
    );
    for (more, error) in [
        (
            "plugin_opt_sync often\n",
            "Invalid plugin_opt_sync value (often): it takes extra, full, normal, off.",
        ),
        (
            "plugin_opt_flush_period x\n",
            "Invalid plugin_opt_flush_period value (x)",
        ),
        (
            "plugin_opt_flush_period 3601\n",
            "it takes a number from 0 to 3600",
        ),
    ] {
        let said = first_error(&text(more));
        assert!(said.contains(error), "{said}");
    }
}

#[test]
fn what_is_midges_own_may_stand_in_a_comment() {
    let config = settings(&file("both_ways.conf"));
    assert_eq!(config.midge_log_wording, LogWording::V2_0);
    assert_eq!(config.midge_sys_version, SysVersion::Midge);
    assert_eq!(
        warnings(&file("both_ways.conf")),
        [
            "Warning: \"midge_log_wordin\" is no option of midge's and stays a comment; did you \
             mean midge_log_wording? Found at m.conf:4."
        ]
    );
    assert_eq!(
        names(&config),
        ["0 /run/mosquitto/mosquitto.sock", "1883", "1883"]
    );
    assert_eq!(config.listeners[1].socket_domain, Some(SocketDomain::Ipv4));
    assert_eq!(config.listeners[2].socket_domain, Some(SocketDomain::Ipv6));
}

#[test]
fn everything_wrong_is_said_at_once_and_the_first_first() {
    let mut disk = Disk::default();
    disk.put("m.conf", &file("broken.conf"));
    assert_eq!(
        errors(&disk, "m.conf"),
        [
            "Error: Unknown configuration variable \"keepalive\": mosquitto never had it; each \
             client chooses its own Keep Alive; max_keepalive bounds it, and a bridge has \
             keepalive_interval. Error found at m.conf:2.",
            "Error: Unknown configuration variable \"listner\"; did you mean listener? Error found \
             at m.conf:3.",
            "Error: Invalid allow_anonymous value (yes): it takes true or false, and nothing but \
             spaces behind it. Error found at m.conf:5.",
            "Error: Invalid max_qos value (3): it takes a number from 0 to 2. Error found at \
             m.conf:6.",
            "Error: Empty acl_file value in configuration. Error found at m.conf:7.",
            "Error: Duplicate log_timestamp_format value in configuration. It stands at m.conf:8 \
             already. Error found at m.conf:9.",
            "Error: Invalid topic value (sideways): it takes out, in, both. Error found at \
             m.conf:12.",
            "Error: certfile needs keyfile beside it. Error found at m.conf:10.",
            "Error: Invalid bridge configuration: no remote addresses defined for connection \
             cloud; it needs a line `address HOST`. Error found at m.conf:11.",
            "Error: Invalid bridge configuration: no topics defined for connection cloud; it needs \
             a line such as `topic # out`. Error found at m.conf:11.",
        ]
    );
}

#[test]
fn included_files_go_by_the_alphabet_and_begin_anew() {
    let mut disk = Disk::default();
    disk.put(
        "m.conf",
        b"listener 1\ninclude_dir /b/\nmax_connections 5\ninclude_dir /a",
    );
    disk.put(
        "/b/b.conf",
        b"max_keepalive 1\nlistener 3\nmax_connections 7",
    );
    disk.put("/b/B.conf", b"max_keepalive 2\nlistener 2");
    disk.put("/b/a.CONF", b"nonsense");
    disk.put("/b/.conf", b"nonsense");
    disk.put("/b/x.conf.bak", b"nonsense");
    disk.put("/a/z.conf", b"max_keepalive 3\ninclude_dir /b");
    let (config, warnings) = loaded(&disk, "m.conf");
    assert_eq!(names(&config), ["1", "2", "3"]);
    let maxima: Vec<_> = config.listeners.iter().map(|l| l.max_connections).collect();
    assert_eq!(maxima, [5, 0, 7]);
    assert_eq!(config.max_keepalive, 3);
    assert_eq!(
        warnings,
        [
            "Warning: include_dir is not in effect in an included file, only in the main one. \
             Found at /a/z.conf:2."
        ]
    );

    let mut disk = Disk::default();
    disk.put("m.conf", b"listener 1\ninclude_dir /a");
    disk.put("/a/a.conf", b"mount_point x/");
    assert_eq!(
        errors(&disk, "m.conf"),
        [
            "Error: The 'mount_point' option requires a listener to be defined first: a line \
             `listener PORT` must stand before it in the same file. Error found at /a/a.conf:1."
        ]
    );
}

#[test]
fn one_warning_names_all_options_that_share_a_reason() {
    let mut disk = Disk::default();
    let file = b"retry_interval 5\nlistener 1\ntls_engine a\ntls_keyform pem\n\
                 tls_engine_kpass_sha1 x\ntls_engine b\n";
    disk.put("m.conf", file);
    let (_, warnings) = loaded(&disk, "m.conf");
    assert_eq!(
        warnings[1],
        "Warning: tls_engine, tls_keyform and tls_engine_kpass_sha1 are accepted, but not in \
         effect: there are no OpenSSL engines here. Found at m.conf:3."
    );
    assert_eq!(
        warnings.iter().filter(|w| w.contains("in effect")).count(),
        2
    );
}

#[test]
fn what_is_missing_is_fatal() {
    let mut disk = Disk::default();
    assert_eq!(
        errors(&disk, "m.conf"),
        ["Error: Unable to open config file m.conf: there is none."]
    );
    disk.put("m.conf", b"include_dir /nowhere");
    assert_eq!(
        errors(&disk, "m.conf"),
        ["Error: Unable to open include_dir '/nowhere': there is none. Error found at m.conf:1."]
    );
}

#[test]
fn security_belongs_to_all_listeners_or_to_each() {
    let all = settings(
        b"listener 1\nallow_anonymous true\nlistener 2\nlistener_allow_anonymous false\n\
          listener_auto_id_prefix x-\n",
    );
    let anonymous: Vec<_> = all
        .listeners
        .iter()
        .map(|l| l.security.allow_anonymous)
        .collect();
    assert_eq!(anonymous, [true, false]);
    assert_eq!(all.listeners[0].security.auto_id_prefix, "auto-");
    assert_eq!(all.listeners[1].security.auto_id_prefix, "x-");
    assert!(all.allow_anonymous);

    let each =
        settings(b"per_listener_settings true\nlistener 1\nallow_anonymous true\nlistener 2\n");
    let anonymous: Vec<_> = each
        .listeners
        .iter()
        .map(|l| l.security.allow_anonymous)
        .collect();
    assert_eq!(anonymous, [true, false]);

    // The default listener, and only it, has what stands before any listener.
    let default = settings(b"per_listener_settings true\nport 1\npassword_file /p\nlistener 2\n");
    assert_eq!(names(&default), ["2", "1"]);
    assert_eq!(default.listeners[0].security.password_file, None);
    assert!(default.listeners[1].security.password_file.is_some());

    // Where nothing opens it, a warning says so.
    assert_eq!(
        warnings(b"per_listener_settings true\npassword_file /p\nmax_connections 3\nlistener 2\n"),
        ["password_file", "max_connections"].map(|name| {
            let line = if name == "password_file" { 2 } else { 3 };
            format!(
                "Warning: {name} stands before any listener and is not in effect: it applies to \
                 the default listener, which nothing opens; move it below the listener that it is \
                 meant for. Found at m.conf:{line}."
            )
        })
    );

    // Nor is anything said of a line that changes nothing.
    assert!(warnings(b"protocol mqtt\nuse_subject_as_username false\nlistener 2\n").is_empty());

    // One family of addresses alone is that on this machine, too.
    let local = settings(b"socket_domain ipv4\n");
    assert_eq!(names(&local), ["1883 127.0.0.1"]);

    // With no listener at all they are the local ones'.
    let local = settings(b"max_connections 3\npassword_file /p\nallow_anonymous false\n");
    assert!(local.local_only);
    for listener in &local.listeners {
        assert_eq!(listener.max_connections, 3);
        assert!(!listener.security.allow_anonymous);
        assert!(listener.security.password_file.is_some());
    }
}

#[test]
fn no_password_is_ever_shown() {
    let text =
        b"connection a\naddress x\ntopic y\nremote_password hunter2\nlocal_password hunter2\n\
                 bridge_identity i\nbridge_psk c0ffee\n";
    let config = settings(text);
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("c0ffee"));
    let changed = String::from_utf8_lossy(text).replace("hunter2", "hunter3");
    let differences = config.differences(&settings(changed.as_bytes()));
    assert_eq!(differences.len(), 2);
    for difference in differences {
        assert!(!difference.to_string().contains("hunter"), "{difference}");
    }
}

#[test]
fn a_reload_says_what_differs() {
    let old = settings(b"listener 1\nlistener 2\nmax_qos 1\npid_file /a\nallow_anonymous true\n");
    let new = settings(
        b"listener 2\nmax_qos 2\nlistener 3\npid_file /b\nallow_anonymous false\nsys_interval 5\n\
          log_dest stdout\nconnection c\naddress h\ntopic t\n",
    );
    let said: Vec<_> = old
        .differences(&new)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "log_dest: stderr becomes stdout",
            "pid_file: /a becomes /b, after a restart",
            "sys_interval: 10 becomes 5",
            "allow_anonymous: true becomes false, for new connections",
            "listener: 1 is gone",
            "listener: 3 is new",
            "max_qos: 1 becomes 2, for new connections",
            "connection: c is new, when the bridge connects again",
        ]
    );
    assert!(new.differences(&new).is_empty());
}

#[test]
fn no_sentence_holds_a_secret() {
    let lines = [
        "connection cloud\nremote_password hunter2 #hunter3",
        "connection cloud\npassword hunter2\nlocal_password hunter2 # hunter3",
        "connection cloud\nbridge_psk 0xhunter2 #hunter3",
        "remote_password\thunter2 hunter3",
        "connection cloud\nremote_password hunter2\nremote_password hunter3",
        "plugin /lib/go-auth.so\nplugin_opt_jwt_secret hunter2 # hunter3",
        "auth_opt_pg_password hunter2",
    ];
    for text in lines {
        let mut disk = Disk::default();
        disk.put("m.conf", text.as_bytes());
        let input = Input {
            file: Some("m.conf"),
            ports: &[],
        };
        let reading = read(&input, &disk);
        let words = format!("{reading:?}{:#?}", reading.errors)
            + &reading
                .errors
                .iter()
                .map(ToString::to_string)
                .collect::<String>()
            + &reading
                .warnings
                .iter()
                .map(ToString::to_string)
                .collect::<String>();
        assert!(!words.contains("unter"), "{text:?} comes out in {words}");
    }
    assert_eq!(
        first_error(b"remote_password\thunter2"),
        "Error: Unknown configuration variable \"remote_password\": a tab stands in it; the name must \
         end with a space. Error found at m.conf:1."
    );
}

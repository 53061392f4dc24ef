//! Every option of the table, set once in a file that the real binary reads, with its effect on the
//! wire, in the log or on the disk: one row an option, and no option without a row.
//!
//! [`GROUPS`] are brokers whose files set several options, each shown by a function; [`ELSEWHERE`]
//! names the tests of the real binary that show one already. What the table says is not in effect
//! yet must say so in the log, and what it says is refused must end the start with code 3; when that
//! changes, an option needs a row here.

use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::config::options::{self, Opt, Scope, Support};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

mod process;
mod table;
use process::*;
use table::*;

/// A broker: its name, its file, and the options that show. In the file PORT stands for the port,
/// SECOND to FOURTH for three more, and FOLDER for a directory.
type Group = (&'static str, &'static str, &'static [(&'static str, Show)]);

/// Shows an option's effect, or panics.
type Show = fn(&Scene);

/// A running broker.
struct Scene {
    folder: Folder,
    midge: Midge,
    more_ports: [u16; 3],
}

const OPEN: &str = "user root\nlistener PORT 127.0.0.1\nallow_anonymous true\n";

const GROUPS: &[Group] = &[
    (
        "messages",
        "sys_interval 1\nallow_duplicate_messages false\nupgrade_outgoing_qos true\n\
         queue_qos0_messages true\nconnection_messages false\nmidge_sys_version midge\n\
         clientid_prefixes p-\nmax_inflight_bytes 5\nmax_queued_messages 2\n\
         persistent_client_expiration 1s\n",
        &[
            ("allow_duplicate_messages", |scene| {
                let mut ann = scene.subscriber("p-ann", "one/#", 0);
                subscribes(&mut ann, "one/+", 0);
                publishes(&scene.client("p-bob"), publish("one/x", "hot"));
                assert_eq!(hears_all(&mut ann), [publish("one/x", "hot").bytes(V311)]);
            }),
            ("upgrade_outgoing_qos", |scene| {
                let mut ann = scene.subscriber("p-ann", "up", 1);
                publishes(&scene.client("p-bob"), publish("up", "hot"));
                let expected = publish("up", "hot").qos1(1).bytes(V311);
                assert_eq!(hears_all(&mut ann), [expected]);
            }),
            ("queue_qos0_messages", |scene| {
                scene.leaves_durable("p-cat", "zero", 0);
                publishes(&scene.client("p-bob"), publish("zero", "hot"));
                let heard = scene.comes_back("p-cat");
                assert_eq!(heard, [publish("zero", "hot").bytes(V311)]);
            }),
            ("connection_messages", |scene| {
                drop(scene.client("p-silent"));
                assert!(!scene.midge.log().contains("as p-silent"));
            }),
            ("midge_sys_version", |scene| {
                let mut ann = scene.subscriber("p-ann", "$SYS/broker/version", 0);
                assert!(text(&read_packet(&mut ann)).contains("versionmidge version"));
            }),
            ("sys_interval", |scene| {
                let mut ann = scene.subscriber("p-ann", "$SYS/broker/uptime", 0);
                let start = Instant::now();
                for _ in 0..3 {
                    read_packet(&mut ann);
                }
                // One is retained, and the others come a second apart.
                assert!(start.elapsed() < Duration::from_secs(6));
            }),
            ("clientid_prefixes", |scene| {
                assert_eq!(scene.code(connect("ann"), V311), 5);
                assert_eq!(scene.code(connect("p-ann"), V311), 0);
            }),
            ("max_inflight_bytes", |scene| {
                let mut ann = scene.subscriber("p-ann", "wait", 1);
                let bob = scene.client("p-bob");
                publishes(&bob, publish("wait", "first").qos1(1));
                publishes(&bob, publish("wait", "other").qos1(2));
                let expected = publish("wait", "first").qos1(1).bytes(V311);
                assert_eq!(hears_all(&mut ann), [expected]);
                ann.write_all(&puback(1).bytes(V311)).unwrap();
                let expected = publish("wait", "other").qos1(2).bytes(V311);
                assert_eq!(hears_all(&mut ann), [expected]);
            }),
            ("max_queued_messages", |scene| {
                scene.leaves_durable("p-dan", "queue", 1);
                let bob = scene.client("p-bob");
                for id in 1..=4 {
                    publishes(&bob, publish("queue", "x").qos1(id));
                }
                let waited = scene.acknowledges_all("p-dan");
                assert_eq!(waited, 2);
            }),
            ("persistent_client_expiration", |scene| {
                scene.leaves_durable("p-eve", "late", 1);
                let again = connect("p-eve").durable();
                assert_eq!(scene.hello(again, V311).1[2], 1);
                scene.leaves_durable("p-eve", "late", 1);
                sleep(Duration::from_millis(2100));
                let again = connect("p-eve").durable();
                assert_eq!(scene.hello(again, V311).1[2], 0);
            }),
        ],
    ),
    (
        "bounds",
        "max_queued_bytes 1\nretain_available false\nlog_timestamp_format on-%Y-\n\
         midge_log_wording 2.0\nglobal_max_connections 3\n",
        &[
            ("max_queued_bytes", |scene| {
                scene.leaves_durable("dan", "queue", 1);
                let bob = scene.client("bob");
                for id in 1..=4 {
                    publishes(&bob, publish("queue", "x").qos1(id));
                }
                drop(bob);
                assert_eq!(scene.acknowledges_all("dan"), 1);
            }),
            ("retain_available", |scene| {
                let (mut ann, told) = scene.hello(connect("ann"), V5);
                assert!(has(&told, Property::RetainAvailable(false)), "{told:x?}");
                ann.write_all(&publish("a", "hot").retain().bytes(V5))
                    .unwrap();
                assert_eq!(read_packet(&mut ann)[2], 0x9a);
            }),
            ("log_timestamp_format", |scene| {
                let log = scene.midge.log();
                let line = log.lines().next().unwrap();
                let year = line.strip_prefix("on-").unwrap().split_once("-: ").unwrap();
                assert!(year.0.parse::<u32>().unwrap() > 2024, "{line}");
            }),
            ("midge_log_wording", |scene| {
                let mut ann = scene.client("ann");
                ann.write_all(&disconnect().bytes(V311)).unwrap();
                scene.midge.waits_for_log(": Client ann disconnected.\n");
            }),
            ("global_max_connections", |scene| {
                let clients = ["ann", "bob", "cat"].map(|name| scene.client(name));
                assert_eq!(read_to_close(&mut scene.midge.opens()), b"");
                drop(clients);
            }),
        ],
    ),
    (
        "rights",
        "check_retain_source true\nacl_file FOLDER/acl\nglobal_max_clients 3\nuser nobody\n",
        &[
            ("check_retain_source", |scene| {
                let may = |rights: &str| {
                    let text = format!("{rights}topic read #\nuser bob\ntopic read #\n");
                    scene.folder.writes("acl", &text);
                    let before = scene.midge.log().matches("Reloading").count();
                    scene.midge.signals("-HUP");
                    while scene.midge.log().matches("Reloading").count() == before {
                        sleep(Duration::from_millis(5));
                    }
                };
                let sees = |count| {
                    let mut bob = scene.hello(connect("bob").user("bob"), V311).0;
                    subscribes(&mut bob, "tea", 0);
                    assert_eq!(hears_all(&mut bob).len(), count);
                };
                may("topic readwrite tea\n");
                publishes(&scene.client("ann"), publish("tea", "hot").retain());
                sees(1);
                may("");
                sees(0);
            }),
            ("global_max_clients", |scene| {
                let clients = ["ann", "bob", "cat"].map(|name| scene.client(name));
                assert_eq!(scene.code(connect("dan"), V311), 3);
                drop(clients);
            }),
            ("user", |scene| {
                let own = fs::read_to_string("/proc/self/status").unwrap();
                let is_root = own.contains("\nUid:\t0\t");
                let mine = own.lines().find_map(|line| line.strip_prefix("Uid:\t"));
                let mine = mine.unwrap().split('\t').next().unwrap().parse().unwrap();
                let expected = if is_root { 65_534 } else { mine };
                assert_eq!(scene.midge.status("Uid:"), expected);
            }),
        ],
    ),
    (
        "listeners",
        "auto_id_prefix all-\nmax_connections 1\n\
         listener SECOND 127.0.0.1\nmax_qos 0\nmax_topic_alias 3\nmax_topic_alias_broker 1\n\
         mount_point here/\nlistener_auto_id_prefix own-\n\
         listener THIRD 127.0.0.1\nmaximum_qos 1\naccept_protocol_versions 4,5\n\
         use_username_as_clientid true\n\
         listener FOURTH 127.0.0.1\nprotocol http_api\n",
        &[
            ("max_connections", |scene| {
                let ann = scene.client("ann");
                assert_eq!(read_to_close(&mut scene.midge.opens()), b"");
                drop(ann);
                scene.waits_until_free();
            }),
            ("auto_id_prefix", |scene| {
                let told = scene.hello(connect(""), V5).1;
                assert!(text(&told).contains("all-"));
                scene.waits_until_free();
            }),
            ("listener_auto_id_prefix", |scene| {
                let told = hello(scene.more_ports[0], connect(""), V5).1;
                assert!(text(&told).contains("own-"));
            }),
            ("max_qos", |scene| {
                let (mut ann, told) = hello(scene.more_ports[0], connect("ann"), V5);
                assert!(has(&told, Property::MaximumQoS(false)), "{told:x?}");
                ann.write_all(&publish("a", "b").qos1(1).bytes(V5)).unwrap();
                assert_eq!(read_packet(&mut ann)[2], 0x9b);
            }),
            ("maximum_qos", |scene| {
                let told = hello(scene.more_ports[1], connect("").user("ann"), V5).1;
                assert!(has(&told, Property::MaximumQoS(true)), "{told:x?}");
            }),
            ("max_topic_alias", |scene| {
                let told = hello(scene.more_ports[0], connect("ann"), V5).1;
                assert!(has(&told, Property::TopicAliasMaximum(3)), "{told:x?}");
            }),
            ("max_topic_alias_broker", |scene| {
                let takes_five = connect("ann").with(Property::TopicAliasMaximum(5));
                let mut ann = hello(scene.more_ports[0], takes_five, V5).0;
                ann.write_all(&subscribe(1, "#", 0).bytes(V5)).unwrap();
                read_packet(&mut ann);
                let bob = hello(scene.more_ports[0], connect("bob"), V311).0;
                let alias = Property::TopicAlias(1.try_into().unwrap());
                for expected in [publish("a", "b").with(alias), publish("c", "d")] {
                    publishes(&bob, Say::clone(&expected));
                    assert_eq!(read_packet(&mut ann), expected.bytes(V5));
                }
            }),
            ("mount_point", |scene| {
                let mut ann = scene.subscriber("ann", "here/+", 0);
                let bob = hello(scene.more_ports[0], connect("bob"), V311).0;
                publishes(&bob, publish("tea", "hot"));
                assert_eq!(
                    hears_all(&mut ann),
                    [publish("here/tea", "hot").bytes(V311)]
                );
                drop(ann);
                scene.waits_until_free();
            }),
            ("accept_protocol_versions", |scene| {
                let port = scene.more_ports[1];
                assert_eq!(hello(port, connect("x").user("ann"), V31).1[3], 1);
                assert_eq!(hello(port, connect("x").user("ann"), V311).1[3], 0);
            }),
            ("use_username_as_clientid", |scene| {
                hello(scene.more_ports[1], connect("x").user("cat"), V311);
                scene.midge.waits_for_log("as cat (");
            }),
            ("protocol", |scene| {
                scene.midge.waits_for_log("the HTTP API is not served");
                assert!(TcpStream::connect(("127.0.0.1", scene.more_ports[2])).is_err());
            }),
        ],
    ),
    (
        "per listener",
        "per_listener_settings true\nuser root\nlistener PORT 127.0.0.1\nallow_anonymous true\n\
         allow_zero_length_clientid false\nlistener SECOND 127.0.0.1\n",
        &[
            ("per_listener_settings", |scene| {
                assert_eq!(scene.code(connect("ann"), V311), 0);
                assert_eq!(hello(scene.more_ports[0], connect("ann"), V311).1[3], 5);
            }),
            ("allow_anonymous", |scene| {
                assert_eq!(scene.code(connect("ann"), V5), 0);
                assert_eq!(hello(scene.more_ports[0], connect("ann"), V5).1[3], 0x87);
            }),
            ("allow_zero_length_clientid", |scene| {
                assert_eq!(scene.code(connect(""), V311), 2);
            }),
        ],
    ),
    (
        "own anonymous",
        "user root\nlistener PORT 127.0.0.1\nallow_anonymous false\n\
         listener SECOND 127.0.0.1\nlistener_allow_anonymous true\n",
        &[("listener_allow_anonymous", |scene| {
            assert_eq!(scene.code(connect("ann"), V311), 5);
            assert_eq!(hello(scene.more_ports[0], connect("ann"), V311).1[3], 0);
        })],
    ),
    (
        "default listener",
        "user root\nport PORT\nbind_address 127.0.0.1\nallow_anonymous true\n",
        &[
            ("port", |scene| {
                assert_eq!(scene.code(connect("ann"), V311), 0);
            }),
            ("bind_address", |scene| {
                let elsewhere = TcpStream::connect(("127.0.0.2", scene.midge.port));
                assert!(elsewhere.is_err());
            }),
        ],
    ),
    (
        "one family",
        "user root\nlistener PORT\nsocket_domain ipv6\nallow_anonymous true\n",
        &[("socket_domain", |scene| {
            assert!(TcpStream::connect(("::1", scene.midge.port)).is_ok());
            assert!(TcpStream::connect(("127.0.0.1", scene.midge.port)).is_err());
        })],
    ),
    (
        "plugin",
        "plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file FOLDER/acl\n",
        &[
            ("plugin", Scene::holds_to_the_rules),
            ("plugin_opt_*", Scene::holds_to_the_rules),
        ],
    ),
    (
        "older plugin",
        "auth_plugin /usr/lib/mosquitto_acl_file.so\nauth_opt_acl_file FOLDER/acl\n\
         auth_plugin_deny_special_chars false\n",
        &[
            ("auth_plugin", Scene::holds_to_the_rules),
            ("auth_opt_*", Scene::holds_to_the_rules),
            ("auth_plugin_deny_special_chars", |scene| {
                let mut odd = scene.subscriber("a+b", "tea", 0);
                publishes(&scene.client("ann"), publish("tea", "hot"));
                assert_eq!(hears_all(&mut odd).len(), 1);
            }),
        ],
    ),
    (
        "global plugin",
        "global_plugin mosquitto_acl_file.so\nplugin_opt_acl_file FOLDER/acl\n",
        &[("global_plugin", Scene::holds_to_the_rules)],
    ),
    (
        "named plugin",
        "per_listener_settings true\nuser root\nplugin_load rules mosquitto_acl_file.so\n\
         plugin_opt_acl_file FOLDER/acl\n\
         listener PORT 127.0.0.1\nallow_anonymous true\nplugin_use rules\n\
         listener SECOND 127.0.0.1\nallow_anonymous true\n",
        &[
            ("plugin_load", Scene::holds_to_the_rules),
            ("plugin_use", |scene| {
                scene.holds_to_the_rules();
                // The other listener does not use it.
                let mut dan = hello(scene.more_ports[0], connect("dan"), V311).0;
                subscribes(&mut dan, "milk", 0);
                let cat = hello(scene.more_ports[0], connect("cat"), V311).0;
                publishes(&cat, publish("milk", "cold"));
                assert_eq!(hears_all(&mut dan).len(), 1);
            }),
        ],
    ),
];

/// Options that other tests show, of the real binary unless it says why not.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "persistence",
        "store.rs",
        "what_was_acknowledged_is_there_after_a_kill_and_after_an_end",
    ),
    (
        "persistence_location",
        "store.rs",
        "what_was_acknowledged_is_there_after_a_kill_and_after_an_end",
    ),
    (
        "persistence_file",
        "store.rs",
        "the_file_has_the_name_it_is_given",
    ),
    (
        "retained_persistence",
        "store.rs",
        "the_file_has_the_name_it_is_given",
    ),
    (
        "midge_persistence_sync",
        "store.rs",
        "looser_modes_keep_everything_over_an_end",
    ),
    (
        "acl_file",
        "service.rs",
        "users_and_rights_come_from_files_and_change_with_a_reload",
    ),
    (
        "password_file",
        "service.rs",
        "users_and_rights_come_from_files_and_change_with_a_reload",
    ),
    (
        "memory_limit",
        "service.rs",
        "memory_is_limited_and_a_reload_changes_how_far",
    ),
    (
        "listener",
        "service.rs",
        "listeners_come_and_go_with_a_reload_and_connections_stay",
    ),
    (
        "bind_interface",
        "service.rs",
        "a_listener_can_be_bound_to_a_network_interface",
    ),
    (
        "max_inflight_messages",
        "service.rs",
        "settings_of_a_file_are_in_force",
    ),
    (
        "max_packet_size",
        "service.rs",
        "settings_of_a_file_are_in_force",
    ),
    (
        "max_keepalive",
        "service.rs",
        "a_reload_is_reported_and_a_broken_one_changes_nothing",
    ),
    (
        "log_dest",
        "service.rs",
        "a_log_file_is_opened_again_when_it_was_moved_away",
    ),
    (
        "log_timestamp",
        "service.rs",
        "a_log_file_is_opened_again_when_it_was_moved_away",
    ),
    (
        "log_type",
        "service.rs",
        "who_subscribes_is_logged_where_that_is_asked_for",
    ),
    (
        "pid_file",
        "service.rs",
        "a_pid_file_is_written_and_removed",
    ),
    (
        "include_dir",
        "reload.rs",
        "a_reload_that_cannot_succeed_changes_nothing_and_the_next_one_does",
    ),
    (
        "message_size_limit",
        "reload.rs",
        "a_reload_that_cannot_succeed_changes_nothing_and_the_next_one_does",
    ),
    // Its unit is a minute: too long for a process test, and nothing to a clock that can be moved.
    (
        "retain_expiry_interval",
        "lasting.rs",
        "expired_retained_messages_are_swept_as_often_as_is_set",
    ),
    // With brokers of their own, below.
    (
        "log_facility",
        "every_option.rs",
        "syslog_is_told_the_facility",
    ),
    (
        "set_tcp_nodelay",
        "every_option.rs",
        "small_packets_wait_for_one_another_if_so_set",
    ),
    (
        "cafile",
        "tls.rs",
        "every_certificate_that_does_not_do_has_its_own_sentence",
    ),
    (
        "capath",
        "tls.rs",
        "authorities_may_lie_in_a_directory_beside_other_files",
    ),
    (
        "certfile",
        "tls.rs",
        "clients_come_in_with_every_version_of_tls_and_mqtt",
    ),
    ("ciphers", "tls.rs", "ciphers_are_chosen_by_their_names"),
    (
        "ciphers_tls1.3",
        "tls.rs",
        "ciphers_are_chosen_by_their_names",
    ),
    (
        "crlfile",
        "tls.rs",
        "every_certificate_that_does_not_do_has_its_own_sentence",
    ),
    (
        "disable_client_cert_date_checks",
        "tls.rs",
        "out_of_date_certificates_do_where_dates_do_not_count",
    ),
    (
        "enable_proxy_protocol",
        "proxy.rs",
        "the_client_is_where_the_proxy_says",
    ),
    ("keyfile", "tls.rs", "keys_come_in_every_form"),
    ("midge_protocol", "carriers.rs", "one_port_takes_everything"),
    (
        "proxy_protocol_v2_require_tls",
        "proxy.rs",
        "what_the_proxy_knows_of_tls_counts",
    ),
    (
        "require_certificate",
        "tls.rs",
        "every_certificate_that_does_not_do_has_its_own_sentence",
    ),
    (
        "tls_version",
        "tls.rs",
        "those_who_speak_something_else_are_told_apart",
    ),
    (
        "use_identity_as_username",
        "tls.rs",
        "the_common_name_or_the_subject_is_the_username",
    ),
    (
        "use_subject_as_username",
        "tls.rs",
        "the_common_name_or_the_subject_is_the_username",
    ),
    (
        "websockets_origin",
        "websocket.rs",
        "what_is_wrong_ends_it_with_a_status_and_a_line",
    ),
];

impl Scene {
    fn start((name, text, _): &Group) -> Self {
        let folder = Folder::new(&format!("option-{}", name.replace(' ', "-")));
        folder.writes("acl", "topic readwrite tea\n");
        let more_ports = [free_port(), free_port(), free_port()];
        let mut text = (*text).to_owned();
        if !text.contains("listener PORT") && !text.contains("port PORT") {
            text.insert_str(0, OPEN);
        }
        for (name, port) in ["SECOND", "THIRD", "FOURTH"].iter().zip(more_ports) {
            text = text.replace(name, &port.to_string());
        }
        let midge = start(&folder, &text);
        Self {
            folder,
            midge,
            more_ports,
        }
    }

    fn hello(&self, packet: Say, version: ProtocolVersion) -> (TcpStream, Vec<u8>) {
        hello(self.midge.port, packet, version)
    }

    fn code(&self, packet: Say, version: ProtocolVersion) -> u8 {
        self.hello(packet, version).1[3]
    }

    fn client(&self, name: &str) -> TcpStream {
        let (stream, told) = self.hello(connect(name), V311);
        assert_eq!(told[3], 0);
        stream
    }

    fn subscriber(&self, name: &str, filter: &str, qos: u8) -> TcpStream {
        let mut stream = self.client(name);
        subscribes(&mut stream, filter, qos);
        stream
    }

    /// A client with a session subscribes and goes.
    fn leaves_durable(&self, name: &str, filter: &str, qos: u8) {
        let mut stream = self.hello(connect(name).durable(), V311).0;
        subscribes(&mut stream, filter, qos);
        stream.write_all(&disconnect().bytes(V311)).unwrap();
        assert_eq!(read_to_close(&mut stream), b"");
    }

    fn comes_back(&self, name: &str) -> Vec<Vec<u8>> {
        hears_all(&mut self.hello(connect(name).durable(), V311).0)
    }

    /// How many QoS 1 messages wait for a client that comes back and acknowledges them.
    fn acknowledges_all(&self, name: &str) -> u16 {
        let mut stream = self.hello(connect(name).durable(), V311).0;
        let mut count = 0;
        loop {
            let heard = hears_all(&mut stream);
            if heard.is_empty() {
                return count;
            }
            for _ in heard {
                count += 1;
                stream.write_all(&puback(count).bytes(V311)).unwrap();
            }
        }
    }

    /// The access control file, by whatever name it came in, allows `tea` and nothing else.
    fn holds_to_the_rules(&self) {
        let (mut ann, bob) = (self.subscriber("ann", "#", 0), self.client("bob"));
        publishes(&bob, publish("milk", "cold"));
        publishes(&bob, publish("tea", "hot"));
        assert_eq!(hears_all(&mut ann), [publish("tea", "hot").bytes(V311)]);
    }

    /// The one place of the first listener is free again.
    fn waits_until_free(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let mut stream = self.midge.opens();
            stream.write_all(&connect("next").bytes(V311)).unwrap();
            let mut answer = [0; 4];
            if stream.read_exact(&mut answer).is_ok() {
                stream.write_all(&disconnect().bytes(V311)).unwrap();
                let _ = stream.read(&mut answer);
                return;
            }
            assert!(Instant::now() < end, "the place stays taken");
            sleep(Duration::from_millis(10));
        }
    }
}

/// Connects by a port; what CONNACK says.
fn hello(port: u16, packet: Say, version: ProtocolVersion) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(&packet.bytes(version)).unwrap();
    let told = read_packet(&mut stream);
    assert_eq!(told[0], 0x20, "{told:x?}");
    (stream, told)
}

fn subscribes(stream: &mut TcpStream, filter: &str, qos: u8) {
    stream
        .write_all(&subscribe(1, filter, qos).bytes(V311))
        .unwrap();
    assert_eq!(read_packet(stream)[0], 0x90);
}

/// Says something, and waits until it is worked off.
fn publishes(mut stream: &TcpStream, packet: Say) {
    stream.write_all(&packet.bytes(V311)).unwrap();
    hears_all(&mut stream.try_clone().unwrap());
}

/// All packets that come before the answer to a PINGREQ.
fn hears_all(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    stream.write_all(&pingreq().bytes(V311)).unwrap();
    let mut heard = Vec::new();
    loop {
        let packet = read_packet(stream);
        if packet[0] == 0xd0 {
            return heard;
        }
        heard.push(packet);
    }
}

fn has(packet: &[u8], property: Property<'_>) -> bool {
    let mut bytes = Vec::new();
    property.encode(&mut bytes);
    packet.windows(bytes.len()).any(|window| window == bytes)
}

fn text(packet: &[u8]) -> String {
    String::from_utf8_lossy(packet).into_owned()
}

#[test]
fn every_option_has_a_row() {
    let (code, printed, _) = run(&["--options"]);
    assert_eq!(code, 0);
    let names = printed.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: Vec<&str> = names.filter_map(|rest| rest.split('`').next()).collect();
    assert_eq!(
        names,
        options::all().map(|option| option.name).collect::<Vec<_>>()
    );
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let shown = GROUPS.iter().flat_map(|(_, _, rows)| *rows);
    let elsewhere = ELSEWHERE.iter().map(|row| row.0);
    for name in shown.map(|(name, _)| *name).chain(elsewhere) {
        *rows.entry(name).or_default() += 1;
    }
    for option in options::all() {
        let expected = usize::from(option.support == Support::Works);
        let count = rows.remove(option.name).unwrap_or(0);
        assert_eq!(count, expected, "rows of {}", option.name);
    }
    assert!(rows.is_empty(), "no options: {rows:?}");
}

#[test]
fn what_is_shown_elsewhere_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (option, file, test) in ELSEWHERE {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert!(
            text.contains(&format!("\n#[test]\nfn {test}()")),
            "{file}: {test}"
        );
        assert!(text.contains(option), "{file} does not set {option}");
    }
}

#[test]
fn options_that_work_show() {
    for group in GROUPS {
        let scene = Scene::start(group);
        for (option, show) in group.2 {
            eprintln!("{option}"); // printed where it fails
            show(&scene);
        }
    }
}

/// Lines behind which an option stands well, and a value of it that would make a difference.
fn file_of(option: &Opt) -> String {
    let before = match option.scope() {
        Scope::Bridge if option.name == "connection" => "",
        Scope::Bridge => "connection c\naddress h\ntopic t\n",
        _ => "listener 1\n",
    };
    let name = option.name;
    let value = match option.alias_of().unwrap_or(name) {
        "topic" => "# both 2",
        "start_type" => "lazy",
        "bridge_protocol_version" => "mqttv50",
        "bridge_reload_type" => "immediate",
        "bridge_tcp_keepalive" => "60 10 3",
        "bridge_psk" => "c0ffee",
        "restart_timeout" => "5 60",
        "enable_proxy_protocol" => "2",
        _ => match option.shape().as_str() {
            "true or false" if option.default == "true" => "false",
            "true or false" => "true",
            shape if shape.starts_with("text") => "some/text",
            _ => "57",
        },
    };
    let after = match name {
        "connection" => "address h\ntopic t\n",
        "bridge_certfile" => "bridge_keyfile k\n",
        "bridge_keyfile" => "bridge_certfile k\n",
        "bridge_identity" => "bridge_psk 00\n",
        "bridge_psk" => "bridge_identity i\n",
        _ => "",
    };
    format!("{before}{name} {value}\n{after}")
}

/// Every line that `--test-config` prints of these options, each alone in its file.
fn tests_each(are: fn(&Support) -> bool, expect: impl Fn(&Opt, i32, &str)) {
    let folder = Folder::new("options-alone");
    for option in options::all().filter(|option| are(&option.support)) {
        let text = file_of(option);
        let path = folder.writes(&format!("{}.conf", option.name), &text);
        let (code, _, err) = run(&["-c", path.to_str().unwrap(), "--test-config"]);
        expect(option, code, &format!("{text}{err}"));
    }
}

#[test]
fn options_without_effect_say_so() {
    tests_each(
        |support| matches!(support, Support::Warns(_)),
        |option, code, said| {
            assert_eq!(code, 0, "{said}");
            let name = option.alias_of().unwrap_or(option.name);
            let (what, why) = match (option.support, option.scope()) {
                (_, Scope::Bridge) => ("connection ", "this bridge is not made"),
                (Support::Warns(why), _) => (name, why),
                _ => unreachable!(),
            };
            let is_it = |line: &&str| line.starts_with("Warning: ") && line.contains(why);
            let line = said.lines().find(is_it);
            assert!(line.is_some_and(|line| line.contains(what)), "{said}");
        },
    );
}

#[test]
fn a_running_broker_logs_what_is_not_in_effect() {
    // One of each kind.
    let text = "packet_buffer_size 100\nconnection cloud\naddress h\ntopic t\n";
    let folder = Folder::new("not-in-effect");
    let midge = start(&folder, &format!("{OPEN}{text}"));
    midge.waits_for_log("Warning: packet_buffer_size is accepted, but not in effect");
    midge.waits_for_log("Warning: connection cloud is accepted, but this bridge is not made");
    midge.client(V311, "ann");
}

#[test]
fn options_that_would_be_unsafe_without_effect_are_refused() {
    let mut told = BTreeSet::new();
    let folder = Folder::new("options-refused");
    for option in options::all() {
        let Support::Refuses(why) = option.support else {
            continue;
        };
        let path = folder.writes("midge.conf", &file_of(option));
        let (code, _, err) = run(&["-c", path.to_str().unwrap()]);
        assert_eq!(code, 3, "{err}");
        let sentence = format!("Error: {} keeps midge from starting: {why}.", option.name);
        assert!(err.contains(&sentence), "no '{sentence}' in: {err}");
        told.insert(option.name);
    }
    assert!(told.contains("psk_file") || told.is_empty(), "{told:?}");
}

#[test]
fn syslog_is_told_the_facility() {
    let folder = Folder::new("syslog");
    let text = format!("{OPEN}log_dest stderr\nlog_dest syslog\nlog_facility 6\n");
    // Where nobody listens for syslog this test does, if it may; else the broker says what is wrong.
    match UnixDatagram::bind("/dev/log") {
        Ok(syslog) => {
            let _midge = start(&folder, &text);
            fs::remove_file("/dev/log").unwrap();
            let mut line = [0; 200];
            let count = syslog.recv(&mut line).unwrap();
            // local6 is 22, and a notice 5 [RFC 3164 §4.1.1].
            let said = String::from_utf8_lossy(&line[..count]).into_owned();
            assert!(said.starts_with("<181>midge["), "{said}");
        }
        Err(_) if Path::new("/dev/log").exists() => {
            // What it tells somebody else's syslog cannot be read here: it is told, at least.
            start(&folder, &text);
        }
        Err(_) => start(&folder, &text).waits_for_log("cannot reach syslog at /dev/log"),
    }
}

/// The shortest time that a second message takes to follow a first one it was sent apart from.
fn shortest_gap(nodelay: bool) -> Duration {
    let folder = Folder::new(&format!("nodelay-{nodelay}"));
    let midge = start(
        &folder,
        &format!("{OPEN}set_tcp_nodelay {nodelay}\nsys_interval 0\n"),
    );
    let mut ann = midge.subscriber("ann", "tea", 0);
    let mut bob = midge.client(V311, "bob");
    ann.set_nodelay(true).unwrap();
    bob.set_nodelay(true).unwrap();
    let gap = |_| {
        // A conversation, after which the kernel keeps ann's acknowledgements back for 40 ms.
        for _ in 0..20 {
            hears_all(&mut ann);
        }
        // With this goes the acknowledgement of the last answer.
        let last = publish("nobody's", "x").bytes(V311);
        ann.write_all(&last).unwrap();
        let packet = publish("tea", "hot").bytes(V311);
        bob.write_all(&packet).unwrap();
        read_packet(&mut ann);
        let start = Instant::now();
        bob.write_all(&packet).unwrap();
        read_packet(&mut ann);
        start.elapsed()
    };
    (0..15).map(gap).min().unwrap()
}

#[test]
fn small_packets_wait_for_one_another_if_so_set() {
    let (at_once, collected) = (shortest_gap(true), shortest_gap(false));
    assert!(at_once < Duration::from_millis(20), "{at_once:?}");
    assert!(collected > Duration::from_millis(25), "{collected:?}");
}

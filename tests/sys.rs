//! `$SYS`: what the broker tells of itself. The topics and their formats are mosquitto's, as its
//! manual and its output have them.

mod table;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::config::{Config, SysVersion};
use midge::limits;
use std::collections::BTreeMap;
use table::*;

/// Topics below `$SYS/broker/` that hold "0" at the start.
const COUNTS: [&str; 35] = [
    "bytes/received",
    "bytes/sent",
    "clients/active",
    "clients/connected",
    "clients/disconnected",
    "clients/expired",
    "clients/inactive",
    "clients/maximum",
    "clients/total",
    "connections/socket/count",
    "heap/current",
    "heap/maximum",
    "messages/received",
    "messages/sent",
    "messages/stored",
    "midge/dropped/expired",
    "midge/dropped/memory",
    "midge/dropped/oversize",
    "midge/dropped/queue_full",
    "midge/dropped/slow_reader",
    "midge/refused/connections",
    "midge/refused/messages",
    "midge/refused/packets",
    "midge/refused/subscriptions",
    "packet/out/bytes",
    "publish/bytes/received",
    "publish/bytes/sent",
    "publish/messages/dropped",
    "publish/messages/received",
    "publish/messages/sent",
    "retained messages/count",
    "shared_subscriptions/count",
    "store/messages/bytes",
    "store/messages/count",
    "subscriptions/count",
];

/// Topics below `$SYS/broker/load/` that lead to three averages.
const LOADS: [&str; 9] = [
    "bytes/received",
    "bytes/sent",
    "connections",
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "sockets",
];

/// Payloads by what follows `$SYS/broker/`.
type Heard = BTreeMap<String, String>;

/// A broker that has told of itself once, and does every ten seconds from now on.
fn telling(change: impl FnOnce(&mut Config)) -> Table {
    let mut t = Table::with(|config| {
        config.sys_interval = 10;
        change(config);
    });
    t.passes(0);
    t
}

/// All that a client has heard on `$SYS`, each topic once, and whether it was retained.
#[track_caller]
fn all(t: &mut Table, seat: Seat, retain: bool) -> Heard {
    let mut heard = Heard::new();
    while t.heard_bytes(seat) > 0 {
        t.hears(seat, |packet| {
            let Packet::Publish(packet) = packet else {
                panic!("{packet:?}")
            };
            assert_eq!(packet.retain, retain, "{}", packet.topic);
            let topic = packet.topic.strip_prefix("$SYS/broker/").unwrap();
            let payload = String::from_utf8(packet.payload.into()).unwrap();
            assert!(heard.insert(topic.into(), payload).is_none(), "{topic}");
        });
    }
    heard
}

/// What a new client is told that subscribes to `$SYS/#`: all that was told last.
#[track_caller]
fn asks(t: &mut Table) -> Heard {
    let asker = t.client(V311, "asker");
    t.sends(asker, subscribe(9, "$SYS/#", 0));
    t.gets(asker, suback(9, &[0]));
    let heard = all(t, asker, true);
    t.leaves(asker);
    heard
}

#[track_caller]
fn shows(heard: &Heard, expected: &[(&str, &str)]) {
    for (topic, payload) in expected {
        let found = heard.get(*topic).map(String::as_str);
        assert_eq!(found, Some(*payload), "{topic}");
    }
}

#[test]
fn everything_is_told_at_the_start_and_kept() {
    for version in EVERY {
        let mut t = telling(|_| {});
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "$SYS/#", 0));
        t.gets(ann, suback(1, &[0]));
        let mut expected = Heard::new();
        let version = concat!("mosquitto version 2.1.2 (midge ", env!("CARGO_PKG_VERSION"));
        expected.insert("version".into(), format!("{version})"));
        expected.insert("uptime".into(), "0 seconds".into());
        for topic in COUNTS {
            expected.insert(topic.into(), "0".into());
        }
        for topic in LOADS {
            for window in ["1min", "5min", "15min"] {
                expected.insert(format!("load/{topic}/{window}"), "0.00".into());
            }
        }
        assert_eq!(all(&mut t, ann, true), expected);
        t.silence();
    }
}

#[test]
fn it_is_published_at_qos_2() {
    for version in EVERY {
        let mut t = telling(|_| {});
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "$SYS/broker/uptime", 2));
        t.gets(ann, suback(1, &[2]));
        let uptime = "$SYS/broker/uptime";
        t.gets(ann, publish(uptime, "0 seconds").retain().qos2(1));
        t.sends(ann, pubrec(1));
        t.gets(ann, pubrel(1));
        t.sends(ann, pubcomp(1));
        t.passes(10);
        t.gets(ann, publish(uptime, "10 seconds").qos2(2));
        t.silence();
    }
}

#[test]
fn a_wildcard_in_front_does_not_see_it() {
    for version in EVERY {
        let mut t = telling(|_| {});
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "#", 0).and("+/broker/uptime", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.passes(60).silence(); // [MQTT-4.7.2-1] [MQTT5-4.7.2-1]
    }
}

#[test]
fn only_what_has_changed_is_told_again() {
    let mut t = telling(|_| {});
    let ann = t.client(V311, "ann");
    t.sends(ann, subscribe(1, "$SYS/broker/clients/#", 0));
    t.gets(ann, suback(1, &[0]));
    assert_eq!(all(&mut t, ann, true).len(), 7);
    t.passes(10);
    let changed = ["active", "connected", "maximum", "total"];
    let clients = |payload: &str| {
        let pair = |name: &str| (format!("clients/{name}"), String::from(payload));
        changed.map(pair).into_iter().collect::<Heard>()
    };
    assert_eq!(all(&mut t, ann, false), clients("1"));
    t.passes(10).silence();
    let bob = t.client(V311, "bob");
    t.silence();
    t.passes(10);
    assert_eq!(all(&mut t, ann, false), clients("2"));
    t.leaves(bob);
    t.passes(10);
    let mut expected = clients("1");
    expected.remove("clients/maximum");
    assert_eq!(all(&mut t, ann, false), expected);
    t.passes(100).silence();
}

#[test]
fn it_is_told_at_multiples_of_the_interval_on_the_wall_clock() {
    let mut t = telling(|config| config.sys_interval = 7);
    let ann = t.client(V311, "ann");
    t.sends(ann, subscribe(1, "$SYS/broker/uptime", 0));
    t.gets(ann, suback(1, &[0]));
    t.gets(ann, publish("$SYS/broker/uptime", "0 seconds").retain());
    let first_s = 7 - t.now().unix.0 % 7;
    assert_ne!(first_s, 7);
    for uptime_s in [first_s, first_s + 7, first_s + 14] {
        let left_s = 7 - t.now().unix.0 % 7;
        t.passes_ms(left_s * 1000 - 1).silence();
        t.passes_ms(1);
        let uptime = format!("{uptime_s} seconds");
        t.gets(ann, publish("$SYS/broker/uptime", uptime));
    }
}

#[test]
fn with_nobody_there_it_wakes_up_once_an_interval() {
    let mut t = telling(|_| {});
    for _ in 0..10 {
        let next = t.now().mono.plus_s(10);
        assert_eq!(t.broker.next_deadline(), Some(next));
        t.passes(10);
    }
    assert_eq!(
        t.broker.sizes().retained,
        2 + COUNTS.len() + 3 * LOADS.len()
    );
}

#[test]
fn with_an_interval_of_0_there_is_none() {
    let mut t = Table::with(|config| config.sys_interval = 0);
    assert_eq!(t.broker.next_deadline(), None);
    let ann = t.client(V311, "ann");
    t.sends(ann, subscribe(1, "$SYS/#", 0));
    t.gets(ann, suback(1, &[0]));
    t.passes(100_000).silence();
    assert_eq!(t.broker.sizes().retained, 0);
}

#[test]
fn an_interval_of_1_and_the_longest_one() {
    for interval_s in [1, u16::MAX] {
        let mut t = telling(|config| config.sys_interval = interval_s);
        let ann = t.client(V311, "ann");
        t.sends(ann, subscribe(1, "$SYS/broker/subscriptions/count", 0));
        t.gets(ann, suback(1, &[0]));
        t.gets(
            ann,
            publish("$SYS/broker/subscriptions/count", "0").retain(),
        );
        let left_s = u64::from(interval_s) - t.now().unix.0 % u64::from(interval_s);
        t.passes(left_s);
        t.gets(ann, publish("$SYS/broker/subscriptions/count", "1"));
        t.passes(u64::from(interval_s)).silence();
    }
}

#[test]
fn the_version_can_be_midges_own() {
    let mut t = telling(|config| config.midge_sys_version = SysVersion::Midge);
    let version = concat!("midge version ", env!("CARGO_PKG_VERSION"));
    shows(&asks(&mut t), &[("version", version)]);
}

#[test]
fn where_nothing_is_retained_it_is_told_as_it_changes() {
    let mut t = telling(|config| config.retain_available = false);
    assert!(asks(&mut t).is_empty());
    let ann = t.client(V311, "ann");
    t.sends(ann, subscribe(1, "$SYS/broker/uptime", 0));
    t.gets(ann, suback(1, &[0]));
    t.passes(10);
    t.gets(ann, publish("$SYS/broker/uptime", "10 seconds"));
    t.silence();
    assert_eq!(t.broker.sizes().retained, 0);
}

#[test]
fn clients_cannot_write_it() {
    let mut t = telling(|_| {});
    let ann = t.client(V5, "ann");
    for payload in ["", "lies"] {
        t.sends(ann, publish("$SYS/broker/uptime", payload).retain().qos1(1));
        let sentence = "you may not publish to this topic";
        t.gets(
            ann,
            puback(1)
                .reason(ReasonCode::NotAuthorized)
                .because(sentence),
        );
    }
    shows(&asks(&mut t), &[("uptime", "0 seconds")]);
}

#[test]
fn packets_and_bytes_are_counted_in_both_directions() {
    for version in EVERY {
        let mut t = telling(|_| {});
        let said = [
            connect("bob"),
            subscribe(1, "tea", 1),
            connect("ann"),
            publish("tea", "hot").qos1(1),
            publish("tea", [7; 5000]),
            publish("nobody", "listens"),
            puback(1),
            pingreq(),
        ];
        let connack = match version {
            V5 => connack5(false),
            _ => connack(false),
        };
        let heard = [
            connack.clone(),
            suback(1, &[1]),
            connack,
            puback(1),
            publish("tea", "hot").qos1(1),
            publish("tea", [7; 5000]),
            pingresp(),
        ];
        let [
            bob_connects,
            subscribes,
            ann_connects,
            hot,
            long,
            other,
            acked,
            ping,
        ] = said.clone();
        let (bob, ann) = {
            let bob = t.connects(version, bob_connects);
            t.sends(bob, subscribes);
            (bob, t.connects(version, ann_connects))
        };
        for say in [hot, long, other] {
            t.sends(ann, say);
        }
        t.sends(bob, acked);
        t.sends(bob, ping);
        t.passes(10);
        let bytes = |packets: &[Say]| {
            let bytes = packets.iter().map(|say| say.bytes(version).len());
            bytes.sum::<usize>().to_string()
        };
        shows(
            &asks(&mut t),
            &[
                ("messages/received", "8"),
                ("messages/sent", "7"),
                ("bytes/received", &bytes(&said)),
                ("bytes/sent", &bytes(&heard)),
                ("publish/messages/received", "3"),
                ("publish/messages/sent", "2"),
                ("publish/bytes/received", "5010"),
                ("publish/bytes/sent", "5003"),
                ("publish/messages/dropped", "0"),
                ("connections/socket/count", "2"),
                ("subscriptions/count", "1"),
            ],
        );
    }
}

#[test]
fn clients_are_counted_present_and_absent() {
    let mut t = telling(|_| {});
    let ann = t.connects(V5, connect("ann").lasting(15));
    t.connects(V311, connect("bob").durable());
    let cat = t.client(V311, "cat");
    t.opens(); // has not said CONNECT yet, and is no client
    t.drops(ann);
    t.drops(cat);
    t.passes(10);
    let heard = asks(&mut t);
    let expected = [("total", "2"), ("disconnected", "1"), ("inactive", "1")];
    let more = [("connected", "1"), ("active", "1"), ("expired", "0")];
    for (name, payload) in expected.into_iter().chain(more) {
        shows(&heard, &[(&format!("clients/{name}"), payload)]);
    }
    shows(&heard, &[("connections/socket/count", "4")]);
    t.passes(10);
    let expected = [("clients/total", "1"), ("clients/expired", "1")];
    let heard = asks(&mut t);
    shows(&heard, &expected);
    shows(&heard, &[("clients/maximum", "2")]);
}

#[test]
fn subscriptions_are_counted_apart_from_shared_ones() {
    let mut t = telling(|_| {});
    let ann = t.client(V5, "ann");
    let filters = subscribe(1, "a", 0).and("b/#", 0).and("$share/g/a", 0);
    t.sends(ann, filters);
    t.gets(ann, suback(1, &[0, 0, 0]));
    t.passes(10);
    let expected = [
        ("subscriptions/count", "2"),
        ("shared_subscriptions/count", "1"),
    ];
    shows(&asks(&mut t), &expected);
}

#[test]
fn what_is_kept_is_counted_with_its_payloads() {
    let mut t = telling(|_| {});
    let own = asks(&mut t).len();
    let own_bytes: usize = asks(&mut t).values().map(String::len).sum();
    let bob = t.connects(V311, connect("bob").durable());
    t.sends(bob, subscribe(1, "tea", 1));
    t.drops(bob);
    let ann = t.client(V311, "ann");
    t.sends(ann, publish("old", "kept").retain());
    t.sends(ann, publish("old", "kept anew").retain()); // in place of the first
    for id in 1..=3 {
        t.sends(ann, publish("tea", "four").qos1(id));
    }
    t.passes(10);
    let heard = asks(&mut t);
    shows(
        &heard,
        &[
            ("retained messages/count", &(own + 1).to_string()),
            ("messages/stored", &(own + 4).to_string()),
            ("store/messages/count", &(own + 4).to_string()),
            ("store/messages/bytes", &(own_bytes + 9 + 12).to_string()),
        ],
    );
}

#[test]
fn what_waits_for_slow_readers_is_counted() {
    let mut t = telling(|_| {});
    let (ann, bob) = (t.client(V311, "ann"), t.client(V311, "bob"));
    t.sends(bob, subscribe(1, "tea", 0));
    t.ignores(bob);
    t.stalls(bob);
    for _ in 0..3 {
        t.sends(ann, publish("tea", "hot"));
    }
    t.passes(10);
    let waiting = t.waiting(bob);
    assert!(waiting > 0);
    let waiting = waiting.to_string();
    shows(&asks(&mut t), &[("packet/out/bytes", &waiting)]);
    t.reads_again(bob);
    t.passes(10);
    shows(&asks(&mut t), &[("packet/out/bytes", "0")]);
}

#[test]
fn drops_are_counted_by_their_reason() {
    let mut t = telling(|config| config.max_queued_messages = 2);
    let maximum = Property::MaximumPacketSize(100.try_into().unwrap());
    let small = t.connects(V5, connect("small").with(maximum));
    t.sends(small, subscribe(1, "big", 0));
    let slow = t.client(V311, "slow");
    t.sends(slow, subscribe(1, "flood", 0));
    t.ignores(slow);
    t.stalls(slow);
    let away = t.connects(V311, connect("away").durable());
    t.sends(away, subscribe(1, "mail", 1));
    t.drops(away);
    let ann = t.client(V5, "ann");
    t.sends(ann, publish("big", [7; 100]));
    let body = vec![7; limits::WRITE_QUEUE_BYTES_MAX];
    for _ in 0..3 {
        t.sends(ann, publish("flood", &body));
    }
    let expiry = Property::MessageExpiryInterval(1);
    for id in 1..=2 {
        t.sends(ann, publish("mail", "short").with(expiry).qos1(id));
    }
    t.passes(2);
    for id in 1..=5 {
        t.sends(ann, publish("mail", "long").qos1(id));
    }
    t.passes(8);
    shows(
        &asks(&mut t),
        &[
            ("midge/dropped/oversize", "1"),
            ("midge/dropped/slow_reader", "2"),
            ("midge/dropped/expired", "2"),
            ("midge/dropped/queue_full", "3"),
            ("publish/messages/dropped", "8"),
        ],
    );
}

#[test]
fn loads_are_averages_a_minute_that_fade() {
    let mut t = telling(|_| {});
    let ann = t.client(V311, "ann");
    for _ in 0..10 {
        t.sends(ann, publish("tea", "hot"));
    }
    t.passes(10);
    // 60 a minute for ten seconds: 60 (1 - exp(-10 / 60)), and so on; of 300 and 900 seconds.
    let expected = [
        ("load/publish/received/1min", "9.21"),
        ("load/publish/received/5min", "1.97"),
        ("load/publish/received/15min", "0.66"),
        ("load/sockets/1min", "0.92"),
        ("load/connections/1min", "0.92"),
        ("load/publish/sent/1min", "0.00"),
        ("load/publish/dropped/1min", "0.00"),
    ];
    shows(&asks(&mut t), &expected);
    let bob = t.client(V311, "bob");
    t.sends(bob, subscribe(1, "$SYS/broker/load/publish/received/+", 0));
    t.gets(bob, suback(1, &[0]));
    t.ignores(bob);
    t.passes(10); // 9.2110965 exp(-10 / 60)
    shows(
        &all(&mut t, bob, false),
        &[("load/publish/received/1min", "7.80")],
    );
    t.passes(3 * 3600);
    shows(
        &asks(&mut t),
        &[
            ("load/publish/received/1min", "0.00"),
            ("load/publish/received/5min", "0.00"),
            ("load/publish/received/15min", "0.00"),
        ],
    );
}

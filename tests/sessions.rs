//! Sessions: when one is made, gone on with, taken over, and when it ends [MQTT §3.1.2.4, §4.1]
//! [MQTT5 §3.1.2.4, §3.1.2.11.2, §4.1].

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

const TAKEN_OVER: &str = "session taken over";

/// CONNACK of a client that was let in.
fn let_in(version: midge::codec::dialect::ProtocolVersion, session_present: bool) -> Say {
    if version == V5 {
        connack5(session_present)
    } else {
        connack(session_present)
    }
}

/// DISCONNECT with a new Session Expiry Interval.
fn disconnect_for(seconds: u32) -> Say {
    disconnect().with(Property::SessionExpiryInterval(seconds))
}

#[test]
fn a_durable_session_is_gone_on_with() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = t.says_connect(version, connect("ann").lasting(100));
        // [MQTT-3.1.2-4] [MQTT-3.2.2-3] [MQTT5-3.1.2-6] [MQTT5-3.2.2-3]: there was none
        t.gets(ann, let_in(version, false));
        t.sends(ann, subscribe(1, "tea", 2));
        t.gets(ann, suback(1, &[2]));
        t.drops(ann);
        t.sends(bob, publish("tea", "0"));
        t.sends(bob, publish("tea", "1").qos1(1));
        t.gets(bob, puback(1));
        t.sends(bob, publish("tea", "2").qos2(2));
        t.gets(bob, pubrec(2));
        t.sends(bob, pubrel(2));
        t.gets(bob, pubcomp(2));
        let ann = t.says_connect(version, connect("ann").lasting(100));
        // [MQTT-3.2.0-1] [MQTT5-3.2.0-1]: CONNACK comes before what waited
        // [MQTT-3.2.2-2] [MQTT5-3.1.2-5] [MQTT5-3.2.2-3]
        t.gets(ann, let_in(version, true));
        // [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-4.1.0-1] [MQTT5-3.1.2-5] [MQTT5-3.1.2-23]
        t.gets(ann, publish("tea", "1").qos1(1));
        t.gets(ann, publish("tea", "2").qos2(2));
        t.sends(bob, publish("tea", "3"));
        t.gets(ann, publish("tea", "3"));
        t.silence();
    }
}

#[test]
fn a_clean_session_ends_with_its_connection() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "tea", 1));
        t.gets(ann, suback(1, &[1]));
        t.drops(ann);
        assert_eq!(t.broker.sizes().sessions, 1);
        assert_eq!(t.broker.sizes().subscriptions, 0);
        t.sends(bob, publish("tea", "hot").qos1(1));
        t.ignores(bob);
        let ann = t.says_connect(version, connect("ann").lasting(100));
        // [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT5-3.2.2-3]
        t.gets(ann, let_in(version, false));
        t.sends(bob, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn a_clean_start_discards_the_session_there_was() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = t.connects(version, connect("ann").lasting(100));
        t.sends(ann, subscribe(1, "tea", 1));
        t.gets(ann, suback(1, &[1]));
        t.sends(ann, publish("x", "").qos2(9));
        t.ignores(ann);
        t.drops(ann);
        t.sends(bob, publish("tea", "hot").qos1(1));
        t.gets(bob, puback(1));
        let ann = t.says_connect(version, connect("ann"));
        // [MQTT-3.1.2-6] [MQTT-3.2.2-1] [MQTT5-3.1.2-4] [MQTT5-3.2.2-2]
        t.gets(ann, let_in(version, false));
        t.sends(bob, publish("tea", "cold").qos1(2));
        t.ignores(bob);
        t.silence();
        t.drops(ann);
        let ann = t.says_connect(version, connect("ann").lasting(100));
        t.gets(ann, let_in(version, false)); // [MQTT-3.1.2-6]: nor is it reused
        t.silence();
    }
}

#[test]
fn a_clean_start_of_5_can_begin_a_session_that_lasts() {
    let mut t = Table::new();
    let lasting = Property::SessionExpiryInterval(100);
    let ann = t.connects(V5, connect("ann").with(lasting));
    t.drops(ann);
    let ann = t.says_connect(V5, connect("ann").durable());
    t.gets(ann, connack5(true));
    t.drops(ann); // It said no interval: the session ends with it.
    let ann = t.says_connect(V5, connect("ann").durable());
    t.gets(ann, connack5(false));
}

#[test]
fn each_client_identifier_has_its_own_session() {
    for version in EVERY {
        let mut t = Table::new();
        for (name, topic) in [("ann", "tea"), ("bob", "milk")] {
            let seat = t.connects(version, connect(name).lasting(100));
            t.sends(seat, subscribe(1, topic, 1));
            t.gets(seat, suback(1, &[1]));
            t.drops(seat);
        }
        let cat = t.client(version, "cat");
        t.sends(cat, publish("tea", "hot").qos1(1));
        t.sends(cat, publish("milk", "cold").qos1(2));
        t.ignores(cat);
        let bob = t.connects(version, connect("bob").lasting(100));
        let ann = t.connects(version, connect("ann").lasting(100));
        // [MQTT-3.1.3-2] [MQTT5-3.1.3-2]
        t.gets(ann, publish("tea", "hot").qos1(1));
        t.gets(bob, publish("milk", "cold").qos1(1));
        t.silence();
    }
}

#[test]
fn a_session_goes_on_whatever_version_its_client_speaks_next() {
    for first in EVERY {
        for next in EVERY {
            let mut t = Table::new();
            let ann = t.connects(first, connect("ann").lasting(100));
            t.sends(ann, subscribe(1, "tea", 1));
            t.gets(ann, suback(1, &[1]));
            t.drops(ann);
            let ann = t.says_connect(next, connect("ann").lasting(100));
            t.gets(ann, let_in(next, true));
            t.sends(ann, publish("tea", "hot"));
            t.gets(ann, publish("tea", "hot"));
        }
    }
}

#[test]
fn the_older_connection_is_closed_and_told() {
    for version in EVERY {
        let mut t = Table::new();
        let old = t.connects(version, connect("ann").lasting(100));
        t.sends(old, subscribe(1, "tea", 1));
        t.gets(old, suback(1, &[1]));
        let new = t.says_connect(version, connect("ann").lasting(100));
        // [MQTT-3.1.4-2] [MQTT5-3.1.4-3]
        t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
        t.gets(new, let_in(version, true)); // [MQTT-3.1.4-3] [MQTT5-3.1.4-4]
        t.sends(new, publish("tea", "hot"));
        t.gets(new, publish("tea", "hot"));
        let clean = t.says_connect(version, connect("ann"));
        t.cut_off(new, ReasonCode::SessionTakenOver, TAKEN_OVER);
        t.gets(clean, let_in(version, false)); // [MQTT-3.1.4-3] [MQTT5-3.1.4-4]
        t.sends(clean, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn a_clean_session_cannot_be_taken_over() {
    for version in EVERY {
        let mut t = Table::new();
        let old = t.client(version, "ann");
        t.sends(old, subscribe(1, "tea", 1));
        t.gets(old, suback(1, &[1]));
        let new = t.says_connect(version, connect("ann").lasting(100));
        t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
        t.gets(new, let_in(version, false));
        t.sends(new, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn a_connect_that_is_refused_takes_nothing_over() {
    for version in EVERY {
        let mut t = Table::with(|config| config.listeners[1].security.allow_anonymous = false);
        let ann = t.connects(version, connect("ann").user("ann").lasting(100));
        t.comes_by(1);
        let thief = t.says_connect(version, connect("ann"));
        // [MQTT-3.2.2-4] [MQTT5-3.2.2-6]: Session Present 0, although there is one
        t.refused(
            thief,
            ReasonCode::NotAuthorized,
            "clients without a username are not let in",
        );
        t.silence();
        t.open(ann);
        t.drops(ann);
        t.comes_by(0);
        let ann = t.says_connect(version, connect("ann").user("ann").lasting(100));
        t.gets(ann, let_in(version, true));
    }
}

#[test]
fn a_takeover_goes_on_with_what_was_in_flight() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let old = t.connects(version, connect("ann").lasting(100));
        t.sends(old, subscribe(1, "tea", 2));
        t.gets(old, suback(1, &[2]));
        t.sends(bob, publish("tea", "1").qos1(1));
        t.sends(bob, publish("tea", "2").qos2(2));
        t.sends(bob, publish("tea", "3").qos2(3));
        t.ignores(bob);
        t.gets(old, publish("tea", "1").qos1(1));
        t.gets(old, publish("tea", "2").qos2(2));
        t.gets(old, publish("tea", "3").qos2(3));
        t.sends(old, pubrec(2));
        t.gets(old, pubrel(2));
        t.sends(old, publish("x", "").qos2(7));
        t.ignores(old);
        let new = t.says_connect(version, connect("ann").lasting(100));
        t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
        t.gets(new, let_in(version, true)); // [MQTT-3.2.0-1] [MQTT5-3.2.0-1]
        t.gets_all(
            new,
            [
                publish("tea", "1").dup().qos1(1),
                pubrel(2),
                publish("tea", "3").dup().qos2(3),
            ],
        );
        t.sends(new, pubrel(7));
        t.gets(new, pubcomp(7)); // [MQTT-4.1.0-1]
        t.silence();
    }
}

#[test]
fn retained_messages_are_no_part_of_a_session() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").retain());
        t.leaves(ann);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        t.gets(bob, publish("tea", "hot").retain()); // [MQTT-3.1.2-7]
    }
}

#[test]
fn a_session_lasts_as_long_as_its_connection() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = t.connects(version, connect("ann").lasting(1));
        let cat = t.client(version, "cat");
        for seat in [ann, cat] {
            t.sends(seat, subscribe(1, "tea", 1));
            t.gets(seat, suback(1, &[1]));
        }
        t.passes(10 * 365 * 24 * 3600).silence();
        t.sends(bob, publish("tea", "hot").qos1(1));
        t.gets(bob, puback(1));
        // [MQTT-4.1.0-2] [MQTT5-4.1.0-1]
        t.gets(ann, publish("tea", "hot").qos1(1));
        t.gets(cat, publish("tea", "hot").qos1(1));
    }
}

#[test]
fn a_durable_session_of_3_has_no_end() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.connects(version, connect("ann").durable());
        t.leaves(ann);
        t.passes(10 * 365 * 24 * 3600);
        let ann = t.says_connect(version, connect("ann").durable());
        t.gets(ann, connack(true)); // [MQTT-3.1.2-4] [MQTT-4.1.0-1]
    }
}

#[test]
fn a_session_expires_at_its_time_and_not_before() {
    for seconds in [1, 10, 3600, 86_400, 0xffff_fffe] {
        let mut t = Table::new();
        let bob = t.client(V5, "bob");
        for early_ms in [1, 0] {
            let ann = t.connects(V5, connect("ann").lasting(seconds));
            t.sends(ann, subscribe(1, "tea", 1));
            t.gets(ann, suback(1, &[1]));
            t.drops(ann);
            t.sends(bob, publish("tea", "hot").qos1(1));
            t.gets(bob, puback(1));
            t.passes_ms(u64::from(seconds) * 1000 - early_ms);
            let ann = t.says_connect(V5, connect("ann").lasting(seconds));
            if early_ms > 0 {
                t.gets(ann, connack5(true)); // [MQTT5-3.1.2-23]
                t.gets(ann, publish("tea", "hot").qos1(1));
            } else {
                t.gets(ann, connack5(false)); // [MQTT5-4.1.0-2]
            }
            t.silence();
            t.drops(ann);
            t.passes_ms(u64::from(seconds) * 1000);
            assert_eq!(t.broker.sizes().sessions, 1);
        }
    }
}

#[test]
fn a_session_that_expired_while_nobody_looked_is_gone() {
    let mut t = Table::new();
    let bob = t.client(V5, "bob");
    t.sends(bob, subscribe(1, "gone", 0));
    t.gets(bob, suback(1, &[0]));
    let will = connect("ann")
        .lasting(10)
        .will("gone", "ann", 0, false)
        .will_with(Property::WillDelayInterval(5));
    let ann = t.connects(V5, will.clone());
    t.drops(ann);
    let ann = t.opens_as(V5);
    t.sleeps_ms(10_000);
    t.sends(ann, will.clone());
    t.gets(ann, connack5(false)); // [MQTT5-4.1.0-2]
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
    t.drops(ann);
    let ann = t.opens_as(V5);
    t.sleeps_ms(5000);
    t.sends(ann, will);
    t.gets(ann, connack5(true));
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
    t.silence();
}

#[test]
fn the_interval_zero_or_none_ends_a_session_at_once() {
    for packet in [connect("ann").durable(), connect("ann").lasting(0)] {
        let mut t = Table::new();
        let ann = t.connects(V5, packet);
        t.drops(ann);
        assert_eq!(t.broker.sizes().sessions, 0); // [MQTT5-4.1.0-2]
        let ann = t.says_connect(V5, connect("ann").durable());
        t.gets(ann, connack5(false));
    }
}

#[test]
fn the_interval_of_all_ones_has_no_end() {
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").lasting(u32::MAX));
    t.drops(ann);
    t.passes(u64::from(u32::MAX) + 10);
    let ann = t.says_connect(V5, connect("ann").lasting(u32::MAX));
    t.gets(ann, connack5(true)); // [MQTT5-3.1.2-23]
}

#[test]
fn disconnect_can_change_the_interval() {
    // Connects with, leaves with, is there at, is gone at.
    for (first, then, there, gone) in [
        (10, 100, Some(99), Some(100)),
        (100, 10, Some(9), Some(10)),
        (100, 0, None, Some(0)),
        (10, u32::MAX, Some(1_000_000), None),
        (u32::MAX, 10, Some(9), Some(10)),
        (0, 0, None, Some(0)),
    ] {
        for (seconds, session_present) in [(there, true), (gone, false)] {
            let Some(seconds) = seconds else { continue };
            let mut t = Table::new();
            let ann = t.connects(V5, connect("ann").lasting(first));
            t.sends(ann, disconnect_for(then));
            t.closed(ann);
            t.passes(seconds);
            let ann = t.says_connect(V5, connect("ann").lasting(first));
            t.gets(ann, connack5(session_present)); // [MQTT5-3.1.2-23] [MQTT5-4.1.0-2]
        }
    }
}

#[test]
fn disconnect_cannot_give_an_interval_to_a_session_that_had_none() {
    for interval in [1, 100, u32::MAX] {
        let mut t = Table::new();
        let ann = t.connects(V5, connect("ann").durable());
        t.sends(ann, disconnect_for(interval));
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "DISCONNECT sets a Session Expiry Interval, but CONNECT had set none",
        );
        assert_eq!(t.broker.sizes().sessions, 0);
    }
}

#[test]
fn timers_count_from_the_last_end_of_the_connection() {
    let mut t = Table::new();
    for round in 0..200_u64 {
        let ann = t.says_connect(V5, connect("ann").lasting(10));
        t.gets(ann, connack5(round > 0));
        t.passes_ms(round * 137 % 3000);
        t.drops(ann);
        t.passes_ms(9_999);
    }
    let ann = t.says_connect(V5, connect("ann").lasting(1000));
    t.gets(ann, connack5(true));
    t.passes(100);
    t.drops(ann);
    t.passes_ms(999_999);
    assert_eq!(t.broker.sizes().sessions, 1);
    t.passes_ms(1);
    assert_eq!(t.broker.sizes().sessions, 0); // [MQTT5-4.1.0-2]
}

#[test]
fn a_shorter_interval_replaces_a_longer_one() {
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.drops(ann);
    t.passes(1);
    let ann = t.connects(V5, connect("ann").lasting(5));
    t.drops(ann);
    t.passes_ms(4_999);
    assert_eq!(t.broker.sizes().sessions, 1);
    t.passes_ms(1);
    assert_eq!(t.broker.sizes().sessions, 0);
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.drops(ann);
    t.passes_ms(999_999);
    assert_eq!(t.broker.sizes().sessions, 1);
    t.passes_ms(1);
    assert_eq!(t.broker.sizes().sessions, 0);
}

#[test]
fn a_thousand_sessions_expire_each_at_its_time() {
    let mut t = Table::new();
    for count in 1..=1000 {
        let name = format!("client {count}");
        let seconds = count * 7919 % 1000 + 1;
        let seat = t.connects(V5, connect(&name).lasting(seconds));
        t.drops(seat);
    }
    for left in (0..1000).rev() {
        t.passes(1);
        assert_eq!(t.broker.sizes().sessions, left);
    }
}

#[test]
fn session_present_in_every_case() {
    for version in EVERY {
        for lasts in [false, true] {
            for is_connected in [false, true] {
                for clean in [false, true] {
                    let mut t = Table::new();
                    let first = if lasts {
                        connect("ann").lasting(100)
                    } else {
                        connect("ann")
                    };
                    let old = t.connects(version, first);
                    if !is_connected {
                        t.drops(old);
                    }
                    let next = if clean {
                        connect("ann")
                    } else {
                        connect("ann").lasting(100)
                    };
                    let new = t.says_connect(version, next);
                    if is_connected {
                        t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
                    }
                    // [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT5-3.2.2-2] [MQTT5-3.2.2-3]
                    t.gets(new, let_in(version, lasts && !clean));
                    t.silence();
                    assert_eq!(t.broker.sizes().sessions, 1);
                }
            }
        }
    }
}

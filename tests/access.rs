//! `acl_file`: who may publish what, and who is given what. What the rules mean is a table of its
//! own (tests/acl.rs); here is where they are asked.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
use table::*;

const MAY_NOT: &str = "you may not publish to this topic";

/// All listeners have one access control file.
fn ruled(config: &mut Config) {
    for listener in &mut config.listeners {
        listener.security.acl_file = Some("rules".into());
    }
}

fn with_rules(rules: &str) -> Table {
    Table::with_files(&[("rules", rules)], ruled)
}

fn joins(t: &mut Table, version: ProtocolVersion, user: &str) -> Seat {
    t.connects(version, connect(user).user(user))
}

/// Subscribes to everything: nobody is refused that [Choice].
fn listens(t: &mut Table, seat: Seat, filter: &str) {
    t.sends(seat, subscribe(1, filter, 1));
    t.gets(seat, suback(1, &[1]));
}

const TEA: &str = "user ann\ntopic write tea\nuser bob\ntopic read tea\n";

#[test]
fn only_who_may_publish_is_heard() {
    for version in EVERY {
        let mut t = with_rules("topic read #\nuser ann\ntopic write tea\n");
        let (ann, eve) = (joins(&mut t, version, "ann"), joins(&mut t, version, "eve"));
        let bob = t.client(version, "bob");
        listens(&mut t, bob, "#");
        t.sends(ann, publish("tea", "hot"));
        t.gets(bob, publish("tea", "hot"));
        t.sends(ann, publish("milk", "cold"));
        t.sends(eve, publish("tea", "poison"));
        t.sends(bob, publish("tea", "mine"));
        // 3.x cannot be told, and must not send again [MQTT-3.3.5-2] [MQTT5-3.3.5-2].
        t.sends(eve, publish("tea", "poison").qos1(1));
        t.gets(eve, denied(version, puback(1)));
        t.sends(eve, publish("tea", "poison").qos2(2));
        t.gets(eve, denied(version, pubrec(2)));
        t.silence();
    }
}

fn denied(version: ProtocolVersion, ack: Say) -> Say {
    match version {
        V5 => ack.reason(ReasonCode::NotAuthorized).because(MAY_NOT),
        _ => ack,
    }
}

#[test]
fn everybody_may_subscribe_and_gets_what_it_may_read() {
    for version in EVERY {
        let mut t = with_rules(TEA);
        let ann = joins(&mut t, version, "ann");
        let bob = joins(&mut t, version, "bob");
        let eve = joins(&mut t, version, "eve");
        for seat in [ann, bob, eve] {
            listens(&mut t, seat, "#");
        }
        t.sends(ann, publish("tea", "hot"));
        t.gets(bob, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn a_file_without_rules_denies_everything() {
    for version in EVERY {
        let unread = Table::with(ruled);
        for mut t in [with_rules(""), with_rules("# topic readwrite #\n"), unread] {
            let (ann, bob) = (joins(&mut t, version, "ann"), t.client(version, "bob"));
            listens(&mut t, bob, "#");
            t.sends(ann, publish("tea", "hot"));
            t.sends(bob, publish("tea", "hot"));
            t.silence();
        }
    }
}

#[test]
fn each_listener_has_its_own_rules() {
    for version in EVERY {
        let files = [("in", "topic readwrite #"), ("out", "topic read tea")];
        let mut t = Table::with_files(&files, |config| {
            config.listeners[0].security.acl_file = Some("in".into());
            config.listeners[1].security.acl_file = Some("out".into());
        });
        let ann = t.client(version, "ann");
        t.comes_by(1);
        let bob = t.client(version, "bob");
        listens(&mut t, ann, "#");
        listens(&mut t, bob, "#");
        t.sends(ann, publish("tea", "hot"));
        t.gets(ann, publish("tea", "hot"));
        t.gets(bob, publish("tea", "hot"));
        t.sends(ann, publish("milk", "cold"));
        t.gets(ann, publish("milk", "cold"));
        t.sends(bob, publish("tea", "poison"));
        t.silence();
    }
}

#[test]
fn other_rules_hold_from_the_next_message_on() {
    for version in EVERY {
        let mut t = with_rules(TEA);
        let (ann, bob) = (joins(&mut t, version, "ann"), joins(&mut t, version, "bob"));
        listens(&mut t, bob, "#");
        t.reconfigures(
            &[(
                "rules",
                "user ann\ntopic write #\nuser bob\ntopic read milk",
            )],
            ruled,
        );
        t.sends(ann, publish("tea", "hot"));
        t.silence();
        t.sends(ann, publish("milk", "cold"));
        t.gets(bob, publish("milk", "cold"));
        t.reconfigures(&[("rules", "user bob\ntopic read #")], ruled);
        t.sends(ann, publish("milk", "cold"));
        t.silence();
        t.reconfigures(&[], |_| {});
        t.sends(ann, publish("anything", "goes"));
        t.gets(bob, publish("anything", "goes"));
        t.silence();
    }
}

#[test]
fn a_will_needs_the_right_when_it_is_published() {
    for version in EVERY {
        let mut t = with_rules("topic read #\npattern write gone/%c\n");
        let bob = t.client(version, "bob");
        listens(&mut t, bob, "#");
        for (topic, is_heard) in [("gone/ann", true), ("gone/eve", false)] {
            let ann = t.connects(version, connect("ann").will(topic, "ann", 0, false));
            t.drops(ann);
            if is_heard {
                t.gets(bob, publish(topic, "ann"));
            }
            t.silence();
        }
        let ann = t.connects(version, connect("ann").will("gone/ann", "ann", 0, false));
        t.reconfigures(&[("rules", "topic read #")], ruled);
        t.drops(ann);
        t.silence();
    }
}

#[test]
fn a_retained_message_goes_to_who_may_read_it() {
    for version in EVERY {
        let mut t = with_rules(TEA);
        let ann = joins(&mut t, version, "ann");
        t.sends(ann, publish("tea", "hot").retain());
        t.leaves(ann);
        let (bob, eve) = (joins(&mut t, version, "bob"), joins(&mut t, version, "eve"));
        listens(&mut t, eve, "#");
        listens(&mut t, bob, "#");
        t.gets(bob, publish("tea", "hot").retain());
        t.silence();
    }
}

#[test]
fn a_retained_message_is_kept_back_once_its_publisher_has_lost_the_right() {
    let lost = "user ann\nuser bob\ntopic read tea\n";
    for version in EVERY {
        for check in [true, false] {
            let set = |config: &mut Config| {
                ruled(config);
                config.check_retain_source = check;
            };
            let mut t = Table::with_files(&[("rules", TEA)], set);
            let ann = joins(&mut t, version, "ann");
            t.sends(ann, publish("tea", "hot").retain());
            t.leaves(ann);
            t.reconfigures(&[("rules", lost)], set);
            let bob = joins(&mut t, version, "bob");
            listens(&mut t, bob, "#");
            if !check {
                t.gets(bob, publish("tea", "hot").retain());
            }
            t.silence();
        }
    }
}

#[test]
fn a_shared_subscription_passes_over_members_that_may_not_read() {
    for version in [V311, V5] {
        let mut t = with_rules(TEA);
        let ann = joins(&mut t, version, "ann");
        let (bob, eve) = (joins(&mut t, version, "bob"), joins(&mut t, version, "eve"));
        listens(&mut t, eve, "$share/g/#");
        listens(&mut t, bob, "$share/g/#");
        for payload in ["one", "two", "three"] {
            t.sends(ann, publish("tea", payload));
            t.gets(bob, publish("tea", payload));
        }
        t.silence();
        t.leaves(bob);
        t.sends(ann, publish("tea", "nobody"));
        t.silence();
    }
}

#[test]
fn what_waits_for_absent_clients_is_what_they_may_read() {
    for version in EVERY {
        let mut t = with_rules("user ann\ntopic write #\nuser bob\ntopic read tea\n");
        let ann = joins(&mut t, version, "ann");
        let back = || connect("bob").user("bob").lasting(60);
        let bob = t.connects(version, back());
        listens(&mut t, bob, "#");
        t.drops(bob);
        for (id, topic) in [(1, "milk"), (2, "tea")] {
            t.sends(ann, publish(topic, "x").qos1(id));
            t.gets(ann, puback(id));
        }
        let bob = t.connects(version, back());
        t.gets(bob, publish("tea", "x").qos1(1));
        t.silence();
    }
}

#[test]
fn what_has_waited_is_not_given_to_another_user_or_against_new_rules() {
    let rules = "user ann\ntopic write #\nuser bob\ntopic read #\nuser eve\ntopic read tea\n";
    for version in EVERY {
        for other_rules in [false, true] {
            let mut t = with_rules(rules);
            let ann = joins(&mut t, version, "ann");
            let back = |user: &str| connect("pad").user(user).lasting(60);
            let bob = t.connects(version, back("bob"));
            listens(&mut t, bob, "#");
            // One is in flight, the others wait.
            t.sends(ann, publish("milk", "x").qos1(1));
            t.gets(ann, puback(1));
            t.gets(bob, publish("milk", "x").qos1(1));
            t.drops(bob);
            for (id, topic) in [(2, "milk"), (3, "tea")] {
                t.sends(ann, publish(topic, "x").qos1(id));
                t.gets(ann, puback(id));
            }
            let user = match other_rules {
                true => {
                    t.reconfigures(&[("rules", "user bob\ntopic read tea")], ruled);
                    "bob"
                }
                false => "eve",
            };
            let back = t.connects(version, back(user));
            t.gets(back, publish("tea", "x").qos1(2));
            t.silence();
        }
    }
}

#[test]
fn the_rules_see_topics_as_they_are_outside_a_mount_point() {
    for version in EVERY {
        let rules = "user ann\ntopic readwrite shop/tea\nuser bob\ntopic readwrite tea\n";
        let mut t = Table::with_files(&[("rules", rules)], |config| {
            ruled(config);
            config.listeners[0].mount_point = Some("shop/".into());
        });
        let (ann, bob) = (joins(&mut t, version, "ann"), joins(&mut t, version, "bob"));
        listens(&mut t, ann, "#");
        listens(&mut t, bob, "#");
        t.sends(bob, publish("tea", "cold"));
        t.silence();
        t.sends(ann, publish("tea", "hot"));
        t.gets(ann, publish("tea", "hot"));
        t.silence();
    }
}

#[test]
fn no_rule_opens_the_broker_s_own_topics_for_writing() {
    for version in EVERY {
        let mut t = with_rules("topic readwrite $SYS/#\ntopic readwrite #\n");
        let ann = t.client(version, "ann");
        listens(&mut t, ann, "$SYS/#");
        t.sends(ann, publish("$SYS/broker/uptime", "x"));
        t.silence();
        let state = "$SYS/broker/connection/far/state";
        t.sends(ann, publish(state, "1"));
        t.gets(ann, publish(state, "1"));
        t.silence();
    }
}

#[test]
fn special_characters_are_denied_where_that_is_set() {
    for version in EVERY {
        for (name, is_heard) in [("ann", true), ("a/nn", false), ("a+", false), ("#", false)] {
            let mut t = Table::with_files(&[("rules", "topic readwrite tea")], |config| {
                ruled(config);
                for listener in &mut config.listeners {
                    listener.security.deny_special_chars = true;
                }
            });
            let ann = t.client(version, name);
            listens(&mut t, ann, "#");
            t.sends(ann, publish("tea", "hot"));
            if is_heard {
                t.gets(ann, publish("tea", "hot"));
            }
            t.silence();
        }
    }
}

#[test]
fn sys_begins_again_when_its_interval_is_set() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "$SYS/broker/uptime", 0));
        t.gets(ann, suback(1, &[0]));
        t.passes(100).silence();
        t.reconfigures(&[], |config| config.sys_interval = 10);
        t.passes(15);
        assert!(t.heard_bytes(ann) > 0);
        t.reconfigures(&[], |_| {});
        t.ignores(ann);
        t.passes(100).silence();
    }
}

//! `mount_point`: the clients of one listener have their topics below a prefix, and never see it.
//! In each dialogue the first listener has none, and the second has `shop/`.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

/// Out by the first listener, in by the second.
fn out_and_in(version: ProtocolVersion) -> (Table, Seat, Seat) {
    let mut t = mounted("shop/");
    let outside = t.client(version, "out");
    t.comes_by(1);
    let inside = t.client(version, "in");
    (t, outside, inside)
}

fn mounted(prefix: &str) -> Table {
    Table::with(|config| config.listeners[1].mount_point = Some(prefix.into()))
}

#[test]
fn what_is_published_inside_is_below_the_prefix_outside() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        t.sends(out, subscribe(1, "#", 2));
        t.gets(out, suback(1, &[2]));
        t.sends(ann, subscribe(1, "tea/+", 2));
        t.gets(ann, suback(1, &[2]));
        for qos in 0..=2 {
            let id = u16::from(qos);
            t.sends(ann, publish("tea/green", "hot").qos(qos, id));
            let heard = |topic| publish(topic, "hot").qos(qos, id);
            t.gets(out, heard("shop/tea/green"));
            t.gets(ann, heard("tea/green"));
            t.ignores(ann);
        }
        t.silence();
    }
}

#[test]
fn what_is_published_outside_is_seen_inside_if_it_is_below_the_prefix() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        t.sends(ann, subscribe(1, "#", 1).and("shop/#", 1));
        t.gets(ann, suback(1, &[1, 1]));
        for topic in ["tea", "shop", "shop/", "shops/tea", "a/shop/tea"] {
            t.sends(out, publish(topic, "x").qos1(1));
            t.ignores(out);
            t.silence();
        }
        t.sends(out, publish("shop/tea", "hot"));
        t.gets(ann, publish("tea", "hot"));
        t.sends(out, publish("shop//", "hot"));
        t.gets(ann, publish("/", "hot"));
        t.silence();
    }
}

#[test]
fn the_broker_s_own_topics_are_out_of_reach() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        let state = "$SYS/broker/connection/far/state";
        t.sends(ann, subscribe(1, "$SYS/#", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(out, subscribe(1, "$SYS/#", 0).and("shop/#", 0));
        t.gets(out, suback(1, &[0, 0]));
        t.sends(out, publish(state, "1"));
        t.gets(out, publish(state, "1"));
        t.silence();
        t.sends(ann, publish("$SYS/mine", "1"));
        t.gets(out, publish("shop/$SYS/mine", "1"));
        t.gets(ann, publish("$SYS/mine", "1"));
        t.silence();
    }
}

#[test]
fn retained_messages_and_unsubscribe_go_by_the_same_names() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        t.sends(out, publish("tea", "cold").retain());
        t.sends(out, publish("shop/tea", "hot").retain());
        t.sends(ann, publish("milk", "cold").retain());
        t.sends(ann, subscribe(1, "#", 0));
        t.gets(ann, suback(1, &[0]));
        t.gets_all(
            ann,
            [
                publish("tea", "hot").retain(),
                publish("milk", "cold").retain(),
            ],
        );
        t.sends(ann, unsubscribe(2, &["#"]));
        t.gets(ann, unsuback(2, if version == V5 { &[0] } else { &[] }));
        t.sends(out, publish("shop/tea", "again"));
        t.silence();
        t.sends(ann, publish("tea", "").retain());
        t.sends(out, subscribe(1, "+/+", 0));
        t.gets(out, suback(1, &[0]));
        t.gets(out, publish("shop/milk", "cold").retain());
        t.silence();
    }
}

#[test]
fn a_will_is_left_below_the_prefix() {
    for version in EVERY {
        let mut t = mounted("shop/");
        let out = t.client(version, "out");
        t.sends(out, subscribe(1, "#", 0));
        t.gets(out, suback(1, &[0]));
        t.comes_by(1);
        let ann = t.connects(version, connect("ann").will("gone", "ann", 0, false));
        t.drops(ann);
        t.gets(out, publish("shop/gone", "ann"));
        t.silence();
    }
}

#[test]
fn shared_subscriptions_are_shared_below_the_prefix() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        t.sends(ann, subscribe(1, "$share/g/tea", 0));
        t.gets(ann, suback(1, &[0]));
        t.sends(out, publish("tea", "no"));
        t.sends(out, publish("shop/tea", "1"));
        t.gets(ann, publish("tea", "1"));
        // One group, whichever side its members are on.
        t.sends(out, subscribe(1, "$share/g/shop/tea", 0));
        t.gets(out, suback(1, &[0]));
        for _ in 0..4 {
            t.sends(ann, publish("tea", "x"));
        }
        for _ in 0..2 {
            t.gets(ann, publish("tea", "x"));
            t.gets(out, publish("shop/tea", "x"));
        }
        t.sends(ann, unsubscribe(2, &["$share/g/tea"]));
        t.gets(ann, unsuback(2, if version == V5 { &[0] } else { &[] }));
        t.sends(out, publish("shop/tea", "y"));
        t.gets(out, publish("shop/tea", "y"));
        t.silence();
    }
}

#[test]
fn topic_aliases_stand_for_the_topics_of_each_side() {
    let alias = || Property::TopicAlias(1.try_into().unwrap());
    let (mut t, out, _) = out_and_in(V5);
    let ann = t.connects(V5, connect("ann").with(Property::TopicAliasMaximum(1)));
    t.sends(ann, subscribe(1, "tea", 0));
    t.gets(ann, suback(1, &[0]));
    t.sends(out, subscribe(1, "#", 0));
    t.gets(out, suback(1, &[0]));
    t.sends(ann, publish("tea", "1").with(alias()));
    t.gets(ann, publish("tea", "1").with(alias()));
    t.gets(out, publish("shop/tea", "1"));
    t.sends(ann, publish("", "2").with(alias()));
    t.gets(ann, publish("", "2").with(alias()));
    t.gets(out, publish("shop/tea", "2"));
    t.silence();
}

#[test]
fn a_session_that_changes_sides_hears_what_that_side_knows() {
    for version in EVERY {
        let mut t = mounted("shop/");
        let out = t.client(version, "out");
        let ann = t.connects(version, connect("ann").lasting(100));
        t.sends(ann, subscribe(1, "#", 1));
        t.gets(ann, suback(1, &[1]));
        t.drops(ann);
        for (id, topic) in [(1, "tea"), (2, "shop/tea"), (3, "milk")] {
            t.sends(out, publish(topic, "x").qos1(id));
            t.gets(out, puback(id));
        }
        t.comes_by(1);
        let ann = t.connects(version, connect("ann").lasting(100));
        // What is outside is as good as sent, and takes no place in the window.
        t.hears(ann, |_| ());
        t.silence();
        t.sends(out, publish("tea", "y").qos1(4));
        t.gets(out, puback(4));
        t.silence();
    }
}

#[test]
fn topics_are_no_longer_with_the_prefix_than_without() {
    for version in EVERY {
        let (mut t, out, ann) = out_and_in(version);
        let topic = |bytes: usize| "x".repeat(bytes);
        t.sends(out, subscribe(1, "shop/+", 0));
        t.gets(out, suback(1, &[0]));
        t.sends(ann, publish(&topic(65_530), "x"));
        t.gets(out, publish(&format!("shop/{}", topic(65_530)), "x"));
        t.sends(ann, subscribe(1, &topic(65_531), 0));
        if version == V5 {
            t.hears(ann, |_| ());
        } else {
            t.gets(ann, suback(1, &[if version == V31 { 0 } else { 0x80 }]));
        }
        t.sends(ann, publish(&topic(65_531), "x"));
        let sentence = "The Topic Name is too long here";
        t.cut_off(ann, ReasonCode::TopicNameInvalid, sentence);
        t.silence();
        // Nor do they have more levels.
        let ann = t.client(version, "ann");
        t.sends(ann, publish(&"/".repeat(198), "x"));
        t.silence();
        t.sends(ann, publish(&"/".repeat(199), "x"));
        let sentence = "The Topic Name has too many levels";
        t.cut_off(ann, ReasonCode::TopicNameInvalid, sentence);
        t.silence();
    }
}

#[test]
fn a_prefix_may_end_within_a_level() {
    for version in EVERY {
        let mut t = mounted("shop");
        let out = t.client(version, "out");
        t.comes_by(1);
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "/tea", 0).and("ping", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.sends(out, publish("shop/tea", "hot"));
        t.gets(ann, publish("/tea", "hot"));
        t.sends(out, publish("shopping", "list"));
        t.gets(ann, publish("ping", "list"));
        t.sends(ann, subscribe(2, "#", 0)); // `shop#` is no filter
        match version {
            V5 => t.gets(
                ann,
                suback(2, &[0x8f]).because("'#': this filter is not possible here"),
            ),
            V311 => t.gets(ann, suback(2, &[0x80])),
            V31 => t.gets(ann, suback(2, &[0])),
        }
        t.silence();
    }
}

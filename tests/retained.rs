//! Retained messages [MQTT §3.3.1.3] [MQTT5 §3.3.1.3]: kept, replaced, cleared, expired, and sent to
//! new subscriptions. How very many of them are sent is told in `replay.rs`.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::{RetainHandling, SubscriptionOptions};
use table::*;

fn retained(t: &Table) -> usize {
    t.broker.sizes().retained
}

fn expiry(seconds: u32) -> Property<'static> {
    Property::MessageExpiryInterval(seconds)
}

/// A client that has subscribed, and what it hears first is still to come.
fn subscriber(
    t: &mut Table,
    version: midge::codec::dialect::ProtocolVersion,
    name: &str,
    filter: &str,
    qos: u8,
) -> Seat {
    let seat = t.client(version, name);
    t.sends(seat, subscribe(1, filter, qos));
    t.gets(seat, suback(1, &[qos]));
    seat
}

#[test]
fn a_new_subscription_gets_the_last_retained_message_of_each_topic() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("a/1", "old").retain());
        t.sends(bob, publish("a/1", "new").retain());
        t.sends(bob, publish("a/2", "two").retain());
        t.sends(bob, publish("b/1", "else").retain());
        t.sends(bob, publish("a/3", "passing"));
        assert_eq!(retained(&t), 3);
        // SUBACK first, then the messages, with RETAIN set.
        let ann = subscriber(&mut t, version, "ann", "a/+", 0);
        // [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8] [MQTT5-3.3.1-5] [MQTT5-3.3.1-9]
        let expected = [
            publish("a/1", "new").retain(),
            publish("a/2", "two").retain(),
        ];
        t.gets_all(ann, expected);
        t.silence();
    }
}

#[test]
fn each_filter_of_one_packet_brings_its_retained_messages() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        for topic in ["a", "b", "c"] {
            t.sends(bob, publish(topic, topic).retain());
        }
        t.sends(
            ann,
            subscribe(1, "a", 0).and("b", 1).and("none", 0).and("c", 2),
        );
        t.gets(ann, suback(1, &[0, 1, 0, 2])); // [MQTT-3.8.4-4] [MQTT5-3.8.4-5]
        t.gets_all(
            ann,
            ["a", "b", "c"].map(|topic| publish(topic, topic).retain()),
        );
        t.silence();
    }
}

#[test]
fn a_retained_message_keeps_its_qos_and_goes_out_with_the_lower_one() {
    for version in EVERY {
        for kept in 0..=2 {
            for granted in 0..=2 {
                let mut t = Table::new();
                let bob = t.client(V311, "bob");
                t.sends(bob, publish("a", "x").qos(kept, u16::from(kept)).retain());
                t.ignores(bob);
                let ann = subscriber(&mut t, version, "ann", "a", granted);
                let lower = kept.min(granted);
                // [MQTT-3.3.1-5] [MQTT-3.8.4-6] [MQTT5-3.8.4-8]
                t.gets(
                    ann,
                    publish("a", "x").qos(lower, u16::from(lower > 0)).retain(),
                );
                t.silence();
            }
        }
    }
}

#[test]
fn one_of_qos_0_replaces_one_of_a_higher_qos() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        t.sends(bob, publish("a", "old").qos1(1).retain());
        t.gets(bob, puback(1));
        t.sends(bob, publish("a", "new").retain());
        let ann = subscriber(&mut t, version, "ann", "#", 2);
        t.gets(ann, publish("a", "new").retain()); // [MQTT-3.3.1-7] [MQTT5-3.3.1-5]
        assert_eq!(retained(&t), 1);
        t.silence();
    }
}

#[test]
fn retain_is_cleared_for_those_who_had_subscribed() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = subscriber(&mut t, version, "ann", "a", 0);
        t.sends(bob, publish("a", "x").retain());
        t.gets(ann, publish("a", "x")); // [MQTT-3.3.1-9] [MQTT5-3.3.1-12]
        t.silence();
    }
}

#[test]
fn an_empty_retained_message_clears_its_topic_and_is_delivered() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("a", "x").retain());
        let ann = subscriber(&mut t, version, "ann", "a", 0);
        t.gets(ann, publish("a", "x").retain());
        t.sends(bob, publish("a", "").retain());
        t.gets(ann, publish("a", "")); // [MQTT-3.3.1-10] [MQTT5-3.3.1-6]
        assert_eq!(retained(&t), 0);
        t.sends(bob, publish("a", "").retain()); // Once more, with nothing to clear.
        t.gets(ann, publish("a", ""));
        assert_eq!(retained(&t), 0); // [MQTT-3.3.1-11] [MQTT5-3.3.1-7]
        subscriber(&mut t, version, "carl", "#", 0);
        t.silence();
        t.sends(bob, publish("a", "back").retain());
        t.gets(ann, publish("a", "back"));
        subscriber(&mut t, version, "dora", "b/#", 0);
        assert_eq!(retained(&t), 1);
    }
}

#[test]
fn a_message_without_retain_leaves_the_retained_one_alone() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("a", "x").retain());
        t.sends(bob, publish("a", "y"));
        t.sends(bob, publish("a", ""));
        let ann = subscriber(&mut t, version, "ann", "a", 0);
        t.gets(ann, publish("a", "x").retain()); // [MQTT-3.3.1-12] [MQTT5-3.3.1-8]
        t.silence();
    }
}

#[test]
fn retained_messages_outlive_their_publisher() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("a", "x").retain());
        t.leaves(bob);
        let carl = t.connects(version, connect("carl").will("b", "gone", 1, true));
        t.drops(carl);
        t.passes(1_000_000);
        let ann = subscriber(&mut t, version, "ann", "#", 0);
        t.gets_all(
            ann,
            [publish("a", "x").retain(), publish("b", "gone").retain()],
        );
        t.silence();
    }
}

#[test]
fn retain_handling_says_whether_retained_messages_come() {
    let handled = |handling| SubscriptionOptions {
        retain_handling: handling,
        ..options(0)
    };
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(bob, publish("a", "x").retain());
    // By Retain Handling: whether they come to a new subscription, and to one there was.
    let rows = [
        (RetainHandling::Send, true, true),        // [MQTT5-3.3.1-9]
        (RetainHandling::SendIfNew, true, false),  // [MQTT5-3.3.1-10]
        (RetainHandling::DoNotSend, false, false), // [MQTT5-3.3.1-11]
    ];
    for (handling, to_new, to_existing) in rows {
        for expected in [to_new, to_existing, to_existing] {
            t.sends(ann, subscribe_with(1, "a", handled(handling)));
            t.gets(ann, suback(1, &[0]));
            if expected {
                t.gets(ann, publish("a", "x").retain());
            }
            t.silence();
        }
        t.sends(bob, publish("a", "live"));
        t.gets(ann, publish("a", "live"));
        t.sends(ann, unsubscribe(2, &["a"]));
        t.gets(ann, unsuback(2, &[0]));
    }
    // Another client's subscription to the same filter makes nobody's an existing one.
    let carl = subscriber(&mut t, V5, "carl", "a", 0);
    t.gets(carl, publish("a", "x").retain());
    t.sends(
        ann,
        subscribe_with(3, "a", handled(RetainHandling::SendIfNew)),
    );
    t.gets(ann, suback(3, &[0]));
    t.gets(ann, publish("a", "x").retain());
    t.silence();
}

#[test]
fn retain_as_published_keeps_the_flag_as_it_came() {
    let keeps = SubscriptionOptions {
        retain_as_published: true,
        ..options(1)
    };
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V311, "bob"));
    t.sends(ann, subscribe_with(1, "a", keeps));
    t.gets(ann, suback(1, &[1]));
    t.sends(bob, publish("a", "x").retain());
    t.gets(ann, publish("a", "x").retain()); // [MQTT5-3.3.1-13]
    t.sends(bob, publish("a", "x"));
    t.gets(ann, publish("a", "x")); // [MQTT5-3.3.1-13]
    t.sends(bob, publish("a", "x").retain().qos1(1));
    t.gets(bob, puback(1));
    t.gets(ann, publish("a", "x").retain().qos1(1));
    t.sends(ann, puback(1));
    t.sends(bob, publish("a", "").retain());
    t.gets(ann, publish("a", "").retain());
    // The Will's flag is kept too.
    let carl = t.connects(V5, connect("carl").will("a", "gone", 0, true));
    t.drops(carl);
    t.gets(ann, publish("a", "gone").retain());
    t.silence();
}

#[test]
fn the_flag_as_published_is_kept_while_a_message_waits() {
    let keeps = SubscriptionOptions {
        retain_as_published: true,
        ..options(1)
    };
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    let ann = t.connects(V5, connect("ann").lasting(100));
    t.sends(ann, subscribe_with(1, "a", keeps).and("b", 1));
    t.gets(ann, suback(1, &[1, 1]));
    t.drops(ann);
    t.sends(bob, publish("a", "x").retain().qos1(1));
    t.sends(bob, publish("b", "y").retain().qos1(2));
    t.ignores(bob);
    let ann = t.connects(V5, connect("ann").lasting(100));
    t.gets(ann, publish("a", "x").retain().qos1(1)); // [MQTT5-3.3.1-13]
    t.gets(ann, publish("b", "y").qos1(2)); // [MQTT5-3.3.1-12]
    t.silence();
}

#[test]
fn a_retained_message_counts_down_and_expires() {
    let mut t = Table::new();
    let bob = t.client(V5, "bob");
    t.sends(bob, publish("a", "x").retain().with(expiry(100)));
    t.sends(bob, publish("b", "y").retain().with(expiry(20)));
    t.sends(bob, publish("c", "z").retain());
    t.passes(10);
    let ann = subscriber(&mut t, V5, "ann", "#", 0);
    t.gets_all(
        ann,
        [
            publish("a", "x").retain().with(expiry(90)),
            publish("b", "y").retain().with(expiry(10)),
            publish("c", "z").retain(),
        ],
    );
    t.passes(10);
    let carl = subscriber(&mut t, V5, "carl", "#", 0);
    let left = publish("a", "x").retain().with(expiry(80));
    t.gets_all(carl, [left, publish("c", "z").retain()]);
    // A client that cannot be told the time left gets the message all the same.
    let dora = subscriber(&mut t, V311, "dora", "a", 0);
    t.gets(dora, publish("a", "x").retain());
    t.silence();
    t.passes(20);
    assert_eq!(retained(&t), 2); // What has expired is swept away.
    t.passes(70);
    assert_eq!(retained(&t), 1);
    t.silence();
}

#[test]
fn a_retained_message_that_replaces_one_lives_by_its_own_interval() {
    let mut t = Table::new();
    let bob = t.client(V5, "bob");
    t.sends(bob, publish("a", "x").retain().with(expiry(10)));
    t.sends(bob, publish("a", "y").retain());
    t.sends(bob, publish("b", "x").retain());
    t.sends(bob, publish("b", "y").retain().with(expiry(30)));
    t.passes(20);
    let ann = subscriber(&mut t, V5, "ann", "#", 0);
    let (a, b) = (publish("a", "y"), publish("b", "y").with(expiry(10)));
    t.gets_all(ann, [a.retain(), b.retain()]);
    t.passes(30);
    assert_eq!(retained(&t), 1);
    t.silence();
}

#[test]
fn turned_off_nothing_is_retained_and_whoever_tries_is_told() {
    for version in EVERY {
        let mut t = Table::with(|config| config.retain_available = false);
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "#", 0));
        t.gets(bob, suback(1, &[0]));
        t.sends(ann, publish("a", "x").retain());
        let sentence = "retained messages are turned off here";
        t.cut_off(ann, ReasonCode::RetainNotSupported, sentence); // [MQTT5-3.2.2-14]
        assert_eq!(retained(&t), 0);
        t.sends(bob, publish("a", "y"));
        t.gets(bob, publish("a", "y"));
        t.silence();
    }
}

#[test]
fn no_local_holds_for_retained_messages() {
    let no_local = SubscriptionOptions {
        no_local: true,
        ..options(0)
    };
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, publish("a/1", "own").retain());
    t.sends(bob, publish("a/2", "bob's").retain());
    t.sends(ann, subscribe_with(1, "a/#", no_local));
    t.gets(ann, suback(1, &[0]));
    t.gets(ann, publish("a/2", "bob's").retain()); // [MQTT5-3.8.3-3]
    t.silence();
}

#[test]
fn retained_messages_have_the_identifier_of_the_subscription_that_brings_them() {
    let identifier = Property::SubscriptionIdentifier;
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(bob, publish("a", "x").retain());
    t.sends(ann, subscribe(1, "a", 0).with(identifier(1)));
    t.gets(ann, suback(1, &[0]));
    t.gets(ann, publish("a", "x").retain().with(identifier(1)));
    t.sends(ann, subscribe(2, "#", 0).with(identifier(268_435_455)));
    t.gets(ann, suback(2, &[0]));
    t.gets(
        ann,
        publish("a", "x").retain().with(identifier(268_435_455)),
    );
    t.silence();
}

#[test]
fn retained_dollar_topics_are_not_for_leading_wildcards() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("$a/x", "x").retain());
        t.sends(bob, publish("a/x", "x").retain());
        for (name, filter) in [("ann", "#"), ("carl", "+/x"), ("dora", "+/#")] {
            let seat = subscriber(&mut t, version, name, filter, 0);
            t.gets(seat, publish("a/x", "x").retain()); // [MQTT-4.7.2-1] [MQTT5-4.7.2-1]
        }
        let emil = subscriber(&mut t, version, "emil", "$a/#", 0);
        t.gets(emil, publish("$a/x", "x").retain());
        t.silence();
    }
}

#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, publish("a", "x").retain());
        let ann = subscriber(&mut t, version, "ann", "$share/g/a", 0);
        t.silence(); // [MQTT5 §4.8.2]
        t.sends(bob, publish("a", "y").retain());
        t.gets(ann, publish("a", "y")); // But what is published later, retained or not.
        t.sends(ann, subscribe(2, "$share/g/a", 0));
        t.gets(ann, suback(2, &[0]));
        t.silence();
    }
}

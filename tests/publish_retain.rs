//! The RETAIN flag of PUBLISH [MQTT §3.3.1.3] [MQTT5 §3.3.1.3].

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::subscribe::{RetainHandling, SubscriptionOptions};
use table::*;

/// Somebody who has just come and subscribes at QoS 2; what it is sent is still to be heard.
fn newcomer(t: &mut Table, version: ProtocolVersion, filter: &str) -> Seat {
    let bob = t.client(version, "bob");
    t.sends(bob, subscribe(1, filter, 2));
    t.gets(bob, suback(1, &[2]));
    bob
}

#[test]
fn a_new_subscription_gets_what_is_retained_with_its_qos() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea/1", "old").qos2(1).retain());
        t.sends(ann, publish("tea/1", "new").qos1(2).retain());
        t.sends(ann, publish("tea/2", "zero").retain());
        t.ignores(ann);
        let bob = newcomer(&mut t, version, "tea/+");
        // [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8] [MQTT5-3.3.1-5] [MQTT5-3.3.1-9]
        let new = publish("tea/1", "new").qos1(1).retain();
        t.gets_all(bob, [new, publish("tea/2", "zero").retain()]);
        t.silence();
    }
}

#[test]
fn at_qos_0_too_a_retained_message_takes_the_place_of_the_one_before() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "old").qos1(1).retain());
        t.ignores(ann);
        t.sends(ann, publish("tea", "new").retain());
        let bob = newcomer(&mut t, version, "tea");
        t.gets(bob, publish("tea", "new").retain()); // [MQTT-3.3.1-7] [MQTT5-3.3.1-5]
        t.silence();
    }
}

#[test]
fn who_had_subscribed_before_gets_it_without_the_flag() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        let bob = newcomer(&mut t, version, "tea");
        for qos in 0..=2 {
            t.sends(ann, publish("tea", "hot").qos(qos, 1).retain());
            t.ignores(ann);
            // [MQTT-3.3.1-9] [MQTT5-3.3.1-12]
            t.gets(bob, publish("tea", "hot").qos(qos, qos.into()));
        }
        t.silence();
    }
}

#[test]
fn an_empty_retained_message_is_delivered_and_removes_the_one_kept() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "hot").retain());
        let bob = newcomer(&mut t, version, "tea");
        t.gets(bob, publish("tea", "hot").retain());
        t.sends(ann, publish("tea", "").retain());
        t.gets(bob, publish("tea", "")); // [MQTT-3.3.1-10] [MQTT5-3.3.1-6]
        assert_eq!(t.broker.sizes().retained, 0);
        t.leaves(bob);
        newcomer(&mut t, version, "tea");
        t.silence(); // [MQTT-3.3.1-10] [MQTT5-3.3.1-6]
    }
}

#[test]
fn an_empty_retained_message_is_not_kept() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "").retain());
        assert_eq!(t.broker.sizes().retained, 0);
        newcomer(&mut t, version, "tea");
        t.silence(); // [MQTT-3.3.1-11] [MQTT5-3.3.1-7]
    }
}

#[test]
fn a_message_without_the_flag_does_not_touch_what_is_retained() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("tea", "kept").retain());
        t.sends(ann, publish("tea", "passing"));
        t.sends(ann, publish("tea", ""));
        t.sends(ann, publish("milk", "passing"));
        let bob = newcomer(&mut t, version, "#");
        t.gets(bob, publish("tea", "kept").retain()); // [MQTT-3.3.1-12] [MQTT5-3.3.1-8]
        t.silence();
    }
}

#[test]
fn retain_handling_says_who_gets_what_is_retained() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, publish("tea", "kept").retain());
    let handled = |retain_handling| SubscriptionOptions {
        retain_handling,
        ..options(0)
    };
    let subscribes = |t: &mut Table, retain_handling| {
        t.sends(bob, subscribe_with(1, "tea", handled(retain_handling)));
        t.gets(bob, suback(1, &[0]));
    };
    subscribes(&mut t, RetainHandling::DoNotSend);
    t.silence(); // [MQTT5-3.3.1-11]
    subscribes(&mut t, RetainHandling::SendIfNew);
    t.silence(); // [MQTT5-3.3.1-10]: it was there
    for _ in 0..2 {
        subscribes(&mut t, RetainHandling::Send);
        t.gets(bob, publish("tea", "kept").retain()); // [MQTT5-3.3.1-9]
    }
    t.sends(bob, unsubscribe(2, &["tea"]));
    t.gets(bob, unsuback(2, &[0]));
    subscribes(&mut t, RetainHandling::SendIfNew);
    t.gets(bob, publish("tea", "kept").retain()); // [MQTT5-3.3.1-10]: it is new
    t.sends(ann, publish("tea", "live"));
    t.gets(bob, publish("tea", "live"));
    t.silence();
}

#[test]
fn retain_as_published_keeps_the_flag_as_it_came() {
    let mut t = Table::new();
    let ann = t.client(V5, "ann");
    let bob = t.client(V5, "bob");
    let cid = t.client(V5, "cid");
    let as_published = SubscriptionOptions {
        retain_as_published: true,
        ..options(0)
    };
    t.sends(bob, subscribe_with(1, "tea", as_published));
    t.gets(bob, suback(1, &[0]));
    t.sends(cid, subscribe(1, "tea", 0));
    t.gets(cid, suback(1, &[0]));
    t.sends(ann, publish("tea", "kept").retain());
    t.gets(bob, publish("tea", "kept").retain()); // [MQTT5-3.3.1-13]
    t.gets(cid, publish("tea", "kept")); // [MQTT5-3.3.1-12]
    t.sends(ann, publish("tea", "passing"));
    t.gets(bob, publish("tea", "passing")); // [MQTT5-3.3.1-13]
    t.gets(cid, publish("tea", "passing"));
    t.silence();
}

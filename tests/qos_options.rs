//! Settings that change the QoS messages go out with, or which of them wait.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::config::Config;
use table::*;

/// Ann subscribes to `tea` for good, bob publishes.
fn ann_and_bob(
    version: ProtocolVersion,
    qos: u8,
    change: impl FnOnce(&mut Config),
) -> (Table, Seat, Seat) {
    let mut t = Table::with(change);
    let ann = t.connects(version, connect("ann").lasting(1000));
    t.sends(ann, subscribe(1, "tea", qos));
    t.gets(ann, suback(1, &[qos]));
    let bob = t.client(version, "bob");
    (t, ann, bob)
}

#[test]
fn messages_go_out_at_the_qos_of_the_subscription_if_so_set() {
    for version in EVERY {
        for subscribed in 0..=2 {
            for published in 0..=2 {
                let upgrade = |config: &mut Config| config.upgrade_outgoing_qos = true;
                let (mut t, ann, bob) = ann_and_bob(version, subscribed, upgrade);
                t.sends(bob, publish("tea", "hot").qos(published, 7));
                t.ignores(bob);
                let id = u16::from(subscribed > 0);
                t.gets(ann, publish("tea", "hot").qos(subscribed, id));
                t.silence();
            }
        }
    }
}

#[test]
fn retained_and_shared_messages_are_upgraded_too() {
    for version in EVERY {
        let upgrade = |config: &mut Config| config.upgrade_outgoing_qos = true;
        let mut t = Table::with(upgrade);
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, publish("tea", "hot").retain());
        t.sends(ann, subscribe(1, "tea", 1));
        t.gets(ann, suback(1, &[1]));
        t.gets(ann, publish("tea", "hot").qos1(1).retain());
        t.sends(ann, subscribe(2, "$share/g/milk", 2));
        t.gets(ann, suback(2, &[2]));
        t.sends(bob, publish("milk", "cold"));
        t.gets(ann, publish("milk", "cold").qos2(2));
        t.silence();
    }
}

#[test]
fn qos_0_messages_wait_for_who_is_away_if_so_set() {
    for version in EVERY {
        for queue in [false, true] {
            let set = |config: &mut Config| config.queue_qos0_messages = queue;
            let (mut t, ann, bob) = ann_and_bob(version, 1, set);
            t.drops(ann);
            t.sends(bob, publish("tea", "1"));
            t.sends(bob, publish("tea", "2").qos1(2));
            t.gets(bob, puback(2));
            t.sends(bob, publish("tea", "3"));
            let ann = t.connects(version, connect("ann").lasting(1000));
            if queue {
                t.gets(ann, publish("tea", "1"));
            }
            t.gets(ann, publish("tea", "2").qos1(1));
            if queue {
                t.gets(ann, publish("tea", "3"));
            }
            t.silence();
            t.sends(ann, puback(1));
            t.silence();
        }
    }
}

#[test]
fn qos_0_messages_that_wait_stay_in_their_order() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, 1, |config| {
            config.queue_qos0_messages = true;
            config.max_inflight_messages = 1;
        });
        t.drops(ann);
        for (id, payload) in [(1, "1"), (2, "2")] {
            t.sends(bob, publish("tea", payload).qos1(id));
            t.gets(bob, puback(id));
        }
        t.sends(bob, publish("tea", "3"));
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.gets(ann, publish("tea", "1").qos1(1));
        t.sends(bob, publish("tea", "4"));
        t.silence(); // behind 3, which is behind 2
        t.sends(ann, puback(1));
        t.gets(ann, publish("tea", "2").qos1(2));
        t.silence();
        t.sends(ann, puback(2));
        t.gets(ann, publish("tea", "3"));
        t.gets(ann, publish("tea", "4"));
        t.sends(bob, publish("tea", "5"));
        t.gets(ann, publish("tea", "5"));
        t.silence();
    }
}

#[test]
fn qos_0_messages_that_wait_count_against_the_limit() {
    for (limit, kept) in [(0, 10), (1, 1), (9, 9), (u32::MAX, 10)] {
        let (mut t, ann, bob) = ann_and_bob(V311, 0, |config| {
            config.queue_qos0_messages = true;
            config.max_queued_messages = limit;
        });
        t.drops(ann);
        for _ in 0..10 {
            t.sends(bob, publish("tea", "hot"));
        }
        let ann = t.connects(V311, connect("ann").lasting(1000));
        for _ in 0..kept {
            t.gets(ann, publish("tea", "hot"));
        }
        t.silence();
    }
}

#[test]
fn a_retained_message_whose_publisher_may_still_publish_is_sent_asked_or_not() {
    for version in EVERY {
        for check in [false, true] {
            let set = |config: &mut Config| config.check_retain_source = check;
            let mut t = Table::with(set);
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, publish("tea", "hot").retain());
            t.leaves(bob);
            t.sends(ann, subscribe(1, "tea", 0));
            t.gets(ann, suback(1, &[0]));
            t.gets(ann, publish("tea", "hot").retain()); // it still may
            t.silence();
        }
    }
}

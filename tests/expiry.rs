//! Message Expiry Interval [MQTT5 §3.3.2.3.3].

mod table;
use midge::codec::property::Property;
use midge::config::Config;
use table::*;

fn expiry(seconds: u32) -> Property<'static> {
    Property::MessageExpiryInterval(seconds)
}

/// Ann publishes; Bob, whose session lasts, has subscribed at QoS 2.
fn ann_and_bob(change: impl FnOnce(&mut Config)) -> (Table, Seat, Seat) {
    let mut t = Table::with(change);
    let (ann, bob) = (t.client(V5, "ann"), comes(&mut t));
    t.sends(bob, subscribe(1, "tea", 2));
    t.gets(bob, suback(1, &[2]));
    (t, ann, bob)
}

fn comes(t: &mut Table) -> Seat {
    t.connects(V5, connect("bob").lasting(100_000))
}

/// Bob acknowledges the message with Packet Identifier 1 to the end.
fn finishes(t: &mut Table, bob: Seat, qos: u8) {
    if qos == 1 {
        return t.sends(bob, puback(1));
    }
    t.sends(bob, pubrec(1));
    t.gets(bob, pubrel(1));
    t.sends(bob, pubcomp(1));
}

#[test]
fn a_message_delivered_at_once_has_its_whole_interval() {
    let (mut t, ann, bob) = ann_and_bob(|_| {});
    for seconds in [1, 10, u32::MAX] {
        t.sends(ann, publish("tea", "hot").with(expiry(seconds)));
        t.gets(bob, publish("tea", "hot").with(expiry(seconds))); // [MQTT5-3.3.2-6]
    }
    t.silence();
}

#[test]
fn what_a_message_waited_is_taken_off() {
    // Whole seconds are exact; what is left is rounded up, so that 0 means it is over.
    for (waits_ms, left) in [(0, 10), (1, 10), (999, 10), (1000, 9), (4000, 6), (9001, 1)] {
        for qos in [1, 2] {
            let (mut t, ann, bob) = ann_and_bob(|_| {});
            t.drops(bob);
            t.sends(ann, publish("tea", "hot").qos(qos, 1).with(expiry(10)));
            t.ignores(ann);
            t.passes_ms(waits_ms);
            let bob = comes(&mut t);
            let expected = publish("tea", "hot").qos(qos, 1).with(expiry(left));
            t.gets(bob, expected); // [MQTT5-3.3.2-6]
            t.silence();
        }
    }
}

#[test]
fn a_queued_message_whose_time_is_over_is_not_delivered() {
    for qos in [1, 2] {
        let (mut t, ann, bob) = ann_and_bob(|_| {});
        t.drops(bob);
        t.sends(ann, publish("tea", "short").qos(qos, 1).with(expiry(10)));
        t.sends(ann, publish("tea", "long").qos(qos, 2).with(expiry(20)));
        t.sends(ann, publish("tea", "for ever").qos(qos, 3));
        t.ignores(ann);
        t.passes(10);
        let bob = comes(&mut t);
        // [MQTT5-3.3.2-5]
        t.gets(bob, publish("tea", "long").qos(qos, 1).with(expiry(10)));
        t.gets(bob, publish("tea", "for ever").qos(qos, 2));
        t.silence();
        assert_eq!(t.broker.stats().dropped_expired, 1);
    }
}

#[test]
fn a_message_whose_time_is_over_behind_a_full_window_is_not_delivered() {
    for qos in [1, 2] {
        let (mut t, ann, bob) = ann_and_bob(|config| config.max_inflight_messages = 1);
        for (payload, seconds) in [("one", 10), ("two", 10), ("three", 100)] {
            t.sends(
                ann,
                publish("tea", payload).qos(qos, 1).with(expiry(seconds)),
            );
            t.sends(ann, pubrel(1));
            t.ignores(ann);
        }
        t.gets(bob, publish("tea", "one").qos(qos, 1).with(expiry(10)));
        t.passes(50).silence();
        finishes(&mut t, bob, qos);
        // [MQTT5-3.3.2-5] [MQTT5-3.3.2-6]
        t.gets(bob, publish("tea", "three").qos(qos, 2).with(expiry(50)));
        t.silence();
        assert_eq!(t.broker.stats().dropped_expired, 1);
    }
}

#[test]
fn clients_of_3_do_not_get_expired_messages_either() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let ann = t.client(V5, "ann");
        let bob = t.connects(version, connect("bob").durable());
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        t.drops(bob);
        t.sends(ann, publish("tea", "short").qos1(1).with(expiry(10)));
        t.sends(ann, publish("tea", "long").qos1(1).with(expiry(20)));
        t.ignores(ann);
        t.passes(15);
        let bob = t.connects(version, connect("bob").durable());
        t.gets(bob, publish("tea", "long").qos1(1)); // [MQTT5-3.3.2-5]
        t.silence();
    }
}

#[test]
fn a_message_whose_delivery_has_begun_does_not_expire() {
    for qos in [1, 2] {
        let (mut t, ann, bob) = ann_and_bob(|_| {});
        t.sends(ann, publish("tea", "hot").qos(qos, 1).with(expiry(10)));
        t.ignores(ann);
        t.gets(bob, publish("tea", "hot").qos(qos, 1).with(expiry(10)));
        t.drops(bob);
        t.passes(4);
        let bob = comes(&mut t);
        let again = publish("tea", "hot").qos(qos, 1).dup();
        t.gets(bob, again.clone().with(expiry(6))); // [MQTT5-3.3.2-6]
        t.drops(bob);
        t.passes(60);
        let bob = comes(&mut t);
        t.gets(bob, again.with(expiry(0))); // [MQTT5-4.3.3-7] [MQTT5-4.4.0-1]
        finishes(&mut t, bob, qos);
        t.silence();
        assert_eq!(t.broker.stats().dropped_expired, 0);
    }
}

#[test]
fn an_exchange_goes_on_though_its_message_expires() {
    let (mut t, ann, bob) = ann_and_bob(|_| {});
    t.drops(bob);
    t.sends(ann, publish("tea", "hot").qos2(7).with(expiry(1)));
    t.gets(ann, pubrec(7));
    t.passes(5);
    let again = publish("tea", "hot").qos2(7).dup();
    t.sends(ann, again.with(expiry(1)));
    t.gets(ann, pubrec(7)); // [MQTT5-4.3.3-13]
    t.sends(ann, pubrel(7));
    t.gets(ann, pubcomp(7)); // [MQTT5-4.3.3-13]
    comes(&mut t);
    t.silence(); // [MQTT5-3.3.2-5]
}

#[test]
fn an_exchange_with_a_subscriber_goes_on_though_its_message_expires() {
    let (mut t, ann, bob) = ann_and_bob(|_| {});
    t.sends(ann, publish("tea", "hot").qos2(7).with(expiry(1)));
    t.gets(ann, pubrec(7));
    t.gets(bob, publish("tea", "hot").qos2(1).with(expiry(1)));
    t.passes(5);
    t.sends(bob, pubrec(1));
    t.gets(bob, pubrel(1)); // [MQTT5-4.3.3-7]
    t.drops(bob);
    t.passes(5);
    let bob = comes(&mut t);
    t.gets(bob, pubrel(1));
    t.sends(bob, pubcomp(1));
    t.silence();
}

#[test]
fn a_retained_message_counts_down_and_goes_when_its_time_is_over() {
    let (mut t, ann, bob) = ann_and_bob(|_| {});
    t.sends(ann, publish("milk", "cold").retain().with(expiry(10)));
    t.passes(4);
    t.sends(bob, subscribe(2, "milk", 0));
    t.gets(bob, suback(2, &[0]));
    t.gets(bob, publish("milk", "cold").retain().with(expiry(6))); // [MQTT5-3.3.2-6]
    t.passes(6);
    t.sends(bob, subscribe(3, "milk", 0));
    t.gets(bob, suback(3, &[0]));
    t.silence(); // [MQTT5-3.3.2-5]
    t.passes(60);
    assert_eq!(t.broker.sizes().retained, 0);
    assert_eq!(t.broker.next_deadline(), None);
}

#[test]
fn expired_messages_make_room_in_a_full_queue() {
    for qos in [1, 2] {
        let (mut t, ann, bob) = ann_and_bob(|config| config.max_queued_messages = 2);
        t.drops(bob);
        for (payload, seconds) in [("one", 10), ("two", 100), ("three", 100)] {
            t.sends(
                ann,
                publish("tea", payload).qos(qos, 1).with(expiry(seconds)),
            );
            t.sends(ann, pubrel(1));
            t.ignores(ann);
        }
        assert_eq!(t.broker.stats().dropped_queue_full, 1);
        t.passes(10);
        t.sends(ann, publish("tea", "four").qos(qos, 1));
        t.ignores(ann);
        assert_eq!(t.broker.stats().dropped_queue_full, 1);
        assert_eq!(t.broker.stats().dropped_expired, 1);
        let bob = comes(&mut t);
        // [MQTT5-3.3.2-5]: deleted, not only left out.
        t.gets(bob, publish("tea", "two").qos(qos, 1).with(expiry(90)));
        t.gets(bob, publish("tea", "four").qos(qos, 2));
        t.silence();
    }
}

#[test]
fn an_interval_of_0_is_for_those_who_are_there_at_once() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    let eve = t.connects(V5, connect("eve").lasting(100));
    for seat in [bob, eve] {
        t.sends(seat, subscribe(1, "tea", 1));
        t.gets(seat, suback(1, &[1]));
    }
    t.drops(eve);
    let at_once = publish("tea", "hot").with(Property::MessageExpiryInterval(0));
    t.sends(ann, at_once.clone().retain().qos1(1));
    t.gets(ann, puback(1));
    t.gets(bob, at_once.qos1(1));
    let eve = t.says_connect(V5, connect("eve").lasting(100));
    t.gets(eve, connack5(true));
    t.sends(ann, subscribe(2, "tea", 0));
    t.gets(ann, suback(2, &[0]));
    t.silence();
}

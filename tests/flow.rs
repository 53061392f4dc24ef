//! Flow control [MQTT5 §4.9]: the in-flight window, Receive Maximum in both directions, and the
//! queue behind the window.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::packet::Packet;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::config::Config;
use table::*;

/// Ann publishes, as a 3.1.1 client whose own messages nothing holds back; Bob, whose session
/// lasts, has subscribed at QoS 2.
fn ann_and_bob(version: ProtocolVersion, change: impl FnOnce(&mut Config)) -> (Table, Seat, Seat) {
    let mut t = Table::with(change);
    let (ann, bob) = (t.client(V311, "ann"), comes(&mut t, version));
    t.sends(bob, subscribe(1, "tea/#", 2));
    t.gets(bob, suback(1, &[2]));
    (t, ann, bob)
}

fn comes(t: &mut Table, version: ProtocolVersion) -> Seat {
    t.connects(version, connect("bob").lasting(1000))
}

fn comes_with_window(t: &mut Table, maximum: u16) -> Seat {
    let window = Property::ReceiveMaximum(maximum.try_into().unwrap());
    t.connects(V5, connect("bob").lasting(1000).with(window))
}

/// Ann publishes the numbers from `first` to `last` at this QoS.
fn publishes(t: &mut Table, ann: Seat, qos: u8, first: u16, last: u16) {
    for number in first..=last {
        t.sends(ann, publish("tea", number.to_string()).qos(qos, 77));
        if qos == 2 {
            t.sends(ann, pubrel(77));
        }
        t.ignores(ann);
    }
}

/// A number as Bob gets it, with itself as Packet Identifier.
fn number(qos: u8, number: u16) -> Say {
    publish("tea", number.to_string()).qos(qos, number)
}

/// Bob acknowledges to the end.
fn finishes(t: &mut Table, bob: Seat, qos: u8, id: u16) {
    if qos == 1 {
        return t.sends(bob, puback(id));
    }
    t.sends(bob, pubrec(id));
    t.gets(bob, pubrel(id));
    t.nothing(bob); // The place in the window is free at PUBCOMP only.
    t.sends(bob, pubcomp(id));
}

/// Bob acknowledges whatever comes until nothing does; which numbers came, first ones apart from
/// those with DUP.
fn finishes_all(t: &mut Table, bob: Seat) -> (Vec<u16>, Vec<u16>) {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    while let Some(answer) = t.next_answer(bob, |packet| {
        if let Packet::Publish(packet) = packet {
            let number = std::str::from_utf8(packet.payload)
                .unwrap()
                .parse()
                .unwrap();
            let list = if packet.dup { &mut again } else { &mut new };
            list.push(number);
        }
    }) {
        t.sends(bob, answer);
    }
    (new, again)
}

#[test]
fn twenty_messages_are_in_flight_and_each_that_lands_makes_room_for_one() {
    for version in EVERY {
        for qos in [1, 2] {
            let (mut t, ann, bob) = ann_and_bob(version, |_| {});
            publishes(&mut t, ann, qos, 1, 25);
            for id in 1..=20 {
                t.gets(bob, number(qos, id));
            }
            t.passes(3600).silence(); // [MQTT5-3.3.4-9] [MQTT5-4.9.0-2]
            for id in 1..=5 {
                finishes(&mut t, bob, qos, id);
                t.gets(bob, number(qos, 20 + id)); // [MQTT5-4.9.0-2]
                t.silence();
            }
            for id in (6..=25).rev() {
                finishes(&mut t, bob, qos, id);
                t.silence();
            }
        }
    }
}

#[test]
fn a_window_of_1_sends_one_after_the_other() {
    for version in EVERY {
        for qos in [1, 2] {
            let one = |config: &mut Config| config.max_inflight_messages = 1;
            let (mut t, ann, bob) = ann_and_bob(version, one);
            publishes(&mut t, ann, qos, 1, 5);
            for id in 1..=5 {
                t.gets(bob, number(qos, id));
                t.silence();
                finishes(&mut t, bob, qos, id);
            }
            t.silence();
        }
    }
}

#[test]
fn a_window_of_0_or_65535_sends_everything_at_once() {
    for version in EVERY {
        for window in [0, 65_535] {
            let wide = |config: &mut Config| config.max_inflight_messages = window;
            let (mut t, ann, bob) = ann_and_bob(version, wide);
            publishes(&mut t, ann, 1, 1, 300);
            for id in 1..=300 {
                t.gets(bob, number(1, id));
            }
            t.silence();
        }
    }
}

#[test]
fn all_65535_identifiers_may_be_in_flight() {
    let wide = |config: &mut Config| {
        (config.max_inflight_messages, config.max_queued_messages) = (0, 0);
    };
    let (mut t, ann, bob) = ann_and_bob(V311, wide);
    t.drops(bob);
    let packets = publish("tea", "hot").qos1(1).bytes(V311).repeat(65_537);
    t.sends_bytes(ann, &packets);
    t.ignores(ann);
    for _ in 0..2 {
        let bob = comes(&mut t, V311);
        assert_eq!(t.heard_bytes(bob), 65_535 * packets.len() / 65_537);
        t.ignores(bob);
        t.drops(bob);
    }
    let bob = comes(&mut t, V311);
    t.ignores(bob);
    for id in [40_000, 40_000, 1] {
        t.sends(bob, puback(id));
        if id != 1 {
            // The one identifier that is free.
            t.gets(bob, publish("tea", "hot").qos1(id)); // [MQTT-2.3.1-4]
        }
        t.silence();
    }
}

#[test]
fn receive_maximum_narrows_the_window() {
    for (asked, window) in [(1, 1), (3, 3), (20, 20), (21, 20), (65_535, 20)] {
        for qos in [1, 2] {
            let mut t = Table::new();
            let (ann, bob) = (t.client(V311, "ann"), comes_with_window(&mut t, asked));
            t.sends(bob, subscribe(1, "tea", 2));
            t.gets(bob, suback(1, &[2]));
            publishes(&mut t, ann, qos, 1, 25);
            for id in 1..=window {
                t.gets(bob, number(qos, id));
            }
            t.silence(); // [MQTT5-3.3.4-9] [MQTT5-4.9.0-1]
            for id in 1..=25 {
                finishes(&mut t, bob, qos, id);
                if id + window <= 25 {
                    t.gets(bob, number(qos, id + window));
                }
                t.silence();
            }
        }
    }
}

#[test]
fn a_refusal_makes_room_at_once() {
    for qos in [1, 2] {
        let one = |config: &mut Config| config.max_inflight_messages = 1;
        let (mut t, ann, bob) = ann_and_bob(V5, one);
        publishes(&mut t, ann, qos, 1, 3);
        for id in 1..=3 {
            t.gets(bob, number(qos, id));
            t.silence();
            let answer = if qos == 1 { puback(id) } else { pubrec(id) };
            // [MQTT5-4.9.0-2] [MQTT5-4.4.0-2]
            t.sends(bob, answer.reason(ReasonCode::UnspecifiedError));
        }
        t.silence();
    }
}

#[test]
fn a_second_answer_does_not_widen_the_window() {
    for version in EVERY {
        let two = |config: &mut Config| config.max_inflight_messages = 2;
        let (mut t, ann, bob) = ann_and_bob(version, two);
        publishes(&mut t, ann, 1, 1, 5);
        t.gets(bob, number(1, 1));
        t.gets(bob, number(1, 2));
        t.sends(bob, puback(1));
        t.gets(bob, number(1, 3));
        for id in [1, 1, 9] {
            t.sends(bob, puback(id));
            t.sends(bob, pubcomp(id));
        }
        t.silence(); // [MQTT5-3.3.4-9]
    }
}

#[test]
fn all_but_publish_goes_on_while_the_window_is_full() {
    for version in EVERY {
        let one = |config: &mut Config| config.max_inflight_messages = 1;
        let (mut t, ann, bob) = ann_and_bob(version, one);
        publishes(&mut t, ann, 2, 1, 2);
        t.gets(bob, number(2, 1));
        // [MQTT5-3.3.4-10] [MQTT5-4.9.0-3]
        t.sends(bob, pingreq());
        t.gets(bob, pingresp());
        t.sends(bob, subscribe(2, "milk", 0));
        t.gets(bob, suback(2, &[0]));
        t.sends(bob, publish("milk", "cold").qos1(5));
        t.gets(bob, publish("milk", "cold"));
        t.gets(bob, puback(5));
        t.sends(bob, publish("milk", "warm").qos2(6));
        t.gets(bob, publish("milk", "warm"));
        t.gets(bob, pubrec(6));
        t.sends(bob, pubrel(6));
        t.gets(bob, pubcomp(6));
        t.sends(ann, publish("tea", "at QoS 0"));
        t.gets(bob, publish("tea", "at QoS 0"));
        t.sends(bob, pubrec(1));
        t.gets(bob, pubrel(1));
        t.sends(bob, unsubscribe(3, &["milk"]));
        t.gets(bob, unsuback(3, &[0]));
        t.silence();
        t.sends(bob, pubcomp(1));
        t.gets(bob, number(2, 2));
        t.silence();
    }
}

#[test]
fn messages_of_one_topic_and_qos_stay_in_order() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, |_| {});
        publishes(&mut t, ann, 0, 1, 60);
        for id in 1..=60 {
            t.gets(bob, number(0, id)); // [MQTT-4.6.0-6] [MQTT5-4.6.0-5]
        }
        for qos in [1, 2] {
            let (mut t, ann, bob) = ann_and_bob(version, |_| {});
            publishes(&mut t, ann, qos, 1, 60);
            for id in 1..=20 {
                t.gets(bob, number(qos, id));
            }
            for (id, next) in [(2, 21), (1, 22), (5, 23)] {
                finishes(&mut t, bob, qos, id);
                t.gets(bob, number(qos, next));
            }
            t.drops(bob);
            publishes(&mut t, ann, qos, 61, 70);
            let bob = comes(&mut t, version);
            let (new, again) = finishes_all(&mut t, bob);
            // [MQTT-4.6.0-1]
            assert_eq!(again, [&[3, 4][..], &Vec::from_iter(6..=23)].concat());
            // [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT5-4.6.0-5] [MQTT5-4.6.0-6]
            assert_eq!(new, Vec::from_iter(24..=70));
        }
    }
}

#[test]
fn a_narrower_window_after_a_reconnect_holds_for_what_is_sent_again() {
    for qos in [1, 2] {
        let (mut t, ann, bob) = ann_and_bob(V5, |_| {});
        publishes(&mut t, ann, qos, 1, 7);
        for id in 1..=7 {
            t.gets(bob, number(qos, id));
        }
        t.drops(bob);
        publishes(&mut t, ann, qos, 8, 9);
        let bob = comes_with_window(&mut t, 2);
        t.gets(bob, number(qos, 1).dup());
        t.gets(bob, number(qos, 2).dup());
        for id in 1..=9 {
            t.silence(); // [MQTT5-3.3.4-9]
            finishes(&mut t, bob, qos, id);
            match id + 2 {
                next @ 3..=7 => t.gets(bob, number(qos, next).dup()),
                next @ 8..=9 => t.gets(bob, number(qos, next)),
                _ => {}
            }
        }
        t.silence();
    }
}

#[test]
fn what_a_narrower_window_held_back_may_be_held_back_again() {
    let (mut t, ann, bob) = ann_and_bob(V5, |_| {});
    publishes(&mut t, ann, 1, 1, 3);
    t.ignores(bob);
    t.drops(bob);
    for _ in 0..3 {
        let bob = comes_with_window(&mut t, 1);
        t.gets(bob, number(1, 1).dup());
        t.silence();
        t.drops(bob);
    }
    let bob = comes(&mut t, V5);
    for id in 1..=3 {
        t.gets(bob, number(1, id).dup());
    }
    t.silence();
}

#[test]
fn every_pubrel_is_sent_again_however_narrow_the_window() {
    let (mut t, ann, bob) = ann_and_bob(V5, |_| {});
    publishes(&mut t, ann, 2, 1, 5);
    for id in 1..=5 {
        t.gets(bob, number(2, id));
    }
    for id in 1..=4 {
        t.sends(bob, pubrec(id));
        t.gets(bob, pubrel(id));
    }
    t.drops(bob);
    let bob = comes_with_window(&mut t, 1);
    for id in 1..=4 {
        t.gets(bob, pubrel(id)); // [MQTT5-4.4.0-1]: PUBREL is no PUBLISH
    }
    t.silence();
    for id in 1..=3 {
        t.sends(bob, pubcomp(id));
        t.silence();
    }
    t.sends(bob, pubcomp(4));
    t.gets(bob, number(2, 5).dup());
    t.silence();
}

#[test]
fn an_answer_to_what_was_not_sent_again_yet_counts() {
    let (mut t, ann, bob) = ann_and_bob(V5, |_| {});
    for (qos, id) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        publishes(&mut t, ann, qos, id, id);
        t.gets(bob, number(qos, id));
    }
    t.drops(bob);
    let bob = comes_with_window(&mut t, 1);
    t.gets(bob, number(1, 1).dup());
    // Late answers to what came by the connection before.
    t.sends(bob, puback(2));
    t.sends(bob, pubrec(3));
    t.gets(bob, pubrel(3));
    t.silence();
    t.sends(bob, puback(1));
    t.silence();
    t.sends(bob, pubcomp(3));
    t.gets(bob, number(2, 4).dup());
    finishes(&mut t, bob, 2, 4);
    t.silence();
}

#[test]
fn a_thousand_messages_wait_and_the_next_is_dropped_and_counted() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, |_| {});
        publishes(&mut t, ann, 1, 1, 1020);
        assert_eq!(t.broker.stats().dropped(), 0);
        publishes(&mut t, ann, 1, 1021, 1023);
        assert_eq!(t.broker.stats().dropped_queue_full, 3);
        assert_eq!(t.broker.stats().dropped(), 3);
        for id in 1..=1020 {
            t.gets(bob, number(1, id));
            t.sends(bob, puback(id));
        }
        t.silence();
        publishes(&mut t, ann, 1, 1024, 1024);
        t.gets(bob, publish("tea", "1024").qos1(1021));
        t.silence();
    }
}

#[test]
fn an_absent_session_queues_as_much() {
    for version in EVERY {
        let (mut t, ann, bob) = ann_and_bob(version, |_| {});
        t.drops(bob);
        publishes(&mut t, ann, 2, 1, 1001);
        assert_eq!(t.broker.stats().dropped_queue_full, 1);
        let bob = comes(&mut t, version);
        let (new, again) = finishes_all(&mut t, bob);
        assert_eq!((new, again), (Vec::from_iter(1..=1000), Vec::new()));
    }
}

#[test]
fn a_queue_of_0_has_no_bound_and_one_of_1_holds_one() {
    for version in EVERY {
        for (limit, count) in [(0, 1500), (1, 1)] {
            let queue = |config: &mut Config| config.max_queued_messages = limit;
            let (mut t, ann, bob) = ann_and_bob(version, queue);
            t.drops(bob);
            publishes(&mut t, ann, 1, 1, 1500);
            assert_eq!(t.broker.stats().dropped_queue_full, 1500 - u64::from(count));
            let bob = comes(&mut t, version);
            for id in 1..=count {
                t.gets(bob, number(1, id));
                t.sends(bob, puback(id));
            }
            t.silence();
        }
    }
}

#[test]
fn a_full_queue_of_one_session_is_nobody_elses_matter() {
    for version in EVERY {
        let narrow = |config: &mut Config| {
            (config.max_inflight_messages, config.max_queued_messages) = (1, 1);
        };
        let (mut t, ann, bob) = ann_and_bob(version, narrow);
        let cid = t.client(version, "cid");
        t.sends(cid, subscribe(1, "tea", 1));
        t.gets(cid, suback(1, &[1]));
        for id in 1..=5 {
            t.sends(ann, number(1, id));
            t.gets(ann, puback(id));
            t.gets(cid, number(1, id));
            t.sends(cid, puback(id));
        }
        t.gets(bob, number(1, 1));
        t.sends(bob, puback(1));
        t.gets(bob, number(1, 2));
        t.sends(bob, puback(2));
        t.silence();
        assert_eq!(t.broker.stats().dropped_queue_full, 3);
    }
}

/// Cid publishes `count` QoS 2 messages and releases none.
fn holds(t: &mut Table, cid: Seat, count: u16) {
    for id in 1..=count {
        t.sends(cid, publish("milk", "cold").qos2(id));
        t.gets(cid, pubrec(id).reason(ReasonCode::NoMatchingSubscribers));
    }
}

#[test]
fn more_unreleased_messages_than_our_receive_maximum_end_the_connection() {
    for maximum in [1, 2, 20] {
        let mut t = Table::with(|config| config.max_inflight_messages = maximum);
        let (cid, bob) = (t.client(V5, "cid"), t.client(V5, "bob"));
        holds(&mut t, cid, maximum);
        // A repetition and a QoS 1 message do not count.
        t.sends(cid, publish("milk", "cold").qos2(1).dup());
        t.gets(cid, pubrec(1));
        t.sends(cid, publish("milk", "cold").qos1(500));
        t.gets(cid, puback(500).reason(ReasonCode::NoMatchingSubscribers));
        // One released makes room for one.
        t.sends(cid, pubrel(1));
        t.gets(cid, pubcomp(1));
        t.sends(cid, publish("milk", "cold").qos2(1));
        t.gets(cid, pubrec(1).reason(ReasonCode::NoMatchingSubscribers));
        t.silence();
        t.sends(cid, publish("milk", "cold").qos2(600));
        let sentence = format!("more than {maximum} QoS 2 messages sent and not released");
        t.cut_off(cid, ReasonCode::ReceiveMaximumExceeded, &sentence); // [MQTT5-3.3.4-7]
        t.silence();
        t.open(bob);
    }
}

#[test]
fn a_refused_message_does_not_count_against_our_receive_maximum() {
    let mut t = Table::with(|config| config.max_inflight_messages = 1);
    let cid = t.client(V5, "cid");
    for id in 1..=5 {
        t.sends(cid, publish("$SYS/x", "").qos2(id));
        let refused = pubrec(id).reason(ReasonCode::NotAuthorized);
        t.gets(cid, refused.because("you may not publish to this topic"));
    }
    holds(&mut t, cid, 1);
    t.silence();
}

#[test]
fn who_cannot_be_told_of_a_receive_maximum_has_none() {
    for version in [V31, V311] {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let cid = t.client(version, "cid");
        holds(&mut t, cid, 100);
        t.silence();
    }
    let mut t = Table::with(|config| config.max_inflight_messages = 0);
    let cid = t.client(V5, "cid");
    holds(&mut t, cid, 100);
    t.silence();
}

#[test]
fn what_a_client_sends_again_is_not_held_against_its_receive_maximum() {
    let mut t = Table::with(|config| config.max_inflight_messages = 2);
    let ann = t.connects(V5, connect("ann").lasting(100));
    for id in 1..=2 {
        t.sends(ann, publish("tea", "hot").qos2(id));
        t.gets(ann, pubrec(id).reason(ReasonCode::NoMatchingSubscribers));
    }
    t.drops(ann);
    let ann = t.connects(V5, connect("ann").lasting(100));
    for id in 1..=4 {
        t.sends(ann, publish("tea", "hot").qos2(id).dup());
        let repeated = id <= 2;
        let code = if repeated {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        };
        t.gets(ann, pubrec(id).reason(code));
    }
    t.sends(ann, publish("tea", "hot").qos2(5));
    let sentence = "more than 2 QoS 2 messages sent and not released";
    t.cut_off(ann, ReasonCode::ReceiveMaximumExceeded, sentence);
}

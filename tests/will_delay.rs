//! Will Delay Interval, Session Expiry Interval, and what comes first [MQTT5 §3.1.3.2.2]; and what
//! becomes of Wills when the broker stops.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

const TAKEN_OVER: &str = "session taken over";

fn listener(t: &mut Table) -> Seat {
    let bob = t.client(V5, "bob");
    t.sends(bob, subscribe(1, "gone", 0));
    t.gets(bob, suback(1, &[0]));
    bob
}

/// CONNECT with a Will that is delayed.
fn delayed(delay_s: u32, expiry_s: u32) -> Say {
    connect("ann")
        .lasting(expiry_s)
        .will("gone", "ann", 0, false)
        .will_with(Property::WillDelayInterval(delay_s))
}

#[test]
fn whichever_comes_first() {
    for (delay_s, expiry_s, at_s) in [
        (30, 60, 30),
        (60, 30, 30),
        (30, 30, 30),
        (1, u32::MAX, 1),
        (u32::MAX, 10, 10),
        (86_400, u32::MAX, 86_400),
        (30, 0, 0),
        (0, 30, 0),
    ] {
        let mut t = Table::new();
        let bob = listener(&mut t);
        let ann = t.connects(V5, delayed(delay_s, expiry_s));
        t.drops(ann);
        if at_s > 0 {
            t.passes_ms(at_s * 1000 - 1).silence();
            t.passes_ms(1);
        }
        t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-7] [MQTT5-3.1.2-8]
        t.passes(200_000).silence(); // [MQTT5-3.1.2-10]
    }
}

#[test]
fn whoever_comes_back_in_time_leaves_no_will() {
    let mut t = Table::new();
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60));
    t.drops(ann);
    t.passes_ms(29_999);
    let ann = t.says_connect(V5, connect("ann").lasting(60));
    t.gets(ann, connack5(true));
    t.passes(100).silence(); // [MQTT5-3.1.3-9]
    t.drops(ann);
    t.passes(100).silence();
    let ann = t.connects(V5, delayed(30, 60));
    t.drops(ann);
    t.passes_ms(30_000);
    t.gets(bob, publish("gone", "ann"));
    t.connects(V5, connect("ann").lasting(60));
    t.silence();
}

#[test]
fn the_delay_counts_from_the_last_end_of_the_connection() {
    let mut t = Table::new();
    let bob = listener(&mut t);
    for round in 0..50 {
        let ann = t.connects(V5, delayed(30, 60));
        t.passes(round % 7);
        t.drops(ann);
        t.passes_ms(29_999).silence(); // [MQTT5-3.1.3-9]
    }
    t.passes_ms(1);
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
    t.passes(100).silence();
}

#[test]
fn a_clean_start_ends_the_session_and_publishes_what_was_delayed() {
    let mut t = Table::new();
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60));
    t.drops(ann);
    t.passes(5);
    t.client(V5, "ann");
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
    t.passes(100).silence();
}

#[test]
fn a_takeover_that_goes_on_with_the_session_cancels_a_delayed_will() {
    let mut t = Table::new();
    listener(&mut t);
    let old = t.connects(V5, delayed(30, 60));
    let new = t.connects(V5, connect("ann").lasting(60));
    t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
    t.passes(100).silence(); // [MQTT5-3.1.3-9]
    t.drops(new);
    t.passes(100).silence();
}

#[test]
fn a_takeover_that_ends_the_session_publishes_a_delayed_will() {
    for (first, second) in [
        (delayed(30, 60), connect("ann")),
        (delayed(30, 0), connect("ann").lasting(60)),
    ] {
        let mut t = Table::new();
        let bob = listener(&mut t);
        let old = t.connects(V5, first);
        let new = t.says_connect(V5, second);
        t.cut_off(old, ReasonCode::SessionTakenOver, TAKEN_OVER);
        t.gets(new, connack5(false));
        t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
        t.passes(100).silence();
    }
}

#[test]
fn disconnect_decides_over_a_delayed_will() {
    // DISCONNECT 0x00 deletes it,
    let mut t = Table::new();
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60));
    t.leaves(ann);
    t.passes(1000).silence(); // [MQTT5-3.14.4-3]
    // 0x04 leaves it delayed,
    let with_will = disconnect().reason(ReasonCode::DisconnectWithWillMessage);
    let ann = t.connects(V5, delayed(30, 60));
    t.sends(ann, with_will.clone());
    t.closed(ann);
    t.passes_ms(29_999).silence();
    t.passes_ms(1);
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
    // and with a shorter Session Expiry Interval, less so.
    for (seconds, at_s) in [(10, 10), (0, 0)] {
        let ann = t.connects(V5, delayed(30, 60));
        let shorter = Property::SessionExpiryInterval(seconds);
        t.sends(ann, with_will.clone().with(shorter));
        t.closed(ann);
        t.passes(at_s);
        t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
        t.passes(1000).silence();
    }
}

#[test]
fn a_keep_alive_that_ran_out_starts_the_delay() {
    let mut t = Table::new();
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60).keep_alive(10));
    t.passes(15);
    t.cut_off(ann, ReasonCode::KeepAliveTimeout, "exceeded timeout");
    t.passes_ms(29_999).silence();
    t.passes_ms(1);
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
}

#[test]
fn a_will_published_after_its_delay_leaves_the_session() {
    let mut t = Table::new();
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(10, 60));
    t.sends(ann, subscribe(1, "tea", 1));
    t.gets(ann, suback(1, &[1]));
    t.drops(ann);
    t.passes(10);
    t.gets(bob, publish("gone", "ann"));
    t.sends(bob, publish("tea", "hot").qos1(1));
    t.gets(bob, puback(1));
    t.passes_ms(49_999);
    let ann = t.says_connect(V5, connect("ann").lasting(60));
    t.gets(ann, connack5(true));
    t.gets(ann, publish("tea", "hot").qos1(1));
}

#[test]
fn a_client_of_3_that_comes_back_cancels_the_will_its_session_had_in_5() {
    let mut t = Table::new();
    listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60));
    t.drops(ann);
    let ann = t.connects(V311, connect("ann").durable());
    t.passes(100).silence(); // [MQTT5-3.1.3-9]
    t.open(ann);
}

#[test]
fn retained_and_delayed() {
    let mut t = Table::new();
    let packet = connect("ann").lasting(60).will("gone", "ann", 1, true);
    let ann = t.connects(V5, packet.will_with(Property::WillDelayInterval(30)));
    t.drops(ann);
    t.passes(29);
    assert_eq!(t.broker.sizes().retained, 0);
    t.passes(1);
    let bob = t.client(V5, "bob");
    t.sends(bob, subscribe(1, "gone", 2));
    t.gets(bob, suback(1, &[2]));
    t.gets(bob, publish("gone", "ann").qos1(1).retain()); // [MQTT5-3.1.2-15]
}

#[test]
fn a_broker_that_stops_publishes_what_was_delayed_and_says_so() {
    let mut t = Table::new();
    let cat = t.client(V311, "cat");
    t.sends(cat, subscribe(1, "gone", 0));
    t.gets(cat, suback(1, &[0]));
    let bob = listener(&mut t);
    let ann = t.connects(V5, delayed(30, 60));
    t.drops(ann);
    t.silence();
    t.shuts_down();
    for seat in [cat, bob] {
        t.gets(seat, publish("gone", "ann")); // [MQTT5-3.1.2-8]
        t.cut_off(seat, ReasonCode::ServerShuttingDown, "server shutting down");
    }
    assert_eq!(t.broker.sizes().connections, 0);
}

#[test]
fn a_broker_that_stops_publishes_the_wills_of_those_it_closes() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.connects(version, connect("bob").lasting(100));
        t.sends(bob, subscribe(1, "gone", 1));
        t.gets(bob, suback(1, &[1]));
        t.drops(bob);
        let will = connect("ann").will("gone", "ann", 1, true).lasting(60);
        let ann = t.connects(version, will.will_with(Property::WillDelayInterval(30)));
        t.shuts_down();
        t.cut_off(ann, ReasonCode::ServerShuttingDown, "server shutting down");
        assert_eq!(t.broker.sizes().retained, 1); // [MQTT-3.1.2-8] [MQTT-3.1.2-17]
        let bob = t.connects(version, connect("bob").lasting(100));
        t.gets(bob, publish("gone", "ann").qos1(1));
    }
}

#[test]
fn a_broker_that_stops_waits_for_no_connect() {
    let mut t = Table::new();
    let ann = t.opens();
    t.shuts_down();
    t.closed(ann); // [MQTT5-3.14.0-1]
}

//! Shared subscriptions [MQTT5 §4.8.2], which every version may have: who of a group gets a message,
//! and who gets it when that client does not.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::limits;
use table::*;

const GROUP: &str = "$share/g/a";

/// A member whose session outlives its connection by `seconds` (in 3.x without end if not 0).
fn member(t: &mut Table, version: ProtocolVersion, name: &str, qos: u8, seconds: u32) -> Seat {
    let packet = match seconds {
        0 => connect(name),
        seconds => connect(name).lasting(seconds),
    };
    let seat = t.connects(version, packet);
    t.sends(seat, subscribe(1, GROUP, qos));
    t.gets(seat, suback(1, &[qos]));
    seat
}

/// A publisher says something; its own acknowledgements are of no interest.
fn says(t: &mut Table, bob: Seat, payload: &str, qos: u8) {
    t.sends(bob, publish("a", payload).qos(qos, 100 * u16::from(qos)));
    if qos == 2 {
        t.sends(bob, pubrel(200));
    }
    t.ignores(bob);
}

/// Which of `seats` hear something next; each PUBLISH is looked at by nobody else.
fn who_hears(t: &mut Table, seats: &[Seat]) -> Vec<usize> {
    let heard = seats.iter().map(|seat| t.next(*seat).is_some());
    let heard: Vec<bool> = heard.collect();
    (0..seats.len()).filter(|index| heard[*index]).collect()
}

#[test]
fn members_of_every_version_take_turns() {
    for version in EVERY {
        let mut t = Table::new();
        let seats = [
            member(&mut t, V31, "ann", 0, 0),
            member(&mut t, V311, "carl", 0, 0),
            member(&mut t, V5, "dora", 0, 0),
        ];
        let bob = t.client(version, "bob");
        for round in 0..9 {
            says(&mut t, bob, "x", 0);
            assert_eq!(who_hears(&mut t, &seats), [round % 3]);
        }
        t.silence();
    }
}

#[test]
fn each_group_gets_a_message_and_so_does_each_plain_subscription() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        let carl = t.client(version, "carl");
        t.sends(ann, subscribe(1, "$share/g/a", 0).and("$share/h/+", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.sends(carl, subscribe(1, "$share/g/a", 0).and("a", 0));
        t.gets(carl, suback(1, &[0, 0]));
        let mut heard = 0;
        for _ in 0..4 {
            says(&mut t, bob, "x", 0);
            t.gets(ann, publish("a", "x")); // As the only member of h.
            t.gets(carl, publish("a", "x")); // By itself.
            heard += who_hears(&mut t, &[ann, carl]).len(); // One of both, as members of g.
        }
        assert_eq!(heard, 4);
        t.silence();
    }
}

#[test]
fn groups_of_one_name_are_one_for_each_filter() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    let carl = t.client(V5, "carl");
    t.sends(ann, subscribe(1, "$share/g/a", 0));
    t.gets(ann, suback(1, &[0]));
    t.sends(carl, subscribe(1, "$share/g/+", 0));
    t.gets(carl, suback(1, &[0]));
    t.sends(bob, publish("a", "x"));
    t.gets(ann, publish("a", "x"));
    t.gets(carl, publish("a", "x"));
    t.silence();
}

#[test]
fn each_member_has_its_own_qos_and_identifier() {
    let identifier = Property::SubscriptionIdentifier;
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V311, "bob"));
    let carl = t.client(V5, "carl");
    t.sends(ann, subscribe(1, GROUP, 0).with(identifier(1)));
    t.gets(ann, suback(1, &[0]));
    t.sends(carl, subscribe(1, GROUP, 2).with(identifier(2)));
    t.gets(carl, suback(1, &[2]));
    says(&mut t, bob, "x", 2);
    t.gets(ann, publish("a", "x").with(identifier(1))); // [MQTT5-4.8.2-3]
    says(&mut t, bob, "y", 2);
    t.gets(carl, publish("a", "y").qos2(1).with(identifier(2))); // [MQTT5-4.8.2-3]
    // The same filter again replaces both.
    t.sends(ann, subscribe(2, GROUP, 1).with(identifier(3)));
    t.gets(ann, suback(2, &[1]));
    says(&mut t, bob, "z", 2);
    t.gets(ann, publish("a", "z").qos1(1).with(identifier(3)));
    assert_eq!(t.broker.sizes().subscriptions, 2);
    t.silence();
}

#[test]
fn a_member_whose_window_is_full_is_passed_over() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 1, 0);
        let carl = member(&mut t, version, "carl", 1, 0);
        says(&mut t, bob, "1", 1);
        t.gets(ann, publish("a", "1").qos1(1));
        for number in 1..=3 {
            let payload = format!("more {number}");
            says(&mut t, bob, &payload, 1);
            t.gets(carl, publish("a", &payload).qos1(number));
            t.sends(carl, puback(number));
        }
        t.sends(ann, puback(1));
        says(&mut t, bob, "again", 1);
        t.gets(ann, publish("a", "again").qos1(2));
        t.silence();
    }
}

#[test]
fn a_member_that_does_not_read_is_passed_over() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 0, 0);
        let carl = member(&mut t, version, "carl", 0, 0);
        t.stalls(ann);
        let long = "x".repeat(limits::WRITE_QUEUE_BYTES_MAX);
        says(&mut t, bob, &long, 0);
        says(&mut t, bob, "2", 0);
        t.gets(carl, publish("a", "2"));
        for number in 3..9 {
            let payload = number.to_string();
            says(&mut t, bob, &payload, 0);
            t.gets(carl, publish("a", payload));
        }
        t.reads_again(ann);
        t.gets(ann, publish("a", long));
        t.silence();
    }
}

#[test]
fn a_member_that_is_away_is_passed_over_and_served_if_nobody_else_is_there() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 1, 1000);
        let carl = member(&mut t, version, "carl", 1, 0);
        t.drops(ann);
        for number in 1..=3 {
            says(&mut t, bob, "x", 1);
            t.gets(carl, publish("a", "x").qos1(number));
            t.sends(carl, puback(number));
        }
        t.leaves(carl);
        says(&mut t, bob, "kept", 1);
        says(&mut t, bob, "lost", 0);
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.gets(ann, publish("a", "kept").qos1(1));
        t.silence();
    }
}

#[test]
fn what_a_member_has_not_acknowledged_goes_to_another_when_its_session_ends() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 2, 0);
        says(&mut t, bob, "in flight", 1);
        says(&mut t, bob, "waiting 1", 1);
        says(&mut t, bob, "waiting 2", 2);
        t.gets(ann, publish("a", "in flight").qos1(1));
        let carl = member(&mut t, version, "carl", 2, 0);
        t.drops(ann); // And its session with it.
        t.gets(carl, publish("a", "in flight").qos1(1)); // [MQTT5 §4.8.2]
        t.sends(carl, puback(1));
        t.gets(carl, publish("a", "waiting 1").qos1(2));
        t.sends(carl, puback(2));
        t.gets(carl, publish("a", "waiting 2").qos2(3)); // Never sent before, so it may.
        t.sends(carl, pubrec(3));
        t.gets(carl, pubrel(3));
        t.sends(carl, pubcomp(3));
        assert_eq!(t.broker.sizes().subscriptions, 1);
        t.silence();
    }
}

#[test]
fn a_member_that_is_away_keeps_what_it_has_not_acknowledged() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 1, 1000);
        says(&mut t, bob, "x", 1);
        t.gets(ann, publish("a", "x").qos1(1));
        let carl = member(&mut t, version, "carl", 1, 0);
        t.drops(ann);
        t.passes(500).silence();
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.gets(ann, publish("a", "x").qos1(1).dup());
        t.drops(ann);
        if version == V5 {
            t.passes(1001); // Now its session is over.
        } else {
            let ann = t.connects(version, connect("ann")); // A clean one ends the old session.
            t.open(ann);
        }
        t.gets(carl, publish("a", "x").qos1(1));
        t.silence();
    }
}

#[test]
fn a_qos_2_delivery_that_has_begun_goes_to_nobody_else() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 2, 1000);
        says(&mut t, bob, "x", 2);
        says(&mut t, bob, "y", 2);
        t.gets(ann, publish("a", "x").qos2(1));
        t.gets(ann, publish("a", "y").qos2(2));
        t.sends(ann, pubrec(2));
        t.gets(ann, pubrel(2));
        let carl = member(&mut t, version, "carl", 2, 0);
        t.drops(ann);
        t.passes(500).silence();
        let ann = t.connects(version, connect("ann").lasting(1000));
        // [MQTT5-4.8.2-4]: it is completed with the same client.
        t.gets_all(ann, [pubrel(2), publish("a", "x").qos2(1).dup()]);
        t.drops(ann);
        if version == V5 {
            t.passes(1001);
        } else {
            let ann = t.connects(version, connect("ann"));
            t.leaves(ann);
        }
        t.silence(); // [MQTT5-4.8.2-5]
        says(&mut t, bob, "z", 2);
        t.gets(carl, publish("a", "z").qos2(1));
        t.silence();
    }
}

#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    let ann = member(&mut t, V5, "ann", 2, 0);
    says(&mut t, bob, "x", 1);
    says(&mut t, bob, "y", 2);
    t.gets(ann, publish("a", "x").qos1(1));
    t.gets(ann, publish("a", "y").qos2(2));
    let carl = member(&mut t, V5, "carl", 2, 0);
    t.sends(ann, puback(1).reason(ReasonCode::UnspecifiedError));
    t.sends(ann, pubrec(2).reason(ReasonCode::QuotaExceeded));
    t.silence(); // [MQTT5-4.8.2-6]
    t.drops(ann);
    t.silence();
    t.open(carl);
}

#[test]
fn a_group_ends_with_its_last_member() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        let ann = member(&mut t, version, "ann", 1, 1000);
        let carl = member(&mut t, version, "carl", 1, 1000);
        t.sends(ann, unsubscribe(2, &[GROUP]));
        t.gets(ann, unsuback(2, &[0]));
        for number in 1..=2 {
            says(&mut t, bob, "x", 1);
            t.gets(carl, publish("a", "x").qos1(number));
        }
        t.sends(carl, unsubscribe(2, &[GROUP, GROUP]));
        t.gets(carl, unsuback(2, &[0, 0x11]));
        assert_eq!(t.broker.sizes().subscriptions, 0);
        says(&mut t, bob, "y", 1);
        t.silence();
        // A new group of the same name gets nothing that belonged to the old one,
        let dora = member(&mut t, version, "dora", 1, 0);
        t.drops(carl);
        let carl = t.connects(version, connect("carl"));
        t.silence();
        // and all that is new.
        says(&mut t, bob, "z", 1);
        t.gets(dora, publish("a", "z").qos1(1));
        t.open(carl);
        t.silence();
    }
}

#[test]
fn what_a_member_leaves_behind_is_lost_if_it_was_the_last() {
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    let ann = member(&mut t, V5, "ann", 1, 0);
    says(&mut t, bob, "x", 1);
    t.gets(ann, publish("a", "x").qos1(1));
    t.drops(ann);
    let carl = member(&mut t, V5, "carl", 1, 0);
    t.open(carl);
    t.silence();
}

#[test]
fn a_message_is_not_given_to_one_who_would_lose_it() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let bob = t.client(V311, "bob");
        // Nobody can take it now; ann is away and takes QoS 0 only, carl could wait for it.
        let ann = member(&mut t, version, "ann", 0, 1000);
        let carl = member(&mut t, version, "carl", 1, 0);
        t.drops(ann);
        says(&mut t, bob, "1", 1);
        t.gets(carl, publish("a", "1").qos1(1));
        for number in 2..=4 {
            says(&mut t, bob, &number.to_string(), 1);
        }
        for number in 2..=4_u16 {
            t.sends(carl, puback(number - 1));
            t.gets(carl, publish("a", number.to_string()).qos1(number));
        }
        t.silence();
    }
}

#[test]
fn a_message_is_not_given_to_one_whose_queue_is_full() {
    for version in EVERY {
        let mut t = Table::with(|config| {
            config.max_inflight_messages = 1;
            config.max_queued_messages = 2;
        });
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 1, 0);
        let carl = t.client(version, "carl");
        for number in 1..=3 {
            says(&mut t, bob, &number.to_string(), 1); // One in flight, two waiting: ann is full.
        }
        t.sends(carl, subscribe(1, GROUP, 1));
        t.gets(carl, suback(1, &[1]));
        for number in 4..=6 {
            says(&mut t, bob, &number.to_string(), 1);
        }
        for (seat, first) in [(ann, 1_u16), (carl, 4)] {
            for step in 0..3 {
                let payload = (first + step).to_string();
                t.gets(seat, publish("a", payload).qos1(step + 1));
                t.sends(seat, puback(step + 1));
            }
        }
        t.silence();
    }
}

#[test]
fn turns_go_on_where_they_were_when_a_member_leaves() {
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    let seats = ["ann", "carl", "dora"].map(|name| member(&mut t, V5, name, 0, 0));
    says(&mut t, bob, "x", 0);
    assert_eq!(who_hears(&mut t, &seats), [0]);
    t.leaves(seats[0]);
    for expected in [1, 2, 1, 2] {
        says(&mut t, bob, "x", 0);
        assert_eq!(who_hears(&mut t, &seats), [expected]);
    }
    t.silence();
}

#[test]
fn one_who_is_there_and_busy_comes_before_one_who_is_away() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let bob = t.client(V311, "bob");
        let ann = member(&mut t, version, "ann", 1, 1000);
        let carl = member(&mut t, version, "carl", 1, 0);
        t.drops(ann);
        for number in 1..=4 {
            says(&mut t, bob, &number.to_string(), 1);
        }
        for number in 1..=4_u16 {
            t.gets(carl, publish("a", number.to_string()).qos1(number));
            t.sends(carl, puback(number));
        }
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.open(ann);
        t.silence();
    }
}

//! Retained messages for a new subscription, when there are many of them: a part of them a turn, each
//! exactly once, whatever happens on the way.

mod table;
use midge::broker::client::Peer;
use midge::broker::key::ConnId;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::subscribe::{RetainHandling, SubscriptionOptions};
use midge::limits;
use std::collections::BTreeSet;
use table::*;

/// One PUBLISH that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    topic: String,
    payload: String,
    retain: bool,
    id: u16,
}

/// The PUBLISH packets in `bytes`; whatever else is there is left out.
fn publishes(bytes: &[u8], version: ProtocolVersion) -> Vec<Heard> {
    let (mut rest, mut heard) = (bytes, Vec::new());
    while let Some(frame) = Frame::cut(rest, limits::PACKET_BYTES_MAX).unwrap() {
        if let Packet::Publish(publish) = Packet::decode(&frame, version).unwrap() {
            heard.push(Heard {
                topic: publish.topic.into(),
                payload: String::from_utf8(publish.payload.into()).unwrap(),
                retain: publish.retain,
                id: publish.packet_identifier.map_or(0, |id| id.get()),
            });
        }
        rest = &rest[frame.header.packet_bytes() as usize..];
    }
    heard
}

/// Bob retains a message on each of `r/0`, `r/1` and so on, whose payload is the topic.
fn retains(t: &mut Table, count: usize, qos: u8) -> Seat {
    let bob = t.client(V311, "bob");
    let mut bytes = Vec::new();
    for number in 0..count {
        let topic = format!("r/{number}");
        let packet = publish(&topic, &topic).retain().qos(qos, u16::from(qos));
        bytes.extend(packet.bytes(V311));
    }
    t.sends_bytes(bob, &bytes);
    t.ignores(bob);
    assert_eq!(t.broker.sizes().retained, count);
    bob
}

/// Everything a client hears by reading and acknowledging until there is nothing more.
fn hears_all(t: &mut Table, seat: Seat, version: ProtocolVersion) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let Some(bytes) = t.next(seat) {
        for message in publishes(&bytes, version) {
            if message.id != 0 {
                t.sends(seat, puback(message.id));
            }
            heard.push(message);
        }
    }
    heard
}

fn topics(heard: &[Heard]) -> BTreeSet<&str> {
    heard.iter().map(|message| message.topic.as_str()).collect()
}

/// What waits for a connection, taken off its write queue.
fn takes(t: &mut Table, conn: ConnId) -> Vec<u8> {
    let output = t.broker.output(conn).unwrap();
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let count = output.slices(&[], &mut slices);
        let before = bytes.len();
        slices[..count]
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        let taken = bytes.len() - before;
        output.consume(taken);
    }
    bytes
}

/// Whether the broker has something to do at once.
fn is_busy(t: &Table) -> bool {
    t.broker
        .next_deadline()
        .is_some_and(|at| at <= t.now().mono)
}

#[test]
fn a_hundred_thousand_come_in_many_turns_and_others_are_served_between_them() {
    const COUNT: usize = 100_000;
    let mut t = Table::new();
    let bob = retains(&mut t, COUNT, 0);
    let ann = t.client(V311, "ann");
    let (ann, bob, now) = (t.conn(ann), t.conn(bob), t.now());
    let ping = pingreq().bytes(V311);
    t.broker
        .received(ann, &subscribe(1, "#", 0).bytes(V311), now);
    assert_eq!(takes(&mut t, ann), suback(1, &[0]).bytes(V311)); // Before any of them.
    let (mut heard, mut turns) = (Vec::new(), 0);
    while is_busy(&t) {
        t.broker.tick(now);
        let part = publishes(&takes(&mut t, ann), V311);
        assert!(part.len() <= limits::REPLAY_STEPS_PER_SESSION_PER_TURN);
        heard.extend(part);
        turns += 1;
        t.broker.received(bob, &ping, now);
        assert_eq!(takes(&mut t, bob), pingresp().bytes(V311));
    }
    assert!(turns >= COUNT / limits::REPLAY_STEPS_PER_SESSION_PER_TURN);
    assert_eq!(heard.len(), COUNT); // [MQTT-3.3.1-6] [MQTT5-3.3.1-9]
    assert_eq!(topics(&heard).len(), COUNT);
    assert!(
        heard
            .iter()
            .all(|message| message.retain && message.topic == message.payload)
    );
}

#[test]
fn more_than_window_and_queue_hold_come_all_the_same() {
    for version in EVERY {
        const COUNT: usize = 3000;
        let mut t = Table::new();
        retains(&mut t, COUNT, 1);
        let ann = t.client(version, "ann");
        let (ann, now) = (t.conn(ann), t.now());
        t.broker
            .received(ann, &subscribe(1, "#", 1).bytes(version), now);
        let mut heard = Vec::new();
        loop {
            while is_busy(&t) {
                t.broker.tick(now);
            }
            let part = publishes(&takes(&mut t, ann), version);
            assert!(part.len() <= usize::from(limits::INFLIGHT_MAX_DEFAULT));
            for message in &part {
                t.broker
                    .received(ann, &puback(message.id).bytes(version), now);
            }
            if part.is_empty() {
                break;
            }
            heard.extend(part);
        }
        assert_eq!(heard.len(), COUNT); // [MQTT-3.3.1-6] [MQTT5-3.3.1-9]
        assert_eq!(topics(&heard).len(), COUNT);
        assert_eq!(t.broker.stats().dropped_queue_full, 0);
    }
}

#[test]
fn many_who_subscribe_at_once_are_served_by_turns() {
    const CLIENTS: usize = 50;
    const COUNT: usize = 2000;
    let mut t = Table::new();
    retains(&mut t, COUNT, 0);
    let now = t.now();
    let conns: Vec<_> = (100..100 + CLIENTS).map(ConnId::from_index).collect();
    for (number, conn) in conns.iter().enumerate() {
        let address = ([127, 0, 0, 1], 4000).into();
        t.broker.opened(*conn, Peer::new(address, 1883, 0), now);
        let mut bytes = connect(&format!("client {number}")).bytes(V311);
        bytes.extend(subscribe(1, "#", 0).bytes(V311));
        t.broker.received(*conn, &bytes, now);
    }
    let mut heard = vec![0; CLIENTS];
    while is_busy(&t) {
        t.broker.tick(now);
        let before: usize = heard.iter().sum();
        for (conn, count) in conns.iter().zip(&mut heard) {
            *count += publishes(&takes(&mut t, *conn), V311).len();
        }
        assert!(heard.iter().sum::<usize>() - before <= limits::REPLAY_STEPS_PER_TURN);
        // Nobody is ahead of another by more than a turn.
        let spread = heard.iter().max().unwrap() - heard.iter().min().unwrap();
        assert!(spread <= limits::REPLAY_STEPS_PER_SESSION_PER_TURN);
    }
    assert_eq!(heard, [COUNT; CLIENTS]);
}

#[test]
fn filters_that_match_nothing_take_their_turns_too() {
    const COUNT: usize = 50_000;
    let mut t = Table::new();
    retains(&mut t, 1, 0);
    let ann = t.client(V311, "ann");
    let (ann, now) = (t.conn(ann), t.now());
    let filters = (1..COUNT).map(|number| format!("none/{number}"));
    let packet = filters.fold(subscribe(1, "r/0", 0), |packet, filter| {
        packet.and(&filter, 0)
    });
    t.broker.received(ann, &packet.bytes(V311), now);
    let (mut heard, mut turns) = (Vec::new(), 0);
    while is_busy(&t) {
        t.broker.tick(now);
        heard.extend(publishes(&takes(&mut t, ann), V311));
        turns += 1;
    }
    assert_eq!(heard.len(), 1);
    assert!(turns >= COUNT / limits::REPLAY_STEPS_PER_SESSION_PER_TURN);
}

/// A replay that has come as far as its receiver's window of 5, with 45 of 50 still to come.
fn midway(version: ProtocolVersion, seconds: u32) -> (Table, Seat, Seat, Vec<Heard>) {
    let mut t = Table::with(|config| config.max_inflight_messages = 5);
    let bob = retains(&mut t, 50, 1);
    let packet = match seconds {
        0 => connect("ann"),
        seconds => connect("ann").lasting(seconds),
    };
    let ann = t.connects(version, packet);
    t.sends(ann, subscribe(1, "r/#", 1));
    t.gets(ann, suback(1, &[1]));
    let bytes: Vec<u8> = (0..5).flat_map(|_| t.next(ann).unwrap()).collect();
    let heard = publishes(&bytes, version);
    assert_eq!(topics(&heard).len(), 5);
    t.silence();
    (t, ann, bob, heard)
}

/// The client acknowledges what it has heard, and then all that comes.
fn goes_on(t: &mut Table, ann: Seat, version: ProtocolVersion, heard: &[Heard]) -> Vec<Heard> {
    for message in heard {
        t.sends(ann, puback(message.id));
    }
    hears_all(t, ann, version)
}

#[test]
fn unsubscribing_ends_it() {
    for version in EVERY {
        let (mut t, ann, _, heard) = midway(version, 0);
        t.sends(ann, unsubscribe(2, &["r/#"]));
        t.gets(ann, unsuback(2, &[0])); // [MQTT-3.10.4-2] [MQTT5-3.10.4-2]
        assert_eq!(goes_on(&mut t, ann, version, &heard), []);
        assert!(!is_busy(&t));
        t.sends(ann, subscribe(3, "r/#", 1));
        t.gets(ann, suback(3, &[1]));
        let heard = hears_all(&mut t, ann, version);
        assert_eq!((heard.len(), topics(&heard).len()), (50, 50)); // All of them, once.
        t.silence();
    }
}

#[test]
fn it_goes_on_in_the_next_connection_of_the_session() {
    for version in EVERY {
        for takes_over in [false, true] {
            let (mut t, ann, _, first) = midway(version, 1000);
            if !takes_over {
                t.drops(ann);
            }
            let again = t.connects(version, connect("ann").lasting(1000));
            if takes_over {
                t.ignores(ann); // DISCONNECT, in 5.0.
                t.closed(ann);
            }
            let heard = hears_all(&mut t, again, version);
            // The five in flight again, and the rest.
            assert_eq!((heard.len(), topics(&heard).len()), (50, 50));
            let ids = |heard: &[Heard]| heard.iter().map(|message| message.id).collect::<Vec<_>>();
            assert_eq!(ids(&heard[..5]), ids(&first));
            assert!(heard.iter().all(|message| message.retain));
            t.silence();
        }
    }
}

#[test]
fn an_absent_session_keeps_as_many_as_its_queue_takes() {
    for version in EVERY {
        let mut t = Table::with(|config| {
            config.max_inflight_messages = 5;
            config.max_queued_messages = 10;
        });
        retains(&mut t, 50, 1);
        let ann = t.connects(version, connect("ann").lasting(1000));
        t.sends(ann, subscribe(1, "r/#", 1));
        t.ignores(ann);
        t.drops(ann);
        assert!(!is_busy(&t));
        let ann = t.connects(version, connect("ann").lasting(1000));
        let heard = hears_all(&mut t, ann, version);
        assert_eq!((heard.len(), topics(&heard).len()), (15, 15));
        t.silence();
    }
}

#[test]
fn it_ends_with_its_session() {
    for version in EVERY {
        for is_clean in [true, false] {
            let (mut t, ann, _, _) = midway(version, u32::from(!is_clean) * 1000);
            if is_clean {
                t.drops(ann); // Its session lasts no longer than that.
                assert_eq!(t.broker.sizes().subscriptions, 0);
            }
            let again = t.connects(version, connect("ann")); // Clean: not the same session.
            t.ignores(ann);
            assert_eq!(t.broker.sizes().subscriptions, 0);
            assert!(!is_busy(&t));
            t.open(again);
            t.silence();
        }
    }
}

#[test]
fn what_changes_on_the_way_comes_once_and_as_it_is_then() {
    for version in EVERY {
        let (mut t, ann, bob, first) = midway(version, 0);
        let sent = topics(&first);
        let mut unsent = (0..50).map(|number| format!("r/{number}"));
        let mut unsent = unsent
            .by_ref()
            .filter(|topic| !sent.contains(topic.as_str()));
        let (replaced, cleared) = (unsent.next().unwrap(), unsent.next().unwrap());
        let (cleared_and_set, sent) = (unsent.next().unwrap(), &first[0].topic);
        let changes = [
            publish(&replaced, "new"),
            publish(&cleared, ""),
            publish(&cleared_and_set, ""),
            publish(&cleared_and_set, "back"),
            publish(sent, "newer"),
            publish("r/new", "x"),
        ];
        for change in changes {
            t.sends(bob, change.clone().retain());
            t.gets(ann, change); // As it is published, with RETAIN 0 [MQTT-3.3.1-9] [MQTT5-3.3.1-12].
        }
        let heard = goes_on(&mut t, ann, version, &first);
        assert_eq!((heard.len(), topics(&heard).len()), (42, 42));
        assert!(heard.iter().all(|message| message.payload == message.topic));
        assert!(!topics(&heard).contains(replaced.as_str()));
        assert!(!topics(&heard).contains(cleared.as_str()));
        t.silence();
        // Who subscribes now gets the present state.
        let carl = t.client(version, "carl");
        t.sends(carl, subscribe(1, "r/+", 0));
        assert_eq!(hears_all(&mut t, carl, version).len(), 50);
    }
}

#[test]
fn a_reader_that_stalls_is_waited_for_and_nobody_else_is() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        let long = "x".repeat(5000);
        let many = (0..200).flat_map(|number| {
            let packet = publish(&format!("r/{number}"), &long).retain();
            packet.bytes(V311)
        });
        t.sends_bytes(bob, &many.collect::<Vec<_>>());
        let ann = t.client(version, "ann");
        t.stalls(ann);
        t.sends(ann, subscribe(1, "#", 0));
        assert!(!is_busy(&t)); // Nothing to do until it reads.
        let waiting = t.waiting(ann);
        assert!((limits::REPLAY_BELOW_BYTES..limits::REPLAY_BELOW_BYTES + 6000).contains(&waiting));
        let carl = t.client(version, "carl");
        t.sends(carl, subscribe(1, "#", 0));
        assert_eq!(hears_all(&mut t, carl, version).len(), 200);
        t.reads_again(ann);
        let heard = hears_all(&mut t, ann, version);
        assert_eq!((heard.len(), topics(&heard).len()), (200, 200));
        assert_eq!(t.broker.stats().dropped_slow_reader, 0);
        t.silence();
    }
}

#[test]
fn an_expired_message_is_not_sent_however_late_its_turn_comes() {
    let expiry = midge::codec::property::Property::MessageExpiryInterval(10);
    let mut t = Table::with(|config| config.max_inflight_messages = 1);
    let bob = t.client(V5, "bob");
    t.sends(bob, publish("r/1", "x").qos1(1).retain());
    t.sends(bob, publish("r/2", "x").qos1(1).retain());
    t.sends(bob, publish("r/0", "x").qos1(1).retain().with(expiry));
    t.ignores(bob);
    let ann = t.client(V5, "ann");
    t.sends(ann, subscribe(1, "r/1", 1).and("r/+", 1));
    t.gets(ann, suback(1, &[1, 1]));
    let first = publishes(&t.next(ann).unwrap(), V5);
    assert_eq!(first[0].topic, "r/1");
    t.passes(11);
    let heard = goes_on(&mut t, ann, V5, &first);
    assert_eq!(topics(&heard), BTreeSet::from(["r/1", "r/2"])); // [MQTT5-3.3.2-5]
    t.silence();
}

#[test]
fn subscribing_again_brings_all_of_them_again() {
    for version in EVERY {
        let (mut t, ann, bob, heard) = midway(version, 0);
        t.sends(bob, publish("r/0", "newer").retain());
        t.sends(ann, subscribe(2, "r/#", 1));
        t.gets(ann, publish("r/0", "newer"));
        t.gets(ann, suback(2, &[1]));
        let heard = goes_on(&mut t, ann, version, &heard);
        // [MQTT-3.8.4-3] [MQTT5-3.8.4-4]
        assert_eq!((heard.len(), topics(&heard).len()), (50, 50));
        let newer = heard.iter().find(|message| message.topic == "r/0").unwrap();
        assert_eq!(newer.payload, "newer");
        t.silence();
    }
}

#[test]
fn subscribing_again_at_once_brings_what_was_retained_in_between() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.client(version, "ann");
        t.sends(ann, publish("b", "x").retain());
        // All in one read, before any turn that could send retained messages.
        let packets = [
            subscribe(1, "+", 0),
            publish("a", "x").retain(),
            subscribe(2, "+", 0),
        ];
        let bytes = packets.iter().flat_map(|packet| packet.bytes(version));
        t.sends_bytes(ann, &bytes.collect::<Vec<_>>());
        t.gets(ann, suback(1, &[0]));
        t.gets(ann, publish("a", "x"));
        t.gets(ann, suback(2, &[0]));
        // [MQTT-3.8.4-3] [MQTT5-3.8.4-4]
        t.gets_all(ann, ["a", "b"].map(|topic| publish(topic, "x").retain()));
        t.silence();
    }
}

#[test]
fn subscribing_again_for_no_retained_messages_lets_it_go_on() {
    let (mut t, ann, _, first) = midway(V5, 0);
    let lower = |handling| SubscriptionOptions {
        retain_handling: handling,
        ..options(0)
    };
    t.sends(
        ann,
        subscribe_with(2, "r/#", lower(RetainHandling::SendIfNew)),
    );
    t.gets(ann, suback(2, &[0])); // [MQTT5-3.3.1-10]
    // The rest has the new QoS, for which no window need be free.
    let heard = hears_all(&mut t, ann, V5);
    assert_eq!((heard.len(), topics(&heard).len()), (45, 45));
    assert!(heard.iter().all(|message| message.id == 0));
    t.sends(
        ann,
        subscribe_with(3, "r/#", lower(RetainHandling::DoNotSend)),
    );
    t.gets(ann, suback(3, &[0])); // [MQTT5-3.3.1-11]
    assert_eq!(goes_on(&mut t, ann, V5, &first), []);
    t.silence();
}

#[test]
fn a_replay_at_qos_0_does_not_wait_for_the_window() {
    for version in EVERY {
        let (mut t, ann, bob, heard) = midway(version, 0);
        t.sends(bob, publish("0/a", "x").retain());
        t.sends(ann, unsubscribe(2, &["r/#"]));
        t.gets(ann, unsuback(2, &[0]));
        t.sends(ann, subscribe(3, "0/#", 0));
        t.gets(ann, suback(3, &[0]));
        t.gets(ann, publish("0/a", "x").retain()); // [MQTT-3.3.1-6] [MQTT5-3.3.1-9]
        assert_eq!(goes_on(&mut t, ann, version, &heard), []);
        t.silence();
    }
}

/// `Choice:` what has not been sent yet goes out under the subscription as it is now.
#[test]
fn retained_messages_still_owed_are_sent_under_the_newer_terms() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_inflight_messages = 1);
        let ann = t.client(version, "ann");
        t.sends(ann, publish("a/", "hot").retain());
        t.sends(ann, publish("b", "cold").retain().qos1(1));
        t.sends(ann, publish("a/", "hot").retain().qos1(2));
        t.ignores(ann);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "b", 1).and("+/", 1));
        t.gets(bob, suback(1, &[1, 1]));
        t.gets(bob, publish("b", "cold").retain().qos1(1));
        t.silence(); // The window is full.
        t.sends(bob, subscribe(2, "+/", 0));
        t.gets(bob, suback(2, &[0]));
        t.silence(); // It is not the turn of this subscription yet.
        t.sends(bob, puback(1));
        t.gets(bob, publish("a/", "hot").retain());
        t.silence();
    }
}

//! Maximum Packet Size in both directions [MQTT5 §3.1.2.11.4] [MQTT5 §3.2.2.3.6].

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

const MAXIMUM: u32 = 100;

/// Bob, who takes packets of [`MAXIMUM`] bytes, and his lasting session.
fn comes(t: &mut Table) -> Seat {
    comes_with(t, MAXIMUM)
}

fn comes_with(t: &mut Table, maximum: u32) -> Seat {
    let property = Property::MaximumPacketSize(maximum.try_into().unwrap());
    t.connects(V5, connect("bob").lasting(1000).with(property))
}

/// Ann publishes; Bob and Cid have subscribed at QoS 2.
fn ann_bob_and_cid() -> (Table, Seat, Seat, Seat) {
    let mut t = Table::with(|config| config.max_inflight_messages = 2);
    let (ann, bob, cid) = (t.client(V311, "ann"), comes(&mut t), t.client(V5, "cid"));
    for seat in [bob, cid] {
        t.sends(seat, subscribe(1, "tea", 2));
        t.gets(seat, suback(1, &[2]));
    }
    (t, ann, bob, cid)
}

/// A PUBLISH that has this many bytes in 5.0.
fn of_size(qos: u8, id: u16, bytes: u32) -> Say {
    let head = publish("tea", "").qos(qos, id).bytes(V5).len();
    publish("tea", vec![7; bytes as usize - head]).qos(qos, id)
}

#[test]
fn a_message_that_is_just_small_enough_is_sent_and_one_byte_more_is_not() {
    for qos in 0..=2 {
        let (mut t, ann, bob, cid) = ann_bob_and_cid();
        t.sends(ann, of_size(qos, 1, MAXIMUM));
        t.sends(ann, of_size(qos, 2, MAXIMUM + 1));
        t.ignores(ann);
        let id = u16::from(qos > 0);
        t.gets(bob, of_size(qos, id, MAXIMUM)); // [MQTT5-3.1.2-24]
        t.gets(cid, of_size(qos, id, MAXIMUM));
        t.gets(cid, of_size(qos, 2 * id, MAXIMUM + 1));
        t.silence(); // [MQTT5-3.1.2-24]
        assert_eq!(t.broker.stats().dropped_oversize, 1);
        assert_eq!(t.broker.stats().dropped(), 1);
    }
}

#[test]
fn the_size_is_that_of_the_packet_the_receiver_would_get() {
    let (mut t, ann, bob, cid) = ann_bob_and_cid();
    // At 3.1.1 the packet would be a byte shorter, and at QoS 0 two.
    let named = Property::SubscriptionIdentifier(5);
    t.sends(bob, subscribe(2, "tea", 0).with(named));
    t.gets(bob, suback(2, &[0]));
    let payload = |say: Say| say.with(Property::SubscriptionIdentifier(5));
    t.sends(ann, of_size(0, 0, MAXIMUM - 2));
    t.gets(bob, payload(of_size(0, 0, MAXIMUM - 2)));
    t.gets(cid, of_size(0, 0, MAXIMUM - 2));
    t.sends(ann, of_size(0, 0, MAXIMUM - 1));
    t.gets(cid, of_size(0, 0, MAXIMUM - 1));
    t.silence();
}

#[test]
fn a_message_too_large_takes_no_place_in_the_window() {
    for qos in [1, 2] {
        let (mut t, ann, bob, _) = ann_bob_and_cid();
        for _ in 0..10 {
            t.sends(ann, of_size(qos, 1, MAXIMUM + 1));
            t.sends(ann, pubrel(1));
        }
        // [MQTT5-3.1.2-25]: as if it had been sent and acknowledged.
        t.nothing(bob);
        for payload in ["one", "two"] {
            t.sends(ann, publish("tea", payload).qos(qos, 1));
            t.sends(ann, pubrel(1));
            t.hears(bob, |packet| match packet {
                midge::codec::packet::Packet::Publish(packet) => {
                    assert_eq!(packet.payload, payload.as_bytes());
                }
                other => panic!("{other:?}"),
            });
        }
        t.nothing(bob);
    }
}

#[test]
fn a_message_too_large_is_left_out_of_the_queue() {
    for qos in [1, 2] {
        let (mut t, ann, bob, _) = ann_bob_and_cid();
        t.drops(bob);
        for bytes in [200, 50, 300, 60, 200, 70] {
            t.sends(ann, of_size(qos, 1, bytes));
            t.sends(ann, pubrel(1));
        }
        let bob = comes(&mut t);
        let mut sizes = Vec::new();
        while let Some(answer) = t.next_answer(bob, |packet| {
            if let midge::codec::packet::Packet::Publish(packet) = packet {
                assert!(!packet.dup);
                sizes.push(packet.payload.len());
            }
        }) {
            t.sends(bob, answer);
        }
        let head = publish("tea", "").qos(qos, 1).bytes(V5).len();
        assert_eq!(sizes, [50, 60, 70].map(|bytes| bytes - head)); // [MQTT5-3.1.2-25]
        assert_eq!(t.broker.stats().dropped_oversize, 3);
    }
}

#[test]
fn what_has_become_too_large_is_not_sent_again() {
    for qos in [1, 2] {
        let (mut t, ann, bob, _) = ann_bob_and_cid();
        t.sends(ann, of_size(qos, 1, 90));
        t.sends(ann, of_size(qos, 2, 50));
        t.sends(ann, of_size(qos, 3, 51));
        t.gets(bob, of_size(qos, 1, 90));
        t.gets(bob, of_size(qos, 2, 50));
        t.drops(bob);
        let bob = comes_with(&mut t, 60);
        t.gets(bob, of_size(qos, 2, 50).dup()); // [MQTT5-3.1.2-25]
        t.gets(bob, of_size(qos, 3, 51));
        t.nothing(bob);
        t.drops(bob);
        let bob = comes_with(&mut t, 100);
        t.gets(bob, of_size(qos, 2, 50).dup());
        t.gets(bob, of_size(qos, 3, 51).dup());
        t.nothing(bob);
    }
}

#[test]
fn what_is_retained_and_too_large_is_left_out() {
    let (mut t, ann, bob, _) = ann_bob_and_cid();
    for (topic, size) in [("milk/1", 50), ("milk/2", 200), ("milk/3", 50)] {
        t.sends(ann, publish(topic, vec![7; size]).retain());
    }
    t.sends(bob, subscribe(2, "milk/+", 0));
    t.gets(bob, suback(2, &[0]));
    let kept = |topic| publish(topic, [7; 50]).retain();
    t.gets_all(bob, [kept("milk/1"), kept("milk/3")]);
    t.nothing(bob);
}

#[test]
fn our_own_maximum_bounds_what_is_sent_to_who_has_none() {
    let mut t = Table::with(|config| config.max_packet_size = 1000);
    let ann = t.client(V311, "ann");
    for version in EVERY {
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let head = publish("tea", "").bytes(V311).len() + 1;
        let payload = vec![7; 1000 - head];
        t.sends(ann, publish("tea", &payload));
        if version == V5 {
            assert_eq!(t.broker.stats().dropped_oversize, 1); // With properties: 1001 bytes.
        } else {
            t.gets(bob, publish("tea", &payload));
        }
        t.silence();
        t.leaves(bob);
    }
}

/// The fixed header of a packet of this many bytes, all told.
fn header(first: u8, packet_bytes: u32) -> Vec<u8> {
    for length_bytes in 1..=4 {
        let mut bytes = vec![first];
        let mut rest = packet_bytes - 1 - length_bytes;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        bytes.push(rest as u8);
        if bytes.len() == 1 + length_bytes as usize {
            return bytes;
        }
    }
    unreachable!("four bytes are enough")
}

#[test]
fn a_packet_larger_than_our_maximum_is_refused_before_it_comes() {
    for (maximum, bytes) in [(2_000_000, 2_000_001), (100, 101), (100, 5_000_000)] {
        for version in EVERY {
            let mut t = Table::with(|config| config.max_packet_size = maximum);
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            let header = header(0x30, bytes);
            let (last, rest) = header.split_last().unwrap();
            t.sends_bytes(ann, rest);
            t.open(ann);
            t.sends_bytes(ann, &[*last]);
            let sentence = "packet is larger than allowed";
            t.cut_off(ann, ReasonCode::PacketTooLarge, sentence); // [MQTT5-3.2.2-15]
            t.silence();
            t.open(bob);
        }
    }
}

#[test]
fn a_packet_of_exactly_our_maximum_is_taken() {
    for (maximum, bytes) in [(2_000_000, 2_000_000), (100, 100), (0, 3_000_000)] {
        for version in EVERY {
            let mut t = Table::with(|config| config.max_packet_size = maximum);
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends(bob, subscribe(1, "tea", 0));
            t.gets(bob, suback(1, &[0]));
            let properties = &b"\0"[..usize::from(version == V5)];
            let mut packet = [&header(0x30, bytes), &b"\0\x03tea"[..], properties].concat();
            packet.resize(bytes as usize, 7);
            let (one, other) = packet.split_at(50);
            t.sends_bytes(ann, one);
            t.silence();
            t.sends_bytes(ann, other);
            assert_eq!(t.next(bob).unwrap(), packet);
            t.silence();
        }
    }
}

#[test]
fn an_acknowledgement_of_megabytes_is_refused_before_it_comes() {
    for version in EVERY {
        for first in [0x40, 0x50, 0x62, 0x70] {
            let mut t = Table::new();
            let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
            t.sends_bytes(ann, &header(first, 10_001));
            let sentence = "packet is larger than allowed";
            t.cut_off(ann, ReasonCode::PacketTooLarge, sentence);
            t.silence();
            t.open(bob);
        }
    }
}

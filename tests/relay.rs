//! Messages that are passed on as they came, beside those that cannot be: whoever gets which, each
//! client has whole packets, every one, in the order they were published in.

mod process;
mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::subscribe::SubscriptionOptions;
use midge::limits;
use process::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use table::*;

const EVERY: [ProtocolVersion; 2] = [V311, V5];

#[test]
fn who_cannot_get_a_message_as_it_came_gets_its_own() {
    for version in EVERY {
        for qos in 0..=1 {
            let mut t = Table::new();
            let ann = t.client(version, "ann");
            let plain = [t.client(V311, "old"), t.client(V5, "new")];
            for seat in plain {
                t.sends(seat, subscribe(1, "tea/+", 1));
                t.gets(seat, suback(1, &[1]));
            }
            // One that takes less, one that names its subscription, one that wants none of its own.
            let low = t.client(version, "low");
            t.sends(low, subscribe(1, "tea/+", 0));
            t.gets(low, suback(1, &[0]));
            let named = t.client(V5, "named");
            let identifier = Property::SubscriptionIdentifier(7);
            t.sends(named, subscribe(1, "tea/+", 1).with(identifier));
            t.gets(named, suback(1, &[1]));
            let deaf = t.client(V5, "deaf");
            let no_local = SubscriptionOptions {
                no_local: true,
                ..options(1)
            };
            t.sends(deaf, subscribe_with(1, "tea/+", no_local));
            t.gets(deaf, suback(1, &[1]));
            for round in 1..=3 {
                let message = publish("tea/green", format!("{round}"));
                t.sends(ann, message.clone().qos(qos, round));
                if qos == 1 {
                    t.gets(ann, puback(round));
                }
                for seat in plain {
                    t.gets(seat, message.clone().qos(qos, round));
                }
                t.gets(low, message.clone());
                t.gets(named, message.clone().qos(qos, round).with(identifier));
                t.gets(deaf, message.clone().qos(qos, round));
                for seat in [plain[0], plain[1], named, deaf] {
                    if qos == 1 {
                        t.sends(seat, puback(round));
                    }
                }
                t.silence();
            }
            // Of its own it gets nothing, the others do.
            t.sends(deaf, publish("tea/own", "x"));
            for seat in plain {
                t.gets(seat, publish("tea/own", "x"));
            }
            t.gets(low, publish("tea/own", "x"));
            t.gets(named, publish("tea/own", "x").with(identifier));
            t.silence();
        }
    }
}

#[test]
fn a_group_gets_its_copy_beside_those_that_are_relayed() {
    for qos in 0..=1 {
        let mut t = Table::new();
        let (ann, bob, cid) = (
            t.client(V311, "ann"),
            t.client(V311, "bob"),
            t.client(V5, "cid"),
        );
        t.sends(bob, subscribe(1, "tea", 1));
        t.gets(bob, suback(1, &[1]));
        t.sends(cid, subscribe(1, "$share/g/tea", 1));
        t.gets(cid, suback(1, &[1]));
        t.sends(ann, publish("tea", "hot").qos(qos, 9));
        if qos == 1 {
            t.gets(ann, puback(9));
        }
        t.gets(bob, publish("tea", "hot").qos(qos, 1));
        t.gets(cid, publish("tea", "hot").qos(qos, 1));
        t.silence();
    }
}

#[test]
fn whoever_waits_for_a_place_in_the_window_gets_the_next_in_order() {
    let mut t = Table::with(|config| config.max_inflight_messages = 2);
    let (ann, bob) = (t.client(V311, "ann"), t.client(V311, "bob"));
    t.sends(bob, subscribe(1, "tea", 1));
    t.gets(bob, suback(1, &[1]));
    for round in 1..=5 {
        t.sends(ann, publish("tea", format!("{round}")).qos1(round));
        t.gets(ann, puback(round));
    }
    t.gets(bob, publish("tea", "1").qos1(1));
    t.gets(bob, publish("tea", "2").qos1(2));
    for round in 3..=5 {
        t.nothing(bob);
        t.sends(bob, puback(round - 2));
        t.gets(bob, publish("tea", format!("{round}")).qos1(round));
    }
    t.sends(bob, puback(4));
    t.sends(bob, puback(5));
    t.sends(ann, publish("tea", "6").qos1(6));
    t.gets(ann, puback(6));
    t.gets(bob, publish("tea", "6").qos1(6));
    t.silence();
}

#[test]
fn a_session_that_stays_gets_again_what_it_has_not_acknowledged() {
    let mut t = Table::new();
    let ann = t.client(V311, "ann");
    let (bob, cid) = (
        t.connects(V311, connect("bob").durable()),
        t.client(V311, "cid"),
    );
    for seat in [bob, cid] {
        t.sends(seat, subscribe(1, "tea", 1));
        t.gets(seat, suback(1, &[1]));
    }
    t.sends(ann, publish("tea", "hot").qos1(1));
    t.gets(ann, puback(1));
    for seat in [bob, cid] {
        t.gets(seat, publish("tea", "hot").qos1(1));
        t.drops(seat);
    }
    let bob = t.says_connect(V311, connect("bob").durable());
    t.gets(bob, connack(true));
    t.gets(bob, publish("tea", "hot").qos1(1).dup());
    t.client(V311, "cid");
    t.silence();
}

#[test]
fn a_flight_is_acknowledged_alike_whether_it_may_be_sent_again_or_not() {
    for durable in [false, true] {
        let mut t = Table::new();
        let ann = t.client(V311, "ann");
        let bob = match durable {
            true => t.connects(V311, connect("bob").durable()),
            false => t.client(V311, "bob"),
        };
        t.sends(bob, subscribe(1, "tea", 2));
        t.gets(bob, suback(1, &[2]));
        for qos in 1..=2 {
            t.sends(ann, publish("tea", "hot").qos(qos, u16::from(qos)));
            t.ignores(ann);
            t.gets(bob, publish("tea", "hot").qos(qos, u16::from(qos)));
        }
        t.sends(bob, puback(1));
        t.sends(bob, pubrec(2));
        t.gets(bob, pubrel(2));
        t.sends(bob, pubcomp(2));
        t.silence();
    }
}

/// Reads `count` packets, each of which must be the one that `expected` says.
fn reads(stream: &mut TcpStream, count: usize, expected: impl Fn(usize) -> Vec<u8>) {
    for index in 0..count {
        let wanted = expected(index);
        let mut packet = vec![0; wanted.len()];
        stream.read_exact(&mut packet).unwrap();
        assert_eq!(packet, wanted, "packet {index}");
    }
}

/// Publishes `count` messages to one that reads at once, one that reads by bits, one that reads when all
/// have been sent, and `more` of that kind.
fn floods(
    count: usize,
    more: usize,
    payload_bytes: impl Fn(usize) -> usize + Copy + Send + 'static,
) {
    let midge = Midge::start();
    let message = move |index: usize| {
        let payload = vec![index as u8; payload_bytes(index)];
        publish("flood/x", payload).bytes(V311)
    };
    let late = (0..=more).map(|which| midge.subscriber(&format!("late{which}"), "flood/#", 0));
    let late: Vec<_> = late.collect();
    let mut quick = midge.subscriber("quick", "flood/#", 0);
    let mut bits = midge.subscriber("bits", "flood/#", 0);
    let bits = thread::spawn(move || {
        let expected: Vec<u8> = (0..count).flat_map(message).collect();
        let mut heard = Vec::new();
        let mut buffer = [0; 997];
        while heard.len() < expected.len() {
            let count = bits.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {} bytes", heard.len());
            heard.extend_from_slice(&buffer[..count]);
        }
        assert!(heard == expected);
    });
    let mut ann = midge.client(V311, "ann");
    for index in 0..count {
        ann.write_all(&message(index)).unwrap();
    }
    reads(&mut quick, count, message);
    bits.join().unwrap();
    for mut late in late {
        reads(&mut late, count, message);
    }
}

#[test]
fn who_reads_late_or_by_bits_gets_every_packet_whole_and_in_order() {
    floods(1500, 0, |index| 100 + index % 400);
}

#[test]
fn so_it_is_with_long_packets_whether_each_has_a_copy_or_all_share_one() {
    for more in [0, 5] {
        floods(90, more, |index| {
            index * 4321 % (limits::RELAY_BYTES_MAX + 2000)
        });
    }
}

#[cfg(feature = "persistence")]
#[test]
fn what_waits_for_a_promise_keeps_what_was_relayed_to_it() {
    let folder = Folder::new("relay");
    let text = "listener PORT 127.0.0.1\nuser root\nallow_anonymous true\n\
        persistence true\npersistence_location FOLDER/\n";
    let midge = start(&folder, text);
    let mut bob = midge.opens();
    bob.write_all(&connect("bob").durable().bytes(V311))
        .unwrap();
    assert_eq!(read_packet(&mut bob), connack(false).bytes(V311));
    bob.write_all(&subscribe(1, "a", 0).bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut bob), suback(1, &[0]).bytes(V311));
    bob.write_all(&subscribe(2, "b", 2).bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut bob), suback(2, &[2]).bytes(V311));
    // While Bob's own QoS 2 messages, and those for him, wait to be safe, he is sent others.
    let mut ann = midge.client(V311, "ann");
    for round in 1..=200_u16 {
        let mut bytes = publish("b", format!("{round}")).qos2(round).bytes(V311);
        bytes.extend(publish("a", format!("{round}")).bytes(V311));
        bytes.extend(pubrel(round).bytes(V311));
        ann.write_all(&bytes).unwrap();
        let (mut relayed, mut delivered) = (false, false);
        while !relayed || !delivered {
            let packet = read_packet(&mut bob);
            match packet[0] {
                0x30 => {
                    assert_eq!(packet, publish("a", format!("{round}")).bytes(V311));
                    relayed = true;
                }
                0x34 => {
                    let expected = publish("b", format!("{round}")).qos2(round);
                    assert_eq!(packet, expected.bytes(V311));
                    bob.write_all(&pubrec(round).bytes(V311)).unwrap();
                }
                0x62 => {
                    assert_eq!(packet, pubrel(round).bytes(V311));
                    bob.write_all(&pubcomp(round).bytes(V311)).unwrap();
                    delivered = true;
                }
                other => panic!("{other:#x} was not expected: {packet:x?}"),
            }
        }
        assert_eq!(read_packet(&mut ann), pubrec(round).bytes(V311));
        assert_eq!(read_packet(&mut ann), pubcomp(round).bytes(V311));
    }
}

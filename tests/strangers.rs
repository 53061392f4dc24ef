//! Who does not speak MQTT as it is written: wrong first packets, other protocols, lengths that are
//! too large or never filled, bytes that trickle in. Whoever breaks the rules is closed, and nobody
//! else notices. Packets that are wrong in themselves are in `wrong_packets.rs`.

mod table;
use midge::codec::reason::ReasonCode;
use table::raw::{packet, string};
use table::*;

#[test]
fn whoever_does_not_begin_with_connect_gets_no_answer() {
    for version in EVERY {
        let mut packets: Vec<_> = [
            publish("tea", "hot"),
            publish("tea", "hot").qos1(1),
            puback(1),
            pubrec(1),
            pubrel(1),
            pubcomp(1),
            subscribe(1, "a", 0),
            unsubscribe(1, &["a"]),
            pingreq(),
            disconnect(),
            auth(ReasonCode::ContinueAuthentication),
            connack(false),
            suback(1, &[0]),
            unsuback(1, &[0]),
            pingresp(),
        ]
        .map(|packet| packet.bytes(version))
        .into();
        packets.push(vec![0x00, 0x00]);
        packets.push(vec![0xff; 20]);
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "#", 0));
        t.gets(bob, suback(1, &[0]));
        for bytes in packets {
            let ann = t.says_bytes(version, &bytes);
            // [MQTT-3.1.0-1] [MQTT5-3.1.0-1] [MQTT5-3.14.0-1]
            t.closed(ann);
        }
        t.silence();
        t.open(bob);
    }
}

#[test]
fn the_first_byte_gives_a_stranger_away() {
    let mut t = Table::new();
    for first in 0..=0xff_u8 {
        let ann = t.says_bytes(V311, &[first]);
        if first >> 4 == 1 {
            t.open(ann);
            t.drops(ann);
        } else {
            t.closed(ann); // [MQTT-3.1.0-1] [MQTT5-3.1.0-1]
        }
    }
}

#[test]
fn http_and_tls_are_closed_at_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST /mqtt HTTP/1.1\r\n",
        b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
        b"\r\n",
    ] {
        let mut t = Table::new();
        let ann = t.says_bytes(V311, bytes);
        t.closed(ann);
    }
}

#[test]
fn a_remaining_length_of_five_bytes_ends_the_connection() {
    for version in EVERY {
        for first in [0x30, 0xc0, 0x82] {
            let mut t = Table::new();
            let ann = t.client(version, "ann");
            t.sends_bytes(ann, &[first, 0x80, 0x80, 0x80]);
            t.silence();
            t.open(ann);
            t.sends_bytes(ann, &[0x80]);
            t.cut_off(
                ann,
                ReasonCode::MalformedPacket,
                "packet has a Remaining Length of more than four bytes",
            );
        }
    }
    let mut t = Table::new();
    let ann = t.says_bytes(V5, &[0x10, 0xff, 0xff, 0xff, 0xff]);
    t.closed(ann); // [MQTT5-3.14.0-1]
}

#[test]
fn a_packet_too_large_is_refused_by_its_length_alone() {
    for version in EVERY {
        let mut t = Table::with(|config| config.max_packet_size = 200);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.client(version, "ann");
        let largest = [string("tea"), vec![b'x'; 192]].concat();
        if version != V5 {
            t.sends_bytes(ann, &packet(0x30, &largest)); // 200 bytes
            t.gets(bob, publish("tea", [b'x'; 192]));
        }
        t.sends_bytes(ann, &[0x30, 0xc6, 0x01]); // 201 bytes
        // [MQTT5-3.2.2-15]
        t.cut_off(
            ann,
            ReasonCode::PacketTooLarge,
            "packet is larger than allowed",
        );
        t.silence();
    }
}

#[test]
fn a_huge_length_is_not_believed() {
    for version in EVERY {
        // Not by a stranger,
        let mut t = Table::new();
        let ann = t.says_bytes(version, &[0x10, 0xff, 0xff, 0xff, 0x7f]);
        t.closed(ann);
        // nor by a client: neither for what may be long nor for what never is.
        for bytes in [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &[0x40, 0xff, 0x7f]] {
            let ann = t.client(version, "ann");
            t.sends_bytes(ann, bytes);
            t.cut_off(
                ann,
                ReasonCode::PacketTooLarge,
                "packet is larger than allowed",
            );
        }
    }
}

#[test]
fn a_stranger_is_not_waited_for_longer_than_thirty_seconds() {
    for opening in [&b""[..], b"\x10", b"\x10\xff\x7f", b"\x10\x80\x80"] {
        let mut t = Table::new();
        let ann = t.opens();
        t.sends_bytes(ann, opening);
        t.passes_ms(29_999);
        t.open(ann);
        t.passes_ms(1);
        t.closed(ann); // [MQTT5-3.14.0-1]
    }
}

#[test]
fn a_connect_that_trickles_in_is_not_waited_for_longer_either() {
    let bytes = connect(&"a".repeat(5000)).bytes(V311);
    let mut t = Table::new();
    let ann = t.opens();
    for chunk in bytes.chunks(1000).take(3) {
        t.sends_bytes(ann, chunk);
        t.passes(9);
    }
    t.passes_ms(2_999);
    t.open(ann);
    t.passes_ms(1);
    t.closed(ann);
}

#[test]
fn a_connect_cut_at_every_byte_is_neither_answered_nor_published() {
    for version in EVERY {
        let bytes = connect("ann")
            .user("ann")
            .pass(b"secret")
            .will("gone", "ann", 1, false)
            .bytes(version);
        for cut in 0..bytes.len() {
            let mut t = Table::new();
            let bob = t.client(version, "bob");
            t.sends(bob, subscribe(1, "#", 0));
            t.gets(bob, suback(1, &[0]));
            let ann = t.opens();
            t.sends_bytes(ann, &bytes[..cut]);
            t.silence();
            t.drops(ann);
            t.silence();
            assert_eq!(t.broker.sizes().sessions, 1);
        }
    }
}

#[test]
fn a_connect_that_ends_at_any_byte_is_malformed() {
    for version in [V311, V5] {
        let bytes = connect("ann")
            .user("ann")
            .pass(b"secret")
            .will("gone", "ann", 1, false)
            .bytes(version);
        let body = &bytes[2..];
        for cut in 0..body.len() {
            let mut t = Table::new();
            let ann = t.says_bytes(version, &packet(0x10, &body[..cut]));
            // The level is what says which answer would be understood.
            if version == V5 && cut > 6 {
                t.refused(
                    ann,
                    ReasonCode::MalformedPacket,
                    "packet ends in the middle of a field",
                );
            }
            t.closed(ann); // [MQTT-3.1.4-1] [MQTT5-3.1.4-1]
        }
    }
}

#[test]
fn a_dialogue_that_arrives_byte_by_byte_is_the_same() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 2));
        t.gets(bob, suback(1, &[2]));
        let mut bytes = connect("ann").bytes(version);
        for packet in [
            subscribe(1, "x", 1),
            publish("tea", "hot").qos2(2),
            pubrel(2),
            unsubscribe(3, &["x"]),
            pingreq(),
            disconnect(),
        ] {
            bytes.extend(packet.bytes(version));
        }
        let ann = t.says_bytes(version, &[]);
        for byte in bytes {
            t.sends_bytes(ann, &[byte]);
        }
        assert_eq!(t.next(ann).unwrap()[0], 0x20);
        t.gets(ann, suback(1, &[1]));
        t.gets(ann, pubrec(2));
        t.gets(ann, pubcomp(2));
        t.gets(ann, unsuback(3, &[0]));
        t.gets(ann, pingresp());
        t.closed(ann);
        t.gets(bob, publish("tea", "hot").qos2(1));
        t.silence();
    }
}

#[test]
fn nothing_behind_a_broken_packet_is_looked_at() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let mut bytes = vec![0xc0, 1, 0];
        bytes.extend(publish("tea", "hot").bytes(version));
        t.sends_bytes(ann, &bytes);
        t.cut_off(
            ann,
            ReasonCode::MalformedPacket,
            "packet goes on after its last field",
        );
        t.silence();
    }
}

#[test]
fn whoever_does_not_read_is_closed_all_the_same() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (t.client(version, "ann"), t.client(version, "bob"));
        t.sends(ann, subscribe(1, "tea", 0));
        t.gets(ann, suback(1, &[0]));
        t.stalls(ann);
        t.sends(bob, publish("tea", "hot"));
        t.sends_bytes(ann, &[0xd0, 0]);
        assert!(t.is_closed(ann)); // [MQTT5-4.13.2-1]
        t.sends(bob, publish("tea", "cold"));
        t.reads_again(ann);
        t.gets(ann, publish("tea", "hot"));
        // [MQTT5-3.14.4-1] [MQTT5-3.14.4-2]: the last it hears
        t.cut_off(
            ann,
            ReasonCode::ProtocolError,
            "PINGRESP is for servers to send",
        );
    }
}

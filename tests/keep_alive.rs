//! Keep Alive [MQTT §3.1.2.10] [MQTT5 §3.1.2.10]: one and a half of them in silence end a
//! connection, as if the network had failed; and PINGREQ, which is there to break it.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::limits;
use table::raw::{packet, string};
use table::*;

const TIMEOUT: &str = "exceeded timeout";

fn with_keep_alive(t: &mut Table, version: ProtocolVersion, seconds: u16) -> Seat {
    t.connects(version, connect("ann").keep_alive(seconds))
}

#[test]
fn one_and_a_half_keep_alives_to_the_millisecond() {
    for version in EVERY {
        for seconds in [1, 2, 3, 10, 21, 60, 3600, 65_535] {
            let mut t = Table::new();
            let ann = with_keep_alive(&mut t, version, seconds);
            let bob = t.client(version, "bob");
            t.passes_ms(u64::from(seconds) * 1500 - 1).silence();
            t.open(ann);
            t.passes_ms(1);
            // [MQTT-3.1.2-24] [MQTT5-3.1.2-22] [MQTT5-3.2.2-22]
            t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
            t.open(bob);
        }
    }
}

#[test]
fn a_keep_alive_of_zero_never_ends() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = with_keep_alive(&mut t, version, 0);
        t.passes(10 * 365 * 24 * 3600).silence(); // [MQTT-3.1.2-24] [MQTT5-3.1.2-22]
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
    }
}

#[test]
fn pingreq_is_answered() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = with_keep_alive(&mut t, version, 10);
        for _ in 0..100 {
            t.passes_ms(14_999);
            t.sends_bytes(ann, &[0xc0, 0]);
            assert_eq!(t.next(ann).unwrap(), [0xd0, 0]); // [MQTT-3.12.4-1] [MQTT5-3.12.4-1]
        }
        t.passes_ms(15_000);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn any_packet_breaks_the_silence() {
    for version in EVERY {
        for packet in [
            publish("x", ""),
            publish("x", "").qos1(1),
            publish("x", "").qos2(1),
            pubrel(1),
            puback(1),
            pubrec(1),
            pubcomp(1),
            subscribe(1, "x", 0),
            unsubscribe(1, &["x"]),
            pingreq(),
        ] {
            let mut t = Table::new();
            let ann = with_keep_alive(&mut t, version, 10);
            t.passes_ms(14_999);
            t.sends(ann, packet);
            t.ignores(ann);
            t.passes_ms(14_999).silence();
            t.open(ann); // [MQTT-3.1.2-24] [MQTT5-3.1.2-22]
            t.passes_ms(1);
            t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
        }
    }
}

#[test]
fn what_the_broker_sends_does_not() {
    for version in EVERY {
        let mut t = Table::new();
        let (ann, bob) = (
            with_keep_alive(&mut t, version, 10),
            t.client(version, "bob"),
        );
        t.sends(ann, subscribe(1, "tea", 0));
        t.gets(ann, suback(1, &[0]));
        for _ in 0..14 {
            t.passes(1);
            t.sends(bob, publish("tea", "hot"));
            t.gets(ann, publish("tea", "hot"));
        }
        t.passes(1);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn the_silence_begins_with_the_connect() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.opens_as(version);
        t.passes_ms(29_000);
        t.sends(ann, connect("ann").keep_alive(1));
        assert_eq!(t.next(ann).unwrap()[0], 0x20);
        t.passes_ms(1_499).silence();
        t.open(ann);
        t.passes_ms(1);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn the_wait_for_connect_is_over_with_it() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = with_keep_alive(&mut t, version, 60);
        t.passes(31).silence();
        t.open(ann);
        t.passes(59);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn bytes_of_a_short_packet_that_does_not_end_are_silence() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = with_keep_alive(&mut t, version, 10);
        let bytes = packet(0x30, &[string("tea"), vec![0; 500]].concat());
        for byte in &bytes[..15] {
            t.sends_bytes(ann, &[*byte]);
            t.passes(1);
        }
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT); // [MQTT-3.1.2-24] [MQTT5-3.1.2-22]
    }
}

#[test]
fn a_long_packet_that_comes_slowly_is_none() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = with_keep_alive(&mut t, version, 4);
        let long = publish("tea", "x".repeat(20_000));
        let bytes = long.bytes(version);
        // Slow from its first byte, and the end of it not slower than the Keep Alive bears.
        let (slow, end) = bytes.split_at(bytes.len() - 1001);
        for chunk in slow.chunks(100) {
            t.sends_bytes(ann, chunk);
            t.passes(5).silence();
            t.open(ann);
        }
        t.sends_bytes(ann, end);
        t.gets(bob, long);
        t.passes(6);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn a_long_packet_that_stops_coming_is() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = with_keep_alive(&mut t, version, 10);
        let bytes = publish("tea", "x".repeat(20_000)).bytes(version);
        t.sends_bytes(ann, &bytes[..5000]);
        t.passes_ms(14_999);
        t.open(ann);
        t.passes_ms(1);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn a_longer_keep_alive_than_allowed_is_shortened_in_5() {
    for (asked, told) in [(0, 5), (6, 5), (65_535, 5)] {
        let mut t = Table::with(|config| config.max_keepalive = 5);
        let ann = t.says_connect(V5, connect("ann").keep_alive(asked));
        let expected = refusal(false, ReasonCode::Success)
            .with(Property::ServerKeepAlive(told))
            .with(Property::TopicAliasMaximum(10))
            .with(Property::MaximumPacketSize(2_000_000.try_into().unwrap()))
            .with(Property::ReceiveMaximum(20.try_into().unwrap()));
        t.gets(ann, expected);
        t.passes_ms(7_499).silence();
        t.passes_ms(1);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT); // [MQTT5-3.1.2-22]
    }
}

#[test]
fn a_keep_alive_that_is_allowed_is_left_alone() {
    for version in EVERY {
        for asked in [1, 5] {
            let mut t = Table::with(|config| config.max_keepalive = 5);
            let ann = t.says_connect(version, connect("ann").keep_alive(asked));
            let expected = match version {
                V5 => connack5(false),
                _ => connack(false),
            };
            t.gets(ann, expected);
            t.passes_ms(u64::from(asked) * 1500);
            t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT); // [MQTT5-3.2.2-22]
        }
    }
}

#[test]
fn a_longer_keep_alive_than_allowed_is_refused_in_3() {
    for version in [V31, V311] {
        for asked in [0, 6, 65_535] {
            let mut t = Table::with(|config| config.max_keepalive = 5);
            let ann = t.says_connect(version, connect("ann").keep_alive(asked));
            assert_eq!(t.next(ann).unwrap(), [0x20, 2, 0, 2]); // [MQTT-3.2.2-5]
            t.closed(ann);
        }
    }
}

#[test]
fn each_connection_has_its_own_silence() {
    let mut t = Table::new();
    let seats: Vec<_> = (1..=50)
        .map(|seconds| {
            let name = format!("client {seconds}");
            t.connects(V5, connect(&name).keep_alive(seconds))
        })
        .collect();
    for (seat, seconds) in seats.iter().zip(1_u64..) {
        let at_ms = seconds * 1500;
        let now_ms = t.now().mono.as_millis() - 1_000_000;
        t.passes_ms(at_ms - now_ms - 1).silence();
        t.open(*seat);
        t.passes_ms(1);
        t.cut_off(*seat, ReasonCode::KeepAliveTimeout, TIMEOUT);
    }
}

#[test]
fn a_keep_alive_that_ran_out_leaves_a_durable_session() {
    for version in EVERY {
        let mut t = Table::new();
        let packet = connect("ann").lasting(100).keep_alive(10);
        let ann = t.connects(version, packet.clone());
        t.passes(15);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, TIMEOUT);
        t.passes(99);
        let ann = t.says_connect(version, packet);
        let expected = match version {
            V5 => connack5(true),
            _ => connack(true),
        };
        t.gets(ann, expected);
    }
}

#[test]
fn a_packet_that_does_not_end_ends_its_connection_whatever_the_keep_alive() {
    for version in EVERY {
        for keep_alive_s in [0, u16::MAX] {
            let mut t = Table::new();
            let ann = t.connects(version, connect("ann").keep_alive(keep_alive_s));
            let packet = publish("tea", vec![b'x'; 5000]).bytes(version);
            // Each of them is whole in time, though the bytes of the next come with its end.
            t.sends_bytes(ann, &packet[..1]);
            for _ in 0..3 {
                t.passes(limits::PACKET_WAIT_S - 1);
                t.sends_bytes(ann, &packet[1..]);
                t.sends_bytes(ann, &packet[..1]);
            }
            t.sends_bytes(ann, &packet[1..]);
            // Between packets there is no hurry.
            t.passes(limits::PACKET_WAIT_S + 1);
            t.sends_bytes(ann, &packet[..1]);
            t.passes(limits::PACKET_WAIT_S / 2);
            t.sends_bytes(ann, &packet[1..2000]);
            t.passes_ms(1000 * limits::PACKET_WAIT_S / 2 - 1);
            t.open(ann);
            t.passes_ms(1);
            t.cut_off(
                ann,
                ReasonCode::KeepAliveTimeout,
                "a packet was not whole 3600 seconds after it began",
            );
        }
    }
}

//! The Will: published when a connection ends badly, deleted when it ends well [MQTT §3.1.2.5]
//! [MQTT5 §3.1.2.5]. What Will Delay Interval changes has a file of its own.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::raw::packet;
use table::*;

/// A client who subscribes to everything at QoS 2.
fn listener(t: &mut Table, version: ProtocolVersion) -> Seat {
    let bob = t.client(version, "bob");
    t.sends(bob, subscribe(1, "#", 2));
    t.gets(bob, suback(1, &[2]));
    bob
}

fn with_will(name: &str) -> Say {
    connect(name).will("gone", "ann", 0, false)
}

#[test]
fn a_will_is_published_when_the_connection_is_lost() {
    for version in EVERY {
        for packet in [with_will("ann"), with_will("ann").lasting(100)] {
            let mut t = Table::new();
            let bob = listener(&mut t, version);
            let ann = t.connects(version, packet);
            t.passes(100).silence();
            t.drops(ann);
            t.gets(bob, publish("gone", "ann")); // [MQTT-3.1.2-8] [MQTT5-3.1.2-8]
            t.passes(1000).silence();
        }
    }
}

#[test]
fn a_will_is_published_once() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let ann = t.connects(version, with_will("ann").lasting(100));
        t.drops(ann);
        t.gets(bob, publish("gone", "ann"));
        let ann = t.connects(version, connect("ann").lasting(100));
        t.drops(ann);
        t.passes(1000).silence(); // [MQTT-3.1.2-10] [MQTT5-3.1.2-10]
    }
}

#[test]
fn without_a_will_nothing_is_published() {
    for version in EVERY {
        let mut t = Table::new();
        listener(&mut t, version);
        let ann = t.connects(version, connect("ann").lasting(1));
        t.drops(ann);
        t.passes(10).silence(); // [MQTT-3.1.2-12]
    }
}

#[test]
fn disconnect_deletes_the_will() {
    for version in EVERY {
        for packet in [with_will("ann"), with_will("ann").lasting(100)] {
            let mut t = Table::new();
            listener(&mut t, version);
            let ann = t.connects(version, packet);
            t.leaves(ann);
            t.passes(1000).silence(); // [MQTT-3.14.4-3] [MQTT5-3.14.4-3]
            let ann = t.connects(version, connect("ann").durable());
            t.drops(ann);
            t.passes(1000).silence(); // [MQTT-3.1.2-10] [MQTT5-3.1.2-10]
        }
    }
}

#[test]
fn disconnect_can_ask_for_the_will() {
    for reason in [
        ReasonCode::DisconnectWithWillMessage,
        ReasonCode::UnspecifiedError,
        ReasonCode::ProtocolError,
        ReasonCode::AdministrativeAction,
    ] {
        for packet in [with_will("ann"), with_will("ann").lasting(100)] {
            let mut t = Table::new();
            let bob = listener(&mut t, V5);
            let ann = t.connects(V5, packet);
            t.sends(ann, disconnect().reason(reason));
            t.closed(ann);
            t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
            t.passes(1000).silence();
        }
    }
}

#[test]
fn a_broken_rule_publishes_the_will() {
    for version in EVERY {
        for (bytes, code, sentence) in [
            (
                &b"\xe1\x00"[..],
                ReasonCode::MalformedPacket,
                "DISCONNECT has flags in its first byte that it may not have",
            ),
            (
                b"\xd0\x00",
                ReasonCode::ProtocolError,
                "PINGRESP is for servers to send",
            ),
            (
                b"\x30\xff\xff\xff\x7f",
                ReasonCode::PacketTooLarge,
                "packet is larger than allowed",
            ),
        ] {
            let mut t = Table::new();
            let bob = listener(&mut t, version);
            let ann = t.connects(version, with_will("ann"));
            t.sends_bytes(ann, bytes);
            t.cut_off(ann, code, sentence);
            t.gets(bob, publish("gone", "ann")); // [MQTT-3.1.2-8] [MQTT5-3.1.2-8]
            t.silence();
        }
    }
}

#[test]
fn a_disconnect_that_is_malformed_does_not_delete_the_will() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let ann = t.connects(version, with_will("ann"));
        t.sends_bytes(ann, &packet(0xe0, b"\x00"));
        t.closed(ann);
        t.gets(bob, publish("gone", "ann")); // [MQTT-3.1.2-8]
    }
    let mut t = Table::new();
    let bob = listener(&mut t, V5);
    let ann = t.connects(V5, with_will("ann"));
    t.sends_bytes(ann, &packet(0xe0, b"\x00\x02\x26\x00"));
    t.cut_off(
        ann,
        ReasonCode::MalformedPacket,
        "packet ends in the middle of a field",
    );
    t.gets(bob, publish("gone", "ann")); // [MQTT5-3.1.2-8]
}

#[test]
fn keep_alive_publishes_the_will() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let ann = t.connects(version, with_will("ann").keep_alive(10));
        t.passes_ms(14_999).silence();
        t.passes_ms(1);
        t.cut_off(ann, ReasonCode::KeepAliveTimeout, "exceeded timeout");
        t.gets(bob, publish("gone", "ann")); // [MQTT-3.1.2-8] [MQTT5-3.1.2-8]
        t.silence();
    }
}

#[test]
fn a_takeover_publishes_the_will_of_the_older_connection() {
    for version in EVERY {
        for (first, second) in [
            (with_will("ann"), connect("ann")),
            (with_will("ann"), connect("ann").lasting(100)),
            (with_will("ann").lasting(100), connect("ann")),
            (with_will("ann").lasting(100), connect("ann").lasting(100)),
        ] {
            let mut t = Table::new();
            let bob = listener(&mut t, version);
            let old = t.connects(version, first);
            let new = t.connects(version, second);
            t.cut_off(old, ReasonCode::SessionTakenOver, "session taken over");
            t.gets(bob, publish("gone", "ann")); // [MQTT-3.1.2-8] [MQTT5-3.1.2-8]
            t.drops(new);
            t.passes(1000).silence(); // [MQTT-3.1.2-10] [MQTT5-3.1.2-10]
        }
    }
}

#[test]
fn a_new_connection_has_its_own_will() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let old = t.connects(version, with_will("ann").lasting(100));
        let second = connect("ann").lasting(100).will("left", "again", 0, false);
        let new = t.connects(version, second);
        t.cut_off(old, ReasonCode::SessionTakenOver, "session taken over");
        t.gets(bob, publish("gone", "ann"));
        t.drops(new);
        t.gets(bob, publish("left", "again"));
        t.silence();
    }
}

#[test]
fn a_will_has_the_qos_it_was_given() {
    for version in EVERY {
        for (qos, id) in [(0, 0), (1, 1), (2, 1)] {
            let mut t = Table::new();
            let bob = listener(&mut t, version);
            let ann = t.connects(version, connect("ann").will("gone", "ann", qos, false));
            t.drops(ann);
            // [MQTT-3.1.2-9] [MQTT-3.1.2-14] [MQTT5-3.1.2-9] [MQTT5-3.1.2-12]
            t.gets(bob, publish("gone", "ann").qos(qos, id));
        }
    }
}

#[test]
fn a_will_is_retained_if_it_says_so() {
    for version in EVERY {
        for retain in [false, true] {
            let mut t = Table::new();
            let bob = listener(&mut t, version);
            let ann = t.connects(version, connect("ann").will("gone", "ann", 1, retain));
            t.drops(ann);
            t.gets(bob, publish("gone", "ann").qos1(1));
            let cat = t.client(version, "cat");
            t.sends(cat, subscribe(1, "gone", 1));
            t.gets(cat, suback(1, &[1]));
            if retain {
                // [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT5-3.1.2-9] [MQTT5-3.1.2-15]
                t.gets(cat, publish("gone", "ann").qos1(1).retain());
            }
            t.silence(); // [MQTT-3.1.2-16] [MQTT5-3.1.2-14]
        }
    }
}

#[test]
fn an_empty_retained_will_clears_what_was_retained() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        t.sends(bob, publish("online", "yes").retain());
        t.gets(bob, publish("online", "yes"));
        let ann = t.connects(version, connect("ann").will("online", "", 0, true));
        t.drops(ann);
        t.gets(bob, publish("online", ""));
        assert_eq!(t.broker.sizes().retained, 0);
    }
}

#[test]
fn a_will_has_its_properties_in_their_order() {
    let mut t = Table::new();
    let (bob, cat) = (listener(&mut t, V5), listener(&mut t, V311));
    t.cut_off(bob, ReasonCode::SessionTakenOver, "session taken over");
    let dan = t.client(V5, "dan");
    t.sends(dan, subscribe(1, "gone", 0));
    t.gets(dan, suback(1, &[0]));
    let properties = [
        Property::UserProperty("a", "1"),
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("b", "2"),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("x/y"),
        Property::CorrelationData(b"\0\xff"),
        Property::UserProperty("a", "3"),
    ];
    let packet = properties
        .into_iter()
        .fold(with_will("ann"), Say::will_with);
    let ann = t.connects(V5, packet.will_with(Property::WillDelayInterval(0)));
    t.drops(ann);
    let expected = properties
        .into_iter()
        .fold(publish("gone", "ann"), Say::with);
    t.gets(dan, expected); // [MQTT5-3.1.2-9] [MQTT5-3.1.3-10]
    t.gets(cat, publish("gone", "ann"));
    t.silence();
}

#[test]
fn message_expiry_of_a_will_counts_from_when_it_is_published() {
    let mut t = Table::new();
    let sub = connect("bob").lasting(1000);
    let bob = t.connects(V5, sub.clone());
    t.sends(bob, subscribe(1, "gone", 1));
    t.gets(bob, suback(1, &[1]));
    t.drops(bob);
    let packet = connect("ann").will("gone", "ann", 1, true);
    let ann = t.connects(V5, packet.will_with(Property::MessageExpiryInterval(10)));
    t.passes(100);
    t.drops(ann);
    t.passes(4);
    let bob = t.connects(V5, sub);
    let left = Property::MessageExpiryInterval(6);
    t.gets(bob, publish("gone", "ann").qos1(1).with(left));
    t.passes(5);
    let cat = t.client(V5, "cat");
    t.sends(cat, subscribe(1, "gone", 0));
    t.gets(cat, suback(1, &[0]));
    let left = Property::MessageExpiryInterval(1);
    t.gets(cat, publish("gone", "ann").retain().with(left));
    t.passes(1);
    let dan = t.client(V5, "dan");
    t.sends(dan, subscribe(1, "gone", 0));
    t.gets(dan, suback(1, &[0]));
    t.silence();
}

#[test]
fn a_will_to_the_brokers_own_topics_is_not_published() {
    for version in EVERY {
        for topic in ["$SYS", "$SYS/broker/uptime", "$SYS/x"] {
            let mut t = Table::new();
            let bob = t.client(version, "bob");
            t.sends(bob, subscribe(1, "$SYS/#", 0));
            t.gets(bob, suback(1, &[0]));
            let ann = t.connects(version, connect("ann").will(topic, "x", 1, true));
            t.drops(ann);
            t.silence();
            assert_eq!(t.broker.sizes().retained, 0);
        }
    }
}

#[test]
fn a_will_reaches_a_subscription_of_its_own_client() {
    for version in EVERY {
        let mut t = Table::new();
        let packet = connect("ann").will("gone", "ann", 1, false).lasting(100);
        let ann = t.connects(version, packet.clone());
        t.sends(ann, subscribe(1, "gone", 1));
        t.gets(ann, suback(1, &[1]));
        t.drops(ann);
        let ann = t.connects(version, packet.clone());
        t.gets(ann, publish("gone", "ann").qos1(1));
        t.sends(ann, puback(1));
        let new = t.connects(version, packet);
        t.cut_off(ann, ReasonCode::SessionTakenOver, "session taken over");
        t.gets(new, publish("gone", "ann").qos1(2));
        t.silence();
    }
}

#[test]
fn a_will_to_a_subscription_without_local_is_not_sent_to_its_own_client() {
    let mut t = Table::new();
    let packet = connect("ann").will("gone", "ann", 1, false).lasting(100);
    let ann = t.connects(V5, packet.clone());
    let mut no_local = options(1);
    no_local.no_local = true;
    t.sends(ann, subscribe_with(1, "gone", no_local));
    t.gets(ann, suback(1, &[1]));
    t.drops(ann);
    t.connects(V5, packet);
    t.silence();
}

#[test]
fn a_will_with_a_long_payload_reaches_everybody() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let payload = "x".repeat(65_535);
        let ann = t.connects(version, connect("ann").will("gone", &payload, 2, false));
        t.drops(ann);
        t.gets(bob, publish("gone", &payload).qos2(1));
    }
}

#[test]
fn clients_that_share_a_broken_end_leave_a_will_each() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = listener(&mut t, version);
        let seats = ["ann", "cat", "dan"].map(|name| {
            let packet = connect(name).will(&format!("gone/{name}"), name, 0, false);
            t.connects(version, packet)
        });
        for (seat, name) in seats.into_iter().zip(["ann", "cat", "dan"]) {
            t.drops(seat);
            t.gets(bob, publish(&format!("gone/{name}"), name));
            t.silence();
        }
    }
}

//! CONNECT and CONNACK: who is let in, and on which terms.

mod table;
use table::*;

#[test]
fn a_client_of_each_version_is_let_in() {
    for version in EVERY {
        let mut t = Table::new();
        let ann = t.says_connect(version, connect("ann"));
        let expected = if version == V5 {
            connack5(false)
        } else {
            connack(false)
        };
        t.gets(ann, expected); // [MQTT-3.1.4-4] [MQTT-3.2.0-1] [MQTT5-3.1.4-5] [MQTT5-3.2.0-1]
        t.silence();
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
    }
}

#[test]
fn publish_reaches_a_subscriber_of_every_version_from_every_version() {
    for from in EVERY {
        for to in EVERY {
            let mut t = Table::new();
            let (ann, bob) = (t.client(from, "ann"), t.client(to, "bob"));
            t.sends(bob, subscribe(1, "tea/+", 1));
            t.gets(bob, suback(1, &[1]));
            t.sends(ann, publish("tea/green", "hot").qos1(7));
            t.gets(ann, puback(7));
            t.gets(bob, publish("tea/green", "hot").qos1(1));
            t.passes(30).silence(); // [MQTT5-4.4.0-1]: nothing is resent on a live connection
            t.sends(bob, puback(1));
            t.silence();
        }
    }
}

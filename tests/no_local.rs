//! No Local [MQTT5 §3.8.3.1]: a client's own messages, and which are its own. A bridge of 3.x, which
//! sets bit 0x80 of its protocol level, is served as if it had asked for it.

mod table;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::SubscriptionOptions;
use table::*;

fn no_local(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        no_local: true,
        ..options(qos)
    }
}

#[test]
fn no_local_keeps_a_client_s_own_messages_from_it() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, subscribe_with(1, "a", no_local(1)));
    t.gets(ann, suback(1, &[1]));
    t.sends(ann, publish("a", "own").qos1(1));
    t.gets(ann, puback(1)); // [MQTT5-3.8.3-3]
    t.silence();
    t.sends(bob, publish("a", "bob's"));
    t.gets(ann, publish("a", "bob's"));
    t.sends(ann, subscribe(2, "a", 1));
    t.gets(ann, suback(2, &[1]));
    t.sends(ann, publish("a", "own"));
    t.gets(ann, publish("a", "own"));
    t.silence();
}

#[test]
fn no_local_goes_by_client_identifier_over_reconnects() {
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.sends(ann, subscribe_with(1, "a", no_local(1)));
    t.gets(ann, suback(1, &[1]));
    t.leaves(ann);
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.sends(ann, publish("a", "own"));
    t.silence(); // [MQTT5-3.8.3-3]
    // Nor does one that was retained before, whatever connection it came by,
    t.sends(ann, publish("a", "kept").retain());
    t.sends(ann, subscribe_with(2, "a", no_local(1)));
    t.gets(ann, suback(2, &[1]));
    t.silence();
    // nor its Will, published while its session waits.
    let will = connect("ann").lasting(1000).will("a", "gone", 1, true);
    t.drops(ann);
    let ann = t.connects(V5, will);
    let bob = t.client(V5, "bob");
    t.sends(bob, subscribe(1, "a", 0));
    t.gets(bob, suback(1, &[0]));
    t.gets(bob, publish("a", "kept").retain());
    t.drops(ann);
    t.gets(bob, publish("a", "gone"));
    let ann = t.connects(V5, connect("ann").lasting(1000));
    t.sends(bob, publish("a", "bob's"));
    t.gets(bob, publish("a", "bob's"));
    t.gets(ann, publish("a", "bob's"));
    t.silence();
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut t = Table::new();
    let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
    t.sends(ann, subscribe_with(1, "$share/g/a", no_local(1)));
    t.cut_off(
        ann,
        ReasonCode::ProtocolError, // [MQTT5-3.8.3-4]
        "No Local is set on a shared subscription",
    );
    t.open(bob);
    t.silence();
}

#[test]
fn no_local_holds_while_the_client_is_away() {
    let mut t = Table::new();
    let bob = t.client(V311, "bob");
    let ann = t.connects(V5, connect("ann").lasting(100).will("a", "gone", 1, false));
    t.sends(ann, subscribe_with(1, "a", no_local(1)));
    t.gets(ann, suback(1, &[1]));
    t.drops(ann); // Its Will would be queued for itself.
    t.sends(bob, publish("a", "bob's").qos1(1));
    t.gets(bob, puback(1));
    let ann = t.connects(V5, connect("ann").lasting(100));
    t.gets(ann, publish("a", "bob's").qos1(1)); // [MQTT5-3.8.3-3]
    t.silence();
}

#[test]
fn a_bridge_of_3_does_not_hear_itself_and_keeps_the_retain_flag() {
    for version in [V31, V311] {
        let mut t = Table::new();
        let (ann, bob) = (
            t.connects(version, connect("ann").bridge()),
            t.client(V311, "bob"),
        );
        t.sends(ann, subscribe(1, "a", 0).and("$share/g/b", 0));
        t.gets(ann, suback(1, &[0, 0]));
        t.sends(ann, publish("a", "own"));
        t.silence();
        t.sends(bob, publish("a", "bob's").retain());
        t.gets(ann, publish("a", "bob's").retain());
        t.sends(ann, publish("b", "own")); // No Local and sharing exclude one another.
        t.gets(ann, publish("b", "own"));
        t.silence();
    }
}

//! What a listener sets for those who come by it: how many, with which versions and names, on which
//! terms. Each dialogue has two listeners, of which the second one differs.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use midge::config::{Listener, Versions};
use midge::message::QoS;
use table::*;

/// A table whose second listener is changed; new connections come by that one.
fn second(change: impl FnOnce(&mut Listener)) -> Table {
    let mut t = Table::with(|config| change(&mut config.listeners[1]));
    t.comes_by(1);
    t
}

#[test]
fn only_the_versions_a_listener_accepts_are_let_in() {
    let only = |version| Versions {
        v3_1: version == V31,
        v3_1_1: version == V311,
        v5_0: version == V5,
    };
    for accepted in EVERY {
        let mut t = second(|listener| listener.accept_protocol_versions = only(accepted));
        for version in EVERY {
            if version == accepted {
                t.client(version, "ann");
                continue;
            }
            let bob = t.says_connect(version, connect("bob"));
            let sentence = format!("protocol level {} is not let in here", version.level());
            // [MQTT-3.1.2-2] [MQTT5-3.1.2-2]
            t.refused(bob, ReasonCode::UnsupportedProtocolVersion, &sentence);
            t.comes_by(0);
            t.client(version, "bob");
            t.comes_by(1);
        }
        t.silence();
    }
}

#[test]
fn a_refusal_of_the_version_on_the_wire() {
    let none = Versions {
        v3_1: false,
        v3_1_1: false,
        v5_0: false,
    };
    let mut t = second(|listener| listener.accept_protocol_versions = none);
    for (version, code) in [(V31, 1), (V311, 1), (V5, 0x84)] {
        let ann = t.says_connect(version, connect("ann"));
        assert_eq!(t.next(ann).unwrap()[2..4], [0, code]);
        t.closed(ann);
    }
}

#[test]
fn the_username_takes_the_place_of_the_client_identifier() {
    for version in EVERY {
        let mut t = second(|listener| listener.use_username_as_clientid = true);
        let old = t.connects(version, connect("x").user("ann").lasting(100));
        let bob = t.connects(version, connect("x").user("bob"));
        t.silence(); // not taken over: the names are `ann` and `bob`
        let new = t.says_connect(version, connect("y").user("ann").lasting(100));
        t.cut_off(old, ReasonCode::SessionTakenOver, "session taken over");
        let expected = if version == V5 { connack5 } else { connack };
        t.gets(new, expected(version != V31));
        t.open(bob);
        for nameless in [connect("ann"), connect("ann").user("")] {
            let cat = t.says_connect(version, nameless);
            t.refused(
                cat,
                ReasonCode::NotAuthorized,
                "the username is the Client Identifier here; give one",
            );
        }
        t.silence();
    }
}

#[test]
fn a_client_that_left_its_identifier_open_is_told_that_it_is_the_username() {
    let mut t = second(|listener| listener.use_username_as_clientid = true);
    let ann = t.says_connect(V5, connect("").user("ann"));
    let bytes = t.next(ann).unwrap();
    let mut told = Vec::new();
    Property::AssignedClientIdentifier("ann").encode(&mut told);
    assert_eq!(bytes[5..5 + told.len()], told); // [MQTT5-3.2.2-16]
}

#[test]
fn each_listener_lets_in_whom_it_will() {
    for version in EVERY {
        let mut t = second(|listener| listener.security.allow_anonymous = false);
        let ann = t.says_connect(version, connect("ann"));
        let sentence = "clients without a username are not let in";
        t.refused(ann, ReasonCode::NotAuthorized, sentence);
        t.comes_by(0);
        t.client(version, "ann");
        t.connects(version, connect("bob").user("bob"));
    }
}

#[test]
fn each_listener_has_its_own_rule_for_clients_without_an_identifier() {
    let mut t = second(|listener| listener.security.allow_zero_length_clientid = false);
    for version in [V311, V5] {
        t.comes_by(1);
        let ann = t.says_connect(version, connect(""));
        let sentence = "an empty Client Identifier is not possible here; choose one";
        t.refused(ann, ReasonCode::ClientIdentifierNotValid, sentence);
        t.comes_by(0);
        t.connects(version, connect(""));
    }
    let mut t = second(|listener| listener.security.auto_id_prefix = "shop-".into());
    for (listener, prefix) in [(0, b"auto-"), (1, b"shop-")] {
        t.comes_by(listener);
        let ann = t.says_connect(V5, connect(""));
        assert_eq!(t.next(ann).unwrap()[8..13], *prefix);
    }
}

#[test]
fn each_listener_has_its_own_maximum_qos() {
    for version in EVERY {
        let mut t = second(|listener| listener.max_qos = QoS::AtMostOnce);
        let ann = t.client(version, "ann");
        t.sends(ann, subscribe(1, "tea", 2));
        t.gets(ann, suback(1, &[0]));
        t.comes_by(0);
        let bob = t.client(version, "bob");
        t.sends(bob, subscribe(1, "tea", 2));
        t.gets(bob, suback(1, &[2]));
        t.sends(bob, publish("tea", "hot").qos1(1));
        t.gets(bob, publish("tea", "hot").qos1(1));
        t.gets(bob, puback(1));
        t.gets(ann, publish("tea", "hot"));
        t.sends(ann, publish("tea", "hot").qos1(1));
        let sentence = "QoS 1 is above the maximum here";
        t.cut_off(ann, ReasonCode::QoSNotSupported, sentence);
        t.silence();
    }
}

#[test]
fn each_listener_has_its_own_topic_alias_maximum() {
    let alias = |number: u16| Property::TopicAlias(number.try_into().unwrap());
    let mut t = second(|listener| {
        listener.max_topic_alias = 1;
        listener.max_topic_alias_broker = 0;
    });
    let takes_one = || connect("").with(Property::TopicAliasMaximum(1));
    let ann = t.says_connect(V5, takes_one());
    t.ignores(ann);
    t.comes_by(0);
    let bob = t.says_connect(V5, takes_one());
    t.ignores(bob);
    for client in [ann, bob] {
        t.sends(client, subscribe(1, "tea", 0));
        t.gets(client, suback(1, &[0]));
    }
    t.sends(bob, publish("tea", "hot").with(alias(2)));
    t.gets(ann, publish("tea", "hot"));
    t.gets(bob, publish("tea", "hot").with(alias(1)));
    t.sends(ann, publish("tea", "hot").with(alias(2)));
    let sentence = "Topic Alias 2 is above the maximum of 1";
    t.cut_off(ann, ReasonCode::TopicAliasInvalid, sentence);
    t.silence();
}

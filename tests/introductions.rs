//! What the shell learns of a client after it was accepted, and what the core makes of it: its name
//! by a certificate, and an end that is not MQTT's.

mod table;
use midge::broker::client::{Introduction, TlsPeer};
use midge::codec::dialect::ProtocolVersion;
use midge::codec::reason::ReasonCode;
use table::*;

/// A client whose certificate has this common name and subject.
fn certified(common_name: Option<&str>, subject: Option<&str>) -> Introduction {
    Introduction {
        address: None,
        tls: Some(TlsPeer {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            common_name: common_name.map(str::to_owned),
            subject: subject.map(str::to_owned),
        }),
    }
}

/// A connection that is introduced so, and sends this CONNECT.
fn comes(t: &mut Table, version: ProtocolVersion, introduction: Introduction, packet: Say) -> Seat {
    let seat = t.opens_as(version);
    t.introduces(seat, introduction);
    t.sends(seat, packet);
    seat
}

const NAMELESS: &str = "a certificate's name is the username here, and this client has shown none";

#[test]
fn the_certificate_says_who_it_is_whatever_connect_says() {
    for version in EVERY {
        let mut t = Table::with_listeners(|listener| {
            listener.security.allow_anonymous = false;
            listener.tls.use_identity_as_username = true;
            listener.use_username_as_clientid = true;
        });
        let sensor = || certified(Some("sensor"), Some("CN=sensor,O=Acme"));
        let old = comes(&mut t, version, sensor(), connect("x").user("admin"));
        let accepted = if version == V5 { connack5 } else { connack };
        t.gets(old, accepted(false));
        // The username is the Client Identifier: it is the same client.
        let new = comes(&mut t, version, sensor(), connect("y"));
        t.cut_off(old, ReasonCode::SessionTakenOver, "session taken over");
        t.gets(new, accepted(false));
    }
}

#[test]
fn who_shows_no_name_is_not_let_in() {
    for version in EVERY {
        let mut t = Table::with_listeners(|listener| listener.tls.use_identity_as_username = true);
        let nameless = [
            Introduction::default(),
            certified(None, None),
            certified(None, Some("O=Acme")),
            certified(Some(""), Some("CN=")),
        ];
        for introduction in nameless {
            let seat = comes(&mut t, version, introduction, connect("ann").user("ann"));
            t.refused(seat, ReasonCode::BadUserNameOrPassword, NAMELESS);
        }
        let mut t = Table::with_listeners(|listener| listener.tls.use_subject_as_username = true);
        let seat = comes(
            &mut t,
            version,
            certified(Some("ann"), None),
            connect("ann"),
        );
        t.refused(seat, ReasonCode::BadUserNameOrPassword, NAMELESS);
    }
}

#[test]
fn the_next_connection_in_the_same_place_is_somebody_else() {
    let mut t = Table::with_listeners(|listener| listener.tls.use_identity_as_username = true);
    let ann = t.opens_as(V311);
    t.introduces(ann, certified(Some("ann"), None));
    t.drops(ann);
    let bob = t.says_connect(V311, connect("bob"));
    t.refused(bob, ReasonCode::BadUserNameOrPassword, NAMELESS);
}

#[test]
fn an_end_by_what_carries_it_publishes_the_will() {
    for version in EVERY {
        let mut t = Table::new();
        let bob = t.client(V311, "bob");
        t.sends(bob, subscribe(1, "gone", 0));
        t.gets(bob, suback(1, &[0]));
        let ann = t.connects(version, connect("ann").will("gone", "ann", 0, false));
        t.rejects(ann, Some("a frame is not masked"));
        t.gets(bob, publish("gone", "ann"));
        t.cut_off(ann, ReasonCode::ProtocolError, "a frame is not masked");
        let cat = t.connects(version, connect("cat").will("gone", "cat", 0, false));
        t.rejects(cat, None);
        t.gets(bob, publish("gone", "cat"));
        t.closed(cat);
    }
}

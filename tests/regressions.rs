//! What fuzzing has found, as dialogues.

mod table;
use midge::broker::Closed;
use midge::broker::key::ConnId;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use table::*;

#[test]
fn no_close_is_left_over_for_whoever_has_the_key_of_a_lost_connection_next() {
    for version in EVERY {
        let mut t = Table::new();
        t.client(version, "ann");
        let (conn, now) = (ConnId::from_index(0), t.now());
        t.broker.closed(conn, Closed::ByPeer, now);
        assert!(t.broker.effects().closes.is_empty());
    }
}

#[test]
fn a_subscribe_whose_answer_is_too_large_for_its_client_ends_the_connection() {
    let at_most = |bytes: u32| Property::MaximumPacketSize(bytes.try_into().unwrap());
    let eleven = |packet: Say| (1..11).fold(packet, |packet, _| packet.and("a", 0));
    let mut t = Table::new();
    let ann = t.connects(V5, connect("ann").with(at_most(16)));
    t.sends(ann, eleven(subscribe(1, "a", 0)));
    t.gets(ann, suback(1, &[0; 11]));
    t.sends(ann, eleven(subscribe(2, "a", 0)).and("b", 0));
    t.gets(ann, disconnect().reason(ReasonCode::PacketTooLarge)); // [MQTT5-3.1.2-24]
    t.closed(ann);

    let bob = t.connects(V5, connect("bob").with(at_most(16)));
    t.sends(bob, unsubscribe(1, &["a"; 12]));
    t.gets(bob, disconnect().reason(ReasonCode::PacketTooLarge));
    t.closed(bob);
    t.silence();
}

//! Settings for how long the broker keeps what nobody asks for: sessions and retained messages.

mod table;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::property::Property;
use midge::config::Config;
use table::*;

fn expiring(seconds: u64) -> impl Fn(&mut Config) {
    move |config| config.persistent_client_expiration = Some(seconds)
}

/// A client that leaves a session of this length behind; of 3.x, one without end.
fn leaves_a_session(t: &mut Table, version: ProtocolVersion, seconds: u32) {
    let ann = t.connects(version, connect("ann").lasting(seconds));
    t.leaves(ann);
}

#[test]
fn a_session_without_end_ends_if_so_set() {
    for version in EVERY {
        for (limit, lasts_s) in [(1, 1), (100, 100)] {
            let mut t = Table::with(expiring(limit));
            leaves_a_session(&mut t, version, u32::MAX);
            t.passes_ms(1000 * lasts_s - 1);
            assert_eq!(t.broker.sizes().sessions, 1);
            t.passes_ms(1);
            assert_eq!(t.broker.sizes().sessions, 0, "{version:?} {limit}");
        }
        for limit in [0, u64::from(u32::MAX), u64::MAX] {
            let mut t = Table::with(expiring(limit));
            leaves_a_session(&mut t, version, u32::MAX);
            t.passes(1_000_000_000);
            assert_eq!(t.broker.sizes().sessions, 1, "{version:?} {limit}");
        }
    }
}

#[test]
fn a_shorter_session_keeps_its_length_and_a_longer_one_is_told() {
    let mut t = Table::with(expiring(100));
    for (asked_s, told_s) in [
        (0, None),
        (99, None),
        (100, None),
        (101, Some(100)),
        (u32::MAX, Some(100)),
    ] {
        let ann = t.says_connect(V5, connect("ann").lasting(asked_s));
        let mut expected = connack(false);
        if let Some(told_s) = told_s {
            expected = expected.with(Property::SessionExpiryInterval(told_s));
        }
        let expected = expected
            .with(Property::TopicAliasMaximum(10))
            .with(Property::MaximumPacketSize(2_000_000.try_into().unwrap()))
            .with(Property::ReceiveMaximum(20.try_into().unwrap()));
        t.gets(ann, expected);
        t.leaves(ann);
        t.passes(u64::from(asked_s.min(100)));
        assert_eq!(t.broker.sizes().sessions, 0);
    }
}

#[test]
fn a_disconnect_does_not_lengthen_a_session_beyond_the_limit() {
    let mut t = Table::with(expiring(100));
    let ann = t.connects(V5, connect("ann").lasting(1));
    t.sends(
        ann,
        disconnect().with(Property::SessionExpiryInterval(u32::MAX)),
    );
    t.closed(ann);
    t.passes(99);
    assert_eq!(t.broker.sizes().sessions, 1);
    t.passes(1);
    assert_eq!(t.broker.sizes().sessions, 0);
}

#[test]
fn expired_retained_messages_are_swept_as_often_as_is_set() {
    for (minutes, swept_after_s) in [(0, 10), (1, 60), (60, 3600)] {
        let mut t = Table::with(|config| config.retain_expiry_interval = minutes);
        let (ann, bob) = (t.client(V5, "ann"), t.client(V5, "bob"));
        let expiry = Property::MessageExpiryInterval(1);
        t.sends(bob, publish("tea", "hot").retain().with(expiry));
        t.passes(swept_after_s - 1);
        assert_eq!(t.broker.sizes().retained, 1);
        t.sends(ann, subscribe(1, "#", 0));
        t.gets(ann, suback(1, &[0]));
        if swept_after_s - 1 > 1 {
            t.silence(); // it is there, but expired
        }
        t.passes(1);
        assert_eq!(t.broker.sizes().retained, 0, "{minutes}");
    }
    let mut t = Table::with(|config| config.retain_expiry_interval = u32::MAX);
    let bob = t.client(V5, "bob");
    let expiry = Property::MessageExpiryInterval(1);
    t.sends(bob, publish("tea", "hot").retain().with(expiry));
    t.passes(1_000_000);
    assert_eq!(t.broker.sizes().retained, 1);
}

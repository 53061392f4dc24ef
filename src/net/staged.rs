//! Where the stages of a connection meet the loop: bytes from its socket go through them to the
//! core. Apart from the loop, so that a connection without stages pays for one question alone.

use super::link::{Link, Overflow};
use super::websocket::Heard;
use crate::broker::Broker;
use crate::broker::key::ConnId;
use crate::time::Now;

/// Whether what comes next from this link is a step of a TLS handshake.
pub fn is_handshaking(link: &mut Link) -> bool {
    link.transport()
        .is_some_and(|transport| transport.is_handshaking())
}

/// Gives the core `bytes` of MQTT, and keeps what it does not use yet.
#[inline(always)]
pub fn feed(link: &mut Link, bytes: &[u8], conn: ConnId, broker: &mut Broker, now: Now) {
    if link.is_stashed() {
        return feed_behind(link, bytes, conn, broker, now);
    }
    let used = broker.received(conn, bytes, now);
    // Nearly always it is whole packets that have come.
    if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
        let kept = link.keep(rest, broker.stash_bytes_max());
        note(kept, conn, broker, now);
    }
}

/// The same, behind what it has not used before.
#[inline(never)]
fn feed_behind(link: &mut Link, bytes: &[u8], conn: ConnId, broker: &mut Broker, now: Now) {
    let bytes_max = broker.stash_bytes_max();
    let fed = link.feed(bytes, bytes_max, |bytes| broker.received(conn, bytes, now));
    note(fed, conn, broker, now);
}

fn note(kept: Result<(), Overflow>, conn: ConnId, broker: &mut Broker, now: Now) {
    if let Err(Overflow { bytes }) = kept {
        broker.overflowed(conn, bytes, now);
    }
}

/// Takes `wire`, what has come from the socket of a link with stages, through them, and gives the
/// core what comes out. `mqtt` is scratch. Out of the way of links without stages.
#[inline(never)]
pub fn receive(
    link: &mut Link,
    wire: &mut [u8],
    mqtt: &mut Vec<u8>,
    conn: ConnId,
    broker: &mut Broker,
    now: Now,
) {
    let Some(transport) = link.transport() else {
        return;
    };
    let heard = transport.decode(wire, mqtt, now.unix);
    if let Some(introduction) = transport.take_introduction() {
        broker.introduced(conn, *introduction);
    }
    if transport.has_own_output() {
        broker.effects().dirty.push(conn);
    }
    if transport.is_done() {
        link.drop_transport();
    }
    if !mqtt.is_empty() {
        feed(link, mqtt, conn, broker, now);
    }
    match heard {
        Ok(Heard::Open) => {}
        Ok(Heard::End) if link.is_stashed() && broker.is_spent() => link.is_over = true,
        Ok(Heard::End) => broker.rejected(conn, None, now),
        Err(fault) if fault.is_harmless() => broker.rejected(conn, None, now),
        Err(fault) => broker.rejected(conn, Some(fault.words()), now),
    }
}

//! The short way of a message that its receivers get byte for byte as it came, but for the Packet
//! Identifier: QoS 0 or 1, nothing to be decided for one receiver or the other, nothing to be kept.
//! It is apart from `deliver.rs` because most messages of most brokers come this way; whatever is
//! out of the ordinary must be left to that file, never handled here.

use super::client::{self, Client, Clients};
use super::effects::Effects;
use super::inflight::{SpareFlights, counted};
use super::key::ConnId;
use super::reach::window_has_room;
use super::routes::{Route, Routes};
use super::session::{Session, Sessions};
use super::state::State;
use super::stats::Stats;
use super::subscriptions::{Subscription, Subscriptions};
use crate::codec::ack::{Ack, AckKind};
use crate::codec::dialect::ProtocolVersion;
use crate::codec::frame::Frame;
use crate::codec::publish::RawPublish;
use crate::codec::utf8;
use crate::config::Config;
use crate::limits;
use crate::message::{PacketIdentifier, QoS, Wire};
use crate::topic::name::TopicName;
use crate::write_queue::Place;

/// How far a message was relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Not at all.
    None,
    /// To those it could be relayed to. The others are in [`State::left_over`], and groups that share a
    /// subscription have not been asked.
    Partly,
    /// To everybody.
    Wholly,
}

/// Passes a PUBLISH on as it came, if that is possible, and acknowledges it if it is relayed wholly.
/// Nothing has been done, or counted, where it is not relayed at all.
#[inline(never)]
pub fn relay(
    conn: ConnId,
    frame: &Frame<'_>,
    version: ProtocolVersion,
    routes: &mut Routes,
    state: &mut State,
) -> Relayed {
    // QoS 0 or 1, without RETAIN, and without DUP, which 3.1 lets stand at QoS 0.
    let is_bare = matches!(frame.header.flags, 0 | 0b0010);
    let is_short = frame.bytes.len() <= state.relay_bytes_max.min(limits::COPY_BELOW);
    if !is_bare || log::log_enabled!(log::Level::Debug) {
        return Relayed::None;
    }
    if !is_short && !may_be_copied(frame, version, routes, state) {
        return Relayed::None;
    }
    let (Ok(packet), Some(client)) = (RawPublish::decode(frame, version), state.clients.get(conn))
    else {
        return Relayed::None;
    };
    let is_plain = !client.is_mapped && !packet.topic.is_empty();
    if !is_plain || packet.qos > client.max_qos || packet.properties.has_hop() {
        return Relayed::None;
    }
    let Some(wire) = packet.sent_as() else {
        return Relayed::None;
    };
    let work = &mut state.effects.work;
    let Ok(route) = routes.find(packet.topic, &state.subscriptions, work, name_of) else {
        return Relayed::None;
    };
    if route.is_reserved() {
        return Relayed::None;
    }
    state.left_over.clear();
    match packet.packet_identifier {
        None => pass_on(&wire, packet.payload.len(), route, state),
        Some(identifier) => launch(identifier, conn, wire, packet.payload.len(), route, state),
    }
}

/// The Topic Name in `topic`, if it is one.
fn name_of(topic: &[u8]) -> Result<TopicName<'_>, ()> {
    let text = utf8::check(topic).map_err(|_| ())?;
    TopicName::new(text).map_err(|_| ())
}

/// Whether each receiver of a long packet may as well have a copy: the few of a message at QoS 0.
#[cold]
fn may_be_copied(
    frame: &Frame<'_>,
    version: ProtocolVersion,
    routes: &mut Routes,
    state: &mut State,
) -> bool {
    let is_plain = frame.header.flags == 0 && frame.bytes.len() <= state.relay_bytes_max;
    let packet = RawPublish::decode(frame, version);
    let Some(packet) = packet.ok().filter(|_| is_plain) else {
        return false;
    };
    let work = &mut state.effects.work;
    let Ok(route) = routes.find(packet.topic, &state.subscriptions, work, name_of) else {
        return false;
    };
    let mut nodes = route.plain().iter();
    let mut count = 0;
    nodes.all(|node| {
        count += state.subscriptions.at(*node).len();
        count <= limits::LONG_RELAY_RECEIVERS
    })
}

/// Relays a message at QoS 0.
#[inline(always)]
fn pass_on(wire: &Wire<'_>, payload_bytes: usize, route: &Route, state: &mut State) -> Relayed {
    let Some(place) = state.effects.buffers.put_common(wire.bytes) else {
        return Relayed::None;
    };
    let mut relay = Relay {
        place,
        has_properties: wire.has_properties,
        sessions: &state.sessions,
        clients: &mut state.clients,
        effects: &mut state.effects,
    };
    let left_over = &mut state.left_over;
    let count = for_each(route, &state.subscriptions, |subscriptions| {
        relay.send(subscriptions, left_over);
    });
    let sent = (count - left_over.len()) as u64;
    state.stats.messages_sent += sent;
    state.stats.bytes_sent += sent * wire.bytes.len() as u64;
    note(count, payload_bytes, route, state)
}

/// Relays a message at QoS 1, which came by `conn`.
#[inline(never)]
fn launch(
    packet_identifier: PacketIdentifier,
    conn: ConnId,
    wire: Wire<'_>,
    payload_bytes: usize,
    route: &Route,
    state: &mut State,
) -> Relayed {
    // Where nothing can be stored, it may have to be refused; and there is more to say of what
    // nobody gets.
    if !route.is_matched() || state.effects.journal.is_refusing() {
        return Relayed::None;
    }
    let mut launch = Launch {
        wire: &wire,
        payload_bytes: counted(payload_bytes),
        sessions: &mut state.sessions,
        clients: &mut state.clients,
        effects: &mut state.effects,
        stats: &mut state.stats,
        spare_flights: &mut state.spare_flights,
        config: &state.config,
    };
    // From the first that cannot get it so on, all are left over: a session that is among them several
    // times has its copies in the order of its subscriptions, at whichever QoS.
    let left_over = &mut state.left_over;
    let count = for_each(route, &state.subscriptions, |subscriptions| {
        let relayed = match left_over.is_empty() {
            true => subscriptions
                .iter()
                .take_while(|it| launch.send(it))
                .count(),
            false => 0,
        };
        left_over.extend_from_slice(subscriptions.get(relayed..).unwrap_or_default());
    });
    let relayed = note(count, payload_bytes, route, state);
    let State {
        clients,
        effects,
        stats,
        ..
    } = state;
    if let Some(client) = clients.get_mut(conn).filter(|_| relayed == Relayed::Wholly) {
        client::send(client, conn, effects, stats, |out| {
            Ack::encode_success(AckKind::PubAck, packet_identifier, out);
        });
    }
    relayed
}

/// Shows the subscriptions that match, filter by filter; how many there are.
#[inline(always)]
fn for_each(
    route: &Route,
    subscriptions: &Subscriptions,
    mut show: impl FnMut(&[Subscription]),
) -> usize {
    let mut count = 0;
    for node in route.plain() {
        let here = subscriptions.at(*node);
        count += here.len();
        show(here);
    }
    count
}

/// Counts a message that was relayed to all of `count` but those left over.
#[inline]
fn note(count: usize, payload_bytes: usize, route: &Route, state: &mut State) -> Relayed {
    let State {
        effects,
        stats,
        left_over,
        ..
    } = state;
    effects.work = effects.work.saturating_add(count);
    stats.publish_received += 1;
    stats.publish_bytes_received += payload_bytes as u64;
    let sent = (count - left_over.len()) as u64;
    stats.publish_sent += sent;
    stats.publish_bytes_sent += sent * payload_bytes as u64;
    match left_over.is_empty() && route.shared().is_empty() {
        true => Relayed::Wholly,
        false => Relayed::Partly,
    }
}

/// Whether `client` can get a packet of so many bytes, with properties or without, as it came, on
/// behalf of `subscription`.
#[inline(always)]
fn is_taken(
    client: &Client,
    subscription: &Subscription,
    bytes: usize,
    has_properties: bool,
) -> bool {
    !subscription.terms.no_local()
        && subscription.identifier.is_none()
        && client.takes_as_it_is(bytes, has_properties)
}

/// A packet at QoS 0, and the tables that relaying it takes.
struct Relay<'s> {
    /// Where it is, for all who get it.
    place: Place,
    has_properties: bool,
    sessions: &'s Sessions,
    clients: &'s mut Clients,
    effects: &'s mut Effects,
}

impl Relay<'_> {
    /// Sends it to the sessions of `subscriptions`, except for those that cannot get it so. Apart, for
    /// the registers it needs.
    #[inline(never)]
    fn send(&mut self, subscriptions: &[Subscription], left_over: &mut Vec<Subscription>) {
        for subscription in subscriptions {
            if !self.send_one(subscription) {
                left_over.push(*subscription);
            }
        }
    }

    #[inline(always)]
    fn send_one(&mut self, subscription: &Subscription) -> bool {
        let session = self.sessions.get(subscription.session);
        // Where messages were dropped, the end of that is to be said.
        let session = session.filter(|session| session.dropped == 0);
        let Some((conn, client)) = session.and_then(|session| connected(session, self.clients))
        else {
            return false;
        };
        let is_taken = is_taken(
            client,
            subscription,
            self.place.bytes(),
            self.has_properties,
        );
        if is_taken {
            client::relay(client, conn, self.place, self.effects);
        }
        is_taken
    }
}

#[inline(always)]
fn connected<'c>(session: &Session, clients: &'c mut Clients) -> Option<(ConnId, &'c mut Client)> {
    let conn = session.conn?;
    Some((conn, clients.get_mut(conn)?))
}

/// A packet at QoS 1, and the tables that relaying it takes.
struct Launch<'s> {
    wire: &'s Wire<'s>,
    payload_bytes: u32,
    sessions: &'s mut Sessions,
    clients: &'s mut Clients,
    effects: &'s mut Effects,
    stats: &'s mut Stats,
    spare_flights: &'s mut SpareFlights,
    config: &'s Config,
}

impl Launch<'_> {
    /// Sends it to the session of `subscription`, with a Packet Identifier of its own. `false`: it
    /// cannot get it so.
    fn send(&mut self, subscription: &Subscription) -> bool {
        let Some(session) = self.sessions.get_mut(subscription.session) else {
            return false;
        };
        let Some((conn, client)) = connected(session, self.clients) else {
            return false;
        };
        let wire = self.wire;
        let is_taken = subscription.terms.qos() != QoS::AtMostOnce
            && is_taken(client, subscription, wire.bytes.len(), wire.has_properties)
            && !session.may_send_again(None)
            && session.is_settled()
            && window_has_room(session, client, self.config);
        if !is_taken {
            return false;
        }
        let Some(packet_identifier) = session.next_packet_identifier() else {
            return false;
        };
        client::send(client, conn, self.effects, self.stats, |out| {
            wire.put(Some(packet_identifier), out);
        });
        let spare = &mut *self.spare_flights;
        let flights = session.flights.get_or_insert_with(|| spare.lend());
        flights.launch(
            packet_identifier,
            QoS::AtLeastOnce,
            self.payload_bytes,
            None,
        );
        true
    }
}

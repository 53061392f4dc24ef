//! QoS 1 and 2 from the broker to one session, and the QoS 2 identifiers it still holds from that
//! session: state machines [MQTT5 §4.3], the in-flight window [MQTT5 §4.9] and the queue behind it.
//!
//! ```text
//!   deliver → queue → in_flight: PUBLISH → (1) PUBACK → gone
//!                                        → (2) PUBREC → PUBREL → PUBCOMP → gone
//! ```
//!
//! Flights that await PUBCOMP stand in front, in the order of their PUBRECs; the others stay in the
//! order they were first sent in. Both are sent again in that order after a reconnect
//! [MQTT-4.6.0-1] [MQTT-4.6.0-4] [MQTT5-4.6.0-1] [MQTT5-4.6.0-4]. Nothing here writes to a socket.

pub use super::queue::{Delivery, SubscriptionIdentifiers, counted};
use super::queue::{FIRST_PLACES, Queue};
use crate::limits;
use crate::message::{PacketIdentifier, QoS};
use crate::time::Mono;
use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU64};

/// What a flight waits for, by the packet's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// PUBACK, at QoS 1.
    PubAck,
    /// PUBREC, at QoS 2.
    PubRec,
    /// PUBCOMP, after PUBREC was answered with PUBREL.
    PubComp,
}

/// One message in flight.
#[derive(Debug)]
pub struct Flight {
    /// Its Packet Identifier, kept until it has landed, over reconnects too [MQTT-4.4.0-1].
    pub packet_identifier: PacketIdentifier,
    /// What it waits for.
    pub awaits: Awaits,
    /// Whether it was sent on the present connection, and so counts against its window.
    pub sent: bool,
    /// What its message counts for in the window, until it has landed.
    pub bytes: u32,
    /// What to send again; `None` once PUBREC took the message over [MQTT-4.3.3-1], and where it will
    /// never be sent again, for its session ends with the connection.
    pub delivery: Option<Delivery>,
    /// Where it stands in the journal, if it is told of there.
    pub place: Option<NonZeroU64>,
}

/// What an acknowledgement meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// It moved its flight on, or landed it.
    Taken,
    /// No flight has this Packet Identifier.
    Unknown,
    /// The flight with this Packet Identifier cannot be answered so.
    Wrong,
}

/// The QoS 1 and 2 state of one session. A session without any owns none of this.
#[derive(Debug, Default)]
pub struct Flights {
    in_flight: VecDeque<Flight>,
    queue: Queue,
    /// Packet Identifiers of QoS 2 PUBLISH packets taken and not yet released, ascending.
    received: Vec<PacketIdentifier>,
    /// Flights sent on the present connection whose place in the window is not free again.
    window_used: u16,
    /// Bytes of payload in those flights.
    window_bytes: u64,
}

/// Empty [`Flights`] of sessions that had the last of their messages acknowledged, for those that
/// get the next: a message that is taken at once asks for no memory but its own.
#[derive(Debug, Default)]
pub struct SpareFlights {
    #[expect(clippy::vec_box, reason = "they move in and out of sessions as boxes")]
    flights: Vec<Box<Flights>>,
}

impl SpareFlights {
    /// Empty flights.
    pub fn lend(&mut self) -> Box<Flights> {
        self.flights.pop().unwrap_or_default()
    }

    /// Takes empty flights back, unless there are enough.
    pub fn give_back(&mut self, flights: Box<Flights>) {
        debug_assert!(flights.is_empty());
        if flights.is_short() && self.flights.len() < limits::SPARE_FLIGHTS {
            self.flights.push(flights);
        }
    }
}

/// Bytes by which a vector of so many places grows for one more item: it doubles.
fn growth(len: usize, capacity: usize, item_bytes: usize) -> usize {
    match len < capacity {
        true => 0,
        false => capacity.max(FIRST_PLACES) * item_bytes,
    }
}

impl Flights {
    /// Bytes that the first message of a session takes here, at most, and a QoS 2 identifier.
    pub const FIRST_BYTES: usize =
        size_of::<Self>() + FIRST_PLACES * (size_of::<Delivery>() + size_of::<Flight>()) + 8;

    /// The messages waiting behind the window.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The messages waiting behind the window.
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Bytes that queueing one more message takes here.
    pub fn queue_growth(&self) -> usize {
        self.queue.growth()
    }

    /// Bytes that putting one more message in flight takes here.
    pub fn launch_growth(&self) -> usize {
        let (len, capacity) = (self.in_flight.len(), self.in_flight.capacity());
        growth(len, capacity, size_of::<Flight>())
    }

    /// Bytes that holding one more QoS 2 Packet Identifier takes here.
    pub fn hold_growth(&self) -> usize {
        let (len, capacity) = (self.received.len(), self.received.capacity());
        growth(len, capacity, size_of::<PacketIdentifier>())
    }

    /// Whether nothing is in flight on the present connection, so that no acknowledgement will come.
    pub fn is_window_empty(&self) -> bool {
        self.window_used == 0
    }

    /// Whether anything is to be sent, for the first time or again, once the window has room.
    pub fn has_waiting(&self) -> bool {
        !self.queue.is_empty() || self.has_unsent()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.queue.is_empty() && self.received.is_empty()
    }

    /// Messages waiting behind the window.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Messages in flight, less those that the receiver has taken over, and messages waiting; and
    /// the bytes of payload in them. Looks at those in flight, not at those that wait.
    pub fn held_messages(&self) -> (usize, u64) {
        let (mut count, mut bytes) = (self.queue.len(), self.queue.bytes());
        for flight in self.in_flight.iter().skip(self.awaiting_pubcomp()) {
            count += 1;
            bytes += u64::from(flight.bytes);
        }
        (count, bytes)
    }

    /// Bytes of payload waiting behind the window.
    pub fn queued_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// Whether the window, of `window` places, has room for one more message [MQTT5-3.3.4-9].
    /// `Choice:` by bytes it has until `bytes_max` are in flight, as with mosquitto: a message that
    /// is longer than that goes alone. 0 sets no bound. It has none for a message that would overtake
    /// those which are still to be read from the store [MQTT-4.6.0-6] [MQTT5-4.6.0-5].
    pub fn has_room(&self, window: u16, bytes_max: u64) -> bool {
        self.window_used < window
            && (bytes_max == 0 || self.window_bytes < bytes_max)
            && (!self.queue.is_interrupted() || self.has_unsent())
    }

    /// Whether anything in flight is to be sent again.
    fn has_unsent(&self) -> bool {
        self.in_flight.len() > usize::from(self.window_used)
    }

    /// The next Packet Identifier after `last`, around the end, that no flight has, and how many
    /// behind it none has either. `None`: all are in use. It sorts those in use, and is to be asked
    /// only when a run of free ones is used up.
    pub fn free_after(&self, last: u16) -> Option<(PacketIdentifier, u16)> {
        let first = last.wrapping_add(1);
        let in_flight = self
            .in_flight
            .iter()
            .map(|flight| flight.packet_identifier.get());
        // By their distance from `first`; 0 is never free [MQTT-2.3.1-1] [MQTT5-2.2.1-3].
        let mut in_use: Vec<u16> = in_flight
            .chain([0])
            .map(|identifier| identifier.wrapping_sub(first))
            .collect();
        in_use.sort_unstable();
        let mut ahead = 0_u16;
        for distance in in_use {
            if distance > ahead {
                let free = NonZeroU16::new(first.wrapping_add(ahead))?;
                return Some((free, distance - ahead - 1));
            }
            ahead = ahead.checked_add(1)?;
        }
        let free = NonZeroU16::new(first.wrapping_add(ahead))?;
        Some((free, u16::MAX - ahead))
    }

    /// Adds a message behind all others that wait.
    pub fn enqueue(&mut self, delivery: Delivery) {
        self.queue.push(delivery);
    }

    /// Forgets the messages waiting whose time is over, each told to `landed`; how many.
    pub fn drop_expired(&mut self, now: Mono, landed: impl FnMut(&Delivery)) -> usize {
        self.queue.drop_expired(now, landed)
    }

    /// Takes the message that has waited longest, if it is in memory.
    pub fn dequeue(&mut self) -> Option<Delivery> {
        self.queue.pop()
    }

    /// Puts a message of QoS 1 or 2 and with so many bytes of payload in flight: it is being sent now.
    /// `delivery`: what may have to be sent again.
    pub fn launch(
        &mut self,
        packet_identifier: PacketIdentifier,
        qos: QoS,
        bytes: u32,
        delivery: Option<Delivery>,
    ) {
        let awaits = match qos {
            QoS::ExactlyOnce => Awaits::PubRec,
            QoS::AtLeastOnce | QoS::AtMostOnce => Awaits::PubAck,
        };
        self.note_sent(bytes);
        self.in_flight.push_back(Flight {
            packet_identifier,
            awaits,
            sent: true,
            bytes,
            place: delivery.as_ref().and_then(|delivery| delivery.place),
            delivery,
        });
    }

    /// Flights, in the order they are sent again in.
    pub fn in_flight(&self) -> impl Iterator<Item = &Flight> {
        self.in_flight.iter()
    }

    /// Messages that wait behind the window, the oldest first, but for those in the store alone.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    /// Packet Identifiers of QoS 2 PUBLISH packets taken and not yet released, ascending.
    pub fn held_identifiers(&self) -> impl Iterator<Item = PacketIdentifier> {
        self.received.iter().copied()
    }

    /// Whether a flight has this Packet Identifier.
    pub fn is_in_flight(&self, packet_identifier: PacketIdentifier) -> bool {
        self.position(packet_identifier).is_some()
    }

    /// Flights, in the order they are sent again in, to be marked as sent.
    pub fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.in_flight.iter_mut()
    }

    /// The oldest flight that was not sent on the present connection yet. All that were stand
    /// before it.
    pub fn next_unsent(&mut self) -> Option<&mut Flight> {
        self.in_flight.get_mut(usize::from(self.window_used))
    }

    /// Counts one more place of the window as used: a flight of this many bytes has been sent, now
    /// or again.
    pub fn note_sent(&mut self, bytes: u32) {
        self.window_bytes += u64::from(bytes);
        self.window_used = self.window_used.saturating_add(1);
    }

    /// The connection is gone: nothing counts as sent any more, and the window is whole.
    pub fn connection_lost(&mut self) {
        self.window_used = 0;
        self.window_bytes = 0;
        for flight in &mut self.in_flight {
            flight.sent = false;
        }
    }

    /// Where a flight stands in the journal, if it is told of there, and what it waits for.
    pub fn place_of(&self, packet_identifier: PacketIdentifier) -> Option<(NonZeroU64, Awaits)> {
        let flight = self.in_flight.get(self.position(packet_identifier)?)?;
        Some((flight.place?, flight.awaits))
    }

    /// Notes where a flight stands in the journal from now on.
    pub fn set_place(&mut self, packet_identifier: PacketIdentifier, place: NonZeroU64) {
        let position = self.position(packet_identifier);
        if let Some(flight) = position.and_then(|position| self.in_flight.get_mut(position)) {
            flight.place = Some(place);
        }
    }

    /// Tells where everything stands in the journal, and forgets it.
    pub fn forget_places(&mut self, mut tell: impl FnMut(NonZeroU64)) {
        let flights = self.in_flight.iter_mut();
        flights
            .filter_map(|flight| flight.place.take())
            .for_each(&mut tell);
        let waiting = self.queue.iter_mut();
        waiting
            .filter_map(|delivery| delivery.place.take())
            .for_each(tell);
    }

    /// Puts back a flight of an earlier process, behind those put back before it, without a message
    /// if it awaits PUBCOMP. `false`: its Packet Identifier is in flight already, and nothing is done.
    pub fn restore(
        &mut self,
        packet_identifier: PacketIdentifier,
        place: NonZeroU64,
        delivery: Option<Delivery>,
    ) -> bool {
        if self.position(packet_identifier).is_some() {
            return false;
        }
        let awaits = match delivery.as_ref().map(|delivery| delivery.qos) {
            None => Awaits::PubComp,
            Some(QoS::ExactlyOnce) => Awaits::PubRec,
            Some(QoS::AtLeastOnce | QoS::AtMostOnce) => Awaits::PubAck,
        };
        let behind = match awaits {
            Awaits::PubComp => self.awaiting_pubcomp(),
            Awaits::PubAck | Awaits::PubRec => self.in_flight.len(),
        };
        let flight = Flight {
            packet_identifier,
            awaits,
            sent: false,
            bytes: delivery.as_ref().map_or(0, Delivery::bytes),
            delivery,
            place: Some(place),
        };
        self.in_flight.insert(behind, flight);
        true
    }

    fn position(&self, packet_identifier: PacketIdentifier) -> Option<usize> {
        // Acknowledgements come in order, nearly always.
        self.in_flight
            .iter()
            .position(|flight| flight.packet_identifier == packet_identifier)
    }

    fn land(&mut self, position: usize) {
        let landed = match position {
            0 => self.in_flight.pop_front(), // as nearly always
            _ => self.in_flight.remove(position),
        };
        if let Some(flight) = landed.filter(|flight| flight.sent) {
            self.window_used = self.window_used.saturating_sub(1);
            self.window_bytes = self.window_bytes.saturating_sub(u64::from(flight.bytes));
        }
        // A short one stays: the next flight is likely to follow.
        if self.in_flight.is_empty() && !self.is_short() {
            self.in_flight = VecDeque::new();
        }
    }

    /// Whether it is worth keeping while it is empty.
    fn is_short(&self) -> bool {
        self.in_flight.capacity() <= limits::SPARE_FLIGHTS_PLACES
    }

    /// Drops a flight that cannot be sent on.
    pub fn abandon(&mut self, packet_identifier: PacketIdentifier) {
        if let Some(position) = self.position(packet_identifier) {
            self.land(position);
        }
    }

    /// PUBACK, or with `Awaits::PubComp` PUBCOMP: lands the flight that awaits it.
    pub fn complete(&mut self, packet_identifier: PacketIdentifier, awaits: Awaits) -> Acked {
        let Some(position) = self.position(packet_identifier) else {
            return Acked::Unknown;
        };
        if self
            .in_flight
            .get(position)
            .is_none_or(|flight| flight.awaits != awaits)
        {
            return Acked::Wrong;
        }
        self.land(position);
        Acked::Taken
    }

    /// PUBREC: the receiver owns the message now, or (`refused`) will not have it, which ends the
    /// flight. A second PUBREC is taken again, so that its PUBREL is repeated.
    pub fn received_by_peer(
        &mut self,
        packet_identifier: PacketIdentifier,
        refused: bool,
    ) -> Acked {
        let Some(position) = self.position(packet_identifier) else {
            return Acked::Unknown;
        };
        match self.in_flight.get(position).map(|flight| flight.awaits) {
            None => return Acked::Unknown,
            Some(Awaits::PubAck) => return Acked::Wrong,
            Some(Awaits::PubRec) if refused => self.land(position),
            Some(Awaits::PubRec) => self.note_received(position),
            Some(Awaits::PubComp) => {}
        }
        Acked::Taken
    }

    /// The flight at `position` awaits PUBCOMP from now on, behind all others that do. It counts
    /// as sent, even if its PUBREC came before it was sent again: its PUBREL is.
    fn note_received(&mut self, position: usize) {
        let Some(mut flight) = self.in_flight.remove(position) else {
            return;
        };
        if !std::mem::replace(&mut flight.sent, true) {
            self.note_sent(flight.bytes);
        }
        flight.awaits = Awaits::PubComp;
        flight.delivery = None;
        let behind = self.awaiting_pubcomp();
        self.in_flight.insert(behind, flight);
    }

    /// How many flights, all in front, await PUBCOMP.
    fn awaiting_pubcomp(&self) -> usize {
        self.in_flight
            .iter()
            .take_while(|flight| flight.awaits == Awaits::PubComp)
            .count()
    }

    /// Whether the QoS 2 PUBLISH with this Packet Identifier was taken and not yet released.
    pub fn holds(&self, packet_identifier: PacketIdentifier) -> bool {
        self.received.binary_search(&packet_identifier).is_ok()
    }

    /// QoS 2 Packet Identifiers taken and not yet released.
    pub fn held(&self) -> usize {
        self.received.len()
    }

    /// Holds a QoS 2 Packet Identifier until it is released [MQTT-4.3.3-2] [MQTT5-4.3.3-8].
    pub fn hold(&mut self, packet_identifier: PacketIdentifier) {
        if let Err(position) = self.received.binary_search(&packet_identifier) {
            self.received.insert(position, packet_identifier);
        }
    }

    /// PUBREL: whether it was held.
    pub fn release(&mut self, packet_identifier: PacketIdentifier) -> bool {
        let Ok(position) = self.received.binary_search(&packet_identifier) else {
            return false;
        };
        self.received.remove(position);
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        true
    }

    /// What another member of a shared subscription may have when this session ends: what waits,
    /// and QoS 1 flights; a QoS 2 flight may have arrived and goes to nobody else
    /// [MQTT5-4.8.2-4] [MQTT5-4.8.2-5]. What is in the store alone comes later.
    pub fn into_shared(self) -> impl Iterator<Item = Delivery> {
        let flights = self.in_flight.into_iter().filter_map(|flight| {
            (flight.awaits == Awaits::PubAck)
                .then_some(flight.delivery)
                .flatten()
        });
        flights
            .chain(self.queue)
            .filter(|delivery| delivery.group.is_some())
    }

    /// Bookkeeping that must hold between any two packets.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        let sent = self.in_flight.iter().filter(|flight| flight.sent).count();
        if sent != usize::from(self.window_used) {
            return Err(format!(
                "{sent} flights sent, window says {}",
                self.window_used
            ));
        }
        if self.in_flight.iter().skip(sent).any(|flight| flight.sent) {
            return Err(String::from("a flight sent stands behind one that is not"));
        }
        let in_flight = self.in_flight.iter().take(sent);
        let bytes: u64 = in_flight.map(|flight| u64::from(flight.bytes)).sum();
        if bytes != self.window_bytes {
            return Err(format!(
                "{bytes} bytes in flight, window says {}",
                self.window_bytes
            ));
        }
        self.queue.check()?;
        let mut identifiers: Vec<_> = self
            .in_flight
            .iter()
            .map(|flight| flight.packet_identifier)
            .collect();
        identifiers.sort_unstable();
        identifiers.dedup();
        if identifiers.len() != self.in_flight.len() {
            return Err(String::from("a Packet Identifier is in flight twice"));
        }
        let mut behind = self.in_flight.iter().skip(self.awaiting_pubcomp());
        if behind.any(|flight| flight.awaits == Awaits::PubComp) {
            return Err(String::from(
                "a flight awaits PUBCOMP behind one that does not",
            ));
        }
        if !self.received.is_sorted_by(|a, b| a < b) {
            return Err(String::from("held Packet Identifiers are out of order"));
        }
        Ok(())
    }
}

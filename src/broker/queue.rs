//! Messages that wait behind the window of one session, oldest first. Where they are remembered, only
//! the ends of a long queue are in memory: the front, that is sent next, and the back, that is not
//! safe in the store yet. Those between them are in the store alone, and counted here.
//!
//! ```text
//!   front │ gap: first to last place, count, bytes │ back
//!   ──────┴──────── in the store alone ────────────┴──────
//! ```
//!
//! What is safe in the store goes from the back into the gap, and what is read from the store goes
//! from the gap to the front. So the order never changes. Apart from `inflight.rs`, which knows
//! nothing of where a message waits. It must never forget a message that is not in the store.

use super::key::{GroupId, Place};
use crate::limits;
use crate::message::{Message, QoS};
use crate::time::Mono;
use std::collections::VecDeque;
use std::rc::Rc;

/// Subscription Identifiers one message goes out with [MQTT5-3.3.4-3].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIdentifiers {
    /// No matching subscription has one.
    #[default]
    None,
    /// One.
    One(u32),
    /// One for each of several overlapping subscriptions [MQTT5-3.3.4-4].
    Many(Box<[u32]>),
}

impl SubscriptionIdentifiers {
    /// Each of them.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(identifier) => std::slice::from_ref(identifier),
            Self::Many(identifiers) => identifiers,
        }
    }
}

impl From<Option<u32>> for SubscriptionIdentifiers {
    fn from(identifier: Option<u32>) -> Self {
        identifier.map_or(Self::None, Self::One)
    }
}

/// One message for one session.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message, shared with everybody else who gets it.
    pub message: Rc<Message>,
    /// What its subscriptions are called.
    pub identifiers: SubscriptionIdentifiers,
    /// The shared subscription it came by, if it did.
    pub group: Option<GroupId>,
    /// Of this delivery.
    pub qos: QoS,
    /// The RETAIN flag it goes out with.
    pub retain: bool,
    /// Where it stands in the journal, if it is told of there.
    pub place: Option<Place>,
}

impl Delivery {
    /// What it counts for where bytes are limited: its payload, as with mosquitto.
    pub fn bytes(&self) -> u32 {
        counted(self.message.payload_bytes())
    }
}

/// Bytes as they are counted here: a packet's own bound is below 2^28.
pub fn counted(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// How much of a queue stays in memory where it need not.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload in them.
    pub bytes: u64,
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self {
        messages: usize::MAX,
        bytes: u64::MAX,
    };
}

impl Default for Share {
    fn default() -> Self {
        Self {
            messages: limits::QUEUE_SHARE_MESSAGES,
            bytes: limits::QUEUE_SHARE_BYTES,
        }
    }
}

/// Messages in the store alone.
#[derive(Debug)]
struct Gap {
    /// Messages in front of it.
    front: usize,
    /// None of its messages stands before this place.
    first: Place,
    /// Nor behind this one.
    last: Place,
    count: usize,
    bytes: u64,
    /// Whether its first messages are asked for.
    is_wanted: bool,
}

/// Messages that wait.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those in memory.
    messages: VecDeque<Delivery>,
    /// Bytes of payload in them.
    bytes: u64,
    /// None of them expires before this.
    expires_at: Mono,
    gap: Option<Box<Gap>>,
    /// Whether it is noted that some may leave memory when they are safe.
    is_long: bool,
}

/// Places that a queue begins with.
pub const FIRST_PLACES: usize = 4;

/// Places by which a full queue grows: by an eighth, not by as many as it has. Queues of sessions
/// that are away grow in step with one another, and what they have but do not use is memory
/// that nobody else can have.
fn places_more(capacity: usize) -> usize {
    (capacity / 8).max(FIRST_PLACES)
}

fn bytes_of<'d>(messages: impl Iterator<Item = &'d Delivery>) -> u64 {
    messages.map(|delivery| u64::from(delivery.bytes())).sum()
}

/// The place behind another.
fn behind(place: Place) -> Place {
    place.saturating_add(1)
}

impl Queue {
    /// Bytes of memory that one more message takes here.
    pub fn growth(&self) -> usize {
        let (len, capacity) = (self.messages.len(), self.messages.capacity());
        match len < capacity {
            true => 0,
            false => places_more(capacity) * size_of::<Delivery>(),
        }
    }

    /// Messages, wherever they are.
    pub fn len(&self) -> usize {
        self.messages.len() + self.stored()
    }

    /// Bytes of payload in them.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.gap.as_ref().map_or(0, |gap| gap.bytes)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.gap.is_none()
    }

    /// How many of them are in the store alone.
    pub fn stored(&self) -> usize {
        self.gap.as_ref().map_or(0, |gap| gap.count)
    }

    /// Between which places those are.
    pub fn stored_at(&self) -> Option<(Place, Place)> {
        self.gap.as_ref().map(|gap| (gap.first, gap.last))
    }

    /// Whether the next one is in the store alone.
    pub fn is_interrupted(&self) -> bool {
        self.gap.as_ref().is_some_and(|gap| gap.front == 0)
    }

    /// Those in memory, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.messages.iter()
    }

    /// Those in memory, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Delivery> {
        self.messages.iter_mut()
    }

    /// Adds a message behind all others.
    pub fn push(&mut self, delivery: Delivery) {
        self.note(&delivery);
        if self.messages.len() == self.messages.capacity() {
            let more = places_more(self.messages.len());
            self.messages.reserve_exact(more);
        }
        self.messages.push_back(delivery);
    }

    fn note(&mut self, delivery: &Delivery) {
        self.expires_at = self.expires_at.min(delivery.message.expires_at());
        self.bytes += u64::from(delivery.bytes());
    }

    /// Takes the message that has waited longest, if it is in memory.
    pub fn pop(&mut self) -> Option<Delivery> {
        if let Some(gap) = &mut self.gap {
            gap.front = gap.front.checked_sub(1)?;
        }
        let delivery = self.messages.pop_front();
        let bytes = delivery.as_ref().map_or(0, Delivery::bytes);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
        self.trim();
        delivery
    }

    /// An empty one owns no memory, and nobody is told of it.
    fn trim(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
            self.is_long = false;
        }
    }

    /// Forgets the messages in memory whose time is over, each told to `landed`; how many. Looks at
    /// them only if there can be one.
    pub fn drop_expired(&mut self, now: Mono, mut landed: impl FnMut(&Delivery)) -> usize {
        if now < self.expires_at {
            return 0;
        }
        let before = self.messages.len();
        let mut front = self.gap.as_ref().map_or(0, |gap| gap.front);
        let (mut index, mut in_front) = (0, 0);
        self.expires_at = Mono::NEVER;
        let expires_at = &mut self.expires_at;
        self.messages.retain(|delivery| {
            let is_due = delivery.message.expires_at() <= now;
            match is_due {
                true => landed(delivery),
                false => *expires_at = delivery.message.expires_at().min(*expires_at),
            }
            in_front += usize::from(is_due && index < front);
            index += 1;
            !is_due
        });
        front -= in_front;
        if let Some(gap) = &mut self.gap {
            gap.front = front;
        }
        self.bytes = bytes_of(self.messages.iter());
        let dropped = before - self.messages.len();
        self.trim();
        dropped
    }

    /// Whether more of it is in memory than need be, and nobody was told yet.
    pub fn grows_long(&mut self, share: &Share) -> bool {
        let is_above =
            self.gap.is_some() || self.messages.len() > share.messages || self.bytes > share.bytes;
        is_above && !std::mem::replace(&mut self.is_long, true)
    }

    /// All that is in memory is safe in the store: keeps the front of it, and of the rest, each told to
    /// `left`, the count.
    pub fn spill(&mut self, share: &Share, left: impl FnMut(Place)) {
        self.is_long = false;
        let kept = match &self.gap {
            Some(gap) => gap.front,
            None => self.kept(share),
        };
        let leaving = || self.messages.iter().skip(kept);
        // They all are remembered, or none of them is.
        let places = leaving().map(|delivery| delivery.place);
        let Some(places) = places.collect::<Option<Vec<Place>>>() else {
            return;
        };
        let (Some(first), Some(last)) = (places.first().copied(), places.last().copied()) else {
            return;
        };
        let (count, bytes) = (places.len(), bytes_of(leaving()));
        places.into_iter().for_each(left);
        self.widen(first, last, kept);
        if let Some(gap) = &mut self.gap {
            gap.count += count;
            gap.bytes += bytes;
        }
        self.messages.truncate(kept);
        self.messages.shrink_to(kept + kept / 4);
        self.bytes -= bytes;
    }

    /// Messages in front that stay in memory.
    fn kept(&self, share: &Share) -> usize {
        let mut bytes = 0;
        let fits = |delivery: &&Delivery| {
            bytes += u64::from(delivery.bytes());
            bytes <= share.bytes
        };
        let count = self.messages.iter().take(share.messages).take_while(fits);
        count.count().max(1)
    }

    /// Makes the gap reach to `last`, and begins it behind the messages in front if there is none.
    fn widen(&mut self, first: Place, last: Place, front: usize) {
        let gap = self.gap.get_or_insert_with(|| {
            Box::new(Gap {
                front,
                first,
                last,
                count: 0,
                bytes: 0,
                is_wanted: false,
            })
        });
        gap.last = gap.last.max(last);
    }

    /// Counts a message that is in the store, behind all others, if it need not be in memory:
    /// `true`, or else it is to be pushed.
    pub fn leave_stored(&mut self, place: Place, bytes: u64, share: &Share) -> bool {
        let is_short = self.messages.len() < share.messages && self.bytes + bytes <= share.bytes;
        if self.gap.is_none() && (is_short || self.messages.is_empty()) {
            return false;
        }
        self.widen(place, place, self.messages.len());
        if let Some(gap) = &mut self.gap {
            gap.count += 1;
            gap.bytes += bytes;
        }
        true
    }

    /// Whether messages are to be read from the store now, so that the next are there when they are
    /// sent; and from now on they are asked for.
    pub fn wants_stored(&mut self, share: &Share) -> bool {
        let bytes = self.bytes;
        let Some(gap) = &mut self.gap else {
            return false;
        };
        let is_low = gap.front <= share.messages / 2 && bytes <= share.bytes / 2;
        (is_low || gap.front == 0) && !std::mem::replace(&mut gap.is_wanted, true)
    }

    /// Whether messages are asked for.
    pub fn is_wanting(&self) -> bool {
        self.gap.as_ref().is_some_and(|gap| gap.is_wanted)
    }

    /// Nobody reads messages for it any more.
    pub fn wants_none(&mut self) {
        if let Some(gap) = &mut self.gap {
            gap.is_wanted = false;
        }
    }

    /// Takes messages that were read from the store, from `first` on; the next one there may be at
    /// `next`. How many are not there which should be; `None`: they were not asked for, and are
    /// dropped.
    pub fn fill(&mut self, first: Place, found: Vec<Delivery>, next: Place) -> Option<usize> {
        let gap = self.gap.as_mut()?;
        if gap.first != first || !gap.is_wanted {
            return None;
        }
        let (count, bytes) = (found.len(), bytes_of(found.iter()));
        let back = self.messages.split_off(gap.front);
        gap.is_wanted = false;
        gap.front += count;
        gap.first = next.max(behind(first));
        gap.count = gap.count.saturating_sub(count);
        gap.bytes = gap.bytes.saturating_sub(bytes);
        let missing = (gap.first > gap.last).then_some(gap.count);
        self.messages.reserve_exact(count + back.len());
        for delivery in found {
            self.note(&delivery);
            self.messages.push_back(delivery);
        }
        self.messages.extend(back);
        if missing.is_some() {
            self.gap = None;
        }
        Some(missing.unwrap_or_default())
    }

    /// What is in the store alone is lost: how many.
    pub fn lose_stored(&mut self) -> usize {
        self.gap.take().map_or(0, |gap| gap.count)
    }

    /// Bookkeeping that must hold between any two packets.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        if bytes_of(self.messages.iter()) != self.bytes {
            return Err(String::from("the bytes of the queue are miscounted"));
        }
        let places = self.messages.iter().filter_map(|delivery| delivery.place);
        let places: Vec<_> = places.collect();
        if !places.is_sorted_by(|a, b| a < b) {
            return Err(String::from("the queue is out of order"));
        }
        let Some(gap) = &self.gap else {
            return Ok(());
        };
        let (front, back) = places
            .split_at_checked(gap.front)
            .ok_or("the gap of the queue is behind its end")?;
        let is_between = front.last().is_none_or(|place| *place < gap.first)
            && back.first().is_none_or(|place| *place > gap.last)
            && gap.first <= gap.last;
        match is_between {
            true => Ok(()),
            false => Err(String::from(
                "the gap of the queue is not where it should be",
            )),
        }
    }
}

impl IntoIterator for Queue {
    type Item = Delivery;
    type IntoIter = std::collections::vec_deque::IntoIter<Delivery>;

    /// Those in memory.
    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

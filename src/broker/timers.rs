//! Deadlines. Arming one is a push, re-arming costs nothing: whoever owns a timer holds the instant
//! its entry was armed for, an entry that finds another instant there is stale, and one that fires
//! before its owner's real deadline is armed again for that. So Keep Alive, which moves with every
//! packet, touches this heap once in one and a half Keep Alives.

use super::key::{ConnId, SessionId};
use crate::limits;
use crate::time::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// A connection's: CONNECT wait, then Keep Alive and the end of a packet.
    Connection(ConnId),
    /// An absent session's: Will Delay, then Session Expiry.
    Session(SessionId),
    /// The sweep for expired retained messages.
    Sweep,
    /// The next publication of `$SYS`.
    Sys,
}

/// One armed deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When it is due.
    pub at: Mono,
    /// Whose it is.
    pub key: TimerKey,
}

/// All deadlines, the next one first.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
}

impl Timers {
    /// Arms `key` for `at`, unless `armed` (its owner's note of the entry in here) comes no later:
    /// that entry will find the new deadline when it fires.
    pub fn arm(&mut self, key: TimerKey, at: Mono, armed: &mut Mono) {
        if at < *armed {
            *armed = at;
            self.heap.push(Reverse(Timer { at, key }));
        }
    }

    /// When the next entry is due.
    pub fn next(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    /// Takes the next entry if it is due.
    pub fn pop_due(&mut self, now: Mono) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let next = self.heap.pop().map(|Reverse(timer)| timer);
        // After a storm of clients, what it needed is given back.
        if self.heap.capacity() > limits::TURN_LIST_PLACES.max(4 * self.heap.len()) {
            self.heap.shrink_to(2 * self.heap.len());
        }
        next
    }

    /// Entries, stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Forgets the entries that `is_armed` does not know.
    pub fn retain(&mut self, is_armed: impl Fn(&Timer) -> bool) {
        self.heap.retain(|Reverse(timer)| is_armed(timer));
        self.heap.shrink_to(2 * self.heap.len());
    }
}

//! `memory_limit` as a promise: how much of it is in use, what that still allows, and what the log
//! is told of what it did not. The measure is the heap itself, by a gauge that the shell hands in;
//! nothing here adds up estimates of what was allocated before. It must never end or drop anything
//! itself: it answers, and whoever asked refuses.
//!
//! ```text
//!   sixteenths  0          10            12            13           14            15        16
//!               │ anything │ QoS 0, not  │ nothing new │ no parts   │ no new      │ no Will │
//!               │          │ to slow     │ that has    │ of long    │ connections │         │
//!               │          │ readers     │ to wait     │ packets    │             │         │
//! ```
//!
//! Parts of packets come before connections: they are not accepted yet, and two clients that never
//! end their packets must not keep all others out.
//!
//! What a peer's bytes can make grow, and what holds it. Where a step needs memory at once, its
//! bytes are asked for with the question; the rest is small and fits above the last mark.
//!
//! | what grows | bound without a limit | asked with one, and what a refusal does |
//! |---|---|---|
//! | QoS 0 in a write queue | [`limits::WRITE_QUEUE_BYTES_MAX`] a client | at each delivery: dropped, counted |
//! | queues of sessions, retained messages | `max_queued_*`; nothing | before a PUBLISH is passed on at all: 0x97; 3.x loses its connection |
//! | queues that are in the store, as they are read from it | [`limits::QUEUE_SHARE_BYTES`] a client | one at a time |
//! | messages in flight, and their bytes in a write queue | `max_inflight_*` | with the PUBLISH; and filling a window goes on one by one |
//! | QoS 2 Packet Identifiers held | Receive Maximum, 65,535 for 3.x | with the PUBLISH |
//! | subscriptions and shared groups | nothing | each new one: 0x97, 0x80; 3.1 loses its connection |
//! | connections, sessions, Wills, the tables they stand in | `max_connections`, `global_max_clients` | when accepted, and at CONNECT: 0x97, or 0x03 |
//! | CONNECTs that wait, memory for a hash | [`limits::LOGIN_BYTES_MAX`], the files' own figures | at CONNECT |
//! | the part of a packet that has come | `max_packet_size` a client | at each read: closed |
//! | Topic Aliases of a client | `max_topic_alias` topics | at each new one: closed |
//! | answers to a client that does not read | [`limits::READ_PAUSE_ABOVE_BYTES`] | less: it is not heard until it reads |
//! | codes of a SUBACK or UNSUBACK | the packet that asks | before anything is done: closed |
//! | retained messages replayed | [`limits::REPLAY_BELOW_BYTES`] a client | one at a time |
//! | a Will that is published, `$SYS`, lines of the log on topics | as any message | dropped, counted |
//!
//! What the operator asks for (files that are read again, the list of all subscriptions) is not
//! held against the limit.

use super::stats::Stats;
use crate::limits;
use crate::time::{Mono, Now};

/// Bytes of heap in use now.
pub type Gauge = fn() -> usize;

/// What is refused for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A QoS 0 message to one client, or one that nobody can be told of.
    Sending,
    /// A message that would have to be kept.
    Message,
    /// A subscription.
    Subscription,
    /// A connection, before or at its CONNECT.
    Connection,
    /// A packet that is not whole yet, or that cannot be worked off.
    Packet,
}

impl Refused {
    const ALL: [Self; 5] = [
        Self::Sending,
        Self::Message,
        Self::Subscription,
        Self::Connection,
        Self::Packet,
    ];

    /// What the broker is doing, for the log.
    fn words(self) -> &'static str {
        match self {
            Self::Sending => "dropping messages on the way to clients",
            Self::Message => "refusing messages that would have to wait",
            Self::Subscription => "refusing new subscriptions",
            Self::Connection => "refusing new connections",
            Self::Packet => "closing connections whose packets need more",
        }
    }

    fn counter(self, stats: &mut Stats) -> &mut u64 {
        match self {
            Self::Sending => &mut stats.dropped_memory,
            Self::Message => &mut stats.refused_messages,
            Self::Subscription => &mut stats.refused_subscriptions,
            Self::Connection => &mut stats.refused_connections,
            Self::Packet => &mut stats.refused_packets,
        }
    }
}

/// A stretch of time in which something is refused again and again.
#[derive(Clone, Copy, Debug, Default)]
struct Episode {
    /// How often; 0 while there is no episode.
    count: u64,
    /// When it is over, unless something is refused before.
    ends_at: Mono,
}

/// The limit, and what is in use of it.
#[derive(Debug)]
pub struct Memory {
    gauge: Gauge,
    /// Bytes; 0: there is no limit.
    limit: usize,
    /// The most that was in use at the end of any turn.
    maximum: usize,
    /// One for each of [`Refused::ALL`].
    episodes: [Episode; Refused::ALL.len()],
    /// When the next of them may be over.
    check_at: Mono,
}

impl Memory {
    /// Memory that nothing is known of yet.
    pub fn new(limit: u64) -> Self {
        Self {
            gauge: || 0,
            limit: bytes_of(limit),
            maximum: 0,
            episodes: Default::default(),
            check_at: Mono::NEVER,
        }
    }

    /// Asks `gauge` from now on.
    pub fn measure(&mut self, gauge: Gauge) {
        self.gauge = gauge;
        self.warn_if_above();
    }

    /// Puts another `memory_limit` in force.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = bytes_of(limit);
        self.warn_if_above();
    }

    fn warn_if_above(&self) {
        if self.holds(0, limits::MEMORY_CONNECTIONS) {
            return;
        }
        log::warn!(
            "{} bytes are in use, which leaves no room for connections below the memory_limit of \
             {} bytes. Raise it.",
            self.in_use(),
            self.limit
        );
    }

    /// Bytes in use now.
    pub fn in_use(&self) -> usize {
        (self.gauge)()
    }

    /// The most that was in use at the end of any turn.
    pub fn maximum(&self) -> usize {
        self.maximum.max(self.in_use())
    }

    /// Whether there is a limit at all: everything is possible where there is none.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.limit != 0
    }

    /// Whether `bytes` more leave the heap within so many sixteenths of the limit.
    #[inline]
    pub fn holds(&self, bytes: usize, sixteenths: usize) -> bool {
        !self.is_limited() || self.in_use().saturating_add(bytes) <= self.mark(sixteenths)
    }

    /// Whether `bytes` more leave the heap within so many sixteenths of the limit, even if
    /// everything that is there now took twice the room: no table grows by more than it has.
    pub fn holds_easily(&self, bytes: usize, sixteenths: usize) -> bool {
        self.holds(self.in_use().saturating_add(bytes), sixteenths)
    }

    fn mark(&self, sixteenths: usize) -> usize {
        self.limit / 16 * sixteenths
    }

    /// Whether a QoS 0 message that needs `bytes` may go to a client for which so much waits.
    /// `Choice:` who is slow is told by how much that is, not by whether it is anything: until the
    /// end of a turn something waits for the promptest.
    pub fn may_send(&self, waiting_bytes: usize, bytes: usize) -> bool {
        let sixteenths = if waiting_bytes <= limits::PROMPT_READER_BYTES {
            limits::MEMORY_CONNECTIONS
        } else if waiting_bytes <= limits::SLOW_READER_BYTES {
            limits::MEMORY_QUEUES
        } else {
            limits::MEMORY_SLOW_READERS
        };
        self.holds(bytes, sixteenths)
    }

    /// Bytes by which the part of a packet that has come may grow.
    pub fn stash_bytes_max(&self) -> usize {
        match self.is_limited() {
            true => self
                .mark(limits::MEMORY_PACKETS)
                .saturating_sub(self.in_use()),
            false => usize::MAX,
        }
    }

    /// Bytes of its own that may wait for a client before it is not heard any more.
    pub fn answer_bytes_max(&self) -> usize {
        if self.holds(0, limits::MEMORY_QUEUES) {
            limits::READ_PAUSE_ABOVE_BYTES
        } else if self.holds(0, limits::MEMORY_CONNECTIONS) {
            limits::READ_PAUSE_SHORT_BYTES
        } else {
            0
        }
    }

    /// Counts something that was refused, which needed `bytes`. The first of an episode is said in
    /// the log.
    #[cold]
    pub fn refuse(&mut self, what: Refused, bytes: usize, stats: &mut Stats, now: Now) {
        *what.counter(stats) += 1;
        let ends_at = now.mono.plus_s(limits::MEMORY_EPISODE_S);
        let (in_use, limit) = (self.in_use(), self.limit);
        let Some(episode) = self.episodes.get_mut(what as usize) else {
            debug_assert!(false, "there is one for each");
            return;
        };
        if episode.count == 0 {
            log::warn!(
                "Memory is short: {}. {in_use} bytes are in use, {bytes} more are needed, and \
                 memory_limit is {limit}.",
                what.words()
            );
        }
        episode.count += 1;
        episode.ends_at = ends_at;
        self.check_at = self.check_at.min(ends_at);
    }

    /// Once a turn: notes how much is in use, and ends the episodes that are over.
    pub fn turn(&mut self, now: Now) {
        self.maximum = self.maximum();
        if self.check_at <= now.mono {
            self.end_episodes(now);
        }
    }

    #[cold]
    fn end_episodes(&mut self, now: Now) {
        self.check_at = Mono::NEVER;
        for (what, episode) in Refused::ALL.iter().zip(&mut self.episodes) {
            if episode.count > 0 && episode.ends_at <= now.mono {
                let (words, count) = (what.words(), episode.count);
                log::warn!("Memory suffices again: no longer {words}, after {count} times.");
                *episode = Episode::default();
            } else if episode.count > 0 {
                self.check_at = self.check_at.min(episode.ends_at);
            }
        }
    }

    /// When the next episode may be over; [`Mono::NEVER`] without one.
    pub fn check_at(&self) -> Mono {
        self.check_at
    }
}

/// A limit beyond what this machine can address is none that could be reached.
fn bytes_of(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

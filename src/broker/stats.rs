//! Plain counters of what happened since the start, and what `$SYS` has told of them. Counting is
//! an addition where it happens and nothing more.

use crate::time::Mono;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Network Connections accepted.
    pub connections_opened: u64,
    /// CONNECT packets received.
    pub connect_received: u64,
    /// Packets received, whole ones.
    pub messages_received: u64,
    /// Packets put on clients' write queues.
    pub messages_sent: u64,
    /// Bytes received, of whole packets and of what came with the one a connection ended over.
    pub bytes_received: u64,
    /// Bytes put on clients' write queues.
    pub bytes_sent: u64,
    /// PUBLISH packets taken from clients.
    pub publish_received: u64,
    /// PUBLISH packets put on clients' write queues.
    pub publish_sent: u64,
    /// Bytes of payload in the PUBLISH packets taken.
    pub publish_bytes_received: u64,
    /// Bytes of payload in the PUBLISH packets sent.
    pub publish_bytes_sent: u64,
    /// Sessions of absent clients that came to their end.
    pub sessions_expired: u64,
    /// QoS 0 messages not sent because their reader had too much waiting.
    pub dropped_slow_reader: u64,
    /// QoS 1 and 2 messages not queued because the session's queue was full.
    pub dropped_queue_full: u64,
    /// Messages from clients whose payload is above `message_size_limit`.
    pub dropped_message_size: u64,
    /// Messages larger than their receiver's Maximum Packet Size.
    pub dropped_oversize: u64,
    /// Messages that expired before they could be sent.
    pub dropped_expired: u64,
    /// Messages dropped for want of memory, where nobody could be told.
    pub dropped_memory: u64,
    /// Messages refused for want of memory.
    pub refused_messages: u64,
    /// Subscriptions refused for want of memory.
    pub refused_subscriptions: u64,
    /// Connections refused for want of memory.
    pub refused_connections: u64,
    /// Connections closed because a packet of theirs needed more memory than there was.
    pub refused_packets: u64,
    /// What keeps the state over a restart.
    pub store: StoreStats,
}

/// Counts of what keeps the state over a restart, made by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Whether there is such a thing.
    pub is_on: bool,
    /// Transactions made safe.
    pub commits: u64,
    /// Bytes written for them and between them, as the kernel counts them for the disk.
    pub bytes: u64,
    /// The same since midnight, by the wall clock and UTC.
    pub commits_today: u64,
    /// And these.
    pub bytes_today: u64,
    /// Microseconds of the loop's time that they took.
    pub busy_us: u64,
    /// Times that the disk refused.
    pub failures: u64,
    /// Databases put aside because they could not be used.
    pub damaged: u64,
}

impl Stats {
    /// Messages dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_slow_reader
            + self.dropped_queue_full
            + self.dropped_message_size
            + self.dropped_oversize
            + self.dropped_expired
            + self.dropped_memory
    }
}

/// `$SYS` from one publication to the next.
#[derive(Debug)]
pub struct Sys {
    /// The next publication's entry in the deadline heap.
    pub timer_at: Mono,
    /// The last publication; `None` before the first.
    pub told: Option<Box<Told>>,
}

impl Default for Sys {
    fn default() -> Self {
        Self {
            timer_at: Mono::NEVER,
            told: None,
        }
    }
}

/// One publication of `$SYS`, as the next one needs to know it.
#[derive(Debug)]
pub struct Told {
    /// When the first one was.
    pub started: Mono,
    /// When it was.
    pub at: Mono,
    /// The counters that its loads were of.
    pub stats: Stats,
    /// The most sessions there were at any publication.
    pub sessions_max: u64,
    /// The counts told, in the order of their topics.
    pub counts: Vec<u64>,
    /// The last count told on each topic of the store.
    pub store: Vec<u64>,
    /// The loads told, in the order of their topics.
    pub loads: Vec<f64>,
    /// The days told for which certificates hold, by listener.
    pub days_left: Vec<(String, u64)>,
}

/// How much the broker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sizes {
    pub connections: usize,
    pub sessions: usize,
    pub subscriptions: usize,
    pub retained: usize,
}

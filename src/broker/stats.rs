//! Plain counters of what happened since the start.

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
    /// Messages larger than their receiver's Maximum Packet Size.
    pub dropped_oversize: u64,
    /// Messages that expired before they could be sent.
    pub dropped_expired: u64,
}

impl Stats {
    /// Messages dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_slow_reader
            + self.dropped_queue_full
            + self.dropped_oversize
            + self.dropped_expired
    }
}

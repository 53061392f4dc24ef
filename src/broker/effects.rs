//! What the core asks of the shell. Filled by the core, drained by the shell once a turn.

use super::journal::Journal;
use super::key::ConnId;
use crate::write_queue::SpareBuffers;

/// Requests to the shell, in order. The buffers are reused from turn to turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections whose write queue went from empty to waiting.
    pub dirty: Vec<ConnId>,
    /// Connections to close once their write queue is flushed or cannot be.
    pub closes: Vec<ConnId>,
    /// Connections to be read from again, whose bytes that were not used are offered again first.
    pub again: Vec<ConnId>,
    /// Whether a write queue has just become so long that it is to be written before any client is
    /// heard again: soon QoS 0 messages would be dropped, and its own client may read well.
    pub is_flush_due: bool,
    /// Write buffers that the shell has emptied, for the core to fill again.
    pub spare: SpareBuffers,
    /// What is to be remembered.
    pub journal: Journal,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty()
            && self.closes.is_empty()
            && self.again.is_empty()
            && self.journal.is_empty()
    }
}

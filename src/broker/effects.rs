//! What the core asks of the shell. Filled by the core, drained by the shell once a turn.

use super::journal::Journal;
use super::key::{ConnId, SessionId};
use super::record::Recall;
use super::session::Session;
use crate::limits;
use crate::write_queue::Buffers;

/// Requests to the shell, in order. The buffers are reused from turn to turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections whose write queue went from empty to waiting.
    pub dirty: Vec<ConnId>,
    /// Connections to close once their write queue is flushed or cannot be.
    pub closes: Vec<ConnId>,
    /// Connections to be read from again, whose bytes that were not used are offered again first.
    pub again: Vec<ConnId>,
    /// What this turn has done for clients: deliveries, or receivers weighed for one, and nodes of the
    /// tree visited to find them.
    pub work: usize,
    /// What write queues have in common: the shell empties it, for the core to fill again.
    pub buffers: Buffers,
    /// What is to be remembered.
    pub journal: Journal,
    /// Messages to be read from where they are remembered, for [`super::Broker::recalled`].
    pub recalls: Vec<Recall>,
    /// Sessions that have few messages left in memory, and more in the store.
    pub wanting: Vec<SessionId>,
}

impl Effects {
    /// Whether this turn has done enough for clients, or should send first what it has done.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.work > limits::DELIVERIES_PER_TURN
    }

    /// Has what waits written before any client is heard again: a queue has become so long that soon
    /// QoS 0 messages would be dropped, and its own client may read well.
    pub fn demand_flush(&mut self) {
        self.work = usize::MAX;
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty()
            && self.closes.is_empty()
            && self.again.is_empty()
            && self.journal.is_empty()
            && self.recalls.is_empty()
    }

    /// What could be sent of a queue was sent: has more of it read, if that is needed.
    #[inline]
    pub fn want_stored(&mut self, id: Option<SessionId>, session: &mut Session) {
        let (Some(id), Some(flights)) = (id, &mut session.flights) else {
            return;
        };
        if flights.queue_mut().wants_stored(self.journal.share()) {
            self.wanting.push(id);
        }
    }
}

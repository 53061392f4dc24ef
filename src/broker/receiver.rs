//! Whom a message is for. Apart from `deliver.rs`, which gives it to them.

use super::inflight::{Delivery, SubscriptionIdentifiers};
use super::key::{GroupId, SessionId};
use crate::message::{Publication, QoS};

/// For whom a message is, and on which terms.
#[derive(Debug)]
pub struct Receiver {
    /// Whose.
    pub session: SessionId,
    /// QoS it goes out with.
    pub qos: QoS,
    /// RETAIN flag it goes out with.
    pub retain: bool,
    /// What the matching subscriptions are called.
    pub identifiers: SubscriptionIdentifiers,
    /// The shared subscription it came by, if it did.
    pub group: Option<GroupId>,
}

impl Receiver {
    /// The message as it is kept for this receiver.
    pub fn delivery(self, publication: &mut Publication<'_>) -> Delivery {
        Delivery {
            message: publication.message(),
            identifiers: self.identifiers,
            group: self.group,
            qos: self.qos,
            retain: self.retain,
            place: None,
        }
    }
}

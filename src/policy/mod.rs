//! Who may do what: four questions, asked by the core at the four places where they matter, and
//! answered here alone.

pub mod acl;
pub mod hash;
pub mod password;

use crate::config::{Config, Security};
use crate::message::Identity;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No username, and clients without one are not let in.
    Anonymous,
    /// A username, but nobody has a list of users to find it in.
    NoUsers,
}

/// The rules in force.
#[derive(Debug)]
pub struct Policy {}

impl Policy {
    /// The rules that `config` sets.
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    /// May this client connect by a listener with these settings? There is no list of users to hold
    /// `password` against yet. So, as with a mosquitto that has none, every username is taken where
    /// clients without one are let in, and none where they are not.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        identity: &Identity,
        password: Option<&[u8]>,
        security: &Security,
    ) -> Result<(), Refusal> {
        let _ = password;
        match identity.username.as_deref() {
            _ if security.allow_anonymous => Ok(()),
            // Choice: an empty username is none, as with mosquitto.
            None | Some("") => Err(Refusal::Anonymous),
            Some(_) => Err(Refusal::NoUsers),
        }
    }

    /// May this client publish to this topic? `$SYS` is the broker's own, except for the state that
    /// a bridge tells of itself.
    pub fn may_publish(&self, _identity: &Identity, topic: &TopicName<'_>) -> bool {
        match topic.as_str().strip_prefix("$SYS/") {
            None => topic.as_str() != "$SYS",
            Some(rest) => is_bridge_state(rest),
        }
    }

    /// May this client subscribe with this filter?
    pub fn may_subscribe(&self, _identity: &Identity, _filter: &TopicFilter<'_>) -> bool {
        true
    }

    /// May this client receive a message on this topic?
    pub fn may_receive(&self, _identity: &Identity, _topic: &str) -> bool {
        true
    }
}

/// Whether what follows `$SYS/` is `broker/connection/NAME/state`.
fn is_bridge_state(rest: &str) -> bool {
    rest.strip_prefix("broker/connection/")
        .and_then(|rest| rest.strip_suffix("/state"))
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

//! Who may do what: four questions, asked by the core at the four places where they matter, and
//! answered here alone.

use crate::config::Config;
use crate::message::Identity;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No username, and clients without one are not let in.
    Anonymous,
}

/// The rules in force.
#[derive(Debug)]
pub struct Policy {
    allow_anonymous: bool,
}

impl Policy {
    /// The rules that `config` sets.
    pub fn new(config: &Config) -> Self {
        Self {
            allow_anonymous: config.allow_anonymous,
        }
    }

    /// May this client connect? There is no list of users to hold `password` against yet, so that,
    /// as with a mosquitto that has none, every username is taken.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, identity: &Identity, password: Option<&[u8]>) -> Result<(), Refusal> {
        let _ = password;
        match identity.username.as_deref() {
            // Choice: an empty username is none, as with mosquitto.
            None | Some("") if !self.allow_anonymous => Err(Refusal::Anonymous),
            _ => Ok(()),
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

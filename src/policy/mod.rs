//! Who may do what: four questions, asked by the core at the four places where they matter, and
//! answered here alone, by the rules of the listener that the client came by.

pub mod acl;
pub mod hash;
mod lists;
pub mod password;

pub use lists::Lists;

use crate::config::Config;
use crate::message::Identity;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use acl::{Access, AclFile, is_ambiguous};
use password::{Check, PasswordFile};
use std::rc::Rc;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No username, and clients without one are not let in.
    Anonymous,
    /// A username, but nobody has a list of users to find it in.
    NoUsers,
    /// There is no such user, or the password is not that user's: nobody is told which.
    Credentials,
}

/// What is to be done with a client that wants to come in.
#[derive(Debug)]
pub enum Admission {
    /// It may come in.
    Granted,
    /// It may if this says so, which costs time.
    Check(Check),
}

/// The rules in force.
#[derive(Debug)]
pub struct Policy {
    /// In the order of the listeners.
    rules: Box<[Rules]>,
    /// Whether any listener has an access control file.
    has_access_lists: bool,
}

/// The rules of one listener.
#[derive(Debug)]
struct Rules {
    allow_anonymous: bool,
    users: Option<Rc<PasswordFile>>,
    access: Option<Rc<AclFile>>,
    deny_special_chars: bool,
}

impl Policy {
    /// The rules that `config` sets. A file that it names and that is not among `lists` is taken as
    /// an empty one: it lets nobody in, and allows nothing.
    pub fn new(config: &Config, lists: &Lists) -> Self {
        let rules = config.listeners.iter().map(|listener| {
            let security = &listener.security;
            Rules {
                allow_anonymous: security.allow_anonymous,
                users: security
                    .password_file
                    .as_ref()
                    .map(|path| lists.users(path)),
                access: security.acl_file.as_ref().map(|path| lists.access(path)),
                deny_special_chars: security.deny_special_chars,
            }
        });
        let rules: Box<[Rules]> = rules.collect();
        Self {
            has_access_lists: rules.iter().any(|rules| rules.access.is_some()),
            rules,
        }
    }

    /// The rules for this client; `None`: it came by no listener that there is.
    fn rules_of(&self, identity: &Identity) -> Option<&Rules> {
        self.rules.get(identity.listener)
    }

    /// May this client connect? Without a list of users it is as with a mosquitto that has none:
    /// every username is taken where clients without one are let in, and none where they are not.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        identity: &Identity,
        password: Option<&[u8]>,
    ) -> Result<Admission, Refusal> {
        let rules = self.rules_of(identity).ok_or(Refusal::NoUsers)?;
        match (identity.username.as_deref(), &rules.users) {
            (Some(username), Some(users)) => Ok(Admission::Check(users.check(username, password))),
            _ if rules.allow_anonymous => Ok(Admission::Granted),
            (None, _) => Err(Refusal::Anonymous),
            (Some(_), None) => Err(Refusal::NoUsers),
        }
    }

    /// May this client publish to this topic? `$SYS` is the broker's own, except for the state that
    /// a bridge tells of itself.
    pub fn may_publish(&self, identity: &Identity, topic: &TopicName<'_>) -> bool {
        let is_free = !topic.starts_with_dollar() || is_free(topic.as_str());
        is_free && (!self.has_access_lists || self.may(Access::Write, identity, topic))
    }

    /// May this client subscribe with this filter? Choice: always, as with mosquitto's access
    /// control file, whose read rights are asked about each message that is delivered.
    pub fn may_subscribe(&self, _identity: &Identity, _filter: &TopicFilter<'_>) -> bool {
        true
    }

    /// May this client receive a message on this topic, a valid Topic Name? Costs nothing where
    /// there is no access control file.
    pub fn may_receive(&self, identity: &Identity, topic: &str) -> bool {
        if !self.has_access_lists {
            return true;
        }
        TopicName::new(topic).is_ok_and(|topic| self.may(Access::Read, identity, &topic))
    }

    /// Whether every client may publish to every topic that does not begin with `$`.
    pub fn lets_all_publish(&self) -> bool {
        !self.has_access_lists
    }

    /// Whether every client may receive on every topic.
    pub fn lets_all_receive(&self) -> bool {
        !self.has_access_lists
    }

    fn may(&self, access: Access, identity: &Identity, topic: &TopicName<'_>) -> bool {
        let Some(rules) = self.rules_of(identity) else {
            return false;
        };
        let Some(file) = &rules.access else {
            return true;
        };
        if rules.deny_special_chars && is_ambiguous(identity) {
            return false;
        }
        file.may(access, identity, topic)
    }
}

/// Whether a topic is none of the broker's own.
fn is_free(topic: &str) -> bool {
    match topic.strip_prefix("$SYS/") {
        None => topic != "$SYS",
        Some(rest) => is_bridge_state(rest),
    }
}

/// Whether what follows `$SYS/` is `broker/connection/NAME/state`.
fn is_bridge_state(rest: &str) -> bool {
    rest.strip_prefix("broker/connection/")
        .and_then(|rest| rest.strip_suffix("/state"))
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

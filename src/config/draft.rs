//! A configuration while its lines are still coming in: what was said so far, by whom, and where
//! the next option goes.
//!
//! It is apart from [`Config`] because much of it is not yet known there: whose security settings
//! a listener has, and whether there is a listener at all, is seen at the end.

use super::listener::{Bind, Listener, Security};
use super::options::{Kind, Opt, Scope, Section, Target};
use super::parse::Place;
use super::problem::Problem;
use super::reading::Of;
use super::value::{Invalid, Rule, Value};
use super::{Bridge, Config, Destinations, LogTypes};
use std::collections::HashMap;

/// Security settings as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecurityDraft {
    pub(super) allow_anonymous: Option<bool>,
    pub(super) password_file: Option<String>,
    pub(super) acl_file: Option<String>,
    pub(super) psk_file: Option<String>,
    pub(super) allow_zero_length_clientid: Option<bool>,
    pub(super) auto_id_prefix: Option<String>,
    pub(super) deny_special_chars: Option<bool>,
}

/// A listener as it was given.
#[derive(Clone, Debug)]
pub(super) struct ListenerDraft {
    pub(super) place: Place,
    pub(super) listener: Listener,
    /// Its own settings, with `per_listener_settings`.
    pub(super) security: SecurityDraft,
    /// Its own settings in any case.
    pub(super) overrides: SecurityDraft,
    /// Plugins by their place in [`Draft::plugins`].
    pub(super) plugins: Vec<usize>,
}

/// A plugin as it was given.
#[derive(Clone, Debug)]
pub(super) struct PluginDraft {
    pub(super) place: Place,
    pub(super) name: Option<String>,
    pub(super) path: String,
    pub(super) options: Vec<(String, String, Place)>,
    pub(super) deny_special_chars: bool,
}

/// Whose an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Broker,
    DefaultListener,
    Listener(usize),
    Bridge(usize),
    Plugin(usize),
}

/// What the next options of each scope belong to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    pub(super) listener: Option<usize>,
    pub(super) bridge: Option<usize>,
    pub(super) plugin: Option<usize>,
}

/// What was said so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) security: SecurityDraft,
    pub(super) default_listener: ListenerDraft,
    /// Whether `port` or `bind_address` asks for the default listener.
    pub(super) default_is_asked: bool,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) bridges: Vec<(Bridge, Place)>,
    pub(super) plugins: Vec<PluginDraft>,
    /// Plugins of all listeners.
    pub(super) global_plugins: Vec<usize>,
    pub(super) current: Current,
    /// Whether a security option has been given, so that it is settled whose those are.
    pub(super) security_is_settled: bool,
    /// What was set for the default listener, which there may not be.
    pub(super) for_default: Vec<(&'static str, Place)>,
    seen: HashMap<(Owner, &'static str), Place>,
}

/// An option that was taken.
#[derive(Debug)]
pub(super) struct Set {
    /// The option itself, where the line has another name of it.
    pub(super) option: &'static Opt,
    /// Whether it makes a difference.
    pub(super) matters: bool,
    /// Where it stands before.
    pub(super) first: Option<Place>,
}

impl Draft {
    pub(super) fn new() -> Self {
        let mut config = Config::without_listeners();
        // Each line adds to these; if none does, the defaults come back in the end.
        config.log.destinations = Destinations::none();
        config.log.types = LogTypes::NONE;
        Self {
            config,
            security: SecurityDraft::default(),
            default_listener: ListenerDraft::new(Listener::default(), Place::command_line()),
            default_is_asked: false,
            listeners: Vec::new(),
            bridges: Vec::new(),
            plugins: Vec::new(),
            global_plugins: Vec::new(),
            current: Current::default(),
            security_is_settled: false,
            for_default: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// A new file begins; what was current is handed out, to come back in
    /// [`end_file`](Self::end_file).
    pub(super) fn begin_file(&mut self) -> Current {
        std::mem::take(&mut self.current)
    }

    pub(super) fn end_file(&mut self, current: Current) {
        self.current = current;
    }

    /// Where `owner` was given the option `name` last.
    pub(super) fn place(&self, owner: Owner, name: &'static str) -> Option<&Place> {
        self.seen.get(&(owner, name))
    }

    /// Takes the option, written as `name`, with `value`.
    pub(super) fn set(
        &mut self,
        option: &'static Opt,
        name: &str,
        value: &mut Value<'_>,
        place: &Place,
    ) -> Result<Set, Problem> {
        let option = option.itself();
        let wrong = |invalid, first| Problem::Value {
            name: name.to_owned(),
            invalid,
            first,
        };
        let owner = self.owner(option).map_err(|invalid| wrong(invalid, None))?;
        let key = (owner, option.name);
        let first = self.seen.get(&key).cloned();
        let matters = match option.target() {
            Target::Section(_, section, _) => {
                self.section(*section, name, value, place)?;
                true
            }
            _ => self
                .set_field(option, owner, value)
                .map_err(|invalid| match invalid {
                    Invalid::Duplicate => wrong(invalid, first.clone()),
                    _ => wrong(invalid, None),
                })?,
        };
        self.seen.insert(key, place.clone());
        if owner == Owner::DefaultListener && matters {
            self.for_default.push((option.name, place.clone()));
        }
        Ok(Set {
            option,
            matters,
            first,
        })
    }

    /// What a line with the option, the last one taken, applies to.
    pub(super) fn of(&self, option: &'static Opt) -> Of {
        let option = option.itself();
        let current = self.current.listener.map(Of::Listener);
        match option.target() {
            Target::Section(_, Section::Listener, _) => current.unwrap_or(Of::Nothing),
            Target::Section(_, Section::Port | Section::BindAddress, _) => Of::DefaultListener,
            Target::Section(_, Section::Connection, _) => {
                self.current.bridge.map_or(Of::Nothing, Of::Bridge)
            }
            Target::Section(_, Section::PluginUse, _) => current.unwrap_or(Of::Nothing),
            Target::Section(_, Section::GlobalPlugin, _) => Of::AllListeners,
            Target::Section(_, Section::Plugin, _) => match self.config.per_listener_settings {
                true => current.unwrap_or(Of::DefaultListener),
                false => Of::AllListeners,
            },
            Target::Section(Scope::Plugin, ..) => Of::Plugin,
            Target::Security(_) if !self.config.per_listener_settings => Of::AllListeners,
            _ => match self.owner(option) {
                Ok(owner) => owner.of(),
                Err(_) => Of::Nothing,
            },
        }
    }

    /// Where the listener was begun that the next lines come below.
    pub(super) fn current_listener(&self) -> Option<&Place> {
        let at = self.current.listener?;
        self.listeners.get(at).map(|listener| &listener.place)
    }

    /// Whose the option is, here.
    fn owner(&self, option: &Opt) -> Result<Owner, Invalid> {
        let listener = match self.current.listener {
            Some(at) => Owner::Listener(at),
            None => Owner::DefaultListener,
        };
        match option.target() {
            _ if option.is_explicit && self.current.listener.is_none() => {
                Err(Invalid::Rule(Rule::ListenerMissing))
            }
            Target::Security(_) if self.config.per_listener_settings => Ok(listener),
            Target::Listener(_) | Target::Override(_) => Ok(listener),
            Target::Bridge(_) => match self.current.bridge {
                Some(at) => Ok(Owner::Bridge(at)),
                None => Err(Invalid::Rule(Rule::ConnectionMissing)),
            },
            Target::Section(_, Section::PluginOption | Section::DenySpecialChars, _) => {
                match self.current.plugin {
                    Some(at) => Ok(Owner::Plugin(at)),
                    None => Err(Invalid::Rule(Rule::PluginMissing)),
                }
            }
            _ => Ok(Owner::Broker),
        }
    }

    /// Puts the value into its field; says whether that makes a difference.
    fn set_field(
        &mut self,
        option: &Opt,
        owner: Owner,
        value: &mut Value<'_>,
    ) -> Result<bool, Invalid> {
        match option.target() {
            Target::Global(kind) => take(kind, &mut self.config, option, value),
            Target::Security(kind) => {
                self.security_is_settled = true;
                let security = match self.listener(owner) {
                    Some(draft) => &mut draft.security,
                    None => &mut self.security,
                };
                take(kind, security, option, value)
            }
            Target::Override(kind) => match self.listener(owner) {
                Some(draft) => take(kind, &mut draft.overrides, option, value),
                None => Err(Invalid::Rule(Rule::ListenerMissing)),
            },
            Target::Listener(kind) => match self.listener(owner) {
                Some(draft) => take(kind, &mut draft.listener, option, value),
                None => Err(Invalid::Rule(Rule::ListenerMissing)),
            },
            Target::Bridge(kind) => {
                let at = self.current.bridge;
                match at.and_then(|at| self.bridges.get_mut(at)) {
                    Some((bridge, _)) => take(kind, bridge, option, value),
                    None => Err(Invalid::Rule(Rule::ConnectionMissing)),
                }
            }
            // Whatever stands there says nothing any more.
            Target::Ignored(_) => Ok(true),
            Target::Section(..) | Target::Alias(_) => Ok(false),
        }
    }

    /// The listener that `owner` is.
    pub(super) fn listener(&mut self, owner: Owner) -> Option<&mut ListenerDraft> {
        match owner {
            Owner::DefaultListener => Some(&mut self.default_listener),
            Owner::Listener(at) => self.listeners.get_mut(at),
            Owner::Broker | Owner::Bridge(_) | Owner::Plugin(_) => None,
        }
    }
}

impl Owner {
    /// The same, for those who do not know a draft.
    pub(super) const fn of(self) -> Of {
        match self {
            Self::Broker => Of::Broker,
            Self::DefaultListener => Of::DefaultListener,
            Self::Listener(at) => Of::Listener(at),
            Self::Bridge(at) => Of::Bridge(at),
            Self::Plugin(_) => Of::Plugin,
        }
    }
}

fn take<T: Clone>(
    kind: &Kind<T>,
    target: &mut T,
    option: &Opt,
    value: &mut Value<'_>,
) -> Result<bool, Invalid> {
    kind.set(target, value)?;
    Ok(!kind.is_neutral(target, option.default))
}

impl ListenerDraft {
    pub(super) fn new(listener: Listener, place: Place) -> Self {
        Self {
            place,
            listener,
            security: SecurityDraft::default(),
            overrides: SecurityDraft::default(),
            plugins: Vec::new(),
        }
    }

    /// A listener as begun by `listener PORT [ADDRESS]`.
    pub(super) fn begin(bind: Bind, port: u16, place: &Place) -> Self {
        Self::new(Listener::new(bind, port), place.clone())
    }
}

impl SecurityDraft {
    /// The settings, where `anonymous` is what holds for clients without a username if nothing was
    /// said.
    pub(super) fn resolve(&self, anonymous: bool) -> Security {
        let defaults = Security::default();
        Security {
            allow_anonymous: self.allow_anonymous.unwrap_or(anonymous),
            password_file: self.password_file.clone(),
            acl_file: self.acl_file.clone(),
            psk_file: self.psk_file.clone(),
            allow_zero_length_clientid: self
                .allow_zero_length_clientid
                .unwrap_or(defaults.allow_zero_length_clientid),
            auto_id_prefix: self
                .auto_id_prefix
                .clone()
                .unwrap_or(defaults.auto_id_prefix),
            deny_special_chars: self
                .deny_special_chars
                .unwrap_or(defaults.deny_special_chars),
        }
    }
}

impl From<&Security> for SecurityDraft {
    fn from(security: &Security) -> Self {
        Self {
            allow_anonymous: Some(security.allow_anonymous),
            password_file: security.password_file.clone(),
            acl_file: security.acl_file.clone(),
            psk_file: security.psk_file.clone(),
            allow_zero_length_clientid: Some(security.allow_zero_length_clientid),
            auto_id_prefix: Some(security.auto_id_prefix.clone()),
            deny_special_chars: Some(security.deny_special_chars),
        }
    }
}

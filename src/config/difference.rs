//! What differs between two configurations, option by option: what a reload reports.

use super::draft::SecurityDraft;
use super::options::{self, Opt, Reload, Scope, Target};
use super::{Bridge, Config, Listener};
use std::fmt;

/// One option that two configurations have differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The option's name.
    pub name: &'static str,
    /// Whose it is, as in `listener 1883` or `connection cloud`; `None`: the broker's, or all
    /// listeners' alike.
    pub of: Option<String>,
    /// What a reload does with it.
    pub reload: Reload,
    /// What it was, as a file would say it; empty: there was no such listener or bridge.
    pub old: String,
    /// What it is to be; empty: there is to be no such listener or bridge.
    pub new: String,
}

impl Difference {
    /// Whether a reload applies it without a restart.
    pub fn is_reloadable(&self) -> bool {
        self.reload != Reload::Restart
    }
}

impl Config {
    /// What `new` has otherwise than this one, in the order of the manual page.
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for option in options::all() {
            match option.scope() {
                Scope::Global => global(option, self, new, &mut found),
                Scope::Security | Scope::Listener => listeners(option, self, new, &mut found),
                Scope::Bridge => bridges(option, self, new, &mut found),
                Scope::Plugin => {}
            }
        }
        found
    }
}

fn global(option: &Opt, old: &Config, new: &Config, found: &mut Vec<Difference>) {
    if option.alias_of().is_some() {
        return;
    }
    let values = [old, new].map(|config| option.in_force(config, None, None));
    if let [Some(old), Some(new)] = values {
        if old != new {
            found.push(difference(option, None, old, new));
        }
    }
}

fn listeners(option: &Opt, old: &Config, new: &Config, found: &mut Vec<Difference>) {
    if option.name == "listener" {
        let (old, new) = (names(&old.listeners), names(&new.listeners));
        return comings_and_goings(option, &old, &new, found);
    }
    let pairs = pairs(&old.listeners, &new.listeners, Listener::name);
    let differs = |(one, other): &&(&Listener, &Listener)| match option.target() {
        Target::Listener(kind) => !kind.is_same(one, other),
        Target::Security(kind) => {
            let (one, other) = (&one.security, &other.security);
            !kind.is_same(&SecurityDraft::from(one), &SecurityDraft::from(other))
        }
        // What a listener sets over the rest has come out in the rest.
        _ => false,
    };
    let all = pairs.len();
    let mut changed: Vec<_> = pairs
        .iter()
        .filter(differs)
        .map(|(one, other)| {
            let value = |config, listener| option.in_force(config, Some(listener), None);
            let of = Some(format!("listener {}", one.name()));
            let values = (value(old, one), value(new, other));
            difference(
                option,
                of,
                values.0.unwrap_or_default(),
                values.1.unwrap_or_default(),
            )
        })
        .collect();
    // What changed for all of them alike is said once.
    let alike = changed
        .windows(2)
        .all(|two| matches!(two, [a, b] if a.old == b.old && a.new == b.new));
    if changed.len() == all && alike {
        changed.truncate(1);
        for difference in &mut changed {
            difference.of = None;
        }
    }
    found.append(&mut changed);
}

fn bridges(option: &Opt, old: &Config, new: &Config, found: &mut Vec<Difference>) {
    if option.name == "connection" {
        let name = |bridge: &Bridge| bridge.name.clone();
        let old: Vec<_> = old.bridges.iter().map(name).collect();
        let new: Vec<_> = new.bridges.iter().map(name).collect();
        return comings_and_goings(option, &old, &new, found);
    }
    let Target::Bridge(kind) = option.target() else {
        return;
    };
    for (one, other) in pairs(&old.bridges, &new.bridges, |bridge| bridge.name.clone()) {
        if !kind.is_same(one, other) {
            let of = Some(format!("connection {}", one.name));
            let (old, new) = (
                kind.show(one, option.default),
                kind.show(other, option.default),
            );
            found.push(difference(option, of, old, new));
        }
    }
}

fn names(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(Listener::name).collect()
}

/// Those that are in both, by name.
fn pairs<'a, T>(old: &'a [T], new: &'a [T], name: impl Fn(&T) -> String) -> Vec<(&'a T, &'a T)> {
    old.iter()
        .filter_map(|one| {
            let same = new.iter().find(|other| name(other) == name(one))?;
            Some((one, same))
        })
        .collect()
}

fn comings_and_goings(option: &Opt, old: &[String], new: &[String], found: &mut Vec<Difference>) {
    for name in old.iter().filter(|name| !new.contains(name)) {
        found.push(difference(option, None, name.clone(), String::new()));
    }
    for name in new.iter().filter(|name| !old.contains(name)) {
        found.push(difference(option, None, String::new(), name.clone()));
    }
}

fn difference(option: &Opt, of: Option<String>, old: String, new: String) -> Difference {
    Difference {
        name: option.name,
        of,
        reload: option.reload,
        old,
        new,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(of) = &self.of {
            write!(f, " of {of}")?;
        }
        match (self.old.as_str(), self.new.as_str()) {
            ("", new) => write!(f, ": {new} is new")?,
            (old, "") => write!(f, ": {old} is gone")?,
            (old, new) => write!(f, ": {old} becomes {new}")?,
        }
        f.write_str(match self.reload {
            Reload::Now => "",
            Reload::NewConnections => ", for new connections",
            Reload::Reconnects => ", when the bridge connects again",
            Reload::Restart => ", after a restart",
        })
    }
}

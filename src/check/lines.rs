//! What each line of a configuration means and comes to.

use super::Line;
use crate::config::options::{Opt, Reload, Scope, Support};
use crate::config::reading::{Of, Reading, Said};

/// What stands in place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// Every line that was read, explained.
pub fn explain(reading: &Reading) -> Vec<Line> {
    let lines = reading.lines.iter();
    lines.map(|said| line(said, reading)).collect()
}

fn line(said: &Said, reading: &Reading) -> Line {
    let option = said.option;
    let value = option.and_then(|option| in_force(option, said, reading));
    Line {
        file: said.place.file.clone(),
        line: said.place.line,
        name: said.name.clone(),
        text: said.text.clone().unwrap_or_else(|| NOT_SHOWN.to_owned()),
        value_in_force: value,
        scope: option.map(|option| scope(option.scope())),
        applies_to: option.map(|option| applies_to(option, said.of, reading)),
        reload: option.map(|option| reload(option.reload)),
        support: option.map(|option| support(option.support)),
        meaning: option.map(meaning),
    }
}

/// The value that holds, as a file would say it.
fn in_force(option: &'static Opt, said: &Said, reading: &Reading) -> Option<String> {
    if option.support != Support::Works || option.scope() == Scope::Plugin {
        return None;
    }
    if said.text.is_none() {
        return Some(NOT_SHOWN.to_owned());
    }
    match option.scope() {
        Scope::Global => option.in_force(&reading.config, None, None),
        Scope::Security | Scope::Listener => of_listeners(option, said.of, reading),
        Scope::Bridge => option.in_force(&reading.config, None, reading.bridge_of(said.of)),
        Scope::Plugin => None,
    }
}

/// The value on the listeners that the line applies to; where they differ, each one's.
fn of_listeners(option: &'static Opt, of: Of, reading: &Reading) -> Option<String> {
    let value = |listener| option.in_force(&reading.config, Some(listener), None);
    let values: Vec<(&str, String)> = reading
        .listeners_of(of)
        .filter_map(|(begun, listener)| Some((&*begun.name, value(listener)?)))
        .collect();
    let (_, first) = values.first()?;
    if values.iter().all(|(_, value)| value == first) {
        return Some(first.clone());
    }
    let each = values
        .iter()
        .map(|(name, value)| format!("{value} on listener {name}"));
    Some(each.collect::<Vec<_>>().join(", "))
}

fn applies_to(option: &Opt, of: Of, reading: &Reading) -> String {
    let listener = || {
        let name = |begun: &crate::config::reading::Begun| format!("listener {}", begun.name);
        let mut names: Vec<String> = reading
            .listeners
            .iter()
            .filter(|begun| begun.of == of)
            .map(name)
            .collect();
        names.dedup();
        match names.is_empty() {
            true => String::from("no listener: none is above it"),
            false => names.join(" and "),
        }
    };
    match of {
        Of::Nothing => String::from("nothing"),
        Of::Broker => String::from("the whole broker"),
        Of::AllListeners => String::from("all listeners"),
        Of::DefaultListener | Of::Listener(_) => listener(),
        Of::Bridge(_) => match reading.bridge_of(of) {
            Some(bridge) => format!("connection {}", bridge.name),
            None => String::from("nothing"),
        },
        Of::Plugin if option.name == "plugin_load" => String::from("who names it in plugin_use"),
        Of::Plugin => String::from("the plugin named last"),
    }
}

/// The row's sentences, and why midge does not do as they say.
fn meaning(option: &'static Opt) -> String {
    let doc = option.doc;
    match option.support {
        Support::Works => doc.to_owned(),
        Support::Replaced(how) => format!("{doc} It has nothing to do: {how}."),
        Support::Warns(what) => format!("{doc} Not in effect: {what}."),
        Support::Refuses(why) => format!("{doc} midge does not start with it: {why}."),
    }
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::Security => "security",
        Scope::Listener => "listener",
        Scope::Bridge => "bridge",
        Scope::Plugin => "plugin",
    }
}

const fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::Now => "now",
        Reload::NewConnections => "new-connections",
        Reload::Reconnects => "reconnects",
        Reload::Restart => "restart",
    }
}

const fn support(support: Support) -> &'static str {
    match support {
        Support::Works | Support::Replaced(_) => "works",
        Support::Warns(_) => "not-in-effect",
        Support::Refuses(_) => "refused",
    }
}

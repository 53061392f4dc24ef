//! The table of options as text: rows for the README, entries for the manual page.

use super::options::{Opt, Scope, Support, all};
use std::fmt::Write;

/// The table as Markdown, one row a name: name, scope, default, whether it works, and a note.
pub fn render_table() -> String {
    let mut text = String::from(
        "| Name | Scope | Default | Supported since | Note |\n|---|---|---|---|---|\n",
    );
    for option in all() {
        let since = match option.support {
            Support::Works => "0.1",
            _ if option.is_ignored() => "never",
            _ => "not yet",
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {since} | {} |",
            option.name,
            scope(option.scope()),
            cell(of(option).default),
            cell(&note(option)),
        );
    }
    text
}

/// The whole manual page midge.conf(5), as roff.
pub fn render_page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let head = format!(
        ".TH MIDGE.CONF 5 \"\" \"midge {version}\"\n\
         .SH NAME\n\
         midge.conf \\- the configuration file of midge(8), which is mosquitto's\n\
         .SH DESCRIPTION\n\
         A line holds the name of an option, a space and its value. A line that begins with # is a\n\
         comment; anywhere else # is part of the value. Options of midge's own begin with\n\
         .B midge_\n\
         and may also be written as a comment that mosquitto skips, as in\n\
         .BR \"#midge_log_wording 2.0\" .\n\
         .PP\n\
         What follows\n\
         .B listener\n\
         belongs to that listener. Where no listener is named, only this machine is served, on port\n\
         1883. SIGHUP reads the file again and puts it in force as a whole, or not at all.\n"
    );
    head + &render_manual()
}

/// The body of midge.conf(5): one entry for each option, by scope.
pub fn render_manual() -> String {
    let scopes = [
        (Scope::Global, "GLOBAL OPTIONS"),
        (Scope::Security, "SECURITY OPTIONS"),
        (Scope::Plugin, "PLUGIN OPTIONS"),
        (Scope::Listener, "LISTENER OPTIONS"),
        (Scope::Bridge, "BRIDGE OPTIONS"),
    ];
    let mut text = String::new();
    for (scope, title) in scopes {
        let _ = writeln!(text, ".SH {title}");
        for option in all().filter(|option| option.scope() == scope) {
            entry(&mut text, option);
        }
    }
    text
}

fn entry(text: &mut String, option: &Opt) {
    let _ = writeln!(text, ".TP");
    let _ = writeln!(
        text,
        ".BI {} \" {}\"",
        roff(option.name),
        roff(&option.shape())
    );
    let _ = writeln!(text, "{}", line(option.doc));
    if option.alias_of().is_some() {
        return;
    }
    if !matches!(option.default, "" | "none") {
        let _ = writeln!(text, "Default: {}.", roff(option.default));
    }
    let support = match option.support {
        Support::Works => String::new(),
        Support::Warns(what) => format!("Not in effect: {what}."),
        Support::Refuses(why) => format!("midge does not start with it: {why}."),
    };
    if !support.is_empty() {
        let _ = writeln!(text, "{}", line(&support));
    }
    if !option.note.is_empty() {
        let _ = writeln!(text, "({}.)", roff(option.note));
    }
    if !option.is_reloadable() {
        let _ = writeln!(text, "A change waits for a restart.");
    }
}

/// The option itself, where the row is another name of it.
fn of(option: &'static Opt) -> &'static Opt {
    let name = option.alias_of();
    name.and_then(super::options::find).unwrap_or(option)
}

fn note(option: &'static Opt) -> String {
    let support = match option.support {
        Support::Works => String::new(),
        Support::Warns(what) => format!("accepted with a warning: {what}"),
        Support::Refuses(why) => format!("refused: {why}"),
    };
    let alias = option
        .alias_of()
        .map(|name| format!("another name of `{name}`"));
    let notes = [alias.unwrap_or_default(), support, option.note.to_owned()];
    let notes: Vec<_> = notes.into_iter().filter(|note| !note.is_empty()).collect();
    notes.join("; ")
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::Security => "security",
        Scope::Listener => "listener",
        Scope::Bridge => "bridge",
        Scope::Plugin => "plugin",
    }
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

/// Text that roff takes as it is.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq")
}

/// Text for a line of its own, which must not look like a request.
fn line(text: &str) -> String {
    let text = roff(text);
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

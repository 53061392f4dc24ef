//! The table of options as text: rows for the README, entries for the manual page.

use super::options::{Opt, Scope, Support, all};
use crate::roff::Page;
use std::fmt::Write;

/// The table as Markdown, one row a name: name, scope, default, whether it works, and a note.
pub fn render_table() -> String {
    let mut text = String::from(
        "| Name | Scope | Default | Supported since | Note |\n|---|---|---|---|---|\n",
    );
    for option in all() {
        let since = match option.support {
            Support::Works | Support::Replaced(_) => "0.1",
            _ if option.is_ignored() => "never",
            _ => "not yet",
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {since} | {} |",
            option.name,
            scope(option.scope()),
            cell(option.itself().default),
            cell(&note(option)),
        );
    }
    text
}

/// The manual page midge.conf(5), as roff.
pub fn render_page() -> String {
    let summary = "the configuration file of midge(8), which is mosquitto's";
    let mut page = Page::new("midge.conf", 5, summary);
    page.section("DESCRIPTION");
    page.paragraph(
        "The packages read /etc/mosquitto/mosquitto.conf, and by its `include_dir` every file in \
         /etc/mosquitto/conf.d whose name ends in .conf. Elsewhere the file is what `midge -c` names.",
    );
    page.paragraph(
        "A line holds the name of an option, a space and its value. A line that begins with # is a \
         comment; behind a text or a path # is part of it. Options of midge's own begin with `midge_` \
         and may also be written as a comment that mosquitto skips, as in `#midge_log_wording 2.0`.",
    );
    page.paragraph(
        "The listener options that follow `listener` are that listener's own; all others apply to \
         the whole broker wherever they stand, unless `per_listener_settings` says otherwise. Where no listener is named, only this \
         machine is served, on port 1883. SIGHUP reads the file again and puts it in force as a \
         whole, or not at all.",
    );
    page.paragraph("A broker for the network, whose clients need a username and a password:");
    page.example(&["listener 1883", "password_file /etc/mosquitto/passwd"]);
    entries(&mut page);
    page.section("SEE ALSO");
    page.paragraph("midge(8), mosquitto_passwd(1)");
    page.finish()
}

/// One entry for each option, by scope.
fn entries(page: &mut Page) {
    let scopes = [
        (Scope::Global, "GLOBAL OPTIONS"),
        (Scope::Security, "SECURITY OPTIONS"),
        (Scope::Plugin, "PLUGIN OPTIONS"),
        (Scope::Listener, "LISTENER OPTIONS"),
        (Scope::Bridge, "BRIDGE OPTIONS"),
    ];
    for (scope, title) in scopes {
        page.section(title);
        for option in all().filter(|option| option.scope() == scope) {
            page.entry(option.name, &option.shape(), option.doc);
            if option.alias_of().is_none() {
                details(page, option);
            }
        }
    }
}

fn details(page: &mut Page, option: &Opt) {
    if !matches!(option.default, "" | "none") {
        page.sentences(&format!("Default: {}.", option.default));
    }
    match option.support {
        Support::Works => {}
        Support::Replaced(how) => page.sentences(&format!("It has nothing to do: {how}.")),
        Support::Warns(what) => page.sentences(&format!("Not in effect: {what}.")),
        Support::Refuses(why) => {
            page.sentences(&format!("midge does not start with it: {why}."));
        }
    }
    if !option.note.is_empty() {
        page.sentences(&format!("({}.)", option.note));
    }
    if !option.is_reloadable() {
        page.sentences("A change waits for a restart.");
    }
}

fn note(option: &'static Opt) -> String {
    let support = match option.support {
        Support::Works => String::new(),
        Support::Replaced(how) => format!("nothing to do: {how}"),
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

//! The shape of the source, held by reading it: which module may use which, and what a file may
//! not contain.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom up. A module uses those below it, never one beside or above it; inside
/// `broker` and `net` the order of the list is the order of the layers.
const LAYERS: &[&[&str]] = &[
    &["limits"],
    &["time", "bytes", "roff"],
    &["message", "topic"],
    &["write_queue", "codec", "config"],
    &["policy"],
    &["broker"],
    &["storage"],
    &["net", "passwd", "command"],
    &["manual", "check"],
    &["main"],
];

/// Inside the core: tables under verbs under the door.
const BROKER: &[&[&str]] = &[
    &["key", "key_set", "stats", "cause", "topic_map"],
    &["timers", "queue", "retained", "memory"],
    &["inflight"],
    &["session", "subscriptions"],
    &["record"],
    &["journal"],
    &["effects"],
    &["client"],
    &["notices", "logins", "routes"],
    &["state", "layout", "reach", "receiver"],
    &["deliver"],
    &["relay", "room"],
    &["distribute"],
    &["publish"],
    &["will", "replay", "sys"],
    &["disconnect", "subscribe", "spill"],
    &["connect", "restore"],
    &["login"],
    &["mod"],
];

/// Inside the shell: links under the turn.
const NET: &[&[&str]] = &[
    &["stream", "disk", "signals", "syslog", "throttle", "clocks"],
    &["environment"],
    &["logger", "service"],
    &["fault", "certificate", "ciphers"],
    &["client_verifier"],
    &[
        "activation",
        "acceptor",
        "proxy",
        "upgrade",
        "upgrade_absent",
        "websocket",
    ],
    &["tls", "tls_absent"],
    &["transport"],
    &["link", "listener", "security"],
    &["staged"],
    &["setup"],
    &["mod"],
];

/// What belongs to the shell alone: no sockets, files or clocks in the core.
const SHELL_ONLY: &[&str] = &[
    "std::fs",
    "std::time",
    "Instant::now",
    "clock_gettime",
    "SystemTime",
    "mio::",
    "socket2::",
    "std::thread",
    "std::process",
    "TcpStream",
    "std::env",
];

const LINES_MAX: usize = 700;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Each source file: its path below `src`, and its code without comments and without its tests.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 30, "only {} files found", files.len());
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let body = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let body: Vec<_> = body.lines().filter(is_code).collect();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            (name, body.join("\n"))
        })
        .collect()
}

fn level(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// The first word after each `prefix` in `text`.
fn words_after<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(prefix)
        .map(|(at, _)| &text[at + prefix.len()..])
        .map(|rest| &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (file, text) in code() {
        if file == "lib.rs" || file == "main.rs" {
            continue;
        }
        let own = file.split(['/', '.']).next().unwrap();
        let own_level = level(LAYERS, own).unwrap_or_else(|| panic!("{file} is in no layer"));
        for used in words_after(&text, "crate::") {
            match level(LAYERS, used) {
                Some(used_level) if used_level < own_level || used == own => {}
                Some(_) => wrong.push(format!("{file} uses {used}, which is not below it")),
                None => wrong.push(format!("{file} uses {used}, which is in no layer")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks `use super::x` and `super::x` in one folder against its layers.
fn check_folder(folder: &str, layers: &[&[&str]]) {
    let mut wrong = Vec::new();
    let files: Vec<_> = code()
        .into_iter()
        .filter(|(file, _)| file.starts_with(folder))
        .collect();
    assert!(files.len() > 3);
    for (file, text) in files {
        let own = file
            .trim_start_matches(folder)
            .trim_matches('/')
            .trim_end_matches(".rs");
        let own_level = level(layers, own).unwrap_or_else(|| panic!("{file} is in no layer"));
        let prefix = if own == "mod" { "use " } else { "super::" };
        for used in words_after(&text, prefix) {
            if let Some(used_level) = level(layers, used) {
                if used_level >= own_level && used != own {
                    wrong.push(format!("{file} uses {used}, which is not below it"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn in_the_core_tables_lie_under_verbs_under_the_door() {
    check_folder("broker", BROKER);
}

#[test]
fn in_the_shell_links_lie_under_the_turn() {
    check_folder("net", NET);
}

#[test]
fn only_the_shell_touches_the_outside() {
    let mut wrong = Vec::new();
    for (file, text) in code() {
        let shell = ["net/", "storage/", "passwd/"];
        let is_shell = shell.iter().any(|part| file.starts_with(part)) || file == "main.rs";
        if is_shell || ["check/command.rs", "check/system.rs"].contains(&file.as_str()) {
            continue;
        }
        for forbidden in SHELL_ONLY {
            if text.contains(forbidden) {
                wrong.push(format!("{file} contains {forbidden}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_panics_on_purpose() {
    let forbidden = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
        "RefCell",
        "unsafe ",
    ];
    let mut wrong = Vec::new();
    for (file, text) in code() {
        for word in forbidden {
            if text.contains(word) {
                wrong.push(format!("{file} contains {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_open_with_what_they_are_and_stay_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not say what it is", path.display()));
        }
        let lines = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap()
            .lines()
            .count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

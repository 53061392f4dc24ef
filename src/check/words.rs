//! The sentences about what was found: what it is, and what to do.
//!
//! This is the only file here that has such sentences; a command in one can be pasted as it stands.

use super::facts::InTheWay;
use super::mistake::{Exposed, Mistake};
use crate::config::FileError;
use crate::config::options::{self, Opt};
use crate::config::problem::{Caution, Hint, Problem};
use crate::config::value::Note;
use crate::limits::CHECK_NAMES_MAX;

impl Mistake {
    /// What it is: whole sentences.
    pub fn message(&self) -> String {
        match self {
            Self::Problem(problem) => problem.to_string(),
            Self::Refused { names, why } => format!(
                "{} {} midge from starting: {why}.",
                list(names),
                verb(names, "keeps", "keep")
            ),
            Self::Caution(caution) => capital(&caution.to_string()),
            Self::GlobalBelowListener { names } => format!(
                "{} {} below a listener and {} to the whole broker all the same.",
                list(names),
                verb(names, "stands", "stand"),
                verb(names, "applies", "apply")
            ),
            Self::SecurityBelowListener { names } => format!(
                "{} {} below a listener and {} to all listeners alike, for there is no \
                 per_listener_settings true.",
                list(names),
                verb(names, "stands", "stand"),
                verb(names, "applies", "apply")
            ),
            Self::GivenTwice {
                name,
                first,
                is_same: true,
            } => {
                format!("{name} is given twice, here and at {first}, with the same value.")
            }
            Self::GivenTwice {
                name,
                first,
                is_same: false,
            } => {
                format!("{name} is given twice; this one holds, not the one at {first}.")
            }
            Self::NoListener { port } => format!(
                "No listener is named, so that only programs on this machine can connect, to port \
                 {port}."
            ),
            Self::LocalListeners { .. } => String::from(
                "All listeners are on addresses of this machine: nobody can connect from the \
                 network.",
            ),
            Self::Ipv4Local { listener } => format!(
                "listener {listener} is reached over IPv4 alone: a client that is told `localhost` \
                 may try ::1 first, and find nobody there."
            ),
            Self::AnonymousOpen { listeners } => format!(
                "{} {} open to the network and {} in clients without a username: whoever gets there \
                 can read and publish what the rules allow everybody.",
                plural("listener", listeners),
                verb(listeners, "is", "are"),
                verb(listeners, "lets", "let"),
            ),
            Self::PasswordsOptional { listener, path } => format!(
                "listener {listener} has the password_file {path}, but allow_anonymous true: who \
                 gives no username is let in without a password."
            ),
            Self::NobodyLetIn { listeners } => format!(
                "{} {} in nobody: allow_anonymous is false there, and no password_file says who \
                 the users are.",
                plural("listener", listeners),
                verb(listeners, "lets", "let"),
            ),
            Self::PacketBelowPayload {
                packet_bytes,
                payload_bytes,
            } => format!(
                "message_size_limit allows payloads of {payload_bytes} bytes, but max_packet_size \
                 cuts off at {packet_bytes}: a client that sends more is disconnected."
            ),
            Self::NoBound { name } => format!(
                "{name} 0 sets no bound: a client that stays away can fill the memory of this \
                 machine."
            ),
            Self::Covered {
                listener,
                by,
                first,
            } => format!(
                "listener {listener} cannot be opened beside listener {by} at {first}, which takes \
                 that port on all addresses."
            ),
            Self::IncludeEmpty { directory } => {
                format!("There is no file *.conf in {directory}: nothing is included.")
            }
            Self::Root => String::from(
                "The broker keeps root's rights: who finds a hole in it has the whole machine.",
            ),
            Self::NoSuchUser {
                user,
                by_root: true,
            } => {
                format!("There is no user {user} to run as.")
            }
            Self::NoSuchUser {
                user,
                by_root: false,
            } => format!("There is no user {user}; it would be needed if root started midge."),
            Self::NotAsRoot { me } => format!(
                "This was checked for midge started by {me}; a service is started by root, and \
                 changes its user afterwards."
            ),
            Self::Unreadable {
                option,
                path,
                error,
            } => {
                format!("The {option} {path} cannot be read: {error}.")
            }
            Self::Relative { option, path } => format!(
                "{option} {path} is looked for in the directory that midge is started in; for a \
                 service that is /."
            ),
            Self::ClosedToReload {
                option, path, user, ..
            } => format!(
                "The {option} {path} cannot be read by {user}, as whom midge runs: root reads it at \
                 the start, but every reload would fail."
            ),
            Self::ReadableByAll {
                what: Exposed::Rules,
                path,
                ..
            } => format!("Every user of this machine can read in {path} who may do what."),
            Self::ReadableByAll {
                what: Exposed::BridgePassword,
                path,
                ..
            } => format!(
                "Every user of this machine can read {path}, and the password of a bridge in it."
            ),
            Self::ReadableByAll {
                what: Exposed::Secrets(option),
                path,
                ..
            } => {
                format!("Every user of this machine can read the {option} {path}.")
            }
            Self::WritableByAll { option, path, .. } => {
                format!("Every user of this machine can change the {option} {path}.")
            }
            Self::NoDirectory {
                option, directory, ..
            } => {
                format!("There is no directory {directory}, where {option} wants to write.")
            }
            Self::NotWritable {
                option,
                path,
                user,
                by_root,
                ..
            } => format!(
                "{user}, as whom midge runs, cannot write to {path}: {}.",
                consequence(option, *by_root)
            ),
            Self::NoSyslog => {
                String::from("log_dest syslog finds no syslog here: there is no /dev/log.")
            }
            Self::ListLine { option, what } => format!("The {option} cannot be taken: {what}."),
            Self::ListOddity { what } => format!("{}.", capital(what)),
            Self::NoUsers => {
                String::from("The password_file has no user in it: no username is let in.")
            }
            Self::NoRules => {
                String::from("The acl_file has no rule in it: nobody may publish or receive.")
            }
            Self::UsersWithoutPassword { users, path } => format!(
                "{} {} rules here, but the password_file {path} does not have {}: nobody can log \
                 in by {}.",
                list(users),
                verb(users, "has", "have"),
                verb(users, "this user", "these users"),
                verb(users, "that name", "those names"),
            ),
            Self::UsersUnproved { users } => format!(
                "{} {} rules here, but there is no password_file: any client can say that this is \
                 its username.",
                list(users),
                verb(users, "has", "have"),
            ),
            Self::UsersWithoutRules { users, path } => format!(
                "{} {} no rule in the acl_file {path}, which has no patterns either, and may \
                 neither publish nor receive anything.",
                list(users),
                verb(users, "has", "have"),
            ),
            Self::InTheWay { what, why, .. } => in_the_way(what, why),
            Self::Serving {
                program,
                is_midge: true,
            } => format!(
                "midge (process {}) serves this very configuration already.",
                program.process
            ),
            Self::Serving {
                program,
                is_midge: false,
            } => format!(
                "{} (process {}) serves this very configuration now, and has its ports.",
                program.name, program.process
            ),
            Self::FileNotNamed { path } => format!(
                "No file was named, so that this is what midge does without one. There is {path}."
            ),
        }
    }

    /// What to do, where the message does not say so already.
    pub fn fix(&self) -> Option<String> {
        let text = match self {
            Self::Problem(problem) => return problem_fix(problem),
            Self::Refused { names, .. } => format!(
                "Remove {} if you can do without; else stay with mosquitto for now.",
                them(names)
            ),
            Self::Caution(caution) => return caution_fix(caution),
            Self::GlobalBelowListener { names } => format!(
                "Move {} above the first listener, so that nobody is misled; nothing else changes.",
                them(names)
            ),
            Self::SecurityBelowListener { names } => format!(
                "Put `per_listener_settings true` at the top of the file, and the security options \
                 of each listener below it; or move {} above the first listener.",
                them(names)
            ),
            Self::GivenTwice { .. } => String::from("Remove one of the two."),
            Self::NoListener { port } => format!(
                "To open the broker to the network, add two lines: `listener {port}`, and below it \
                 `allow_anonymous true`, or better `password_file FILE` with a file made by \
                 `midge passwd -c FILE USER`."
            ),
            Self::LocalListeners { port } => format!(
                "To open the broker to the network, write `listener {port}` without an address."
            ),
            Self::Ipv4Local { .. } => String::from(
                "Tell such clients 127.0.0.1, or write `localhost` in place of the address.",
            ),
            Self::PasswordsOptional { .. } => {
                String::from("If that is not meant: `allow_anonymous false`.")
            }
            Self::AnonymousOpen { .. } => String::from(
                "If that is not meant: `allow_anonymous false`, and a `password_file FILE` with a \
                 file made by `midge passwd -c FILE USER`.",
            ),
            Self::NobodyLetIn { .. } => String::from(
                "Add `password_file FILE`, with a file made by `midge passwd -c FILE USER`; or, in \
                 a network where you trust everybody, `allow_anonymous true`.",
            ),
            Self::PacketBelowPayload { payload_bytes, .. } => format!(
                "Raise max_packet_size to {} or more, or lower message_size_limit.",
                u64::from(*payload_bytes) + PACKET_BESIDE_PAYLOAD_BYTES
            ),
            Self::NoBound { name } => format!("Give {name} a number, or remove the line."),
            Self::Covered { .. } => String::from("Remove one of the two, or give it another port."),
            Self::IncludeEmpty { .. } => {
                String::from("If there should be one, look at its name: it must end with .conf.")
            }
            Self::Root => String::from(
                "Remove `user root`: midge then runs as mosquitto, or as nobody, after its start.",
            ),
            Self::NoSuchUser { user, .. } => format!(
                "`useradd --system --no-create-home --shell /usr/sbin/nologin {}`, or name another \
                 in `user`.",
                quoted(user)
            ),
            Self::NotAsRoot { .. } => String::from("For a service, run this with sudo."),
            Self::Unreadable {
                error: FileError::NotPermitted,
                ..
            } => String::from("If root is to start midge, run this with sudo."),
            Self::Unreadable {
                option: "password_file",
                path,
                error: FileError::NotFound,
            } => {
                format!("Make it with `midge passwd -c {} USER`.", quoted(path))
            }
            Self::Unreadable { .. } => String::from("Mend the path, or put the file there."),
            Self::Relative { .. } => String::from("Write the whole path, from the first / on."),
            Self::ClosedToReload { fix, .. }
            | Self::ReadableByAll { fix, .. }
            | Self::WritableByAll { fix, .. }
            | Self::NoDirectory { fix, .. }
            | Self::NotWritable { fix, .. } => fix.clone(),
            Self::NoSyslog => String::from("Start a syslog daemon, or name another log_dest."),
            Self::ListLine { .. } | Self::ListOddity { .. } => return None,
            Self::NoUsers => String::from("Add one with `midge passwd FILE USER`."),
            Self::NoRules => {
                String::from("Add rules, or remove acl_file if everybody may do everything.")
            }
            Self::UsersWithoutPassword { path, users } => format!(
                "`midge passwd {} {}`, or mend the name.",
                quoted(path),
                match users.as_slice() {
                    [user] => quoted(user),
                    _ => String::from("USER"),
                }
            ),
            Self::UsersUnproved { .. } => String::from(
                "Add `password_file FILE`, with a file made by `midge passwd -c FILE USER`.",
            ),
            Self::UsersWithoutRules { .. } => String::from(
                "Add `user NAME` to that file with a line such as `topic readwrite #` below it, or a \
                 line such as `pattern readwrite %u/#` for all users.",
            ),
            Self::InTheWay { port, why, .. } => return way_out(*port, why),
            Self::Serving {
                is_midge: true,
                program,
            } => format!(
                "Nothing is to be done; after a change, `kill -HUP {}` reloads.",
                program.process
            ),
            Self::Serving { program, .. } => format!(
                "To put midge in its place, stop it first: `systemctl stop {}`, or `kill {}`.",
                quoted(&program.name),
                program.process
            ),
            Self::FileNotNamed { path } => {
                format!("To have it explained: `midge check -c {path}`.")
            }
        };
        Some(text)
    }
}

/// What a PUBLISH packet may hold beside its payload: a head, a topic of ordinary length and a few
/// properties.
const PACKET_BESIDE_PAYLOAD_BYTES: u64 = 1024;

fn problem_fix(problem: &Problem) -> Option<String> {
    let text = match problem {
        Problem::Unknown {
            hint: Hint::Near(name),
            ..
        } => format!("Write {name}, if that is meant."),
        Problem::Unknown {
            hint: Hint::None, ..
        } => String::from("Remove the line; `midge --options` lists all there are."),
        Problem::Unknown {
            hint: Hint::Tab, ..
        } => String::from("Put a space in place of the tab."),
        Problem::Unknown {
            hint: Hint::BlanksBeforeComment,
            ..
        } => String::from("Remove the blanks before the #."),
        Problem::Plugin { .. } => {
            String::from("Remove it if you can do without; else stay with mosquitto for now.")
        }
        Problem::ListenerTwice { .. } => {
            String::from("Remove one of the two, or give it another port or address.")
        }
        Problem::IncludeDir {
            path,
            error: FileError::NotFound,
        } => {
            format!("`mkdir -p {}`, or remove the line.", quoted(path))
        }
        Problem::Unreadable {
            error: FileError::NotFound,
            ..
        } => String::from("Mend the path behind -c."),
        Problem::Unreadable {
            error: FileError::NotPermitted,
            ..
        } => String::from("If root is to start midge, run this with sudo."),
        _ => return None,
    };
    Some(text)
}

fn caution_fix(caution: &Caution) -> Option<String> {
    let text = match caution {
        Caution::Value {
            note: Note::CommentInString(_),
            ..
        } => "Move the comment to a line of its own, with the # in the first column.",
        Caution::Value {
            note: Note::TrailingWords(_),
            ..
        } => "Remove what is not read.",
        Caution::Value {
            note: Note::Replaces,
            ..
        } => "Remove one of the two.",
        Caution::NotInEffect { names, .. } => {
            let is_ignored = |name: &&str| options::find(name).is_some_and(Opt::is_ignored);
            match (names.iter().all(is_ignored), names.len()) {
                (true, 1) => "The line can be removed.",
                (true, _) => "The lines can be removed.",
                (false, 1) => {
                    "If you need it, stay with mosquitto for now; else leave the line, it does no \
                     harm."
                }
                (false, _) => {
                    "If you need them, stay with mosquitto for now; else leave the lines, they do \
                     no harm."
                }
            }
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn in_the_way(what: &str, why: &InTheWay) -> String {
    match why {
        InTheWay::Program(Some(program)) => format!(
            "{} is in use by {} (process {}).",
            capital(what),
            program.name,
            program.process
        ),
        InTheWay::Program(None) => {
            format!(
                "{} is in use; by which program, this user may not see.",
                capital(what)
            )
        }
        InTheWay::NotPermitted => format!("This user may not listen on {what}."),
        InTheWay::NoAddress => format!(
            "{}: this machine does not have that address.",
            capital(what)
        ),
        InTheWay::Other(error) => format!("Nobody can listen on {what}: {error}."),
    }
}

fn way_out(port: u16, why: &InTheWay) -> Option<String> {
    let text = match why {
        InTheWay::Program(Some(program)) if program.is_broker() => format!(
            "Stop it with `systemctl stop {}` or `kill {}`, or choose another port.",
            quoted(&program.name),
            program.process
        ),
        InTheWay::Program(Some(_)) => String::from("Stop it, or choose another port."),
        InTheWay::Program(None) => format!(
            "`sudo ss -ltnp 'sport = :{port}'` says which one; stop it, or choose another port."
        ),
        InTheWay::NotPermitted => {
            String::from("Choose a port above 1023, or let root start midge.")
        }
        InTheWay::NoAddress => String::from("`ip address` lists those there are."),
        InTheWay::Other(_) => return None,
    };
    Some(text)
}

/// What it means that a place cannot be written to.
fn consequence(option: &str, by_root: bool) -> &'static str {
    match (option, by_root) {
        ("persistence_location", _) => "no state could be kept there",
        ("log_dest", true) => {
            "root opens the log at the start, but after its rotation (SIGRTMIN) midge could not"
        }
        ("log_dest", false) => "midge does not start without its log",
        (_, true) => "the pid_file stays behind when midge ends",
        (_, false) => "midge does not start without its pid_file",
    }
}

/// A word for the shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A few names, and how many more there are.
fn list(names: &[String]) -> String {
    let shown = names.get(..CHECK_NAMES_MAX).unwrap_or(names);
    match (names.len() - shown.len(), shown) {
        (0, [first @ .., last]) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        (0, _) => shown.join(", "),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The word for one or for several.
fn verb(names: &[String], one: &'static str, several: &'static str) -> &'static str {
    if names.len() == 1 { one } else { several }
}

/// The names behind what they are names of.
fn plural(what: &str, names: &[String]) -> String {
    format!("{what}{} {}", verb(names, "", "s"), list(names))
}

fn them(names: &[String]) -> &'static str {
    verb(names, "it", "them")
}

/// A sentence begins with a capital, unless it begins with the name of an option.
fn capital(text: &str) -> String {
    let begins_plainly = ["the ", "this ", "what ", "no ", "line ", "port "]
        .iter()
        .any(|word| text.starts_with(word));
    match text.get(..1) {
        Some(first) if begins_plainly => first.to_uppercase() + text.get(1..).unwrap_or_default(),
        _ => text.to_owned(),
    }
}

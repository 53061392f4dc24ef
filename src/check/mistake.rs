//! What can be found: the mistakes, and how bad each is. Their sentences stand in
//! [`words`](super::words).

use super::Severity;
use super::facts::{InTheWay, Program};
use crate::config::problem::{Caution, Problem};
use crate::config::{FileError, Place};

/// Something that is, or is likely to be, wrong.
#[derive(Clone, Debug)]
pub enum Mistake {
    /// The configuration cannot be taken.
    Problem(Problem),
    /// Options that keep midge from starting for one reason.
    Refused {
        names: Vec<String>,
        why: &'static str,
    },
    /// What a start warns of.
    Caution(Caution),
    /// Options of the whole broker below a listener.
    GlobalBelowListener { names: Vec<String> },
    /// Security options below a listener that are everybody's.
    SecurityBelowListener { names: Vec<String> },
    /// An option given twice to one owner.
    GivenTwice {
        name: String,
        first: Place,
        is_same: bool,
    },
    /// No listener is named.
    NoListener { port: u16 },
    /// All listeners are on addresses of this machine alone.
    LocalListeners { port: u16 },
    /// A listener on IPv4 of this machine alone, where `localhost` may be tried over IPv6.
    Ipv4Local { listener: String },
    /// Whoever reaches the listener is let in.
    AnonymousOpen { listeners: Vec<String> },
    /// There are passwords, and nobody needs one.
    PasswordsOptional { listener: String, path: String },
    /// Nobody is let in.
    NobodyLetIn { listeners: Vec<String> },
    /// A payload's bound that no packet can come near.
    PacketBelowPayload {
        packet_bytes: u32,
        payload_bytes: u32,
    },
    /// A bound that was taken away.
    NoBound { name: &'static str },
    /// Two listeners of which the second cannot be opened.
    Covered {
        listener: String,
        by: String,
        first: Place,
    },
    /// A directory without a file to include.
    IncludeEmpty { directory: String },
    /// The broker keeps root's rights.
    Root,
    /// There is no such user to run as.
    NoSuchUser { user: String, by_root: bool },
    /// Who asks is not root, whose rights a service begins with.
    NotAsRoot { me: String },
    /// A file that the configuration needs cannot be read.
    Unreadable {
        option: &'static str,
        path: String,
        error: FileError,
    },
    /// A path that depends on where midge is started.
    Relative { option: &'static str, path: String },
    /// A file that can be read at the start, by root, and not at a reload.
    ClosedToReload {
        option: &'static str,
        path: String,
        user: String,
        fix: String,
    },
    /// A file with secrets that everybody can read.
    ReadableByAll {
        what: Exposed,
        path: String,
        fix: String,
    },
    /// A file that everybody can change.
    WritableByAll {
        option: &'static str,
        path: String,
        fix: String,
    },
    /// A directory that is not there.
    NoDirectory {
        option: &'static str,
        directory: String,
        fix: String,
    },
    /// A place that cannot be written to.
    NotWritable {
        option: &'static str,
        path: String,
        user: String,
        by_root: bool,
        fix: String,
    },
    /// There is no `/dev/log`.
    NoSyslog,
    /// A line of a password or access control file that cannot be taken.
    ListLine { option: &'static str, what: String },
    /// One that can, and probably does not do what was meant.
    ListOddity { what: String },
    /// A password file without users.
    NoUsers,
    /// An access control file without rules.
    NoRules,
    /// Rights for users that no password file has.
    UsersWithoutPassword { users: Vec<String>, path: String },
    /// Rights for users that anyone can say to be.
    UsersUnproved { users: Vec<String> },
    /// Users that have no rights.
    UsersWithoutRules { users: Vec<String>, path: String },
    /// Something is in the way of a listener.
    InTheWay {
        what: String,
        port: u16,
        why: InTheWay,
    },
    /// The broker runs already.
    Serving { program: Program, is_midge: bool },
    /// There is a file that could have been named.
    FileNotNamed { path: &'static str },
}

/// What everybody can read, and should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposed {
    /// The file of this option, in which there are secrets.
    Secrets(&'static str),
    /// The rules.
    Rules,
    /// A configuration file with a bridge's password in it.
    BridgePassword,
}

impl Mistake {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        use Severity::{Error, Note, Warning};
        match self {
            Self::Problem(_)
            | Self::Refused { .. }
            | Self::Covered { .. }
            | Self::NoSyslog
            | Self::Unreadable { .. }
            | Self::ListLine { .. }
            | Self::InTheWay { .. }
            | Self::NoSuchUser { by_root: true, .. } => Error,
            // systemd makes what is below /run when it starts the service.
            Self::NoDirectory {
                option, directory, ..
            } => match *option {
                "persistence_location" => Warning,
                _ if directory.starts_with("/run/") || directory.starts_with("/var/run/") => {
                    Warning
                }
                _ => Error,
            },
            Self::NotWritable {
                option, by_root, ..
            } => match (*option, by_root) {
                ("persistence_location", _) | ("log_dest", true) => Warning,
                (_, true) => Note,
                (_, false) => Error,
            },
            Self::GlobalBelowListener { .. }
            | Self::GivenTwice { is_same: true, .. }
            | Self::NoListener { .. }
            | Self::LocalListeners { .. }
            | Self::Ipv4Local { .. }
            | Self::NoBound { .. }
            | Self::IncludeEmpty { .. }
            | Self::NotAsRoot { .. }
            | Self::Relative { .. }
            | Self::ReadableByAll {
                what: Exposed::Rules,
                ..
            }
            | Self::Serving { .. }
            | Self::FileNotNamed { .. } => Note,
            _ => Warning,
        }
    }
}

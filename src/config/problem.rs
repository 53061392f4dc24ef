//! What can be wrong with a configuration, in sentences that begin as mosquitto's do and go on to
//! say what to do.
//!
//! This is the only file here that has such sentences: the parsers and the checks speak in enums.

use super::load::FileError;
use super::parse::Place;
use super::value::{Invalid, Note, Rule};
use std::fmt;

/// Why the configuration cannot be taken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line to look at.
    pub place: Place,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such option.
    Unknown {
        /// As written.
        name: String,
        /// What may have been meant.
        hint: Hint,
    },
    /// The value is not one that the option takes.
    Value {
        /// The option, as written.
        name: String,
        /// What is wrong with the value.
        invalid: Invalid,
        /// Where the option stands before, if it stands twice.
        first: Option<Place>,
    },
    /// Going on without the option would be less safe than the file asks for.
    Refused {
        /// The option.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Going on without the plugin would be less safe than the file asks for.
    Plugin {
        /// Its path.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// A file that the configuration consists of cannot be read.
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        error: FileError,
    },
    /// A directory to include cannot be listed.
    IncludeDir {
        /// Its path.
        path: String,
        /// Why.
        error: FileError,
    },
    /// Two listeners in one place.
    ListenerTwice {
        /// As behind `listener`.
        name: String,
        /// Where the other one stands.
        first: Place,
    },
    /// Two bridges of one name.
    BridgeTwice {
        /// The name.
        name: String,
        /// Where the other one stands.
        first: Place,
    },
    /// A bridge without an address.
    BridgeWithoutAddress(String),
    /// A bridge without a topic.
    BridgeWithoutTopic(String),
    /// Two bridges with one Client Identifier here.
    LocalClientidTwice(String),
    /// Of two options that need each other, only one.
    Lonely {
        /// The one there is.
        name: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// TLS with certificates and with PSK in one place.
    CertificateAndPsk,
    /// A plugin and an option, or two plugins, name two files for one purpose.
    TwoFiles(&'static str),
}

/// What may have been meant by a name that is none; it ends the sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing comes near.
    None,
    /// This name is near.
    Near(&'static str),
    /// The name never existed, and this is what there is.
    NeverExisted(&'static str),
    /// A tab stands where a space must.
    Tab,
    /// Blanks stand before a comment.
    BlanksBeforeComment,
    /// The file begins with a byte order mark.
    ByteOrderMark,
}

/// Something worth knowing about a configuration that can be taken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line to look at.
    pub place: Place,
    /// What is worth knowing.
    pub caution: Caution,
}

/// What is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// About a value.
    Value {
        /// The option, as written.
        name: String,
        /// What there is to say.
        note: Note,
        /// Where the option stands before, if it stands twice.
        first: Option<Place>,
    },
    /// Options are not in effect.
    NotInEffect {
        /// The options, each once, in the order they stand in; at least one.
        names: Vec<&'static str>,
        /// What is not.
        what: &'static str,
    },
    /// A plugin is not in effect.
    PluginNotInEffect {
        /// Its path.
        path: String,
        /// What is not.
        what: &'static str,
    },
    /// A plugin's option that the built-in one does not have.
    PluginOption {
        /// The option's key.
        key: String,
    },
    /// A bridge is not made.
    BridgeNotMade(String),
    /// A listener is not opened.
    ListenerNotOpened(String),
    /// Clients are called what their certificates say, and none is asked for one.
    NobodyIsNamed(&'static str),
    /// A listener option before any `listener`, where there is no default listener.
    OutsideListener(&'static str),
    /// A line holds a NUL byte, and was cut there.
    Cut,
    /// An option of midge's own, in a comment, that there is not.
    UnknownOwn {
        /// As written.
        name: String,
        /// What may have been meant.
        hint: Hint,
    },
    /// An `include_dir` in an included file, which mosquitto does not look at.
    IncludeNested,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, problem } = self;
        match problem {
            // The place is the file that cannot be read.
            Problem::Unreadable { path, .. } if **path == *place.file => {
                write!(f, "Error: {problem}")
            }
            _ => write!(f, "Error: {problem} Error found at {place}."),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Warning: {} Found at {}.", self.caution, self.place)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, hint } => {
                let name = name.escape_debug();
                write!(f, "Unknown configuration variable \"{name}\"{hint}")
            }
            Self::Value {
                name,
                invalid,
                first,
            } => {
                say_invalid(f, name, invalid)?;
                say_first(f, first.as_ref())
            }
            Self::Refused { name, why } => {
                write!(f, "{name} keeps midge from starting: {why}.")
            }
            Self::Plugin { path, why } => {
                write!(f, "The plugin {path} keeps midge from starting: {why}.")
            }
            Self::Unreadable { path, error } => {
                write!(f, "Unable to open config file {path}: {error}.")
            }
            Self::IncludeDir { path, error } => {
                write!(f, "Unable to open include_dir '{path}': {error}.")
            }
            Self::ListenerTwice { name, first } => write!(
                f,
                "Two listeners cannot be in one place: listener {name} stands at {first} already."
            ),
            Self::BridgeTwice { name, first } => write!(
                f,
                "Duplicate bridge name \"{name}\": it stands at {first} already."
            ),
            Self::BridgeWithoutAddress(name) => write!(
                f,
                "Invalid bridge configuration: no remote addresses defined for connection {name}; \
                 it needs a line `address HOST`."
            ),
            Self::BridgeWithoutTopic(name) => write!(
                f,
                "Invalid bridge configuration: no topics defined for connection {name}; it needs \
                 a line such as `topic # out`."
            ),
            Self::LocalClientidTwice(id) => write!(
                f,
                "Bridge local_clientid '{id}' is not unique: each bridge needs a local_clientid \
                 of its own."
            ),
            Self::Lonely { name, missing } => write!(f, "{name} needs {missing} beside it."),
            Self::CertificateAndPsk => f.write_str(
                "Certificate and PSK encryption exclude each other: one of them must go.",
            ),
            Self::TwoFiles(name) => write!(
                f,
                "Two different files are given as {name}, by a plugin and an option or by two \
                 plugins; midge reads one."
            ),
        }
    }
}

fn say_invalid(f: &mut fmt::Formatter<'_>, name: &str, invalid: &Invalid) -> fmt::Result {
    match invalid {
        Invalid::Empty => write!(f, "Empty {name} value in configuration."),
        Invalid::Duplicate => write!(f, "Duplicate {name} value in configuration."),
        Invalid::NotBool(given) => {
            let given = given.escape_debug();
            write!(
                f,
                "Invalid {name} value ({given}): it takes true or false, and nothing but spaces \
                 behind it."
            )
        }
        Invalid::NotNumber(given) => {
            let given = given.escape_debug();
            write!(
                f,
                "Invalid {name} value ({given}): it takes a whole number."
            )
        }
        Invalid::OutOfRange { given, min, max } => write!(
            f,
            "Invalid {name} value ({given}): it takes a number from {min} to {max}."
        ),
        Invalid::NotOneOf { given, known } => {
            let given = given.escape_debug();
            write!(
                f,
                "Invalid {name} value ({given}): it takes {}.",
                known.join(", ")
            )
        }
        Invalid::TooLong { bytes_max } => write!(
            f,
            "Value for {name} is too long in configuration: it takes {bytes_max} bytes."
        ),
        Invalid::MalformedUtf8 => write!(
            f,
            "Malformed UTF-8 in configuration: the value of {name} is not UTF-8, or holds a tab or \
             another control character."
        ),
        Invalid::NotDuration(given) => {
            let given = given.escape_debug();
            write!(
                f,
                "Invalid {name} duration in configuration ({given}): it takes a number and one of \
                 s, h, d, w, m, y, such as 14d; m is a month of 30 days."
            )
        }
        Invalid::Rule(rule) => say_rule(f, name, *rule),
    }
}

fn say_rule(f: &mut fmt::Formatter<'_>, name: &str, rule: Rule) -> fmt::Result {
    let text = match rule {
        Rule::UnixPathMissing => "A listener with port 0 must provide a Unix socket path.",
        Rule::Wildcard => {
            return write!(
                f,
                "Invalid {name} value: it must not hold the wildcards + and #."
            );
        }
        Rule::ListenerMissing => {
            return write!(
                f,
                "The '{name}' option requires a listener to be defined first: a line `listener \
                 PORT` must stand before it in the same file."
            );
        }
        Rule::ConnectionMissing => {
            return write!(
                f,
                "Invalid bridge configuration: {name} needs a line `connection NAME` before it in \
                 the same file."
            );
        }
        Rule::PluginMissing => {
            return write!(
                f,
                "The '{name}' option exists in the config file without a plugin: a line `plugin \
                 PATH` must stand before it in the same file."
            );
        }
        Rule::PluginOption => {
            return write!(
                f,
                "Invalid {name} config option: it needs a key and a value, as in `plugin_opt_KEY \
                 VALUE`."
            );
        }
        Rule::PluginNameTaken => "Duplicate plugin_load name: two plugins have it.",
        Rule::PluginNameUnknown => {
            "Unknown plugin_use name: no plugin_load before it gives a plugin this name."
        }
        Rule::TooLate => {
            "per_listener_settings must be set before any other security settings: it decides whose \
             they are."
        }
        Rule::QuoteOpen => "Invalid bridge topic: the quote that it begins with is not closed.",
        Rule::Remapping => {
            "Invalid bridge remapping: an empty topic needs both a local and a remote prefix."
        }
        Rule::BridgePrefix => {
            "Invalid bridge topic prefix: it must not hold the wildcards + and #."
        }
        Rule::TopicFilter => "Invalid bridge topic: + and # must fill a level, and # the last one.",
        Rule::StartManual => "Manual start_type not supported: it takes automatic, lazy or once.",
        Rule::BackOff => "backoff cap is lower than the base in restart_timeout.",
        Rule::TcpKeepalive => {
            "Invalid bridge_tcp_keepalive value: it takes three numbers, the idle time, the \
             interval and the count."
        }
        Rule::NotHex => "Invalid bridge_psk value: it takes hexadecimal digits, without 0x.",
    };
    f.write_str(text)
}

fn say_first(f: &mut fmt::Formatter<'_>, first: Option<&Place>) -> fmt::Result {
    match first {
        Some(place) => write!(f, " It stands at {place} already."),
        None => Ok(()),
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("."),
            Self::Near(name) => write!(f, "; did you mean {name}?"),
            Self::NeverExisted(what) => write!(f, ": mosquitto never had it; {what}."),
            Self::Tab => f.write_str(": a tab stands in it; the name must end with a space."),
            Self::BlanksBeforeComment => {
                f.write_str(": a comment must begin in the first column, without blanks before it.")
            }
            Self::ByteOrderMark => f.write_str(
                ": the file begins with a byte order mark, which an editor put there; save it as \
                 UTF-8 without one.",
            ),
        }
    }
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { name, note, first } => say_note(f, name, note, first.as_ref()),
            Self::NotInEffect { names, what } => match &**names {
                [before @ .., last] if !before.is_empty() => {
                    let before = before.join(", ");
                    write!(
                        f,
                        "{before} and {last} are accepted, but not in effect: {what}."
                    )
                }
                names => write!(
                    f,
                    "{} is accepted, but not in effect: {what}.",
                    names.concat()
                ),
            },
            Self::PluginNotInEffect { path, what } => {
                write!(
                    f,
                    "The plugin {path} is accepted, but not in effect: {what}."
                )
            }
            Self::PluginOption { key } => write!(
                f,
                "The plugin option {key} is accepted, but not in effect: the built-in plugin does \
                 not have it."
            ),
            Self::BridgeNotMade(name) => write!(
                f,
                "connection {name} is accepted, but this bridge is not made: nothing goes to or \
                 comes from the other broker."
            ),
            Self::ListenerNotOpened(name) => write!(
                f,
                "listener {name} is accepted, but not opened: the HTTP API is not served."
            ),
            Self::NobodyIsNamed(name) => write!(
                f,
                "{name} lets nobody in: clients are asked for a certificate only where \
                 require_certificate, certfile and cafile or capath say so."
            ),
            Self::OutsideListener(name) => write!(
                f,
                "{name} stands before any listener and is not in effect: it applies to the default \
                 listener, which nothing opens; move it below the listener that it is meant for."
            ),
            Self::Cut => f.write_str("the line holds a NUL byte; what follows it is not read."),
            Self::UnknownOwn { name, hint } => {
                write!(
                    f,
                    "\"{name}\" is no option of midge's and stays a comment{hint}"
                )
            }
            Self::IncludeNested => f.write_str(
                "include_dir is not in effect in an included file, only in the main one.",
            ),
        }
    }
}

fn say_note(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    note: &Note,
    first: Option<&Place>,
) -> fmt::Result {
    match note {
        Note::TrailingWords(words) => {
            let words = words.escape_debug();
            write!(f, "what follows the value of {name} is not read: {words}.")
        }
        Note::CommentInString(swallowed) => write!(
            f,
            "\"{swallowed}\" is part of the value of {name}: a comment stands on a line of its own."
        ),
        Note::Moved { given, taken } => {
            write!(f, "{name} {given} is too low or too high; {taken} is used.")
        }
        Note::Replaces => {
            write!(f, "{name} is given twice; this one is used")?;
            match first {
                Some(place) => write!(f, ", not the one at {place}."),
                None => f.write_str("."),
            }
        }
        Note::NotInEffect(what) => write!(f, "{name} is accepted, but not in effect: {what}."),
    }
}

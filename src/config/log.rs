//! What is logged, how, and where to: the values of the `log_*` options.

/// What is logged, how, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where lines go (`log_dest`).
    pub destinations: Destinations,
    /// Which lines are written (`log_type`).
    pub types: LogTypes,
    /// syslog's facility local0 to local7; `None`: daemon.
    pub facility: Option<u8>,
    /// Whether lines begin with the time.
    pub timestamp: bool,
    /// How the time is written, in `strftime`'s notation; `None`: seconds since 1970.
    pub timestamp_format: Option<String>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    /// To standard output.
    pub stdout: bool,
    /// To standard error.
    pub stderr: bool,
    /// To syslog.
    pub syslog: bool,
    /// To topics below `$SYS/broker/log`.
    pub topic: bool,
    /// To the end of this file.
    pub file: Option<String>,
}

/// Which lines are written: a set of the words of `log_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTypes(u16);

/// The words of `log_type`.
const TYPES: [(&str, LogTypes); 9] = [
    ("error", LogTypes::ERROR),
    ("warning", LogTypes::WARNING),
    ("notice", LogTypes::NOTICE),
    ("information", LogTypes::INFORMATION),
    ("debug", LogTypes::DEBUG),
    ("subscribe", LogTypes::SUBSCRIBE),
    ("unsubscribe", LogTypes::UNSUBSCRIBE),
    ("internal", LogTypes::INTERNAL),
    ("websockets", LogTypes::WEBSOCKETS),
];

impl LogTypes {
    /// No line.
    pub const NONE: Self = Self(0);
    /// The operator must act.
    pub const ERROR: Self = Self(1);
    /// Something may be wrong.
    pub const WARNING: Self = Self(1 << 1);
    /// Connections come and go.
    pub const NOTICE: Self = Self(1 << 2);
    /// What the broker does of itself.
    pub const INFORMATION: Self = Self(1 << 3);
    /// Every packet.
    pub const DEBUG: Self = Self(1 << 4);
    /// Who subscribes to what.
    pub const SUBSCRIBE: Self = Self(1 << 5);
    /// Who unsubscribes from what.
    pub const UNSUBSCRIBE: Self = Self(1 << 6);
    /// The broker's own workings.
    pub const INTERNAL: Self = Self(1 << 7);
    /// WebSocket connections.
    pub const WEBSOCKETS: Self = Self(1 << 8);
    /// Every line.
    pub const ALL: Self = Self((1 << 9) - 1);

    /// What `log_type word` adds, with `none` and `all` among the words; `None`: no such word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::NONE),
            "all" => Some(Self::ALL),
            _ => TYPES
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, types)| *types),
        }
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words, as in a file.
    pub fn words(self) -> String {
        if self == Self::ALL {
            return String::from("all");
        }
        let words: Vec<_> = TYPES
            .iter()
            .filter(|(_, types)| self.has(*types))
            .map(|(name, _)| *name)
            .collect();
        if words.is_empty() {
            return String::from("none");
        }
        words.join(" ")
    }

    /// Every word there is.
    pub fn known() -> Vec<&'static str> {
        let mut words: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
        words.extend(["none", "all"]);
        words
    }
}

impl Destinations {
    /// To nowhere.
    pub const fn none() -> Self {
        Self {
            stdout: false,
            stderr: false,
            syslog: false,
            topic: false,
            file: None,
        }
    }

    /// The words, as in a file.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let plain = [
            ("stdout", self.stdout),
            ("stderr", self.stderr),
            ("syslog", self.syslog),
            ("topic", self.topic),
        ];
        words.extend(plain.iter().filter(|row| row.1).map(|row| row.0.to_owned()));
        words.extend(self.file.iter().map(|path| format!("file {path}")));
        if words.is_empty() {
            return String::from("none");
        }
        words.join(", ")
    }
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            stderr: true,
            ..Self::none()
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            destinations: Destinations::default(),
            types: LogTypes::ERROR
                .with(LogTypes::WARNING)
                .with(LogTypes::NOTICE)
                .with(LogTypes::INFORMATION),
            facility: None,
            timestamp: true,
            timestamp_format: None,
        }
    }
}

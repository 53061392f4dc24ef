//! A password file: who the users are, and whether a password is theirs.
//!
//! ```text
//!   # comment
//!   ann:$7$1000$c2FsdA…$aGFzaA…
//! ```
//!
//! It is apart from the access rules because it answers one question, once for each connection, and
//! because the answer is slow on purpose: a password is not held against the file here but made
//! into a [`Check`], which owns all it needs and is run when, and where, the caller has time for it.
//! A file without users lets nobody in; it is never the same as no file [CVE-2018-12550].

use super::hash::{Cost, HashError, StoredHash};
use crate::limits::AUTH_FILE_ERRORS_MAX;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use zeroize::Zeroizing;

/// The users of one password file.
#[derive(Clone, Debug, Default)]
pub struct PasswordFile {
    users: HashMap<Box<str>, StoredHash>,
    /// The first user's hash, computed in vain for names that nobody has.
    decoy: Option<StoredHash>,
    ignored: Vec<IgnoredLine>,
}

/// A line that says nothing, as mosquitto takes it: not an error, but worth a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoredLine {
    /// Counted from 1.
    pub line: usize,
    /// What is the matter with it.
    pub why: Ignored,
}

/// What makes a line say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// There is text but no colon in it.
    NoColon,
    /// The name is not UTF-8, so that no client can send it [MQTT-3.1.3-11] [MQTT5-3.1.3-12].
    NameNotUtf8,
}

/// A line that keeps the whole file from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: PasswordLineError,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordLineError {
    /// Nothing stands before the colon.
    NoName,
    /// The user stands on an earlier line too.
    Duplicate {
        /// Whose name it is.
        user: Box<str>,
    },
    /// What stands behind the colon is no hash.
    Hash {
        /// Whose hash it is.
        user: Box<str>,
        /// What is wrong with it.
        error: HashError,
    },
}

impl PasswordFile {
    /// Reads a whole password file: one `user:hash` a line, both trimmed. Lines that begin with
    /// `#` are comments.
    ///
    /// # Errors
    /// Every line that is wrong, up to [`AUTH_FILE_ERRORS_MAX`] of them.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<PasswordFileError>> {
        let mut file = Self::default();
        let mut errors = Vec::new();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        for (index, content) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            match file.add_line(content) {
                Ok(None) => {}
                Ok(Some(why)) => file.ignored.push(IgnoredLine { line, why }),
                Err(what) => errors.push(PasswordFileError { line, what }),
            }
            if errors.len() == AUTH_FILE_ERRORS_MAX {
                break;
            }
        }
        if errors.is_empty() {
            Ok(file)
        } else {
            Err(errors)
        }
    }

    fn add_line(&mut self, content: &[u8]) -> Result<Option<Ignored>, PasswordLineError> {
        let content = content.trim_ascii_end();
        if content.is_empty() || content.first() == Some(&b'#') {
            return Ok(None);
        }
        let Some(colon) = content.iter().position(|byte| *byte == b':') else {
            return Ok(Some(Ignored::NoColon));
        };
        let (user, hash) = content.split_at(colon);
        let Ok(user) = std::str::from_utf8(user.trim_ascii()) else {
            return Ok(Some(Ignored::NameNotUtf8));
        };
        // [CVE-2018-12551] neither a user without a name nor one without a hash.
        if user.is_empty() {
            return Err(PasswordLineError::NoName);
        }
        let hash = read_hash(hash).map_err(|error| PasswordLineError::Hash {
            user: user.into(),
            error,
        })?;
        match self.users.entry(user.into()) {
            Entry::Occupied(_) => Err(PasswordLineError::Duplicate { user: user.into() }),
            Entry::Vacant(place) => {
                self.decoy.get_or_insert_with(|| hash.clone());
                place.insert(hash);
                Ok(None)
            }
        }
    }

    /// What it takes to find out whether `password` is `username`'s. Makes no hash yet.
    ///
    /// A name that nobody has costs as much as the first user of the file, so that the time to the
    /// answer does not tell which names exist (as far as all hashes in the file are of one form).
    /// No password at all is refused without a hash: its sender has learned nothing.
    ///
    /// Choice: all bytes of a password count, also those behind a zero byte, where mosquitto 2.0
    /// stops. (Zero bytes at the very end do not count in PBKDF2: HMAC fills its key with them.)
    pub fn check(&self, username: &str, password: Option<&[u8]>) -> Check {
        let known = self.users.get(username);
        let hash = match (known, password) {
            (_, None) => None,
            (Some(hash), Some(_)) => Some(hash.clone()),
            (None, Some(_)) => self.decoy.clone(),
        };
        Check {
            hash,
            password: Zeroizing::new(password.unwrap_or_default().into()),
            is_user: known.is_some(),
        }
    }

    /// Whether there is a user of this name.
    pub fn has(&self, username: &str) -> bool {
        self.users.contains_key(username)
    }

    /// Every user, in no order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|user| &**user)
    }

    /// Whether nobody is in it, so that nobody with a username is let in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The lines that say nothing, in the order of the file.
    pub fn ignored(&self) -> &[IgnoredLine] {
        &self.ignored
    }
}

/// The users of a password file, each with the number of its line, counted from 1.
pub fn user_lines(text: &[u8]) -> impl Iterator<Item = (u32, &str)> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').zip(1_u32..);
    lines.filter_map(|(content, line)| {
        let colon = content.iter().position(|byte| *byte == b':')?;
        let user = std::str::from_utf8(content.get(..colon)?.trim_ascii()).ok()?;
        (!content.starts_with(b"#") && !user.is_empty()).then_some((line, user))
    })
}

/// Reads what stands from the colon on.
fn read_hash(text: &[u8]) -> Result<StoredHash, HashError> {
    let text = text.strip_prefix(b":").unwrap_or(text).trim_ascii();
    StoredHash::parse(std::str::from_utf8(text).map_err(|_| HashError::UnknownForm)?)
}

/// What some editors put before UTF-8 text; it belongs to no name.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One verification, not yet made. It owns what it needs and can be sent to another thread; the
/// password in it is wiped when it is dropped.
pub struct Check {
    hash: Option<StoredHash>,
    password: Zeroizing<Box<[u8]>>,
    is_user: bool,
}

impl Check {
    /// What [`Check::run`] will cost; nothing, where the answer needs no hash.
    pub fn cost_hint(&self) -> Cost {
        self.hash
            .as_ref()
            .map_or_else(Cost::default, StoredHash::cost)
    }

    /// Computes the hash: may the client come in? Slow on purpose.
    pub fn run(self) -> bool {
        let verified = self.hash.is_some_and(|hash| hash.verifies(&self.password));
        verified && self.is_user
    }
}

/// Without the password, and without telling whether the user exists.
impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("cost", &self.cost_hint())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl fmt::Display for PasswordLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("there is no username before the colon"),
            Self::Duplicate { user } => {
                write!(f, "user '{}' is there twice", user.escape_debug())
            }
            Self::Hash { user, error } => write!(f, "user '{}': {error}", user.escape_debug()),
        }
    }
}

impl fmt::Display for IgnoredLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Ignored::NoColon => "there is no colon",
            Ignored::NameNotUtf8 => "the username is not UTF-8, so that nobody can log in with it",
        };
        write!(f, "line {} is ignored: {why}", self.line)
    }
}

impl std::error::Error for PasswordFileError {}

//! An access control file: which topics a client may publish to and receive from.
//!
//! ```text
//!   topic read news/#             before any user: for clients without a username
//!   user ann
//!   topic readwrite ann/#
//!   topic deny ann/secret
//!   pattern read devices/%c/#     for everybody, wherever it stands:
//!                                 %c is the Client Identifier, %u the username
//! ```
//!
//! The first of these that matches decides: the user's denies, the user's allows, the pattern
//! denies, the pattern allows. Nothing matches: denied. A file without a rule denies everything; it
//! is never the same as no file [CVE-2018-12550].
//!
//! It is asked once for every message that is published and every one that is delivered, so that a
//! question never allocates. `%c` and `%u` are compared level by level and never written into a
//! filter: no name can become a wildcard [CVE-2017-7650].

use crate::limits::AUTH_FILE_ERRORS_MAX;
use crate::message::Identity;
use crate::topic::filter::{TopicFilter, TopicFilterError};
use crate::topic::name::TopicName;
use std::collections::HashMap;
use std::fmt;

/// What a client wants to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Receive it.
    Read,
    /// Publish it.
    Write,
}

/// The rules of one access control file.
#[derive(Clone, Debug, Default)]
pub struct AclFile {
    anonymous: Rules,
    users: HashMap<Box<str>, Rules>,
    patterns: Rules,
    notices: Vec<AclNotice>,
}

/// Rules that stand together, each kind in the order of the file.
#[derive(Clone, Debug, Default)]
struct Rules {
    denies: Vec<Box<str>>,
    allows: Vec<Allow>,
}

#[derive(Clone, Debug)]
struct Allow {
    rights: Rights,
    filter: Box<str>,
}

/// What one access word says.
#[derive(Clone, Copy, Debug)]
enum Grant {
    Deny,
    Allow(Rights),
}

/// What a rule that allows allows.
#[derive(Clone, Copy, Debug)]
enum Rights {
    Read,
    Write,
    ReadWrite,
}

/// Who a rule's `%c` and `%u` stand for; nobody, in a rule that is no pattern.
#[derive(Clone, Copy, Debug)]
enum Tokens<'a> {
    Plain,
    Of(&'a Identity),
}

/// A line that is taken, and probably does not do what its writer meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclNotice {
    /// Counted from 1.
    pub line: usize,
    /// What is odd about it.
    pub what: AclOddity,
}

/// What can be odd about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclOddity {
    /// A pattern with neither `%c` nor `%u` as a level: it holds for everybody alike.
    PatternWithoutToken,
    /// `%c` or `%u` beside other characters in its level, where it stands for itself.
    TokenNotWholeLevel,
    /// `%c` or `%u` as a level of a `topic` line, where it stands for itself.
    TokenOutsidePattern,
    /// A filter that is spelled like an access word: the filter itself was left out, probably.
    FilterIsAccessWord {
        /// The word.
        word: &'static str,
    },
    /// A filter that begins with `$share/`, which no topic does: access is by the topic itself.
    SharedSubscription,
}

/// A line that keeps the whole file from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: AclLineError,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclLineError {
    /// It is not UTF-8.
    NotUtf8,
    /// It begins with none of `user`, `topic` and `pattern`.
    Keyword {
        /// What it begins with.
        word: Box<str>,
    },
    /// A `#` that is not the line's first character.
    IndentedComment,
    /// No name follows `user`.
    NoName,
    /// No filter follows `topic` or `pattern`.
    NoFilter,
    /// More than one word follows, and the first is no access word.
    AccessWord {
        /// The first word.
        word: Box<str>,
    },
    /// What follows is no Topic Filter.
    Filter {
        /// The text that is none.
        filter: Box<str>,
        /// Why.
        error: TopicFilterError,
    },
    /// A pattern that denies has `%c` or `%u` beside other characters in its level.
    DeniesNothing,
}

/// Whose rules the lines being read add to.
enum Block {
    Anonymous,
    User(Box<str>),
}

impl AclFile {
    /// Reads a whole access control file.
    ///
    /// # Errors
    /// Every line that is wrong, up to [`AUTH_FILE_ERRORS_MAX`] of them.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<AclFileError>> {
        let mut file = Self::default();
        let mut block = Block::Anonymous;
        let mut errors = Vec::new();
        for (index, content) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            if let Err(what) = file.add_line(line, content, &mut block) {
                errors.push(AclFileError { line, what });
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

    fn add_line(
        &mut self,
        line: usize,
        content: &[u8],
        block: &mut Block,
    ) -> Result<(), AclLineError> {
        if content.first() == Some(&b'#') {
            return Ok(());
        }
        let content = std::str::from_utf8(content).map_err(|_| AclLineError::NotUtf8)?;
        let (keyword, rest) = split_word(content.trim_matches(is_blank));
        match keyword {
            "" => Ok(()),
            "user" if rest.is_empty() => Err(AclLineError::NoName),
            "user" => {
                self.users.entry(rest.into()).or_default();
                *block = Block::User(rest.into());
                Ok(())
            }
            "topic" => {
                let (grant, filter) = rule(rest)?;
                self.notices.extend(odd_topic(line, rest, filter));
                self.rules_of(block).add(grant, filter);
                Ok(())
            }
            "pattern" => {
                let (grant, filter) = rule(rest)?;
                // Choice: what 2.0 denied must not come to be allowed in silence.
                if matches!(grant, Grant::Deny) && has_part_token(filter) {
                    return Err(AclLineError::DeniesNothing);
                }
                self.notices.extend(odd_pattern(line, rest, filter));
                self.patterns.add(grant, filter);
                Ok(())
            }
            _ if keyword.starts_with('#') => Err(AclLineError::IndentedComment),
            _ => Err(AclLineError::Keyword {
                word: keyword.into(),
            }),
        }
    }

    fn rules_of(&mut self, block: &Block) -> &mut Rules {
        match block {
            Block::Anonymous => &mut self.anonymous,
            Block::User(user) => self.users.entry(user.clone()).or_default(),
        }
    }

    /// May `identity` publish to, or receive from, `topic`?
    ///
    /// Choice: a name that no pattern may be asked about (it has `+`, `#` or `/` in it) is refused after the
    /// user's own rules have been asked, as mosquitto has it. They hold no name of the client's
    /// choosing, and refusing earlier would shut out every client with a `/` in its identifier.
    pub fn may(&self, access: Access, identity: &Identity, topic: &TopicName<'_>) -> bool {
        let own = match &identity.username {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        let decided = own.and_then(|rules| rules.decide(access, topic, Tokens::Plain));
        if let Some(decided) = decided {
            return decided;
        }
        if self.patterns.is_empty() || is_ambiguous(identity) {
            return false;
        }
        let decided = self.patterns.decide(access, topic, Tokens::Of(identity));
        decided.unwrap_or(false)
    }

    /// Every user that has a block of rules, in no order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|user| &**user)
    }

    /// Whether it has patterns, so that names with `+`, `#` or `/` in them are refused.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether there is no rule at all, so that everything is denied.
    pub fn is_empty(&self) -> bool {
        self.anonymous.is_empty()
            && self.patterns.is_empty()
            && self.users.values().all(Rules::is_empty)
    }

    /// The lines that probably do not do what they should, in the order of the file.
    pub fn notices(&self) -> &[AclNotice] {
        &self.notices
    }
}

/// Whether a name of this client could be taken for more than one level, or for any level: it is
/// refused wherever there are patterns [CVE-2017-7650].
pub(super) fn is_ambiguous(identity: &Identity) -> bool {
    let is_ambiguous = |name: &str| name.contains(['+', '#', '/']);
    is_ambiguous(&identity.client_identifier)
        || identity.username.as_deref().is_some_and(is_ambiguous)
}

/// The lines `user NAME` of an access control file: each with its number, counted from 1.
pub fn user_lines(text: &[u8]) -> impl Iterator<Item = (u32, &str)> {
    let lines = text.split(|byte| *byte == b'\n').zip(1_u32..);
    lines.filter_map(|(content, line)| {
        let content = std::str::from_utf8(content).ok()?;
        match split_word(content.trim_matches(is_blank)) {
            ("user", name) if !name.is_empty() => Some((line, name)),
            _ => None,
        }
    })
}

impl Rules {
    fn add(&mut self, grant: Grant, filter: &str) {
        let filter = filter.into();
        match grant {
            Grant::Deny => self.denies.push(filter),
            Grant::Allow(rights) => self.allows.push(Allow { rights, filter }),
        }
    }

    fn is_empty(&self) -> bool {
        self.denies.is_empty() && self.allows.is_empty()
    }

    /// What these rules say; `None` if nothing.
    fn decide(&self, access: Access, topic: &TopicName<'_>, tokens: Tokens<'_>) -> Option<bool> {
        let mut denies = self.denies.iter();
        if denies.any(|filter| matches(filter, topic, tokens)) {
            return Some(false);
        }
        let allowed =
            |allow: &Allow| allow.rights.include(access) && matches(&allow.filter, topic, tokens);
        self.allows.iter().any(allowed).then_some(true)
    }
}

impl Rights {
    const fn include(self, access: Access) -> bool {
        matches!(
            (self, access),
            (Self::ReadWrite, _) | (Self::Read, Access::Read) | (Self::Write, Access::Write)
        )
    }
}

/// Whether a rule's filter matches `topic`. In a pattern `%c` and `%u` match the one level that is
/// the client's own name; `%u` matches nothing for a client without one.
fn matches(filter: &str, topic: &TopicName<'_>, tokens: Tokens<'_>) -> bool {
    // [MQTT-4.7.2-1] [MQTT5-4.7.2-1] and stricter: `$` must be there in so many letters, so that no
    // name makes it either.
    if topic.starts_with_dollar() && !filter.starts_with('$') {
        return false;
    }
    let mut topic_levels = topic.levels();
    for level in filter.split('/') {
        let wanted = match (level, tokens) {
            ("#", _) => return true,
            ("+", _) => match topic_levels.next() {
                Some(_) => continue,
                None => return false,
            },
            ("%c", Tokens::Of(identity)) => Some(&*identity.client_identifier),
            ("%u", Tokens::Of(identity)) => identity.username.as_deref(),
            (level, _) => Some(level),
        };
        if wanted.is_none() || topic_levels.next() != wanted {
            return false;
        }
    }
    topic_levels.next().is_none()
}

/// What follows `topic` or `pattern`: an access word, if there is more than one word, and a filter.
fn rule(text: &str) -> Result<(Grant, &str), AclLineError> {
    let (word, rest) = split_word(text);
    let (grant, filter) = match (word, rest) {
        ("", _) => return Err(AclLineError::NoFilter),
        (filter, "") => (ACCESS_DEFAULT, filter),
        (word, filter) => {
            let known = ACCESS_WORDS.iter().find(|(known, _)| *known == word);
            let (_, grant) = known.ok_or_else(|| AclLineError::AccessWord { word: word.into() })?;
            (*grant, filter)
        }
    };
    check_filter(filter).map_err(|error| AclLineError::Filter {
        filter: filter.into(),
        error,
    })?;
    Ok((grant, filter))
}

/// Without an access word.
const ACCESS_DEFAULT: Grant = Grant::Allow(Rights::ReadWrite);

const ACCESS_WORDS: [(&str, Grant); 4] = [
    ("read", Grant::Allow(Rights::Read)),
    ("write", Grant::Allow(Rights::Write)),
    ("readwrite", ACCESS_DEFAULT),
    ("deny", Grant::Deny),
];

/// `$share/` has no meaning here, and takes no part in what is checked.
fn check_filter(filter: &str) -> Result<(), TopicFilterError> {
    let filter = filter.strip_prefix(SHARE_PREFIX).unwrap_or(filter);
    TopicFilter::new(filter).map(|_| ())
}

const SHARE_PREFIX: &str = "$share/";

const TOKENS: [&str; 2] = ["%c", "%u"];

fn odd_topic(line: usize, rest: &str, filter: &str) -> Option<AclNotice> {
    let has_token = filter.split('/').any(|level| TOKENS.contains(&level));
    let token = has_token.then_some(AclOddity::TokenOutsidePattern);
    let what = odd_filter(rest, filter).or(token)?;
    Some(AclNotice { line, what })
}

/// Whether `%c` or `%u` stands beside other characters in its level.
fn has_part_token(filter: &str) -> bool {
    let is_part =
        |level: &str| !TOKENS.contains(&level) && TOKENS.iter().any(|token| level.contains(token));
    filter.split('/').any(is_part)
}

fn odd_pattern(line: usize, rest: &str, filter: &str) -> Option<AclNotice> {
    let has_token = filter.split('/').any(|level| TOKENS.contains(&level));
    let token = if has_part_token(filter) {
        Some(AclOddity::TokenNotWholeLevel)
    } else {
        (!has_token).then_some(AclOddity::PatternWithoutToken)
    };
    let what = odd_filter(rest, filter).or(token)?;
    Some(AclNotice { line, what })
}

fn odd_filter(rest: &str, filter: &str) -> Option<AclOddity> {
    let word = ACCESS_WORDS.iter().find(|(word, _)| *word == rest);
    if let Some((word, _)) = word {
        return Some(AclOddity::FilterIsAccessWord { word });
    }
    let is_share = filter.starts_with(SHARE_PREFIX);
    is_share.then_some(AclOddity::SharedSubscription)
}

/// The first word, and what follows it without the blanks between.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(is_blank) {
        Some((word, rest)) => (word, rest.trim_start_matches(is_blank)),
        None => (text, ""),
    }
}

/// What C's `isspace` takes for space.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

impl fmt::Display for AclFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl fmt::Display for AclLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("this is not UTF-8 text"),
            Self::Keyword { word } => write!(
                f,
                "'{}' is none of user, topic and pattern",
                word.escape_debug()
            ),
            Self::IndentedComment => {
                f.write_str("a comment must have its # as the first character of the line")
            }
            Self::NoName => f.write_str("no username follows 'user'"),
            Self::NoFilter => f.write_str("no topic filter follows"),
            Self::AccessWord { word } => write!(
                f,
                "'{}' is none of read, write, readwrite and deny, one of which must stand before \
                 a topic filter with a space in it",
                word.escape_debug()
            ),
            Self::Filter { filter, error } => {
                write!(f, "'{}': {error}", filter.escape_debug())
            }
            Self::DeniesNothing => f.write_str(
                "this pattern would deny nothing: %c and %u stand for a name only as a whole level; \
                 give the token a level of its own, or deny more",
            ),
        }
    }
}

impl fmt::Display for AclNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl fmt::Display for AclOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatternWithoutToken => f.write_str(
                "this pattern has neither %c nor %u as a level, so that it holds for every client",
            ),
            Self::TokenNotWholeLevel => f.write_str(
                "%c and %u stand for a name only as a whole level, as in mosquitto 2.1; beside \
                 other characters they are taken literally, where mosquitto 2.0 put the name in",
            ),
            Self::TokenOutsidePattern => f.write_str(
                "%c and %u stand for a name only in a 'pattern' line; here they are taken \
                 literally",
            ),
            Self::FilterIsAccessWord { word } => write!(
                f,
                "'{word}' is taken as the topic filter, because nothing follows it"
            ),
            Self::SharedSubscription => f.write_str(
                "no topic begins with $share/; write the filter that stands behind the share name",
            ),
        }
    }
}

impl std::error::Error for AclFileError {}

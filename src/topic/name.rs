//! A Topic Name: the label an Application Message travels under [MQTT5 §4.7].
//!
//! It is apart from the Topic Filter because the two are never exchanged: a name has no wildcards
//! and is looked *up*, a filter may have them and is stored. Whoever holds a [`TopicName`] need not
//! check it again. It must never allocate: every PUBLISH on a topic that is not remembered comes by.

use crate::limits::TOPIC_LEVELS_MAX;
use std::fmt;

/// A Topic Name that has passed its checks; it borrows the packet it stands in.
///
/// That it is UTF-8 without U+0000 is the codec's work and taken as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicName<'a>(&'a str);

/// Why a text is no Topic Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNameError {
    /// It has no character at all.
    Empty,
    /// It holds `+` or `#`.
    Wildcard,
    /// It has more than [`TOPIC_LEVELS_MAX`] levels.
    TooManyLevels,
}

impl<'a> TopicName<'a> {
    /// Takes `text` as a Topic Name.
    /// # Errors
    /// The first of [`TopicNameError`]'s reasons that holds, in their order.
    pub fn new(text: &'a str) -> Result<Self, TopicNameError> {
        // [MQTT-4.7.3-1] [MQTT5-4.7.3-1] at least one character.
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        let bytes = text.as_bytes();
        let is_wildcard = |byte: &u8| *byte == b'+' || *byte == b'#';
        // No early exit: this way the compiler checks many bytes at once. [MQTT-3.3.2-2]
        // [MQTT-4.7.1-1] [MQTT5-3.3.2-2] [MQTT5-4.7.0-1] no wildcards in a name.
        if bytes
            .iter()
            .fold(false, |any, byte| any | is_wildcard(byte))
        {
            return Err(TopicNameError::Wildcard);
        }
        // A shorter text cannot have too many.
        if bytes.len() >= TOPIC_LEVELS_MAX {
            let separators = bytes.iter().filter(|byte| **byte == b'/').count();
            if separators >= TOPIC_LEVELS_MAX {
                return Err(TopicNameError::TooManyLevels);
            }
        }
        Ok(Self(text))
    }

    /// A name that has passed its checks before.
    pub fn known(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok());
        Self(text)
    }

    /// The whole name.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// Its levels from left to right; a level may be empty [MQTT5 §4.7.1.1].
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split('/')
    }

    /// Whether the name is kept away from filters that begin with a wildcard [MQTT-4.7.2-1]
    /// [MQTT5-4.7.2-1].
    pub fn starts_with_dollar(&self) -> bool {
        self.0.as_bytes().first() == Some(&b'$')
    }
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "A Topic Name needs at least one character",
            Self::Wildcard => "A Topic Name must not hold the wildcards + and #",
            Self::TooManyLevels => "The Topic Name has too many levels",
        })
    }
}

impl std::error::Error for TopicNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_names() {
        // [MQTT5 §4.7.3]: a space, a leading or trailing separator, and the separator alone.
        let rows: [(&str, &[&str]); 8] = [
            ("ACCOUNTS", &["ACCOUNTS"]),
            ("Accounts payable", &["Accounts payable"]),
            ("/finance", &["", "finance"]),
            ("finance/", &["finance", ""]),
            ("/", &["", ""]),
            ("sport//player1", &["sport", "", "player1"]),
            ("$SYS/broker/load", &["$SYS", "broker", "load"]),
            ("téa/чай/茶", &["téa", "чай", "茶"]),
        ];
        for (text, levels) in rows {
            let name = TopicName::new(text).unwrap();
            assert_eq!(name.as_str(), text);
            assert_eq!(name.levels().collect::<Vec<_>>(), levels, "{text}");
            assert_eq!(name.starts_with_dollar(), text.starts_with('$'), "{text}");
        }
    }

    #[test]
    fn refused_names() {
        use TopicNameError::{Empty, TooManyLevels, Wildcard};
        let rows = [
            ("", Empty),         // [MQTT-4.7.3-1] [MQTT5-4.7.3-1]
            ("#", Wildcard),     // [MQTT-3.3.2-2] [MQTT5-3.3.2-2]
            ("+", Wildcard),     // [MQTT-4.7.1-1] [MQTT5-4.7.0-1]
            ("a/+/b", Wildcard), // [MQTT-4.7.1-1] [MQTT5-4.7.0-1]
            ("tea#1", Wildcard), // anywhere in a level, not only as a whole one
            ("1+1=2/x", Wildcard),
        ];
        for (text, error) in rows {
            assert_eq!(TopicName::new(text), Err(error), "{text}");
        }
        let most = "/".repeat(TOPIC_LEVELS_MAX - 1);
        assert_eq!(
            TopicName::new(&most).unwrap().levels().count(),
            TOPIC_LEVELS_MAX
        );
        assert_eq!(TopicName::new(&format!("{most}/")), Err(TooManyLevels));
    }

    #[test]
    fn errors_are_plain_sentences() {
        for error in [
            TopicNameError::Empty,
            TopicNameError::Wildcard,
            TopicNameError::TooManyLevels,
        ] {
            let text = error.to_string();
            assert!(
                text.contains("Topic Name") && !text.ends_with('.'),
                "{text}"
            );
        }
    }
}

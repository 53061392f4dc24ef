//! A Topic Filter: what a subscription asks for [MQTT5 §4.7], with the share name of a Shared
//! Subscription split off [MQTT5 §4.8.2].
//!
//! ```text
//!   $share/consumers/sport/+/#      whole()
//!          consumers                share_name()
//!                    sport/+/#      filter(), levels()
//! ```
//!
//! It is apart from the tree because a single filter is also compared without one: by access
//! control, by bridges and by topic rewriting. It must never be built unchecked, and never allocate.

use super::name::TopicName;
use crate::limits::TOPIC_LEVELS_MAX;
use std::fmt;

/// What a Shared Subscription's filter begins with; only in this spelling [MQTT5-4.8.2-1].
const SHARE_PREFIX: &str = "$share/";

/// A Topic Filter that has passed its checks; it borrows the text it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFilter<'a> {
    whole: &'a str,
    share_name: Option<&'a str>,
    filter: &'a str,
    has_wildcard: bool,
}

/// Why a text is no Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFilterError {
    /// It has no character at all.
    Empty,
    /// A level follows `#`.
    HashNotLast,
    /// `#` shares its level with other characters.
    HashNotWholeLevel,
    /// `+` shares its level with other characters.
    PlusNotWholeLevel,
    /// It has more than [`TOPIC_LEVELS_MAX`] levels.
    TooManyLevels,
    /// Nothing stands between `$share/` and the next separator.
    ShareNameEmpty,
    /// The share name holds `+` or `#`.
    ShareNameWildcard,
    /// Nothing follows the share name.
    ShareWithoutFilter,
}

impl<'a> TopicFilter<'a> {
    /// Takes `text` as a Topic Filter, shared or not.
    /// # Errors
    /// The reason that stands furthest to the left in `text`; `TooManyLevels` as soon as one level
    /// too many begins.
    pub fn new(text: &'a str) -> Result<Self, TopicFilterError> {
        let (share_name, filter) = match text.strip_prefix(SHARE_PREFIX) {
            Some(rest) => {
                let (name, filter) = split_share(rest)?;
                (Some(name), filter)
            }
            None => (None, text),
        };
        // [MQTT-4.7.3-1] [MQTT5-4.7.3-1] at least one character.
        if filter.is_empty() {
            return Err(TopicFilterError::Empty);
        }
        let has_wildcard = check_levels(filter)?;
        Ok(Self {
            whole: text,
            share_name,
            filter,
            has_wildcard,
        })
    }

    /// The text as the Client sent it, `$share/…/` included.
    pub const fn whole(&self) -> &'a str {
        self.whole
    }

    /// The group of a Shared Subscription; `None` for an ordinary one.
    pub const fn share_name(&self) -> Option<&'a str> {
        self.share_name
    }

    /// The part that is compared with Topic Names: without `$share/` and the share name.
    pub const fn filter(&self) -> &'a str {
        self.filter
    }

    /// The levels of [`filter`](Self::filter) from left to right; a level may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.filter.split('/')
    }

    /// Whether it can match more than one name.
    pub const fn has_wildcard(&self) -> bool {
        self.has_wildcard
    }

    /// Whether `name` matches, found by comparing the two alone.
    pub fn matches(&self, name: &TopicName<'_>) -> bool {
        // [MQTT-4.7.2-1] [MQTT5-4.7.2-1] `$` topics are not for filters led by a wildcard.
        if name.starts_with_dollar() && matches!(self.filter.as_bytes().first(), Some(b'+' | b'#'))
        {
            return false;
        }
        let mut name_levels = name.levels();
        for level in self.levels() {
            match (level, name_levels.next()) {
                // Also when the name has ended: `sport/#` matches `sport` [MQTT5 §4.7.1.2].
                ("#", _) => return true,
                ("+", Some(_)) => {}
                // [MQTT-4.7.3-4] [MQTT5-4.7.3-4] character for character, nothing normalised.
                (wanted, Some(given)) if wanted == given => {}
                _ => return false,
            }
        }
        name_levels.next().is_none()
    }
}

/// Splits what follows `$share/` into share name and filter.
fn split_share(rest: &str) -> Result<(&str, &str), TopicFilterError> {
    let (name, filter) = match rest.split_once('/') {
        Some((name, filter)) => (name, filter),
        None => (rest, ""),
    };
    // [MQTT5-4.8.2-1] the share name has at least one character.
    if name.is_empty() {
        return Err(TopicFilterError::ShareNameEmpty);
    }
    // [MQTT5-4.8.2-2] neither wildcards in the name, nor a name without a filter behind it.
    if name.contains(['+', '#']) {
        return Err(TopicFilterError::ShareNameWildcard);
    }
    if filter.is_empty() {
        return Err(TopicFilterError::ShareWithoutFilter);
    }
    Ok((name, filter))
}

/// Checks the wildcards level by level; says whether there are any.
fn check_levels(filter: &str) -> Result<bool, TopicFilterError> {
    let mut has_wildcard = false;
    let mut ended = false;
    for (count, level) in filter.split('/').enumerate() {
        if count >= TOPIC_LEVELS_MAX {
            return Err(TopicFilterError::TooManyLevels);
        }
        // [MQTT-4.7.1-2] [MQTT5-4.7.1-1] `#` is the last level,
        if ended {
            return Err(TopicFilterError::HashNotLast);
        }
        match level {
            "#" => (has_wildcard, ended) = (true, true),
            "+" => has_wildcard = true,
            // and a whole one,
            _ if level.contains('#') => return Err(TopicFilterError::HashNotWholeLevel),
            // [MQTT-4.7.1-3] [MQTT5-4.7.1-2] as is `+`.
            _ if level.contains('+') => return Err(TopicFilterError::PlusNotWholeLevel),
            _ => {}
        }
    }
    Ok(has_wildcard)
}

impl fmt::Display for TopicFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "A Topic Filter needs at least one character",
            Self::HashNotLast => "The wildcard # must be the last level of a Topic Filter",
            Self::HashNotWholeLevel => "The wildcard # must fill its level of the Topic Filter",
            Self::PlusNotWholeLevel => "The wildcard + must fill its level of the Topic Filter",
            Self::TooManyLevels => "The Topic Filter has too many levels",
            Self::ShareNameEmpty => "The share name after $share/ is empty",
            Self::ShareNameWildcard => "A share name must not hold the wildcards + and #",
            Self::ShareWithoutFilter => "No Topic Filter follows the share name",
        })
    }
}

impl std::error::Error for TopicFilterError {}

#[cfg(test)]
mod tests {
    use super::TopicFilterError::*;
    use super::*;

    /// Every example of §4.7 in both specifications, and what they leave out.
    #[test]
    fn matching_table() {
        let rows = [
            // [MQTT5 §4.7.1.2] [MQTT-4.7.1-2] [MQTT5-4.7.1-1] the multi-level wildcard
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/tennis/player1/#", "sport/tennis/player10", false),
            ("sport/#", "sport", true),
            ("sport/#", "sport/", true),
            ("sport/#", "sports", false),
            ("#", "sport", true),
            ("#", "/", true),
            ("#", "a/b/c", true),
            ("sport/tennis/#", "sport/tennis", true),
            // [MQTT5 §4.7.1.3] [MQTT-4.7.1-3] [MQTT5-4.7.1-2] the single-level wildcard
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player2", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+", "sport", true),
            ("+", "sport/tennis", false),
            ("+/tennis/#", "sport/tennis", true),
            ("+/tennis/#", "sport/tennis/player1", true),
            ("+/tennis/#", "sport/golf", false),
            ("sport/+/player1", "sport/tennis/player1", true),
            ("sport/+/player1", "sport//player1", true),
            ("sport/+/player1", "sport/tennis/player2", false),
            ("/finance", "/finance", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            // [MQTT5 §4.7.2] [MQTT-4.7.2-1] [MQTT5-4.7.2-1] topics beginning with $
            ("#", "$SYS/broker", false),
            ("#", "$", false),
            ("+", "$SYS", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("+/#", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/#", "$SYS/", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("$SYS/+/Clients", "$SYS/$x/Clients", true),
            ("a/#", "a/$SYS", true),
            ("a/+", "a/$SYS", true),
            ("/#", "/$SYS", true),
            // [MQTT5 §4.7.3] [MQTT-4.7.3-4] [MQTT5-4.7.3-4] character for character
            ("ACCOUNTS", "Accounts", false),
            ("Accounts payable", "Accounts payable", true),
            ("/finance", "finance", false),
            ("finance", "finance/", false),
            ("a//b", "a/b", false),
            ("a//b", "a//b", true),
            ("a/b", "a", false),
            ("/", "/", true),
            ("+/+", "/", true),
            ("+/#", "/", true),
            ("+/+/+", "/", false),
            ("\u{e9}", "e\u{301}", false), // composed and decomposed é stay two topics
            // [MQTT5 §4.8.2] the share takes no part in the comparison
            ("$share/g/sport/+", "sport/golf", true),
            ("$share/g/sport/+", "$share/g/sport/golf", false),
            ("$share/g/#", "$SYS/broker", false),
            ("$share/g/$SYS/#", "$SYS/broker", true),
            ("$share/g//x", "/x", true),
        ];
        for (filter, name, expected) in rows {
            let filter = TopicFilter::new(filter).unwrap();
            let name = TopicName::new(name).unwrap();
            assert_eq!(
                filter.matches(&name),
                expected,
                "{} {}",
                filter.whole(),
                name.as_str()
            );
        }
    }

    #[test]
    fn accepted_filters() {
        let rows = [
            ("#", true),
            ("+", true),
            ("sport/tennis/#", true),
            ("+/tennis/#", true),
            ("sport/+/player1", true),
            ("/", false),
            ("//", false),
            ("a//b", false),
            ("/finance", false),
            ("$SYS/#", true),
            ("$share", false), // no separator: an ordinary filter
            ("$SHARE/g", false),
            ("$shared/g", false),
            ("$SHARE//x", false),
            ("a/$share/g/x", false),
        ];
        for (text, has_wildcard) in rows {
            let filter = TopicFilter::new(text).unwrap();
            assert_eq!((filter.whole(), filter.filter()), (text, text));
            assert_eq!(filter.share_name(), None, "{text}");
            assert_eq!(filter.has_wildcard(), has_wildcard, "{text}");
            assert_eq!(filter.levels().collect::<Vec<_>>().join("/"), text);
        }
    }

    #[test]
    fn refused_filters() {
        let rows = [
            ("", Empty), // [MQTT-4.7.3-1] [MQTT5-4.7.3-1]
            // [MQTT-4.7.1-2] [MQTT5-4.7.1-1]
            ("sport/tennis#", HashNotWholeLevel),
            ("sport/tennis/#/ranking", HashNotLast),
            ("a/#/b", HashNotLast),
            ("a#", HashNotWholeLevel),
            ("#a", HashNotWholeLevel),
            ("##", HashNotWholeLevel),
            ("#+", HashNotWholeLevel),
            ("#/", HashNotLast),
            ("#/#", HashNotLast),
            ("Myhome/#/", HashNotLast),
            ("a/b#/c", HashNotWholeLevel),
            // [MQTT-4.7.1-3] [MQTT5-4.7.1-2]
            ("sport+", PlusNotWholeLevel),
            ("a+", PlusNotWholeLevel),
            ("+a", PlusNotWholeLevel),
            ("++", PlusNotWholeLevel),
            ("a/+b/c", PlusNotWholeLevel),
            // [MQTT5-4.8.2-1]
            ("$share/", ShareNameEmpty),
            ("$share//", ShareNameEmpty),
            ("$share//x", ShareNameEmpty),
            // [MQTT5-4.8.2-2]
            ("$share/a+/x", ShareNameWildcard),
            ("$share/+/x", ShareNameWildcard),
            ("$share/#", ShareNameWildcard),
            ("$share/a#b/x", ShareNameWildcard),
            ("$share/group", ShareWithoutFilter),
            ("$share/g/", ShareWithoutFilter),
            // The part behind the share name obeys the same rules.
            ("$share/g/a#", HashNotWholeLevel),
            ("$share/g/#/a", HashNotLast),
            ("$share/g/a/b+", PlusNotWholeLevel),
        ];
        for (text, error) in rows {
            assert_eq!(TopicFilter::new(text), Err(error), "{text}");
        }
    }

    #[test]
    fn levels_are_bounded() {
        let most = "/".repeat(TOPIC_LEVELS_MAX - 1);
        assert_eq!(
            TopicFilter::new(&most).unwrap().levels().count(),
            TOPIC_LEVELS_MAX
        );
        assert_eq!(TopicFilter::new(&format!("{most}/")), Err(TooManyLevels));
        assert!(TopicFilter::new(&format!("$share/g/{most}")).is_ok());
    }

    /// [MQTT5 §4.8.2], the examples of the text among them.
    #[test]
    fn shared_filters() {
        let rows = [
            (
                "$share/consumer1/sport/tennis/+",
                "consumer1",
                "sport/tennis/+",
            ),
            (
                "$share/consumer2/sport/tennis/+",
                "consumer2",
                "sport/tennis/+",
            ),
            ("$share/consumer1//finance", "consumer1", "/finance"),
            ("$share/g/#", "g", "#"),
            ("$share/g//", "g", "/"),
            ("$share/$share/$share/x", "$share", "$share/x"),
            ("$share/a b/ü", "a b", "ü"),
        ];
        for (text, share_name, rest) in rows {
            let filter = TopicFilter::new(text).unwrap();
            assert_eq!(filter.share_name(), Some(share_name), "{text}");
            assert_eq!(filter.filter(), rest, "{text}");
            assert_eq!(filter.whole(), text);
            assert_eq!(filter.levels().collect::<Vec<_>>().join("/"), rest);
        }
    }

    #[test]
    fn errors_are_plain_sentences() {
        let all = [
            Empty,
            HashNotLast,
            HashNotWholeLevel,
            PlusNotWholeLevel,
            TooManyLevels,
            ShareNameEmpty,
            ShareNameWildcard,
            ShareWithoutFilter,
        ];
        for error in all {
            let text = error.to_string();
            assert!(text.contains(' ') && !text.ends_with('.'), "{text}");
        }
    }
}

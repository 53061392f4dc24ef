//! The value of one option: the bytes behind its name, read as the type the option has.
//!
//! It is apart from the table because the rules of reading are mosquitto's and the same for every
//! option of a type: what ends a number, what a string swallows, what counts as true. Nothing here
//! knows an option by name; an [`Invalid`] gets its sentence when the loader tells it the name.

use crate::message::QoS;
use std::borrow::Cow;

/// What stands behind an option's name, read from left to right.
#[derive(Debug)]
pub struct Value<'a> {
    rest: &'a [u8],
    notes: Vec<Note>,
}

/// Why a value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Nothing stands behind the name.
    Empty,
    /// The option may stand once only.
    Duplicate,
    /// Neither true nor false, nor 1 nor 0.
    NotBool(String),
    /// Not a whole number in C's notation.
    NotNumber(String),
    /// A number that is too small or too large.
    OutOfRange {
        /// As given; cut to what 64 bits can say.
        given: i64,
        /// The smallest number the option takes.
        min: i64,
        /// The largest number the option takes.
        max: i64,
    },
    /// Not one of the words the option takes.
    NotOneOf {
        /// As given.
        given: String,
        /// The words it takes.
        known: Vec<&'static str>,
    },
    /// More bytes than the option takes.
    TooLong {
        /// Bytes it takes at most.
        bytes_max: usize,
    },
    /// Not UTF-8, or UTF-8 with control characters.
    MalformedUtf8,
    /// Not a number with one of the units s, h, d, w, m, y behind it.
    NotDuration(String),
    /// A rule that this one option, or a few, have of their own.
    Rule(Rule),
}

/// A rule that only one option, or a few, have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `listener 0` without a path.
    UnixPathMissing,
    /// A wildcard in a prefix.
    Wildcard,
    /// A listener's own option where no listener has begun.
    ListenerMissing,
    /// A bridge's option where no `connection` has begun.
    ConnectionMissing,
    /// A plugin's option where no plugin stands before it.
    PluginMissing,
    /// `plugin_opt_` without a key behind it, or without a value.
    PluginOption,
    /// `plugin_load` with a name already taken.
    PluginNameTaken,
    /// `plugin_use` with a name that no `plugin_load` gave.
    PluginNameUnknown,
    /// `per_listener_settings` behind a security option.
    TooLate,
    /// A bridge topic's pattern without a closing quote.
    QuoteOpen,
    /// A bridge topic that is empty without both prefixes.
    Remapping,
    /// A bridge topic's prefix with a wildcard.
    BridgePrefix,
    /// A bridge topic that is no Topic Filter.
    TopicFilter,
    /// `start_type manual`.
    StartManual,
    /// `restart_timeout` whose cap lies below its base.
    BackOff,
    /// Fewer than the three numbers of `bridge_tcp_keepalive`.
    TcpKeepalive,
    /// `bridge_psk` that is not hexadecimal.
    NotHex,
}

/// Something worth saying about a value that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Words behind the value that mosquitto does not look at.
    TrailingWords(String),
    /// What looks like a comment is part of a string.
    CommentInString(String),
    /// A number was moved into the range of what makes sense.
    Moved {
        /// As given.
        given: i64,
        /// As taken.
        taken: i64,
    },
    /// A later value replaces an earlier one of the same option.
    Replaces,
    /// Something else that is not in effect.
    NotInEffect(&'static str),
}

impl Note {
    /// The same about a secret, without any of it.
    pub fn hidden(self) -> Self {
        match self {
            Self::CommentInString(_) => Self::CommentInString(String::from("#...")),
            note => note,
        }
    }
}

/// Bytes of a string value at most; mosquitto's limit.
pub const STRING_BYTES_MAX: usize = 65_535;

impl<'a> Value<'a> {
    /// `rest`: the line behind the option's name.
    pub fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            notes: Vec::new(),
        }
    }

    /// What there is to say about the value, once it has been taken.
    pub fn into_notes(self) -> Vec<Note> {
        self.notes
    }

    /// Says something about the value.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// The next word: what stands before the next space. A tab is part of a word.
    pub fn word(&mut self) -> Option<Cow<'a, str>> {
        let begin = self.rest.iter().position(|byte| *byte != b' ')?;
        let rest = self.rest.get(begin..)?;
        let end = rest.iter().position(|byte| *byte == b' ');
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.rest = rest;
        Some(String::from_utf8_lossy(word))
    }

    /// The next word, which must be there.
    /// # Errors
    /// `Empty`.
    pub fn needed(&mut self) -> Result<Cow<'a, str>, Invalid> {
        self.word().ok_or(Invalid::Empty)
    }

    /// The next word, or what stands between two double quotes, blanks included.
    /// # Errors
    /// `Empty`, or a quote that is not closed.
    pub fn quoted(&mut self) -> Result<String, Invalid> {
        let begin = self.rest.iter().position(|byte| *byte != b' ');
        let rest = begin.and_then(|begin| self.rest.get(begin..));
        let Some(quoted) = rest.and_then(|rest| rest.strip_prefix(b"\"")) else {
            let word = self.needed()?;
            return clean(&word).ok_or(Invalid::MalformedUtf8);
        };
        let end = quoted.iter().position(|byte| *byte == b'"');
        let end = end.ok_or(Invalid::Rule(Rule::QuoteOpen))?;
        let (inner, rest) = quoted.split_at(end);
        self.rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let inner = utf8(inner).ok_or(Invalid::MalformedUtf8)?;
        Ok(inner.to_owned())
    }

    /// The next word, unless a comment begins there.
    pub fn word_before_comment(&mut self) -> Option<Cow<'a, str>> {
        let before = self.rest;
        let word = self.word()?;
        if word.starts_with('#') {
            self.rest = before;
            return None;
        }
        Some(word)
    }

    /// The rest of the line as a string, unless it is empty or a comment.
    /// # Errors
    /// As of [`Value::text`].
    pub fn text_before_comment(&mut self, bytes_max: usize) -> Result<Option<String>, Invalid> {
        match trim(self.rest).first() {
            None | Some(b'#') => Ok(None),
            Some(_) => self.text(bytes_max).map(Some),
        }
    }

    /// The next word as a string, unless a comment begins there.
    /// # Errors
    /// `MalformedUtf8`.
    pub fn text_word(&mut self) -> Result<Option<String>, Invalid> {
        let Some(word) = self.word_before_comment() else {
            return Ok(None);
        };
        clean(&word).map(Some).ok_or(Invalid::MalformedUtf8)
    }

    /// Says what is left on the line, which mosquitto does not look at.
    pub fn end(&mut self) {
        let left = trim(self.rest);
        if !left.is_empty() && left.first() != Some(&b'#') {
            let left = String::from_utf8_lossy(left).into_owned();
            self.notes.push(Note::TrailingWords(left));
        }
        self.rest = &[];
    }

    /// Exactly `true`, `false`, `1` or `0`.
    /// # Errors
    /// `Empty` or `NotBool`.
    pub fn bool(&mut self) -> Result<bool, Invalid> {
        let word = self.needed()?;
        let value = match &*word {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Invalid::NotBool(word.into_owned())),
        };
        self.end();
        Ok(value)
    }

    /// A whole number in C's notation (0x.. and 0.. have their meaning), of any size.
    /// # Errors
    /// `Empty` or `NotNumber`.
    pub fn number(&mut self) -> Result<i64, Invalid> {
        let word = self.needed()?;
        let value = c_number(&word).ok_or_else(|| Invalid::NotNumber(word.into_owned()))?;
        Ok(value)
    }

    /// A number from `min` to `max`, alone on its line.
    /// # Errors
    /// `Empty`, `NotNumber` or `OutOfRange`.
    pub fn int(&mut self, min: i64, max: i64) -> Result<i64, Invalid> {
        let given = self.number()?;
        self.end();
        in_range(given, min, max)
    }

    /// A number of at most `max`, alone on its line; below zero it counts as zero, with a note.
    /// # Errors
    /// `Empty`, `NotNumber` or `OutOfRange`.
    pub fn int_or_zero(&mut self, max: i64) -> Result<i64, Invalid> {
        let given = self.number()?;
        self.end();
        if given < 0 {
            self.note(Note::Moved { given, taken: 0 });
            return Ok(0);
        }
        in_range(given, 0, max)
    }

    /// A number of at most `max`, alone on its line; below `least` it counts as `least`, with a
    /// note.
    /// # Errors
    /// `Empty`, `NotNumber` or `OutOfRange`.
    pub fn int_at_least(&mut self, least: i64, max: i64) -> Result<i64, Invalid> {
        let given = self.number()?;
        self.end();
        if given < least {
            self.note(Note::Moved {
                given,
                taken: least,
            });
            return Ok(least);
        }
        in_range(given, least, max)
    }

    /// A string: the rest of the line without the blanks around it, ` # text` and all.
    /// # Errors
    /// `Empty`, `TooLong` past `bytes_max`, or `MalformedUtf8`.
    pub fn text(&mut self, bytes_max: usize) -> Result<String, Invalid> {
        let bytes = trim(self.rest);
        self.rest = &[];
        if bytes.is_empty() {
            return Err(Invalid::Empty);
        }
        if bytes.len() > bytes_max.min(STRING_BYTES_MAX) {
            let bytes_max = bytes_max.min(STRING_BYTES_MAX);
            return Err(Invalid::TooLong { bytes_max });
        }
        let text = utf8(bytes).ok_or(Invalid::MalformedUtf8)?;
        if let Some(at) = text.find(" #") {
            let swallowed = text.get(at..).unwrap_or_default().trim_start();
            self.note(Note::CommentInString(swallowed.to_owned()));
        }
        Ok(text.to_owned())
    }

    /// One of the words of `known`, alone on its line.
    /// # Errors
    /// `Empty` or `NotOneOf`.
    pub fn one_of<T: Copy>(&mut self, known: &[(&'static str, T)]) -> Result<T, Invalid> {
        let word = self.needed()?;
        let value = find_word(&word, known)?;
        self.end();
        Ok(value)
    }

    /// A Quality of Service, alone on its line.
    /// # Errors
    /// `Empty`, `NotNumber` or `OutOfRange`.
    pub fn qos(&mut self) -> Result<QoS, Invalid> {
        let given = self.number()?;
        self.end();
        qos(given)
    }

    /// Seconds: a number above zero and one of the units s, h, d, w, m (30 days) and y (365 days).
    /// There is no unit for minutes.
    /// # Errors
    /// `Empty` or `NotDuration`.
    pub fn duration_s(&mut self) -> Result<u64, Invalid> {
        let word = self.needed()?;
        let wrong = || Invalid::NotDuration(word.clone().into_owned());
        let unit = word.chars().next_back().ok_or_else(wrong)?;
        let number = word.get(..word.len() - unit.len_utf8()).unwrap_or_default();
        let unit_s: u64 = match unit {
            's' => 1,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            'm' => 30 * 86_400,
            'y' => 365 * 86_400,
            _ => return Err(wrong()),
        };
        let count = c_number(number).and_then(|count| u64::try_from(count).ok());
        let count = count.filter(|count| *count > 0).ok_or_else(wrong)?;
        let seconds = count.checked_mul(unit_s).ok_or_else(wrong)?;
        self.end();
        Ok(seconds)
    }
}

/// `given`, if it lies from `min` to `max`.
/// # Errors
/// `OutOfRange`.
pub fn in_range(given: i64, min: i64, max: i64) -> Result<i64, Invalid> {
    if (min..=max).contains(&given) {
        Ok(given)
    } else {
        Err(Invalid::OutOfRange { given, min, max })
    }
}

/// `given` as a Quality of Service.
/// # Errors
/// `OutOfRange`.
pub fn qos(given: i64) -> Result<QoS, Invalid> {
    let bits = u8::try_from(given).ok();
    bits.and_then(QoS::from_bits).ok_or(Invalid::OutOfRange {
        given,
        min: 0,
        max: 2,
    })
}

/// What `word` stands for among `known`.
/// # Errors
/// `NotOneOf`.
pub fn find_word<T: Copy>(word: &str, known: &[(&'static str, T)]) -> Result<T, Invalid> {
    match known.iter().find(|(name, _)| *name == word) {
        Some((_, value)) => Ok(*value),
        None => Err(Invalid::NotOneOf {
            given: word.to_owned(),
            known: known.iter().map(|(name, _)| *name).collect(),
        }),
    }
}

/// The word of `known` that stands for `value`.
pub fn word_for<T: Copy + PartialEq>(value: T, known: &[(&'static str, T)]) -> String {
    let found = known.iter().find(|(_, meant)| *meant == value);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}

/// A whole number as C's `strtol` with base 0 reads it, all of `word` being the number. Beyond 64
/// bits it is cut, as there, to what they can say.
pub fn c_number(word: &str) -> Option<i64> {
    let word = word.trim_start_matches(['\t', '\n', '\u{b}', '\u{c}', '\r', ' ']);
    let (negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, word.get(1..)?),
        b'+' => (false, word.get(1..)?),
        _ => (false, word),
    };
    let (digits, radix) = if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        (hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (digits.get(1..)?, 8)
    } else {
        (digits, 10)
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for character in digits.chars() {
        let digit = i64::from(character.to_digit(radix)?);
        value = value
            .saturating_mul(i64::from(radix))
            .saturating_add(if negative { -digit } else { digit });
    }
    Some(value)
}

/// `bytes` as the text of MQTT: UTF-8 without control characters and non-characters.
fn utf8(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_refused = |character: char| {
        let code = u32::from(character);
        character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    (!text.contains(is_refused)).then_some(text)
}

/// A word that was UTF-8, and can be shown; what was not has become a replacement character.
fn clean(word: &str) -> Option<String> {
    let word = utf8(word.as_bytes())?;
    (!word.contains('\u{fffd}')).then(|| word.to_owned())
}

/// `bytes` without the blanks around them, as C's `isspace` has it.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let begin = bytes.iter().position(|byte| !is_blank(byte));
    let end = bytes.iter().rposition(|byte| !is_blank(byte));
    match (begin, end) {
        (Some(begin), Some(end)) => bytes.get(begin..=end).unwrap_or_default(),
        _ => &[],
    }
}

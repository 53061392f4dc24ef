//! The bytes of one file, cut into lines and each line into a name and the rest, by mosquitto's
//! grammar.
//!
//! ```text
//!   max_queued_messages   8192   # far too many
//!   ^ name              ^ rest: what it means is the option's own affair
//! ```
//!
//! It is apart from the table because it knows no option. It must take any bytes at all: what is
//! not text becomes an unknown name or a value that the option refuses.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

/// What midge's own options begin with. mosquitto skips them where they are written as a comment.
pub const OWN_PREFIX: &str = "midge_";

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path as it was given; empty: the command line.
    pub file: Rc<str>,
    /// Counted from 1; 0: the file as a whole.
    pub line: u32,
}

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u32,
    /// The option's name, whether there is such an option or not.
    pub name: Cow<'a, str>,
    /// What stands behind the name and one space.
    pub rest: &'a [u8],
    /// Whether it stands in a comment: `#midge_name value`.
    pub in_comment: bool,
    /// Whether it holds a NUL byte, at which mosquitto, and this, cut it.
    pub cut: bool,
}

/// The lines of one file that are neither blank nor a comment.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let numbered = bytes.split(|byte| *byte == b'\n').zip(1_u32..);
    numbered.filter_map(|(bytes, number)| line(bytes, number))
}

fn line(bytes: &[u8], number: u32) -> Option<Line<'_>> {
    let (bytes, cut) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (bytes.get(..at)?, true),
        None => (bytes, false),
    };
    let (bytes, in_comment) = match bytes.strip_prefix(b"#") {
        Some(rest) if rest.starts_with(OWN_PREFIX.as_bytes()) => (rest, true),
        Some(_) => return None,
        None => (bytes, false),
    };
    // A line that begins with a carriage return is blank to mosquitto, whatever follows.
    if bytes.first() == Some(&b'\r') {
        return None;
    }
    let end = bytes.iter().rposition(|byte| *byte != b'\r')?;
    let bytes = bytes.get(..=end)?;
    let begin = bytes.iter().position(|byte| *byte != b' ')?;
    let bytes = bytes.get(begin..)?;
    let end = bytes.iter().position(|byte| *byte == b' ');
    let (name, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    Some(Line {
        number,
        name: String::from_utf8_lossy(name),
        rest: rest.strip_prefix(b" ").unwrap_or(rest),
        in_comment,
        cut,
    })
}

impl Place {
    /// The command line.
    pub fn command_line() -> Self {
        Self {
            file: Rc::from(""),
            line: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.file, self.line) {
            ("", _) => f.write_str("the command line"),
            (file, 0) => f.write_str(file),
            (file, line) => write!(f, "{file}:{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8]) -> Vec<(u32, String, String)> {
        lines(bytes)
            .map(|line| {
                let rest = String::from_utf8_lossy(line.rest).into_owned();
                (line.number, line.name.into_owned(), rest)
            })
            .collect()
    }

    /// A file, and the number, name and rest of each line in it.
    type Row<'a> = (&'a [u8], &'a [(u32, &'a str, &'a str)]);

    #[test]
    fn a_line_is_a_name_and_the_rest() {
        let rows: [Row<'_>; 16] = [
            (b"port 1883", &[(1, "port", "1883")]),
            (b"port 1883\n", &[(1, "port", "1883")]),
            (b"port 1883\r\n", &[(1, "port", "1883")]),
            (b"port 1883\r\r\n", &[(1, "port", "1883")]),
            (b"  port   1883  ", &[(1, "port", "  1883  ")]),
            (b"port", &[(1, "port", "")]),
            (b"# port 1883\n\n\r\n   \nuser x", &[(5, "user", "x")]),
            (b" # x", &[(1, "#", "x")]),
            (b"\t# x", &[(1, "\t#", "x")]),
            (b"port\t1883", &[(1, "port\t1883", "")]),
            (b"\xEF\xBB\xBF# x", &[(1, "\u{feff}#", "x")]),
            (b"\rport 1", &[]),
            (
                b"port 1\0883\nuser x",
                &[(1, "port", "1"), (2, "user", "x")],
            ),
            (b"#midge_x y", &[(1, "midge_x", "y")]),
            (b"# midge_x y\n #midge_x", &[(2, "#midge_x", "")]),
            (b"caf\xE9 x", &[(1, "caf\u{fffd}", "x")]),
        ];
        for (bytes, expected) in rows {
            let expected: Vec<_> = expected
                .iter()
                .map(|(line, name, rest)| (*line, (*name).to_owned(), (*rest).to_owned()))
                .collect();
            assert_eq!(seen(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}

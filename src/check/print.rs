//! A report for people: aligned, wrapped, and in colour where somebody asked for it.
//!
//! What came from a file is shown with its control characters escaped, so that no file can steer
//! the terminal of whoever looks at it.

use super::{Finding, Line, Report, Severity};
use crate::limits::CHECK_TEXT_CHARS_MAX;
use std::borrow::Cow;
use std::fmt::Write;
use textwrap::{Options, WordSplitter};

/// How it is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns to fill.
    pub columns: usize,
    /// Whether in colour.
    pub colour: bool,
}

/// What is made to stand out, and how a terminal is told (ECMA-48, Select Graphic Rendition).
#[derive(Clone, Copy)]
enum Style {
    Plain,
    Strong,
    Dim,
    Red,
    Yellow,
    Cyan,
    Green,
}

/// Columns before a line's text: its number.
const NUMBER: usize = 7;

/// Columns before a finding's text: its severity.
const SEVERITY: usize = 10;

/// The report as text.
pub fn people(report: &Report, look: Look) -> String {
    let mut text = Text {
        out: String::new(),
        look,
    };
    let mut file = None;
    for line in &report.lines {
        if file != Some(&line.file) {
            text.gap();
            text.line(Style::Strong, 0, &line.file);
            text.gap();
            file = Some(&line.file);
        }
        text.explained(line);
    }
    for finding in &report.findings {
        text.gap();
        text.finding(finding);
    }
    text.gap();
    text.verdict(report);
    text.out
}

struct Text {
    out: String,
    look: Look,
}

impl Text {
    /// An empty line, unless nothing was said yet or one is there.
    fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn explained(&mut self, line: &Line) {
        let number = format!("{:>width$}  ", line.line, width = NUMBER - 2);
        let said = format!("{} {}", line.name, cut(&line.text));
        self.block(Style::Strong, &number, said.trim_end());
        let Some(meaning) = &line.meaning else {
            return self.line(Style::Red, NUMBER, "There is no such option.");
        };
        self.line(Style::Plain, NUMBER, meaning);
        let differs = |value: &String| *value != line.text;
        let style = match line.value_in_force.as_ref().is_some_and(differs) {
            true => Style::Yellow,
            false => Style::Dim,
        };
        self.line(style, NUMBER, &facts(line));
    }

    fn finding(&mut self, finding: &Finding) {
        let (style, word) = match finding.severity {
            Severity::Error => (Style::Red, "error"),
            Severity::Warning => (Style::Yellow, "warning"),
            Severity::Note => (Style::Cyan, "note"),
        };
        let begin = format!("{word:<SEVERITY$}");
        let place = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.to_string(),
            (None, _) => String::new(),
        };
        if place.is_empty() {
            self.styled(style, &begin, &finding.message, Style::Plain);
        } else {
            self.styled(style, &begin, &place, Style::Dim);
            self.line(Style::Plain, SEVERITY, &finding.message);
        }
        if let Some(fix) = &finding.fix {
            self.line(Style::Green, SEVERITY, &format!("->{GLUE}{fix}"));
        }
    }

    fn verdict(&mut self, report: &Report) {
        let count = |severity, one: &str| {
            let of = report
                .findings
                .iter()
                .filter(|finding| finding.severity == severity);
            match of.count() {
                1 => format!("1 {one}"),
                many => format!("{many} {one}s"),
            }
        };
        let counts = format!(
            "{}, {}, {}",
            count(Severity::Error, "error"),
            count(Severity::Warning, "warning"),
            count(Severity::Note, "note")
        );
        let what = match &report.file {
            Some(file) => format!("with {file}"),
            None => String::from("without a file"),
        };
        let user = &report.runs_as;
        if report.would_start {
            let text = format!("midge would start {what}, and run as {user} ({counts}).");
            self.line(Style::Green, 0, &text);
        } else {
            let text = format!("midge would not start {what} ({counts}): mend the errors.");
            self.line(Style::Red, 0, &text);
        }
    }

    /// A paragraph, indented.
    fn line(&mut self, style: Style, indent: usize, text: &str) {
        self.block(style, &" ".repeat(indent), text);
    }

    /// A paragraph that hangs below what it begins with.
    fn block(&mut self, style: Style, begin: &str, text: &str) {
        self.styled(Style::Dim, begin, text, style);
    }

    fn styled(&mut self, begin_style: Style, begin: &str, text: &str, style: Style) {
        let text = glued(&shown(text));
        let width = self.look.columns.saturating_sub(begin.len());
        // A path that is broken cannot be pasted.
        let options = Options::new(width)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        for (at, line) in textwrap::wrap(&text, options).into_iter().enumerate() {
            match at {
                0 => self.paint(begin_style, begin),
                _ => self.out.push_str(&" ".repeat(begin.len())),
            }
            self.paint(style, &line.replace(GLUE, " "));
            self.out.push('\n');
        }
    }

    fn paint(&mut self, style: Style, text: &str) {
        let code = match style {
            _ if !self.look.colour || text.trim().is_empty() => 0,
            Style::Plain => 0,
            Style::Strong => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Cyan => 36,
        };
        let _ = match code {
            0 => self.out.write_str(text),
            code => write!(self.out, "\u{1b}[{code}m{text}\u{1b}[0m"),
        };
    }
}

/// The value in force, what it applies to, what a reload does.
fn facts(line: &Line) -> String {
    let mut parts = Vec::new();
    if let Some(value) = &line.value_in_force {
        parts.push(format!("in force: {}", cut(value)));
    }
    if let Some(applies_to) = &line.applies_to {
        parts.push(applies_to.clone());
    }
    let reload = match line.reload {
        _ if line.support != Some("works") => None,
        Some("now") => Some("reload: at once"),
        Some("new-connections") => Some("reload: for new connections"),
        Some("reconnects") => Some("reload: the bridge connects again"),
        Some(_) => Some("reload: no, restart"),
        None => None,
    };
    parts.extend(reload.map(str::to_owned));
    parts.join(" | ")
}

/// Stands for a space at which no line ends: a character that means nothing anywhere.
const GLUE: char = '\u{e000}';

/// Text whose commands, between backticks, stay on one line, so that they can be pasted.
fn glued(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| match at % 2 {
        0 => Cow::Borrowed(part),
        _ => Cow::Owned(part.replace(' ', GLUE.encode_utf8(&mut [0; 4]))),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// As much of a value as people want to see.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(CHECK_TEXT_CHARS_MAX) {
        Some((at, _)) => Cow::Owned(format!("{}...", text.get(..at).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// Text without what steers a terminal or turns the direction of writing.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match steers(character) {
            true => out.extend(character.escape_unicode()),
            false => out.push(character),
        }
    }
    out
}

/// Whether a character does something other than to be seen.
pub fn steers(character: char) -> bool {
    let invisible = [
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
    ];
    character.is_control()
        || character == '\u{feff}'
        || invisible.iter().any(|range| range.contains(&character))
}

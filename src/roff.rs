//! Manual pages as roff, in the few requests of man(7) that every formatter has.
//!
//! Each sentence begins a line, and lines are short, so that a change of a page can be read as a
//! difference. A backtick begins and ends what is to be typed or to be found in a file.

use std::fmt::Write;

/// The day on which what the pages say was last looked at.
const DATE: &str = "2026-11-22";

/// Bytes of a line of source, as manual pages have it.
const LINE_BYTES: usize = 78;

/// A page that grows.
#[derive(Debug)]
pub struct Page {
    text: String,
}

impl Page {
    /// A page `name` of section `section`, with the line that `whatis` shows.
    pub fn new(name: &str, section: u8, summary: &str) -> Self {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Self {
            text: format!(".TH {title} {section} {DATE} \"midge {version}\"\n"),
        };
        page.section("NAME");
        page.line(&format!("{} \\- {}", escape(name), inline(summary)));
        page
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        self.line(&format!(".SH {title}"));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        if !self.begins_section() {
            self.line(".PP");
        }
        self.sentences(text);
    }

    /// Something and what is to be said of it: `name` as it is to be written, then `rest`, which
    /// stands for something else, behind a space unless `name` ends with `=`.
    pub fn entry(&mut self, name: &str, rest: &str, text: &str) {
        self.line(".TP");
        let name = escape(name);
        match rest.is_empty() {
            true => self.line(&format!(".B {}", quoted(&name))),
            false => {
                let space = if name.ends_with('=') { "" } else { " " };
                let rest = escape(rest);
                self.line(&format!(".BI {} \"{space}{rest}\"", quoted(&name)));
            }
        }
        self.sentences(text);
    }

    /// Lines to be typed, or as they are found in a file.
    pub fn example(&mut self, lines: &[&str]) {
        self.line(".PP");
        self.line(".RS 4");
        self.line(".nf");
        for line in lines {
            self.line(&protected(&escape(line)));
        }
        self.line(".fi");
        self.line(".RE");
    }

    /// Whole sentences, as lines.
    pub fn sentences(&mut self, text: &str) {
        let text = inline(text);
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > LINE_BYTES {
                self.line(&protected(&std::mem::take(&mut line)));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if word.ends_with(['.', ':', '?']) && !word.ends_with("...") {
                self.line(&protected(&std::mem::take(&mut line)));
            }
        }
        if !line.is_empty() {
            self.line(&protected(&line));
        }
    }

    /// The source.
    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn begins_section(&self) -> bool {
        let last = self.text.lines().next_back().unwrap_or_default();
        last.starts_with(".SH")
    }
}

/// Text that roff takes as it is.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq")
        .replace('~', "\\(ti")
        .replace('^', "\\(ha")
}

/// Text with what stands between backticks in bold.
fn inline(text: &str) -> String {
    let mut is_bold = false;
    let mut out = String::new();
    for part in escape(text).split_inclusive('`') {
        match part.strip_suffix('`') {
            Some(part) => {
                is_bold = !is_bold;
                out.push_str(part);
                out.push_str(if is_bold { "\\fB" } else { "\\fR" });
            }
            None => out.push_str(part),
        }
    }
    out
}

/// An argument of a request, which ends at a space where it is not quoted.
fn quoted(text: &str) -> String {
    match text.contains(' ') {
        true => format!("\"{text}\""),
        false => text.to_owned(),
    }
}

/// A line that must not look like a request.
fn protected(line: &str) -> String {
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_safe_from_being_taken_for_roff() {
        let mut page = Page::new("tea", 8, "a pot - with \"tea\"");
        page.section("USE");
        page.paragraph(".hidden is a file. Type `tea -x` and 'wait'.");
        page.entry("-x", "CUP", "C:\\tea; 'hot'.");
        page.example(&[".conf", "a-b"]);
        let text = page.finish();
        let (_, body) = text.split_once('\n').unwrap();
        let expected = "\
            .SH NAME\ntea \\- a pot \\- with \\(dqtea\\(dq\n\
            .SH USE\n\\&.hidden is a file.\nType \\fBtea \\-x\\fR and 'wait'.\n\
            .TP\n.BI \\-x \" CUP\"\nC:\\etea; 'hot'.\n\
            .PP\n.RS 4\n.nf\n\\&.conf\na\\-b\n.fi\n.RE\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn long_sentences_are_broken_into_lines() {
        let mut page = Page::new("tea", 8, "tea");
        page.paragraph(&"word ".repeat(100));
        let text = page.finish();
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES));
        assert_eq!(text.matches("word").count(), 100);
    }
}

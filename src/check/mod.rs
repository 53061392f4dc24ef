//! `midge check`: explains a configuration line by line, and says what is likely to be a mistake.
//!
//! ```text
//!   config::read ──▶ Reading ──lines──▶ lines ─────────┐
//!                       │                              ├──▶ Report ──▶ print, json
//!   System ──facts──▶ settings, files, users, ports ───┘
//!                       a `Mistake` each, in words by `words`
//! ```
//!
//! It is apart from the broker, which needs none of it, and beside it in the shell: [`system`] and
//! [`command`] alone touch the machine, the rest reasons about what they bring. It must never change
//! anything, disturb a broker that runs, or show a secret.
//!
//! With `--json` a [`Report`] is printed as one object. Fields are added, never renamed or removed:
//!
//! ```text
//!   file          the main file's path, or null: without a file
//!   runs_as       the user whose rights count
//!   would_start   true or false; the exit code is 0 or 3 accordingly
//!   lines[]       file, line, name, text, value_in_force (or null: none of its own), scope,
//!                 applies_to, reload, support, meaning: strings, or null for an unknown name;
//!                 scope    global security listener bridge plugin
//!                 reload   now new-connections reconnects restart
//!                 support  works not-in-effect refused
//!   findings[]    severity (error warning note), file and line (or null), message, fix (or null);
//!                 an error keeps midge from starting
//! ```

pub mod command;
pub mod facts;
mod files;
mod lines;
mod mistake;
mod ports;
mod print;
mod settings;
pub mod system;
mod users;
mod words;

pub use facts::System;
pub use print::{Look, people};

use crate::config::reading::{Reading, Said};
use crate::config::{self, Input, Place};
use facts::Runner;
use mistake::Mistake;
use serde::Serialize;
use std::rc::Rc;

/// A configuration, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The main file; `None`: there is none.
    pub file: Option<String>,
    /// The user whose rights the broker would have.
    pub runs_as: String,
    /// Whether the broker would start.
    pub would_start: bool,
    /// The lines, in the order they are read in.
    pub lines: Vec<Line>,
    /// What is, or is likely to be, wrong: the worst first.
    pub findings: Vec<Finding>,
}

/// One line, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The file it stands in.
    pub file: Rc<str>,
    /// Counted from 1.
    pub line: u32,
    /// The option as written.
    pub name: String,
    /// The rest of the line, or that it is not shown.
    pub text: String,
    /// What holds now, as a file would say it; `None`: the option has no value of its own.
    pub value_in_force: Option<String>,
    /// Where it may stand; `None` in this and the next fields: there is no such option.
    pub scope: Option<&'static str>,
    /// What it applies to here, in words.
    pub applies_to: Option<String>,
    /// What a reload does with it.
    pub reload: Option<&'static str>,
    /// What midge does with it.
    pub support: Option<&'static str>,
    /// What it means, in words.
    pub meaning: Option<String>,
}

/// Something that is, or is likely to be, wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file to look at.
    pub file: Option<Rc<str>>,
    /// The line in it.
    pub line: Option<u32>,
    /// What it is: whole sentences.
    pub message: String,
    /// What to do, where the message does not say so already.
    pub fix: Option<String>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The broker does not start.
    Error,
    /// It starts, and probably not as was meant.
    Warning,
    /// It is good to know.
    Note,
}

/// Explains what `input` means on this machine.
pub fn explain<S: System>(input: &Input<'_>, system: &S) -> Report {
    let reading = config::read(input, system);
    let runner = Runner {
        reads_all: ports::is_served_by_one_that_reads_all(&reading, input.file, system),
        ..Runner::of(&reading.config, system)
    };
    let mut found = Findings::default();
    settings::look(&reading, &runner, &mut found);
    files::look(&reading, &runner, system, &mut found);
    users::look(&reading, system, &mut found);
    ports::look(&reading, input.file, system, &mut found);
    let findings = found.finish(&reading);
    Report {
        file: input.file.map(str::to_owned),
        runs_as: runner.account.name.clone(),
        would_start: findings.iter().all(|one| one.severity != Severity::Error),
        lines: lines::explain(&reading),
        findings,
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// Something at a line.
    fn at(&mut self, place: &Place, mistake: &Mistake) {
        let file = (!place.file.is_empty()).then(|| Rc::clone(&place.file));
        let line = (place.line > 0).then_some(place.line);
        self.add(file, line, mistake);
    }

    /// Something about the whole.
    fn add(&mut self, file: Option<Rc<str>>, line: Option<u32>, mistake: &Mistake) {
        let finding = Finding {
            severity: mistake.severity(),
            file,
            line,
            message: mistake.message(),
            fix: mistake.fix(),
        };
        // Listeners share files and settings; once is enough.
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// The worst first; of one kind those at lines of the configuration, as they were read, then
    /// those in other files, then those that are nowhere.
    fn finish(mut self, reading: &Reading) -> Vec<Finding> {
        let file_order = |file: &Option<Rc<str>>| match file {
            Some(file) => {
                let is_in = |said: &Said| said.place.file == *file;
                reading
                    .lines
                    .iter()
                    .position(is_in)
                    .unwrap_or(usize::MAX - 1)
            }
            None => usize::MAX,
        };
        self.0.sort_by_cached_key(|finding| {
            (finding.severity, file_order(&finding.file), finding.line)
        });
        self.0
    }
}

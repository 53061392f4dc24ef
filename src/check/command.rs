//! The command line of `midge check`, and its output.

use super::print::{Look, people, steers};
use super::system::Machine;
use super::{Report, explain};
use crate::config::Input;
use crate::limits::CHECK_COLUMNS;
use getopts::Options;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// mosquitto's exit code for an invalid configuration or command line.
const INVALID: u8 = 3;

const BRIEF: &str =
    "midge check explains a configuration, read as mosquitto 2.1 reads it, and looks for mistakes; it
changes nothing.

Usage: midge check [-c FILE] [--json]

It ends with 0, or with 3 if midge would not start.";

/// Runs it with what follows `check` on the command line.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let mut options = Options::new();
    options.optopt(
        "c",
        "config-file",
        "explain this configuration file",
        "FILE",
    );
    options.optflag("", "json", "print one JSON object");
    options.optflag("h", "help", "show this");
    let matches = match options.parse(arguments) {
        Ok(matches) if matches.free.is_empty() => matches,
        Ok(matches) => {
            let unknown = matches.free.join(" ");
            return refuse(&format!("it takes -c FILE, not '{unknown}'"), &options);
        }
        Err(error) => return refuse(&error.to_string(), &options),
    };
    if matches.opt_present("h") {
        say(&options.usage(BRIEF));
        return ExitCode::SUCCESS;
    }
    let file = matches.opt_str("c");
    let input = Input {
        file: file.as_deref(),
        ports: &[],
    };
    let report = explain(&input, &Machine);
    match matches.opt_present("json") {
        true => say(&json(&report)),
        false => say(&people(&report, look())),
    }
    match report.would_start {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INVALID),
    }
}

fn refuse(why: &str, options: &Options) -> ExitCode {
    eprintln!("Error: {why}.\n\n{}", options.usage(BRIEF));
    ExitCode::from(INVALID)
}

fn say(text: &str) {
    // Whoever closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The report as one JSON object. What steers a terminal is escaped even where JSON need not.
pub fn json(report: &Report) -> String {
    // Only a map with keys that are no strings can fail, and there is none.
    let plain = serde_json::to_string_pretty(report).unwrap_or_default();
    let mut text = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        if character != '\n' && steers(character) {
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text.push('\n');
    text
}

/// How standard output is to look.
fn look() -> Look {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    let (usual, least, most) = CHECK_COLUMNS;
    let columns = match rustix::termios::tcgetwinsize(&stdout) {
        Ok(size) if is_terminal && size.ws_col > 0 => usize::from(size.ws_col),
        _ => usual,
    };
    Look {
        columns: columns.clamp(least, most),
        colour: is_terminal && !is_set("NO_COLOR") && !is_dumb,
    }
}

//! From files to a [`Config`]: the main file, what it includes, and everything wrong with them.
//!
//! It is apart from the parser because it knows more than one file, and from the shell because it
//! opens none: [`Files`] does. All errors are collected, not the first alone, so that one look
//! mends a file.

use super::Config;
use super::draft::Draft;
use super::options::{self, Opt, Scope, Support};
use super::parse::{self, Line, OWN_PREFIX, Place};
use super::problem::{Caution, ConfigError, Hint, Problem, Warning};
use super::value::{Invalid, Note, Value};
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

/// What a configuration is read through.
pub trait Files {
    /// The bytes of the file at `path`.
    /// # Errors
    /// Why there are none.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// The names, without the directory, of what is in the directory at `path`, in any order.
    /// # Errors
    /// Why there are none.
    fn list(&self, path: &str) -> Result<Vec<String>, FileError>;
}

/// Why a file cannot be read or a directory not be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is none.
    NotFound,
    /// Its rights do not allow it.
    NotPermitted,
    /// Anything else, in the system's words.
    Other(String),
}

/// What there is to go by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// The main file's path; `None`: there is none.
    pub file: Option<&'a str>,
    /// The ports given on the command line, for when the files name no listener; empty: the usual
    /// one.
    pub ports: &'a [u16],
}

/// A configuration, and what is worth knowing about it.
pub type Loaded = (Config, Vec<Warning>);

/// The configuration that `input` means, with warnings and errors in the order of the lines.
///
/// # Errors
/// Everything that is wrong; at least one. mosquitto would stop at the first.
pub fn load(input: &Input<'_>, files: &impl Files) -> Result<Loaded, Vec<ConfigError>> {
    let mut loader = Loader {
        files,
        draft: Draft::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
        warned: HashSet::new(),
    };
    if let Some(path) = input.file {
        let whole = Place {
            file: Rc::from(path),
            line: 0,
        };
        loader.file(path, &whole, Level::Main);
    }
    let Loader {
        draft,
        mut warnings,
        mut errors,
        ..
    } = loader;
    let config = draft.resolve(input.ports, &mut warnings, &mut errors);
    if errors.is_empty() {
        Ok((config, warnings))
    } else {
        Err(errors)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Main,
    Included,
}

struct Loader<'a, F> {
    files: &'a F,
    draft: Draft,
    warnings: Vec<Warning>,
    errors: Vec<ConfigError>,
    /// What a warning says is not in effect: one each is enough, also for several options.
    warned: HashSet<&'static str>,
}

impl<F: Files> Loader<'_, F> {
    /// Reads one file, named at `place`.
    fn file(&mut self, path: &str, place: &Place, level: Level) {
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let path = path.to_owned();
                return self.error(place, Problem::Unreadable { path, error });
            }
        };
        // Each file begins without a current listener, bridge or plugin, and gives back the one
        // that was.
        let current = self.draft.begin_file();
        let file: Rc<str> = Rc::from(path);
        for line in parse::lines(&bytes) {
            let place = Place {
                file: Rc::clone(&file),
                line: line.number,
            };
            self.line(&line, &place, level);
        }
        self.draft.end_file(current);
    }

    fn line(&mut self, line: &Line<'_>, place: &Place, level: Level) {
        let Some(option) = options::find(&line.name) else {
            return self.unknown(line, place);
        };
        // A comment can only hold what is midge's own.
        if line.in_comment && !option.name.starts_with(OWN_PREFIX) {
            return;
        }
        if line.cut {
            self.warn(place, Caution::Cut);
        }
        let mut value = Value::new(line.rest);
        if option.is_include_dir() {
            return self.include(value, place, level);
        }
        let set = self.draft.set(option, &line.name, &mut value, place);
        match set {
            Ok(set) => {
                for note in value.into_notes() {
                    self.note(&line.name, note, set.first.as_ref(), place);
                }
                if set.matters {
                    self.support(set.option, place);
                }
            }
            Err(problem) => self.error(place, problem),
        }
    }

    /// Says so if an option that changes something is not in effect.
    fn support(&mut self, option: &'static Opt, place: &Place) {
        match option.support {
            // One warning for the whole bridge stands in for one for each of its options.
            _ if option.scope() == Scope::Bridge => {}
            Support::Works => {}
            Support::Warns(what) => {
                if self.warned.insert(what) {
                    let name = option.name;
                    self.warn(place, Caution::NotInEffect { name, what });
                }
            }
            Support::Refuses(why) => {
                let name = option.name;
                self.error(place, Problem::Refused { name, why });
            }
        }
    }

    fn unknown(&mut self, line: &Line<'_>, place: &Place) {
        let name = line.name.clone().into_owned();
        let hint = hint(&name);
        if line.in_comment {
            self.warn(place, Caution::UnknownOwn { name, hint });
        } else {
            self.error(place, Problem::Unknown { name, hint });
        }
    }

    /// Reads all `*.conf` of a directory where the line stands.
    fn include(&mut self, mut value: Value<'_>, place: &Place, level: Level) {
        if level == Level::Included {
            return self.warn(place, Caution::IncludeNested);
        }
        let directory = match value.text(super::value::STRING_BYTES_MAX) {
            Ok(directory) => directory,
            Err(invalid) => return self.error(place, value_problem("include_dir", invalid)),
        };
        for note in value.into_notes() {
            self.note("include_dir", note, None, place);
        }
        let mut names = match self.files.list(&directory) {
            Ok(names) => names,
            Err(error) => {
                let path = directory;
                return self.error(place, Problem::IncludeDir { path, error });
            }
        };
        names.retain(|name| name.len() > ".conf".len() && name.ends_with(".conf"));
        names.sort_by_key(|name| order(name));
        for name in names {
            let path = format!("{}/{name}", directory.trim_end_matches('/'));
            self.file(&path, place, Level::Included);
        }
    }

    fn note(&mut self, name: &str, note: Note, first: Option<&Place>, place: &Place) {
        let caution = Caution::Value {
            name: name.to_owned(),
            note,
            first: first.cloned(),
        };
        self.warn(place, caution);
    }

    fn warn(&mut self, place: &Place, caution: Caution) {
        let place = place.clone();
        self.warnings.push(Warning { place, caution });
    }

    fn error(&mut self, place: &Place, problem: Problem) {
        let place = place.clone();
        self.errors.push(ConfigError { place, problem });
    }
}

fn value_problem(name: &str, invalid: Invalid) -> Problem {
    Problem::Value {
        name: name.to_owned(),
        invalid,
        first: None,
    }
}

/// What may have been meant by `name`.
fn hint(name: &str) -> Hint {
    if name.starts_with('\u{feff}') {
        return Hint::ByteOrderMark;
    }
    let trimmed = name.trim();
    if trimmed.starts_with('#') {
        return Hint::BlanksBeforeComment;
    }
    if name.contains('\t') {
        return Hint::Tab;
    }
    match options::never_existed(name) {
        Some(what) => Hint::NeverExisted(what),
        None => options::nearest(name).map_or(Hint::None, Hint::Near),
    }
}

/// Included files go by the alphabet; of one letter, the capital comes first.
fn order(name: &str) -> Vec<(u8, u8)> {
    name.bytes()
        .map(|byte| (byte.to_ascii_uppercase(), byte))
        .collect()
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is none"),
            Self::NotPermitted => f.write_str("its rights do not allow it"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

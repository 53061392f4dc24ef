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
use super::reading::{Included, Of, Reading, Said};
use super::value::{Invalid, Note, Value};
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
    let reading = read(input, files);
    if reading.errors.is_empty() {
        Ok((reading.config, reading.warnings))
    } else {
        Err(reading.errors)
    }
}

/// All that there is to read for `input`, whether a broker can start with it or not.
pub fn read(input: &Input<'_>, files: &dyn Files) -> Reading {
    let mut loader = Loader {
        files,
        draft: Draft::new(),
        lines: Vec::new(),
        included: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
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
        lines,
        included,
        mut warnings,
        mut errors,
        ..
    } = loader;
    let (config, listeners) = draft.resolve(input.ports, &mut warnings, &mut errors);
    Reading {
        config,
        lines,
        listeners,
        included,
        warnings,
        errors,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Main,
    Included,
}

struct Loader<'a> {
    // Not a type parameter: there is one loader in the program, whoever reads.
    files: &'a dyn Files,
    draft: Draft,
    lines: Vec<Said>,
    included: Vec<Included>,
    warnings: Vec<Warning>,
    errors: Vec<ConfigError>,
}

impl Loader<'_> {
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
            self.said(line, place, Some(option), None);
            return self.include(value, place, level);
        }
        let set = self.draft.set(option, &line.name, &mut value, place);
        let first = set.as_ref().ok().and_then(|set| set.first.clone());
        self.said(line, place, Some(option), first);
        match set {
            Ok(set) => {
                let is_secret = option.is_secret(&line.name);
                for note in value.into_notes() {
                    let note = if is_secret { note.hidden() } else { note };
                    self.note(&line.name, note, set.first.as_ref(), place);
                }
                if set.matters {
                    self.support(set.option, place);
                }
            }
            Err(problem) => self.error(place, problem),
        }
    }

    /// Keeps the line, for whoever wants it explained.
    fn said(
        &mut self,
        line: &Line<'_>,
        place: &Place,
        option: Option<&'static Opt>,
        first: Option<Place>,
    ) {
        // What an unknown name hides may be a password whose name is misspelt.
        let is_shown = option.is_some_and(|option| !option.is_secret(&line.name));
        let text = || String::from_utf8_lossy(super::value::trim(line.rest)).into_owned();
        self.lines.push(Said {
            place: place.clone(),
            name: before_tab(&line.name).to_owned(),
            text: is_shown.then(text),
            option: option.map(Opt::itself),
            of: option.map_or(Of::Nothing, |option| self.draft.of(option)),
            first,
            below: self.draft.current_listener().cloned(),
        });
    }

    /// Says so if an option that changes something is not in effect.
    fn support(&mut self, option: &'static Opt, place: &Place) {
        match option.support {
            // One warning for the whole bridge stands in for one for each of its options.
            _ if option.scope() == Scope::Bridge => {}
            Support::Works | Support::Replaced(_) => {}
            Support::Warns(what) => self.not_in_effect(option.name, what, place),
            Support::Refuses(why) => {
                let name = option.name;
                self.error(place, Problem::Refused { name, why });
            }
        }
    }

    /// Says it once for all options with the same reason, at the first of them.
    fn not_in_effect(&mut self, name: &'static str, what: &'static str, place: &Place) {
        let said = self
            .warnings
            .iter_mut()
            .find_map(|warning| match &mut warning.caution {
                Caution::NotInEffect { names, what: other } if *other == what => Some(names),
                _ => None,
            });
        match said {
            None => {
                let names = vec![name];
                self.warn(place, Caution::NotInEffect { names, what });
            }
            Some(names) if !names.contains(&name) => names.push(name),
            Some(_) => {}
        }
    }

    fn unknown(&mut self, line: &Line<'_>, place: &Place) {
        self.said(line, place, None, None);
        let hint = hint(&line.name);
        let name = before_tab(&line.name).to_owned();
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
        self.included.push(Included {
            place: place.clone(),
            directory: directory.clone(),
            files: names.len(),
        });
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

/// A name without what a tab parts from it, which may be a secret; where nothing stands before the
/// tab, all of it.
fn before_tab(name: &str) -> &str {
    match name.split_once('\t') {
        Some((before, _)) if !before.is_empty() => before,
        _ => name,
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

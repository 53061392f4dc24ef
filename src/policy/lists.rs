//! The files that a configuration's rules stand in, read and taken apart. Kept apart from the rules
//! because reading them can fail, and must have failed before anything that is in force is touched;
//! they are read through [`Files`], never from here.

use super::acl::AclFile;
use super::password::PasswordFile;
use crate::config::{Config, Files};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::rc::Rc;

/// Password files and access control files by their paths, each read once however many listeners
/// name it.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Who the users are.
    pub password_files: HashMap<String, Rc<PasswordFile>>,
    /// Who may do what to which topic.
    pub acl_files: HashMap<String, Rc<AclFile>>,
}

impl Lists {
    /// Reads all files that `config` names; with them come the lines that are odd but no error.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in words: the option, the path, and the line.
    pub fn read(config: &Config, files: &impl Files) -> Result<(Self, Vec<String>), Vec<String>> {
        let mut lists = Self::default();
        let (mut notices, mut errors) = (Vec::new(), Vec::new());
        for listener in &config.listeners {
            let security = &listener.security;
            if let Some(path) = &security.password_file {
                let parse = |text: &[u8]| {
                    let file = PasswordFile::parse(text)?;
                    let odd = file.ignored().iter().map(ToString::to_string).collect();
                    Ok((file, odd))
                };
                match read(
                    "password_file",
                    path,
                    files,
                    &mut lists.password_files,
                    parse,
                ) {
                    Ok(odd) => notices.extend(odd),
                    Err(wrong) => errors.extend(wrong),
                }
            }
            if let Some(path) = &security.acl_file {
                let parse = |text: &[u8]| {
                    let file = AclFile::parse(text)?;
                    let odd = file.notices().iter().map(ToString::to_string).collect();
                    Ok((file, odd))
                };
                match read("acl_file", path, files, &mut lists.acl_files, parse) {
                    Ok(odd) => notices.extend(odd),
                    Err(wrong) => errors.extend(wrong),
                }
            }
        }
        if errors.is_empty() {
            Ok((lists, notices))
        } else {
            // A broken file that several listeners name has been read as often.
            let mut told = std::collections::HashSet::new();
            errors.retain(|error| told.insert(error.clone()));
            Err(errors)
        }
    }

    /// The users of the file at `path`; nobody, if it was not read.
    pub(super) fn users(&self, path: &str) -> Rc<PasswordFile> {
        self.password_files.get(path).cloned().unwrap_or_default()
    }

    /// The rules of the file at `path`; none that allows anything, if it was not read.
    pub(super) fn access(&self, path: &str) -> Rc<AclFile> {
        self.acl_files.get(path).cloned().unwrap_or_default()
    }
}

/// Reads one file, unless it is among `known` already: what is odd about it.
fn read<T, E: Display>(
    option: &str,
    path: &str,
    files: &impl Files,
    known: &mut HashMap<String, Rc<T>>,
    parse: impl FnOnce(&[u8]) -> Result<(T, Vec<String>), Vec<E>>,
) -> Result<Vec<String>, Vec<String>> {
    let Entry::Vacant(place) = known.entry(path.to_owned()) else {
        return Ok(Vec::new());
    };
    let in_file = |what: String| format!("{option} {path}: {what}");
    let text = files.read(path);
    let text = text.map_err(|error| vec![in_file(format!("it cannot be read, {error}"))])?;
    let parsed = parse(&text);
    let (file, odd) = parsed.map_err(|errors| -> Vec<String> {
        errors
            .iter()
            .map(|error| in_file(error.to_string()))
            .collect()
    })?;
    place.insert(Rc::new(file));
    Ok(odd.into_iter().map(in_file).collect())
}

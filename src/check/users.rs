//! Mistakes in the files of users and rules, and between them.

use super::Findings;
use super::facts::System;
use super::mistake::Mistake;
use crate::config::reading::Reading;
use crate::config::{Listener, Place};
use crate::policy::acl::{self, AclFile};
use crate::policy::password::{self, PasswordFile};
use std::rc::Rc;

/// Finds them.
pub fn look<S: System>(reading: &Reading, system: &S, found: &mut Findings) {
    for listener in &reading.config.listeners {
        let security = &listener.security;
        let passwords = security.password_file.as_ref().and_then(|path| {
            let text = system.read(path).ok()?;
            users(path, &text, found)
        });
        let Some(path) = &security.acl_file else {
            continue;
        };
        let Ok(text) = system.read(path) else {
            continue;
        };
        if let Some(rules) = rules(path, &text, found) {
            let list = Rules {
                path,
                text: &text,
                file: &rules,
            };
            compare(&list, passwords.as_ref(), listener, found);
        }
    }
}

/// An access control file.
struct Rules<'a> {
    path: &'a str,
    text: &'a [u8],
    file: &'a AclFile,
}

/// The users of a password file, each with its line, if the broker can take it.
fn users(path: &str, text: &[u8], found: &mut Findings) -> Option<Vec<(u32, String)>> {
    let option = "password_file";
    match PasswordFile::parse(text) {
        Ok(file) => {
            for odd in file.ignored() {
                let what = odd.to_string();
                found.at(&at(path, odd.line), &Mistake::ListOddity { what });
            }
            if file.is_empty() {
                found.at(&at(path, 0), &Mistake::NoUsers);
            }
            let lines = password::user_lines(text);
            let lines = lines.map(|(line, user)| (line, user.to_owned()));
            Some(lines.filter(|(_, user)| file.has(user)).collect())
        }
        Err(errors) => {
            for error in errors {
                let what = error.what.to_string();
                found.at(&at(path, error.line), &Mistake::ListLine { option, what });
            }
            None
        }
    }
}

/// The rules of an access control file, if the broker can take it.
fn rules(path: &str, text: &[u8], found: &mut Findings) -> Option<AclFile> {
    let option = "acl_file";
    match AclFile::parse(text) {
        Ok(file) => {
            for odd in file.notices() {
                let what = odd.what.to_string();
                found.at(&at(path, odd.line), &Mistake::ListOddity { what });
            }
            if file.is_empty() {
                found.at(&at(path, 0), &Mistake::NoRules);
            }
            Some(file)
        }
        Err(errors) => {
            for error in errors {
                let what = error.what.to_string();
                found.at(&at(path, error.line), &Mistake::ListLine { option, what });
            }
            None
        }
    }
}

/// Holds the users of both files against each other.
fn compare(
    rules: &Rules<'_>,
    passwords: Option<&Vec<(u32, String)>>,
    listener: &Listener,
    found: &mut Findings,
) {
    let security = &listener.security;
    let tls = &listener.tls;
    // Then names come from certificates and keys.
    if tls.use_identity_as_username || tls.use_subject_as_username || security.psk_file.is_some() {
        return;
    }
    let ruled: Vec<(u32, &str)> = acl::user_lines(rules.text).collect();
    let first_of = |users: &[String]| {
        let is_first = |(_, user): &&(u32, &str)| users.iter().any(|other| other == user);
        ruled.iter().find(is_first).map_or(0, |(line, _)| *line)
    };
    match (passwords, &security.password_file) {
        (Some(known), Some(path)) => {
            let is_known = |user: &str| known.iter().any(|(_, other)| other == user);
            let users = distinct(
                ruled
                    .iter()
                    .map(|(_, user)| *user)
                    .filter(|user| !is_known(user)),
            );
            if !users.is_empty() {
                let place = at(rules.path, first_of(&users));
                let path = path.clone();
                found.at(&place, &Mistake::UsersWithoutPassword { users, path });
            }
            let has_rules = |user: &str| ruled.iter().any(|(_, other)| *other == user);
            let bare = known.iter().filter(|(_, user)| !has_rules(user));
            let bare: Vec<_> = bare.collect();
            if let (Some((line, _)), false) = (bare.first(), rules.file.has_patterns()) {
                let users = distinct(bare.iter().map(|(_, user)| user.as_str()));
                let place = at(path, *line);
                let path = rules.path.to_owned();
                found.at(&place, &Mistake::UsersWithoutRules { users, path });
            }
        }
        (None, None) if security.allow_anonymous && !ruled.is_empty() => {
            let users = distinct(ruled.iter().map(|(_, user)| *user));
            let place = at(rules.path, first_of(&users));
            found.at(&place, &Mistake::UsersUnproved { users });
        }
        _ => {}
    }
}

fn distinct<'a>(users: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    users
        .filter(|user| seen.insert(*user))
        .map(str::to_owned)
        .collect()
}

fn at(path: &str, line: impl TryInto<u32>) -> Place {
    Place {
        file: Rc::from(path),
        line: line.try_into().unwrap_or_default(),
    }
}

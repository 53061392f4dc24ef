//! What the listeners ask for before MQTT, by listener: the terms that new connections get. The
//! files of TLS are looked at now and then, so that a renewed certificate needs nobody to say so.

use super::tls::{Acceptor, KeyLogFile};
use super::transport::Terms;
use crate::config::Listener;
use crate::limits;
use crate::time::{Mono, Now, Unix};
use chrono::DateTime;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::Arc;

const DAY_S: u64 = 24 * 60 * 60;

/// Certificates and keys, by the names of the listeners that have them.
#[derive(Clone, Debug, Default)]
pub struct Acceptors(HashMap<String, Acceptor>);

impl Acceptors {
    /// Reads the files of all `listeners`; what has not changed stays as it is in `before`.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in words.
    pub fn read(
        listeners: &[Listener],
        before: &Self,
        key_log: Option<&Arc<KeyLogFile>>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Vec<String>> {
        let mut acceptors = HashMap::new();
        let mut errors: Vec<String> = Vec::new();
        for listener in listeners {
            let name = listener.name();
            match Acceptor::read(listener, before.0.get(&name), key_log, warnings) {
                Ok(Some(acceptor)) => {
                    acceptors.insert(name, acceptor);
                }
                Ok(None) => {}
                Err(wrong) => {
                    // A broken file that several listeners name is one matter.
                    errors.extend(
                        wrong
                            .into_iter()
                            .filter(|error| !errors.contains(error))
                            .collect::<Vec<_>>(),
                    );
                }
            }
        }
        match errors.is_empty() {
            true => Ok(Self(acceptors)),
            false => Err(errors),
        }
    }
}

impl Acceptors {
    /// Those of `listeners` that have TLS here: not those that a reload has taken away.
    pub fn owners(&self, listeners: &[Listener]) -> Vec<Listener> {
        let has_tls = |listener: &&Listener| self.0.contains_key(&listener.name());
        listeners.iter().filter(has_tls).cloned().collect()
    }
}

/// What tells one state of a file from another: inode, size, and both times with their fractions.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// What is in force for new connections.
#[derive(Debug)]
pub struct Security {
    acceptors: Acceptors,
    /// By the places of the listeners; `None`: bare MQTT.
    terms: Vec<Option<Rc<Terms>>>,
    /// The files of TLS, as they were when they were read.
    files: Vec<(String, Stamp)>,
    /// The files as they were at the last look, if that was not how they had been read.
    seen: Option<Vec<Stamp>>,
    next_look_at: Mono,
    next_warning_at: Mono,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            acceptors: Acceptors::default(),
            terms: Vec::new(),
            files: Vec::new(),
            seen: None,
            next_look_at: Mono::NEVER,
            next_warning_at: Mono::NEVER,
        }
    }
}

impl Security {
    /// Puts `acceptors` and all else that `listeners` ask for in force.
    pub fn put(&mut self, listeners: &[Listener], acceptors: Acceptors) {
        let terms = listeners.iter().map(|listener| {
            let acceptor = acceptors.0.get(&listener.name()).cloned();
            Terms::of(listener, acceptor)
        });
        self.terms = terms.collect();
        let owners = acceptors.owners(listeners);
        let files = owners.iter().flat_map(files_of);
        self.files = files
            .into_iter()
            .map(|path| (path.clone(), stamp(&path)))
            .collect();
        self.seen = None;
        self.acceptors = acceptors;
        let at = match self.files.is_empty() {
            true => Mono::NEVER,
            false => Mono::default(),
        };
        (self.next_look_at, self.next_warning_at) = (at, at);
    }

    /// The terms of connections by the listener in this place; `None`: bare MQTT.
    pub fn terms(&self, listener: usize) -> Option<&Rc<Terms>> {
        self.terms.get(listener)?.as_ref()
    }

    /// Certificates and keys.
    pub fn acceptors(&self) -> &Acceptors {
        &self.acceptors
    }

    /// When the files are to be looked at next; `None`: there are none.
    pub fn next_look_at(&self) -> Option<Mono> {
        (self.next_look_at != Mono::NEVER).then_some(self.next_look_at)
    }

    /// Whether it is time to look at the files, and they have changed since they were read, but no
    /// longer do: those who renew them write one after the other. Says so once for each change.
    pub fn have_files_changed(&mut self, now: Mono) -> bool {
        if now < self.next_look_at {
            return false;
        }
        self.next_look_at = now.plus_s(limits::FILE_WATCH_INTERVAL_S);
        let found: Vec<Stamp> = self.files.iter().map(|(path, _)| stamp(path)).collect();
        if self.files.iter().map(|(_, stamp)| stamp).eq(&found) {
            self.seen = None;
            return false;
        }
        if self.seen.as_ref() != Some(&found) {
            self.next_look_at = now.plus_s(limits::FILE_SETTLE_S);
            self.seen = Some(found);
            return false;
        }
        for ((_, stamp), found) in self.files.iter_mut().zip(found) {
            *stamp = found;
        }
        self.seen = None;
        true
    }

    /// Until when the certificates hold, by names of listeners that can stand in a topic.
    pub fn ends(&self, listeners: &[Listener]) -> Vec<(String, Unix)> {
        let own = listeners.iter().filter_map(|listener| {
            let acceptor = self.acceptors.0.get(&listener.name())?;
            let name = listener.name().replace(['/', '+', '#'], "_");
            Some((name, acceptor.not_after))
        });
        own.collect()
    }

    /// Once a day, warns of certificates whose end is near.
    pub fn warn_of_ends(&mut self, listeners: &[Listener], now: Now) {
        if now.mono < self.next_warning_at || self.files.is_empty() {
            return;
        }
        self.next_warning_at = now.mono.plus_s(DAY_S);
        for listener in listeners {
            let name = listener.name();
            let Some(acceptor) = self.acceptors.0.get(&name) else {
                continue;
            };
            let path = listener.tls.certfile.as_deref().unwrap_or_default();
            let end = acceptor.not_after;
            let left_s = end.0.saturating_sub(now.unix.0);
            if end < now.unix {
                log::error!(
                    "The certificate of listener {name} ({path}) expired on {}, and clients that \
                     look will not connect; renew it.",
                    date(end)
                );
            } else if left_s <= limits::CERTIFICATE_WARNING_DAYS * DAY_S {
                log::warn!(
                    "The certificate of listener {name} ({path}) expires in {} days, on {}; renew \
                     it.",
                    left_s / DAY_S,
                    date(end)
                );
            }
        }
    }
}

fn date(moment: Unix) -> String {
    let seconds = i64::try_from(moment.0).unwrap_or(i64::MAX);
    let date = DateTime::from_timestamp(seconds, 0);
    date.map_or_else(String::new, |date| date.format("%Y-%m-%d").to_string())
}

/// The files that TLS on a listener is made of.
fn files_of(listener: &Listener) -> Vec<String> {
    let tls = &listener.tls;
    let all = [
        &tls.certfile,
        &tls.keyfile,
        &tls.cafile,
        &tls.capath,
        &tls.crlfile,
    ];
    all.into_iter().flatten().cloned().collect()
}

/// Through symbolic links, which is how certificates are renewed.
fn stamp(path: &str) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}

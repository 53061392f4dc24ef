//! Life as a service: the pid file, the user to run as, and what systemd wants to be told.

use super::disk::Links;
use super::environment::Environment;
use crate::time::Mono;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};
use sd_notify::NotifyState;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, process};

/// A file with this process's number in it, removed when it ends.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(path: &Path, links: Links) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = links.open(path, &options)?;
        file.write_all(process::id().to_string().as_bytes())?;
        let path = path.to_path_buf();
        Ok(Self { path })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already, or it may not be allowed any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// What becomes of the rights this process started with.
#[derive(Debug)]
pub enum Rights {
    /// It was not started by root, and keeps those of whoever started it.
    Kept,
    /// It was told to stay root.
    Root,
    /// It gives them up for another user's.
    Dropped(Account),
}

/// A user to run as.
#[derive(Debug)]
pub struct Account {
    /// The user's name, or number where it has none.
    pub name: String,
    /// The user's number.
    pub user_id: u32,
    /// The number of the user's group.
    pub group_id: u32,
    groups: Vec<Gid>,
}

impl Rights {
    /// Decides for whom root's rights are given up: for whom PUID names, else for `user` if one is
    /// named, else for `mosquitto`, else for `nobody`.
    ///
    /// # Errors
    /// In words, when there is no such user.
    pub fn choose(user: Option<&str>, environment: &Environment) -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Ok(Self::Kept);
        }
        let find = |name: &str| User::from_name(name).ok().flatten();
        let found = match (environment.user_id, user) {
            (Some(id), _) => User::from_uid(Uid::from_raw(id)).ok().flatten(),
            (None, Some(name)) => find(name),
            (None, None) => find("mosquitto").or_else(|| find("nobody")),
        };
        let user_id = match (environment.user_id, user, &found) {
            (Some(id), _, _) => Uid::from_raw(id),
            (None, _, Some(found)) => found.uid,
            // A container may have no list of users.
            (None, Some("root"), None) => Uid::from_raw(0),
            (None, user, None) => {
                let name = user.unwrap_or("mosquitto");
                return Err(format!("there is no user '{name}' to run as"));
            }
        };
        if user_id.is_root() && environment.group_id.is_none() {
            return Ok(Self::Root);
        }
        Ok(Self::Dropped(Account::new(
            user_id,
            environment.group_id.map(Gid::from_raw),
            found,
        )))
    }
}

impl Account {
    fn new(user_id: Uid, group_id: Option<Gid>, found: Option<User>) -> Self {
        let own = found.as_ref().map(|user| user.gid);
        // Never root's group by chance.
        let group_id = group_id.or(own).unwrap_or(Gid::from_raw(user_id.as_raw()));
        let name = found.map_or_else(|| user_id.to_string(), |user| user.name);
        let groups = CString::new(name.as_str())
            .ok()
            .and_then(|name| getgrouplist(&name, group_id).ok());
        Self {
            name,
            user_id: user_id.as_raw(),
            group_id: group_id.as_raw(),
            groups: groups.unwrap_or_else(|| vec![group_id]),
        }
    }

    /// Takes on this user's rights, and gives up all others.
    ///
    /// # Errors
    /// In words, when the kernel refuses.
    pub fn assume(&self) -> Result<(), String> {
        let assumed = setgroups(&self.groups)
            .and_then(|()| setgid(Gid::from_raw(self.group_id)))
            .and_then(|()| setuid(Uid::from_raw(self.user_id)));
        assumed.map_err(|error| format!("cannot run as '{}': {error}", self.name))
    }
}

/// What the environment asks for that cannot be had, in words: root alone can become another user.
pub fn rights_out_of_reach(environment: &Environment) -> Option<String> {
    let (user, group) = (Uid::effective(), Gid::effective());
    let is_met = environment.user_id.is_none_or(|id| id == user.as_raw())
        && environment.group_id.is_none_or(|id| id == group.as_raw());
    (!user.is_root() && !is_met).then(|| {
        format!(
            "Warning: PUID and PGID are not in effect: midge was not started by root, and runs as \
             user {user} of group {group}."
        )
    })
}

/// Takes from new files what the environment says that nobody may do with them.
pub fn set_umask(environment: &Environment) {
    if let Some(bits) = environment.umask {
        umask(Mode::from_bits_truncate(bits));
    }
}

/// The conversation with systemd, if it started this process and wants one.
#[derive(Debug, Default)]
pub struct Manager {
    /// Between two signs of life, if it waits for any.
    sign_of_life_ms: Option<u64>,
    next_sign_at: Option<Mono>,
}

impl Manager {
    /// Reads from the environment what is wanted.
    pub fn new() -> Self {
        let wanted: Option<Duration> = sd_notify::watchdog_enabled();
        // Twice as often as it must be.
        let half =
            wanted.map(|interval| u64::try_from(interval.as_millis() / 2).unwrap_or(u64::MAX));
        Self {
            sign_of_life_ms: half.filter(|millis| *millis > 0),
            next_sign_at: None,
        }
    }

    /// The broker serves.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The broker reads its configuration again; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The broker stops.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// When the next sign of life is due; `None` if nobody waits for it.
    pub fn next_sign_at(&self) -> Option<Mono> {
        self.sign_of_life_ms
            .map(|_| self.next_sign_at.unwrap_or_default())
    }

    /// Gives a sign of life if one is due.
    pub fn live(&mut self, now: Mono) {
        let Some(millis) = self.sign_of_life_ms else {
            return;
        };
        if self.next_sign_at.is_none_or(|at| at <= now) {
            tell(&[NotifyState::Watchdog]);
            self.next_sign_at = Some(now.plus_ms(millis));
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, and a failure is its own to notice.
    let _ = sd_notify::notify(states);
}

//! Life as a service: the pid file, the user to run as, and what systemd wants to be told.

use crate::time::Mono;
use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};
use sd_notify::NotifyState;
use std::ffi::CString;
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
    pub fn write(path: &Path) -> io::Result<Self> {
        fs::write(path, format!("{}", process::id()))?;
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

/// What became of the rights this process started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It was not started by root, and runs as whoever started it.
    Kept,
    /// It runs as this user now.
    Dropped(String),
    /// It was told to stay root.
    Root,
}

/// Gives up root's rights: for `user` if one is named, else for `mosquitto`, else for `nobody`.
///
/// # Errors
/// In words, when there is no such user or the kernel refuses.
pub fn drop_rights(user: Option<&str>) -> Result<Rights, String> {
    if !Uid::effective().is_root() {
        return Ok(Rights::Kept);
    }
    if user == Some("root") {
        return Ok(Rights::Root);
    }
    let find = |name: &str| User::from_name(name).ok().flatten();
    let found = match user {
        Some(name) => find(name),
        None => find("mosquitto").or_else(|| find("nobody")),
    };
    let Some(found) = found else {
        let name = user.unwrap_or("mosquitto");
        return Err(format!("there is no user '{name}' to run as"));
    };
    become_user(&found).map_err(|error| format!("cannot run as '{}': {error}", found.name))?;
    Ok(Rights::Dropped(found.name))
}

fn become_user(user: &User) -> nix::Result<()> {
    let name = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    setgroups(&groups)?;
    setgid(Gid::from_raw(user.gid.as_raw()))?;
    setuid(user.uid)
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

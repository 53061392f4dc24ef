//! Mistakes in the rights of files: what the user that midge runs as cannot read or write, and what
//! everybody can.
//!
//! Only the nine bits count here, not access control lists, which few systems use for this.

use super::Findings;
use super::facts::{Account, Runner, Step, System, Want};
use super::mistake::{Exposed, Mistake};
use super::settings::place_of;
use super::words::quoted;
use crate::config::options::Scope;
use crate::config::reading::{Reading, Said};
use crate::config::{Config, Place};
use std::collections::BTreeSet;

/// A file that is read at the start and at each reload.
struct Wanted {
    option: &'static str,
    path: String,
    place: Place,
    exposed: Option<Exposed>,
}

/// Finds them.
pub fn look<S: System>(reading: &Reading, runner: &Runner, system: &S, found: &mut Findings) {
    for wanted in configuration(reading).chain(named(reading)) {
        readable(&wanted, runner, system, found);
    }
    let nowhere = Place::command_line();
    let place = |name| place_of(reading, name).unwrap_or(&nowhere);
    let config = &reading.config;
    if let Some(path) = &config.pid_file {
        writable("pid_file", path, place("pid_file"), runner, system, found);
    }
    if let Some(path) = &config.log.destinations.file {
        writable("log_dest", path, place("log_dest"), runner, system, found);
    }
    if config.log.destinations.syslog && !system.trail("/dev/log").is_whole {
        found.at(place("log_dest"), &Mistake::NoSyslog);
    }
    if config.persistence.enabled {
        let name = "persistence_location";
        let place = place_of(reading, name).unwrap_or_else(|| place("persistence"));
        writable(name, &kept_at(config), place, runner, system, found);
    }
}

/// The file that state is kept in.
fn kept_at(config: &Config) -> String {
    if let Some(path) = &config.persistence.database {
        return format!("{path}.midge");
    }
    let directory = config.persistence.location.as_deref().unwrap_or(".");
    let file = config.persistence.file.as_deref().unwrap_or("mosquitto.db");
    format!("{}/{file}", directory.trim_end_matches('/'))
}

/// The files that the lines stand in.
fn configuration(reading: &Reading) -> impl Iterator<Item = Wanted> {
    let files: BTreeSet<&str> = reading.lines.iter().map(|said| &*said.place.file).collect();
    files.into_iter().map(|file| {
        let has_password = reading.lines.iter().any(|said| {
            let is_bridge = |scope: Scope| scope == Scope::Bridge;
            &*said.place.file == file
                && said.text.is_none()
                && said.option.is_some_and(|option| is_bridge(option.scope()))
        });
        Wanted {
            option: "configuration file",
            path: file.to_owned(),
            place: Place {
                file: file.into(),
                line: 0,
            },
            exposed: has_password.then_some(Exposed::BridgePassword),
        }
    })
}

/// The files that listeners and bridges name.
fn named(reading: &Reading) -> impl Iterator<Item = Wanted> {
    let mut files: Vec<(&'static str, &String, Option<Exposed>)> = Vec::new();
    for listener in &reading.config.listeners {
        let security = &listener.security;
        let secrets = |name, path| (name, path, Some(Exposed::Secrets(name)));
        let passwords = security.password_file.iter();
        files.extend(passwords.map(|path| secrets("password_file", path)));
        files.extend(
            security
                .psk_file
                .iter()
                .map(|path| secrets("psk_file", path)),
        );
        files.extend(
            listener
                .tls
                .keyfile
                .iter()
                .map(|path| secrets("keyfile", path)),
        );
        let rules = security.acl_file.iter();
        files.extend(rules.map(|path| ("acl_file", path, Some(Exposed::Rules))));
        for (name, path) in [
            ("certfile", &listener.tls.certfile),
            ("cafile", &listener.tls.cafile),
        ] {
            files.extend(path.iter().map(|path| (name, path, None)));
        }
    }
    let wanted = files.into_iter().map(|(option, path, exposed)| {
        let names_it = |said: &&Said| said.text.as_ref() == Some(path);
        let is_its = |said: &&Said| said.option.is_some_and(|row| row.name == option);
        // The path may also have come by a plugin's option.
        let lines = || reading.lines.iter().rev().filter(names_it);
        let line = lines().find(is_its).or_else(|| lines().next());
        Wanted {
            option,
            path: path.clone(),
            place: line.map_or_else(Place::command_line, |said| said.place.clone()),
            exposed,
        }
    });
    wanted.collect::<Vec<_>>().into_iter()
}

fn readable<S: System>(wanted: &Wanted, runner: &Runner, system: &S, found: &mut Findings) {
    let Wanted {
        option,
        path,
        place,
        exposed,
    } = wanted;
    let trail = system.trail(path);
    let is_configuration = *option == "configuration file";
    if !is_configuration {
        relative(option, path, place, found);
    }
    // Of the configuration itself the loader has said so already.
    if let (false, Err(error)) = (is_configuration, system.read(path)) {
        let (option, path) = (*option, path.clone());
        return found.at(
            place,
            &Mistake::Unreadable {
                option,
                path,
                error,
            },
        );
    }
    let Some(end) = trail.end() else {
        return;
    };
    let (option, user) = (*option, &runner.account);
    let barrier = trail.barrier(user);
    let can_read = barrier.is_none() && user.may(Want::Read, end);
    if !can_read && runner.by_root && !runner.reads_all {
        let fix = match barrier {
            Some(directory) => let_pass(user, directory),
            None if is_configuration && exposed.is_none() => {
                format!("`chmod a+r {}`", quoted(path))
            }
            None => own(runner, end, path),
        };
        let (path, user) = (path.clone(), user.name.clone());
        found.at(
            place,
            &Mistake::ClosedToReload {
                option,
                path,
                user,
                fix: sentence(&fix),
            },
        );
    }
    if let Some(what) = *exposed {
        if trail.is_open_to_all(Want::Read) {
            let fix = sentence(&own(runner, end, path));
            let path = path.clone();
            found.at(place, &Mistake::ReadableByAll { what, path, fix });
        }
    }
    if trail.is_open_to_all(Want::Write) {
        let fix = format!("`chmod o-w {}`.", quoted(path));
        let path = path.clone();
        found.at(place, &Mistake::WritableByAll { option, path, fix });
    }
}

/// The command after which the user that midge runs as can read the file, and no stranger.
fn own(runner: &Runner, file: &Step, path: &str) -> String {
    let (user, path) = (&runner.account, quoted(path));
    if user.uid == file.uid {
        format!("`chmod 600 {path}`")
    } else if runner.by_root {
        format!(
            "`chown root:{} {path} && chmod 640 {path}`",
            quoted(&user.group)
        )
    } else {
        let name = quoted(&user.name);
        format!("`sudo chown {name} {path} && sudo chmod 600 {path}`")
    }
}

/// The command after which a user can go through a directory: by the group that may already, if
/// there is one.
fn let_pass(user: &Account, directory: &Step) -> String {
    let path = quoted(&directory.path);
    match directory.mode & 0o010 != 0 && directory.gid != 0 {
        true => format!(
            "`usermod -aG {} {}`, for {} is closed to it, and start midge anew",
            quoted(&directory.group),
            quoted(&user.name),
            directory.path
        ),
        false => format!(
            "`chmod o+x {path}`, for {} is closed to it, or move the file elsewhere",
            directory.path
        ),
    }
}

fn sentence(text: &str) -> String {
    format!("{text}.")
}

fn relative(option: &'static str, path: &str, place: &Place, found: &mut Findings) {
    if !path.starts_with('/') {
        let path = path.to_owned();
        found.at(place, &Mistake::Relative { option, path });
    }
}

/// Whether the file `path` can be made, or written to if it is there.
fn writable<S: System>(
    option: &'static str,
    path: &str,
    place: &Place,
    runner: &Runner,
    system: &S,
    found: &mut Findings,
) {
    relative(option, path, place, found);
    let directory = directory_of(path);
    let trail = system.trail(directory);
    let user = &runner.account;
    let (name, group) = (quoted(&user.name), quoted(&user.group));
    let Some(end) = trail.end() else {
        // Who asks may stand before a closed door.
        if trail.barrier(&system.me()).is_some() {
            return;
        }
        let made = format!(
            "`install -d -o {name} -g {group} -m 755 {}`",
            quoted(directory)
        );
        let fix = match directory.starts_with("/run/") || directory.starts_with("/var/run/") {
            true => format!(
                "Under systemd, a line `RuntimeDirectory={}` in the unit makes it at each start; \
                 otherwise {made}, after each boot.",
                directory.rsplit('/').next().unwrap_or_default()
            ),
            false => format!("{made}."),
        };
        let directory = directory.to_owned();
        return found.at(
            place,
            &Mistake::NoDirectory {
                option,
                directory,
                fix,
            },
        );
    };
    let directory = match directory {
        "." => &end.path,
        directory => directory,
    };
    let file = system.trail(path);
    let passes = trail.barrier(user).is_none() && user.may(Want::Pass, end);
    let (blocked, fix) = match file.end() {
        Some(file) if option != "persistence_location" => {
            if passes && user.may(Want::Write, file) {
                return;
            }
            (path, format!("`chown {name}: {}`", quoted(path)))
        }
        _ if passes && user.may(Want::Write, end) => return,
        // A directory that other programs share must stay whose it is.
        _ if SHARED.contains(&&*end.path) => {
            let own = format!("{}/midge", directory.trim_end_matches('/'));
            let own = quoted(&own);
            let fix = format!("`install -d -o {name} -g {group} -m 755 {own}`, and name that");
            (directory, fix)
        }
        _ => (directory, format!("`chown {name}: {}`", quoted(directory))),
    };
    let mistake = Mistake::NotWritable {
        option,
        path: blocked.to_owned(),
        user: user.name.clone(),
        by_root: runner.by_root,
        fix: sentence(&fix),
    };
    found.at(place, &mistake);
}

/// Directories that belong to the system.
const SHARED: &[&str] = &[
    "/", "/data", "/dev/shm", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp",
    "/usr", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp",
];

fn directory_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    }
}

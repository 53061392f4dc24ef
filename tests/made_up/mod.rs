//! A machine made up for `midge check`: files with owners and rights, users, and programs that are
//! in the way.
#![allow(dead_code)] // Each test binary uses some of it.

use midge::check::facts::{Account, InTheWay, Obstacle, Program, Step, System, Trail};
use midge::check::{Finding, Report, Severity, explain};
use midge::config::{FileError, Files, Input, Listener};
use std::collections::{BTreeMap, BTreeSet};

/// Where the configuration is.
pub const CONF: &str = "/etc/m.conf";

/// Owner, group and rights.
type Rights = (u32, u32, u32);

/// The numbers of root, mosquitto and pi, and of their groups.
pub const ROOT: u32 = 0;
pub const MOSQUITTO: u32 = 100;
pub const PI: u32 = 1000;
pub const SSL: u32 = 110;

pub struct Machine {
    pub me: u32,
    files: BTreeMap<String, Vec<u8>>,
    rights: BTreeMap<String, Rights>,
    directories: BTreeSet<String>,
    users: Vec<(&'static str, u32)>,
    in_the_way: BTreeMap<u16, InTheWay>,
}

impl Machine {
    /// With root before it, a user mosquitto, and this configuration.
    pub fn with(text: &str) -> Self {
        let machine = Self {
            me: ROOT,
            files: BTreeMap::new(),
            rights: BTreeMap::new(),
            directories: BTreeSet::new(),
            users: vec![("root", ROOT), ("mosquitto", MOSQUITTO), ("pi", PI)],
            in_the_way: BTreeMap::new(),
        };
        machine.file(CONF, text, (ROOT, ROOT, 0o644))
    }

    /// Before this user.
    pub fn before(mut self, me: u32) -> Self {
        self.me = me;
        self
    }

    pub fn file(mut self, path: &str, text: &str, rights: Rights) -> Self {
        self.files.insert(path.to_owned(), text.into());
        self.rights.insert(path.to_owned(), rights);
        let (directory, _) = path.rsplit_once('/').unwrap();
        self.directory(directory, (ROOT, ROOT, 0o755))
    }

    /// A directory, with what is above it; what is there already keeps its rights.
    pub fn directory(mut self, path: &str, rights: Rights) -> Self {
        for (at, _) in path
            .match_indices('/')
            .collect::<Vec<_>>()
            .into_iter()
            .skip(1)
            .rev()
        {
            self.directories.insert(path[..at].to_owned());
        }
        self.directories.insert(path.to_owned());
        self.rights.entry(path.to_owned()).or_insert(rights);
        self
    }

    /// The rights of what is there.
    pub fn has(mut self, path: &str, rights: Rights) -> Self {
        self.rights.insert(path.to_owned(), rights);
        self
    }

    pub fn without_user(mut self, name: &str) -> Self {
        self.users.retain(|(other, _)| *other != name);
        self
    }

    /// What is in the way of every listener on `port`.
    pub fn in_the_way(mut self, port: u16, why: InTheWay) -> Self {
        self.in_the_way.insert(port, why);
        self
    }

    /// Nothing is in the way on `port` any more.
    pub fn free(mut self, port: u16) -> Self {
        self.in_the_way.remove(&port);
        self
    }

    pub fn explains(&self) -> Report {
        let input = Input {
            file: Some(CONF),
            ports: &[],
        };
        explain(&input, self)
    }

    /// Every finding, as `severity file:line: message -> fix`.
    pub fn finds(&self) -> Vec<String> {
        self.explains().findings.iter().map(told).collect()
    }
}

pub fn told(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let place = match (&finding.file, finding.line) {
        (Some(file), Some(line)) => format!(" {file}:{line}"),
        (Some(file), None) => format!(" {file}"),
        (None, _) => String::new(),
    };
    let fix = finding.fix.iter().map(|fix| format!(" -> {fix}"));
    format!(
        "{severity}{place}: {}{}",
        finding.message,
        fix.collect::<String>()
    )
}

pub fn program(name: &str, config: Option<&str>) -> InTheWay {
    InTheWay::Program(Some(Program {
        name: name.to_owned(),
        process: 4711,
        config: config.map(str::to_owned),
        reads_all: false,
    }))
}

impl Files for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let absolute = format!("/srv/{path}");
        let path = if path.starts_with('/') {
            path
        } else {
            &absolute
        };
        let bytes = self.files.get(path).cloned().ok_or(FileError::NotFound)?;
        let trail = self.trail(path);
        let end = trail.end().unwrap();
        let me = self.me();
        match trail.barrier(&me).is_none() && me.may(midge::check::facts::Want::Read, end) {
            true => Ok(bytes),
            false => Err(FileError::NotPermitted),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let path = path.trim_end_matches('/');
        if !self.directories.contains(path) {
            return Err(FileError::NotFound);
        }
        let names = self.files.keys();
        let names = names.filter_map(|file| file.strip_prefix(path)?.strip_prefix('/'));
        Ok(names.map(str::to_owned).collect())
    }
}

impl System for Machine {
    fn me(&self) -> Account {
        let (name, _) = self.users.iter().find(|(_, uid)| *uid == self.me).unwrap();
        self.account(name).unwrap()
    }

    fn account(&self, name: &str) -> Option<Account> {
        let (name, uid) = *self.users.iter().find(|(other, _)| *other == name)?;
        Some(Account {
            name: name.to_owned(),
            group: name.to_owned(),
            uid,
            gids: vec![uid],
        })
    }

    fn trail(&self, path: &str) -> Trail {
        let absolute = format!("/srv/{path}");
        let path = if path.starts_with('/') {
            path
        } else {
            &absolute
        };
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let mut ways: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        ways[0] = "/";
        ways.push(path);
        ways.dedup();
        let is_there = |way: &str| {
            way == "/" || self.directories.contains(way) || self.files.contains_key(way)
        };
        let there = ways.iter().take_while(|way| is_there(way));
        let steps: Vec<Step> = there
            .map(|way| {
                let (uid, gid, mode) = self.rights.get(*way).copied().unwrap_or((0, 0, 0o755));
                let groups = [
                    (ROOT, "root"),
                    (MOSQUITTO, "mosquitto"),
                    (PI, "pi"),
                    (SSL, "ssl-cert"),
                ];
                let group = groups.iter().find(|(number, _)| *number == gid).unwrap();
                Step {
                    path: (*way).to_owned(),
                    uid,
                    gid,
                    group: group.1.to_owned(),
                    mode,
                }
            })
            .collect();
        let is_whole = steps.len() == ways.len();
        Trail { steps, is_whole }
    }

    fn obstacles(&self, listener: &Listener) -> Vec<Obstacle> {
        let why = self.in_the_way.get(&listener.port).cloned();
        let what = format!("port {} on {}", listener.port, listener.bind);
        why.into_iter()
            .map(|why| Obstacle {
                what: what.clone(),
                why,
            })
            .collect()
    }
}

//! What the machine has to say about a configuration, as plain values, and what follows from them:
//! who the broker would run as, and which files that user may read.
//!
//! It is apart from [`system`](super::system), which asks the machine, so that all reasoning is
//! tested with machines made up for it.

use crate::config::{Config, Files, Listener};

/// The machine. It answers questions and is not changed by them.
pub trait System: Files {
    /// Who asks.
    fn me(&self) -> Account;

    /// The user of this name, if there is one.
    fn account(&self, name: &str) -> Option<Account>;

    /// What lies at `path`, and on the way there.
    fn trail(&self, path: &str) -> Trail;

    /// What keeps a broker from listening there now; nothing, if it can.
    fn obstacles(&self, listener: &Listener) -> Vec<Obstacle>;
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// The name of its first group.
    pub group: String,
    /// Its number.
    pub uid: u32,
    /// The numbers of all its groups.
    pub gids: Vec<u32>,
}

/// As whom the broker would run.
#[derive(Clone, Debug)]
pub struct Runner {
    /// In the end.
    pub account: Account,
    /// Whether it begins as root, who reads and opens everything first.
    pub by_root: bool,
    /// The user asked for, if there is none of that name.
    pub unknown: Option<String>,
    /// Whether it may read every file, whoever owns it.
    pub reads_all: bool,
}

/// The directories on the way to a path, from the root down, and what lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// All steps as far as they exist, links followed; the last is what lies there if `is_whole`.
    pub steps: Vec<Step>,
    /// Whether anything lies there.
    pub is_whole: bool,
}

/// One step on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its path.
    pub path: String,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its group's name.
    pub group: String,
    /// The nine bits of its rights.
    pub mode: u32,
}

/// What may be wanted of a file or directory: the bits of its rights for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To read it.
    Read = 0o4,
    /// To change it, or what is in the directory.
    Write = 0o2,
    /// To go through the directory.
    Pass = 0o1,
}

/// Why a broker cannot listen at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The address, as in `port 1883 on 0.0.0.0`.
    pub what: String,
    /// What is in the way.
    pub why: InTheWay,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InTheWay {
    /// A program that listens there; `None`: which one cannot be seen.
    Program(Option<Program>),
    /// This user may not listen there.
    NotPermitted,
    /// The machine has no such address.
    NoAddress,
    /// Anything else, in the system's words.
    Other(String),
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its process.
    pub process: u32,
    /// The file behind its `-c`, links followed.
    pub config: Option<String>,
    /// Whether it may read every file, whoever owns it, as midge.service has it.
    pub reads_all: bool,
}

impl Program {
    /// Whether it is one that does what midge does.
    pub fn is_broker(&self) -> bool {
        matches!(&*self.name, "midge" | "mosquitto")
    }
}

impl Runner {
    /// As whom a broker with this configuration would run if who asks started it.
    pub fn of(config: &Config, system: &impl System) -> Self {
        let me = system.me();
        let wanted = config.user.as_deref();
        if me.uid != 0 {
            return Self {
                account: me,
                by_root: false,
                unknown: wanted
                    .filter(|name| system.account(name).is_none())
                    .map(str::to_owned),
                reads_all: false,
            };
        }
        let found = match wanted {
            Some(name) => system.account(name),
            None => ["mosquitto", "nobody"]
                .iter()
                .find_map(|name| system.account(name)),
        };
        let unknown = match &found {
            Some(_) => None,
            None => Some(wanted.unwrap_or("mosquitto").to_owned()),
        };
        Self {
            account: found.unwrap_or(me),
            by_root: true,
            unknown,
            reads_all: false,
        }
    }
}

impl Account {
    /// Whether the bits of `step` give this user what it wants.
    pub fn may(&self, want: Want, step: &Step) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if self.uid == step.uid => 6,
            () if self.gids.contains(&step.gid) => 3,
            () => 0,
        };
        step.mode >> shift & want as u32 != 0
    }
}

impl Trail {
    /// What lies there.
    pub fn end(&self) -> Option<&Step> {
        self.steps.last().filter(|_| self.is_whole)
    }

    /// The first directory on the way that `account` cannot go through.
    pub fn barrier(&self, account: &Account) -> Option<&Step> {
        let beyond = usize::from(self.is_whole);
        let way = self.steps.iter().rev().skip(beyond).rev();
        way.into_iter().find(|step| !account.may(Want::Pass, step))
    }

    /// Whether everybody on the machine can get there and do what is wanted.
    pub fn is_open_to_all(&self, want: Want) -> bool {
        let Some(end) = self.end() else {
            return false;
        };
        let before = self.steps.len().saturating_sub(1);
        let mut way = self.steps.iter().take(before);
        end.mode & want as u32 != 0 && way.all(|step| step.mode & Want::Pass as u32 != 0)
    }
}

//! A configuration with all that was read on the way to it: every line and what it belongs to,
//! errors and warnings side by side.
//!
//! It is apart from [`Config`] because a broker that runs needs none of it. It is what an
//! explanation is made of, and it must never hold a secret: the text behind an option that has one
//! is left out here, so that nobody can show it.

use super::options::Opt;
use super::parse::Place;
use super::problem::{ConfigError, Warning};
use super::{Bridge, Config, Listener};

/// All that was read.
#[derive(Debug)]
pub struct Reading {
    /// The settings: in force if there are no errors, else as far as the lines can be understood.
    pub config: Config,
    /// The lines that are neither blank nor a comment, in the order they were read in.
    pub lines: Vec<Said>,
    /// All listeners there were to be, whether they are opened or not.
    pub listeners: Vec<Begun>,
    /// The directories that were included.
    pub included: Vec<Included>,
    /// What is worth knowing.
    pub warnings: Vec<Warning>,
    /// What keeps the broker from starting.
    pub errors: Vec<ConfigError>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Said {
    /// Where it stands.
    pub place: Place,
    /// The option's name as written; of a name that holds a tab, what stands before the tab.
    pub name: String,
    /// What stands behind the name; `None`: it is, or may be, a secret.
    pub text: Option<String>,
    /// The option, not an alias of it; `None`: there is none of this name.
    pub option: Option<&'static Opt>,
    /// What it applies to.
    pub of: Of,
    /// The line that gave the same option to the same owner before.
    pub first: Option<Place>,
    /// The `listener` line above it in the same file.
    pub below: Option<Place>,
}

/// What a line applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Nothing: it is not understood, or stands where it cannot.
    Nothing,
    /// The whole broker.
    Broker,
    /// All listeners alike, wherever it stands.
    AllListeners,
    /// The listener made of `port` and `bind_address`, or the local ones where there is no other.
    DefaultListener,
    /// The listener begun as this one, counted from 0.
    Listener(usize),
    /// The bridge begun as this one, counted from 0: its place in [`Config::bridges`] too.
    Bridge(usize),
    /// The plugin named last.
    Plugin,
}

/// A listener that there was to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What its own lines apply to.
    pub of: Of,
    /// The line that asks for it; the command line, if none does.
    pub place: Place,
    /// As [`Listener::name`].
    pub name: String,
    /// Its place in [`Config::listeners`]; `None`: it is not opened.
    pub index: Option<usize>,
}

/// A directory that was included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The line that names it.
    pub place: Place,
    /// Its path.
    pub directory: String,
    /// How many files `*.conf` are in it.
    pub files: usize,
}

impl Reading {
    /// The listeners that lines of `of` apply to, as far as they are opened.
    pub fn listeners_of(&self, of: Of) -> impl Iterator<Item = (&Begun, &Listener)> {
        let is_meant =
            move |begun: &&Begun| matches!(of, Of::Broker | Of::AllListeners) || begun.of == of;
        self.listeners.iter().filter(is_meant).filter_map(|begun| {
            let listener = self.config.listeners.get(begun.index?)?;
            Some((begun, listener))
        })
    }

    /// The bridge that lines of `of` apply to.
    pub fn bridge_of(&self, of: Of) -> Option<&Bridge> {
        match of {
            Of::Bridge(at) => self.config.bridges.get(at),
            _ => None,
        }
    }
}

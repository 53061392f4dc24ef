//! Taking over from a mosquitto, once: which of its files there is, and what is in it given to the
//! broker. Neither the file nor anything that belongs to it is changed.

use super::gather::Imported;
use super::reader::Counts;
use super::{import, plugin};
use crate::broker::Broker;
use crate::config::Config;
use crate::time::Now;
use std::fs;
use std::path::{Path, PathBuf};

/// mosquitto's own file, unless `persistence_file` gives it another name.
const OWN_FILE_NAME: &str = "mosquitto.db";

/// What mosquitto 2.1's SQLite plugin keeps, unless `plugin_opt_db_file` says where.
const PLUGIN_FILE_NAME: &str = "mosquitto.sqlite3";

/// A file that a mosquitto has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Of mosquitto itself.
    Own(PathBuf),
    /// Of its SQLite plugin.
    Plugin(PathBuf),
}

/// What there is to take over. Where there are both, the one that a
/// mosquitto with this configuration would read is the newer one.
pub fn find(config: &Config) -> Option<Left> {
    let persistence = &config.persistence;
    let location = Path::new(persistence.location.as_deref().unwrap_or_default());
    let name = persistence.file.as_deref().unwrap_or(OWN_FILE_NAME);
    let own = location.join(name);
    let plugin = match &persistence.database {
        Some(path) => path.into(),
        None => location.join(PLUGIN_FILE_NAME),
    };
    let (own, plugin) = (Left::Own(own), Left::Plugin(plugin));
    let (first, second) = match persistence.is_by_plugin {
        true => (plugin, own),
        false => (own, plugin),
    };
    let found = |left: &Left| fs::symlink_metadata(left.path()).is_ok();
    match (found(&first), found(&second)) {
        (true, true) => {
            log::warn!(
                "{} is not imported: a mosquitto with this configuration reads {}.",
                second.path().display(),
                first.path().display()
            );
            Some(first)
        }
        (true, false) => Some(first),
        (false, true) => Some(second),
        (false, false) => None,
    }
}

impl Left {
    fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Plugin(path) => path,
        }
    }

    /// Gives `broker` all that can be read.
    pub fn take_over(&self, broker: &mut Broker, config: &Config, now: Now) -> Counts {
        let read = match self {
            Self::Own(path) => fs::read(path)
                .map_err(|error| error.to_string())
                .map(|bytes| import::read(&bytes, config, now))
                .map(|(imported, error)| (imported, error.map(|error| error.to_string()))),
            Self::Plugin(path) => plugin::read::read(path, config, now)
                .map(|(imported, error)| (imported, error.map(|error| error.to_string())))
                .map_err(|error| error.to_string()),
        };
        let path = self.path().display();
        match read {
            Ok((imported, why_not_all)) => {
                let counts = give(imported, broker, now);
                self.say(counts, why_not_all.as_deref());
                counts
            }
            Err(why) => {
                log::error!(
                    "Error: nothing was imported from {path}: {why}. To have it imported, stop \
                     midge, put that right, remove midge's own store and start midge again."
                );
                Counts::default()
            }
        }
    }

    fn say(&self, counts: Counts, why_not_all: Option<&str>) {
        let path = self.path().display();
        log::info!("Imported {counts}, from {path}.");
        if let Some(why) = why_not_all {
            log::error!("Error: not all of {path} was imported: {why}.");
        }
        if counts.odd > 0 {
            log::warn!("{} entries of {path} made no sense.", counts.odd);
        }
    }
}

fn give(imported: Imported, broker: &mut Broker, now: Now) -> Counts {
    let mut counts = Counts {
        odd: imported.odd,
        ..Counts::default()
    };
    for record in imported.records {
        counts.count(&record);
        counts.odd += u64::from(!broker.restore(record, now));
    }
    broker.effects().journal.begin(counts.last_place);
    for message in imported.unpublished {
        broker.publish_restored(&message, now);
    }
    counts
}

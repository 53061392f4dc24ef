//! What stands in for the store in a build without the feature `persistence`: it keeps nothing, and
//! says so.

use crate::broker::Broker;
use crate::config::Config;
use crate::time::{Mono, Now};
use std::fmt;
use std::path::Path;

/// What a store could not do: there is none that could fail.
#[derive(Debug)]
pub enum StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for StoreError {}

/// Writes nothing, for there is nothing.
///
/// # Errors
/// None.
pub fn export(_: &Config, _: &Path, _: Now) -> Result<String, StoreError> {
    Ok("This midge was built without persistence: there is nothing to export.".to_owned())
}

/// What keeps the state of a broker: nothing.
#[derive(Debug, Default)]
pub struct Keeper {}

impl Keeper {
    /// Says that nothing is kept, if the configuration asks for it.
    ///
    /// # Errors
    /// None.
    pub fn open(&mut self, _: &mut Broker, config: &Config, _: Now) -> Result<(), StoreError> {
        if config.persistence.enabled {
            log::warn!("This midge was built without persistence: state is not kept.");
        }
        Ok(())
    }

    /// Never.
    pub fn is_due(&mut self, _: &mut Broker, _: bool, _: Now) -> bool {
        false
    }

    /// Does nothing.
    pub fn commit(&mut self, _: &mut Broker, _: Now) {}

    /// Never.
    pub fn next_at(&self) -> Option<Mono> {
        None
    }

    /// Says that there is nothing to save.
    pub fn save(&mut self, _: &mut Broker, _: Now) {
        log::info!("Nothing to save: persistence is off.");
    }

    /// Does nothing.
    pub fn close(&mut self, _: &mut Broker, _: Now) {}
}

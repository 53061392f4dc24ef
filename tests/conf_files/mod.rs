//! Files in a map, and short ways to load them.
#![allow(dead_code)] // Each test binary uses some of it.

use midge::config::{Config, FileError, Files, Input, load};
use std::collections::{BTreeMap, BTreeSet};

/// A file system for a configuration.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    directories: BTreeSet<String>,
}

impl Disk {
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), bytes.to_vec());
        if let Some((directory, _)) = path.rsplit_once('/') {
            self.directory(directory);
        }
    }

    pub fn directory(&mut self, path: &str) {
        self.directories.insert(path.to_owned());
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.files.get(path).cloned().ok_or(FileError::NotFound)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let path = path.trim_end_matches('/');
        if !self.directories.contains(path) {
            return Err(FileError::NotFound);
        }
        let names = self.files.keys().rev();
        let names = names.filter_map(|file| file.strip_prefix(path)?.strip_prefix('/'));
        Ok(names.map(str::to_owned).collect())
    }
}

fn result(disk: &Disk, path: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let input = Input {
        file: Some(path),
        ports: &[],
    };
    match load(&input, disk) {
        Ok((config, warnings)) => Ok((config, warnings.iter().map(ToString::to_string).collect())),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn alone(bytes: &[u8]) -> Disk {
    let mut disk = Disk::default();
    disk.put("m.conf", bytes);
    disk
}

/// What `path` means, with its warnings.
pub fn loaded(disk: &Disk, path: &str) -> (Config, Vec<String>) {
    result(disk, path).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// What is wrong with `path`.
pub fn errors(disk: &Disk, path: &str) -> Vec<String> {
    result(disk, path).map_or_else(|errors| errors, |loaded| panic!("{loaded:#?}"))
}

/// What one file, `m.conf`, means.
pub fn settings(bytes: &[u8]) -> Config {
    loaded(&alone(bytes), "m.conf").0
}

/// What there is to know about one file, `m.conf`.
pub fn warnings(bytes: &[u8]) -> Vec<String> {
    loaded(&alone(bytes), "m.conf").1
}

/// The first thing wrong with one file, `m.conf`.
pub fn first_error(bytes: &[u8]) -> String {
    errors(&alone(bytes), "m.conf").swap_remove(0)
}

/// Whether one file is taken.
pub fn is_taken(bytes: &[u8]) -> Result<(), Vec<String>> {
    result(&alone(bytes), "m.conf").map(|_| ())
}

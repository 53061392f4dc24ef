//! The file system, as the configuration and the policy see it.

use crate::config::{FileError, Files};
use std::fs;
use std::io;

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        fs::read(path).map_err(|error| explain(&error))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| explain(&error))? {
            let entry = entry.map_err(|error| explain(&error))?;
            // A name that is not text cannot end in ".conf" and be meant.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn explain(error: &io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::NotFound => FileError::NotFound,
        io::ErrorKind::PermissionDenied => FileError::NotPermitted,
        _ => FileError::Other(error.to_string()),
    }
}

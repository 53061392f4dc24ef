//! The file system, as the configuration and the policy see it, and which of its symbolic links
//! are followed.
//!
//! Who may put a link where a file of midge's is expected could have root read or write another
//! one. So a link in the last place of a path is followed only if root or the user midge runs as
//! made it: those of Kubernetes, of packages and of the operator are, a stranger's is not. (What
//! stands at the link's end is its owner's choice.) mosquitto 2.1 follows none.

use crate::config::{FileError, Files};
use nix::libc::{ELOOP, O_NOFOLLOW};
use nix::unistd::Uid;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const ROOT: u32 = 0;

/// The files that a configuration consists of: who names one on the command line has seen it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// The files that a configuration names.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamedFiles {
    /// Which links to them are followed.
    pub links: Links,
}

/// Which symbolic links are followed, where one is the last part of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Those that belong to root or to the user this process runs as.
    #[default]
    Trusted,
    /// Every one.
    All,
}

/// A link that is not followed.
#[derive(Debug)]
struct StrangersLink {
    owner: u32,
}

impl Links {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says, or that it is a link which is not followed.
    pub fn open(self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        let opened = options.clone().custom_flags(O_NOFOLLOW).open(path);
        match opened {
            Err(error) if error.raw_os_error() == Some(ELOOP) => {
                self.check(path)?;
                options.open(path)
            }
            opened => opened,
        }
    }

    fn check(self, path: &Path) -> io::Result<()> {
        let owner = fs::symlink_metadata(path)?.uid();
        match self.follows(owner, Uid::effective().as_raw()) {
            true => Ok(()),
            false => Err(io::Error::other(StrangersLink { owner })),
        }
    }

    /// Whether `user` follows a link that belongs to `owner`.
    const fn follows(self, owner: u32, user: u32) -> bool {
        matches!(self, Self::All) || owner == ROOT || owner == user
    }
}

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

impl Files for NamedFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let opened = self
            .links
            .open(Path::new(path), OpenOptions::new().read(true));
        let mut bytes = Vec::new();
        opened
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| explain(&error))?;
        Ok(bytes)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        Disk.list(path)
    }
}

fn explain(error: &io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::NotFound => FileError::NotFound,
        io::ErrorKind::PermissionDenied => FileError::NotPermitted,
        _ => FileError::Other(error.to_string()),
    }
}

impl fmt::Display for StrangersLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is a symbolic link that belongs to user {}, and only those of root and of the user \
             midge runs as are followed; give the link to root (chown -h root), or set \
             MOSQUITTO_UNSAFE_ALLOW_SYMLINKS=1 in the environment",
            self.owner
        )
    }
}

impl std::error::Error for StrangersLink {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_their_owners_are_trusted() {
        let (root, ann, bob) = (ROOT, 1000, 1001);
        // Whose link, who follows it, and whether.
        let rows = [
            (root, root, true),
            (root, ann, true),
            (ann, ann, true),
            (ann, root, false),
            (ann, bob, false),
        ];
        for (owner, user, expected) in rows {
            assert_eq!(Links::Trusted.follows(owner, user), expected);
            assert!(Links::All.follows(owner, user));
        }
    }
}

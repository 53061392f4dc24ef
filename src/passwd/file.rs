//! A password file as lines to be changed, and as a file to be replaced.
//!
//! Lines that are not meant stay as they are, comments included. A file is replaced whole: a new
//! one beside it takes its name, so that a broker reading it, or a power cut, finds the old one or
//! the new one.

use crate::policy::hash::StoredHash;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What the owner alone may do.
const PRIVATE: u32 = 0o600;

/// The permission bits of owner and group.
const OWNER_AND_GROUP: u32 = 0o770;

/// The lines, each with its end.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Whether a line is blank or a comment.
pub(super) fn says_nothing(line: &[u8]) -> bool {
    line.first() == Some(&b'#') || line.trim_ascii().is_empty()
}

/// A line's user and what stands behind the colon, both trimmed. `None` for a line that holds no
/// user.
pub(super) fn split_user(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if says_nothing(line) {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (user, rest) = line.split_at(colon);
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    Some((user.trim_ascii(), rest.trim_ascii()))
}

/// Whether what stands behind the colon is a hash that midge reads.
pub(super) fn is_hashed(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text);
    text.is_ok_and(|text| StoredHash::parse(text).is_ok())
}

/// How many users are in the file; none, if it cannot be read or is no file.
pub(super) fn count_users(path: &Path) -> usize {
    // A pipe would be waited for.
    let is_file = fs::metadata(path).is_ok_and(|old| old.is_file());
    let text = if is_file {
        fs::read(path)
    } else {
        Ok(Vec::new())
    };
    lines(&text.unwrap_or_default())
        .filter_map(split_user)
        .count()
}

fn is_of(line: &[u8], user: &[u8]) -> bool {
    split_user(line).is_some_and(|(found, _)| found == user)
}

/// `text` with `user` in it once: on the line where it was, or on a new last one.
pub(super) fn with_user(text: &[u8], user: &str, hash: &StoredHash) -> Vec<u8> {
    let new_line = format!("{user}:{hash}\n");
    let mut new = Vec::with_capacity(text.len() + new_line.len() + 1);
    let mut is_in = false;
    for line in lines(text) {
        if !is_of(line, user.as_bytes()) {
            new.extend_from_slice(line);
        } else if !is_in {
            new.extend_from_slice(new_line.as_bytes());
            is_in = true;
        }
    }
    if !is_in {
        if !new.is_empty() && !new.ends_with(b"\n") {
            new.push(b'\n');
        }
        new.extend_from_slice(new_line.as_bytes());
    }
    new
}

/// `text` without `user`; `None` if it is not there.
pub(super) fn without_user(text: &[u8], user: &[u8]) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = lines(text).filter(|line| !is_of(line, user)).collect();
    (kept.len() < lines(text).count()).then(|| kept.concat())
}

/// Gives the file this text and no other, and says whether others than its owner and group could
/// read it before.
///
/// A new file is for its owner alone; one that root makes in another user's directory is that
/// user's, because the broker is started by root and reads as that user. A file that exists keeps
/// its owner, its group and what they may do; others lose what they could do.
///
/// Where no file can be put beside it or take its name (the directory is not ours to change; the
/// file alone is mounted into a container), the file itself is overwritten: not in one step, but
/// otherwise not at all.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<bool> {
    let old = match fs::metadata(path) {
        Ok(old) => old,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            replace_whole(path, text, None)?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    if !old.is_file() {
        // A device or a pipe.
        OpenOptions::new().write(true).open(path)?.write_all(text)?;
        return Ok(false);
    }
    // A symbolic link stays: what it leads to is replaced.
    let path = fs::canonicalize(path)?;
    match replace_whole(&path, text, Some(&old)) {
        Err(error) if needs_overwriting(&error) => overwrite(&path, text, &old)?,
        whole => whole?,
    }
    Ok(old.mode() & 0o004 != 0)
}

fn needs_overwriting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::ResourceBusy
    )
}

fn overwrite(path: &Path, text: &[u8], old: &Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    // Who may write it may not always change its mode.
    let _ = file.set_permissions(Permissions::from_mode(closed_mode(old)));
    file.write_all(text)?;
    file.sync_all()
}

/// A file's mode without what others may do.
fn closed_mode(old: &Metadata) -> u32 {
    (old.mode() & OWNER_AND_GROUP) | PRIVATE
}

fn replace_whole(path: &Path, text: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let (temporary, file) = create_beside(path, directory)?;
    let done = fill(&file, directory, text, old).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
        return done;
    }
    // The name is safe on disk only with its directory.
    File::open(directory)?.sync_all()
}

/// A new, empty file for its owner alone, with a name that nobody can foresee.
fn create_beside(path: &Path, directory: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::from)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}", u64::from_ne_bytes(random)));
    let temporary = directory.join(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&temporary)?;
    Ok((temporary, file))
}

/// Owner and mode first, then the text.
fn fill(mut file: &File, directory: &Path, text: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let new = file.metadata()?;
    match old {
        Some(old) => {
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(closed_mode(old)))?;
        }
        None => {
            let directory = fs::metadata(directory)?;
            if new.uid() == 0 && directory.uid() != 0 {
                fchown(file, Some(directory.uid()), Some(directory.gid()))?;
            }
        }
    }
    file.write_all(text)?;
    file.sync_all()
}

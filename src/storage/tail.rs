//! Changes between two commits, in a file beside the database, for the modes in which nothing waits
//! for a sync. Each turn adds what it changed with one write and no sync, before anything that was
//! promised leaves: the system has it then, whatever becomes of the process. It lives a second or
//! as long as the interval is, so that little of it ever reaches the device.
//!
//! ```text
//!   frame:  length of the operations (u32) | generation (u64) | sum (u64) | operations
//! ```
//!
//! A commit writes the next generation into the database with the changes themselves, which makes
//! all frames here void at one blow; the next ones are written over them. So a change counts once,
//! wherever the process ends, and frames that a power cut has left from an earlier time count for
//! nothing. It must never be believed beyond the first frame that is not whole.

use super::batch::Batch;
use super::{StoreError, beside};
use crate::limits;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a frame before its operations.
const HEAD_BYTES: usize = 20;

/// The file, and how far it is filled.
#[derive(Debug)]
pub struct Tail {
    file: File,
    /// Where the next frame goes.
    end: u64,
    /// Which commit the frames stand behind.
    generation: u64,
    /// Bytes of the batch that are in the file.
    covered: usize,
    /// The frame that is being written.
    frame: Vec<u8>,
}

/// Where the tail of `database` is.
fn path(database: &Path) -> PathBuf {
    beside(database, "tail")
}

/// What was changed behind the commit `generation` of the database at `path`, as far as it is
/// whole.
///
/// # Errors
/// What the system says.
pub fn read(database: &Path, generation: u64) -> Result<Batch, StoreError> {
    let bytes = bytes(database)?;
    let mut batch = Batch::default();
    let mut rest = &bytes[..];
    while let Some((operations, behind)) = split(rest, generation) {
        batch.extend(operations);
        rest = behind;
    }
    Ok(batch)
}

/// Whether there is a frame behind a later commit than `generation`, which the database at `path`
/// has lost then: no frame is written behind a commit that is not safe.
///
/// # Errors
/// What the system says.
pub fn is_ahead(database: &Path, generation: u64) -> Result<bool, StoreError> {
    let bytes = bytes(database)?;
    let of = bytes.get(4..12).and_then(|of| of.try_into().ok());
    let of = of.map_or(0, u64::from_le_bytes);
    Ok(of > generation && split(&bytes, of).is_some())
}

fn bytes(database: &Path) -> Result<Vec<u8>, StoreError> {
    match fs::read(path(database)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The operations of the first frame, and what stands behind it.
fn split(bytes: &[u8], generation: u64) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
    let of = u64::from_le_bytes(head.get(4..12)?.try_into().ok()?);
    let (operations, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let is_whole = length > 0 && head.get(12..)? == sum(of, operations).to_le_bytes();
    (is_whole && of == generation).then_some((operations, behind))
}

/// FNV-1a over the generation and the operations: it is to tell frames that were torn, not forged.
fn sum(generation: u64, operations: &[u8]) -> u64 {
    let generation = generation.to_le_bytes();
    let bytes = generation.iter().chain(operations);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Tail {
    /// Opens the tail of `database`, empty: what was in it is in the database, which is at
    /// `generation`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(database: &Path, generation: u64) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(true)
            .write(true)
            .open(path(database))?;
        Ok(Self {
            file,
            end: 0,
            generation,
            covered: 0,
            frame: Vec::new(),
        })
    }

    /// Removes the tail of `database`, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(database: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path(database)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether it has all that the batch has.
    pub fn covers(&self, batch: &Batch) -> bool {
        self.covered == batch.len()
    }

    /// Writes what the batch has more than when this was last called.
    ///
    /// # Errors
    /// What the system says: what the batch has is safe only in a commit.
    pub fn cover(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let operations = batch.behind(self.covered);
        if operations.is_empty() {
            return Ok(());
        }
        let Ok(length) = u32::try_from(operations.len()) else {
            let what = "too much was changed at once".to_owned();
            return Err(StoreError::Failed(what));
        };
        let sum = sum(self.generation, operations);
        self.frame.clear();
        self.frame.extend_from_slice(&length.to_le_bytes());
        self.frame.extend_from_slice(&self.generation.to_le_bytes());
        self.frame.extend_from_slice(&sum.to_le_bytes());
        self.frame.extend_from_slice(operations);
        self.file.write_all_at(&self.frame, self.end)?;
        self.end += self.frame.len() as u64;
        self.covered = batch.len();
        self.frame.shrink_to(super::BATCH_KEPT_BYTES);
        Ok(())
    }

    /// All of it is in the database, which is at `generation`. The file stays as long as it is, for
    /// a length that changes all the time costs more than the frames.
    pub fn begin(&mut self, generation: u64) {
        if self.end > limits::STORE_TAIL_KEPT_BYTES {
            // The frames are void in any case.
            let _ = self.file.set_len(0);
        }
        self.end = 0;
        self.covered = 0;
        self.generation = generation;
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Value;
    use super::super::schema::Op;
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("midge-tail-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn count(&self, generation: u64) -> usize {
            read(&self.0, generation).unwrap().iter().count()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(path(&self.0));
        }
    }

    fn drop_of(place: i64, batch: &mut Batch) {
        batch.push(Op::QueueDrop, &[Value::Int(place)]);
    }

    #[test]
    fn what_is_covered_is_read_and_no_more() {
        let place = Place::new("covered");
        assert_eq!(place.count(7), 0, "there is no file");
        let mut tail = Tail::open(&place.0, 7).unwrap();
        let mut batch = Batch::default();
        for number in 1..=3 {
            drop_of(number, &mut batch);
            tail.cover(&batch).unwrap();
            tail.cover(&batch).unwrap();
        }
        drop_of(4, &mut batch);
        let read = read(&place.0, 7).unwrap();
        let numbers: Vec<_> = read.iter().map(|(_, values)| values[0]).collect();
        assert_eq!(numbers, [Value::Int(1), Value::Int(2), Value::Int(3)]);
        assert_eq!(place.count(6), 0);
        assert_eq!(place.count(8), 0);
    }

    #[test]
    fn frames_of_an_earlier_commit_are_void() {
        let place = Place::new("void");
        let mut tail = Tail::open(&place.0, 1).unwrap();
        let mut batch = Batch::default();
        for number in 0..5 {
            drop_of(number, &mut batch);
            tail.cover(&batch).unwrap();
        }
        batch.clear();
        tail.begin(2);
        assert_eq!(place.count(2), 0);
        drop_of(9, &mut batch);
        tail.cover(&batch).unwrap();
        assert_eq!(place.count(2), 1, "those behind it are older");
        assert_eq!(place.count(1), 0);
    }

    /// Cut at every byte, and with every byte changed, it gives whole frames from the front.
    #[test]
    fn a_torn_end_is_left_out() {
        let place = Place::new("torn");
        let mut tail = Tail::open(&place.0, 3).unwrap();
        let mut batch = Batch::default();
        for number in 0..4 {
            drop_of(number, &mut batch);
            tail.cover(&batch).unwrap();
        }
        let whole = std::fs::read(path(&place.0)).unwrap();
        let frame = whole.len() / 4;
        for at in 0..whole.len() {
            std::fs::write(path(&place.0), &whole[..at]).unwrap();
            assert_eq!(place.count(3), at / frame, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            std::fs::write(path(&place.0), &changed).unwrap();
            assert_eq!(place.count(3), at / frame, "changed at {at}");
        }
    }
}

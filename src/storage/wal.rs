//! The write-ahead log of the database, looked through before SQLite does. SQLite takes the log to end
//! where a sum is wrong, which is right where a process has ended in the middle of a commit. But a
//! commit is begun when the one before it is synced: where more than one stand behind the end, a disk
//! has lost what was on it, and somebody should know. It must never write.
//!
//! ```text
//!   head:   magic | version | page size | count | salt (8) | sum (8)
//!   frame:  page number | pages in all, if it ends a commit | salt (8) | sum (8) | page
//! ```
//!
//! The salt is another one each time the log is begun again, so that frames of before are none. Each
//! sum goes on from the one before it.

use super::beside;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

const HEAD_BYTES: usize = 32;
const FRAME_HEAD_BYTES: usize = 24;

/// The first four bytes, but for the last bit: that says in which order of bytes sums are made.
const MAGIC: u32 = 0x377f_0682;

/// A sum over words, two by two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    first: u32,
    second: u32,
    is_big_endian: bool,
}

impl Sum {
    fn extend(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let [a, b, c, d, e, f, g, h] = *pair else {
                continue;
            };
            let word = |bytes| match self.is_big_endian {
                true => u32::from_be_bytes(bytes),
                false => u32::from_le_bytes(bytes),
            };
            let (one, other) = (word([a, b, c, d]), word([e, f, g, h]));
            self.first = self.first.wrapping_add(one).wrapping_add(self.second);
            self.second = self.second.wrapping_add(other).wrapping_add(self.first);
        }
    }

    /// Whether it is the one that is written.
    fn is(self, written: Option<&[u8]>) -> bool {
        let own = [self.first.to_be_bytes(), self.second.to_be_bytes()].concat();
        written == Some(&own)
    }
}

/// A number in big-endian order.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Whether the log of `database` has lost what was synced.
///
/// # Errors
/// What the system says.
pub fn is_damaged(database: &Path) -> io::Result<bool> {
    match File::open(beside(database, "wal")) {
        Ok(file) => is_log_damaged(BufReader::new(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_log_damaged(mut log: impl Read) -> io::Result<bool> {
    let mut head = [0; HEAD_BYTES];
    // One that is empty, or was only made long, holds nothing.
    if !fills(&mut log, &mut head)? || head == [0; HEAD_BYTES] {
        return Ok(false);
    }
    let Some((salt, page_bytes, mut sum)) = begin(&head) else {
        return Ok(true);
    };
    let mut frame = vec![0; FRAME_HEAD_BYTES + page_bytes];
    let (mut is_over, mut has_commit_behind) = (false, false);
    while fills(&mut log, &mut frame)? {
        let is_own = frame.get(8..16) == Some(&salt);
        if !is_over {
            let mut next = sum;
            next.extend(frame.get(..8).unwrap_or_default());
            next.extend(frame.get(FRAME_HEAD_BYTES..).unwrap_or_default());
            if is_own && next.is(frame.get(16..24)) {
                sum = next;
                continue;
            }
            is_over = true;
        }
        // The commit that was not synced may be here in parts, and nothing behind it.
        if is_own && has_commit_behind {
            return Ok(true);
        }
        has_commit_behind |= number(&frame, 4) != Some(0);
    }
    Ok(false)
}

/// The salt, the bytes of a page and the sum so far; `None`: it is no head.
fn begin(head: &[u8; HEAD_BYTES]) -> Option<([u8; 8], usize, Sum)> {
    let magic = number(head, 0)?;
    let page_bytes = usize::try_from(number(head, 8)?).ok()?;
    let mut sum = Sum {
        first: 0,
        second: 0,
        is_big_endian: magic & 1 != 0,
    };
    sum.extend(head.get(..24)?);
    let is_head = magic & !1 == MAGIC
        && page_bytes.is_power_of_two()
        && (512..=65_536).contains(&page_bytes)
        && sum.is(head.get(24..));
    is_head.then_some((head.get(16..24)?.try_into().ok()?, page_bytes, sum))
}

/// Whether there was as much as that.
fn fills(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The log of three commits, and where each ends.
    fn made() -> (Vec<u8>, Vec<usize>) {
        let path = std::env::temp_dir().join(format!("midge-wal-{}", std::process::id()));
        let log = beside(&path, "wal");
        let database = rusqlite::Connection::open(&path).unwrap();
        let wal = "PRAGMA page_size=1024; PRAGMA journal_mode=WAL";
        database.execute_batch(wal).unwrap_or_default();
        let mut ends = Vec::new();
        for sql in [
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
            "INSERT INTO t VALUES(1, zeroblob(3000))",
            "INSERT INTO t VALUES(2, zeroblob(3000))",
        ] {
            database.execute_batch(sql).unwrap();
            ends.push(fs::read(&log).unwrap().len());
        }
        let bytes = fs::read(&log).unwrap();
        drop(database);
        fs::remove_file(path).unwrap();
        (bytes, ends)
    }

    #[test]
    fn what_was_synced_and_is_not_there_is_missed() {
        let (whole, ends) = made();
        let is_damaged = |bytes: &[u8]| is_log_damaged(bytes).unwrap();
        assert!(!is_damaged(&whole));
        for at in 0..whole.len() {
            assert!(!is_damaged(&whole[..at]), "an end at {at} is an end");
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            // The last commit may be one that was never synced.
            assert!(at >= ends[1] || is_damaged(&flipped), "changed at {at}");
        }
        let mut torn = whole.clone();
        torn.truncate(ends[1]);
        torn.resize(whole.len() - 1024, 0);
        torn.extend_from_slice(&whole[whole.len() - 1024..]);
        assert!(!is_damaged(&torn), "a commit of which a part was written");
        let long = [whole, vec![0; 50_000]].concat();
        assert!(!is_damaged(&long), "it was made long before");
        assert!(!is_damaged(&[0; 5000]));
        assert!(is_damaged(&[0xa5; 5000]));
    }
}

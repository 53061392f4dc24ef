//! What the store costs: bytes for the disk, commits, and the loop's time that they took. Bytes are
//! the kernel's own count for this process, taken before and after each write: a page that is changed
//! again before it has reached the disk counts once, as it wears a card once.

use crate::broker::stats::StoreStats;
use crate::time::Now;
use nix::sys::resource::{UsageWho, getrusage};
use std::time::Instant;

/// Bytes of a block, in which the kernel gives its count.
const BLOCK_BYTES: u64 = 512;

/// Counts into the broker's counters.
#[derive(Debug, Default)]
pub struct Meter {
    /// The day that is counted, in days since 1970.
    day: u64,
    last_commit_ms: u64,
}

/// Bytes for the disk since the process began; 0 where the kernel does not count them.
fn written_bytes() -> u64 {
    let blocks = getrusage(UsageWho::RUSAGE_SELF).map(|usage| usage.block_writes());
    let blocks = blocks.ok().and_then(|blocks| u64::try_from(blocks).ok());
    blocks.unwrap_or_default() * BLOCK_BYTES
}

impl Meter {
    /// Begins a day, if it is a new one.
    pub fn pass(&mut self, stats: &mut StoreStats, now: Now) {
        let day = now.unix.0 / 86_400;
        if std::mem::replace(&mut self.day, day) != day {
            (stats.commits_today, stats.bytes_today) = (0, 0);
        }
    }

    /// How long the last commit took.
    pub fn last_commit_ms(&self) -> u64 {
        self.last_commit_ms
    }

    /// Counts the bytes that `write` writes.
    pub fn writing<T>(&self, stats: &mut StoreStats, write: impl FnOnce() -> T) -> T {
        let before = written_bytes();
        let done = write();
        let bytes = written_bytes().saturating_sub(before);
        stats.bytes += bytes;
        stats.bytes_today += bytes;
        done
    }

    /// Counts a commit, which is to have been synced when `commit` is over, if it succeeds.
    pub fn committing<T, E>(
        &mut self,
        stats: &mut StoreStats,
        commit: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let done = self.writing(stats, commit)?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_commit_ms = micros.div_ceil(1000);
        stats.busy_us = stats.busy_us.saturating_add(micros);
        stats.commits += 1;
        stats.commits_today += 1;
        Ok(done)
    }
}

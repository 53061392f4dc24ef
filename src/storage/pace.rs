//! When a commit is worth its sync. A page of the card is written for each commit, however little
//! is in it, and the whole broker waits for the sync: what several publishers are owed is better
//! made safe together. But whoever publishes alone and waits for each acknowledgement gains nothing
//! by waiting, and must not.
//!
//! So the first promise after a quiet while is kept at once. Behind it, promises are held together
//! for as long as it paid to hold them the last time: until the last one that came. A wait in which
//! nothing came makes the next ones short, down to none; and from time to time a whole one is tried
//! again.
//!
//! A slow disk must not take the loop for itself either: while there is other work, the loop has as
//! long for that as the last sync took before the next one begins.

use crate::limits;
use crate::time::Mono;

/// Decides when to commit promises.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the commit before began.
    last_at: Mono,
    /// When the first promise of this commit was made.
    since: Option<Mono>,
    /// When the last one came behind it.
    joined_at: Option<Mono>,
    /// Milliseconds that promises are held together.
    hold_ms: u64,
    /// Commits until a whole wait is tried again.
    until_trial: u32,
    /// How long the last commit took.
    took_ms: u64,
    /// Until when other work goes before the next commit.
    rest_until: Mono,
}

impl Pace {
    /// Promises were made in this turn.
    pub fn promised(&mut self, now: Mono) {
        match self.since {
            None => self.since = Some(now),
            Some(_) => self.joined_at = Some(now),
        }
    }

    /// When the promises made so far are to be kept; `None`: there are none.
    pub fn due_at(&self) -> Option<Mono> {
        let since = self.since?;
        let is_quiet = since.ms_since(self.last_at) >= limits::STORE_QUIET_MS;
        Some(match is_quiet {
            true => since,
            false => since.plus_ms(self.hold_ms),
        })
    }

    /// A commit that was begun in the turn of `now` has taken this long.
    pub fn took(&mut self, now: Mono, ms: u64) {
        self.took_ms = ms;
        let rest_ms = ms.saturating_mul(limits::STORE_REST_SHARE);
        self.rest_until = now.plus_ms(ms.saturating_add(rest_ms));
    }

    /// Whether other work, if there is any, goes before the next commit.
    pub fn is_resting(&self, now: Mono) -> bool {
        now < self.rest_until
    }

    /// A commit has begun at `now`: what there is to learn from this wait.
    pub fn committed(&mut self, now: Mono) {
        let (Some(since), joined_at) = (self.since.take(), self.joined_at.take()) else {
            return;
        };
        let was_quiet = since.ms_since(self.last_at) >= limits::STORE_QUIET_MS;
        self.last_at = now;
        if was_quiet {
            return;
        }
        let waited_ms = now.ms_since(since);
        let paid_ms = joined_at.map_or(0, |at| at.ms_since(since));
        self.hold_ms = match joined_at {
            // They came to the very end: a longer wait might pay more.
            Some(_) if 2 * paid_ms >= waited_ms => {
                (2 * self.hold_ms + 1).min(limits::STORE_HOLD_MS)
            }
            Some(_) => {
                // Whoever is a little late would cost a sync of its own.
                let spare_ms = self.took_ms / limits::STORE_SPARE_SHARE;
                (paid_ms + 1 + spare_ms).min(limits::STORE_HOLD_MS)
            }
            None => 0,
        };
        if self.hold_ms < limits::STORE_HOLD_MS {
            match self.until_trial.checked_sub(1) {
                Some(left) => self.until_trial = left,
                None => {
                    self.until_trial = limits::STORE_TRIAL_COMMITS;
                    self.hold_ms = limits::STORE_HOLD_MS;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promises per commit, and milliseconds that the last commits held a promise at most, of
    /// publishers that each say `next` milliseconds after their last promise was made, or kept.
    fn run(next: impl Fn(u64, u64) -> u64, publishers: u64) -> (f64, u64) {
        let mut pace = Pace::default();
        let mut at: Vec<u64> = (0..publishers).map(|index| 1000 + index % 3).collect();
        let (mut waiting, mut commits, mut promises, mut worst) = (Vec::new(), 0, 0, 0);
        for now in 1000..21_000 {
            for (who, due) in at.iter_mut().enumerate() {
                if *due == now {
                    pace.promised(Mono::from_millis(now));
                    waiting.push((who, now));
                    *due = next(now, 0);
                }
            }
            if pace.due_at().is_some_and(|due| due.as_millis() <= now) {
                pace.committed(Mono::from_millis(now));
                for (who, since) in waiting.drain(..) {
                    if now > 11_000 {
                        promises += 1;
                        worst = worst.max(now - since);
                    }
                    at[who] = at[who].min(next(since, now + 1));
                }
                commits += u64::from(now > 11_000);
            }
        }
        (promises as f64 / commits as f64, worst)
    }

    #[test]
    fn other_work_has_as_long_as_the_sync_before() {
        let mut pace = Pace::default();
        let at = |ms| Mono::from_millis(ms);
        assert!(!pace.is_resting(at(0)));
        pace.took(at(1000), 15);
        assert!(pace.is_resting(at(1029)));
        assert!(!pace.is_resting(at(1030)));
        pace.took(at(2000), u64::MAX);
        assert!(pace.is_resting(at(u64::MAX / 2)), "however long it took");
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn ten_a_second_wait_for_nothing() {
        let paced = |since: u64, kept: u64| if kept == 0 { since + 100 } else { NEVER };
        assert_eq!(run(paced, 1), (1.0, 0));
    }

    #[test]
    fn a_hundred_a_second_share_commits() {
        let paced = |since: u64, kept: u64| if kept == 0 { since + 10 } else { NEVER };
        let (each, worst) = run(paced, 1);
        assert!(each >= 2.0, "{each}");
        assert!(worst <= limits::STORE_HOLD_MS);
    }

    #[test]
    fn a_thousand_a_second_share_commits() {
        let paced = |since: u64, kept: u64| if kept == 0 { since + 1 } else { NEVER };
        let (each, worst) = run(paced, 1);
        assert!(each >= 20.0, "{each}");
        assert!(worst <= limits::STORE_HOLD_MS);
    }

    #[test]
    fn who_waits_for_each_answer_alone_is_not_made_to_wait_but_in_trials() {
        let closed = |_: u64, kept: u64| if kept == 0 { NEVER } else { kept };
        let mut pace = Pace::default();
        let (mut now, mut waited) = (1000, 0);
        for _ in 0..10_000 {
            let at = Mono::from_millis(now);
            pace.promised(at);
            let due = pace.due_at().unwrap();
            waited += due.ms_since(at);
            pace.committed(due);
            now = due.as_millis() + 1;
        }
        assert!(waited < 10_000 / 5, "{waited} ms in 10,000 commits");
        let (each, _) = run(closed, 50);
        assert!(each >= 40.0, "{each} of 50 share a commit");
    }
}

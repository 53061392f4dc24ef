//! The one place where the clocks are read, once a turn. Apart because every turn comes by: the wall
//! clock, whose seconds are all that is asked of it, is read once in each of them.

use crate::time::{Mono, Now, Unix};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Milliseconds in a second.
const SECOND_MS: u64 = 1000;

/// Both clocks.
pub struct Clocks {
    /// What the wall clock said when it was read last.
    unix: Unix,
    /// When its next second begins, in milliseconds of the monotonic clock. A wall clock that is
    /// set meanwhile is noticed then.
    unix_until_ms: u64,
}

impl Clocks {
    /// Neither has been read yet.
    pub fn new() -> Self {
        Self {
            unix: Unix(0),
            unix_until_ms: 0,
        }
    }

    /// Both clocks as they are now.
    pub fn read(&mut self) -> Now {
        let mono = mono();
        let now_ms = mono.as_millis();
        if now_ms >= self.unix_until_ms {
            let wall_ms = millis(ClockId::CLOCK_REALTIME);
            self.unix = Unix(wall_ms / SECOND_MS);
            self.unix_until_ms = now_ms + (SECOND_MS - wall_ms % SECOND_MS);
        }
        Now {
            mono,
            unix: self.unix,
        }
    }
}

/// What the clocks say.
pub fn now() -> Now {
    Clocks::new().read()
}

/// The monotonic clock, which began when the machine did. Never 0, which stands for "at once" where a
/// deadline is asked for.
pub fn mono() -> Mono {
    Mono::from_millis(millis(ClockId::CLOCK_MONOTONIC) + 1)
}

/// A clock's whole milliseconds. One set before 1970 counts as at its beginning; both clocks are in
/// every kernel there is.
fn millis(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0));
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    // Below 10^9, and so divided as 32 bits, which small boards do faster.
    let nanos = u32::try_from(time.tv_nsec()).unwrap_or(0);
    seconds * SECOND_MS + u64::from(nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree_with_the_system() {
        let mut clocks = Clocks::new();
        let first = clocks.read();
        assert!(first.mono >= Mono::from_millis(1) && first.mono <= mono());
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(wall.as_secs().abs_diff(first.unix.0) <= 1);
    }

    #[test]
    fn a_second_of_the_wall_clock_is_read_once() {
        let mut clocks = Clocks::new();
        let first = clocks.read();
        // Until its second is over, what was read stands.
        clocks.unix = Unix(7);
        clocks.unix_until_ms = u64::MAX;
        assert_eq!(clocks.read().unix, Unix(7));
        clocks.unix_until_ms = 0;
        assert!(clocks.read().unix >= first.unix);
    }
}

//! Time as values. The core has no clock: the shell reads both clocks once a turn and passes a
//! [`Now`] in, and tests pass whatever they like.

/// Milliseconds on a monotonic clock with an arbitrary start. Deadlines live on this one: wall
/// clocks jump, above all on boards that have none of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `millis` milliseconds after the clock's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant moved `seconds` into the future, stopping at the end of time.
    pub const fn plus_s(self, seconds: u64) -> Self {
        self.plus_ms(seconds.saturating_mul(1000))
    }

    /// This instant moved `millis` into the future, stopping at the end of time.
    pub const fn plus_ms(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this instant; 0 if `earlier` is later.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds since 1970 on the wall clock, for people and for what outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unix(pub u64);

/// One reading of both clocks, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and intervals.
    pub mono: Mono,
    /// For time stamps.
    pub unix: Unix,
}

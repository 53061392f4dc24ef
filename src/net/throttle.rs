//! How often one kind of line may be written: peers that connect and fail a thousand times a second
//! must not fill the disk that the log is on.
//!
//! A kind is the place in the source that a line comes from. Up to
//! [`limits::LOG_LINES_PER_KIND`] lines of it are written within a second, which a whole house that
//! comes back after a power cut stays below; what is beyond that is counted, and told in one line
//! when the second is over. Errors and debugging lines are not held back: peers do not cause the
//! former, and who asks for the latter wants them all.

use crate::bytes::cut_str;
use crate::limits;
use crate::time::Mono;
use log::{Level, Record};

/// What the operator brings about, by a signal or a configuration: never held back.
const OPERATORS: [&str; 4] = [
    "midge",
    "midge::net",
    "midge::net::logger",
    "midge::net::setup",
];

/// One place in the source that lines come from.
#[derive(Debug)]
struct Kind {
    file: Option<&'static str>,
    line: Option<u32>,
    level: Level,
    /// The first line of this second.
    since: Mono,
    /// Lines since, those held back included.
    count: u32,
    held: Option<Held>,
}

/// Lines of one kind that were not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Their level.
    pub level: Level,
    /// How many there were.
    pub count: u32,
    /// What the first of them said.
    pub example: String,
}

/// What has been written lately. There are as many kinds as lines in the source that log, so that
/// they need no bound of their own.
#[derive(Debug, Default)]
pub struct Throttle {
    now: Mono,
    kinds: Vec<Kind>,
}

impl Throttle {
    /// Sets the clock.
    pub fn set_clock(&mut self, now: Mono) {
        self.now = now;
    }

    /// Sets the clock. What was held back in a second that is over is to be told now.
    pub fn advance(&mut self, now: Mono) -> Vec<Held> {
        self.set_clock(now);
        let due = self.kinds.iter_mut().filter(|kind| kind.ends_at() <= now);
        due.filter_map(Kind::end).collect()
    }

    /// What is held back still, to be told before the program ends.
    pub fn end(&mut self) -> Vec<Held> {
        self.kinds.iter_mut().filter_map(Kind::end).collect()
    }

    /// When something is to be told next.
    pub fn next_deadline(&self) -> Option<Mono> {
        let held = self.kinds.iter().filter(|kind| kind.held.is_some());
        held.map(Kind::ends_at).min()
    }

    /// Whether this line may be written; if not, it is counted.
    pub fn admits(&mut self, record: &Record<'_>) -> bool {
        if !matches!(record.level(), Level::Warn | Level::Info)
            || record
                .module_path()
                .is_none_or(|module| OPERATORS.contains(&module))
        {
            return true;
        }
        let (file, line, now) = (record.file_static(), record.line(), self.now);
        let found = self
            .kinds
            .iter_mut()
            .find(|kind| kind.line == line && kind.file == file);
        let Some(kind) = found else {
            self.kinds.push(Kind {
                file,
                line,
                level: record.level(),
                since: now,
                count: 1,
                held: None,
            });
            return true;
        };
        if kind.ends_at() <= now && kind.held.is_none() {
            (kind.since, kind.count) = (now, 0);
        }
        kind.count = kind.count.saturating_add(1);
        if kind.count <= limits::LOG_LINES_PER_KIND {
            return true;
        }
        kind.hold(record);
        false
    }
}

impl Kind {
    fn ends_at(&self) -> Mono {
        self.since.plus_ms(limits::LOG_LINES_INTERVAL_MS)
    }

    fn hold(&mut self, record: &Record<'_>) {
        match &mut self.held {
            Some(held) => held.count = held.count.saturating_add(1),
            held => {
                let text = record.args().to_string();
                *held = Some(Held {
                    level: self.level,
                    count: 1,
                    example: cut_str(&text, limits::LOG_LINE_BYTES_MAX / 2).to_owned(),
                });
            }
        }
    }

    fn end(&mut self) -> Option<Held> {
        self.count = 0;
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = limits::LOG_LINES_PER_KIND;

    fn admits(throttle: &mut Throttle, level: Level, module: &'static str, line: u32) -> bool {
        throttle.admits(
            &Record::builder()
                .level(level)
                .module_path_static(Some(module))
                .file_static(Some("src/broker/connect.rs"))
                .line(Some(line))
                .args(format_args!("line {line}"))
                .build(),
        )
    }

    /// How many of `count` lines are written.
    fn written(throttle: &mut Throttle, line: u32, count: u32) -> u32 {
        let admitted = (0..count).filter(|_| admits(throttle, Level::Info, "midge::broker", line));
        u32::try_from(admitted.count()).unwrap()
    }

    fn at(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    #[test]
    fn what_is_beyond_the_bound_is_told_when_the_second_is_over() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.advance(at(5_000)), []);
        assert_eq!(written(&mut throttle, 7, MAX), MAX);
        assert_eq!(throttle.next_deadline(), None);
        assert_eq!(throttle.advance(at(5_999)), []);
        assert_eq!(written(&mut throttle, 7, 50), 0);
        assert_eq!(throttle.next_deadline(), Some(at(6_000)));
        let told = throttle.advance(at(6_000));
        let held = Held {
            level: Level::Info,
            count: 50,
            example: String::from("line 7"),
        };
        assert_eq!(told, [held]);
        assert_eq!(throttle.next_deadline(), None);
        // The next second has a bound of its own, counted from its first line.
        throttle.advance(at(6_500));
        assert_eq!(written(&mut throttle, 7, MAX + 1), MAX);
        assert_eq!(throttle.next_deadline(), Some(at(7_500)));
        assert_eq!(throttle.end().first().map(|held| held.count), Some(1));
        assert_eq!(throttle.end(), []);
    }

    #[test]
    fn lines_at_an_even_pace_are_all_written() {
        let mut throttle = Throttle::default();
        for second in 0..20 {
            assert_eq!(throttle.advance(at(second * 1000)), []);
            assert_eq!(written(&mut throttle, 7, MAX), MAX);
        }
    }

    #[test]
    fn one_kind_does_not_hide_another() {
        let mut throttle = Throttle::default();
        assert_eq!(written(&mut throttle, 7, 10_000), MAX);
        assert_eq!(written(&mut throttle, 8, 3), 3);
        assert_eq!(throttle.advance(at(1_000)).len(), 1);
    }

    #[test]
    fn errors_debugging_and_the_operators_own_doings_are_never_held_back() {
        let mut throttle = Throttle::default();
        for _ in 0..2 * MAX {
            assert!(admits(&mut throttle, Level::Error, "midge::broker", 1));
            assert!(admits(&mut throttle, Level::Debug, "midge::broker", 2));
            assert!(admits(&mut throttle, Level::Warn, "midge", 3));
            assert!(admits(&mut throttle, Level::Info, "midge::net::setup", 4));
        }
        assert_eq!(throttle.end(), []);
    }
}

//! What a dialogue brings about in the log: each test has a thread of its own, and its lines there.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// From now on the log is kept.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
    LINES.take();
}

/// The lines since the last time, at `info` and above.
pub fn lines() -> Vec<String> {
    LINES.take().into_iter().map(|(_, line)| line).collect()
}

/// Those at `warn` and above.
pub fn warnings() -> Vec<String> {
    let lines = LINES.take().into_iter();
    let warnings = lines.filter(|(level, _)| *level <= Level::Warn);
    warnings.map(|(_, line)| line).collect()
}

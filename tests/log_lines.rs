//! What the log says of connections, and how often.

mod table;
use log::{Level, LevelFilter, Log, Metadata, Record};
use midge::codec::dialect::ProtocolVersion;
use std::cell::RefCell;
use std::sync::Once;
use table::*;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each test, which has a thread of its own, has brought about.
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
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
    LINES.take();
}

/// The lines since the last time, at `info` and above.
fn lines() -> Vec<String> {
    LINES.take().into_iter().map(|(_, line)| line).collect()
}

/// Those at `warn` and above.
fn warnings() -> Vec<String> {
    let lines = LINES.take().into_iter();
    let warnings = lines.filter(|(level, _)| *level <= Level::Warn);
    warnings.map(|(_, line)| line).collect()
}

#[test]
fn connections_above_a_limit_are_said_once_a_minute() {
    listen();
    let mut t = Table::with_listeners(|listener| listener.max_connections = 1);
    t.client(V311, "ann");
    lines();
    for minute in 0..3 {
        for _ in 0..10 {
            let seat = t.opens();
            t.closed(seat);
            t.passes(1);
        }
        let expected = "denied: max_connections exceeded.";
        let said = lines();
        let denied = said.iter().filter(|line| line.ends_with(expected));
        assert_eq!(denied.count(), 1, "minute {minute}: {said:?}");
        t.passes(50);
        lines();
    }
}

/// A client that connects with this name, whoever has it.
fn takes(t: &mut Table, version: ProtocolVersion, name: &str) -> Seat {
    let seat = t.connects(version, connect(name));
    t.passes_ms(100);
    seat
}

#[test]
fn two_clients_that_fight_over_a_name_are_told_apart_once_a_minute() {
    for version in EVERY {
        listen();
        let mut t = Table::new();
        for _ in 0..3 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(warnings(), [""; 0]); // twice may be one client that comes back
        for _ in 0..20 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(
            warnings(),
            [
                "Two clients use the Client Identifier ann, and each one's connection closes the \
              other's: 127.0.0.1:40002 and 127.0.0.1:40003 (3 times within a minute). Give each \
              its own."
            ]
        );
        t.passes(60);
        for _ in 0..5 {
            takes(&mut t, version, "ann");
        }
        assert_eq!(warnings().len(), 1);
        t.passes(60);
        for _ in 0..10 {
            takes(&mut t, version, "ann");
            t.passes(40); // now and then, it is none
        }
        assert_eq!(warnings(), [""; 0]);
    }
}

#[test]
fn what_is_remembered_of_fights_is_bounded() {
    listen();
    let mut t = Table::new();
    for round in 0..4 {
        for name in 0..200 {
            let seat = t.connects(V311, connect(&format!("client {name}")));
            if round == 3 {
                t.drops(seat);
            }
        }
    }
    // Too many at one time to be known again, and none of them is accused wrongly.
    assert_eq!(warnings(), [""; 0]);
    for _ in 0..5 {
        takes(&mut t, V311, "ann");
    }
    assert_eq!(warnings().len(), 1);
}

//! Where log lines go, and how they look (`log_dest`, `log_type`, `log_timestamp…`). `env_logger`
//! formats and writes them; what it writes to can be changed while it runs.

use super::throttle::{Held, Throttle};
use crate::bytes::cut_str;
use crate::config::{Log, LogTypes};
use crate::limits;
use crate::time::Mono;
use chrono::Local;
use env_logger::Target;
use log::{Level, LevelFilter, Record};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// syslog's facility `daemon`.
const DAEMON: u8 = 3;

/// syslog's facility `local0`.
const LOCAL0: u8 = 16;

/// A line for the topics below `$SYS/broker/log`.
#[derive(Debug)]
pub struct TopicLine {
    /// The last level of its topic: `E`, `W`, `N`, `I`, `M/subscribe` or `M/unsubscribe`.
    pub kind: &'static str,
    /// What it says.
    pub text: String,
}

#[derive(Debug)]
struct Outlets {
    settings: Log,
    file: Option<File>,
    syslog: Option<UnixDatagram>,
    lines: VecDeque<TopicLine>,
    throttle: Throttle,
    /// The line being written, for syslog, which takes no time stamp but a priority.
    priority: u8,
}

/// The log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Logger {
    outlets: Arc<Mutex<Outlets>>,
}

impl Logger {
    /// Takes over what the program logs. To be called once.
    ///
    /// # Errors
    /// In words, when a destination cannot be opened.
    pub fn start(settings: Log) -> Result<Self, String> {
        let outlets = Outlets::open(settings)?;
        let logger = Self {
            outlets: Arc::new(Mutex::new(outlets)),
        };
        let formatter = logger.clone();
        let built = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .format(move |out, record| match formatter.lock().line(record) {
                Some(line) => writeln!(out, "{line}"),
                None => Ok(()),
            })
            .target(Target::Pipe(Box::new(logger.clone())))
            .build();
        let max_level = logger.lock().max_level();
        log::set_boxed_logger(Box::new(built)).map_err(|error| error.to_string())?;
        log::set_max_level(max_level);
        Ok(logger)
    }

    /// Changes the settings; all destinations are opened before any is given up.
    ///
    /// # Errors
    /// In words, when a destination cannot be opened; the log goes on as it was.
    pub fn change(&self, settings: Log) -> Result<(), String> {
        let outlets = Outlets::open(settings)?;
        let max_level = outlets.max_level();
        self.lock().take_over(outlets);
        log::set_max_level(max_level);
        Ok(())
    }

    /// Opens the log file again, for it may have been moved away.
    ///
    /// # Errors
    /// In words; the log goes on into the file it had.
    pub fn reopen(&self) -> Result<(), String> {
        let settings = self.lock().settings.clone();
        self.change(settings)
    }

    /// The lines for topics that have come since.
    pub fn take_lines(&self) -> VecDeque<TopicLine> {
        std::mem::take(&mut self.lock().lines)
    }

    /// Sets the clock, and tells in one line each what was held back in a second that is over.
    pub fn advance(&self, now: Mono) {
        let held = self.lock().throttle.advance(now);
        tell(&held);
    }

    /// When [`Logger::advance`] has something to tell next.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.lock().throttle.next_deadline()
    }

    /// Tells what is held back still.
    pub fn end(&self) {
        let held = self.lock().throttle.end();
        tell(&held);
    }

    fn lock(&self) -> MutexGuard<'_, Outlets> {
        // There is one thread; a panic while logging loses at most that line.
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Logger {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lock().write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outlets {
    fn open(settings: Log) -> Result<Self, String> {
        let file = match &settings.destinations.file {
            Some(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                Some(file.map_err(|error| format!("cannot open the log file {path}: {error}"))?)
            }
            None => None,
        };
        let syslog = match settings.destinations.syslog {
            true => {
                let socket = UnixDatagram::unbound().and_then(|socket| {
                    socket.connect("/dev/log")?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                Some(socket.map_err(|error| format!("cannot reach syslog at /dev/log: {error}"))?)
            }
            false => None,
        };
        Ok(Self {
            settings,
            file,
            syslog,
            lines: VecDeque::new(),
            throttle: Throttle::default(),
            priority: 6,
        })
    }

    /// Goes on with what `new` has opened.
    fn take_over(&mut self, new: Self) {
        let lines = std::mem::take(&mut self.lines);
        let throttle = std::mem::take(&mut self.throttle);
        *self = Self {
            lines,
            throttle,
            ..new
        };
    }

    fn max_level(&self) -> LevelFilter {
        let types = self.settings.types;
        let has = |kind| types.has(kind);
        if has(LogTypes::DEBUG) || has(LogTypes::SUBSCRIBE) || has(LogTypes::UNSUBSCRIBE) {
            LevelFilter::Debug
        } else if has(LogTypes::NOTICE) || has(LogTypes::INFORMATION) {
            LevelFilter::Info
        } else if has(LogTypes::WARNING) {
            LevelFilter::Warn
        } else if has(LogTypes::ERROR) {
            LevelFilter::Error
        } else {
            LevelFilter::Off
        }
    }

    /// The line that `record` becomes; `None`: its type is not wanted.
    fn line(&mut self, record: &Record<'_>) -> Option<String> {
        let (wanted, kind, priority) = match (record.target(), record.level()) {
            ("subscribe", _) => (LogTypes::SUBSCRIBE, "M/subscribe", 5),
            ("unsubscribe", _) => (LogTypes::UNSUBSCRIBE, "M/unsubscribe", 5),
            (_, Level::Error) => (LogTypes::ERROR, "E", 3),
            (_, Level::Warn) => (LogTypes::WARNING, "W", 4),
            (_, Level::Info) if self.settings.types.has(LogTypes::NOTICE) => {
                (LogTypes::NOTICE, "N", 5)
            }
            (_, Level::Info) => (LogTypes::INFORMATION, "I", 6),
            (_, Level::Debug | Level::Trace) => (LogTypes::DEBUG, "D", 7),
        };
        if !self.settings.types.has(wanted) {
            return None;
        }
        if !self.throttle.admits(record) {
            return None;
        }
        self.priority = priority;
        let text = record.args().to_string();
        let text = cut_str(&text, limits::LOG_LINE_BYTES_MAX);
        // Debug lines would make more of themselves.
        if self.settings.destinations.topic && kind != "D" {
            if self.lines.len() == limits::LOG_TOPIC_LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(TopicLine {
                kind,
                text: text.to_owned(),
            });
        }
        Some(format!("{}{text}", self.time_stamp()))
    }

    fn time_stamp(&self) -> String {
        match (self.settings.timestamp, &self.settings.timestamp_format) {
            (false, _) => String::new(),
            (true, Some(format)) => format!("{}: ", Local::now().format(format)),
            (true, None) => {
                let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                format!("{}: ", unix.map_or(0, |since| since.as_secs()))
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let destinations = &self.settings.destinations;
        // A log that cannot be written is nothing the broker could tell anybody.
        if destinations.stdout {
            let _ = io::stdout().write_all(line);
        }
        if destinations.stderr {
            let _ = io::stderr().write_all(line);
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line);
        }
        if let Some(syslog) = &self.syslog {
            let facility = self
                .settings
                .facility
                .map_or(DAEMON, |local| LOCAL0 + local);
            let mut message = format!("<{}>midge: ", facility * 8 + self.priority).into_bytes();
            message.extend_from_slice(line.trim_ascii_end());
            let _ = syslog.send(&message);
        }
    }
}

/// One line for each kind of line that was held back.
fn tell(held: &[Held]) {
    for Held {
        level,
        count,
        example,
    } in held
    {
        // As the operator's own, which are never held back.
        match count {
            1 => log::log!(*level, "1 more line within this second was: {example}"),
            _ => log::log!(
                *level,
                "{count} more lines of this kind within a second were left out, the first of \
                 them: {example}"
            ),
        }
    }
}

//! Where log lines go, and how they look (`log_dest`, `log_type`, `log_timestamp…`). `env_logger`
//! formats and writes them; what it writes to can be changed while it runs.

use super::clocks;
use super::disk::Links;
use super::environment::Environment;
use super::syslog::{self, Syslog};
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
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What may be done with a new log file, before the umask: it holds names and addresses of users.
const PRIVATE: u32 = 0o600;

/// The same where the environment has a umask of its own for midge.
const AS_UMASK_SAYS: u32 = 0o666;

/// A line for the topics below `$SYS/broker/log`.
#[derive(Debug)]
pub struct TopicLine {
    /// The last level of its topic: `E`, `W`, `N`, `I`, `M/subscribe` or `M/unsubscribe`.
    pub kind: &'static str,
    /// What it says.
    pub text: String,
}

/// How log files are opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    links: Links,
    mode: u32,
}

#[derive(Debug)]
struct LogFile {
    file: File,
    is_new: bool,
}

#[derive(Debug)]
struct Outlets {
    settings: Log,
    opening: Opening,
    file: Option<LogFile>,
    syslog: Option<Syslog>,
    /// Why nobody hears what is sent to syslog.
    syslog_error: Option<io::Error>,
    lines: VecDeque<TopicLine>,
    throttle: Throttle,
    /// The line being written, for syslog, which takes no time stamp but a priority.
    priority: u8,
}

/// The log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Logger {
    outlets: Arc<Mutex<Outlets>>,
    /// Whether lines are held back: without, no turn has to ask.
    is_holding: Arc<AtomicBool>,
}

impl Logger {
    /// Takes over what the program logs. To be called once.
    ///
    /// # Errors
    /// In words, when a destination cannot be opened.
    pub fn start(settings: Log, environment: &Environment) -> Result<Self, String> {
        let opening = Opening {
            links: environment.links,
            mode: environment.umask.map_or(PRIVATE, |_| AS_UMASK_SAYS),
        };
        let file = opening.open(&settings)?;
        let outlets = Outlets::new(settings, opening, file, Path::new(syslog::SOCKET));
        let logger = Self {
            outlets: Arc::new(Mutex::new(outlets)),
            is_holding: Arc::default(),
        };
        let formatter = logger.clone();
        let built = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .format(move |out, record| match formatter.line(record) {
                Some(line) => writeln!(out, "{line}"),
                None => Ok(()),
            })
            .target(Target::Pipe(Box::new(logger.clone())))
            .build();
        let max_level = logger.lock().max_level();
        log::set_boxed_logger(Box::new(built)).map_err(|error| error.to_string())?;
        log::set_max_level(max_level);
        logger.warn_of_syslog();
        Ok(logger)
    }

    /// Changes the settings. A file that is not another one and cannot be opened again, as root's
    /// cannot by the user midge runs as, stays open as it is.
    ///
    /// # Errors
    /// In words, when another file cannot be opened; the log goes on as it was.
    pub fn change(&self, settings: Log) -> Result<(), String> {
        let opening = self.lock().opening;
        let file = match opening.open(&settings) {
            Err(why) if self.lock().has_file_of(&settings) => {
                log::warn!("Warning: {why}. The log goes on into the file it had.");
                self.lock().file.take()
            }
            opened => opened?,
        };
        let outlets = Outlets::new(settings, opening, file, Path::new(syslog::SOCKET));
        let max_level = outlets.max_level();
        self.lock().take_over(outlets);
        log::set_max_level(max_level);
        self.warn_of_syslog();
        Ok(())
    }

    /// Whoever has started a broker that logs to syslog alone reads standard error.
    fn warn_of_syslog(&self) {
        let error = self.lock().syslog_error.take();
        if let Some(error) = error {
            let warning = format!(
                "Warning: cannot reach syslog at {}: {error}. Lines for it are lost until it is \
                 there.",
                syslog::SOCKET
            );
            log::warn!("{warning}");
            if !self.lock().settings.destinations.stderr {
                eprintln!("{warning}");
            }
        }
    }

    /// Gives a log file that was made by this process to the user it is going to run as.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_file_to(&self, user_id: u32, group_id: u32) -> io::Result<()> {
        match &self.lock().file {
            Some(log) if log.is_new => fchown(&log.file, Some(user_id), Some(group_id)),
            _ => Ok(()),
        }
    }

    /// Opens the log file again, for it may have been moved away.
    ///
    /// # Errors
    /// In words; the log goes on into the file it had.
    pub fn reopen(&self) -> Result<(), String> {
        let mut outlets = self.lock();
        outlets.file = outlets.opening.open(&outlets.settings)?;
        Ok(())
    }

    /// The lines for topics that have come since.
    pub fn take_lines(&self) -> VecDeque<TopicLine> {
        std::mem::take(&mut self.lock().lines)
    }

    /// The line that `record` becomes, if it is to be written now.
    fn line(&self, record: &Record<'_>) -> Option<String> {
        let mut outlets = self.lock();
        outlets.throttle.set_clock(clocks::mono());
        let line = outlets.line(record);
        if line.is_none() && outlets.throttle.next_deadline().is_some() {
            self.is_holding.store(true, Ordering::Relaxed);
        }
        line
    }

    /// Tells in one line each what was held back in a second that is over.
    #[inline]
    pub fn advance(&self, now: Mono) {
        if self.is_holding.load(Ordering::Relaxed) {
            self.tell_held(now);
        }
    }

    #[cold]
    fn tell_held(&self, now: Mono) {
        let mut outlets = self.lock();
        let held = outlets.throttle.advance(now);
        let is_holding = outlets.throttle.next_deadline().is_some();
        drop(outlets);
        self.is_holding.store(is_holding, Ordering::Relaxed);
        tell(&held);
    }

    /// When [`Logger::advance`] has something to tell next.
    #[inline]
    pub fn next_deadline(&self) -> Option<Mono> {
        match self.is_holding.load(Ordering::Relaxed) {
            true => self.held_until(),
            false => None,
        }
    }

    #[cold]
    fn held_until(&self) -> Option<Mono> {
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
    fn new(settings: Log, opening: Opening, file: Option<LogFile>, syslog: &Path) -> Self {
        let facility = settings.facility;
        let mut syslog = settings
            .destinations
            .syslog
            .then(|| Syslog::new(syslog, facility));
        let syslog_error = syslog.as_mut().and_then(|syslog| syslog.connect().err());
        Self {
            settings,
            opening,
            file,
            syslog,
            syslog_error,
            lines: VecDeque::new(),
            throttle: Throttle::default(),
            priority: 6,
        }
    }

    fn has_file_of(&self, settings: &Log) -> bool {
        self.file.is_some() && self.settings.destinations.file == settings.destinations.file
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
        if let Some(log) = &mut self.file {
            let _ = log.file.write_all(line);
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.send(self.priority, line.trim_ascii_end());
        }
    }
}

impl Opening {
    /// The file that `settings` name, if they do.
    fn open(self, settings: &Log) -> Result<Option<LogFile>, String> {
        let Some(path) = &settings.destinations.file else {
            return Ok(None);
        };
        let file = self.open_file(Path::new(path));
        file.map(Some)
            .map_err(|error| format!("cannot open the log file {path}: {error}"))
    }

    fn open_file(self, path: &Path) -> io::Result<LogFile> {
        let mut options = OpenOptions::new();
        options.append(true).mode(self.mode);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (self.links.open(path, options.create(true))?, false)
            }
            opened => (opened?, true),
        };
        Ok(LogFile { file, is_new })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Destinations;
    use log::Level;
    use std::fs;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;
    use std::time::Duration;

    const OPENING: Opening = Opening {
        links: Links::Trusted,
        mode: PRIVATE,
    };

    fn socket(name: &str) -> (PathBuf, UnixDatagram) {
        let name = format!("midge-syslog-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let wait = Some(Duration::from_secs(5));
        socket.set_read_timeout(wait).unwrap();
        (path, socket)
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 2000];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes.get(..count).unwrap().to_vec()).unwrap()
    }

    fn settings(facility: Option<u8>) -> Log {
        Log {
            destinations: Destinations {
                syslog: true,
                ..Destinations::none()
            },
            facility,
            types: LogTypes::ALL,
            timestamp: false,
            timestamp_format: None,
        }
    }

    /// Writes a line as `env_logger` does.
    fn says(outlets: &mut Outlets, level: Level, text: &str) {
        let line = outlets.line(
            &Record::builder()
                .level(level)
                .args(format_args!("{text}"))
                .build(),
        );
        outlets.write(format!("{}\n", line.unwrap()).as_bytes());
    }

    #[test]
    fn syslog_is_told_priority_and_facility() {
        let (path, socket) = socket("facility");
        let pid = std::process::id();
        // Facility times eight and priority (RFC 3164 4.1.1): daemon is 3, local0 to local7 are 16
        // to 23.
        for (facility, code) in [(None, 3), (Some(0), 16), (Some(7), 23)] {
            let mut outlets = Outlets::new(settings(facility), OPENING, None, &path);
            let levels = [
                (Level::Error, 3),
                (Level::Warn, 4),
                (Level::Info, 5),
                (Level::Debug, 7),
            ];
            for (level, priority) in levels {
                says(&mut outlets, level, "tea is ready");
                let code = code * 8 + priority;
                let expected = format!("<{code}>midge[{pid}]: tea is ready");
                assert_eq!(next(&socket), expected);
            }
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_syslog_that_comes_late_or_is_restarted_is_found() {
        let (path, first) = socket("restart");
        drop(first);
        fs::remove_file(&path).unwrap();
        let mut outlets = Outlets::new(settings(None), OPENING, None, &path);
        assert!(outlets.syslog_error.is_some());
        says(&mut outlets, Level::Info, "nobody hears this");
        for text in ["the first one", "the second one"] {
            let _ = fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            says(&mut outlets, Level::Info, text);
            assert!(next(&socket).ends_with(text));
        }
        fs::remove_file(path).unwrap();
    }
}

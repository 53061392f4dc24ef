//! The `midge` command: arguments, start, exit code.

use cap::Cap;
use getopts::Matches;
use midge::check;
use midge::config::{self, Config, LogTypes, options};
use midge::net::environment::Environment;
use midge::net::logger::Logger;
use midge::net::service::{self, PidFile, Rights};
use midge::net::{Acceptors, KeyLogFile, Server, Setup, Source};
use midge::{command, limits, manual, net, passwd, storage};
use std::alloc::System;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

/// The system's allocator, with a count of the bytes in use, which `memory_limit` is held against.
/// It refuses nothing: a failed allocation would end the process.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes of heap in use: one load, where `HEAP.allocated()` makes three, against other threads.
fn heap_in_use() -> usize {
    usize::MAX - HEAP.remaining()
}

/// mosquitto's exit code for an invalid configuration or command line.
const INVALID: u8 = 3;

/// mosquitto's exit code for what the system will not do.
const SYSTEM: u8 = 14;

/// The name of mosquitto's password tool.
const PASSWD_NAME: &str = "mosquitto_passwd";

/// Why the broker does not start, or ended.
struct Failure {
    code: u8,
    lines: Vec<String>,
}

impl Failure {
    fn system(line: String) -> Self {
        Self {
            code: SYSTEM,
            lines: vec![line],
        }
    }

    /// With a last line that says where there is more to learn.
    fn with_advice(mut self, source: &Source) -> Self {
        if let Some(file) = &source.file {
            self.lines
                .push(format!("To have it explained: midge check -c {file}"));
        }
        self
    }
}

fn main() -> ExitCode {
    let called: Vec<OsString> = env::args_os().collect();
    if let Some(arguments) = passwd_arguments(&called) {
        return passwd::run(arguments);
    }
    if let [_, command, rest @ ..] = &*called {
        if command == "check" {
            return check::command::run(rest);
        }
    }
    let arguments = called.into_iter().skip(1).map(OsString::into_string);
    let arguments: Vec<String> = match arguments.collect() {
        Ok(arguments) => arguments,
        Err(argument) => return refuse(&format!("{argument:?} is not text")),
    };
    let matches = match command::options().parse(&arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error.to_string()),
    };
    if matches.opt_present("manual") {
        return print_page(&matches.free);
    }
    if matches.opt_present("h") {
        return say(&command::usage());
    }
    let export = match &matches.free[..] {
        [] => None,
        [word, path] if word == "export" => Some(path.clone()),
        [word, ..] if word == "export" => return refuse("export takes the name of one new file"),
        [argument, ..] => return refuse(&format!("Unknown option '{argument}'")),
    };
    if matches.opt_present("version") {
        return say(&format!("midge version {}\n", env!("CARGO_PKG_VERSION")));
    }
    if matches.opt_present("options") {
        return say(&options::render_table());
    }
    let source = match source(&matches) {
        Ok(source) => source,
        Err(why) => return refuse(&why),
    };
    let done = match export {
        Some(path) => write_export(&source, Path::new(&path)),
        None => obey(&matches, source),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in &failure.lines {
                eprintln!("{line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Writes what is stored to a file that mosquitto reads.
fn write_export(source: &Source, path: &Path) -> Result<(), Failure> {
    let source = Source {
        environment: environment()?,
        ..source.clone()
    };
    let config = read(&source)?.config;
    let failed = |error| Failure::system(format!("Error: nothing was exported: {error}."));
    let done = storage::export(&config, path, net::now()).map_err(failed)?;
    eprintln!("{done}");
    Ok(())
}

/// Tests the configuration or serves, as the command line and the environment say.
fn obey(matches: &Matches, source: Source) -> Result<(), Failure> {
    let source = Source {
        environment: environment()?,
        ..source
    };
    let is_test = matches.opt_present("test-config");
    let mut setup = read(&source).map_err(|failure| match is_test {
        true => failure,
        false => failure.with_advice(&source),
    })?;
    setup
        .warnings
        .extend(service::rights_out_of_reach(&source.environment));
    if is_test {
        test(&setup);
        return Ok(());
    }
    start(setup, source, matches.opt_present("d"))
}

fn environment() -> Result<Environment, Failure> {
    Environment::read(|name| env::var_os(name)).map_err(|errors| Failure {
        code: INVALID,
        lines: errors.iter().map(ToString::to_string).collect(),
    })
}

/// What follows `midge passwd` or `mosquitto_passwd`, by which name that tool is found too.
fn passwd_arguments(called: &[OsString]) -> Option<&[OsString]> {
    match called {
        [name, rest @ ..] if Path::new(name).file_name() == Some(OsStr::new(PASSWD_NAME)) => {
            Some(rest)
        }
        [_, command, rest @ ..] if command == "passwd" => Some(rest),
        _ => None,
    }
}

/// Prints the manual page of that name.
fn print_page(names: &[String]) -> ExitCode {
    let name = match names {
        [] => manual::PAGES.first().map_or("", |page| page.0),
        [name] => name,
        [_, other, ..] => return refuse(&format!("Unknown option '{other}'")),
    };
    match manual::page(name) {
        Some(page) => say(&page),
        None => {
            let pages = manual::PAGES.map(|page| page.0).join(", ");
            refuse(&format!("there is no manual page '{name}', only {pages}"))
        }
    }
}

/// What the configuration is to be read from.
fn source(matches: &Matches) -> Result<Source, String> {
    let parse = |argument: &String| match argument.parse() {
        Ok(0) | Err(_) => Err(format!("Invalid port specified ({argument})")),
        Ok(port) => Ok(port),
    };
    let ports: Vec<u16> = matches
        .opt_strs("p")
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    if ports.len() > limits::COMMAND_LINE_PORTS_MAX {
        return Err(format!(
            "at most {} ports can be given",
            limits::COMMAND_LINE_PORTS_MAX
        ));
    }
    // As with mosquitto, quiet wins.
    let verbosity = match (matches.opt_present("q"), matches.opt_present("v")) {
        (true, _) => Some(LogTypes::NONE),
        (false, true) => Some(LogTypes::ALL),
        (false, false) => None,
    };
    let key_log = match matches.opt_str("tls-keylog") {
        Some(path) => {
            let opened = KeyLogFile::open(Path::new(&path));
            let opened = opened.map_err(|error| format!("Cannot write keys to {path}: {error}"))?;
            Some(Arc::new(opened))
        }
        None => None,
    };
    Ok(Source {
        file: matches.opt_str("c"),
        ports,
        verbosity,
        key_log,
        ..Source::default()
    })
}

fn say(text: &str) -> ExitCode {
    // Whoever closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("Error: {why}.\n\n{}", command::usage());
    ExitCode::from(INVALID)
}

fn read(source: &Source) -> Result<Setup, Failure> {
    let failed = |lines| Failure {
        code: INVALID,
        lines,
    };
    source.read(&Acceptors::default()).map_err(failed)
}

/// Says that the broker would start with this configuration; touches nothing.
fn test(setup: &Setup) {
    for warning in &setup.warnings {
        eprintln!("{warning}");
    }
    eprintln!("Configuration file is OK.");
}

/// Starts, and serves until a signal says stop.
fn start(setup: Setup, source: Source, in_background: bool) -> Result<(), Failure> {
    if in_background {
        nix::unistd::daemon(true, false)
            .map_err(|error| Failure::system(format!("Error: cannot become a daemon: {error}")))?;
    }
    service::set_umask(&source.environment);
    let failed = |line: String| Failure::system(format!("Error: {line}"));
    let log = setup.config.log.clone();
    let is_seen = log.destinations.stderr || log.destinations.stdout;
    let logger = Logger::start(log, &source.environment).map_err(failed)?;
    log::info!("midge version {} starting", env!("CARGO_PKG_VERSION"));
    match &source.file {
        Some(path) => log::info!("Config loaded from {path}."),
        None => log::info!("Using default config."),
    }
    for warning in &setup.warnings {
        log::warn!("{warning}");
    }
    let ended = serve(setup, source, logger);
    if let Err(why) = &ended {
        log::error!("{why}");
    }
    // Whoever waits for the start looks here first, as `systemctl status` does, and not into a file.
    ended.map_err(|why| Failure {
        code: SYSTEM,
        lines: match is_seen {
            true => Vec::new(),
            false => vec![why],
        },
    })
}

fn serve(setup: Setup, source: Source, logger: Logger) -> Result<(), String> {
    let config = Rc::new(setup.config);
    let _pid_file = match &config.pid_file {
        Some(path) => Some(
            PidFile::write(Path::new(path), source.environment.links)
                .map_err(|error| format!("Error: Unable to write pid file {path}: {error}."))?,
        ),
        None => None,
    };
    let mut server =
        Server::with_lists(Rc::clone(&config), &setup.lists).map_err(|error| error.to_string())?;
    server.measure(heap_in_use);
    server.secure(setup.acceptors);
    server.inherit();
    let rights = Rights::choose(config.user.as_deref(), &source.environment)?;
    server.give_sockets(&rights, &source.environment);
    server.open_listeners().map_err(|error| error.to_string())?;
    drop_rights(rights, &logger)?;
    server
        .open_store()
        .map_err(|error| format!("Error: {error}."))?;
    if config.local_only {
        explain_local_only(&config);
    }
    log::info!("midge version {} running", env!("CARGO_PKG_VERSION"));
    server.remember(source, logger);
    server.run().map_err(|error| error.to_string())?;
    log::info!("midge version {} terminating", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// Gives root's rights up, and the log file that was made with them away.
fn drop_rights(rights: Rights, logger: &Logger) -> Result<(), String> {
    let account = match rights {
        Rights::Kept => return Ok(()),
        Rights::Root => {
            log::warn!("Running as root, as was asked for.");
            return Ok(());
        }
        Rights::Dropped(account) => account,
    };
    if let Err(error) = logger.give_file_to(account.user_id, account.group_id) {
        log::warn!(
            "Warning: the log file cannot be given to user {}: {error}.",
            account.name
        );
    }
    account.assume()?;
    log::info!("Running as user {}.", account.name);
    if let Err(why) = logger.reopen() {
        log::warn!(
            "Warning: {why}. It must belong to user {} to be opened again once it is moved away.",
            account.name
        );
    }
    Ok(())
}

fn explain_local_only(config: &Config) {
    log::info!(
        "Starting in local only mode. Connections will only be possible from clients running on \
         this machine; they need no username."
    );
    log::info!("To open the broker to the network, put these two lines into a configuration file:");
    let port = config
        .listeners
        .first()
        .map_or(config::DEFAULT_PORT, |listener| listener.port);
    log::info!("    listener {port}");
    log::info!("    allow_anonymous true");
}

//! The `midge` command: arguments, logger, exit code.

use getopts::Options;
use log::LevelFilter;
use midge::bytes::cut_str;
use midge::config::{Config, Listener, Security};
use midge::limits;
use midge::net::Server;
use midge::passwd;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::SystemTime;

/// mosquitto's exit code for invalid arguments.
const INVALID: u8 = 3;

/// mosquitto's exit code for what the system will not do.
const SYSTEM: u8 = 14;

/// The name of mosquitto's password tool.
const PASSWD_NAME: &str = "mosquitto_passwd";

/// The port of MQTT without TLS [MQTT5 §4.2].
const DEFAULT_PORT: u16 = 1883;

fn main() -> ExitCode {
    let called: Vec<OsString> = env::args_os().collect();
    if let Some(arguments) = passwd_arguments(&called) {
        return passwd::run(arguments);
    }
    let arguments: Vec<String> = match called
        .into_iter()
        .skip(1)
        .map(|a| a.into_string())
        .collect()
    {
        Ok(arguments) => arguments,
        Err(argument) => return refuse(&format!("{argument:?} is not text")),
    };
    let options = options();
    let matches = match options.parse(&arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error.to_string()),
    };
    if let Some(argument) = matches.free.first() {
        return refuse(&format!("Unknown option '{argument}'"));
    }
    if matches.opt_present("h") {
        return say(&usage(&options));
    }
    if matches.opt_present("version") {
        return say(&format!("midge version {}\n", env!("CARGO_PKG_VERSION")));
    }
    let ports = match ports(&matches.opt_strs("p")) {
        Ok(ports) => ports,
        Err(argument) => return refuse(&format!("Invalid port specified ({argument})")),
    };
    start_log(matches.opt_present("v"));
    match serve(&ports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(SYSTEM)
        }
    }
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

fn options() -> Options {
    let mut options = Options::new();
    options.optmulti(
        "p",
        "port",
        "listen on PORT, on this machine only (may be repeated)",
        "PORT",
    );
    options.optflag("v", "verbose", "log every packet");
    options.optflag("h", "help", "show this");
    options.optflag("", "version", "show the version");
    options
}

fn usage(options: &Options) -> String {
    let brief = format!(
        "midge version {}\n\nmidge is an MQTT broker for small boards (MQTT 3.1, 3.1.1 and 5.0).\n\n\
         Usage: midge [-p PORT]... [-v]",
        env!("CARGO_PKG_VERSION")
    );
    options.usage(&brief)
}

/// The ports asked for, or the usual one.
fn ports(arguments: &[String]) -> Result<Vec<u16>, String> {
    if arguments.is_empty() {
        return Ok(vec![DEFAULT_PORT]);
    }
    let parse = |argument: &String| match argument.parse() {
        Ok(0) | Err(_) => Err(argument.clone()),
        Ok(port) => Ok(port),
    };
    arguments.iter().map(parse).collect()
}

fn say(text: &str) -> ExitCode {
    // Whoever closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("Error: {why}.\n\n{}", usage(&options()));
    ExitCode::from(INVALID)
}

/// Lines as mosquitto writes them: Unix seconds, a colon, the text, cut where a peer's own words
/// (a Client Identifier, a topic) make it too long.
fn start_log(verbose: bool) {
    let level = if verbose {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| {
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let line = record.args().to_string();
            let line = cut_str(&line, limits::LOG_LINE_BYTES_MAX);
            writeln!(out, "{}: {line}", unix.map_or(0, |since| since.as_secs()))
        })
        .init();
}

/// Listens on this machine's own addresses, as mosquitto without a configuration file does, until
/// a signal says stop.
fn serve(ports: &[u16]) -> io::Result<()> {
    log::info!("midge version {} starting", env!("CARGO_PKG_VERSION"));
    log::info!("Using default config: clients need no username.");
    let security = Security {
        allow_anonymous: true,
        ..Security::default()
    };
    let config = Config {
        listeners: Listener::local(ports, &security),
        ..Config::default()
    };
    let mut server = Server::new(Rc::new(config))?;
    for port in ports {
        listen(&mut server, *port)?;
    }
    log::info!(
        "Starting in local only mode. Connections will only be possible from clients running on \
         this machine."
    );
    log::info!(
        "To open the broker to the network, create a configuration file with these two lines:"
    );
    log::info!("    listener {}", ports.first().unwrap_or(&DEFAULT_PORT));
    log::info!("    allow_anonymous true");
    log::info!("midge version {} running", env!("CARGO_PKG_VERSION"));
    server.run()?;
    log::info!("midge version {} terminating", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// Listens on 127.0.0.1 and ::1. A machine without IPv6 is served without it.
fn listen(server: &mut Server, port: u16) -> io::Result<()> {
    log::info!("Opening ipv4 listen socket on port {port}.");
    let ipv4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    server.listen(ipv4).map_err(|error| explain(ipv4, &error))?;
    log::info!("Opening ipv6 listen socket on port {port}.");
    let ipv6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    match server.listen(ipv6) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(explain(ipv6, &error)),
        Err(error) => {
            log::warn!("No IPv6 here ({error}): clients that resolve localhost to ::1 will fail.");
            Ok(())
        }
    }
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "Port {} on {} is in use by another program; is mosquitto or another midge running?",
            address.port(),
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("Not permitted to listen on port {}.", address.port())
        }
        _ => format!("Cannot listen on {address}: {error}."),
    };
    io::Error::new(error.kind(), why)
}

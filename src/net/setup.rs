//! The shell and its configuration: reading it, opening what it asks for, and putting another one
//! in force while the broker runs, as a whole or not at all.

use super::disk::{Disk, NamedFiles};
use super::environment::Environment;
use super::listener::Listener;
use super::security::Acceptors;
use super::tls::KeyLogFile;
use super::{LISTENERS, Server};
use crate::config::{self, Bind, Config, Input, SocketDomain};
use crate::policy::Lists;
use crate::time::Now;
use mio::Token;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The main file.
    pub file: Option<String>,
    /// The ports of the command line.
    pub ports: Vec<u16>,
    /// Whether the command line asks for every line of the log, or for none.
    pub verbosity: Option<config::LogTypes>,
    /// What the environment asks for.
    pub environment: Environment,
    /// Where the keys of TLS connections go, if the command line asks for that.
    pub key_log: Option<Arc<KeyLogFile>>,
}

impl Source {
    /// Reads the configuration, and the files with users, rights and certificates that it names.
    /// `before` are the certificates in force, if any.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub fn read(&self, before: &Acceptors) -> Result<Setup, Vec<String>> {
        let input = Input {
            file: self.file.as_deref(),
            ports: &self.ports,
        };
        let words = |errors: Vec<config::ConfigError>| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (mut config, warnings) = config::load(&input, &Disk).map_err(words)?;
        if let Some(types) = self.verbosity {
            config.log.types = types;
        }
        if let Some(location) = &self.environment.persistence_location {
            config.persistence.location = Some(location.clone());
        }
        let (lists, odd) = Lists::read(&config, &self.named_files())?;
        let warnings = warnings.iter().map(ToString::to_string).chain(odd);
        let mut warnings = warnings.collect();
        let key_log = self.key_log.as_ref();
        let acceptors = Acceptors::read(&config.listeners, before, key_log, &mut warnings)?;
        Ok(Setup {
            config,
            lists,
            acceptors,
            warnings,
        })
    }

    /// The files that a configuration names.
    fn named_files(&self) -> NamedFiles {
        NamedFiles {
            links: self.environment.links,
        }
    }
}

/// All that was read.
pub struct Setup {
    /// The settings.
    pub config: Config,
    /// Users and rights.
    pub lists: Lists,
    /// Certificates and keys.
    pub acceptors: Acceptors,
    /// What is worth knowing about them, a line each.
    pub warnings: Vec<String>,
}

/// Why a listener cannot be opened.
#[derive(Debug)]
pub struct ListenError {
    what: String,
    error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "{what} is in use by another program; is mosquitto or another midge running?"
            ),
            io::ErrorKind::PermissionDenied => write!(f, "Not permitted to listen on {what}."),
            _ => write!(f, "Cannot listen on {what}: {error}."),
        }
    }
}

impl std::error::Error for ListenError {}

impl Server {
    /// Opens every listener of the configuration.
    ///
    /// # Errors
    /// The first that cannot be opened.
    pub fn open_listeners(&mut self) -> Result<(), ListenError> {
        let config = Rc::clone(&self.config);
        for (index, listener) in config.listeners.iter().enumerate() {
            self.open_listener(index, listener, config.local_only)?;
        }
        for socket in self.inheritance.rest() {
            log::warn!(
                "systemd has opened {socket}, which no listener of the configuration is at; nobody \
                 is served there."
            );
        }
        Ok(())
    }

    /// Puts certificates and keys, and all else that the listeners ask for before MQTT, in force for
    /// new connections.
    pub fn secure(&mut self, acceptors: Acceptors) {
        self.security.put(&self.config.listeners, acceptors);
        self.broker
            .certified(self.security.ends(&self.config.listeners));
    }

    /// Reads the files of TLS again if they have changed, and looks after the certificates' ends.
    pub(super) fn watch_files(&mut self, now: Now) {
        if self.security.next_look_at().is_none_or(|at| now.mono < at) {
            return;
        }
        let config = Rc::clone(&self.config);
        if self.security.have_files_changed(now.mono) {
            log::info!("Reloading certificates: their files have changed.");
            let mut warnings = Vec::new();
            let key_log = self.source.key_log.as_ref();
            let before = self.security.acceptors();
            let owners = before.owners(&config.listeners);
            match Acceptors::read(&owners, before, key_log, &mut warnings) {
                Ok(acceptors) => self.secure(acceptors),
                Err(why) => {
                    for line in why {
                        log::error!("Error: {line}");
                    }
                    log::error!("The certificates in force stay.");
                }
            }
            for warning in warnings {
                log::warn!("{warning}");
            }
        }
        self.security.warn_of_ends(&config.listeners, now);
    }

    /// Opens the sockets of one listener. IPv6 may be missing on a machine where nobody asked for
    /// it by name.
    fn open_listener(
        &mut self,
        index: usize,
        listener: &config::Listener,
        is_local_only: bool,
    ) -> Result<(), ListenError> {
        let failed = |what: String| move |error| ListenError { what, error };
        let inherited = self.inheritance.take_for(listener);
        if !inherited.is_empty() {
            for socket in inherited {
                log::info!("Listening on {socket}, which systemd has opened.");
                let token = Token(LISTENERS - self.listeners.len());
                let adopted = Listener::adopt(index, socket, self.poll.registry(), token);
                let adopted = adopted.map_err(failed(listener.name()))?;
                self.listeners.push(Some(adopted));
            }
            return Ok(());
        }
        if let Bind::Unix(path) = &listener.bind {
            log::info!("Opening unix listen socket on path {path}.");
            let token = Token(LISTENERS - self.listeners.len());
            let file = Path::new(path);
            let registry = self.poll.registry();
            let opened = Listener::open_unix(index, file, self.socket_access, registry, token);
            self.listeners
                .push(Some(opened.map_err(failed(path.clone()))?));
            return Ok(());
        }
        let addresses = addresses(listener).map_err(failed(listener.name()))?;
        let mut is_open = false;
        for address in addresses {
            let family = if address.is_ipv6() { "ipv6" } else { "ipv4" };
            log::info!("Opening {family} listen socket on port {}.", address.port());
            let interface = listener.bind_interface.as_deref();
            let token = Token(LISTENERS - self.listeners.len());
            match Listener::open(index, address, interface, self.poll.registry(), token) {
                Ok(listener) => {
                    self.listeners.push(Some(listener));
                    is_open = true;
                }
                Err(error)
                    if address.is_ipv6()
                        && (is_local_only || is_open)
                        && error.kind() != io::ErrorKind::AddrInUse =>
                {
                    log::warn!("No IPv6 here ({error}): clients that connect over it will fail.");
                }
                Err(error) => {
                    let what = format!("Port {} on {}", address.port(), address.ip());
                    return Err(failed(what)(error));
                }
            }
        }
        Ok(())
    }

    /// Reads the configuration again and puts it in force, as a whole or not at all.
    pub(super) fn reload(&mut self, now: Now) {
        self.manager.reloading();
        log::info!("Reloading config.");
        if let Err(why) = self.try_reload(now) {
            for line in why {
                log::error!("{line}");
            }
            log::error!("The running configuration stays in force.");
        }
        self.manager.ready();
    }

    fn try_reload(&mut self, now: Now) -> Result<(), Vec<String>> {
        let Setup {
            config: new,
            lists,
            acceptors,
            warnings,
        } = self.source.read(self.security.acceptors())?;
        let differences = self.loaded.differences(&new);
        let wanted: Vec<String> = new.listeners.iter().map(config::Listener::name).collect();
        let placed = keep_places(&self.config, new.clone());
        let is_gone = |open: &Listener| {
            let listener = placed.listeners.get(open.index);
            listener.is_some_and(|listener| !wanted.contains(&listener.name()))
        };
        let before = self.listeners.len();
        if let Err(why) = self.open_new(&placed, &wanted, is_gone) {
            self.listeners.truncate(before);
            for open in self.listeners.iter().flatten().filter(|open| is_gone(open)) {
                open.come_back();
            }
            return Err(vec![format!("Error: {why}")]);
        }
        // The sockets of listeners that are gone are closed; connections they made stay.
        for place in &mut self.listeners {
            if place.as_ref().is_some_and(is_gone) {
                *place = None;
            }
        }
        for warning in warnings {
            log::warn!("{warning}");
        }
        for difference in &differences {
            log::info!("{difference}");
        }
        self.loaded = new;
        self.config = Rc::new(placed);
        self.secure(acceptors);
        // Those who came by a listener that is gone are held to the rules it had, if they are there.
        let lists =
            Lists::read(&self.config, &self.source.named_files()).map_or(lists, |(lists, _)| lists);
        self.broker
            .reconfigure(Rc::clone(&self.config), &lists, now);
        Ok(())
    }

    /// Opens what a reload needs: the listeners of `placed` that are wanted and not there, for which
    /// those that are gone step aside, and the log.
    fn open_new(
        &mut self,
        placed: &Config,
        wanted: &[String],
        is_gone: impl Fn(&Listener) -> bool,
    ) -> Result<(), String> {
        for (index, listener) in placed.listeners.iter().enumerate() {
            let mut open = self.listeners.iter().flatten();
            if open.any(|open| open.index == index) || !wanted.contains(&listener.name()) {
                continue;
            }
            let open = self.listeners.iter().flatten();
            for open in open.filter(|open| open.port() == listener.port && is_gone(open)) {
                open.step_aside();
            }
            self.open_listener(index, listener, placed.local_only)
                .map_err(|error| error.to_string())?;
        }
        match &self.logger {
            Some(logger) => logger.change(placed.log.clone()),
            None => Ok(()),
        }
    }
}

/// The addresses a listener is bound to.
///
/// # Errors
/// What the resolver says, or that it found none of the wanted family.
pub fn addresses(listener: &config::Listener) -> io::Result<Vec<SocketAddr>> {
    let port = listener.port;
    let mut found: Vec<SocketAddr> = match &listener.bind {
        Bind::Unix(_) => Vec::new(),
        Bind::Any => vec![
            (Ipv4Addr::UNSPECIFIED, port).into(),
            (Ipv6Addr::UNSPECIFIED, port).into(),
        ],
        Bind::Address(host) => (host.as_str(), port).to_socket_addrs()?.collect(),
    };
    found.retain(|address| match listener.socket_domain {
        None => true,
        Some(SocketDomain::Ipv4) => address.is_ipv4(),
        Some(SocketDomain::Ipv6) => address.is_ipv6(),
    });
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        let why = "the host has no address of that family";
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    Ok(found)
}

/// `new` with its listeners in the places that those of the same name have in `old`: connections
/// know theirs by its place. One that is gone keeps its place too.
fn keep_places(old: &Config, mut new: Config) -> Config {
    let mut wanted = std::mem::take(&mut new.listeners);
    for listener in &old.listeners {
        let same = wanted
            .iter()
            .position(|other| other.name() == listener.name());
        new.listeners.push(match same {
            Some(position) => wanted.remove(position),
            None => listener.clone(),
        });
    }
    new.listeners.append(&mut wanted);
    new
}

/// 128 bits nobody can guess: the standard library's own keys against hash collisions come from
/// the kernel.
pub(super) fn seed() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

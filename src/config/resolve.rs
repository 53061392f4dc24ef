//! The end of reading: what only the whole shows. Who listens, with whose security settings; which
//! plugins are built in; whether each bridge has what it needs.

use super::draft::{Draft, ListenerDraft, Owner, PluginDraft, SecurityDraft};
use super::listener::{Listener, Protocol, Security};
use super::parse::Place;
use super::problem::{Caution, ConfigError, Problem, Warning};
use super::reading::Begun;
use super::value::Invalid;
use super::{Bridge, Config, DEFAULT_PORT, Destinations, Log, SyncMode};
use std::collections::HashSet;

const NO_WEBSOCKETS: Problem = Problem::Refused {
    name: "protocol",
    why: "this midge was built without WebSockets, so that clients would find nobody there",
};

/// Seconds between two syncs at most, as with `midge_persistence_sync interval`.
const FLUSH_PERIOD_MAX_S: u32 = 3600;

/// What a plugin is to midge.
enum Known {
    /// mosquitto's password file, as a plugin.
    PasswordFile,
    /// mosquitto's access rules, as a plugin.
    AclFile,
    /// mosquitto's SQLite store: midge's own takes its place.
    Store,
    /// Something that can be missing, with words for what is not in effect.
    Dispensable(&'static str),
    /// Something that cannot, with the reason.
    Needed(&'static str),
}

/// Where warnings and errors go.
struct Findings<'a> {
    warnings: &'a mut Vec<Warning>,
    errors: &'a mut Vec<ConfigError>,
}

impl Draft {
    /// The configuration as a whole, and all listeners there were to be. It is in force only if no
    /// error was added.
    pub(super) fn resolve(
        mut self,
        ports: &[u16],
        warnings: &mut Vec<Warning>,
        errors: &mut Vec<ConfigError>,
    ) -> (Config, Vec<Begun>) {
        let mut findings = Findings { warnings, errors };
        self.log_defaults();
        for plugin in &self.plugins {
            check_plugin(plugin, &mut findings);
        }
        self.keep_as_plugins_say(&mut findings);
        self.config.local_only = self.listeners.is_empty() && !self.default_is_asked;
        let drafts = self.listener_drafts(ports, &mut findings);
        check_places(&drafts, &mut findings);
        for (owner, draft) in &drafts {
            self.check_tls(*owner, draft, &mut findings);
        }
        let base = self.base_security();
        self.config.allow_anonymous = base.allow_anonymous;
        self.config.allow_zero_length_clientid = base.allow_zero_length_clientid;
        self.config.auto_id_prefix = base.auto_id_prefix;
        let mut begun = Vec::new();
        for (owner, draft) in drafts {
            let security = self.security_of(&draft, &mut findings);
            let mut listener = draft.listener;
            listener.security = security;
            let (name, before) = (listener.name(), self.config.listeners.len());
            let place = self.place(owner, "protocol").unwrap_or(&draft.place);
            match listener.spoken() {
                Protocol::HttpApi => {
                    findings.warn(place, Caution::ListenerNotOpened(listener.name()));
                }
                Protocol::Websockets | Protocol::Auto if !cfg!(feature = "websockets") => {
                    findings.error(place, NO_WEBSOCKETS);
                }
                Protocol::Mqtt | Protocol::Websockets | Protocol::Auto => {
                    self.config.listeners.push(listener);
                }
            }
            let is_opened = self.config.listeners.len() > before;
            begun.push(Begun {
                of: owner.of(),
                place: draft.place,
                name,
                index: is_opened.then_some(before),
            });
        }
        self.check_bridges(&mut findings);
        let bridges = self.bridges.into_iter().map(|(bridge, _)| bridge);
        self.config.bridges = bridges.collect();
        (self.config, begun)
    }

    /// Brings back what holds where no line says where to log, or what.
    fn log_defaults(&mut self) {
        let defaults = Log::default();
        if self.place(Owner::Broker, "log_dest").is_none() {
            self.config.log.destinations = Destinations::default();
        }
        if self.place(Owner::Broker, "log_type").is_none() {
            self.config.log.types = defaults.types;
        }
    }

    /// All listeners that are to be: those begun, the default one if asked for, or the local ones
    /// if there are none.
    fn listener_drafts(
        &mut self,
        ports: &[u16],
        findings: &mut Findings<'_>,
    ) -> Vec<(Owner, ListenerDraft)> {
        let begun = std::mem::take(&mut self.listeners).into_iter();
        let owners = (0..).map(Owner::Listener);
        let mut drafts: Vec<_> = owners.zip(begun).collect();
        let default = &self.default_listener;
        if self.config.local_only {
            let ports = if ports.is_empty() {
                &[DEFAULT_PORT]
            } else {
                ports
            };
            for local in Listener::local(ports, &Security::default()) {
                let mut draft = default.clone();
                let wanted = draft.listener.socket_domain;
                if wanted.is_some_and(|wanted| local.bind.socket_domain() != Some(wanted)) {
                    continue;
                }
                draft.listener.bind = local.bind;
                draft.listener.port = local.port;
                drafts.push((Owner::DefaultListener, draft));
            }
        } else if self.default_is_asked {
            let mut draft = default.clone();
            let places = ["port", "bind_address"];
            let place = places.map(|name| self.place(Owner::Broker, name));
            if let Some(place) = place.into_iter().flatten().next() {
                draft.place = place.clone();
            }
            drafts.push((Owner::DefaultListener, draft));
        } else {
            // Choice: mosquitto 2.0 opens port 1883 on all addresses because of such a line, which
            // nobody who wrote it had in mind.
            for (name, place) in &self.for_default {
                findings.warn(place, Caution::OutsideListener(name));
            }
            for plugin in &default.plugins {
                if let Some(plugin) = self.plugins.get(*plugin) {
                    findings.warn(&plugin.place, Caution::OutsideListener("plugin"));
                }
            }
        }
        drafts
    }

    /// Has the state kept as the options of mosquitto's SQLite plugin say, which has no lines but
    /// those; an explicit `midge_persistence_sync` says more exactly when.
    fn keep_as_plugins_say(&mut self, findings: &mut Findings<'_>) {
        let is_explicit = self
            .place(Owner::Broker, "midge_persistence_sync")
            .is_some();
        for plugin in &self.plugins {
            if !matches!(known(&plugin.path), Known::Store) {
                continue;
            }
            let mut given = StoreOptions::default();
            for (key, value, place) in &plugin.options {
                match given.take(key, value) {
                    Ok(true) => {}
                    Ok(false) => findings.warn(place, Caution::PluginOption { key: key.clone() }),
                    Err(invalid) => {
                        let name = format!("plugin_opt_{key}");
                        let first = None;
                        let problem = Problem::Value {
                            name,
                            invalid,
                            first,
                        };
                        findings.error(place, problem);
                    }
                }
            }
            let persistence = &mut self.config.persistence;
            persistence.enabled = true;
            persistence.is_by_plugin = true;
            persistence.database = given.database.take();
            if !is_explicit {
                persistence.sync = given.mode();
            }
        }
    }

    /// What a listener has that says nothing else.
    fn base_security(&self) -> Security {
        let anonymous = self.config.local_only;
        if self.config.per_listener_settings {
            return self.default_listener.security.resolve(anonymous);
        }
        self.security.resolve(anonymous)
    }

    fn security_of(&self, draft: &ListenerDraft, findings: &mut Findings<'_>) -> Security {
        let mut security = match self.config.per_listener_settings {
            true => draft.security.clone(),
            false => self.security.clone(),
        };
        let plugins = self.global_plugins.iter().chain(&draft.plugins);
        for plugin in plugins.filter_map(|at| self.plugins.get(*at)) {
            apply_plugin(plugin, &mut security, findings);
        }
        let own = &draft.overrides;
        security.allow_anonymous = own.allow_anonymous.or(security.allow_anonymous);
        security.auto_id_prefix = own.auto_id_prefix.clone().or(security.auto_id_prefix);
        security.resolve(self.config.local_only)
    }

    /// Options of TLS that need or exclude each other.
    fn check_tls(&self, owner: Owner, draft: &ListenerDraft, findings: &mut Findings<'_>) {
        let tls = &draft.listener.tls;
        let pairs = Pairs {
            certfile: ("certfile", tls.certfile.is_some()),
            keyfile: ("keyfile", tls.keyfile.is_some()),
            psk: ("psk_hint", tls.psk_hint.is_some()),
        };
        let place = |name| self.place(owner, name).unwrap_or(&draft.place).clone();
        pairs.check(place, findings);
        let authorities = [("cafile", &tls.cafile), ("capath", &tls.capath)];
        for (name, _) in authorities.iter().filter(|(_, path)| path.is_some()) {
            if tls.certfile.is_none() {
                let missing = "certfile";
                findings.error(&place(name), Problem::Lonely { name, missing });
            }
        }
        self.check_certificates(owner, draft, findings);
    }

    /// Options about the certificates of clients, which somebody must ask for.
    fn check_certificates(&self, owner: Owner, draft: &ListenerDraft, findings: &mut Findings<'_>) {
        let tls = &draft.listener.tls;
        let place = |name| self.place(owner, name).unwrap_or(&draft.place).clone();
        let is_proxied = draft.listener.enable_proxy_protocol == 2;
        let has_authorities = tls.cafile.is_some() || tls.capath.is_some();
        if tls.require_certificate && tls.certfile.is_some() && !has_authorities {
            let (name, missing) = ("require_certificate", "cafile or capath");
            findings.error(&place(name), Problem::Lonely { name, missing });
        }
        let name = match tls.use_subject_as_username {
            true => "use_subject_as_username",
            false => "use_identity_as_username",
        };
        let is_asked = tls.require_certificate && tls.certfile.is_some();
        if tls.names_clients() && !is_asked && !is_proxied {
            findings.warn(&place(name), Caution::NobodyIsNamed(name));
        }
        // All that a proxy tells of a certificate is its common name.
        if tls.use_subject_as_username && is_proxied && tls.certfile.is_none() {
            let missing = "certfile";
            findings.error(&place(name), Problem::Lonely { name, missing });
        }
    }

    fn check_bridges(&self, findings: &mut Findings<'_>) {
        let mut local_ids = HashSet::new();
        for (at, (bridge, place)) in self.bridges.iter().enumerate() {
            let name = || bridge.name.clone();
            if bridge.addresses.is_empty() {
                findings.error(place, Problem::BridgeWithoutAddress(name()));
            }
            if bridge.topics.is_empty() {
                findings.error(place, Problem::BridgeWithoutTopic(name()));
            }
            let id = local_clientid(bridge);
            if id.as_ref().is_some_and(|id| !local_ids.insert(id.clone())) {
                let id = id.unwrap_or_default();
                findings.error(place, Problem::LocalClientidTwice(id));
            }
            self.check_bridge_tls(Owner::Bridge(at), bridge, place, findings);
            findings.warn(place, Caution::BridgeNotMade(name()));
        }
    }

    fn check_bridge_tls(
        &self,
        owner: Owner,
        bridge: &Bridge,
        begun: &Place,
        findings: &mut Findings<'_>,
    ) {
        let tls = &bridge.tls;
        let place = |name| self.place(owner, name).unwrap_or(begun).clone();
        let authorities = tls.cafile.is_some() || tls.capath.is_some();
        let pairs = Pairs {
            certfile: ("bridge_certfile", tls.certfile.is_some()),
            keyfile: ("bridge_keyfile", tls.keyfile.is_some()),
            psk: ("bridge_psk", tls.psk.is_some()),
        };
        pairs.check(place, findings);
        match (tls.identity.is_some(), tls.psk.is_some()) {
            (true, false) => {
                let (name, missing) = ("bridge_identity", "bridge_psk");
                findings.error(&place(name), Problem::Lonely { name, missing });
            }
            (false, true) => {
                let (name, missing) = ("bridge_psk", "bridge_identity");
                findings.error(&place(name), Problem::Lonely { name, missing });
            }
            (true, true) if authorities => {
                findings.error(&place("bridge_psk"), Problem::CertificateAndPsk);
            }
            _ => {}
        }
    }
}

/// The three ways to say who one is, and whether each was used.
struct Pairs {
    certfile: (&'static str, bool),
    keyfile: (&'static str, bool),
    psk: (&'static str, bool),
}

impl Pairs {
    fn check(&self, place: impl Fn(&'static str) -> Place, findings: &mut Findings<'_>) {
        let (certfile, keyfile) = (self.certfile, self.keyfile);
        for (given, missing) in [(certfile, keyfile), (keyfile, certfile)] {
            if given.1 && !missing.1 {
                let (name, missing) = (given.0, missing.0);
                findings.error(&place(name), Problem::Lonely { name, missing });
            }
        }
        if self.psk.1 && (certfile.1 || keyfile.1) {
            findings.error(&place(self.psk.0), Problem::CertificateAndPsk);
        }
    }
}

/// The Client Identifier of a bridge here. `None`: it is made of the section's name, and as unique
/// as that.
fn local_clientid(bridge: &Bridge) -> Option<String> {
    let from_remote = |remote: &String| format!("local.{remote}");
    let local = bridge.local_clientid.clone();
    local.or_else(|| bridge.remote_clientid.as_ref().map(from_remote))
}

/// Two listeners in one place cannot both be opened.
fn check_places(drafts: &[(Owner, ListenerDraft)], findings: &mut Findings<'_>) {
    for (at, (_, later)) in drafts.iter().enumerate() {
        let (one, before) = (&later.listener, drafts.iter().take(at));
        let same = before.map(|(_, draft)| draft).find(|draft| {
            let other = &draft.listener;
            let domains = (one.socket_domain, other.socket_domain);
            let apart = matches!(domains, (Some(one), Some(other)) if one != other);
            one.bind == other.bind
                && one.port == other.port
                && one.bind_interface == other.bind_interface
                && !apart
        });
        if let Some(first) = same {
            let name = one.name();
            let first = first.place.clone();
            findings.error(&later.place, Problem::ListenerTwice { name, first });
        }
    }
}

/// What the options of mosquitto's SQLite plugin ask for.
#[derive(Debug)]
struct StoreOptions {
    sync: SyncMode,
    flush_period_s: u32,
    database: Option<String>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            sync: SyncMode::Interval(0),
            flush_period_s: 5,
            database: None,
        }
    }
}

impl StoreOptions {
    /// Takes one option. `false`: it means nothing to the built-in store.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, Invalid> {
        match key {
            "sync" => {
                self.sync = match value {
                    "extra" | "full" => SyncMode::Always,
                    "normal" => SyncMode::Interval(0),
                    "off" => SyncMode::None,
                    _ => {
                        return Err(Invalid::NotOneOf {
                            given: value.to_owned(),
                            known: vec!["extra", "full", "normal", "off"],
                        });
                    }
                }
            }
            "flush_period" => {
                let given = value.parse();
                let given: i64 = given.map_err(|_| Invalid::NotNumber(value.to_owned()))?;
                let (min, max) = (0, FLUSH_PERIOD_MAX_S);
                let period = u32::try_from(given).ok().filter(|period| *period <= max);
                self.flush_period_s = period.ok_or(Invalid::OutOfRange {
                    given,
                    min,
                    max: i64::from(max),
                })?;
            }
            "db_file" => self.database = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Where the plugin writes every so many seconds, a commit is synced so often; without a
    /// period, each one.
    fn mode(&self) -> SyncMode {
        match self.sync {
            SyncMode::Interval(_) if self.flush_period_s == 0 => SyncMode::Always,
            SyncMode::Interval(_) => SyncMode::Interval(self.flush_period_s * 1000),
            mode => mode,
        }
    }
}

/// What the plugin at `path` is, by the name of its file.
fn known(path: &str) -> Known {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".so").next().unwrap_or(file);
    match stem {
        "mosquitto_password_file" => Known::PasswordFile,
        "mosquitto_acl_file" => Known::AclFile,
        "mosquitto_persist_sqlite" => Known::Store,
        "mosquitto_sparkplug_aware" => {
            Known::Dispensable("Sparkplug certificates are not kept as retained messages")
        }
        "mosquitto_dynamic_security" => Known::Needed(
            "dynamic security is not supported yet, so that its rules would not be enforced",
        ),
        "go-auth" | "mosquitto-go-auth" => Known::Needed(
            "go-auth is not supported yet, so that its users and rules would not be enforced",
        ),
        _ => Known::Needed(
            "native plugins cannot be loaded, and what this one decides would not be enforced",
        ),
    }
}

/// Says once about each plugin what can be said without a listener.
fn check_plugin(plugin: &PluginDraft, findings: &mut Findings<'_>) {
    let path = plugin.path.clone();
    let option = match known(&plugin.path) {
        Known::Needed(why) => {
            return findings.error(&plugin.place, Problem::Plugin { path, why });
        }
        Known::Dispensable(what) => {
            return findings.warn(&plugin.place, Caution::PluginNotInEffect { path, what });
        }
        Known::Store => return,
        Known::PasswordFile => "password_file",
        Known::AclFile => "acl_file",
    };
    if !plugin.options.iter().any(|(key, ..)| key == option) {
        let (name, missing) = match option {
            "acl_file" => ("mosquitto_acl_file", "plugin_opt_acl_file"),
            _ => ("mosquitto_password_file", "plugin_opt_password_file"),
        };
        findings.error(&plugin.place, Problem::Lonely { name, missing });
    }
    for (key, _, place) in plugin.options.iter().filter(|(key, ..)| key != option) {
        let key = key.clone();
        findings.warn(place, Caution::PluginOption { key });
    }
}

/// Lets a built-in plugin do what it does, by way of the option that does the same.
fn apply_plugin(plugin: &PluginDraft, security: &mut SecurityDraft, findings: &mut Findings<'_>) {
    let (option, file) = match known(&plugin.path) {
        Known::PasswordFile => ("password_file", &mut security.password_file),
        Known::AclFile => {
            security.deny_special_chars = Some(plugin.deny_special_chars);
            ("acl_file", &mut security.acl_file)
        }
        Known::Store | Known::Dispensable(_) | Known::Needed(_) => return,
    };
    for (_, path, place) in plugin.options.iter().filter(|(key, ..)| key == option) {
        match file {
            Some(other) if other != path => {
                findings.error(place, Problem::TwoFiles(option));
            }
            _ => *file = Some(path.clone()),
        }
    }
}

impl Findings<'_> {
    fn warn(&mut self, place: &Place, caution: Caution) {
        let place = place.clone();
        self.warnings.push(Warning { place, caution });
    }

    /// The same is said once: listeners share their plugins.
    fn error(&mut self, place: &Place, problem: Problem) {
        let place = place.clone();
        let error = ConfigError { place, problem };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

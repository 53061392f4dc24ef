//! Mistakes that the lines and the settings show by themselves, on any machine.

use super::Findings;
use super::facts::Runner;
use super::mistake::Mistake;
use crate::config::problem::{Caution, Problem};
use crate::config::reading::{Begun, Of, Reading, Said};
use crate::config::value::Note;
use crate::config::{Bind, DEFAULT_PORT, Listener, Place, SocketDomain};
use std::net::IpAddr;

/// Finds them.
pub fn look(reading: &Reading, runner: &Runner, found: &mut Findings) {
    errors(reading, found);
    for warning in &reading.warnings {
        found.at(&warning.place, &Mistake::Caution(warning.caution.clone()));
    }
    below_listeners(reading, found);
    given_twice(reading, found);
    listeners(reading, found);
    bounds(reading, found);
    user(reading, runner, found);
    for included in reading
        .included
        .iter()
        .filter(|included| included.files == 0)
    {
        let directory = included.directory.clone();
        found.at(&included.place, &Mistake::IncludeEmpty { directory });
    }
}

/// What keeps midge from starting; what does for one reason is said once.
fn errors(reading: &Reading, found: &mut Findings) {
    let mut refused: Vec<(&Place, &'static str, Vec<String>)> = Vec::new();
    for error in &reading.errors {
        let Problem::Refused { name, why } = error.problem else {
            found.at(&error.place, &Mistake::Problem(error.problem.clone()));
            continue;
        };
        let name = name.to_owned();
        match refused.iter_mut().find(|(_, other, _)| *other == why) {
            Some((_, _, names)) if names.contains(&name) => {}
            Some((_, _, names)) => names.push(name),
            None => refused.push((&error.place, why, vec![name])),
        }
    }
    for (place, why, names) in refused {
        found.at(place, &Mistake::Refused { names, why });
    }
}

/// Where the option `name` is said last.
pub fn place_of<'a>(reading: &'a Reading, name: &str) -> Option<&'a Place> {
    let is_it = |said: &&Said| said.option.is_some_and(|option| option.name == name);
    reading
        .lines
        .iter()
        .rev()
        .find(is_it)
        .map(|said| &said.place)
}

/// Options that stand below a listener and are not its own.
fn below_listeners(reading: &Reading, found: &mut Findings) {
    let below = || reading.lines.iter().filter(|said| said.below.is_some());
    let globals: Vec<&Said> = below().filter(|said| misleads(said)).collect();
    if let Some(first) = globals.first() {
        let names = names(&globals);
        found.at(&first.place, &Mistake::GlobalBelowListener { names });
    }
    let security: Vec<&Said> = below().filter(|said| said.of == Of::AllListeners).collect();
    // Of a single listener it makes no difference.
    if let (Some(first), false) = (security.first(), reading.listeners.len() == 1) {
        let names = names(&security);
        found.at(&first.place, &Mistake::SecurityBelowListener { names });
    }
}

/// Whether a global option below a listener may be taken for the listener's; `include_dir` at the
/// end of a file is the custom.
fn misleads(said: &Said) -> bool {
    let name = said.option.map(|option| option.name);
    said.of == Of::Broker && name != Some("include_dir")
}

fn names(lines: &[&Said]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for said in lines {
        if !names.contains(&said.name) {
            names.push(said.name.clone());
        }
    }
    names
}

fn given_twice(reading: &Reading, found: &mut Findings) {
    for said in &reading.lines {
        let (Some(first), Some(option)) = (&said.first, said.option) else {
            continue;
        };
        let is_said = reading.warnings.iter().any(|warning| {
            let replaces = |note: &Note| *note == Note::Replaces;
            warning.place == said.place
                && matches!(&warning.caution, Caution::Value { note, .. } if replaces(note))
        });
        if option.is_repeatable() || is_said {
            continue;
        }
        let before = reading.lines.iter().find(|other| other.place == *first);
        let is_same = said.text.is_some() && before.is_some_and(|before| before.text == said.text);
        // The same below each listener: that it is everybody's has been said.
        if is_same && before.is_some_and(|before| before.below != said.below) {
            continue;
        }
        let (name, first) = (said.name.clone(), first.clone());
        found.at(
            &said.place,
            &Mistake::GivenTwice {
                name,
                first,
                is_same,
            },
        );
    }
}

fn listeners(reading: &Reading, found: &mut Findings) {
    let config = &reading.config;
    let all: Vec<(&Begun, &Listener)> = reading.listeners_of(Of::AllListeners).collect();
    let mut ports = all.iter().map(|(_, listener)| listener.port);
    let port = ports.find(|port| *port > 0).unwrap_or(DEFAULT_PORT);
    if config.local_only {
        return found.add(None, None, &Mistake::NoListener { port });
    }
    if let Some((begun, _)) = all.first() {
        if all.iter().all(|(_, listener)| is_local(listener)) {
            found.at(&begun.place, &Mistake::LocalListeners { port });
        }
    }
    for (begun, listener) in &all {
        let name = || begun.name.clone();
        if listener.bind == Bind::Address(String::from("127.0.0.1")) {
            found.at(&begun.place, &Mistake::Ipv4Local { listener: name() });
        }
    }
    admission(reading, &all, found);
    for (at, (begun, listener)) in all.iter().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != at);
        let over = others
            .map(|(_, other)| other)
            .find(|(_, other)| covers(other, listener));
        if let Some((over, _)) = over {
            let mistake = Mistake::Covered {
                listener: begun.name.clone(),
                by: over.name.clone(),
                first: over.place.clone(),
            };
            found.at(&begun.place, &mistake);
        }
    }
}

/// Who is let in: what is the same on several listeners is said once.
fn admission(reading: &Reading, all: &[(&Begun, &Listener)], found: &mut Findings) {
    let mut open = Shared::default();
    let mut shut = Shared::default();
    for (begun, listener) in all {
        let place = decides(reading, begun);
        let (security, tls) = (&listener.security, &listener.tls);
        let by_certificate = tls.require_certificate
            && (tls.use_identity_as_username || tls.use_subject_as_username);
        match (security.allow_anonymous, &security.password_file) {
            (true, Some(path)) => {
                let (listener, path) = (begun.name.clone(), path.clone());
                found.at(place, &Mistake::PasswordsOptional { listener, path });
            }
            (true, None) if !is_local(listener) && !tls.require_certificate => {
                open.add(place, begun);
            }
            // With an error, the password file may be what could not be read.
            (false, None) if !by_certificate && reading.errors.is_empty() => {
                shut.add(place, begun);
            }
            _ => {}
        }
    }
    if let (Some(place), listeners) = (open.place, open.listeners) {
        found.at(place, &Mistake::AnonymousOpen { listeners });
    }
    if let (Some(place), listeners) = (shut.place, shut.listeners) {
        found.at(place, &Mistake::NobodyLetIn { listeners });
    }
}

/// Listeners with one thing in common, and the first place to look at.
#[derive(Default)]
struct Shared<'a> {
    place: Option<&'a Place>,
    listeners: Vec<String>,
}

impl<'a> Shared<'a> {
    fn add(&mut self, place: &'a Place, begun: &Begun) {
        self.place.get_or_insert(place);
        if !self.listeners.contains(&begun.name) {
            self.listeners.push(begun.name.clone());
        }
    }
}

/// The line that says whether a username is needed, if there is one, else the listener's.
fn decides<'a>(reading: &'a Reading, begun: &'a Begun) -> &'a Place {
    let last = |of: Of| {
        let names = ["allow_anonymous", "listener_allow_anonymous"];
        let is_it = |said: &&Said| {
            said.of == of
                && said
                    .option
                    .is_some_and(|option| names.contains(&option.name))
        };
        reading.lines.iter().rev().find(is_it)
    };
    let line = last(begun.of).or_else(|| last(Of::AllListeners));
    line.map_or(&begun.place, |said| &said.place)
}

/// Whether only this machine reaches it.
fn is_local(listener: &Listener) -> bool {
    match &listener.bind {
        Bind::Any => listener.bind_interface.as_deref() == Some("lo"),
        Bind::Unix(_) => true,
        Bind::Address(host) => {
            host == "localhost"
                || host
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Whether `wide`, on all addresses, takes the place of `narrow`, on one. An IPv6 socket serves
/// IPv6 alone.
fn covers(wide: &Listener, narrow: &Listener) -> bool {
    let narrow_domain = narrow.bind.socket_domain().or(narrow.socket_domain);
    let wide_domain = match &wide.bind {
        Bind::Any => wide.socket_domain,
        Bind::Address(host) if is_unspecified(host) => wide.bind.socket_domain(),
        Bind::Address(_) | Bind::Unix(_) => return false,
    };
    let is_wider = match (&wide.bind, &narrow.bind) {
        (_, Bind::Unix(_)) => false,
        (Bind::Any, Bind::Address(_)) => true,
        (Bind::Address(_), Bind::Address(host)) => !is_unspecified(host),
        _ => false,
    };
    let meets = match (wide_domain, narrow_domain) {
        (Some(one), Some(other)) => one == other,
        (Some(SocketDomain::Ipv4 | SocketDomain::Ipv6), None) => false,
        (None, _) => true,
    };
    is_wider && meets && wide.port == narrow.port && wide.bind_interface == narrow.bind_interface
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
}

fn bounds(reading: &Reading, found: &mut Findings) {
    let config = &reading.config;
    let (packet_bytes, payload_bytes) = (config.max_packet_size, config.message_size_limit);
    if packet_bytes > 0 && packet_bytes < payload_bytes {
        if let Some(place) = place_of(reading, "message_size_limit") {
            let mistake = Mistake::PacketBelowPayload {
                packet_bytes,
                payload_bytes,
            };
            found.at(place, &mistake);
        }
    }
    // The bytes may be bounded where the number is not.
    if config.max_queued_messages == 0 && config.max_queued_bytes == 0 {
        let name = "max_queued_messages";
        if let Some(place) = place_of(reading, name) {
            found.at(place, &Mistake::NoBound { name });
        }
    }
}

fn user(reading: &Reading, runner: &Runner, found: &mut Findings) {
    let nowhere = Place::command_line();
    let place = place_of(reading, "user").unwrap_or(&nowhere);
    if let Some(user) = runner.unknown.clone() {
        let by_root = runner.by_root;
        found.at(place, &Mistake::NoSuchUser { user, by_root });
    } else if runner.by_root && runner.account.uid == 0 {
        found.at(place, &Mistake::Root);
    }
    if !runner.by_root {
        let me = runner.account.name.clone();
        found.add(None, None, &Mistake::NotAsRoot { me });
    }
}

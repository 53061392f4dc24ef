//! `$SYS`: what the broker tells of itself, under mosquitto's topics and in mosquitto's formats. It
//! asks the counters and the tables once every `sys_interval`, and publishes what has changed by
//! the path that every message takes. Nothing here is on the way of a client's message.
//!
//! `heap/maximum` is the most there was at the end of any turn. Left out, for there is no honest
//! figure: `packet/out/count` (write queues hold bytes, not packets).

use super::client::Clients;
use super::distribute::distribute_within;
use super::effects::Effects;
use super::state::State;
use super::stats::{Stats, Told};
use super::timers::TimerKey;
use crate::config::{Config, SysVersion};
use crate::limits;
use crate::message::{Publication, QoS};
use crate::time::{Mono, Now, Unix};
use crate::topic::name::TopicName;

/// The mosquitto whose place this broker takes.
const MOSQUITTO_VERSION: &str = "2.1.2";

/// A topic, and what it is asked of.
type Row<T> = (&'static str, fn(&T) -> u64);

/// The topics below `$SYS/broker/` of counts, which are decimal integers.
const COUNTS: &[Row<Figures>] = &[
    ("clients/total", |now| now.sessions),
    ("clients/maximum", |now| now.sessions_max),
    ("clients/disconnected", |now| now.sessions - now.connected),
    ("clients/inactive", |now| now.sessions - now.connected),
    ("clients/connected", |now| now.connected),
    ("clients/active", |now| now.connected),
    ("clients/expired", |now| now.stats.sessions_expired),
    ("messages/stored", |now| now.stored),
    ("store/messages/count", |now| now.stored),
    ("store/messages/bytes", |now| now.stored_bytes),
    ("subscriptions/count", |now| now.plain_subscriptions),
    ("shared_subscriptions/count", |now| now.shared_subscriptions),
    ("retained messages/count", |now| now.retained),
    ("messages/received", |now| now.stats.messages_received),
    ("messages/sent", |now| now.stats.messages_sent),
    ("bytes/received", |now| now.stats.bytes_received),
    ("bytes/sent", |now| now.stats.bytes_sent),
    ("publish/bytes/received", |now| {
        now.stats.publish_bytes_received
    }),
    ("publish/bytes/sent", |now| now.stats.publish_bytes_sent),
    ("publish/messages/dropped", |now| now.stats.dropped()),
    ("publish/messages/received", |now| {
        now.stats.publish_received
    }),
    ("publish/messages/sent", |now| now.stats.publish_sent),
    ("packet/out/bytes", |now| now.waiting_bytes),
    ("connections/socket/count", |now| {
        now.stats.connections_opened
    }),
    ("midge/dropped/slow_reader", |now| {
        now.stats.dropped_slow_reader
    }),
    ("midge/dropped/queue_full", |now| {
        now.stats.dropped_queue_full
    }),
    ("midge/dropped/oversize", |now| now.stats.dropped_oversize),
    ("midge/dropped/expired", |now| now.stats.dropped_expired),
    ("midge/dropped/memory", |now| now.stats.dropped_memory),
    ("midge/refused/messages", |now| now.stats.refused_messages),
    ("midge/refused/subscriptions", |now| {
        now.stats.refused_subscriptions
    }),
    ("midge/refused/connections", |now| {
        now.stats.refused_connections
    }),
    ("midge/refused/packets", |now| now.stats.refused_packets),
    ("heap/current", |now| now.heap),
    ("heap/maximum", |now| now.heap_max),
];

/// The same, where state is kept over a restart.
const STORE_COUNTS: &[Row<Figures>] = &[
    ("store/syncs/total", |now| now.stats.store.commits),
    ("store/syncs/today", |now| now.stats.store.commits_today),
    ("store/syncs/milliseconds", |now| {
        now.stats.store.busy_us / 1000
    }),
    ("store/bytes/total", |now| now.stats.store.bytes),
    ("store/bytes/today", |now| now.stats.store.bytes_today),
    ("store/failures", |now| now.stats.store.failures),
    ("store/damaged", |now| now.stats.store.damaged),
];

/// The topics below `$SYS/broker/load/` of what happens a minute, and the counter of each.
const LOADS: &[Row<Stats>] = &[
    ("messages/received", |stats| stats.messages_received),
    ("messages/sent", |stats| stats.messages_sent),
    ("publish/dropped", Stats::dropped),
    ("publish/received", |stats| stats.publish_received),
    ("publish/sent", |stats| stats.publish_sent),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
    ("sockets", |stats| stats.connections_opened),
    ("connections", |stats| stats.connect_received),
];

/// The times each load is averaged over: in a topic, and in milliseconds.
const WINDOWS: &[(&str, f64)] = &[
    ("1min", 60_000.0),
    ("5min", 300_000.0),
    ("15min", 900_000.0),
];

/// All that is counted, at one moment.
#[derive(Debug)]
struct Figures {
    stats: Stats,
    sessions: u64,
    sessions_max: u64,
    connected: u64,
    plain_subscriptions: u64,
    shared_subscriptions: u64,
    retained: u64,
    /// Messages retained, waiting in sessions, and in flight. `Choice:` one that waits for several
    /// sessions counts once for each; telling them apart would cost every message.
    stored: u64,
    /// Bytes of payload in these.
    stored_bytes: u64,
    waiting_bytes: u64,
    heap: u64,
    heap_max: u64,
}

/// The broker tells of itself: everything at the start, and then what has changed.
pub fn tell(state: &mut State, now: Now) {
    let before = state.sys.told.take();
    let is_first = before.is_none();
    let mut told = before.unwrap_or_else(|| Box::new(Told::new(now.mono)));
    let figures = Figures::new(&told, state);
    if is_first {
        publish("version", &version(&state.config), state, now);
    }
    let uptime_s = now.mono.ms_since(told.started) / 1000;
    publish("uptime", &format!("{uptime_s} seconds"), state, now);
    tell_counts(COUNTS, &figures, &mut told.counts, state, now);
    if figures.stats.store.is_on {
        tell_counts(STORE_COUNTS, &figures, &mut told.store, state, now);
    }
    tell_certificates(&mut told.days_left, state, now);
    tell_loads(&figures.stats, &mut told, state, now);
    told.at = now.mono;
    told.sessions_max = figures.sessions_max;
    state.sys.told = Some(told);
    arm(state, now);
}

/// Publishes a line of the log to its topic. Nobody wants an old one: it expires.
pub fn publish_log(kind: &str, text: &str, state: &mut State, now: Now) {
    let expires_at = now.mono.plus_s(limits::LOG_LINE_EXPIRES_S);
    publish_until(expires_at, false, &format!("log/{kind}"), text, state, now);
}

/// Arms the timer for the next multiple of `sys_interval` on the wall clock, as mosquitto 2.1 does:
/// the figures of several brokers are of the same moment.
fn arm(state: &mut State, now: Now) {
    let State {
        config,
        timers,
        sys,
        ..
    } = state;
    sys.timer_at = Mono::NEVER;
    let interval_s = u64::from(config.sys_interval);
    if let Some(past_s) = now.unix.0.checked_rem(interval_s) {
        // The wall clock is read in whole seconds: a timer of the last one may find it a second
        // short of the multiple, and must not fire twice for it.
        let left_s = match interval_s - past_s {
            1 if interval_s > 1 => interval_s + 1,
            left_s => left_s,
        };
        let next_at = now.mono.plus_s(left_s);
        timers.arm(TimerKey::Sys, next_at, &mut sys.timer_at);
    }
}

fn version(config: &Config) -> String {
    let own = concat!("midge version ", env!("CARGO_PKG_VERSION"));
    match config.midge_sys_version {
        SysVersion::Midge => String::from(own),
        SysVersion::Mosquitto => format!(
            "mosquitto version {MOSQUITTO_VERSION} (midge {})",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

fn tell_counts(
    rows: &[Row<Figures>],
    figures: &Figures,
    told: &mut Vec<u64>,
    state: &mut State,
    now: Now,
) {
    let counts: Vec<u64> = rows.iter().map(|(_, count)| count(figures)).collect();
    for (index, ((topic, _), count)) in rows.iter().zip(&counts).enumerate() {
        if told.get(index) != Some(count) {
            publish(topic, &count.to_string(), state, now);
        }
    }
    *told = counts;
}

/// The days for which the certificate of each listener still holds: what a board's owner wants to
/// see coming.
fn tell_certificates(told: &mut Vec<(String, u64)>, state: &mut State, now: Now) {
    let days = |end: &Unix| end.0.saturating_sub(now.unix.0) / (24 * 60 * 60);
    let rows = state.certificates.iter();
    let left: Vec<_> = rows.map(|(name, end)| (name.clone(), days(end))).collect();
    for (name, days) in left.iter().filter(|row| !told.contains(row)) {
        let topic = format!("midge/listener/{name}/certificate/days_left");
        publish(&topic, &days.to_string(), state, now);
    }
    *told = left;
}

/// A load is told when its two decimals change, and the first time as 0. `Choice:` mosquitto
/// compares with what it had last, told or not, and so never tells the end of a slow decay; here
/// what stands is always true.
fn tell_loads(stats: &Stats, told: &mut Told, state: &mut State, now: Now) {
    let is_first = told.loads.is_empty();
    if is_first {
        told.loads = vec![0.0; LOADS.len() * WINDOWS.len()];
    }
    let elapsed_ms = now.mono.ms_since(told.at).max(1) as f64;
    let mut loads = told.loads.iter_mut();
    for (topic, counter) in LOADS {
        let events = counter(stats) - counter(&told.stats);
        let per_minute = events as f64 * 60_000.0 / elapsed_ms;
        for ((window, window_ms), load) in WINDOWS.iter().zip(loads.by_ref()) {
            let before = hundredths(*load);
            if !is_first {
                *load = per_minute + (*load - per_minute) * (-elapsed_ms / window_ms).exp();
            }
            let after = hundredths(*load);
            if is_first || after != before {
                let payload = format!("{}.{:02}", after / 100, after % 100);
                publish(&format!("load/{topic}/{window}"), &payload, state, now);
            }
        }
    }
    if !is_first {
        told.stats = *stats;
    }
}

/// A load, which is never negative, as it is told: whole, for the formatting of fractions alone
/// would be 20 kB of code.
fn hundredths(load: f64) -> u64 {
    (load * 100.0).round() as u64
}

/// Publishes `payload` to a topic below `$SYS/broker/`, to be kept there.
fn publish(topic: &str, payload: &str, state: &mut State, now: Now) {
    let retain = state.config.retain_available;
    publish_until(Mono::NEVER, retain, topic, payload, state, now);
}

/// Publishes `payload` to a topic below `$SYS/broker/`.
fn publish_until(
    expires_at: Mono,
    retain: bool,
    topic: &str,
    payload: &str,
    state: &mut State,
    now: Now,
) {
    let topic = format!("$SYS/broker/{topic}");
    let Ok(name) = TopicName::new(&topic) else {
        debug_assert!(false, "{topic} is no Topic Name");
        return;
    };
    let mut publication = Publication {
        topic: &topic,
        properties: &[],
        payload: payload.as_bytes(),
        qos: QoS::ExactlyOnce,
        retain,
        expires_at,
        publisher: None,
        message: None,
        came: None,
        wire: None,
    };
    let room = limits::MEMORY_CONNECTIONS;
    distribute_within(room, &name, &mut publication, state, now);
}

impl Told {
    /// Nothing yet.
    fn new(now: Mono) -> Self {
        Self {
            started: now,
            at: now,
            stats: Stats::default(),
            sessions_max: 0,
            counts: Vec::new(),
            store: Vec::new(),
            loads: Vec::new(),
            days_left: Vec::new(),
        }
    }
}

impl Figures {
    /// Asks every table, and looks at every session and connection once.
    fn new(told: &Told, state: &State) -> Self {
        let (subscriptions, retained) = (&state.subscriptions, &state.retained);
        let (mut stored, mut stored_bytes) = (retained.len(), retained.payload_bytes() as u64);
        let mut connected = 0;
        for (_, session) in state.sessions.iter() {
            connected += u64::from(session.conn.is_some());
            if let Some(flights) = &session.flights {
                let (messages, bytes) = flights.held_messages();
                stored += messages;
                stored_bytes += bytes;
            }
        }
        let sessions = state.sessions.len() as u64;
        let shared = subscriptions.shared_count();
        Self {
            stats: state.stats,
            sessions,
            sessions_max: told.sessions_max.max(sessions),
            connected,
            plain_subscriptions: (subscriptions.count() - shared) as u64,
            shared_subscriptions: shared as u64,
            retained: retained.len() as u64,
            stored: stored as u64,
            stored_bytes,
            waiting_bytes: backlog_bytes(&state.clients, &state.effects) as u64,
            heap: state.memory.in_use() as u64,
            heap_max: state.memory.maximum() as u64,
        }
    }
}

/// Bytes that wait for sockets which did not take them; not what this turn has yet to flush to
/// those that had nothing waiting.
fn backlog_bytes(clients: &Clients, effects: &Effects) -> usize {
    let waiting: usize = clients
        .iter()
        .map(|(_, client)| client.output.bytes())
        .sum();
    let mut fresh = effects.dirty.clone();
    fresh.sort_unstable();
    fresh.dedup();
    let fresh = fresh.into_iter().filter_map(|conn| clients.get(conn));
    waiting - fresh.map(|client| client.output.bytes()).sum::<usize>()
}

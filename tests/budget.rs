//! What connections, subscriptions and messages cost in heap, counted by the allocator: a whole
//! server in this process, and real clients, which are this program once more in a process of
//! their own. What each may cost stands in `tests/bench/guard.txt`.

use midge::broker::Broker;
use midge::config::Config;
use midge::net::Server;
use mio::Events;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::env;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

mod table;
use table::{Say, V311, connect, disconnect, publish, subscribe};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REACHED: &str = include_str!("bench/guard.txt");
const HEADROOM_PERCENT: usize = 10;

const CLIENTS: usize = 10_000;
const SUBSCRIBERS: usize = 100;
const FILTERS_EACH: usize = 1_000;
const RETAINED: usize = 50_000;
/// Sessions whose clients are away, and messages that wait for each: as many as may wait.
const AWAY: usize = 100;
const QUEUED_EACH: usize = 1_000;
const PAYLOAD: [u8; 64] = [b'p'; 64];
/// Messages on their way to the server at a time.
const WINDOW: usize = 100;

/// One row of the table. The clients do what they do in two steps, `prepare` and `fill`; what the
/// second one adds to the heap is counted.
struct Row {
    name: &'static str,
    /// How many things `fill` adds.
    count: usize,
    is_prepared: fn(&Broker) -> bool,
    is_full: fn(&Broker) -> bool,
    clients: fn(&mut Steps, &str),
}

const ROWS: [Row; 5] = [
    Row {
        name: "idle",
        count: CLIENTS,
        is_prepared: |_| true,
        is_full: |broker| broker.sizes().sessions == CLIENTS,
        clients: idle,
    },
    Row {
        name: "idle-subscribed",
        count: CLIENTS,
        is_prepared: |_| true,
        is_full: |broker| broker.sizes().subscriptions == CLIENTS,
        clients: idle_subscribed,
    },
    Row {
        name: "subscription",
        count: SUBSCRIBERS * FILTERS_EACH,
        is_prepared: |broker| broker.sizes().sessions == SUBSCRIBERS,
        is_full: |broker| broker.sizes().subscriptions == SUBSCRIBERS * FILTERS_EACH,
        clients: subscriptions,
    },
    Row {
        name: "retained",
        count: RETAINED,
        is_prepared: |broker| broker.sizes().sessions == 1,
        is_full: |broker| broker.sizes().retained == RETAINED,
        clients: retained,
    },
    Row {
        name: "queued",
        count: AWAY * QUEUED_EACH,
        is_prepared: |broker| {
            (broker.sizes().sessions, broker.sizes().connections) == (AWAY + 1, 1)
        },
        is_full: |broker| broker.stats().publish_received == (AWAY * QUEUED_EACH) as u64,
        clients: queued,
    },
];

fn main() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let files = rlimit::getrlimit(rlimit::Resource::NOFILE)
        .expect("there is a limit")
        .0;
    assert!(
        files > CLIENTS as u64 + 100,
        "only {files} files may be open in one process here"
    );
    match env::args().nth(1).as_deref() {
        Some("clients") => be_clients(),
        _ => nothing_costs_more_than_it_did(),
    }
}

// ---- the server

fn nothing_costs_more_than_it_did() {
    let mut wrong = Vec::new();
    for row in &ROWS {
        let each = bytes_each(row);
        let reached = reached(row.name);
        println!("heap          {:<18}{each}", row.name);
        if each * 100 > reached * (100 + HEADROOM_PERCENT) {
            wrong.push(format!(
                "{}: {each} bytes of heap each, a tenth above {reached} are allowed",
                row.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

fn reached(name: &str) -> usize {
    let row = REACHED
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.starts_with(&["heap", name]))
        .unwrap_or_else(|| panic!("no row 'heap {name}'"));
    row[2].parse().unwrap()
}

fn bytes_each(row: &Row) -> usize {
    // Without `$SYS`, which costs the same however many clients there are.
    let config = Config {
        sys_interval: 0,
        ..Config::default()
    };
    let mut server = Server::new(Rc::new(config)).unwrap();
    let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut clients = Command::new(env::current_exe().unwrap())
        .args(["clients", row.name, &address.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = Events::with_capacity(64);
    turn_until(&mut server, &mut events, &mut clients, row.is_prepared);
    let region = Region::new(ALLOCATOR);
    let mut go = clients.stdin.take().unwrap();
    go.write_all(b"fill\n").unwrap();
    turn_until(&mut server, &mut events, &mut clients, row.is_full);
    let change = region.change();
    // A reallocation that grows counts as allocated, one that shrinks as deallocated.
    let held = change.bytes_allocated - change.bytes_deallocated;
    drop(go);
    while server.broker().sizes().connections > 0 {
        server.turn(&mut events).unwrap();
    }
    assert!(clients.wait().unwrap().success());
    held / row.count
}

fn turn_until(
    server: &mut Server,
    events: &mut Events,
    clients: &mut Child,
    is_done: fn(&Broker) -> bool,
) {
    while !is_done(server.broker()) {
        server.turn(events).unwrap();
        assert!(
            clients.try_wait().unwrap().is_none(),
            "the clients have failed"
        );
    }
}

// ---- the clients

/// Where the clients wait for the server to say that it has counted.
struct Steps(std::io::StdinLock<'static>);

impl Steps {
    fn wait_to_fill(&mut self) {
        self.0.read_line(&mut String::new()).unwrap();
    }

    fn wait_to_end(&mut self) {
        self.0.read_to_end(&mut Vec::new()).unwrap();
    }
}

fn be_clients() {
    let words: Vec<_> = env::args().collect();
    let row = ROWS.iter().find(|row| row.name == words[2]).unwrap();
    (row.clients)(&mut Steps(std::io::stdin().lock()), &words[3]);
}

/// Says `packets` in one write, and reads as many bytes as the answers must have.
fn asks(stream: &mut TcpStream, packets: &[Say], answer_bytes: usize) -> Vec<u8> {
    let bytes: Vec<_> = packets.iter().flat_map(|say| say.bytes(V311)).collect();
    stream.write_all(&bytes).unwrap();
    let mut answers = vec![0; answer_bytes];
    stream.read_exact(&mut answers).unwrap();
    answers
}

fn joins(address: &str, connect: Say) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    let connack = asks(&mut stream, &[connect], 4);
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

fn idle(steps: &mut Steps, address: &str) {
    steps.wait_to_fill();
    let client = |index| connect(&format!("sensor-{index:05}")).keep_alive(60);
    let streams: Vec<_> = (0..CLIENTS).map(|i| joins(address, client(i))).collect();
    steps.wait_to_end();
    drop(streams);
}

fn idle_subscribed(steps: &mut Steps, address: &str) {
    steps.wait_to_fill();
    let streams: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let name = format!("sensor-{index:05}");
            let mut stream = joins(address, connect(&name).durable().keep_alive(60));
            let filter = format!("home/room/{index:05}/set");
            let suback = asks(&mut stream, &[subscribe(1, &filter, 1)], 5);
            assert_eq!(suback, [0x90, 3, 0, 1, 1]);
            stream
        })
        .collect();
    steps.wait_to_end();
    drop(streams);
}

fn subscriptions(steps: &mut Steps, address: &str) {
    let client = |index| connect(&format!("display-{index}"));
    let mut streams: Vec<_> = (0..SUBSCRIBERS)
        .map(|index| joins(address, client(index)))
        .collect();
    steps.wait_to_fill();
    for (index, stream) in streams.iter_mut().enumerate() {
        for number in 0..FILTERS_EACH {
            let filter = format!("idle/{index}/{number}/state");
            asks(stream, &[subscribe(1, &filter, 0)], 5);
        }
    }
    steps.wait_to_end();
}

/// Publishes with QoS 1, a few at a time.
fn publishes(stream: &mut TcpStream, count: usize, message: impl Fn(usize) -> Say) {
    for from in (0..count).step_by(WINDOW) {
        let window: Vec<_> = (from..count.min(from + WINDOW)).map(&message).collect();
        asks(stream, &window, 4 * window.len());
    }
}

fn retained(steps: &mut Steps, address: &str) {
    let mut publisher = joins(address, connect("publisher"));
    steps.wait_to_fill();
    publishes(&mut publisher, RETAINED, |at| {
        let topic = format!("retained/{}/{}/state", at / 1000, at % 1000);
        publish(&topic, PAYLOAD).qos1(1).retain()
    });
    steps.wait_to_end();
}

fn queued(steps: &mut Steps, address: &str) {
    for index in 0..AWAY {
        let mut stream = joins(address, connect(&format!("away-{index}")).durable());
        asks(
            &mut stream,
            &[subscribe(1, &format!("queue/{index}"), 1)],
            5,
        );
        stream.write_all(&disconnect().bytes(V311)).unwrap();
    }
    let mut publisher = joins(address, connect("publisher"));
    steps.wait_to_fill();
    publishes(&mut publisher, AWAY * QUEUED_EACH, |at| {
        publish(&format!("queue/{}", at % AWAY), PAYLOAD).qos1(1)
    });
    steps.wait_to_end();
}

//! What an idle client costs in heap, counted by the allocator: ten thousand real connections,
//! each with a session and a subscription of its own, to a whole server in this process. The
//! clients are this program once more, in a process of their own.

use midge::config::Config;
use midge::net::Server;
use mio::Events;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::rc::Rc;

mod table;
use table::{V311, connect, subscribe};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 10_000;
const BYTES_PER_CLIENT_MAX: usize = 600;

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
        Some("clients") => be_clients(&env::args().nth(2).expect("an address")),
        _ => an_idle_client_costs_at_most_600_bytes(),
    }
}

/// Connects, subscribes, and waits until the other process has counted.
fn be_clients(address: &str) {
    let streams: Vec<_> = (0..CLIENTS).map(|index| join(address, index)).collect();
    println!("connected");
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).unwrap();
    drop(streams);
}

fn join(address: &str, index: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    let client_identifier = format!("sensor-{index:05}");
    let filter = format!("home/room/{index:05}/set");
    let mut packets = connect(&client_identifier)
        .durable()
        .keep_alive(60)
        .bytes(V311);
    packets.extend(subscribe(1, &filter, 1).bytes(V311));
    stream.write_all(&packets).unwrap();
    let mut answers = [0; 4 + 5];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(
        answers,
        [0x20, 2, 0, 0, 0x90, 3, 0, 1, 1],
        "CONNACK and SUBACK"
    );
    stream
}

fn an_idle_client_costs_at_most_600_bytes() {
    // Without `$SYS`, which costs the same however many clients there are.
    let config = Config {
        sys_interval: 0,
        ..Config::default()
    };
    let mut server = Server::new(Rc::new(config)).unwrap();
    let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut clients = Command::new(env::current_exe().unwrap())
        .args(["clients", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut events = Events::with_capacity(64);
    let region = Region::new(ALLOCATOR);
    while server.broker().sizes().subscriptions < CLIENTS {
        server.turn(&mut events).unwrap();
        assert!(
            clients.try_wait().unwrap().is_none(),
            "the clients have failed"
        );
    }
    let change = region.change();
    // A reallocation that grows counts as allocated, one that shrinks as deallocated.
    let held = change.bytes_allocated - change.bytes_deallocated;
    let each = held / CLIENTS;
    drop(clients.stdin.take());
    while server.broker().sizes().connections > 0 {
        server.turn(&mut events).unwrap();
    }
    assert!(clients.wait().unwrap().success());
    println!("{each} bytes of heap for each of {CLIENTS} idle clients with a subscription");
    assert!(
        each <= BYTES_PER_CLIENT_MAX,
        "{each} is more than {BYTES_PER_CLIENT_MAX}"
    );
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

//! What an idle client costs in heap behind a WebSocket and behind TLS, counted by the allocator: a
//! thousand real connections of each kind to a whole server in this process. The clients are this
//! program once more, in a process of their own.
#![cfg_attr(not(all(feature = "tls", feature = "websockets")), allow(unused))]

#[cfg(all(feature = "tls", feature = "websockets"))]
#[path = "authority/mod.rs"]
mod authority;
#[cfg(all(feature = "tls", feature = "websockets"))]
mod table;

#[cfg(all(feature = "tls", feature = "websockets"))]
mod budget {
    use crate::authority::{Authority, secure};
    use crate::table::{V311, connect};
    use midge::config::{Bind, Config, Listener, Protocol};
    use midge::net::{Acceptors, Server};
    use mio::Events;
    use rustls::pki_types::CertificateDer;
    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
    use std::alloc::System;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};
    use std::rc::Rc;
    use std::{env, fs};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    const CLIENTS: usize = 1000;

    /// Bytes that a WebSocket may cost on top of a plain connection.
    const WEBSOCKET_BYTES_MAX: usize = 1000;

    /// Bytes that TLS may.
    const TLS_BYTES_MAX: usize = 4500;

    pub fn main() {
        rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
        let arguments: Vec<String> = env::args().collect();
        match arguments.get(1).map(String::as_str) {
            Some("clients") => be_clients(&arguments[2], &arguments[3], &arguments[4]),
            _ => carriers_cost_what_they_may(),
        }
    }

    /// Connects, and waits until the other process has counted.
    fn be_clients(kind: &str, port: &str, root: &str) {
        let port = port.parse().unwrap();
        let mut kept: Vec<Box<dyn Read>> = Vec::new();
        let config = (kind == "TLS").then(|| {
            let mut settings = Authority::new().knows();
            settings.roots = vec![CertificateDer::from(fs::read(root).unwrap())];
            settings.config()
        });
        for index in 0..CLIENTS {
            let packet = connect(&format!("sensor-{index:05}"))
                .keep_alive(60)
                .bytes(V311);
            if let Some(config) = &config {
                let mut stream = secure(config.clone(), "localhost", port);
                stream.write_all(&packet).unwrap();
                stream.read_exact(&mut [0; 4]).unwrap();
                kept.push(Box::new(stream));
                continue;
            }
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut answer_bytes = 4;
            if kind == "a WebSocket" {
                stream.write_all(REQUEST).unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let length = u8::try_from(packet.len()).unwrap();
                stream
                    .write_all(&[0x82, 0x80 | length, 0, 0, 0, 0])
                    .unwrap();
                answer_bytes = 6;
            }
            stream.write_all(&packet).unwrap();
            stream.read_exact(&mut vec![0; answer_bytes]).unwrap();
            kept.push(Box::new(stream));
        }
        println!("connected");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn carriers_cost_what_they_may() {
        let authority = Authority::new();
        let root = authority.path("ca.der");
        fs::write(&root, authority.root.der()).unwrap();
        let each = ["a socket alone", "a WebSocket", "TLS"].map(|kind| {
            let each = bytes_each(kind, &authority, &root);
            println!("{each} bytes of heap for each of {CLIENTS} idle clients behind {kind}");
            each
        });
        assert!(each[1] <= each[0] + WEBSOCKET_BYTES_MAX);
        assert!(each[2] <= each[0] + TLS_BYTES_MAX);
        println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    }

    fn bytes_each(kind: &str, authority: &Authority, root: &str) -> usize {
        let mut listener = Listener::new(Bind::Address("127.0.0.1".into()), 0);
        listener.security.allow_anonymous = true;
        match kind {
            "a WebSocket" => listener.protocol = Protocol::Websockets,
            "TLS" => {
                listener.tls.certfile = Some(authority.path("server.crt"));
                listener.tls.keyfile = Some(authority.path("server.key"));
            }
            _ => {}
        }
        let config = Config {
            // Without `$SYS`, which costs the same however many clients there are.
            sys_interval: 0,
            listeners: vec![listener],
            ..Config::default()
        };
        let none = Acceptors::default();
        let acceptors = Acceptors::read(&config.listeners, &none, None, &mut Vec::new()).unwrap();
        let mut server = Server::new(Rc::new(config)).unwrap();
        server.secure(acceptors);
        let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut clients = Command::new(env::current_exe().unwrap())
            .args(["clients", kind, &address.port().to_string(), root])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = Events::with_capacity(64);
        let region = Region::new(ALLOCATOR);
        while server.broker().sizes().sessions < CLIENTS {
            server.turn(&mut events).unwrap();
            assert!(
                clients.try_wait().unwrap().is_none(),
                "the clients have failed"
            );
        }
        let change = region.change();
        // A reallocation that grows counts as allocated, one that shrinks as deallocated.
        let held = change.bytes_allocated - change.bytes_deallocated;
        drop(clients.stdin.take());
        while server.broker().sizes().connections > 0 {
            server.turn(&mut events).unwrap();
        }
        assert!(clients.wait().unwrap().success());
        held / CLIENTS
    }
}

fn main() {
    #[cfg(all(feature = "tls", feature = "websockets"))]
    budget::main();
}

//! The largest packet there is, through a whole server: a PUBLISH whose Remaining Length is
//! 268,435,455, with `max_packet_size` raised to let it in.

use midge::config::Config;
use midge::limits;
use midge::net::Server;
use mio::Events;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

mod table;
use table::{V5, V311, connect, disconnect, subscribe};

const TOPIC: &str = "huge";

/// Serves in a thread of its own until everybody has come and gone.
fn serve() -> SocketAddr {
    let (say_address, address) = mpsc::channel();
    thread::spawn(move || {
        let config = Config {
            max_packet_size: 0,
            ..Config::default()
        };
        let mut server = Server::new(Rc::new(config)).unwrap();
        say_address
            .send(server.listen("127.0.0.1:0".parse().unwrap()).unwrap())
            .unwrap();
        let mut events = Events::with_capacity(16);
        loop {
            server.turn(&mut events).unwrap();
        }
    });
    address.recv().unwrap()
}

/// A byte of the payload, by its place.
fn byte_at(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 13) as u8
}

#[test]
fn the_largest_packet_of_the_protocol_goes_through() {
    let address = serve();
    let remaining_length = limits::REMAINING_LENGTH_MAX as usize;
    let payload_bytes = remaining_length - 2 - TOPIC.len();

    let mut bob = TcpStream::connect(address).unwrap();
    bob.write_all(&connect("bob").bytes(V311)).unwrap();
    bob.read_exact(&mut [0; 4]).unwrap();
    bob.write_all(&subscribe(1, TOPIC, 0).bytes(V311)).unwrap();
    bob.read_exact(&mut [0; 5]).unwrap();

    let publisher = thread::spawn(move || {
        let mut ann = TcpStream::connect(address).unwrap();
        ann.write_all(&connect("ann").bytes(V311)).unwrap();
        ann.read_exact(&mut [0; 4]).unwrap();
        let mut head = vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 4];
        head.extend(TOPIC.bytes());
        ann.write_all(&head).unwrap();
        let chunk = 1 << 20;
        for start in (0..payload_bytes).step_by(chunk) {
            let end = payload_bytes.min(start + chunk);
            let bytes: Vec<u8> = (start..end).map(byte_at).collect();
            ann.write_all(&bytes).unwrap();
        }
        ann.write_all(&disconnect().bytes(V311)).unwrap();
        ann.read_to_end(&mut Vec::new()).unwrap();
    });

    let mut head = [0; 11];
    bob.read_exact(&mut head).unwrap();
    assert_eq!(head[..7], [0x30, 0xff, 0xff, 0xff, 0x7f, 0, 4]);
    let mut seen = 0;
    let mut buffer = vec![0; 1 << 20];
    while seen < payload_bytes {
        let most = buffer.len().min(payload_bytes - seen);
        let count = bob.read(&mut buffer[..most]).unwrap();
        assert!(count > 0, "closed after {seen} bytes");
        let is_right = buffer[..count]
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == byte_at(seen + at));
        assert!(is_right, "wrong bytes after {seen}");
        seen += count;
    }
    publisher.join().unwrap();
}

#[test]
fn a_client_of_5_0_is_told_no_maximum_packet_size_where_there_is_none() {
    let address = serve();
    let mut ann = TcpStream::connect(address).unwrap();
    ann.write_all(&connect("ann").bytes(V5)).unwrap();
    let mut connack = [0; 2 + 9];
    ann.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 9, 0, 0, 6, 0x22, 0, 10, 0x21, 0, 20]);
}

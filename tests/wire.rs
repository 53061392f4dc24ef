//! The real binary on real sockets: what only a process and a kernel can show. Everything else is
//! a dialogue on a fake clock.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

mod process;
mod table;
use midge::codec::reason::ReasonCode;
use process::*;
use table::*;

#[test]
fn help_and_version_go_to_standard_output() {
    for flag in ["-h", "--help"] {
        let (code, out, err) = run(&[flag]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(
            out.contains("-p, --port PORT") && out.contains("--version"),
            "{out}"
        );
    }
    let (code, out, err) = run(&["--version"]);
    let expected = format!("midge version {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, out, err.as_str()), (0, expected, ""));
}

#[test]
fn wrong_arguments_are_refused_with_code_3_and_the_usage() {
    for arguments in [
        &["-z"][..],
        &["more"],
        &["-p"],
        &["-p", "0"],
        &["-p", "x"],
        &["-p", "65536"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (3, ""), "{arguments:?}");
        assert!(
            err.starts_with("Error: ") && err.contains("Usage: midge"),
            "{err}"
        );
    }
}

#[test]
fn a_port_in_use_is_named_and_ends_the_start() {
    let midge = Midge::start();
    let (code, _, err) = run(&["-p", &midge.port.to_string()]);
    assert_eq!(code, 14);
    assert!(
        err.contains(&format!("Port {} on 127.0.0.1 is in use", midge.port)),
        "{err}"
    );
}

#[test]
fn it_listens_on_this_machine_only_in_both_families_and_says_how_to_open_up() {
    let midge = Midge::start();
    for address in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((address, midge.port)).unwrap();
        stream.write_all(&connect("ann").bytes(V311)).unwrap();
        assert_eq!(read_packet(&mut stream), connack(false).bytes(V311));
    }
    let log = midge.log();
    let lines = [
        format!("listener {}", midge.port),
        String::from("allow_anonymous true"),
        String::from("local only mode"),
        String::from("they need no username"),
        format!("Opening ipv4 listen socket on port {}.", midge.port),
    ];
    for line in lines {
        assert!(log.contains(&line), "no '{line}' in:\n{log}");
    }
    let first: u64 = log
        .split(':')
        .next()
        .unwrap()
        .parse()
        .expect("Unix seconds");
    assert!(first > 1_700_000_000);
    assert_eq!(
        fs::read_dir(format!("/proc/{}/task", midge.child.id()))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn on_sigterm_and_sigint_it_tells_clients_publishes_wills_and_ends_well() {
    for signal in ["-TERM", "-INT"] {
        let mut midge = Midge::start();
        let mut five = midge.client(V5, "five");
        let mut ann = midge.opens();
        let willing = connect("ann").will("left", "ann", 0, false);
        ann.write_all(&willing.bytes(V311)).unwrap();
        read_packet(&mut ann);
        five.write_all(&subscribe(1, "left", 0).bytes(V5)).unwrap();
        read_packet(&mut five);
        midge.signals(signal);
        // [MQTT-3.1.2-8]: whichever is told first, `ann` is not there to stop her Will.
        let heard = read_to_close(&mut five);
        let goodbye = disconnect().reason(ReasonCode::ServerShuttingDown);
        let goodbye = goodbye.because("server shutting down").bytes(V5);
        assert!(heard.ends_with(&goodbye), "{heard:x?}");
        drop((five, ann));
        assert_eq!(midge.ends().code(), Some(0));
        assert!(
            midge.log().trim_end().ends_with("terminating"),
            "{}",
            midge.log()
        );
    }
}

#[test]
fn a_probe_that_sends_nothing_leaves_no_line_in_the_log() {
    let midge = Midge::start();
    let before = midge.log();
    drop(midge.opens());
    let ann = midge.client(V311, "ann");
    let log = midge.log();
    let new: Vec<_> = log.strip_prefix(&before).unwrap().lines().collect();
    assert_eq!(new.len(), 2, "{new:?}");
    let at = ann.local_addr().unwrap();
    let port = midge.port;
    assert!(
        new[0].ends_with(&format!(": New connection from {at} on port {port}.")),
        "{new:?}"
    );
    let line = format!(": New client connected from {at} as ann (p4, c1, k0).");
    assert!(new[1].ends_with(&line), "{new:?}");
    drop(ann);
    midge.waits_for_log(&format!(
        "Client ann [{at}] disconnected: connection closed by client."
    ));
}

#[test]
fn the_last_words_arrive_although_more_was_sent_than_read() {
    let midge = Midge::start();
    let mut five = midge.client(V5, "five");
    let mut bytes = connect("again").bytes(V5);
    bytes.resize(200_000, 0x55);
    five.write_all(&bytes).unwrap();
    let heard = read_to_close(&mut five);
    assert_eq!((heard[0], heard[2]), (0xe0, 0x82), "{heard:x?}");
    midge.waits_for_log("protocol error (a second CONNECT on one connection)");
}

#[test]
fn a_will_goes_out_at_once_although_nothing_else_happens() {
    let midge = Midge::start();
    let mut bob = midge.subscriber("bob", "left", 0);
    for _ in 0..20 {
        let mut ann = midge.opens();
        ann.write_all(&connect("ann").will("left", "ann", 0, false).bytes(V311))
            .unwrap();
        read_packet(&mut ann);
        let start = Instant::now();
        drop(ann);
        assert_eq!(read_packet(&mut bob), publish("left", "ann").bytes(V311));
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "after {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_large_message_goes_through_in_every_version_and_qos() {
    let midge = Midge::start();
    let payload: Vec<u8> = (0..1_900_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for version in EVERY {
        for qos in 0..=2 {
            let mut bob = midge.subscriber(&format!("bob{qos}"), "big", qos);
            let mut ann = midge.client(version, &format!("ann{qos}"));
            ann.write_all(&publish("big", &payload).qos(qos, qos.into()).bytes(version))
                .unwrap();
            assert_eq!(
                read_packet(&mut bob),
                publish("big", &payload)
                    .qos(qos, qos.min(1).into())
                    .bytes(V311)
            );
        }
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_bounded_and_hurts_nobody() {
    let midge = Midge::start();
    let mut slow = midge.subscriber("slow", "flood/#", 0);
    let mut quick = midge.subscriber("quick", "flood/#", 0);
    let mut ann = midge.client(V311, "ann");
    let packet = publish("flood/x", [7; 50_000]).bytes(V311);
    let before_kb = midge.status("VmRSS");
    for _ in 0..2000 {
        ann.write_all(&packet).unwrap();
        assert_eq!(read_packet(&mut quick).len(), packet.len());
    }
    let grown_kb = midge.status("VmRSS").saturating_sub(before_kb);
    assert!(
        grown_kb < 8_000,
        "{grown_kb} kB for a reader that is 100 MB behind"
    );
    midge.waits_for_log("Outgoing messages are being dropped for client slow.");
    // It reads again, and gets what was kept, in whole packets, and what comes now.
    ann.write_all(&publish("flood/end", "end").bytes(V311))
        .unwrap();
    let end = publish("flood/end", "end").bytes(V311);
    let mut count = 0;
    slow.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut last = Vec::new();
    while slow.peek(&mut [0]).is_ok() {
        last = read_packet(&mut slow);
        count += 1;
    }
    assert!((10..2000).contains(&count), "{count} of 2000 were kept");
    if last != end {
        ann.write_all(&end).unwrap();
        assert_eq!(read_packet(&mut slow), end);
    }
}

#[test]
fn a_client_that_asks_without_reading_the_answers_is_heard_no_longer() {
    let midge = Midge::start();
    let mut ann = midge.client(V311, "ann");
    let before_kb = midge.status("VmRSS");
    let pings = pingreq().bytes(V311).repeat(100_000);
    ann.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while let Ok(count) = ann.write(&pings) {
        sent += count;
        assert!(sent < 100 << 20, "it takes {sent} bytes of questions");
    }
    let grown_kb = midge.status("VmRSS").saturating_sub(before_kb);
    assert!(grown_kb < 8_000, "{grown_kb} kB of answers");
    let ticks = midge.cpu_ticks();
    sleep(Duration::from_millis(500));
    assert!(midge.cpu_ticks() - ticks <= 5, "it spins");
    // It reads at last, and every question is answered.
    let mut answers = vec![0; sent / 2 * 2];
    ann.read_exact(&mut answers).unwrap();
    assert!(answers.chunks(2).all(|answer| answer == [0xd0, 0]));
}

#[test]
fn one_busy_socket_does_not_starve_the_others() {
    let midge = Midge::start();
    let mut busy = midge.client(V311, "busy");
    let flood = publish("nobody/listens", [7; 1000])
        .bytes(V311)
        .repeat(1000);
    let flooding = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            busy.write_all(&flood).unwrap();
        }
    });
    let mut ann = midge.client(V311, "ann");
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let start = Instant::now();
        ann.write_all(&pingreq().bytes(V311)).unwrap();
        read_packet(&mut ann);
        longest = longest.max(start.elapsed());
    }
    flooding.join().unwrap();
    assert!(
        longest < Duration::from_millis(500),
        "a ping took {longest:?}"
    );
}

#[test]
fn out_of_file_descriptors_it_waits_without_spinning_and_goes_on() {
    let midge = Midge::start_as(|port| {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n 40 && exec '{MIDGE}' -p {port}");
        command.args(["-c", &script]);
        command
    });
    let mut ann = midge.client(V311, "ann");
    let mut others: Vec<_> = (0..60).map(|_| midge.opens()).collect();
    midge.waits_for_log("Raise the limit of open files");
    let before = midge.cpu_ticks();
    sleep(Duration::from_secs(2));
    let ticks = midge.cpu_ticks() - before;
    assert!(
        ticks <= 10,
        "{ticks} ticks of CPU time in two seconds of waiting"
    );
    assert_eq!(
        midge.log().matches("Raise the limit").count(),
        1,
        "{}",
        midge.log()
    );
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut ann), pingresp().bytes(V311));
    // As some leave, those who wait come in.
    let mut last = others.pop().unwrap();
    others.truncate(0);
    last.write_all(&connect("last").bytes(V311)).unwrap();
    assert_eq!(read_packet(&mut last), connack(false).bytes(V311));
}

#[test]
fn with_nothing_to_do_it_wakes_up_for_sys_alone() {
    let midge = Midge::start();
    let two_seconds = |_| {
        let before = midge.status("voluntary_ctxt_switches");
        sleep(Duration::from_secs(2));
        midge.status("voluntary_ctxt_switches") - before
    };
    // At most once every `sys_interval`, which is ten seconds; the first time it may still be starting.
    let wakes: Vec<_> = (0..2).map(two_seconds).collect();
    assert!(
        wakes.iter().any(|wakes| *wakes <= 1),
        "{wakes:?} times in two seconds each"
    );
}

#[test]
fn a_client_that_closes_its_side_early_still_gets_its_answers() {
    let midge = Midge::start();
    let mut ann = midge.opens();
    let mut bytes = connect("ann").bytes(V311);
    bytes.extend(subscribe(1, "a", 0).bytes(V311));
    bytes.extend(pingreq().bytes(V311));
    ann.write_all(&bytes).unwrap();
    ann.shutdown(Shutdown::Write).unwrap();
    let heard = read_to_close(&mut ann);
    let expected = [connack(false), suback(1, &[0]), pingresp()]
        .map(|say| say.bytes(V311))
        .concat();
    assert_eq!(heard, expected);
}

#[test]
fn ten_thousand_retained_messages_are_replayed_while_others_are_served() {
    let midge = Midge::start();
    let mut ann = midge.client(V311, "ann");
    for index in 0..10_000 {
        let packet = publish(&format!("store/{index}"), [7; 500])
            .retain()
            .bytes(V311);
        ann.write_all(&packet).unwrap();
    }
    ann.write_all(&pingreq().bytes(V311)).unwrap();
    read_packet(&mut ann);
    let mut bob = midge.subscriber("bob", "#", 0);
    for _ in 0..10_000 {
        let packet = read_packet(&mut bob);
        assert_eq!(packet[0], 0x31, "a retained PUBLISH at QoS 0");
    }
    bob.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let error = bob.read(&mut [0]).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
}

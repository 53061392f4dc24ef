//! `midge check` on machines made up for it: each mistake and its exact sentences, and what a line
//! is explained with.

mod made_up;

use made_up::{CONF, MOSQUITTO, Machine, PI, ROOT, SSL, program};
use midge::check::command::json;
use midge::check::facts::{InTheWay, Program};
use midge::check::{Look, people};
use proptest::prelude::*;

const HASH: &str = "$7$101$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

/// Lines with users, whose passwords nobody knows.
fn users(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name}:{HASH}\n"))
        .collect()
}

/// A machine that finds exactly `expected`.
#[track_caller]
fn finds(machine: &Machine, expected: &[&str]) {
    let found = machine.finds();
    assert!(
        found == expected,
        "found\n{}\nnot\n{}",
        found.join("\n"),
        expected.join("\n")
    );
}

/// With a password file that only root and mosquitto can read.
fn secured(text: &str) -> Machine {
    let text = format!("password_file /etc/mq/passwd\n{text}");
    Machine::with(&text).file("/etc/mq/passwd", &users(&["ann"]), (ROOT, MOSQUITTO, 0o640))
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    finds(&secured("listener 1883\n"), &[]);
}

#[test]
fn what_stands_below_a_listener_and_is_not_its_own() {
    finds(
        &secured("listener 1883\nmax_keepalive 60\nsys_interval 0\n"),
        &[
            "note /etc/m.conf:3: max_keepalive and sys_interval stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    finds(
        &secured("listener 1883\nsys_interval 0\n"),
        &[
            "note /etc/m.conf:3: sys_interval stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    let text = "listener 1883\nallow_anonymous false\nlistener 1884\nallow_anonymous false\n";
    finds(
        &secured(text),
        &[
            "warning /etc/m.conf:3: allow_anonymous stands below a listener and applies to all listeners alike, for there is no per_listener_settings true. -> Put `per_listener_settings true` at the top of the file, and the security options of each listener below it; or move it above the first listener.",
        ],
    );
    let text = "per_listener_settings true\nlistener 1883\nallow_anonymous false\npassword_file /etc/mq/passwd\n";
    finds(
        &Machine::with(text).file("/etc/mq/passwd", &users(&["ann"]), (ROOT, MOSQUITTO, 0o640)),
        &[],
    );
}

#[test]
fn comments_where_none_can_be() {
    let t = secured("listener 1883\npid_file /etc/mq/midge.pid # here\n");
    finds(
        &t,
        &[
            "warning /etc/m.conf:3: \"# here\" is part of the value of pid_file: a comment stands on a line of its own. -> Move the comment to a line of its own, with the # in the first column.",
            "note /etc/m.conf:3: pid_file stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
            "note /etc/m.conf:3: mosquitto, as whom midge runs, cannot write to /etc/mq: the pid_file stays behind when midge ends. -> `chown mosquitto: /etc/mq`.",
        ],
    );
    finds(
        &secured("listener 1883\n # here\n"),
        &[
            "error /etc/m.conf:3: Unknown configuration variable \"#\": a comment must begin in the first column, without blanks before it. -> Remove the blanks before the #.",
        ],
    );
    finds(
        &secured("listener 1883\nmax_qos 1 or so\n"),
        &[
            "warning /etc/m.conf:3: What follows the value of max_qos is not read: or so. -> Remove what is not read.",
        ],
    );
}

#[test]
fn names_that_are_none() {
    finds(
        &secured("listener 1883\nsys_intervall 5\nperhaps 3\n"),
        &[
            "error /etc/m.conf:3: Unknown configuration variable \"sys_intervall\"; did you mean sys_interval? -> Write sys_interval, if that is meant.",
            "error /etc/m.conf:4: Unknown configuration variable \"perhaps\". -> Remove the line; `midge --options` lists all there are.",
        ],
    );
    finds(
        &secured("listener 1883\nsys_interval\t5\n"),
        &[
            "error /etc/m.conf:3: Unknown configuration variable \"sys_interval\": a tab stands in it; the name must end with a space. -> Put a space in place of the tab.",
        ],
    );
    finds(
        &secured("listener 1883\n#midge_log_wordin 2.0\n"),
        &[
            "warning /etc/m.conf:3: \"midge_log_wordin\" is no option of midge's and stays a comment; did you mean midge_log_wording?",
        ],
    );
}

#[test]
fn settings_given_twice() {
    finds(
        &secured("sys_interval 5\nsys_interval 6\nlistener 1883\n"),
        &[
            "warning /etc/m.conf:3: sys_interval is given twice; this one holds, not the one at /etc/m.conf:2. -> Remove one of the two.",
        ],
    );
    finds(
        &secured("sys_interval 5\nsys_interval 5\nlistener 1883\n"),
        &[
            "note /etc/m.conf:3: sys_interval is given twice, here and at /etc/m.conf:2, with the same value. -> Remove one of the two.",
        ],
    );
    finds(
        &secured(
            "log_dest stdout\nlog_dest stderr\nlog_type error\nlog_type warning\nlistener 1883\n",
        ),
        &[],
    );
    let t = secured("persistence_location /etc/mq\npersistence_location /etc/mq/\nlistener 1883\n");
    finds(
        &t,
        &[
            "warning /etc/m.conf:3: persistence_location is given twice; this one is used, not the one at /etc/m.conf:2. -> Remove one of the two.",
        ],
    );
}

#[test]
fn what_is_not_in_effect() {
    finds(
        &secured("listener 1883\nretry_interval 5\n"),
        &[
            "warning /etc/m.conf:3: retry_interval is accepted, but not in effect: messages are sent again only after a reconnect, as MQTT asks. -> The line can be removed.",
            "note /etc/m.conf:3: retry_interval stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    finds(
        &secured("listener 1883\nconnection cloud\naddress x\ntopic # out\n"),
        &[
            "warning /etc/m.conf:3: connection cloud is accepted, but this bridge is not made: nothing goes to or comes from the other broker.",
        ],
    );
    let t = secured("listener 1883\npsk_hint h\n");
    finds(
        &t,
        &[
            "error /etc/m.conf:3: psk_hint keeps midge from starting: TLS-PSK is not supported, so that its clients could not come in; give the listener a certificate (certfile, keyfile) instead. -> Remove it if you can do without; else stay with mosquitto for now.",
        ],
    );
}

#[test]
fn who_is_let_in() {
    finds(
        &Machine::with("allow_anonymous true\nlistener 1883\nlistener 1884 10.0.0.1\n"),
        &[
            "warning /etc/m.conf:1: listeners 1883 and 1884 10.0.0.1 are open to the network and let in clients without a username: whoever gets there can read and publish what the rules allow everybody. -> If that is not meant: `allow_anonymous false`, and a `password_file FILE` with a file made by `midge passwd -c FILE USER`.",
        ],
    );
    finds(
        &Machine::with("listener 1883\nlistener 1884\n"),
        &[
            "warning /etc/m.conf:1: listeners 1883 and 1884 let in nobody: allow_anonymous is false there, and no password_file says who the users are. -> Add `password_file FILE`, with a file made by `midge passwd -c FILE USER`; or, in a network where you trust everybody, `allow_anonymous true`.",
        ],
    );
    finds(
        &Machine::with("listener 1883\n"),
        &[
            "warning /etc/m.conf:1: listener 1883 lets in nobody: allow_anonymous is false there, and no password_file says who the users are. -> Add `password_file FILE`, with a file made by `midge passwd -c FILE USER`; or, in a network where you trust everybody, `allow_anonymous true`.",
        ],
    );
    finds(
        &secured("listener 1883\nallow_anonymous true\n"),
        &[
            "warning /etc/m.conf:3: listener 1883 has the password_file /etc/mq/passwd, but allow_anonymous true: who gives no username is let in without a password. -> If that is not meant: `allow_anonymous false`.",
        ],
    );
}

#[test]
fn listeners_that_only_this_machine_reaches() {
    finds(
        &Machine::with(""),
        &[
            "note: No listener is named, so that only programs on this machine can connect, to port 1883. -> To open the broker to the network, add two lines: `listener 1883`, and below it `allow_anonymous true`, or better `password_file FILE` with a file made by `midge passwd -c FILE USER`.",
        ],
    );
    finds(
        &secured("listener 1884 localhost\nlistener 1883 ::1\n"),
        &[
            "note /etc/m.conf:2: All listeners are on addresses of this machine: nobody can connect from the network. -> To open the broker to the network, write `listener 1884` without an address.",
        ],
    );
    finds(
        &secured("listener 1884 127.0.0.1\nlistener 1883\n"),
        &[
            "note /etc/m.conf:2: listener 1884 127.0.0.1 is reached over IPv4 alone: a client that is told `localhost` may try ::1 first, and find nobody there. -> Tell such clients 127.0.0.1, or write `localhost` in place of the address.",
        ],
    );
}

#[test]
fn listeners_in_one_place() {
    finds(
        &secured("listener 1883\nlistener 1883\n"),
        &[
            "error /etc/m.conf:3: Two listeners cannot be in one place: listener 1883 stands at /etc/m.conf:2 already. -> Remove one of the two, or give it another port or address.",
        ],
    );
    finds(
        &secured("listener 1883 10.0.0.1\nlistener 1883\n"),
        &[
            "error /etc/m.conf:2: listener 1883 10.0.0.1 cannot be opened beside listener 1883 at /etc/m.conf:3, which takes that port on all addresses. -> Remove one of the two, or give it another port.",
        ],
    );
    finds(
        &secured("listener 1883 10.0.0.1\nlistener 1883 0.0.0.0\n"),
        &[
            "error /etc/m.conf:2: listener 1883 10.0.0.1 cannot be opened beside listener 1883 0.0.0.0 at /etc/m.conf:3, which takes that port on all addresses. -> Remove one of the two, or give it another port.",
        ],
    );
    finds(
        &secured("listener 1883 fe80::1\nlistener 1883 0.0.0.0\n"),
        &[],
    );
    finds(&secured("listener 1883 0.0.0.0\nlistener 1883 ::\n"), &[]);
    finds(
        &secured("listener 1883 10.0.0.1\nlistener 1883\nbind_interface wlan0\n"),
        &[],
    );
}

#[test]
fn bounds_that_are_none() {
    finds(
        &secured("max_packet_size 1000\nmessage_size_limit 2000\nlistener 1883\n"),
        &[
            "warning /etc/m.conf:3: message_size_limit allows payloads of 2000 bytes, but max_packet_size cuts off at 1000: a client that sends more is disconnected. -> Raise max_packet_size to 3024 or more, or lower message_size_limit.",
        ],
    );
    finds(
        &secured("max_queued_messages 0\nlistener 1883\n"),
        &[
            "note /etc/m.conf:2: max_queued_messages 0 sets no bound: a client that stays away can fill the memory of this machine. -> Give max_queued_messages a number, or remove the line.",
        ],
    );
    finds(
        &secured("max_queued_messages 0\nmax_queued_bytes 10000\nlistener 1883\n"),
        &[],
    );
}

#[test]
fn paths_that_depend_on_where_midge_is_started() {
    let text = "listener 1883\npassword_file passwd\n";
    let t = Machine::with(text).file("/srv/passwd", &users(&["ann"]), (ROOT, MOSQUITTO, 0o640));
    finds(
        &t,
        &[
            "note /etc/m.conf:2: password_file passwd is looked for in the directory that midge is started in; for a service that is /. -> Write the whole path, from the first / on.",
        ],
    );
}

#[test]
fn commands_stay_on_one_line() {
    let t = secured("listener 1883\nuser some-broker\n");
    let printed = people(&t.explains(), PLAIN);
    let command = "`useradd --system --no-create-home --shell /usr/sbin/nologin some-broker`,";
    let is_it = |line: &str| line.trim().strip_prefix("-> ") == Some(command);
    assert!(printed.lines().any(is_it), "{printed}");
}

#[test]
fn directories_of_more_lines() {
    let t = secured("listener 1883\ninclude_dir /etc/conf.d\n");
    finds(
        &t,
        &[
            "error /etc/m.conf:3: Unable to open include_dir '/etc/conf.d': there is none. -> `mkdir -p /etc/conf.d`, or remove the line.",
        ],
    );
    let t = t.directory("/etc/conf.d", (ROOT, ROOT, 0o755));
    finds(
        &t,
        &[
            "note /etc/m.conf:3: There is no file *.conf in /etc/conf.d: nothing is included. -> If there should be one, look at its name: it must end with .conf.",
        ],
    );
    let t = t.file(
        "/etc/conf.d/a.conf",
        "sys_interval 0\n",
        (ROOT, ROOT, 0o600),
    );
    finds(
        &t,
        &[
            "warning /etc/conf.d/a.conf: The configuration file /etc/conf.d/a.conf cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `chmod a+r /etc/conf.d/a.conf`.",
        ],
    );
}

#[test]
fn users_to_run_as() {
    finds(
        &secured("listener 1883\nuser broker\n"),
        &[
            "error /etc/m.conf:3: There is no user broker to run as. -> `useradd --system --no-create-home --shell /usr/sbin/nologin broker`, or name another in `user`.",
            "note /etc/m.conf:3: user stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    finds(
        &secured("listener 1883\nuser root\n"),
        &[
            "warning /etc/m.conf:3: The broker keeps root's rights: who finds a hole in it has the whole machine. -> Remove `user root`: midge then runs as mosquitto, or as nobody, after its start.",
            "note /etc/m.conf:3: user stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    let t = Machine::with("allow_anonymous true\nlistener 0 /etc/s").without_user("mosquitto");
    finds(
        &t,
        &[
            "error: There is no user mosquitto to run as. -> `useradd --system --no-create-home --shell /usr/sbin/nologin mosquitto`, or name another in `user`.",
            "note /etc/m.conf:2: All listeners are on addresses of this machine: nobody can connect from the network. -> To open the broker to the network, write `listener 1883` without an address.",
        ],
    );
    let t = Machine::with("user broker\nallow_anonymous true\nlistener 0 /etc/s").before(PI);
    finds(
        &t,
        &[
            "warning /etc/m.conf:1: There is no user broker; it would be needed if root started midge. -> `useradd --system --no-create-home --shell /usr/sbin/nologin broker`, or name another in `user`.",
            "note /etc/m.conf:3: All listeners are on addresses of this machine: nobody can connect from the network. -> To open the broker to the network, write `listener 1883` without an address.",
            "note: This was checked for midge started by pi; a service is started by root, and changes its user afterwards. -> For a service, run this with sudo.",
        ],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let text = "listener 1883\npassword_file /etc/mq/passwd\nacl_file /etc/mq/the acl\n";
    finds(
        &Machine::with(text),
        &[
            "error /etc/m.conf:2: The password_file /etc/mq/passwd cannot be read: there is none. -> Make it with `midge passwd -c /etc/mq/passwd USER`.",
            "error /etc/m.conf:3: The acl_file /etc/mq/the acl cannot be read: there is none. -> Mend the path, or put the file there.",
        ],
    );
    let t = Machine::with(text)
        .file("/etc/mq/passwd", &users(&["ann"]), (ROOT, ROOT, 0o600))
        .file(
            "/etc/mq/the acl",
            "pattern read %u/#\n",
            (ROOT, ROOT, 0o640),
        );
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: The password_file /etc/mq/passwd cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `chown root:mosquitto /etc/mq/passwd && chmod 640 /etc/mq/passwd`.",
            "warning /etc/m.conf:3: The acl_file /etc/mq/the acl cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `chown root:mosquitto '/etc/mq/the acl' && chmod 640 '/etc/mq/the acl'`.",
        ],
    );
    // The service may go on reading them.
    let mut service = Program {
        name: "midge".to_owned(),
        process: 4711,
        config: Some(CONF.to_owned()),
        reads_all: true,
    };
    let serves = "note: midge (process 4711) serves this very configuration already. -> Nothing is to be done; after a change, `kill -HUP 4711` reloads.";
    let t = t.in_the_way(1883, InTheWay::Program(Some(service.clone())));
    finds(&t, &[serves]);
    service.reads_all = false;
    let t = t.in_the_way(1883, InTheWay::Program(Some(service)));
    assert_eq!(t.finds().len(), 3);
    let t = t.free(1883).before(PI);
    finds(
        &t,
        &[
            "error /etc/m.conf:2: The password_file /etc/mq/passwd cannot be read: its rights do not allow it. -> If root is to start midge, run this with sudo.",
            "error /etc/m.conf:3: The acl_file /etc/mq/the acl cannot be read: its rights do not allow it. -> If root is to start midge, run this with sudo.",
            "note: This was checked for midge started by pi; a service is started by root, and changes its user afterwards. -> For a service, run this with sudo.",
        ],
    );
    // The whole way there counts, for those who may not go it.
    let t = Machine::with("listener 1883\npassword_file /home/pi/passwd\n")
        .file(
            "/home/pi/passwd",
            &users(&["ann"]),
            (MOSQUITTO, MOSQUITTO, 0o600),
        )
        .has("/home/pi", (PI, PI, 0o700));
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: The password_file /home/pi/passwd cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `chmod o+x /home/pi`, for /home/pi is closed to it, or move the file elsewhere.",
        ],
    );
    let t = t.has("/home/pi", (ROOT, SSL, 0o710));
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: The password_file /home/pi/passwd cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `usermod -aG ssl-cert mosquitto`, for /home/pi is closed to it, and start midge anew.",
        ],
    );
    // What is read at each reload is read by the broker's user.
    let t = secured("listener 1883\n").has(CONF, (ROOT, ROOT, 0o600));
    finds(
        &t,
        &[
            "warning /etc/m.conf: The configuration file /etc/m.conf cannot be read by mosquitto, as whom midge runs: root reads it at the start, but every reload would fail. -> `chmod a+r /etc/m.conf`.",
        ],
    );
}

#[test]
fn files_that_everybody_can_read() {
    let text = "listener 1883\npassword_file /etc/mq/passwd\nacl_file /etc/mq/acl\n";
    let t = Machine::with(text)
        .file("/etc/mq/passwd", &users(&["ann"]), (ROOT, ROOT, 0o644))
        .file("/etc/mq/acl", "pattern read %u/#\n", (ROOT, ROOT, 0o644));
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: Every user of this machine can read the password_file /etc/mq/passwd. -> `chown root:mosquitto /etc/mq/passwd && chmod 640 /etc/mq/passwd`.",
            "note /etc/m.conf:3: Every user of this machine can read in /etc/mq/acl who may do what. -> `chown root:mosquitto /etc/mq/acl && chmod 640 /etc/mq/acl`.",
        ],
    );
    // Nobody gets there.
    finds(&t.has("/etc/mq", (MOSQUITTO, MOSQUITTO, 0o750)), &[]);
    let t = Machine::with(text)
        .file(
            "/etc/mq/passwd",
            &users(&["ann"]),
            (MOSQUITTO, MOSQUITTO, 0o604),
        )
        .file(
            "/etc/mq/acl",
            "pattern read %u/#\n",
            (ROOT, MOSQUITTO, 0o642),
        );
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: Every user of this machine can read the password_file /etc/mq/passwd. -> `chmod 600 /etc/mq/passwd`.",
            "warning /etc/m.conf:3: Every user of this machine can change the acl_file /etc/mq/acl. -> `chmod o-w /etc/mq/acl`.",
        ],
    );
    let t = Machine::with("listener 1883\npassword_file /etc/mq/passwd\n")
        .file("/etc/mq/passwd", &users(&["ann"]), (ROOT, ROOT, 0o644))
        .before(PI);
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: Every user of this machine can read the password_file /etc/mq/passwd. -> `sudo chown pi /etc/mq/passwd && sudo chmod 600 /etc/mq/passwd`.",
            "note: This was checked for midge started by pi; a service is started by root, and changes its user afterwards. -> For a service, run this with sudo.",
        ],
    );
    let bridge =
        "listener 1883\nconnection cloud\naddress x\ntopic # out\nremote_password hunter2\n";
    finds(
        &secured(bridge),
        &[
            "warning /etc/m.conf: Every user of this machine can read /etc/m.conf, and the password of a bridge in it. -> `chown root:mosquitto /etc/m.conf && chmod 640 /etc/m.conf`.",
            "warning /etc/m.conf:3: connection cloud is accepted, but this bridge is not made: nothing goes to or comes from the other broker.",
        ],
    );
}

#[test]
fn places_that_cannot_be_written_to() {
    let text = "listener 1883\npid_file /run/mq/midge.pid\nlog_dest file /var/log/mq/midge.log\n\
                persistence true\npersistence_location /var/lib/mq/\n";
    finds(
        &secured(text),
        &[
            "error /etc/m.conf:4: There is no directory /var/log/mq, where log_dest wants to write. -> `install -d -o mosquitto -g mosquitto -m 755 /var/log/mq`.",
            "warning /etc/m.conf:3: There is no directory /run/mq, where pid_file wants to write. -> Under systemd, a line `RuntimeDirectory=mq` in the unit makes it at each start; otherwise `install -d -o mosquitto -g mosquitto -m 755 /run/mq`, after each boot.",
            "warning /etc/m.conf:6: There is no directory /var/lib/mq, where persistence_location wants to write. -> `install -d -o mosquitto -g mosquitto -m 755 /var/lib/mq`.",
            "note /etc/m.conf:3: pid_file, log_dest, persistence and persistence_location stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    let t = secured(text)
        .directory("/run/mq", (ROOT, ROOT, 0o755))
        .directory("/var/log/mq", (ROOT, ROOT, 0o755))
        .directory("/var/lib/mq", (ROOT, ROOT, 0o755));
    finds(
        &t,
        &[
            "warning /etc/m.conf:4: mosquitto, as whom midge runs, cannot write to /var/log/mq: root opens the log at the start, but after its rotation (SIGRTMIN) midge could not. -> `chown mosquitto: /var/log/mq`.",
            "warning /etc/m.conf:6: mosquitto, as whom midge runs, cannot write to /var/lib/mq: no state could be kept there. -> `chown mosquitto: /var/lib/mq`.",
            "note /etc/m.conf:3: pid_file, log_dest, persistence and persistence_location stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
            "note /etc/m.conf:3: mosquitto, as whom midge runs, cannot write to /run/mq: the pid_file stays behind when midge ends. -> `chown mosquitto: /run/mq`.",
        ],
    );
    finds(
        &t.has("/etc/mq/passwd", (PI, PI, 0o600)).before(PI),
        &[
            "error /etc/m.conf:3: pi, as whom midge runs, cannot write to /run/mq: midge does not start without its pid_file. -> `chown pi: /run/mq`.",
            "error /etc/m.conf:4: pi, as whom midge runs, cannot write to /var/log/mq: midge does not start without its log. -> `chown pi: /var/log/mq`.",
            "warning /etc/m.conf:6: pi, as whom midge runs, cannot write to /var/lib/mq: no state could be kept there. -> `chown pi: /var/lib/mq`.",
            "note /etc/m.conf:3: pid_file, log_dest, persistence and persistence_location stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
            "note: This was checked for midge started by pi; a service is started by root, and changes its user afterwards. -> For a service, run this with sudo.",
        ],
    );
    let owned = |path: &str, t: Machine| t.directory(path, (MOSQUITTO, MOSQUITTO, 0o750));
    let t = owned(
        "/run/mq",
        owned("/var/log/mq", owned("/var/lib/mq", secured(text))),
    );
    finds(
        &t,
        &[
            "note /etc/m.conf:3: pid_file, log_dest, persistence and persistence_location stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    let t = t.file("/var/log/mq/midge.log", "", (ROOT, ROOT, 0o644));
    finds(
        &t,
        &[
            "warning /etc/m.conf:4: mosquitto, as whom midge runs, cannot write to /var/log/mq/midge.log: root opens the log at the start, but after its rotation (SIGRTMIN) midge could not. -> `chown mosquitto: /var/log/mq/midge.log`.",
            "note /etc/m.conf:3: pid_file, log_dest, persistence and persistence_location stand below a listener and apply to the whole broker all the same. -> Move them above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    finds(
        &secured("listener 1883\nlog_dest file /var/log/midge.log\n")
            .directory("/var/log", (ROOT, ROOT, 0o755)),
        &[
            "warning /etc/m.conf:3: mosquitto, as whom midge runs, cannot write to /var/log: root opens the log at the start, but after its rotation (SIGRTMIN) midge could not. -> `install -d -o mosquitto -g mosquitto -m 755 /var/log/midge`, and name that.",
            "note /etc/m.conf:3: log_dest stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
    finds(
        &secured("listener 1883\nlog_dest syslog\n"),
        &[
            "error /etc/m.conf:3: log_dest syslog finds no syslog here: there is no /dev/log. -> Start a syslog daemon, or name another log_dest.",
            "note /etc/m.conf:3: log_dest stands below a listener and applies to the whole broker all the same. -> Move it above the first listener, so that nobody is misled; nothing else changes.",
        ],
    );
}

#[test]
fn users_and_their_rules() {
    let with = |passwords: &str, rules: &str| {
        Machine::with("listener 1883\npassword_file /etc/mq/passwd\nacl_file /etc/mq/acl\n")
            .file("/etc/mq/passwd", passwords, (ROOT, MOSQUITTO, 0o640))
            .file("/etc/mq/acl", rules, (ROOT, MOSQUITTO, 0o640))
    };
    let twice = users(&["ann", "bob", "ann"]);
    finds(
        &with(&twice, "topic read #\nuser ann\ntopic x\n"),
        &["error /etc/mq/passwd:3: The password_file cannot be taken: user 'ann' is there twice."],
    );
    let rules = "user ann\ntopic x\nuser cleo\ntopic y\nuser bob\ntopic y\n";
    finds(
        &with(&users(&["ann", "bob"]), rules),
        &[
            "warning /etc/mq/acl:3: cleo has rules here, but the password_file /etc/mq/passwd does not have this user: nobody can log in by that name. -> `midge passwd /etc/mq/passwd cleo`, or mend the name.",
        ],
    );
    let rules = "user bob\ntopic x\nuser cleo\ntopic y\nuser dan\ntopic y\nuser ann\ntopic y\n";
    finds(
        &with(&users(&["ann"]), rules),
        &[
            "warning /etc/mq/acl:1: bob, cleo and dan have rules here, but the password_file /etc/mq/passwd does not have these users: nobody can log in by those names. -> `midge passwd /etc/mq/passwd USER`, or mend the name.",
        ],
    );
    finds(
        &with(&users(&["ann", "bob", "cleo"]), "user ann\ntopic x\n"),
        &[
            "warning /etc/mq/passwd:2: bob and cleo have no rule in the acl_file /etc/mq/acl, which has no patterns either, and may neither publish nor receive anything. -> Add `user NAME` to that file with a line such as `topic readwrite #` below it, or a line such as `pattern readwrite %u/#` for all users.",
        ],
    );
    finds(
        &with(
            &users(&["ann", "bob", "cleo"]),
            "pattern read %u/#\nuser ann\ntopic x\n",
        ),
        &[],
    );
    finds(
        &with("\n", "# all\n"),
        &[
            "warning /etc/mq/passwd: The password_file has no user in it: no username is let in. -> Add one with `midge passwd FILE USER`.",
            "warning /etc/mq/acl: The acl_file has no rule in it: nobody may publish or receive. -> Add rules, or remove acl_file if everybody may do everything.",
        ],
    );
    finds(
        &with("ann\n", "topic\nrule x\npattern read a\n"),
        &[
            "error /etc/mq/acl:1: The acl_file cannot be taken: no topic filter follows.",
            "error /etc/mq/acl:2: The acl_file cannot be taken: 'rule' is none of user, topic and pattern.",
            "warning /etc/mq/passwd: The password_file has no user in it: no username is let in. -> Add one with `midge passwd FILE USER`.",
            "warning /etc/mq/passwd:1: Line 1 is ignored: there is no colon.",
        ],
    );
    finds(
        &with(&users(&["ann"]), "user ann\npattern read a\n"),
        &[
            "warning /etc/mq/acl:2: This pattern has neither %c nor %u as a level, so that it holds for every client.",
        ],
    );
    let t = Machine::with("listener 1883\nallow_anonymous true\nacl_file /etc/mq/acl\n").file(
        "/etc/mq/acl",
        "user ann\ntopic x\n",
        (ROOT, MOSQUITTO, 0o640),
    );
    finds(
        &t,
        &[
            "warning /etc/m.conf:2: listener 1883 is open to the network and lets in clients without a username: whoever gets there can read and publish what the rules allow everybody. -> If that is not meant: `allow_anonymous false`, and a `password_file FILE` with a file made by `midge passwd -c FILE USER`.",
            "warning /etc/mq/acl:1: ann has rules here, but there is no password_file: any client can say that this is its username. -> Add `password_file FILE`, with a file made by `midge passwd -c FILE USER`.",
        ],
    );
}

#[test]
fn programs_in_the_way() {
    let t = |why| secured("listener 1883\n").in_the_way(1883, why);
    finds(
        &t(program("nginx", None)),
        &[
            "error /etc/m.conf:2: Port 1883 on all addresses is in use by nginx (process 4711). -> Stop it, or choose another port.",
        ],
    );
    finds(
        &t(program("mosquitto", Some("/etc/other.conf"))),
        &[
            "error /etc/m.conf:2: Port 1883 on all addresses is in use by mosquitto (process 4711). -> Stop it with `systemctl stop mosquitto` or `kill 4711`, or choose another port.",
        ],
    );
    finds(
        &t(program("mosquitto", Some(CONF))),
        &[
            "note: mosquitto (process 4711) serves this very configuration now, and has its ports. -> To put midge in its place, stop it first: `systemctl stop mosquitto`, or `kill 4711`.",
        ],
    );
    finds(
        &t(program("midge", Some(CONF))),
        &[
            "note: midge (process 4711) serves this very configuration already. -> Nothing is to be done; after a change, `kill -HUP 4711` reloads.",
        ],
    );
    finds(
        &t(InTheWay::Program(None)),
        &[
            "error /etc/m.conf:2: Port 1883 on all addresses is in use; by which program, this user may not see. -> `sudo ss -ltnp 'sport = :1883'` says which one; stop it, or choose another port.",
        ],
    );
    finds(
        &t(InTheWay::NotPermitted),
        &[
            "error /etc/m.conf:2: This user may not listen on port 1883 on all addresses. -> Choose a port above 1023, or let root start midge.",
        ],
    );
    finds(
        &t(InTheWay::NoAddress),
        &[
            "error /etc/m.conf:2: Port 1883 on all addresses: this machine does not have that address. -> `ip address` lists those there are.",
        ],
    );
    finds(
        &t(InTheWay::Other("no luck".to_owned())),
        &["error /etc/m.conf:2: Nobody can listen on port 1883 on all addresses: no luck."],
    );
}

#[test]
fn without_a_file_the_usual_one_is_named() {
    let machine = Machine::with("").file("/etc/mosquitto/mosquitto.conf", "", (ROOT, ROOT, 0o644));
    let report = midge::check::explain(&midge::config::Input::default(), &machine);
    let found: Vec<_> = report.findings.iter().map(made_up::told).collect();
    assert_eq!(
        found[1],
        "note: No file was named, so that this is what midge does without one. There is /etc/mosquitto/mosquitto.conf. -> To have it explained: `midge check -c /etc/mosquitto/mosquitto.conf`."
    );
    assert!(report.would_start && report.lines.is_empty() && report.file.is_none());
}

#[test]
fn each_line_says_what_holds() {
    let text = "allow_anonymous true\n\
                max_inflight_messages 65535\n\
                #midge_log_wording 2.0\n\
                sys_interval 5\n\
                sys_interval 6\n\
                log_dest stdout\n\
                log_dest stderr\n\
                retained_persistence true\n\
                listener 1883\n\
                max_qos 1\n\
                listener 1884 10.0.0.1\n\
                listener_allow_anonymous false\n\
                max_connection 5\n\
                connection cloud\n\
                address x\n\
                topic # out\n\
                remote_password hunter2\n\
                remote_pasword hunter2\n\
                plugin /lib/mosquitto_acl_file.so\n\
                plugin_opt_acl_file /etc/acl\n\
                plugin_opt_pg_password hunter2\n\
                pid_file /run/midge.pid\n";
    let report = Machine::with(text).explains();
    let lines = report.lines.iter().map(|line| {
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        [
            format!("{} {} {}", line.line, line.name, line.text),
            or_none(line.value_in_force.as_deref()),
            or_none(line.scope),
            or_none(line.applies_to.as_deref()),
            or_none(line.reload),
            or_none(line.support),
        ]
        .join(" | ")
    });
    let expected = [
        "1 allow_anonymous true | true on listener 1883, false on listener 1884 10.0.0.1 | security | all listeners | new-connections | works",
        "2 max_inflight_messages 65535 | 0 | global | the whole broker | new-connections | works",
        "3 midge_log_wording 2.0 | 2.0 | global | the whole broker | now | works",
        "4 sys_interval 5 | 6 | global | the whole broker | now | works",
        "5 sys_interval 6 | 6 | global | the whole broker | now | works",
        "6 log_dest stdout | stdout, stderr | global | the whole broker | now | works",
        "7 log_dest stderr | stdout, stderr | global | the whole broker | now | works",
        "8 retained_persistence true | true | global | the whole broker | restart | works",
        "9 listener 1883 | - | listener | listener 1883 | now | works",
        "10 max_qos 1 | 1 | listener | listener 1883 | new-connections | works",
        "11 listener 1884 10.0.0.1 | - | listener | listener 1884 10.0.0.1 | now | works",
        "12 listener_allow_anonymous false | false | listener | listener 1884 10.0.0.1 | new-connections | works",
        "13 max_connection (not shown) | - | - | - | - | -",
        "14 connection cloud | - | bridge | connection cloud | reconnects | not-in-effect",
        "15 address x | - | bridge | connection cloud | reconnects | not-in-effect",
        "16 topic # out | - | bridge | connection cloud | reconnects | not-in-effect",
        "17 remote_password (not shown) | - | bridge | connection cloud | reconnects | not-in-effect",
        "18 remote_pasword (not shown) | - | - | - | - | -",
        "19 plugin /lib/mosquitto_acl_file.so | - | plugin | all listeners | now | works",
        "20 plugin_opt_acl_file /etc/acl | - | plugin | the plugin named last | now | works",
        "21 plugin_opt_pg_password (not shown) | - | plugin | the plugin named last | now | works",
        "22 pid_file /run/midge.pid | /run/midge.pid | global | the whole broker | restart | works",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert!(!report.would_start);
    assert!(!format!("{report:?}{}", json(&report)).contains("hunter2"));
}

#[test]
fn local_listeners_where_none_is_named() {
    let report = Machine::with("max_connections 5\nallow_anonymous false\n").explains();
    assert_eq!(report.lines[0].value_in_force.as_deref(), Some("5"));
    assert_eq!(
        report.lines[0].applies_to.as_deref(),
        Some("listener 1883 127.0.0.1 and listener 1883 ::1")
    );
    assert_eq!(report.lines[1].value_in_force.as_deref(), Some("false"));
}

const PLAIN: Look = Look {
    columns: 60,
    colour: false,
};

const PRINTED: &str = r#"/etc/m.conf

    1  listener 1883
       Begins a listener. The listener options behind it are
       its own.
       listener 1883 | reload: at once
    2  max_inflight_messages 65535
       QoS 1 and 2 messages in flight to one client, and
       from one client of MQTT 5.0; 0 sets no bound. 1 keeps
       strict order.
       in force: 0 | the whole broker | reload: for new
       connections
    3  pasword (not shown)
       There is no such option.

error     /etc/m.conf:3
          Unknown configuration variable "pasword"; did you
          mean password?
          -> Write password, if that is meant.

note      /etc/m.conf:2
          max_inflight_messages stands below a listener and
          applies to the whole broker all the same.
          -> Move it above the first listener, so that
          nobody is misled; nothing else changes.

midge would not start with /etc/m.conf (1 error, 0 warnings,
1 note): mend the errors.
"#;

#[test]
fn for_people_it_is_aligned_and_wrapped() {
    let text = "listener 1883\nmax_inflight_messages 65535\npasword hunter2\n";
    let report = Machine::with(text).explains();
    assert_eq!(people(&report, PLAIN), PRINTED);
    let coloured = people(
        &report,
        Look {
            colour: true,
            ..PLAIN
        },
    );
    assert!(
        coloured.contains("\u{1b}[31merror     \u{1b}[0m"),
        "{coloured:?}"
    );
    let plain = ["1", "2", "31", "32", "33", "36", "0"]
        .iter()
        .fold(coloured, |text, code| {
            text.replace(&format!("\u{1b}[{code}m"), "")
        });
    assert_eq!(plain, people(&report, PLAIN));
}

#[test]
fn no_file_steers_the_terminal() {
    let text =
        "sys_interval 5\u{1b}[2J\u{9b}2J\nsys\u{1b}]0;x\u{7} 5\nuser a\u{202e}b\nlistener 1883\n";
    let t = Machine::with(text).file(
        "/etc/mq/acl",
        "user \u{1b}[2J\ntopic x\n",
        (ROOT, ROOT, 0o644),
    );
    let report = t.explains();
    for text in [people(&report, PLAIN), json(&report)] {
        let steering = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        assert_eq!(text.chars().find(steering), None, "{text}");
    }
    assert!(people(&report, PLAIN).contains("sys_interval 5\\u{1b}[2J\\u{9b}2J"));
    let machine: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    assert_eq!(machine["lines"][0]["text"], "5\u{1b}[2J\u{9b}2J");
}

proptest! {
    /// Whatever stands in the files, there is a report, and it steers nothing.
    #[test]
    fn any_files_are_explained(
        conf in "(((listener|user|acl_file|password|#midge_x|connection) )?.{0,20}\n){0,6}",
        passwords in any::<Vec<u8>>(),
        rules in "((user|topic|pattern) .{0,8}\n){0,4}",
    ) {
        let text = format!("listener 1\npassword_file /p\nacl_file /a\n{conf}");
        let passwords = String::from_utf8_lossy(&passwords).into_owned();
        let t = Machine::with(&text)
            .file("/p", &passwords, (ROOT, ROOT, 0o640))
            .file("/a", &rules, (ROOT, ROOT, 0o640));
        let report = t.explains();
        let steering = |c: char| c.is_control() && c != '\n';
        prop_assert!(!people(&report, PLAIN).contains(steering));
        prop_assert!(!json(&report).contains(steering));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json(&report)).is_ok());
    }
}

#[test]
fn for_machines_the_shape_is_fixed() {
    let text = "listener 1883\nmax_inflight_messages 65535\npasword hunter2\n";
    let report = Machine::with(text).explains();
    let object: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    let expected = serde_json::json!({
        "file": CONF,
        "runs_as": "mosquitto",
        "would_start": false,
        "lines": [
            {
                "file": CONF,
                "line": 1,
                "name": "listener",
                "text": "1883",
                "value_in_force": null,
                "scope": "listener",
                "applies_to": "listener 1883",
                "reload": "now",
                "support": "works",
                "meaning": "Begins a listener. The listener options behind it are its own."
            },
            {
                "file": CONF,
                "line": 2,
                "name": "max_inflight_messages",
                "text": "65535",
                "value_in_force": "0",
                "scope": "global",
                "applies_to": "the whole broker",
                "reload": "new-connections",
                "support": "works",
                "meaning": "QoS 1 and 2 messages in flight to one client, and from one client of \
                            MQTT 5.0; 0 sets no bound. 1 keeps strict order."
            },
            {
                "file": CONF,
                "line": 3,
                "name": "pasword",
                "text": "(not shown)",
                "value_in_force": null,
                "scope": null,
                "applies_to": null,
                "reload": null,
                "support": null,
                "meaning": null
            }
        ],
        "findings": [
            {
                "severity": "error",
                "file": CONF,
                "line": 3,
                "message": "Unknown configuration variable \"pasword\"; did you mean password?",
                "fix": "Write password, if that is meant."
            },
            {
                "severity": "note",
                "file": CONF,
                "line": 2,
                "message": "max_inflight_messages stands below a listener and applies to the whole \
                            broker all the same.",
                "fix": "Move it above the first listener, so that nobody is misled; nothing else \
                        changes."
            }
        ]
    });
    assert_eq!(object, expected);
}

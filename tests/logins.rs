//! `password_file`: who is let in, by what, and that nobody waits for it but those who log in.

mod table;
use midge::broker::Broker;
use midge::broker::client::Peer;
use midge::broker::key::ConnId;
use midge::codec::reason::ReasonCode;
use midge::config::{Config, FileError, Files};
use midge::limits;
use midge::policy::Lists;
use midge::time::{Mono, Now, Unix};
use std::rc::Rc;
use table::*;

const SHA512: &str = "$6$dHdlbHZlIGJ5dGVz$p5dqYHXx6PRf7iJSl2g2eguf0rcIebH3o4ceW+BPYUe4lNCmwnMN0YGEsbCvXdHvq7Dx3AzZnbUFW/Far7dKpg==";
const PBKDF2: &str = "$7$101$dHdlbHZlIGJ5dGVz$Q/HFb3dvBjJGcp/cz4IYhVvS8Kr+byoWRNGK9kZLydKJlCunuHl4Cm3gWzCOBxy3rxOoizjBlxSRMYjg/JoTwg==";
/// As go-auth writes it.
const GO_AUTH: &str = "PBKDF2$sha512$1000$c2l4dGVlbiBieXRlIHNhbA==$ySFjCYZgBaMfVM9fxvtdoYgo4hfw4JTv6xbHOJY03LK2GrjHOdhg90Bf6TTOMoB4aOQMlUbXFVNHurr2fXTqWQ==";
const ARGON2ID: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

const PASSWORD: &str = "tea for two";

/// Each form with its password.
const FORMS: [(&str, &str); 4] = [
    (SHA512, PASSWORD),
    (PBKDF2, PASSWORD),
    (GO_AUTH, PASSWORD),
    (ARGON2ID, "password"),
];

const WRONG: &str = "the username or the password is wrong";
const NO_USERNAME: &str = "clients without a username are not let in";

/// All listeners have one password file, and let in nobody without a username.
fn guarded(config: &mut Config) {
    for listener in &mut config.listeners {
        listener.security.allow_anonymous = false;
        listener.security.password_file = Some("users".into());
    }
}

fn with_users(users: &str) -> Table {
    Table::with_files(&[("users", users)], guarded)
}

fn login(user: &str, password: &str) -> Say {
    connect(user).user(user).pass(password.as_bytes())
}

#[test]
fn every_form_of_hash_lets_in_whoever_knows_the_password() {
    for version in EVERY {
        for (hash, password) in FORMS {
            let mut t = with_users(&format!("ann:{hash}\n"));
            let ann = t.connects(version, login("ann", password));
            t.sends(ann, pingreq());
            t.gets(ann, pingresp());
            let bob = t.says_connect(version, login("ann", "guess")); // [MQTT-3.1.4-2] [MQTT5-3.1.4-2]
            t.refused(bob, ReasonCode::NotAuthorized, WRONG);
            t.silence();
            t.open(ann);
        }
    }
}

#[test]
fn nobody_is_told_whether_it_was_the_name_or_the_password() {
    for version in EVERY {
        let mut t = with_users(&format!("ann:{PBKDF2}\n"));
        for packet in [
            login("ann", "guess"),
            login("ann", ""),
            login("bob", "password"),
            connect("ann").user("ann"),
        ] {
            let seat = t.says_connect(version, packet);
            t.refused(seat, ReasonCode::NotAuthorized, WRONG);
        }
        for packet in [connect("ann"), connect("ann").user("")] {
            let seat = t.says_connect(version, packet);
            t.refused(seat, ReasonCode::NotAuthorized, NO_USERNAME);
        }
        assert_eq!(t.broker.sizes().sessions, 0);
    }
}

#[test]
fn a_file_without_users_lets_nobody_in() {
    for version in EVERY {
        for text in ["", "\n", "# ann:$7$\n"] {
            let mut t = with_users(text);
            let ann = t.says_connect(version, login("ann", "password"));
            t.refused(ann, ReasonCode::NotAuthorized, WRONG);
        }
        // One that was never read is no better.
        let mut t = Table::with(guarded);
        let ann = t.says_connect(version, login("ann", "password"));
        t.refused(ann, ReasonCode::NotAuthorized, WRONG);
    }
}

#[test]
fn clients_without_a_username_are_a_question_of_their_own() {
    for version in EVERY {
        let users = format!("ann:{PBKDF2}\n");
        let mut t = Table::with_files(&[("users", &users)], |config| {
            guarded(config);
            config.listeners[0].security.allow_anonymous = true;
        });
        t.client(version, "anybody");
        t.connects(version, login("ann", PASSWORD));
        let bob = t.says_connect(version, login("bob", "password"));
        t.refused(bob, ReasonCode::NotAuthorized, WRONG);
    }
}

#[test]
fn each_listener_has_its_own_users() {
    for version in EVERY {
        let (ann, bob) = (format!("ann:{PBKDF2}\n"), format!("bob:{PBKDF2}\n"));
        let mut t = Table::with_files(&[("inner", &ann), ("outer", &bob)], |config| {
            guarded(config);
            config.listeners[0].security.password_file = Some("inner".into());
            config.listeners[1].security.password_file = Some("outer".into());
        });
        for (listener, name, stranger) in [(0, "ann", "bob"), (1, "bob", "ann")] {
            t.comes_by(listener);
            t.connects(version, login(name, PASSWORD));
            let seat = t.says_connect(version, login(stranger, PASSWORD));
            t.refused(seat, ReasonCode::NotAuthorized, WRONG);
        }
    }
}

#[test]
fn what_comes_behind_a_connect_waits_with_it() {
    for version in EVERY {
        let mut t = with_users(&format!("ann:{PBKDF2}\n"));
        let bob = t.connects(version, login("ann", PASSWORD));
        t.sends(bob, subscribe(1, "tea", 0));
        t.gets(bob, suback(1, &[0]));
        let mut bytes = connect("pipe")
            .user("ann")
            .pass(PASSWORD.as_bytes())
            .bytes(version);
        bytes.extend(publish("tea", "hot").bytes(version));
        bytes.extend(pingreq().bytes(version));
        let ann = t.says_bytes(version, &bytes);
        t.ignores(ann);
        t.gets(bob, publish("tea", "hot"));
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
        t.silence();
        // Nor is anything heard of what a stranger sends behind it [MQTT-3.1.4-5] [MQTT5-3.1.4-6].
        let mut bytes = login("ann", "guess").bytes(version);
        bytes.extend(publish("tea", "poison").bytes(version));
        let eve = t.says_bytes(version, &bytes);
        t.refused(eve, ReasonCode::NotAuthorized, WRONG);
        t.silence();
    }
}

#[test]
fn other_users_hold_for_whoever_comes_after() {
    for version in EVERY {
        let mut t = with_users(&format!("ann:{PBKDF2}\n"));
        let ann = t.connects(version, login("ann", PASSWORD));
        t.reconfigures(&[("users", &format!("bob:{PBKDF2}\n"))], guarded);
        t.sends(ann, pingreq());
        t.gets(ann, pingresp());
        t.connects(version, login("bob", PASSWORD));
        let again = t.says_connect(version, login("ann", PASSWORD));
        t.refused(again, ReasonCode::NotAuthorized, WRONG);
        t.open(ann);
    }
}

/// Fifty clients that log in at once, and one that is in: a turn hashes one password at most.
#[test]
fn a_storm_of_logins_lets_others_speak_in_between() {
    const STORM: usize = 50;
    let mut config = Config {
        sys_interval: 0,
        ..Config::default()
    };
    guarded(&mut config);
    config.listeners[0].security.allow_anonymous = true;
    let users = format!("ann:{ARGON2ID}\n");
    let (lists, _) = Lists::read(&config, &FilesAt(&[("users", &users)])).unwrap();
    let mut broker = Broker::with_lists(Rc::new(config), &lists, 7);
    let now = Now {
        mono: Mono::from_millis(1000),
        unix: Unix(1_800_000_000),
    };
    let open = |broker: &mut Broker, index: usize| {
        let conn = ConnId::from_index(index);
        let peer = Peer::new("127.0.0.1:40000".parse().unwrap(), 1883, 0);
        broker.opened(conn, peer, now);
        conn
    };
    let send = |broker: &mut Broker, conn: ConnId, packet: Say| {
        let bytes = packet.bytes(V311);
        broker.received(conn, &bytes, now) == bytes.len()
    };
    let heard = |broker: &mut Broker, conn: ConnId| {
        let queue = broker.output(conn).unwrap();
        let bytes = queue.bytes();
        queue.consume(bytes);
        bytes
    };
    let talker = open(&mut broker, 0);
    assert!(send(&mut broker, talker, connect("talker")));
    assert!(send(&mut broker, talker, subscribe(1, "tea", 0)));
    assert_eq!(heard(&mut broker, talker), 4 + 5);
    let storm: Vec<_> = (1..=STORM).map(|index| open(&mut broker, index)).collect();
    for (index, conn) in storm.iter().enumerate() {
        let packet = connect(&format!("storm-{index}"))
            .user("ann")
            .pass(b"password");
        assert!(send(&mut broker, *conn, packet));
        assert!(broker.is_deciding(*conn));
        assert!(!send(&mut broker, *conn, pingreq()), "not before it is in");
    }
    // One of them does not wait for the answer.
    broker.closed(storm[7], midge::broker::Closed::ByPeer, now);
    let mut decided = 0;
    for turn in 0..STORM - 1 {
        assert_eq!(broker.next_deadline(), Some(Mono::default()), "turn {turn}");
        let tea = publish("tea", "hot");
        assert!(send(&mut broker, talker, tea.clone()));
        broker.tick(now);
        assert_eq!(heard(&mut broker, talker), tea.bytes(V311).len());
        broker.check().unwrap();
        decided += 1;
        let waiting = storm.iter().filter(|conn| broker.is_deciding(**conn));
        assert_eq!(waiting.count(), STORM - 1 - decided);
    }
    assert_eq!(broker.sizes().connections, STORM);
    assert_eq!(broker.sizes().sessions, STORM);
    for conn in storm.iter().filter(|conn| **conn != storm[7]) {
        assert_eq!(heard(&mut broker, *conn), 4);
        assert!(send(&mut broker, *conn, pingreq()));
    }
}

#[test]
fn logins_that_wait_too_long_are_turned_away() {
    for version in EVERY {
        let mut t = with_users(&format!("ann:{PBKDF2}\n"));
        let ann = t.opens_as(version);
        let bytes = login("ann", PASSWORD).bytes(version);
        let (conn, now) = (t.conn(ann), t.now());
        assert_eq!(t.broker.received(conn, &bytes, now), bytes.len());
        // The process sleeps through it: the wait is over before the turn comes.
        let late = Now {
            mono: now.mono.plus_s(limits::CONNECT_WAIT_S),
            ..now
        };
        t.broker.tick(late);
        assert!(!t.broker.is_deciding(conn));
        let busy = refusal(false, ReasonCode::ServerBusy);
        t.gets(ann, busy.because("too many clients log in at once"));
        t.closed(ann);
    }
}

#[test]
fn a_flood_of_logins_takes_no_more_memory_than_it_may() {
    let mut t = with_users(&format!("ann:{PBKDF2}\n"));
    let now = t.now();
    let long = "x".repeat(60_000);
    let packet = connect(&long).user("ann").pass(PASSWORD.as_bytes());
    let bytes = packet.bytes(V311);
    let fit = limits::LOGIN_BYTES_MAX / (bytes.len() - 4);
    let seats: Vec<_> = (0..fit + 1).map(|_| t.opens_as(V311)).collect();
    for (index, seat) in seats.iter().enumerate() {
        let conn = t.conn(*seat);
        t.broker.received(conn, &bytes, now);
        assert_eq!(t.broker.is_deciding(conn), index < fit);
    }
    let last = seats[fit];
    t.gets(last, refusal(false, ReasonCode::ServerBusy));
    t.closed(last);
}

struct Broken;

impl Files for Broken {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match path {
            "users" => Ok(b"no colon\nann:nothing\n:x\n".to_vec()),
            "rules" => Ok(b"topic read #\ntopc read #\n".to_vec()),
            _ => Err(FileError::NotPermitted),
        }
    }

    fn list(&self, _path: &str) -> Result<Vec<String>, FileError> {
        Err(FileError::NotFound)
    }
}

#[test]
fn a_broken_file_is_told_by_name_and_line() {
    let mut config = Config::default();
    guarded(&mut config);
    config.listeners[0].security.acl_file = Some("rules".into());
    config.listeners[1].security.acl_file = Some("secret".into());
    let errors = Lists::read(&config, &Broken).unwrap_err();
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[0].starts_with("password_file users: line 2: user 'ann': "));
    assert_eq!(
        errors[1],
        "password_file users: line 3: there is no username before the colon"
    );
    assert_eq!(
        errors[2],
        "acl_file rules: line 2: 'topc' is none of user, topic and pattern"
    );
    assert_eq!(
        errors[3],
        "acl_file secret: it cannot be read, its rights do not allow it"
    );
}

/// The answer to who waited for its login is a promise as any other: of its Will, or that an earlier
/// session is over.
#[test]
fn who_logs_in_is_let_in_when_what_it_said_is_safe() {
    let mut config = Config::default();
    guarded(&mut config);
    let users = format!("ann:{ARGON2ID}\n");
    let (lists, _) = Lists::read(&config, &FilesAt(&[("users", &users)])).unwrap();
    let mut broker = Broker::with_lists(Rc::new(config), &lists, 7);
    broker.effects().journal.begin(0);
    let now = Now {
        mono: Mono::from_millis(1000),
        unix: Unix(1_800_000_000),
    };
    let conn = ConnId::from_index(0);
    broker.opened(conn, Peer::local(0), now);
    let packet = login("ann", "password").durable();
    let bytes = packet.will("gone", "ann", 1, false).bytes(V311);
    assert_eq!(broker.received(conn, &bytes, now), bytes.len());
    assert!(broker.is_deciding(conn));
    broker.tick(now);
    assert_eq!(
        broker.output(conn).unwrap().bytes(),
        4,
        "there is a CONNACK"
    );
    assert!(broker.output_and_buffers(conn).is_none(), "it leaves early");
    broker.kept();
    assert!(broker.output_and_buffers(conn).is_some());
}

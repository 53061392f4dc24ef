//! `mosquitto.db` in all its versions, made by hand: what is in it is read, and what is cut or changed
//! at any byte says so in a sentence, gives what stands before it, and breaks nothing.

use midge::broker::Broker;
use midge::broker::record::Record;
use midge::config::Config;
use midge::message::QoS;
use midge::storage::import::{ImportError, read};
use midge::time::{Mono, Now, Unix};
use std::rc::Rc;

/// A Tuesday.
const TODAY_S: u64 = 1_800_000_000;

fn now() -> Now {
    Now {
        mono: Mono::from_millis(5_000),
        unix: Unix(TODAY_S),
    }
}

/// A file of one version, chunk by chunk.
struct File {
    version: u32,
    bytes: Vec<u8>,
    /// Where chunks begin, and where the file ends.
    ends: Vec<usize>,
}

/// A string with its length before it, as versions 2 to 4 have them.
fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn length(text: &str) -> [u8; 2] {
    u16::try_from(text.len()).unwrap().to_be_bytes()
}

impl File {
    fn new(version: u32) -> Self {
        let mut bytes = b"\x00\xb5\x00mosquitto db\0\0\0\0".to_vec();
        bytes.extend_from_slice(&version.to_be_bytes());
        Self {
            version,
            ends: vec![bytes.len()],
            bytes,
        }
    }

    fn is_old(&self) -> bool {
        self.version <= 4
    }

    fn chunk(&mut self, kind: u8, parts: &[&[u8]]) {
        let body = parts.concat();
        match self.is_old() {
            true => self.bytes.extend_from_slice(&[0, kind]),
            false => self.bytes.extend_from_slice(&[0, 0, 0, kind]),
        }
        let length = u32::try_from(body.len()).unwrap();
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(&body);
        self.ends.push(self.bytes.len());
    }

    fn config(&mut self) {
        match self.is_old() {
            true => self.chunk(1, &[&[1, 8], &9u64.to_le_bytes()]),
            false => self.chunk(1, &[&9u64.to_le_bytes(), &[1, 8, 0, 0, 0, 0, 0, 0]]),
        }
    }

    /// From ann, or Ann where there are users; with an expiry and properties where there are any.
    fn message(&mut self, id: u64, topic: &str, payload: &str, qos: u8, retain: u8) {
        let id = id.to_le_bytes();
        let bytes = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let (topic, payload) = (topic, payload.as_bytes());
        if self.is_old() {
            let user = match self.version {
                4 => [string("Ann"), 1883u16.to_be_bytes().to_vec()].concat(),
                _ => Vec::new(),
            };
            let (source, topic) = (string("ann"), string(topic));
            let ids = [0, 7, 0, 7];
            let flags = [qos, retain];
            let parts: &[&[u8]] = &[&id, &source, &user, &ids, &topic, &flags, &bytes, payload];
            return self.chunk(2, parts);
        }
        let expires = i64::try_from(TODAY_S + 60).unwrap().to_le_bytes();
        let lengths = [[0, 7], length("ann"), length("Ann"), length(topic)].concat();
        let (flags, texts) = ([7, 91, qos, retain], ["ann", "Ann", topic].concat());
        let properties = [7, 0x26, 0, 1, b'k', 0, 1, b'v'];
        let head: &[&[u8]] = &[&id, &expires, &bytes, &lengths, &flags];
        let tail: &[&[u8]] = &[texts.as_bytes(), payload, &properties];
        self.chunk(2, &[head, tail].concat());
    }

    /// A client whose session ends in an hour, where that is said.
    fn client(&mut self, name: &str) {
        let last_identifier = [0, 9];
        if self.is_old() {
            let left: &[u8] = match self.version {
                2 => &[],
                // Of a machine of 32 bits, and of one of 64.
                3 => &[0; 4],
                _ => &[0; 8],
            };
            return self.chunk(6, &[&string(name), &last_identifier, left]);
        }
        let ends = i64::try_from(TODAY_S + 3600).unwrap().to_le_bytes();
        let interval = 7200u32.to_be_bytes();
        let (head, name) = ([&ends[..], &interval, &last_identifier].concat(), name);
        let (length, user) = (length(name), "user");
        let more: &[&[u8]] = match self.version {
            5 => &[name.as_bytes()],
            _ => &[
                &1883u16.to_be_bytes(),
                &[0, 4, 0, 0, 0, 0],
                name.as_bytes(),
                user.as_bytes(),
            ],
        };
        self.chunk(6, &[&[&head[..], &length], more].concat());
    }

    fn client_message(&mut self, client: &str, id: u64, packet: u16, qos: u8, state: u8, out: u8) {
        let (id, packet) = (id.to_le_bytes(), packet.to_be_bytes());
        match self.is_old() {
            true => {
                let flags = [qos, 0, out, state, 0];
                self.chunk(3, &[&string(client), &id, &packet, &flags]);
            }
            false => {
                let flags = [qos, state, 0, out];
                let (length, client) = (length(client), client.as_bytes());
                self.chunk(3, &[&id, &packet, &length, &flags, client, &[2, 0x0b, 5]]);
            }
        }
    }

    fn subscription(&mut self, client: &str, filter: &str, qos: u8) {
        match self.is_old() {
            true => self.chunk(5, &[&string(client), &string(filter), &[qos]]),
            false => {
                let lengths = [length(client), length(filter)].concat();
                let texts = [client, filter].concat();
                let head = [&5u32.to_be_bytes()[..], &lengths, &[qos, 0b1000, 0, 0]];
                self.chunk(5, &[&head.concat(), texts.as_bytes()]);
            }
        }
    }

    fn retained(&mut self, id: u64) {
        self.chunk(4, &[&id.to_le_bytes()]);
    }

    /// One of each, in mosquitto's order.
    fn whole(version: u32) -> Self {
        let mut file = Self::new(version);
        file.config();
        file.message(1, "tea/pot", "full", 1, 1);
        file.message(2, "tea/green", "hot", 2, 0);
        file.client("bob");
        // In flight at QoS 1; awaiting PUBCOMP; waiting; from the client, not released.
        file.client_message("bob", 1, 5, 1, 3, 1);
        file.client_message("bob", 2, 6, 2, 9, 1);
        file.client_message("bob", 2, 7, 2, 11, 1);
        file.client_message("bob", 2, 8, 2, 7, 0);
        file.subscription("bob", "tea/+", 2);
        file.retained(1);
        file
    }
}

/// What is read, as far as it concerns a broker, in words.
fn told(record: &Record) -> String {
    match record {
        Record::Session(record) => format!(
            "session {} of {:?} by {} for {} s until {:?}",
            record.identity.client_identifier,
            record.identity.username,
            record.listener_port,
            record.expiry_interval_s,
            record.ends_at.ms_since(now().mono) / 1000
        ),
        Record::Subscribed(record) => format!(
            "subscribed {} {} {:?}",
            record.filter, record.options, record.identifier
        ),
        Record::Queued(_, place, delivery, packet) => {
            let publication = delivery.message.publication();
            let publisher = publication.publisher.unwrap();
            format!(
                "queued {place} {} '{}' {:?} by {} or {:?} with {:?}, under {packet:?} {:?}",
                publication.topic,
                String::from_utf8_lossy(publication.payload),
                delivery.qos,
                publisher.client_identifier,
                publisher.username,
                publication.properties,
                delivery.identifiers.as_slice(),
            )
        }
        Record::Received {
            released,
            packet_identifier,
            ..
        } => format!("received {released} {packet_identifier}"),
        Record::Held(_, packet) => format!("held {packet}"),
        Record::Retained(message) => {
            let publication = message.publication();
            let left_s = publication.expires_at.ms_since(now().mono) / 1000;
            assert_eq!(publication.qos, QoS::AtLeastOnce);
            format!(
                "retained {} '{}' for {left_s} s",
                publication.topic,
                String::from_utf8_lossy(publication.payload)
            )
        }
        other => panic!("{other:?} is in no mosquitto.db"),
    }
}

fn expected(version: u32) -> Vec<String> {
    let never_s = Mono::NEVER.ms_since(now().mono) / 1000;
    let session = match version {
        2..=4 => format!(
            "session bob of None by 0 for {} s until {never_s}",
            u32::MAX
        ),
        5 => "session bob of None by 0 for 7200 s until 3600".to_owned(),
        _ => "session bob of Some(\"user\") by 1883 for 7200 s until 3600".to_owned(),
    };
    let (by, properties, identifiers) = match version {
        2 | 3 => ("ann or None", "[]", "[]"),
        4 => ("ann or Some(\"Ann\")", "[]", "[]"),
        _ => ("ann or Some(\"Ann\")", "[38, 0, 1, 107, 0, 1, 118]", "[5]"),
    };
    let queued = |what: &str, packet: &str| {
        format!("queued {what} by {by} with {properties}, under {packet} {identifiers}")
    };
    let (subscribed, left_s) = match version {
        2..=4 => ("subscribed tea/+ 2 None", never_s),
        _ => ("subscribed tea/+ 10 Some(5)", 60),
    };
    vec![
        session,
        queued("1 tea/pot 'full' AtLeastOnce", "Some(5)"),
        "received 2 6".to_owned(),
        queued("3 tea/green 'hot' ExactlyOnce", "None"),
        "held 8".to_owned(),
        subscribed.to_owned(),
        format!("retained tea/pot 'full' for {left_s} s"),
    ]
}

#[test]
fn every_version_is_read() {
    for version in 2..=6 {
        let (imported, error) = read(&File::whole(version).bytes, &Config::default(), now());
        assert_eq!(error, None, "version {version}");
        let records: Vec<_> = imported.records.iter().map(told).collect();
        assert_eq!(records, expected(version), "version {version}");
        assert_eq!((imported.unpublished.len(), imported.odd), (1, 0));
    }
}

#[test]
fn no_other_version_is() {
    for version in [0, 1, 7, u32::MAX] {
        let (imported, error) = read(&File::new(version).bytes, &Config::default(), now());
        assert_eq!(error, Some(ImportError::Version(version)));
        assert!(imported.records.is_empty());
        let words = format!("its version {version} is none of 2 to 6");
        assert_eq!(error.unwrap().to_string(), words);
    }
}

/// Cut at every byte: what stands before the chunk that was cut is there, and the sentence says
/// where it begins.
#[test]
fn what_is_cut_anywhere_gives_what_is_whole() {
    for version in 2..=6 {
        let file = File::whole(version);
        for at in 0..file.bytes.len() {
            let (imported, error) = read(&file.bytes[..at], &Config::default(), now());
            let begins = file.ends.iter().rev().find(|end| **end <= at);
            let words = error.map(|error| error.to_string());
            let expected_words = match begins {
                None => Some("it is no database of mosquitto's".to_owned()),
                Some(begins) if *begins == at => None,
                Some(begins) => Some(format!("it is damaged from byte {begins} on")),
            };
            assert_eq!(words, expected_words, "version {version}, cut at {at}");
            let all = expected(version);
            let told: Vec<_> = imported.records.iter().map(told).collect();
            // The first three chunks are no records.
            let chunks = file.ends.iter().filter(|end| **end <= at).count();
            let count = chunks.saturating_sub(1 + 3);
            assert_eq!(told, all[..count], "version {version}, cut at {at}");
        }
    }
}

/// Every byte changed, to others and in each of its bits: whatever is still read, a broker takes.
#[test]
fn what_is_changed_anywhere_breaks_nothing() {
    for version in 2..=6 {
        let file = File::whole(version);
        for at in 0..file.bytes.len() {
            let changes = (0..8).map(|bit| 1 << bit).chain([0xff, file.bytes[at]]);
            for change in changes {
                let mut bytes = file.bytes.clone();
                bytes[at] ^= change;
                let config = Rc::new(Config::default());
                let (imported, error) = read(&bytes, &config, now());
                if let Some(error) = error {
                    assert!(error.to_string().starts_with("it"), "{error}");
                }
                let mut broker = Broker::new(config, 7);
                for record in imported.records {
                    broker.restore(record, now());
                }
                for message in imported.unpublished {
                    broker.publish_restored(&message, now());
                }
                broker.tick(now());
            }
        }
    }
}

#[test]
fn no_session_is_longer_than_sessions_may_be() {
    let config = Config {
        persistent_client_expiration: Some(60),
        ..Config::default()
    };
    for version in [4, 6] {
        let (imported, _) = read(&File::whole(version).bytes, &config, now());
        let session = told(&imported.records[0]);
        assert!(session.ends_with("for 60 s until 60"), "{session}");
    }
}

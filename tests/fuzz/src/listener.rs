//! What one client hears, held against what it said: every packet decodes in its version, fits its
//! Maximum Packet Size and is one that a server may send it now.

use super::topics::matches;
use midge::codec::ack::{Ack, AckKind};
use midge::codec::connect::{ConnAck, Connect};
use midge::codec::dialect::ProtocolVersion;
use midge::codec::frame::{Frame, PacketType};
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property};
use midge::codec::publish::Publish;
use midge::config::Config;
use midge::limits::PACKET_BYTES_MAX;
use midge::message::QoS;
use midge::topic::filter::TopicFilter;
use midge::topic::name::TopicName;
use std::collections::{BTreeMap, BTreeSet};

/// Every filter a client has ever asked for, by Client Identifier, with the QoS it asked for.
pub type Asked = BTreeMap<String, BTreeSet<(String, QoS)>>;

/// How far a client has come, by what it has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No CONNECT was sent.
    Silent,
    /// A CONNECT was sent.
    Asked,
    /// CONNACK let it in.
    In,
    /// CONNACK or DISCONNECT said that it is over.
    Over,
}

/// A packet heard, as far as an answer can be told by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Ack(AckKind, u16),
    SubAck(u16, usize),
    UnsubAck(u16, usize),
    PingResp,
    Other,
}

/// One client's ears.
#[derive(Debug)]
pub struct Listener {
    pub stage: Stage,
    pub version: ProtocolVersion,
    pub client_identifier: String,
    /// What it still has to answer, by Packet Identifier.
    pub owed: BTreeMap<u16, AckKind>,
    /// Those of them that were sent as PUBLISH on this connection.
    in_window: BTreeSet<u16>,
    /// What it acknowledged without having been sent it: PUBREL follows, and means nothing.
    stray: BTreeSet<u16>,
    clean_start: bool,
    packet_bytes_max: u32,
    receive_maximum: usize,
    topic_alias_maximum: u16,
    aliases: BTreeMap<u16, String>,
    takes_problem_information: bool,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            stage: Stage::Silent,
            version: ProtocolVersion::V311,
            client_identifier: String::new(),
            owed: BTreeMap::new(),
            in_window: BTreeSet::new(),
            stray: BTreeSet::new(),
            clean_start: false,
            packet_bytes_max: PACKET_BYTES_MAX,
            receive_maximum: usize::from(u16::MAX),
            topic_alias_maximum: 0,
            aliases: BTreeMap::new(),
            takes_problem_information: true,
        }
    }
}

impl Listener {
    /// A packet is about to be sent to the broker.
    pub fn says(&mut self, packet: &Packet<'_>, asked: &mut Asked) {
        match packet {
            Packet::Connect(packet) if self.stage == Stage::Silent => self.asks_in(packet),
            _ if self.stage != Stage::In => {}
            Packet::Ack(packet) => self.answers(packet),
            Packet::Subscribe(packet) => {
                let all = asked.entry(self.client_identifier.clone()).or_default();
                for (text, options) in packet.iter() {
                    if let Ok(filter) = TopicFilter::new(text) {
                        all.insert((filter.filter().to_owned(), options.qos));
                    }
                }
            }
            _ => {}
        }
    }

    fn asks_in(&mut self, packet: &Connect<'_>) {
        let properties = &packet.properties;
        self.stage = Stage::Asked;
        self.version = packet.version;
        self.client_identifier = packet.client_identifier.to_owned();
        self.clean_start = packet.clean_start;
        if let Some(bytes) = properties.maximum_packet_size() {
            self.packet_bytes_max = bytes.get();
        }
        if let Some(messages) = properties.receive_maximum() {
            self.receive_maximum = usize::from(messages.get());
        }
        self.topic_alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
        self.takes_problem_information = properties.request_problem_information().unwrap_or(true);
    }

    fn answers(&mut self, packet: &Ack<'_>) {
        let identifier = packet.packet_identifier.get();
        let is_over = match packet.kind {
            AckKind::PubAck | AckKind::PubComp => self.owed.get(&identifier) == Some(&packet.kind),
            AckKind::PubRec => {
                if !self.owed.contains_key(&identifier) {
                    self.stray.insert(identifier);
                }
                let is_owed = self.owed.get(&identifier) == Some(&AckKind::PubRec);
                if is_owed && !packet.reason.is_failure() {
                    self.owed.insert(identifier, AckKind::PubComp);
                }
                is_owed && packet.reason.is_failure()
            }
            AckKind::PubRel => false,
        };
        if is_over {
            self.owed.remove(&identifier);
            self.in_window.remove(&identifier);
        }
    }

    /// Bytes have come from the broker, whole packets only.
    pub fn hears(&mut self, bytes: &[u8], asked: &Asked, config: &Config) -> Vec<Heard> {
        let (mut rest, mut heard) = (bytes, Vec::new());
        while !rest.is_empty() {
            let frame = Frame::cut(rest, self.packet_bytes_max)
                .expect("it fits the client's Maximum Packet Size")
                .expect("it is whole");
            let packet = Packet::decode(&frame, self.version).expect("it decodes");
            heard.push(self.hears_packet(&packet, asked, config));
            rest = &rest[frame.header.packet_bytes() as usize..];
        }
        heard
    }

    fn hears_packet(&mut self, packet: &Packet<'_>, asked: &Asked, config: &Config) -> Heard {
        assert_ne!(self.stage, Stage::Over, "{packet:?} after the end");
        if let Packet::ConnAck(packet) = packet {
            self.is_let_in(packet);
            return Heard::Other;
        }
        assert_eq!(self.stage, Stage::In, "{packet:?} before CONNACK");
        match packet {
            Packet::Publish(packet) => {
                self.gets(packet, asked, config);
                Heard::Other
            }
            Packet::Ack(packet) => self.is_answered(packet),
            Packet::SubAck(packet) => {
                self.check_problem_information(packet.properties);
                Heard::SubAck(packet.packet_identifier.get(), packet.codes.len())
            }
            Packet::UnsubAck(packet) => {
                self.check_problem_information(packet.properties);
                Heard::UnsubAck(packet.packet_identifier.get(), packet.codes.len())
            }
            Packet::PingResp => Heard::PingResp,
            Packet::Disconnect(packet) => {
                assert!(self.version.has_server_disconnect());
                assert!(packet.reason.is_failure());
                // [MQTT5-3.14.2-2]
                assert_eq!(packet.properties.session_expiry_interval(), None);
                self.stage = Stage::Over;
                Heard::Other
            }
            other => panic!("a server does not send {other:?}"),
        }
    }

    fn is_let_in(&mut self, packet: &ConnAck<'_>) {
        if packet.reason.is_failure() {
            self.stage = Stage::Over;
            return;
        }
        assert_eq!(self.stage, Stage::Asked, "CONNACK without CONNECT");
        self.stage = Stage::In;
        // [MQTT-3.2.2-1] [MQTT5-3.2.2-2]
        assert!(!(packet.session_present && self.clean_start));
        for property in packet.properties.iter() {
            if let Property::AssignedClientIdentifier(identifier) = property {
                assert_eq!(self.client_identifier, "");
                self.client_identifier = identifier.to_owned();
            }
        }
    }

    /// [MQTT5-3.1.2-29]
    fn check_problem_information(&self, properties: Properties<'_>) {
        assert!(self.takes_problem_information || properties.is_empty());
    }

    fn is_answered(&mut self, packet: &Ack<'_>) -> Heard {
        self.check_problem_information(packet.properties);
        let identifier = packet.packet_identifier.get();
        let is_stray = packet.kind == AckKind::PubRel && self.stray.remove(&identifier);
        if packet.kind == AckKind::PubRel && !packet.reason.is_failure() && !is_stray {
            // Its PUBLISH may have been heard on an earlier connection.
            let owed = self.owed.entry(identifier).or_insert(AckKind::PubComp);
            assert_eq!(*owed, AckKind::PubComp, "PUBREL {identifier} before PUBREC");
        }
        Heard::Ack(packet.kind, identifier)
    }

    fn gets(&mut self, packet: &Publish<'_>, asked: &Asked, config: &Config) {
        let topic = self.resolve(packet);
        assert!(TopicName::new(&topic).is_ok(), "no Topic Name: {topic}");
        let is_wanted =
            |(filter, qos): &(String, QoS)| *qos >= packet.qos && matches(filter, &topic);
        let all = asked.get(&self.client_identifier);
        assert!(
            all.is_some_and(|all| all.iter().any(is_wanted)),
            "not asked for: {topic}"
        );
        let Some(identifier) = packet.packet_identifier else {
            return;
        };
        let expects = match packet.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        let identifier = identifier.get();
        let before = self.owed.insert(identifier, expects);
        assert_eq!(before, None, "Packet Identifier {identifier} is in use");
        self.in_window.insert(identifier);
        // [MQTT5-3.3.4-9]
        assert!(self.in_window.len() <= self.receive_maximum);
        if config.max_inflight_messages > 0 {
            assert!(self.owed.len() <= usize::from(config.max_inflight_messages));
        }
    }

    /// The topic of a PUBLISH, by its alias if it has none of its own.
    fn resolve(&mut self, packet: &Publish<'_>) -> String {
        let Some(alias) = packet.properties.topic_alias() else {
            return packet.topic.to_owned();
        };
        // [MQTT5-3.1.2-26] [MQTT5-3.1.2-27]
        assert!(alias.get() <= self.topic_alias_maximum);
        if packet.topic.is_empty() {
            return self
                .aliases
                .get(&alias.get())
                .expect("the alias was set")
                .clone();
        }
        self.aliases.insert(alias.get(), packet.topic.to_owned());
        packet.topic.to_owned()
    }

    /// Whether what was heard in return to `packet` answers it, if it asks for an answer.
    pub fn check_answer(&self, packet: &Packet<'_>, heard: &[Heard]) {
        let expected = match packet {
            Packet::PingReq => Heard::PingResp,
            Packet::Publish(packet) => match (packet.qos, packet.packet_identifier) {
                (QoS::AtLeastOnce, Some(id)) => Heard::Ack(AckKind::PubAck, id.get()),
                (QoS::ExactlyOnce, Some(id)) => Heard::Ack(AckKind::PubRec, id.get()),
                _ => return,
            },
            Packet::Ack(packet) if packet.kind == AckKind::PubRel => {
                Heard::Ack(AckKind::PubComp, packet.packet_identifier.get())
            }
            Packet::Ack(packet)
                if packet.kind == AckKind::PubRec && !packet.reason.is_failure() =>
            {
                Heard::Ack(AckKind::PubRel, packet.packet_identifier.get())
            }
            Packet::Subscribe(packet) => {
                Heard::SubAck(packet.packet_identifier.get(), packet.iter().count())
            }
            Packet::Unsubscribe(packet) => {
                let codes = match self.version.has_reason_codes() {
                    true => packet.iter().count(),
                    false => 0,
                };
                Heard::UnsubAck(packet.packet_identifier.get(), codes)
            }
            _ => return,
        };
        assert!(
            heard.contains(&expected),
            "{packet:?} is answered by {heard:?}"
        );
    }
}

/// Whether a packet of this type may come from a client after CONNECT.
pub fn is_for_clients(packet_type: PacketType) -> bool {
    use PacketType::{ConnAck, Connect, PingResp, SubAck, UnsubAck};
    !matches!(
        packet_type,
        Connect | ConnAck | SubAck | UnsubAck | PingResp
    )
}

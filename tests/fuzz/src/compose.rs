//! Well-formed packets from choices, so that a script gets deep with few bytes. What they ask for
//! may still be forbidden. Names and filters come from small sets, so that clients meet.

use super::source::Source;
use midge::codec::ack::{Ack, AckKind};
use midge::codec::connect::{Connect, Will};
use midge::codec::control::Disconnect;
use midge::codec::dialect::ProtocolVersion;
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property};
use midge::codec::publish::Publish;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::{SubscriptionOptions, encode_subscribe, encode_unsubscribe};
use midge::message::PacketIdentifier;
use std::num::{NonZeroU16, NonZeroU32};

const NAMES: [&str; 4] = ["ann", "bob", "cid", ""];
const TOPICS: [&str; 8] = [
    "a",
    "a/b",
    "a/b/c",
    "b",
    "/",
    "$SYS/x",
    "a//b",
    "c/a level that is long",
];
const FILTERS: [&str; 16] = [
    "a",
    "#",
    "+",
    "a/b",
    "a/+",
    "+/b",
    "a/#",
    "a/b/#",
    "$SYS/#",
    "/+",
    "$share/g/a",
    "$share/g/#",
    "$share/h/a",
    "$share/g/a/+",
    "a/#/b",
    "$share//a",
];
const PAYLOADS: [usize; 8] = [1, 0, 3, 30, 1010, 1030, 70_000, 400_000];
/// Filters of one packet.
const COUNTS: [usize; 6] = [1, 2, 3, 4, 5, 30];
const SECONDS: [u32; 8] = [0, 1, 2, 10, 60, 3600, u32::MAX - 1, u32::MAX];
const PACKET_BYTES: [u32; 8] = [0, 1, 3, 16, 30, 80, 1100, u32::MAX];
const REASONS: [ReasonCode; 6] = [
    ReasonCode::Success,
    ReasonCode::DisconnectWithWillMessage,
    ReasonCode::UnspecifiedError,
    ReasonCode::NoMatchingSubscribers,
    ReasonCode::PacketIdentifierNotFound,
    ReasonCode::QuotaExceeded,
];
const ACKS: [AckKind; 4] = [
    AckKind::PubAck,
    AckKind::PubRec,
    AckKind::PubRel,
    AckKind::PubComp,
];

/// One of `from`, or any text.
fn text<'a>(source: &mut Source<'a>, from: &[&'static str]) -> &'a str {
    let choice = usize::from(source.u8());
    match choice < 240 {
        true => from[choice % from.len()],
        false => source.text(),
    }
}

/// Small numbers mostly, so that they meet; never 0.
fn identifier(source: &mut Source<'_>) -> PacketIdentifier {
    let choice = u16::from(source.u8());
    let value = match choice < 250 {
        true => choice % 8,
        false => source.u16(),
    };
    NonZeroU16::new(value).unwrap_or(NonZeroU16::MIN)
}

/// Each property whose bit is set in the byte read first.
struct Chooser<'s, 'a> {
    source: &'s mut Source<'a>,
    bits: u8,
    out: Vec<u8>,
}

impl<'s, 'a> Chooser<'s, 'a> {
    fn new(source: &'s mut Source<'a>, version: ProtocolVersion) -> Self {
        let bits = match version.has_properties() {
            true => source.u8(),
            false => 0,
        };
        let out = Vec::new();
        Self { source, bits, out }
    }

    fn may<'p>(&mut self, property: impl FnOnce(&mut Source<'a>) -> Property<'p>) {
        if self.bits & 1 != 0 {
            property(self.source).encode(&mut self.out);
        }
        self.bits >>= 1;
    }
}

pub fn connect(source: &mut Source<'_>, out: &mut Vec<u8>) {
    let version = source.version();
    let flags = source.u8();
    let client_identifier = text(source, &NAMES);
    let keep_alive_s = source.pick(&[0, 1, 10, 60, u16::MAX]);
    let mut chooser = Chooser::new(source, version);
    chooser.may(|s| Property::SessionExpiryInterval(s.pick(&SECONDS)));
    chooser.may(|s| {
        Property::ReceiveMaximum(NonZeroU16::MIN.saturating_add(s.pick(&[0, 1, 5, 65_534])))
    });
    chooser.may(|s| Property::TopicAliasMaximum(s.pick(&[0, 1, 3, 65_535])));
    chooser.may(|s| {
        Property::MaximumPacketSize(NonZeroU32::MIN.saturating_add(s.pick(&PACKET_BYTES)))
    });
    chooser.may(|s| Property::RequestProblemInformation(s.u8() & 1 != 0));
    chooser.may(|_| Property::UserProperty("name", "value"));
    chooser.may(|_| Property::RequestResponseInformation(true));
    chooser.may(|_| Property::AuthenticationMethod("GS2-KRB5"));
    let properties = chooser.out;
    let will_properties = match flags & 1 != 0 {
        true => will_properties(source, version),
        false => Vec::new(),
    };
    let has_username = flags & 4 != 0;
    let connect = Connect {
        version,
        bridge: flags & 8 != 0 && version != ProtocolVersion::V5,
        clean_start: flags & 2 == 0,
        keep_alive_s,
        properties: Properties::trusted(&properties),
        client_identifier,
        will: (flags & 1 != 0).then(|| Will {
            topic: text(source, &TOPICS),
            payload: source.bytes(),
            qos: source.qos(),
            retain: flags & 16 != 0,
            properties: Properties::trusted(&will_properties),
        }),
        username: has_username.then_some("user"),
        password: has_username.then_some(b"pass"),
    };
    connect.encode(out);
}

fn will_properties(source: &mut Source<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut chooser = Chooser::new(source, version);
    chooser.may(|s| Property::WillDelayInterval(s.pick(&SECONDS)));
    chooser.may(|s| Property::MessageExpiryInterval(s.pick(&SECONDS)));
    chooser.may(|_| Property::ContentType("text"));
    chooser.may(|_| Property::UserProperty("", ""));
    chooser.out
}

pub fn subscribe(source: &mut Source<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let packet_identifier = identifier(source);
    let mut chooser = Chooser::new(source, version);
    chooser.may(|s| Property::SubscriptionIdentifier(s.pick(&[1, 2, 127, 128, 268_435_455])));
    chooser.may(|_| Property::UserProperty("name", "value"));
    let properties = chooser.out;
    let count = source.pick(&COUNTS);
    let filters: Vec<_> = (0..count)
        .map(|_| {
            let filter = text(source, &FILTERS);
            let bits = source.u8() & 0b0011_1111;
            (
                filter,
                SubscriptionOptions::from_bits(bits).unwrap_or_default(),
            )
        })
        .collect();
    let properties = Properties::trusted(&properties);
    encode_subscribe(packet_identifier, properties, filters, version, out);
}

pub fn unsubscribe(source: &mut Source<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let packet_identifier = identifier(source);
    let count = source.pick(&COUNTS);
    let filters: Vec<_> = (0..count).map(|_| text(source, &FILTERS)).collect();
    encode_unsubscribe(
        packet_identifier,
        Properties::default(),
        filters,
        version,
        out,
    );
}

pub fn publish(source: &mut Source<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let flags = source.u8();
    let qos = source.qos();
    let topic = text(source, &TOPICS);
    let payload = vec![b'x'; source.pick(&PAYLOADS)];
    let mut chooser = Chooser::new(source, version);
    chooser.may(|s| Property::MessageExpiryInterval(s.pick(&SECONDS)));
    chooser.may(|s| {
        Property::TopicAlias(NonZeroU16::MIN.saturating_add(s.pick(&[0, 1, 9, 10, 65_534])))
    });
    chooser.may(|_| Property::UserProperty("name", "value"));
    chooser.may(|_| Property::ResponseTopic("answers"));
    chooser.may(|_| Property::CorrelationData(b"\0\xff"));
    chooser.may(|_| Property::PayloadFormatIndicator(true));
    chooser.may(|_| Property::ContentType("text"));
    chooser.may(|_| Property::SubscriptionIdentifier(1));
    let properties = chooser.out;
    let is_acknowledged = qos.bits() > 0;
    let publish = Publish {
        dup: flags & 4 != 0 && is_acknowledged,
        qos,
        retain: flags & 1 != 0,
        topic: if flags & 2 != 0 { "" } else { topic },
        packet_identifier: is_acknowledged.then(|| identifier(source)),
        properties: Properties::trusted(&properties),
        payload: &payload,
    };
    publish.encode(version, out);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of anything.
pub fn ack(source: &mut Source<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let kind = source.pick(&ACKS);
    ack_of(kind, identifier(source), source, version, out);
}

/// One of them, with a Reason Code it may have.
pub fn ack_of(
    kind: AckKind,
    packet_identifier: PacketIdentifier,
    source: &mut Source<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let reason = source.pick(&REASONS);
    let is_allowed = version.has_reason_codes() && reason.is_allowed_in(kind.packet_type());
    let ack = Ack {
        reason: if is_allowed {
            reason
        } else {
            ReasonCode::Success
        },
        ..Ack::success(kind, packet_identifier)
    };
    ack.encode(version, out);
}

pub fn disconnect(source: &mut Source<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let reason = source.pick(&REASONS[..3]);
    let mut chooser = Chooser::new(source, version);
    chooser.may(|s| Property::SessionExpiryInterval(s.pick(&SECONDS)));
    chooser.may(|_| Property::UserProperty("name", "value"));
    let properties = chooser.out;
    let packet = Disconnect {
        reason,
        properties: Properties::trusted(&properties),
    };
    Packet::Disconnect(packet).encode(version, out);
}

/// A packet of any type with any body, whole.
pub fn framed(source: &mut Source<'_>, out: &mut Vec<u8>) {
    let (first, body) = (source.u8(), source.bytes());
    out.push(first);
    midge::bytes::put_variable(out, u32::try_from(body.len()).unwrap_or_default());
    out.extend_from_slice(body);
}

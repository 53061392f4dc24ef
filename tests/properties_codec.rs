//! What holds for every packet, whatever is in it: decoding undoes encoding, bytes from anywhere
//! never panic, and it does not matter where the network cuts a stream. Failing input is shrunk and
//! printed; `PROPTEST_RNG_SEED` repeats a run.

use midge::bytes::put_variable;
use midge::codec::ack::{Ack, AckKind};
use midge::codec::connect::{ConnAck, Connect, Will, answer_version};
use midge::codec::control::{Auth, Disconnect};
use midge::codec::dialect::ProtocolVersion::{self, V5, V31, V311};
use midge::codec::error::DecodeError;
use midge::codec::frame::{FixedHeader, Frame, PacketType};
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property, PropertyHolder};
use midge::codec::publish::Publish;
use midge::codec::reason::ReasonCode;
use midge::codec::subscribe::{
    RetainHandling, SubAck, SubscriptionOptions, encode_subscribe, encode_unsubscribe,
};
use midge::limits::{PACKET_BYTES_MAX, PACKET_BYTES_MAX_DEFAULT};
use midge::message::{PacketIdentifier, QoS};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::num::{NonZeroU16, NonZeroU32};

/// A packet as our encoder wrote it, and what a reader of it must find.
#[derive(Clone, Debug)]
struct Sample {
    version: ProtocolVersion,
    bytes: Vec<u8>,
    description: String,
}

impl Sample {
    fn of(version: ProtocolVersion, packet: &Packet<'_>) -> Self {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        Self {
            version,
            bytes,
            description: describe(packet),
        }
    }
}

/// All that can be seen of a packet from outside.
fn describe(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Subscribe(packet) => {
            let filters: Vec<_> = packet.iter().collect();
            format!(
                "{} {:?} {filters:?}",
                packet.packet_identifier, packet.properties
            )
        }
        Packet::Unsubscribe(packet) => {
            let filters: Vec<_> = packet.iter().collect();
            format!(
                "{} {:?} {filters:?}",
                packet.packet_identifier, packet.properties
            )
        }
        packet => format!("{packet:?}"),
    }
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    select(vec![V31, V311, V5])
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_identifier() -> impl Strategy<Value = PacketIdentifier> {
    (1..=u16::MAX).prop_map(|value| PacketIdentifier::new(value).expect("not 0"))
}

/// Characters that may be sent: no control characters, nothing unassigned.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9/ ]{0,12}", 1 => "\\PC{0,8}", 1 => "[a-z]{100,300}"]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 100..400)]
}

/// The wire form of properties that `holder` may have, in any order; none in 3.x.
fn properties(version: ProtocolVersion, holder: PropertyHolder) -> BoxedStrategy<Vec<u8>> {
    if version != V5 {
        return Just(Vec::new()).boxed();
    }
    let allowed = identifiers(holder);
    let count = 0..=allowed.len();
    (
        proptest::sample::subsequence(allowed, count).prop_shuffle(),
        vec((any::<u32>(), text(), text()), 27),
    )
        .prop_map(|(identifiers, values)| {
            let has_method = identifiers.contains(&0x15);
            let mut wire = Vec::new();
            for (&identifier, (number, first, second)) in identifiers.iter().zip(&values) {
                if identifier != 0x16 || has_method {
                    property(identifier, *number, first, second).encode(&mut wire);
                }
                // The one that may repeat.
                if identifier == 0x26 {
                    Property::UserProperty(second, first).encode(&mut wire);
                }
            }
            wire
        })
        .boxed()
}

fn identifiers(holder: PropertyHolder) -> Vec<u8> {
    use PropertyHolder as H;
    match holder {
        H::Connect => vec![0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
        H::ConnAck => vec![
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
            0x28, 0x29, 0x2a,
        ],
        H::Publish => vec![0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26],
        H::Will => vec![0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
        H::Subscribe => vec![0x0b, 0x26],
        H::Unsubscribe => vec![0x26],
        H::Disconnect => vec![0x11, 0x1c, 0x1f, 0x26],
        H::Auth => vec![0x15, 0x16, 0x1f, 0x26],
        H::PubAck | H::PubRec | H::PubRel | H::PubComp | H::SubAck | H::UnsubAck => {
            vec![0x1f, 0x26]
        }
    }
}

fn property<'a>(identifier: u8, number: u32, first: &'a str, second: &'a str) -> Property<'a> {
    let (bit, short) = (number & 1 == 1, (number >> 16) as u16);
    match identifier {
        0x01 => Property::PayloadFormatIndicator(bit),
        0x02 => Property::MessageExpiryInterval(number),
        0x03 => Property::ContentType(first),
        0x08 => Property::ResponseTopic(if first.contains(['+', '#']) {
            "answers"
        } else {
            first
        }),
        0x09 => Property::CorrelationData(first.as_bytes()),
        0x0b => Property::SubscriptionIdentifier(number % 268_435_455 + 1),
        0x11 => Property::SessionExpiryInterval(number),
        0x12 => Property::AssignedClientIdentifier(first),
        0x13 => Property::ServerKeepAlive(short),
        0x15 => Property::AuthenticationMethod(first),
        0x16 => Property::AuthenticationData(second.as_bytes()),
        0x17 => Property::RequestProblemInformation(bit),
        0x18 => Property::WillDelayInterval(number),
        0x19 => Property::RequestResponseInformation(bit),
        0x1a => Property::ResponseInformation(first),
        0x1c => Property::ServerReference(first),
        0x1f => Property::ReasonString(first),
        0x21 => Property::ReceiveMaximum(NonZeroU16::new(short).unwrap_or(NonZeroU16::MIN)),
        0x22 => Property::TopicAliasMaximum(short),
        0x23 => Property::TopicAlias(NonZeroU16::new(short).unwrap_or(NonZeroU16::MAX)),
        0x24 => Property::MaximumQoS(bit),
        0x25 => Property::RetainAvailable(bit),
        0x26 => Property::UserProperty(first, second),
        0x27 => Property::MaximumPacketSize(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)),
        0x28 => Property::WildcardSubscriptionAvailable(bit),
        0x29 => Property::SubscriptionIdentifierAvailable(bit),
        0x2a => Property::SharedSubscriptionAvailable(bit),
        other => panic!("no property {other:02x}"),
    }
}

fn connect(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let will = (
        text(),
        data(),
        qos(),
        any::<bool>(),
        properties(version, PropertyHolder::Will),
    );
    let head = (
        any::<bool>(),
        any::<bool>(),
        any::<u16>(),
        properties(version, PropertyHolder::Connect),
    );
    (
        head,
        text(),
        option::of(will),
        option::of(text()),
        option::of(data()),
    )
        .prop_map(
            move |((bridge, clean_start, keep_alive_s, wire), client, will, username, password)| {
                let will = will
                    .as_ref()
                    .map(|(topic, payload, qos, retain, wire)| Will {
                        topic,
                        payload,
                        qos: *qos,
                        retain: *retain,
                        properties: Properties::trusted(wire),
                    });
                let connect = Connect {
                    version,
                    bridge: bridge && version != V5,
                    clean_start,
                    keep_alive_s,
                    properties: Properties::trusted(&wire),
                    client_identifier: &client,
                    will,
                    username: username.as_deref(),
                    // [MQTT-3.1.2-22]
                    password: password
                        .as_deref()
                        .filter(|_| version == V5 || username.is_some()),
                };
                Sample::of(version, &Packet::Connect(connect))
            },
        )
        .boxed()
}

fn reason(version: ProtocolVersion, packet_type: PacketType) -> BoxedStrategy<ReasonCode> {
    let codes: Vec<ReasonCode> = match (version, packet_type) {
        (V5, _) => (0..=255)
            .filter_map(|value| ReasonCode::of_packet(packet_type, value).ok())
            .collect(),
        (_, PacketType::ConnAck) => (0..=5)
            .filter_map(ReasonCode::from_connect_return_code)
            .collect(),
        _ => vec![ReasonCode::Success],
    };
    select(codes).boxed()
}

fn connack(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let properties = properties(version, PropertyHolder::ConnAck);
    (
        any::<bool>(),
        reason(version, PacketType::ConnAck),
        properties,
    )
        .prop_map(move |(present, reason, wire)| {
            let packet = ConnAck {
                session_present: present && reason == ReasonCode::Success && version != V31,
                reason,
                properties: Properties::trusted(&wire),
            };
            Sample::of(version, &Packet::ConnAck(packet))
        })
        .boxed()
}

fn publish(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let flags = (any::<bool>(), qos(), any::<bool>());
    (
        flags,
        text(),
        packet_identifier(),
        properties(version, PropertyHolder::Publish),
        data(),
    )
        .prop_map(
            move |((dup, qos, retain), topic, packet_identifier, wire, payload)| {
                let acknowledged = qos != QoS::AtMostOnce;
                let packet = Publish {
                    dup: dup && acknowledged,
                    qos,
                    retain,
                    topic: &topic,
                    packet_identifier: acknowledged.then_some(packet_identifier),
                    properties: Properties::trusted(&wire),
                    payload: &payload,
                };
                Sample::of(version, &Packet::Publish(packet))
            },
        )
        .boxed()
}

fn ack(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let kinds = vec![
        (AckKind::PubAck, PropertyHolder::PubAck),
        (AckKind::PubRec, PropertyHolder::PubRec),
        (AckKind::PubRel, PropertyHolder::PubRel),
        (AckKind::PubComp, PropertyHolder::PubComp),
    ];
    let details = move |(kind, holder): (AckKind, PropertyHolder)| {
        (
            Just(kind),
            packet_identifier(),
            reason(version, kind.packet_type()),
            properties(version, holder),
        )
    };
    select(kinds)
        .prop_flat_map(details)
        .prop_map(move |(kind, packet_identifier, reason, wire)| {
            let properties = Properties::trusted(&wire);
            Sample::of(
                version,
                &Packet::Ack(Ack {
                    kind,
                    packet_identifier,
                    reason,
                    properties,
                }),
            )
        })
        .boxed()
}

fn options(version: ProtocolVersion) -> impl Strategy<Value = SubscriptionOptions> {
    let handling = select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(qos, no_local, retain_as_published, retain_handling)| match version {
            V5 => SubscriptionOptions {
                qos,
                no_local,
                retain_as_published,
                retain_handling,
            },
            V31 | V311 => SubscriptionOptions::of_qos(qos),
        },
    )
}

fn subscribe(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let filters = vec((text(), options(version)), 1..6);
    (
        packet_identifier(),
        properties(version, PropertyHolder::Subscribe),
        filters,
    )
        .prop_map(move |(packet_identifier, wire, filters)| {
            let properties = Properties::trusted(&wire);
            let filters: Vec<_> = filters
                .iter()
                .map(|(filter, options)| (filter.as_str(), *options))
                .collect();
            let mut bytes = Vec::new();
            encode_subscribe(
                packet_identifier,
                properties,
                filters.iter().copied(),
                version,
                &mut bytes,
            );
            let description = format!("{packet_identifier} {properties:?} {filters:?}");
            Sample {
                version,
                bytes,
                description,
            }
        })
        .boxed()
}

fn unsubscribe(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    (
        packet_identifier(),
        properties(version, PropertyHolder::Unsubscribe),
        vec(text(), 1..6),
    )
        .prop_map(move |(packet_identifier, wire, filters)| {
            let properties = Properties::trusted(&wire);
            let mut bytes = Vec::new();
            let words = filters.iter().map(String::as_str);
            encode_unsubscribe(packet_identifier, properties, words, version, &mut bytes);
            let description = format!("{packet_identifier} {properties:?} {filters:?}");
            Sample {
                version,
                bytes,
                description,
            }
        })
        .boxed()
}

fn suback(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let codes = match version {
        V5 => vec![
            0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
        ],
        V31 | V311 => vec![0, 1, 2, 0x80],
    };
    (
        packet_identifier(),
        properties(version, PropertyHolder::SubAck),
        vec(select(codes), 1..6),
    )
        .prop_map(move |(packet_identifier, wire, codes)| {
            let properties = Properties::trusted(&wire);
            Sample::of(
                version,
                &Packet::SubAck(SubAck {
                    packet_identifier,
                    properties,
                    codes: &codes,
                }),
            )
        })
        .boxed()
}

fn unsuback(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    let count = if version == V5 { 1..6 } else { 0..1 };
    let codes = vec(select(vec![0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]), count);
    (
        packet_identifier(),
        properties(version, PropertyHolder::UnsubAck),
        codes,
    )
        .prop_map(move |(packet_identifier, wire, codes)| {
            let properties = Properties::trusted(&wire);
            Sample::of(
                version,
                &Packet::UnsubAck(SubAck {
                    packet_identifier,
                    properties,
                    codes: &codes,
                }),
            )
        })
        .boxed()
}

fn disconnect(version: ProtocolVersion) -> BoxedStrategy<Sample> {
    (
        reason(version, PacketType::Disconnect),
        properties(version, PropertyHolder::Disconnect),
    )
        .prop_map(move |(reason, wire)| {
            let properties = Properties::trusted(&wire);
            Sample::of(
                version,
                &Packet::Disconnect(Disconnect { reason, properties }),
            )
        })
        .boxed()
}

fn auth() -> BoxedStrategy<Sample> {
    (
        reason(V5, PacketType::Auth),
        properties(V5, PropertyHolder::Auth),
    )
        .prop_map(|(reason, wire)| {
            let properties = Properties::trusted(&wire);
            Sample::of(V5, &Packet::Auth(Auth { reason, properties }))
        })
        .boxed()
}

/// Any packet of this version.
fn sample(version: ProtocolVersion) -> impl Strategy<Value = Sample> {
    let auth = if version == V5 {
        auth()
    } else {
        disconnect(version)
    };
    prop_oneof![
        connect(version),
        connack(version),
        publish(version),
        ack(version),
        subscribe(version),
        suback(version),
        unsubscribe(version),
        unsuback(version),
        disconnect(version),
        auth,
        Just(Sample::of(version, &Packet::PingReq)),
        Just(Sample::of(version, &Packet::PingResp)),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    version().prop_flat_map(sample)
}

/// Decodes all that is whole in `bytes`; returns what it found and how many bytes that was.
fn drain(
    bytes: &[u8],
    version: ProtocolVersion,
    found: &mut Vec<String>,
) -> Result<usize, DecodeError> {
    let mut used = 0;
    while let Some(frame) = Frame::cut(&bytes[used..], PACKET_BYTES_MAX)? {
        found.push(describe(&Packet::decode(&frame, version)?));
        used += frame.header.packet_bytes() as usize;
    }
    Ok(used)
}

/// Puts bytes through everything that takes bytes from a peer, and what comes out through
/// everything that reads it.
fn try_all(bytes: &[u8]) {
    let _ = FixedHeader::read(bytes);
    let _ = answer_version(bytes);
    for version in [V31, V311, V5] {
        let mut found = Vec::new();
        if let Err(error) = drain(bytes, version, &mut found) {
            assert!(error.reason_code().is_failure());
            assert!(!error.to_string().is_empty());
        }
        if let Ok(Some(frame)) = Frame::cut(bytes, PACKET_BYTES_MAX_DEFAULT) {
            check_decoded(&frame, version);
        }
    }
    for property in Properties::trusted(bytes).iter() {
        property.encode(&mut Vec::new());
    }
}

/// What was taken encodes to something that is taken the same way again.
fn check_decoded(frame: &Frame<'_>, version: ProtocolVersion) {
    let Ok(packet) = Packet::decode(frame, version) else {
        return;
    };
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let mut encoded = Vec::new();
    packet.encode(version, &mut encoded);
    let mut found = Vec::new();
    assert_eq!(drain(&encoded, version, &mut found), Ok(encoded.len()));
    assert_eq!(found, [describe(&packet)]);
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn decoding_undoes_encoding(sample in any_sample()) {
        let mut found = Vec::new();
        prop_assert_eq!(drain(&sample.bytes, sample.version, &mut found), Ok(sample.bytes.len()));
        prop_assert_eq!(found, vec![sample.description]);
    }

    #[test]
    fn bytes_from_anywhere_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        try_all(&bytes);
    }

    /// Any body behind a fixed header that fits it gets further into the decoders.
    #[test]
    fn any_body_of_any_type_never_panics(first in any::<u8>(), body in vec(any::<u8>(), 0..100)) {
        let mut bytes = vec![first];
        put_variable(&mut bytes, body.len() as u32);
        bytes.extend(body);
        try_all(&bytes);
    }

    #[test]
    fn a_changed_packet_never_panics(
        sample in any_sample(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in option::of(any::<Index>()),
    ) {
        let mut bytes = sample.bytes;
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_packets(
        samples in version().prop_flat_map(|version| vec(sample(version), 1..6)),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let version = samples[0].version;
        let stream: Vec<u8> = samples.iter().flat_map(|sample| sample.bytes.clone()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut buffer, mut found, mut from) = (Vec::new(), Vec::new(), 0);
        for cut in cuts {
            buffer.extend_from_slice(&stream[from..cut]);
            let used = drain(&buffer, version, &mut found);
            prop_assert!(used.is_ok(), "{:?}", used);
            buffer.drain(..used.unwrap_or(0));
            from = cut;
        }
        prop_assert!(buffer.is_empty());
        let expected: Vec<String> = samples.into_iter().map(|sample| sample.description).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_packet_is_whole_before_its_last_byte(sample in any_sample(), cut in any::<Index>()) {
        let bytes = &sample.bytes[..cut.index(sample.bytes.len())];
        prop_assert_eq!(Frame::cut(bytes, PACKET_BYTES_MAX), Ok(None));
    }
}

//! Codec rows: each line of `vectors/*.txt` is a packet written by hand, the versions it is decoded
//! as, and what must come of it. The bytes are independent of our encoder, which is held to them.
//!
//! ```text
//!   bytes | versions | outcome [| canonical bytes, where encoding gives others]
//! ```
//!
//! Bytes are hex pairs; `r5`, `p5`: a Remaining Length, a Property Length in its shortest form;
//! `s1'a'`: a two-byte length and text; `'a'`: text alone; `3x61`: a byte so many times. The outcome
//! is a packet in short, `incomplete`, or the name of an error with its clauses.

use midge::bytes::put_variable;
use midge::codec::connect::Connect;
use midge::codec::dialect::ProtocolVersion::{self, V5, V31, V311};
use midge::codec::error::{DecodeError, Malformed, ProtocolError};
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::property::{Properties, Property, PropertyHolder};
use midge::codec::subscribe::{RetainHandling, SubscriptionOptions};
use midge::limits::PACKET_BYTES_MAX_DEFAULT;

const FILES: [(&str, &str); 8] = [
    ("frame.txt", include_str!("vectors/frame.txt")),
    ("string.txt", include_str!("vectors/string.txt")),
    ("property.txt", include_str!("vectors/property.txt")),
    ("connect.txt", include_str!("vectors/connect.txt")),
    ("publish.txt", include_str!("vectors/publish.txt")),
    ("ack.txt", include_str!("vectors/ack.txt")),
    ("subscribe.txt", include_str!("vectors/subscribe.txt")),
    ("control.txt", include_str!("vectors/control.txt")),
];

#[test]
fn every_row_comes_out_as_written() {
    let mut failures = Vec::new();
    let mut row_count = 0;
    for (file, text) in FILES {
        for (line, number) in text.lines().zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            row_count += 1;
            let row = Row::parse(line).unwrap_or_else(|| panic!("{file}:{number}: no row: {line}"));
            for &version in &row.versions {
                if let Err(found) = row.check(version) {
                    failures.push(format!(
                        "{file}:{number} as {version:?}: {line}\n  found: {found}"
                    ));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} rows fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(row_count > 300, "{row_count} rows: some got lost");
}

struct Row<'t> {
    bytes: Vec<u8>,
    versions: Vec<ProtocolVersion>,
    outcome: &'t str,
    canonical: Vec<u8>,
}

impl<'t> Row<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut cells = line.split('|').map(str::trim);
        let bytes = parse_bytes(cells.next()?);
        let versions = parse_versions(cells.next()?)?;
        let outcome = cells.next()?;
        let canonical = cells.next().map_or_else(|| bytes.clone(), parse_bytes);
        Some(Self {
            bytes,
            versions,
            outcome,
            canonical,
        })
    }

    fn check(&self, version: ProtocolVersion) -> Result<(), String> {
        let packet = match decode(&self.bytes, version) {
            Ok(Some(packet)) => packet,
            Ok(None) => return equal("incomplete", self.outcome),
            Err(error) => return self.check_error(error),
        };
        equal(&summary(&packet), self.outcome)?;
        let mut encoded = b"before".to_vec();
        packet.encode(version, &mut encoded);
        match encoded.strip_prefix(b"before") {
            Some(encoded) if encoded == self.canonical => Ok(()),
            encoded => Err(format!("encoded as {encoded:02x?}")),
        }
    }

    /// An error is named with the clauses that ask for it, and its sentence is fit to be read.
    fn check_error(&self, error: DecodeError) -> Result<(), String> {
        let name = match error {
            DecodeError::Malformed(error) => format!("{error:?}"),
            DecodeError::Protocol(error) => format!("{error:?}"),
        };
        let (expected, clauses) = self.outcome.split_once(" [").unwrap_or((self.outcome, ""));
        equal(&name, expected)?;
        let sentence = error.to_string();
        if !clauses.starts_with("MQTT") || sentence.ends_with('.') || sentence.len() < 10 {
            return Err(format!("{clauses:?}, {sentence:?}"));
        }
        Ok(())
    }
}

fn equal(found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(found.to_owned())
    }
}

fn decode(bytes: &[u8], version: ProtocolVersion) -> Result<Option<Packet<'_>>, DecodeError> {
    let Some(frame) = Frame::cut(bytes, PACKET_BYTES_MAX_DEFAULT)? else {
        return Ok(None);
    };
    assert_eq!(
        frame.header.packet_bytes() as usize,
        bytes.len(),
        "row with a wrong length: {bytes:02x?}"
    );
    Packet::decode(&frame, version).map(Some)
}

fn parse_versions(cell: &str) -> Option<Vec<ProtocolVersion>> {
    if cell == "any" {
        return Some(vec![V31, V311, V5]);
    }
    let version = |word| match word {
        "3.1" => Some(V31),
        "3.1.1" => Some(V311),
        "5" => Some(V5),
        _ => None,
    };
    cell.split_whitespace().map(version).collect()
}

fn parse_bytes(cell: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = cell.trim_start();
    while !rest.is_empty() {
        let plain = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let end = match rest.find('\'') {
            Some(open) if open < plain => {
                open + 2 + rest[open + 1..].find('\'').expect("a closing quote")
            }
            _ => plain,
        };
        parse_token(&rest[..end], &mut out);
        rest = rest[end..].trim_start();
    }
    out
}

fn parse_token(token: &str, out: &mut Vec<u8>) {
    let hex = |digits| u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("token {token}"));
    if let Some(text) = token.strip_prefix('\'') {
        out.extend(text.trim_end_matches('\'').bytes());
    } else if let Some(string) = token.strip_prefix('s') {
        let (length, text) = string.split_once('\'').expect("a quote");
        let length: u16 = length.parse().expect("a length");
        let text = text.trim_end_matches('\'');
        assert_eq!(usize::from(length), text.len(), "token {token}");
        out.extend(length.to_be_bytes());
        out.extend(text.bytes());
    } else if let Some(length) = token.strip_prefix(['r', 'p']) {
        put_variable(out, length.parse().expect("a length"));
    } else if let Some((count, digits)) = token.split_once('x') {
        let count: usize = count.parse().expect("a count");
        out.resize(out.len() + count, hex(digits));
    } else {
        assert_eq!(token.len(), 2, "token {token}");
        out.push(hex(token));
    }
}

fn summary(whole: &Packet<'_>) -> String {
    match whole {
        Packet::Connect(connect) => connect_summary(connect),
        Packet::ConnAck(packet) => {
            let present = if packet.session_present {
                "present "
            } else {
                ""
            };
            format!(
                "ConnAck {present}{:?}{}",
                packet.reason,
                properties(packet.properties)
            )
        }
        Packet::Publish(packet) => {
            let id = packet
                .packet_identifier
                .map_or(String::new(), |id| format!(" id={id}"));
            let flags = flags(&[(packet.dup, " dup"), (packet.retain, " retain")]);
            let (topic, payload) = (
                data(packet.topic.as_bytes(), packet.topic),
                data(packet.payload, ""),
            );
            let properties = properties(packet.properties);
            format!(
                "Publish {topic} qos{}{flags}{id} payload={payload}{properties}",
                packet.qos.bits()
            )
        }
        Packet::Ack(packet) => {
            let (id, properties) = (packet.packet_identifier, properties(packet.properties));
            format!("{:?} id={id} {:?}{properties}", packet.kind, packet.reason)
        }
        Packet::Subscribe(packet) => {
            let filters: String = packet
                .iter()
                .map(|(filter, with)| format!(" '{filter}'({})", options(with)))
                .collect();
            format!(
                "Subscribe id={}{filters}{}",
                packet.packet_identifier,
                properties(packet.properties)
            )
        }
        Packet::Unsubscribe(packet) => {
            let filters: String = packet.iter().map(|filter| format!(" '{filter}'")).collect();
            format!(
                "Unsubscribe id={}{filters}{}",
                packet.packet_identifier,
                properties(packet.properties)
            )
        }
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => {
            let name = match whole {
                Packet::SubAck(_) => "SubAck",
                _ => "UnsubAck",
            };
            let codes: String = packet
                .codes
                .iter()
                .map(|code| format!(" {code:02x}"))
                .collect();
            format!(
                "{name} id={}{codes}{}",
                packet.packet_identifier,
                properties(packet.properties)
            )
        }
        Packet::PingReq => "PingReq".to_owned(),
        Packet::PingResp => "PingResp".to_owned(),
        Packet::Disconnect(packet) => format!(
            "Disconnect {:?}{}",
            packet.reason,
            properties(packet.properties)
        ),
        Packet::Auth(packet) => {
            format!("Auth {:?}{}", packet.reason, properties(packet.properties))
        }
    }
}

fn connect_summary(connect: &Connect<'_>) -> String {
    let version = match connect.version {
        V31 => "3.1",
        V311 => "3.1.1",
        V5 => "5",
    };
    let flags = flags(&[(connect.bridge, " bridge"), (connect.clean_start, " clean")]);
    let will = connect.will.map_or(String::new(), |will| {
        let (qos, retain) = (will.qos.bits(), if will.retain { " retain" } else { "" });
        let (payload, properties) = (data(will.payload, ""), properties(will.properties));
        format!(
            " will('{}' qos{qos}{retain} payload={payload}{properties})",
            will.topic
        )
    });
    let user = connect
        .username
        .map_or(String::new(), |user| format!(" user='{user}'"));
    let password = connect.password.map_or(String::new(), |password| {
        format!(" password={}", data(password, ""))
    });
    let (keep, client, properties) = (
        connect.keep_alive_s,
        connect.client_identifier,
        properties(connect.properties),
    );
    format!("Connect {version}{flags} keep={keep} '{client}'{will}{user}{password}{properties}")
}

fn flags(flags: &[(bool, &str)]) -> String {
    flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect()
}

fn options(options: SubscriptionOptions) -> String {
    let handling = match options.retain_handling {
        RetainHandling::Send => String::new(),
        other => format!(" {other:?}"),
    };
    let flags = flags(&[
        (options.no_local, " no_local"),
        (options.retain_as_published, " retain_as_published"),
    ]);
    format!("qos{}{flags}{handling}", options.qos.bits())
}

/// Text in quotes; where it is one byte over and over, that and how often.
fn data(bytes: &[u8], text: &str) -> String {
    match bytes {
        [first, rest @ ..] if rest.len() > 16 && rest.iter().all(|byte| byte == first) => {
            format!("{}x'{}'", bytes.len(), first.escape_ascii())
        }
        _ if text.is_ascii() => format!("'{}'", bytes.escape_ascii()),
        _ => format!("'{}'", text.escape_debug()),
    }
}

fn properties(properties: Properties<'_>) -> String {
    let one = |property| match property {
        Property::CorrelationData(data) if data.len() > 16 => {
            format!("CorrelationData({} bytes)", data.len())
        }
        property => format!("{property:?}"),
    };
    let all: Vec<String> = properties.iter().map(one).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!(" [{}]", all.join(", "))
    }
}

/// What goes before and behind the properties of one holder, and their place in a whole packet.
fn packet_with(holder: PropertyHolder, wire: &[u8]) -> Vec<u8> {
    use PropertyHolder as H;
    let (first, before, behind) = match holder {
        H::Connect => ("10", "s4'MQTT' 05 02 00 00", "s1'c'"),
        H::Will => ("10", "s4'MQTT' 05 06 00 00 p0 s1'c'", "s1'w' s1'm'"),
        H::ConnAck => ("20", "00 00", ""),
        H::Publish => ("30", "s1'a'", "'payload'"),
        H::PubAck => ("40", "00 01 00", ""),
        H::PubRec => ("50", "00 01 00", ""),
        H::PubRel => ("62", "00 01 00", ""),
        H::PubComp => ("70", "00 01 00", ""),
        H::Subscribe => ("82", "00 01", "s1'a' 00"),
        H::SubAck => ("90", "00 01", "00"),
        H::Unsubscribe => ("a2", "00 01", "s1'a'"),
        H::UnsubAck => ("b0", "00 01", "00"),
        H::Disconnect => ("e0", "00", ""),
        H::Auth => ("f0", "18", ""),
    };
    let mut body = parse_bytes(before);
    put_variable(&mut body, wire.len().try_into().expect("a short one"));
    body.extend(wire);
    body.extend(parse_bytes(behind));
    let mut packet = parse_bytes(first);
    put_variable(&mut packet, body.len().try_into().expect("a short one"));
    packet.extend(body);
    packet
}

const HOLDERS: [PropertyHolder; 14] = [
    PropertyHolder::Connect,
    PropertyHolder::ConnAck,
    PropertyHolder::Publish,
    PropertyHolder::Will,
    PropertyHolder::PubAck,
    PropertyHolder::PubRec,
    PropertyHolder::PubRel,
    PropertyHolder::PubComp,
    PropertyHolder::Subscribe,
    PropertyHolder::SubAck,
    PropertyHolder::Unsubscribe,
    PropertyHolder::UnsubAck,
    PropertyHolder::Disconnect,
    PropertyHolder::Auth,
];

/// [MQTT5 §2.2.2.2] Each of the 27 properties in each of the 14 places, once and twice.
#[test]
fn every_property_is_taken_where_the_table_has_it_and_nowhere_else() {
    let rows: Vec<&str> = rows(include_str!("vectors/property_table.txt")).collect();
    assert_eq!(rows.len(), 27);
    for row in rows {
        let [identifier, value, allowed] = cells(row);
        let property = parse_bytes(identifier)[0];
        let mut wire = vec![property];
        wire.extend(parse_bytes(value));
        for holder in HOLDERS {
            let name = format!("{holder:?}");
            let expected = match allowed.split_whitespace().any(|word| word == name) {
                false => Err(Malformed::MisplacedProperty { property, holder }.into()),
                true if property == 0x16 => {
                    Err(ProtocolError::AuthenticationDataWithoutMethod.into())
                }
                true => Ok(()),
            };
            check_property(holder, &wire, expected);
            if expected != Err(Malformed::MisplacedProperty { property, holder }.into()) {
                // User Property, and in a PUBLISH Subscription Identifier, may repeat.
                let repeats = property == 0x26 || (property == 0x0b && name == "Publish");
                let duplicate = Err(ProtocolError::DuplicateProperty(property).into());
                check_property(
                    holder,
                    &wire.repeat(2),
                    if repeats { Ok(()) } else { duplicate },
                );
            }
        }
    }
}

fn check_property(holder: PropertyHolder, wire: &[u8], expected: Result<(), DecodeError>) {
    let bytes = packet_with(holder, wire);
    let packet = decode(&bytes, V5);
    assert_eq!(
        packet.map(|packet| assert!(packet.is_some())),
        expected,
        "{holder:?} {wire:02x?}"
    );
    let Ok(Some(packet)) = packet else { return };
    let mut encoded = Vec::new();
    packet.encode(V5, &mut encoded);
    assert_eq!(encoded, bytes, "{holder:?} {wire:02x?}");
    let properties = properties_of(&packet, holder);
    assert_eq!(properties.as_bytes(), wire);
    let (mut again, mut raw) = (Vec::new(), Vec::new());
    for (property, bytes) in properties.iter_raw() {
        assert_eq!(property.identifier(), wire[0]);
        property.encode(&mut again);
        raw.extend(bytes);
    }
    assert_eq!((&again[..], &raw[..]), (wire, wire));
}

fn properties_of<'a>(packet: &Packet<'a>, holder: PropertyHolder) -> Properties<'a> {
    match packet {
        Packet::Connect(packet) => match (holder, packet.will) {
            (PropertyHolder::Will, Some(will)) => will.properties,
            _ => packet.properties,
        },
        Packet::ConnAck(packet) => packet.properties,
        Packet::Publish(packet) => packet.properties,
        Packet::Ack(packet) => packet.properties,
        Packet::Subscribe(packet) => packet.properties,
        Packet::Unsubscribe(packet) => packet.properties,
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        Packet::Auth(packet) => packet.properties,
        Packet::PingReq | Packet::PingResp => Properties::default(),
    }
}

/// [MQTT5 §2.4] Each of the 256 values in each of the nine packets that have a Reason Code.
#[test]
fn every_reason_code_is_taken_where_its_packet_has_it_and_nowhere_else() {
    let rows: Vec<&str> = rows(include_str!("vectors/reason_table.txt")).collect();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let [name, before, behind, codes] = cells(row);
        let allowed = parse_bytes(codes);
        for value in 0..=255 {
            let mut bytes = parse_bytes(before);
            bytes.push(value);
            bytes.extend(parse_bytes(behind));
            match decode(&bytes, V5) {
                Ok(Some(_)) => assert!(allowed.contains(&value), "{name} took {value:02x}"),
                Err(DecodeError::Protocol(ProtocolError::ReasonCodeValue {
                    packet_type,
                    value: told,
                })) => {
                    assert!(!allowed.contains(&value), "{name} refused {value:02x}");
                    assert_eq!((format!("{packet_type:?}").as_str(), told), (name, value));
                }
                other => panic!("{name} {value:02x}: {other:?}"),
            }
        }
    }
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn cells<const N: usize>(row: &str) -> [&str; N] {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    cells.try_into().unwrap_or_else(|_| panic!("row {row}"))
}

//! The property table of 5.0 [MQTT5 §2.2.2.2]: identifiers, types, and which packet may carry
//! which. A set of properties is checked once, when its packet is decoded, in one pass whatever
//! their number; after that it is passed around as the bytes it came in.

use super::error::{DecodeError, Malformed, ProtocolError};
use super::frame;
use super::utf8;
use crate::bytes::{Reader, put_binary, put_u16, put_u32, put_variable};
use std::num::{NonZeroU16, NonZeroU32};

/// Where a set of properties stands; decides which are allowed and which may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PropertyHolder {
    Connect,
    ConnAck,
    Publish,
    Will,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

/// One property, borrowed from its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Property<'a> {
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    MaximumQoS(bool),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(NonZeroU32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// The properties of one packet, in wire form without their length, checked: well-formed, each
/// allowed in its packet, none twice that may not be. Empty in 3.x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const USER_PROPERTY: u8 = 0x26;

/// One row of the table: the property's name, and a bit for each holder that may have it.
struct Row(&'static str, u16);

const fn holders(set: &[PropertyHolder]) -> u16 {
    let (mut bits, mut rest) = (0, set);
    while let [holder, tail @ ..] = rest {
        bits |= holder.bit();
        rest = tail;
    }
    bits
}

/// The table [MQTT5 §2.2.2.2, table 2-4]. Change a row here, then also [`Property::identifier`],
/// `Property::read_value` and [`Property::encode`], which give the row its type.
const fn row(identifier: u8) -> Option<Row> {
    use PropertyHolder::{
        Auth, ConnAck, Connect, Disconnect, PubAck, PubComp, PubRec, PubRel, Publish, SubAck,
        Subscribe, UnsubAck, Will,
    };
    const MESSAGE: u16 = holders(&[Publish, Will]);
    const HANDSHAKE: u16 = holders(&[Connect, ConnAck]);
    const AUTHENTICATION: u16 = HANDSHAKE | holders(&[Auth]);
    const ANSWER: u16 = holders(&[
        ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth,
    ]);
    const CONNACK: u16 = holders(&[ConnAck]);
    Some(match identifier {
        0x01 => Row("Payload Format Indicator", MESSAGE),
        0x02 => Row("Message Expiry Interval", MESSAGE),
        0x03 => Row("Content Type", MESSAGE),
        0x08 => Row("Response Topic", MESSAGE),
        0x09 => Row("Correlation Data", MESSAGE),
        SUBSCRIPTION_IDENTIFIER => Row("Subscription Identifier", holders(&[Publish, Subscribe])),
        0x11 => Row(
            "Session Expiry Interval",
            HANDSHAKE | holders(&[Disconnect]),
        ),
        0x12 => Row("Assigned Client Identifier", CONNACK),
        0x13 => Row("Server Keep Alive", CONNACK),
        AUTHENTICATION_METHOD => Row("Authentication Method", AUTHENTICATION),
        AUTHENTICATION_DATA => Row("Authentication Data", AUTHENTICATION),
        0x17 => Row("Request Problem Information", holders(&[Connect])),
        0x18 => Row("Will Delay Interval", holders(&[Will])),
        0x19 => Row("Request Response Information", holders(&[Connect])),
        0x1a => Row("Response Information", CONNACK),
        0x1c => Row("Server Reference", CONNACK | holders(&[Disconnect])),
        0x1f => Row("Reason String", ANSWER),
        0x21 => Row("Receive Maximum", HANDSHAKE),
        0x22 => Row("Topic Alias Maximum", HANDSHAKE),
        0x23 => Row("Topic Alias", holders(&[Publish])),
        0x24 => Row("Maximum QoS", CONNACK),
        0x25 => Row("Retain Available", CONNACK),
        USER_PROPERTY => Row("User Property", u16::MAX),
        0x27 => Row("Maximum Packet Size", HANDSHAKE),
        0x28 => Row("Wildcard Subscription Available", CONNACK),
        0x29 => Row("Subscription Identifier Available", CONNACK),
        0x2a => Row("Shared Subscription Available", CONNACK),
        _ => return None,
    })
}

/// The specification's name of the property with this identifier.
pub const fn name(identifier: u8) -> &'static str {
    match row(identifier) {
        Some(Row(name, _)) => name,
        None => "unknown",
    }
}

impl PropertyHolder {
    const fn bit(self) -> u16 {
        1 << self as u16
    }

    const fn may_have(self, row: &Row) -> bool {
        row.1 & self.bit() != 0
    }

    const fn may_repeat(self, identifier: u8) -> bool {
        match identifier {
            // [MQTT5 §3.1.2.11.8] and its like: "allowed to appear multiple times".
            USER_PROPERTY => true,
            // [MQTT5 §3.3.2.3.8]: one for each subscription that matched.
            SUBSCRIPTION_IDENTIFIER => matches!(self, Self::Publish),
            _ => false,
        }
    }

    /// The name of the packet, or of the Will Properties, in the words of the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Will => "Will",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl<'a> Property<'a> {
    /// Whether it is for one hop alone: a message does not go on to others with it as it is.
    pub const fn is_of_one_hop(&self) -> bool {
        matches!(
            self,
            Self::TopicAlias(_)
                | Self::SubscriptionIdentifier(_)
                | Self::MessageExpiryInterval(_)
                | Self::WillDelayInterval(_)
        )
    }

    /// The identifier on the wire.
    pub const fn identifier(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => 0x01,
            Self::MessageExpiryInterval(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => SUBSCRIPTION_IDENTIFIER,
            Self::SessionExpiryInterval(_) => 0x11,
            Self::AssignedClientIdentifier(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => AUTHENTICATION_METHOD,
            Self::AuthenticationData(_) => AUTHENTICATION_DATA,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelayInterval(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1a,
            Self::ServerReference(_) => 0x1c,
            Self::ReasonString(_) => 0x1f,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQoS(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::UserProperty(..) => USER_PROPERTY,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardSubscriptionAvailable(_) => 0x28,
            Self::SubscriptionIdentifierAvailable(_) => 0x29,
            Self::SharedSubscriptionAvailable(_) => 0x2a,
        }
    }

    /// Reads the value of the property with this identifier. `text` is the check its strings go
    /// through.
    fn read_value(
        identifier: u8,
        reader: &mut Reader<'a>,
        text: impl Fn(&'a [u8]) -> Result<&'a str, Malformed>,
    ) -> Result<Self, DecodeError> {
        let bad_value = ProtocolError::PropertyValue(identifier);
        Ok(match identifier {
            0x01 => Self::PayloadFormatIndicator(flag(reader, bad_value)?),
            0x02 => Self::MessageExpiryInterval(reader.u32()?),
            0x03 => Self::ContentType(text(reader.binary()?)?),
            0x08 => Self::ResponseTopic(text(reader.binary()?)?),
            0x09 => Self::CorrelationData(reader.binary()?),
            SUBSCRIPTION_IDENTIFIER => match frame::read_variable(reader)? {
                // [MQTT5 §3.8.2.1.2]: "It is a Protocol Error if the Subscription Identifier has a
                // value of 0."
                0 => return Err(bad_value.into()),
                value => Self::SubscriptionIdentifier(value),
            },
            0x11 => Self::SessionExpiryInterval(reader.u32()?),
            0x12 => Self::AssignedClientIdentifier(text(reader.binary()?)?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            AUTHENTICATION_METHOD => Self::AuthenticationMethod(text(reader.binary()?)?),
            AUTHENTICATION_DATA => Self::AuthenticationData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(flag(reader, bad_value)?),
            0x18 => Self::WillDelayInterval(reader.u32()?),
            0x19 => Self::RequestResponseInformation(flag(reader, bad_value)?),
            0x1a => Self::ResponseInformation(text(reader.binary()?)?),
            0x1c => Self::ServerReference(text(reader.binary()?)?),
            0x1f => Self::ReasonString(text(reader.binary()?)?),
            // [MQTT5 §3.1.2.11.3] [MQTT5 §3.2.2.3.3]
            0x21 => Self::ReceiveMaximum(NonZeroU16::new(reader.u16()?).ok_or(bad_value)?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            // [MQTT5-3.3.2-8]
            0x23 => {
                let alias = NonZeroU16::new(reader.u16()?);
                Self::TopicAlias(alias.ok_or(ProtocolError::TopicAliasZero)?)
            }
            // [MQTT5 §3.2.2.3.4]: QoS 2 is said by leaving the property out.
            0x24 => Self::MaximumQoS(flag(reader, bad_value)?),
            0x25 => Self::RetainAvailable(flag(reader, bad_value)?),
            USER_PROPERTY => Self::UserProperty(text(reader.binary()?)?, text(reader.binary()?)?),
            // [MQTT5 §3.1.2.11.4] [MQTT5 §3.2.2.3.6]
            0x27 => Self::MaximumPacketSize(NonZeroU32::new(reader.u32()?).ok_or(bad_value)?),
            0x28 => Self::WildcardSubscriptionAvailable(flag(reader, bad_value)?),
            0x29 => Self::SubscriptionIdentifierAvailable(flag(reader, bad_value)?),
            0x2a => Self::SharedSubscriptionAvailable(flag(reader, bad_value)?),
            _ => return Err(Malformed::UnknownProperty(identifier).into()),
        })
    }

    /// Appends identifier and value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.identifier());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.push(u8::from(value)),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => put_u16(out, value),
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => put_u16(out, value.get()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value) => put_u32(out, value),
            Self::MaximumPacketSize(value) => put_u32(out, value.get()),
            Self::SubscriptionIdentifier(value) => put_variable(out, value),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_binary(out, text.as_bytes()),
            Self::CorrelationData(data) | Self::AuthenticationData(data) => put_binary(out, data),
            Self::UserProperty(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }
}

/// A Byte that is 0 or 1. [MQTT5 §3.1.2.11.6] and its like: "It is a Protocol Error to have a value
/// other than 0 or 1."
fn flag(reader: &mut Reader<'_>, bad_value: ProtocolError) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(bad_value.into()),
    }
}

/// The identifiers met so far, a bit each: duplicates are found without looking back.
#[derive(Clone, Copy, Default)]
struct Seen(u64);

impl Seen {
    const fn has(self, identifier: u8) -> bool {
        self.0 >> (identifier & 0x3f) & 1 != 0
    }

    /// Whether it was new. Only identifiers of the table come here, all below 64.
    const fn insert(&mut self, identifier: u8) -> bool {
        let new = !self.has(identifier);
        self.0 |= 1 << (identifier & 0x3f);
        new
    }
}

impl<'a> Properties<'a> {
    /// Reads a Property Length and the properties after it, and checks them.
    ///
    /// # Errors
    /// `Malformed` for bytes that do not parse, an unknown identifier, or a property that `holder`
    /// may not have; `ProtocolError` for one that is there twice, or has a forbidden value.
    pub fn read(reader: &mut Reader<'a>, holder: PropertyHolder) -> Result<Self, DecodeError> {
        let length = frame::read_variable(reader)?;
        let bytes = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let mut rest = Reader::new(bytes);
        let mut seen = Seen::default();
        while !rest.is_empty() {
            read_checked(&mut rest, holder, &mut seen)?;
        }
        // [MQTT5 §3.1.2.11.10] [MQTT5 §3.15.2.2.3]
        if seen.has(AUTHENTICATION_DATA) && !seen.has(AUTHENTICATION_METHOD) {
            return Err(ProtocolError::AuthenticationDataWithoutMethod.into());
        }
        Ok(Self(bytes))
    }

    /// Properties this program wrote itself (with [`Property::encode`]), taken without a check.
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The wire form, without its length.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each property, in wire order, with its wire form (identifier and value).
    pub fn iter_raw(&self) -> impl Iterator<Item = (Property<'a>, &'a [u8])> + 'a {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let from = reader.rest();
            let identifier = reader.u8().ok()?;
            // What strings may contain was decided when the packet was decoded.
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8);
            let property = Property::read_value(identifier, &mut reader, text).ok()?;
            let raw = from.get(..from.len().checked_sub(reader.rest().len())?)?;
            Some((property, raw))
        })
    }

    /// Each property, in wire order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + 'a {
        self.iter_raw().map(|(property, _)| property)
    }

    /// Whether any of them is for one hop alone.
    #[inline]
    pub fn has_hop(&self) -> bool {
        let has_hop = |properties: &Self| properties.iter().any(|it| it.is_of_one_hop());
        !self.is_empty() && has_hop(self)
    }

    /// Every Subscription Identifier, in wire order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + 'a {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(value) => Some(value),
            _ => None,
        })
    }

    /// Name and value of every User Property, in wire order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Appends Property Length and properties.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_variable(out, self.length());
        out.extend_from_slice(self.0);
    }

    /// The Property Length.
    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// Reads one property and checks it against its holder and those before it.
fn read_checked(
    reader: &mut Reader<'_>,
    holder: PropertyHolder,
    seen: &mut Seen,
) -> Result<(), DecodeError> {
    let property = reader.u8()?;
    let Some(row) = row(property) else {
        return Err(Malformed::UnknownProperty(property).into());
    };
    // [MQTT5 §2.2.2.2]: "an Identifier which is not valid for its packet type [...] is a Malformed
    // Packet".
    if !holder.may_have(&row) {
        return Err(Malformed::MisplacedProperty { property, holder }.into());
    }
    // [MQTT5 §3.1.2.11.2] and its like: "It is a Protocol Error to include [it] more than once."
    if !seen.insert(property) && !holder.may_repeat(property) {
        return Err(ProtocolError::DuplicateProperty(property).into());
    }
    match Property::read_value(property, reader, utf8::check)? {
        // [MQTT5-3.3.2-14]
        Property::ResponseTopic(topic) if topic.contains(['+', '#']) => {
            Err(ProtocolError::ResponseTopicWildcard.into())
        }
        _ => Ok(()),
    }
}

/// Gives [`Properties`] a method for each property that is there once or not at all.
macro_rules! accessors {
    ($($(#[$doc:meta])* $method:ident: $variant:ident($value:ty);)*) => {
        impl<'a> Properties<'a> {
            $($(#[$doc])*
            pub fn $method(&self) -> Option<$value> {
                self.iter().find_map(|property| match property {
                    Property::$variant(value) => Some(value),
                    _ => None,
                })
            })*
        }
    };
}

accessors! {
    /// Whether the payload is UTF-8 text.
    payload_format_indicator: PayloadFormatIndicator(bool);
    /// Seconds. Absent: the message does not expire.
    message_expiry_interval: MessageExpiryInterval(u32);
    /// What the payload is.
    content_type: ContentType(&'a str);
    /// Where an answer is to go; without wildcards, otherwise unchecked.
    response_topic: ResponseTopic(&'a str);
    /// What an answer is to bring along.
    correlation_data: CorrelationData(&'a [u8]);
    /// Seconds; 0xffff_ffff: never. Absent: 0 in CONNECT, "as it was" elsewhere.
    session_expiry_interval: SessionExpiryInterval(u32);
    /// The Client Identifier the server chose. Absent: the client's own.
    assigned_client_identifier: AssignedClientIdentifier(&'a str);
    /// Seconds. Absent: the client's own.
    server_keep_alive: ServerKeepAlive(u16);
    /// The name of an extended authentication.
    authentication_method: AuthenticationMethod(&'a str);
    /// Meaningful to that method.
    authentication_data: AuthenticationData(&'a [u8]);
    /// Absent: true.
    request_problem_information: RequestProblemInformation(bool);
    /// Seconds. Absent: 0.
    will_delay_interval: WillDelayInterval(u32);
    /// Absent: false.
    request_response_information: RequestResponseInformation(bool);
    /// What a client may build its Response Topics from.
    response_information: ResponseInformation(&'a str);
    /// Where else to go.
    server_reference: ServerReference(&'a str);
    /// A sentence for people.
    reason_string: ReasonString(&'a str);
    /// QoS 1 and 2 messages in flight. Absent: 65,535.
    receive_maximum: ReceiveMaximum(NonZeroU16);
    /// Absent: 0, no Topic Alias at all.
    topic_alias_maximum: TopicAliasMaximum(u16);
    /// The number that stands for a topic, or is to stand for it from now on.
    topic_alias: TopicAlias(NonZeroU16);
    /// Whether it is 1 rather than 0. Absent: 2.
    maximum_qos: MaximumQoS(bool);
    /// Absent: true.
    retain_available: RetainAvailable(bool);
    /// Bytes. Absent: no limit but the protocol's.
    maximum_packet_size: MaximumPacketSize(NonZeroU32);
    /// Absent: true.
    wildcard_subscription_available: WildcardSubscriptionAvailable(bool);
    /// Absent: true.
    subscription_identifier_available: SubscriptionIdentifierAvailable(bool);
    /// Absent: true.
    shared_subscription_available: SharedSubscriptionAvailable(bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_accessor_finds_its_property() {
        let wire = b"\x01\x01\x26\0\x01k\0\x01v\x23\0\x07\x0b\x05\x0b\x80\x01\x26\0\x01k\0\x01w";
        let properties = Properties::trusted(wire);
        assert_eq!(properties.payload_format_indicator(), Some(true));
        assert_eq!(properties.topic_alias().map(NonZeroU16::get), Some(7));
        assert_eq!(properties.content_type(), None);
        assert!(properties.subscription_identifiers().eq([5, 128]));
        assert!(properties.user_properties().eq([("k", "v"), ("k", "w")]));
        let raw: Vec<&[u8]> = properties.iter_raw().map(|(_, raw)| raw).collect();
        assert_eq!(raw.concat(), wire);
        assert_eq!(raw.get(2), Some(&&b"\x23\0\x07"[..]));
    }

    #[test]
    fn bytes_that_cannot_be_end_the_iteration() {
        for wire in [
            &b"\x01"[..],
            b"\x7f\x01",
            b"\x01\x02",
            b"\x03\0\x01\xff",
            b"\x26\0\x01k",
        ] {
            assert_eq!(Properties::trusted(wire).iter().count(), 0);
        }
        assert_eq!(Properties::trusted(b"\x01\x01\x23").iter().count(), 1);
    }

    #[test]
    fn a_great_many_properties_are_checked_in_one_pass() {
        let count = 200_000;
        let mut wire = Vec::new();
        put_variable(&mut wire, count * 5);
        for _ in 0..count {
            Property::UserProperty("", "").encode(&mut wire);
        }
        let read = Properties::read(&mut Reader::new(&wire), PropertyHolder::Publish);
        assert_eq!(
            read.map(|properties| properties.user_properties().count()),
            Ok(200_000)
        );
    }
}

//! The bytes of an outgoing PUBLISH, laid out here and nowhere else. Apart from `deliver.rs`, which
//! decides who gets which.

use super::client::Client;
use crate::bytes::{put_binary, put_u16, put_variable, variable_bytes};
use crate::codec::property::Property;
use crate::message::{PacketIdentifier, Publication, QoS, WireBuffer};
use crate::time::Now;
use std::num::NonZeroU16;

/// What differs from receiver to receiver in the head of a PUBLISH.
#[derive(Debug)]
pub struct Head<'h> {
    /// As the client knows it.
    pub topic: &'h str,
    /// QoS it goes out with.
    pub qos: QoS,
    /// DUP flag it goes out with.
    pub dup: bool,
    /// RETAIN flag it goes out with.
    pub retain: bool,
    /// There if and only if QoS is 1 or 2.
    pub packet_identifier: Option<PacketIdentifier>,
    /// Subscription Identifiers.
    pub identifiers: &'h [u32],
}

impl Head<'_> {
    /// The first byte of a packet at QoS 0 without a flag.
    pub const BARE: u8 = 0x30;

    /// The first byte of the packet.
    pub fn first_byte(&self) -> u8 {
        Self::BARE | u8::from(self.dup) << 3 | self.qos.bits() << 1 | u8::from(self.retain)
    }
}

/// Lays a packet out for all receivers that get the same one.
pub fn lay_out(
    buffer: &mut WireBuffer,
    publication: &Publication<'_>,
    head: &Head<'_>,
    client: &Client,
    now: Now,
) {
    let layout = Layout::new(publication, head, Alias::None, client, now);
    let has_properties = client.version.has_properties();
    buffer.bytes.clear();
    layout.encode_head(head, &mut buffer.bytes);
    if has_properties {
        buffer.bytes.extend_from_slice(publication.properties);
    }
    buffer.bytes.extend_from_slice(publication.payload);
    buffer.has_properties = has_properties;
    // Behind the fixed header and the topic with its length.
    let fixed = layout.packet_bytes.saturating_sub(layout.remaining_length);
    buffer.packet_identifier_at = usize::try_from(fixed).unwrap_or_default() + 2 + head.topic.len();
}

/// The Topic Alias of one PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// The topic goes out as it is.
    None,
    /// The topic goes out with an alias that is set by it.
    New(NonZeroU16),
    /// The alias goes out alone.
    Known(NonZeroU16),
}

impl Alias {
    /// First come, first served, up to the client's Topic Alias Maximum [MQTT5-3.3.2-8].
    fn of(topic: &str, client: &Client) -> Self {
        if client.topic_alias_maximum == 0 {
            return Self::None;
        }
        let topics = client
            .aliases
            .as_ref()
            .map_or(&[][..], |aliases| &aliases.outbound);
        let known = topics.iter().position(|known| **known == *topic);
        let index = known.unwrap_or(topics.len());
        let alias = u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        match (alias, known) {
            (Some(alias), Some(_)) => Self::Known(alias),
            (Some(alias), None) if alias.get() <= client.topic_alias_maximum => Self::New(alias),
            _ => Self::None,
        }
    }
}

/// The sizes of one PUBLISH, worked out before a byte of it is written. A payload and its
/// properties are below 2^28 bytes, so that no sum here overflows 64 bits, and none that is
/// written 32.
#[derive(Debug)]
pub struct Layout {
    /// Its Topic Alias.
    pub alias: Alias,
    expiry_s: Option<u32>,
    has_properties: bool,
    properties_bytes: u64,
    remaining_length: u64,
    /// Bytes of the whole packet.
    pub packet_bytes: u64,
}

impl Layout {
    /// With the Topic Alias there is for the topic, unless that makes the packet too large.
    pub fn fitting(
        publication: &Publication<'_>,
        head: &Head<'_>,
        client: &Client,
        now: Now,
    ) -> Self {
        let alias = Alias::of(head.topic, client);
        let layout = Self::new(publication, head, alias, client, now);
        if alias != Alias::None && layout.packet_bytes > u64::from(client.maximum_packet_size) {
            return Self::new(publication, head, Alias::None, client, now);
        }
        layout
    }

    fn new(
        publication: &Publication<'_>,
        head: &Head<'_>,
        alias: Alias,
        client: &Client,
        now: Now,
    ) -> Self {
        let has_properties = client.version.has_properties();
        let identifier_bytes = if head.packet_identifier.is_some() {
            2
        } else {
            0
        };
        let mut layout = Self {
            alias,
            expiry_s: None,
            has_properties,
            properties_bytes: 0,
            remaining_length: identifier_bytes + publication.payload.len() as u64,
            packet_bytes: 0,
        };
        if has_properties {
            layout.expiry_s = publication.remaining_s(now.mono);
            layout.properties_bytes = layout.own_bytes(head) + publication.properties.len() as u64;
            let bytes = u32::try_from(layout.properties_bytes).unwrap_or(u32::MAX);
            layout.remaining_length += u64::from(variable_bytes(bytes)) + layout.properties_bytes;
        }
        let topic = if matches!(layout.alias, Alias::Known(_)) {
            ""
        } else {
            head.topic
        };
        layout.remaining_length += 2 + topic.len() as u64;
        let remaining = u32::try_from(layout.remaining_length).unwrap_or(u32::MAX);
        layout.packet_bytes = 1 + u64::from(variable_bytes(remaining)) + layout.remaining_length;
        layout
    }

    /// Bytes of the properties that are this receiver's own.
    fn own_bytes(&self, head: &Head<'_>) -> u64 {
        let alias = if self.alias == Alias::None { 0 } else { 3 };
        let expiry = if self.expiry_s.is_some() { 5 } else { 0 };
        let identifiers = head
            .identifiers
            .iter()
            .map(|id| 1 + u64::from(variable_bytes(*id)));
        alias + expiry + identifiers.sum::<u64>()
    }

    /// Appends everything up to the properties and the payload that all receivers share.
    pub fn encode_head(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.push(head.first_byte());
        put_variable(
            out,
            u32::try_from(self.remaining_length).unwrap_or_default(),
        );
        let known = matches!(self.alias, Alias::Known(_));
        put_binary(out, if known { &[] } else { head.topic.as_bytes() });
        if let Some(packet_identifier) = head.packet_identifier {
            put_u16(out, packet_identifier.get());
        }
        if !self.has_properties {
            return;
        }
        put_variable(
            out,
            u32::try_from(self.properties_bytes).unwrap_or_default(),
        );
        if let Some(expiry_s) = self.expiry_s {
            Property::MessageExpiryInterval(expiry_s).encode(out);
        }
        if let Alias::New(alias) | Alias::Known(alias) = self.alias {
            Property::TopicAlias(alias).encode(out);
        }
        for identifier in head.identifiers {
            Property::SubscriptionIdentifier(*identifier).encode(out);
        }
    }
}

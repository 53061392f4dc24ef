//! An Application Message as the broker keeps it: one body, shared by every queue, flight and
//! retained slot that refers to it, never changed once made.
//!
//! ```text
//!   body:  [ topic ][ 5.0 properties, wire form ][ payload ]
//! ```
//!
//! The properties leave out what belongs to one receiver or one hop (Topic Alias, Subscription
//! Identifier, Message Expiry Interval), so that the same bytes serve everyone. A 3.1.1 receiver
//! takes topic and payload; a 5.0 receiver takes all three.

use crate::limits;
use crate::time::Mono;
use std::num::NonZeroU16;
use std::rc::Rc;

/// Quality of Service [MQTT5 §4.3].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl QoS {
    /// The two bits of the wire, or `None` for the value 3, which must not be used
    /// [MQTT-3.3.1-4] [MQTT5-3.3.1-4].
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The value on the wire: 0, 1 or 2.
    pub const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// A Packet Identifier is never zero [MQTT-2.3.1-1] [MQTT5-2.2.1-3].
pub type PacketIdentifier = NonZeroU16;

/// Who somebody is to the rest of the broker: fixed for one connection, shared by all that was
/// published over it.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// Client Identifier, assigned ones included.
    pub client_identifier: Box<str>,
    /// User Name, if one was given; never empty.
    pub username: Option<Box<str>>,
    /// The place of the listener it came by among those of the configuration: its rules are for
    /// this client.
    pub listener: usize,
}

/// One kept Application Message. See the module page for its layout.
#[derive(Debug)]
pub struct Message {
    body: Box<[u8]>,
    expires_at: Mono,
    publisher: Option<Rc<Identity>>,
    properties_bytes: u32,
    topic_bytes: u16,
    qos: QoS,
    retain: bool,
}

impl Message {
    /// The body after the topic: what a 5.0 receiver gets, from [`Message::properties_at`] on, and
    /// a 3.x receiver from [`Message::payload_at`] on.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Where in the body the properties begin.
    pub fn properties_at(&self) -> usize {
        usize::from(self.topic_bytes)
    }

    /// Where in the body the payload begins.
    pub fn payload_at(&self) -> usize {
        // At most the packet's own size, which is below 2^28: it fits a 32-bit usize.
        self.properties_at() + self.properties_bytes as usize
    }

    /// Bytes of its payload.
    pub fn payload_bytes(&self) -> usize {
        self.body.len() - self.payload_at()
    }

    /// When it expires; [`Mono::NEVER`] if it does not.
    pub fn expires_at(&self) -> Mono {
        self.expires_at
    }

    /// Bytes this message occupies, its bookkeeping included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.body.len()
    }

    /// The message as something to publish, sharing this body.
    pub fn publication(self: &Rc<Self>) -> Publication<'_> {
        let (topic, rest) = self.body.split_at(self.properties_at());
        let (properties, payload) = rest.split_at(self.properties_bytes as usize);
        Publication {
            // Only `Publication::message` makes a body, from a `str`.
            topic: std::str::from_utf8(topic).unwrap_or_default(),
            properties,
            payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            publisher: self.publisher.as_ref(),
            message: Some(Rc::clone(self)),
            came: None,
            wire: None,
        }
    }
}

/// An Application Message on its way through the broker, borrowed from wherever it came from: a
/// packet, a Will, a kept [`Message`]. It becomes a `Message` of its own only when somebody must
/// keep it, and then once for all of them.
#[derive(Debug)]
pub struct Publication<'a> {
    /// A valid Topic Name.
    pub topic: &'a str,
    /// 5.0 properties in wire form, without those of one receiver or one hop.
    pub properties: &'a [u8],
    /// Application data.
    pub payload: &'a [u8],
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// When it expires; [`Mono::NEVER`] if it does not.
    pub expires_at: Mono,
    /// Who published it; `None`: the broker itself.
    pub publisher: Option<&'a Rc<Identity>>,
    /// The kept form, once there is one.
    pub message: Option<Rc<Message>>,
    /// The packet it came in, if that is what others may get, too.
    pub came: Option<&'a Wire<'a>>,
    /// Where its packet is laid out once for all receivers that get the same bytes; `None`: each
    /// time anew.
    pub wire: Option<&'a mut WireBuffer>,
}

/// One PUBLISH as bytes, for all receivers that get the same ones but for the Packet Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire<'a> {
    /// The whole packet.
    pub bytes: &'a [u8],
    /// Whether it has properties, as in 5.0.
    pub has_properties: bool,
    /// Where its Packet Identifier stands; of no meaning at QoS 0.
    pub packet_identifier_at: usize,
}

impl Wire<'_> {
    /// Whether it begins with this byte (packet type and flags), and has properties or has not.
    pub fn is(&self, first_byte: u8, has_properties: bool) -> bool {
        self.bytes.first() == Some(&first_byte) && self.has_properties == has_properties
    }

    /// Appends it, with this Packet Identifier if its QoS is not 0.
    #[inline]
    pub fn put(&self, packet_identifier: Option<PacketIdentifier>, out: &mut Vec<u8>) {
        let at = out.len() + self.packet_identifier_at;
        out.extend_from_slice(self.bytes);
        let Some(identifier) = packet_identifier else {
            return;
        };
        if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = identifier.get().to_be_bytes();
        }
    }
}

/// Room for one [`Wire`], to be used again.
#[derive(Debug, Default)]
pub struct WireBuffer {
    /// Empty: there is none in it.
    pub bytes: Vec<u8>,
    /// As in [`Wire`].
    pub has_properties: bool,
    /// As in [`Wire`].
    pub packet_identifier_at: usize,
}

impl WireBuffer {
    /// What is in it.
    pub fn wire(&self) -> Wire<'_> {
        Wire {
            bytes: &self.bytes,
            has_properties: self.has_properties,
            packet_identifier_at: self.packet_identifier_at,
        }
    }

    /// Forgets what is in it, and gives back what a long topic took.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > limits::SPARE_BUFFER_BYTES {
            self.bytes = Vec::new();
        }
    }
}

impl Publication<'_> {
    /// The kept form, made at the first call: the one copy of the payload.
    pub fn message(&mut self) -> Rc<Message> {
        if let Some(message) = &self.message {
            return Rc::clone(message);
        }
        let mut body =
            Vec::with_capacity(self.topic.len() + self.properties.len() + self.payload.len());
        body.extend_from_slice(self.topic.as_bytes());
        body.extend_from_slice(self.properties);
        body.extend_from_slice(self.payload);
        let message = Rc::new(Message {
            body: body.into_boxed_slice(),
            expires_at: self.expires_at,
            publisher: self.publisher.cloned(),
            // Both came in one packet, whose lengths are no wider.
            properties_bytes: u32::try_from(self.properties.len()).unwrap_or_default(),
            topic_bytes: u16::try_from(self.topic.len()).unwrap_or_default(),
            qos: self.qos,
            retain: self.retain,
        });
        self.message = Some(Rc::clone(&message));
        message
    }

    /// Bytes that sending it to one more client may put into memory: the topic, which may become a
    /// Topic Alias, and the body, unless that is shared and kept already.
    pub fn new_bytes(&self) -> usize {
        let body = self.properties.len() + self.payload.len();
        let is_shared = body > limits::COPY_BELOW && self.message.is_some();
        let topic = self.topic.len();
        2 * topic + if is_shared { 0 } else { topic + body }
    }

    /// Whether `identity` published it, by Client Identifier.
    pub fn is_from(&self, identity: &Rc<Identity>) -> bool {
        self.publisher.is_some_and(|publisher| {
            Rc::ptr_eq(publisher, identity)
                || publisher.client_identifier == identity.client_identifier
        })
    }

    /// Seconds left to live at `now`, rounded up, as Message Expiry Interval counts them
    /// [MQTT5-3.3.2-6]. `None`: it never expires. 0: it has expired.
    pub fn remaining_s(&self, now: Mono) -> Option<u32> {
        if self.expires_at == Mono::NEVER {
            return None;
        }
        let left_s = self.expires_at.ms_since(now).div_ceil(1000);
        Some(u32::try_from(left_s).unwrap_or(u32::MAX))
    }
}

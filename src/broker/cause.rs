//! Why a connection ends, in one place: the Reason Code for the peer, the sentence for the peer
//! and the log, and whether the Will is published.

use crate::codec::dialect::ProtocolVersion;
use crate::codec::error::DecodeError;
use crate::codec::frame::PacketType;
use crate::codec::reason::ReasonCode;
use crate::limits;
use crate::message::QoS;
use crate::policy::Refusal;
use crate::topic::filter::TopicFilterError;
use crate::topic::name::TopicNameError;
use std::fmt;
use std::io;

/// What a stranger on this port seems to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A request line of HTTP: a browser, or a WebSocket client.
    Http,
    /// A TLS ClientHello.
    Tls,
    /// An MQTT packet that is no CONNECT.
    Mqtt(PacketType),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client said DISCONNECT.
    Disconnect,
    /// The client said DISCONNECT and wants its Will published.
    DisconnectWithWill,
    /// The client closed the connection without a DISCONNECT.
    ClosedByClient,
    /// Reading or writing failed.
    Socket(io::ErrorKind),
    /// What carries it cannot go on, for the reason in these words.
    Transport(&'static str),
    /// The broker is stopping.
    ServerShuttingDown,
    /// Kept sessions can be taken back only now, and this connection does not have its own.
    StateReturned,
    /// Messages of a client that cannot be told were not kept, and can be now: it sends them again when
    /// it comes again.
    Unanswered,
    /// No packet came for one and a half Keep Alives.
    KeepAliveTimeout,
    /// A packet was begun and not ended in time.
    UnfinishedPacket,
    /// No CONNECT came in time.
    NoConnect,
    /// There are as many connections as there may be.
    TooManyConnections,
    /// There is no memory left for what it needs.
    MemoryShort,
    /// Its login waited too long for its turn, or could not wait at all.
    TooManyLogins,
    /// There are as many sessions as there may be.
    TooManySessions,
    /// A Client Identifier that does not begin as it must here.
    ClientIdentifierPrefix,
    /// Another connection took the session over.
    SessionTakenOver,
    /// The first packet is no CONNECT.
    NotConnect(Stranger),
    /// A packet could not be decoded.
    Decode(DecodeError),
    /// A second CONNECT on one connection.
    SecondConnect,
    /// A packet that only a server sends.
    ServerPacket(PacketType),
    /// AUTH, although no exchange is under way.
    UnexpectedAuth,
    /// CONNECT names an Authentication Method.
    AuthenticationMethod,
    /// CONNECT without a Client Identifier, where one is needed.
    NoClientIdentifier,
    /// No certificate with a name in it, which would be the username here.
    NoCertificateName,
    /// No username, which would be the Client Identifier here.
    NoUsername,
    /// A protocol version that this listener does not let in.
    VersionNotAccepted(ProtocolVersion),
    /// A 3.x client asks for a longer Keep Alive than is allowed, which it cannot be told.
    KeepAliveTooLong(u16),
    /// The client takes no packet as long as the CONNACK it needs.
    ConnAckTooLarge,
    /// The policy does not let it in.
    Refused(Refusal),
    /// A Topic Name that is none.
    TopicName(TopicNameError),
    /// A Topic Name that is too long behind its prefix.
    TopicTooLong,
    /// A Will Topic that is no Topic Name.
    WillTopic(TopicNameError),
    /// A Will Payload above `message_size_limit`.
    WillTooLarge,
    /// A Topic Filter that is none, in a version that cannot be told.
    TopicFilter(TopicFilterError),
    /// A PUBLISH with neither Topic Name nor Topic Alias.
    NoTopic,
    /// A Topic Alias above the maximum the client was told.
    TopicAliasTooHigh {
        /// What it sent.
        alias: u16,
        /// What it was told.
        maximum: u16,
    },
    /// A Topic Alias that was not set on this connection.
    TopicAliasUnknown(u16),
    /// A PUBLISH from a client with a Subscription Identifier.
    SubscriptionIdentifier,
    /// No Local on a shared subscription.
    NoLocalShared,
    /// A QoS above the maximum the client was told.
    QoSNotSupported(QoS),
    /// RETAIN, although retained messages are not available.
    RetainNotSupported,
    /// More unreleased QoS 2 messages than Receive Maximum allows.
    ReceiveMaximumExceeded(u16),
    /// An acknowledgement that does not fit the QoS of what it acknowledges.
    WrongAcknowledgement(PacketType),
    /// A Session Expiry Interval in DISCONNECT, although CONNECT had none.
    SessionExpiryRevived,
    /// SUBACK or UNSUBACK would be larger than the client takes.
    AnswerTooLarge,
}

impl Cause {
    /// What a 5.0 peer is told.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Disconnect | Self::ClosedByClient => ReasonCode::Success,
            Self::DisconnectWithWill => ReasonCode::DisconnectWithWillMessage,
            Self::Socket(_) => ReasonCode::UnspecifiedError,
            Self::ServerShuttingDown => ReasonCode::ServerShuttingDown,
            // `Choice:` there is none for a packet alone.
            Self::KeepAliveTimeout | Self::UnfinishedPacket => ReasonCode::KeepAliveTimeout,
            Self::NoConnect => ReasonCode::MaximumConnectTime,
            Self::TooManyConnections
            | Self::TooManyLogins
            | Self::StateReturned
            | Self::Unanswered => ReasonCode::ServerBusy,
            Self::TooManySessions | Self::MemoryShort => ReasonCode::QuotaExceeded,
            Self::ClientIdentifierPrefix => ReasonCode::NotAuthorized,
            Self::SessionTakenOver => ReasonCode::SessionTakenOver,
            Self::Decode(error) => error.reason_code(),
            Self::AuthenticationMethod => ReasonCode::BadAuthenticationMethod,
            Self::ConnAckTooLarge | Self::WillTooLarge => ReasonCode::PacketTooLarge,
            Self::NoClientIdentifier | Self::KeepAliveTooLong(_) => {
                ReasonCode::ClientIdentifierNotValid
            }
            Self::VersionNotAccepted(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::Refused(_) | Self::NoUsername => ReasonCode::NotAuthorized,
            Self::NoCertificateName => ReasonCode::BadUserNameOrPassword,
            Self::TopicName(_) | Self::TopicTooLong | Self::WillTopic(_) => {
                ReasonCode::TopicNameInvalid
            }
            Self::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
            Self::TopicAliasTooHigh { .. } => ReasonCode::TopicAliasInvalid,
            Self::QoSNotSupported(_) => ReasonCode::QoSNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::AnswerTooLarge => ReasonCode::PacketTooLarge,
            Self::ReceiveMaximumExceeded(_) => ReasonCode::ReceiveMaximumExceeded,
            Self::NotConnect(_)
            | Self::Transport(_)
            | Self::SecondConnect
            | Self::ServerPacket(_)
            | Self::UnexpectedAuth
            | Self::NoTopic
            | Self::TopicAliasUnknown(_)
            | Self::SubscriptionIdentifier
            | Self::NoLocalShared
            | Self::WrongAcknowledgement(_)
            | Self::SessionExpiryRevived => ReasonCode::ProtocolError,
        }
    }

    /// Whether the peer ended it, so that there is nobody left to tell.
    pub fn is_by_peer(&self) -> bool {
        matches!(
            self,
            Self::Disconnect | Self::DisconnectWithWill | Self::ClosedByClient | Self::Socket(_)
        )
    }

    /// Whether the Will is deleted, not published [MQTT-3.14.4-3] [MQTT5-3.14.4-3].
    pub fn deletes_will(&self) -> bool {
        matches!(self, Self::Disconnect)
    }

    /// The words mosquitto 2.1 logs for such an end; more than one cause shares some of them.
    fn log_words(&self) -> &'static str {
        match self.reason() {
            ReasonCode::MalformedPacket => "malformed packet",
            ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword => "not authorised",
            ReasonCode::ServerBusy => "server busy",
            ReasonCode::PacketTooLarge => "oversize packet",
            ReasonCode::QuotaExceeded => "quota exceeded",
            ReasonCode::TopicAliasInvalid => "topic alias invalid",
            ReasonCode::ReceiveMaximumExceeded => "receive maximum exceeded",
            ReasonCode::QoSNotSupported => "QoS not supported",
            ReasonCode::RetainNotSupported => "retain not supported",
            ReasonCode::ClientIdentifierNotValid => "identifier rejected",
            ReasonCode::BadAuthenticationMethod => "bad authentication method",
            ReasonCode::UnsupportedProtocolVersion => "unsupported protocol version",
            _ => "protocol error",
        }
    }

    /// The line in the log of mosquitto 2.0, which rules that read logs may know. It has fewer words
    /// for what a peer did wrong; ours follow them.
    pub fn log_line_2_0(&self, name: &str) -> String {
        match self {
            Self::Disconnect | Self::DisconnectWithWill => format!("Client {name} disconnected."),
            Self::ClosedByClient | Self::Socket(_) => {
                format!("Client {name} closed its connection.")
            }
            Self::KeepAliveTimeout | Self::UnfinishedPacket | Self::NoConnect => {
                format!("Client {name} has exceeded timeout, disconnecting.")
            }
            Self::SessionTakenOver => {
                format!("Client {name} already connected, closing old connection.")
            }
            Self::ServerShuttingDown | Self::StateReturned | Self::Unanswered => {
                format!("Client {name} disconnected: {self}.")
            }
            _ if self.log_words() == "not authorised" => {
                format!("Client {name} disconnected, not authorised.")
            }
            _ => {
                let words = self.log_words();
                format!("Client {name} disconnected due to {words} ({self}).")
            }
        }
    }

    /// The line in the log, as mosquitto 2.1 has it.
    pub fn log_line(&self, name: &str, peer: &dyn fmt::Display) -> String {
        format!("Client {name} [{peer}] disconnected{}", self.log_suffix())
    }

    fn log_suffix(&self) -> String {
        match self {
            Self::Disconnect => String::from("."),
            Self::DisconnectWithWill
            | Self::ClosedByClient
            | Self::Socket(_)
            | Self::ServerShuttingDown
            | Self::StateReturned
            | Self::Unanswered
            | Self::KeepAliveTimeout
            | Self::UnfinishedPacket
            | Self::NoConnect
            | Self::SessionTakenOver => format!(": {self}."),
            _ => format!(": {} ({self}).", self.log_words()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnect => f.write_str("disconnected"),
            Self::DisconnectWithWill => f.write_str("disconnected, leaving its Will"),
            Self::ClosedByClient => f.write_str("connection closed by client"),
            Self::Socket(kind) => write!(f, "connection lost, {kind}"),
            Self::ServerShuttingDown => f.write_str("server shutting down"),
            Self::StateReturned => f.write_str("what was kept is there again"),
            Self::Unanswered => f.write_str("its messages were not kept, and can be now"),
            Self::KeepAliveTimeout => f.write_str("exceeded timeout"),
            Self::UnfinishedPacket => {
                let wait_s = limits::PACKET_WAIT_S;
                write!(f, "a packet was not whole {wait_s} seconds after it began")
            }
            Self::NoConnect => f.write_str("no CONNECT in time"),
            Self::TooManyConnections => f.write_str("there are too many connections"),
            Self::MemoryShort => f.write_str("memory is short here; try again later"),
            Self::TooManyLogins => f.write_str("too many clients log in at once"),
            Self::TooManySessions => f.write_str("there are as many sessions here as there may be"),
            Self::ClientIdentifierPrefix => {
                f.write_str("this Client Identifier does not begin as it must here")
            }
            Self::SessionTakenOver => f.write_str("session taken over"),
            Self::NotConnect(Stranger::Http) => {
                f.write_str("this looks like HTTP; a browser or WebSocket client on the MQTT port")
            }
            Self::NotConnect(Stranger::Tls) => {
                f.write_str("this looks like TLS; a TLS client on the plain port")
            }
            Self::NotConnect(Stranger::Mqtt(packet)) => {
                write!(f, "the first packet is {}, not CONNECT", packet.name())
            }
            Self::Decode(error) => error.fmt(f),
            Self::SecondConnect => f.write_str("a second CONNECT on one connection"),
            Self::ServerPacket(packet) => write!(f, "{} is for servers to send", packet.name()),
            Self::UnexpectedAuth => f.write_str("AUTH without an exchange under way"),
            Self::AuthenticationMethod => {
                f.write_str("this Authentication Method is not supported; none is")
            }
            Self::NoClientIdentifier => {
                f.write_str("an empty Client Identifier is not possible here; choose one")
            }
            Self::KeepAliveTooLong(maximum) => {
                write!(f, "Keep Alive must be between 1 and {maximum} seconds here")
            }
            Self::ConnAckTooLarge => {
                f.write_str("the Maximum Packet Size is too small for CONNACK")
            }
            Self::Refused(Refusal::Anonymous) => {
                f.write_str("clients without a username are not let in")
            }
            Self::Refused(Refusal::NoUsers) => {
                f.write_str("nobody is let in here, for no list of users is set")
            }
            Self::Refused(Refusal::Credentials) => {
                f.write_str("the username or the password is wrong")
            }
            Self::NoCertificateName => f.write_str(
                "a certificate's name is the username here, and this client has shown none",
            ),
            Self::Transport(words) => f.write_str(words),
            Self::NoUsername => f.write_str("the username is the Client Identifier here; give one"),
            Self::VersionNotAccepted(version) => {
                write!(f, "protocol level {} is not let in here", version.level())
            }
            Self::TopicName(error) => error.fmt(f),
            Self::TopicTooLong => f.write_str("The Topic Name is too long here"),
            Self::WillTooLarge => {
                f.write_str("the Will Payload is larger than payloads may be here")
            }
            Self::WillTopic(error) => write!(f, "Will Topic: {error}"),
            Self::TopicFilter(error) => error.fmt(f),
            Self::NoTopic => f.write_str("PUBLISH has neither Topic Name nor Topic Alias"),
            Self::TopicAliasTooHigh { alias, maximum } => {
                write!(f, "Topic Alias {alias} is above the maximum of {maximum}")
            }
            Self::TopicAliasUnknown(alias) => {
                write!(f, "Topic Alias {alias} was not set on this connection")
            }
            Self::SubscriptionIdentifier => {
                f.write_str("PUBLISH from a client has a Subscription Identifier")
            }
            Self::NoLocalShared => f.write_str("No Local is set on a shared subscription"),
            Self::QoSNotSupported(qos) => write!(f, "QoS {} is above the maximum here", qos.bits()),
            Self::RetainNotSupported => f.write_str("retained messages are turned off here"),
            Self::ReceiveMaximumExceeded(maximum) => {
                write!(
                    f,
                    "more than {maximum} QoS 2 messages sent and not released"
                )
            }
            Self::WrongAcknowledgement(packet) => {
                let name = packet.name();
                write!(
                    f,
                    "{name} does not fit the QoS of the message it acknowledges"
                )
            }
            Self::SessionExpiryRevived => {
                f.write_str("DISCONNECT sets a Session Expiry Interval, but CONNECT had set none")
            }
            Self::AnswerTooLarge => {
                f.write_str("the answer would be larger than the client's Maximum Packet Size")
            }
        }
    }
}

/// Tells those who speak something else on this port as soon as their first byte shows it, before
/// any length in it is believed.
///
/// # Errors
/// What they speak.
pub fn reject_strangers(bytes: &[u8]) -> Result<(), Cause> {
    let Some(first) = bytes.first() else {
        return Ok(());
    };
    let packet_type = PacketType::from_first_byte(*first);
    let stranger = match bytes {
        [0x16, 0x03, ..] => Stranger::Tls,
        _ if bytes.starts_with(b"GET ") || bytes.starts_with(b"POST") => Stranger::Http,
        _ if packet_type == PacketType::Connect => return Ok(()),
        _ => Stranger::Mqtt(packet_type), // [MQTT-3.1.0-1] [MQTT5-3.1.0-1]
    };
    Err(Cause::NotConnect(stranger))
}

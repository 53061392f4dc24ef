//! What each version of the protocol can say. The rest of the broker asks for a capability and
//! never "is this 5?".

/// The three versions served, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: Protocol Name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: Protocol Name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: Protocol Name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// The level on the wire: 3, 4 or 5.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// Whether packets carry properties [MQTT5 §2.2.2].
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Whether acknowledgements carry Reason Codes, so that a refusal can be told.
    pub const fn has_reason_codes(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Whether a server may send DISCONNECT before it closes.
    pub const fn has_server_disconnect(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Whether SUBACK can refuse one filter (0x80): not in 3.1.
    pub const fn has_suback_failure(self) -> bool {
        !matches!(self, Self::V31)
    }

    /// Whether CONNACK says Session Present: not in 3.1, where the bit is reserved.
    pub const fn has_session_present(self) -> bool {
        !matches!(self, Self::V31)
    }
}

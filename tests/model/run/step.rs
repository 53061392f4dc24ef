//! What a run is made of.

use crate::model::Client;
use midge::codec::dialect::ProtocolVersion;

pub const TOPICS: [&str; 12] = [
    "a", "b", "a/b", "a/c", "a/b/c", "/", "a/", "$x/a", "$SYS/a", "w/0", "w/1", "w/2",
];

/// Group `g` is that of clients with even numbers; the others share in a group `h` of their own. No
/// two shared filters meet in a topic, so that no client is in two groups for one message.
pub const FILTERS: [&str; 23] = [
    "a",
    "a/b",
    "b",
    "#",
    "+",
    "a/#",
    "a/+",
    "+/b",
    "+/+",
    "a/b/#",
    "a/b/c",
    "/+",
    "+/",
    "$x/#",
    "$x/+",
    "w/+",
    "w/1",
    "$SYS/#",
    "$share/g/a/#",
    "$share/g/w/+",
    "$share/g/b",
    "$share/g/$x/a",
    "$share/g//+",
];

/// The length of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Empty,
    Short,
    Big,
    Huge,
}

/// A Will of a CONNECT step.
#[derive(Clone, Copy, Debug)]
pub struct WillStep {
    pub body: Body,
    pub qos: u8,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
}

/// One step of a run. Who cannot do it is passed over for the next who can.
#[derive(Clone, Debug)]
pub enum Step {
    Connect {
        who: Client,
        version: ProtocolVersion,
        clean: bool,
        expiry_s: u32,
        receive_maximum: u16,
        alias_maximum: u16,
        keep_alive_s: u16,
        will: Option<WillStep>,
    },
    Drop(Client),
    Disconnect {
        who: Client,
        with_will: bool,
        expiry_s: Option<u32>,
    },
    /// Sends what is no packet.
    Babble(Client),
    Subscribe {
        who: Client,
        /// Filter, QoS, No Local, Retain As Published, Retain Handling.
        filters: Vec<(usize, u8, bool, bool, u8)>,
        identifier: u32,
    },
    Unsubscribe {
        who: Client,
        filters: Vec<usize>,
    },
    Publish {
        who: Client,
        topic: usize,
        qos: u8,
        retain: bool,
        body: Body,
        expiry_s: Option<u32>,
        alias: u16,
        /// How many of them.
        count: usize,
    },
    /// A QoS 2 PUBLISH again, before its PUBREL.
    Repeat(Client, usize),
    /// PUBREL for what was never sent.
    ReleaseNothing(Client),
    StopAcknowledging(Client),
    StartAcknowledging(Client),
    /// One of the acknowledgements held back.
    Acknowledge {
        who: Client,
        which: usize,
        refuse: bool,
    },
    /// Acknowledges what was heard on an earlier connection only.
    AcknowledgeLate(Client, usize),
    Stall(Client),
    ReadAgain(Client),
    Crash,
    Pass(u64),
}

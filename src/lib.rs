//! midge: an MQTT broker for small boards.
#![forbid(unsafe_code)]

pub mod broker;
pub mod bytes;
pub mod check;
pub mod codec;
pub mod command;
pub mod config;
pub mod limits;
pub mod manual;
pub mod message;
pub mod net;
pub mod passwd;
pub mod policy;
pub mod roff;
#[cfg_attr(not(feature = "persistence"), path = "storage/none.rs")]
pub mod storage;
pub mod time;
pub mod topic;
pub mod write_queue;

//! The bodies of the fuzz targets, apart from libFuzzer: `tests/corpora.rs` of the main package
//! includes them too, and replays the committed corpora with an ordinary toolchain. A body takes
//! any bytes, is the same each time it is given the same ones, and panics if midge is wrong.

pub mod compose;
pub mod conversation;
pub mod cuts;
pub mod frames;
pub mod listener;
pub mod packets;
pub mod proxy;
pub mod source;
pub mod topics;
pub mod upgrade;

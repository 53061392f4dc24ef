//! Bytes to packets and packets to bytes, for MQTT 3.1, 3.1.1 and 5.0 side by side. Decoding
//! borrows the input and allocates nothing; it says what is wrong in the terms of the
//! specification and leaves it to the broker what to do about it.

pub mod ack;
pub mod connect;
pub mod control;
pub mod dialect;
pub mod error;
pub mod frame;
pub mod packet;
pub mod property;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod utf8;

//! The database of mosquitto 2.1's own SQLite plugin, `mosquitto.sqlite3`, for the way from there and
//! back. midge keeps leaner tables ([`super::schema`] says why), and has this layout only here.
//!
//! ```text
//!   clients        client_id         user, port, expiry, when the Will is due
//!   subscriptions  client_id, topic  options, identifier
//!   base_msgs      store_id          a message, its properties as JSON
//!   client_msgs    rowid             client_id, store_id, direction, packet identifier, state
//!   retains        topic             store_id
//!   wills          client_id         topic, payload, properties as JSON
//!   version_info   component         1.1.0
//! ```
//!
//! Dates are seconds since 1970, 0 for none. Columns of texts are declared STRING, which SQLite takes
//! for a kind of number: a topic `007` that mosquitto keeps comes back as `7`, to itself as to us.

mod json;
pub mod read;
pub mod write;

/// What each file says of its own layout.
const COMPONENT: &str = "database_schema";

/// From the broker to the client, in `client_msgs`.
const OUTGOING: i64 = 1;

//! The tables, and every statement that changes them.
//!
//! mosquitto's own layout (a message here, a row for each receiver there, three indexes) touches
//! five pages for one message. A commit writes every page it touched, so here one message for one
//! session is one row at the end of one table: one page, and half of the bytes (README, "What
//! survives a crash"). A message for several sessions has its body in the row of the first, and the
//! others point there.
//!
//! ```text
//!   sessions       id       client, user, port, expiry
//!   wills          session  topic, properties, payload, delay
//!   subscriptions  session, filter
//!   held           session, packet identifier    QoS 2 from the client, not released
//!   queue          place    session, packet identifier, message     to the client
//!   retained       topic    message
//!   meta           name     value
//! ```
//!
//! A row of `queue` without a topic awaits PUBCOMP, unless it has `body`, the place of the row whose
//! message it shares; one of session 0 only holds such a message. Times are seconds since 1970.

/// Which layout it is (`PRAGMA user_version`).
pub const VERSION: i64 = 1;

/// That it is midge's (`PRAGMA application_id`): "midg".
pub const APPLICATION: i64 = 0x6d69_6467;

/// Bytes of a page. A commit writes whole pages, and most of them touch one: small pages spare a
/// card three quarters of what a lone message costs, and make a thousand together hardly longer.
pub const PAGE_BYTES: u32 = 1024;

/// Makes the tables.
pub const CREATE: &str = "
CREATE TABLE sessions(id INTEGER PRIMARY KEY, client TEXT NOT NULL, user TEXT, port INTEGER,
    interval INTEGER NOT NULL, connected INTEGER NOT NULL, ends INTEGER, will_at INTEGER);
CREATE TABLE wills(session INTEGER PRIMARY KEY, topic TEXT NOT NULL, flags INTEGER NOT NULL,
    delay INTEGER NOT NULL, expiry INTEGER, properties BLOB, payload BLOB NOT NULL);
CREATE TABLE subscriptions(session INTEGER NOT NULL, filter TEXT NOT NULL,
    options INTEGER NOT NULL, identifier INTEGER, PRIMARY KEY(session, filter)) WITHOUT ROWID;
CREATE TABLE held(session INTEGER NOT NULL, packet INTEGER NOT NULL,
    PRIMARY KEY(session, packet)) WITHOUT ROWID;
CREATE TABLE queue(place INTEGER PRIMARY KEY, session INTEGER NOT NULL, packet INTEGER,
    flags INTEGER, body INTEGER, identifiers, share TEXT, expires INTEGER, topic TEXT,
    properties BLOB, payload BLOB);
CREATE TABLE retained(topic TEXT PRIMARY KEY, flags INTEGER NOT NULL, expires INTEGER,
    client TEXT, user TEXT, properties BLOB, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
";

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident => $sql:expr,)*) => {
        /// A change of one row, by its statement. The numbers are written ahead of a transaction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Op {
            $($(#[$doc])* $name,)*
        }

        impl Op {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The one with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }

            /// Its statement.
            pub fn sql(self) -> &'static str {
                match self {
                    $(Self::$name => $sql,)*
                }
            }
        }
    };
}

operations! {
    /// A session as it is.
    SessionPut => "REPLACE INTO sessions VALUES(?,?,?,?,?,?,?,?)",
    /// A session is over. What is its own in `queue` goes place by place.
    SessionDrop => "DELETE FROM sessions WHERE id=?",
    /// And its Will.
    WillDrop => "DELETE FROM wills WHERE session=?",
    /// And all its subscriptions.
    SubscriptionsDrop => "DELETE FROM subscriptions WHERE session=?",
    /// And all the Packet Identifiers it held.
    HeldDropAll => "DELETE FROM held WHERE session=?",
    /// A Will.
    WillPut => "REPLACE INTO wills VALUES(?,?,?,?,?,?,?)",
    /// A subscription.
    SubscriptionPut => "REPLACE INTO subscriptions VALUES(?,?,?,?)",
    /// No subscription.
    SubscriptionDrop => "DELETE FROM subscriptions WHERE session=? AND filter=?",
    /// A Packet Identifier of QoS 2 from the client.
    HeldPut => "REPLACE INTO held VALUES(?,?)",
    /// PUBREL has come for it.
    HeldDrop => "DELETE FROM held WHERE session=? AND packet=?",
    /// A message for a session.
    QueuePut => "REPLACE INTO queue VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    /// It is in flight.
    QueueSend => "UPDATE queue SET packet=?2 WHERE place=?1",
    /// It is over.
    QueueDrop => "DELETE FROM queue WHERE place=?",
    /// It is over, but others share its message.
    QueueBury => "UPDATE queue SET session=0, packet=NULL WHERE place=?",
    /// A retained message.
    RetainedPut => "REPLACE INTO retained VALUES(?,?,?,?,?,?,?)",
    /// No retained message.
    RetainedDrop => "DELETE FROM retained WHERE topic=?",
    /// A fact about the store itself.
    MetaPut => "REPLACE INTO meta VALUES(?,?)",
}

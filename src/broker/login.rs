//! Clients whose password is still to be checked. A check is slow on purpose (a tenth of a second
//! and 46 MB is usual), so that at most one is made in a turn of the loop: however many log in at
//! once, the messages of others flow in between.
//!
//! ```text
//!   CONNECT → needs a hash? → waits here, in order → its turn → CONNACK, and what came behind it
//! ```
//!
//! What waits is the CONNECT itself: it is taken apart again at its turn, and decided by the rules
//! that are in force then.

use super::cause::Cause;
use super::client::Stage;
use super::connect::{self, Entry, Hashing};
use super::disconnect::close_connection;
use super::key::ConnId;
use super::state::State;
use crate::codec::frame::{FixedHeader, Frame};
use crate::codec::packet::Packet;
use crate::limits;
use crate::time::Now;
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// A CONNECT that waits, with the password in it.
struct Login {
    conn: ConnId,
    header: FixedHeader,
    body: Zeroizing<Box<[u8]>>,
}

/// Those who wait, in the order they came.
#[derive(Default)]
pub struct Logins {
    waiting: VecDeque<Login>,
    bytes: usize,
}

impl Logins {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Who waits.
    #[cfg(any(test, debug_assertions))]
    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.waiting.iter().map(|login| login.conn)
    }

    /// Forgets a connection that ends before its turn.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|login| login.conn != conn);
        self.bytes = self.waiting.iter().map(|login| login.body.len()).sum();
    }

    fn pop(&mut self) -> Option<Login> {
        let login = self.waiting.pop_front()?;
        self.bytes -= login.body.len();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(login)
    }
}

/// Lets a connection wait for its turn.
///
/// # Errors
/// Too much waits already.
pub fn wait(conn: ConnId, frame: &Frame<'_>, state: &mut State) -> Result<(), Cause> {
    let logins = &mut state.logins;
    if logins.bytes + frame.body.len() > limits::LOGIN_BYTES_MAX {
        return Err(Cause::TooManyLogins);
    }
    logins.bytes += frame.body.len();
    logins.waiting.push_back(Login {
        conn,
        header: frame.header,
        body: Zeroizing::new(frame.body.into()),
    });
    if let Some(client) = state.clients.get_mut(conn) {
        client.stage = Stage::Authenticate;
    }
    Ok(())
}

/// Decides the next one, and asks the shell to offer again what has come behind its CONNECT.
pub fn serve(state: &mut State, now: Now) {
    let Some(login) = state.logins.pop() else {
        return;
    };
    let conn = login.conn;
    let Some(client) = state.clients.get_mut(conn) else {
        debug_assert!(false, "it is forgotten when it ends");
        return;
    };
    client.stage = Stage::AwaitConnect;
    // Its Keep Alive begins with the answer: the wait was not of its making.
    client.last_received = now.mono;
    let version = client.version;
    let frame = Frame {
        header: login.header,
        body: &login.body,
    };
    let result = match Packet::decode(&frame, version) {
        Ok(Packet::Connect(packet)) => connect::connect(conn, &packet, Hashing::Now, state, now),
        _ => {
            debug_assert!(false, "it was a CONNECT when it came");
            Err(Cause::SecondConnect)
        }
    };
    match result {
        Ok(Entry::Done) => state.effects.again.push(conn),
        Ok(Entry::Waits) => debug_assert!(false, "it has waited"),
        Err(cause) => {
            connect::refuse(conn, version, &cause, state);
            close_connection(conn, cause, state, now);
        }
    }
}

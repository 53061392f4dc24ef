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
use super::disconnect::turn_away;
use super::key::ConnId;
use super::state::State;
use crate::codec::frame::Frame;
use crate::codec::packet::Packet;
use crate::limits;
use crate::time::Now;

/// Lets a connection wait for its turn.
///
/// # Errors
/// Too much waits already.
pub fn wait(conn: ConnId, frame: &Frame<'_>, state: &mut State) -> Result<(), Cause> {
    if state.logins.bytes() + frame.body.len() > limits::LOGIN_BYTES_MAX {
        return Err(Cause::TooManyLogins);
    }
    state.logins.push(conn, frame);
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
        bytes: &login.body, // not looked at: a CONNECT is not passed on
    };
    let promises = state.effects.journal.promises();
    let mut name = "";
    let result = match Packet::decode(&frame, version) {
        Ok(Packet::Connect(packet)) => {
            name = packet.client_identifier;
            connect::connect(conn, &packet, Hashing::Now, state, now)
        }
        _ => {
            debug_assert!(false, "it was a CONNECT when it came");
            Err(Cause::SecondConnect)
        }
    };
    if state.effects.journal.promises() != promises {
        state.hold(conn);
    }
    match result {
        Ok(Entry::Done) => state.effects.again.push(conn),
        Ok(Entry::Waits) => debug_assert!(false, "it has waited"),
        Err(cause) => {
            connect::refuse(conn, version, &cause, state);
            turn_away(conn, name, cause, state, now);
        }
    }
}

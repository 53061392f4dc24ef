//! The CONNECTs whose password is still to be checked, in the order they came.

use super::key::ConnId;
use crate::codec::frame::{FixedHeader, Frame};
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// A CONNECT that waits, with the password in it.
pub struct Login {
    /// Whose it is.
    pub conn: ConnId,
    /// Its fixed header.
    pub header: FixedHeader,
    /// What follows that; wiped when it is dropped.
    pub body: Zeroizing<Box<[u8]>>,
}

/// Those who wait, in the order they came.
#[derive(Default)]
pub struct Logins {
    waiting: VecDeque<Login>,
    bytes: usize,
}

impl Logins {
    /// Bytes of all that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

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

    /// Adds the CONNECT of a connection behind all others.
    pub fn push(&mut self, conn: ConnId, frame: &Frame<'_>) {
        self.bytes += frame.body.len();
        self.waiting.push_back(Login {
            conn,
            header: frame.header,
            body: Zeroizing::new(frame.body.into()),
        });
    }

    /// Takes the one that has waited longest.
    pub fn pop(&mut self) -> Option<Login> {
        let login = self.waiting.pop_front()?;
        self.bytes -= login.body.len();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(login)
    }
}

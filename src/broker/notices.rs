//! Lines that a peer can cause in the log as often as it likes, held back to one in a while. What is
//! remembered of each is a few words in a list whose length is bounded.

use super::client::Peer;
use crate::limits;
use crate::time::Mono;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// One matter that may come up again and again.
#[derive(Debug)]
struct Matter {
    hash: u64,
    /// When it came up first, in the present stretch of [`limits::NOTICE_INTERVAL_S`].
    since: Mono,
    /// How often in that stretch.
    count: u32,
    /// When it may be said again.
    silent_until: Mono,
}

/// What has come up lately, the oldest first.
#[derive(Debug, Default)]
pub struct Notices {
    matters: VecDeque<Matter>,
    hasher: RandomState,
}

impl Notices {
    /// A connection is denied because of the limit that `option` sets. Said at once, and then once
    /// in a while.
    pub fn denied(&mut self, peer: &Peer, option: &'static str, now: Mono) {
        let hash = self.hasher.hash_one((option, peer.listener()));
        if self.is_to_be_said(hash, 1, now).is_some() {
            log::warn!("Client connection from {peer} denied: {option} exceeded.");
        }
    }

    /// A connection takes the session of `client_identifier` over from another. Once is a client
    /// that comes back; again and again it is two that have the same name.
    pub fn taken_over(&mut self, client_identifier: &str, old: &Peer, new: &Peer, now: Mono) {
        let pair = |one: IpAddr, other: IpAddr| (one.min(other), one.max(other));
        let hash = self
            .hasher
            .hash_one((client_identifier, pair(old.ip(), new.ip())));
        if let Some(times) = self.is_to_be_said(hash, limits::TAKEOVERS_MAX, now) {
            log::warn!(
                "Two clients use the Client Identifier {client_identifier}, and each one's \
                 connection closes the other's: {old} and {new} ({times} times within a minute). \
                 Give each its own."
            );
        }
    }

    /// Counts one more of a matter: how many there were, if it is to be said now, which it is from
    /// `count_min` of them on.
    fn is_to_be_said(&mut self, hash: u64, count_min: u32, now: Mono) -> Option<u32> {
        let found = self.matters.iter_mut().find(|matter| matter.hash == hash);
        let Some(matter) = found else {
            let is_said = count_min <= 1;
            self.note(hash, is_said, now);
            return is_said.then_some(1);
        };
        if matter.since.plus_s(limits::NOTICE_INTERVAL_S) <= now {
            (matter.since, matter.count) = (now, 0);
        }
        matter.count = matter.count.saturating_add(1);
        if matter.count < count_min || now < matter.silent_until {
            return None;
        }
        matter.silent_until = now.plus_s(limits::NOTICE_INTERVAL_S);
        Some(matter.count)
    }

    fn note(&mut self, hash: u64, is_said: bool, now: Mono) {
        if self.matters.len() >= limits::NOTICES_MAX {
            self.matters.pop_front();
        }
        let silent_until = match is_said {
            true => now.plus_s(limits::NOTICE_INTERVAL_S),
            false => Mono::default(),
        };
        self.matters.push_back(Matter {
            hash,
            since: now,
            count: 1,
            silent_until,
        });
    }
}

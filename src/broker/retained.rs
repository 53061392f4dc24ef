//! Retained messages, one a topic, in a tree of Topic Names.

use crate::config::Config;
use crate::limits;
use crate::message::{Message, Publication};
use crate::time::Mono;
use crate::topic::filter::TopicFilter;
use crate::topic::tree::{NodeId, Tree, Walk};
use std::rc::Rc;

/// What is retained on one topic.
#[derive(Debug)]
struct Slot {
    message: Rc<Message>,
    /// Its place in the order in which messages were retained.
    sequence: u64,
}

/// All retained messages.
pub struct Retained {
    tree: Tree<Slot>,
    /// Bytes of all payloads.
    payload_bytes: usize,
    sequence: u64,
    /// Where the sweep for expired messages goes on; 0 between two sweeps.
    sweep_from: u32,
    /// The earliest expiry the present sweep has seen, or a new message brought.
    expires_next: Mono,
    /// The sweep's entry in the deadline heap.
    pub timer_at: Mono,
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            tree: Tree::new(),
            payload_bytes: 0,
            sequence: 0,
            sweep_from: 0,
            expires_next: Mono::NEVER,
            timer_at: Mono::NEVER,
        }
    }
}

impl Retained {
    /// Retained messages.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Bytes of payload in them.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Bytes of the message that a topic has, its bookkeeping included; `None` if it has none.
    pub fn bytes_at(&self, topic: &str) -> Option<usize> {
        let slot = self.tree.get(self.tree.find(topic)?)?;
        Some(slot.message.bytes())
    }

    /// Where in the order of retaining the next message will stand.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Keeps `publication` in place of what its topic had [MQTT-3.3.1-5] [MQTT5-3.3.1-5], or with
    /// an empty payload clears the topic [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT5-3.3.1-6].
    pub fn retain(&mut self, publication: &mut Publication<'_>) {
        if publication.payload.is_empty() {
            if let Some(node) = self.tree.find(publication.topic) {
                self.remove(node);
            }
            return;
        }
        self.expires_next = self.expires_next.min(publication.expires_at);
        let slot = Slot {
            message: publication.message(),
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.payload_bytes += publication.payload.len();
        let (_, old) = self.tree.insert(publication.topic, slot);
        self.payload_bytes -= old.map_or(0, |old| old.message.payload_bytes());
    }

    fn remove(&mut self, node: NodeId) {
        let old = self.tree.remove(node);
        self.payload_bytes -= old.map_or(0, |old| old.message.payload_bytes());
    }

    /// Begins to walk the messages that match `filter`. Must be ended.
    pub fn walk(&mut self, filter: &TopicFilter<'_>) -> Walk {
        self.tree.walk(filter)
    }

    /// The next message of a walk that was retained before `before` and has not expired; looks at
    /// `steps` nodes at most, and takes off those it looked at.
    pub fn step(
        &mut self,
        walk: &mut Walk,
        steps: &mut usize,
        before: u64,
        now: Mono,
    ) -> Option<Rc<Message>> {
        while let Some(node) = self.tree.step(walk, steps) {
            let due = |slot: &&Slot| slot.sequence < before && slot.message.expires_at() > now;
            if let Some(slot) = self.tree.get(node).filter(due) {
                return Some(Rc::clone(&slot.message));
            }
        }
        None
    }

    /// Ends a walk.
    pub fn end_walk(&mut self, walk: Walk) {
        self.tree.end_walk(walk);
    }

    /// When the next sweep is due: not before a message expires, nor twice within
    /// [`limits::SWEEP_INTERVAL_S`] or `retain_expiry_interval`; next turn while one is under way.
    pub fn sweep_at(&self, config: &Config, now: Mono) -> Mono {
        if self.sweep_from != 0 {
            return now.plus_ms(1);
        }
        match self.expires_next {
            Mono::NEVER => Mono::NEVER,
            expires_at => {
                let interval_s = 60 * u64::from(config.retain_expiry_interval);
                expires_at.max(now.plus_s(interval_s.max(limits::SWEEP_INTERVAL_S)))
            }
        }
    }

    /// Removes some of the messages that have expired [MQTT5-3.3.2-5], and tells of each. Returns how
    /// many.
    pub fn sweep(&mut self, now: Mono, mut expired_one: impl FnMut(&Rc<Message>)) -> usize {
        if self.sweep_from == 0 {
            self.expires_next = Mono::NEVER;
        }
        let end = self.sweep_from.saturating_add(limits::SWEEP_STEPS_PER_TURN);
        let mut expired: Vec<NodeId> = Vec::new();
        for (node, slot) in self.tree.values_in(self.sweep_from..end) {
            if slot.message.expires_at() <= now {
                expired_one(&slot.message);
                expired.push(node);
            } else {
                self.expires_next = self.expires_next.min(slot.message.expires_at());
            }
        }
        self.sweep_from = if end < self.tree.slots() { end } else { 0 };
        let count = expired.len();
        for node in expired {
            self.remove(node);
        }
        count
    }

    /// Each message, in the order in which they were retained.
    pub fn in_order(&self) -> Vec<&Rc<Message>> {
        let mut slots: Vec<&Slot> = self.tree.values_from(0).map(|(_, slot)| slot).collect();
        slots.sort_unstable_by_key(|slot| slot.sequence);
        slots.into_iter().map(|slot| &slot.message).collect()
    }

    /// Pins that walks under way hold.
    #[cfg(any(test, debug_assertions))]
    pub fn pins(&self) -> usize {
        self.tree.pins()
    }

    /// Bookkeeping that must hold between any two packets.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) -> Result<(), String> {
        self.tree.check()?;
        let mut payload_bytes = 0;
        for (node, slot) in self.tree.values_from(0) {
            payload_bytes += slot.message.payload_bytes();
            let mut path = String::new();
            self.tree.path(node, &mut path);
            if path != slot.message.publication().topic {
                return Err(format!("{path} holds a message of another topic"));
            }
            if slot.message.expires_at() < self.expires_next && self.sweep_from == 0 {
                return Err(format!("{path} expires before the next sweep knows"));
            }
        }
        if payload_bytes != self.payload_bytes {
            return Err(format!(
                "{payload_bytes} bytes are retained, count says {}",
                self.payload_bytes
            ));
        }
        Ok(())
    }
}

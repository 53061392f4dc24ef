//! The short way of a message that its receivers get byte for byte as it came: QoS 0, nothing to be
//! decided for one receiver or the other. It is apart from `deliver.rs` because most messages of
//! most brokers come this way; whatever is out of the ordinary must be left to that file, never
//! handled here.

use super::client;
use super::deliver::Tables;
use super::layout::Head;
use super::subscriptions::Subscription;
use crate::config::Config;
use crate::limits;
use crate::message::{Publication, Wire};

/// A QoS 0 message that its receivers get just as it came.
#[derive(Clone, Copy, Debug)]
pub struct Relayed<'a> {
    wire: &'a Wire<'a>,
    payload_bytes: usize,
}

impl Tables<'_> {
    /// Whether `publication` is one that can be relayed: nothing about it is to be decided, logged
    /// or kept for one receiver or the other.
    pub fn relayed<'a>(&self, publication: &Publication<'a>) -> Option<Relayed<'a>> {
        let Config {
            upgrade_outgoing_qos,
            queue_qos0_messages,
            ..
        } = *self.config;
        let is_plain = !upgrade_outgoing_qos && !queue_qos0_messages;
        let is_silent = !log::log_enabled!(log::Level::Debug);
        let may_be = is_plain && is_silent && self.policy.lets_all_receive();
        let wire = publication.came.filter(|_| may_be)?;
        let is_bare =
            wire.bytes.first() == Some(&Head::BARE) && wire.bytes.len() <= limits::COPY_BELOW;
        is_bare.then_some(Relayed {
            wire,
            payload_bytes: publication.payload.len(),
        })
    }

    /// Sends a message as it came, the short way. `false`: this receiver cannot get it so.
    #[inline(always)]
    pub fn relay(&mut self, relayed: Relayed<'_>, subscription: &Subscription) -> bool {
        let Relayed {
            wire,
            payload_bytes,
        } = relayed;
        let session = self.sessions.get(subscription.session);
        // Where messages were dropped, the end of that is to be said.
        let session = session.filter(|session| session.dropped == 0);
        let conn = session.and_then(|session| session.conn);
        let Some((conn, client)) = conn.and_then(|conn| Some((conn, self.clients.get_mut(conn)?)))
        else {
            return false;
        };
        let is_plain = !subscription.terms.no_local() && subscription.identifier.is_none();
        if !is_plain || !client.takes_as_it_is(wire) {
            return false;
        }
        if self.memory.is_limited() {
            let growth = client.output.growth(wire.bytes.len());
            if !self.memory.may_send(client.output.bytes(), growth) {
                return false;
            }
        }
        client::send(client, conn, self.effects, self.stats, |out| {
            out.extend_from_slice(wire.bytes);
        });
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += payload_bytes as u64;
        true
    }
}

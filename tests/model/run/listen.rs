//! What model clients hear, and whether it is as it should be.

use super::CLIENTS;
use super::{Answer, Outcome, Reply, Run, SMALL, SMALL_PACKET_BYTES, ensure, name};
use crate::model::{Client, Heard};
use crate::table::*;
use midge::codec::ack::{Ack, AckKind};
use midge::codec::frame::Frame;
use midge::codec::packet::Packet;
use midge::codec::publish::Publish;
use midge::codec::reason::ReasonCode;
use midge::limits;
use std::num::NonZeroU16;

impl Run {
    /// Everybody who reads hears what there is.
    pub(super) fn listen(&mut self) -> Outcome {
        for client in 0..CLIENTS {
            let Some(seat) = self.players[client].seat else {
                continue;
            };
            let heard = self.t.takes(seat);
            self.hear_all(client, &heard, None)?;
        }
        Ok(())
    }

    /// `farewell`: the DISCONNECT that a 5.0 client must find at the end.
    pub(super) fn hear_all(
        &mut self,
        client: Client,
        mut bytes: &[u8],
        farewell: Option<ReasonCode>,
    ) -> Outcome {
        let version = self.players[client].version;
        let mut farewell = farewell.filter(|_| version == V5);
        while !bytes.is_empty() {
            let frame = Frame::cut(bytes, limits::PACKET_BYTES_MAX).map_err(|e| e.to_string())?;
            let frame = frame.ok_or("half a packet")?;
            let length = frame.header.packet_bytes();
            ensure(client != SMALL || length <= SMALL_PACKET_BYTES, || {
                "too large".into()
            })?;
            let packet = Packet::decode(&frame, version).map_err(|error| error.to_string())?;
            self.note(|| format!("{} hears {packet:?}", name(client)));
            match packet {
                Packet::Disconnect(packet) if Some(packet.reason) == farewell => farewell = None,
                packet => self.hear(client, packet)?,
            }
            bytes = &bytes[length as usize..];
        }
        ensure(farewell.is_none(), || format!("no DISCONNECT {farewell:?}"))
    }

    pub(super) fn hear(&mut self, client: Client, packet: Packet<'_>) -> Outcome {
        let answer = match packet {
            Packet::Publish(packet) => return self.hear_publish(client, &packet),
            Packet::Ack(packet) if packet.kind == AckKind::PubRel => {
                self.model
                    .hears_release(client, packet.packet_identifier.get())?;
                let reply = Reply::PubComp(packet.packet_identifier.get());
                self.players[client].replies.push_back(reply);
                return Ok(());
            }
            Packet::Ack(packet) => self.hear_ack(client, &packet),
            Packet::ConnAck(packet) => Answer::ConnAck(packet.session_present),
            Packet::SubAck(packet) => {
                Answer::SubAck(packet.packet_identifier.get(), packet.codes.into())
            }
            Packet::UnsubAck(packet) => {
                Answer::UnsubAck(packet.packet_identifier.get(), packet.codes.into())
            }
            other => return Err(format!("{} hears {other:?}", name(client))),
        };
        let expected = self.players[client].answers.pop_front();
        ensure(expected.as_ref() == Some(&answer), || {
            format!("{} hears {answer:?}, not {expected:?}", name(client))
        })
    }

    /// PUBACK, PUBREC or PUBCOMP.
    pub(super) fn hear_ack(&mut self, client: Client, packet: &Ack<'_>) -> Answer {
        let id = packet.packet_identifier.get();
        let player = &mut self.players[client];
        if packet.kind == AckKind::PubRec && !packet.reason.is_failure() {
            let found = player
                .outgoing
                .iter_mut()
                .find(|outgoing| outgoing.id == id);
            if let Some(outgoing) = found.filter(|outgoing| !outgoing.is_received) {
                outgoing.is_received = true;
                player.replies.push_back(Reply::PubRel(id));
            }
        } else {
            player.outgoing.retain(|outgoing| outgoing.id != id);
        }
        Answer::Ack(packet.kind, id, packet.reason)
    }

    pub(super) fn hear_publish(&mut self, client: Client, packet: &Publish<'_>) -> Outcome {
        let id = packet.packet_identifier.map_or(0, NonZeroU16::get);
        let mut identifiers: Vec<u32> = packet.properties.subscription_identifiers().collect();
        identifiers.sort_unstable();
        let heard = Heard {
            topic: self.topic_of(client, packet)?,
            payload: packet.payload.into(),
            qos: packet.qos.bits(),
            retain: packet.retain,
            dup: packet.dup,
            packet_identifier: id,
            identifiers,
            expiry_s: packet.properties.message_expiry_interval(),
        };
        self.model.hears(client, &heard)?;
        match heard.qos {
            0 => {}
            1 => self.players[client].replies.push_back(Reply::PubAck(id)),
            _ => self.players[client].replies.push_back(Reply::PubRec(id)),
        }
        Ok(())
    }

    pub(super) fn topic_of(
        &mut self,
        client: Client,
        packet: &Publish<'_>,
    ) -> Result<String, String> {
        let player = &mut self.players[client];
        let Some(alias) = packet.properties.topic_alias().map(NonZeroU16::get) else {
            return Ok(packet.topic.into());
        };
        ensure(alias <= player.alias_maximum, || {
            format!("Topic Alias {alias}")
        })?;
        if !packet.topic.is_empty() {
            player.broker_aliases.insert(alias, packet.topic.into());
        }
        let known = player.broker_aliases.get(&alias).cloned();
        known.ok_or_else(|| format!("unknown Topic Alias {alias}"))
    }
}

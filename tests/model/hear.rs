//! What is heard, held against what is due.

use super::{
    Client, Copy, Due, Flying, Heard, Kind, Message, Model, NEVER, Published, Session, Shared,
};
use super::{matches, within_share};
use std::collections::BTreeSet;

impl Model {
    /// A PUBLISH is heard: a second time, or for the first.
    pub fn hears(&mut self, client: Client, heard: &Heard) -> Result<(), String> {
        let Some(session) = self.sessions.get_mut(&client) else {
            return Err(format!(
                "client {client} has no session and hears {heard:?}"
            ));
        };
        let connection = session.connection;
        if let Some(flying) = session.flying.get_mut(&heard.packet_identifier) {
            let message = &self.messages[flying.what.message];
            let is_same = message.topic == heard.topic
                && message.payload == heard.payload
                && flying.copy.qos == heard.qos
                && flying.copy.retain == heard.retain;
            let may_come = heard.dup && !flying.is_received && flying.connection < connection;
            flying.connection = connection;
            flying.touched = connection;
            if !(is_same && may_come) {
                return Err(format!("in use: {flying:?}, heard: {heard:?}"));
            }
            return session.fits(heard);
        }
        if heard.dup && !session.may_repeat {
            return Err(format!("client {client} hears DUP first: {heard:?}"));
        }
        let (what, copy) = self.cross_off(client, heard)?;
        let Some(session) = self.sessions.get_mut(&client) else {
            return Ok(());
        };
        if heard.qos > 0 {
            session.flying.insert(
                heard.packet_identifier,
                Flying {
                    what,
                    copy,
                    connection,
                    touched: connection,
                    is_received: false,
                },
            );
        }
        session.fits(heard)
    }

    /// PUBREL is heard.
    pub fn hears_release(&mut self, client: Client, packet_identifier: u16) -> Result<(), String> {
        let session = self.sessions.get_mut(&client);
        let Some(session) = session else {
            return Err(format!("client {client} has no session and hears PUBREL"));
        };
        let connection = session.connection;
        match session.flying.get_mut(&packet_identifier) {
            Some(flying) if flying.is_received => {
                flying.touched = connection;
                Ok(())
            }
            other => Err(format!("PUBREL {packet_identifier} for {other:?}")),
        }
    }

    /// Nobody has anything more to say or hear: whatever is due to those who keep up was heard.
    pub fn rests(&mut self) -> Result<(), String> {
        let now = self.now;
        for (client, session) in &mut self.sessions {
            let is_idle = session.is_idle();
            let is_reading = session.connected && !session.stalled;
            // [MQTT-4.4.0-1] [MQTT5-4.4.0-1]
            let is_forgotten = |(_, flying): &(&u16, &Flying)| {
                (is_reading && flying.is_received && flying.touched < session.connection)
                    || (is_idle && flying.touched < session.connection)
            };
            if let Some(flying) = session.flying.iter().find(is_forgotten) {
                return Err(format!("client {client} was not sent again {flying:?}"));
            }
            let is_over = |due: &Due| {
                is_idle || (is_reading && due.copy.qos == 0 && !matches!(due.kind, Kind::Replay(_)))
            };
            let is_lost = |due: &&Due| is_over(due) && due.required && due.what.expires_at > now;
            if let Some(due) = session.dues.iter().find(is_lost) {
                let message = &self.messages[due.what.message];
                return Err(format!("client {client} did not hear {message:?}: {due:?}"));
            }
            session.dues.retain(|due| !is_over(due));
            session.may_repeat &= !is_idle;
        }
        self.shared_rests()
    }

    pub(super) fn shared_rests(&mut self) -> Result<(), String> {
        let sessions = &self.sessions;
        let has_none = |(client, copy): &(Client, Copy)| {
            sessions
                .get(client)
                .is_none_or(|session| session.is_idle() || (copy.qos == 0 && !session.stalled))
        };
        let is_over = |shared: &Shared| shared.takers.iter().all(has_none);
        let now = self.now;
        let is_lost =
            |shared: &&Shared| shared.required && shared.what.expires_at > now && is_over(shared);
        if let Some(shared) = self.shared.iter().find(is_lost) {
            let message = &self.messages[shared.what.message];
            return Err(format!("nobody heard {message:?}: {shared:?}"));
        }
        self.shared.retain(|shared| !is_over(shared));
        Ok(())
    }

    /// Finds what was due in what was heard, and takes it off the list.
    pub(super) fn cross_off(
        &mut self,
        client: Client,
        heard: &Heard,
    ) -> Result<(Published, Copy), String> {
        let Some(session) = self.sessions.get(&client) else {
            return Err(String::from("no session"));
        };
        let is_it = |what: &Published, copy: &Copy, is_blurred: bool| {
            let message = &self.messages[what.message];
            message.topic == heard.topic
                && message.payload == heard.payload
                && copy.qos == heard.qos
                && copy.retain == heard.retain
                && (is_blurred || self.is_told(session, what, copy, heard))
        };
        let is_due = |due: &Due| is_it(&due.what, &due.copy, due.is_blurred);
        let mut found: Vec<usize> = (0..session.dues.len())
            .filter(|at| is_due(&session.dues[*at]))
            .collect();
        found.sort_by_key(|at| {
            let due = &session.dues[*at];
            let must_come = due.required && due.what.expires_at > self.now;
            (!must_come, due.is_blurred)
        });
        let takes = |shared: &Shared| {
            let mut takers = shared.takers.iter();
            takers.any(|(taker, copy)| {
                *taker == client && is_it(&shared.what, copy, shared.is_blurred)
            })
        };
        let mut shared: Vec<usize> = (0..self.shared.len())
            .filter(|at| takes(&self.shared[*at]))
            .collect();
        // It is safest to cross off what the fewest others could take.
        shared.sort_by_key(|at| self.shared[*at].takers.len());
        if shared.len() + found.len() > 1 {
            self.blur(&shared);
        }
        let shared = shared.first().copied();
        match (found.first(), shared) {
            (Some(first), _) => Ok(self.cross_off_due(client, *first, &found, shared.is_some())?),
            (None, Some(at)) => {
                let shared = self.shared.remove(at);
                let copy = self.copy_of(heard);
                if shared.in_order {
                    self.note_order(client, &shared.what, &copy)?;
                }
                Ok((shared.what, copy))
            }
            (None, None) => self.unexpected(client, heard),
        }
    }

    /// One of these or something else was heard.
    pub(super) fn blur(&mut self, shared: &[usize]) {
        for at in shared {
            let shared = &mut self.shared[*at];
            shared.required = false;
            shared.in_order = false;
            shared.is_blurred = true;
        }
    }

    pub(super) fn copy_of(&self, heard: &Heard) -> Copy {
        Copy {
            qos: heard.qos,
            retain: heard.retain,
            identifiers: heard.identifiers.clone(),
        }
    }

    pub(super) fn cross_off_due(
        &mut self,
        client: Client,
        first: usize,
        found: &[usize],
        is_shared: bool,
    ) -> Result<(Published, Copy), String> {
        let session = self.sessions.get_mut(&client).ok_or("no session")?;
        let number = session.dues[first].what.number;
        let is_clear = |at: &usize| {
            let due = &session.dues[*at];
            due.kind == Kind::Live && due.what.number == number
        };
        let is_clear = found.iter().all(is_clear) && !is_shared;
        // Where it could have been any of several, nothing is said about their order.
        let is_blurred = session.lagging || !session.has_properties || is_shared;
        let replayed = |at: &usize| match &session.dues[*at].kind {
            Kind::Replay(filters) => filters.clone(),
            Kind::Live | Kind::Unordered => BTreeSet::new(),
        };
        let filters: BTreeSet<String> = found.iter().flat_map(replayed).collect();
        for at in found {
            let due = &mut session.dues[*at];
            due.is_blurred |= is_blurred;
            if let Kind::Replay(of) = &mut due.kind {
                of.clone_from(&filters);
            }
            if !is_clear && due.kind == Kind::Live {
                due.kind = Kind::Unordered;
            }
        }
        // A replay may be long in coming; if this was the shared one, it is still to come.
        let may_still_come = is_shared && matches!(session.dues[first].kind, Kind::Replay(_));
        let due = if may_still_come {
            session.dues[first].required = false;
            session.dues[first].clone()
        } else {
            session.dues.remove(first)
        };
        if is_clear {
            self.note_order(client, &due.what, &due.copy)?;
        }
        Ok((due.what, due.copy))
    }

    pub(super) fn note_order(
        &mut self,
        client: Client,
        what: &Published,
        copy: &Copy,
    ) -> Result<(), String> {
        let message = &self.messages[what.message];
        let session = self.sessions.get_mut(&client).ok_or("no session")?;
        let key = (message.from, message.topic.clone(), copy.qos);
        let last = session.order.entry(key).or_default();
        if *last > what.number {
            return Err(format!("client {client} hears out of order: {message:?}"));
        }
        *last = what.number;
        Ok(())
    }

    /// Whether the properties that are the receiver's own are as they should be.
    pub(super) fn is_told(
        &self,
        session: &Session,
        what: &Published,
        copy: &Copy,
        heard: &Heard,
    ) -> bool {
        let lasts = heard.dup || session.lagging || what.expires_at > self.now;
        if !session.has_properties {
            return lasts;
        }
        let left_s = match what.expires_at {
            NEVER => None,
            at => u32::try_from(at.saturating_sub(self.now).div_ceil(1000)).ok(),
        };
        let is_expiry_right = match session.lagging {
            true => heard.expiry_s.is_some() == left_s.is_some(),
            false => heard.expiry_s == left_s,
        };
        lasts && is_expiry_right && heard.identifiers == copy.identifiers
    }

    pub(super) fn unexpected(
        &self,
        client: Client,
        heard: &Heard,
    ) -> Result<(Published, Copy), String> {
        let of_group = |filter: &&String| {
            within_share(filter).is_some_and(|filter| matches(filter, &heard.topic))
        };
        let session = &self.sessions[&client];
        if self.stopping && session.subscriptions.keys().any(|filter| of_group(&filter)) {
            let is_it = |message: &Message| {
                message.topic == heard.topic && message.payload == heard.payload
            };
            let message = self.messages.iter().position(is_it);
            let message = message.ok_or("nobody ever published this")?;
            let what = Published {
                message,
                number: 0,
                expires_at: NEVER,
            };
            return Ok((what, self.copy_of(heard)));
        }
        let dues: Vec<_> = session
            .dues
            .iter()
            .map(|due| (&self.messages[due.what.message].topic, due))
            .collect();
        let shown: String = format!("{heard:?}").chars().take(300).collect();
        Err(format!(
            "client {client} hears what it is not due: {shown}\ndue: {dues:?}\nshared: {:?}",
            self.shared
        ))
    }
}

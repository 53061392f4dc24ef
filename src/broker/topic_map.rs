//! Another prefix on one side of a connection than on the other (`mount_point`): a client behind it
//! has the topics below the prefix for itself, and there are no others to it.
//!
//! ```text
//!   the client's side          the broker's side
//!   tea/green          in →    shop/tea/green             publish, subscribe, Will
//!   tea/green        ← out     shop/tea/green             delivery
//!   (nothing)        ← out     tea/green
//! ```
//!
//! Only what comes in from a client and what goes out to it passes here. All in between knows the
//! broker's side alone.

use crate::config::{Config, Listener};
use crate::topic::filter::TopicFilter;
use std::borrow::Cow;

/// Bytes of a topic at most, on either side: what the length before it can say.
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// How topics are rewritten for the clients of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicMap<'c> {
    prefix: &'c str,
}

impl<'c> TopicMap<'c> {
    /// That of a listener.
    pub fn of(listener: &'c Listener) -> Self {
        let prefix = listener.mount_point.as_deref();
        Self {
            prefix: prefix.unwrap_or_default(),
        }
    }

    /// That of the listener at this place.
    pub fn at(listener: usize, config: &'c Config) -> Self {
        let listener = config.listeners.get(listener);
        listener.map(Self::of).unwrap_or_default()
    }

    /// A client's topic as the broker knows it; `None`: it would be too long.
    pub fn inward<'t>(&self, topic: &'t str) -> Option<Cow<'t, str>> {
        if self.prefix.is_empty() {
            return Some(Cow::Borrowed(topic));
        }
        let is_short = self.prefix.len() + topic.len() <= TOPIC_BYTES_MAX;
        is_short.then(|| Cow::Owned([self.prefix, topic].concat()))
    }

    /// A client's filter as the broker knows it, the share name left where it is; `None`: it would
    /// be too long.
    pub fn filter_inward<'t>(&self, filter: &TopicFilter<'t>) -> Option<Cow<'t, str>> {
        let mapped = self.inward(filter.filter())?;
        match (self.prefix, filter.share_name()) {
            ("", _) => Some(Cow::Borrowed(filter.whole())),
            (_, None) => Some(mapped),
            (_, Some(name)) => Some(Cow::Owned(format!("$share/{name}/{mapped}"))),
        }
    }

    /// The broker's topic as the client knows it; `None`: it knows nothing of it.
    pub fn outward<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if self.prefix.is_empty() {
            return Some(topic);
        }
        // The prefix alone may be a topic, but the empty rest is none [MQTT-4.7.3-1] [MQTT5-4.7.3-1].
        topic
            .strip_prefix(self.prefix)
            .filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_on_both_sides() {
        let shop = TopicMap { prefix: "shop/" };
        assert_eq!(shop.inward("tea").as_deref(), Some("shop/tea"));
        assert_eq!(shop.outward("shop/tea"), Some("tea"));
        for outside in ["tea", "shop", "shop/", "Shop/tea", "a/shop/tea", "$SYS/x"] {
            assert_eq!(shop.outward(outside), None, "{outside}");
        }
        let none = TopicMap { prefix: "" };
        assert_eq!(none.inward("tea").as_deref(), Some("tea"));
        assert_eq!(none.outward("tea"), Some("tea"));
    }

    #[test]
    fn filters_inward() {
        let shop = TopicMap { prefix: "shop/" };
        let none = TopicMap { prefix: "" };
        for (text, mapped) in [
            ("#", "shop/#"),
            ("+/green", "shop/+/green"),
            ("$SYS/#", "shop/$SYS/#"),
            ("$share/g/tea/+", "$share/g/shop/tea/+"),
        ] {
            let filter = TopicFilter::new(text).unwrap();
            assert_eq!(shop.filter_inward(&filter).as_deref(), Some(mapped));
            assert_eq!(none.filter_inward(&filter).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_too_long() {
        let shop = TopicMap { prefix: "shop/" };
        let longest = "x".repeat(TOPIC_BYTES_MAX - 5);
        assert!(shop.inward(&longest).is_some());
        assert!(shop.inward(&(longest + "x")).is_none());
    }
}

//! The keys that things are spoken of by: small, typed, `Copy`. `Option` of a key costs nothing.

use std::num::{NonZeroU32, NonZeroU64};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The key of arena slot `index`, which is below 2^32 - 1: no arena grows past that.
            pub fn from_index(index: usize) -> Self {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                Self(NonZeroU32::MIN.saturating_add(index))
            }

            /// The arena slot.
            pub fn index(self) -> usize {
                (self.0.get() - 1) as usize
            }
        }
    };
}

key! {
    /// Names both halves of one Network Connection: the shell's link and the core's client.
    ConnId
}

key! {
    /// One Session, connected or absent.
    SessionId
}

key! {
    /// One group of members that share a subscription.
    GroupId
}

/// The place of one message for one session among all that ever waited: those of one session stand
/// in the order of their places. No place is taken twice in the life of a store.
pub type Place = NonZeroU64;

//! A set of keys, small while it has few: in order in one vector, or past a bound in a tree. Most
//! sessions have a handful of subscriptions, but one may have a million, and in a vector each that
//! comes or goes in the middle would move half of the others.

use std::collections::{BTreeSet, btree_set};
use std::vec;

/// Keys in a vector at most: moving them all costs less than a lookup in the tree of filters.
const FEW: usize = 512;

/// A set of keys. An empty one owns no memory.
#[derive(Debug)]
pub enum KeySet<K> {
    /// Ascending.
    Few(Vec<K>),
    /// More than that once, and some still. Boxed, so that a set is no larger than a vector.
    Many(Box<BTreeSet<K>>),
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Copy + Ord> KeySet<K> {
    /// Adds `key`.
    pub fn insert(&mut self, key: K) {
        match self {
            Self::Many(keys) => {
                keys.insert(key);
            }
            Self::Few(keys) => {
                let Err(position) = keys.binary_search(&key) else {
                    return;
                };
                if keys.len() == FEW {
                    let all = keys.iter().copied().chain([key]);
                    *self = Self::Many(Box::new(all.collect()));
                    return;
                }
                // One is the usual number.
                if keys.capacity() == 0 {
                    keys.reserve_exact(1);
                }
                keys.insert(position, key);
            }
        }
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: K) {
        match self {
            Self::Many(keys) => {
                keys.remove(&key);
                if keys.is_empty() {
                    *self = Self::default();
                }
            }
            Self::Few(keys) => {
                if let Ok(position) = keys.binary_search(&key) {
                    keys.remove(position);
                }
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(keys) => keys.len(),
            Self::Many(keys) => keys.len(),
        }
    }

    /// Each of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        let (few, many): (&[K], _) = match self {
            Self::Few(keys) => (keys, None),
            Self::Many(keys) => (&[], Some(&**keys)),
        };
        few.iter().chain(many.into_iter().flatten())
    }
}

impl<K: Copy + Ord> IntoIterator for KeySet<K> {
    type Item = K;
    type IntoIter = std::iter::Chain<vec::IntoIter<K>, btree_set::IntoIter<K>>;

    fn into_iter(self) -> Self::IntoIter {
        let (few, many) = match self {
            Self::Few(keys) => (keys, BTreeSet::new()),
            Self::Many(keys) => (Vec::new(), *keys),
        };
        few.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_and_go_on_either_side_of_the_bound() {
        let mut keys = KeySet::default();
        for count in [1, FEW, FEW + 1, 3 * FEW] {
            (0..count).rev().for_each(|key| keys.insert(key));
            (0..count).for_each(|key| keys.insert(key));
            assert_eq!(keys.len(), count);
            assert!(keys.iter().copied().eq(0..count));
            (0..count).step_by(2).for_each(|key| keys.remove(key));
            assert!(keys.iter().copied().eq((1..count).step_by(2)));
            (0..count).for_each(|key| keys.remove(key));
            assert_eq!(keys.len(), 0);
        }
        assert!(matches!(keys, KeySet::Few(_)));
        (0..FEW + 5).for_each(|key| keys.insert(key));
        assert!(keys.into_iter().eq(0..FEW + 5));
    }

    /// It stands in every session.
    #[test]
    fn as_large_as_a_vector() {
        assert_eq!(size_of::<KeySet<u32>>(), size_of::<Vec<u32>>());
    }
}

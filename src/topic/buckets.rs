//! One table of edges: from a hash to the nodes it may belong to.
//!
//! ```text
//!   hash      [ 31 … 24 tag |  …  | place of the bucket ]
//!   buckets   [ 12 tags | passed by | 12 NodeIds ][ … ][ … ]      64 bytes each
//!                                └── edges that found no room here and stand further on
//! ```
//!
//! It is apart because this is where a PUBLISH waits for memory: of the edges of a million filters
//! hardly one is in a cache. A bucket is one line of a cache, so that a look-up waits once for the
//! table and once for the node; the tags spare it all but one node in two hundred and fifty that are
//! not the one. It must never take a node for the right one: equal hashes say nothing, and the text
//! stands in the node alone.

use super::arena::NodeId;

/// Edges that one bucket holds.
const PLACES: usize = 12;

/// Edges for each bucket, on average, beyond which there are twice as many buckets: with more of
/// them, too many stand in a bucket that is not their own.
const EDGES_PER_BUCKET: usize = 11;

/// The part of what fits below which there are half as many buckets: far enough from full that a few
/// edges more or less do not bring them back.
const SPARSE_SHARE: usize = 8;

/// One line of a cache.
#[derive(Clone)]
#[repr(C, align(64))]
struct Bucket {
    /// Eight bits of the hash of each edge; 0 where there is none.
    tags: [u8; PLACES],
    /// Edges of this bucket, or one before, that stand further on.
    passed_by: u32,
    ids: [Option<NodeId>; PLACES],
}

impl Bucket {
    const EMPTY: Self = Self {
        tags: [0; PLACES],
        passed_by: 0,
        ids: [None; PLACES],
    };

    /// The edges that bear `tag`, and seldom one that does not.
    #[inline]
    fn bearing(&self, tag: u8) -> impl Iterator<Item = NodeId> {
        const ONES: u128 = u128::from_le_bytes([1; 16]);
        let mut tags = [0; 16];
        for (copy, tag) in tags.iter_mut().zip(self.tags) {
            *copy = tag;
        }
        // A byte that is 0 now borrows from its top bit. (One above it that is 1 may do so too.)
        let differences = u128::from_le_bytes(tags) ^ ONES.wrapping_mul(u128::from(tag));
        let mut found = differences.wrapping_sub(ONES) & !differences & (ONES << 7);
        std::iter::from_fn(move || {
            let at = (found != 0).then(|| found.trailing_zeros() / 8)?;
            found &= found - 1;
            self.ids.get(at as usize)
        })
        .filter_map(|id| *id)
    }

    /// Puts an edge where there is room; `false`: there is none.
    fn put(&mut self, tag: u8, id: NodeId) -> bool {
        let free = self.ids.iter_mut().zip(&mut self.tags);
        match free.into_iter().find(|(place, _)| place.is_none()) {
            Some((place, own_tag)) => {
                (*place, *own_tag) = (Some(id), tag);
                true
            }
            None => false,
        }
    }

    /// Takes an edge out; `false`: it is not here.
    fn take(&mut self, id: NodeId) -> bool {
        let places = self.ids.iter_mut().zip(&mut self.tags);
        match places.into_iter().find(|(place, _)| **place == Some(id)) {
            Some((place, tag)) => {
                (*place, *tag) = (None, 0);
                true
            }
            None => false,
        }
    }
}

/// Edges by their hashes.
#[derive(Default)]
pub(super) struct Buckets {
    /// As many as a power of two, or none.
    buckets: Vec<Bucket>,
    edges: usize,
}

impl Buckets {
    /// The edge of this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        for at in way(hash, self.buckets.len()) {
            let bucket = self.buckets.get(at)?;
            if let Some(id) = bucket.bearing(tag(hash)).find(|id| is_it(*id)) {
                return Some(id);
            }
            if bucket.passed_by == 0 {
                return None;
            }
        }
        None
    }

    /// Adds an edge that is not there. `hash_of` says the hash of one that is.
    pub(super) fn insert(&mut self, hash: u32, id: NodeId, hash_of: impl Fn(NodeId) -> u32) {
        if self.edges >= self.buckets.len() * EDGES_PER_BUCKET {
            self.resize((self.buckets.len() * 2).max(1), hash_of);
        }
        self.put(hash, id);
        self.edges += 1;
    }

    /// Moves all edges to so many buckets, a power of two.
    fn resize(&mut self, count: usize, hash_of: impl Fn(NodeId) -> u32) {
        let others = vec![Bucket::EMPTY; count];
        let before = std::mem::replace(&mut self.buckets, others);
        for id in before.iter().flat_map(|bucket| bucket.ids).flatten() {
            self.put(hash_of(id), id);
        }
    }

    /// Puts an edge into the first bucket on its way with room; there is always one.
    fn put(&mut self, hash: u32, id: NodeId) {
        for at in way(hash, self.buckets.len()) {
            let Some(bucket) = self.buckets.get_mut(at) else {
                break;
            };
            if bucket.put(tag(hash), id) {
                return;
            }
            bucket.passed_by += 1;
        }
        debug_assert!(false, "every bucket is full");
    }

    /// Takes an edge out that is there. `hash_of` says the hash of one that stays.
    pub(super) fn remove(&mut self, hash: u32, id: NodeId, hash_of: impl Fn(NodeId) -> u32) {
        let count = self.buckets.len();
        let mut is_in = |at: usize| self.buckets.get_mut(at).is_some_and(|at| at.take(id));
        let Some(steps) = way(hash, count).position(&mut is_in) else {
            debug_assert!(false, "an edge that is not there");
            return;
        };
        for at in way(hash, count).take(steps) {
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.passed_by -= 1;
            }
        }
        self.edges -= 1;
        if count > 1 && self.edges < count * EDGES_PER_BUCKET / SPARSE_SHARE {
            self.resize(count / 2, hash_of);
        }
    }

    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.edges
    }
}

/// The buckets that an edge of this hash may be in, its own first. There are `count` of them, a
/// power of two.
#[inline]
fn way(hash: u32, count: usize) -> impl Iterator<Item = usize> {
    let last = count.wrapping_sub(1);
    let own = hash as usize & last;
    (own..own + count).map(move |at| at & last)
}

/// What tells an edge from the others of its bucket.
#[inline]
fn tag(hash: u32) -> u8 {
    hash.to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::super::level::Level;
    use super::*;

    /// So many keys.
    fn ids(count: usize) -> Vec<NodeId> {
        let mut arena = Arena::<()>::new();
        (0..count)
            .map(|_| arena.add(NodeId::ROOT, Level::EMPTY, 0))
            .collect()
    }

    #[test]
    fn a_bucket_is_one_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn tags_find_their_places() {
        let ids = ids(PLACES);
        let tags = [0, 1, 2, 1, 255, 254, 0, 128, 129, 127, 1, 0];
        let mut bucket = Bucket::EMPTY;
        assert!(tags.iter().zip(&ids).all(|(tag, id)| bucket.put(*tag, *id)));
        assert!(!bucket.put(7, NodeId::ROOT));
        for tag in 0..=255 {
            let wanted = |other: &u8| *other == tag;
            let found: Vec<_> = bucket.bearing(tag).collect();
            for (id, _) in ids.iter().zip(&tags).filter(|(_, other)| wanted(other)) {
                assert!(found.contains(id), "{tag}");
            }
            assert!(found.len() <= 2 * tags.iter().filter(|other| wanted(other)).count());
        }
    }

    /// Edges of one hash, as if it had no key, stand one behind the other and do not hide others.
    #[test]
    fn edges_of_one_bucket_stand_further_on_and_go_again() {
        let ids = ids(100);
        let (alike, others) = ids.split_at(50);
        let hash_of = |id: NodeId| match alike.contains(&id) {
            true => 0xab00_0001,
            false => id.index().wrapping_mul(0x9e37_79b9),
        };
        let mut table = Buckets::default();
        let holds = |table: &Buckets, id: NodeId| table.find(hash_of(id), |other| other == id);
        for id in &ids {
            assert_eq!(holds(&table, *id), None);
            table.insert(hash_of(*id), *id, hash_of);
        }
        assert!(ids.iter().all(|id| holds(&table, *id) == Some(*id)));
        for (count, id) in alike.iter().enumerate() {
            table.remove(hash_of(*id), *id, hash_of);
            assert_eq!((holds(&table, *id), table.len()), (None, 99 - count));
            assert!(others.iter().all(|id| holds(&table, *id) == Some(*id)));
        }
        for id in others {
            table.remove(hash_of(*id), *id, hash_of);
        }
        assert_eq!(table.buckets.len(), 1, "what many took is given back");
        let is_clear = |bucket: &Bucket| bucket.passed_by == 0 && bucket.tags == [0; PLACES];
        assert!(table.len() == 0 && table.buckets.iter().all(is_clear));
    }
}

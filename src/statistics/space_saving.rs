//! The most frequent keys of a stream, in bounded memory: the Space-Saving algorithm.
//!
//! Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data streams" (ICDT 2005). Of a
//! stream of `n` requests, every key that occurs more than `n / capacity` times is kept.

use std::{
    borrow::Borrow,
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

/// A counter for one key.
pub(super) trait Counted: Copy + Default {
    /// The value that ranks keys: those with the highest are kept.
    fn weight(&self) -> u64;

    fn add(&mut self, more: &Self);
}

/// The most frequent keys of a stream, or those with the most of another count.
#[derive(Debug)]
pub(super) struct SpaceSaving<K, C> {
    capacity: usize,
    slots: Vec<Slot<K, C>>,
    places: HashMap<K, usize>,
    /// The places by estimate, for the least of them.
    order: BTreeSet<(u64, usize)>,
}

#[derive(Debug)]
struct Slot<K, C> {
    key: K,
    /// At least the weight of the key: it includes that of the key that it replaced.
    estimate: u64,
    /// What was counted since the key has its slot.
    counts: C,
}

impl<K: Clone + Eq + Hash, C: Counted> SpaceSaving<K, C> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, slots: Vec::new(), places: HashMap::new(), order: BTreeSet::new() }
    }

    /// Adds to the counts of a key.
    pub(super) fn add<Q>(&mut self, key: &Q, counts: &C)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => self.place_for(key.to_owned()),
        };
        let slot = &mut self.slots[place];
        self.order.remove(&(slot.estimate, place));
        slot.estimate = slot.estimate.saturating_add(counts.weight());
        slot.counts.add(counts);
        self.order.insert((slot.estimate, place));
    }

    /// A new slot, or that of the least frequent key, which is forgotten.
    fn place_for(&mut self, key: K) -> usize {
        let least = self.order.first().map(|(_, place)| *place);
        let place = match least {
            Some(place) if self.slots.len() >= self.capacity => {
                let slot = &mut self.slots[place];
                self.places.remove(&slot.key);
                slot.key = key.clone();
                slot.counts = C::default();
                place
            }
            _ => {
                let slot = Slot { key: key.clone(), estimate: 0, counts: C::default() };
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
        place
    }

    /// The keys that are kept, with what was surely theirs.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &C)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.counts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::Counts;

    fn requests(requests: u64) -> Counts {
        Counts { requests, ..Counts::default() }
    }

    proptest! {
        #[test]
        fn frequent_keys_are_kept_and_none_is_counted_too_high(
            stream in proptest::collection::vec((0..200_u64, 1..4_u64), 0..2000),
            skew in 1..5_u32,
        ) {
            const CAPACITY: usize = 20;
            let mut kept = SpaceSaving::<String, Counts>::new(CAPACITY);
            let mut exact = HashMap::<String, u64>::new();
            let mut total = 0;
            for (number, count) in stream {
                let key = (number.pow(skew) / 200_u64.pow(skew - 1)).to_string();
                kept.add(key.as_str(), &requests(count));
                *exact.entry(key).or_default() += count;
                total += count;
            }
            let found: HashMap<_, _> = kept.entries().collect();
            prop_assert!(found.len() <= CAPACITY);
            for (key, count) in &exact {
                if *count > total / CAPACITY as u64 {
                    prop_assert!(found.contains_key(key), "{key}: {count} of {total}");
                }
            }
            for (key, counts) in found {
                prop_assert!(counts.requests <= exact[key]);
            }
        }
    }
}

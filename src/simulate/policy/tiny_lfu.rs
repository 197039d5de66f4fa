//! TinyLFU before an LRU: when the cache is full, an object is stored only if it was requested more often lately than those that
//! it would displace (Einziger and others, "TinyLFU: a highly efficient cache admission policy", ACM TOS 2017). As moka does it,
//! but with exact counts instead of a sketch.

use super::{Policy, links::Links};

/// The highest count of an object's requests.
const MOST: u8 = 15;

/// After so many requests for each stored object, all counts are halved.
const SAMPLE: usize = 10;

/// A cache that admits by TinyLFU and evicts by LRU.
pub(in crate::simulate) struct TinyLfu {
    capacity: u64,
    order: Links,
    is_stored: Vec<bool>,
    stored: usize,
    /// Requests for each object, halved now and then.
    counts: Vec<u8>,
    counted: usize,
}

impl TinyLfu {
    pub(in crate::simulate) fn new(capacity: u64, objects: usize) -> Self {
        Self {
            capacity,
            order: Links::new(objects),
            is_stored: vec![false; objects],
            stored: 0,
            counts: vec![0; objects],
            counted: 0,
        }
    }

    fn count(&mut self, object: u32) {
        let count = &mut self.counts[object as usize];
        if *count == MOST {
            return;
        }
        *count += 1;
        self.counted += 1;
        if self.counted >= SAMPLE * self.stored.max(100) {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.counted /= 2;
        }
    }

    /// Makes room for an object if it was requested more often than those that must go.
    fn admits(&mut self, object: u32, size: u64) -> bool {
        let needed = (self.order.bytes + size).saturating_sub(self.capacity);
        let (mut victims, mut freed, mut requests) = (Vec::new(), 0, 0);
        let mut next = self.order.oldest();
        while let Some(victim) = next.filter(|_| freed < needed) {
            freed += self.order.size(victim);
            requests += u32::from(self.counts[victim as usize]);
            victims.push(victim);
            next = self.order.newer(victim);
        }
        if needed > 0 && u32::from(self.counts[object as usize]) <= requests {
            return false;
        }
        for victim in victims {
            self.order.remove(victim);
            self.is_stored[victim as usize] = false;
            self.stored -= 1;
        }
        true
    }
}

impl Policy for TinyLfu {
    fn request(&mut self, object: u32, size: u64) -> bool {
        self.count(object);
        let at = object as usize;
        if self.is_stored[at] {
            self.order.remove(object);
            self.order.add(object, size);
            return true;
        }
        if size <= self.capacity && self.admits(object, size) {
            self.order.add(object, size);
            self.is_stored[at] = true;
            self.stored += 1;
        }
        false
    }
}

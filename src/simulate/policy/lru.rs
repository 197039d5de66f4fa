//! Least recently used.

use super::{Policy, links::Links};

/// A cache that evicts the least recently used object.
pub(in crate::simulate) struct Lru {
    capacity: u64,
    order: Links,
    is_stored: Vec<bool>,
}

impl Lru {
    pub(in crate::simulate) fn new(capacity: u64, objects: usize) -> Self {
        Self { capacity, order: Links::new(objects), is_stored: vec![false; objects] }
    }
}

impl Policy for Lru {
    fn request(&mut self, object: u32, size: u64) -> bool {
        let is_hit = std::mem::replace(&mut self.is_stored[object as usize], size <= self.capacity);
        if is_hit {
            self.order.remove(object);
        }
        if size > self.capacity {
            return is_hit;
        }
        while self.order.bytes + size > self.capacity
            && let Some(oldest) = self.order.oldest()
        {
            self.order.remove(oldest);
            self.is_stored[oldest as usize] = false;
        }
        self.order.add(object, size);
        is_hit
    }
}

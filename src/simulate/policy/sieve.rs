//! SIEVE: a queue, and a hand that evicts the first object that was not requested since it passed (Zhang and others, "SIEVE is
//! simpler than LRU", NSDI 2024).

use super::{Policy, links::Links};

/// A cache that evicts by SIEVE.
pub(in crate::simulate) struct Sieve {
    capacity: u64,
    queue: Links,
    is_stored: Vec<bool>,
    is_visited: Vec<bool>,
    hand: Option<u32>,
}

impl Sieve {
    pub(in crate::simulate) fn new(capacity: u64, objects: usize) -> Self {
        let no = vec![false; objects];
        let (is_stored, is_visited) = (no.clone(), no);
        Self { capacity, queue: Links::new(objects), is_stored, is_visited, hand: None }
    }

    fn evict(&mut self) {
        let Some(mut at) = self.hand.or_else(|| self.queue.oldest()) else { return };
        while std::mem::take(&mut self.is_visited[at as usize]) {
            let Some(next) = self.queue.newer(at).or_else(|| self.queue.oldest()) else { return };
            at = next;
        }
        self.hand = self.queue.newer(at);
        self.queue.remove(at);
        self.is_stored[at as usize] = false;
    }
}

impl Policy for Sieve {
    fn request(&mut self, object: u32, size: u64) -> bool {
        let at = object as usize;
        if self.is_stored[at] {
            self.is_visited[at] = true;
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.queue.bytes + size > self.capacity && self.queue.oldest().is_some() {
            self.evict();
        }
        self.queue.add(object, size);
        self.is_stored[at] = true;
        false
    }
}

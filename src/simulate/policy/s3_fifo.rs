//! S3-FIFO: a small queue for new objects, a main queue, and a queue of evicted ones (Yang and others, "FIFO queues are all you
//! need for cache eviction", SOSP 2023).

use super::{Policy, links::Links};

/// Where an object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Small,
    Main,
    /// Evicted a short time ago. Only its name is kept.
    Ghost,
}

/// A cache that evicts by S3-FIFO.
pub(in crate::simulate) struct S3Fifo {
    capacity: u64,
    small: Links,
    main: Links,
    ghost: Links,
    places: Vec<Place>,
    /// Requests since an object was stored, up to 3.
    uses: Vec<u8>,
}

/// Uses that are counted.
const MOST_USES: u8 = 3;

impl S3Fifo {
    pub(in crate::simulate) fn new(capacity: u64, objects: usize) -> Self {
        let list = || Links::new(objects);
        let (places, uses) = (vec![Place::Nowhere; objects], vec![0; objects]);
        Self { capacity, small: list(), main: list(), ghost: list(), places, uses }
    }

    const fn small_capacity(&self) -> u64 {
        self.capacity / 10
    }

    fn evict(&mut self) {
        let main_capacity = self.capacity - self.small_capacity();
        if self.main.bytes > main_capacity || self.small.oldest().is_none() {
            self.evict_from_main();
        } else {
            self.evict_from_small();
        }
    }

    fn evict_from_small(&mut self) {
        let Some(oldest) = self.small.oldest() else { return };
        let (at, size) = (oldest as usize, self.small.size(oldest));
        self.small.remove(oldest);
        if self.uses[at] > 1 {
            self.main.add(oldest, size);
            (self.places[at], self.uses[at]) = (Place::Main, 0);
            return;
        }
        // It remembers as much as the main queue holds.
        let most = self.capacity - self.small_capacity();
        while self.ghost.bytes + size > most
            && let Some(forgotten) = self.ghost.oldest()
        {
            self.ghost.remove(forgotten);
            self.places[forgotten as usize] = Place::Nowhere;
        }
        self.ghost.add(oldest, size);
        self.places[at] = Place::Ghost;
    }

    fn evict_from_main(&mut self) {
        while let Some(oldest) = self.main.oldest() {
            let (at, size) = (oldest as usize, self.main.size(oldest));
            self.main.remove(oldest);
            if self.uses[at] == 0 {
                self.places[at] = Place::Nowhere;
                return;
            }
            self.uses[at] -= 1;
            self.main.add(oldest, size);
        }
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, object: u32, size: u64) -> bool {
        let at = object as usize;
        let place = self.places[at];
        if matches!(place, Place::Small | Place::Main) {
            self.uses[at] = (self.uses[at] + 1).min(MOST_USES);
            return true;
        }
        if size > self.capacity {
            return false;
        }
        // As in libCacheSim: an object as large as the small queue is not stored the first time.
        if place == Place::Nowhere && size >= self.small_capacity() {
            return false;
        }
        if place == Place::Ghost {
            self.ghost.remove(object);
            self.places[at] = Place::Nowhere;
        }
        while self.small.bytes + self.main.bytes + size > self.capacity
            && (self.small.oldest().is_some() || self.main.oldest().is_some())
        {
            self.evict();
        }
        let (queue, place) = match place {
            Place::Ghost => (&mut self.main, Place::Main),
            _ => (&mut self.small, Place::Small),
        };
        queue.add(object, size);
        (self.places[at], self.uses[at]) = (place, 0);
        false
    }
}

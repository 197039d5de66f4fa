//! A hash table whose entries are grouped by CPU cache line. If the values are pointers, finding one
//! among millions waits for one cache line.
//!
//! An entry is in its hash's home line. If that line is full, the entry is in one of the next lines,
//! and every line up to there is full. A line has no gaps.

use super::prefetch;

/// Slots of a line; an entry with a pointer as its value takes 16 bytes.
const SLOTS: usize = 4;

/// The maximum load: beyond seven eighths of all slots, the number of lines grows by half.
const FULL: (usize, usize) = (7, 8);

type Slot<T> = Option<(u64, T)>;

#[repr(align(64))]
struct CacheLine<T>([Slot<T>; SLOTS]);

impl<T> CacheLine<T> {
    const fn new() -> Self {
        Self([const { None }; SLOTS])
    }

    fn is_full(&self) -> bool {
        self.0[SLOTS - 1].is_some()
    }

    fn position(&self, hash: u64) -> Option<usize> {
        self.0.iter().position(|slot| slot.as_ref().is_some_and(|(other, _)| *other == hash))
    }

    /// Removes an entry and closes its gap.
    fn take(&mut self, position: usize) -> Slot<T> {
        let last = self.0.iter().rposition(Option::is_some)?;
        self.0.swap(position, last);
        self.0[last].take()
    }

    /// Appends an entry if the line has room.
    fn put(&mut self, entry: (u64, T)) -> Result<(), (u64, T)> {
        match self.0.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                *slot = Some(entry);
                Ok(())
            }
            None => Err(entry),
        }
    }
}

/// Values by hash. Hashes identify keys: two keys with the same hash share one value.
pub(crate) struct Table<T> {
    lines: Box<[CacheLine<T>]>,
    length: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { lines: Box::new([CacheLine::new()]), length: 0 }
    }
}

impl<T> Table<T> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn get(&self, hash: u64) -> Option<&T> {
        let (line, position) = self.find(hash)?;
        self.lines[line].0[position].as_ref().map(|(_, value)| value)
    }

    /// Prefetches the line where the search for a hash begins.
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch::load_value(&self.lines[self.home(hash)]);
    }

    pub(crate) fn get_mut(&mut self, hash: u64) -> Option<&mut T> {
        let (line, position) = self.find(hash)?;
        self.lines[line].0[position].as_mut().map(|(_, value)| value)
    }

    /// Inserts a value; returns the one that it displaced.
    pub(crate) fn insert(&mut self, hash: u64, value: T) -> Option<T> {
        if let Some(standing) = self.get_mut(hash) {
            return Some(std::mem::replace(standing, value));
        }
        let (taken, of) = FULL;
        if (self.length + 1) * of > self.lines.len() * SLOTS * taken {
            self.grow();
        }
        self.put(hash, value);
        None
    }

    pub(crate) fn remove(&mut self, hash: u64) -> Option<T> {
        let (line, position) = self.find(hash)?;
        let was_full = self.lines[line].is_full();
        let (_, value) = self.lines[line].take(position)?;
        self.length -= 1;
        if was_full {
            self.close(line);
        }
        Some(value)
    }

    /// The home line of a hash, selected by its leading bits.
    #[expect(clippy::cast_possible_truncation, reason = "below the number of lines")]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    const fn next(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// The number of lines from `from` forward to `to`.
    const fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.lines.len() - from }
    }

    fn find(&self, hash: u64) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        loop {
            let line = &self.lines[at];
            if let Some(position) = line.position(hash) {
                return Some((at, position));
            }
            if !line.is_full() {
                return None;
            }
            at = self.next(at);
        }
    }

    fn put(&mut self, hash: u64, value: T) {
        let (mut at, mut entry) = (self.home(hash), (hash, value));
        while let Err(refused) = self.lines[at].put(entry) {
            (at, entry) = (self.next(at), refused);
        }
        self.length += 1;
    }

    /// Closes the gap in a line that was full: moves back an entry that overflowed past it, then continues
    /// with the line that the entry left.
    fn close(&mut self, mut open: usize) {
        let mut at = self.next(open);
        while at != open {
            let passed = |slot: &Slot<T>| {
                let home = slot.as_ref().map(|(hash, _)| self.home(*hash));
                home.is_some_and(|home| self.distance(home, at) >= self.distance(open, at))
            };
            let found = self.lines[at].0.iter().position(passed);
            let was_full = self.lines[at].is_full();
            if let Some(entry) = found.and_then(|position| self.lines[at].take(position)) {
                // This cannot fail: `open` has a free slot.
                let _ = self.lines[open].put(entry);
                open = at;
            }
            if !was_full {
                return;
            }
            at = self.next(at);
        }
    }

    fn grow(&mut self) {
        let lines = self.lines.len() + self.lines.len().div_ceil(2);
        let grown = (0..lines).map(|_| CacheLine::new()).collect();
        let old = std::mem::replace(&mut self.lines, grown);
        self.length = 0;
        for (hash, value) in old.into_iter().flat_map(|line| line.0).flatten() {
            self.put(hash, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_one_of_the_processors() {
        assert_eq!(size_of::<CacheLine<Arc<u8>>>(), 64);
    }

    proptest! {
        /// Few leading bits differ: nearly all hashes share the same few home lines and overflow far.
        #[test]
        fn it_holds_what_a_map_holds(
            steps in proptest::collection::vec((0_u64..8, 0_u64..32, 0..3), 1..400),
        ) {
            let (mut table, mut map) = (Table::default(), HashMap::new());
            for (step, (leading, rest, what)) in steps.into_iter().enumerate() {
                let hash = (leading << 61) | rest;
                if what == 0 {
                    prop_assert_eq!(table.remove(hash), map.remove(&hash));
                } else {
                    prop_assert_eq!(table.insert(hash, Box::new(step)), map.insert(hash, Box::new(step)));
                }
                prop_assert_eq!(table.length, map.len());
                for leading in 0..8 {
                    for rest in 0..32 {
                        let hash = (leading << 61) | rest;
                        prop_assert_eq!(table.get(hash), map.get(&hash));
                    }
                }
            }
        }
    }
}

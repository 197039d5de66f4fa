//! Slices and whole contents that readers keep in memory while their viewers receive them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::{
    content::ContentId,
    ledger::{Charge, Ledger},
};

/// The bytes that readers may keep in memory, up to a bound. A slice counts once, however many readers
/// share it.
#[derive(Debug)]
pub(super) struct Pins {
    ledger: Arc<Ledger>,
    pinned: Mutex<HashMap<Pinnable, Weak<Pin>>>,
}

/// The identity of something pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pinnable {
    /// A content of one slice.
    Content(ContentId),
    /// The address of a slice's first byte, which is unique while the slice is in memory.
    Slice(usize),
}

/// The count of one slice or content. The pin of a slice must be dropped before the slice.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Arc<Pins>,
    pinned: Pinnable,
    _charge: Charge,
}

impl Pins {
    /// Pins at most `bound` bytes.
    pub(super) fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::new(Ledger::new(bound)), pinned: Mutex::default() })
    }

    /// Pins a slice or content of `length` bytes; `None` if that would exceed the bound.
    pub(super) fn pin(self: &Arc<Self>, pinnable: Pinnable, length: u64) -> Option<Arc<Pin>> {
        let mut pinned = self.pinned.lock();
        if let Some(pin) = pinned.get(&pinnable).and_then(Weak::upgrade) {
            return Some(pin);
        }
        let charge = self.ledger.charge(length)?;
        let pin = Arc::new(Pin { pins: Arc::clone(self), pinned: pinnable, _charge: charge });
        pinned.insert(pinnable, Arc::downgrade(&pin));
        Some(pin)
    }

    /// Pins a slice.
    pub(super) fn pin_slice(self: &Arc<Self>, slice: &[u8]) -> Option<Arc<Pin>> {
        self.pin(Pinnable::Slice(slice.as_ptr() as usize), slice.len() as u64)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.pinned.lock();
        // The slice may have been pinned again since the last reference was dropped.
        if pinned.get(&self.pinned).is_some_and(|pin| pin.strong_count() == 0) {
            pinned.remove(&self.pinned);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::store::ledger::with;

    #[test]
    fn a_slice_counts_once_however_many_readers_have_it() {
        let pins = Pins::new(1500);
        let (one, two) = (Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 1000]));
        let first = pins.pin_slice(&one).expect("fits");
        let second = with(one.slice(10..), pins.pin_slice(&one).expect("the same"));
        assert!(pins.pin_slice(&two).is_none());
        assert_eq!(second.len(), 990);
        drop(first);
        assert!(pins.pin_slice(&two).is_none(), "still pinned");
        drop(second);
        assert!(pins.pin_slice(&two).is_some());
        assert!(pins.pinned.lock().is_empty());
    }
}

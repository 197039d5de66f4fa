//! Slices that readers keep alive while their viewers take them, whether or not they are still stored.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::ledger::{Charge, Ledger};

/// Pins slices up to a bound. However many readers have a slice, it counts once.
#[derive(Debug)]
pub(super) struct Pins {
    ledger: Arc<Ledger>,
    /// By the address of a slice's first byte, which is its own while it is pinned.
    pinned: Mutex<HashMap<usize, Weak<Pin>>>,
}

#[derive(Debug)]
struct Pin {
    pins: Arc<Pins>,
    slice: usize,
    _charge: Charge,
}

struct Pinned {
    bytes: Bytes,
    _pin: Arc<Pin>,
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Pins {
    /// Pins slices of `bound` bytes in all.
    pub(super) fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::new(Ledger::new(bound)), pinned: Mutex::default() })
    }

    /// `part` of `slice`, which stays pinned for as long as anything holds the part; `None` if that would be
    /// too much.
    pub(super) fn pin(self: &Arc<Self>, slice: &Bytes, part: Bytes) -> Option<Bytes> {
        let address = slice.as_ptr() as usize;
        let mut pinned = self.pinned.lock();
        let known = pinned.get(&address).and_then(Weak::upgrade);
        let pin = match known {
            Some(pin) => pin,
            None => {
                let charge = self.ledger.charge(slice.len() as u64)?;
                let pin = Arc::new(Pin { pins: Arc::clone(self), slice: address, _charge: charge });
                pinned.insert(address, Arc::downgrade(&pin));
                pin
            }
        };
        drop(pinned);
        Some(Bytes::from_owner(Pinned { bytes: part, _pin: pin }))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.pinned.lock();
        // Another pin may have taken the place meanwhile.
        if pinned.get(&self.slice).is_some_and(|pin| pin.strong_count() == 0) {
            pinned.remove(&self.slice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_counts_once_however_many_readers_have_it() {
        let pins = Pins::new(1500);
        let (one, two) = (Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 1000]));
        let first = pins.pin(&one, one.slice(10..)).expect("fits");
        let second = pins.pin(&one, one.clone()).expect("the same");
        assert!(pins.pin(&two, two.clone()).is_none());
        assert_eq!((first.len(), second.len()), (990, 1000));
        drop(first);
        assert!(pins.pin(&two, two.clone()).is_none(), "still pinned");
        drop(second);
        assert!(pins.pin(&two, two.clone()).is_some());
        assert!(pins.pinned.lock().is_empty());
    }
}

//! Slices and whole contents that readers keep in memory while their viewers receive them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::ledger::{Charge, Ledger};

/// The bytes that readers may keep in memory, up to a bound. A slice counts once, however many readers
/// share it.
#[derive(Debug)]
pub(super) struct Pins {
    ledger: Arc<Ledger>,
    /// By an address within what is pinned, which is unique meanwhile.
    pinned: Mutex<HashMap<usize, Weak<Pin>>>,
}

/// The count of one slice. Whoever drops both drops this before the slice.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Arc<Pins>,
    address: usize,
    _charge: Charge,
}

/// Bytes together with their pin. Fields are dropped in this order.
struct Pinned {
    _pin: Arc<Pin>,
    bytes: Bytes,
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Pins {
    /// Pins at most `bound` bytes.
    pub(super) fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::new(Ledger::new(bound)), pinned: Mutex::default() })
    }

    /// Pins `length` bytes of what is at `address`; `None` if that would exceed the bound.
    pub(super) fn pin(self: &Arc<Self>, address: usize, length: u64) -> Option<Arc<Pin>> {
        let mut pinned = self.pinned.lock();
        if let Some(pin) = pinned.get(&address).and_then(Weak::upgrade) {
            return Some(pin);
        }
        let charge = self.ledger.charge(length)?;
        let pin = Arc::new(Pin { pins: Arc::clone(self), address, _charge: charge });
        pinned.insert(address, Arc::downgrade(&pin));
        Some(pin)
    }

    /// Whether `bytes` more would exceed the bound.
    pub(super) fn is_full_for(&self, bytes: u64) -> bool {
        self.ledger.is_full_for(bytes)
    }
}

/// `bytes` of a pinned slice, which stays pinned while they are in use.
pub(super) fn with_pin(bytes: Bytes, pin: Arc<Pin>) -> Bytes {
    Bytes::from_owner(Pinned { _pin: pin, bytes })
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.pinned.lock();
        // The slice may have been pinned again since the last reference was dropped.
        if pinned.get(&self.address).is_some_and(|pin| pin.strong_count() == 0) {
            pinned.remove(&self.address);
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
        let pin = |bytes: &Bytes| pins.pin(bytes.as_ptr() as usize, bytes.len() as u64);
        let first = pin(&one).expect("fits");
        let second = with_pin(one.slice(10..), pin(&one).expect("the same"));
        assert!(pin(&two).is_none());
        assert_eq!(second.len(), 990);
        drop(first);
        assert!(pin(&two).is_none(), "still pinned");
        assert!(pins.is_full_for(501) && !pins.is_full_for(500));
        drop(second);
        assert!(pin(&two).is_some());
        assert!(pins.pinned.lock().is_empty());
    }
}

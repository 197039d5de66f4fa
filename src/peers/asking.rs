//! The objects that this node has requested from peers.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The objects that this node has requested from peers, and whose content has not arrived completely.
///
/// A peer that asks for one of them is refused. If two nodes take each other for the owner of an object, each would
/// wait for the other.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<HashMap<Box<[u8]>, usize>>);

/// A request for an object, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    asking: Arc<Asking>,
    object: Box<[u8]>,
}

impl Asking {
    pub(super) fn claim(self: &Arc<Self>, object: &[u8]) -> Claim {
        *self.0.lock().entry(object.into()).or_default() += 1;
        Claim { asking: Arc::clone(self), object: object.into() }
    }

    pub(super) fn contains(&self, object: &[u8]) -> bool {
        self.0.lock().contains_key(object)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut objects = self.asking.0.lock();
        if let Some(count) = objects.get_mut(&self.object) {
            *count -= 1;
            if *count == 0 {
                objects.remove(&self.object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_asked_for_until_the_last_claim_ends() {
        let asking = Arc::new(Asking::default());
        let (one, other) = (asking.claim(b"a"), asking.claim(b"a"));
        assert!(asking.contains(b"a") && !asking.contains(b"b"));
        drop(one);
        assert!(asking.contains(b"a"));
        drop(other);
        assert!(!asking.contains(b"a") && asking.0.lock().is_empty());
    }
}

//! Passes a decision from the fast path to hyper's service.

use std::sync::Arc;

use parking_lot::Mutex;

/// A slot for one decided request.
pub(super) struct HandOver<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for HandOver<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for HandOver<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> HandOver<T> {
    /// Puts a decision into the slot, or empties it.
    pub(super) fn set(&self, decided: Option<T>) {
        *self.0.lock() = decided;
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

//! Counters of the steps of a decision, for tests. Only debug builds count.

/// Counters of an edge.
#[derive(Debug, Default)]
pub struct Steps {
    /// Requests that went through admission.
    pub admissions: Counter,
    /// Cache lookups for requests, not counting the recheck before a fetch.
    pub lookups: Counter,
    /// Signatures verified against the keys of a behavior.
    pub signatures: Counter,
}

/// A counter in debug builds; a no-op in release builds.
#[derive(Debug, Default)]
pub struct Counter(#[cfg(debug_assertions)] std::sync::atomic::AtomicUsize);

#[cfg(debug_assertions)]
impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(not(debug_assertions))]
impl Counter {
    pub(crate) const fn add(&self) {}

    /// Always 0.
    #[must_use]
    pub const fn get(&self) -> usize {
        0
    }
}

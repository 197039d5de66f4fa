//! How often the steps of a decision are taken. Counted in debug builds only, for tests.

/// Counters of an edge.
#[derive(Debug, Default)]
pub struct Steps {
    /// Requests that were judged by the rules.
    pub admissions: Counter,
    /// Lookups in the cache for a request, without the recheck before a fetch.
    pub lookups: Counter,
    /// Signatures that were compared with the keys of a behavior.
    pub signatures: Counter,
}

/// Counts in debug builds, and is nothing in others.
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

//! Metrics of the memory cache.

use std::sync::atomic::Ordering;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Metrics of the memory cache.
#[derive(Debug, Default)]
pub(super) struct MemoryMetrics {
    bytes: Gauge,
    entries: Gauge,
    evictions: Counter,
}

impl MemoryMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let (bytes, entries) = (self.bytes.clone(), self.entries.clone());
        r.register_with_unit("cache", "Bytes of content in memory", Unit::Bytes, bytes);
        r.register("cache_entries", "Stored responses and slices", entries);
        r.register(
            "cache_evictions",
            "Evictions because the cache was full",
            self.evictions.clone(),
        );
    }

    /// Sets all of them: the cache counts by itself.
    pub(super) fn set(&self, bytes: u64, entries: u64, evictions: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.evictions.inner().store(evictions, Ordering::Relaxed);
    }
}

//! Metrics of the disk cache.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Metrics of the disk cache.
#[derive(Clone, Debug, Default)]
pub struct DiskMetrics {
    /// Bytes of its files.
    pub bytes: Gauge,
    /// Records that can be read.
    pub entries: Gauge,
    /// Records read.
    pub reads: Counter,
    /// Bytes written.
    pub written_bytes: Counter,
    /// Records that were not written because they were offered for the first time, or for the write budget.
    pub not_admitted: Counter,
    /// Records that were not written because the disk was too slow.
    pub dropped: Counter,
    /// Records that were damaged.
    pub corrupt: Counter,
    /// Records that were evicted.
    pub evictions: Counter,
    /// Reads that timed out, so that the request went to the origin.
    pub late_reads: Counter,
    /// Reads and writes that failed.
    pub failures: Counter,
    /// Whether the disk is in use: 0 after too many failures.
    pub in_use: Gauge,
    /// Files of the last process whose records cannot be found yet.
    pub to_recover: Gauge,
}

impl DiskMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register_with_unit(
            "disk",
            "Bytes of the disk cache's files",
            Unit::Bytes,
            self.bytes.clone(),
        );
        r.register("disk_entries", "Records on disk", self.entries.clone());
        r.register("disk_reads", "Records read from disk", self.reads.clone());
        r.register_with_unit(
            "disk_written",
            "Bytes written to disk",
            Unit::Bytes,
            self.written_bytes.clone(),
        );
        r.register(
            "disk_not_admitted",
            "Records not written: offered for the first time, or beyond the write budget",
            self.not_admitted.clone(),
        );
        r.register(
            "disk_dropped",
            "Records not written because the disk was too slow",
            self.dropped.clone(),
        );
        r.register("disk_corrupt", "Damaged records found on disk", self.corrupt.clone());
        r.register("disk_evictions", "Records evicted from disk", self.evictions.clone());
        r.register(
            "disk_late_reads",
            "Reads that timed out, so that the request went to the origin",
            self.late_reads.clone(),
        );
        r.register("disk_failures", "Failed reads and writes", self.failures.clone());
        r.register(
            "disk_in_use",
            "Whether the disk is in use; 0 after too many failures",
            self.in_use.clone(),
        );
        r.register(
            "disk_segments_to_recover",
            "Files of the last process whose records cannot be found yet",
            self.to_recover.clone(),
        );
    }
}

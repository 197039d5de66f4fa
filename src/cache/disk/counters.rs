//! What happened to the disk cache since the start.

use crate::base::metrics::DiskMetrics;

/// Failed reads and writes after which the disk is no longer used.
const MAX_FAILURES: u64 = 5;

/// The metrics, and whether the disk is in use.
#[derive(Debug)]
pub(super) struct Counters(pub(super) DiskMetrics);

impl Counters {
    pub(super) fn new(metrics: DiskMetrics) -> Self {
        metrics.in_use.set(1);
        Self(metrics)
    }

    /// Counts a failed read or write. True if it is one too many: the disk is no longer used from then on.
    pub(super) fn failed(&self, what: &str, error: &std::io::Error) -> bool {
        tracing::error!(%error, "the disk cache cannot {what}");
        self.0.failures.inc() + 1 >= MAX_FAILURES
            && self.turn_off("too many reads and writes failed")
    }

    /// From now on, the disk is not used. False if it was not used any more.
    pub(super) fn turn_off(&self, why: &str) -> bool {
        let was_on = self.0.in_use.set(0) == 1;
        if was_on {
            tracing::error!(
                "the disk cache is off, because {why}; it starts empty at the next start of Forebay"
            );
        }
        was_on
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.in_use.get() == 0
    }
}

impl std::ops::Deref for Counters {
    type Target = DiskMetrics;

    fn deref(&self) -> &DiskMetrics {
        &self.0
    }
}

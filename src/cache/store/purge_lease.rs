//! How long a node of a cluster may use what it has stored.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::clock::BootTime;

/// The time until which a node knows every purge that was reported as complete. After it, each stored response must be
/// validated with the origin.
#[derive(Debug)]
pub(crate) struct PurgeLease {
    /// In nanoseconds since the machine was started.
    until: AtomicU64,
    /// Whether stored responses may be used without it.
    pub(crate) is_optional: bool,
}

impl PurgeLease {
    /// A lease that has run out.
    pub(crate) const fn new(is_optional: bool) -> Self {
        Self { until: AtomicU64::new(0), is_optional }
    }

    /// Whether it has not run out. Reads the clock on each call: a process that was stopped must not use an older time.
    pub(crate) fn is_held(&self) -> bool {
        BootTime::now().as_nanos() < self.until.load(Ordering::Acquire)
    }

    /// Sets its end.
    pub(crate) fn set(&self, until: Option<BootTime>) {
        self.until.store(until.map_or(0, BootTime::as_nanos), Ordering::Release);
    }
}

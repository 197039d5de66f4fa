//! The length of leases.

use std::time::Duration;

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// How long others wait for the end of a lease, counted from when they received the heartbeat: their clocks may be
/// faster by 2 %.
pub(super) const PATIENCE: Duration = LEASE.saturating_add(Duration::from_millis(400));

//! Which hints to the operator a distribution has logged.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{clock::Timestamp, log::LogLimiter};

/// The hints of one distribution. Each is logged once.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    root: AtomicBool,
    site: AtomicBool,
    /// Limits verifications for other sites: anyone can send bad signatures.
    tries: LogLimiter,
}

impl Hints {
    /// Whether to log that `/` names no object. `true` once.
    pub(crate) fn take_root(&self) -> bool {
        !self.root.swap(true, Ordering::Relaxed)
    }

    /// Whether to log that a signature is for another site. `true` once.
    pub(crate) fn take_site(&self) -> bool {
        !self.site.swap(true, Ordering::Relaxed)
    }

    /// Whether to verify a refused signature for other sites: once a second, until the hint is logged.
    pub(crate) fn may_try_sites(&self, now: Timestamp) -> bool {
        !self.site.load(Ordering::Relaxed) && self.tries.admit(now).is_some()
    }
}

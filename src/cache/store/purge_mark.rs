//! Positions in the log of purges.

use serde::{Deserialize, Serialize};

/// A position in the log of purges. Later entries have higher ones.
///
/// The upper 16 bits are an epoch, so that positions of a log that lost its past, or of another log, are never
/// confused with older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition(pub(super) u64);

impl LogPosition {
    /// The position of the entry with this number, counted from 1, in an epoch.
    #[must_use]
    pub const fn new(epoch: u16, number: u64) -> Self {
        Self((epoch as u64) << 48 | number)
    }

    /// The number of the entry in its epoch.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The beginning of the next epoch. `None` if this is the last one.
    #[must_use]
    pub fn next_epoch(self) -> Option<Self> {
        Some(Self::new(self.epoch().checked_add(1)?, 0))
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The purge position at a moment, such as the start of an origin request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeMark {
    /// The newest entry of the log.
    pub position: LogPosition,
    /// The number of the newest invalidation by an unsafe request, which is not in the log. Its upper 16 bits are
    /// the epoch, too.
    pub(super) invalidations: u64,
}

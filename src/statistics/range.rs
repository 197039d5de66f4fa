//! The time that statistics cover.

use std::time::Duration;

/// The time that statistics cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The last hour.
    Hour,
    /// The last 24 hours.
    Day,
}

impl Range {
    /// The range with a name in the API.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "1h" => Some(Self::Hour),
            "24h" => Some(Self::Day),
            _ => None,
        }
    }

    pub(crate) const fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::from_secs(3600),
            Self::Day => Duration::from_secs(24 * 3600),
        }
    }
}

//! Entries of the log of purges.

use serde::{Deserialize, Serialize};

use super::{
    purge::{Purge, PurgeMode},
    purge_mark::LogPosition,
};

/// An entry of the log of purges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PurgeEntry {
    pub(crate) position: LogPosition,
    pub(crate) change: PurgeChange,
}

/// The effect of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PurgeChange {
    /// A purge in one distribution.
    Purge { distribution: Box<str>, purge: Purge, mode: PurgeMode },
    /// Everything older is gone: the entries from here on come from this log, and purges of the last one may be
    /// missing.
    NewLog { name: Box<str> },
}

//! The purges that a store knows when it is opened.

use std::sync::Arc;

use super::{
    purge_floors::PurgeFloors,
    purge_journal::PurgeJournal,
    purge_log::{LocalPurgeLog, PurgeLog},
    purge_mark::LogPosition,
};

/// The purges that a store knows when it is opened.
#[derive(Debug)]
pub(crate) struct PurgeState {
    pub(crate) floors: Arc<PurgeFloors>,
    /// It adds to the floors.
    pub(crate) journal: Arc<dyn PurgeJournal>,
    /// How many times the store was opened.
    pub(crate) epoch: u16,
}

impl PurgeState {
    /// A position above all that were used, whose number is 0.
    pub(crate) fn unused(&self) -> Option<LogPosition> {
        let newest = self.floors.newest();
        let opened = LogPosition::new(self.epoch, 0);
        if newest < opened { Some(opened) } else { newest.next_epoch() }
    }

    /// The log of a single node.
    pub(crate) fn local_log(self) -> Box<dyn PurgeLog> {
        // Without an unused epoch, the entries follow those of the last one.
        let newest = self.unused().unwrap_or_else(|| self.floors.newest());
        Box::new(LocalPurgeLog::new(newest, self.floors, self.journal))
    }
}

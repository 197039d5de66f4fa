//! The journal of purges of a store with a disk cache.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    purge_entry::PurgeEntry,
    purge_file::FilePurgeJournal,
    purge_journal::{Applied, PurgeJournal},
};
use crate::cache::disk::Disk;

/// A file in the directory of the disk cache, which gives way to it.
#[derive(Debug)]
pub(super) struct DiskJournal {
    pub(super) file: FilePurgeJournal,
    pub(super) disk: Arc<Disk>,
}

impl PurgeJournal for DiskJournal {
    fn add(&self, entries: Vec<PurgeEntry>) -> BoxFuture<'_, Applied> {
        self.file.add(entries)
    }

    fn make_space(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.disk.make_space())
    }

    fn close(&self) {
        self.file.close();
    }

    fn replace_file(&self) {
        self.file.replace_file();
    }
}

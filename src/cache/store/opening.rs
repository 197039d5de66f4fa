//! Opening a store whose responses outlive the process.

use std::{io, sync::Arc};

use super::{
    Options, Store, StoreIdentity, disk_record,
    purge_file::{FilePurgeLog, PurgeLogError},
    purge_floors::{PurgeFloors, PurgeVerdict},
};
use crate::{
    base::{clock::Clock, metrics::DiskMetrics},
    cache::{
        disk::{Disk, DiskOptions, Folder, FolderError, KeysError, Kind, SystemFiles},
        key::CacheKey,
    },
};

/// The fraction of the memory that records may take while they wait to be written.
const QUEUE_FRACTION: u64 = 8;

/// The reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the disk cache cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The encryption keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The system has no more threads, or the files cannot be read.
    #[error("the disk cache cannot be opened: {0}")]
    System(#[from] io::Error),
}

impl Store {
    /// Opens a store with a disk cache.
    ///
    /// # Errors
    /// If the directory of the disk cache cannot be used.
    pub fn on_disk(
        options: Options,
        disk: DiskOptions,
        clock: Clock,
        metrics: DiskMetrics,
    ) -> Result<Self, OpenError> {
        // What waits to be written is in memory.
        let queue = usize::try_from(options.memory / QUEUE_FRACTION).unwrap_or(usize::MAX);
        let disk = DiskOptions { queue: disk.queue.min(queue), ..disk };
        let mut folder = Folder::open(&disk.path, disk.keys()?)?;
        let (floors, log) = match purges(&folder) {
            Err(PurgeLogError::Damaged(why)) => {
                // Something that was purged could be served.
                tracing::error!(
                    folder = %folder.path().display(),
                    "the disk cache starts empty, because its log of purges cannot be trusted: {why}"
                );
                folder.clear()?;
                purges(&folder).map_err(io::Error::other)?
            }
            opened => opened.map_err(io::Error::other)?,
        };
        let identity = folder.identity();
        let files = Arc::new(SystemFiles::new(folder.path()));
        let repeated = Arc::clone(&floors);
        let on_invalidation = Box::new(move |key: &[u8], description: &[u8]| {
            if let Some((distribution, path, number)) = disk_record::invalidation(key, description)
            {
                repeated.repeat_invalidation(distribution, path, number);
            }
        });
        let judged = Arc::clone(&floors);
        let is_live = Box::new(move |kind: Kind, key: &[u8], description: &[u8]| {
            is_live(&judged, kind, key, description)
        });
        let disk = Disk::open(folder, files, disk, clock, metrics, on_invalidation, is_live)?;
        let identity = StoreIdentity { epoch: identity.epoch, secret: identity.secret };
        Ok(Self::open(options, identity, floors, Box::new(log), Some(disk)))
    }
}

/// Whether no purge or invalidation has removed the response of a record. Slices and compressed forms are only found
/// through their response.
fn is_live(floors: &PurgeFloors, kind: Kind, key: &[u8], description: &[u8]) -> bool {
    if kind != Kind::Response {
        return true;
    }
    let resource = CacheKey::from_bytes(key);
    disk_record::mark_of(description).is_some_and(|mark| {
        floors.remains(&resource.resource(), &[], mark) != PurgeVerdict::Nothing
    })
}

/// The purges of a folder, and their log.
fn purges(folder: &Folder) -> Result<(Arc<PurgeFloors>, FilePurgeLog), PurgeLogError> {
    let floors = Arc::new(PurgeFloors::of_epoch(folder.identity().epoch));
    let log = FilePurgeLog::open(folder, Arc::clone(&floors))?;
    Ok((floors, log))
}

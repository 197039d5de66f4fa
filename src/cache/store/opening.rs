//! Opening a store whose responses outlive the process.

use std::{io, path::Path, sync::Arc};

use super::{
    Options, Store, StoreIdentity,
    disk_journal::DiskJournal,
    disk_record,
    floor::PurgeVerdict,
    purge_file::{FilePurgeJournal, PurgeLogError, check},
    purge_floors::PurgeFloors,
    purge_log::PurgeLog,
    purge_state::PurgeState,
};
use crate::{
    base::{clock::Clock, key_file::KeysError, metrics::DiskMetrics},
    cache::{
        disk::{
            Disk, DiskOptions, EncryptionKeys, Examined, Folder, FolderError, Identity, Kind,
            SystemFiles, examine, identity_of, purge_log,
        },
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

impl OpenError {
    /// The fix for it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Folder(error) => error.advice(),
            Self::Keys(error) => error.advice(),
            Self::System(_) => {
                "check the file system of `cache.disk.path` and the limit on threads (`ulimit -u`)"
                    .into()
            }
        }
    }
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
        Self::on_disk_with(options, disk, clock, metrics, PurgeState::local_log)
    }

    /// Opens a store with a disk cache and this log of purges.
    ///
    /// # Errors
    /// If the directory of the disk cache cannot be used.
    pub(crate) fn on_disk_with(
        options: Options,
        disk: DiskOptions,
        clock: Clock,
        metrics: DiskMetrics,
        log: impl FnOnce(PurgeState) -> Box<dyn PurgeLog>,
    ) -> Result<Self, OpenError> {
        // What waits to be written is in memory.
        let queue = usize::try_from(options.memory / QUEUE_FRACTION).unwrap_or(usize::MAX);
        let disk = DiskOptions { queue: disk.queue.min(queue), ..disk };
        let mut folder = Folder::open(&disk.path, disk.keys()?)?;
        let (floors, file) = match purges(&folder) {
            Err(PurgeLogError::Damaged(why)) => {
                let why = distrust(why);
                tracing::error!(directory = %folder.path().display(), "the disk cache starts empty, because {why}");
                folder.clear()?;
                purges(&folder).map_err(io::Error::other)?
            }
            opened => opened.map_err(io::Error::other)?,
        };
        let identity = folder.identity();
        let space = rustix::fs::statvfs(folder.path());
        if space.is_ok_and(|space| space.f_blocks * space.f_frsize < disk.capacity) {
            tracing::warn!("`cache.disk.capacity` is larger than its file system");
        }
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
        let journal = Arc::new(DiskJournal { file, disk: Arc::clone(&disk) });
        let state = PurgeState { floors, journal, epoch: identity.epoch };
        Ok(Self::open(options, identity, state, log, Some(disk)))
    }
}

/// Finds out what a start would find in the directory of a disk cache, without changing it.
///
/// # Errors
/// If a start would fail.
pub(crate) fn examine_disk(disk: &DiskOptions) -> Result<Examined, OpenError> {
    let keys = disk.keys()?;
    let found = examine(&disk.path, &keys)?;
    let Examined::Cache(identity) = found else { return Ok(found) };
    Ok(distrusted(&disk.path, identity, &keys)?.map_or(found, Examined::Unusable))
}

/// Checks the log of purges in a directory, also while a Forebay uses it. Returns why the next start would discard the
/// cache, if it would.
///
/// # Errors
/// If it cannot be read.
pub fn check_purges(path: &Path, keys: &EncryptionKeys) -> io::Result<Option<String>> {
    match identity_of(path, keys)? {
        Some((identity, keys)) => distrusted(path, identity, &keys),
        None => Ok(None),
    }
}

/// Why the log of purges in a directory cannot be trusted, if it cannot.
fn distrusted(
    path: &Path,
    identity: Identity,
    keys: &EncryptionKeys,
) -> io::Result<Option<String>> {
    match check(&purge_log(path), identity, keys) {
        Ok(()) => Ok(None),
        Err(PurgeLogError::Damaged(why)) => Ok(Some(distrust(why))),
        Err(PurgeLogError::System(error)) => Err(error),
    }
}

/// Why a cache is discarded whose log of purges is damaged: something that was purged could be served.
fn distrust(why: &str) -> String {
    format!("its log of purges cannot be trusted: {why}")
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
fn purges(folder: &Folder) -> Result<(Arc<PurgeFloors>, FilePurgeJournal), PurgeLogError> {
    let Identity { epoch, secret, .. } = folder.identity();
    let floors = Arc::new(PurgeFloors::new(StoreIdentity { epoch, secret }));
    let log = FilePurgeJournal::open(folder, Arc::clone(&floors))?;
    Ok((floors, log))
}

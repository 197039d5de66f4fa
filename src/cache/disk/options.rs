//! Options of the disk cache.

use std::path::PathBuf;

use super::{keys::EncryptionKeys, layout::BLOCK, place::MAX_SEGMENT};
use crate::base::key_file::KeysError;

/// The number of segments that the capacity is divided into, if their length allows it.
const SEGMENTS: u64 = 512;

/// The shortest segment that the division gives, in bytes.
const MIN_SEGMENT: u64 = 32 << 20;

/// The files that a small cache may have beyond its capacity in segments, because processes ended.
const SHORT_FILES: u64 = 64;

/// Options of the disk cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder, which belongs to the cache.
    pub path: PathBuf,
    /// Bytes that the files in it may take.
    pub capacity: u64,
    /// The file with the keys, newest first. Without it, the files are not encrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// Bytes that may be written a day once old content must give way.
    pub write_budget: Option<u64>,
    /// Length of a segment in bytes.
    pub segment: u64,
    /// Bytes that may wait to be written.
    pub queue: usize,
}

impl DiskOptions {
    /// The smallest capacity in bytes.
    pub const MIN_CAPACITY: u64 = 4 * MIN_SEGMENT;

    /// Reads the keys.
    ///
    /// # Errors
    /// If the file cannot be read, or has something else than keys.
    pub fn keys(&self) -> Result<EncryptionKeys, KeysError> {
        let file = self.encryption_key_file.as_deref();
        file.map_or_else(|| Ok(EncryptionKeys::default()), EncryptionKeys::read)
    }

    /// The most files. They may be shorter than a segment: a record may not fit into the rest of one, and each start
    /// begins another.
    #[must_use]
    pub const fn files(&self) -> u64 {
        2 * self.capacity / self.segment + SHORT_FILES
    }

    /// Options for a folder and a capacity.
    #[must_use]
    pub fn new(path: PathBuf, capacity: u64) -> Self {
        let segment = (capacity / SEGMENTS).clamp(MIN_SEGMENT, MAX_SEGMENT);
        let segment = segment / BLOCK as u64 * BLOCK as u64;
        Self {
            path,
            capacity,
            encryption_key_file: None,
            write_budget: None,
            segment,
            queue: 64 << 20,
        }
    }
}

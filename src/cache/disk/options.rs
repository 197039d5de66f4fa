//! Options of the disk cache.

use std::path::PathBuf;

use super::{layout::BLOCK, place::MAX_SEGMENT};

/// The number of segments that the capacity is divided into, if their length allows it.
const SEGMENTS: u64 = 512;

/// The shortest segment that the division gives, in bytes.
const MIN_SEGMENT: u64 = 32 << 20;

/// Options of the disk cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder, which belongs to the cache.
    pub path: PathBuf,
    /// Bytes that the files in it may take.
    pub capacity: u64,
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

    /// The number of files that the capacity allows, beside a few small ones.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.capacity / self.segment + 1
    }

    /// Options for a folder and a capacity.
    #[must_use]
    pub fn new(path: PathBuf, capacity: u64) -> Self {
        let segment = (capacity / SEGMENTS).clamp(MIN_SEGMENT, MAX_SEGMENT);
        let segment = segment / BLOCK as u64 * BLOCK as u64;
        Self { path, capacity, write_budget: None, segment, queue: 64 << 20 }
    }
}

//! The memory file, mapped once.

use std::{io, sync::Arc, thread::Builder};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

use super::extents::{Extents, Parts};

/// The file and its map.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) extents: Arc<Extents>,
    pub(super) map: MmapRaw,
}

impl Mapped {
    pub(super) fn new(capacity: u64, piece: usize) -> io::Result<Self> {
        let capacity = usize::try_from(capacity).map_err(io::Error::other)?;
        let parts = Parts::new(capacity, piece);
        let length = parts.length();
        check_system(length as u64)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("forebay", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        // Reading past the end of a truncated file raises SIGBUS.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let map = MmapOptions::new().len(length).map_raw_read_only(&file)?;
        // Core dumps do not need content.
        let _ = map.advise(memmap2::Advice::DontDump);
        let extents = Arc::new(Extents::new(file, parts, capacity));
        let emptied = Arc::clone(&extents);
        Builder::new().name("forebay-free".into()).spawn(move || emptied.run())?;
        Ok(Self { extents, map })
    }

    /// Where bytes are in the file, if they are in it.
    pub(super) fn offset_of(&self, bytes: &[u8]) -> Option<u64> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize)?;
        (offset < self.map.len()).then_some(offset as u64)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.extents.close();
    }
}

/// Checks that the system uses small pages and allows a file of this length.
fn check_system(length: u64) -> io::Result<()> {
    // With huge pages every piece would take two megabytes.
    let setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let setting = std::fs::read_to_string(setting).unwrap_or_default();
    if ["[always]", "[within_size]", "[force]"].iter().any(|word| setting.contains(word)) {
        return Err(io::Error::other(
            "the system backs memory files with huge pages (shmem_enabled)",
        ));
    }
    // Beyond the limit the process would get a signal instead of an error.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < length) {
        return Err(io::Error::other("the file size limit is too low (ulimit -f)"));
    }
    Ok(())
}

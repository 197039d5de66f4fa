//! File descriptors reserved so that a listener can accept when the process has no others left.

use std::fs::File;

use parking_lot::Mutex;

/// Open files, one for each reserved connection.
#[derive(Debug, Default)]
pub(super) struct ReservedFds {
    files: Mutex<Vec<File>>,
    wanted: usize,
}

impl ReservedFds {
    pub(super) fn new(wanted: usize) -> Self {
        let reserved = Self { files: Mutex::default(), wanted };
        reserved.refill();
        reserved
    }

    /// Closes one file to free its descriptor for a connection; `false` if none is left.
    pub(super) fn release(&self) -> bool {
        self.files.lock().pop().is_some()
    }

    /// Refills the reserve as far as the limit allows.
    pub(super) fn refill(&self) {
        let mut files = self.files.lock();
        while files.len() < self.wanted {
            let Ok(file) = File::open("/dev/null") else { return };
            files.push(file);
        }
    }
}

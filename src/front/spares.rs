//! Descriptors that are kept for a listener, so that it can accept when the process has no other left.

use std::fs::File;

use parking_lot::Mutex;

/// Open files that stand for so many connections.
#[derive(Debug, Default)]
pub(super) struct Spares {
    files: Mutex<Vec<File>>,
    wanted: usize,
}

impl Spares {
    pub(super) fn new(wanted: usize) -> Self {
        let spares = Self { files: Mutex::default(), wanted };
        spares.refill();
        spares
    }

    /// Closes one, so that a connection can have its descriptor; `false` if there is none.
    pub(super) fn release(&self) -> bool {
        self.files.lock().pop().is_some()
    }

    /// Opens as many again as there should be and can be.
    pub(super) fn refill(&self) {
        let mut files = self.files.lock();
        while files.len() < self.wanted {
            let Ok(file) = File::open("/dev/null") else { return };
            files.push(file);
        }
    }
}

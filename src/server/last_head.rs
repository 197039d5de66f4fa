//! The beginning of a request head that hyper reads, for the log of heads that it refuses.

use std::sync::Arc;

use parking_lot::Mutex;

use super::MAX_HEAD;

/// The most bytes kept.
const KEPT: usize = MAX_HEAD as usize;

/// The bytes that arrived since the last exchange of a connection began.
#[derive(Clone, Debug, Default)]
pub(super) struct LastHead(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Exchanges that had begun when the bytes arrived.
    begun: u32,
}

impl LastHead {
    /// Keeps bytes that arrived after `begun` exchanges, while none was in progress.
    pub(super) fn keep(&self, bytes: &[u8], begun: u32) {
        let mut kept = self.0.lock();
        if kept.begun != begun {
            kept.bytes.clear();
            kept.begun = begun;
        }
        let room = KEPT - kept.bytes.len();
        kept.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The bytes that arrived after `begun` exchanges; none if hyper had read ahead.
    pub(super) fn take(&self, begun: u32) -> Vec<u8> {
        let kept = std::mem::take(&mut *self.0.lock());
        if kept.begun == begun { kept.bytes } else { Vec::new() }
    }
}

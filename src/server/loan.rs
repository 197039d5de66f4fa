//! State that a connection shares with the stream it has lent to hyper.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::MAX_HEAD;
use crate::proxy::{Ends, ExchangeTracker};

/// The most bytes kept of a head.
const KEPT: usize = MAX_HEAD as usize;

/// The state of a stream that hyper has on loan. `D` is a decision about a request.
pub(super) struct Loan<D>(Arc<Shared<D>>);

struct Shared<D> {
    /// Exchanges that had begun before the last request that was handed over.
    begun: AtomicU32,
    /// The decision about that request.
    decided: Mutex<Option<D>>,
    head: Mutex<Head>,
    /// Set once the response switches protocols.
    switched: Mutex<Option<Ends>>,
    is_flushed: AtomicBool,
    has_content: AtomicBool,
}

/// The bytes that arrived since the last exchange began, for the log of heads that hyper refuses.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    /// Exchanges that had begun when the bytes arrived.
    begun: u32,
}

impl<D> Clone for Loan<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> Default for Loan<D> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            begun: AtomicU32::new(0),
            decided: Mutex::new(None),
            head: Mutex::default(),
            switched: Mutex::new(None),
            is_flushed: AtomicBool::new(true),
            has_content: AtomicBool::new(false),
        }))
    }
}

impl<D> Loan<D> {
    /// Records a hand-over after `begun` exchanges, with the decision about the request.
    pub(super) fn begin(&self, decided: Option<D>, begun: u32) {
        self.0.begun.store(begun, Ordering::Relaxed);
        *self.0.decided.lock() = decided;
    }

    /// The decision about the request that was handed over; `None` for all others.
    pub(super) fn take_decided(&self) -> Option<D> {
        self.0.decided.lock().take()
    }

    /// Keeps bytes that arrived after `begun` exchanges, while none was in progress.
    pub(super) fn keep_head(&self, bytes: &[u8], begun: u32) {
        let mut head = self.0.head.lock();
        if head.begun != begun {
            head.bytes.clear();
            head.begun = begun;
        }
        let room = KEPT - head.bytes.len();
        head.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The bytes that arrived after `begun` exchanges; none if hyper had read ahead.
    pub(super) fn take_head(&self, begun: u32) -> Vec<u8> {
        let head = std::mem::take(&mut *self.0.head.lock());
        if head.begun == begun { head.bytes } else { Vec::new() }
    }

    /// Records whether everything that hyper wrote has been flushed.
    pub(super) fn set_flushed(&self, is_flushed: bool) {
        self.0.is_flushed.store(is_flushed, Ordering::Relaxed);
    }

    /// Whether everything that hyper wrote has been flushed.
    pub(super) fn is_flushed(&self) -> bool {
        self.0.is_flushed.load(Ordering::Relaxed)
    }

    /// Records a request with content. Only hyper knows where it ends, so the stream is never taken back.
    pub(super) fn set_has_content(&self) {
        self.0.has_content.store(true, Ordering::Relaxed);
    }

    /// Records that the response switches protocols.
    pub(super) fn set_switched(&self, ends: Ends) {
        *self.0.switched.lock() = Some(ends);
    }

    /// The ends of the connection if hyper has sent a response that switches protocols.
    pub(super) fn take_switched(&self) -> Option<Ends> {
        let is_flushed = self.is_flushed();
        self.0.switched.lock().take().filter(|_| is_flushed)
    }

    /// Whether hyper has answered every request that it has read.
    pub(super) fn is_over(&self, exchanges: &ExchangeTracker) -> bool {
        let shared = &*self.0;
        self.is_flushed()
            && !shared.has_content.load(Ordering::Relaxed)
            && exchanges.begun() != shared.begun.load(Ordering::Relaxed)
            && !exchanges.is_busy()
    }
}

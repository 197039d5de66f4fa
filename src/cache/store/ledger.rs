//! Accounting of content bytes in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::cache::memfd::Pages;

/// Counts the live bytes of content, regardless of their holder.
#[derive(Debug)]
pub(super) struct Ledger {
    bound: u64,
    live: AtomicU64,
    freed: Notify,
}

impl Ledger {
    pub(super) fn new(bound: u64) -> Self {
        Self { bound, live: AtomicU64::new(0), freed: Notify::new() }
    }

    /// Live bytes.
    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Resolves when bytes are freed after this call.
    pub(super) fn freed(&self) -> impl Future<Output = ()> {
        self.freed.notified()
    }

    /// Charges `bytes` more; `None` if they do not fit.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let fits = |live: u64| live.checked_add(bytes).filter(|&sum| sum <= self.bound);
        self.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Charge { ledger: Arc::clone(self), bytes })
    }

    fn give_back(&self, bytes: u64) {
        // Waiters are notified only if bytes were freed.
        if bytes > 0 {
            self.live.fetch_sub(bytes, Ordering::AcqRel);
            self.freed.notify_waiters();
        }
    }
}

/// A charge for this many bytes of content, released when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Charge {
    /// Adds another charge to this one.
    pub(super) fn take_over(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Bytes that stay charged while any part of them is in use.
    pub(super) fn hold(mut self, content: Pages) -> Held {
        match content.into_heap() {
            Ok(bytes) => {
                // From here on, `Counted` releases these bytes itself.
                let (length, ledger) = (bytes.len() as u64, Arc::clone(&self.ledger));
                match self.bytes.checked_sub(length) {
                    Some(beyond) => self.bytes = beyond,
                    None => {
                        let missing = length - std::mem::take(&mut self.bytes);
                        ledger.live.fetch_add(missing, Ordering::AcqRel);
                    }
                }
                Held::Counted(Counted { bytes, ledger })
            }
            Err(pages) => {
                let beyond = self.bytes.saturating_sub(pages.as_ref().len() as u64);
                self.bytes -= beyond;
                self.ledger.give_back(beyond);
                let bytes = with(pages, self);
                Held::Shared(Box::new(bytes))
            }
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(self.bytes);
    }
}

/// One piece of content in memory. There are millions of them, so it takes three words.
#[derive(Debug)]
pub(super) enum Held {
    /// Small pieces, without an allocation beyond their bytes.
    Counted(Counted),
    /// All other pieces.
    Shared(Box<Bytes>),
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Counted(counted) => &counted.bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<Held> for Bytes {
    fn from(held: Held) -> Self {
        match held {
            Held::Counted(counted) => Self::from_owner(counted),
            Held::Shared(bytes) => *bytes,
        }
    }
}

/// Bytes that release their length from the ledger when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: Box<[u8]>,
    ledger: Arc<Ledger>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.give_back(self.bytes.len() as u64);
    }
}

/// `bytes` that keep `held` alive while any part of them is in use.
pub(super) fn with<B, H>(bytes: B, held: H) -> Bytes
where
    B: AsRef<[u8]> + Send + 'static,
    H: Send + 'static,
{
    Bytes::from_owner(Holding { _held: held, bytes })
}

/// Bytes and the value they keep alive, which is dropped before them.
struct Holding<B, H> {
    _held: H,
    bytes: B,
}

impl<B: AsRef<[u8]>, H> AsRef<[u8]> for Holding<B, H> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

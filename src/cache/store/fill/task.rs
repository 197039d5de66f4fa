//! The task that runs a fill.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{End, Fill};
use crate::{
    cache::store::{FetchError, Store, content::Content, ledger::Charge},
    http::body::Body,
};

/// Runs a fill. However it ends, the fill is removed from the content's list and its readers are notified, so that none
/// waits for a fill that has ended.
pub(in crate::cache::store) struct FillTask {
    fill: Arc<Fill>,
    content: Arc<Content>,
    store: Arc<Store>,
}

impl FillTask {
    pub(in crate::cache::store) const fn new(
        fill: Arc<Fill>,
        content: Arc<Content>,
        store: Arc<Store>,
    ) -> Self {
        Self { fill, content, store }
    }

    /// The slice to fill, if it is only one.
    pub(in crate::cache::store) fn only_slice(&self) -> Option<u32> {
        let slices = &self.fill.slices;
        (slices.len() == 1).then_some(slices.start)
    }

    /// The bytes that the fill fetches.
    pub(in crate::cache::store) fn bytes(&self) -> Range<u64> {
        self.store.layout(&self.content).bytes_of(&self.fill.slices)
    }

    /// Fills the only slice with bytes from disk. `charge` is for their memory.
    pub(in crate::cache::store) async fn fill_recalled(self, bytes: Bytes, charge: Charge) {
        self.fill.open();
        self.fill.arrived(bytes);
        let index = self.fill.slices.start;
        self.fill.complete(&self.store, &self.content, index, charge).await;
        self.fill.state.lock().end = Some(End::Done);
    }

    /// Fills the slices from `body`. Readers also see a failure.
    pub(in crate::cache::store) async fn fill(
        self,
        body: Result<Body, End>,
    ) -> Result<(), FetchError> {
        let end = match body {
            Ok(body) => {
                self.fill.open();
                let filled = self.fill.fill_slices(&self.store, &self.content, body).await;
                filled.unwrap_or_else(|end| end)
            }
            Err(end) => end,
        };
        self.fill.state.lock().end = Some(end);
        match end {
            End::Failed(failure) => Err(failure),
            End::Done | End::Changed => Ok(()),
        }
    }
}

impl Drop for FillTask {
    fn drop(&mut self) {
        self.store.fills.of(self.content.id).remove(&self.fill);
        let dropped = End::Failed(super::DROPPED);
        self.fill.state.lock().end.get_or_insert(dropped);
        self.fill.progress.notify_waiters();
    }
}

//! Slices and whole contents in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::{Store, content::Content, index::Stored, ledger::Held, response::StoredResponse};
use crate::cache::key::CacheKey;

impl Store {
    /// A slice, if it is in memory.
    pub(super) fn slice(&self, content: &Arc<Content>, index: u32) -> Option<Bytes> {
        if self.layout(content).is_single() {
            return content.whole();
        }
        self.memory.slice(content.id, index)
    }

    /// The content stored under `key`, if it is the version that `response` describes.
    pub(super) fn same_version(&self, key: &CacheKey, response: &StoredResponse) -> Option<Bytes> {
        match self.memory.current(key)? {
            Stored::Response(current) if current.is_same_version(response) => {
                current.content.whole()
            }
            _ => None,
        }
    }

    /// Whether a slice is in memory.
    pub(super) fn has_slice(&self, content: &Content, index: u32) -> bool {
        if self.layout(content).is_single() {
            return content.bytes().is_some();
        }
        self.memory.has_slice(content.id, index)
    }

    /// Stores a slice and returns its bytes.
    pub(super) fn put_slice(&self, content: &Arc<Content>, index: u32, held: Held) -> Bytes {
        if self.layout(content).is_single() {
            content.fill(held);
            return content.whole().unwrap_or_default();
        }
        let bytes = Bytes::from(held);
        self.memory.insert_slice(content.id, index, bytes.clone());
        self.save_slice(content, index, &bytes);
        bytes
    }

    /// Keeps the head as recently used as its slices, so that they are evicted before it.
    pub(super) fn touch(&self, key: &CacheKey, content: &Content) {
        if !self.layout(content).is_single() {
            self.memory.touch(key);
        }
    }
}

//! Content that is collected before its length, or a way to tell its slices apart, is known.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Store, memory::Charge, response::Content};

/// How long a part waits for room in memory.
const ROOM: Duration = Duration::from_secs(2);

/// The part of the bound that one content may take which is stored in one piece.
const PART: u64 = 16;

/// And its longest length in bytes.
const LONGEST: u64 = 64 << 20;

/// Collects one content, to be stored in one piece.
#[derive(Debug)]
pub struct Collector {
    store: Arc<Store>,
    chunks: Vec<Bytes>,
    length: u64,
    /// For what is collected: it counts from the first byte on.
    charge: Option<Charge>,
}

/// It is too long to be stored, or there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Collector {
    /// Nothing yet.
    #[must_use]
    pub const fn new(store: Arc<Store>) -> Self {
        Self { store, chunks: Vec::new(), length: 0, charge: None }
    }

    /// Adds what comes next.
    ///
    /// # Errors
    /// When that is too much.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), TooLong> {
        let added = chunk.len() as u64;
        let most = LONGEST.min(self.store.options.memory / PART);
        if self.length + added > most {
            return Err(TooLong);
        }
        let charge = self.store.memory.reserve(added, ROOM).await.ok_or(TooLong)?;
        match &mut self.charge {
            Some(whole) => whole.take_over(charge),
            None => self.charge = Some(charge),
        }
        self.length += added;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Its length so far, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// What there is so far.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The content, which is complete.
    #[must_use]
    pub fn finish(self) -> Arc<Content> {
        let joined = self.store.pages.join(&self.chunks);
        drop(self.chunks);
        Arc::new(Content::complete(match self.charge {
            Some(charge) => charge.hold(joined),
            None => Bytes::new(),
        }))
    }
}

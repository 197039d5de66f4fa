//! Buffered content whose length, or a way to distinguish its slices, is not known yet.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{Store, content::Content, ledger::Charge};

/// How long a part waits for room in memory.
const ROOM: Duration = Duration::from_secs(2);

/// The fraction of the bound that one content stored in one piece may take.
const PART: u64 = 16;

/// Its maximum length in bytes.
const LONGEST: u64 = 64 << 20;

/// Smaller chunks are copied together, so that their overhead does not exceed their bytes.
const BLOCK: usize = 64 << 10;

/// Buffers one content, to be stored in one piece. Other requests may read the bytes that have arrived.
#[derive(Debug)]
pub(crate) struct BodyBuffer {
    store: Arc<Store>,
    collected: Mutex<Collected>,
}

#[derive(Debug, Default)]
struct Collected {
    /// Blocks in order, each with the offset of its first byte.
    blocks: Vec<(u64, Bytes)>,
    /// Small chunks that follow the blocks.
    small: BytesMut,
    length: u64,
    /// Charges for the buffered bytes.
    charges: Option<Charge>,
    charged: u64,
}

/// The content is too long to be stored, or there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl BodyBuffer {
    /// An empty buffer.
    #[must_use]
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, collected: Mutex::default() }
    }

    /// Whether a content of this length can be stored in one piece.
    #[must_use]
    pub(crate) fn fits(store: &Store, length: u64) -> bool {
        length <= LONGEST.min(store.options.memory / PART)
    }

    /// Appends a chunk without checking for room: [`Self::charge`] does that.
    pub(crate) fn keep(&self, chunk: Bytes) {
        let mut collected = self.collected.lock();
        let (offset, length) = (collected.length, chunk.len());
        if length >= BLOCK / 4 {
            collected.close_block();
            collected.blocks.push((offset, chunk));
        } else {
            collected.small.extend_from_slice(&chunk);
        }
        collected.length += length as u64;
        if collected.small.len() >= BLOCK {
            collected.close_block();
        }
    }

    /// Charges the appended bytes. Cancel-safe: bytes not charged now are charged next time.
    ///
    /// # Errors
    /// If the content is too long or memory has no room.
    pub(crate) async fn charge(&self) -> Result<(), TooLong> {
        let (length, missing) = {
            let collected = self.collected.lock();
            (collected.length, collected.length - collected.charged)
        };
        if !Self::fits(&self.store, length) {
            return Err(TooLong);
        }
        let charge = self.store.memory.reserve(missing, ROOM).await.ok_or(TooLong)?;
        let mut collected = self.collected.lock();
        collected.charged += missing;
        match &mut collected.charges {
            Some(all) => all.take_over(charge),
            None => collected.charges = Some(charge),
        }
        Ok(())
    }

    /// The length so far, in bytes.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.collected.lock().length
    }

    /// The bytes from `offset` on, or a part of them; `None` if there are no more.
    #[must_use]
    pub(crate) fn read(&self, offset: u64) -> Option<Bytes> {
        let collected = self.collected.lock();
        let place = collected.blocks.partition_point(|(start, _)| *start <= offset);
        let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        if let Some((start, block)) = place.checked_sub(1).and_then(|at| collected.blocks.get(at))
            && offset - start < block.len() as u64
        {
            return Some(block.slice(to_usize(offset - start)..));
        }
        let start = collected.length - collected.small.len() as u64;
        let rest = collected.small.get(to_usize(offset.checked_sub(start)?)..)?;
        (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest))
    }

    /// The complete content. Readers of this buffer use it from now on. Copies all bytes: long contents
    /// must not be finished on serving threads.
    #[must_use]
    pub(crate) fn finish(&self) -> Arc<Content> {
        let (blocks, charges) = {
            let mut collected = self.collected.lock();
            collected.close_block();
            let blocks = collected.blocks.iter().map(|(_, block)| block.clone());
            (blocks.collect::<Vec<Bytes>>(), collected.charges.take())
        };
        let joined = self.store.pages.join(&blocks);
        let content = match charges {
            Some(charge) => Content::of(self.store.contents.next(), charge.hold(joined)),
            None => Content::complete(self.store.contents.next(), Bytes::new()),
        };
        let content = Arc::new(content);
        self.collected.lock().blocks = vec![(0, content.whole().unwrap_or_default())];
        content
    }
}

impl Collected {
    fn close_block(&mut self) {
        if !self.small.is_empty() {
            let block = self.small.split().freeze();
            self.blocks.push((self.length - block.len() as u64, block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::Options;

    #[tokio::test]
    async fn what_is_collected_can_be_read_from_anywhere() {
        let store = Arc::new(Store::new(Options { memory: 32 << 20, ..Options::default() }));
        let collector = BodyBuffer::new(Arc::clone(&store));
        let content: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut rest = &content[..];
        for length in [1, 3, 70_000, 16, 40_000, 40_000, 9_980, 40_000] {
            let (chunk, more) = rest.split_at(length);
            collector.keep(Bytes::copy_from_slice(chunk));
            rest = more;
        }
        assert!(rest.is_empty());
        assert_eq!(collector.charge().await, Ok(()));
        for offset in [0, 1, 4, 69_999, 70_004, 70_019, 70_020, 199_999] {
            let mut read = Vec::new();
            while let Some(part) = collector.read(offset + read.len() as u64) {
                read.extend_from_slice(&part);
            }
            assert!(read == content[usize::try_from(offset).expect("small")..], "{offset}");
        }
        assert_eq!(collector.read(200_000), None);
        assert_eq!(store.usage().bytes, 200_000);
        let finished = collector.finish();
        assert_eq!(finished.bytes(), Some(&content[..]));
        assert_eq!(collector.read(199_000).as_deref(), Some(&content[199_000..]));
        drop((finished, collector));
        assert_eq!(store.usage().bytes, 0);
    }

    #[tokio::test]
    async fn many_small_chunks_cost_little_more_than_they_hold() {
        let store = Arc::new(Store::new(Options { memory: 32 << 20, ..Options::default() }));
        let collector = BodyBuffer::new(store);
        for _ in 0..(1 << 20) {
            collector.keep(Bytes::from_static(b"x"));
        }
        assert!(collector.collected.lock().blocks.len() <= 17);
        assert_eq!(collector.charge().await, Ok(()));
        for _ in 0..(1 << 20) {
            collector.keep(Bytes::from_static(b"x"));
        }
        collector.keep(Bytes::from_static(b"x"));
        assert_eq!(collector.charge().await, Err(TooLong));
    }
}

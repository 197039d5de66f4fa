//! The content of an origin response as it is read for the store.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;

use super::{FetchError, Store, source::SourceError};
use crate::{
    cache::memfd::{ArrivingPages, MemfdArena, Pages},
    http::body::Body,
};

/// How long a fetch waits for room in memory.
pub(super) const ROOM: Duration = Duration::from_secs(10);

/// Bytes of a slice that are copied in one turn.
const PART: usize = 128 << 10;

/// There is no room in the cache's memory.
pub(crate) const NO_ROOM: FetchError =
    FetchError { status: StatusCode::SERVICE_UNAVAILABLE, detail: "memory-full" };

/// The next bytes of an origin response, at most `most`.
pub(super) async fn receive(body: &mut Body, most: u64) -> Result<Bytes, FetchError> {
    let frame = body.frame().await.and_then(Result::ok).ok_or(FetchError::CUT)?;
    let mut data = frame.into_data().unwrap_or_default();
    // A chunk may reach into the next slice; hyper's frames are small, so this is rare.
    if data.len() as u64 > most {
        let rest = data.split_off(to_usize(most));
        body.unread(rest);
    }
    Ok(data)
}

/// `length` bytes of an origin response in one piece. Reserves memory before requesting them.
pub(super) async fn receive_exactly(
    store: &Store,
    opened: impl Future<Output = Result<Body, SourceError>>,
    length: u64,
) -> Result<Bytes, SourceError> {
    let charge = store.memory.reserve(length, ROOM).await;
    let charge = charge.ok_or(SourceError::Failed(NO_ROOM))?;
    let mut body = opened.await?;
    let (mut chunks, mut missing) = (Vec::new(), length);
    let mut slice = ArrivingSlice::new(&store.pages, length);
    while missing > 0 {
        let data = receive(&mut body, missing).await.map_err(SourceError::Failed)?;
        missing -= data.len() as u64;
        slice.append(&data).await;
        chunks.push(data);
    }
    Ok(charge.hold(slice.finish(|| chunks)).into())
}

/// A slice that is copied to where it is sent from as it arrives: all at once would delay hits on this thread.
pub(super) struct ArrivingSlice<'a> {
    arena: &'a MemfdArena,
    /// `None` if the slice must be on the heap.
    pages: Option<ArrivingPages>,
}

impl<'a> ArrivingSlice<'a> {
    /// A slice of `length` bytes.
    pub(super) fn new(arena: &'a MemfdArena, length: u64) -> Self {
        Self { arena, pages: arena.begin(to_usize(length)) }
    }

    /// Copies a chunk. After each part of it, hits on this thread have their turn.
    pub(super) async fn append(&mut self, chunk: &[u8]) {
        for part in chunk.chunks(PART) {
            let Some(pages) = &mut self.pages else { return };
            if pages.append(part).is_err() {
                self.pages = None;
            } else if part.len() == PART {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The whole slice. `chunks` gives all its chunks.
    pub(super) fn finish(self, chunks: impl FnOnce() -> Vec<Bytes>) -> Pages {
        self.pages.and_then(ArrivingPages::finish).unwrap_or_else(|| self.arena.join(&chunks()))
    }
}

pub(super) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

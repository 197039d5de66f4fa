//! The content of an origin response as it is read for the store.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;

use super::{FetchError, Store, source::SourceError};
use crate::{
    cache::memfd::{MemfdArena, Pages},
    http::body::Body,
};

/// How long a fetch waits for room in memory.
pub(super) const ROOM: Duration = Duration::from_secs(10);

/// Bytes that are copied in one turn.
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
    while missing > 0 {
        let data = receive(&mut body, missing).await.map_err(SourceError::Failed)?;
        missing -= data.len() as u64;
        chunks.push(data);
    }
    Ok(charge.hold(join(&store.pages, &chunks).await).into())
}

/// Joins chunks into one piece, where it is sent from. After each part, hits on this thread have their turn.
pub(super) async fn join(arena: &MemfdArena, chunks: &[Bytes]) -> Pages {
    let Some(mut pages) = arena.begin(chunks.iter().map(Bytes::len).sum()) else {
        return Pages::on_heap(chunks);
    };
    let mut copied = 0;
    for part in chunks.iter().flat_map(|chunk| chunk.chunks(PART)) {
        if pages.append(part).is_err() {
            return Pages::on_heap(chunks);
        }
        copied += part.len();
        if copied >= PART {
            copied = 0;
            tokio::task::yield_now().await;
        }
    }
    pages.finish().unwrap_or_else(|| Pages::on_heap(chunks))
}

pub(super) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

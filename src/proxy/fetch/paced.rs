//! Responses that are sent at a viewer's pace, because they are not stored.
//!
//! A short one is read first, so that its origin's connection is free again. A long one holds the connection;
//! it takes a share of those that its client may hold. Both take room in the cache's memory.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;

use crate::{
    access::restrict::Share,
    cache::store::{FetchError, NO_ROOM, Room},
    http::body::Body,
    origin::{OriginResponse, failure},
    outbound::ErrorClass,
    proxy::{context::Edge, request::admission::AdmittedRequest},
};

/// Content of this length is read before it is passed on.
pub(crate) const READ_FIRST: u64 = 64 << 10;

/// Memory that one streamed response may buffer: what its connection has read ahead, and what waits to be sent.
const STREAM_BUFFER: u64 = 256 << 10;

/// Prepares a response for being sent at the viewer's pace. `has_share` says that its connection counts among
/// its client's already.
///
/// # Errors
/// When the origin breaks off a short one, or the client holds its share already, or there is no memory.
pub(crate) async fn at_viewers_pace(
    edge: &Edge,
    admitted: &AdmittedRequest<'_>,
    mut answer: OriginResponse,
    has_share: bool,
) -> Result<OriginResponse, FetchError> {
    let body = std::mem::replace(&mut answer.body, Body::empty());
    if body.is_whole() || http_body::Body::is_end_stream(&body) {
        answer.body = body;
        return Ok(answer);
    }
    let length = http_body::Body::size_hint(&body).exact();
    if let Some(length) = length.filter(|length| *length <= READ_FIRST) {
        let room = edge.store.room(length).await.ok_or(NO_ROOM)?;
        let content = body.collect().await.map_err(|_| FetchError::CUT)?;
        answer.body = counted(content.to_bytes(), vec![room]);
        return Ok(answer);
    }
    let share = match admitted.client.filter(|_| !has_share) {
        Some(client) => {
            let share = admitted.origin().primary().share_for(client);
            share.ok_or_else(|| failure(ErrorClass::Busy))?
        }
        None => Share::exempt(),
    };
    let room = edge.store.room(STREAM_BUFFER).await.ok_or(NO_ROOM)?;
    let parts = body.into_data_stream().map(move |part| {
        let _held = (&share, &room);
        part
    });
    answer.body = Body::stream(length, parts);
    Ok(answer)
}

/// Content in one piece, whose room is given back with the body.
pub(crate) fn counted(content: Bytes, rooms: Vec<Room>) -> Body {
    if content.is_empty() {
        return Body::empty();
    }
    let length = content.len() as u64;
    let parts = stream::unfold((Some(content), rooms), |(content, rooms)| async move {
        content.map(|content| (Ok(content), (None, rooms)))
    });
    Body::stream(Some(length), parts)
}

//! Responses that are not stored, and so are sent at the viewer's pace.
//!
//! A short one is read first to free its origin connection. A long one holds the connection and counts against
//! its client's share of connections. Both take room in the cache's memory.

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

/// Content up to this length is read completely before it is sent on.
pub(crate) const READ_FIRST: u64 = 64 << 10;

/// Memory that one streamed response may buffer, both received and waiting to be sent.
const STREAM_BUFFER: u64 = 256 << 10;

/// Prepares a response to be sent at the viewer's pace. `has_share` means that its connection already counts
/// against its client's share.
///
/// # Errors
/// If the origin breaks off a short response, the client's share is used up, or memory is exhausted.
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

/// A body of content in one piece. Dropping the body frees its room.
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

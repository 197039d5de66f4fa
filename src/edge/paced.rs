//! Responses that are sent at a viewer's pace, because they are not stored.
//!
//! A short one is read first, so that its origin's connection is free again. A long one holds the connection;
//! it takes a part of those that its client may hold, and room in the cache's memory.

use futures_util::StreamExt;
use http_body_util::BodyExt;

use super::{Edge, admit::Ask, refusal};
use crate::{
    body::Body,
    origin::{Answer, ErrorClass},
    restrict::Share,
    store::Failure,
};

/// Content of this length is read before it is sent.
const READ_FIRST: u64 = 64 << 10;

/// Memory that a long response takes on its way: what its connection has read ahead, and what waits to be
/// sent.
const ON_THE_WAY: u64 = 256 << 10;

/// Prepares a response for being sent at the viewer's pace. `has_share` says that its connection counts among
/// its client's already.
///
/// # Errors
/// When the origin breaks off a short one, or the client holds its part already, or there is no memory.
pub(super) async fn at_viewers_pace(
    edge: &Edge,
    ask: &Ask<'_>,
    mut answer: Answer,
    has_share: bool,
) -> Result<Answer, Failure> {
    let body = std::mem::replace(&mut answer.body, Body::empty());
    if body.is_whole() || http_body::Body::is_end_stream(&body) {
        answer.body = body;
        return Ok(answer);
    }
    let length = http_body::Body::size_hint(&body).exact();
    if length.is_some_and(|length| length <= READ_FIRST) {
        let content = body.collect().await.map_err(|_| Failure::CUT)?;
        answer.body = Body::full(content.to_bytes());
        return Ok(answer);
    }
    let busy = refusal::failure(ErrorClass::Busy);
    let share = match ask.client.filter(|_| !has_share) {
        Some(client) => ask.origin().primary().share_for(client).ok_or(busy)?,
        None => Share::exempt(),
    };
    let room = edge.store.room(ON_THE_WAY).await.ok_or(busy)?;
    let parts = body.into_data_stream().map(move |part| {
        let _held = (&share, &room);
        part
    });
    answer.body = Body::stream(length, parts);
    Ok(answer)
}

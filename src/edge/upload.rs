//! The content of a request on its way to an origin.
//!
//! An origin's connection is not held at a viewer's pace: short content is read first, and long content has a
//! minimum rate and a time by which it must be complete.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use http_body_util::BodyExt;

use crate::{
    body::{Body, BodyError},
    clock::Stopwatch,
    store::{Failure, Room, Store},
};

/// Content of this length is read before the origin is asked.
const READ_FIRST: u64 = 64 << 10;

/// For so long a viewer may be slower than the minimum rate.
const GRACE: Duration = Duration::from_secs(20);

/// The content came too slowly.
const TOO_SLOW: Failure =
    Failure { status: StatusCode::REQUEST_TIMEOUT, detail: "viewer-too-slow" };

/// The content broke off or was malformed.
const BROKEN: Failure = Failure { status: StatusCode::BAD_REQUEST, detail: "viewer-content" };

/// There is no memory for what is read first.
const NO_ROOM: Failure = Failure { status: StatusCode::SERVICE_UNAVAILABLE, detail: "memory-full" };

/// How fast content must come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes a second, on average since the beginning; zero for no minimum.
    pub(super) min_rate: u64,
    /// Longest time for all of it.
    pub(super) timeout: Duration,
}

/// Reads what is read first, and returns all of the content for the origin.
///
/// # Errors
/// When the viewer is too slow or its content is malformed, or there is no memory.
pub(super) async fn read_first(store: &Store, body: Body, pace: Pace) -> Result<Body, Failure> {
    let length = http_body::Body::size_hint(&body).exact();
    let room = store.room(length.unwrap_or(READ_FIRST).min(READ_FIRST)).await.ok_or(NO_ROOM)?;
    let mut upload = Upload { body, pace, watch: Stopwatch::start(), received: 0 };
    let mut first = BytesMut::new();
    while (first.len() as u64) < READ_FIRST {
        match upload.next().await {
            Ok(Some(part)) => first.extend_from_slice(&part),
            Ok(None) => return Ok(held(first.freeze(), room)),
            Err(BodyError::Aborted(_)) => return Err(TOO_SLOW),
            Err(BodyError::Connection(_)) => return Err(BROKEN),
        }
    }
    let state = (Some(first.freeze()), upload, room);
    let parts = stream::try_unfold(state, |(first, mut upload, room)| async move {
        let part = match first {
            Some(first) => Some(first),
            None => upload.next().await?,
        };
        Ok(part.map(|part| (part, (None, upload, room))))
    });
    Ok(Body::stream(length, parts))
}

/// Content in one piece; its room is given back with it.
fn held(content: Bytes, room: Room) -> Body {
    if content.is_empty() {
        return Body::empty();
    }
    let length = content.len() as u64;
    let parts = stream::once(async move {
        let _room = room;
        Ok(content)
    });
    Body::stream(Some(length), parts)
}

struct Upload {
    body: Body,
    pace: Pace,
    /// Running since the beginning.
    watch: Stopwatch,
    received: u64,
}

impl Upload {
    /// The next part; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let frame = tokio::time::timeout(self.patience(), self.body.frame()).await;
        let Ok(frame) = frame else {
            return Err(BodyError::Aborted("the viewer's content came too slowly"));
        };
        let Some(frame) = frame else { return Ok(None) };
        let part = frame?.into_data().unwrap_or_default();
        self.received += part.len() as u64;
        Ok(Some(part))
    }

    /// How long the next part may take: until the average since the beginning, or the whole, would be too
    /// slow.
    fn patience(&self) -> Duration {
        let elapsed = self.watch.elapsed();
        let whole = self.pace.timeout.saturating_sub(elapsed);
        let Some(seconds) = self.received.checked_div(self.pace.min_rate) else { return whole };
        let due = GRACE + Duration::from_secs(seconds);
        due.saturating_sub(elapsed).min(whole)
    }
}

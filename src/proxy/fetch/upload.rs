//! Uploads: request content sent to an origin.
//!
//! A slow viewer must not hold an origin connection. Short content is read first, and long content has a
//! minimum rate and a timeout.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use http_body_util::BodyExt;

use super::paced::{READ_FIRST, counted};
use crate::{
    base::clock::Stopwatch,
    cache::store::{FetchError, NO_ROOM, Room, Store},
    http::body::{Body, BodyError},
};

/// Grace period before the minimum rate applies.
const GRACE: Duration = Duration::from_secs(20);

/// The viewer sent the content too slowly.
const TOO_SLOW: FetchError =
    FetchError { status: StatusCode::REQUEST_TIMEOUT, detail: "viewer-too-slow" };

/// The content broke off or was malformed.
const BROKEN: FetchError = FetchError { status: StatusCode::BAD_REQUEST, detail: "viewer-content" };

/// The required speed of an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Minimum average bytes per second since the start; zero for no minimum.
    pub(crate) min_rate: u64,
    /// Timeout for the whole content.
    pub(crate) timeout: Duration,
}

/// Buffers the start of the content, then returns a body that replays it and streams the rest.
///
/// # Errors
/// If the viewer is too slow, its content is malformed, or memory is exhausted.
pub(crate) async fn read_first(store: &Store, body: Body, pace: Pace) -> Result<Body, FetchError> {
    let length = http_body::Body::size_hint(&body).exact();
    let mut upload = Upload { body, pace, waited: Duration::ZERO, received: 0 };
    let (mut first, mut rooms) = (BytesMut::new(), Vec::<Room>::new());
    while (first.len() as u64) < READ_FIRST {
        match upload.next().await {
            Ok(Some(part)) => {
                rooms.push(store.room(part.len() as u64).await.ok_or(NO_ROOM)?);
                first.extend_from_slice(&part);
            }
            Ok(None) => return Ok(counted(first.freeze(), rooms)),
            Err(BodyError::Aborted(_)) => return Err(TOO_SLOW),
            Err(BodyError::Connection(_)) => return Err(BROKEN),
        }
    }
    let state = (Some(first.freeze()), upload, rooms);
    let parts = stream::try_unfold(state, |(first, mut upload, rooms)| async move {
        let part = match first {
            Some(first) => Some(first),
            None => upload.next().await?,
        };
        Ok(part.map(|part| (part, (None, upload, rooms))))
    });
    Ok(Body::stream(length, parts))
}

struct Upload {
    body: Body,
    pace: Pace,
    /// Time spent waiting for the viewer. Time spent in the origin does not count.
    waited: Duration,
    received: u64,
}

impl Upload {
    /// The next part; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let watch = Stopwatch::start();
        let frame = tokio::time::timeout(self.patience(), self.body.frame()).await;
        self.waited += watch.elapsed();
        let Ok(frame) = frame else {
            return Err(BodyError::Aborted("the viewer's upload was too slow"));
        };
        let Some(frame) = frame else { return Ok(None) };
        let part = frame?.into_data().unwrap_or_default();
        self.received += part.len() as u64;
        Ok(Some(part))
    }

    /// The timeout for the next part, so that neither the average rate nor the whole upload is too slow.
    fn patience(&self) -> Duration {
        let whole = self.pace.timeout.saturating_sub(self.waited);
        let Some(seconds) = self.received.checked_div(self.pace.min_rate) else { return whole };
        let due = GRACE + Duration::from_secs(seconds);
        due.saturating_sub(self.waited).min(whole)
    }
}

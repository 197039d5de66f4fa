//! Buffered responses. Without a known length, or a validator for their slices, they cannot be stored as they
//! arrive. They are buffered, then stored in one piece.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::{
    fetch_task::Fetch,
    forwarded::{Forwarded, How},
    storing::StoredBody,
};
use crate::{
    cache::{
        policy::{NotStored, Storable},
        store::{BodyBuffer, Content, ContentState, FetchError, TooLong},
    },
    http::body::{Body, BodyError},
    origin::OriginResponse,
};

/// How long the requesting viewer waits for the end. If it arrives in time, the viewer gets the stored response.
const SOON: Duration = Duration::from_secs(1);

/// How long a response is buffered. A longer one is a stream, not an object.
const LONGEST: Duration = Duration::from_secs(10);

/// The progress of buffering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// More content is expected.
    Collecting,
    /// The content is complete.
    Ended,
    /// The origin failed.
    Failed,
    /// Buffering stopped. The viewer reads the rest itself.
    HandedOver,
}

/// The content that the requesting viewer has not read yet.
struct Unread {
    collector: Arc<BodyBuffer>,
    /// The rest of the body, once it is handed over.
    rest: Arc<Mutex<Option<Body>>>,
    offset: u64,
}

impl Fetch {
    /// Buffers the response. One that ends soon is stored before it is sent. A slower one streams to the requesting
    /// viewer and is stored at its end; other requests wait for that, but not for long.
    pub(crate) async fn collect(self, mut answer: OriginResponse, storable: Storable) {
        let known = http_body::Body::size_hint(&answer.body).exact();
        if known.is_some_and(|length| !BodyBuffer::fits(&self.upstream.edge.store, length)) {
            return self.release(answer, NotStored::TooLong);
        }
        let slice = u64::from(self.upstream.edge.store.options().slice);
        let collector = Arc::new(BodyBuffer::new(Arc::clone(&self.upstream.edge.store)));
        let begun = collect(&mut answer.body, &collector, slice, || {});
        match tokio::time::timeout(SOON, begun).await {
            Ok(Ok(true)) => {
                let timing = Some(Box::new(answer.timing));
                let content = finish(&collector).await;
                let (StoredBody { response, own_fields, .. }, forward) =
                    self.store_response(&mut answer, storable, content, ContentState::Full);
                let how = How::Fetched { peer: answer.peer };
                // The send fails if the viewer has disconnected.
                let _ = forward.send(Forwarded::Stored { response, how, own_fields, timing });
            }
            Ok(Ok(false) | Err(Some(TooLong))) | Err(_) => {
                self.stream(answer, storable, collector, known).await;
            }
            Ok(Err(None)) => self.fail(FetchError::CUT),
        }
    }

    async fn stream(
        mut self,
        mut answer: OriginResponse,
        storable: Storable,
        collector: Arc<BodyBuffer>,
        length: Option<u64>,
    ) {
        let mut body = std::mem::replace(&mut answer.body, Body::empty());
        let rest = Arc::<Mutex<Option<Body>>>::default();
        let (stage, seen) = watch::channel(Stage::Collecting);
        let unread =
            Unread { collector: Arc::clone(&collector), rest: Arc::clone(&rest), offset: 0 };
        let passed = OriginResponse {
            fields: answer.fields.clone(),
            body: Body::stream(length, stream::try_unfold((unread, seen), next)),
            content_range: answer.content_range.clone(),
            tags: answer.tags.clone(),
            tunnel: None,
            ..answer
        };
        let passed = Forwarded::Unstorable(Box::new(passed), NotStored::Unfinished);
        let (nobody, _) = oneshot::channel();
        let _ = std::mem::replace(&mut self.forward, nobody).send(passed);
        let more = || {
            stage.send_replace(Stage::Collecting);
        };
        let collecting = collect(&mut body, &collector, u64::MAX, more);
        match tokio::time::timeout(LONGEST, collecting).await {
            Ok(Ok(_)) => {
                stage.send_replace(Stage::Ended);
                let content = finish(&collector).await;
                self.store_response(&mut answer, storable, content, ContentState::Full);
            }
            Ok(Err(None)) => {
                stage.send_replace(Stage::Failed);
            }
            Ok(Err(Some(TooLong))) | Err(_) => {
                // Release the requests that wait: the response will not be stored.
                self.give_up(NotStored::TooLong);
                *rest.lock() = Some(body);
                stage.send_replace(Stage::HandedOver);
            }
        }
    }
}

/// Buffers up to the end (`true`), or until there are more than `most` bytes. Calls `more` after each part.
///
/// Cancel-safe: the buffer keeps everything read so far.
///
/// # Errors
/// If the content is too long; `None` if the origin fails.
async fn collect(
    body: &mut Body,
    collector: &BodyBuffer,
    most: u64,
    more: impl Fn(),
) -> Result<bool, Option<TooLong>> {
    collector.charge().await.map_err(Some)?;
    while collector.length() <= most {
        let Some(frame) = body.frame().await else { return Ok(true) };
        collector.keep(frame.map_err(|_| None)?.into_data().unwrap_or_default());
        more();
        collector.charge().await.map_err(Some)?;
    }
    Ok(false)
}

/// Joins the buffered content. Long content is joined on a blocking thread.
async fn finish(collector: &Arc<BodyBuffer>) -> Arc<Content> {
    const LONG: u64 = 128 << 10;
    if collector.length() < LONG {
        return collector.finish();
    }
    let long = Arc::clone(collector);
    let joined = tokio::task::spawn_blocking(move || long.finish()).await;
    joined.unwrap_or_else(|_| collector.finish())
}

/// The next part for the requesting viewer: from the buffer, then from the rest of the body. The viewer reads at
/// its own pace and delays no other request.
async fn next(
    (mut unread, mut stage): (Unread, watch::Receiver<Stage>),
) -> Result<Option<(Bytes, (Unread, watch::Receiver<Stage>))>, BodyError> {
    loop {
        let now = *stage.borrow_and_update();
        if let Some(part) = unread.collector.read(unread.offset) {
            unread.offset += part.len() as u64;
            return Ok(Some((part, (unread, stage))));
        }
        match now {
            Stage::Collecting if stage.changed().await.is_ok() => {}
            Stage::Collecting | Stage::Failed => {
                return Err(BodyError::Aborted("the origin failed"));
            }
            Stage::Ended => return Ok(None),
            Stage::HandedOver => {
                let Some(mut rest) = unread.rest.lock().take() else { return Ok(None) };
                let Some(frame) = rest.frame().await.transpose()? else { return Ok(None) };
                let part = frame.into_data().unwrap_or_default();
                *unread.rest.lock() = Some(rest);
                return Ok(Some((part, (unread, stage))));
            }
        }
    }
}

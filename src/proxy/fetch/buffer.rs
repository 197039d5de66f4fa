//! Answers that cannot be stored as they arrive: their length is not known, or nothing would tell
//! their slices apart. They are collected, and stored in one piece.

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

/// For so long the viewer who asked waits for the end: then it gets the content as what is stored.
const SOON: Duration = Duration::from_secs(1);

/// For so long an answer is collected. What takes longer is no object but a stream.
const LONGEST: Duration = Duration::from_secs(10);

/// How far collecting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is more to come.
    Collecting,
    /// All of it is there.
    Ended,
    /// The origin failed.
    Failed,
    /// It is no longer collected: the rest is the viewer's.
    HandedOver,
}

/// What the viewer who asked has yet to read.
struct Unread {
    collector: Arc<BodyBuffer>,
    /// The rest of the body, once it is handed over.
    rest: Arc<Mutex<Option<Body>>>,
    offset: u64,
}

impl Fetch {
    /// What ends soon is stored before anybody gets it. What takes longer streams to the viewer who
    /// asked, and is stored at its end; others wait for that, but not for long.
    pub(crate) async fn collect(self, mut answer: OriginResponse, storable: Storable) {
        let known = http_body::Body::size_hint(&answer.body).exact();
        if known.is_some_and(|length| !BodyBuffer::fits(&self.edge.store, length)) {
            return self.release(answer, NotStored::TooLong);
        }
        let slice = u64::from(self.edge.store.options().slice);
        let collector = Arc::new(BodyBuffer::new(Arc::clone(&self.edge.store)));
        let begun = collect(&mut answer.body, &collector, slice, || {});
        match tokio::time::timeout(SOON, begun).await {
            Ok(Ok(true)) => {
                let timing = Some(Box::new(answer.timing));
                let content = finish(&collector).await;
                let (StoredBody { response, own_fields }, told) =
                    self.store_response(&mut answer, storable, content, ContentState::Full);
                let how = How::Fetched;
                // The viewer may have left; then nobody needs to be told.
                let _ = told.send(Forwarded::Stored { response, how, own_fields, timing });
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
            ..answer
        };
        let passed = Forwarded::Unstorable(Box::new(passed), NotStored::Unfinished);
        let (nobody, _) = oneshot::channel();
        let _ = std::mem::replace(&mut self.told, nobody).send(passed);
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
                // Nobody is to wait for what will not be stored.
                self.give_up();
                *rest.lock() = Some(body);
                stage.send_replace(Stage::HandedOver);
            }
        }
    }
}

/// Collects up to the end (`true`), or until there is more than `most`; `more` is called whenever there is
/// more.
///
/// Cancel-safe: what was read is kept.
///
/// # Errors
/// When it is too much; `None` when the origin fails.
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

/// Joins what was collected; a long content off the threads that serve.
async fn finish(collector: &Arc<BodyBuffer>) -> Arc<Content> {
    const LONG: u64 = 1 << 20;
    if collector.length() < LONG {
        return collector.finish();
    }
    let long = Arc::clone(collector);
    let joined = tokio::task::spawn_blocking(move || long.finish()).await;
    joined.unwrap_or_else(|_| collector.finish())
}

/// The next part for the viewer who asked: of what is collected, then of what is handed over. It reads
/// as fast as it likes; nobody waits for it.
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

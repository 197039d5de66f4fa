//! Answers that cannot be stored as they arrive: their length is not known, or nothing would tell
//! their slices apart. They are collected, and stored in one piece.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    fetch::{Fetch, Stored},
    forward::{Forwarded, How},
    refusal,
};
use crate::{
    body::{Body, BodyError},
    origin::{Answer, ErrorClass},
    policy::{NotStored, Storable},
    store::{Collector, TooLong},
};

/// For so long the viewer who asked waits for the end: then it gets the content as what is stored.
const SOON: Duration = Duration::from_secs(1);

/// Parts that may wait for the viewer who asked while they are collected.
const QUEUE: usize = 256;

/// How collecting went on.
enum Collected {
    /// To the end.
    All,
    /// There is more than a slice of it.
    Long,
}

impl Fetch {
    /// What ends soon is stored before anybody gets it. What takes longer streams to the viewer who
    /// asked, and is stored at its end; others wait for that, as long as they wait for anything.
    pub(super) async fn collect(self, mut answer: Answer, storable: Storable) {
        let slice = u64::from(self.edge.store.options().slice);
        let mut collector = Collector::new(Arc::clone(&self.edge.store));
        let begun = collect_slice(&mut answer.body, &mut collector, slice);
        match tokio::time::timeout(SOON, begun).await {
            Ok(Ok(Collected::All)) => {
                let timing = Some(Box::new(answer.timing));
                let (Stored { response, own_fields }, told) =
                    self.shelve(&mut answer, storable, collector.finish());
                let how = How::Fetched;
                // The viewer may have left; then nobody needs to be told.
                let _ = told.send(Forwarded::Stored { response, how, own_fields, timing });
            }
            Ok(Ok(Collected::Long)) | Err(_) => self.stream(answer, storable, collector).await,
            Ok(Err(None)) => self.fail(refusal::failure(ErrorClass::Connection)),
            // What did not fit any more is still to be passed on.
            Ok(Err(Some(chunk))) => {
                let content = [collector.chunks(), &[chunk]].concat();
                answer.body.unread(content.concat().into());
                self.release(answer, NotStored::TooLong);
            }
        }
    }

    async fn stream(mut self, mut answer: Answer, storable: Storable, collector: Collector) {
        let (to_viewer, parts) = mpsc::channel::<Result<Bytes, BodyError>>(QUEUE);
        let mut body = std::mem::replace(&mut answer.body, Body::empty());
        let length = http_body::Body::size_hint(&body).exact();
        let begun: Vec<_> = collector.chunks().iter().cloned().map(Ok).collect();
        let parts = stream::unfold(parts, |mut parts| async { Some((parts.recv().await?, parts)) });
        let length = length.map(|left| left + collector.length());
        let passed = Answer {
            fields: answer.fields.clone(),
            body: Body::stream(length, stream::iter(begun).chain(parts)),
            content_range: answer.content_range.clone(),
            tags: answer.tags.clone(),
            ..answer
        };
        let passed = Forwarded::Unstorable(Box::new(passed), NotStored::Unfinished);
        let (nobody, _) = oneshot::channel();
        let _ = std::mem::replace(&mut self.told, nobody).send(passed);
        let mut collecting = Some((self, collector));
        while let Some(frame) = body.frame().await {
            let chunk = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => {
                    let _ = to_viewer.send(Err(error)).await;
                    return;
                }
            };
            if let Some((_, collector)) = &mut collecting
                && collector.push(chunk.clone()).await == Err(TooLong)
            {
                // Nobody is to wait for what will not be stored.
                if let Some((fetch, _)) = collecting.take() {
                    fetch.give_up();
                }
            }
            let gone = to_viewer.send(Ok(chunk)).await.is_err();
            if gone && collecting.is_none() {
                return;
            }
        }
        if let Some((fetch, collector)) = collecting {
            fetch.shelve(&mut answer, storable, collector.finish());
        }
    }
}

/// Collects up to the end, or until there is more than a slice.
///
/// Cancel-safe: what was read is collected.
///
/// # Errors
/// When the origin fails; or what was read and is too much to be collected.
async fn collect_slice(
    body: &mut Body,
    collector: &mut Collector,
    slice: u64,
) -> Result<Collected, Option<Bytes>> {
    while collector.length() <= slice {
        let Some(frame) = body.frame().await else { return Ok(Collected::All) };
        let chunk = frame.map_err(|_| None)?.into_data().unwrap_or_default();
        collector.push(chunk.clone()).await.map_err(|TooLong| Some(chunk))?;
    }
    Ok(Collected::Long)
}

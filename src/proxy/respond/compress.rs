//! Content coding: selects and makes the compressed variant of a stored response.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Version, header};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use crate::{
    cache::store::{ContentId, EncodedVariant, Reader, StoredResponse},
    http::{
        coding::{Coding, Codings},
        compression::encode,
    },
    proxy::{
        compressor::PendingEncoding,
        context::Edge,
        fetch::upstream::Upstream,
        request::{admission::AdmittedRequest, variant_slot::key_of},
    },
};

/// Limit of encodings in progress or queued. Requests for more get the content uncompressed.
const MOST_MAKING: usize = 256;

/// The niceness of encodings: beside a busy serving thread, one gets a fifteenth of a core.
const NICE: i32 = 12;

/// How long a request waits for an encoding before it gets the content uncompressed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The coding of the response, if any.
///
/// Ranges and `If-Match` refer to the stored bytes.
pub(crate) fn coding(admitted: &AdmittedRequest<'_>, compressible: bool) -> Option<Coding> {
    let codings = admitted.codings();
    if codings == Codings::NONE || !compressible || admitted.version() < Version::HTTP_11 {
        return None;
    }
    let of_bytes = admitted.fields.contains_key(header::IF_MATCH)
        || (*admitted.method == Method::GET && admitted.fields.contains_key(header::RANGE));
    if of_bytes { None } else { codings.preferred(admitted.fields) }
}

/// An encoded variant; `None` if the response is better sent as it is.
pub(crate) enum InCoding {
    /// The variant, or `None` if there is none to send.
    Known(Option<Arc<StoredResponse>>),
    /// The variant is being made.
    PendingEncoding(PendingEncoding),
}

/// The variant of `response` in a coding. Starts the encoding if necessary.
pub(crate) fn form(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    response: &Arc<StoredResponse>,
    coding: Coding,
) -> InCoding {
    match edge.store.form(response, coding) {
        EncodedVariant::Ready(form) => InCoding::Known(Some(form)),
        EncodedVariant::Useless => InCoding::Known(None),
        EncodedVariant::Unknown => match making(edge, admitted, response, coding) {
            Some(making) => InCoding::PendingEncoding(making),
            None => InCoding::Known(None),
        },
    }
}

/// Waits for an encoding, up to `PATIENCE`.
pub(crate) async fn made(making: PendingEncoding) -> Option<Arc<StoredResponse>> {
    tokio::time::timeout(PATIENCE, making).await.ok().flatten()
}

fn making(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    response: &Arc<StoredResponse>,
    coding: Coding,
) -> Option<PendingEncoding> {
    let place = (response.content.id(), coding);
    let mut making = edge.compressor.making.lock();
    if let Some(under_way) = making.get(&place) {
        return Some(under_way.clone());
    }
    if making.len() >= MOST_MAKING {
        return None;
    }
    let source = Arc::new(Upstream::new(edge, admitted));
    let (store, key) = (Arc::clone(&edge.store), key_of(admitted, response));
    let whole = 0..response.length();
    let reader = Reader::new(store, key, Arc::clone(response), source, whole);
    let (edge, response) = (Arc::clone(edge), Arc::clone(response));
    // The encoding runs in its own task and continues if the viewer disconnects.
    let task = tokio::spawn(async move {
        let _done = Done { edge: &edge, place };
        make(&edge, &response, reader, coding).await
    });
    let made = task.map(|ended| ended.ok().flatten()).boxed().shared();
    making.insert(place, made.clone());
    Some(made)
}

/// Removes an encoding from the list on drop, whether it succeeded or not.
struct Done<'a> {
    edge: &'a Edge,
    place: (ContentId, Coding),
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.edge.compressor.making.lock().remove(&self.place);
    }
}

async fn make(
    edge: &Edge,
    response: &Arc<StoredResponse>,
    reader: Reader,
    coding: Coding,
) -> Option<Arc<StoredResponse>> {
    if let Some(form) = edge.store.recall_form(response, coding).await {
        return Some(form);
    }
    // Acquire the permit first, so that queued encodings hold no content.
    let _permit = edge.compressor.permits.acquire().await.ok()?;
    let content = match response.content.whole() {
        Some(whole) => vec![whole],
        None => read(reader).await?,
    };
    let encoded = encoded(content, coding).await?;
    edge.metrics.compressed(coding.name());
    edge.store.keep_form(response, coding, encoded).await
}

/// Encodes on a thread of its own, which gives way to threads that serve.
async fn encoded(content: Vec<Bytes>, coding: Coding) -> Option<Option<Bytes>> {
    let (result, encoded) = oneshot::channel();
    let thread = std::thread::Builder::new().name("forebay-encode".into());
    let spawned = thread.spawn(move || {
        // On Linux, this applies to the thread alone.
        let _ = rustix::process::nice(NICE);
        let encoded = encode(&content, coding);
        // The content goes back, so that this thread frees none of it while it has locks that others wait for.
        let _ = result.send((encoded, content));
    });
    // If the system has no more threads, the content is sent as it is.
    spawned.ok()?;
    encoded.await.ok().map(|(encoded, _)| encoded)
}

/// Reads the whole content; `None` if the origin fails.
async fn read(reader: Reader) -> Option<Vec<Bytes>> {
    let mut body = reader.into_body().await.ok()?;
    let mut content = Vec::new();
    while let Some(frame) = body.frame().await {
        content.push(frame.ok()?.into_data().unwrap_or_default());
    }
    Some(content)
}

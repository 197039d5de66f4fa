//! Missing slices, fetched from the origin for one version of one object.

use std::ops::Range;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;

use super::upstream::Upstream;
use crate::{
    cache::store::{FetchError, SliceSource, SourceError, StoredResponse},
    http::{body::Body, entity_tag::EntityTag, range::ContentRange},
    origin::{DENIED, OriginResponse, failure},
    outbound::ErrorClass,
};

impl Upstream {
    async fn fetch(
        &self,
        response: &StoredResponse,
        bytes: Range<u64>,
    ) -> Result<Body, SourceError> {
        if !response.has_validator() {
            // Without a validator, these bytes cannot be matched to the stored ones.
            return Err(SourceError::Changed);
        }
        let asked = self.send(Method::GET, same_version(response, &bytes)).await;
        let answer = asked.map_err(SourceError::Failed)?;
        check(answer, response, bytes).await
    }
}

impl SliceSource for Upstream {
    fn open<'a>(
        &'a self,
        response: &'a StoredResponse,
        bytes: Range<u64>,
    ) -> BoxFuture<'a, Result<Body, SourceError>> {
        self.fetch(response, bytes).boxed()
    }
}

/// `Range`, and the condition that the object is still the stored version.
fn same_version(response: &StoredResponse, bytes: &Range<u64>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Ok(range) = HeaderValue::try_from(format!("bytes={}-{}", bytes.start, bytes.end - 1)) {
        fields.insert(header::RANGE, range);
    }
    let etag = response.fields.get(&header::ETAG).filter(is_strong);
    if let Some(etag) = etag {
        fields.insert(header::IF_MATCH, etag);
    } else if let Some(modified) = response.fields.get(&header::LAST_MODIFIED) {
        fields.insert(header::IF_UNMODIFIED_SINCE, modified);
    }
    fields
}

fn is_strong(etag: &HeaderValue) -> bool {
    EntityTag::parse(etag.as_bytes()).is_some_and(|tag| tag.is_strong())
}

/// Accepts a response only if it has the requested bytes of the stored version.
async fn check(
    mut answer: OriginResponse,
    response: &StoredResponse,
    bytes: Range<u64>,
) -> Result<Body, SourceError> {
    let length = response.length();
    match answer.status {
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.content_range.as_deref().and_then(ContentRange::parse);
            let range = range.ok_or(SourceError::Failed(mismatch()))?;
            if !is_same(&answer, response) || range.complete.is_some_and(|all| all != length) {
                return Err(SourceError::Changed);
            }
            if range.bytes != Some(bytes) {
                return Err(SourceError::Failed(mismatch()));
            }
            Ok(answer.body)
        }
        // RFC 9110 §14.2: a server may ignore Range.
        StatusCode::OK if is_same(&answer, response) => {
            let announced = http_body::Body::size_hint(&answer.body).exact();
            if announced.is_some_and(|announced| announced != length) {
                return Err(SourceError::Changed);
            }
            skip(&mut answer.body, bytes.start).await?;
            Ok(answer.body)
        }
        // Access is denied, but the object may still be the stored version.
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(SourceError::Failed(DENIED)),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(SourceError::Failed(failure(ErrorClass::Other)))
        }
        _ => Err(SourceError::Changed),
    }
}

const fn mismatch() -> FetchError {
    FetchError { status: StatusCode::BAD_GATEWAY, detail: "origin-range-mismatch" }
}

fn is_same(answer: &OriginResponse, response: &StoredResponse) -> bool {
    let same = |name: header::HeaderName| match response.fields.get(&name) {
        Some(stored) => answer.fields.get(&name) == Some(&stored),
        None => true,
    };
    match response.fields.get(&header::ETAG).filter(is_strong) {
        Some(_) => same(header::ETAG),
        None => same(header::LAST_MODIFIED),
    }
}

async fn skip(body: &mut Body, bytes: u64) -> Result<(), SourceError> {
    let mut left = bytes;
    while left > 0 {
        let frame =
            body.frame().await.and_then(Result::ok).ok_or(SourceError::Failed(FetchError::CUT))?;
        let mut data = frame.into_data().unwrap_or_default();
        let skipped = left.min(data.len() as u64);
        left -= skipped;
        let rest = data.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
        if !rest.is_empty() {
            body.unread(rest);
        }
    }
    Ok(())
}

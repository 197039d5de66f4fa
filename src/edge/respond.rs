//! Answers made from a stored response: preconditions, range, content, fields.

use std::{ops::Range, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{Answer, Edge, admit::Ask, refusal, source::OriginSource};
use crate::{
    body::Body,
    clock::Timestamp,
    metrics::ResultType,
    semantics::{
        cache_status::{CacheStatus, ForwardReason, Report},
        conditional::{self, Precondition, Validators},
        range::{RangeRequest, Selected},
    },
    store::{Presence, Reader, SourceError, Store, StoredResponse},
};

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// What of the representation an answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    NotModified,
    PreconditionFailed,
    RangeNotSatisfiable,
}

/// Answers from `response`, which the store found or a forward brought.
///
/// # Errors
/// When bytes are missing and the origin does not deliver them.
pub(super) async fn from_stored(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    response: &Arc<StoredResponse>,
    result: ResultType,
    report: Report,
    now: Timestamp,
) -> Result<Answer, SourceError> {
    let mut answer = Answer {
        status: response.status,
        fields: response.fields.to_map(),
        body: Body::empty(),
        result: if is_error(response.status) { ResultType::Error } else { result },
        report,
    };
    add_age(&mut answer, response, now);
    let length = response.content.length;
    let bytes = match select(ask, response) {
        Part::Whole => {
            answer.fields.insert(header::CONTENT_LENGTH, length.into());
            0..length
        }
        Part::Bytes(bytes) => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
            insert(&mut answer.fields, header::CONTENT_RANGE, range);
            answer.fields.insert(header::CONTENT_LENGTH, (bytes.end - bytes.start).into());
            bytes
        }
        Part::NotModified => {
            answer.status = StatusCode::NOT_MODIFIED;
            describe_no_content(&mut answer.fields);
            return Ok(answer);
        }
        Part::PreconditionFailed => {
            return Ok(refused(answer.report, StatusCode::PRECONDITION_FAILED));
        }
        Part::RangeNotSatisfiable => {
            let mut answer = refused(answer.report, StatusCode::RANGE_NOT_SATISFIABLE);
            insert(&mut answer.fields, header::CONTENT_RANGE, format!("bytes */{length}"));
            return Ok(answer);
        }
    };
    if response.status == StatusCode::OK {
        answer.fields.insert(header::ACCEPT_RANGES, BYTES);
    }
    if *ask.method != Method::HEAD {
        if let Some(whole) = Store::whole(&response.content) {
            let [start, end] =
                [bytes.start, bytes.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
            answer.body = Body::full(whole.slice(start..end));
        } else {
            // Boxed for the sake of the whole ones: their future stays small.
            Box::pin(attach_slices(edge, ask, response, bytes, &mut answer)).await?;
        }
    }
    Ok(answer)
}

async fn attach_slices(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    response: &Arc<StoredResponse>,
    bytes: Range<u64>,
    answer: &mut Answer,
) -> Result<(), SourceError> {
    let source = Arc::new(OriginSource::new(edge, ask));
    let store = Arc::clone(&edge.store);
    let reader = Reader::new(store, ask.key(), Arc::clone(response), source, bytes);
    if answer.report.status == CacheStatus::Hit {
        let presence = reader.presence();
        if presence != Presence::Stored {
            answer.report.status = CacheStatus::Forward(ForwardReason::Partial);
            answer.report.ttl = None;
            answer.report.collapsed = presence == Presence::Arriving;
        }
        if presence == Presence::Missing {
            answer.result = ResultType::Miss;
        }
    }
    answer.body = reader.into_body().await?;
    Ok(())
}

fn select(ask: &Ask<'_>, response: &StoredResponse) -> Part {
    if response.status != StatusCode::OK || !is_particular(ask.fields) {
        return Part::Whole;
    }
    response.with_validators(|current| select_part(ask, current, response.content.length))
}

/// RFC 9110 §13.2.2: preconditions first, then `Range` with its `If-Range`.
fn select_part(ask: &Ask<'_>, current: &Validators<'_>, length: u64) -> Part {
    match conditional::evaluate(ask.fields, current) {
        Precondition::NotModified => return Part::NotModified,
        Precondition::Failed => return Part::PreconditionFailed,
        Precondition::Proceed => {}
    }
    // RFC 9110 §14.2: a Range on any other method than GET is ignored.
    let range = ask.fields.get(header::RANGE).filter(|_| *ask.method == Method::GET);
    match RangeRequest::parse(range.map(HeaderValue::as_bytes)) {
        RangeRequest::Single(range)
            if conditional::range_allowed(ask.fields.get(header::IF_RANGE), current) =>
        {
            match range.select(length) {
                Selected::Bytes(bytes) => Part::Bytes(bytes),
                Selected::Unsatisfiable => Part::RangeNotSatisfiable,
            }
        }
        _ => Part::Whole,
    }
}

/// Whether the request has a precondition or a range. Most have none.
pub(super) fn is_particular(fields: &HeaderMap) -> bool {
    [
        header::RANGE,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ]
    .iter()
    .any(|name| fields.contains_key(name))
}

/// RFC 9111 §5.1: `Age` on whatever was not just fetched for this request.
fn add_age(answer: &mut Answer, response: &StoredResponse, now: Timestamp) {
    let age = response.freshness.age(now).as_secs();
    answer.fields.remove(header::AGE);
    if age > 0 || answer.result != ResultType::Miss {
        answer.fields.insert(header::AGE, age.into());
    }
    if answer.report.status == CacheStatus::Hit {
        answer.report.ttl = Some(response.freshness.ttl_seconds(now));
    }
}

/// RFC 9110 §15.4.5: what would describe content is left out of a 304.
fn describe_no_content(fields: &mut HeaderMap) {
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
        fields.remove(name);
    }
}

/// An answer of our own in the place of the representation; it keeps the report.
fn refused(report: Report, status: StatusCode) -> Answer {
    let (fields, text) = refusal::page(status);
    Answer { status, fields, body: Body::full(text), result: ResultType::Error, report }
}

fn insert(fields: &mut HeaderMap, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}

pub(super) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

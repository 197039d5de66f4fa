//! Answers made from a stored response: preconditions, range, content, fields.

use std::{fmt::Write, ops::Range, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;

use super::{
    Edge,
    admit::Ask,
    answer::{Answer, Head, Part, StoredHead, VariesBy, number, value},
    compress,
    forward::key_of,
    multipart::Multipart,
    refusal,
    source::OriginSource,
};
use crate::{
    body::Body,
    clock::Timestamp,
    metrics::ResultType,
    semantics::{
        cache_status::{CacheStatus, ForwardReason, Report},
        coding::Codings,
        conditional::{self, Precondition, Validators},
        range::{RangeRequest, Selected, select_all},
    },
    store::{Presence, Reader, Source, SourceError, Store, StoredResponse},
};

/// Why a stored response does not answer the request.
#[derive(Clone, Copy)]
pub(super) enum Unmet {
    Precondition,
    Range,
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
    mut report: Report,
    now: Timestamp,
) -> Result<Answer, SourceError> {
    report.ttl = Some(response.freshness.ttl_seconds(now));
    if response.own_page {
        let age = response.freshness.age(now).as_secs();
        let age = (header::AGE, number(age));
        return Ok(refusal::error(response.status, report, Some(age)));
    }
    let part = match select(ask, response) {
        Ok(part) => part,
        Err(unmet) => return Ok(refuse(unmet, response, report)),
    };
    let coding = compress::coding(ask, response.compressible);
    let varies = match coding {
        // Whether the viewer's copy is current is the same of either form, and so it need not be made.
        Some(coding) if part == Part::NotModified => VariesBy::Described(coding),
        _ if ask.behavior.compress != Codings::NONE && response.compressible => VariesBy::Coding,
        _ => VariesBy::Nothing,
    };
    let form = match coding {
        Some(coding) if part == Part::Whole => compress::form(edge, ask, response, coding).await,
        _ => None,
    };
    let response = form.as_ref().unwrap_or(response);
    let age = age(response, result, now);
    let result = if is_error(response.status) { ResultType::Error } else { result };
    let bytes = match &part {
        Part::Whole => 0..response.content.length,
        Part::Bytes(bytes) => bytes.clone(),
        Part::NotModified => 0..0,
        Part::Several(parts) => {
            let parts = Multipart::clone(parts);
            let head = StoredHead::new(response, part, age, varies);
            let answer = Answer::new(Head::Stored(head), Body::empty(), result, report);
            return Box::pin(with_parts(edge, ask, parts, answer)).await;
        }
    };
    let head = Head::Stored(StoredHead::new(response, part, age, varies));
    let mut answer = Answer::new(head, Body::empty(), result, report);
    if *ask.method == Method::HEAD {
        // hyper sends none of it; its length is known.
    } else if let Some(whole) = Store::whole(&response.content) {
        answer.body = piece(&whole, &bytes);
    } else if !bytes.is_empty() {
        // Boxed for the sake of the whole ones: their future stays small.
        let all = bytes.clone();
        Box::pin(attach_slices(edge, ask, response, bytes, all, &mut answer)).await?;
    }
    Ok(answer)
}

fn piece(whole: &Bytes, bytes: &Range<u64>) -> Body {
    let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
    Body::full(whole.slice(at(bytes.start)..at(bytes.end)))
}

/// Several ranges: the first is there before the answer begins, the others follow.
async fn with_parts(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    parts: Multipart,
    mut answer: Answer,
) -> Result<Answer, SourceError> {
    let Head::Stored(StoredHead { response, .. }) = &answer.head else { return Ok(answer) };
    let response = Arc::clone(response);
    if let Some(whole) = Store::whole(&response.content) {
        answer.body = parts.body(move |bytes| std::future::ready(Ok(piece(&whole, &bytes))));
        return Ok(answer);
    }
    let Some(first) = parts.ranges().next().cloned() else { return Ok(answer) };
    let last = parts.ranges().last().map_or(first.end, |last| last.end);
    attach_slices(edge, ask, &response, first.clone(), first.start..last, &mut answer).await?;
    let begun = Mutex::new(Some(std::mem::replace(&mut answer.body, Body::empty())));
    let source: Arc<dyn Source> = Arc::new(OriginSource::new(edge, ask));
    let (store, key) = (Arc::clone(&edge.store), key_of(ask, &response));
    answer.body = parts.body(move |bytes| {
        let begun = begun.lock().take().filter(|_| bytes == first);
        let (store, source) = (Arc::clone(&store), Arc::clone(&source));
        let reader = Reader::new(store, key.clone(), Arc::clone(&response), source, bytes);
        async move {
            match begun {
                Some(body) => Ok(body),
                None => reader.into_body().await.map_err(Into::into),
            }
        }
    });
    Ok(answer)
}

/// Attaches `bytes`; whether all of `touched` is stored decides about the report.
async fn attach_slices(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    response: &Arc<StoredResponse>,
    bytes: Range<u64>,
    touched: Range<u64>,
    answer: &mut Answer,
) -> Result<(), SourceError> {
    let source = Arc::new(OriginSource::new(edge, ask));
    let store = Arc::clone(&edge.store);
    let key = key_of(ask, response);
    let reader = Reader::new(store, key, Arc::clone(response), source, bytes);
    if answer.report.status == CacheStatus::Hit {
        let presence = reader.presence(&touched);
        if presence != Presence::Stored {
            answer.report.status = CacheStatus::Forward(ForwardReason::Partial);
            answer.report.collapsed = presence == Presence::Arriving;
        }
        if presence == Presence::Missing {
            answer.result = ResultType::Miss;
        }
    }
    answer.body = reader.into_body().await?;
    Ok(())
}

/// What of a response answers the request.
pub(super) fn select(ask: &Ask<'_>, response: &StoredResponse) -> Result<Part, Unmet> {
    if response.status != StatusCode::OK || !is_particular(ask.fields) {
        return Ok(Part::Whole);
    }
    response.with_validators(|current| select_part(ask, current, response))
}

/// RFC 9110 §13.2.2: preconditions first, then `Range` with its `If-Range`.
fn select_part(
    ask: &Ask<'_>,
    current: &Validators<'_>,
    response: &StoredResponse,
) -> Result<Part, Unmet> {
    let length = response.content.length;
    match conditional::evaluate(ask.fields, current) {
        Precondition::NotModified => return Ok(Part::NotModified),
        Precondition::Failed => return Err(Unmet::Precondition),
        Precondition::Proceed => {}
    }
    // RFC 9110 §14.2: a Range on any other method than GET is ignored.
    let range = ask.fields.get(header::RANGE).filter(|_| *ask.method == Method::GET);
    let range = range.filter(|_| {
        let condition = ask.fields.get(header::IF_RANGE);
        conditional::range_allowed(condition, current)
    });
    match RangeRequest::parse(range.map(HeaderValue::as_bytes)) {
        RangeRequest::Whole => Ok(Part::Whole),
        RangeRequest::Single(range) => match range.select(length) {
            Selected::Bytes(bytes) => Ok(Part::Bytes(bytes)),
            Selected::Unsatisfiable => Err(Unmet::Range),
        },
        RangeRequest::Several(ranges) => Ok(match select_all(&ranges, length) {
            Some(ranges) => Part::Several(Box::new(Multipart::of(ranges, response))),
            None => Part::Whole,
        }),
    }
}

/// Whether the request has a precondition or a range. Most have none.
pub(super) fn is_particular(fields: &HeaderMap) -> bool {
    fields.keys().any(|name| {
        [
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_MATCH,
            header::IF_UNMODIFIED_SINCE,
        ]
        .contains(name)
    })
}

/// RFC 9111 §5.1: `Age` on whatever was not just fetched for this request.
fn age(response: &StoredResponse, result: ResultType, now: Timestamp) -> Option<u64> {
    let age = response.freshness.age(now).as_secs();
    (age > 0 || result != ResultType::Miss).then_some(age)
}

fn refuse(unmet: Unmet, response: &StoredResponse, report: Report) -> Answer {
    match unmet {
        Unmet::Precondition => refusal::error(StatusCode::PRECONDITION_FAILED, report, None),
        Unmet::Range => {
            let range = value(|text| write!(text, "bytes */{}", response.content.length));
            let range = range.map(|range| (header::CONTENT_RANGE, range));
            refusal::error(StatusCode::RANGE_NOT_SATISFIABLE, report, range)
        }
    }
}

pub(super) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

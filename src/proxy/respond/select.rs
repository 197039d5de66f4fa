//! Responses from a stored response: preconditions, range, content, headers.

use std::{fmt::Write, ops::Range, sync::Arc};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;

use super::compress::{self, InCoding};
use crate::{
    base::{clock::Timestamp, metrics::ResultType},
    cache::store::{
        ContentState, FROM_DISK, Presence, Reader, SliceSource, SourceError, StoredResponse,
    },
    http::{
        body::Body,
        cache_status::{CacheStatus, ForwardReason, Report},
        coding::Codings,
        conditional::{self, Precondition, Validators},
        range::{RangeRequest, Selected, select_all},
    },
    origin::DENIED,
    proxy::{
        context::Edge,
        fetch::upstream::Upstream,
        request::{
            admission::AdmittedRequest,
            rejection::{self, is_error},
            variant_slot::key_of,
        },
        response::{
            field_value::{number, value},
            multipart::Multipart,
            proxy_response::{Carried, Head, Part, ProxyResponse, StoredHead, piece},
        },
    },
};

/// A reason why a stored response does not answer the request.
#[derive(Clone, Copy)]
pub(crate) enum Unmet {
    Precondition,
    Range,
}

/// A response that is ready, or a future that completes it.
#[expect(clippy::large_enum_variant, reason = "a hit is not to be allocated for what waits")]
pub(crate) enum Served<'a> {
    /// A response served entirely from memory.
    Now(ProxyResponse),
    /// The stored response, whose content must be compressed or fetched. Boxed to keep the futures small that
    /// hyper stores and moves for a hit.
    Later(Arc<StoredResponse>, BoxFuture<'a, Result<ProxyResponse, SourceError>>),
}

impl Served<'_> {
    pub(crate) async fn done(self) -> Result<ProxyResponse, SourceError> {
        match self {
            Self::Now(answer) => Ok(answer),
            Self::Later(_, answer) => answer.await,
        }
    }
}

/// The plan for a response from a stored response, before its content is available.
struct Plan {
    part: Part,
    varies_by_coding: bool,
    result: ResultType,
    report: Report,
    now: Timestamp,
}

/// Responds from `response`, found in the store or fetched. Fails if bytes are missing and the origin does not
/// deliver them.
pub(crate) fn from_stored<'a>(
    edge: &'a Arc<Edge>,
    admitted: &'a AdmittedRequest<'a>,
    response: Arc<StoredResponse>,
    result: ResultType,
    mut report: Report,
    now: Timestamp,
) -> Served<'a> {
    report.ttl = Some(response.freshness.ttl_seconds(now));
    if response.synthetic_error {
        if response.status == StatusCode::FORBIDDEN {
            report.detail.get_or_insert(DENIED.detail);
        }
        let age = response.freshness.age(now).as_secs();
        let age = (header::AGE, number(age));
        return Served::Now(rejection::error(response.status, report, Some(age)));
    }
    let part = match select(admitted, &response) {
        Ok(part) => part,
        Err(unmet) => return Served::Now(refuse(unmet, &response, report)),
    };
    let coding = compress::coding(admitted, response.compressible);
    let varies_by_coding = admitted.codings() != Codings::NONE && response.compressible;
    // A 304 needs only the headers of the compressed variant. A stored HEAD has no content to compress.
    let response = match coding {
        Some(coding) if part == Part::NotModified => Arc::new(response.described(coding)),
        Some(coding) if response.content_state.is_head_only() => {
            Arc::new(response.encoded_head(coding))
        }
        _ => response,
    };
    let part = match (part, response.content_state) {
        (Part::Whole, ContentState::HeadOnlyOfUnknownLength) => Part::Head,
        (part, _) => part,
    };
    let is_head = response.content_state.is_head_only();
    let coding = coding.filter(|_| part == Part::Whole && !is_head);
    // A compressed variant cannot be read in parts. If viewers hold too much memory, send the content as it is.
    let may_hold = |form: &Arc<StoredResponse>| edge.store.hold(form).is_some();
    let plan = Plan { part, varies_by_coding, result, report, now };
    match coding.map(|coding| compress::form(edge, admitted, &response, coding)) {
        Some(InCoding::PendingEncoding(making)) => Served::Later(
            Arc::clone(&response),
            Box::pin(async move {
                let form = compress::made(making).await.filter(may_hold);
                with_content(edge, admitted, form.unwrap_or(response), plan).done().await
            }),
        ),
        Some(InCoding::Known(form)) => {
            with_content(edge, admitted, form.filter(may_hold).unwrap_or(response), plan)
        }
        None => with_content(edge, admitted, response, plan),
    }
}

fn with_content<'a>(
    edge: &'a Arc<Edge>,
    admitted: &'a AdmittedRequest<'a>,
    response: Arc<StoredResponse>,
    Plan { part, varies_by_coding, result, report, now }: Plan,
) -> Served<'a> {
    let age = age(&response, result, now);
    let result = if is_error(response.status) { ResultType::Error } else { result };
    let head = StoredHead::new(response, part, age, varies_by_coding);
    if let Part::Several(parts) = &head.part {
        let parts = Multipart::clone(parts);
        let response = Arc::clone(&head.response);
        let answer = ProxyResponse::new(Head::Stored(head), Body::empty(), result, report);
        return Served::Later(response, Box::pin(with_parts(edge, admitted, parts, answer)));
    }
    let bytes = head.bytes();
    // The response to a HEAD has no content, and its length is known.
    let is_empty = *admitted.method == Method::HEAD || bytes.is_empty();
    if is_empty {
        let answer = ProxyResponse::new(Head::Stored(head), Body::empty(), result, report);
        return Served::Now(answer);
    }
    let is_whole = head.response.is_whole();
    let Some(hold) = is_whole.then(|| edge.store.hold(&head.response)).flatten() else {
        let response = Arc::clone(&head.response);
        let mut answer = ProxyResponse::new(Head::Stored(head), Body::empty(), result, report);
        let stored = Arc::clone(&response);
        let attached = async move {
            let all = bytes.clone();
            let body = attach_slices(edge, admitted, &response, bytes, all, &mut answer).await?;
            answer.content = Carried::Body(body);
            Ok(answer)
        };
        return Served::Later(stored, Box::pin(attached));
    };
    let mut answer = ProxyResponse::new(Head::Stored(head), Body::empty(), result, report);
    answer.content = Carried::InMemory(hold);
    Served::Now(answer)
}

/// Attaches several ranges. The first is available before the response begins; the others follow.
async fn with_parts(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    parts: Multipart,
    mut answer: ProxyResponse,
) -> Result<ProxyResponse, SourceError> {
    let Head::Stored(StoredHead { response, .. }) = &answer.head else { return Ok(answer) };
    let response = Arc::clone(response);
    if let Some(whole) = response.content.whole()
        && let Some(hold) = edge.store.hold(&response)
    {
        let whole = hold.of(whole);
        let part = move |bytes| std::future::ready(Ok(piece(whole.clone(), &bytes)));
        answer.content = Carried::Body(parts.body(part));
        return Ok(answer);
    }
    let Some(first) = parts.ranges().next().cloned() else { return Ok(answer) };
    let last = parts.ranges().last().map_or(first.end, |last| last.end);
    let touched = first.start..last;
    let begun =
        attach_slices(edge, admitted, &response, first.clone(), touched, &mut answer).await?;
    let begun = Mutex::new(Some(begun));
    let (response, hold) = edge.store.keep(response);
    let source: Arc<dyn SliceSource> = Arc::new(Upstream::new(edge, admitted));
    let (store, key) = (Arc::clone(&edge.store), key_of(admitted, &response));
    answer.content = Carried::Body(parts.body(move |bytes| {
        let _held = &hold;
        let begun = begun.lock().take().filter(|_| bytes == first);
        let (store, source) = (Arc::clone(&store), Arc::clone(&source));
        let reader = Reader::new(store, key.clone(), Arc::clone(&response), source, bytes);
        async move {
            match begun {
                Some(body) => Ok(body),
                None => reader.into_body().await.map_err(Into::into),
            }
        }
    }));
    Ok(answer)
}

/// Attaches `bytes`. The report depends on whether all of `touched` is stored.
async fn attach_slices(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    response: &Arc<StoredResponse>,
    bytes: Range<u64>,
    touched: Range<u64>,
    answer: &mut ProxyResponse,
) -> Result<Body, SourceError> {
    let source = Arc::new(Upstream::new(edge, admitted));
    let store = Arc::clone(&edge.store);
    let key = key_of(admitted, response);
    let reader = Reader::new(store, key, Arc::clone(response), source, bytes);
    if answer.report.status == CacheStatus::Hit {
        let presence = reader.presence(&touched);
        if presence == Presence::OnDisk {
            answer.report.detail = Some(FROM_DISK);
        }
        if presence > Presence::OnDisk {
            answer.report.status = CacheStatus::Forward(ForwardReason::Partial);
            answer.report.collapsed = presence == Presence::Arriving;
        }
        if presence == Presence::Missing {
            answer.result = ResultType::Miss;
        }
    }
    reader.into_body().await
}

/// Selects the part of a response that answers the request.
pub(crate) fn select(
    admitted: &AdmittedRequest<'_>,
    response: &StoredResponse,
) -> Result<Part, Unmet> {
    if response.status != StatusCode::OK || !is_conditional_or_range(admitted.fields) {
        return Ok(Part::Whole);
    }
    // A range without conditions needs no validators.
    if !admitted.fields.keys().any(|name| CONDITIONS.contains(name)) {
        return select_range(admitted, admitted.fields.get(header::RANGE), response);
    }
    response.with_validators(|current| select_part(admitted, current, response))
}

/// Evaluates preconditions first, then `Range` with its `If-Range` (RFC 9110 §13.2.2).
fn select_part(
    admitted: &AdmittedRequest<'_>,
    current: &Validators<'_>,
    response: &StoredResponse,
) -> Result<Part, Unmet> {
    match conditional::evaluate(admitted.fields, current) {
        Precondition::NotModified => return Ok(Part::NotModified),
        Precondition::Failed => return Err(Unmet::Precondition),
        Precondition::Proceed => {}
    }
    let range = admitted.fields.get(header::RANGE).filter(|_| {
        let condition = admitted.fields.get(header::IF_RANGE);
        conditional::range_allowed(condition, current)
    });
    select_range(admitted, range, response)
}

fn select_range(
    admitted: &AdmittedRequest<'_>,
    range: Option<&HeaderValue>,
    response: &StoredResponse,
) -> Result<Part, Unmet> {
    let length = response.length();
    // RFC 9110 §14.2: methods other than GET ignore `Range`.
    let range = range.filter(|_| *admitted.method == Method::GET);
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

/// Fields that depend on the validators of the stored response.
static CONDITIONS: [HeaderName; 5] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// Whether the request has a precondition or a range. Most have none.
pub(crate) fn is_conditional_or_range(fields: &HeaderMap) -> bool {
    fields.keys().any(|name| *name == header::RANGE || CONDITIONS.contains(name))
}

/// `Age` for a response that was not just fetched for this request (RFC 9111 §5.1).
fn age(response: &StoredResponse, result: ResultType, now: Timestamp) -> Option<u64> {
    let age = response.freshness.age(now).as_secs();
    (age > 0 || result != ResultType::Miss).then_some(age)
}

fn refuse(unmet: Unmet, response: &StoredResponse, report: Report) -> ProxyResponse {
    match unmet {
        Unmet::Precondition => rejection::error(StatusCode::PRECONDITION_FAILED, report, None),
        Unmet::Range => {
            let range = value(|text| write!(text, "bytes */{}", response.length()));
            let range = range.map(|range| (header::CONTENT_RANGE, range));
            rejection::error(StatusCode::RANGE_NOT_SATISFIABLE, report, range)
        }
    }
}

//! Pass-through: requests that bypass the cache each go to the origin.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::Body as _;

use super::{
    context::Edge,
    fetch::{
        paced::at_viewers_pace,
        upload::{Pace, read_first},
    },
    request::{
        admission::AdmittedRequest,
        rejection::{self, is_error},
    },
    respond::compress,
    response::proxy_response::{Carried, Fetched, Head, ProxyResponse},
};
use crate::{
    base::metrics::ResultType,
    cache::{
        policy::{Received, RequestProperties, storable},
        store::{FetchError, Lookup},
    },
    http::{
        body::Body,
        cache_status::{CacheStatus, ForwardReason, Report},
        coding::Codings,
        compression,
    },
    origin::{self, OriginRequest},
};

/// Conditions, which the origin evaluates for this viewer because nothing is stored.
static CONDITIONS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// The range of a GET (RFC 9110 §14.2: other methods ignore it).
static RANGE: [HeaderName; 2] = [header::RANGE, header::IF_RANGE];

/// The headers that describe the content of a request.
static CONTENT: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    HeaderName::from_static("content-md5"),
];

/// The headers of a WebSocket handshake (RFC 6455 §11.3). By `Origin`, servers recognize pages of other sites (§10.2).
static WEBSOCKET: [HeaderName; 5] = [
    header::ORIGIN,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];

/// Forwards a request to the origin for one viewer.
pub(super) async fn pass(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    body: Body,
    report: Report,
) -> Result<ProxyResponse, FetchError> {
    let upgrade = if body.is_end_stream() { admitted.upgrade() } else { None };
    let request = OriginRequest {
        method: admitted.method.clone(),
        path: &admitted.path,
        projection: &admitted.forwarded(),
        fields: fields(admitted, upgrade),
        client: admitted.client,
        id: admitted.id_text(),
        on_interim: admitted.open_interim(),
        trace: admitted.trace.cloned(),
    };
    let body = upload(edge, admitted, body).await?;
    let answer = edge.ask_origin(admitted.origin(), admitted.behavior, request, body).await?;
    if !admitted.method.is_safe() && !is_error(answer.status) {
        invalidate(edge, admitted, &answer.fields);
    }
    if *admitted.method == Method::HEAD && answer.status == StatusCode::OK {
        expire_changed(edge, admitted, &answer);
    }
    let answer = at_viewers_pace(edge, admitted, answer, true).await?;
    Ok(present(admitted, answer, report))
}

/// The request content for the origin, if any.
async fn upload(
    edge: &Edge,
    admitted: &AdmittedRequest<'_>,
    body: Body,
) -> Result<Option<Body>, FetchError> {
    if body.is_end_stream() {
        return Ok(None);
    }
    let options = admitted.origin().primary().options();
    let pace = Pace { min_rate: options.upload_min_rate, timeout: options.upload_timeout };
    read_first(&edge.store, body, pace).await.map(Some)
}

/// Invalidates the paths that a successful unsafe request makes stale: its own, and those that `Location` and
/// `Content-Location` name on the same host (RFC 9111 §4.4).
fn invalidate(edge: &Edge, admitted: &AdmittedRequest<'_>, fields: &HeaderMap) {
    let own = admitted.request.uri.path();
    let mut paths = vec![own.to_owned()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(reference) = fields.get(name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        // RFC 3986 §5.2.3: a reference without a slash is relative to the last one.
        let folder = &own[..=own.rfind('/').unwrap_or(0)];
        let absolute = match () {
            () if reference.starts_with("//") => format!("http:{reference}"),
            () if reference.starts_with('/') => format!("http://{}{reference}", admitted.host),
            () if reference.contains("://") => reference.to_owned(),
            () => format!("http://{}{folder}{reference}", admitted.host),
        };
        let Ok(uri) = absolute.parse::<Uri>() else { continue };
        if !uri.host().is_some_and(|host| host.eq_ignore_ascii_case(admitted.host)) {
            continue;
        }
        paths.push(uri.path().to_owned());
    }
    for path in paths {
        let Ok((path, behavior)) = admitted.distribution.route(&path) else { continue };
        // Skip behaviors that store nothing: each invalidation costs every lookup a comparison.
        if !behavior.cache_policy.caching.ttl.is_disabled() {
            edge.store.invalidate(&admitted.distribution.settings.id, &path.generous());
        }
    }
    // A rule may have rewritten the path.
    if !admitted.behavior.cache_policy.caching.ttl.is_disabled() {
        edge.store.invalidate(&admitted.distribution.settings.id, &admitted.path.generous());
    }
}

/// Makes a stored GET response stale if the response to a HEAD differs from it (RFC 9111 §4.3.5).
fn expire_changed(edge: &Edge, admitted: &AdmittedRequest<'_>, head: &origin::OriginResponse) {
    if admitted.behavior.cache_policy.caching.ttl.is_disabled() {
        return;
    }
    if let (key, Lookup::Response(stored)) = edge.stored(admitted, edge.clock.now())
        && stored.status == StatusCode::OK
        && stored.differs_from(&head.fields, head.announced_length)
    {
        edge.store.expire(&key, &stored);
    }
}

/// Builds the viewer's response from an origin response that is not stored.
pub(super) fn present(
    admitted: &AdmittedRequest<'_>,
    answer: origin::OriginResponse,
    mut report: Report,
) -> ProxyResponse {
    let origin::OriginResponse {
        status, mut fields, content_range, announced_length, body, ..
    } = answer;
    let origin::OriginResponse { requested_at, received_at, bucket, .. } = answer;
    let fetched = Some(Box::new(Fetched { timing: answer.timing, tags: answer.tags }));
    report.forward_status = Some(status.as_u16());
    let content_range = content_range.and_then(|r| HeaderValue::from_maybe_shared(r).ok());
    let content_range = content_range.map(|range| (header::CONTENT_RANGE, range));
    if answer.bucket && is_error(status) {
        return ProxyResponse { fetched, ..rejection::error(status, report, content_range) };
    }
    fields.extend(content_range);
    let has_no_content = *admitted.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    if let (true, Some(length)) = (has_no_content, announced_length) {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    if *admitted.method == Method::HEAD
        && report.status != CacheStatus::Forward(ForwardReason::Bypass)
    {
        let received = Received {
            status,
            fields: &fields,
            requested_at,
            received_at,
            request: RequestProperties { bucket, ..RequestProperties::default() },
        };
        if storable(&received, &admitted.behavior.cache_policy.caching).is_ok() {
            describe_as_get(admitted, status, &mut fields);
        }
    }
    let body = if has_no_content { Body::empty() } else { body };
    let result = if is_error(status) { ResultType::Error } else { ResultType::Miss };
    let response = ProxyResponse::new(Head::Own(status, fields), body, result, report);
    let content = answer.tunnel.map_or(response.content, Carried::Tunnel);
    ProxyResponse { content, fetched, ..response }
}

/// Describes the content coding that a GET would get (RFC 9110 §9.3.2). The length of the compressed content is
/// not known yet.
fn describe_as_get(admitted: &AdmittedRequest<'_>, status: StatusCode, fields: &mut HeaderMap) {
    let length = fields.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let worth_it = length.is_some_and(|length| compression::is_worth_it(status, fields, length));
    if admitted.codings() == Codings::NONE || !worth_it {
        return;
    }
    match compress::coding(admitted, worth_it) {
        Some(coding) => {
            compression::describe(fields, coding);
            fields.remove(header::CONTENT_LENGTH);
        }
        None => compression::vary(fields),
    }
}

/// The viewer's headers that are forwarded. `upgrade` are protocols that the connection may change to.
fn fields(admitted: &AdmittedRequest<'_>, upgrade: Option<HeaderValue>) -> HeaderMap {
    let names: &[&[HeaderName]] = match *admitted.method {
        Method::GET => &[&CONDITIONS, &RANGE],
        Method::HEAD => &[&CONDITIONS],
        _ => &[&CONTENT, &CONDITIONS],
    };
    let websocket = upgrade.as_ref().map_or(&[][..], |_| &WEBSOCKET);
    let mut fields: HeaderMap = admitted.id_field().into_iter().collect();
    if let Some(upgrade) = upgrade {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, upgrade);
    }
    for name in names.iter().copied().flatten().chain(websocket) {
        for value in admitted.fields.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    fields
}

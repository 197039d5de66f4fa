//! Spans as OTLP messages, with the attributes of OpenTelemetry's semantic conventions for HTTP.

use std::time::Duration;

use http::{HeaderValue, Method, Version};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};

use super::{attributes::Attributes, ids::SpanIds, target::RequestTarget};
use crate::{
    access_log::Record,
    base::{clock::Timestamp, instance},
};

/// The flags of a span: it is sampled; it is known whether its parent is remote; its parent is remote.
const SAMPLED: u32 = 1;
const KNOWS_REMOTE: u32 = 0x100;
const HAS_REMOTE_PARENT: u32 = 0x200;

/// The methods of semantic conventions. Spans of all others have the same name, because viewers choose them.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// The message that sends the spans of a service.
pub(super) fn message(service_name: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let mut resource = Attributes::default();
    resource.text("service.name", service_name);
    resource.text("service.version", version);
    resource.text("service.instance.id", instance::id());
    resource.text("host.name", instance::machine());
    let scope = InstrumentationScope {
        name: name.into(),
        version: version.into(),
        ..InstrumentationScope::default()
    };
    let resource = Resource { attributes: resource.into(), ..Resource::default() };
    let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }],
    }
}

/// The span of an exchange with a viewer. A viewer that leaves is no error.
pub(super) fn of_viewer(ids: &SpanIds, record: &Record<'_>) -> Span {
    let mut attributes = Attributes::default();
    attributes.text("url.path", record.uri.path());
    attributes.text("url.scheme", if record.tls { "https" } else { "http" });
    attributes.text("client.address", record.client);
    attributes.text("network.protocol.version", version(record.version));
    if let Some(host) = record.host {
        attributes.server(host, if record.tls { 443 } else { 80 });
    }
    attributes.bytes("user_agent.original", record.user_agent.map(HeaderValue::as_bytes));
    attributes.number("http.response.body.size", record.bytes);
    attributes.text("forebay.result", record.result.name());
    attributes.bytes("forebay.request_id", Some(record.id));
    attributes.bytes("forebay.distribution", record.distribution.map(str::as_bytes));
    attributes.bytes("forebay.detail", record.report.detail.map(str::as_bytes));
    attributes.flag("forebay.complete", record.complete);
    if record.report.collapsed {
        attributes.flag("forebay.collapsed", true);
    }
    let status = Some(record.status).filter(|status| *status != 0);
    let failure = record.report.detail.filter(|_| record.status >= 500);
    attributes.status(status, 500, failure);
    span(ids, SpanKind::Server, record.method, (record.at, record.duration), attributes)
}

/// The span of an exchange with another node of the cluster; without a status if that left before it got a response.
pub(super) fn of_peer(
    ids: &SpanIds,
    (method, path): (&Method, &str),
    time: (Timestamp, Duration),
    status: Option<u16>,
) -> Span {
    let mut attributes = Attributes::default();
    attributes.text("url.path", path);
    attributes.text("url.scheme", "https");
    attributes.flag("forebay.peer", true);
    attributes.status(status, 500, status.is_none().then_some("cancelled"));
    span(ids, SpanKind::Server, method, time, attributes)
}

/// The span of a request to an origin or to another node, with its status and the reason why it failed.
pub(super) fn of_request(
    ids: &SpanIds,
    target: &RequestTarget,
    time: (Timestamp, Duration),
    (status, failure): (Option<u16>, Option<&str>),
) -> Span {
    let RequestTarget { method, is_tls, authority, path } = target;
    let (scheme, port) = if *is_tls { ("https", 443) } else { ("http", 80) };
    let mut attributes = Attributes::default();
    attributes.text("url.full", &format!("{scheme}://{authority}{path}"));
    attributes.server(authority.as_bytes(), port);
    attributes.status(status, 400, failure);
    span(ids, SpanKind::Client, method, time, attributes)
}

fn span(
    ids: &SpanIds,
    kind: SpanKind,
    method: &Method,
    (began, duration): (Timestamp, Duration),
    mut attributes: Attributes,
) -> Span {
    let is_known = METHODS.contains(method);
    let method = if is_known { method.as_str() } else { "_OTHER" };
    attributes.text("http.request.method", method);
    let code = if attributes.has_failed() { StatusCode::Error } else { StatusCode::Unset };
    let start = began.as_millis().saturating_mul(1_000_000);
    let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let remote = if ids.has_remote_parent { HAS_REMOTE_PARENT } else { 0 };
    let state = ids.state.as_ref().and_then(|state| state.to_str().ok());
    Span {
        trace_id: ids.trace.to_be_bytes().into(),
        span_id: ids.span.to_be_bytes().into(),
        parent_span_id: ids.parent.map_or_else(Vec::new, |span| span.to_be_bytes().into()),
        flags: SAMPLED | KNOWS_REMOTE | remote,
        kind: kind.into(),
        trace_state: state.unwrap_or_default().into(),
        name: if is_known { method } else { "HTTP" }.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(duration),
        attributes: attributes.into(),
        status: Some(Status { code: code.into(), ..Status::default() }),
        ..Span::default()
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

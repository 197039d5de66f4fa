//! An exchange: a request and its response, counted and logged when the body ends, complete or not.

mod record;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;

use super::{
    context::Edge,
    frames::in_frames,
    logged::{Logged, Shown},
    marks::Marks,
    prepared,
    request::{
        connection::HeldDistribution,
        exchange_tracker::ExchangeState,
        headers_policy::{HeadersPolicy, ResponseInfo},
        incoming::IncomingRequest,
        routing::Distribution,
    },
    response::{
        error_page,
        head_sink::{HeadSink, append_map, append_status_line},
        identity::Identity,
        proxy_response::{Carried, Head, ProxyResponse, StoredHead},
    },
    switched::Switched,
};
use crate::{
    base::{
        clock::Stopwatch,
        metrics::{Answered, ResultType},
    },
    http::{
        body::{Body, Observer},
        cache_status::{CacheStatus, Report},
    },
    outbound::Timing,
};

/// An exchange in progress. It is recorded on drop: either as the observer of the response body, or earlier
/// if the viewer disconnects before the response is ready.
pub(super) struct Exchange {
    edge: Arc<Edge>,
    pub(super) incoming: IncomingRequest,
    watch: Stopwatch,
    logged: Logged,
    distribution: Option<HeldDistribution>,
    status: u16,
    /// Time to first byte; `None` if the response was sent in one piece.
    first_byte: Option<Duration>,
    result: ResultType,
    report: Report,
    sent: u64,
    complete: bool,
    state: ExchangeState,
    /// Set if the access log is detailed.
    shown: Option<Box<Shown>>,
}

impl Exchange {
    /// Begins an exchange whose response is not ready.
    pub(super) fn begin(edge: &Arc<Edge>, incoming: IncomingRequest, watch: Stopwatch) -> Self {
        Self::begin_as(ExchangeState::Awaiting, edge, incoming, watch)
    }

    /// Begins an exchange on the fast path.
    pub(super) fn immediate(edge: &Arc<Edge>, incoming: IncomingRequest, watch: Stopwatch) -> Self {
        Self::begin_as(ExchangeState::Immediate, edge, incoming, watch)
    }

    fn begin_as(
        state: ExchangeState,
        edge: &Arc<Edge>,
        mut incoming: IncomingRequest,
        watch: Stopwatch,
    ) -> Self {
        incoming.connection.exchanges.begin(state);
        if let Some(tracer) = &edge.tracer {
            let is_from_proxy = incoming.viewer.is_behind_http_proxy();
            incoming.trace = tracer.begin(&incoming.request.headers, is_from_proxy);
        }
        Self {
            edge: Arc::clone(edge),
            incoming,
            watch,
            logged: Logged::default(),
            distribution: None,
            status: 0,
            first_byte: None,
            result: ResultType::Error,
            report: Report::new(CacheStatus::Local),
            sent: 0,
            complete: false,
            state,
            shown: None,
        }
    }

    /// Records the distribution of a request whose response is not ready.
    pub(super) fn enter(&mut self, distribution: &Arc<Distribution>) {
        self.distribution = Some(self.incoming.connection.hold(distribution));
    }

    /// Logs a request that was answered outside the pipeline.
    pub(super) fn refused(mut self, status: u16, detail: &'static str) {
        self.status = status;
        self.report.detail = Some(detail);
        self.complete = true;
    }

    /// Converts the response into a message with the headers of every response. It reuses the memory of the
    /// request's header map, which hyper in turn reuses for the next request.
    pub(super) fn respond(
        mut self: Box<Self>,
        answer: ProxyResponse,
        distribution: Option<HeldDistribution>,
        headers_policy: Option<&HeadersPolicy>,
    ) -> Response<Body> {
        self.incoming.connection.interim.close();
        let identity = identity_of(distribution.as_deref());
        let ProxyResponse { head, content, result, report, fetched, substituted } =
            self.with_page(answer, identity);
        let (tunnel, body) = match content {
            Carried::Tunnel(tunnel) => (Some(tunnel), Body::empty()),
            content => (None, content.into_body(&head)),
        };
        let status = substituted.unwrap_or(head.status());
        let mut fields = self.take_fields();
        let timing = fetched.as_ref().map(|fetched| &fetched.timing);
        let marks = self.marks(identity, headers_policy, result, &report, timing);
        match head {
            Head::Own(_, own) | Head::Page(_, own) => {
                fields = own;
                marks.apply(&mut fields);
            }
            Head::Stored(head) => {
                let at = self.incoming.at;
                let make = |fields: &mut HeaderMap| {
                    head.write(fields, identity, at);
                    if marks.change_fields() {
                        marks.apply(fields);
                    } else {
                        marks.write(fields);
                    }
                };
                match marks.plain_hit(&head, distribution.as_deref()) {
                    Some(hit) => prepared::write(hit, &mut fields, make),
                    None => make(&mut fields),
                }
            }
        }
        identity.write_id(&mut fields, &self.incoming.id);
        self.write_alt_svc(distribution.as_deref(), &mut fields);
        let is_at_once = body.is_whole() && tunnel.is_none();
        self.first_byte = (!is_at_once).then(|| self.watch.elapsed());
        self.shown = self
            .edge
            .access_log
            .is_detailed()
            .then(|| Box::new(Shown::of(status, &fields, body.size_hint().exact())));
        self.conclude(status, result, report, distribution);
        self.incoming.connection.exchanges.change(&mut self.state, ExchangeState::Sending);
        let body = if self.incoming.request.method == Method::HEAD {
            describe(&body, &mut fields);
            Body::empty()
        } else {
            body
        };
        let body = in_frames(body, self.incoming.request.version);
        let mut response = match tunnel {
            Some(tunnel) => Switched::response(tunnel, self, fields),
            None => {
                let mut response = Response::new(body.observed(self));
                *response.headers_mut() = fields;
                response
            }
        };
        *response.status_mut() = status;
        response
    }

    /// Appends the HTTP/1.1 head of a stored response to `text`.
    pub(super) fn write_head(
        &mut self,
        head: &StoredHead,
        (length, result, report): (u64, ResultType, Report),
        distribution: HeldDistribution,
        headers_policy: Option<&HeadersPolicy>,
        text: &mut Vec<u8>,
    ) {
        let fields = self.take_fields();
        let identity = identity_of(Some(&distribution));
        let marks = self.marks(identity, headers_policy, result, &report, None);
        let is_detailed = self.edge.access_log.is_detailed();
        let at = self.incoming.at;
        let make = |text: &mut Vec<u8>| {
            append_status_line(head.status(), text);
            if !marks.change_fields() {
                head.write(text, identity, at);
                marks.write(text);
                return is_detailed.then(|| Shown::of_stored(head, length));
            }
            let mut fields = fields;
            head.write(&mut fields, identity, at);
            marks.apply(&mut fields);
            append_map(&fields, text);
            is_detailed.then(|| Shown::of(head.status(), &fields, Some(length)))
        };
        let mut shown = match marks.plain_hit(head, Some(&distribution)) {
            Some(hit) => prepared::append(hit, text, make),
            None => make(text),
        };
        identity.write_id(text, &self.incoming.id);
        self.write_alt_svc(Some(&distribution), text);
        text.extend_from_slice(b"\r\n");
        if let Some(shown) = &mut shown {
            shown.bytes = text.len() as u64;
            // HEAD and GET share a prepared head.
            shown.content_length = Some(length);
        }
        self.shown = shown.map(Box::new);
        self.conclude(head.status(), result, report, Some(distribution));
    }

    /// Announces HTTP/3 to a viewer over TLS and TCP.
    fn write_alt_svc(&self, distribution: Option<&Arc<Distribution>>, sink: &mut impl HeadSink) {
        if let Some(alt_svc) = distribution.and_then(|it| it.settings.alt_svc.as_ref())
            && self.incoming.connection.security.is_some()
            && self.incoming.request.version != Version::HTTP_3
        {
            sink.field(header::ALT_SVC, alt_svc);
        }
    }

    /// Takes the request's header map, moves the logged headers out, and returns it empty.
    fn take_fields(&mut self) -> HeaderMap {
        let mut fields = std::mem::take(&mut self.incoming.request.headers);
        self.logged.take(&mut fields);
        fields
    }

    fn marks<'a>(
        &self,
        identity: &'a Identity,
        headers_policy: Option<&'a HeadersPolicy>,
        result: ResultType,
        report: &'a Report,
        timing: Option<&'a Timing>,
    ) -> Marks<'a> {
        let info =
            ResponseInfo { result, timing, id: self.incoming.id, identity, watch: self.watch };
        let version = self.incoming.request.version;
        let cookie = self.incoming.side.cookie.clone();
        Marks { headers_policy, cookie, info, report, version }
    }

    /// Records that `sent` of `length` bytes are sent.
    pub(super) fn has_sent(&mut self, sent: u64, length: u64) {
        (self.sent, self.complete) = (sent, sent == length);
        if !self.complete && self.first_byte.is_none() {
            self.first_byte = Some(self.watch.elapsed());
        }
    }

    fn conclude(
        &mut self,
        status: StatusCode,
        result: ResultType,
        report: Report,
        distribution: Option<HeldDistribution>,
    ) {
        self.status = status.as_u16();
        (self.result, self.report, self.distribution) = (result, report, distribution);
    }

    /// Renders the page of a synthetic error.
    fn with_page(&self, answer: ProxyResponse, identity: &Identity) -> ProxyResponse {
        let Head::Page(status, mut fields) = answer.head else { return answer };
        let id = identity.id(&self.incoming.id);
        let (media_type, page) = error_page::render(
            status,
            &self.incoming.request.headers,
            &String::from_utf8_lossy(&id),
        );
        fields.insert(header::CONTENT_TYPE, media_type);
        fields.append(header::VARY, HeaderValue::from_static("Accept"));
        let content = Carried::Body(Body::full(page));
        ProxyResponse { head: Head::Own(status, fields), content, ..answer }
    }
}

fn identity_of(distribution: Option<&Arc<Distribution>>) -> &Identity {
    match distribution {
        Some(distribution) => &distribution.settings.identity,
        None => Identity::of_none(),
    }
}

/// RFC 9110 §9.3.2: the response to a HEAD has the `Content-Length` of the omitted content.
fn describe(body: &Body, fields: &mut HeaderMap) {
    let length = body.size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
}

impl Observer for Exchange {
    fn awaits_bytes(&mut self, awaits: bool) {
        let to = if awaits { ExchangeState::Awaiting } else { ExchangeState::Sending };
        self.incoming.connection.exchanges.change(&mut self.state, to);
    }

    fn cut(&mut self, detail: &'static str) {
        self.report.detail = Some(detail);
    }

    fn ended(mut self: Box<Self>, sent: u64, complete: bool) {
        self.sent = sent;
        self.complete = complete;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.incoming.connection.exchanges.end(self.state);
        let duration = self.watch.elapsed();
        if let Some(distribution) = self.distribution.as_ref().filter(|_| self.status != 0) {
            // The response ends with its head if another protocol follows.
            let is_switched = self.status == StatusCode::SWITCHING_PROTOCOLS;
            let answered_in = self.first_byte.filter(|_| is_switched).unwrap_or(duration);
            distribution.metrics.answered(&Answered {
                result: self.result,
                status: self.status,
                bytes: self.sent,
                duration: answered_in,
                is_collapsed: self.report.collapsed,
                stale: self.report.stale_reason(self.result),
            });
        }
        let weight = self.edge.statistics.weight(self.incoming.at + duration, self.status);
        let is_traced = self.incoming.trace.is_some();
        if self.edge.access_log.is_on() || weight.is_some() || is_traced {
            // If a response was sent, the headers are already taken.
            self.logged.take(&mut self.incoming.request.headers);
            let identity = identity_of(self.distribution.as_deref());
            let id = identity.id(&self.incoming.id);
            if self.status == 0 {
                self.report.detail.get_or_insert("viewer-left");
            }
            let record = self.record(duration, &id);
            self.edge.access_log.push(&record);
            if let Some(weight) = weight {
                let rules = self.edge.rules();
                let geography = rules.geography.as_ref();
                let address = self.incoming.viewer.address;
                let country = geography.map(|all| all.country(address).unwrap_or_default());
                self.edge.statistics.add(&record, country, weight);
            }
            if let Some(trace) = &self.incoming.trace {
                trace.end(&record);
            }
        }
    }
}

//! The end of an exchange: counted and logged when its body ends, however it ends.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Response, header, request::Parts};

use super::{
    Connection, Edge, Rules,
    answer::{Answer, Head},
    arrival::Arrival,
    dress::{Dress, Told},
    error_page,
    identity::{Identity, RequestId},
    prepared::{self, PlainHit},
    rules::Distribution,
    viewer::X_FORWARDED_FOR,
};
use crate::{
    access_log::{Detail, Record},
    body::{Body, Observer},
    clock::{Stopwatch, Timestamp},
    metrics::ResultType,
    semantics::{
        cache_status::{CacheStatus, Report},
        range::ContentRange,
    },
};

/// An exchange under way. It is recorded when it is dropped: as the observer of its answer's
/// body, or before, when the viewer leaves while the answer is being made.
pub(super) struct Exchange {
    edge: Arc<Edge>,
    pub(super) arrival: Arrival,
    id: RequestId,
    watch: Stopwatch,
    logged: Logged,
    distribution: Option<Arc<Distribution>>,
    status: u16,
    /// `None` where the answer went out in one piece.
    first_byte: Option<Duration>,
    result: ResultType,
    report: Report,
    sent: u64,
    complete: bool,
    starved: bool,
    /// Where the log wants it.
    shown: Option<Box<Shown>>,
}

/// What the log tells of an answer's head.
#[derive(Default)]
struct Shown {
    bytes: u64,
    content_type: Option<HeaderValue>,
    content_length: Option<u64>,
    range: Option<(u64, u64)>,
}

impl Shown {
    fn of(fields: &HeaderMap, body: &Body) -> Self {
        // The status line, the empty line, and the fields that the connection adds.
        const BESIDES: usize = 60;
        let bytes = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let range = fields.get(header::CONTENT_RANGE).map(HeaderValue::as_bytes);
        let range = range.and_then(ContentRange::parse).and_then(|range| range.bytes);
        Self {
            bytes: (bytes.sum::<usize>() + BESIDES) as u64,
            content_type: fields.get(header::CONTENT_TYPE).cloned(),
            content_length: http_body::Body::size_hint(body).exact(),
            range: range.map(|bytes| (bytes.start, bytes.end.saturating_sub(1))),
        }
    }
}

/// The request's fields that the log tells.
#[derive(Default)]
struct Logged {
    host: Option<HeaderValue>,
    range: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
}

impl Logged {
    /// Takes them out of `fields` and leaves it empty.
    fn take(&mut self, fields: &mut HeaderMap) {
        for (name, value) in fields.drain() {
            // Further lines of a field come without its name; the first one is told.
            let Some(name) = name else { continue };
            let place = match name {
                _ if name == header::HOST => &mut self.host,
                _ if name == header::RANGE => &mut self.range,
                _ if name == header::REFERER => &mut self.referer,
                _ if name == header::USER_AGENT => &mut self.user_agent,
                _ if name == X_FORWARDED_FOR => &mut self.forwarded_for,
                _ => continue,
            };
            *place = Some(value);
        }
    }
}

impl Exchange {
    pub(super) fn begin(
        edge: &Arc<Edge>,
        rules: &Rules,
        connection: &Arc<Connection>,
        request: Parts,
        at: Timestamp,
    ) -> Box<Self> {
        connection.begun.fetch_add(1, Ordering::AcqRel);
        connection.in_flight.fetch_add(1, Ordering::AcqRel);
        connection.starved.fetch_add(1, Ordering::AcqRel);
        Box::new(Self {
            edge: Arc::clone(edge),
            arrival: Arrival::new(rules, connection, request, at),
            id: RequestId::random(),
            watch: Stopwatch::start(),
            logged: Logged::default(),
            distribution: None,
            status: 0,
            first_byte: None,
            result: ResultType::Error,
            report: Report::new(CacheStatus::Local),
            sent: 0,
            complete: false,
            starved: true,
            shown: None,
        })
    }

    /// The answer as a message, with the fields that every answer has. They are written into the
    /// request's map, whose memory goes from request to answer and, within hyper, back.
    pub(super) fn respond(
        mut self: Box<Self>,
        answer: Answer,
        distribution: Option<Arc<Distribution>>,
        dress: Option<&Dress>,
    ) -> Response<Body> {
        let identity = identity_of(distribution.as_ref());
        let Answer { head, body, result, report, timing, substituted } =
            self.with_page(answer, identity);
        let status = substituted.unwrap_or(head.status());
        let mut fields = std::mem::take(&mut self.arrival.request.headers);
        self.logged.take(&mut fields);
        let (version, id) = (self.arrival.request.version, self.id);
        let (timing, watch) = (timing.as_deref(), self.watch);
        let sign = |fields: &mut HeaderMap| {
            if let Some(dress) = dress {
                dress.put_on(fields, &Told { result, timing, id, identity, watch });
            }
            identity.write(fields, result, &report, version);
            identity.write_id(fields, &id);
        };
        match head {
            Head::Own(_, own) | Head::Page(_, own) => {
                fields = own;
                sign(&mut fields);
            }
            Head::Stored(head) => {
                let make = |fields: &mut HeaderMap| {
                    head.write(fields);
                    sign(fields);
                };
                let site = dress.map_or(Some(false), Dress::asking_site);
                let plain = site.and_then(|site| {
                    PlainHit::of(&head, result, report, distribution.as_ref(), version, site)
                });
                match plain {
                    Some(hit) => {
                        prepared::write(hit, &mut fields, make);
                        // The one field that differs each time stands there already.
                        identity.write_id(&mut fields, &id);
                    }
                    None => make(&mut fields),
                }
            }
        }
        self.status = status.as_u16();
        self.first_byte = (!body.is_whole()).then(|| self.watch.elapsed());
        self.shown =
            self.edge.access_log.is_detailed().then(|| Box::new(Shown::of(&fields, &body)));
        (self.result, self.report, self.distribution) = (result, report, distribution);
        self.starved(false);
        let body = if self.arrival.request.method == Method::HEAD {
            describe(&body, &mut fields);
            Body::empty()
        } else {
            body
        };
        let mut response = Response::new(body.observed(self));
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response
    }

    /// Writes the content of an error of our own.
    fn with_page(&self, answer: Answer, identity: &Identity) -> Answer {
        let Head::Page(status, mut fields) = answer.head else { return answer };
        let id = identity.id(&self.id);
        let (media_type, page) = error_page::render(
            status,
            &self.arrival.request.headers,
            &String::from_utf8_lossy(&id),
        );
        fields.insert(header::CONTENT_TYPE, media_type);
        fields.append(header::VARY, HeaderValue::from_static("Accept"));
        Answer { head: Head::Own(status, fields), body: Body::full(page), ..answer }
    }

    fn record<'a>(&'a self, duration: Duration, id: &'a [u8]) -> Record<'a> {
        let Logged { host, range, referer, user_agent, .. } = &self.logged;
        let authority =
            || self.arrival.request.uri.authority().map(|authority| authority.as_str().as_bytes());
        Record {
            at: self.arrival.at,
            id,
            client: self.arrival.viewer.text(&self.arrival.connection),
            host: host.as_ref().map(HeaderValue::as_bytes).or_else(authority),
            method: &self.arrival.request.method,
            uri: &self.arrival.request.uri,
            version: self.arrival.request.version,
            tls: self.arrival.viewer.https,
            distribution: self.distribution.as_ref().map(|d| &*d.settings.id),
            status: self.status,
            bytes: self.sent,
            complete: self.complete,
            duration,
            first_byte: self.first_byte.unwrap_or(duration),
            result: self.result,
            report: self.report,
            range: range.as_ref(),
            referer: referer.as_ref(),
            user_agent: user_agent.as_ref(),
            detail: self.edge.access_log.is_detailed().then(|| self.detail()),
        }
    }

    fn detail(&self) -> Detail<'_> {
        let shown = self.shown.as_deref();
        let forwarded_for = if self.arrival.is_described {
            &self.arrival.forwarded_for
        } else {
            &self.logged.forwarded_for
        };
        let identity = identity_of(self.distribution.as_ref());
        Detail {
            pop: identity.pop.to_str().ok().filter(|pop| !pop.is_empty()).unwrap_or("-"),
            head_bytes: shown.map_or(0, |shown| shown.bytes),
            request_bytes: self.arrival.head_length as u64,
            port: self
                .arrival
                .connection
                .port
                .filter(|_| self.arrival.viewer.address == self.arrival.connection.client),
            tls: self.arrival.connection.cipher,
            forwarded_for: forwarded_for.as_ref(),
            content_type: shown.and_then(|shown| shown.content_type.as_ref()),
            content_length: shown.and_then(|shown| shown.content_length),
            range: shown.and_then(|shown| shown.range),
        }
    }
}

fn identity_of(distribution: Option<&Arc<Distribution>>) -> &Identity {
    match distribution {
        Some(distribution) => &distribution.settings.identity,
        None => Identity::of_none(),
    }
}

/// RFC 9110 §9.3.2: a HEAD is told the length of the content it does not get.
fn describe(body: &Body, fields: &mut HeaderMap) {
    let length = http_body::Body::size_hint(body).exact().filter(|length| *length > 0);
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
}

impl Observer for Exchange {
    fn starved(&mut self, starved: bool) {
        if self.starved != starved {
            self.starved = starved;
            let waiting = &self.arrival.connection.starved;
            if starved {
                waiting.fetch_add(1, Ordering::AcqRel);
            } else {
                waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    fn ended(mut self: Box<Self>, sent: u64, complete: bool) {
        self.sent = sent;
        self.complete = complete;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.starved(false);
        self.arrival.connection.in_flight.fetch_sub(1, Ordering::AcqRel);
        let duration = self.watch.elapsed();
        if let Some(distribution) = &self.distribution {
            distribution.metrics.answered(self.result, self.status, self.sent, duration);
        }
        if self.edge.access_log.is_on() {
            // Where there was an answer they are taken already.
            self.logged.take(&mut self.arrival.request.headers);
            let identity = identity_of(self.distribution.as_ref());
            let id = identity.id(&self.id);
            self.edge.access_log.push(&self.record(duration, &id));
        }
    }
}

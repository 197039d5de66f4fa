//! The end of an exchange: counted and logged when its body ends, however it ends.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Response, header, request::Parts};

use super::{Answer, Connection, Edge, rules::Distribution};
use crate::{
    access_log::Record,
    body::{Body, Observer},
    clock::{Stopwatch, Timestamp},
    metrics::ResultType,
    semantics::cache_status::{CacheStatus, Report},
};

/// An exchange under way. It is recorded when it is dropped: as the observer of its answer's
/// body, or before, when the viewer leaves while the answer is being made.
pub(super) struct Exchange {
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    at: Timestamp,
    watch: Stopwatch,
    pub(super) request: Parts,
    distribution: Option<Arc<Distribution>>,
    status: u16,
    first_byte: Duration,
    result: ResultType,
    report: Report,
    sent: u64,
    complete: bool,
    starved: bool,
}

impl Exchange {
    pub(super) fn begin(
        edge: &Arc<Edge>,
        connection: &Arc<Connection>,
        request: Parts,
        at: Timestamp,
    ) -> Box<Self> {
        connection.begun.fetch_add(1, Ordering::AcqRel);
        connection.in_flight.fetch_add(1, Ordering::AcqRel);
        connection.starved.fetch_add(1, Ordering::AcqRel);
        Box::new(Self {
            edge: Arc::clone(edge),
            connection: Arc::clone(connection),
            at,
            watch: Stopwatch::start(),
            request,
            distribution: None,
            status: 0,
            first_byte: Duration::ZERO,
            result: ResultType::Error,
            report: Report::new(CacheStatus::Local),
            sent: 0,
            complete: false,
            starved: true,
        })
    }

    /// The answer as a message, with the fields that every answer has.
    pub(super) fn respond(
        mut self: Box<Self>,
        answer: Answer,
        distribution: Option<Arc<Distribution>>,
    ) -> Response<Body> {
        let Answer { status, mut fields, body, result, report } = answer;
        let x_cache = distribution
            .as_ref()
            .map_or(HeaderValue::from_static("Error from forebay"), |d| d.x_cache(result));
        fields.insert(header::HeaderName::from_static("x-cache"), x_cache);
        fields.insert(header::VIA, super::via(self.request.version));
        if let Some(value) = report.field_value(super::CACHE_NAME) {
            fields.insert(header::HeaderName::from_static("cache-status"), value);
        }
        self.status = status.as_u16();
        self.first_byte = self.watch.elapsed();
        (self.result, self.report, self.distribution) = (result, report, distribution);
        self.starved(false);
        let body = if self.request.method == Method::HEAD {
            {
                describe(&body, &mut fields);
                Body::empty()
            }
        } else {
            body
        };
        let mut response = Response::new(body.observed(self));
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response
    }

    fn record(&self, duration: Duration) -> Record<'_> {
        let fields = &self.request.headers;
        let authority =
            || self.request.uri.authority().map(|authority| authority.as_str().as_bytes());
        Record {
            at: self.at,
            client: self.connection.client,
            host: fields.get(header::HOST).map(HeaderValue::as_bytes).or_else(authority),
            method: &self.request.method,
            uri: &self.request.uri,
            version: self.request.version,
            tls: self.connection.tls,
            distribution: self.distribution.as_ref().map(|distribution| &*distribution.id),
            status: self.status,
            bytes: self.sent,
            complete: self.complete,
            duration,
            first_byte: self.first_byte,
            result: self.result,
            report: self.report,
            range: fields.get(header::RANGE),
            referer: fields.get(header::REFERER),
            user_agent: fields.get(header::USER_AGENT),
        }
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
            let waiting = &self.connection.starved;
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
        self.connection.in_flight.fetch_sub(1, Ordering::AcqRel);
        let duration = self.watch.elapsed();
        if let Some(distribution) = &self.distribution {
            distribution.metrics.answered(self.result, self.status, self.sent, duration);
        }
        if self.edge.access_log.is_on() {
            self.edge.access_log.push(&self.record(duration));
        }
    }
}

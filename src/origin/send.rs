//! Sending a request to an origin: attempts, retries, pauses.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{StatusCode, header};

use super::{
    Options, Origin, OriginRequest, OriginResponse,
    answer::Times,
    content::{Breaks, Continuation, NotContinued, content},
    pool::{QUEUE_PATIENCE, Want},
    progress::Progress,
    retry,
    subject::Subject,
    timeouts::Timeouts,
};
use crate::{
    access::restrict::Share,
    base::clock::Stopwatch,
    http::body::Body,
    outbound::{Error, ErrorClass, Timing, s3_error::S3Class},
    traces::{ClientSpan, RequestTarget},
};

impl Origin {
    /// Sends a request. Safe methods are retried on a new connection, within the origin's retry budget.
    ///
    /// # Errors
    /// When there is no response, or an S3 error that is not about the object. An S3 response about
    /// the object (404, 403, 412, 416) is an `OriginResponse` with an empty body.
    pub async fn send(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<OriginResponse, Error> {
        let mut timeouts = self.timeouts();
        self.budget.pay_in(self.clock.uptime());
        self.send_within(request, body, &mut timeouts, Breaks::Continue).await
    }

    /// The timeouts of a new request.
    pub(super) const fn timeouts(&self) -> Timeouts {
        Timeouts::new(self.options.response_timeout, self.options.completion_timeout)
    }

    /// Roughly the longest time until a request is answered or fails, with the second request that some responses need.
    pub(super) fn longest_wait(&self) -> Duration {
        const PAUSES: Duration = Duration::from_secs(10);
        let Options {
            connect_timeout, connect_attempts, response_timeout, response_attempts, ..
        } = self.options;
        let attempt = QUEUE_PATIENCE + connect_timeout * connect_attempts + response_timeout;
        attempt * response_attempts * 2 + PAUSES
    }

    pub(super) async fn send_within(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        mut body: Option<Body>,
        timeouts: &mut Timeouts,
        breaks: Breaks,
    ) -> Result<OriginResponse, Error> {
        let sent_at = self.clock.uptime();
        if !self.throttle.admits(sent_at) {
            self.metrics.error(ErrorClass::Throttled.token());
            return Err(Error::Throttled);
        }
        let safe = request.method.is_safe() && body.is_none();
        let most = if breaks == Breaks::Continue { self.options.response_attempts } else { 1 };
        // A kept-alive connection may close during a request; only a safe request can be repeated.
        let mut want = if safe { Want::Any } else { Want::New };
        let mut attempt = 1;
        let mut has_new_credentials = false;
        loop {
            let generation = self.credentials.current().map(|keys| keys.generation);
            let sent = self.send_once(request, body.take(), want, timeouts, breaks, sent_at).await;
            let Failed { error, on_reused } = match sent {
                Ok(answer) => {
                    self.note_answer(request, answer.status);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            // Neither of these adds load: a server may close an idle connection at any time (RFC 9112 §9.3.1), and
            // it rejects old credentials at once.
            let is_free =
                on_reused || (!has_new_credentials && self.newer_credentials(&error, generation));
            has_new_credentials |= is_free && !on_reused;
            let may_help = || attempt < most && error.may_pass() && !self.throttle.is_paused();
            let retry = safe && (is_free || (may_help() && self.budget.withdraw()));
            // A server may close an idle connection.
            let is_failure = !(error.is_viewers() || retry && on_reused);
            if is_failure {
                self.metrics.error(error.class().token());
            }
            if !retry {
                if is_failure {
                    self.note_outcome(true);
                }
                self.note_failure(request, &error, sent_at);
                return Err(error);
            }
            if !is_free {
                tokio::time::sleep(retry::pause(attempt)).await;
                attempt += 1;
            }
            want = Want::New;
        }
    }

    /// A refusal of credentials triggers their renewal. A second try is worthwhile only if newer ones are already
    /// installed.
    fn newer_credentials(&self, error: &Error, used: Option<u64>) -> bool {
        if error.class() != ErrorClass::Configuration {
            return false;
        }
        self.credentials.wake();
        self.credentials.current().map(|keys| keys.generation) > used
    }

    /// Pauses requests to an S3 server that throttles. A plain origin is not paused: its 429 or 503 may concern only
    /// one viewer.
    fn note_failure(&self, request: &OriginRequest<'_>, error: &Error, sent_at: Duration) {
        let &Error::S3 { class: S3Class::Throttled, retry_after, .. } = error else { return };
        let least = retry_after.map(|least| least.min(retry::LONGEST_REQUESTED_PAUSE));
        let object =
            Some(retry::hash((request.path.as_bytes(), request.fields.get(header::RANGE))));
        let times = (sent_at, self.clock.uptime());
        if let Some(pause) = self.throttle.failed(object, times, least) {
            self.log_pause(&Subject::of(request), pause, error);
        }
    }

    /// Ends throttling: a response that is not a server error shows that S3 does not throttle.
    fn note_status(&self, status: StatusCode, sent_at: Duration) {
        let is_fine = !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS;
        if is_fine && self.throttle.succeeded(sent_at) {
            tracing::info!(
                distribution = self.metrics.distribution(),
                origin = self.options.address.authority,
                bucket = self.options.protocol.bucket(),
                "S3 no longer throttles requests"
            );
        }
    }

    /// Makes one attempt. It has a span if the viewer's request is traced.
    pub(super) async fn send_once(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        body: Option<Body>,
        want: Want,
        timeouts: &mut Timeouts,
        breaks: Breaks,
        sent_at: Duration,
    ) -> Result<OriginResponse, Failed> {
        let Some(trace) = &request.trace else {
            return self.attempt(request, body, (want, None), timeouts, breaks, sent_at).await;
        };
        let target = self.target(request);
        let span = trace.begin_request(
            self.clock.now(),
            RequestTarget {
                method: request.method.clone(),
                is_tls: self.options.address.tls,
                authority: self.options.address.authority.clone(),
                path: target.split('?').next().unwrap_or_default().to_owned(),
            },
        );
        let want = (want, Some(&span));
        let sent = self.attempt(request, body, want, timeouts, breaks, sent_at).await;
        match &sent {
            Ok(answer) => span.end(Some(answer.status.as_u16()), None),
            Err(Failed { error, .. }) => {
                let status = error.status().map(|status| status.as_u16());
                span.end(status, Some(error.class().token()));
            }
        }
        sent
    }

    async fn attempt(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        body: Option<Body>,
        (want, span): (Want, Option<&ClientSpan>),
        timeouts: &mut Timeouts,
        breaks: Breaks,
        sent_at: Duration,
    ) -> Result<OriginResponse, Failed> {
        if self.signs() {
            self.credentials.first().await;
        }
        let place = self.place_of_tunnel(request).map_err(Failed::of)?;
        let mut message = self.message(request, body).map_err(Failed::of)?;
        if let Some(on_interim) =
            request.on_interim.as_ref().filter(|_| self.sends_interim_responses())
        {
            on_interim.attach(&mut message);
        }
        if let Some(span) = span {
            // Not signed: proxies on the way may change it.
            span.write_for_origin(message.headers_mut());
        }
        let requested_at = self.clock.now();
        let watch = Stopwatch::start();
        let share = self.share(request.client).await.map_err(Failed::of)?;
        let lease = self.pool.checkout(want, &self.budget).await;
        let mut lease = lease.map_err(Failed::of)?;
        lease.share = share;
        let on_reused = lease.reused;
        let progress = Progress::of(&mut message);
        let sent = lease.send(message);
        let response = progress.watch(sent, timeouts).await;
        let response = response.map_err(|error| {
            // A used connection may be closed, or contain leftovers of an earlier response.
            let is_stale = matches!(error, Error::Connection(_) | Error::Malformed(_));
            let on_reused = on_reused && is_stale;
            Failed { error, on_reused }
        })?;
        self.metrics.answered(response.status().as_u16(), watch.elapsed());
        let timing = Timing { first_byte: watch.elapsed(), ..lease.timing };
        let times = Times { requested_at, received_at: self.clock.now(), timing };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            drop(lease);
            let switched = Box::pin(self.switched(request, response, place, times));
            return switched.await.map_err(Failed::of);
        }
        let (parts, incoming) = response.into_parts();
        self.note_status(parts.status, sent_at);
        let continuation = match breaks {
            Breaks::Continue => Continuation::of(self, request, &parts, &incoming),
            Breaks::Fail => Err(NotContinued::AlreadyContinued),
        };
        let body = content(self, incoming, lease, *timeouts, continuation, Subject::of(request));
        self.read(request, parts, body, times).await.map_err(Failed::of)
    }

    /// The client's connection share. A client that reads or sends slowly delays no others.
    async fn share(&self, client: Option<IpAddr>) -> Result<Option<Share>, Error> {
        let Some(client) = client else { return Ok(None) };
        let share = self.clients.wait(client, QUEUE_PATIENCE).await;
        share.map(Some).ok_or(Error::ClientBusy)
    }
}

/// A failed attempt, and whether it failed on a reused connection.
pub(super) struct Failed {
    pub(super) error: Error,
    on_reused: bool,
}

impl Failed {
    const fn of(error: Error) -> Self {
        Self { error, on_reused: false }
    }
}

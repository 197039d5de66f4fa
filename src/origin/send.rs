//! Sending a request to an origin: attempts, retries, pauses.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    Options, Origin, OriginRequest, OriginResponse,
    answer::Times,
    content::{Breaks, Continuation, content},
    pool::{QUEUE_PATIENCE, Want},
    progress::Progress,
    retry,
    timeouts::Timeouts,
};
use crate::{
    access::restrict::Share,
    base::clock::Stopwatch,
    http::body::Body,
    outbound::{Error, ErrorClass, Timing},
};

impl Origin {
    /// Sends a request. Safe methods are tried again on a new connection, within the origin's retry budget.
    ///
    /// # Errors
    /// When there is no response, or one of S3 that is not about the object. An S3 response about
    /// the object (404, 403, 412, 416) is an [`OriginResponse`] with an empty body.
    pub async fn send(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<OriginResponse, Error> {
        let timeouts =
            Timeouts::start(self.options.response_timeout, self.options.completion_timeout);
        self.budget.pay_in();
        self.send_within(request, body, timeouts, Breaks::Continue).await
    }

    /// The longest time until a request is answered or has failed.
    pub(super) fn longest_wait(&self) -> Duration {
        let Options {
            connect_timeout,
            connect_attempts,
            response_timeout,
            response_attempts,
            completion_timeout,
            ..
        } = self.options;
        let attempt = QUEUE_PATIENCE + connect_timeout * connect_attempts + response_timeout;
        (attempt * response_attempts).min(completion_timeout.unwrap_or(Duration::MAX))
    }

    pub(super) async fn send_within(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        mut body: Option<Body>,
        timeouts: Timeouts,
        breaks: Breaks,
    ) -> Result<OriginResponse, Error> {
        let safe = request.method.is_safe() && body.is_none();
        // A kept-alive connection may be closed under a request; only a safe one can be repeated.
        let mut want = if safe { Want::Any } else { Want::New };
        let mut attempt = 1;
        let mut earlier = None;
        loop {
            let sent_at = self.clock.uptime();
            if !self.throttle.admits(sent_at) {
                let error = earlier.unwrap_or(Error::Throttled);
                self.metrics.error(error.class().token());
                return Err(error);
            }
            let generation = self.credentials.current().map(|keys| keys.generation);
            let sent = self.send_once(request, body.take(), want, timeouts, breaks).await;
            let Failed { error, on_reused } = match sent {
                Ok(answer) => {
                    self.note_success();
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            self.note_failure(&error, sent_at);
            if !error.is_viewers() {
                self.metrics.error(error.class().token());
            }
            // A server may close an idle connection at any time (RFC 9112 §9.3.1): repeating that request is no
            // load on top.
            let retry = safe
                && attempt < self.options.response_attempts
                && (on_reused
                    || self.newer_credentials(&error, generation)
                    || (error.may_pass() && self.budget.withdraw()));
            if !retry {
                return Err(error);
            }
            if !on_reused {
                tokio::time::sleep(retry::pause(attempt)).await;
            }
            earlier = Some(error);
            want = Want::New;
            attempt += 1;
        }
    }

    /// A refusal of credentials wakes their renewal; it is worth a second try only when newer
    /// ones are installed already.
    fn newer_credentials(&self, error: &Error, used: Option<u64>) -> bool {
        if error.class() != ErrorClass::Configuration {
            return false;
        }
        self.credentials.wake();
        self.credentials.current().map(|keys| keys.generation) > used
    }

    /// An S3 server that throttles gets no requests for a while. A plain origin is not paused: its 429 or 503 may be
    /// about one viewer.
    fn note_failure(&self, error: &Error, sent_at: std::time::Duration) {
        let &Error::S3 { class, retry_after, .. } = error else { return };
        if !class.is_throttling() {
            return;
        }
        let least = retry_after.map(|least| least.min(retry::LONGEST_REQUESTED_PAUSE));
        if let Some(pause) = self.throttle.failed(sent_at, self.clock.uptime(), least) {
            self.log_pause(pause, error);
        }
    }

    fn note_success(&self) {
        if self.throttle.succeeded() {
            tracing::info!(
                origin = self.options.address.authority,
                "S3 no longer throttles requests"
            );
        }
    }

    async fn send_once(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        body: Option<Body>,
        want: Want,
        timeouts: Timeouts,
        breaks: Breaks,
    ) -> Result<OriginResponse, Failed> {
        if self.signs() {
            self.credentials.first().await;
        }
        let mut message = self.message(request, body).map_err(Failed::before_sending)?;
        let requested_at = self.clock.now();
        let watch = Stopwatch::start();
        let share = self.share(request.client).await.map_err(Failed::before_sending)?;
        let lease = self.pool.checkout(want, &self.budget).await;
        let mut lease = lease.map_err(Failed::before_sending)?;
        lease.share = share;
        let on_reused = lease.reused;
        let progress = Progress::of(&mut message);
        let sent = lease.send(message);
        let response = progress.watch(sent, timeouts).await;
        let response = response.map_err(|error| {
            // A used connection may be closed, or hold what belongs to an earlier response.
            let is_stale = matches!(error, Error::Connection(_) | Error::Malformed(_));
            let on_reused = on_reused && is_stale;
            Failed { error, on_reused }
        })?;
        self.metrics.answered(watch.elapsed());
        let timing = Timing { first_byte: watch.elapsed(), ..lease.timing };
        let times = Times { requested_at, received_at: self.clock.now(), timing };
        let (parts, incoming) = response.into_parts();
        let continuation = (breaks == Breaks::Continue)
            .then(|| Continuation::of(self, request, &parts, &incoming))
            .flatten();
        let body = content(self, incoming, lease, timeouts, continuation);
        self.read(request, parts, body, times).await.map_err(Failed::before_sending)
    }

    /// The client's part of the connections. A client that reads or sends slowly keeps no other waiting.
    async fn share(&self, client: Option<IpAddr>) -> Result<Option<Share>, Error> {
        let Some(client) = client else { return Ok(None) };
        let share = self.clients.wait(client, QUEUE_PATIENCE).await;
        share.map(Some).ok_or(Error::ClientBusy)
    }
}

/// A failed attempt, and whether it failed on a connection that had served before.
struct Failed {
    error: Error,
    on_reused: bool,
}

impl Failed {
    const fn before_sending(error: Error) -> Self {
        Self { error, on_reused: false }
    }
}

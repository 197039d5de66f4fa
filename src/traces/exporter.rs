//! Sends spans to a collector (OTLP/HTTP, protobuf; OpenTelemetry Protocol Specification, "OTLP/HTTP").

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    trace::v1::Span,
};
use prost::Message;
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::{sleep, timeout},
};

use super::{
    TraceOptions, otlp,
    span_queue::{BATCH, SpanQueue},
};
use crate::{
    aws::describe,
    base::metrics::SpanLoss,
    outbound::{Error, Service, TrustError, WholeAnswer},
};

/// The longest time that a span waits for others, if the collector answers.
const DELAY: Duration = Duration::from_secs(5);

/// The longest time for an attempt (OpenTelemetry Protocol Exporter, "Timeout").
const ATTEMPT: Duration = Duration::from_secs(10);

/// The attempts to send a batch, and the pause after the first one; it doubles with each.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A batch is given up if the collector wants a longer pause than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest message of a collector that is logged, in bytes.
const LONGEST_MESSAGE: usize = 200;

/// Sends spans to a collector.
pub(crate) struct Exporter {
    queue: Arc<SpanQueue>,
    service: Service,
    path: String,
    headers: HeaderMap,
    service_name: String,
    collector: CollectorState,
}

/// How the collector treated the last batch. Changes are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CollectorState {
    Accepting,
    RejectingSome,
    Failing,
}

/// The reason why a collector did not accept spans.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Request(#[from] Error),
    #[error("the collector did not answer within {} seconds", ATTEMPT.as_secs())]
    Timeout,
    #[error("the collector answered {0}")]
    Status(StatusCode, Option<Duration>),
}

impl ExportError {
    /// The pause before the next attempt, if that may succeed ("Failures" and "OTLP/HTTP Throttling").
    fn pause(&self, attempt: u32) -> Option<Duration> {
        // Others may have failed at the same time.
        let usual = FIRST_PAUSE * 2_u32.pow(attempt);
        let usual = usual.mul_f64(1.0 + fastrand::f64() / 4.0);
        match self {
            // The collector has accepted the spans, or never will.
            Self::Request(Error::Content(_) | Error::Request(_)) => None,
            Self::Request(_) | Self::Timeout => Some(usual),
            Self::Status(status, after) => {
                let may_pass = matches!(status.as_u16(), 429 | 502..=504);
                let pause = after.map_or(usual, |after| after.max(usual));
                (may_pass && pause <= LONGEST_PAUSE).then_some(pause)
            }
        }
    }
}

impl Exporter {
    /// An exporter of the spans in `queue`. `headers` are sent with each request.
    ///
    /// # Errors
    /// When there are no certificates to trust.
    pub(crate) fn new(
        options: &TraceOptions,
        mut headers: HeaderMap,
        queue: Arc<SpanQueue>,
    ) -> Result<Self, TrustError> {
        let ca_file = options.ca_file.as_deref();
        let media_type = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, media_type);
        Ok(Self {
            queue,
            service: Service::at(options.address.clone(), "otlp", "", ca_file)?,
            path: options.path.clone(),
            headers,
            service_name: options.service_name.clone(),
            collector: CollectorState::Accepting,
        })
    }

    /// Sends spans until `stopped` completes, then those that still wait.
    pub(crate) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut is_stopped = false;
        while !is_stopped {
            tokio::select! {
                () = self.queue.enough.notified() => {}
                () = sleep(DELAY) => {}
                _ = &mut stopped => is_stopped = true,
            }
            loop {
                let spans = self.queue.take();
                let is_last = spans.len() < BATCH;
                if !spans.is_empty() {
                    is_stopped = self.send(spans, &mut stopped, is_stopped).await;
                }
                // Fewer wait for others, so that each request carries many.
                if is_last {
                    break;
                }
            }
        }
    }

    /// Sends a batch, with pauses between attempts until Forebay stops. Returns whether it has stopped.
    async fn send(
        &mut self,
        spans: Vec<Span>,
        stopped: &mut oneshot::Receiver<()>,
        mut is_stopped: bool,
    ) -> bool {
        let count = spans.len() as u64;
        let message = Bytes::from(otlp::message(&self.service_name, spans).encode_to_vec());
        for attempt in 0..ATTEMPTS {
            let error = match self.attempt(message.clone()).await {
                Ok(answer) => {
                    self.accepted(count, &answer);
                    return is_stopped;
                }
                Err(error) => error,
            };
            is_stopped = is_stopped || stopped.try_recv() != Err(TryRecvError::Empty);
            let has_attempts = attempt + 1 < ATTEMPTS && !is_stopped;
            let Some(pause) = error.pause(attempt).filter(|_| has_attempts) else {
                self.failed(count, &error);
                return is_stopped;
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = &mut *stopped => is_stopped = true,
            }
        }
        is_stopped
    }

    async fn attempt(&self, message: Bytes) -> Result<WholeAnswer, ExportError> {
        let target = (Method::POST, &*self.path);
        let sent = self.service.call(None, target, self.headers.clone(), message);
        let answer = timeout(ATTEMPT, sent).await.map_err(|_| ExportError::Timeout)??;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let after = answer.fields.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok());
        let after = after.and_then(|after| after.parse().ok()).map(Duration::from_secs);
        Err(ExportError::Status(answer.status, after))
    }

    fn failed(&mut self, count: u64, error: &ExportError) {
        self.queue.metrics.lost(SpanLoss::Unsent, count);
        if self.becomes(CollectorState::Failing) {
            let (url, error) = (self.url(), describe(error));
            tracing::warn!(url, error, "traces are lost: the collector does not accept them");
        }
    }

    /// Counts a batch. The collector may have rejected a part of it ("Partial Success").
    fn accepted(&mut self, count: u64, answer: &WholeAnswer) {
        let answer = ExportTraceServiceResponse::decode(&answer.content[..]).unwrap_or_default();
        let ExportTracePartialSuccess { rejected_spans, mut error_message } =
            answer.partial_success.unwrap_or_default();
        let rejected = u64::try_from(rejected_spans).unwrap_or(0).min(count);
        self.queue.metrics.exported(count - rejected);
        self.queue.metrics.lost(SpanLoss::Rejected, rejected);
        let state = if rejected > 0 || !error_message.is_empty() {
            CollectorState::RejectingSome
        } else {
            CollectorState::Accepting
        };
        if !self.becomes(state) {
            return;
        }
        let url = self.url();
        if state == CollectorState::Accepting {
            tracing::info!(url, "the collector accepts traces again");
        } else {
            error_message.truncate(error_message.floor_char_boundary(LONGEST_MESSAGE));
            let reason = error_message;
            tracing::warn!(url, rejected, reason, "the collector complains about traces");
        }
    }

    /// Whether the collector's state changes to this one.
    fn becomes(&mut self, state: CollectorState) -> bool {
        std::mem::replace(&mut self.collector, state) != state
    }

    /// The collector's URL for the log, without a query, which may have a key.
    fn url(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}{path}", self.service.url())
    }
}

//! The admin listener: metrics, health, purges. Never for viewers.

mod api;
mod auth;
mod cloudfront;
mod dashboard;
mod distributions;
mod error_advice;
mod events;
mod explain;
mod fan_out;
mod history;
mod invalidation;
mod invalidations;
mod items;
mod journal;
mod live_log;
mod metrics;
mod metrics_json;
mod operator_commands;
mod options;
mod origins_of_path;
mod overview;
mod prices;
mod purge;
mod readiness;
mod reloaded;
mod reloads;
mod reply;
mod sessions;
mod sns;
mod sqs;
mod upgraded;
mod upgrades;
mod web_page;
mod xml;

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use auth::{Caller, Denied};
pub(crate) use auth::{CallerOptions, Callers, Secret, SecretError};
use cloudfront::ApiResource;
use history::History;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
pub(crate) use operator_commands::OperatorCommand;
use operator_commands::OperatorCommands;
pub(crate) use options::Options;
use parking_lot::Mutex;
pub(crate) use prices::Prices;
pub(crate) use reloaded::ReloadOutcome;
pub use reloaded::Reloaded;
use reloads::Reloads;
use reply::{json, not_allowed, refuse, refuse_framing};
use sessions::Sessions;
pub(crate) use sqs::Queue;
use tokio::{
    sync::{RwLock, mpsc},
    task::JoinHandle,
};
pub(crate) use upgraded::{UpgradeOutcome, Upgraded};

use crate::{
    access::restrict::{Rate, RateLimits, Rates},
    aws::Credentials,
    base::clock::Clock,
    cache::store::PurgeError,
    cluster::{Cluster, SharedHistory},
    http::{body::Body, framing},
    proxy::{Connection, Edge},
    server::{Handler, Heartbeats},
};

/// Maximum size of a request's content, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Maximum size of an invalidation batch in bytes: 3,000 paths of 4,000 characters in XML (Amazon CloudFront Developer
/// Guide, "Quotas"). Accepted only if the request head passes authentication.
const MAX_BATCH: usize = 16 << 20;

/// The header field that marks SNS messages.
const SNS: &str = "x-amz-sns-message-type";

/// Rate limit of purge requests: per second, and as a burst.
const CHANGES: u32 = 50;
const CHANGES_AT_ONCE: u32 = 500;

/// A worker is stalled if its event loop has not run for this long.
const STALLED: Duration = Duration::from_secs(5);

/// The admin listener's request handler.
#[derive(Clone)]
pub(crate) struct Admin(Arc<State>);

struct State {
    edge: Arc<Edge>,
    cluster: Option<Arc<Cluster>>,
    credentials: Arc<Credentials>,
    callers: ArcSwap<Callers>,
    prices: ArcSwap<Prices>,
    sessions: Sessions,
    history: Arc<History>,
    /// The history that all nodes of the cluster have, if there is one.
    shared_history: Option<SharedHistory>,
    changes: RateLimits,
    topics: ArcSwap<Vec<String>>,
    has_https: bool,
    certificates: sns::Certificates,
    consumers: Mutex<Vec<(Queue, JoinHandle<()>)>>,
    clock: Clock,
    /// When the process started, in milliseconds since 1970.
    started: u64,
    heartbeats: Heartbeats,
    commands: OperatorCommands,
    reloads: Reloads,
    draining: AtomicBool,
    /// Whether another process has taken over the history of invalidations, or is about to.
    handing_over: RwLock<bool>,
}

/// The reason for refusing a request, and its status code.
type Refusal = (StatusCode, String);

fn not_purged(error: &PurgeError) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, format!("not everything was purged: {error}; try again"))
}

impl Admin {
    /// Creates the admin handler of an edge.
    ///
    /// # Errors
    /// If the state folder cannot be used.
    pub(crate) fn new(
        edge: Arc<Edge>,
        cluster: Option<Arc<Cluster>>,
        credentials: Arc<Credentials>,
        callers: Callers,
        options: &Options,
        clock: Clock,
        heartbeats: Heartbeats,
    ) -> io::Result<Self> {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let (requests, burst) = (number(CHANGES), number(CHANGES_AT_ONCE));
        let total = Some(Rate { requests, per: Duration::from_secs(1), burst });
        let changes = RateLimits::new(Rates { per_client: None, total }, &clock);
        let history = History::open(options.state.as_deref())?;
        let shared_history = cluster.as_ref().map(|cluster| cluster.history());
        let metrics = Arc::clone(edge.metrics());
        Ok(Self(Arc::new(State {
            edge,
            cluster,
            shared_history,
            credentials,
            callers: ArcSwap::from_pointee(callers),
            prices: ArcSwap::from_pointee(options.prices.clone()),
            sessions: Sessions::new(&clock),
            history: Arc::new(history),
            changes,
            topics: ArcSwap::default(),
            has_https: options.has_https,
            certificates: sns::Certificates::default(),
            consumers: Mutex::default(),
            started: clock.now().as_millis(),
            commands: OperatorCommands::new(),
            reloads: Reloads::new(clock.now(), metrics),
            clock,
            heartbeats,
            draining: AtomicBool::new(false),
            handing_over: RwLock::default(),
        })))
    }

    /// Replaces the queues and topics that events are accepted from. Must be called within a runtime.
    pub(crate) fn listen_to(&self, queues: &[Queue], topics: &[String]) {
        self.0.topics.store(Arc::new(topics.to_vec()));
        let mut consumers = self.0.consumers.lock();
        consumers.retain(|(queue, task)| {
            let is_kept = queues.contains(queue) && !task.is_finished();
            if !is_kept {
                task.abort();
            }
            is_kept
        });
        for queue in queues {
            if !consumers.iter().any(|(known, _)| known == queue) {
                let task = tokio::spawn(sqs::consume(Arc::clone(&self.0), queue.clone()));
                consumers.push((queue.clone(), task));
            }
        }
    }

    /// Reads the invalidations of the cluster's other nodes, if there is a cluster. Must be called within a runtime.
    pub(crate) fn follow_history(&self) {
        tokio::spawn(Arc::clone(&self.0).follow_history());
    }

    /// Begins to take statistics for the dashboard. Must be called within a runtime.
    pub(crate) fn take_statistics(&self) {
        let State { edge, clock, .. } = &*self.0;
        edge.statistics.start(Arc::clone(edge.metrics()), clock.clone());
    }

    /// Replaces the callers that may change something.
    pub(crate) fn set_callers(&self, callers: Callers) {
        self.0.callers.store(Arc::new(callers));
    }

    /// Replaces the prices that the dashboard calculates with.
    pub(crate) fn set_prices(&self, prices: Prices) {
        self.0.prices.store(Arc::new(prices));
    }

    /// The commands of operators, which the caller carries out; `None` after the first call.
    pub(crate) fn take_commands(&self) -> Option<mpsc::Receiver<OperatorCommand>> {
        self.0.commands.take()
    }

    /// Records the outcome of a reload.
    pub(crate) fn record_reload(&self, is_success: bool) {
        self.0.reloads.record(is_success, self.0.clock.now());
    }

    /// Refuses requests of CloudFront's API from now on, because another process takes over. Waits for those in progress.
    pub(crate) async fn set_handing_over(&self, is_handing_over: bool) {
        *self.0.handing_over.write().await = is_handing_over;
    }

    /// Opens the file of the history again, because another process may have replaced it.
    pub(crate) fn reopen_history(&self) {
        self.0.history.reopen();
    }

    /// Makes `/readyz` report that this edge is not ready, so that load balancers stop using it, and ends the streams of
    /// the log.
    pub(crate) fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    async fn answer(&self, request: Request<Body>, client: IpAddr) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if let Err(error) = framing::check(&parts.headers, parts.version) {
            return refuse_framing(error);
        }
        let path = parts.uri.path();
        match (&parts.method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET | &Method::HEAD, "/healthz") => self.health(),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (&Method::GET | &Method::HEAD, "/cluster") => self.members(),
            (&Method::POST, "/purge" | "/events" | "/explain" | "/reload" | "/upgrade") => {
                match content(body, MAX_BODY).await {
                    Some(content) if path == "/events" && parts.headers.contains_key(SNS) => {
                        match sns::take(&self.0, &content).await {
                            Ok(taken) => json(StatusCode::OK, &taken),
                            Err((status, message)) => refuse(status, &message),
                        }
                    }
                    Some(content) => self.0.answer_json(&parts, &content, client).await,
                    None => {
                        refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 1 MiB")
                    }
                }
            }
            (_, "/metrics" | "/healthz" | "/readyz" | "/cluster") => not_allowed("GET, HEAD"),
            (_, "/purge" | "/events" | "/explain" | "/reload" | "/upgrade") => not_allowed("POST"),
            _ if dashboard::is_dashboard_path(path) => self.dashboard(&parts, body, client).await,
            _ => match ApiResource::parse(path) {
                Some(resource) => {
                    let most = if self.0.callers.load().may_call(&parts, client) {
                        MAX_BATCH
                    } else {
                        MAX_BODY
                    };
                    let content = content(body, most).await;
                    cloudfront::answer(&self.0, &parts, resource, content.as_deref(), client).await
                }
                None => refuse(
                    StatusCode::NOT_FOUND,
                    "not found: use GET / for the dashboard, GET /metrics, GET /healthz, GET /readyz, GET /cluster, POST /purge, POST /events, POST /explain, POST /reload, POST /upgrade or CloudFront's API below /2020-05-31/",
                ),
            },
        }
    }
}

/// The whole content of a request, or `None` if it exceeds `most` bytes.
async fn content(body: Body, most: usize) -> Option<bytes::Bytes> {
    Limited::new(body, most).collect().await.ok().map(http_body_util::Collected::to_bytes)
}

impl State {
    fn identify(&self, request: &Parts, content: &[u8], client: IpAddr) -> Result<Caller, Denied> {
        let (callers, now) = (self.callers.load(), self.clock.now());
        match self.session_of(request, &callers) {
            Some(token) => Ok(Caller::Token(token)),
            None => callers.identify(request, content, client, now),
        }
    }

    /// Counts a change. Fails if it exceeds the rate limit.
    fn admit_change(&self) -> Result<(), ()> {
        self.changes.admit(IpAddr::from([0, 0, 0, 0])).map_err(|_| ())
    }

    /// Authenticates and answers a JSON request.
    async fn answer_json(&self, request: &Parts, content: &[u8], client: IpAddr) -> Response<Body> {
        let answered = self.dispatch_json(request, content, client).await;
        answered.unwrap_or_else(|(status, message)| refuse(status, &message))
    }

    async fn dispatch_json(
        &self,
        request: &Parts,
        content: &[u8],
        client: IpAddr,
    ) -> Result<Response<Body>, Refusal> {
        let caller = self.identify_json(request, content, client)?.to_string();
        let ok = StatusCode::OK;
        Ok(match request.uri.path() {
            "/reload" => self.reload(&caller).await,
            "/upgrade" => self.upgrade(&caller).await,
            "/events" => json(ok, &events::take(self, content, &caller).await?),
            "/explain" => json(ok, &explain::explain(self, content).await?),
            _ => json(ok, &self.apply(content, &caller).await?),
        })
    }

    /// Authenticates a JSON request and returns its caller.
    fn identify_json(
        &self,
        request: &Parts,
        content: &[u8],
        client: IpAddr,
    ) -> Result<Caller, Refusal> {
        // A web page can make a browser on this machine send any content type but this one.
        let content_type = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_json = |value: &[u8]| value.to_ascii_lowercase().starts_with(b"application/json");
        if !content_type.is_some_and(is_json) {
            let message = "send the request with `Content-Type: application/json`".to_owned();
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let caller = self.identify(request, content, client);
        caller.map_err(|denied| (StatusCode::FORBIDDEN, denied.to_string()))
    }
}

impl Handler for Admin {
    type Decided = Infallible;

    fn handle(
        &self,
        request: Request<Body>,
        _decided: Option<Infallible>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let (admin, client) = (self.clone(), connection.client);
        async move { admin.answer(request, client).await }
    }
}

//! The composition root: builds the components from a configuration, starts, reloads and drains them.

mod automatic_https;
mod certificates;
mod error;
mod listeners;
mod named_files;
mod open_files;
mod peers;
mod rules;
mod tls_options;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use automatic_https::AutomaticHttps;
use certificates::Certificates;
pub use error::Error;
use listeners::{Listeners, limits, serve, worker_count};
pub use named_files::check_files;
use parking_lot::Mutex;
use peers::PeerSide;
use rules::rules;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    access::restrict::Networks,
    access_log::AccessLog,
    aws::Credentials,
    base::{
        clock::{Clock, Stopwatch},
        key_file::KeysError,
        metrics::Metrics,
    },
    cache::{
        memfd::MemfdArena,
        store::{OpenError, PurgeState, Store},
    },
    cluster::{Cluster, Seal},
    config::Config,
    control::{Admin, Callers, ReloadRequest},
    origin::Protocol,
    proxy::Edge,
    server::{Drain, Heartbeats, Limits, Shared, Workers},
};

pub use crate::control::Reloaded;

/// Number of admin connections for which file descriptors are reserved.
const ADMIN_CONNECTIONS: usize = 8;

/// The part of the drain timeout reserved for writing the last access log lines and joining workers.
const CLOSING: Duration = Duration::from_secs(1);

/// The source of the credentials.
#[derive(Debug)]
pub enum CredentialSource {
    /// AWS's standard chain, renewed in the background.
    StandardChain,
    /// Credentials that the caller maintains.
    Given(Arc<Credentials>),
}

/// A running instance of Forebay.
pub struct Running {
    /// Listening addresses for HTTP.
    pub http: Vec<SocketAddr>,
    /// Listening addresses for HTTPS.
    pub https: Vec<SocketAddr>,
    /// The admin listener's address.
    pub admin_address: Option<SocketAddr>,
    /// The edge, for programs that embed Forebay.
    pub edge: Arc<Edge>,
    /// The configuration at startup. A reload compares settings that need a restart against it.
    started: Config,
    config: Arc<Mutex<Config>>,
    credentials: Arc<Credentials>,
    renewal: Option<Mutex<Option<JoinHandle<()>>>>,
    clock: Clock,
    certificates: Certificates,
    trusted_proxies: Arc<ArcSwap<Networks>>,
    access_log: Arc<AccessLog>,
    admin: Admin,
    cluster: Option<Arc<Cluster>>,
    drain: Drain,
    admin_drain: Drain,
    stop: watch::Sender<bool>,
    workers: Workers,
}

/// Builds and binds everything, then serves. Must be called within a tokio runtime,
/// which runs the admin listener and renews credentials.
///
/// # Errors
/// If a resource that the configuration names is unavailable. Nothing keeps running in that case.
pub fn start(config: Config, clock: Clock, source: CredentialSource) -> Result<Running, Error> {
    let metrics = Metrics::new();
    // Before the disk cache opens its files: this raises the limit on open files.
    let limits = limits(&config);
    let cluster = cluster(&config, &metrics)?;
    let store = store(&config, cluster.as_deref(), &clock, &metrics)?;
    let pages = store.pages().clone();
    let (credentials, renewal) = match source {
        CredentialSource::StandardChain => (Credentials::loading(), Some(Mutex::default())),
        CredentialSource::Given(credentials) => (credentials, None),
    };
    let access_log = access_log(&config, &metrics)?;
    let workers = worker_count(&config);
    let peer_side = PeerSide::bind(&config, cluster.as_ref(), &clock, &metrics, workers)?;
    let (peer_side, peer_bound) = peer_side.unzip();
    let edge = Edge::new(store, clock.clone(), Arc::clone(&metrics), Arc::clone(&access_log))
        .with_peers(peer_side.as_ref().map(PeerSide::peers));
    edge.set_rules(rules(&config, &edge, &credentials, &clock)?);
    let (automatic, obtaining) = AutomaticHttps::open(&config, &clock, &metrics)?;
    let mut listeners = Listeners::bind(&config, peer_bound, workers, &automatic, &metrics)?;
    let (drain, signal) = Drain::new();
    let (admin_drain, admin_signal) = Drain::new();
    let (stop, stopped) = watch::channel(false);
    let heartbeats = Heartbeats::new(workers, Arc::clone(&metrics));
    let admin = admin(&config, &edge, cluster.clone(), &credentials, &clock, heartbeats.clone())?;
    let admin_shared =
        Shared::new(Limits::default(), Arc::clone(&metrics), admin_signal, MemfdArena::default())
            .with_reserved_fds(ADMIN_CONNECTIONS);
    let http = Listeners::addresses(&listeners.http);
    let https = Listeners::addresses(&listeners.https);
    let admin_address = listeners.admin.first().map(|bound| bound.address);
    for mut bound in std::mem::take(&mut listeners.admin) {
        tokio::spawn(bound.serve(&admin, admin_shared.clone())?);
    }
    let shared = Shared::new(limits, metrics, signal, pages);
    let trusted_proxies = Arc::clone(&shared.trusted_proxies);
    trusted_proxies.store(Arc::new(config.listen.trusted_proxies.clone()));
    let (tls, metrics) = (listeners.tls.clone(), Arc::clone(edge.metrics()));
    let certificates = Certificates { tls, peers: peer_side, automatic, metrics };
    let workers = serve(
        listeners,
        &heartbeats,
        &edge,
        &certificates.automatic.challenges,
        &shared,
        &stopped,
    )?;
    let running = Running {
        http,
        https,
        admin_address,
        edge,
        config: Arc::new(Mutex::new(config.clone())),
        started: config,
        credentials,
        renewal,
        clock,
        certificates,
        trusted_proxies,
        access_log,
        admin,
        cluster,
        drain,
        admin_drain,
        stop,
        workers,
    };
    running.begin(obtaining);
    Ok(running)
}

impl Running {
    /// Begins what is independent of viewers. Must be called within a runtime.
    fn begin(&self, obtaining: Option<automatic_https::Task>) {
        for doubt in self.started.doubts() {
            tracing::warn!("{doubt}");
        }
        self.renew_credentials();
        let certificates = self.certificates.clone();
        tokio::spawn(certificates.watch(Arc::clone(&self.config), self.stop.subscribe()));
        if let Some(obtaining) = obtaining {
            obtaining.spawn();
        }
        if let Some(cluster) = &self.cluster {
            cluster.start();
            self.admin.follow_history();
        }
        let options = &self.started.admin_options;
        self.admin.listen_to(&options.queues, &options.topics);
    }

    /// Applies a new configuration. Connections and the cache are kept. On an error nothing changes.
    ///
    /// # Errors
    /// If a resource that the configuration names is unavailable.
    pub fn reload(&self, config: Config) -> Result<Reloaded, Error> {
        let rules = rules(&config, &self.edge, &self.credentials, &self.clock)?;
        let callers = Callers::load(&config.admin_options.callers)?;
        let mut in_effect = self.config.lock();
        let certificates = self.certificates.read(&config)?;
        self.certificates.set(certificates, &config)?;
        self.edge.set_rules(rules);
        if let Some(cluster) = &self.cluster {
            cluster.set_configuration(config.shared_digest());
        }
        self.admin.set_callers(callers);
        self.admin.listen_to(&config.admin_options.queues, &config.admin_options.topics);
        self.trusted_proxies.store(Arc::new(config.listen.trusted_proxies.clone()));
        self.access_log.reopen();
        let needs_restart = self.started.changes_for_restart(&config);
        let reloaded = Reloaded {
            is_from_file: true,
            needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
            warnings: config.doubts(),
        };
        *in_effect = config;
        drop(in_effect);
        self.renew_credentials();
        Ok(reloaded)
    }

    /// Requests for reloads from the admin API; `None` after the first call. Until that call, they are refused.
    pub(crate) fn take_reload_requests(&self) -> Option<mpsc::Receiver<ReloadRequest>> {
        self.admin.take_reload_requests()
    }

    /// Shows the outcome of a reload in the metrics and in `/readyz`.
    pub(crate) fn record_reload(&self, is_success: bool) {
        self.admin.record_reload(is_success);
    }

    /// Whether the event loops of all workers run.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.admin.is_healthy()
    }

    /// The longest time that [`Self::stop`] takes.
    #[must_use]
    pub fn longest_stop(&self) -> Duration {
        let config = self.config.lock();
        config.listen.drain_delay + config.listen.drain
    }

    /// Reopens the access log's file.
    pub fn reopen_log(&self) {
        self.access_log.reopen();
    }

    /// Stops accepting connections, drains the open ones, then stops. Returns `true` if all of them finished.
    ///
    /// First `/readyz` returns 503 for `drain_delay`, so that load balancers stop sending requests, and
    /// connections close with their next response. The rest takes at most `drain`, of which the access log takes
    /// at most one second, even if standard output is blocked.
    pub async fn stop(self) -> bool {
        let (delay, patience) = {
            let config = self.config.lock();
            (config.listen.drain_delay, config.listen.drain)
        };
        self.admin.begin_drain();
        self.admin.listen_to(&[], &[]);
        self.drain.announce();
        tokio::time::sleep(delay).await;
        let watch = Stopwatch::start();
        self.drain.begin();
        let finished =
            self.drain.finished(patience.saturating_sub((patience / 10).min(CLOSING))).await;
        self.admin_drain.begin();
        self.stop.send_replace(true);
        let Self { workers, access_log, renewal, edge, cluster, .. } = self;
        if let Some(task) = renewal.and_then(Mutex::into_inner) {
            task.abort();
        }
        let left = patience.saturating_sub(watch.elapsed());
        // These calls block, and the runtime may have other work.
        let serving = tokio::task::spawn_blocking(move || {
            if !access_log.close(left.min(CLOSING)) {
                tracing::warn!(
                    "the last lines of the access log are lost: its file or standard output cannot be written"
                );
            }
            workers.join();
        });
        let ended = async {
            serving.await?;
            if let Some(cluster) = cluster {
                cluster.leave().await;
            }
            let close =
                move || edge.store().close_disk(patience.saturating_sub(watch.elapsed()) / 2);
            tokio::task::spawn_blocking(close).await
        };
        matches!(tokio::time::timeout(left, ended).await, Ok(Ok(()))) && finished
    }

    /// Renews AWS credentials, from the time when a component needs them.
    pub fn renew_credentials(&self) {
        let Some(renewal) = &self.renewal else { return };
        let mut task = renewal.lock();
        let region = credentials_region(&self.config.lock());
        match (task.as_ref(), region) {
            (Some(_), _) => self.credentials.wake(),
            (None, Some(region)) => {
                let credentials = Arc::clone(&self.credentials);
                *task = Some(Handle::current().spawn(credentials.keep_fresh(region)));
            }
            (None, None) => {}
        }
    }
}

fn access_log(config: &Config, metrics: &Metrics) -> Result<Arc<AccessLog>, Error> {
    let opened = AccessLog::open(&config.access_log, metrics.log_dropped.clone());
    let opened = opened.map_err(|source| {
        let path = config.access_log.path.clone().unwrap_or_else(|| "-".into());
        Error::AccessLog { path, source }
    });
    opened.map(Arc::new)
}

fn cluster(config: &Config, metrics: &Metrics) -> Result<Option<Arc<Cluster>>, KeysError> {
    let Some(options) = config.cluster.clone() else { return Ok(None) };
    let seal = Seal::read(options.key_file.as_deref())?;
    let cluster = Cluster::new(options, config.shared_digest(), seal, metrics.cluster());
    Ok(Some(Arc::new(cluster)))
}

/// Opens the store, with a disk cache if one is configured.
fn store(
    config: &Config,
    cluster: Option<&Cluster>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Arc<Store>, OpenError> {
    let log = |purges: PurgeState| match cluster {
        Some(cluster) => cluster.log(purges),
        None => purges.local_log(),
    };
    Ok(Arc::new(match config.disk.clone() {
        Some(disk) => Store::on_disk_with(config.cache, disk, clock.clone(), metrics.disk(), log)?,
        None => Store::in_memory(config.cache, log),
    }))
}

fn admin(
    config: &Config,
    edge: &Arc<Edge>,
    cluster: Option<Arc<Cluster>>,
    credentials: &Arc<Credentials>,
    clock: &Clock,
    heartbeats: Heartbeats,
) -> Result<Admin, Error> {
    let options = &config.admin_options;
    let callers = Callers::load(&options.callers)?;
    let (edge, credentials) = (Arc::clone(edge), Arc::clone(credentials));
    let admin = Admin::new(edge, cluster, credentials, callers, options, clock.clone(), heartbeats);
    admin.map_err(|source| {
        let folder = options.state.clone().unwrap_or_default();
        Error::State { folder, source }
    })
}

/// The region of the first component that needs credentials, if any: a bucket, a queue, CloudFront.
fn credentials_region(config: &Config) -> Option<String> {
    let origins = config.distributions.iter().flat_map(|distribution| &distribution.origins);
    let signed = origins.filter(|origin| origin.protocol.is_signed());
    let of_buckets = signed.filter_map(|origin| match &origin.protocol {
        Protocol::S3 { region, .. } => Some(region.as_str()),
        Protocol::Plain => None,
    });
    let of_queues = config.admin_options.queues.iter().map(|queue| queue.region.as_str());
    let copies = config.distributions.iter().any(|d| d.settings.fan_out.is_some());
    let cloudfront = copies.then_some("us-east-1");
    of_buckets.chain(of_queues).chain(cloudfront).next().map(str::to_owned)
}

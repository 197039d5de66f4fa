//! A running instance: its parts, and what can be done to it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    Error, Predecessor, automatic_https::Task, background::BackgroundTasks,
    certificates::Certificates, listening_sockets::ListeningSockets, replaced::Replaced,
    rules::rules, staging_watch, upgrade_state::UpgradeState,
};
use crate::{
    access::restrict::Networks,
    access_log::AccessLog,
    aws::Credentials,
    base::clock::Clock,
    cluster::Cluster,
    config::Config,
    control::{Admin, Callers, OperatorCommand, Reloaded},
    origin::Protocol,
    proxy::Edge,
    server::{Drain, Workers},
};

/// How long a process that replaces another one waits for credentials, for its cluster and for the index of its disk cache,
/// and how often it looks.
const STARTING: Duration = Duration::from_secs(5);
const READINESS: Duration = Duration::from_millis(20);

/// The task that renews credentials, once there is one.
pub(super) type Renewal = Mutex<Option<JoinHandle<()>>>;

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
    pub(super) started: Config,
    pub(super) config: Arc<Mutex<Config>>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) renewal: Option<Renewal>,
    pub(super) clock: Clock,
    pub(super) certificates: Certificates,
    pub(super) trusted_proxies: Arc<ArcSwap<Networks>>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) admin: Admin,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) background: BackgroundTasks,
    pub(super) drain: Drain,
    pub(super) admin_drain: Drain,
    pub(super) stop: watch::Sender<bool>,
    pub(super) workers: Workers,
    pub(super) sockets: Mutex<ListeningSockets>,
    /// The task that obtains certificates.
    pub(super) obtaining: Mutex<Option<JoinHandle<()>>>,
    /// The same before it begins.
    pub(super) to_obtain: Mutex<Option<Task>>,
    pub(super) upgrade: UpgradeState,
    /// The process that this one replaced.
    pub(super) replaced: Option<Replaced>,
}

impl Running {
    /// Begins what is independent of viewers, and may begin while another process serves. Must be called within a
    /// runtime.
    pub(super) fn begin(&self) {
        for doubt in self.started.doubts() {
            tracing::warn!("{doubt}");
        }
        self.renew_credentials();
        let certificates = self.certificates.clone();
        tokio::spawn(certificates.watch(Arc::clone(&self.config), self.stop.subscribe()));
        tokio::spawn(staging_watch::watch(Arc::clone(&self.edge), self.stop.subscribe()));
        if let Some(cluster) = &self.cluster {
            cluster.start();
            self.admin.follow_history();
        }
    }

    /// Accepts connections, and begins what only one process may do. Must be called within a runtime.
    pub(crate) fn serve(&self) {
        self.drain.serve();
        self.admin_drain.serve();
        let options = &self.started.admin_options;
        self.admin.listen_to(&options.queues, &options.topics);
        if let Some(task) = self.to_obtain.lock().take() {
            *self.obtaining.lock() = Some(task.spawn());
        }
    }

    /// Whether the addresses for HTTPS also have HTTP/3.
    pub(crate) const fn has_http3(&self) -> bool {
        self.started.listen.http3
    }

    /// Waits until this process could answer all requests from its cache, but not for longer than [`STARTING`]. Returns
    /// whether it could answer all.
    pub(crate) async fn is_ready(&self) -> bool {
        let ready = async {
            while !self.admin.is_ready() || !self.admin.may_use_cache() || self.is_recovering() {
                tokio::time::sleep(READINESS).await;
            }
        };
        // Without a lease, a node validates what it has stored.
        let _ = tokio::time::timeout(STARTING, ready).await;
        self.admin.is_ready()
    }

    /// Whether the index of the disk cache is still being read.
    pub(super) fn is_recovering(&self) -> bool {
        self.edge.store().disk_usage().is_some_and(|disk| disk.to_recover > 0)
    }

    /// Accepts connections instead of the process that this one replaces.
    ///
    /// # Errors
    /// If the process cannot be reached.
    pub(crate) fn replace(&self, predecessor: &Predecessor) -> io::Result<()> {
        predecessor.replaced()?;
        self.serve();
        Ok(())
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
        staging_watch::show(&self.edge);
        if let Some(cluster) = &self.cluster {
            cluster.set_configuration(config.shared_digest());
        }
        self.admin.set_callers(callers);
        self.admin.set_prices(config.admin_options.prices.clone());
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

    /// The commands of operators; `None` after the first call. Until that call, they are refused.
    pub(crate) fn take_commands(&self) -> Option<mpsc::Receiver<OperatorCommand>> {
        self.admin.take_commands()
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

    /// The access log, which outlives the rest by a moment.
    pub(crate) fn access_log(&self) -> Arc<AccessLog> {
        Arc::clone(&self.access_log)
    }

    /// Reopens the access log's file.
    pub fn reopen_log(&self) {
        self.access_log.reopen();
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

/// The region of the first component that needs credentials, if any: a bucket, a queue, the bucket of access logs, CloudFront.
fn credentials_region(config: &Config) -> Option<String> {
    let origins = config.all_distributions().flat_map(|distribution| &distribution.origins);
    let signed = origins.filter(|origin| origin.protocol.is_signed());
    let of_buckets = signed.filter_map(|origin| match &origin.protocol {
        Protocol::S3 { region, .. } => Some(region.as_str()),
        Protocol::Plain => None,
    });
    let of_logs = config.log_delivery.iter().map(|delivery| delivery.region.as_str());
    let of_queues = config.admin_options.queues.iter().map(|queue| queue.region.as_str());
    let copies = config.distributions.iter().any(|d| d.settings.fan_out.is_some());
    let cloudfront = copies.then_some("us-east-1");
    of_buckets.chain(of_queues).chain(of_logs).chain(cloudfront).next().map(str::to_owned)
}

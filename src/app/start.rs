//! How an instance begins.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    CredentialSource, Error, Predecessor, Running,
    automatic_https::AutomaticHttps,
    background::Prepared,
    certificates::Certificates,
    last_state::LastState,
    listeners::{Listeners, limits, serve, worker_count},
    named_files::check_files,
    peers::PeerSide,
    replaced::Replaced,
    rules::rules,
    running::Renewal,
    upgrade_state::UpgradeState,
};
use crate::{
    access_log::AccessLog,
    aws::Credentials,
    base::{clock::Clock, key_file::KeysError, metrics::Metrics},
    cache::{
        memfd::MemfdArena,
        store::{OpenError, PurgeLog, PurgeState, Store},
    },
    cluster::{Cluster, Seal},
    config::Config,
    control::{Admin, Callers},
    proxy::Edge,
    server::{Bound, Drain, DrainSignal, Heartbeats, InheritedSockets, Limits, Shared},
};

/// Number of admin connections for which file descriptors are reserved.
const ADMIN_CONNECTIONS: usize = 8;

/// Builds and binds everything, then serves. Must be called within a tokio runtime,
/// which runs the admin listener and renews credentials.
///
/// # Errors
/// If a resource that the configuration names is unavailable. Nothing keeps running in that case.
pub fn start(config: Config, clock: Clock, source: CredentialSource) -> Result<Running, Error> {
    let running = prepare(config, clock, source, &InheritedSockets::default(), None)?;
    running.serve();
    Ok(running)
}

/// The same, but connections wait until [`Running::serve`] is called. Uses `sockets` instead of binding the same
/// addresses, and takes over from `predecessor`, which serves until then.
pub(crate) fn prepare(
    config: Config,
    clock: Clock,
    source: CredentialSource,
    sockets: &InheritedSockets,
    predecessor: Option<&Predecessor>,
) -> Result<Running, Error> {
    let metrics = Metrics::new();
    // Before the disk cache opens its files: this raises the limit on open files.
    let limits = limits(&config);
    let cluster = cluster(&config, &metrics)?;
    let taken = take_over(predecessor, &config, cluster.as_deref(), &clock, sockets)?;
    let (credentials, renewal) = credentials(source);
    let access_log = access_log(&config, &metrics)?;
    let places = (worker_count(&config), sockets, predecessor.is_some());
    let peers = PeerSide::bind(&config, cluster.as_ref(), &clock, &metrics, (places.0, sockets))?;
    let (peer_side, bound) = peers.unzip();
    let (automatic, obtaining) = AutomaticHttps::open(&config, &clock, &metrics)?;
    let mut listeners = Listeners::bind(&config, bound, places, limits, &automatic, &metrics)?;
    let mut tasks = Prepared::new(&config, &metrics, &credentials)?;
    // Last, because the process before uses the disk cache again if this one cannot start.
    let (store, replaced) = store_after(taken, &config, cluster.as_deref(), &clock, &metrics)?;
    let edge = Edge::new(store, clock.clone(), Arc::clone(&metrics), Arc::clone(&access_log))
        .with_peers(peer_side.as_ref().map(PeerSide::peers))
        .with_tracer(tasks.tracer.take());
    edge.set_rules(rules(&config, &edge, &credentials, &clock)?);
    let [(drain, signal), (admin_drain, admin_signal)] = [Drain::new(), Drain::new()];
    let (stop, stopped) = watch::channel(false);
    let heartbeats = Heartbeats::new(places.0, Arc::clone(&metrics));
    let admin = admin(&config, &edge, cluster.clone(), &credentials, &clock, heartbeats.clone())?;
    let [http, https] =
        [&listeners.http, &listeners.https].map(|bound| Listeners::addresses(bound));
    let admin_address = listeners.admin.first().map(|bound| bound.address);
    let sockets = Mutex::new(listeners.sockets()?);
    serve_admin(std::mem::take(&mut listeners.admin), &admin, &metrics, admin_signal)?;
    let shared = Shared::new(limits, metrics, signal, edge.store().pages().clone());
    shared.trusted_proxies.store(Arc::new(config.listen.trusted_proxies.clone()));
    let (tls, metrics) = (listeners.tls.clone(), Arc::clone(edge.metrics()));
    let certificates = Certificates { tls, peers: peer_side, automatic, metrics };
    let challenges = &certificates.automatic.challenges;
    let workers = serve(listeners, &heartbeats, &edge, challenges, &shared, &stopped)?;
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
        trusted_proxies: Arc::clone(&shared.trusted_proxies),
        access_log,
        admin,
        cluster,
        background: tasks.spawn(),
        drain,
        admin_drain,
        stop,
        workers,
        sockets,
        obtaining: Mutex::default(),
        to_obtain: Mutex::new(obtaining),
        upgrade: UpgradeState::default(),
        replaced,
    };
    running.begin();
    Ok(running)
}

/// Serves the admin listener on this runtime.
fn serve_admin(
    listeners: Vec<Bound>,
    admin: &Admin,
    metrics: &Arc<Metrics>,
    signal: DrainSignal,
) -> io::Result<()> {
    let shared = Shared::new(Limits::default(), Arc::clone(metrics), signal, MemfdArena::default())
        .with_reserved_fds(ADMIN_CONNECTIONS);
    if !listeners.is_empty() {
        admin.take_statistics();
    }
    for bound in listeners {
        tokio::spawn(bound.serve(admin, shared.clone())?);
    }
    Ok(())
}

/// The credentials, and a place for the task that renews them, if there is to be one.
fn credentials(source: CredentialSource) -> (Arc<Credentials>, Option<Renewal>) {
    match source {
        CredentialSource::StandardChain => (Credentials::loading(), Some(Mutex::default())),
        CredentialSource::Given(credentials) => (credentials, None),
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

/// What another process handed over.
struct Taken<'a> {
    from: &'a Predecessor,
    /// The contents of its memory.
    contents: Option<Store>,
    state: LastState,
}

/// Takes over the contents of the memory and the listening sockets of the process before, if there is one.
fn take_over<'a>(
    from: Option<&'a Predecessor>,
    config: &Config,
    cluster: Option<&Cluster>,
    clock: &Clock,
    sockets: &InheritedSockets,
) -> Result<Option<Taken<'a>>, Error> {
    let Some(from) = from else { return Ok(None) };
    // Before the other process stops writing.
    if let Some(error) = check_files(config, clock).into_iter().next() {
        return Err(error);
    }
    let after = |identity| Store::after(identity, config.cache, log_of(cluster));
    let contents = from.take_contents(config, after).map_err(Error::Predecessor)?;
    let state = from.take_over(sockets).map_err(Error::Predecessor)?;
    Ok(Some(Taken { from, contents, state }))
}

/// The store with the contents of the process before, from its memory or its disk cache, and that process.
fn store_after(
    taken: Option<Taken<'_>>,
    config: &Config,
    cluster: Option<&Cluster>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<(Arc<Store>, Option<Replaced>), Error> {
    let Some(Taken { from, contents, state }) = taken else {
        return Ok((store(config, cluster, clock, metrics)?, None));
    };
    let took_contents = contents.is_some();
    let store = match contents {
        Some(contents) => Arc::new(contents),
        None => store(config, cluster, clock, metrics)?,
    };
    state.apply_to(&store, took_contents);
    let replaced = from.follow(&store).map_err(Error::Predecessor)?;
    Ok((store, Some(replaced)))
}

/// The log of purges of a store.
fn log_of(cluster: Option<&Cluster>) -> impl FnOnce(PurgeState) -> Box<dyn PurgeLog> {
    move |purges| match cluster {
        Some(cluster) => cluster.log(purges),
        None => purges.local_log(),
    }
}

/// Opens the store, with a disk cache if one is configured.
fn store(
    config: &Config,
    cluster: Option<&Cluster>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Arc<Store>, OpenError> {
    let log = log_of(cluster);
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

//! The listeners for viewers, and the workers that serve them.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::sync::watch;

use super::{
    Error,
    automatic_https::AutomaticHttps,
    listening_sockets::ListeningSockets,
    open_files::fitting_connections,
    quic_sockets::QuicSockets,
    tls_options::{profiles, read_keys, show},
};
use crate::{
    base::metrics::Metrics,
    cache::disk::DiskOptions,
    config::Config,
    proxy::Edge,
    server::{
        BindError, Bound, Endpoint, Heartbeats, InheritedSockets, Limits, PeerHandler, Shared,
        TlsSettings, ViewerHandler, Workers, bindable, spawn_workers,
    },
    tls::{Challenges, TlsError},
};

/// The limits of the viewer listeners, with as many connections as there can be open files.
pub(super) fn limits(config: &Config) -> Limits {
    let (mut limits, disk) = (config.listen.limits, config.disk.as_ref());
    let disk_files = disk.map_or(0, DiskOptions::files);
    limits.max_connections = fitting_connections(limits.max_connections, disk_files);
    limits
}

pub(super) fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.listen.workers.unwrap_or_else(cores)
}

/// The bound listeners.
pub(super) struct Listeners {
    pub(super) tls: Option<Arc<TlsSettings>>,
    pub(super) http: Vec<Bound>,
    pub(super) https: Vec<Bound>,
    pub(super) admin: Vec<Bound>,
    /// For other nodes of the cluster.
    pub(super) peers: Option<Bound>,
    /// HTTP/3.
    pub(super) quic: Vec<QuicSockets>,
}

impl Listeners {
    /// Binds what the configuration names, besides the listener for `peers`, and shows it in the metrics.
    pub(super) fn bind(
        config: &Config,
        peers: Option<Bound>,
        (workers, sockets, is_replacing): (usize, &InheritedSockets, bool),
        limits: Limits,
        automatic: &AutomaticHttps,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let tls = tls_settings(config, automatic, metrics)?;
        let http = bind(&config.listen.http, None, workers, sockets)?;
        let https = bind(&config.listen.https, tls.as_ref(), workers, sockets)?;
        let admin = bind(config.admin.as_slice(), None, 1, sockets)?;
        let mut quic = Vec::new();
        if let Some(tls) = tls.as_ref().filter(|_| config.listen.http3) {
            for Bound { address, .. } in &https {
                quic.push(QuicSockets::bind(*address, workers, tls, limits, is_replacing)?);
            }
        }
        let bound = Self { tls, http, https, admin, peers, quic };
        bound.announce(metrics);
        Ok(bound)
    }

    /// Shows where viewers and other nodes connect to.
    fn announce(&self, metrics: &Metrics) {
        let all = self.http.iter().chain(&self.https).chain(&self.peers);
        all.for_each(|bound| metrics.listens_on(bound.address));
    }

    /// Second handles of all sockets.
    pub(super) fn sockets(&self) -> io::Result<ListeningSockets> {
        let all = self.http.iter().chain(&self.https).chain(&self.admin).chain(&self.peers);
        ListeningSockets::of(all)
    }

    /// The addresses of listeners.
    pub(super) fn addresses(bound: &[Bound]) -> Vec<SocketAddr> {
        bound.iter().map(|bound| bound.address).collect()
    }
}

fn tls_settings(
    config: &Config,
    automatic: &AutomaticHttps,
    metrics: &Metrics,
) -> Result<Option<Arc<TlsSettings>>, TlsError> {
    let keys = read_keys(config)?;
    if keys.is_empty() && !automatic.is_on() {
        return Ok(None);
    }
    show(metrics, &config.listen.certificates, &keys);
    let AutomaticHttps { issued, challenges, .. } = automatic.clone();
    TlsSettings::new(keys, &profiles(config), issued, challenges).map(Some)
}

fn bind(
    addresses: &[SocketAddr],
    tls: Option<&Arc<TlsSettings>>,
    workers: usize,
    sockets: &InheritedSockets,
) -> Result<Vec<Bound>, BindError> {
    let endpoint =
        |address: &SocketAddr| Endpoint { address: bindable(*address), tls: tls.cloned() };
    addresses.iter().map(|address| endpoint(address).bind(workers, sockets)).collect()
}

/// Accepts connections on one socket of a worker.
fn accept(accepting: io::Result<impl Future<Output = ()> + Send + 'static>) {
    match accepting {
        Ok(accepting) => drop(tokio::spawn(accepting)),
        Err(error) => tracing::error!(%error, "a worker cannot listen"),
    }
}

/// Starts the workers, each with one socket per endpoint.
pub(super) fn serve(
    listeners: Listeners,
    heartbeats: &Heartbeats,
    edge: &Arc<Edge>,
    challenges: &Arc<Challenges>,
    shared: &Shared,
    stopped: &watch::Receiver<bool>,
) -> io::Result<Workers> {
    let Listeners { http, https, mut peers, mut quic, .. } = listeners;
    let mut bound: Vec<Bound> = http.into_iter().chain(https).collect();
    spawn_workers(heartbeats, || {
        let sockets: Vec<Bound> = bound.iter_mut().filter_map(Bound::split).collect();
        let peers = peers.as_mut().and_then(Bound::split);
        let quic: Vec<_> = quic.iter_mut().filter_map(QuicSockets::split).collect();
        let (edge, shared, mut stopped) = (Arc::clone(edge), shared.clone(), stopped.clone());
        let viewers = ViewerHandler::new(Arc::clone(&edge), Arc::clone(challenges));
        move |runtime| {
            runtime.block_on(async move {
                for socket in sockets {
                    accept(socket.serve(&viewers, shared.clone()));
                }
                for socket in quic {
                    let (viewers, shared) = (viewers.clone(), shared.clone());
                    tokio::spawn(async move {
                        if let Ok(socket) = socket.await {
                            accept(socket.serve(&viewers, shared));
                        }
                    });
                }
                if let Some(socket) = peers {
                    accept(socket.serve(&PeerHandler(edge), shared.of_peers()));
                }
                drop(shared);
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        }
    })
}

//! The listener for other nodes of the cluster, and the connections to them.

use std::sync::Arc;

use super::Error;
use crate::{
    base::{clock::Clock, metrics::Metrics},
    cluster::{Cluster, PeerOptions},
    config::Config,
    peers::Peers,
    server::{Bound, Endpoint, InheritedSockets, TlsSettings, bindable},
    tls::{MutualTls, TlsError},
};

/// This node's part in the fetching of objects from other nodes.
#[derive(Clone, Debug)]
pub(super) struct PeerSide {
    peers: Arc<Peers>,
    tls: Arc<TlsSettings>,
}

impl PeerSide {
    /// Reads the certificates, and binds the listener.
    pub(super) fn bind(
        config: &Config,
        cluster: Option<&Arc<Cluster>>,
        clock: &Clock,
        metrics: &Metrics,
        (workers, sockets): (usize, &InheritedSockets),
    ) -> Result<Option<(Self, Bound)>, Error> {
        let Some((cluster, options)) = cluster.zip(options(config)) else {
            return Ok(None);
        };
        let tls = MutualTls::load(&options.files, cluster.node(), clock.now())?;
        let peers = Peers::new(Arc::clone(cluster), tls.client, clock.clone(), metrics.peers());
        let tls = TlsSettings::fixed(tls.server);
        let address = bindable(options.listen);
        let bound = Endpoint { address, tls: Some(Arc::clone(&tls)) }.bind(workers, sockets)?;
        Ok(Some((Self { peers: Arc::new(peers), tls }, bound)))
    }

    pub(super) fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers)
    }

    /// Reads the certificates again.
    pub(super) fn read(&self, config: &Config) -> Result<Option<MutualTls>, TlsError> {
        let read = |options: &PeerOptions| {
            MutualTls::load(&options.files, self.peers.cluster().node(), Clock::system().now())
        };
        options(config).map(read).transpose()
    }

    /// Uses other certificates for new connections.
    pub(super) fn set_tls(&self, tls: MutualTls) {
        self.peers.set_tls(tls.client);
        self.tls.replace(tls.server);
    }
}

fn options(config: &Config) -> Option<&PeerOptions> {
    config.cluster.as_ref()?.peers.as_ref()
}

//! The state that all requests share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{
    compressor::Compressor,
    request::{routing::Rules, steps::Steps},
};
use crate::{
    access::passwords::PasswordVerifier,
    access_log::AccessLog,
    base::{clock::Clock, metrics::Metrics},
    cache::store::Store,
    peers::Peers,
    statistics::Statistics,
    traces::Tracer,
};

/// The state that all requests share: the active rules, the store, metrics and logs. Its methods are in the
/// files that use them.
#[derive(Clone, Debug)]
pub struct Edge {
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) compressor: Arc<Compressor>,
    pub(crate) statistics: Arc<Statistics>,
    pub(super) passwords: Arc<PasswordVerifier>,
    pub(super) steps: Arc<Steps>,
    /// The other nodes of the cluster, if they are asked for objects.
    pub(super) peers: Option<Arc<Peers>>,
    /// Decides which requests are traced, if any are.
    pub(super) tracer: Option<Arc<Tracer>>,
}

impl Edge {
    /// Creates an edge without rules. It answers 421 to every request.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        access_log: Arc<AccessLog>,
    ) -> Arc<Self> {
        Arc::new(Self {
            rules: Arc::default(),
            store,
            clock,
            metrics,
            access_log,
            compressor: Arc::default(),
            statistics: Arc::default(),
            passwords: Arc::default(),
            steps: Arc::default(),
            peers: None,
            tracer: None,
        })
    }

    /// The same edge, which asks these peers for objects.
    #[must_use]
    pub(crate) fn with_peers(self: Arc<Self>, peers: Option<Arc<Peers>>) -> Arc<Self> {
        Arc::new(Self { peers, ..Self::clone(&self) })
    }

    /// The same edge, which traces requests.
    #[must_use]
    pub(crate) fn with_tracer(self: Arc<Self>, tracer: Option<Arc<Tracer>>) -> Arc<Self> {
        Arc::new(Self { tracer, ..Self::clone(&self) })
    }

    /// Clones the edge for another thread. Exchanges hold references to it, and threads that share a reference
    /// count slow each other down.
    #[must_use]
    pub fn for_thread(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self::clone(self))
    }

    /// Activates new rules. Requests in progress keep theirs.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The active rules.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The store behind this edge.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Counters of the steps of decisions, in debug builds.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The metrics of this edge.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

//! Whether this Forebay works, and whether it should get requests.

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};
use serde::Serialize;

use super::{
    Admin, STALLED,
    reloads::ConfigurationStatus,
    reply::{json, refuse, text},
};
use crate::{cache::disk::DiskUse, http::body::Body};

#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    ready: bool,
    draining: bool,
    credentials: &'static str,
    configuration: ConfigurationStatus,
    /// The state of the disk cache, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<String>,
    /// This node's part in its cluster, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'static str>,
}

impl Admin {
    /// What this node knows about its cluster.
    pub(super) fn members(&self) -> Response<Body> {
        match &self.0.cluster {
            Some(cluster) => json(StatusCode::OK, &cluster.status()),
            None => refuse(
                StatusCode::NOT_FOUND,
                "this Forebay does not belong to a cluster: its configuration has no `[cluster]`",
            ),
        }
    }

    /// Whether every worker's event loop runs.
    pub(crate) fn is_healthy(&self) -> bool {
        self.0.heartbeats.stalled(STALLED).is_empty()
    }

    /// Healthy means that every worker's event loop runs.
    pub(super) fn health(&self) -> Response<Body> {
        let stalled = self.0.heartbeats.stalled(STALLED);
        let (status, content) = if stalled.is_empty() {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            let names: Vec<String> = stalled.iter().map(|n| format!("worker-{n}")).collect();
            let names = names.join(", ");
            (StatusCode::SERVICE_UNAVAILABLE, format!("event loop stalled: {names}\n"))
        };
        text(status, "text/plain; charset=utf-8", content)
    }

    /// Ready means that no drain has begun, credentials are loaded if any bucket needs them, and the node has joined its
    /// cluster if it has one.
    /// The origin's state is ignored: otherwise an outage of S3 would drain every edge.
    pub(super) fn readiness(&self) -> Response<Body> {
        let readiness = self.examine();
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &readiness)
    }

    /// Whether this edge could answer all requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.examine().ready
    }

    /// Whether this edge may use what it has stored.
    pub(crate) fn may_use_cache(&self) -> bool {
        self.0.cluster.as_ref().is_none_or(|cluster| cluster.has_lease())
    }

    pub(super) fn examine(&self) -> Readiness {
        let rules = self.0.edge.rules();
        let mut origins = rules.all().flat_map(|distribution| &distribution.origins);
        let needs = origins.any(|group| group.members().any(|origin| origin.signs()));
        let loaded = self.0.credentials.current().is_some();
        let draining = self.0.draining.load(Ordering::Acquire);
        let cluster = self.0.cluster.as_ref().map(|cluster| {
            match (cluster.has_joined(), cluster.has_lease()) {
                (_, true) => "member",
                (true, false) => "cut off",
                (false, false) => "joining",
            }
        });
        let ready = (loaded || !needs) && !draining && cluster != Some("joining");
        let credentials = match (needs, loaded) {
            (false, _) => "not needed",
            (true, true) => "loaded",
            (true, false) if self.0.credentials.is_loading() => "loading",
            (true, false) => "missing",
        };
        let disk = self.0.edge.store().disk_usage().map(|disk| match disk {
            DiskUse { is_in_use: false, .. } => "off, because reads or writes failed".to_owned(),
            DiskUse { to_recover: 0, .. } => "ready".to_owned(),
            DiskUse { to_recover, .. } => format!("reading its index, {to_recover} files left"),
        });
        let configuration = self.0.reloads.status();
        Readiness { ready, draining, credentials, configuration, disk, cluster }
    }
}

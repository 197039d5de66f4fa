//! The metrics, when they are requested.

use http::{Response, StatusCode};

use super::{Admin, State, reply::text};
use crate::{
    base::{clock::Timestamp, metrics::Snapshot},
    http::body::Body,
};

impl Admin {
    pub(super) fn metrics(&self) -> Response<Body> {
        let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        text(StatusCode::OK, format, self.render_metrics())
    }

    /// All metrics in the OpenMetrics format.
    pub(super) fn render_metrics(&self) -> String {
        let State { edge, cluster, credentials, heartbeats, .. } = &*self.0;
        let usage = edge.store().usage();
        // This updates gauges.
        let _ = cluster.as_ref().map(|cluster| cluster.status());
        edge.metrics().render(Snapshot {
            cache_bytes: usage.bytes,
            cache_entries: usage.entries,
            cache_evictions: usage.evictions,
            cache_evicted_misses: usage.evicted_misses,
            access_log_bytes: edge.access_log.waiting_bytes() as u64,
            disk_bytes: edge.store().disk_usage().map(|disk| disk.waiting),
            compressions: edge.compressor.in_progress() as u64,
            heartbeat_ages: heartbeats.ages(),
            credentials_expiry: credentials.expiry().map(Timestamp::as_secs),
        })
    }
}

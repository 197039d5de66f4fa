//! Origins: S3 buckets, asked with signed requests, and plain HTTP servers.
//!
//! An origin request is built, never copied: from method, canonical path, the policy's projection
//! and the fields given here. Nothing else of what a viewer sent can reach an origin.

mod answer;
mod breaker;
mod content;
mod denials;
mod error_log;
mod group;
mod message;
mod object_parameters;
mod options;
mod pool;
mod progress;
mod read;
mod retry;
mod send;
mod timeouts;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

pub(crate) use answer::OriginResponse;
use breaker::Breaker;
pub(crate) use denials::Denial;
use denials::Denials;
use error_log::ErrorLog;
pub(crate) use error_log::{DENIED, failure};
pub use group::Group;
pub(crate) use group::{FAILOVER_CODES, Reply};
pub(crate) use object_parameters::{OBJECT_PARAMETERS, is_refused_parameter, listed_parameters};
pub use options::Options;
pub(crate) use options::{Protocol, Signing};
use pool::Pool;

use crate::{
    access::restrict::{Share, Shares},
    aws::Credentials,
    base::{clock::Clock, metrics::OriginMetrics},
    cache::key::{CanonicalPath, Projection},
    outbound::{TrustError, USER_AGENT, connect::Connector},
};

/// Throttled requests in a row after which a bucket gets no requests for a while.
const THROTTLED: u32 = 3;

/// A request as the edge describes it.
#[derive(Debug)]
pub struct OriginRequest<'a> {
    /// Method.
    pub method: Method,
    /// The canonical path, as in the key.
    pub path: &'a CanonicalPath<'a>,
    /// What the policy takes from the viewer's request.
    pub projection: &'a Projection<'a>,
    /// Range and conditions, and what describes a body.
    pub fields: HeaderMap,
    /// The client at whose pace the exchange goes on, if it is one's.
    pub client: Option<IpAddr>,
}

/// An origin with its connections.
pub struct Origin {
    options: Options,
    pool: Arc<Pool>,
    clients: Arc<Shares>,
    denials: Denials,
    credentials: Arc<Credentials>,
    budget: retry::Budget,
    /// Open while an S3 server throttles requests.
    throttle: Breaker,
    errors: ErrorLog,
    clock: Clock,
    metrics: OriginMetrics,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Origin {
    /// Prepares an origin; connects to nothing yet.
    ///
    /// # Errors
    /// When the certificates to trust cannot be loaded.
    pub fn new(
        options: Options,
        credentials: Arc<Credentials>,
        clock: Clock,
        metrics: OriginMetrics,
    ) -> Result<Self, TrustError> {
        let connector = Connector::new(
            options.address.clone(),
            options.ca_file.as_deref(),
            options.connect_timeout,
            options.connect_attempts,
            options.response_head,
        )?;
        let pool = Pool::new(connector, options.max_connections);
        // An origin of this name that a reload replaced may have been denying.
        metrics.mass_denial(false);
        let clients = Shares::of(options.max_connections, options.max_connections_per_client);
        Ok(Self {
            options,
            pool,
            clients,
            credentials,
            budget: retry::Budget::new(),
            throttle: Breaker::new(THROTTLED, retry::throttle_pause),
            errors: ErrorLog::default(),
            denials: Denials::default(),
            clock,
            metrics,
        })
    }

    /// What it was made from.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Whether it is an S3 bucket.
    #[must_use]
    pub const fn is_s3(&self) -> bool {
        matches!(self.options.protocol, Protocol::S3 { .. })
    }

    /// At which path it has an object of a bucket: `None` where that is another bucket, or the object
    /// is not below `origin_path`. A folder that holds `origin_path` is all that it has.
    #[must_use]
    pub fn path_of(&self, bucket: &str, key: &str) -> Option<String> {
        let Protocol::S3 { bucket: own, .. } = &self.options.protocol else { return None };
        path_below(&self.options.origin_path, key).filter(|_| own == bucket)
    }

    /// Whether it wants credentials to sign with.
    #[must_use]
    pub const fn signs(&self) -> bool {
        self.options.protocol.is_signed()
    }

    /// A part of the connections for a response that is sent at this client's pace, unless it holds its part
    /// already.
    #[must_use]
    pub fn share_for(&self, client: IpAddr) -> Option<Share> {
        self.clients.take(client)
    }
}

/// The path of a key below `origin_path`, which is percent-encoded as requests carry it.
fn path_below(origin_path: &str, key: &str) -> Option<String> {
    let base = percent_decode_str(origin_path).decode_utf8().ok()?;
    let path = format!("/{key}");
    match path.strip_prefix(&*base) {
        Some(below) if below.starts_with('/') => Some(below.to_owned()),
        _ => (path.ends_with('/') && format!("{base}/").starts_with(&path)).then(|| "/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_below_the_origin_path() {
        for (base, key, expected) in [
            ("", "a b.jpg", Some("/a b.jpg")),
            ("/media", "media/a.jpg", Some("/a.jpg")),
            ("/media", "medium/a.jpg", None),
            ("/media", "media2/a.jpg", None),
            ("/year%3D2026/%C3%A9", "year=2026/é/a.jpg", Some("/a.jpg")),
            ("/site/prod", "site/", Some("/")),
            ("/site/prod", "", Some("/")),
            ("/site/prod", "site/prod/", Some("/")),
            ("/site/prod", "site", None),
        ] {
            assert_eq!(path_below(base, key).as_deref(), expected, "{base} {key}");
        }
    }
}

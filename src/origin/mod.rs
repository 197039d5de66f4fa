//! Origins: S3 buckets, reached by signed requests, and plain HTTP servers.
//!
//! An origin request is built, never copied. It consists of method, canonical path, the policy's projection
//! and the fields given here. No other viewer data can reach an origin.

mod answer;
mod breaker;
mod content;
mod denials;
mod error_log;
mod group;
mod interim;
mod message;
mod object_parameters;
mod options;
mod pool;
mod progress;
mod read;
mod recent_outcomes;
mod retry;
mod send;
mod subject;
mod switch;
mod timeouts;
mod tunnel;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

pub(crate) use answer::{FromPeer, OriginResponse};
use breaker::Breaker;
pub(crate) use denials::Denial;
use denials::Denials;
use error_log::ErrorLog;
pub(crate) use error_log::{DENIED, SERVER_ERROR_ADVICE, failure};
pub use group::Group;
pub(crate) use group::{FAILOVER_CODES, Reply};
pub(crate) use interim::OnInterim;
pub(crate) use object_parameters::{
    ENCODED_PARAMETER, OBJECT_PARAMETERS, is_refused_parameter, listed_parameters,
};
pub use options::Options;
pub(crate) use options::{Protocol, Signing};
use pool::Pool;
pub(crate) use subject::Subject;
use tokio::sync::Semaphore;
pub(crate) use tunnel::Tunnel;

use crate::{
    access::restrict::{Share, Shares},
    aws::{Credentials, S3Signer},
    base::{clock::Clock, metrics::OriginMetrics},
    cache::key::{CanonicalPath, Projection},
    outbound::{ErrorClass, TrustError, USER_AGENT, connect::Connector},
    traces::Trace,
};

/// Consecutive throttled requests after which a bucket gets no requests for a while.
const THROTTLED: u32 = 3;

/// A request described by the edge.
#[derive(Debug)]
pub struct OriginRequest<'a> {
    /// Method.
    pub method: Method,
    /// The canonical path, as in the key.
    pub path: &'a CanonicalPath<'a>,
    /// The parts of the viewer's request that the policy forwards.
    pub projection: &'a Projection<'a>,
    /// Range and conditions, fields that describe a body, and the protocols that the connection may change to.
    pub fields: HeaderMap,
    /// The client that sets the pace of the exchange, if one does.
    pub client: Option<IpAddr>,
    /// The id of the viewer's request, for the log.
    pub id: Option<Box<str>>,
    /// Receives interim responses.
    pub(crate) on_interim: Option<OnInterim>,
    /// The trace of the viewer's request, if that is traced.
    pub(crate) trace: Option<Arc<Trace>>,
}

/// An origin with its connections.
pub struct Origin {
    options: Options,
    pool: Arc<Pool>,
    clients: Arc<Shares>,
    /// Places for connections that speak a protocol other than HTTP.
    tunnels: Arc<Semaphore>,
    tunnels_of_clients: Arc<Shares>,
    denials: Denials,
    credentials: Arc<Credentials>,
    signer: S3Signer,
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
    /// Prepares an origin without connecting.
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
        let region = match &options.protocol {
            Protocol::S3 { region, .. } => region,
            Protocol::Plain => "",
        };
        let signer = S3Signer::new(region, options.address.server_url());
        let pool = Pool::new(connector, options.max_connections);
        // A reload may have replaced an origin of this name during a mass denial.
        metrics.mass_denial(false);
        for class in ErrorClass::ALL {
            metrics.expect_error(class.token());
        }
        metrics.expect_error(DENIED.detail);
        let clients = Shares::of(options.max_connections, options.max_connections_per_client);
        let tunnels = Arc::new(Semaphore::new(options.max_tunnels));
        let tunnels_of_clients = Shares::of(options.max_tunnels, None);
        Ok(Self {
            options,
            pool,
            clients,
            tunnels,
            tunnels_of_clients,
            credentials,
            signer,
            budget: retry::Budget::new(),
            throttle: Breaker::new(THROTTLED, retry::throttle_pause),
            errors: ErrorLog::default(),
            denials: Denials::default(),
            clock,
            metrics,
        })
    }

    /// Whether it gets no requests for a while, because it throttled several in a row.
    pub(crate) fn is_throttled(&self) -> bool {
        self.throttle.is_paused()
    }

    /// The options that the origin was made from.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Whether the origin is an S3 bucket.
    #[must_use]
    pub const fn is_s3(&self) -> bool {
        matches!(self.options.protocol, Protocol::S3 { .. })
    }

    /// Whether viewers get its interim responses.
    pub(crate) const fn sends_interim_responses(&self) -> bool {
        self.options.interim_responses && !self.is_s3()
    }

    /// The path at which this origin serves a bucket's object. `None` if the origin uses another bucket, or the
    /// object is not below `origin_path`. A folder that contains `origin_path` maps to `/`.
    #[must_use]
    pub fn path_of(&self, bucket: &str, key: &str) -> Option<String> {
        let Protocol::S3 { bucket: own, .. } = &self.options.protocol else { return None };
        path_below(&self.options.origin_path, key).filter(|_| own == bucket)
    }

    /// Whether the origin needs credentials for signing.
    #[must_use]
    pub const fn signs(&self) -> bool {
        self.options.protocol.is_signed()
    }

    /// A connection share for a response sent at this client's pace; `None` if the client is at its limit.
    #[must_use]
    pub fn share_for(&self, client: IpAddr) -> Option<Share> {
        self.clients.take(client)
    }
}

/// The path of a key below `origin_path`, which is percent-encoded as in requests.
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

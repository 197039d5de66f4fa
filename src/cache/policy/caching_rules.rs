//! The caching rules of a cache policy.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, StatusCode};

use super::Ttl;

/// All that a policy says about storing, besides the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct CachingRules {
    /// Bounds of freshness.
    pub ttl: Ttl,
    /// Whether `private` and `no-store` hold against a minimum TTL.
    pub honor_private: HonorPrivate,
    /// Whether a lifetime is guessed from `Last-Modified` where the origin says nothing
    /// (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// Fields that stand for `Cache-Control` at this cache, the first one first (RFC 9213).
    pub targets: Vec<HeaderName>,
    /// Whether `Vary` tells responses apart by fields that are not in the key.
    pub honor_vary: bool,
    /// Whether the viewer's own `Cache-Control` counts. CloudFront ignores it: a viewer should
    /// not be able to send every request on to the origin.
    pub honor_request: bool,
    /// For how long past its freshness a response is served where the origin says that the
    /// object is gone.
    pub stale_if_missing: Duration,
    /// Whether a response with `Set-Cookie` is stored and served to every viewer, as CloudFront does.
    pub cache_set_cookie: bool,
    /// How long errors are remembered.
    pub errors: ErrorTtl,
}

impl CachingRules {
    /// The fields that a policy listens to unless it says otherwise.
    #[must_use]
    pub fn default_targets() -> Vec<HeaderName> {
        ["forebay-cache-control", "cdn-cache-control"].map(HeaderName::from_static).into()
    }

    /// Rules with these bounds and the defaults of everything else.
    #[must_use]
    pub fn new(ttl: Ttl) -> Self {
        Self {
            ttl,
            honor_private: HonorPrivate::default(),
            heuristic: false,
            targets: Self::default_targets(),
            honor_vary: true,
            honor_request: false,
            stale_if_missing: Duration::ZERO,
            cache_set_cookie: false,
            errors: ErrorTtl::default(),
        }
    }
}

impl CachingRules {
    /// Whether the minimum TTL overrides `no-cache`, `no-store` and `private`, as CloudFront's does.
    #[must_use]
    pub fn min_ttl_overrides(&self) -> bool {
        self.honor_private == HonorPrivate::CloudFront && !self.ttl.min.is_zero()
    }
}

/// Whether `private` and `no-store` hold even against a minimum TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HonorPrivate {
    /// A response marked `private` or `no-store` is never shared. The default.
    #[default]
    Strict,
    /// As CloudFront does: a minimum TTL above zero stores it for that long.
    CloudFront,
}

/// The error-caching minimum TTL, for each status
/// (Amazon CloudFront Developer Guide, "How CloudFront caches HTTP 4xx and 5xx status codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorTtl {
    /// For all codes that are not among `by_status`.
    pub default: Duration,
    /// For single codes.
    pub by_status: BTreeMap<u16, Duration>,
}

impl Default for ErrorTtl {
    fn default() -> Self {
        Self { default: Duration::from_secs(10), by_status: BTreeMap::new() }
    }
}

impl ErrorTtl {
    /// The minimum TTL of this status.
    #[must_use]
    pub fn of(&self, status: StatusCode) -> Duration {
        self.by_status.get(&status.as_u16()).copied().unwrap_or(self.default)
    }
}

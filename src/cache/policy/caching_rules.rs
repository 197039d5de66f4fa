//! The caching rules of a cache policy.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, StatusCode};

use super::Ttl;

/// The caching rules of a policy: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct CachingRules {
    /// Bounds of freshness.
    pub ttl: Ttl,
    /// Whether `private` and `no-store` override a minimum TTL.
    pub honor_private: HonorPrivate,
    /// Whether a heuristic lifetime is derived from `Last-Modified` if the origin gives none (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// Targeted fields that replace `Cache-Control` at this cache, in order of precedence (RFC 9213).
    pub targets: Vec<HeaderName>,
    /// Whether `Vary` selects among responses by fields that are not in the key.
    pub honor_vary: bool,
    /// Whether the viewer's `Cache-Control` counts. CloudFront ignores it: a viewer should not be able to
    /// force every request through to the origin.
    pub honor_request: bool,
    /// How long past its freshness a response is served if the origin reports that the object is gone.
    pub stale_if_missing: Duration,
    /// Whether a response with `Set-Cookie` is stored and served to every viewer, as CloudFront does.
    pub cache_set_cookie: bool,
    /// How long errors are cached.
    pub errors: ErrorTtl,
}

impl CachingRules {
    /// The default targeted fields.
    #[must_use]
    pub fn default_targets() -> Vec<HeaderName> {
        ["forebay-cache-control", "cdn-cache-control"].map(HeaderName::from_static).into()
    }

    /// Rules with these bounds and defaults for everything else.
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

/// Whether `private` and `no-store` override even a minimum TTL.
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
    /// For all codes that are not in `by_status`.
    pub default: Duration,
    /// For individual codes.
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

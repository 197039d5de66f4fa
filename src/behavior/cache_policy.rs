//! Cache policies, CloudFront's managed ones among them
//! (Amazon CloudFront Developer Guide, "Use managed cache policies").

use std::time::Duration;

use http::{HeaderName, header};

use crate::{
    key::{KeySpec, NameSpec},
    policy::{Terms, Ttl},
    semantics::coding::Codings,
};

const YEAR: Duration = Duration::from_secs(31_536_000);
const DAY: Duration = Duration::from_secs(86_400);
const COMPRESSED: Codings = Codings { gzip: true, brotli: true, zstd: false };

/// The managed policies that Forebay knows by name.
pub const MANAGED_CACHE_POLICIES: [&str; 5] = [
    "CachingOptimized",
    "CachingOptimizedForUncompressedObjects",
    "CachingDisabled",
    "UseOriginCacheControlHeaders",
    "UseOriginCacheControlHeaders-QueryStrings",
];

/// What is in the cache key, and the bounds of freshness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Query strings, header fields and cookies in the key.
    pub key: KeySpec,
    /// What may be stored, and for how long.
    pub terms: Terms,
}

impl CachePolicy {
    /// The managed policy of this name.
    #[must_use]
    pub fn managed(name: &str) -> Option<Self> {
        let ttl = |min, default, max| Ttl { min, default, max };
        let optimized = ttl(Duration::from_secs(1), DAY, YEAR);
        let (ttl, key) = match name {
            "CachingOptimized" => {
                (optimized, KeySpec { codings: COMPRESSED, ..KeySpec::default() })
            }
            "CachingOptimizedForUncompressedObjects" => (optimized, KeySpec::default()),
            "CachingDisabled" => {
                (ttl(Duration::ZERO, Duration::ZERO, Duration::ZERO), KeySpec::default())
            }
            "UseOriginCacheControlHeaders" => {
                (ttl(Duration::ZERO, Duration::ZERO, YEAR), origin_controlled(NameSpec::None))
            }
            "UseOriginCacheControlHeaders-QueryStrings" => {
                (ttl(Duration::ZERO, Duration::ZERO, YEAR), origin_controlled(NameSpec::All))
            }
            _ => return None,
        };
        Some(Self { key, terms: Terms::new(ttl) })
    }
}

fn origin_controlled(query: NameSpec) -> KeySpec {
    let headers = vec![
        header::HOST,
        header::ORIGIN,
        HeaderName::from_static("x-http-method-override"),
        HeaderName::from_static("x-http-method"),
        HeaderName::from_static("x-method-override"),
    ];
    KeySpec { query, headers, cookies: NameSpec::All, codings: COMPRESSED, ..KeySpec::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_managed_name_is_known() {
        for name in MANAGED_CACHE_POLICIES {
            assert!(CachePolicy::managed(name).is_some(), "{name}");
        }
        assert_eq!(CachePolicy::managed("cachingoptimized"), None);
    }

    #[test]
    fn managed_policies_have_the_documented_bounds() {
        for (name, expected) in [
            ("CachingOptimized", (1, 86_400, 31_536_000)),
            ("CachingOptimizedForUncompressedObjects", (1, 86_400, 31_536_000)),
            ("CachingDisabled", (0, 0, 0)),
            ("UseOriginCacheControlHeaders", (0, 0, 31_536_000)),
            ("UseOriginCacheControlHeaders-QueryStrings", (0, 0, 31_536_000)),
        ] {
            let ttl = CachePolicy::managed(name).expect(name).terms.ttl;
            let bounds = (ttl.min.as_secs(), ttl.default.as_secs(), ttl.max.as_secs());
            assert_eq!(bounds, expected, "{name}");
        }
    }
}

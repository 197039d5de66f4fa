//! Cache policies, including CloudFront's managed ones
//! (Amazon CloudFront Developer Guide, "Use managed cache policies").

use std::time::Duration;

use http::{HeaderName, header};

use crate::{
    cache::{
        key::{KeySpec, NameSpec},
        policy::{CachingRules, Ttl},
    },
    http::coding::Codings,
};

const YEAR: u64 = 31_536_000;
const DAY: u64 = 86_400;
const COMPRESSED: Codings = Codings { gzip: true, brotli: true, zstd: false };

/// The names of the managed policies that Forebay supports.
pub(crate) const MANAGED_CACHE_POLICIES: [&str; 7] = [
    "Amplify",
    "CachingDisabled",
    "CachingOptimized",
    "CachingOptimizedForUncompressedObjects",
    "Elemental-MediaPackage",
    "UseOriginCacheControlHeaders",
    "UseOriginCacheControlHeaders-QueryStrings",
];

/// The contents of the cache key, and the bounds of freshness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Query strings, header fields and cookies in the cache key.
    pub key: KeySpec,
    /// The rules for storing responses, and for how long.
    pub caching: CachingRules,
}

impl CachePolicy {
    /// The managed policy with this name.
    #[must_use]
    pub fn managed(name: &str) -> Option<Self> {
        let none = KeySpec::default();
        let ((min, default, max), key) = match name {
            "Amplify" => ((2, 2, 600), amplify()),
            "CachingDisabled" => ((0, 0, 0), none),
            "CachingOptimized" => ((1, DAY, YEAR), KeySpec { codings: COMPRESSED, ..none }),
            "CachingOptimizedForUncompressedObjects" => ((1, DAY, YEAR), none),
            "Elemental-MediaPackage" => ((0, DAY, YEAR), media_package()),
            "UseOriginCacheControlHeaders" => ((0, 0, YEAR), origin_controlled(NameSpec::None)),
            "UseOriginCacheControlHeaders-QueryStrings" => {
                ((0, 0, YEAR), origin_controlled(NameSpec::All))
            }
            _ => return None,
        };
        let [min, default, max] = [min, default, max].map(Duration::from_secs);
        Some(Self { key, caching: CachingRules::new(Ttl { min, default, max }) })
    }
}

fn amplify() -> KeySpec {
    KeySpec {
        query: NameSpec::All,
        headers: vec![
            header::AUTHORIZATION,
            HeaderName::from_static("cloudfront-viewer-country"),
            header::HOST,
        ],
        cookies: NameSpec::All,
        codings: COMPRESSED,
        ..KeySpec::default()
    }
}

fn media_package() -> KeySpec {
    let names = ["aws.manifestfilter", "start", "end", "m"];
    KeySpec {
        query: NameSpec::Only(names.map(str::to_owned).into()),
        headers: vec![header::ORIGIN],
        codings: Codings { gzip: true, ..Codings::NONE },
        ..KeySpec::default()
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
    fn managed_policies_are_as_documented() {
        let origin = "host,origin,x-http-method-override,x-http-method,x-method-override";
        let filters =
            NameSpec::Only(["aws.manifestfilter", "start", "end", "m"].map(str::to_owned).into());
        let (none, all) = (NameSpec::None, NameSpec::All);
        for (name, ttl, headers, cookies, query, codings) in [
            (
                "Amplify",
                (2, 2, 600),
                "authorization,cloudfront-viewer-country,host",
                &all,
                &all,
                "gzip br",
            ),
            ("CachingDisabled", (0, 0, 0), "", &none, &none, ""),
            ("CachingOptimized", (1, 86_400, 31_536_000), "", &none, &none, "gzip br"),
            (
                "CachingOptimizedForUncompressedObjects",
                (1, 86_400, 31_536_000),
                "",
                &none,
                &none,
                "",
            ),
            ("Elemental-MediaPackage", (0, 86_400, 31_536_000), "origin", &none, &filters, "gzip"),
            ("UseOriginCacheControlHeaders", (0, 0, 31_536_000), origin, &all, &none, "gzip br"),
            (
                "UseOriginCacheControlHeaders-QueryStrings",
                (0, 0, 31_536_000),
                origin,
                &all,
                &all,
                "gzip br",
            ),
        ] {
            let CachePolicy { key, caching } = CachePolicy::managed(name).expect(name);
            let seconds = |duration: Duration| duration.as_secs();
            let Ttl { min, default, max } = caching.ttl;
            assert_eq!((seconds(min), seconds(default), seconds(max)), ttl, "{name}");
            let names: Vec<&str> = key.headers.iter().map(HeaderName::as_str).collect();
            assert_eq!(names.join(","), headers, "{name}");
            assert_eq!((&key.cookies, &key.query), (cookies, query), "{name}");
            let Codings { gzip, brotli, zstd } = key.codings;
            let enabled = [(gzip, "gzip"), (brotli, "br"), (zstd, "zstd")];
            let enabled = enabled.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
            assert_eq!(enabled.collect::<Vec<_>>().join(" "), codings, "{name}");
        }
    }
}

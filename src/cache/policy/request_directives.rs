//! The directives of a viewer's `Cache-Control` (RFC 9111 §5.2.1), if the policy honors it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::{Freshness, Reuse, reuse};
use crate::{
    base::clock::Timestamp,
    http::cache_control::{Delta, Directives},
};

/// The request directives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` alone: validate any stored response.
    pub no_cache: bool,
    /// `no-store`: store nothing of this exchange.
    pub no_store: bool,
    /// `only-if-cached`: do not contact the origin.
    pub only_if_cached: bool,
    max_age: Option<Duration>,
    min_fresh: Option<Duration>,
    /// How stale the response may be; `max-stale` alone accepts any staleness.
    max_stale: Option<Duration>,
}

impl RequestDirectives {
    /// Reads a request's fields.
    #[must_use]
    pub(crate) fn read(fields: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut lines = fields.get_all(header::CACHE_CONTROL).iter().peekable();
        if lines.peek().is_none() {
            let pragma = fields.get_all(header::PRAGMA).iter().map(HeaderValue::as_bytes);
            directives.no_cache =
                pragma.flat_map(Directives::of).any(|(name, _)| name == b"no-cache");
        }
        for (name, argument) in lines.map(HeaderValue::as_bytes).flat_map(Directives::of) {
            let seconds = || Delta::parse(argument).lifetime();
            match name.to_ascii_lowercase().as_slice() {
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                b"only-if-cached" => directives.only_if_cached = true,
                b"max-age" => directives.max_age = seconds(),
                b"min-fresh" => directives.min_fresh = seconds(),
                b"max-stale" => {
                    directives.max_stale = argument.map_or(Some(Duration::MAX), |_| seconds());
                }
                _ => {}
            }
        }
        directives
    }

    /// Decides how to use a stored response, if there is one, according to these directives.
    #[must_use]
    pub(crate) fn decide(&self, stored: Option<&Freshness>, now: Timestamp) -> Reuse {
        match (reuse(stored, now), stored) {
            (reuse, Some(stored)) => self.grant(reuse, stored, now),
            (reuse, None) => reuse,
        }
    }

    fn grant(&self, reuse: Reuse, stored: &Freshness, now: Timestamp) -> Reuse {
        let left = stored.fresh_until.since(now);
        let over = now.since(stored.fresh_until);
        let too_old = self.max_age.is_some_and(|longest| stored.age(now) > longest);
        let not_fresh_enough = self.min_fresh.is_some_and(|least| left < least);
        // §5.2.1.2: never for a response that forbids stale use
        let stale_is_welcome =
            stored.serves_errors(now) && self.max_stale.is_some_and(|most| over <= most);
        match reuse {
            _ if self.no_cache || too_old => Reuse::Validate,
            Reuse::Fresh if not_fresh_enough => Reuse::Validate,
            Reuse::Validate if stale_is_welcome => Reuse::Stale,
            reuse => reuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use Reuse::{Fresh, Stale as Old, Validate};

    use super::*;
    use crate::cache::policy::Stale;

    fn parse(fields: &[(&'static str, &'static str)]) -> RequestDirectives {
        let map = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        RequestDirectives::read(&map.collect())
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        assert!(parse(&[("pragma", "x, no-cache")]).no_cache);
        assert!(!parse(&[("pragma", "no-cache"), ("cache-control", "x")]).no_cache);
        assert!(parse(&[("cache-control", "No-Cache")]).no_cache);
        assert_eq!(parse(&[]), RequestDirectives::default());
    }

    #[test]
    fn wishes_are_granted_within_what_the_origin_allows() {
        let stored = |if_error| Freshness {
            received_at: Timestamp::from_secs(100),
            initial_age: 0,
            fresh_until: Timestamp::from_secs(160),
            stale: Stale { if_error, ..Stale::default() },
        };
        for (directives, now, if_error, reuse, expected) in [
            ("max-age=30", 120, 0, Fresh, Fresh),
            ("max-age=30", 131, 0, Fresh, Validate),
            ("max-age=0", 120, 0, Fresh, Validate),
            ("no-cache", 120, 0, Fresh, Validate),
            ("min-fresh=40", 120, 0, Fresh, Fresh),
            ("min-fresh=41", 120, 0, Fresh, Validate),
            ("max-stale=10", 170, 1000, Validate, Old),
            ("max-stale=9", 170, 1000, Validate, Validate),
            ("max-stale", 170, 1000, Validate, Old),
            ("max-stale", 170, 0, Validate, Validate),
            ("max-stale=x", 170, 1000, Validate, Validate),
            ("", 170, 1000, Validate, Validate),
        ] {
            let granted = parse(&[("cache-control", directives)]).grant(
                reuse,
                &stored(if_error),
                Timestamp::from_secs(now),
            );
            assert_eq!(granted, expected, "{directives} at {now}");
        }
    }
}

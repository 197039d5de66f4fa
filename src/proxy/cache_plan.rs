//! The cache plan for an admitted request, made from its directives and the lookup. The pipeline executes the plan,
//! and `explain` describes it.

use std::sync::Arc;

use http::Method;

use super::request::admission::AdmittedRequest;
use crate::{
    base::clock::Timestamp,
    cache::{
        key::CacheKey,
        policy::{NotStored, RequestDirectives, Reuse},
        store::{Lookup, StoredResponse},
    },
    http::cache_status::ForwardReason,
};

/// A plan for one request.
pub(super) enum CachePlan {
    /// Pass the request to the origin without storing the response.
    Bypass(Bypass),
    /// Serve the stored response.
    Serve { key: CacheKey, response: Arc<StoredResponse>, staleness: Staleness },
    /// Fetch the response. If one is stored, it is validated or replaced.
    Fetch { key: CacheKey, stored: Option<Arc<StoredResponse>>, reason: ForwardReason },
}

/// A reason to bypass the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bypass {
    /// Caches answer only GET and HEAD.
    Method,
    /// The request would change the protocol of its connection.
    Upgrade,
    /// The cache policy has a maximum TTL of 0.
    Disabled,
    /// The request has `no-store`, and the cache policy honors it.
    NoStore,
    /// The last response could not be stored.
    HitForMiss(NotStored),
}

/// The staleness of a served response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    Fresh,
    /// It is stale, but may be served: the origin failed a moment ago, or the request's `max-stale` allows it.
    Allowed,
    /// It is within `stale-while-revalidate`: validate it in the background.
    Revalidate,
}

impl CachePlan {
    /// The plan for a request. `find` does the lookup: it returns the key of the resource, or of the variant that the
    /// request selects, and the result for that key. Unless `may_reuse`, a stored response must be validated.
    pub(super) fn of(
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
        may_reuse: bool,
        find: impl FnOnce() -> (CacheKey, Lookup),
    ) -> Self {
        let directives = admitted.directives();
        match Self::bypass(admitted, directives) {
            Some(why) => Self::Bypass(why),
            None => Self::after_lookup(admitted, directives, find(), may_reuse, now),
        }
    }

    /// The reason to bypass the cache before any lookup.
    fn bypass(admitted: &AdmittedRequest<'_>, directives: RequestDirectives) -> Option<Bypass> {
        if !admitted.is_cacheable() {
            Some(Bypass::Method)
        } else if admitted.upgrade().is_some() {
            Some(Bypass::Upgrade)
        } else if admitted.behavior.cache_policy.caching.ttl.is_disabled() {
            Some(Bypass::Disabled)
        } else if directives.no_store {
            Some(Bypass::NoStore)
        } else {
            None
        }
    }

    fn after_lookup(
        admitted: &AdmittedRequest<'_>,
        directives: RequestDirectives,
        (key, found): (CacheKey, Lookup),
        may_reuse: bool,
        now: Timestamp,
    ) -> Self {
        let stored = match found {
            Lookup::Response(response) if !may_reuse => Some(Arc::new(response.unverified())),
            Lookup::Response(response) => Some(response),
            Lookup::Nothing | Lookup::Varies(_) => None,
            Lookup::HitForMiss(why) => return Self::Bypass(Bypass::HitForMiss(why)),
        };
        let has_no_content = |response: &Arc<StoredResponse>| response.content_state.is_head_only();
        if *admitted.method == Method::GET && stored.as_ref().is_some_and(has_no_content) {
            return Self::Fetch { key, stored, reason: ForwardReason::UriMiss };
        }
        let reuse = directives.decide(stored.as_ref().map(|response| &response.freshness), now);
        // Another node would store what is stale here as if it were fresh.
        let may_be_stale = !admitted.is_of_peer;
        match (reuse, stored) {
            (Reuse::Fresh, Some(response)) => {
                Self::Serve { key, response, staleness: Staleness::Fresh }
            }
            (Reuse::Stale, Some(response)) if may_be_stale => {
                Self::Serve { key, response, staleness: Staleness::Allowed }
            }
            (Reuse::Refresh, Some(response)) if may_be_stale => {
                Self::Serve { key, response, staleness: Staleness::Revalidate }
            }
            (reuse, stored) => {
                let is_fresh = |stored: &Arc<StoredResponse>| stored.freshness.is_fresh(now);
                let reason = match reuse {
                    Reuse::Validate if stored.as_ref().is_some_and(is_fresh) => {
                        ForwardReason::Request
                    }
                    Reuse::Forward(_) if key != admitted.key() => ForwardReason::VaryMiss,
                    Reuse::Forward(reason) => reason,
                    _ => ForwardReason::Stale,
                };
                Self::Fetch { key, stored, reason }
            }
        }
    }

    /// Whether the plan needs the origin for its response. `only-if-cached` forbids that (RFC 9111 §5.2.1.7).
    pub(super) const fn needs_origin(&self) -> bool {
        !matches!(self, Self::Serve { .. })
    }
}

impl Bypass {
    /// The reason as `Cache-Status` reports it.
    pub(super) const fn reason(self) -> ForwardReason {
        match self {
            Self::Method => ForwardReason::Method,
            Self::Upgrade | Self::Disabled | Self::NoStore | Self::HitForMiss(_) => {
                ForwardReason::Bypass
            }
        }
    }

    /// Why the last response could not be stored, as `Cache-Status` and the log report it.
    pub(super) const fn detail(self) -> Option<&'static str> {
        match self {
            Self::HitForMiss(why) => Some(why.token()),
            Self::Method | Self::Upgrade | Self::Disabled | Self::NoStore => None,
        }
    }
}

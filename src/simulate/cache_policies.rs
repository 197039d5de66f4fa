//! The cache policies of a distribution, as far as a log has what they need.

use http::Request;

use crate::{
    access_log::LoggedRequest,
    behavior::Behaviors,
    cache::key::{CacheKey, CanonicalPath, PathForm},
};

/// The cache policies of a distribution. Logs have no cookies and no other header fields, so keys have the path and the query.
#[derive(Clone, Debug)]
pub(crate) struct CachePolicies {
    behaviors: Behaviors,
}

/// How a request uses the cache.
pub(super) struct Use {
    /// The parts of the request by which its object is found.
    pub(super) key: Vec<u8>,
    /// How long the object is fresh, in seconds; 0 if it is not stored.
    pub(super) ttl: u32,
}

impl CachePolicies {
    pub(crate) const fn new(behaviors: Behaviors) -> Self {
        Self { behaviors }
    }

    /// How a request uses the cache; `None` if its URL is invalid.
    pub(super) fn of(&self, logged: &LoggedRequest) -> Option<Use> {
        let path = CanonicalPath::resolve(&logged.path, PathForm::Key).ok()?;
        let behavior = self.behaviors.select(&path.for_patterns());
        let query = logged.query.as_deref().unwrap_or_default();
        let request = Request::builder().uri(format!("{}?{query}", logged.path)).body(()).ok()?;
        let (request, ()) = request.into_parts();
        let policy = &behavior.cache_policy;
        let projection = policy.key.project(&request, "");
        let key = CacheKey::new("", &path, &projection).as_bytes().to_vec();
        let ttl = policy.caching.ttl;
        let seconds = match ttl.default.as_secs() {
            _ if ttl.is_disabled() => 0,
            // Only the origin says how long.
            0 => u64::from(u32::MAX),
            seconds => seconds,
        };
        Some(Use { key, ttl: u32::try_from(seconds).unwrap_or(u32::MAX) })
    }
}

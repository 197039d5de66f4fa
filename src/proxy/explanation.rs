//! The plan for a request as data, printed by `forebay explain`.

use std::sync::Arc;

use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::request::routing::Distribution;
use crate::base::metrics::ResultType;

/// The signature is valid for the URL in question, but a proxy may change the URL.
pub(super) const VALID_HERE: &str =
    "valid; if viewers get 403, the proxy in front of Forebay does not forward their Host";

/// The decisions about a request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The distribution with the host among its aliases.
    pub distribution: Option<String>,
    /// The resolved path, with the index document if it is a folder's.
    pub path: Option<String>,
    /// The path pattern of the behavior, or `default`.
    pub behavior: Option<String>,
    /// The rules of the behavior that apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// The path that a rule made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<String>,
    /// The ids of the origins: the primary, then the secondary of an origin group.
    pub origins: Vec<String>,
    /// Whether a signature is required and valid: `not needed`, `valid`, or the reason why it is not.
    pub signature: Option<String>,
    /// The rejection, if there is one.
    pub refused: Option<ExplainedRejection>,
    /// The node of the cluster that fetches it from the origin for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The parts of the cache key besides the path.
    pub key: Vec<String>,
    /// The stored variants.
    pub variants: Option<Variants>,
    /// The stored response.
    pub stored: Option<StoredSummary>,
    /// `hard` or `soft`, if the response was purged after it was stored.
    pub purged: Option<String>,
    /// The last errors of the behavior's origins, if they are recent.
    #[serde(default)]
    pub origin_errors: Vec<OriginError>,
    /// The result of the next request.
    pub next: Next,
}

impl Explanation {
    /// The part that depends only on distribution and path.
    pub(super) fn of_route(distribution: &Arc<Distribution>, request: &Parts) -> Self {
        let (path, behavior) = distribution.route(request.uri.path()).ok().unzip();
        let behaviors = &distribution.settings.behaviors;
        let group = behavior.map(|behavior| &distribution.origins[behavior.origin]);
        let origins = group.into_iter().flat_map(|group| group.members());
        Self {
            distribution: Some(distribution.settings.id.to_string()),
            path: path.map(|path| path.as_str().to_owned()),
            behavior: behavior.map(|selected| behaviors.name(selected)),
            origins: origins.map(|origin| origin.options().id.clone()).collect(),
            ..Self::default()
        }
    }
}

/// An error of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginError {
    /// The origin's id.
    pub origin: String,
    /// Seconds since the error.
    pub seconds_ago: u64,
    /// The error.
    pub error: String,
    /// The fix.
    pub fix: String,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRejection {
    /// Status code.
    pub status: u16,
    /// The token in the access log.
    pub reason: String,
    /// The reason in words, with the values that decided.
    pub why: String,
    /// The setting or request that would be served, if there is one.
    pub fix: Option<String>,
}

/// Variants of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The names of the request headers that select a variant.
    pub vary: Vec<String>,
    /// The number of stored variants.
    pub count: usize,
}

/// A stored response and its freshness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSummary {
    /// Status code.
    pub status: u16,
    /// Length of the content in bytes.
    pub length: u64,
    /// Whether the requested bytes are in memory: `all`, `arriving` or `missing`, or `head` if only the response to
    /// a HEAD is stored.
    pub in_memory: String,
    /// The stored fields that decide its freshness and validation.
    pub fields: Vec<String>,
    /// The TTLs of the cache policy.
    pub policy: String,
    /// Freshness lifetime in seconds, from headers and policy.
    pub lifetime: u64,
    /// Age in seconds.
    pub age: u64,
    /// Seconds of freshness left; negative if it is stale.
    pub fresh_for: i64,
}

/// The result of the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The result, as in `X-Cache`.
    pub result: String,
    /// The reason.
    pub why: String,
}

impl Next {
    pub(super) fn new(result: ResultType, why: impl Into<String>) -> Self {
        Self { result: result.name().to_owned(), why: why.into() }
    }
}

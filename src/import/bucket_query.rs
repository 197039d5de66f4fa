//! Query strings that a policy lists, for buckets.

use serde_json::Value;

use super::managed::managed;
use crate::{
    behavior::CachePolicy,
    cache::key::NameSpec,
    origin::{OBJECT_PARAMETERS, is_refused_parameter},
};

pub(super) const FEW_PARAMETERS: &str = "a bucket receives no cookies and no query parameters except `versionId` and `response-*`, if the policy lists them by name (they are then in the cache key)";

/// The names in `QueryStringsConfig`.
fn query_names(config: &Value) -> impl Iterator<Item = &str> {
    let items = config.get("QueryStrings").and_then(|names| names.get("Items")?.as_array());
    items.into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a policy lists query strings.
pub(super) fn lists_names(policy: &Value) -> bool {
    policy.get("QueryStringsConfig").is_some_and(|query| query_names(query).next().is_some())
}

/// The policy without query parameters that are S3 subresources, and the names of those removed. `None` if it lists
/// none.
pub(super) fn without_refused(policy: &Value) -> Option<(Value, Vec<String>)> {
    const KEY: &str = "ParametersInCacheKeyAndForwardedToOrigin";
    let query = policy.get(KEY).unwrap_or(policy).get("QueryStringsConfig")?;
    let refused: Vec<String> =
        query_names(query).filter(|name| is_refused_parameter(name)).map(str::to_owned).collect();
    if refused.is_empty() || !says(query, "QueryStringBehavior", "whitelist") {
        return None;
    }
    let mut cleaned = policy.clone();
    let name = policy.get("Name").and_then(Value::as_str).unwrap_or("policy");
    cleaned["Name"] = format!("{name}-for-a-bucket").into();
    let holder = if policy.get(KEY).is_some() { &mut cleaned[KEY] } else { &mut cleaned };
    let query = &mut holder["QueryStringsConfig"];
    let items = query["QueryStrings"]["Items"].as_array_mut()?;
    items.retain(|name| !name.as_str().is_some_and(is_refused_parameter));
    if items.is_empty() {
        query["QueryStringBehavior"] = "none".into();
    }
    Some((cleaned, refused))
}

fn says(config: &Value, key: &str, word: &str) -> bool {
    config.get(key).and_then(Value::as_str) == Some(word)
}

/// Whether a policy's cache key has more than S3's object parameters.
pub(super) fn keys_more(id: &str, config: Option<&Value>) -> bool {
    if let Some(policy) = managed(id).and_then(CachePolicy::managed) {
        return policy.key.query != NameSpec::None || policy.key.cookies != NameSpec::None;
    }
    let key = config.and_then(|config| config.get("ParametersInCacheKeyAndForwardedToOrigin"));
    let says_none = |part: &str, word: &str| {
        let behavior = key.and_then(|key| key.get(part)?.get(word)?.as_str());
        behavior.is_none_or(|behavior| behavior == "none")
    };
    let lists_sent_ones = || {
        let query = key.and_then(|key| key.get("QueryStringsConfig"));
        query.is_some_and(|query| {
            says(query, "QueryStringBehavior", "whitelist")
                && query_names(query).all(|name| OBJECT_PARAMETERS.contains(&name))
        })
    };
    !says_none("CookiesConfig", "CookieBehavior")
        || !(says_none("QueryStringsConfig", "QueryStringBehavior") || lists_sent_ones())
}

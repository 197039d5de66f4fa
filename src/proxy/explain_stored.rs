//! What `forebay explain` says about a stored response.

use std::sync::Arc;

use http::{HeaderName, header};

use super::{context::Edge, explanation::StoredSummary, request::admission::AdmittedRequest};
use crate::{
    base::clock::Timestamp,
    cache::{
        policy::{CachingRules, Ttl},
        store::{Presence, StoredResponse},
    },
};

impl Edge {
    pub(super) fn summarize(
        self: &Arc<Self>,
        response: &Arc<StoredResponse>,
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
    ) -> StoredSummary {
        let caching = &admitted.behavior.cache_policy.caching;
        let freshness = &response.freshness;
        let granted = freshness.fresh_until.since(freshness.received_at)
            + freshness.age(freshness.received_at);
        StoredSummary {
            status: response.status.as_u16(),
            length: response.length(),
            in_memory: match self.presence(response, admitted) {
                _ if response.content_state.is_head_only() => "head",
                Ok(Presence::Arriving) => "arriving",
                Ok(Presence::Missing) => "missing",
                Ok(Presence::OnDisk) => "disk",
                Ok(Presence::Stored) | Err(_) => "all",
            }
            .to_owned(),
            fields: fields_of(response, caching),
            policy: match policy(response, caching) {
                text if granted > caching.ttl.max => {
                    format!("{text}; the response was stored under an earlier policy")
                }
                text => text,
            },
            lifetime: granted.as_secs(),
            age: freshness.age(now).as_secs(),
            fresh_for: freshness.ttl_seconds(now),
        }
    }
}

fn policy(response: &StoredResponse, caching: &CachingRules) -> String {
    if response.status.as_u16() >= 400 {
        return format!(
            "errors with this status are cached for {} s",
            caching.errors.of(response.status).as_secs()
        );
    }
    let Ttl { min, default, max } = caching.ttl;
    let [min, default, max] = [min, default, max].map(|ttl| ttl.as_secs());
    format!("minimum TTL {min} s, default {default} s, maximum {max} s")
}

fn fields_of(response: &StoredResponse, caching: &CachingRules) -> Vec<String> {
    let usual = [
        header::CACHE_CONTROL,
        header::EXPIRES,
        header::DATE,
        header::AGE,
        header::ETAG,
        header::LAST_MODIFIED,
        header::VARY,
    ];
    let fields = response.fields.to_map();
    let names: Vec<&HeaderName> = caching.targets.iter().chain(&usual).collect();
    let lines = names.into_iter().flat_map(|name| {
        let values = fields.get_all(name).into_iter();
        values.map(move |value| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    });
    lines.collect()
}

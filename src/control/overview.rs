//! The state of this Forebay, for the dashboard.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{Admin, State};
use crate::{
    base::clock::Timestamp,
    behavior::{AllowedMethods, Behavior, ViewerProtocol},
    http::coding::Codings,
    origin::Origin,
    proxy::Distribution,
};

impl Admin {
    /// The configuration in effect, and the state of what it names.
    pub(super) fn overview(&self, has_session: bool) -> Value {
        let State { edge, cluster, credentials, heartbeats, clock, started, .. } = &*self.0;
        let (rules, now, memory) = (edge.rules(), clock.now(), edge.store().usage());
        let distributions = rules.with_aliases();
        let distributions: Vec<Value> =
            distributions.map(|(it, aliases)| distribution(it, aliases, now)).collect();
        json!({
            "has_session": has_session,
            "version": env!("CARGO_PKG_VERSION"),
            "now": now.as_millis(),
            "started": started,
            "readiness": self.examine(),
            "workers": heartbeats.ages().len(),
            "memory": {
                "bytes": memory.bytes,
                "limit": edge.store().options().memory,
                "entries": memory.entries,
                "evictions": memory.evictions,
                "evicted_misses": memory.evicted_misses,
            },
            "disk": edge.store().disk_usage().map(|disk| json!({
                "bytes": disk.bytes,
                "limit": disk.capacity,
                "entries": disk.entries,
                "is_in_use": disk.is_in_use,
                "files_to_recover": disk.to_recover,
                "queue_bytes": disk.waiting,
                "write_budget": disk.write_budget,
            })),
            "credentials_source": credentials.source(),
            "credentials_expiry": credentials.expiry().map(Timestamp::as_millis),
            "staging": rules.staging.as_ref().map(|staging| json!({
                "weight": staging.options.weight,
                "has_ended": staging.has_ended(),
            })),
            "cluster": cluster.as_ref().map(|cluster| cluster.status()),
            "distributions": distributions,
        })
    }
}

fn distribution(distribution: &Distribution, aliases: &[String], now: Timestamp) -> Value {
    let behaviors = &distribution.settings.behaviors;
    let ordered = behaviors.ordered.iter().map(|(pattern, it)| behavior(distribution, pattern, it));
    let default = behavior(distribution, &"Default (*)", &behaviors.default);
    let groups = &distribution.origins;
    let skipped = groups.iter().filter(|group| group.skips_primary()).map(|group| group.primary());
    let skipped: BTreeSet<&str> = skipped.map(|origin| &*origin.options().id).collect();
    let origins = groups.iter().flat_map(|group| group.members());
    // An origin may be in several groups.
    let origins: BTreeMap<&str, &Arc<Origin>> =
        origins.map(|origin| (&*origin.options().id, origin)).collect();
    json!({
        "id": &*distribution.settings.id,
        "aliases": aliases,
        "origins": origins
            .into_iter()
            .map(|(id, it)| origin(it, skipped.contains(id), now))
            .collect::<Vec<_>>(),
        "behaviors": ordered.chain([default]).collect::<Vec<_>>(),
    })
}

fn origin(origin: &Arc<Origin>, is_skipped: bool, now: Timestamp) -> Value {
    let options = origin.options();
    json!({
        "id": options.id,
        "address": options.address.authority,
        "bucket": options.protocol.bucket(),
        "is_throttled": origin.is_throttled(),
        // Another origin of its group answers at once.
        "is_skipped": is_skipped,
        // Whether the last request failed.
        "is_failing": origin.is_failing(),
        "denies_most": origin.denies_most(),
        "last_minute": origin.recent_outcomes(now),
        "last_error": origin.last_error().map(|error| json!({
            "seconds_ago": now.since(error.at).as_secs(),
            "error": error.text,
            "advice": error.advice,
        })),
    })
}

fn behavior(
    distribution: &Distribution,
    pattern: &impl std::fmt::Display,
    behavior: &Behavior,
) -> Value {
    let members = distribution.origins[behavior.origin].members();
    let protocol = ViewerProtocol::NAMES.iter().find(|(_, it)| *it == behavior.viewer_protocol);
    let ttl = behavior.cache_policy.caching.ttl;
    json!({
        "pattern": pattern.to_string(),
        "origins": members.map(|origin| &*origin.options().id).collect::<Vec<_>>(),
        "is_enabled": behavior.enabled,
        "viewer_protocol": protocol.map(|(name, _)| *name),
        "allows_changes":
            matches!(behavior.allowed_methods, AllowedMethods::All | AllowedMethods::Any),
        "is_signed": behavior.trusted.is_some(),
        "compresses": behavior.compress != Codings::NONE,
        "ttl_seconds": [ttl.min.as_secs(), ttl.default.as_secs(), ttl.max.as_secs()],
    })
}

//! `POST /purge`: purges as JSON.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Refusal, State, invalidations::MAX_ITEMS, items, not_purged};
use crate::{
    cache::store::{PurgeBatch, PurgeError, PurgeMode},
    http::pasted_url::{PastedUrl, encode_percent_signs},
    proxy::{Distribution, Hosts, staged_id},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    /// Optional if there is only one distribution, or if the hosts of URLs select one.
    distribution: Option<String>,
    /// Paths, URLs, or `#` and a tag.
    paths: Vec<String>,
    /// Marks responses as stale, so that they are validated before the next use.
    #[serde(default)]
    soft: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Purged {
    distribution: String,
    paths: usize,
}

impl State {
    /// Applies a purge request.
    pub(super) async fn apply(&self, content: &[u8], caller: &str) -> Result<Purged, Refusal> {
        let bad = |message: String| (StatusCode::BAD_REQUEST, message);
        self.admit_change().map_err(|()| {
            (StatusCode::TOO_MANY_REQUESTS, "too many purges at once; try again in a moment".into())
        })?;
        let request: PurgeRequest = serde_json::from_slice(content).map_err(|error| {
            bad(format!(
                "invalid purge request: {error}; expected {{\"distribution\": \"…\", \"paths\": [\"/a.jpg\", \"/b/*\", \"#tag\"]}}"
            ))
        })?;
        let rules = self.edge.rules();
        let distribution = select(&rules.hosts, &request)?;
        if request.paths.is_empty() || request.paths.len() > MAX_ITEMS {
            return Err(bad(format!("`paths` must contain 1 to {MAX_ITEMS} paths")));
        }
        let paths: Vec<String> = request.paths.iter().map(|item| path_of(item)).collect();
        let purges = items::parse_all(distribution, &paths).map_err(bad)?;
        let mode = if request.soft { PurgeMode::Soft } else { PurgeMode::Hard };
        let id = distribution.settings.id.to_string();
        let batch = PurgeBatch { distribution: id.clone(), purges, mode };
        self.purge_both(batch, caller, &paths).await.map_err(|error| not_purged(&error))?;
        Ok(Purged { distribution: id, paths: request.paths.len() })
    }

    /// Purges a distribution, and the one that serves a part of its requests.
    pub(super) async fn purge_both(
        &self,
        batch: PurgeBatch,
        caller: &str,
        items: &[String],
    ) -> Result<(), PurgeError> {
        let (rules, mode) = (self.edge.rules(), batch.mode);
        // Another node of the cluster may have a staging configuration that this one has not.
        let primary = rules.by_id(&batch.distribution).filter(|_| self.cluster.is_some());
        let readings = rules.staged(&batch.distribution).or(primary);
        let staged = readings.map(|readings| {
            // What it cannot serve, it does not store.
            let purges =
                items.iter().map(|item| items::parse_all(readings, std::slice::from_ref(item)));
            let purges = purges.filter_map(Result::ok).flatten().collect();
            PurgeBatch { distribution: staged_id(&batch.distribution), purges, mode }
        });
        self.purge(batch, caller, items).await?;
        let Some(staged) = staged.filter(|staged| !staged.purges.is_empty()) else { return Ok(()) };
        // The log and the metrics have the purge already.
        let purged = self.edge.store().purge(staged).await;
        purged.inspect_err(|error| tracing::error!(%error, caller, "the purge of staging failed"))
    }

    /// Purges and logs the purge, which is in force when this resolves.
    pub(super) async fn purge(
        &self,
        batch: PurgeBatch,
        caller: &str,
        items: &[String],
    ) -> Result<(), PurgeError> {
        let (distribution, mode) = (batch.distribution.clone(), batch.mode);
        let count = batch.purges.len();
        self.edge.store().purge(batch).await.inspect_err(
            |error| tracing::error!(%error, caller, distribution, "the purge failed"),
        )?;
        self.edge.metrics().purged(count);
        // A purge ignores the query, which may have a signature.
        let first = items.first().and_then(|item| item.split('?').next());
        tracing::info!(
            caller,
            distribution,
            items = items.len(),
            first,
            soft = mode == PurgeMode::Soft,
            "purged"
        );
        Ok(())
    }
}

/// The distribution of a purge: the named one, that of the URLs' hosts, or the only one.
fn select<'a>(hosts: &'a Hosts, request: &PurgeRequest) -> Result<&'a Arc<Distribution>, Refusal> {
    let known = || {
        let known = hosts.all().iter().map(|d| d.settings.id.to_string());
        known.collect::<Vec<_>>().join(", ")
    };
    let unknown = |message: String| (StatusCode::NOT_FOUND, message);
    let mut selected = match request.distribution.as_deref() {
        Some(id) => Some(hosts.by_id(id).ok_or_else(|| {
            unknown(format!("there is no distribution `{id}`; use one of: {}", known()))
        })?),
        None => None,
    };
    for url in &request.paths {
        let Some(host) = PastedUrl::parse(url).and_then(|url| url.host().map(str::to_owned)) else {
            continue;
        };
        let Some(of_host) = hosts.select(&host) else {
            // The request names the distribution.
            if request.distribution.is_some() {
                continue;
            }
            return Err(unknown(format!(
                "no distribution has the alias `{host}`; the distributions are: {}",
                known()
            )));
        };
        match selected {
            Some(other) if !Arc::ptr_eq(other, of_host) => {
                let (id, other) = (&of_host.settings.id, &other.settings.id);
                let message = format!("`{url}` belongs to distribution `{id}`, not to `{other}`");
                return Err((StatusCode::BAD_REQUEST, message));
            }
            _ => selected = Some(of_host),
        }
    }
    match (selected, hosts.all()) {
        (Some(selected), _) | (None, [selected]) => Ok(selected),
        (None, _) => {
            Err(unknown(format!("the purge does not name one of the distributions: {}", known())))
        }
    }
}

/// The path of a URL, percent-encoded. Paths may be encoded or not. Anything else stays as it is.
fn path_of(item: &str) -> String {
    let path = PastedUrl::parse(item).map(|pasted| encode_percent_signs(&pasted.target));
    path.unwrap_or_else(|| item.to_owned())
}

//! `POST /purge`: purges as JSON.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Refusal, State, invalidations::MAX_ITEMS, items, not_purged};
use crate::cache::store::{PurgeBatch, PurgeMode};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    /// Optional if there is only one distribution.
    distribution: Option<String>,
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
                "not a purge: {error}; expected {{\"distribution\": \"…\", \"paths\": [\"/a.jpg\", \"/b/*\", \"#tag\"]}}"
            ))
        })?;
        let rules = self.edge.rules();
        let wanted = request.distribution.as_deref();
        let found = match (wanted, rules.hosts.all()) {
            (Some(id), _) => rules.hosts.by_id(id),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some(distribution) = found else {
            let known: Vec<_> =
                rules.hosts.all().iter().map(|d| d.settings.id.to_string()).collect();
            let known = known.join(", ");
            let message = match wanted {
                Some(id) => format!("there is no distribution `{id}`; there is: {known}"),
                None => format!("say which distribution; there is: {known}"),
            };
            return Err((StatusCode::NOT_FOUND, message));
        };
        if request.paths.is_empty() || request.paths.len() > MAX_ITEMS {
            return Err(bad(format!("`paths` must hold 1 to {MAX_ITEMS} paths")));
        }
        let purges = items::parse_all(distribution, &request.paths).map_err(bad)?;
        let mode = if request.soft { PurgeMode::Soft } else { PurgeMode::Hard };
        let id = distribution.settings.id.to_string();
        let batch = PurgeBatch { distribution: id.clone(), purges, mode };
        self.purge(batch, caller, &request.paths).await.map_err(|error| not_purged(&error))?;
        Ok(Purged { distribution: id, paths: request.paths.len() })
    }
}

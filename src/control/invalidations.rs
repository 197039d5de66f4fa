//! CreateInvalidation, GetInvalidation, ListInvalidations.

use std::{io, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};

use super::{
    State,
    api::{ApiError, ApiResponse, PageRequest},
    fan_out::{self, FanOutError},
    history::{Added, History, MAX_ENTRIES},
    invalidation::Invalidation,
    items, xml,
};
use crate::{
    cache::store::{Purge, PurgeBatch, PurgeMode},
    proxy::Distribution,
};

/// Maximum number of items in one invalidation (Amazon CloudFront Developer Guide, "Quotas").
pub(super) const MAX_ITEMS: usize = 3_000;

/// Maximum number of invalidations per page to look up at CloudFront.
const MOST_LOOKS: usize = 10;

/// Timeout for all of these lookups together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum length of a caller reference, in characters.
const MAX_REFERENCE: usize = 256;

impl State {
    /// Records an updated invalidation. If it cannot be written, it is kept in memory only.
    async fn remember(&self, amended: Invalidation) -> Arc<Invalidation> {
        let recorded = amended.clone();
        let recorded = self.with_history(move |history| history.amend(recorded)).await;
        let amended = recorded.unwrap_or_else(|error| {
            tracing::error!(%error, "the invalidation cannot be written to its history");
            Arc::new(amended)
        });
        if let Err(error) = self.share(&amended).await {
            tracing::error!(%error, "the invalidation cannot be written to the cluster's history");
        }
        amended
    }

    /// Sends an invalidation to the other nodes of the cluster, if there is one.
    async fn share(&self, invalidation: &Invalidation) -> Result<(), String> {
        let Some(shared) = &self.shared_history else { return Ok(()) };
        let Invalidation { distribution, caller_reference, .. } = invalidation;
        let content = serde_json::to_vec(invalidation).map_err(|error| error.to_string())?;
        shared.write(&format!("{distribution}\n{caller_reference}"), content).await
    }

    /// Waits for what other nodes of the cluster have done until now.
    async fn catch_up(&self) {
        if let Some(shared) = &self.shared_history {
            shared.catch_up().await;
        }
    }

    /// Keeps the history of other nodes.
    pub(super) async fn follow_history(self: Arc<Self>) {
        let Some(shared) = &self.shared_history else { return };
        let merge = |content: Vec<u8>| {
            let state = Arc::clone(&self);
            let merged = async move {
                let Ok(other) = serde_json::from_slice::<Invalidation>(&content) else { return };
                let merged = state.with_history(move |history| history.merge(&other)).await;
                if let Err(error) = merged {
                    tracing::error!(%error, "an invalidation of another node cannot be written to the history");
                }
            };
            merged.boxed()
        };
        shared.follow(MAX_ENTRIES, merge).await;
    }

    /// Runs a history update on a blocking thread, because it waits for the disk.
    async fn with_history<T: Send + 'static>(
        &self,
        write: impl FnOnce(&History) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let history = Arc::clone(&self.history);
        let written = tokio::task::spawn_blocking(move || write(&history)).await;
        written.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    }
}

/// Answers a request about one or all invalidations of a distribution.
pub(super) async fn answer(
    state: &State,
    request: &Parts,
    (distribution, id): (&str, Option<&str>),
    content: &[u8],
    caller: &str,
) -> Result<ApiResponse, ApiError> {
    let rules = state.edge.rules();
    let known =
        rules.hosts.by_id(distribution).ok_or_else(|| ApiError::no_distribution(distribution))?;
    match (&request.method, id) {
        (&Method::POST, None) => create(state, request, known, content, caller).await,
        (&Method::GET, None) => list(state, request, distribution).await.map(ApiResponse::found),
        (&Method::GET, Some(id)) => match find(state, distribution, id).await {
            Some(invalidation) => {
                let known = look(state, invalidation).await;
                Ok(ApiResponse::found(xml::invalidation(&known)))
            }
            None => {
                let message = format!("there is no invalidation `{id}`");
                Err(ApiError::new(StatusCode::NOT_FOUND, "NoSuchInvalidation", message))
            }
        },
        _ => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "InvalidArgument",
            "use POST or GET with …/invalidation, or GET with …/invalidation/ID",
        )),
    }
}

/// The invalidation with this id, which may be one of another node.
async fn find(state: &State, distribution: &str, id: &str) -> Option<Arc<Invalidation>> {
    if let Some(known) = state.history.find(distribution, id) {
        return Some(known);
    }
    state.catch_up().await;
    state.history.find(distribution, id)
}

/// A validated batch.
struct Wanted {
    caller_reference: String,
    items: Vec<String>,
    purges: Vec<Purge>,
}

/// Parses a caller's batch. One bad item rejects the whole batch.
fn read(distribution: &Distribution, content: &[u8]) -> Result<Wanted, ApiError> {
    let bad =
        |code: &'static str, message: &str| ApiError::new(StatusCode::BAD_REQUEST, code, message);
    if content.is_empty() {
        return Err(bad("MissingBody", "the request contains no InvalidationBatch"));
    }
    let batch = xml::Batch::parse(content)
        .ok_or_else(|| bad("MalformedXML", "the content is not an InvalidationBatch"))?;
    if batch.quantity.is_some_and(|quantity| quantity != batch.items.len()) {
        return Err(bad("InconsistentQuantities", "Quantity does not match the number of Items"));
    }
    if batch.items.len() > MAX_ITEMS {
        let message = format!("a batch can have at most {MAX_ITEMS} items");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "BatchTooLarge", message));
    }
    let fits = |reference: &String| (1..=MAX_REFERENCE).contains(&reference.chars().count());
    let reference = batch.caller_reference.filter(fits);
    let (Some(caller_reference), false) = (reference, batch.items.is_empty()) else {
        let message = "a batch needs a CallerReference of 1 to 256 characters, and Paths with at least one item";
        return Err(bad("InvalidArgument", message));
    };
    let purges = items::parse_all(distribution, &batch.items)
        .map_err(|message| bad("InvalidArgument", &message))?;
    Ok(Wanted { caller_reference, items: batch.items, purges })
}

/// Refreshes the status of an invalidation from CloudFront.
async fn look(state: &State, known: Arc<Invalidation>) -> Arc<Invalidation> {
    let Some(elsewhere) = known.elsewhere.as_ref().filter(|elsewhere| !elsewhere.is_completed)
    else {
        return known;
    };
    match fan_out::look(state, elsewhere).await {
        Ok(now) if now.is_completed => {
            let completed = Invalidation { elsewhere: Some(now), ..(*known).clone() };
            state.remember(completed).await
        }
        Ok(_) => known,
        Err(refused) => {
            let (id, reason) = (&elsewhere.id, refused.reason);
            tracing::warn!(id, reason, "cannot get the invalidation's status from CloudFront");
            known
        }
    }
}

/// Creates the invalidation at CloudFront as well, if the distribution has a counterpart there.
async fn copy(
    state: &State,
    request: &Parts,
    distribution: &Distribution,
    invalidation: Arc<Invalidation>,
) -> Result<Arc<Invalidation>, ApiError> {
    let theirs = distribution.settings.fan_out.as_deref();
    let Some(theirs) = theirs.filter(|_| invalidation.elsewhere.is_none()) else {
        return Ok(invalidation);
    };
    if request.headers.contains_key(fan_out::COPY) {
        let message = "this invalidation is already a copy and is not copied again: AWS_ENDPOINT_URL_CLOUDFRONT points a Forebay at itself, or at another one with `fan_out`";
        return Err(ApiError::invalid_argument(message));
    }
    match fan_out::create(state, theirs, &invalidation).await {
        Ok(elsewhere) => {
            tracing::info!(
                distribution = theirs,
                id = elsewhere.id,
                "also invalidated at CloudFront"
            );
            let copied = Invalidation { elsewhere: Some(elsewhere), ..(*invalidation).clone() };
            Ok(state.remember(copied).await)
        }
        // If the caller repeats the request with the same reference, the copy is retried.
        Err(FanOutError { status, code, reason }) => {
            tracing::error!(distribution = theirs, code, reason, "not invalidated at CloudFront");
            let message = format!("invalidated here, but not at CloudFront's {theirs}: {reason}");
            Err(ApiError::new(status, code, message))
        }
    }
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
}

async fn create(
    state: &State,
    request: &Parts,
    distribution: &Distribution,
    content: &[u8],
    caller: &str,
) -> Result<ApiResponse, ApiError> {
    state.admit_change().map_err(|()| {
        let message = "too many purges at once; try again in a moment".to_owned();
        ApiError::new(StatusCode::BAD_REQUEST, "TooManyInvalidationsInProgress", message)
    })?;
    let Wanted { caller_reference, items, purges } = read(distribution, content)?;
    let id = &*distribution.settings.id;
    let invalidation = Invalidation {
        id: new_id(),
        distribution: id.to_owned(),
        created: state.clock.now().as_millis(),
        caller_reference,
        items,
        elsewhere: None,
    };
    state.catch_up().await;
    let looked_up = state
        .with_history(move |history| Ok((history.earlier(&invalidation), invalidation)))
        .await
        .map_err(|error| unavailable(format!("nothing was purged: {error}; try again")))?;
    let added = match looked_up {
        (Some(earlier), _) => earlier,
        (None, invalidation) => {
            // Purge first, because an invalidation in the history is reported as done. Two requests with one
            // reference may both purge, which only costs some cache hits.
            let batch = PurgeBatch { distribution: id.to_owned(), purges, mode: PurgeMode::Hard };
            let purged = state.purge_both(batch, caller, &invalidation.items).await;
            purged.map_err(|error| {
                unavailable(format!("not everything was purged: {error}; try again"))
            })?;
            let added = state.with_history(move |history| history.add(invalidation)).await;
            added.map_err(|error| {
                tracing::error!(%error, "the invalidation cannot be written to its history");
                unavailable(format!("purged, but not recorded in the history: {error}; try again"))
            })?
        }
    };
    let invalidation = match added {
        Added::New(invalidation) | Added::Known(invalidation) => invalidation,
        Added::Contradicts => {
            // AWS's words, which clients such as Ansible match.
            let message = "Your request contains a caller reference that was used for a previous \
                           invalidation batch for the same distribution.";
            return Err(ApiError::invalid_argument(message));
        }
    };
    // Even if it was known before: the last attempt may have ended here.
    state.share(&invalidation).await.map_err(|error| {
        unavailable(format!(
            "purged, but not recorded in the cluster's history: {error}; try again"
        ))
    })?;
    let invalidation = copy(state, request, distribution, invalidation).await?;
    Ok(ApiResponse {
        status: StatusCode::CREATED,
        document: xml::invalidation(&invalidation),
        location: location(request, id, &invalidation.id),
        etag: None,
    })
}

/// The URL of an invalidation, at the host that the caller used.
fn location(request: &Parts, distribution: &str, id: &str) -> Option<HeaderValue> {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let url = format!("http://{host}/2020-05-31/distribution/{distribution}/invalidation/{id}");
    HeaderValue::try_from(url).ok()
}

async fn list(state: &State, request: &Parts, distribution: &str) -> Result<String, ApiError> {
    let wanted = PageRequest::read(request)?;
    state.catch_up().await;
    let after = Some(wanted.marker.as_str()).filter(|marker| !marker.is_empty());
    let (mut page, more) =
        state.history.list(distribution, after, wanted.most).ok_or_else(|| {
            ApiError::invalid_argument("Marker is not an invalidation of this distribution")
        })?;
    // Few invalidations are pending at CloudFront, and they are the newest.
    let waiting = page.iter_mut().filter(|known| known.status() != "Completed").take(MOST_LOOKS);
    let looks = async {
        for known in waiting {
            *known = look(state, Arc::clone(known)).await;
        }
    };
    // The list is sent in time, with the statuses known by then.
    let _ = tokio::time::timeout(PATIENCE, looks).await;
    Ok(xml::list(&wanted, &page, more))
}

/// A new id: `I` and 13 capitals and digits, like CloudFront's.
fn new_id() -> String {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let letter = |_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
    std::iter::once('I').chain((0..13).map(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_cloudfronts() {
        let id = new_id();
        assert!(id.len() == 14 && id.starts_with('I'), "{id}");
        assert_ne!(id, new_id());
    }
}

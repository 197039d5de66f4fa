//! Errors that viewers got, with what to do about them.

use serde::Serialize;

use crate::{proxy::Rules, statistics::SeenError};

/// An error that viewers got, with what to do about it.
#[derive(Debug, Serialize)]
pub(super) struct AdvisedError {
    #[serde(flatten)]
    error: SeenError,
    advice: String,
}

impl AdvisedError {
    /// Adds what to do, by the rules in effect.
    pub(super) fn new(error: SeenError, rules: &Rules) -> Self {
        Self { advice: advice(&error, rules), error }
    }
}

fn advice(error: &SeenError, rules: &Rules) -> String {
    let text = match (error.reason, error.status) {
        (Some("method"), _) => {
            "the behavior does not allow this method: set `allowed_methods` if viewers need it"
        }
        (Some("unknown-host" | "bad-host"), _) => {
            "no distribution serves this host: add it to `aliases`, or ignore it"
        }
        (Some("rate-limited"), _) => "the client sent more requests than `rate_limit` allows",
        (Some("address-denied" | "country-denied" | "referer-denied"), _) => {
            "a restriction of the distribution refuses this viewer"
        }
        (Some("https-only"), _) => "the behavior allows HTTPS only (`viewer_protocol_policy`)",
        (Some(reason), _) if reason.starts_with("signed-") => {
            "the URL is not signed, or not validly: explain it below"
        }
        (None | Some("origin-error"), 500..) => {
            "the origin answered with this error itself: its log has the cause"
        }
        (None | Some("origin-missing"), 404 | 410) => "the origin has no such object",
        (None, 403) => "the bucket denies this object, or it does not exist: explain it below",
        (Some(reason), _) if reason.starts_with("origin-") => {
            return of_origin(error, rules).unwrap_or_else(|| {
                "a request has succeeded since; the log has the cause".to_owned()
            });
        }
        _ => "explain it below, or see its status in the troubleshooting guide",
    };
    text.to_owned()
}

/// What the log said about the origin of an error, unless a request has succeeded since.
fn of_origin(error: &SeenError, rules: &Rules) -> Option<String> {
    let distribution = rules.hosts.by_id(&error.distribution)?;
    let behavior = distribution.settings.behaviors.select(&error.path);
    let mut members = distribution.origins[behavior.origin].members();
    members.find_map(|origin| Some(origin.last_error()?.advice.clone()))
}

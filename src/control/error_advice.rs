//! Errors that viewers got, with what to do about them.

use serde::Serialize;

use super::origins_of_path::origins_of_path;
use crate::{
    base::clock::Timestamp, origin::SERVER_ERROR_ADVICE, proxy::Rules, statistics::SeenError,
};

/// An error that viewers got, with what to do about it.
#[derive(Debug, Serialize)]
pub(super) struct AdvisedError {
    #[serde(flatten)]
    error: SeenError,
    /// The ids of the origins that have the object, if the error is one of theirs.
    origins: Vec<String>,
    advice: String,
}

impl AdvisedError {
    /// Adds what to do, by the rules in effect.
    pub(super) fn new(error: SeenError, rules: &Rules, now: Timestamp) -> Self {
        let is_origins = match error.reason {
            // Forebay itself answers some requests for stored objects with 412 or 416.
            None => matches!(error.status, 403 | 404 | 410 | 500..),
            Some(reason) => reason.starts_with("origin-"),
        };
        let members = origins_of_path(rules, &error.distribution, &error.path);
        let origins = members.filter(|_| is_origins).map(|origin| origin.options().id.clone());
        Self { origins: origins.collect(), advice: advice(&error, rules, now), error }
    }
}

fn advice(error: &SeenError, rules: &Rules, now: Timestamp) -> String {
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
        (Some("rule-denied" | "rule-protected-path"), _) => {
            "a rule of the behavior refuses this request: explain it below"
        }
        (Some("unauthorized"), _) => "the viewer gave no valid user name and password",
        (Some("https-only"), _) => "the behavior allows HTTPS only (`viewer_protocol_policy`)",
        (Some(reason), _) if reason.starts_with("signed-") => {
            "the URL is not signed, or not validly: explain it below"
        }
        (None, 500..) => SERVER_ERROR_ADVICE,
        (None | Some("origin-missing"), 404 | 410) => "the origin has no such object",
        (None, 403) => {
            "the origin denies this object; a bucket also denies those that do not exist"
        }
        (Some(reason), _) if reason.starts_with("origin-") => {
            return of_origin(error, rules, now)
                .unwrap_or_else(|| "the origin works again; the log has the cause".to_owned());
        }
        _ => "explain it below, or see its status in the troubleshooting guide",
    };
    text.to_owned()
}

/// What the log said about the origin of an error, unless the origin works again.
fn of_origin(error: &SeenError, rules: &Rules, now: Timestamp) -> Option<String> {
    let mut members = origins_of_path(rules, &error.distribution, &error.path);
    members.find_map(|origin| Some(origin.current_error(now)?.advice.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_advice() {
        let of = |reason, status| {
            let error = SeenError {
                at: 0,
                distribution: "media".into(),
                method: "GET".into(),
                path: "/a".into(),
                status,
                reason,
                request_id: String::new(),
                times: 1,
            };
            advice(&error, &Rules::default(), Timestamp::from_secs(1000))
        };
        for (reason, status, expected) in [
            (Some("method"), 405, "allowed_methods"),
            (Some("unknown-host"), 421, "aliases"),
            (Some("signed-expired"), 403, "signed"),
            (Some("origin-connect"), 502, "works again"),
            (Some("origin-error"), 502, "works again"),
            (None, 500, "log of the origin"),
            (None, 404, "no such object"),
            (None, 418, "troubleshooting"),
        ] {
            assert!(of(reason, status).contains(expected), "{reason:?} {status}");
        }
    }
}

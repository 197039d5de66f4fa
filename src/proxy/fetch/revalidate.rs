//! Revalidation of a stale response: a 304 renews it, or it stays in use because the origin fails.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use super::{
    fetch_task::{Conditions, Fetch, REMEMBER_UNSTORABLE},
    forwarded::{Forwarded, How},
    storing::withhold,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        policy::NotStored,
        store::{FetchError, StoredResponse},
    },
    http::{cache_status::ORIGIN_MISSING, date, entity_tag::EntityTag},
    origin::{DENIED, Denial, OriginResponse, failure},
    outbound::ErrorClass,
    proxy::request::rejection::is_error,
};

impl Fetch {
    /// Renews the stored response after a 304 (RFC 9111 §4.3.4).
    pub(crate) async fn freshen(self, answer: OriginResponse) {
        let Some(seen) = self.seen.clone() else {
            return self.fail(failure(ErrorClass::Other));
        };
        if !confirms(&answer, &seen) || tells_of_change(&answer, &seen) {
            drop(answer);
            // The 304 is about another version. Fetch that one without conditions.
            return match self.send(self.range, Conditions::None).await {
                Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {
                    self.fail(failure(ErrorClass::Other));
                }
                Ok(answer) => self.settle(answer).await,
                Err(failure) => self.fail(failure),
            };
        }
        let now = self.upstream.edge.clock.now();
        let mark = self.obligation.mark();
        let mut fields = seen.updated_fields(&answer.fields);
        self.keep_variation(seen.status, &mut fields);
        let (freshness, own_fields, stored) = match self.decide(seen.status, &fields, &answer) {
            Ok(storable) => (storable.freshness, withhold(&mut fields, &storable.withheld), Ok(())),
            Err(reason) => (seen.freshness, None, Err(reason)),
        };
        let content = Arc::clone(&seen.content);
        let mut response = StoredResponse::new(seen.status, &fields, freshness, content, mark);
        response.synthetic_error = seen.synthetic_error;
        // A 304 may omit unchanged headers.
        response.tags = if answer.tags.is_empty() { seen.tags.clone() } else { answer.tags };
        let response = Arc::new(response);
        if stored.is_ok() {
            let place = self.place_of(seen.status, &fields);
            self.obligation.fulfil(&place, Arc::clone(&response), now);
        } else if let Err(why) = stored
            && why != NotStored::Authorization
        {
            // The updated response must not be stored. It answers this request only.
            self.obligation.release(why, now + REMEMBER_UNSTORABLE);
        }
        let (how, timing) = (How::Validated(stored), Some(Box::new(answer.timing)));
        let _ = self.forward.send(Forwarded::Stored { response, how, own_fields, timing });
    }

    /// Serves the stale copy. The origin gets at most one request per error-caching minimum TTL
    /// (Amazon CloudFront Developer Guide, "Serve stale content").
    pub(crate) fn keep(self, failure: FetchError, now: Timestamp) {
        let Some(seen) = &self.seen else { return };
        let pause = self.upstream.behavior.cache_policy.caching.errors.of(failure.status);
        let response = Arc::new(seen.waiting(now + pause));
        let place = self.place_of(seen.status, &seen.fields.to_map());
        self.obligation.keep(&place.key, Arc::clone(&response));
        let how = How::Kept(failure.detail);
        let kept = Forwarded::Stored { response, how, own_fields: None, timing: None };
        let _ = self.forward.send(kept);
    }

    pub(crate) fn has_good_copy(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| !is_error(seen.status))
    }

    /// Classifies a bucket's 403 for an object whose cached copy is usable.
    pub(crate) fn judge_denial(&self, now: Timestamp) -> Denial {
        let origin = self.upstream.origin.primary();
        let window = origin.options().stale_if_denied;
        let may_be_stale = self.seen.as_ref().is_some_and(|seen| seen.freshness.serves_errors(now));
        if window.is_zero() || !may_be_stale {
            return Denial::OfObject;
        }
        match origin.note_denied(self.obligation.key(), now) {
            Denial::Mass(since) if now.since(since) >= window => Denial::OfObject,
            denial => denial,
        }
    }

    /// Denies this request and those that wait for it. The stored copy stays.
    pub(crate) fn deny(self) {
        self.obligation.fail(DENIED);
        // The viewer may have disconnected.
        let _ = self.forward.send(Forwarded::Failed(DENIED));
    }

    /// The reason to keep the stale response although the origin answered.
    pub(crate) fn reason_to_keep(
        &self,
        answer: &OriginResponse,
        now: Timestamp,
    ) -> Option<&'static str> {
        let status = answer.status;
        let freshness = self.seen.as_ref()?.freshness;
        let window = self.upstream.behavior.cache_policy.caching.stale_if_missing;
        let missing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
            || (status == StatusCode::FORBIDDEN && answer.bucket);
        match () {
            () if status.is_server_error() && freshness.serves_errors(now) => Some("origin-error"),
            () if missing && freshness.serves_missing(window, now) => Some(ORIGIN_MISSING),
            () => None,
        }
    }
}

/// Whether a 304 applies to the stored response: their entity tags match, if both exist (RFC 9111 §4.3.4).
fn confirms(answer: &OriginResponse, seen: &StoredResponse) -> bool {
    let stored = seen.fields.get(&header::ETAG);
    match (answer.fields.get(header::ETAG), &stored) {
        (Some(received), Some(stored)) => {
            let tags = (EntityTag::parse(received.as_bytes()), EntityTag::parse(stored.as_bytes()));
            matches!(tags, (Some(received), Some(stored)) if received.weak_eq(&stored))
        }
        _ => true,
    }
}

/// Whether a 304 from S3 has a newer `Last-Modified`. A change of metadata alone keeps the entity tag, so S3
/// would answer 304 forever.
fn tells_of_change(answer: &OriginResponse, seen: &StoredResponse) -> bool {
    let date = |value: Option<&HeaderValue>| value.and_then(|v| date::parse(v.as_bytes()));
    let received = date(answer.fields.get(header::LAST_MODIFIED));
    let stored = date(seen.fields.get(&header::LAST_MODIFIED).as_ref());
    answer.bucket && received.zip(stored).is_some_and(|(received, stored)| received > stored)
}

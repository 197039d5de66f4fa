//! Whether a response may be stored (RFC 9111 §3), and for how long it is then fresh.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::{
    Freshness,
    ttl::{HonorPrivate, Ttl, explicit_lifetime},
};
use crate::{
    clock::Timestamp,
    semantics::cache_control::{CacheControl, Delta},
};

/// How long an error is remembered when the origin does not say: CloudFront's default
/// error-caching minimum TTL.
const ERROR_CACHING_MIN_TTL: Duration = Duration::from_secs(10);

/// A response to a GET or HEAD, as it came from the origin.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its status code.
    pub status: StatusCode,
    /// Its fields, hop-by-hop ones removed.
    pub fields: &'a HeaderMap,
    /// When the request was sent.
    pub requested_at: Timestamp,
    /// When the head arrived.
    pub received_at: Timestamp,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The policy turns caching off.
    CachingDisabled,
    /// `no-store`.
    NoStore,
    /// `private`, in a shared cache.
    Private,
    /// `Vary: *`.
    VaryAny,
    /// A status that is not stored, or not without explicit freshness.
    Status,
    /// Neither fresh for any time nor possible to validate.
    Useless,
}

impl NotStored {
    /// A token for logs and `Cache-Status`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::CachingDisabled => "caching-disabled",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::VaryAny => "vary-any",
            Self::Status => "status",
            Self::Useless => "no-lifetime",
        }
    }
}

/// Decides about a response to GET or HEAD.
///
/// # Errors
/// The reason why it must not, or need not, be stored.
pub fn storable(
    received: &Received<'_>,
    ttl: &Ttl,
    honor: HonorPrivate,
) -> Result<Freshness, NotStored> {
    let lines = received.fields.get_all(header::CACHE_CONTROL);
    let cache_control = CacheControl::parse(lines.iter().map(http::HeaderValue::as_bytes));
    if ttl.is_disabled() {
        return Err(NotStored::CachingDisabled);
    }
    let overridden = honor == HonorPrivate::CloudFront && !ttl.min.is_zero();
    // RFC 9111 §3: the no-store directive is not present in the response.
    if cache_control.no_store && !overridden {
        return Err(NotStored::NoStore);
    }
    // RFC 9111 §3: if the cache is shared, the private directive is not present.
    if cache_control.private && !overridden {
        return Err(NotStored::Private);
    }
    // RFC 9111 §4.1: a stored "Vary: *" never matches.
    if varies_on_anything(received.fields) {
        return Err(NotStored::VaryAny);
    }
    let lifetime = lifetime(received, &cache_control, ttl)?;
    let freshness = freshness(received, lifetime, ttl.min);
    let fresh = freshness.fresh_until > received.received_at;
    let can_validate = received.fields.contains_key(header::ETAG)
        || received.fields.contains_key(header::LAST_MODIFIED);
    if fresh || can_validate { Ok(freshness) } else { Err(NotStored::Useless) }
}

fn lifetime(
    received: &Received<'_>,
    cache_control: &CacheControl,
    ttl: &Ttl,
) -> Result<Duration, NotStored> {
    let explicit = explicit_lifetime(cache_control, received.fields, received.received_at);
    match received.status.as_u16() {
        200 | 203 | 204 | 206 | 300 | 301 | 302 | 410 => {
            Ok(ttl.lifetime(cache_control, received.fields, received.received_at))
        }
        // Errors about the object: at least the error-caching minimum TTL; what the origin
        // says counts within the maximum TTL.
        403 | 404 => Ok(explicit.unwrap_or_default().min(ttl.max).max(ERROR_CACHING_MIN_TTL)),
        // CloudFront stores these redirects only with explicit freshness.
        307 | 308 if has_delta(cache_control) => {
            Ok(ttl.lifetime(cache_control, received.fields, received.received_at))
        }
        _ => Err(NotStored::Status),
    }
}

fn has_delta(cache_control: &CacheControl) -> bool {
    cache_control.max_age != Delta::Absent || cache_control.s_maxage != Delta::Absent
}

fn freshness(received: &Received<'_>, lifetime: Duration, min: Duration) -> Freshness {
    // RFC 9111 §4.2.3: corrected_age_value = age_value + response_delay
    let delay = received.received_at.since(received.requested_at);
    let initial_age = age_value(received.fields) + delay;
    // The minimum TTL is time at the edge, so an age the response brings does not shorten it.
    let left = lifetime.saturating_sub(initial_age).max(min);
    Freshness {
        received_at: received.received_at,
        initial_age,
        fresh_until: received.received_at + left,
    }
}

/// RFC 9111 §5.1: the first member of `Age`; anything but a number is ignored.
fn age_value(fields: &HeaderMap) -> Duration {
    let value = fields.get(header::AGE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let first = value.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(first).unwrap_or_default();
    Duration::from_secs(digits.parse::<u32>().unwrap_or_default().into())
}

fn varies_on_anything(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::VARY);
    lines.iter().any(|line| line.as_bytes().split(|&b| b == b',').any(|m| m.trim_ascii() == b"*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Timestamp = Timestamp::from_secs(1000);

    fn ttl(min: u64) -> Ttl {
        let [min, default, max] = [min, 86_400, 31_536_000].map(Duration::from_secs);
        Ttl { min, default, max }
    }

    fn decide(
        status: u16,
        fields: &[(&'static str, &str)],
        min: u64,
        honor: HonorPrivate,
    ) -> Result<(u64, u64), NotStored> {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), value.parse().expect("value"))
            })
            .collect();
        let received = Received {
            status: StatusCode::from_u16(status).expect("status"),
            fields: &fields,
            requested_at: SENT,
            received_at: SENT + Duration::from_secs(2),
        };
        storable(&received, &ttl(min), honor).map(|freshness| {
            let left = freshness.fresh_until.since(freshness.received_at);
            (freshness.initial_age.as_secs(), left.as_secs())
        })
    }

    #[test]
    fn storability_by_status_and_directive() {
        use HonorPrivate::{CloudFront, Strict};
        let cc = "cache-control";
        for (status, fields, min, honor, expected) in [
            (200, &[][..], 1, Strict, Ok((2, 86_398))),
            (200, &[(cc, "max-age=60")], 1, Strict, Ok((2, 58))),
            (200, &[(cc, "max-age=60"), ("age", "50")], 0, Strict, Ok((52, 8))),
            (200, &[(cc, "max-age=60"), ("age", "50, 3")], 0, Strict, Ok((52, 8))),
            (200, &[(cc, "max-age=60"), ("age", "x")], 0, Strict, Ok((2, 58))),
            (200, &[(cc, "max-age=1"), ("etag", "\"a\"")], 0, Strict, Ok((2, 0))),
            (200, &[(cc, "max-age=0")], 0, Strict, Err(NotStored::Useless)),
            (200, &[(cc, "max-age=1"), ("age", "99")], 5, Strict, Ok((101, 5))),
            (200, &[(cc, "private")], 1, Strict, Err(NotStored::Private)),
            (200, &[(cc, "no-store")], 1, Strict, Err(NotStored::NoStore)),
            (200, &[(cc, "private")], 1, CloudFront, Ok((2, 1))),
            (200, &[(cc, "private")], 0, CloudFront, Err(NotStored::Private)),
            (200, &[(cc, "no-cache"), ("etag", "\"a\"")], 0, Strict, Ok((2, 0))),
            (200, &[("vary", "origin, *")], 1, Strict, Err(NotStored::VaryAny)),
            (404, &[], 1, Strict, Ok((2, 8))),
            (404, &[(cc, "max-age=100")], 1, Strict, Ok((2, 98))),
            (500, &[(cc, "max-age=100")], 1, Strict, Err(NotStored::Status)),
            (307, &[], 1, Strict, Err(NotStored::Status)),
            (307, &[(cc, "max-age=100")], 1, Strict, Ok((2, 98))),
        ] {
            assert_eq!(decide(status, fields, min, honor), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn a_disabled_policy_stores_nothing() {
        let zero = Ttl { min: Duration::ZERO, default: Duration::ZERO, max: Duration::ZERO };
        let fields = HeaderMap::new();
        let received = Received {
            status: StatusCode::OK,
            fields: &fields,
            requested_at: SENT,
            received_at: SENT,
        };
        let decision = storable(&received, &zero, HonorPrivate::Strict);
        assert_eq!(decision, Err(NotStored::CachingDisabled));
    }
}

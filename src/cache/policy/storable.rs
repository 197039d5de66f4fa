//! Whether a response may be stored (RFC 9111 §3), and how long it is then fresh.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    CachingRules, Freshness, Stale,
    lifetime::{ResponseDirectives, heuristic},
};
use crate::{
    base::clock::Timestamp,
    http::cache_control::{CacheControl, Delta},
};

/// A response to a GET or HEAD, as received from the origin.
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
    /// The properties of the request that matter.
    pub request: RequestProperties,
}

/// Properties of a request that decide whether its response is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestProperties {
    /// The viewer sent `Authorization`.
    pub authorization: bool,
    /// The origin is a bucket, whose errors about an object do not depend on the viewer.
    pub bucket: bool,
    /// The origin saw parts of the viewer's request that are not in the cache key.
    pub beyond_key: bool,
}

/// The decision to store a response, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storable {
    /// How long the response may be used.
    pub freshness: Freshness,
    /// Fields that are for this viewer only.
    pub withheld: Vec<HeaderName>,
}

/// The reason a response is not stored.
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
    /// The request held `Authorization`, and the response does not allow sharing.
    Authorization,
    /// A status that is not stored, or not without explicit freshness.
    Status,
    /// `Set-Cookie`, which is for one viewer.
    SetCookie,
    /// Never fresh, and not possible to validate.
    Useless,
    /// Too long to be stored in one piece, which would be required.
    TooLong,
    /// Not yet: it is still being buffered.
    Unfinished,
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
            Self::Authorization => "authorization",
            Self::Status => "status",
            Self::SetCookie => "set-cookie",
            Self::Useless => "no-lifetime",
            Self::TooLong => "too-long",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Decides whether to store a response to GET or HEAD.
///
/// # Errors
/// The reason why it must not, or need not, be stored.
pub fn storable(received: &Received<'_>, caching: &CachingRules) -> Result<Storable, NotStored> {
    let mut read = ResponseDirectives::read(received.fields, &caching.targets);
    // RFC 9111 §5.2.2.3: must-understand overrides no-store if it is satisfied.
    read.directives.no_store &= !read.directives.must_understand;
    let directives = &read.directives;
    if caching.ttl.is_disabled() {
        return Err(NotStored::CachingDisabled);
    }
    may_be_shared(received, directives, caching)?;
    // RFC 9111 §4.1: a stored "Vary: *" never matches.
    if varies_on_anything(received.fields) {
        return Err(NotStored::VaryAny);
    }
    let is_withheld = read.directives.withheld.contains(&header::SET_COOKIE);
    if received.fields.contains_key(header::SET_COOKIE) && !is_withheld && !caching.cache_set_cookie
    {
        return Err(NotStored::SetCookie);
    }
    // Another viewer's request might not have caused it.
    if received.request.beyond_key && depends_on_request(received.status) {
        return Err(NotStored::Status);
    }
    let explicit = read.lifetime(received.fields, received.received_at);
    let lifetime = lifetime(received, directives, explicit, caching)?;
    let freshness = freshness(received, lifetime, directives, caching);
    let fresh = freshness.fresh_until > received.received_at;
    let can_validate = received.fields.contains_key(header::ETAG)
        || received.fields.contains_key(header::LAST_MODIFIED);
    if !fresh && !can_validate {
        return Err(NotStored::Useless);
    }
    Ok(Storable { freshness, withheld: read.directives.withheld })
}

/// The conditions of RFC 9111 §3 that concern other viewers.
fn may_be_shared(
    received: &Received<'_>,
    directives: &CacheControl,
    caching: &CachingRules,
) -> Result<(), NotStored> {
    let understood = is_understood(received.status);
    // "if the must-understand directive is present, the cache understands the status code"
    if directives.must_understand && !understood {
        return Err(NotStored::Status);
    }
    let overridden = caching.min_ttl_overrides();
    // "the no-store directive is not present"
    if directives.no_store && !overridden {
        return Err(NotStored::NoStore);
    }
    // "if the cache is shared, the private directive is not present"
    if directives.private && !overridden {
        return Err(NotStored::Private);
    }
    // §3.5: a response to a request with Authorization, only if one of these allows it
    let allowed =
        directives.public || directives.must_revalidate || directives.s_maxage != Delta::Absent;
    if received.request.authorization && !allowed {
        return Err(NotStored::Authorization);
    }
    Ok(())
}

/// Whether a request's fields may have caused a status: any client error that is not about the URL alone.
fn depends_on_request(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::URI_TOO_LONG)
}

/// Status codes whose meaning for caching this cache knows (RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=206 | 300..=308 | 400..=417 | 421..=422 | 426 | 500..=505)
}

fn lifetime(
    received: &Received<'_>,
    directives: &CacheControl,
    explicit: Option<Duration>,
    caching: &CachingRules,
) -> Result<Duration, NotStored> {
    let ttl = &caching.ttl;
    let guess = || {
        if caching.heuristic { heuristic(received.fields, received.received_at) } else { None }
    };
    let within = |heuristic| ttl.lifetime(directives, explicit, heuristic);
    // RFC 9110 §15.1 and CloudFront: errors are cached, and the origin may set how long.
    let error_ttl = caching.errors.of(received.status);
    let lifetime =
        explicit.filter(|_| !(directives.no_cache || directives.no_store || directives.private));
    let remembered = || lifetime.map_or(error_ttl, |lifetime| lifetime.min(ttl.max).max(error_ttl));
    let guessed = || guess().map(|guess| within(Some(guess))).ok_or(NotStored::Status);
    let request = received.request;
    match received.status.as_u16() {
        200 | 203 | 204 | 206 | 300 | 301 | 302 => Ok(within(guess())),
        404 | 410 | 414 | 500 | 501 | 502 | 503 | 504 => {
            let guess =
                matches!(received.status.as_u16(), 404 | 410 | 414 | 501).then(guess).flatten();
            match guess.filter(|_| explicit.is_none()) {
                Some(guess) => Ok(within(Some(guess)).max(error_ttl)),
                None => some(remembered()),
            }
        }
        // S3 sends 403 when it does not disclose a 404.
        403 if request.bucket => some(remembered()),
        // CloudFront Developer Guide: "stored only if the origin returns max-age or s-maxage";
        // this viewer's own fields may have caused them.
        400 | 403 | 405 | 412 | 415 if has_delta(directives) => some(remembered()),
        405 if caching.heuristic && explicit.is_none() => guessed(),
        304 | 400 | 403 | 405 | 412 | 415 | 416 => Err(NotStored::Status),
        308 if explicit.is_none() => guessed(),
        // RFC 9111 §3: any other final status, with explicit freshness or `public`
        _ if explicit.is_some() => Ok(within(None)),
        _ if directives.public => guessed(),
        _ => Err(NotStored::Status),
    }
}

/// An error with a zero lifetime is not stored: nothing would ever validate it.
fn some(lifetime: Duration) -> Result<Duration, NotStored> {
    if lifetime.is_zero() { Err(NotStored::Status) } else { Ok(lifetime) }
}

fn has_delta(directives: &CacheControl) -> bool {
    directives.max_age != Delta::Absent || directives.s_maxage != Delta::Absent
}

fn freshness(
    received: &Received<'_>,
    lifetime: Duration,
    directives: &CacheControl,
    caching: &CachingRules,
) -> Freshness {
    // RFC 9111 §4.2.3: corrected_age_value = age_value + response_delay
    let delay = received.received_at.since(received.requested_at);
    let initial_age = age_value(received.fields) + delay;
    // The minimum TTL is time at the edge, so the response's age does not shorten it.
    let left = lifetime.saturating_sub(initial_age).max(caching.ttl.min);
    let mut stale = Stale::allowed(directives, lifetime, caching);
    if received.status.is_server_error() {
        // A stored error is no better than the origin's next one.
        stale.if_error = 0;
    }
    Freshness {
        received_at: received.received_at,
        initial_age: u64::try_from(initial_age.as_millis()).unwrap_or(u64::MAX),
        fresh_until: received.received_at + left,
        stale,
    }
}

/// RFC 9111 §5.1: the first member of `Age`; anything but a number is ignored.
fn age_value(fields: &HeaderMap) -> Duration {
    let value = fields.get(header::AGE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let first = value.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    match Delta::parse(Some(first)) {
        Delta::For(age) => age,
        Delta::Absent | Delta::Invalid => Duration::ZERO,
    }
}

fn varies_on_anything(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::VARY);
    lines.iter().any(|line| line.as_bytes().split(|&b| b == b',').any(|m| m.trim_ascii() == b"*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::policy::Ttl;

    const SENT: Timestamp = Timestamp::from_secs(784_111_777);
    const CC: &str = "cache-control";

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn caching(min: u64) -> CachingRules {
        let [min, default, max] = [min, 86_400, 31_536_000].map(Duration::from_secs);
        CachingRules::new(Ttl { min, default, max })
    }

    fn decide(
        status: u16,
        fields: Fields<'_>,
        request: RequestProperties,
        caching: &CachingRules,
    ) -> Result<(u64, u64), NotStored> {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("value")))
            .collect();
        let received = Received {
            status: StatusCode::from_u16(status).expect("status"),
            fields: &fields,
            requested_at: SENT,
            received_at: SENT + Duration::from_secs(2),
            request,
        };
        storable(&received, caching).map(|Storable { freshness, .. }| {
            let left = freshness.fresh_until.since(freshness.received_at);
            (freshness.initial_age / 1000, left.as_secs())
        })
    }

    #[test]
    fn storability_by_status_and_directive() {
        use crate::cache::policy::HonorPrivate::{CloudFront, Strict};
        for (status, fields, min, honor, expected) in [
            (200, &[][..], 1, Strict, Ok((2, 86_398))),
            (200, &[(CC, "max-age=60")], 1, Strict, Ok((2, 58))),
            (200, &[(CC, "max-age=60"), ("age", "50")], 0, Strict, Ok((52, 8))),
            (200, &[(CC, "max-age=60"), ("age", "50, 3")], 0, Strict, Ok((52, 8))),
            (200, &[(CC, "max-age=60"), ("age", "x")], 0, Strict, Ok((2, 58))),
            (
                200,
                &[(CC, "max-age=60"), ("age", "99999999999999999999")],
                1,
                Strict,
                Ok((2_147_483_650, 1)),
            ),
            (200, &[(CC, "max-age=1"), ("etag", "\"a\"")], 0, Strict, Ok((2, 0))),
            (200, &[(CC, "max-age=0")], 0, Strict, Err(NotStored::Useless)),
            (200, &[(CC, "max-age=1"), ("age", "99")], 5, Strict, Ok((101, 5))),
            (200, &[(CC, "private")], 1, Strict, Err(NotStored::Private)),
            (200, &[(CC, "private=\"set-cookie\", max-age=9")], 1, Strict, Ok((2, 7))),
            (200, &[(CC, "no-store")], 1, Strict, Err(NotStored::NoStore)),
            (200, &[(CC, "no-store, must-understand, max-age=9")], 1, Strict, Ok((2, 7))),
            (200, &[(CC, "private")], 1, CloudFront, Ok((2, 1))),
            (200, &[(CC, "private")], 0, CloudFront, Err(NotStored::Private)),
            (200, &[(CC, "no-cache"), ("etag", "\"a\"")], 0, Strict, Ok((2, 0))),
            (200, &[("vary", "origin, *")], 1, Strict, Err(NotStored::VaryAny)),
            (404, &[], 1, Strict, Ok((2, 8))),
            (404, &[(CC, "max-age=100")], 1, Strict, Ok((2, 98))),
            (404, &[(CC, "max-age=3")], 1, Strict, Ok((2, 8))),
            (500, &[(CC, "max-age=100")], 1, Strict, Ok((2, 98))),
            (503, &[], 1, Strict, Ok((2, 8))),
            (505, &[], 1, Strict, Err(NotStored::Status)),
            (403, &[], 1, Strict, Err(NotStored::Status)),
            (403, &[(CC, "s-maxage=100")], 1, Strict, Ok((2, 98))),
            (
                403,
                &[("expires", "Sun, 06 Nov 2094 08:49:37 GMT")],
                1,
                Strict,
                Err(NotStored::Status),
            ),
            (405, &[], 1, Strict, Err(NotStored::Status)),
            (416, &[(CC, "max-age=100")], 1, Strict, Err(NotStored::Status)),
            (307, &[], 1, Strict, Err(NotStored::Status)),
            (307, &[(CC, "max-age=100")], 1, Strict, Ok((2, 98))),
            (308, &[("expires", "Sun, 06 Nov 1994 08:51:19 GMT")], 0, Strict, Ok((2, 98))),
            (299, &[], 1, Strict, Err(NotStored::Status)),
            (299, &[(CC, "max-age=100")], 1, Strict, Ok((2, 98))),
            (599, &[(CC, "max-age=100, must-understand")], 1, Strict, Err(NotStored::Status)),
        ] {
            let caching = CachingRules { honor_private: honor, ..caching(min) };
            let decided = decide(status, fields, RequestProperties::default(), &caching);
            assert_eq!(decided, expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn the_request_decides_too() {
        let authorized = RequestProperties { authorization: true, ..RequestProperties::default() };
        let bucket = RequestProperties { bucket: true, ..RequestProperties::default() };
        let beyond = RequestProperties { beyond_key: true, ..RequestProperties::default() };
        for (status, fields, request, expected) in [
            (200, &[][..], authorized, Err(NotStored::Authorization)),
            (200, &[(CC, "max-age=9")], authorized, Err(NotStored::Authorization)),
            (200, &[(CC, "max-age=9, public")], authorized, Ok((2, 7))),
            (200, &[(CC, "max-age=9, must-revalidate")], authorized, Ok((2, 7))),
            (200, &[(CC, "s-maxage=9")], authorized, Ok((2, 7))),
            (404, &[], bucket, Ok((2, 8))),
            (400, &[(CC, "max-age=9")], RequestProperties::default(), Ok((2, 8))),
            (400, &[(CC, "max-age=9")], beyond, Err(NotStored::Status)),
            (412, &[(CC, "max-age=9")], beyond, Err(NotStored::Status)),
            (431, &[(CC, "max-age=9")], beyond, Err(NotStored::Status)),
            (403, &[(CC, "max-age=9")], beyond, Err(NotStored::Status)),
            (404, &[(CC, "max-age=60")], beyond, Ok((2, 58))),
            (200, &[(CC, "max-age=9")], beyond, Ok((2, 7))),
            (404, &[(CC, "max-age=3600")], bucket, Ok((2, 3598))),
            (404, &[(CC, "max-age=3600, no-cache")], bucket, Ok((2, 8))),
            (403, &[], bucket, Ok((2, 8))),
        ] {
            assert_eq!(
                decide(status, fields, request, &caching(0)),
                expected,
                "{status} {fields:?}"
            );
        }
    }

    #[test]
    fn cookies_are_for_one_viewer() {
        let cookie = ("set-cookie", "sessionid=1");
        let shared = CachingRules { cache_set_cookie: true, ..caching(0) };
        let age = (CC, "max-age=9, public");
        let withheld = (CC, "max-age=9, no-cache=\"set-cookie\"");
        let decide = |fields: Fields<'_>, caching: &CachingRules| {
            decide(200, fields, RequestProperties::default(), caching)
        };
        assert_eq!(decide(&[age, cookie], &caching(0)), Err(NotStored::SetCookie));
        assert_eq!(decide(&[cookie], &caching(1)), Err(NotStored::SetCookie));
        assert_eq!(decide(&[age, cookie], &shared), Ok((2, 7)));
        assert_eq!(decide(&[withheld, cookie], &caching(0)), Ok((2, 7)));
    }

    #[test]
    fn a_lifetime_is_guessed_only_where_it_may() {
        let [min, default, max] = [0, 0, 31_536_000].map(Duration::from_secs);
        let silent = CachingRules::new(Ttl { min, default, max });
        let guessing = CachingRules { heuristic: true, ..silent.clone() };
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:32:57 GMT");
        let bounded = Ttl { min, default, max: Duration::from_secs(60) };
        let bounded = CachingRules { ttl: bounded, ..guessing.clone() };
        for (status, fields, caching, expected) in [
            (200, &[modified][..], &guessing, Ok((2, 98))),
            (200, &[modified], &silent, Ok((2, 0))),
            (404, &[modified], &guessing, Ok((2, 98))),
            (405, &[modified], &guessing, Ok((2, 98))),
            (201, &[modified], &guessing, Err(NotStored::Status)),
            (599, &[modified], &guessing, Err(NotStored::Status)),
            (599, &[modified, (CC, "public")], &guessing, Ok((2, 98))),
            (599, &[modified, (CC, "public")], &bounded, Ok((2, 58))),
            (405, &[modified], &bounded, Ok((2, 58))),
        ] {
            let decided = decide(status, fields, RequestProperties::default(), caching);
            assert_eq!(decided, expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn a_disabled_policy_stores_nothing() {
        let zero = Ttl { min: Duration::ZERO, default: Duration::ZERO, max: Duration::ZERO };
        let decided = decide(200, &[], RequestProperties::default(), &CachingRules::new(zero));
        assert_eq!(decided, Err(NotStored::CachingDisabled));
    }

    fn lines(directives: &[String], cuts: &[bool]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let mut line = String::new();
        for (at, directive) in directives.iter().enumerate() {
            if at > 0 {
                if cuts.get(at).copied().unwrap_or(false) {
                    fields.append(CC, std::mem::take(&mut line).parse().expect("value"));
                } else {
                    line.push_str(" , ");
                }
            }
            line.push_str(directive);
        }
        fields.append(CC, line.parse().expect("value"));
        fields
    }

    fn decide_map(fields: &HeaderMap, caching: &CachingRules) -> Result<Storable, NotStored> {
        let received = Received {
            status: StatusCode::OK,
            fields,
            requested_at: SENT,
            received_at: SENT,
            request: RequestProperties::default(),
        };
        storable(&received, caching)
    }

    proptest! {
        #[test]
        fn neither_order_nor_lines_of_directives_matter(
            chosen in proptest::sample::subsequence(
                vec!["no-store", "private", "no-cache", "public", "must-revalidate", "s-maxage=9",
                     "max-age=7", "stale-if-error=3", "x=\"a, b\"", "must-understand"], 0..8),
            shuffled in any::<proptest::sample::Index>(),
            cuts in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut directives: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            let before = decide_map(&lines(&directives, &[]), &caching(0));
            if !directives.is_empty() {
                let turn = shuffled.index(directives.len());
                directives.rotate_left(turn);
            }
            prop_assert_eq!(decide_map(&lines(&directives, &cuts), &caching(0)), before);
        }

        #[test]
        fn absurd_numbers_and_bytes_are_taken_calmly(
            age in "[0-9]{0,30}", max_age in "[0-9]{1,30}", expires in "\\PC{0,40}",
            vary in "[ -~]{0,30}", min in 0..86_400_u64,
        ) {
            let mut fields = HeaderMap::new();
            let directives = format!("max-age={max_age}, stale-if-error={max_age}, stale-while-revalidate={age}");
            let all = [("age", &age), (CC, &directives), ("expires", &expires), ("vary", &vary)];
            for (name, value) in all {
                if let Ok(value) = http::HeaderValue::from_str(value) {
                    fields.append(name, value);
                }
            }
            if let Ok(storable) = decide_map(&fields, &caching(min)) {
                let left = storable.freshness.fresh_until.since(SENT).as_secs();
                prop_assert!(left <= 31_536_000.max(min));
            }
        }
    }
}

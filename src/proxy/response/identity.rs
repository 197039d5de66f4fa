//! Response headers that identify the server: `Via`, `X-Cache`, request ids.

use std::{borrow::Cow, sync::LazyLock};

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{self, InvalidHeaderValue},
};

use super::head_sink::HeadSink;
use crate::{
    base::{instance, metrics::ResultType},
    cache::key::CDN_LOOP,
    http::cache_status::Report,
};

/// Forebay's name in `Cache-Status` (RFC 9211 §2).
const CACHE_NAME: &str = "Forebay";

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_AMZ_CF_ID: HeaderName = HeaderName::from_static("x-amz-cf-id");
const X_AMZ_CF_POP: HeaderName = HeaderName::from_static("x-amz-cf-pop");

/// The headers that identify the server in a distribution's responses.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By result type.
    x_cache: [HeaderValue; ResultType::ALL.len()],
    /// For HTTP/1.0, 1.1, 2 and 3.
    via: [HeaderValue; 4],
    /// Whether the fields are CloudFront's.
    cloudfront: bool,
    /// The location of this machine in `X-Amz-Cf-Pop` and `Server-Timing`.
    pub(crate) pop: HeaderValue,
}

impl Identity {
    /// Creates an identity whose `X-Cache` is `Hit from {suffix}`, at the location `pop`, with CloudFront's header
    /// names or with plain ones.
    ///
    /// # Errors
    /// If suffix or location is not a valid header value.
    pub fn new(suffix: &str, pop: &str, cloudfront: bool) -> Result<Self, InvalidHeaderValue> {
        let mut x_cache = ResultType::ALL.map(|_| HeaderValue::from_static(""));
        for (value, result) in x_cache.iter_mut().zip(ResultType::ALL) {
            *value = HeaderValue::try_from(format!("{} from {suffix}", result.name()))?;
        }
        let name = if cloudfront {
            format!("{}.cloudfront.net (CloudFront)", instance::id())
        } else {
            instance::pseudonym().to_owned()
        };
        let mut via =
            ["1.0", "1.1", "2", "3"].map(|version| (version, HeaderValue::from_static("")));
        for (version, value) in &mut via {
            *value = HeaderValue::try_from(format!("{version} {name}"))?;
        }
        let (via, pop) = (via.map(|(_, value)| value), HeaderValue::try_from(pop)?);
        Ok(Self { x_cache, via, cloudfront, pop })
    }

    /// The identity of responses without a distribution.
    pub(crate) fn of_none() -> &'static Self {
        static NONE: LazyLock<Identity> = LazyLock::new(|| {
            Identity::new("forebay", "", false).unwrap_or_else(|_| Identity {
                x_cache: ResultType::ALL.map(|_| HeaderValue::from_static("Error")),
                via: ["1.0", "1.1", "2", "3"].map(|_| HeaderValue::from_static("1.1 forebay")),
                cloudfront: false,
                pop: HeaderValue::from_static(""),
            })
        });
        &NONE
    }

    /// Whether responses have CloudFront's headers.
    pub(crate) const fn is_cloudfront(&self) -> bool {
        self.cloudfront
    }

    /// Writes the headers of every response except the request id.
    pub(crate) fn write(
        &self,
        sink: &mut impl HeadSink,
        result: ResultType,
        report: &Report,
        version: Version,
    ) {
        sink.field(X_CACHE, &self.x_cache[result as usize]);
        sink.field(header::VIA, self.via(version));
        if self.cloudfront {
            sink.field(X_AMZ_CF_POP, &self.pop);
        } else {
            sink.formatted(CACHE_STATUS, |mut text| report.write(CACHE_NAME, &mut text));
        }
    }

    /// The names of the headers that this identity replaces. `Cache-Status` is not among them, because each cache
    /// appends a member (RFC 9211 §2).
    pub(crate) fn names(&self) -> &'static [HeaderName] {
        static CLOUDFRONT: [HeaderName; 4] = [X_CACHE, header::VIA, X_AMZ_CF_POP, X_AMZ_CF_ID];
        static OWN: [HeaderName; 3] = [X_CACHE, header::VIA, X_REQUEST_ID];
        if self.cloudfront { &CLOUDFRONT } else { &OWN }
    }

    fn via(&self, version: Version) -> &HeaderValue {
        &self.via[match version {
            Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            Version::HTTP_3 => 3,
            _ => 1,
        }]
    }

    /// The request's id, as written to responses and the log.
    pub(crate) fn id<'a>(&self, id: &'a RequestId) -> Cow<'a, [u8]> {
        if self.cloudfront { Cow::Owned(id.long()) } else { Cow::Borrowed(&id.0) }
    }

    /// The header that sends the request's id to an origin, if the identity has CloudFront's headers
    /// (Amazon CloudFront Developer Guide, "HTTP request headers and CloudFront behavior").
    pub(crate) fn for_origin(&self, id: &RequestId) -> Option<(HeaderName, HeaderValue)> {
        let value = self.cloudfront.then(|| HeaderValue::from_bytes(&self.id(id)))?;
        Some((X_AMZ_CF_ID, value.ok()?))
    }

    /// Writes the request's id.
    pub(crate) fn write_id(&self, sink: &mut impl HeadSink, id: &RequestId) {
        let name = if self.cloudfront { X_AMZ_CF_ID } else { X_REQUEST_ID };
        sink.unique(name, &self.id(id));
    }
}

/// Limits for `CDN-Loop`: the number of networks, and the length in bytes.
const MAX_NETWORKS: usize = 16;
const MAX_CDN_LOOP: usize = 1024;

/// Whether a request loops: `Via` or `CDN-Loop` names this process, or `CDN-Loop` repeats a network or has
/// too many (RFC 8586 §2).
pub(crate) fn is_looping(fields: &HeaderMap) -> bool {
    let id = instance::id().as_bytes();
    let names_us = |line: &HeaderValue| line.as_bytes().windows(id.len()).any(|part| part == id);
    if fields.get_all(header::VIA).iter().any(names_us) {
        return true;
    }
    if !fields.contains_key(CDN_LOOP) {
        return false;
    }
    if fields.get_all(CDN_LOOP).iter().any(names_us) {
        return true;
    }
    let lines: Vec<&[u8]> = fields.get_all(CDN_LOOP).iter().map(HeaderValue::as_bytes).collect();
    let length: usize = lines.iter().map(|line| line.len()).sum();
    // A parameter may follow the token.
    let token = |member: &[u8]| {
        let token = member.split(|byte| *byte == b';').next().unwrap_or_default();
        token.trim_ascii().to_ascii_lowercase()
    };
    let members = lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
    let mut tokens: Vec<Vec<u8>> = members.map(token).filter(|token| !token.is_empty()).collect();
    let count = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    length > MAX_CDN_LOOP || count > MAX_NETWORKS || tokens.len() < count
}

/// A unique request id: 22 letters, digits, `-` and `_`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId([u8; 22]);

/// The alphabet of ids, the same as CloudFront's.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl RequestId {
    /// Generates a random id. It is unique with high probability, but not a secret.
    pub(crate) fn random() -> Self {
        let mut id = Self([0; 22]);
        for part in id.0.chunks_mut(10) {
            spell(part, fastrand::u64(..));
        }
        id
    }

    /// The id as another node of the cluster gets it.
    pub(crate) fn to_value(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }

    /// The id that another node sent.
    pub(crate) fn from_value(value: &HeaderValue) -> Option<Self> {
        let id: [u8; 22] = value.as_bytes().try_into().ok()?;
        id.iter().all(|letter| LETTERS.contains(letter)).then_some(Self(id))
    }

    /// The id extended to 56 characters, the length of CloudFront's ids.
    fn long(self) -> Vec<u8> {
        let mut random =
            fastrand::Rng::with_seed(self.0.iter().fold(0, |seed: u64, letter| {
                seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*letter)
            }));
        let mut more = [0; 32];
        for part in more.chunks_mut(10) {
            spell(part, random.u64(..));
        }
        [&self.0[..], &more, b"=="].concat()
    }
}

/// Encodes as many low bits of a number as fit into `room`.
fn spell(room: &mut [u8], mut number: u64) {
    for letter in room {
        *letter = LETTERS[(number & 63) as usize];
        number >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_two_lengths() {
        let (one, two) = (RequestId::random(), RequestId::random());
        let long = one.long();
        assert_eq!((long.len(), &long[54..]), (56, &b"=="[..]));
        assert!(long.starts_with(&one.0));
        assert!(long[..54].iter().all(|letter| LETTERS.contains(letter)));
        assert_ne!(long[..22], two.long()[..22]);
        assert_ne!(long[22..], two.long()[22..]);
        assert_eq!(long, one.long());
    }

    #[test]
    fn a_request_that_was_here_before_is_known() {
        let via =
            |line: String| HeaderMap::from_iter([(header::VIA, line.parse().expect("value"))]);
        assert!(is_looping(&via(format!("1.1 a, 1.1 {}", instance::pseudonym()))));
        assert!(is_looping(&via(format!("2 {}.cloudfront.net (CloudFront)", instance::id()))));
        assert!(!is_looping(&via("1.1 forebay-0123456789abcdef".into())));
        assert!(!is_looping(&HeaderMap::new()));
    }

    #[test]
    fn networks_are_few_and_come_once() {
        let passed = |line: String| {
            is_looping(&HeaderMap::from_iter([(CDN_LOOP, line.parse().expect("value"))]))
        };
        let networks = |count: usize| (0..count).map(|n| format!("cdn-{n}")).collect::<Vec<_>>();
        assert!(!passed(networks(16).join(", ")));
        assert!(passed(networks(17).join(", ")));
        assert!(passed("one, two; x=1, ONE".into()));
        assert!(passed(format!("one, {}", instance::pseudonym())));
        assert!(passed("a".repeat(1025)));
        assert!(!passed("one; host=\"a\", , two".into()));
    }
}

//! Admission: from bytes that anybody may send to a request that makes sense.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, Method, StatusCode, Version, header, request::Parts, uri::Authority,
};

use super::{
    Refusal, Rules, Steps,
    arrival::Arrival,
    dress::is_answered_preflight,
    restrict::{check_referer, restrict},
    rules::Distribution,
};
use crate::{
    behavior::{Behavior, ViewerProtocol},
    key::{CacheKey, CanonicalPath, PathError, PathForm, Projection, without_dot_segments},
    origin::{FOR_BUCKETS, Group, Origin},
    policy::Wish,
    signed::Claim,
};

/// Longest request target in bytes (Amazon CloudFront Developer Guide, "Quotas").
const MAX_TARGET: usize = 8192;

/// Longest request head in bytes (as above).
const MAX_HEAD: usize = 32 << 10;

/// Longest S3 key in bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
const MAX_S3_KEY: usize = 1024;

/// An admitted request: everything the edge may act upon.
pub(super) struct Ask<'a> {
    pub(super) distribution: &'a Arc<Distribution>,
    pub(super) behavior: &'a Arc<Behavior>,
    pub(super) method: &'a Method,
    pub(super) path: CanonicalPath<'a>,
    /// Without port.
    pub(super) host: &'a str,
    pub(super) projection: Projection<'a>,
    /// The viewer's fields: conditions and ranges are read from here, nothing is copied.
    pub(super) fields: &'a HeaderMap,
    pub(super) request: &'a Parts,
    /// The viewer's address; none for a request of our own.
    pub(super) client: Option<IpAddr>,
}

impl<'a> Ask<'a> {
    fn new(
        distribution: &'a Arc<Distribution>,
        behavior: &'a Arc<Behavior>,
        path: CanonicalPath<'a>,
        host: &'a str,
        request: &'a Parts,
        client: Option<IpAddr>,
    ) -> Self {
        let projection = behavior.cache_policy.key.project(request, host);
        let (method, fields) = (&request.method, &request.headers);
        Self { distribution, behavior, method, path, host, projection, fields, request, client }
    }

    /// Our own request for a page of the distribution. It needs no access rights.
    pub(super) fn of_page(
        distribution: &'a Arc<Distribution>,
        request: &'a Parts,
        host: &'a str,
    ) -> Option<Self> {
        let (path, behavior) = distribution.route(request.uri.path()).ok()?;
        Some(Self::new(distribution, behavior, path, host, request, None))
    }

    /// The key of the resource, whichever of its variants the request selects.
    pub(super) fn key(&self) -> CacheKey {
        CacheKey::new(&self.distribution.settings.id, &self.path, &self.projection)
    }

    /// What origin requests carry of this one.
    pub(super) fn forwarded(&self) -> Projection<'a> {
        self.behavior.forward.project(self.request, self.host)
    }

    /// Whether the origin gets anything of this request that the cache key does not have.
    pub(super) fn sends_more_than_key(&self) -> bool {
        let is_bucket = self.behavior.path_form == PathForm::Key;
        let (sent, key) = (self.forwarded(), &self.projection);
        let is_sent = |name: &HeaderName| !is_bucket || FOR_BUCKETS.contains(name);
        let mut sent_fields = sent.headers.iter().filter(|(name, _)| is_sent(name));
        sent_fields.any(|field| !key.headers.contains(field))
            || (!is_bucket && (sent.query != key.query || sent.cookies != key.cookies))
    }

    pub(super) fn origin(&self) -> &Arc<Group> {
        &self.distribution.origins[self.behavior.origin]
    }

    pub(super) fn version(&self) -> Version {
        self.request.version
    }

    /// What the viewer wishes of the cache, where the policy listens.
    pub(super) fn wish(&self) -> Wish {
        let listens = self.behavior.cache_policy.terms.honor_request;
        if listens { Wish::read(self.fields) } else { Wish::default() }
    }

    /// Whether the cache policy stores answers to such requests.
    pub(super) fn is_cacheable(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD)
            && !self.behavior.cache_policy.terms.ttl.is_disabled()
    }
}

/// Where a request goes, before anybody asks whether it may.
pub(super) struct Route<'a> {
    pub(super) distribution: &'a Arc<Distribution>,
    host: &'a str,
    target: Result<(CanonicalPath<'a>, &'a Arc<Behavior>), PathError>,
}

impl<'a> Route<'a> {
    /// By the host asked for, then by the path.
    pub(super) fn of(rules: &'a Rules, request: &'a Parts) -> Result<Self, Refusal> {
        let host = authority(request).and_then(host).ok_or(Refusal::BadHost)?;
        let distribution = rules.hosts.select(host).ok_or(Refusal::UnknownHost)?;
        let target = distribution.route(request.uri.path());
        Ok(Self { distribution, host, target })
    }

    /// The behavior, where the path is one.
    pub(super) fn behavior(&self) -> Option<&'a Arc<Behavior>> {
        self.target.as_ref().ok().map(|(_, behavior)| *behavior)
    }

    /// Admits the request or says why not.
    pub(super) fn admit(
        self,
        rules: &Rules,
        arrival: &'a Arrival,
        has_content: bool,
        steps: &Steps,
    ) -> Result<Ask<'a>, Refusal> {
        steps.admissions.add();
        let Self { distribution, host, target } = self;
        let request = &arrival.request;
        restrict(rules, distribution, arrival)?;
        if target_length(request) > MAX_TARGET {
            return Err(Refusal::UriTooLong);
        }
        if arrival.head_length > MAX_HEAD {
            return Err(Refusal::HeadTooLarge);
        }
        let (path, behavior) = target.map_err(Refusal::BadPath)?;
        check_protocol(behavior.viewer_protocol, distribution, arrival)?;
        if is_answered_preflight(behavior, request) {
            return Err(Refusal::Preflight);
        }
        let methods = behavior.allowed_methods;
        if !methods.allow_method(&request.method) {
            return Err(Refusal::Method(methods.allow()));
        }
        check_referer(behavior, arrival)?;
        if let Some(trusted) = &behavior.trusted {
            steps.signatures.add();
            let claim = claim(distribution, behavior, arrival);
            trusted.verify(&claim).map_err(Refusal::Signed)?;
        }
        // CloudFront answers 403 to a GET with content; a cached answer would leave it unread.
        if matches!(request.method, Method::GET | Method::HEAD) && has_content {
            return Err(Refusal::UnexpectedContent);
        }
        for origin in distribution.origins[behavior.origin].members().filter(|o| o.is_s3()) {
            check_object(&path, origin)?;
        }
        let client = Some(arrival.viewer.address);
        Ok(Ask::new(distribution, behavior, path, host, request, client))
    }
}

/// The scheme that the viewer sees.
fn scheme<'a>(distribution: &'a Distribution, arrival: &Arrival) -> &'a str {
    let own = if arrival.viewer.https { "https" } else { "http" };
    distribution.settings.public_scheme.as_deref().unwrap_or(own)
}

/// CloudFront redirects with 301 where that keeps the method, else with 307, and not before HTTP/1.1.
fn check_protocol(
    policy: ViewerProtocol,
    distribution: &Distribution,
    arrival: &Arrival,
) -> Result<(), Refusal> {
    if policy == ViewerProtocol::AllowAll || scheme(distribution, arrival) == "https" {
        return Ok(());
    }
    let Parts { method, version, .. } = &arrival.request;
    Err(match policy {
        ViewerProtocol::RedirectToHttps if *version >= Version::HTTP_11 => {
            let reading = matches!(*method, Method::GET | Method::HEAD);
            Refusal::RedirectToHttps(if reading {
                StatusCode::MOVED_PERMANENTLY
            } else {
                StatusCode::TEMPORARY_REDIRECT
            })
        }
        _ => Refusal::HttpsOnly,
    })
}

/// What a viewer's signature must be about.
fn claim<'a>(
    distribution: &'a Distribution,
    behavior: &Behavior,
    arrival: &'a Arrival,
) -> Claim<'a> {
    let request = &arrival.request;
    Claim {
        scheme: scheme(distribution, arrival),
        authority: authority(request).unwrap_or_default(),
        path: request.uri.path(),
        resolved: without_dot_segments(request.uri.path(), behavior.path_form),
        query: request.uri.query(),
        fields: &request.headers,
        // Behind a load balancer that nobody trusts, another address is seen than the viewer's.
        client: (arrival.viewer.is_told(&arrival.connection)
            || distribution.settings.public_scheme.is_none())
        .then_some(arrival.viewer.address),
        now: arrival.at,
    }
}

/// A request for a bucket must name an object. The root, in any spelling that a store may read as the root,
/// would list the bucket.
fn check_object(path: &CanonicalPath<'_>, origin: &Origin) -> Result<(), Refusal> {
    if path.generous() == "/" {
        return Err(Refusal::NoRootObject);
    }
    let key = origin.options().origin_path.len() + path.as_bytes().len() - 1;
    if key > MAX_S3_KEY { Err(Refusal::UriTooLong) } else { Ok(()) }
}

fn target_length(request: &Parts) -> usize {
    request.uri.path().len() + request.uri.query().map_or(0, |query| query.len() + 1)
}

/// The head's length as HTTP/1.1 would write it.
pub(super) fn head_length(request: &Parts) -> usize {
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    target_length(request) + fields.sum::<usize>()
}

/// The host and port a request is for. RFC 9112 §3.2: exactly one, and the same wherever it stands.
pub(super) fn authority(request: &Parts) -> Option<&str> {
    let fields = &request.headers;
    // Where there are as many names as lines, none stands there twice.
    let may_repeat = fields.len() > fields.keys_len();
    if may_repeat && fields.get_all(header::HOST).iter().nth(1).is_some() {
        return None;
    }
    let field = match fields.get(header::HOST) {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    let target = request.uri.authority().map(Authority::as_str);
    match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => None,
        (Some(authority), _) | (None, Some(authority)) => Some(authority),
        (None, None) => None,
    }
}

/// The authority's host, without port.
pub(super) fn host(authority: &str) -> Option<&str> {
    let host = without_port(authority)?;
    let valid = |byte: u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
    };
    // Without an early exit the compiler looks at many bytes at once.
    let all_valid = host.bytes().fold(true, |all, byte| all & valid(byte));
    // Only within brackets a colon is no port's.
    let valid_colons = host.starts_with('[') || !host.contains(':');
    (!host.is_empty() && valid_colons && all_valid).then_some(host)
}

fn without_port(authority: &str) -> Option<&str> {
    let bytes = authority.as_bytes();
    let colon = bytes.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let host = match colon {
        Some(colon) if bytes[colon] == b':' => {
            let digits = bytes[colon + 1..].iter().all(u8::is_ascii_digit);
            digits.then_some(&authority[..colon])?
        }
        _ => authority,
    };
    Some(host.strip_suffix('.').unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn host_of(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        for value in hosts {
            request = request.header("host", *value);
        }
        let request = request.body(()).expect("request").into_parts().0;
        authority(&request).and_then(host).map(str::to_owned)
    }

    #[test]
    fn there_must_be_one_host() {
        for (uri, hosts, expected) in [
            ("/", &["a.example"][..], Some("a.example")),
            ("/", &["a.example:8080"], Some("a.example")),
            ("/", &["a.example."], Some("a.example")),
            ("/", &["[::1]:80"], Some("[::1]")),
            ("http://a.example/", &[], Some("a.example")),
            ("http://a.example/", &["A.example"], Some("a.example")),
            ("http://a.example/", &["b.example"], None),
            ("/", &[], None),
            ("/", &["a.example", "a.example"], None),
            ("/", &["a.example:x"], None),
            ("/", &["a.example:1:2"], None),
            ("/", &["::1"], None),
            ("/", &["user@a.example"], None),
            ("/", &["a/b"], None),
            ("/", &[""], None),
        ] {
            assert_eq!(host_of(uri, hosts).as_deref(), expected, "{uri} {hosts:?}");
        }
    }
}

//! The reason for a rejection in words, with the values that decided and the fix. For the operator only.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, header};

use super::{
    explanation::ExplainedRejection,
    request::{
        admission::signed_request,
        incoming::IncomingRequest,
        rejection::Rejection,
        routing::{Distribution, Rules, Settings},
    },
};
use crate::{
    access::signed::{Diagnosis, SignatureError},
    base::clock::Timestamp,
    behavior::Behavior,
    cache::key::{PathError, PathForm},
    http::{
        authority::{authority, host, target_length},
        framing::FramingError,
    },
};

/// A rejected request, and what is known about it.
pub(super) struct RejectedRequest<'a> {
    pub(super) rules: &'a Rules,
    pub(super) distribution: Option<&'a Arc<Distribution>>,
    pub(super) incoming: &'a IncomingRequest,
}

/// The reason, and the fix if there is one.
type Words = (String, Option<String>);

fn words(why: impl Into<String>, fix: impl Into<String>) -> Words {
    (why.into(), Some(fix.into()))
}

impl RejectedRequest<'_> {
    pub(super) fn explain(&self, rejection: Rejection) -> ExplainedRejection {
        let (why, fix) = self.words(rejection);
        let (status, reason) = (rejection.status().as_u16(), rejection.token().to_owned());
        ExplainedRejection { status, reason, why, fix }
    }

    fn words(&self, rejection: Rejection) -> Words {
        let address = self.incoming.viewer.address;
        match rejection {
            Rejection::Disabled => words(
                format!("the behavior {} has `enabled = false`", self.behavior_name()),
                "remove `enabled = false` once you have decided who may read these paths",
            ),
            Rejection::BadHost => words(
                "the request has no Host, several, or one that is not a host name",
                "send one Host with a host name or address, and an optional port",
            ),
            Rejection::UnknownHost => self.unknown_host(),
            Rejection::UriTooLong | Rejection::HeadTooLarge => self.too_long(rejection),
            Rejection::BadPath(error) => words(error.to_string(), path_fix(error)),
            Rejection::Method(allow) => self.method(allow),
            Rejection::UnexpectedContent => {
                words("a GET or HEAD must not have content", "send the request without content")
            }
            Rejection::NoRootObject => words(
                "`/` is not an object: in S3 it lists the bucket",
                format!("set `default_root_object = \"index.html\"` in distribution {}", self.id()),
            ),
            Rejection::HttpsOnly | Rejection::RedirectToHttps { .. } => self.insecure(),
            Rejection::Preflight => {
                ("the response headers policy answers CORS preflights itself".into(), None)
            }
            Rejection::Loop => words(
                "Via or CDN-Loop shows that the request has passed this server before",
                "check that no origin's address leads back to Forebay",
            ),
            Rejection::Framing(error) => (framing(error).into(), None),
            Rejection::Address => words(
                format!("the distribution's `allow` and `deny` do not admit {address}"),
                "change `allow` or `deny`, or pass the address of another viewer with --client",
            ),
            Rejection::Country => self.country(),
            Rejection::Referer => words(
                format!(
                    "the behavior's `referers` do not allow {}",
                    self.field(header::REFERER.as_str())
                        .map_or("a request without Referer".into(), |referer| format!(
                            "`{referer}`"
                        ))
                ),
                "add the site to `referers.allow`; `allow_none = true` admits requests without Referer",
            ),
            Rejection::TooMany(seconds) => words(
                format!(
                    "the distribution's `rate_limit` is exceeded; it accepts the next request in {seconds} s"
                ),
                "wait, or raise `rate_limit`",
            ),
            Rejection::DeniedByRule(_) => words(
                format!("a rule of the behavior {} denies it", self.behavior_name()),
                "change the rule's conditions",
            ),
            Rejection::ProtectedPath(_) => words(
                format!(
                    "a rule of the behavior {} rewrites the path to one of a behavior that is disabled, or needs signatures or passwords",
                    self.behavior_name()
                ),
                "rewrite to a path that everyone may read, or let the behavior of that path have the rule",
            ),
            Rejection::Signed(error) => self.signature(error),
        }
    }

    fn method(&self, allow: &str) -> Words {
        let method = &self.incoming.request.method;
        let why =
            format!("the behavior {} does not allow {method}, only {allow}", self.behavior_name());
        let is_bucket = self.behavior().is_some_and(|b| b.path_form == PathForm::Key);
        let fix = if is_bucket && *method != Method::OPTIONS {
            "use GET or HEAD: Forebay only reads from buckets"
        } else {
            "add the method to the behavior's `allowed_methods`"
        };
        words(why, fix)
    }

    fn too_long(&self, rejection: Rejection) -> Words {
        if rejection == Rejection::HeadTooLarge {
            let length = self.incoming.head_length;
            return words(
                format!("the head has {length} bytes; at most 32,768 are accepted"),
                "send fewer or smaller header fields, such as cookies",
            );
        }
        let length = target_length(&self.incoming.request);
        words(
            format!(
                "path and query have {length} bytes; at most 8,192 are accepted, and 1,024 for the key of an object in S3"
            ),
            "request a shorter URL",
        )
    }

    fn id(&self) -> &str {
        self.distribution.map_or("", |distribution| &*distribution.settings.id)
    }

    fn behavior(&self) -> Option<&Arc<Behavior>> {
        let (_, behavior) = self.distribution?.route(self.incoming.request.uri.path()).ok()?;
        Some(behavior)
    }

    fn behavior_name(&self) -> String {
        let name = self.behavior().zip(self.distribution);
        let name = name.map(|(behavior, all)| all.settings.behaviors.name(behavior));
        name.map_or_else(String::new, |name| format!("`{name}`"))
    }

    fn field(&self, name: &str) -> Option<String> {
        let value = self.incoming.request.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    fn unknown_host(&self) -> Words {
        if let Some(distribution) = self.distribution {
            // The host is known, but the connection's TLS is too weak for it.
            return words(
                format!(
                    "distribution {} requires a newer TLS version or cipher than this connection uses",
                    distribution.settings.id
                ),
                "connect with TLS 1.3, or lower `minimum_protocol_version`",
            );
        }
        let host = authority(&self.incoming.request).and_then(host).unwrap_or_default();
        let aliases = self.rules.hosts.with_aliases();
        let known: Vec<&str> =
            aliases.flat_map(|(_, aliases)| aliases).map(String::as_str).collect();
        words(
            format!(
                "no distribution has the alias `{host}`; the configured aliases are {}",
                known.join(", ")
            ),
            format!(
                "request one of these hosts, or add \"{host}\" to the `aliases` of a distribution"
            ),
        )
    }

    fn insecure(&self) -> Words {
        let forwarded = self.field("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        let fix = if forwarded && !self.incoming.viewer.is_told(&self.incoming.connection) {
            format!(
                "add the load balancer's address, {}, to `listen.trusted_proxies`, so that its X-Forwarded-Proto counts",
                self.incoming.connection.client
            )
        } else {
            "use https; if a load balancer in front terminates TLS, set `public_scheme = \"https\"` in the distribution".into()
        };
        words(
            format!(
                "the behavior {} serves HTTPS only, and this request is plain HTTP",
                self.behavior_name()
            ),
            fix,
        )
    }

    fn country(&self) -> Words {
        let address = self.incoming.viewer.address;
        let country = self.rules.geography.as_ref().and_then(|all| all.country(address));
        let country = country.unwrap_or("an unknown country");
        words(
            format!("`geo_restriction` does not allow {country}, where {address} is located"),
            "change `geo_restriction`, or pass the address of another viewer with --client",
        )
    }

    fn signature(&self, error: SignatureError) -> Words {
        let (Some(distribution), Some(behavior)) = (self.distribution, self.behavior()) else {
            return (error.token().into(), None);
        };
        let Some(trusted) = &behavior.trusted else { return (error.token().into(), None) };
        let request = signed_request(distribution, behavior, self.incoming);
        let sites = self.rules.sites(distribution, request.authority);
        let found = trusted.diagnose(&request, &sites);
        if let (
            SignatureError::WrongSignature | SignatureError::OtherResource,
            Some((scheme, host)),
        ) = (error, &found.signed_for)
        {
            let site = (scheme.as_str(), host.as_str());
            return wrong_site(&found, site, request.scheme, &distribution.settings);
        }
        signature_words(error, &found, &self.incoming.request.headers, self.incoming.at)
    }
}

/// The signature is right, but for another scheme or host.
fn wrong_site(
    found: &Diagnosis,
    (scheme, host): (&str, &str),
    judged: &str,
    settings: &Settings,
) -> Words {
    let id = &settings.id;
    let is_configured = settings.public_scheme.as_deref() == Some(judged);
    let why =
        format!("the signature is for {scheme}://{host}, but the request's URL is {}", found.url);
    let fix = if scheme == judged {
        format!(
            "make the proxy in front of Forebay forward the viewer's `Host: {host}` (nginx: `proxy_set_header Host $http_host;`)"
        )
    } else if is_configured {
        format!(
            "sign the URL for {judged}://: distribution {id} has `public_scheme = \"{judged}\"`"
        )
    } else {
        format!(
            "sign the URL for {judged}://; or, if a load balancer in front terminates TLS, set `public_scheme = \"{scheme}\"` in distribution {id}, or add it to `listen.trusted_proxies` and have it send X-Forwarded-Proto"
        )
    };
    (why, Some(fix))
}

/// Refusals that depend on the signed values.
fn signature_words(
    error: SignatureError,
    found: &Diagnosis,
    fields: &HeaderMap,
    now: Timestamp,
) -> Words {
    let key = found.key_pair_id.as_deref().unwrap_or_default();
    let at = |time: Option<Timestamp>| time.map_or("an unknown time".into(), Timestamp::rfc3339);
    let now_text = now.rfc3339();
    match error {
        SignatureError::Unsigned => unsigned(fields),
        SignatureError::UnknownKey => words(
            format!(
                "no trusted key group has a key with the ID `{key}`; the trusted IDs are {}",
                found.trusted.join(", ")
            ),
            "add the public key to a `[[key_group]]` that the behavior trusts, or sign with a known key",
        ),
        SignatureError::WrongSignature => words(
            format!("the signature does not match key `{key}` and the URL {}", found.url),
            format!(
                "check that the private key belongs to the public key `{key}`, and that exactly this URL was signed, including its query"
            ),
        ),
        SignatureError::OtherResource => {
            let resource = found.resource.as_ref().map(|resource| format!("{resource:?}"));
            words(
                format!(
                    "the policy is for {}, not for {}",
                    resource.as_deref().unwrap_or("no URL"),
                    found.url
                ),
                "sign this URL, or a pattern that covers it; only a `*` at the end of a pattern covers the query",
            )
        }
        SignatureError::Expired => {
            let since = found.expires.map(|end| Duration::from_secs(now.since(end).as_secs()));
            let since = humantime::format_duration(since.unwrap_or_default());
            words(
                format!(
                    "the signature expired at {}, {since} ago; it is now {now_text}",
                    at(found.expires)
                ),
                "get a new URL from the application; if it is new, compare the clocks of both machines",
            )
        }
        SignatureError::TooEarly => words(
            format!("the policy is valid from {}; it is now {now_text}", at(found.after)),
            "wait until then, or compare the clocks of both machines",
        ),
        SignatureError::OtherAddress => words(
            format!(
                "the policy allows only {}",
                found.network.as_deref().unwrap_or("other addresses")
            ),
            "pass the viewer's address with --client; add a load balancer in front to `listen.trusted_proxies`",
        ),
        other => {
            let (why, fix) = malformed_signature(other);
            words(why, fix)
        }
    }
}

fn unsigned(fields: &HeaderMap) -> Words {
    let has_cookies = fields.contains_key(header::COOKIE);
    let cookies = if has_cookies { "; the request's cookies are not signed cookies" } else { "" };
    words(
        format!(
            "the behavior has `trusted_key_groups`, but neither the URL nor the cookies contain a signature{cookies}"
        ),
        "sign the URL: `forebay sign URL --key FILE --key-pair-id ID`, or with `cloudfront_key` in django-storages",
    )
}

/// Refusals of signatures that are incomplete or malformed.
const fn malformed_signature(error: SignatureError) -> (&'static str, &'static str) {
    match error {
        SignatureError::Repeated => {
            ("a signature parameter is in the URL twice", "sign the URL without its old signature")
        }
        SignatureError::NoKeyPairId => {
            ("Key-Pair-Id is missing", "add the ID of the signing key as Key-Pair-Id")
        }
        SignatureError::NoSignature => ("Signature is missing", "sign the URL again"),
        SignatureError::BadTerms => (
            "the URL needs either Expires, in seconds since 1970, or Policy, and has neither or both",
            "sign the URL again",
        ),
        SignatureError::UnknownHash => {
            ("Hash-Algorithm is neither SHA1 nor SHA256", "sign with one of these")
        }
        SignatureError::Sha1 => (
            "the signature uses SHA-1, which the key group does not accept",
            "sign with SHA-256 and Hash-Algorithm=SHA256, or remove `sha1 = false` from the key group",
        ),
        SignatureError::BadSignature => (
            "Signature is not in CloudFront's base64 (`-`, `_`, `~` for `+`, `=`, `/`)",
            "sign the URL again",
        ),
        SignatureError::BadPolicy => (
            "Policy is not in CloudFront's base64, or is not a policy with one statement and a DateLessThan",
            "write the policy as CloudFront documents it",
        ),
        SignatureError::DotSegments => (
            "the path has `.` or `..` segments, which only a custom policy can cover",
            "sign and request the path without them",
        ),
        _ => ("the signature is not valid", "sign the URL again"),
    }
}

const fn path_fix(error: PathError) -> &'static str {
    match error {
        PathError::NotAbsolute => "write the path with a leading slash",
        PathError::BadEscape => "write `%25` for a percent sign",
        PathError::Control => "remove control characters; no key can be requested with them",
        PathError::Ambiguous => {
            "request the path without `//`, `\\`, `%2F` and dot segments; see \"Paths\" in docs/security.md"
        }
        PathError::NotUtf8 => "percent-encode the path's UTF-8 bytes",
    }
}

const fn framing(error: FramingError) -> &'static str {
    match error {
        FramingError::TransferCoding => "Transfer-Encoding has a coding other than `chunked`",
        FramingError::Malformed => {
            "Transfer-Encoding is malformed, or is combined with Content-Length"
        }
        FramingError::Expectation => "Expect has a value other than `100-continue`",
    }
}

//! Rejections and failures as responses: a status, a fixed text, and a token for the log.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};

use crate::{
    access::signed,
    base::metrics::ResultType,
    behavior::RuleMatches,
    cache::{key::PathError, store::FetchError},
    http::{
        authority::{authority, host},
        body::Body,
        cache_status::Report,
        framing::FramingError,
    },
    outbound::ErrorClass,
    proxy::response::proxy_response::{Head, ProxyResponse},
};

/// A reason to reject a request before the cache lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The behavior is disabled.
    Disabled,
    /// The host is missing, repeated or contradictory.
    BadHost,
    /// No distribution has this host among its aliases.
    UnknownHost,
    /// The request target is longer than 8,192 bytes.
    UriTooLong,
    /// Request line and fields together are longer than 32,768 bytes.
    HeadTooLarge,
    /// The path names no object, or is ambiguous.
    BadPath(PathError),
    /// The behavior does not allow the method. The value lists the allowed ones.
    Method(&'static str),
    /// A GET or HEAD with content.
    UnexpectedContent,
    /// The bucket's root is not an object.
    NoRootObject,
    /// The behavior serves over HTTPS only.
    HttpsOnly,
    /// The behavior redirects viewers to HTTPS.
    RedirectToHttps {
        /// The status of the redirect.
        status: StatusCode,
        /// The port of HTTPS, if the URL must name it.
        port: Option<u16>,
    },
    /// A CORS preflight that the response headers policy answers.
    Preflight,
    /// The request has passed this server before, or too many networks.
    Loop,
    /// The request's framing is ambiguous, or it has an unsupported expectation.
    Framing(FramingError),
    /// The distribution does not serve the viewer's address.
    Address,
    /// The distribution does not serve the viewer's country.
    Country,
    /// The `Referer` is not allowed.
    Referer,
    /// The request exceeds a rate limit. The value is `Retry-After` in seconds.
    TooMany(u64),
    /// Rules of the behavior refuse it.
    DeniedByRule(RuleMatches),
    /// A rule rewrote the path to one that another behavior protects.
    ProtectedPath(RuleMatches),
    /// The request has no valid signature.
    Signed(signed::SignatureError),
}

impl Rejection {
    /// The status of the response.
    #[must_use]
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadPath(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnexpectedContent
            | Self::NoRootObject
            | Self::Disabled
            | Self::HttpsOnly
            | Self::Address
            | Self::Country
            | Self::Referer
            | Self::DeniedByRule(_)
            | Self::ProtectedPath(_)
            | Self::Signed(_) => StatusCode::FORBIDDEN,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Framing(error) => error.status(),
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::RedirectToHttps { status, .. } => status,
            Self::Preflight => StatusCode::NO_CONTENT,
        }
    }

    /// A token for logs and metrics.
    #[must_use]
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Disabled => "behavior-disabled",
            Self::BadHost => "bad-host",
            Self::UnknownHost => "unknown-host",
            Self::UriTooLong => "uri-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::BadPath(PathError::NotAbsolute) => "path-not-absolute",
            Self::BadPath(PathError::BadEscape) => "path-bad-escape",
            Self::BadPath(PathError::Control) => "path-control",
            Self::BadPath(PathError::Ambiguous) => "path-ambiguous",
            Self::BadPath(PathError::NotUtf8) => "path-not-utf8",
            Self::Method(_) => "method",
            Self::UnexpectedContent => "unexpected-content",
            Self::NoRootObject => "no-root-object",
            Self::HttpsOnly => "https-only",
            Self::RedirectToHttps { .. } => "redirect-to-https",
            Self::Preflight => "preflight",
            Self::Loop => "loop",
            Self::Framing(FramingError::TransferCoding) => "transfer-coding",
            Self::Framing(FramingError::Malformed) => "transfer-encoding",
            Self::Framing(FramingError::Expectation) => "expectation",
            Self::Address => "address-denied",
            Self::Country => "country-denied",
            Self::Referer => "referer-denied",
            Self::TooMany(_) => "rate-limited",
            Self::DeniedByRule(_) => "rule-denied",
            Self::ProtectedPath(_) => "rule-protected-path",
            Self::Signed(refused) => refused.token(),
        }
    }

    /// The rules of the behavior that apply to the request, if they reject it.
    pub(crate) const fn rules(self) -> Option<RuleMatches> {
        match self {
            Self::DeniedByRule(matches) | Self::ProtectedPath(matches) => Some(matches),
            _ => None,
        }
    }

    /// A rejection by a rate limit that admits the next request after `wait`.
    pub(crate) fn too_many(wait: Duration) -> Self {
        Self::TooMany(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// Converts the rejection into a response, with CloudFront's own status codes if `cloudfront` is set.
    pub(crate) fn into_answer(self, request: &Parts, cloudfront: bool) -> ProxyResponse {
        let mut fields = HeaderMap::with_capacity(12);
        let more = match self {
            Self::RedirectToHttps { port, .. } => {
                https_url(request, port).map(|url| (header::LOCATION, url))
            }
            Self::Method(allow) => Some((header::ALLOW, HeaderValue::from_static(allow))),
            Self::TooMany(seconds) => Some((header::RETRY_AFTER, seconds.into())),
            // The next bytes on the connection may not be a separate request.
            Self::UnexpectedContent | Self::HeadTooLarge | Self::Framing(_) => {
                Some((header::CONNECTION, HeaderValue::from_static("close")))
            }
            _ => None,
        };
        fields.extend(more);
        let mut report = Report::local(self.token());
        report.hide_reason = matches!(self, Self::Signed(_));
        let (head, content, result) = match self {
            Self::Signed(refused) => {
                fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
                (Head::Own(self.status(), fields), document(refused), ResultType::Error)
            }
            Self::Preflight => (Head::Own(self.status(), fields), Bytes::new(), ResultType::Hit),
            Self::RedirectToHttps { .. } => {
                (Head::Page(self.status(), fields), Bytes::new(), ResultType::Redirect)
            }
            Self::HeadTooLarge if cloudfront => {
                let status = StatusCode::from_u16(494).unwrap_or(self.status());
                (Head::Page(status, fields), Bytes::new(), ResultType::Error)
            }
            _ => (Head::Page(self.status(), fields), Bytes::new(), ResultType::Error),
        };
        ProxyResponse::new(head, Body::full(content), result, report)
    }
}

/// The same URL over HTTPS.
fn https_url(request: &Parts, port: Option<u16>) -> Option<HeaderValue> {
    let host = host(authority(request)?)?;
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let target = request.uri.path_and_query()?;
    HeaderValue::try_from(format!("https://{host}{port}{target}")).ok()
}

/// CloudFront's XML error document: a code, and nothing that helps an attacker.
fn document(refused: signed::SignatureError) -> Bytes {
    let (code, message) = refused.code();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>").into()
}

/// A synthetic error response with the given report.
pub(crate) fn error(
    status: StatusCode,
    report: Report,
    more: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> ProxyResponse {
    let head = Head::Page(status, HeaderMap::from_iter(more));
    ProxyResponse::new(head, Body::empty(), ResultType::Error, report)
}

/// The error response for a failed fetch.
pub(crate) fn failed(failure: FetchError) -> ProxyResponse {
    error(failure.status, Report::local(failure.detail), None)
}

/// Whether a part of the viewer's request beyond the cache key may have caused the failure: the origin
/// rejected the request or closed the connection.
pub(crate) fn may_be_caused_by_request(failure: FetchError) -> bool {
    [ErrorClass::Rejected, ErrorClass::Connection].map(ErrorClass::token).contains(&failure.detail)
}

/// Whether a status is a client or server error.
pub(crate) fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

//! Refusals and failures as answers: a status, a fixed text, and a token for the log.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};

use super::{
    admit::{authority, host},
    answer::{Answer, Head},
};
use crate::{
    body::Body,
    key::PathError,
    metrics::ResultType,
    origin::ErrorClass,
    semantics::cache_status::{CacheStatus, Report},
    signed,
    store::Failure,
};

/// Why a request is refused before any cache or origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No, several, or contradicting hosts.
    BadHost,
    /// No distribution has this host among its aliases.
    UnknownHost,
    /// The request target is longer than 8,192 bytes.
    UriTooLong,
    /// Request line and fields together are longer than 32,768 bytes.
    HeadTooLarge,
    /// The path names no object, or could name another than it seems to.
    BadPath(PathError),
    /// The behavior does not allow the method; these are allowed.
    Method(&'static str),
    /// A GET or HEAD with content.
    UnexpectedContent,
    /// The bucket's root is not an object.
    NoRootObject,
    /// The behavior serves over HTTPS only.
    HttpsOnly,
    /// The behavior sends viewers on to HTTPS, with this status.
    RedirectToHttps(StatusCode),
    /// A browser asks what pages of other sites may do; it is told.
    Preflight,
    /// The request does not bear a signature that allows it.
    Signed(signed::Refused),
}

impl Refusal {
    /// The answer's status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadPath(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnexpectedContent | Self::NoRootObject | Self::HttpsOnly | Self::Signed(_) => {
                StatusCode::FORBIDDEN
            }
            Self::RedirectToHttps(status) => status,
            Self::Preflight => StatusCode::NO_CONTENT,
        }
    }

    /// A token for logs and metrics.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::BadHost => "bad-host",
            Self::UnknownHost => "unknown-host",
            Self::UriTooLong => "uri-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::BadPath(PathError::NotAbsolute) => "path-not-absolute",
            Self::BadPath(PathError::BadEscape) => "path-bad-escape",
            Self::BadPath(PathError::Control) => "path-control",
            Self::BadPath(PathError::DotSegment) => "path-dot-segment",
            Self::BadPath(PathError::NotUtf8) => "path-not-utf8",
            Self::Method(_) => "method",
            Self::UnexpectedContent => "unexpected-content",
            Self::NoRootObject => "no-root-object",
            Self::HttpsOnly => "https-only",
            Self::RedirectToHttps(_) => "redirect-to-https",
            Self::Preflight => "preflight",
            Self::Signed(refused) => refused.token(),
        }
    }

    pub(super) fn into_answer(self, request: &Parts) -> Answer {
        let more = match self {
            Self::RedirectToHttps(_) => https_url(request).map(|url| (header::LOCATION, url)),
            Self::Method(allow) => Some((header::ALLOW, HeaderValue::from_static(allow))),
            // What follows on the connection cannot be trusted to be a request of its own.
            Self::UnexpectedContent | Self::HeadTooLarge => {
                Some((header::CONNECTION, HeaderValue::from_static("close")))
            }
            _ => None,
        };
        let mut answer = own_with(self.status(), self.token(), more);
        match (self, &mut answer.head) {
            (Self::Signed(refused), Head::Own(_, fields)) => {
                fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
                answer.body = Body::full(document(refused));
                answer.report.discreet = true;
            }
            (Self::RedirectToHttps(_), _) => answer.result = ResultType::Redirect,
            (Self::Preflight, Head::Own(_, fields)) => {
                fields.clear();
                answer.body = Body::empty();
                answer.result = ResultType::Hit;
            }
            _ => {}
        }
        answer
    }
}

/// The same URL over HTTPS.
fn https_url(request: &Parts) -> Option<HeaderValue> {
    let host = host(authority(request)?)?;
    let target = request.uri.path_and_query()?;
    HeaderValue::try_from(format!("https://{host}{target}")).ok()
}

/// What CloudFront answers: a code, and nothing that would help to find a way in.
fn document(refused: signed::Refused) -> Bytes {
    let (code, message) = refused.code();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>").into()
}

/// An answer of our own: nothing of it comes from an origin.
pub(super) fn own(status: StatusCode, detail: &'static str) -> Answer {
    own_with(status, detail, None)
}

fn own_with(
    status: StatusCode,
    detail: &'static str,
    more: Option<(HeaderName, HeaderValue)>,
) -> Answer {
    let report = Report { detail: Some(detail), ..Report::new(CacheStatus::Local) };
    error(status, report, more)
}

/// An error of our own in the place of what was asked for; it keeps the report.
pub(super) fn error(
    status: StatusCode,
    report: Report,
    more: Option<(HeaderName, HeaderValue)>,
) -> Answer {
    let (mut fields, text) = page(status);
    fields.extend(more);
    let (head, body) = (Head::Own(status, fields), Body::full(text));
    Answer { head, body, result: ResultType::Error, report }
}

/// The page for a status, and its fields.
pub(super) fn page(status: StatusCode) -> (HeaderMap, Bytes) {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut fields = HeaderMap::with_capacity(12);
    fields.insert(header::CONTENT_TYPE, text);
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!("{} {reason}\n{}\n", status.as_str(), explanation(status));
    (fields, page.into())
}

const fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        301 | 307 => "This object is served over HTTPS.",
        400 => "The request is not well formed.",
        403 => "Access to this object is not allowed.",
        404 => "There is no such object.",
        405 => "This method is not allowed here.",
        412 => "The object is not in the state that the request asks for.",
        414 => "The address is too long.",
        431 => "The fields of the request are too long.",
        416 => "The object has no bytes in the range asked for.",
        421 => "This server does not answer for this host name.",
        502 => "The origin cannot be reached, or its answer is of no use.",
        503 => "The origin is overloaded or in trouble. Please try again later.",
        504 => "The origin did not answer in time.",
        _ => "The request could not be served.",
    }
}

/// The viewer's status for a failure of the origin.
pub(super) const fn failure(class: ErrorClass) -> Failure {
    let status = match class {
        ErrorClass::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorClass::Busy | ErrorClass::Throttled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Dns
        | ErrorClass::Connect
        | ErrorClass::Tls
        | ErrorClass::Connection
        | ErrorClass::Configuration
        | ErrorClass::Kms
        | ErrorClass::Other => StatusCode::BAD_GATEWAY,
    };
    Failure { status, detail: class.token() }
}

//! The kinds of requests that are compared.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::seen::Seen;

/// The origin that requests for CORS name.
const WEB_ORIGIN: HeaderValue = HeaderValue::from_static("https://forebay-diff.example");

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    /// For the whole object, or for the range from a log.
    Get,
    Head,
    FirstBytes,
    LastBytes,
    BeyondTheEnd,
    IfNoneMatch,
    IfModifiedSince,
    AcceptEncoding,
    Cors,
    Preflight,
    /// For a path that no object has.
    Missing,
}

impl Probe {
    pub(crate) const ALL: [Self; 11] = [
        Self::Get,
        Self::Head,
        Self::FirstBytes,
        Self::LastBytes,
        Self::BeyondTheEnd,
        Self::IfNoneMatch,
        Self::IfModifiedSince,
        Self::AcceptEncoding,
        Self::Cors,
        Self::Preflight,
        Self::Missing,
    ];

    /// Its name in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::FirstBytes => "first bytes",
            Self::LastBytes => "last bytes",
            Self::BeyondTheEnd => "beyond the end",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfModifiedSince => "If-Modified-Since",
            Self::AcceptEncoding => "Accept-Encoding",
            Self::Cors => "CORS",
            Self::Preflight => "CORS preflight",
            Self::Missing => "missing object",
        }
    }

    /// The method and the fields of the request to a server that answered a GET with `got`. `None` if that response does
    /// not allow such a request.
    pub(super) fn request(self, got: &Seen) -> Option<(Method, HeaderMap)> {
        let one = |name: HeaderName, value: HeaderValue| HeaderMap::from_iter([(name, value)]);
        let range = |text: &str| Some(one(header::RANGE, HeaderValue::try_from(text).ok()?));
        let same = |from: HeaderName, to: HeaderName| Some(one(to, got.fields.get(from)?.clone()));
        let has_content = got.status == StatusCode::OK && got.length > 0;
        let fields = match self {
            Self::Get | Self::Head | Self::Missing => HeaderMap::new(),
            Self::FirstBytes => range("bytes=0-99").filter(|_| has_content)?,
            Self::LastBytes => range("bytes=-100").filter(|_| has_content)?,
            Self::BeyondTheEnd => {
                range(&format!("bytes={}-", got.length)).filter(|_| has_content)?
            }
            Self::IfNoneMatch => same(header::ETAG, header::IF_NONE_MATCH)?,
            Self::IfModifiedSince => same(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)?,
            Self::AcceptEncoding => {
                one(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))
            }
            Self::Cors => one(header::ORIGIN, WEB_ORIGIN),
            Self::Preflight => {
                let get = HeaderValue::from_static("GET");
                let mut fields = one(header::ACCESS_CONTROL_REQUEST_METHOD, get);
                fields.insert(header::ORIGIN, WEB_ORIGIN);
                fields
            }
        };
        let method = match self {
            Self::Head => Method::HEAD,
            Self::Preflight => Method::OPTIONS,
            _ => Method::GET,
        };
        Some((method, fields))
    }
}

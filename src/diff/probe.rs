//! The kinds of requests that are compared.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::response::Response;

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
            Self::BeyondTheEnd => "bytes beyond the end",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfModifiedSince => "If-Modified-Since",
            Self::AcceptEncoding => "Accept-Encoding",
            Self::Cors => "CORS",
            Self::Preflight => "CORS preflight",
            Self::Missing => "missing object",
        }
    }

    /// The method and the fields of the request to a server that answered a GET with `got`. `None` if that response does
    /// not allow such a request. `origin` is the site that requests for CORS come from.
    pub(super) fn request(
        self,
        got: &Response,
        origin: &HeaderValue,
    ) -> Option<(Method, HeaderMap)> {
        let one = |name: HeaderName, value: HeaderValue| HeaderMap::from_iter([(name, value)]);
        let range = |text: &str| Some(one(header::RANGE, HeaderValue::try_from(text).ok()?));
        let same = |from: HeaderName, to: HeaderName| Some(one(to, got.fields.get(from)?.clone()));
        let length = got.contents.sent.length;
        let has_content = got.status == StatusCode::OK && length > 0;
        let fields = match self {
            Self::Get | Self::Head | Self::Missing => HeaderMap::new(),
            Self::FirstBytes => range("bytes=0-99").filter(|_| has_content)?,
            Self::LastBytes => range("bytes=-100").filter(|_| has_content)?,
            Self::BeyondTheEnd => range(&format!("bytes={length}-")).filter(|_| has_content)?,
            Self::IfNoneMatch => same(header::ETAG, header::IF_NONE_MATCH)?,
            Self::IfModifiedSince => same(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)?,
            Self::AcceptEncoding => {
                one(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))
            }
            Self::Cors => one(header::ORIGIN, origin.clone()),
            Self::Preflight => HeaderMap::from_iter([
                (header::ORIGIN, origin.clone()),
                (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
                (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("range")),
            ]),
        };
        let method = match self {
            Self::Head => Method::HEAD,
            Self::Preflight => Method::OPTIONS,
            _ => Method::GET,
        };
        Some((method, fields))
    }
}

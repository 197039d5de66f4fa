//! The requests that a run sends.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, header,
    uri::{self, Authority, PathAndQuery, Scheme},
};
use http_body_util::Empty;

use super::{
    Mix, Options,
    line::{Http, Line},
    request_kind::RequestKind,
    target::Target,
    targets::Targets,
};

/// The parts that all requests of a run share.
pub(super) struct Requests {
    mix: Mix,
    fields: HeaderMap,
    /// The scheme and authority that each request over HTTP/2 and HTTP/3 names.
    server: Option<(Scheme, Authority)>,
}

impl Requests {
    /// Requests to the `Host` among the run's fields, else to the targets' host.
    pub(super) fn new(options: &Options, line: &Line, targets: &Targets) -> Self {
        Self { mix: options.mix, ..Self::plain(&options.fields, line, targets.server()) }
    }

    /// The same without ranges and conditions, to the server of a URL.
    pub(super) fn plain(fields: &HeaderMap, line: &Line, server: &str) -> Self {
        let mut fields = fields.clone();
        let own = fields.remove(header::HOST);
        let own = own.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let named = || server.parse::<Uri>().ok()?.into_parts().authority;
        let authority = own.or_else(named);
        let scheme = if line.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut server = None;
        match (line.http(), authority) {
            (Http::Two | Http::Three, Some(authority)) => server = Some((scheme, authority)),
            (Http::One, Some(authority)) => {
                if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
                    fields.insert(header::HOST, host);
                }
            }
            (_, None) => {}
        }
        Self { mix: Mix::default(), fields, server }
    }

    /// A GET for a path.
    pub(super) fn get(&self, path: &PathAndQuery) -> Request<Empty<Bytes>> {
        let mut uri = uri::Parts::default();
        uri.path_and_query = Some(path.clone());
        if let Some((scheme, authority)) = &self.server {
            (uri.scheme, uri.authority) = (Some(scheme.clone()), Some(authority.clone()));
        }
        let mut request = Request::new(Empty::new());
        // A path alone is a URI, and so are all three parts.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.fields.clone();
        request
    }

    /// A request for `target`, and its kind.
    pub(super) fn request(&self, target: &Target) -> (Request<Empty<Bytes>>, RequestKind) {
        let mut request = self.get(target.path());
        let fields = request.headers_mut();
        if let Some(range) = &target.range {
            fields.insert(header::RANGE, range.clone());
            return (request, RequestKind::Range);
        }
        let asked = self.mix.apply(target.known.get(), fields);
        (request, asked)
    }
}

//! The admin listener: metrics, health, purges. Never for viewers.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    edge::{Connection, Edge},
    front::Handler,
    key::CanonicalPath,
    origin::Credentials,
    store::{Manner, Purge},
};

/// Largest body of a purge request, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Most paths in one purge request: CloudFront's number for one invalidation.
const MAX_PATHS: usize = 3000;

/// What the admin listener shows and does.
#[derive(Clone, Debug)]
pub struct Admin(Arc<State>);

#[derive(Debug)]
struct State {
    edge: Arc<Edge>,
    credentials: Arc<Credentials>,
    draining: AtomicBool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    distribution: String,
    paths: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Purged {
    distribution: String,
    paths: usize,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    credentials: &'static str,
}

#[derive(Debug, Serialize)]
struct Refused {
    error: String,
}

impl Admin {
    /// The admin's view of an edge.
    #[must_use]
    pub fn new(edge: Arc<Edge>, credentials: Arc<Credentials>) -> Self {
        Self(Arc::new(State { edge, credentials, draining: AtomicBool::new(false) }))
    }

    /// From now on `/readyz` says no, so that load balancers look elsewhere.
    pub fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET | &Method::HEAD, "/healthz") => {
                text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
            }
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (&Method::POST, "/purge") => self.purge(request, client).await,
            (_, "/metrics" | "/healthz" | "/readyz") => not_allowed("GET, HEAD"),
            (_, "/purge") => not_allowed("POST"),
            _ => refuse(
                StatusCode::NOT_FOUND,
                "there are GET /metrics, GET /healthz, GET /readyz and POST /purge",
            ),
        }
    }

    fn metrics(&self) -> Response<Body> {
        let usage = self.0.edge.store().usage();
        let rendered = self.0.edge.metrics().render(usage.bytes, usage.entries, usage.evictions);
        let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        text(StatusCode::OK, format, rendered)
    }

    /// Ready means: credentials are loaded where a bucket needs them, and no drain has begun.
    /// The state of the origin is not part of it, or an outage of S3 would drain every edge.
    fn readiness(&self) -> Response<Body> {
        let rules = self.0.edge.rules();
        let needs = rules
            .hosts
            .all()
            .iter()
            .flat_map(|d| &d.origins)
            .any(|o| o.members().any(|o| o.signs()));
        let loaded = self.0.credentials.current().is_some();
        let draining = self.0.draining.load(Ordering::Acquire);
        let ready = (loaded || !needs) && !draining;
        let credentials = match (needs, loaded) {
            (false, _) => "not needed",
            (true, true) => "loaded",
            (true, false) => "missing",
        };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &Readiness { ready, draining, credentials })
    }

    async fn purge(&self, request: Request<Incoming>, client: IpAddr) -> Response<Body> {
        // Until callers prove who they are, only those on this machine's loopback may purge.
        if !client.is_loopback() {
            return refuse(
                StatusCode::FORBIDDEN,
                "purges are taken over loopback only (127.0.0.1 or ::1)",
            );
        }
        if request.headers().contains_key(header::ORIGIN) {
            return refuse(StatusCode::FORBIDDEN, "purges are not taken from web pages");
        }
        // A web page can make a browser on this machine send anything but this content type.
        let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_json = |value: &[u8]| value.to_ascii_lowercase().starts_with(b"application/json");
        if !content_type.is_some_and(is_json) {
            let message = "send the purge as `Content-Type: application/json`";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        }
        let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "a purge has at most 1 MiB");
        };
        match self.apply(&body.to_bytes()) {
            Ok(purged) => json(StatusCode::OK, &purged),
            Err((status, message)) => refuse(status, &message),
        }
    }

    fn apply(&self, body: &Bytes) -> Result<Purged, (StatusCode, String)> {
        let bad = |message: String| (StatusCode::BAD_REQUEST, message);
        let request: PurgeRequest = serde_json::from_slice(body).map_err(|error| {
            bad(format!(
                "not a purge: {error}; expected {{\"distribution\": \"…\", \"paths\": [\"/a.jpg\", \"/b/*\"]}}"
            ))
        })?;
        let rules = self.0.edge.rules();
        if rules.hosts.by_id(&request.distribution).is_none() {
            let known: Vec<_> =
                rules.hosts.all().iter().map(|d| d.settings.id.to_string()).collect();
            let message = format!(
                "there is no distribution `{}`; there is: {}",
                request.distribution,
                known.join(", ")
            );
            return Err((StatusCode::NOT_FOUND, message));
        }
        if request.paths.is_empty() || request.paths.len() > MAX_PATHS {
            return Err(bad(format!("`paths` must hold 1 to {MAX_PATHS} paths")));
        }
        // All are read before any is applied: a request with one bad path changes nothing.
        let purges: Result<Vec<Purge>, String> =
            request.paths.iter().map(|path| parse_path(path)).collect();
        for purge in purges.map_err(bad)? {
            self.0.edge.store().purge(&request.distribution, &purge, Manner::Hard);
            self.0.edge.metrics().purged();
        }
        tracing::info!(
            distribution = request.distribution,
            paths = request.paths.len(),
            first = request.paths.first(),
            "purged"
        );
        Ok(Purged { distribution: request.distribution, paths: request.paths.len() })
    }
}

/// A path as an operator writes it: percent-encoded or not, with a query that does not count.
fn parse_path(text: &str) -> Result<Purge, String> {
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    let decode = |path: &str| {
        let decoded = CanonicalPath::parse(path);
        decoded
            .map(|path| path.as_str().to_owned())
            .map_err(|error| format!("cannot purge `{text}`: {error}"))
    };
    // As in CloudFront's invalidations: only a trailing star is a wildcard.
    let (path, is_prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
    if path.contains('*') {
        return Err(format!(
            "cannot purge `{text}`: only a `*` at the end is a wildcard; write `%2A` for the character"
        ));
    }
    Ok(if is_prefix { Purge::Prefix(decode(path)?) } else { Purge::Exact(decode(path)?) })
}

impl Handler for Admin {
    async fn handle(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        self.answer(request, connection.client).await
    }
}

fn text(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(Body::full(content.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut content = serde_json::to_string(value).unwrap_or_default();
    content.push('\n');
    text(status, "application/json", content)
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &Refused { error: message.to_owned() })
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_operators_write_them() {
        for (text, expected) in [
            ("/a b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a%20b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a.jpg?x=1", Purge::Exact("/a.jpg".into())),
            ("/é*", Purge::Prefix("/é".into())),
            ("/*", Purge::Prefix("/".into())),
            ("/a%2A", Purge::Exact("/a*".into())),
        ] {
            assert_eq!(parse_path(text), Ok(expected), "{text}");
        }
        for bad in ["/a*b", "a.jpg", "", "*", "/a%2*", "/../x"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}

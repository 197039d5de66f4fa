//! The dashboard: a page that is part of the program, and its data as JSON.

use std::{net::IpAddr, sync::OnceLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    Admin, Refusal, State,
    auth::{Callers, Denied},
    content,
    error_advice::AdvisedError,
    metrics_json::parse_metrics,
    origins_of_path::origins_of_path,
    reply::{json, not_allowed, refuse, text},
    web_page::{has_literal_host, is_foreign, is_of_dashboard},
};
use crate::{
    base::{
        log::{LogLimiter, unless_zero},
        metrics::LATENCY,
    },
    http::{body::Body, query},
    statistics::Range,
};

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str =
    concat!(include_str!("dashboard/plots.js"), include_str!("dashboard/script.js"));

/// The most invalidations that are shown.
const INVALIDATIONS: usize = 50;

/// The paths of the dashboard's data.
const DATA: [&str; 6] = [
    "/api/overview",
    "/api/traffic",
    "/api/top",
    "/api/errors",
    "/api/invalidations",
    "/api/metrics",
];

/// The path of the access log as it is written.
const LOG: &str = "/api/logs";

/// The most bytes of a login.
const MAX_LOGIN: usize = 4 << 10;

/// The paths of an invalidation that are shown, and the bytes of each.
const PATHS: usize = 5;
const LONGEST: usize = 512;

/// Whether the dashboard answers requests for a path.
pub(super) fn is_dashboard_path(path: &str) -> bool {
    path == "/" || path.starts_with("/api/")
}

impl Admin {
    /// Answers a request for the dashboard.
    pub(super) async fn dashboard(
        &self,
        parts: &Parts,
        body: Body,
        client: IpAddr,
    ) -> Response<Body> {
        let path = parts.uri.path();
        let (is_read, is_post) =
            (matches!(parts.method, Method::GET | Method::HEAD), parts.method == Method::POST);
        let answered = match path {
            "/" if is_read => return page(),
            "/api/login" if is_post => match content(body, MAX_LOGIN).await {
                Some(content) => self.0.log_in(parts, &content, client),
                None => Err((StatusCode::PAYLOAD_TOO_LARGE, "the login is too long".to_owned())),
            },
            "/api/logout" if is_post => self.0.log_out(parts),
            "/api/login" | "/api/logout" => return not_allowed("POST"),
            _ if path != "/" && path != LOG && !DATA.contains(&path) => {
                let message = format!("not found: use {}, {LOG}", DATA.join(", "));
                Err((StatusCode::NOT_FOUND, message))
            }
            LOG if is_read => self.stream_log(parts, client),
            _ if is_read => self.data(parts, client),
            _ => return not_allowed("GET, HEAD"),
        };
        answered.unwrap_or_else(|(status, message)| refuse(status, &message))
    }

    /// Authenticates and answers a request for data.
    fn data(&self, parts: &Parts, client: IpAddr) -> Result<Response<Body>, Refusal> {
        let state = &self.0;
        state.may_read(parts, client)?;
        let callers = state.callers.load();
        let (statistics, now, ok) = (&state.edge.statistics, state.clock.now(), StatusCode::OK);
        Ok(match parts.uri.path() {
            "/api/overview" => {
                json(ok, &self.overview(state.session_of(parts, &callers).is_some()))
            }
            "/api/top" => {
                let rules = state.edge.rules();
                let origins = |distribution: &str, path: &str| {
                    let members = origins_of_path(&rules, distribution, path);
                    members.map(|origin| origin.options().id.clone()).collect()
                };
                json(ok, &statistics.top(range(parts)?, now, origins))
            }
            "/api/errors" => {
                let rules = state.edge.rules();
                let errors = statistics.errors().into_iter();
                json(ok, &errors.map(|it| AdvisedError::new(it, &rules, now)).collect::<Vec<_>>())
            }
            "/api/invalidations" => json(ok, &state.recent_invalidations()),
            "/api/metrics" => json(ok, &parse_metrics(&self.render_metrics())),
            _ => {
                let traffic = statistics.traffic(range(parts)?, state.edge.metrics(), now);
                let saved = state.prices.load().saved(&traffic.total);
                json(
                    ok,
                    &json!({ "time_bounds_seconds": LATENCY, "traffic": traffic, "saved": saved }),
                )
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

impl State {
    /// The name of the token that the session of a request began with. Only requests of the dashboard have one.
    pub(super) fn session_of(&self, parts: &Parts, callers: &Callers) -> Option<String> {
        let may_have = is_of_dashboard(parts) && !is_foreign(parts);
        may_have.then(|| self.sessions.find(parts, callers.tokens())).flatten()
    }

    /// Whether a request may read what viewers do.
    pub(super) fn may_read(&self, parts: &Parts, client: IpAddr) -> Result<(), Refusal> {
        let callers = self.callers.load();
        if callers.are_local() && !has_literal_host(parts) {
            let message = "open the dashboard by an address such as http://127.0.0.1:9145, or as http://localhost:9145: a web page could use any other name to read it through your browser";
            return Err((StatusCode::MISDIRECTED_REQUEST, message.to_owned()));
        }
        self.identify(parts, b"", client).map(drop).map_err(|denied| {
            match denied {
                Denied::Missing if callers.tokens().is_empty() => {
                    let message = "the dashboard needs an [[admin.token]] in the configuration to log in with; programs can sign their requests with the [[admin.credential]]";
                    (StatusCode::FORBIDDEN, message.to_owned())
                }
                Denied::WebPage | Denied::Remote => (StatusCode::FORBIDDEN, denied.to_string()),
                _ => (StatusCode::UNAUTHORIZED, denied.to_string()),
            }
        })
    }

    /// Begins a session.
    fn log_in(
        &self,
        parts: &Parts,
        content: &[u8],
        client: IpAddr,
    ) -> Result<Response<Body>, Refusal> {
        static LINES: LogLimiter = LogLimiter::new();
        let (callers, forbidden) = (self.callers.load(), StatusCode::FORBIDDEN);
        if is_foreign(parts) {
            return Err((forbidden, Denied::WebPage.to_string()));
        }
        if callers.tokens().is_empty() {
            let message = "the configuration has no [[admin.token]] to log in with";
            return Err((forbidden, message.to_owned()));
        }
        if !self.sessions.admit(client) {
            let message = "too many attempts at once; try again in a moment".to_owned();
            return Err((StatusCode::TOO_MANY_REQUESTS, message));
        }
        let login: Login = serde_json::from_slice(content)
            .map_err(|_| (StatusCode::BAD_REQUEST, "send {\"token\": \"…\"} as JSON".to_owned()))?;
        let Some(name) = callers.token_name(&login.token) else {
            if let Some(suppressed) = LINES.admit(self.clock.now()) {
                let suppressed = unless_zero(suppressed);
                tracing::warn!(%client, suppressed, "a login to the dashboard failed");
            }
            return Err((forbidden, Denied::UnknownToken.to_string()));
        };
        tracing::info!(%client, token = name, "logged in to the dashboard");
        let no_randomness = || {
            let message = "there is no randomness for a session; try again".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, message)
        };
        Ok(with_cookie(self.sessions.begin(&login.token).ok_or_else(no_randomness)?))
    }

    /// Ends the session of a request.
    fn log_out(&self, parts: &Parts) -> Result<Response<Body>, Refusal> {
        if is_foreign(parts) {
            return Err((StatusCode::FORBIDDEN, Denied::WebPage.to_string()));
        }
        let cookie = self.sessions.end(parts);
        Ok(cookie.map_or_else(|| json(StatusCode::OK, &json!({})), with_cookie))
    }

    fn recent_invalidations(&self) -> serde_json::Value {
        let recent = self.history.recent(INVALIDATIONS);
        let shown = recent.iter().map(|it| {
            json!({
                "id": it.id,
                "distribution": it.distribution,
                "created": it.created,
                "status": it.status(),
                "count": it.items.len(),
                "paths": it.items.iter().take(PATHS).map(|path| shown(path)).collect::<Vec<_>>(),
            })
        });
        shown.collect()
    }
}

/// The beginning of a path, without its query, which may have a signature.
fn shown(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    &path[..path.floor_char_boundary(LONGEST)]
}

fn with_cookie(cookie: HeaderValue) -> Response<Body> {
    let mut response = json(StatusCode::OK, &json!({}));
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// The range that a request names; an hour if it names none.
fn range(parts: &Parts) -> Result<Range, Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    let named = query::pairs(query).map(query::name_and_value).find(|(name, _)| *name == "range");
    match named {
        None => Ok(Range::Hour),
        Some((_, value)) => Range::named(value.unwrap_or_default())
            .ok_or((StatusCode::BAD_REQUEST, "`range` must be 1h or 24h".to_owned())),
    }
}

/// The page. It has no data: those are behind the API.
fn page() -> Response<Body> {
    static PARTS: OnceLock<(String, Option<HeaderValue>)> = OnceLock::new();
    let (page, policy) = PARTS.get_or_init(|| {
        let page = PAGE.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT);
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        (page, HeaderValue::try_from(policy).ok())
    });
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", page.clone());
    let fields = response.headers_mut();
    fields.extend(policy.clone().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

//! Explains how a request would be handled: takes the request as JSON, returns the edge's answer.

use std::net::{IpAddr, Ipv4Addr};

use http::{Method, Request, StatusCode, header};
use serde::Deserialize;

use super::{Refusal, State, distributions::domain_name};
use crate::{
    behavior::{SecurityPolicy, ViewerProtocol},
    http::pasted_url::PastedUrl,
    proxy::{Connection, Explanation, Rules},
};

/// The request to explain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    /// A URL, or a path if there is only one distribution.
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    fields: Vec<(String, String)>,
    /// The viewer's address; defaults to this machine's.
    #[serde(default)]
    client: Option<IpAddr>,
}

/// Explains how a request would be handled.
pub(super) async fn explain(state: &State, content: &[u8]) -> Result<Explanation, Refusal> {
    explain_json(state, content).await.map_err(|message| (StatusCode::BAD_REQUEST, message))
}

async fn explain_json(state: &State, content: &[u8]) -> Result<Explanation, String> {
    let request: ExplainRequest = serde_json::from_slice(content).map_err(|error| {
        format!("invalid request: {error}; expected {{\"url\": \"https://…\", \"fields\": [[\"Name\", \"value\"]]}}")
    })?;
    let PastedUrl { site, target } = PastedUrl::parse(&request.url).ok_or_else(|| {
        format!(
            "`{}` is not a URL: write https://host/path, or a path that begins with `/`",
            request.url
        )
    })?;
    let (scheme, host) = match site {
        Some(site) => site,
        None => site_of(&state.edge.rules(), &request.url)?,
    };
    let method = request.method.as_deref().unwrap_or("GET");
    let method: Method = method.parse().map_err(|_| format!("`{method}` is not an HTTP method"))?;
    let mut explained = Request::builder().method(method).uri(target);
    if !request.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        explained = explained.header(header::HOST, host);
    }
    for (name, value) in &request.fields {
        explained = explained.header(name, value);
    }
    let explained =
        explained.body(()).map_err(|error| format!("invalid header fields: {error}"))?;
    let client = request.client.unwrap_or(Ipv4Addr::LOCALHOST.into());
    // The strictest policy: current viewers negotiate a version that satisfies any distribution.
    let tls = receives_tls(state, scheme).then_some((SecurityPolicy::Tls13Of2025, None));
    let connection = Connection::of(client, None, false, tls);
    Ok(state.edge.explain(explained.into_parts().0, &connection).await)
}

/// Whether a request for an `https` URL reaches Forebay as one. If Forebay has no HTTPS listener and trusts no proxy,
/// TLS ends in front of it, and it receives plain HTTP.
fn receives_tls(state: &State, scheme: &str) -> bool {
    scheme == "https" && (state.has_https || !state.edge.rules().trusted_proxies.is_empty())
}

/// The scheme and host for a bare path: those of the only distribution.
fn site_of(rules: &Rules, path: &str) -> Result<(&'static str, String), String> {
    let mut all = rules.hosts.with_aliases();
    let (Some((distribution, aliases)), None) = (all.next(), all.next()) else {
        let names: Vec<&str> =
            rules.hosts.with_aliases().map(|(_, aliases)| domain_name(aliases)).collect();
        return Err(format!(
            "`{path}` could belong to several distributions: use a full URL, such as https://{}{path}",
            names.first().copied().unwrap_or("localhost")
        ));
    };
    let settings = &distribution.settings;
    let is_secure = settings.public_scheme.as_deref() == Some("https")
        || settings.behaviors.default.viewer_protocol != ViewerProtocol::AllowAll;
    let host = match aliases.iter().find(|alias| !alias.starts_with("*.")) {
        Some(_) => domain_name(aliases).to_owned(),
        None => aliases.first().map_or_else(String::new, |alias| alias.replacen('*', "www", 1)),
    };
    Ok((if is_secure { "https" } else { "http" }, host))
}

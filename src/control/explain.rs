//! Explains how a request would be handled: takes the request as JSON, returns the edge's answer.

use std::net::{IpAddr, Ipv4Addr};

use http::{Method, Request, StatusCode, Uri, header, uri::Scheme};
use serde::Deserialize;

use super::{Refusal, State};
use crate::{
    behavior::SecurityPolicy,
    proxy::{Connection, Explanation},
};

/// The request to explain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
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
pub(super) fn explain(state: &State, content: &[u8]) -> Result<Explanation, Refusal> {
    ask(state, content).map_err(|message| (StatusCode::BAD_REQUEST, message))
}

fn ask(state: &State, content: &[u8]) -> Result<Explanation, String> {
    let question: Question = serde_json::from_slice(content).map_err(|error| {
        format!("not a question: {error}; expected {{\"url\": \"https://…\", \"fields\": [[\"Name\", \"value\"]]}}")
    })?;
    let url: Uri = question.url.parse().map_err(|_| no_url(&question.url))?;
    let tls = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(no_url(&question.url)),
    };
    let host = url.authority().ok_or_else(|| no_url(&question.url))?.as_str();
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let method = question.method.as_deref().unwrap_or("GET");
    let method: Method = method.parse().map_err(|_| format!("`{method}` is no method"))?;
    let mut asked = Request::builder().method(method).uri(target);
    if !question.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        asked = asked.header(header::HOST, host);
    }
    for (name, value) in &question.fields {
        asked = asked.header(name, value);
    }
    let asked = asked.body(()).map_err(|error| format!("no request has these fields: {error}"))?;
    let client = question.client.unwrap_or(Ipv4Addr::LOCALHOST.into());
    // The strictest policy: current viewers negotiate a version that satisfies any distribution.
    let tls = tls.then_some((SecurityPolicy::Tls13Of2025, None));
    let connection = Connection::of(client, None, false, tls);
    Ok(state.edge.explain(asked.into_parts().0, &connection))
}

fn no_url(text: &str) -> String {
    format!(
        "`{text}` is no URL: write https://host/path, with what is no URL character percent-encoded"
    )
}

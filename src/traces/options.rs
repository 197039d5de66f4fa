//! The options of traces.

use std::{fs, io, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::outbound::Address;

/// Whose `traceparent` is continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parents {
    /// No one's.
    #[default]
    NoOne,
    /// That of the proxies in `listen.trusted_proxies`, which must not pass on those of viewers.
    TrustedProxies,
    /// Everyone's. A viewer can then have each of its requests traced.
    Anyone,
}

/// `[traces]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TraceOptions {
    /// The collector's address.
    pub(crate) address: Address,
    /// The path to send spans to.
    pub(crate) path: String,
    /// The file with header fields to send with them, such as an API key.
    pub(crate) headers_file: Option<PathBuf>,
    /// The certificates to trust instead of this machine's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The share of requests that are traced, from 0 to 1, unless a `traceparent` decides.
    pub(crate) sampling_ratio: f64,
    /// Whose `traceparent` is continued.
    pub(crate) parents: Parents,
    /// Whether origins get a `traceparent`.
    pub(crate) to_origins: bool,
    /// The name of this service in traces.
    pub(crate) service_name: String,
}

/// Fields that Forebay sets itself, or that concern one connection.
const OWN: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
];

impl TraceOptions {
    /// The path to send spans to if the endpoint has none (OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP").
    pub(crate) const PATH: &str = "/v1/traces";

    /// Reads the header fields to send with spans.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is not a header field.
    pub(crate) fn headers(&self) -> io::Result<HeaderMap> {
        let Some(path) = &self.headers_file else { return Ok(HeaderMap::new()) };
        let text = fs::read_to_string(path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = lines.map(|(at, line)| {
            let number = at + 1;
            // The line is a secret.
            let (name, value) = field(line)
                .ok_or_else(|| io::Error::other(format!("line {number} is not `Name: value`")))?;
            if OWN.contains(&name) {
                return Err(io::Error::other(format!(
                    "line {number}: Forebay sets `{name}` itself"
                )));
            }
            Ok((name, value))
        });
        read.collect()
    }
}

/// A header field as it is written in HTTP/1.1.
fn field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
}

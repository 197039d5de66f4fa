//! Requests from access log lines.

use http::HeaderValue;
use serde::Deserialize;

use crate::{access::signed, access_log};

/// A request from an access log line.
#[derive(Deserialize)]
pub(super) struct Logged {
    method: String,
    path: String,
    query: Option<String>,
    range: Option<String>,
    status: Option<u16>,
}

impl Logged {
    pub(super) fn parse(line: &str) -> Option<Self> {
        const METHOD: usize = 6;
        const STEM: usize = 8;
        const STATUS: usize = 9;
        const QUERY: usize = 12;
        const RANGE: [usize; 2] = [32, 33];
        if line.starts_with('{') {
            return serde_json::from_str(line).ok();
        }
        let line = access_log::LogLine::parse(line)?;
        let field = |place| line.field(place).map(std::borrow::Cow::into_owned);
        let range = RANGE.map(|place| field(place)?.parse::<u64>().ok());
        let range = match range {
            [Some(first), Some(last)] => Some(format!("bytes={first}-{last}")),
            _ => None,
        };
        let status = field(STATUS).and_then(|status| status.parse().ok());
        Some(Self {
            method: field(METHOD)?,
            path: field(STEM)?,
            query: field(QUERY),
            range,
            status,
        })
    }

    /// Whether the response had content of the object, or confirmed it.
    pub(super) fn is_success(&self) -> bool {
        self.status.is_none_or(|status| matches!(status, 200..=299 | 304))
    }

    /// The requested range.
    pub(super) fn range(&self) -> Option<HeaderValue> {
        let range = self.range.as_ref().filter(|range| range.starts_with("bytes="))?;
        HeaderValue::try_from(range).ok()
    }

    /// Path and query without the signature, which the log does not hold in full. `None` if this is not a GET.
    pub(super) fn target(&self) -> Option<String> {
        let query = self.query.as_deref().and_then(signed::unsigned_query).unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        let can_be_asked = self.method == "GET" && self.path.starts_with('/');
        can_be_asked.then(|| format!("{}{mark}{query}", self.path))
    }
}

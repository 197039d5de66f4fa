//! What the statistics keep of an exchange.

use std::time::Duration;

use http::HeaderValue;

use super::user_agent;
use crate::{
    access_log::Record,
    base::{clock::Timestamp, metrics::ResultType},
};

/// The most bytes kept of a text.
const LONGEST: usize = 512;

/// What the statistics keep of an exchange. Queries are not kept: they may have secrets.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) weight: u32,
    pub(super) distribution: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) referrer: Option<String>,
    pub(super) user_agent: &'static str,
    /// The two-letter code, empty if unknown; `None` without a database.
    pub(super) country: Option<String>,
    pub(super) status: u16,
    pub(super) result: ResultType,
    pub(super) bytes: u64,
    /// Time from the request head to the response head.
    pub(super) first_byte: Duration,
    pub(super) detail: Option<&'static str>,
    pub(super) request_id: String,
}

impl Sample {
    pub(super) fn of(record: &Record<'_>, country: Option<&str>, weight: u32) -> Self {
        Self {
            at: record.at,
            weight,
            distribution: record.distribution.unwrap_or_default().to_owned(),
            method: short(record.method.as_str()),
            path: short(record.uri.path()),
            referrer: record.referer.and_then(referrer),
            user_agent: user_agent::family(record.user_agent),
            country: country.map(short),
            status: record.status,
            result: record.result,
            bytes: record.bytes,
            first_byte: record.first_byte,
            detail: record.report.detail,
            request_id: String::from_utf8_lossy(record.id).into_owned(),
        }
    }
}

/// A referring page, without query and fragment.
fn referrer(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let end = text.find(['?', '#']).unwrap_or(text.len());
    Some(short(&text[..end])).filter(|text| !text.is_empty())
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

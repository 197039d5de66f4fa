//! Records as text.

use std::io::Write;

use http::{HeaderValue, Version};
use serde::Serialize;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{Format, Record};
use crate::{clock::Timestamp, semantics::cache_status::CacheStatus};

/// Query parameters whose values would let a reader of the log act as the viewer.
const SECRET: [&str; 6] =
    ["Signature", "Policy", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "token"];

const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

const COMMON_LOG: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// Lines, and the time of day written last: most records of a thread share its second.
#[derive(Debug, Default)]
pub(super) struct Text {
    lines: Vec<u8>,
    second: Option<u64>,
    stamp: String,
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn swap(&mut self, lines: &mut Vec<u8>) {
        std::mem::swap(&mut self.lines, lines);
    }

    /// Appends one line.
    pub(super) fn append(&mut self, record: &Record<'_>, format: Format) {
        if self.second != Some(record.at.as_secs()) {
            self.second = Some(record.at.as_secs());
            self.stamp = time(record.at, if format == Format::Json { RFC3339 } else { COMMON_LOG });
        }
        // Writing to a Vec cannot fail; a value that serde refuses is left out with its line.
        let start = self.lines.len();
        let written = match format {
            Format::Json => {
                let milliseconds = record.at.as_millis() % 1000;
                let time = format_args!("{}.{milliseconds:03}Z", self.stamp).to_string();
                let json = Json::new(record, &time);
                serde_json::to_writer(&mut self.lines, &json).is_ok()
            }
            Format::Combined => combined(&mut self.lines, record, &self.stamp).is_ok(),
        };
        if written {
            self.lines.push(b'\n');
        } else {
            self.lines.truncate(start);
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    time: &'a str,
    client: std::net::IpAddr,
    method: &'a str,
    scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<std::borrow::Cow<'a, str>>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    protocol: &'static str,
    status: u16,
    bytes: u64,
    complete: bool,
    /// Seconds.
    duration: f64,
    /// Seconds.
    first_byte: f64,
    result: &'static str,
    cache: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    collapsed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distribution: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<std::borrow::Cow<'a, str>>,
}

impl<'a> Json<'a> {
    fn new(record: &'a Record<'a>, time: &'a str) -> Self {
        Self {
            time,
            client: record.client,
            method: record.method.as_str(),
            scheme: if record.tls { "https" } else { "http" },
            host: record.host.map(String::from_utf8_lossy),
            path: record.uri.path(),
            query: record.uri.query().map(redact),
            protocol: protocol(record.version),
            status: record.status,
            bytes: record.bytes,
            complete: record.complete,
            duration: seconds(record.duration),
            first_byte: seconds(record.first_byte),
            result: record.result.name(),
            cache: match record.report.status {
                CacheStatus::Hit => "hit",
                CacheStatus::Forward(reason) => reason.token(),
                CacheStatus::Local => "local",
            },
            collapsed: record.report.collapsed,
            detail: record.report.detail,
            distribution: record.distribution,
            range: record.range.map(text),
            referer: record.referer.map(text),
            user_agent: record.user_agent.map(text),
        }
    }
}

fn combined(line: &mut Vec<u8>, record: &Record<'_>, time: &str) -> std::io::Result<()> {
    let query = record.uri.query().map(redact);
    let (mark, query) = if query.is_some() { ("?", query) } else { ("", None) };
    write!(
        line,
        "{} - - [{}] \"{} {}{mark}{} {}\" {} {} \"{}\" \"{}\" {}",
        record.client,
        time,
        record.method,
        quoted(record.uri.path()),
        quoted(&query.unwrap_or_default()),
        protocol(record.version),
        record.status,
        record.bytes,
        record.referer.map_or_else(|| "-".into(), |value| quoted(&text(value))),
        record.user_agent.map_or_else(|| "-".into(), |value| quoted(&text(value))),
        record.result.name(),
    )
}

/// Escaped so that no viewer can end a quoted part or begin a line of its own.
fn quoted(text: &str) -> String {
    text.escape_default().to_string()
}

fn text(value: &HeaderValue) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn redact(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
            format!("{name}=REDACTED")
        }
        _ => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

fn time(at: Timestamp, format: &[BorrowedFormatItem<'_>]) -> String {
    let nanoseconds = i128::from(at.as_millis()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(format).ok())
        .unwrap_or_default()
}

fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use http::{Method, Uri};

    use super::*;
    use crate::{
        metrics::ResultType,
        semantics::cache_status::{ForwardReason, Report},
    };

    fn line(format: Format) -> String {
        let (uri, agent) = (
            Uri::from_static("/a%20b?Signature=abc&x=1&policy=eyJ"),
            HeaderValue::from_bytes(b"x\" \\ \xff").expect("value"),
        );
        let record = Record {
            at: Timestamp::from_millis(784_111_777_250),
            client: Ipv4Addr::LOCALHOST.into(),
            method: &Method::GET,
            uri: &uri,
            host: Some(b"media.example.com"),
            version: Version::HTTP_11,
            tls: true,
            distribution: Some("media"),
            status: 200,
            bytes: 10,
            complete: true,
            duration: Duration::from_micros(1234),
            first_byte: Duration::from_micros(1000),
            result: ResultType::Miss,
            report: Report::new(CacheStatus::Forward(ForwardReason::UriMiss)),
            range: None,
            referer: None,
            user_agent: Some(&agent),
        };
        let mut text = Text::default();
        text.append(&record, format);
        String::from_utf8(text.lines).expect("UTF-8")
    }

    #[test]
    fn json_is_one_object_a_line_without_secrets() {
        let line = line(Format::Json);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["time"], "1994-11-06T08:49:37.250Z");
        assert_eq!(value["query"], "Signature=REDACTED&x=1&policy=REDACTED");
        assert_eq!(value["cache"], "uri-miss");
        assert_eq!(value["duration"], 0.001_234);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    }

    #[test]
    fn combined_cannot_be_broken_out_of() {
        assert_eq!(
            line(Format::Combined),
            "127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] \
             \"GET /a%20b?Signature=REDACTED&x=1&policy=REDACTED HTTP/1.1\" 200 10 \
             \"-\" \"x\\\" \\\\ \\u{fffd}\" Miss\n"
        );
    }
}

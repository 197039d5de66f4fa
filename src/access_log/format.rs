//! Formats records as text.

use std::io::Write as _;

use http::{HeaderValue, Version};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    BUFFER_SIZE, Format, Record, cloudfront,
    fragments::{push_decimals, redact, redact_url},
    rotation::SEPARATOR,
};
use crate::{base::clock::Timestamp, http::cache_status::CacheStatus};

const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

const COMMON_LOG: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

const DATE_TAB_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]\t[hour]:[minute]:[second]");

/// Lines, plus the last formatted second, because most records of a thread share it.
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

    /// Swaps the lines for an empty buffer, unless there are none.
    pub(super) fn swap(&mut self, empty: &mut Vec<u8>) -> bool {
        let any = !self.lines.is_empty();
        if any {
            std::mem::swap(&mut self.lines, empty);
        }
        any
    }

    /// Appends one line.
    pub(super) fn append(&mut self, record: &Record<'_>, format: Format) {
        if self.lines.capacity() == 0 {
            // All at once: a buffer that grows copies up to megabytes while a viewer waits. The operating system gives
            // memory only to the pages that are written.
            self.lines.reserve_exact(BUFFER_SIZE + USUAL);
        }
        let at = match format {
            // CloudFront logs the end of an exchange, so lines are in the order of their hours.
            Format::Json | Format::Combined => record.at,
            Format::CloudFrontV1 | Format::CloudFrontV2 | Format::CloudFrontV2Parquet => {
                record.at + record.duration
            }
        };
        if self.second != Some(at.as_secs()) {
            self.second = Some(at.as_secs());
            self.stamp = time(
                at,
                match format {
                    Format::Json => RFC3339,
                    Format::Combined => COMMON_LOG,
                    Format::CloudFrontV1 | Format::CloudFrontV2 | Format::CloudFrontV2Parquet => {
                        DATE_TAB_TIME
                    }
                },
            );
        }
        match format {
            Format::Json => json(&mut self.lines, record, &self.stamp),
            // Writing to a Vec cannot fail.
            Format::Combined => combined(&mut self.lines, record, &self.stamp).unwrap_or_default(),
            Format::CloudFrontV1 | Format::CloudFrontV2 | Format::CloudFrontV2Parquet => {
                for part in [record.distribution.unwrap_or_default(), hour(&self.stamp)] {
                    self.lines.extend_from_slice(part.as_bytes());
                    self.lines.push(SEPARATOR);
                }
                let detail = record.detail.unwrap_or_default();
                let start = self.lines.len();
                cloudfront::append(&mut self.lines, record, &detail, &self.stamp);
                if format == Format::CloudFrontV2 {
                    let fields = self.lines.split_off(start);
                    cloudfront::append_json(&mut self.lines, &fields);
                }
            }
        }
        self.lines.push(b'\n');
    }
}

/// The hour of a date, a tab and a time.
fn hour(stamp: &str) -> &str {
    const HOUR: usize = "2026-11-24\t22".len();
    stamp.get(..HOUR).unwrap_or_default()
}

/// Size of a typical line, so that a line needs only one allocation.
const USUAL: usize = 640;

/// A record as a line of JSON.
pub(super) fn json_line(record: &Record<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    json(&mut line, record, &time(record.at, RFC3339));
    line.push(b'\n');
    line
}

/// Writes one JSON object. Handwritten in as few writes as possible, because every request runs it.
/// Numbers, tokens and configured names need no escaping; only text from viewers does.
fn json(line: &mut Vec<u8>, record: &Record<'_>, second: &str) {
    line.reserve(USUAL);
    put(line, b"{\"time\":\"", second.as_bytes());
    push_decimals::<3>(line, u32::try_from(record.at.as_millis() % 1000).unwrap_or(0));
    put(line, b"Z\",\"id\":\"", record.id);
    put(line, b"\",\"client\":\"", record.client.as_bytes());
    put(line, b"\",\"method\":\"", record.method.as_str().as_bytes());
    put(line, b"\",\"scheme\":\"", if record.tls { b"https\"" } else { b"http\"" });
    push_optional(line, b",\"host\":", record.host);
    push_text(line, b",\"path\":", record.uri.path().as_bytes());
    let query = record.uri.query().map(redact);
    push_optional(line, b",\"query\":", query.as_deref().map(str::as_bytes));
    put(line, b",\"protocol\":\"", protocol(record.version).as_bytes());
    push_number(line, b"\",\"status\":", record.status.into());
    push_number(line, b",\"bytes\":", record.bytes);
    put(line, b",\"complete\":", if record.complete { b"true" } else { b"false" });
    push_durations(line, record);
    put(line, b",\"result\":\"", record.result.name().as_bytes());
    put(line, b"\",\"cache\":\"", cache(record.report.status).as_bytes());
    line.push(b'"');
    if record.report.collapsed {
        line.extend_from_slice(b",\"collapsed\":true");
    }
    for (member, value) in [
        (&b",\"detail\":\""[..], record.report.detail),
        (b",\"distribution\":\"", record.distribution),
    ] {
        if let Some(value) = value {
            put(line, member, value.as_bytes());
            line.push(b'"');
        }
    }
    push_optional(line, b",\"range\":", record.range.map(HeaderValue::as_bytes));
    let referer = record.referer.map(redact_url);
    push_optional(line, b",\"referer\":", referer.as_deref());
    push_optional(line, b",\"user_agent\":", record.user_agent.map(HeaderValue::as_bytes));
    line.push(b'}');
}

fn put(line: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    line.extend_from_slice(before);
    line.extend_from_slice(value);
}

/// Writes the total duration and the time to first byte, which are equal if the response was sent in one piece.
fn push_durations(line: &mut Vec<u8>, record: &Record<'_>) {
    line.extend_from_slice(b",\"duration\":");
    let start = line.len();
    push_seconds(line, record.duration);
    let duration = start..line.len();
    line.extend_from_slice(b",\"first_byte\":");
    if record.first_byte == record.duration {
        line.extend_from_within(duration);
    } else {
        push_seconds(line, record.first_byte);
    }
}

const fn cache(status: CacheStatus) -> &'static str {
    match status {
        CacheStatus::Hit => "hit",
        CacheStatus::Forward(reason) => reason.token(),
        CacheStatus::Local => "local",
    }
}

fn push_optional(line: &mut Vec<u8>, member: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        push_text(line, member, value);
    }
}

/// Writes a string. The JSON library handles anything that is not plain ASCII.
fn push_text(line: &mut Vec<u8>, member: &[u8], value: &[u8]) {
    line.extend_from_slice(member);
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    // There is no early exit, so the compiler can vectorise the loop.
    if value.iter().fold(true, |all, byte| all & plain(*byte)) {
        line.push(b'"');
        line.extend_from_slice(value);
        line.push(b'"');
    } else {
        // Writing a string to a Vec cannot fail.
        let _ = serde_json::to_writer(line, &String::from_utf8_lossy(value));
    }
}

fn push_number(line: &mut Vec<u8>, member: &[u8], value: u64) {
    line.extend_from_slice(member);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes seconds with six decimals.
fn push_seconds(line: &mut Vec<u8>, duration: std::time::Duration) {
    push_number(line, b"", duration.as_secs());
    push_decimals::<6>(line, duration.subsec_micros());
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
        cloudfront::version(record.version),
        record.status,
        record.bytes,
        record.referer.map_or_else(
            || "-".into(),
            |value| quoted(&String::from_utf8_lossy(&redact_url(value)))
        ),
        record.user_agent.map_or_else(|| "-".into(), |value| quoted(&text(value))),
        record.result.name(),
    )
}

/// Escapes text so that a viewer can neither end a quoted part nor start a new line.
fn quoted(text: &str) -> String {
    text.escape_default().to_string()
}

fn text(value: &HeaderValue) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn time(at: Timestamp, format: &[BorrowedFormatItem<'_>]) -> String {
    let nanoseconds = i128::from(at.as_millis()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(format).ok())
        .unwrap_or_default()
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
    use std::time::Duration;

    use http::{Method, Uri};

    use super::*;
    use crate::{
        base::metrics::ResultType,
        http::cache_status::{ForwardReason, Report},
    };

    fn line(format: Format) -> String {
        let (uri, agent) = (
            Uri::from_static("/a%20b?Signature=abc&x=1&policy=eyJ"),
            HeaderValue::from_bytes(b"x\" \\ \xff").expect("value"),
        );
        let page = HeaderValue::from_static("https://h/?Signature=abc&y");
        let record = Record {
            id: b"id-1",
            at: Timestamp::from_millis(784_111_777_250),
            client: "127.0.0.1",
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
            referer: Some(&page),
            user_agent: Some(&agent),
            detail: None,
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
        assert_eq!(value["referer"], "https://h/?Signature=REDACTED&y");
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
             \"https://h/?Signature=REDACTED&y\" \"x\\\" \\\\ \\u{fffd}\" Miss\n"
        );
    }
}

//! CloudFront's standard log, version 1: 33 tab-separated fields
//! (Amazon CloudFront Developer Guide, "Standard log file fields").

use std::{borrow::Cow, sync::LazyLock};

use http::{HeaderValue, Version};
use percent_encoding::percent_decode_str;

use super::{
    Detail, Record,
    fragments::{push_decimals, redact, redact_url},
};
use crate::{
    base::metrics::ResultType,
    http::cache_status::{CacheStatus, PEER_HIT},
};

/// The two header lines of every file.
pub(super) const HEAD: &str = "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end\n";

/// Number of fields in a line.
const FIELDS: usize = 33;

/// Appends a record's line without its line feed. `stamp` is its time in seconds: date, tab, time.
pub(super) fn append(line: &mut Vec<u8>, record: &Record<'_>, detail: &Detail<'_>, stamp: &str) {
    let begun = line.len();
    line.extend_from_slice(stamp.as_bytes());
    let mut text = Fields(line);
    text.plain(detail.pop.as_bytes());
    text.number(detail.head_bytes + record.bytes);
    text.plain(record.client.as_bytes());
    text.encoded(Some(record.method.as_str().as_bytes()));
    text.encoded(record.host);
    text.encoded(Some(record.uri.path().as_bytes()));
    match record.status {
        // The viewer disconnected before a response.
        0 => text.plain(b"000"),
        status => text.number(status.into()),
    }
    text.encoded(record.referer.map(redact_url).as_deref());
    text.encoded(record.user_agent.map(HeaderValue::as_bytes));
    text.encoded(record.uri.query().map(redact).as_deref().map(str::as_bytes));
    text.none();
    text.plain(after(record).name().as_bytes());
    text.plain(record.id);
    text.encoded(record.host);
    let protocol: &[u8] = match (record.status, record.tls) {
        (101, true) => b"wss",
        (101, false) => b"ws",
        (_, true) => b"https",
        (_, false) => b"http",
    };
    text.plain(protocol);
    text.number(detail.request_bytes);
    text.seconds(record.duration);
    text.encoded(detail.forwarded_for.map(HeaderValue::as_bytes));
    text.encoded(detail.tls.map(|(protocol, _)| protocol.as_bytes()));
    text.encoded(detail.tls.map(|(_, cipher)| cipher.as_bytes()));
    text.plain(record.result.name().as_bytes());
    text.plain(version(record.version).as_bytes());
    text.none();
    text.none();
    text.optional(detail.port.map(u64::from));
    text.seconds(record.first_byte);
    text.plain(detailed(record).as_bytes());
    text.encoded(detail.content_type.map(HeaderValue::as_bytes));
    text.optional(detail.content_length);
    text.optional(detail.range.map(|(first, _)| first));
    text.optional(detail.range.map(|(_, last)| last));
    debug_assert_eq!(
        line[begun..].split(|byte| *byte == b'\t').count(),
        FIELDS,
        "each field stands once"
    );
}

/// Appends a line of version 1 as an object of version 2: its values are the same texts, under the names of the fields.
pub(super) fn append_json(object: &mut Vec<u8>, line: &[u8]) {
    object.push(b'{');
    for (place, (name, value)) in NAMES.iter().zip(line.split(|byte| *byte == b'\t')).enumerate() {
        if place > 0 {
            object.push(b',');
        }
        // What JSON escapes is percent-encoded in values.
        for part in [b"\"", name.as_bytes(), b"\":\"", value, b"\""] {
            object.extend_from_slice(part);
        }
    }
    object.push(b'}');
}

/// The names of the fields.
pub(super) static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| HEAD.lines().nth(1).unwrap_or_default().split(' ').skip(1).collect());

/// Writes fields, each after a tab.
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    /// Writes a value that needs no encoding.
    fn plain(&mut self, value: &[u8]) {
        self.0.push(b'\t');
        self.0.extend_from_slice(value);
    }

    fn none(&mut self) {
        self.plain(b"-");
    }

    fn number(&mut self, value: u64) {
        self.plain(itoa::Buffer::new().format(value).as_bytes());
    }

    fn optional(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.number(value),
            None => self.none(),
        }
    }

    /// Writes seconds with three decimals.
    fn seconds(&mut self, duration: std::time::Duration) {
        self.number(duration.as_secs());
        push_decimals::<3>(self.0, duration.subsec_millis());
    }

    /// Writes an untrusted value: control characters, space, non-ASCII bytes and some others are
    /// percent-encoded.
    fn encoded(&mut self, value: Option<&[u8]>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let Some(value) = value.filter(|value| !value.is_empty()) else { return self.none() };
        self.0.push(b'\t');
        for byte in value {
            if *byte <= 32 || *byte >= 127 || b"<>\"#%{}|\\^~[]`'".contains(byte) {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                self.0.extend_from_slice(&[b'%', high, low]);
            } else {
                self.0.push(*byte);
            }
        }
    }
}

/// The final result, which is an error if the viewer disconnected before the last byte.
fn after(record: &Record<'_>) -> ResultType {
    if record.complete { record.result } else { ResultType::Error }
}

/// `x-edge-detailed-result-type`, which has more detail for errors.
fn detailed(record: &Record<'_>) -> &'static str {
    if record.status == 0 {
        return "ClientHungUpRequest";
    }
    if !record.complete {
        return "ClientCommError";
    }
    if record.result == ResultType::Miss && record.report.detail == Some(PEER_HIT) {
        return PEER_HIT;
    }
    if record.result != ResultType::Error {
        return record.result.name();
    }
    match record.report.detail.unwrap_or_default() {
        "origin-dns" => "OriginDnsError",
        "origin-connect" => "OriginConnectError",
        "origin-tls" | "origin-timeout" | "origin-connection" => "OriginCommError",
        "origin-read" => "OriginReadError",
        "origin-range-mismatch" => "OriginContentRangeLengthError",
        "origin-error" | "origin-configuration" | "origin-kms" | "origin-throttled" => {
            "OriginError"
        }
        "country-denied" => "ClientGeoBlocked",
        "method" => "InvalidRequestMethod",
        "head-too-large" => "InvalidRequestHeader",
        "address-denied" | "referer-denied" | "rate-limited" | "https-only" => {
            "InvalidRequestBlocked"
        }
        detail if detail.starts_with("signed-") => "InvalidRequestBlocked",
        _ if record.report.status == CacheStatus::Local => "InvalidRequest",
        _ => "OriginError",
    }
}

pub(super) const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine<'a>([&'a str; FIELDS]);

impl<'a> LogLine<'a> {
    /// Parses a line; `None` if it is a comment or does not have 33 fields.
    #[must_use]
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let fields: Vec<&str> = line.trim_end_matches(['\r', '\n']).split('\t').collect();
        fields.try_into().ok().map(Self)
    }

    /// A decoded field by its position, counted from 1; `None` if it is missing or `-`.
    #[must_use]
    pub(crate) fn field(&self, place: usize) -> Option<Cow<'a, str>> {
        let text = *self.0.get(place.checked_sub(1)?)?;
        (text != "-").then(|| percent_decode_str(text).decode_utf8_lossy())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, Uri};

    use super::*;
    use crate::{base::clock::Timestamp, http::cache_status::Report};

    fn record<'a>(uri: &'a Uri, agent: &'a HeaderValue) -> Record<'a> {
        Record {
            id: b"id-1",
            at: Timestamp::from_millis(784_111_777_250),
            client: "192.0.2.1",
            method: &Method::GET,
            uri,
            host: Some(b"media.example.com"),
            version: Version::HTTP_2,
            tls: true,
            distribution: Some("media"),
            status: 200,
            bytes: 1000,
            complete: true,
            duration: Duration::from_micros(12_345),
            first_byte: Duration::from_millis(7),
            result: ResultType::Hit,
            report: Report::new(CacheStatus::Hit),
            range: None,
            referer: None,
            user_agent: Some(agent),
            detail: None,
        }
    }

    fn line(record: &Record<'_>) -> String {
        let detail = Detail {
            pop: "HEL1",
            head_bytes: 300,
            request_bytes: 120,
            port: Some(4711),
            tls: Some(("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            ..Detail::default()
        };
        let mut line = Vec::new();
        append(&mut line, record, &detail, "1994-11-06\t08:49:37");
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn a_line_is_cloudfronts() {
        let uri = Uri::from_static("/a%20b.jpg?Signature=abc&x=1");
        let agent = HeaderValue::from_bytes(b"Mozilla/5.0 (\xe9 \"x\")\t").expect("value");
        assert_eq!(
            line(&record(&uri, &agent)),
            "1994-11-06\t08:49:37\tHEL1\t1300\t192.0.2.1\tGET\tmedia.example.com\t/a%2520b.jpg\t200\t-\t\
             Mozilla/5.0%20(%E9%20%22x%22)%09\tSignature=REDACTED&x=1\t-\tHit\tid-1\tmedia.example.com\thttps\t\
             120\t0.012\t-\tTLSv1.3\tTLS_AES_128_GCM_SHA256\tHit\tHTTP/2.0\t-\t-\t4711\t0.007\tHit\t-\t-\t-\t-"
        );
        assert_eq!(HEAD.lines().nth(1).map(|fields| fields.split(' ').count()), Some(1 + FIELDS));
    }

    #[test]
    fn version_2_has_the_same_values_as_json() {
        let uri = Uri::from_static("/a.jpg?x=1");
        let agent = HeaderValue::from_bytes(b"\"quoted\" \\ \xe9\t").expect("value");
        let line = line(&record(&uri, &agent));
        let mut object = Vec::new();
        append_json(&mut object, line.as_bytes());
        let read: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&object).expect("JSON");
        let values: Vec<_> =
            NAMES.iter().map(|name| read[*name].as_str().expect("a text")).collect();
        assert_eq!((values.join("\t"), read.len()), (line, FIELDS));
        assert_eq!((&read["date"], &read["cs(Referer)"]), (&"1994-11-06".into(), &"-".into()));
        assert_eq!(read["cs(User-Agent)"], "%22quoted%22%20%5C%20%E9%09");
    }

    #[test]
    fn results_are_judged_before_and_after_the_last_byte() {
        let (uri, agent) = (Uri::from_static("/"), HeaderValue::from_static("a"));
        let fields = |change: &dyn Fn(&mut Record<'_>)| {
            let mut record = record(&uri, &agent);
            change(&mut record);
            let line = line(&record);
            let line = LogLine::parse(&line).expect("33 fields");
            [9, 14, 23, 29].map(|place| line.field(place).unwrap_or_default().into_owned())
        };
        assert_eq!(fields(&|_| {}), ["200", "Hit", "Hit", "Hit"]);
        assert_eq!(fields(&|r| r.complete = false), ["200", "Error", "Hit", "ClientCommError"]);
        assert_eq!(
            fields(&|r| (r.status, r.complete, r.result) = (0, false, ResultType::Error)),
            ["000", "Error", "Error", "ClientHungUpRequest"]
        );
        for (detail, expected) in [
            ("origin-dns", "OriginDnsError"),
            ("country-denied", "ClientGeoBlocked"),
            ("signed-expired", "InvalidRequestBlocked"),
            ("bad-host", "InvalidRequest"),
        ] {
            let logged = fields(&|r| {
                (r.status, r.result) = (403, ResultType::Error);
                r.report = Report { detail: Some(detail), ..Report::new(CacheStatus::Local) };
            });
            assert_eq!(logged, ["403", "Error", "Error", expected]);
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let uri = Uri::from_static("/a%20b.jpg?x=1");
        let agent = HeaderValue::from_static("a b%");
        let text = line(&record(&uri, &agent));
        let line = LogLine::parse(&text).expect("33 fields");
        assert_eq!(line.field(8).as_deref(), Some("/a%20b.jpg"));
        assert_eq!(line.field(11).as_deref(), Some("a b%"));
        assert_eq!((line.field(10), line.field(34), line.field(0)), (None, None, None));
        for text in ["#Version: 1.0", "a\tb", &format!("{text}\tmore")] {
            assert_eq!(LogLine::parse(text), None, "{text}");
        }
    }
}

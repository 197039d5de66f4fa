//! Requests in access logs: Forebay's JSON, both versions of CloudFront's standard log, and `combined`.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

use super::LogLine;
use crate::base::clock::Timestamp;

const DATE_AND_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const COMBINED: &[BorrowedFormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// A request from a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedRequest {
    /// When it arrived. CloudFront and `combined` log whole seconds.
    pub(crate) time: Option<Timestamp>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) status: Option<u16>,
    /// Bytes of content sent.
    pub(crate) bytes: u64,
    /// The requested range, as in `Range`.
    pub(crate) range: Option<String>,
}

/// A line of Forebay's JSON.
#[derive(Deserialize)]
struct Own {
    time: Option<String>,
    method: String,
    path: String,
    query: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    bytes: u64,
    range: Option<String>,
}

/// A line of version 2 of CloudFront's standard log, as JSON. Values are percent-encoded, as in version 1.
#[derive(Deserialize)]
struct CloudFrontV2 {
    date: String,
    time: String,
    #[serde(rename = "cs-method")]
    method: String,
    #[serde(rename = "cs-uri-stem")]
    stem: String,
    #[serde(rename = "cs-uri-query")]
    query: Option<String>,
    #[serde(rename = "sc-status")]
    status: String,
    #[serde(rename = "sc-bytes")]
    bytes: Option<String>,
    #[serde(rename = "sc-content-len")]
    length: Option<String>,
    #[serde(rename = "sc-range-start")]
    first: Option<String>,
    #[serde(rename = "sc-range-end")]
    last: Option<String>,
}

impl LoggedRequest {
    /// Reads a line; `None` if it is in no known format.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        if line.starts_with('{') {
            return serde_json::from_str(line)
                .map(Self::of_own)
                .or_else(|_| serde_json::from_str(line).map(Self::of_version_2))
                .ok();
        }
        match LogLine::parse(line) {
            Some(line) => Self::of_version_1(&line),
            None => Self::of_combined(line),
        }
    }

    /// The last byte of the object that was sent, if only a part was. Unknown if the last bytes were requested, however many.
    pub(crate) fn last_byte(&self) -> Option<u64> {
        let range = self.range.as_ref().filter(|_| self.status == Some(206))?;
        let (first, _) = range.strip_prefix("bytes=")?.split_once('-')?;
        first.parse::<u64>().ok()?.checked_add(self.bytes.checked_sub(1)?)
    }

    fn of_own(own: Own) -> Self {
        let Own { time, method, path, query, status, bytes, range } = own;
        let time = time.and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok());
        Self { time: time.and_then(timestamp), method, path, query, status, bytes, range }
    }

    fn of_version_2(line: CloudFrontV2) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let known = |text: Option<String>| text.filter(|text| text != "-");
        let bytes = known(line.length).or(line.bytes);
        Self {
            time: moment(&line.date, &line.time),
            method: line.method,
            path: decoded(&line.stem),
            query: known(line.query).as_deref().map(decoded),
            status: line.status.parse().ok(),
            bytes: bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
            range: range(line.first.as_deref(), line.last.as_deref()),
        }
    }

    fn of_version_1(line: &LogLine<'_>) -> Option<Self> {
        // Positions of the fields, from 1.
        let [date, time, bytes, method, stem, status, query, length, first, last] =
            [1, 2, 4, 6, 8, 9, 12, 31, 32, 33];
        let field = |place| line.field(place).map(std::borrow::Cow::into_owned);
        let bytes = field(length).or_else(|| field(bytes));
        Some(Self {
            time: moment(&field(date)?, &field(time)?),
            method: field(method)?,
            path: field(stem)?,
            query: field(query),
            status: field(status).and_then(|status| status.parse().ok()),
            bytes: bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
            range: range(field(first).as_deref(), field(last).as_deref()),
        })
    }

    /// `host ident user [time] "request" status bytes …`
    fn of_combined(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(" [")?;
        let (time, rest) = rest.split_once("] \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut words = request.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let mut numbers = rest.split(' ');
        let (status, bytes) = (numbers.next()?, numbers.next()?);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Some(Self {
            time: timestamp(OffsetDateTime::parse(time, COMBINED).ok()?),
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            status: Some(status.parse().ok()?),
            // nginx writes 0, Apache `-`.
            bytes: bytes.parse().unwrap_or_default(),
            range: None,
        })
    }
}

fn range(first: Option<&str>, last: Option<&str>) -> Option<String> {
    let number = |text: Option<&str>| text?.parse::<u64>().ok();
    Some(format!("bytes={}-{}", number(first)?, number(last)?))
}

fn moment(date: &str, time: &str) -> Option<Timestamp> {
    let moment = PrimitiveDateTime::parse(&format!("{date} {time}"), DATE_AND_TIME).ok()?;
    timestamp(moment.assume_utc())
}

fn timestamp(time: OffsetDateTime) -> Option<Timestamp> {
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_the_same_request() {
        let expected = LoggedRequest {
            time: Some(Timestamp::from_secs(1_795_568_523)),
            method: "GET".into(),
            path: "/a%20b.jpg".into(),
            query: Some("x=1".into()),
            status: Some(206),
            bytes: 1234,
            range: None,
        };
        let ranged = LoggedRequest { range: Some("bytes=5-1238".into()), ..expected.clone() };
        for (line, expected) in [
            (
                r#"{"time":"2026-11-25T01:02:03.000Z","id":"i","method":"GET","path":"/a%20b.jpg","query":"x=1","status":206,"bytes":1234,"range":"bytes=5-1238"}"#,
                &ranged,
            ),
            (
                r#"{"date":"2026-11-25","time":"01:02:03","cs-method":"GET","cs-uri-stem":"/a%2520b.jpg","cs-uri-query":"x=1","sc-status":"206","sc-bytes":"1500","sc-content-len":"1234","sc-range-start":"5","sc-range-end":"1238"}"#,
                &ranged,
            ),
            (
                "2026-11-25\t01:02:03\tX\t1500\t127.0.0.1\tGET\th\t/a%2520b.jpg\t206\t-\t-\tx=1\t-\tHit\ti\th\thttp\t1\t0.001\t-\t-\t-\tHit\tHTTP/1.1\t-\t-\t1\t0.001\tHit\timage/jpeg\t1234\t5\t1238",
                &ranged,
            ),
            (
                r#"127.0.0.1 - - [25/Nov/2026:01:02:03 +0000] "GET /a%20b.jpg?x=1 HTTP/1.1" 206 1234 "-" "agent" Hit"#,
                &expected,
            ),
            (
                r#"127.0.0.1 - - [25/Nov/2026:03:02:03 +0200] "GET /a%20b.jpg?x=1 HTTP/1.1" 206 1234"#,
                &expected,
            ),
        ] {
            assert_eq!(LoggedRequest::parse(line).as_ref(), Some(expected), "{line}");
        }
        for line in ["", "text", "{\"a\":1}", "127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1"] {
            assert_eq!(LoggedRequest::parse(line), None, "{line}");
        }
        assert_eq!(ranged.last_byte(), Some(1238));
        for (range, status, last) in [
            ("bytes=5-", 206, Some(1238)),
            ("bytes=5-18446744073709551615", 206, Some(1238)),
            ("bytes=-5", 206, None),
            ("bytes=18446744073709551615-", 206, None),
            ("bytes=5-9", 200, None),
        ] {
            let range = Some(range.to_owned());
            let request = LoggedRequest { range, status: Some(status), ..expected.clone() };
            assert_eq!(request.last_byte(), last, "{request:?}");
        }
    }

    #[test]
    fn milliseconds_are_kept() {
        let line = r#"{"time":"2026-11-25T01:02:03.456Z","method":"GET","path":"/"}"#;
        let request = LoggedRequest::parse(line).expect("a request");
        assert_eq!(request.time, Some(Timestamp::from_millis(1_795_568_523_456)));
    }
}

//! Requests in access logs: Forebay's JSON, both versions of CloudFront's standard log, and `combined`.

use serde::Deserialize;
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

use crate::access_log;

const DATE_AND_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const COMBINED: &[BorrowedFormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// A request from a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    /// In seconds since 1970.
    pub(super) second: i64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) status: u16,
    /// Bytes of content sent.
    pub(super) bytes: u64,
    /// The last byte of the object that was sent, if only a part was.
    pub(super) last: Option<u64>,
}

#[derive(Deserialize)]
struct Own {
    time: String,
    method: String,
    path: String,
    query: Option<String>,
    status: u16,
    bytes: u64,
    range: Option<String>,
}

#[derive(Deserialize)]
struct CloudFrontV2 {
    date: String,
    time: String,
    #[serde(rename = "cs-method")]
    method: String,
    #[serde(rename = "cs-uri-stem")]
    stem: String,
    #[serde(rename = "cs-uri-query", default)]
    query: Option<String>,
    #[serde(rename = "sc-status")]
    status: String,
    #[serde(rename = "sc-bytes")]
    bytes: String,
    #[serde(rename = "sc-content-len", default)]
    length: Option<String>,
    #[serde(rename = "sc-range-end", default)]
    range_end: Option<String>,
}

impl LogLine {
    pub(super) fn parse(line: &str) -> Option<Self> {
        if line.starts_with('{') {
            return Self::of_json(line);
        }
        match access_log::LogLine::parse(line) {
            Some(line) => Self::of_cloudfront(&line),
            None => Self::of_combined(line),
        }
    }

    fn of_json(line: &str) -> Option<Self> {
        if let Ok(own) = serde_json::from_str::<Own>(line) {
            let parse = OffsetDateTime::parse;
            let format = &time::format_description::well_known::Rfc3339;
            let second = parse(&own.time, format).ok()?.unix_timestamp();
            let Own { method, path, query, status, bytes, range, .. } = own;
            // A range from an offset to the end, or of the last bytes, says nothing about the length.
            let last = range.filter(|_| status == 206);
            let last = last.and_then(|range| range.rsplit_once('-')?.1.parse().ok());
            return Some(Self { second, method, path, query, status, bytes, last });
        }
        let line: CloudFrontV2 = serde_json::from_str(line).ok()?;
        let known = |text: Option<String>| text.filter(|text| text != "-");
        let bytes = known(line.length).unwrap_or(line.bytes);
        let last = known(line.range_end).and_then(|last| last.parse().ok());
        Some(Self {
            second: second_of(&line.date, &line.time)?,
            method: line.method,
            path: line.stem,
            query: known(line.query),
            status: line.status.parse().ok()?,
            bytes: bytes.parse().ok()?,
            last,
        })
    }

    fn of_cloudfront(line: &access_log::LogLine<'_>) -> Option<Self> {
        // Positions of the fields, from 1.
        let [date, time, bytes, method, stem, status, query, length, last] =
            [1, 2, 4, 6, 8, 9, 12, 31, 33];
        let field = |place| line.field(place).map(std::borrow::Cow::into_owned);
        let bytes = field(length).or_else(|| field(bytes))?;
        Some(Self {
            second: second_of(&field(date)?, &field(time)?)?,
            method: field(method)?,
            path: field(stem)?,
            query: field(query),
            status: field(status)?.parse().ok()?,
            bytes: bytes.parse().ok()?,
            last: field(last).and_then(|last| last.parse().ok()),
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
            second: OffsetDateTime::parse(time, COMBINED).ok()?.unix_timestamp(),
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            status: status.parse().ok()?,
            // nginx writes 0, Apache `-`.
            bytes: bytes.parse().unwrap_or_default(),
            last: None,
        })
    }
}

fn second_of(date: &str, time: &str) -> Option<i64> {
    let moment = PrimitiveDateTime::parse(&format!("{date} {time}"), DATE_AND_TIME).ok()?;
    Some(moment.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_the_same_request() {
        let expected = LogLine {
            second: 1_795_568_523,
            method: "GET".into(),
            path: "/a.jpg".into(),
            query: Some("x=1".into()),
            status: 200,
            bytes: 1234,
            last: None,
        };
        for line in [
            r#"{"time":"2026-11-25T01:02:03.456Z","id":"i","method":"GET","path":"/a.jpg","query":"x=1","status":200,"bytes":1234}"#,
            r#"{"date":"2026-11-25","time":"01:02:03","cs-method":"GET","cs-uri-stem":"/a.jpg","cs-uri-query":"x=1","sc-status":"200","sc-bytes":"1500","sc-content-len":"1234"}"#,
            "2026-11-25\t01:02:03\tX\t1500\t127.0.0.1\tGET\th\t/a.jpg\t200\t-\t-\tx=1\t-\tHit\ti\th\thttp\t1\t0.001\t-\t-\t-\tHit\tHTTP/1.1\t-\t-\t1\t0.001\tHit\timage/jpeg\t1234\t-\t-",
            r#"127.0.0.1 - - [25/Nov/2026:01:02:03 +0000] "GET /a.jpg?x=1 HTTP/1.1" 200 1234 "-" "agent" Hit"#,
            r#"127.0.0.1 - - [25/Nov/2026:03:02:03 +0200] "GET /a.jpg?x=1 HTTP/1.1" 200 1234"#,
        ] {
            assert_eq!(LogLine::parse(line).as_ref(), Some(&expected), "{line}");
        }
        for line in ["", "text", "{\"a\":1}", "127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1"] {
            assert_eq!(LogLine::parse(line), None, "{line}");
        }
    }
}

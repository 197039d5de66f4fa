//! Compares two responses by what they mean.

use std::collections::BTreeSet;

use http::{HeaderName, StatusCode, header};

use super::{
    difference::{Class, Difference},
    meaning,
    probe::Probe,
    response::Response,
};

/// Fields that differ between any two servers, and why.
const EXPECTED: [(&[&str], &str); 4] = [
    (&["date", "age"], "when the server answered"),
    (
        &["x-cache", "x-cache-status", "x-cache-hits", "cache-status", "x-served-by"],
        "what the server's cache did",
    ),
    (
        &[
            "server",
            "server-timing",
            "via",
            "x-amz-cf-id",
            "x-amz-cf-pop",
            "x-amz-id-2",
            "x-amz-request-id",
            "x-powered-by",
            "x-request-id",
            "x-varnish",
        ],
        "which server answered, and its ID of the request",
    ),
    (
        &["connection", "keep-alive", "transfer-encoding", "alt-svc", "trailer"],
        "how the server sends",
    ),
];

/// Fields of S3 about the stored object, which viewers do not use.
const ABOUT_STORAGE: [&str; 5] = [
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-replication-status",
    "x-amz-version-id",
    "x-amz-expiration",
];

/// The reason if there is nothing to say about it.
pub(super) const DIFFERS: &str = "it differs";

/// Why error pages differ.
const OWN_PAGE: &str = "each server has its own error pages";

/// What is compared.
pub(super) struct Compared<'a> {
    pub(super) probe: Probe,
    /// The responses of the reference and of the candidate.
    pub(super) responses: [&'a Response; 2],
    /// The starts of their URLs.
    pub(super) bases: [&'a str; 2],
    /// Further fields that are not compared.
    pub(super) ignored: &'a [HeaderName],
    /// Whether the pages of errors must be the same.
    pub(super) with_error_pages: bool,
    /// Whether the request accepts compressed content.
    pub(super) accepts_encodings: bool,
}

/// The class of a difference, and why.
type Judgement = (Class, &'static str);

const fn wrong(reason: &'static str) -> Judgement {
    (Class::Wrong, reason)
}

const fn harmless(reason: &'static str) -> Judgement {
    (Class::Harmless, reason)
}

impl Compared<'_> {
    /// All differences.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let [one, other] = self.responses;
        let is_success = [one, other].map(|it| it.status.is_success());
        // Browsers accept any success for a preflight (Fetch Standard, CORS-preflight fetch).
        let is_same_status = one.status == other.status
            || (self.probe == Probe::Preflight && is_success == [true; 2]);
        if !is_same_status {
            // If the status differs, so does the rest.
            return vec![Difference {
                class: Class::Wrong,
                aspect: "status".into(),
                reason: self.why_status(),
                values: [one, other].map(|response| Some(status(response))),
            }];
        }
        let names: BTreeSet<&str> = [one, other]
            .iter()
            .flat_map(|response| response.fields.keys())
            .map(HeaderName::as_str)
            .collect();
        let names = names.into_iter().filter(|name| !self.ignored.iter().any(|it| it == name));
        let fields = names.filter_map(|name| self.field(name));
        self.content().into_iter().chain(fields).collect()
    }

    fn why_status(&self) -> &'static str {
        let statuses = self.responses.map(|response| response.status);
        let is_either = |status| statuses.contains(&status);
        if is_either(StatusCode::FORBIDDEN) && is_either(StatusCode::NOT_FOUND) {
            return "S3 answers 403 for a missing object if the credentials may not list the bucket";
        }
        if is_either(StatusCode::MISDIRECTED_REQUEST) {
            return "a server does not know this host: add -H 'Host: …', or name it in the URL and connect elsewhere";
        }
        DIFFERS
    }

    /// Whether both responses are errors or redirects, whose content only people read.
    fn is_page(&self) -> bool {
        let status = self.responses[0].status;
        if status.is_redirection() {
            return status != StatusCode::NOT_MODIFIED;
        }
        !self.with_error_pages && (status.is_client_error() || status.is_server_error())
    }

    fn is_multipart(&self) -> bool {
        self.responses.iter().all(|response| {
            let kind = response.text("content-type").unwrap_or_default();
            kind.to_ascii_lowercase().starts_with("multipart/byteranges")
        })
    }

    fn content(&self) -> Option<Difference> {
        let [one, other] = self.responses;
        let has_none = matches!(self.probe, Probe::Preflight | Probe::Head);
        if has_none || one.has_content_of(other) {
            return None;
        }
        let (class, reason) = if self.is_page() {
            (Class::Harmless, OWN_PAGE)
        } else if self.is_multipart() {
            (Class::Harmless, "several ranges are separated by different boundaries")
        } else {
            (Class::Wrong, DIFFERS)
        };
        let values = [one, other].map(|response| {
            let content = response.contents.decompressed.unwrap_or(response.contents.sent);
            let [a, b, c, d, ..] = content.digest;
            Some(match class {
                Class::Wrong => {
                    format!("{} bytes, SHA-256 {a:02x}{b:02x}{c:02x}{d:02x}…", content.length)
                }
                _ => format!("{} bytes", content.length),
            })
        });
        Some(Difference { class, aspect: "content".into(), reason, values })
    }

    fn field(&self, name: &str) -> Option<Difference> {
        let values = self.responses.map(|response| response.text(name));
        if values[0] == values[1] {
            return None;
        }
        let (class, reason) = match EXPECTED.iter().find(|(names, _)| names.contains(&name)) {
            Some((_, reason)) => (Class::Expected, *reason),
            None => self.judge(name, &values)?,
        };
        Some(Difference { class, aspect: name.to_owned(), reason, values })
    }

    /// The class of a difference between the values of a field; `None` if they mean the same.
    fn judge(&self, name: &str, values: &[Option<String>; 2]) -> Option<Judgement> {
        let [one, other] = self.responses;
        let is_one_missing = values.iter().any(Option::is_none);
        if let [Some(a), Some(b)] = values
            && meaning::is_same(name, [(a, one), (b, other)], self.bases)
        {
            return None;
        }
        match one.status {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Some(harmless("clients ignore the other fields of a 416"));
            }
            // RFC 9110 §15.4.5 requires only these, and the client has the rest.
            StatusCode::NOT_MODIFIED
                if is_one_missing
                    && !["cache-control", "content-location", "etag", "expires", "vary"]
                        .contains(&name) =>
            {
                return Some(harmless("a 304 need not repeat it"));
            }
            _ => {}
        }
        if self.probe == Probe::Preflight && !name.starts_with("access-control-") {
            return Some(harmless("browsers read only the Access-Control fields of a preflight"));
        }
        Some(match name {
            "content-encoding" => return self.judge_coding(),
            // The content differs, too.
            "content-length" if self.probe != Probe::Head && !one.has_content_of(other) => {
                return None;
            }
            "content-length" if one.is_encoded() || other.is_encoded() => {
                harmless("the content is compressed")
            }
            "content-length" if is_one_missing => harmless("one server uses chunked encoding"),
            "content-type" | "content-length" | "content-language" | "accept-ranges" | "etag"
            | "last-modified" | "vary"
                if self.is_page() =>
            {
                harmless(OWN_PAGE)
            }
            "content-type" if self.is_multipart() => {
                harmless("several ranges are separated by different boundaries")
            }
            "etag" => self.judge_tag(values),
            "vary" => self.judge_vary(values),
            "set-cookie" if meaning::set_same_cookies(self.responses) => {
                harmless("the same cookies have other values")
            }
            "accept-ranges" if is_one_missing => harmless("responses to ranges are compared"),
            _ if ABOUT_STORAGE.contains(&name) => harmless("it is about how S3 stores the object"),
            _ => wrong(DIFFERS),
        })
    }

    fn judge_coding(&self) -> Option<Judgement> {
        let [one, other] = self.responses;
        if !self.accepts_encodings {
            return Some(wrong("content is compressed without Accept-Encoding in the request"));
        }
        // Otherwise the content differs, too.
        one.has_content_of(other).then_some(harmless("only the compression differs"))
    }

    fn judge_tag(&self, values: &[Option<String>; 2]) -> Judgement {
        let [Some(one), Some(other)] = values else { return wrong(DIFFERS) };
        let is_weak = |tag: &str| tag.starts_with("W/");
        let is_fine = self
            .responses
            .iter()
            .zip([one, other])
            .all(|(response, tag)| is_weak(tag) == response.is_encoded());
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        if is_fine && opaque(one) == opaque(other) {
            return harmless("only the compressed content has a weak entity tag");
        }
        wrong(DIFFERS)
    }

    fn judge_vary(&self, values: &[Option<String>; 2]) -> Judgement {
        let sets = values.each_ref().map(|it| meaning::tokens(it.as_deref().unwrap_or_default()));
        let differing: Vec<&String> = sets[0].symmetric_difference(&sets[1]).collect();
        if differing != [header::ACCEPT_ENCODING.as_str()] {
            return wrong(DIFFERS);
        }
        let mut lacking = self.responses.iter().zip(&sets);
        let is_unsafe = lacking.any(|(response, set)| {
            response.is_encoded() && !set.contains(header::ACCEPT_ENCODING.as_str())
        });
        if is_unsafe {
            return wrong("caches may send compressed content to clients that do not accept it");
        }
        harmless("only a server that compresses varies by Accept-Encoding")
    }
}

/// A status, with the location of a redirect.
fn status(response: &Response) -> String {
    match response.text("location") {
        Some(location) if response.status.is_redirection() => {
            format!("{} to {location}", response.status)
        }
        _ => response.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::diff::content_digest::{Content, Contents};

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn response(status: u16, content: u8, fields: Fields<'_>) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).expect("value"));
        }
        let sent = Content { digest: [content; 32], length: 9 };
        Response {
            status: StatusCode::from_u16(status).expect("status"),
            fields: map,
            contents: Contents { sent, decompressed: Some(Content { digest: [9; 32], length: 9 }) },
            first_byte: Duration::ZERO,
        }
    }

    fn classes(probe: Probe, one: &Response, other: &Response) -> Vec<(Class, String)> {
        let compared = Compared {
            probe,
            responses: [one, other],
            bases: ["https://a.example", "http://127.0.0.1:8080"],
            ignored: &[HeaderName::from_static("x-ignored")],
            with_error_pages: false,
            accepts_encodings: probe == Probe::AcceptEncoding,
        };
        compared.differences().into_iter().map(|it| (it.class, it.aspect)).collect()
    }

    #[test]
    fn values_with_the_same_meaning_are_alike() {
        let date = ("date", "Wed, 25 Nov 2026 01:00:00 GMT");
        let later = ("date", "Wed, 25 Nov 2026 02:00:00 GMT");
        let pairs: [(Fields<'_>, Fields<'_>); 12] = [
            (&[("cache-control", "public, max-age=60")], &[("cache-control", "max-age=60,Public")]),
            (&[("vary", "Origin"), ("vary", "Accept")], &[("vary", "accept, origin")]),
            (
                &[("content-type", "text/html; charset=UTF-8")],
                &[("content-type", "text/html;charset=\"utf-8\"")],
            ),
            (&[("content-type", "application/javascript")], &[("content-type", "text/javascript")]),
            (&[("location", "https://a.example/x?y")], &[("location", "https://127.0.0.1/x?y")]),
            (&[("location", "http://a.example")], &[("location", "/")]),
            (&[("x-ignored", "1")], &[]),
            (&[date, ("expires", "0")], &[date, ("expires", "Thu, 01 Jan 1970 00:00:00 GMT")]),
            (
                &[date, ("expires", "Wed, 25 Nov 2026 01:01:00 GMT")],
                &[later, ("expires", "Wed, 25 Nov 2026 02:01:01 GMT")],
            ),
            (
                &[("strict-transport-security", "max-age=5; includeSubDomains")],
                &[("strict-transport-security", "max-age=5;includesubdomains")],
            ),
            (
                &[("access-control-allow-headers", "Range, ETag")],
                &[("access-control-allow-headers", "etag,range")],
            ),
            (
                &[("access-control-allow-methods", "GET, HEAD")],
                &[("access-control-allow-methods", "HEAD,GET")],
            ),
        ];
        for (one, other) in pairs {
            let found = classes(Probe::Get, &response(200, 1, one), &response(200, 1, other));
            assert!(found.iter().all(|(class, _)| *class == Class::Expected), "{one:?}: {found:?}");
        }
    }

    #[test]
    fn each_difference_of_a_field_has_its_class() {
        use Class::{Harmless, Wrong};
        const NONE: (&str, &str) = ("x-ignored", "");
        let methods = "access-control-allow-methods";
        let credentials = "access-control-allow-credentials";
        for (probe, status, one, other, expected) in [
            (Probe::Get, 200, ("content-type", "text/html"), ("content-type", "text/plain"), Wrong),
            (
                Probe::Get,
                200,
                ("content-language", "caf\u{e9}"),
                ("content-language", "cafe"),
                Wrong,
            ),
            (Probe::Get, 200, ("vary", "accept-encoding, origin"), ("vary", "origin"), Harmless),
            (Probe::Get, 200, ("vary", "origin"), ("vary", "accept"), Wrong),
            (Probe::Get, 200, ("etag", "\"a\""), ("etag", "W/\"a\""), Wrong),
            (Probe::Get, 200, (methods, "PATCH"), (methods, "patch"), Wrong),
            (Probe::Get, 200, (credentials, "true"), (credentials, "TRUE"), Wrong),
            (
                Probe::Get,
                200,
                ("set-cookie", "a=1; Path=/"),
                ("set-cookie", "a=2; Path=/"),
                Harmless,
            ),
            (Probe::Get, 200, ("set-cookie", "a=1"), ("set-cookie", "b=1"), Wrong),
            (Probe::Get, 200, ("set-cookie", "a=1"), NONE, Wrong),
            (Probe::Get, 200, ("set-cookie", "a=1; Secure"), ("set-cookie", "a=2"), Wrong),
            (Probe::Get, 200, ("x-amz-version-id", "1"), NONE, Harmless),
            (Probe::Get, 404, ("etag", "\"a\""), NONE, Harmless),
            (Probe::Get, 404, ("cache-control", "no-store"), NONE, Wrong),
            (Probe::Get, 301, ("location", "https://a.example.org/x"), ("location", "/x"), Wrong),
            (Probe::Get, 301, ("location", "http://a.example/x"), ("location", "/x?"), Wrong),
            (
                Probe::Get,
                301,
                ("location", "https://a.example/x"),
                ("location", "https://127.0.0.1:8443/x"),
                Wrong,
            ),
            (Probe::Get, 301, ("location", "/x#a"), ("location", "/x#b"), Wrong),
            (Probe::Get, 200, ("content-encoding", "gzip"), NONE, Wrong),
            (Probe::BeyondTheEnd, 416, ("content-range", "bytes */9"), NONE, Harmless),
            (Probe::IfNoneMatch, 304, ("last-modified", "x"), NONE, Harmless),
            (Probe::IfNoneMatch, 304, ("cache-control", "no-cache"), NONE, Wrong),
            (Probe::Head, 200, ("content-length", "9"), ("content-length", "8"), Wrong),
            (Probe::Get, 200, ("content-length", "9"), NONE, Harmless),
            (Probe::Preflight, 200, ("content-type", "text/html"), NONE, Harmless),
            (Probe::Preflight, 200, ("access-control-max-age", "1"), NONE, Wrong),
        ] {
            // What is compressed in another way is the same after it is decompressed.
            let content = if one.0 == "content-encoding" { 9 } else { 1 };
            let (one, other) = ([one], [other]);
            let responses = [response(status, 1, &one), response(status, content, &other)];
            let found = classes(probe, &responses[0], &responses[1]);
            assert_eq!(found, [(expected, one[0].0.to_owned())], "{status} {one:?} {other:?}");
        }
    }

    #[test]
    fn compression_is_harmless_if_caches_can_tell() {
        use Class::{Harmless, Wrong};
        let gzip = ("content-encoding", "gzip");
        let vary = ("vary", "Accept-Encoding");
        let of = |one: Fields<'_>, other: Fields<'_>| {
            classes(Probe::AcceptEncoding, &response(200, 1, one), &response(200, 9, other))
        };
        let named = |class, name: &str| vec![(class, name.to_owned())];
        assert_eq!(of(&[gzip], &[]), named(Harmless, "content-encoding"));
        let both = [(Harmless, "content-encoding".to_owned()), (Harmless, "vary".to_owned())];
        assert_eq!(of(&[gzip, vary], &[]), both);
        assert_eq!(of(&[gzip, vary], &[gzip]), named(Wrong, "vary"));
        let tags = |one, other| of(&[gzip, ("etag", one)], &[("etag", other)]).pop();
        assert_eq!(tags("W/\"a\"", "\"a\""), Some((Harmless, "etag".to_owned())));
        assert_eq!(tags("\"a\"", "W/\"a\""), Some((Wrong, "etag".to_owned())));
        // Compressed content that is sent as if it were not.
        let sent =
            classes(Probe::AcceptEncoding, &response(200, 1, &[gzip]), &response(200, 1, &[]));
        assert_eq!(sent, named(Wrong, "content"));
    }

    #[test]
    fn statuses_and_content_have_their_class() {
        use Class::{Harmless, Wrong};
        let of = |probe, one: (u16, u8), other: (u16, u8)| {
            let length: Fields<'_> = &[("content-length", "9")];
            let responses = [response(one.0, one.1, length), response(other.0, other.1, &[])];
            classes(probe, &responses[0], &responses[1])
        };
        let named = |class, name: &str| vec![(class, name.to_owned())];
        assert_eq!(of(Probe::Get, (200, 1), (200, 2)), named(Wrong, "content"));
        assert_eq!(of(Probe::Missing, (404, 1), (404, 2)), named(Harmless, "content"));
        assert_eq!(of(Probe::Missing, (403, 1), (404, 2)), named(Wrong, "status"));
        assert_eq!(of(Probe::Preflight, (200, 1), (204, 2)), named(Harmless, "content-length"));
        assert_eq!(of(Probe::Preflight, (200, 1), (403, 2)), named(Wrong, "status"));
    }
}

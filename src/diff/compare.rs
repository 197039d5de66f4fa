//! Compares two responses by what they mean.

use std::collections::BTreeSet;

use http::{HeaderName, StatusCode};

use super::{
    difference::{Class, Difference},
    meaning,
    probe::Probe,
    seen::Seen,
};

/// Fields in which any two servers differ, and why.
const OWN: [(&[&str], &str); 4] = [
    (&["date", "age"], "when the server answered"),
    (
        &["x-cache", "x-cache-status", "x-cache-hits", "cache-status", "x-served-by"],
        "what the server's cache did",
    ),
    (
        &[
            "server",
            "via",
            "x-amz-cf-id",
            "x-amz-cf-pop",
            "x-amz-request-id",
            "x-amz-id-2",
            "x-request-id",
            "x-varnish",
            "server-timing",
        ],
        "names of the server and the request",
    ),
    (
        &["connection", "keep-alive", "transfer-encoding", "alt-svc", "trailer"],
        "how the server sends",
    ),
];

/// What is compared.
pub(super) struct Compared<'a> {
    pub(super) probe: Probe,
    /// The responses of the reference and of the candidate.
    pub(super) seen: [&'a Seen; 2],
    /// The starts of their URLs.
    pub(super) bases: [&'a str; 2],
    /// Further fields that are not compared.
    pub(super) ignored: &'a [HeaderName],
}

impl Compared<'_> {
    /// All differences.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let [one, other] = self.seen;
        if one.status != other.status {
            let values = [one, other].map(|seen| seen.status.to_string());
            // Of different kinds of responses, the rest differs, too.
            return vec![Difference {
                class: Class::Wrong,
                place: "status".into(),
                reason: self.why_status(),
                values,
            }];
        }
        let names: BTreeSet<&str> = [one, other]
            .iter()
            .flat_map(|seen| seen.fields.keys())
            .map(HeaderName::as_str)
            .collect();
        let names = names.into_iter().filter(|name| !self.ignored.iter().any(|it| it == name));
        let fields = names.filter_map(|name| self.field(name));
        self.content().into_iter().chain(fields).collect()
    }

    fn why_status(&self) -> &'static str {
        let statuses = self.seen.map(|seen| seen.status);
        let is_either = |status| statuses.contains(&status);
        if is_either(StatusCode::FORBIDDEN) && is_either(StatusCode::NOT_FOUND) {
            return "S3 answers 403 for a missing object if the credentials may not list the bucket";
        }
        if is_either(StatusCode::MISDIRECTED_REQUEST) {
            return "the server does not know this host: name it in the URL, or with -H 'Host: …'";
        }
        "viewers get another status"
    }

    /// Whether both responses are errors or redirects, whose content only people read.
    fn is_page(&self) -> bool {
        let status = self.seen[0].status;
        status.is_client_error() || status.is_server_error() || status.is_redirection()
    }

    fn content(&self) -> Option<Difference> {
        let [one, other] = self.seen;
        if one.digest == other.digest || self.probe == Probe::Preflight {
            return None;
        }
        let (class, reason) = if self.is_page() {
            (Class::Harmless, "each server writes its own page")
        } else {
            (Class::Wrong, "viewers get other content")
        };
        let values = [one, other].map(|seen| {
            let [a, b, c, d, ..] = seen.digest;
            format!("{} bytes, SHA-256 {a:02x}{b:02x}{c:02x}{d:02x}…", seen.length)
        });
        Some(Difference { class, place: "content".into(), reason, values })
    }

    fn field(&self, name: &str) -> Option<Difference> {
        let texts = self.seen.map(|seen| seen.text(name));
        if texts[0] == texts[1] {
            return None;
        }
        let (class, reason) = match OWN.iter().find(|(names, _)| names.contains(&name)) {
            Some((_, reason)) => (Class::Expected, *reason),
            None => self.judge(name, &texts)?,
        };
        let values = texts.map(|text| text.unwrap_or_else(|| "none".into()));
        Some(Difference { class, place: name.to_owned(), reason, values })
    }

    /// The class of a difference between the values of a field; `None` if they mean the same.
    fn judge(&self, name: &str, texts: &[Option<String>; 2]) -> Option<(Class, &'static str)> {
        let [one, other] = self.seen;
        let is_encoded = one.is_encoded() || other.is_encoded();
        let (status, is_one_missing) = (one.status, texts.iter().any(Option::is_none));
        let harmless = |reason| Some((Class::Harmless, reason));
        let wrong = |reason| Some((Class::Wrong, reason));
        if let [Some(a), Some(b)] = texts
            && meaning::is_same(name, [(a, one), (b, other)], self.bases)
        {
            return None;
        }
        match name {
            _ if status == StatusCode::RANGE_NOT_SATISFIABLE => {
                harmless("of a 416, viewers use only the status")
            }
            "content-encoding" if self.probe == Probe::AcceptEncoding => {
                harmless("the content is the same; only its compression differs")
            }
            "content-encoding" => wrong("only a request with Accept-Encoding allows compression"),
            // The content differs, too.
            "content-length" if one.digest != other.digest => None,
            "content-length" if is_encoded => harmless("the content is compressed"),
            "content-length" if is_one_missing => {
                harmless("the end of the content is marked in another way")
            }
            "etag" if is_encoded && meaning::is_weakly_same(texts) => {
                harmless("compressed content has a weak entity tag")
            }
            "vary" if varies_by_encoding(texts) => {
                harmless("only a server that compresses varies by Accept-Encoding")
            }
            "content-type" | "content-length" | "content-language" | "accept-ranges" | "etag"
            | "last-modified" | "vary"
                if self.is_page() && status != StatusCode::NOT_MODIFIED =>
            {
                harmless("each server writes its own page")
            }
            // RFC 9110 §15.4.5 requires only these, and the client has the rest.
            _ if status == StatusCode::NOT_MODIFIED
                && is_one_missing
                && !["cache-control", "content-location", "etag", "expires", "vary"]
                    .contains(&name) =>
            {
                harmless("a 304 need not repeat it")
            }
            "accept-ranges" if is_one_missing => harmless("ranges are compared by their responses"),
            "allow" => harmless("preflights are compared by their Access-Control fields"),
            _ if self.probe == Probe::Preflight && !name.starts_with("access-control-") => {
                harmless("browsers read only the Access-Control fields of a preflight")
            }
            _ => wrong("viewers may behave differently"),
        }
    }
}

/// Whether two values of Vary differ in Accept-Encoding only.
fn varies_by_encoding(texts: &[Option<String>; 2]) -> bool {
    let sets = texts.each_ref().map(|text| meaning::tokens(text.as_deref().unwrap_or_default()));
    let differing: Vec<&String> = sets[0].symmetric_difference(&sets[1]).collect();
    differing == ["accept-encoding"]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn seen(status: u16, content: u8, fields: &[(&'static str, &str)]) -> Seen {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).expect("value"));
        }
        let status = StatusCode::from_u16(status).expect("status");
        let (digest, first_byte) = ([content; 32], Duration::ZERO);
        Seen { status, fields: map, digest, length: 9, first_byte }
    }

    fn classes(probe: Probe, one: &Seen, other: &Seen) -> Vec<(Class, String)> {
        let bases = ["https://a.example", "http://127.0.0.1:8080"];
        let ignored = [HeaderName::from_static("x-ignored")];
        let compared = Compared { probe, seen: [one, other], bases, ignored: &ignored };
        compared.differences().into_iter().map(|it| (it.class, it.place)).collect()
    }

    #[test]
    fn values_with_the_same_meaning_are_alike() {
        let date = ("date", "Wed, 25 Nov 2026 01:00:00 GMT");
        let later = ("date", "Wed, 25 Nov 2026 02:00:00 GMT");
        for (one, other) in [
            (
                vec![("cache-control", "public, max-age=60")],
                vec![("cache-control", "max-age=60,Public")],
            ),
            (vec![("vary", "Origin"), ("vary", "Accept")], vec![("vary", "accept, origin")]),
            (
                vec![("content-type", "text/html; charset=UTF-8")],
                vec![("content-type", "text/html;charset=\"utf-8\"")],
            ),
            (vec![("location", "https://a.example/x?y")], vec![("location", "/x?y")]),
            (vec![("location", "https://a.example")], vec![("location", "http://127.0.0.1:8080/")]),
            (vec![("x-ignored", "1")], vec![]),
            (
                vec![date, ("expires", "Wed, 25 Nov 2026 01:01:00 GMT")],
                vec![later, ("expires", "Wed, 25 Nov 2026 02:01:01 GMT")],
            ),
        ] {
            let (a, b) = (seen(301, 1, &one), seen(301, 1, &other));
            let found = classes(Probe::Get, &a, &b);
            assert!(found.iter().all(|(class, _)| *class == Class::Expected), "{one:?}: {found:?}");
        }
    }

    #[test]
    fn each_difference_has_its_class() {
        use Class::{Harmless, Wrong};
        let gzip = ("content-encoding", "gzip");
        for (probe, status, one, other, expected) in [
            (Probe::Get, 200, ("content-type", "text/html"), ("content-type", "text/plain"), Wrong),
            (Probe::Get, 200, ("location", "https://a.example.org/x"), ("location", "/x"), Wrong),
            (Probe::Get, 200, ("vary", "accept-encoding, origin"), ("vary", "origin"), Harmless),
            (Probe::Get, 200, ("vary", "origin"), ("vary", "accept"), Wrong),
            (Probe::Get, 200, ("etag", "\"a\""), ("etag", "W/\"a\""), Wrong),
            (Probe::Get, 404, ("etag", "\"a\""), ("x-ignored", ""), Harmless),
            (Probe::Get, 404, ("cache-control", "no-store"), ("x-ignored", ""), Wrong),
            (Probe::Get, 200, gzip, ("x-ignored", ""), Wrong),
            (Probe::AcceptEncoding, 200, gzip, ("x-ignored", ""), Harmless),
            (Probe::BeyondTheEnd, 416, ("content-range", "bytes */9"), ("x-ignored", ""), Harmless),
            (Probe::IfNoneMatch, 304, ("last-modified", "x"), ("x-ignored", ""), Harmless),
            (Probe::IfNoneMatch, 304, ("cache-control", "no-cache"), ("x-ignored", ""), Wrong),
            (Probe::Head, 200, ("content-length", "9"), ("content-length", "8"), Wrong),
            (Probe::Get, 200, ("content-length", "9"), ("x-ignored", ""), Harmless),
            (Probe::Preflight, 200, ("content-type", "text/html"), ("x-ignored", ""), Harmless),
            (Probe::Preflight, 200, ("access-control-max-age", "1"), ("x-ignored", ""), Wrong),
        ] {
            let found = classes(probe, &seen(status, 1, &[one]), &seen(status, 1, &[other]));
            assert_eq!(found, [(expected, one.0.to_owned())], "{status} {one:?} {other:?}");
        }
        let (a, b) = (seen(200, 1, &[("content-length", "9")]), seen(200, 2, &[]));
        assert_eq!(classes(Probe::Get, &a, &b), [(Wrong, "content".to_owned())]);
        let (a, b) = (seen(404, 1, &[]), seen(404, 2, &[]));
        assert_eq!(classes(Probe::Missing, &a, &b), [(Harmless, "content".to_owned())]);
        let (a, b) = (seen(403, 1, &[("etag", "\"a\"")]), seen(404, 2, &[]));
        assert_eq!(classes(Probe::Missing, &a, &b), [(Wrong, "status".to_owned())]);
        let weak = [seen(200, 1, &[gzip, ("etag", "W/\"a\"")]), seen(200, 1, &[("etag", "\"a\"")])];
        let found = classes(Probe::AcceptEncoding, &weak[0], &weak[1]);
        assert!(found.iter().all(|(class, _)| *class == Harmless), "{found:?}");
    }
}

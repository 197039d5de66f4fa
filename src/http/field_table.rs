//! The treatment of each header field between viewer and origin.
//!
//! Amazon CloudFront Developer Guide, "HTTP request headers and CloudFront behavior (custom and Amazon S3
//! origins)" and "HTTP response headers that CloudFront removes or replaces".

use http::HeaderName;

/// How the names of header fields begin that select a staging configuration (Amazon CloudFront API Reference,
/// `ContinuousDeploymentSingleHeaderConfig`).
pub const STAGING_PREFIX: &str = "aws-cf-cd-";

/// The treatment of a viewer's request field on its way to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestField {
    /// It belongs to the viewer's connection (RFC 9110 §7.6.1).
    Connection,
    /// Forebay writes the field itself. The viewer's value is read, never copied.
    Written,
    /// It is removed: an origin would trust the viewer's value for a fact that only the edge can know.
    Removed,
    /// The edge describes the viewer in it and ignores the viewer's own value.
    Described,
    /// It is sent if a policy names it.
    ByPolicy,
}

impl RequestField {
    /// Classifies a field by its name.
    ///
    /// CGI and WSGI applications read `X_Real_IP` as `X-Real-IP` (RFC 3875 §4.1.18). So such a spelling of a field that
    /// no policy may name is removed.
    #[must_use]
    pub fn of(name: &HeaderName) -> Self {
        let is_plain = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
        let name = name.as_str();
        if name.bytes().all(is_plain) {
            return Self::of_plain(name);
        }
        let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        match Self::of_plain(&plain) {
            Self::ByPolicy => Self::ByPolicy,
            _ => Self::Removed,
        }
    }

    fn of_plain(name: &str) -> Self {
        match name {
            "expect" => Self::Connection,
            name if is_of_connection(name) => Self::Connection,
            "accept-encoding"
            | "cdn-loop"
            | "content-length"
            | "cookie"
            | "host"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "range"
            | "via" => Self::Written,
            "request-range" | "x-forwarded-proto" | "x-real-ip" => Self::Removed,
            "x-forwarded-for" => Self::Described,
            // A CGI application mistakes `Proxy` for its own setting (CVE-2016-5385).
            name if name == "proxy" || name.starts_with("proxy-") => Self::Removed,
            name if is_of_edge(name) || name.starts_with("forebay-") => Self::Removed,
            // It selects a staging configuration.
            name if name.starts_with(STAGING_PREFIX) => Self::Removed,
            name if name.starts_with("cloudfront-") => Self::Described,
            _ => Self::ByPolicy,
        }
    }
}

/// The treatment of an origin's response field on its way to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseField {
    /// It belongs to the origin's connection (RFC 9110 §7.6.1).
    Connection,
    /// Forebay writes the field itself.
    Written,
    /// It is removed: it identifies a request within AWS, or names another address of the origin (RFC 7838 §3).
    Removed,
    /// It sets a cookie: sent only if the behavior forwards cookies.
    Cookie,
    /// It is passed on.
    PassedOn,
}

impl ResponseField {
    /// Classifies a field by its name.
    #[must_use]
    pub fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            name if is_of_connection(name) => Self::Connection,
            "content-length" | "via" | "x-cache" => Self::Written,
            "alt-svc" | "x-amz-id-2" | "x-amz-request-id" => Self::Removed,
            "set-cookie" => Self::Cookie,
            name if is_of_edge(name) => Self::Removed,
            _ => Self::PassedOn,
        }
    }
}

/// A trait of individual fields, beyond the classes of requests and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldTrait {
    /// No response headers policy may set or remove it: it describes the content or the connection.
    Fixed,
    /// A 304 does not update it: it describes the stored bytes (RFC 9111 §3.2).
    OfContent,
    /// If `no-cache` or `private` names it, the whole response counts as private: the cache needs it to select,
    /// validate and read responses.
    NeverWithheld,
    /// It is a digest of the content, and wrong for another coding.
    Digest,
    /// Buckets may set it for viewers. Everything else, such as `x-amz-*` and `Server`, stays inside. `Content-Length`
    /// and `Content-Range` belong to one response.
    FromS3,
    /// It cannot be a custom origin header: the edge writes it, or it belongs to one request (Amazon CloudFront
    /// Developer Guide, "Custom headers that CloudFront can't add to origin requests").
    NeverCustom,
    /// A bucket receives it if a policy names it: its CORS configuration depends on it.
    ToBuckets,
}

/// The traits by name, sorted.
const TRAITS: [(&str, &[FieldTrait]); 50] = {
    use FieldTrait::{Digest, Fixed, FromS3, NeverCustom, NeverWithheld, OfContent, ToBuckets};
    [
        ("accept-encoding", &[NeverCustom]),
        ("accept-ranges", &[Fixed, FromS3]),
        ("access-control-allow-credentials", &[FromS3]),
        ("access-control-allow-headers", &[FromS3]),
        ("access-control-allow-methods", &[FromS3]),
        ("access-control-allow-origin", &[FromS3]),
        ("access-control-expose-headers", &[FromS3]),
        ("access-control-max-age", &[FromS3]),
        ("access-control-request-headers", &[ToBuckets]),
        ("access-control-request-method", &[ToBuckets]),
        ("age", &[Fixed]),
        ("cache-control", &[NeverWithheld, FromS3, NeverCustom]),
        ("cache-status", &[Fixed]),
        ("connection", &[Fixed, NeverCustom]),
        ("content-digest", &[Digest]),
        ("content-disposition", &[FromS3]),
        ("content-encoding", &[Fixed, OfContent, NeverWithheld, FromS3]),
        ("content-language", &[FromS3]),
        ("content-length", &[Fixed, OfContent, NeverCustom]),
        ("content-md5", &[OfContent, Digest]),
        ("content-range", &[Fixed, OfContent]),
        ("content-type", &[Fixed, NeverWithheld, FromS3]),
        ("cookie", &[NeverCustom]),
        ("date", &[Fixed, FromS3]),
        ("digest", &[Digest]),
        ("etag", &[Fixed, OfContent, NeverWithheld, FromS3]),
        ("expect", &[NeverCustom]),
        ("expires", &[FromS3]),
        ("host", &[NeverCustom]),
        ("if-match", &[NeverCustom]),
        ("if-modified-since", &[NeverCustom]),
        ("if-none-match", &[NeverCustom]),
        ("if-range", &[NeverCustom]),
        ("if-unmodified-since", &[NeverCustom]),
        ("keep-alive", &[Fixed, NeverCustom]),
        ("last-modified", &[NeverWithheld, FromS3]),
        ("max-forwards", &[NeverCustom]),
        ("origin", &[ToBuckets]),
        ("pragma", &[NeverCustom]),
        ("range", &[NeverCustom]),
        ("repr-digest", &[Digest]),
        ("te", &[NeverCustom]),
        ("trailer", &[Fixed, NeverCustom]),
        ("transfer-encoding", &[Fixed, NeverCustom]),
        ("upgrade", &[Fixed, NeverCustom]),
        ("vary", &[Fixed, NeverWithheld, FromS3, NeverCustom]),
        ("via", &[Fixed, NeverCustom]),
        ("warning", &[NeverCustom]),
        ("x-cache", &[Fixed]),
        ("x-real-ip", &[NeverCustom]),
    ]
};

impl FieldTrait {
    /// Whether the field with this name, in lower case, has the trait.
    #[must_use]
    pub fn applies_to(self, name: &str) -> bool {
        let found = TRAITS.binary_search_by_key(&name, |(known, _)| *known);
        found.is_ok_and(|at| TRAITS[at].1.contains(&self))
    }
}

/// Whether a field concerns one connection, in either direction (RFC 9110 §7.6.1).
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether CloudFront reserves a field for itself, in either direction.
fn is_of_edge(name: &str) -> bool {
    name.starts_with("x-edge-") || name.starts_with("x-amz-cf-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> RequestField {
        RequestField::of(&HeaderName::from_bytes(name.as_bytes()).expect(name))
    }

    fn response(name: &str) -> ResponseField {
        ResponseField::of(&HeaderName::from_bytes(name.as_bytes()).expect(name))
    }

    #[test]
    fn traits_are_sorted_by_name() {
        assert!(TRAITS.is_sorted_by(|(one, _), (other, _)| one < other));
        assert!(FieldTrait::FromS3.applies_to("etag") && !FieldTrait::FromS3.applies_to("server"));
    }

    #[test]
    fn what_an_origin_would_believe_is_removed() {
        for name in [
            "X-Real-IP",
            "X-Forwarded-Proto",
            "X-Edge-Location",
            "X-Amz-Cf-Id",
            "Proxy",
            "Proxy-Own",
        ] {
            assert_eq!(request(name), RequestField::Removed, "{name}");
        }
        for name in ["X-Forwarded-For", "CloudFront-Viewer-Country", "CloudFront-Anything"] {
            assert_eq!(request(name), RequestField::Described, "{name}");
        }
        for name in ["Accept", "Authorization", "Origin", "User-Agent", "X-HTTP-Method-Override"] {
            assert_eq!(request(name), RequestField::ByPolicy, "{name}");
        }
    }

    #[test]
    fn another_separator_does_not_hide_a_field() {
        for name in [
            "X_Real_IP",
            "X-Forwarded_Proto",
            "X_Forwarded_For",
            "CloudFront.Viewer.City",
            "X_Edge-Location",
            "Content_Length",
            "Transfer_Encoding",
        ] {
            assert_eq!(request(name), RequestField::Removed, "{name}");
        }
        for name in ["X_Own", "Host_", "X~Id"] {
            assert_eq!(request(name), RequestField::ByPolicy, "{name}");
        }
    }

    #[test]
    fn what_is_about_one_exchange_is_not_passed_on() {
        for (name, expected) in [
            ("Via", ResponseField::Written),
            ("X-Cache", ResponseField::Written),
            ("X-Amz-Cf-Pop", ResponseField::Removed),
            ("X-Amz-Request-Id", ResponseField::Removed),
            ("Trailer", ResponseField::Connection),
            ("Set-Cookie", ResponseField::Cookie),
            ("ETag", ResponseField::PassedOn),
            ("X-Amz-Meta-Owner", ResponseField::PassedOn),
        ] {
            assert_eq!(response(name), expected, "{name}");
        }
    }
}

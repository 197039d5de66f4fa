//! S3 errors: their document and their classes.

use http::StatusCode;

use crate::aws::text_of;

/// Classes of S3 errors, by how to handle them
/// (Amazon S3 API Reference, "List of error codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum S3Class {
    /// The object does not exist.
    Missing,
    /// These credentials may not read this object (or not learn that it is missing).
    Denied,
    /// The object is archived and cannot be read as it is.
    Archived,
    /// A precondition that Forebay sent does not hold: the object changed.
    Precondition,
    /// The range is outside the object.
    Range,
    /// The request's header fields are too long, or S3 rejects them without a reason.
    Rejected,
    /// Credentials, clock, region or bucket are not as S3 expects.
    Configuration,
    /// The object's encryption key cannot be used.
    Kms,
    /// S3 failed, but the next attempt may succeed.
    Transient,
    /// S3 demands fewer requests.
    Throttled,
    /// Anything else.
    Other,
}

impl S3Class {
    /// Classifies by status and `<Code>`.
    #[must_use]
    pub fn of(status: StatusCode, code: &str) -> Self {
        match (status.as_u16(), code) {
            (_, "NoSuchBucket") => Self::Configuration,
            (404 | 405, _) => Self::Missing,
            (403, "AccessDenied" | "") => Self::Denied,
            (403, "InvalidObjectState") => Self::Archived,
            (412, _) => Self::Precondition,
            (416, _) => Self::Range,
            (_, code) if code.starts_with("KMS.") => Self::Kms,
            (_, "InternalError" | "RequestTimeout") => Self::Transient,
            (_, "SlowDown" | "ServiceUnavailable" | "RequestLimitExceeded" | "TooManyRequests")
            | (429 | 503, _) => Self::Throttled,
            (431 | 494, _) | (400, "" | "RequestHeaderSectionTooLarge") => Self::Rejected,
            (300..=403, _) => Self::Configuration,
            _ => Self::Other,
        }
    }

    /// Whether S3 demands fewer requests.
    #[must_use]
    pub const fn is_throttling(self) -> bool {
        matches!(self, Self::Throttled)
    }

    /// Whether the error is about the object, and so passed on to the viewer.
    #[must_use]
    pub const fn is_about_the_object(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Denied | Self::Archived | Self::Precondition | Self::Range
        )
    }
}

/// The contents of an S3 error document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct S3Error {
    pub(crate) code: String,
    pub(crate) region: Option<String>,
}

impl S3Error {
    /// Parses `<Error><Code>…</Code><Region>…</Region></Error>`; empty if it is anything else.
    pub(crate) fn parse(xml: &[u8]) -> Self {
        let plain = |name| {
            let text = text_of(xml, name)?;
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            Some(text.chars().filter(is_plain).take(64).collect::<String>())
        };
        Self { code: plain("Code").unwrap_or_default(), region: plain("Region") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_code() {
        use S3Class::{
            Archived, Configuration, Denied, Kms, Missing, Other, Precondition, Range, Rejected,
            Throttled, Transient,
        };
        for (status, code, class) in [
            (404, "NoSuchKey", Missing),
            (404, "", Missing),
            (404, "NoSuchBucket", Configuration),
            (405, "MethodNotAllowed", Missing),
            (403, "AccessDenied", Denied),
            (403, "InvalidObjectState", Archived),
            (403, "SignatureDoesNotMatch", Configuration),
            (403, "InvalidAccessKeyId", Configuration),
            (403, "RequestTimeTooSkewed", Configuration),
            (400, "ExpiredToken", Configuration),
            (400, "AuthorizationHeaderMalformed", Configuration),
            (301, "PermanentRedirect", Configuration),
            (307, "TemporaryRedirect", Configuration),
            (400, "KMS.DisabledException", Kms),
            (400, "RequestTimeout", Transient),
            (412, "PreconditionFailed", Precondition),
            (416, "InvalidRange", Range),
            (503, "SlowDown", Throttled),
            (500, "InternalError", Transient),
            (503, "InternalError", Transient),
            (502, "", Other),
            (431, "", Rejected),
            (400, "", Rejected),
            (400, "RequestHeaderSectionTooLarge", Rejected),
            (400, "InvalidRequest", Configuration),
        ] {
            let status = StatusCode::from_u16(status).expect("status");
            assert_eq!(S3Class::of(status, code), class, "{status} {code}");
        }
    }

    #[test]
    fn error_bodies_are_read_as_far_as_they_go() {
        let xml = b"<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code>\
                    <Message>a &lt; b</Message><Region>eu-west-1</Region></Error>";
        let error = S3Error::parse(xml);
        assert_eq!(error.code, "AuthorizationHeaderMalformed");
        assert_eq!(error.region.as_deref(), Some("eu-west-1"));
        assert_eq!(S3Error::parse(b"<Error><Code>SlowDown</Co").code, "SlowDown");
        for junk in [&b""[..], b"not xml", b"<a><b>", b"<Code>\xff\r\n\x1b[31m</Code>"] {
            assert!(S3Error::parse(junk).code.len() <= 64);
        }
    }
}

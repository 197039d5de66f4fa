//! Rejects ambiguous message framing and unknown expectations (RFC 9112 §6, RFC 9110 §10.1.1).

use http::{HeaderMap, StatusCode, Version, header};

/// The reason why a request is refused for its framing or its expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// `Transfer-Encoding` names a coding besides `chunked` (RFC 9112 §6.1: 501).
    TransferCoding,
    /// `Transfer-Encoding` is malformed, repeated, or part of an HTTP/1.0 request (RFC 9112 §6.1: 400).
    Malformed,
    /// `Expect` is not `100-continue` (RFC 9110 §10.1.1: 417).
    Expectation,
}

impl FramingError {
    /// The status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        }
    }
}

/// Checks for framing and expectations that the HTTP library accepts but the edge refuses: ambiguous framing, other
/// transfer codings than `chunked`, other expectations than `100-continue`.
///
/// # Errors
/// When the request must be refused and its connection closed.
pub fn check(fields: &HeaderMap, version: Version) -> Result<(), FramingError> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let coding = coding.as_bytes().trim_ascii();
        if version < Version::HTTP_11 || codings.next().is_some() {
            return Err(FramingError::Malformed);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(unknown_coding(coding));
        }
    }
    let mut expectations = fields.get_all(header::EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(FramingError::Expectation);
    }
    Ok(())
}

/// The error for a list: with one `chunked` at its end it names unimplemented codings, otherwise it is malformed.
fn unknown_coding(list: &[u8]) -> FramingError {
    let members: Vec<&[u8]> = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    let chunked = members.iter().filter(|member| member.eq_ignore_ascii_case(b"chunked"));
    let is_last = members.last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    if chunked.count() == 1 && is_last && members.iter().all(|member| !member.is_empty()) {
        FramingError::TransferCoding
    } else {
        FramingError::Malformed
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn checked(version: Version, fields: &[(HeaderName, &str)]) -> Result<(), FramingError> {
        let fields =
            fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("value")));
        check(&fields.collect(), version)
    }

    #[test]
    fn only_one_chunked_is_taken() {
        use FramingError::{Expectation, Malformed, TransferCoding};
        let te = |value| (header::TRANSFER_ENCODING, value);
        let expect = |value| (header::EXPECT, value);
        for (fields, expected) in [
            (&[][..], Ok(())),
            (&[te("chunked")], Ok(())),
            (&[te(" Chunked ")], Ok(())),
            (&[te("gzip, chunked")], Err(TransferCoding)),
            (&[te("identity, chunked")], Err(TransferCoding)),
            (&[te("chunked, chunked")], Err(Malformed)),
            (&[te("chunked, gzip")], Err(Malformed)),
            (&[te("chunked,")], Err(Malformed)),
            (&[te("")], Err(Malformed)),
            (&[te("chunked"), te("chunked")], Err(Malformed)),
            (&[te("cow"), te("chunked")], Err(Malformed)),
            (&[expect("100-Continue")], Ok(())),
            (&[expect("foo")], Err(Expectation)),
            (&[expect("100-continue, foo")], Err(Expectation)),
            (&[expect("")], Err(Expectation)),
        ] {
            assert_eq!(checked(Version::HTTP_11, fields), expected, "{fields:?}");
        }
        assert_eq!(checked(Version::HTTP_10, &[te("chunked")]), Err(Malformed));
    }
}

//! Content codings (RFC 9110 §8.4.1, §12.5.3).

use http::{HeaderMap, HeaderValue, header};

/// Codings that a policy tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    /// `gzip`.
    pub gzip: bool,
    /// `br`.
    pub brotli: bool,
}

impl Codings {
    /// Neither.
    pub const NONE: Self = Self { gzip: false, brotli: false };

    /// What of these codings the request accepts, as CloudFront writes it: `br,gzip`, `br`,
    /// `gzip`, or nothing.
    #[must_use]
    pub fn accepted(self, fields: &HeaderMap) -> Option<HeaderValue> {
        let brotli = self.brotli && accepts(fields, "br");
        let gzip = self.gzip && accepts(fields, "gzip");
        Some(HeaderValue::from_static(match (brotli, gzip) {
            (true, true) => "br,gzip",
            (true, false) => "br",
            (false, true) => "gzip",
            (false, false) => return None,
        }))
    }
}

/// Whether `Accept-Encoding` names the coding, or `*`, with a weight above zero.
fn accepts(fields: &HeaderMap, coding: &str) -> bool {
    let lines = fields.get_all(header::ACCEPT_ENCODING);
    let members = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(','));
    let (mut named, mut any) = (None, None);
    for member in members {
        let (name, parameters) = member.split_once(';').unwrap_or((member, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case(coding) {
            named = named.or(Some(has_weight(parameters)));
        } else if name == "*" {
            any = any.or(Some(has_weight(parameters)));
        }
    }
    named.or(any).unwrap_or(false)
}

/// RFC 9110 §12.4.2: `q=0`, `q=0.0`, … mean "not acceptable".
fn has_weight(parameters: &str) -> bool {
    let weight = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    weight.is_none_or(|weight| weight.bytes().any(|byte| matches!(byte, b'1'..=b'9')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_into_four_buckets() {
        let both = Codings { gzip: true, brotli: true };
        let gzip = Codings { brotli: false, ..both };
        for (line, codings, expected) in [
            ("gzip, deflate, br, zstd", both, Some("br,gzip")),
            ("GZIP", both, Some("gzip")),
            ("br;q=1.0, gzip;q=0", both, Some("br")),
            ("gzip;q=0.001", both, Some("gzip")),
            ("*", both, Some("br,gzip")),
            ("*;q=0, br", both, Some("br")),
            ("gzip;q=0, *", both, Some("br")),
            ("identity", both, None),
            ("", both, None),
            ("br, gzip", gzip, Some("gzip")),
            ("br, gzip", Codings::NONE, None),
        ] {
            let fields = [(header::ACCEPT_ENCODING, HeaderValue::from_static(line))];
            let accepted = codings.accepted(&HeaderMap::from_iter(fields));
            assert_eq!(accepted.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes));
        }
        assert_eq!(both.accepted(&HeaderMap::new()), None);
    }
}

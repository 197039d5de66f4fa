//! The sites whose pages may embed a behavior's objects.

use super::OriginPattern;

/// Sites by the `Referer` of requests from their pages (RFC 9110 §10.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referers {
    /// The allowed sites.
    pub allow: Vec<OriginPattern>,
    /// Whether requests without a `Referer` are allowed: typed addresses, bookmarks, viewers that never send one.
    pub allow_none: bool,
}

impl Referers {
    /// Whether a request with this field may be served.
    #[must_use]
    pub fn admit(&self, referer: Option<&[u8]>) -> bool {
        let Some(referer) = referer.filter(|referer| !referer.is_empty()) else {
            return self.allow_none;
        };
        let Some((scheme, rest)) =
            std::str::from_utf8(referer).ok().and_then(|url| url.split_once("://"))
        else {
            return false;
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // The part before an `@` is not the host, though it may look like one.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let site = format!("{}://{host}", scheme.to_ascii_lowercase());
        self.allow.iter().any(|pattern| pattern.matches(&site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        let allow = ["example.com", "https://*.example.com"];
        let allow = allow.map(|text| OriginPattern::parse(text).expect("a pattern")).into();
        let mut referers = Referers { allow, allow_none: true };
        for (referer, admitted) in [
            ("https://example.com/page?a=b", true),
            ("http://example.com", true),
            ("https://www.example.com/", true),
            ("http://www.example.com/", false),
            ("https://example.com.evil.test/", false),
            ("https://evil.test/example.com", false),
            ("https://example.com@evil.test/", false),
            ("https://EXAMPLE.com/", true),
            ("HTTPS://example.com/", true),
            ("example.com", false),
            ("", true),
        ] {
            assert_eq!(referers.admit(Some(referer.as_bytes())), admitted, "{referer}");
        }
        assert!(!referers.admit(Some(b"https://\xff/")));
        assert!(referers.admit(None));
        referers.allow_none = false;
        assert!(!referers.admit(None));
    }
}

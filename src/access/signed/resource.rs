//! Matches URLs against the resource of a custom policy.
//!
//! Amazon CloudFront Developer Guide, "Code examples for creating a signature for a signed URL"
//! and "Create a signed URL using a custom policy": `*` matches any characters, `?` matches one.
//! In a signed URL's policy, a wildcard stays within one part of the URL. In a cookie's policy, it matches
//! anywhere before the query and anywhere within it.

use crate::base::glob::matches_bytes;

/// The URL of a viewer's request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// The host, with the port unless it is the scheme's default.
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

/// Whether the policy of a signed URL for `pattern` covers the URL of this site and target.
pub(crate) fn covers(pattern: &str, (scheme, authority): (&str, &str), target: &str) -> bool {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Url { scheme, authority, path, query }.matches_by_parts(pattern)
}

impl std::fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)?;
        self.query.map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl Url<'_> {
    /// Whether a cookie's policy for `pattern` covers this URL. A `*` never extends from the path into
    /// the query: the viewer controls the query, and the origin may ignore it.
    pub(super) fn matches_anywhere(&self, pattern: &str) -> bool {
        let base = Url { query: None, ..*self }.to_string();
        self.matches_from(&base, pattern)
    }

    /// Whether a signed URL's policy for `pattern` covers this URL, part by part.
    pub(super) fn matches_by_parts(&self, pattern: &str) -> bool {
        if pattern == "*" {
            return true;
        }
        let (scheme, rest) = match pattern.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
            _ if pattern.starts_with('*') => ("*", pattern),
            _ => return false,
        };
        let (authority, rest) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            // A pattern that ends within the host with `*` covers every path and query.
            None if rest.ends_with('*') => (rest, "/*"),
            None => (rest, "/"),
        };
        glob_ignoring_case(scheme, self.scheme)
            && glob_ignoring_case(authority, self.authority)
            && self.matches_from(self.path, rest)
    }

    /// Whether `pattern` covers the query and `base`, which ends with the path. `\?` begins the
    /// query. Without a `\?`, each `?` may also be literal.
    fn matches_from(&self, base: &str, pattern: &str) -> bool {
        let covers = |base_pattern: &str, query_pattern: Option<&str>| {
            let covers_query = match (query_pattern, self.query) {
                (Some(pattern), query) => {
                    query.is_some_and(|query| matches_bytes(pattern.as_bytes(), query.as_bytes()))
                }
                (None, Some(_)) => base_pattern.ends_with('*'),
                (None, None) => true,
            };
            covers_query && matches_bytes(base_pattern.as_bytes(), base.as_bytes())
        };
        if let Some((path, query)) = pattern.split_once("\\?") {
            return covers(path, Some(query));
        }
        let mut marks = pattern.match_indices('?');
        covers(pattern, None)
            || marks.any(|(at, _)| covers(&pattern[..at], Some(&pattern[at + 1..])))
    }
}

fn glob_ignoring_case(pattern: &str, text: &str) -> bool {
    matches_bytes(pattern.to_ascii_lowercase().as_bytes(), text.to_ascii_lowercase().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: Url<'_> = Url {
        scheme: "https",
        authority: "d1.example.net",
        path: "/images/a.jpg",
        query: Some("size=large&v=1"),
    };

    #[test]
    fn a_url_is_covered_part_by_part() {
        for (pattern, expected) in [
            ("*", true),
            ("https://d1.example.net/images/a.jpg?size=large&v=1", true),
            ("https://d1.example.net/images/a.jpg\\?size=large&v=1", true),
            ("https://d1.example.net/images/a.jpg\\?size=*", true),
            ("https://d1.example.net/images/a.jpg", false),
            ("https://d1.example.net/images/a.jpg*", true),
            ("https://d1.example.net/images/*", true),
            ("https://d1.example.net/images/*.jpg", false),
            ("https://d1.example.net/images/*.jpg?*", true),
            ("https://d1.example.net/image?/?.jpg?size=large&v=?", true),
            ("https://d1.example.net/other/*", false),
            ("https://D1.Example.net/*", true),
            ("http*://d1.example.net/*", true),
            ("http://d1.example.net/*", false),
            ("https://*.example.net/*", true),
            ("https://*/images/*", true),
            ("https://d1.example*", true),
            ("https://d2.example*", false),
            ("https://d1.example.net", false),
            ("*.example.net/images/*", true),
            ("*/images/a.jpg?*", true),
            ("*/other/*", false),
            ("/images/*", false),
            ("https://*net/a.jpg?*", false),
            ("*/images/a.jpg?size=large&v=1", true),
            ("*/images/a.jpg?*http://*", false),
            ("", false),
        ] {
            assert_eq!(URL.matches_by_parts(pattern), expected, "{pattern}");
        }
        let root = Url { path: "/", query: None, ..URL };
        assert!(root.matches_by_parts("https://d1.example.net"));
        let plain = Url { query: None, ..URL };
        assert!(plain.matches_by_parts("https://d1.example.net/images/*.jpg"));
        assert!(!plain.matches_by_parts("https://d1.example.net/images/a.jpg\\?*"));
    }

    #[test]
    fn a_cookie_is_for_what_matches_anywhere() {
        for (pattern, expected) in [
            ("*", true),
            ("https://d1.example.net/images/*", true),
            ("https://*", true),
            ("http*://*/a.jpg?*", true),
            ("https://d1.example.net/images/a.jpg", false),
            ("https://d1.example.net/images/a.jpg?size=large&v=1", true),
            ("*.jpg", false),
            ("https://*/images/*", true),
            ("https://*/other/*", false),
            ("https://d1.example.net/images/*v=1", false),
            ("http://*", false),
        ] {
            assert_eq!(URL.matches_anywhere(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn many_stars_are_no_burden() {
        let pattern = "*a".repeat(2000) + "b";
        let path = "/".to_owned() + &"a".repeat(8000);
        assert!(!matches_bytes(pattern.as_bytes(), path.as_bytes()));
    }
}

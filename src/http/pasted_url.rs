//! URLs and paths as operators paste them: percent-encoded or not, with or without scheme and host.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::authority::host;

/// Characters that a path or query cannot contain (RFC 3986, section 3.3). `%` is handled apart.
const NOT_IN_TARGET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Schemes of URLs, each with the scheme of its HTTP requests.
const SCHEMES: [(&str, &str); 4] =
    [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https")];

/// A pasted URL or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastedUrl {
    /// `http` or `https`, and the authority; `None` for a path.
    pub(crate) site: Option<(&'static str, String)>,
    /// Path and query, percent-encoded.
    pub(crate) target: String,
}

impl PastedUrl {
    /// Parses a URL with `http`, `https`, or WebSocket's `ws` and `wss`, or an absolute path. `None` if the text is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self { site: None, target: encode(text) });
        }
        let (scheme, rest) = text.split_once("://")?;
        let known = SCHEMES.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
        let (_, scheme) = known?;
        // A browser does not send the fragment.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(is_host) {
            return None;
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = encode(&format!("{slash}{target}"));
        Some(Self { site: Some((scheme, authority.to_owned())), target })
    }

    /// The URL, percent-encoded, if the text has a scheme and a host.
    pub(crate) fn url(&self) -> Option<String> {
        let (scheme, authority) = self.site.as_ref()?;
        Some(format!("{scheme}://{authority}{}", self.target))
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> Option<&str> {
        let (_, authority) = self.site.as_ref()?;
        host(authority)
    }
}

/// Encodes what a request target cannot contain. Escapes stay. If the text needs encoding, it was not encoded before, and
/// a `%` that begins no escape is encoded, too.
fn encode(text: &str) -> String {
    let encoded = utf8_percent_encode(text, NOT_IN_TARGET).to_string();
    if encoded == text { encoded } else { encode_percent_signs(&encoded) }
}

/// Encodes each `%` that begins no escape.
pub(crate) fn encode_percent_signs(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_escape = part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
        out.push_str(if is_escape { "%" } else { "%25" });
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_read_encoded_or_not() {
        let site = |scheme, host: &str| Some((scheme, host.to_owned()));
        for (text, expected_site, target) in [
            ("/été photo (1).jpg", None, "/%C3%A9t%C3%A9%20photo%20(1).jpg"),
            ("/%C3%A9t%C3%A9%20photo.jpg", None, "/%C3%A9t%C3%A9%20photo.jpg"),
            ("/100% wool.jpg", None, "/100%25%20wool.jpg"),
            ("/100%.jpg", None, "/100%.jpg"),
            ("/a#1.jpg?x=1", None, "/a%231.jpg?x=1"),
            ("/*", None, "/*"),
            (
                "https://Media.example.com/a b?x=ü#top",
                site("https", "Media.example.com"),
                "/a%20b?x=%C3%BC",
            ),
            ("HTTP://localhost:8080", site("http", "localhost:8080"), "/"),
            ("http://[::1]:8080?x", site("http", "[::1]:8080"), "/?x"),
        ] {
            let expected = PastedUrl { site: expected_site, target: target.to_owned() };
            assert_eq!(PastedUrl::parse(text), Some(expected), "{text}");
        }
        for text in
            ["", "a.jpg", "ftp://a/b", "https://", "https:///a", "https://a b/", "https://u@h/"]
        {
            assert_eq!(PastedUrl::parse(text), None, "{text}");
        }
        let of =
            |text: &str| PastedUrl::parse(text).and_then(|pasted| pasted.host().map(str::to_owned));
        assert_eq!(of("https://media.example.com:8443/a").as_deref(), Some("media.example.com"));
    }
}

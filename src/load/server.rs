//! The server under test, as a URL names it.

use http::{Uri, uri::Authority, uri::PathAndQuery};

/// The error for a URL that names no server.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is not a URL: {reason}")]
pub(crate) struct ServerError {
    /// The URL as given.
    pub url: String,
    /// The problem with the URL.
    pub reason: &'static str,
}

/// A server: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Whether requests use TLS.
    pub tls: bool,
    /// The name or address; an IPv6 address has no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The start of the URL without the slash. The scheme's default port is omitted, as browsers
    /// send it.
    pub base: String,
}

impl Server {
    /// The server and the path of a URL.
    ///
    /// # Errors
    /// When the URL is not an absolute HTTP URL, names a user, or has an invalid port.
    pub(crate) fn of(url: &str) -> Result<(Self, PathAndQuery), ServerError> {
        let refuse = |reason| ServerError { url: url.to_owned(), reason };
        let has_scheme = ["http://", "https://"].into_iter().any(|scheme| {
            url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if !has_scheme {
            return Err(refuse("it must begin with http:// or https://"));
        }
        let uri: Uri = url.parse().map_err(|_| refuse("it cannot be parsed"))?;
        let (scheme, usual) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it contains a user name; use -H 'Authorization: …' instead"));
        }
        let port =
            port(authority, usual).ok_or_else(|| refuse("its port is not between 1 and 65535"))?;
        let host = authority.host().to_ascii_lowercase();
        let base = match port {
            port if port == usual => format!("{scheme}://{host}"),
            port => format!("{scheme}://{host}:{port}"),
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok((Self { tls: scheme == "https", host, port, base }, path))
    }
}

fn port(authority: &Authority, usual: u16) -> Option<u16> {
    let port = authority.as_str().get(authority.host().len()..)?;
    match port.strip_prefix(':') {
        None | Some("") => Some(usual),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_alike_however_they_are_written() {
        for (url, base, host, port, path) in [
            ("http://A.example/b?c", "http://a.example", "a.example", 80, "/b?c"),
            ("http://a.example:80", "http://a.example", "a.example", 80, "/"),
            ("https://a.example:443/b", "https://a.example", "a.example", 443, "/b"),
            ("https://a.example:80/", "https://a.example:80", "a.example", 80, "/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1", 8080, "/"),
            ("http://[::1]:8080/", "http://[::1]:8080", "::1", 8080, "/"),
            ("http://[::1]/", "http://[::1]", "::1", 80, "/"),
        ] {
            let (server, asked) = Server::of(url).expect("a server");
            assert_eq!((server.base.as_str(), server.host.as_str()), (base, host), "{url}");
            assert_eq!((server.port, asked.as_str()), (port, path), "{url}");
        }
        for url in [
            "a.example/b",
            "/b",
            "ftp://a.example/",
            "http://user@a.example/",
            "http://a.example:99999/",
            "http://a.example:0/",
            "http:///b",
            "nonsense",
        ] {
            let error = Server::of(url).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("`{url}` is not a URL: ")), "{error}");
        }
    }
}

//! The address of an origin: host, port, and base path.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

/// The reason why an address is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `http://host` nor `https://host`.
    #[error("expected a URL such as `https://s3.example.com` or `http://127.0.0.1:9000`")]
    NotAUrl,
    /// The URL has a query, or a path that is not allowed here.
    #[error("expected only scheme, host and port: a path belongs in `origin_path`")]
    HasPath,
    /// The path of an endpoint contains other characters.
    #[error(
        "the path of an endpoint may contain only letters, digits and `-._~` between single slashes"
    )]
    EndpointPath,
    /// A bucket in the host name conflicts with the endpoint's path.
    #[error("an endpoint with a path needs `path_style = true`")]
    PathNeedsPathStyle,
    /// A bucket name with a dot does not match a wildcard certificate.
    #[error(
        "the bucket's name contains a dot, so its host name matches no wildcard certificate: set `path_style = true`"
    )]
    DottedBucket,
    /// Not a valid bucket name.
    #[error(
        "`{0}` is not a valid bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit (some other stores also allow capitals and `_`)"
    )]
    BucketName(String),
    /// Kinds of buckets that need another protocol.
    #[error("{0} buckets are not supported")]
    UnsupportedBucket(&'static str),
}

/// Host, port and base path of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The value of `Host`: with the port, unless it is the scheme's default.
    pub authority: String,
    /// The prefix of every request path, in canonical spelling; empty or `/bucket`.
    pub base_path: String,
}

impl Address {
    /// Scheme and authority, such as `https://sns.eu-central-1.amazonaws.com`.
    #[must_use]
    pub fn server_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Parses the URL of an origin.
    ///
    /// # Errors
    /// When it is not scheme, host and port.
    pub fn from_url(url: &str) -> Result<Self, AddressError> {
        let address = Self::with_path(url)?;
        if address.base_path.is_empty() { Ok(address) } else { Err(AddressError::HasPath) }
    }

    /// Parses a URL that may have a path, like the endpoints of some S3 services.
    fn with_path(url: &str) -> Result<Self, AddressError> {
        let uri: Uri = url.parse().map_err(|_| AddressError::NotAUrl)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(AddressError::NotAUrl),
        };
        if uri.query().is_some() {
            return Err(AddressError::HasPath);
        }
        let path = uri.path().trim_end_matches('/');
        // The path is signed and sent as it is, so it must have only one spelling.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
        let has_odd_segment =
            || path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        if !path.bytes().all(is_plain) || has_odd_segment() {
            return Err(AddressError::EndpointPath);
        }
        let authority = uri.authority().ok_or(AddressError::NotAUrl)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(AddressError::NotAUrl);
        }
        let address = Self::new(tls, authority.host(), authority.port_u16());
        Ok(Self { base_path: path.to_owned(), ..address })
    }

    fn new(tls: bool, host: &str, port: Option<u16>) -> Self {
        let default = if tls { 443 } else { 80 };
        let port = port.unwrap_or(default);
        let authority = if port == default { host.to_owned() } else { format!("{host}:{port}") };
        let host = host.trim_matches(['[', ']']).to_owned();
        Self { tls, host, port, authority, base_path: String::new() }
    }

    /// The address of a bucket: on AWS, or at `endpoint`.
    ///
    /// `path_style` puts the bucket into the path instead of the host name. It is the default if a host name is
    /// impossible: for dotted buckets, IP addresses, and endpoints with a path.
    ///
    /// # Errors
    /// When the bucket's name or the endpoint cannot be used.
    pub fn bucket(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        path_style: Option<bool>,
    ) -> Result<Self, AddressError> {
        check_bucket_name(bucket, endpoint.is_none())?;
        let service = match endpoint {
            Some(url) => Self::with_path(url)?,
            None => Self::new(true, &aws_host(region), None),
        };
        let dotted = bucket.contains('.') && service.tls;
        let no_subdomains = service.host.parse::<IpAddr>().is_ok() || service.host == "localhost";
        if path_style == Some(false) && dotted {
            return Err(AddressError::DottedBucket);
        }
        let has_path = !service.base_path.is_empty();
        if path_style == Some(false) && has_path {
            return Err(AddressError::PathNeedsPathStyle);
        }
        if path_style.unwrap_or(dotted || no_subdomains || has_path) {
            return Ok(Self { base_path: format!("{}/{bucket}", service.base_path), ..service });
        }
        Ok(Self {
            host: format!("{bucket}.{}", service.host),
            authority: format!("{bucket}.{}", service.authority),
            ..service
        })
    }
}

fn aws_host(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("s3.{region}.amazonaws.com{suffix}")
}

fn check_bucket_name(bucket: &str, on_aws: bool) -> Result<(), AddressError> {
    // Amazon S3 User Guide, "General purpose bucket naming rules"; some other stores allow
    // upper-case letters and underscores, which change nothing in a URL.
    let allowed = |b: u8| match b {
        b'A'..=b'Z' | b'_' => !on_aws,
        _ => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'),
    };
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let well_formed = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(allowed)
        && edge(bucket.bytes().next())
        && edge(bucket.bytes().last())
        && !bucket.contains("..");
    if !well_formed {
        return Err(AddressError::BucketName(bucket.to_owned()));
    }
    if bucket.ends_with("--x-s3") {
        return Err(AddressError::UnsupportedBucket("S3 Express directory"));
    }
    if bucket.split('.').next_back() == Some("mrap") {
        return Err(AddressError::UnsupportedBucket("multi-region access point"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_addressed_by_host_name_or_path() {
        for (bucket, region, endpoint, path_style, expected) in [
            (
                "media",
                "eu-central-1",
                None,
                None,
                "https media.s3.eu-central-1.amazonaws.com 443 -",
            ),
            ("media", "eu-west-1", None, Some(true), "https s3.eu-west-1.amazonaws.com 443 /media"),
            ("my.media", "us-east-1", None, None, "https s3.us-east-1.amazonaws.com 443 /my.media"),
            ("media", "cn-north-1", None, None, "https media.s3.cn-north-1.amazonaws.com.cn 443 -"),
            ("media", "x", Some("http://127.0.0.1:3900"), None, "http 127.0.0.1:3900 3900 /media"),
            ("media", "x", Some("http://[::1]:3900"), None, "http [::1]:3900 3900 /media"),
            (
                "media",
                "x",
                Some("https://r2.example.com"),
                None,
                "https media.r2.example.com 443 -",
            ),
            (
                "media",
                "x",
                Some("http://s3.example.com:81/"),
                None,
                "http media.s3.example.com:81 81 -",
            ),
            ("my.media", "x", Some("http://s3.lan"), None, "http my.media.s3.lan 80 -"),
            ("media", "x", Some("http://s3.lan:80"), Some(true), "http s3.lan 80 /media"),
            (
                "media",
                "x",
                Some("https://x.example.co/storage/v1/s3"),
                None,
                "https x.example.co 443 /storage/v1/s3/media",
            ),
            ("media", "x", Some("http://s3.lan/s3/"), Some(true), "http s3.lan 80 /s3/media"),
        ] {
            let address = Address::bucket(bucket, region, endpoint, path_style).expect(expected);
            let scheme = if address.tls { "https" } else { "http" };
            let base = if address.base_path.is_empty() { "-" } else { &address.base_path };
            let shown = format!("{scheme} {} {} {base}", address.authority, address.port);
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn impossible_addresses_are_refused() {
        for url in ["", "media", "ftp://x", "http://", "http://user@host"] {
            assert_eq!(Address::from_url(url), Err(AddressError::NotAUrl), "{url}");
        }
        assert_eq!(Address::from_url("http://h/p"), Err(AddressError::HasPath));
        let bucket_at = |url, style| Address::bucket("media", "x", Some(url), style);
        for url in ["http://h/a//b", "http://h/a/../b", "http://h/a%20b", "http://h/a+b"] {
            assert_eq!(bucket_at(url, None), Err(AddressError::EndpointPath), "{url}");
        }
        assert_eq!(bucket_at("http://h/p?x", None), Err(AddressError::HasPath));
        assert_eq!(bucket_at("http://h/p", Some(false)), Err(AddressError::PathNeedsPathStyle));
        for name in ["ab", "a/b", "-ab", "a..b", "a?b", "My_Media"] {
            let error = Address::bucket(name, "x", None, None).expect_err(name);
            assert!(matches!(error, AddressError::BucketName(_)), "{name}");
        }
        assert!(Address::bucket("My_Media", "x", Some("http://127.0.0.1:3900"), None).is_ok());
        let dotted = Address::bucket("a.b.c", "x", None, Some(false));
        assert_eq!(dotted, Err(AddressError::DottedBucket));
        let express = Address::bucket("b--use1-az4--x-s3", "x", None, None);
        assert!(matches!(express, Err(AddressError::UnsupportedBucket(_))));
    }
}

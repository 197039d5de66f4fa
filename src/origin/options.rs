//! The configuration of an origin.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::outbound::{Address, Error, HeadLimits};

/// The configuration of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name within its distribution.
    pub id: String,
    /// Host, port and base path.
    pub address: Address,
    /// Prefix of every path: begins with a slash and ends without one, or is empty.
    pub origin_path: String,
    /// S3 or plain HTTP.
    pub protocol: Protocol,
    /// Timeout for one attempt to connect.
    pub connect_timeout: Duration,
    /// Attempts to connect.
    pub connect_attempts: u32,
    /// Timeout for the head of a response, and for each part of its content.
    pub response_timeout: Duration,
    /// Attempts to get a response to a safe request.
    pub response_attempts: u32,
    /// Timeout for a whole response; unlimited if not set.
    pub completion_timeout: Option<Duration>,
    /// Limits on the head of a response.
    pub response_head: HeadLimits,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections open at once that carry content at the pace of one client. Defaults to a quarter of
    /// `max_connections`.
    pub max_connections_per_client: Option<usize>,
    /// Connections open at once that speak a protocol other than HTTP, such as WebSocket. They do not count towards
    /// `max_connections`.
    pub max_tunnels: usize,
    /// The longest time without a byte from the origin on such a connection.
    pub tunnel_idle_timeout: Duration,
    /// Whether viewers get interim responses, such as 103.
    pub interim_responses: bool,
    /// Minimum average rate of the viewer's content in bytes a second; zero for no minimum.
    pub upload_min_rate: u64,
    /// Timeout for all of the content that a viewer sends.
    pub upload_timeout: Duration,
    /// The time for which stale copies are served while a bucket denies most objects that it served before.
    pub stale_if_denied: Duration,
    /// Certificates to trust instead of this machine's.
    pub ca_file: Option<PathBuf>,
    /// Fields that every request carries instead of the viewer's.
    pub custom_headers: Vec<(HeaderName, HeaderValue)>,
    /// The response field that lists cache tags.
    pub cache_tag_header: Option<HeaderName>,
}

impl Options {
    /// The fix for an error of this origin. The bucket's name may be in `endpoint`, to which Forebay adds it.
    #[must_use]
    pub(crate) fn advice(&self, error: &Error) -> String {
        let Protocol::S3 { bucket, region, .. } = &self.protocol else { return error.advice() };
        let Address { host, base_path, .. } = &self.address;
        let is_doubled = host.starts_with(&format!("{bucket}.{bucket}."))
            || base_path.ends_with(&format!("/{bucket}/{bucket}"));
        let is_aws = host.contains(".amazonaws.com");
        match error {
            _ if is_doubled => {
                format!("remove the bucket's name, `{bucket}`, from the endpoint: Forebay adds it")
            }
            Error::Dns(_) if is_aws => {
                format!("check that `{region}` is a region of AWS, and this machine's resolver")
            }
            Error::Dns(_) if host.starts_with(&format!("{bucket}.")) => {
                "check the endpoint; if the store expects the bucket's name in the path, set `path_style = true` (--path-style)".into()
            }
            error => error.advice(),
        }
    }
}

/// The protocol of requests to an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// S3 with SigV4 signatures; GET and HEAD only.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The region used in signatures.
        region: String,
        /// `x-amz-expected-bucket-owner`: the account that must own the bucket.
        expected_bucket_owner: Option<String>,
        /// `x-amz-request-payer: requester`: pay for reading from another account's bucket.
        request_payer: bool,
        /// The requests that are signed.
        signing: Signing,
    },
    /// Plain HTTP.
    Plain,
}

impl Protocol {
    /// Whether requests are signed, and so need credentials.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        matches!(self, Self::S3 { signing, .. } if !matches!(signing, Signing::Never))
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Self::S3 { bucket, .. } => Some(bucket),
            Self::Plain => None,
        }
    }
}

/// The requests for a bucket that are signed
/// (Amazon CloudFront Developer Guide, "Restrict access to an Amazon S3 origin", signing behavior).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    /// All of them.
    #[default]
    Always,
    /// None: the bucket is public.
    Never,
    /// Those that do not carry the viewer's own `Authorization`, which the cache policy must name.
    NoOverride,
}

impl Signing {
    /// CloudFront's names.
    pub const NAMES: [(&str, Self); 3] =
        [("always", Self::Always), ("never", Self::Never), ("no-override", Self::NoOverride)];
}

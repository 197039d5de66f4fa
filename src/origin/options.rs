//! What an origin is, as it is configured.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};

use crate::outbound::{Address, HeadLimits};

/// What an origin is and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name within its distribution.
    pub id: String,
    /// Where it is.
    pub address: Address,
    /// Put before every path: begins with a slash, ends without one; or empty.
    pub origin_path: String,
    /// How it is asked.
    pub protocol: Protocol,
    /// Longest time for one attempt to connect.
    pub connect_timeout: Duration,
    /// Attempts to connect.
    pub connect_attempts: u32,
    /// Longest time until the head of a response, and between two parts of its content.
    pub response_timeout: Duration,
    /// Attempts to get a response to a safe request.
    pub response_attempts: u32,
    /// Longest time for a whole response; any, if it is not set.
    pub completion_timeout: Option<Duration>,
    /// Bounds of the head of a response.
    pub response_head: HeadLimits,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections that carry content at the pace of one client, at once. A quarter of `max_connections` if it
    /// is not set.
    pub max_connections_per_client: Option<usize>,
    /// Least bytes a second of the content that a viewer sends, on average; zero for any.
    pub upload_min_rate: u64,
    /// Longest time for all of the content that a viewer sends.
    pub upload_timeout: Duration,
    /// For how long stale copies are served while a bucket denies most objects that it served before.
    pub stale_if_denied: Duration,
    /// Certificates to trust instead of this machine's.
    pub ca_file: Option<PathBuf>,
    /// Fields that every request carries, in the place of the viewer's.
    pub custom_headers: Vec<(HeaderName, HeaderValue)>,
    /// The field in which answers bear their cache tags.
    pub cache_tag_header: Option<HeaderName>,
}

/// How an origin is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// S3 with SigV4 signatures; GET and HEAD only.
    S3 {
        /// Its name.
        bucket: String,
        /// The region that signatures name.
        region: String,
        /// `x-amz-expected-bucket-owner`: the account that must own the bucket.
        expected_bucket_owner: Option<String>,
        /// `x-amz-request-payer: requester`: pay for reading from somebody else's bucket.
        request_payer: bool,
        /// Which requests are signed.
        signing: Signing,
    },
    /// HTTP as it is.
    Plain,
}

impl Protocol {
    /// Whether requests are signed, and so want credentials.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        matches!(self, Self::S3 { signing, .. } if !matches!(signing, Signing::Never))
    }
}

/// Which requests for a bucket are signed
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

//! Errors of requests to an origin, by cause.

use std::time::Duration;

use http::StatusCode;

use super::{
    s3_error::{S3Class, S3Error},
    whole_answer::WholeAnswer,
};
use crate::aws::SignError;

/// A failure to get a usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host name has no address.
    #[error("the host name cannot be resolved")]
    Dns(#[source] std::io::Error),
    /// No TCP connection.
    #[error("the server cannot be reached")]
    Connect(#[source] std::io::Error),
    /// No TLS session.
    #[error("the TLS handshake with the server failed")]
    Tls(#[source] std::io::Error),
    /// Connecting took too long.
    #[error("the server did not accept a connection in time")]
    ConnectTimeout,
    /// The response, or its next part, took too long.
    #[error("the server did not answer in time")]
    ResponseTimeout,
    /// The whole response took too long.
    #[error("the server did not complete its response in time")]
    CompletionTimeout,
    /// The origin throttles requests, so none is sent for a while.
    #[error("origin requests are paused because S3 is throttling")]
    Throttled,
    /// The connection failed.
    #[error("the connection to the server failed")]
    Connection(#[source] hyper::Error),
    /// The head of the response is longer than the limits allow.
    #[error("the head of the response has too many fields or bytes")]
    HeadTooLarge(#[source] hyper::Error),
    /// The response is not HTTP.
    #[error("the response is not valid HTTP")]
    Malformed(#[source] hyper::Error),
    /// The response's content was cut off, or is too long to be legitimate.
    #[error("the response could not be read")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All connections to the origin are busy, and the queue is full.
    #[error("too many requests are waiting for the origin")]
    Busy,
    /// There are too many WebSocket and similar connections, of one client or of all.
    #[error(
        "too many WebSocket or similar connections to the origin are open, of this client or of all"
    )]
    TooManyTunnels,
    /// A client is at its limit of connections to the origin.
    #[error("a client has reached its limit of connections to the origin")]
    ClientBusy,
    /// No credentials to sign with.
    #[error("no AWS credentials are loaded")]
    NoCredentials,
    /// The first credentials have not been loaded yet.
    #[error("no AWS credentials have been loaded yet")]
    CredentialsPending,
    /// The signer refused the request.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The request could not be written as HTTP.
    #[error("the origin request is not valid HTTP")]
    Request(#[from] http::Error),
    /// The content of the viewer's request broke off or was malformed.
    #[error("the viewer's request content could not be read")]
    ViewerContent,
    /// The content of the viewer's request arrived too slowly.
    #[error("the viewer's request content arrived too slowly")]
    ViewerTooSlow,
    /// A status that nothing in the request explains.
    #[error("the origin answered with an unexpected status: {0}")]
    UnexpectedStatus(StatusCode),
    /// A 101 with a protocol that was not requested.
    #[error("the origin switched to a protocol that the request does not name")]
    WrongProtocol,
    /// A 206 with a range other than the requested one.
    #[error("the origin answered 206 with a range other than the requested one")]
    WrongRange,
    /// S3 refused for a reason that the viewer cannot fix.
    #[error("S3 answered {status} {code}")]
    S3 {
        /// The cause.
        class: S3Class,
        /// The status of the response.
        status: StatusCode,
        /// S3's `<Code>`.
        code: String,
        /// The bucket's region, if S3 named it.
        region: Option<String>,
        /// The shortest pause that S3 requests before the next request.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// The S3 error in a response, if it is one.
    #[must_use]
    pub fn of_answer(answer: &WholeAnswer) -> Option<Self> {
        let status = answer.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return None;
        }
        let S3Error { code, region } = S3Error::parse(&answer.content);
        let named =
            answer.fields.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let region = region.or_else(|| named.map(str::to_owned));
        let class = S3Class::of(status, &code);
        Some(Self::S3 { class, status, code, region, retry_after: None })
    }
}

/// The cause of an error, as named in metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// [`Error::Dns`].
    Dns,
    /// [`Error::Connect`].
    Connect,
    /// [`Error::Tls`].
    Tls,
    /// Either timeout.
    Timeout,
    /// [`Error::Connection`] and requests that are not HTTP.
    Connection,
    /// Too many requests or connections at once.
    Busy,
    /// The viewer's own content; no evidence about the origin.
    Viewer,
    /// The same, because it arrived too slowly.
    ViewerTooSlow,
    /// The origin rejects the request itself.
    Rejected,
    /// Credentials missing or refused, clock, region, bucket.
    Configuration,
    /// Encryption keys.
    Kms,
    /// S3 throttles requests.
    Throttled,
    /// Other S3 errors.
    Other,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [Self; 13] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Connection,
        Self::Busy,
        Self::Viewer,
        Self::ViewerTooSlow,
        Self::Rejected,
        Self::Configuration,
        Self::Kms,
        Self::Throttled,
        Self::Other,
    ];

    /// The status of the response to the viewer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Viewer => StatusCode::BAD_REQUEST,
            Self::ViewerTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy | Self::Throttled => StatusCode::SERVICE_UNAVAILABLE,
            Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Connection
            | Self::Rejected
            | Self::Configuration
            | Self::Kms
            | Self::Other => StatusCode::BAD_GATEWAY,
        }
    }

    /// A token for metrics, logs and `Cache-Status`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Dns => "origin-dns",
            Self::Connect => "origin-connect",
            Self::Tls => "origin-tls",
            Self::Timeout => "origin-timeout",
            Self::Connection => "origin-connection",
            Self::Busy => "origin-busy",
            Self::Viewer => "viewer-content",
            Self::ViewerTooSlow => "viewer-too-slow",
            Self::Rejected => "origin-rejected",
            Self::Configuration => "origin-configuration",
            Self::Kms => "origin-kms",
            Self::Throttled => "origin-throttled",
            Self::Other => "origin-error",
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge(error)
        } else if error.is_parse() {
            Self::Malformed(error)
        } else {
            Self::Connection(error)
        }
    }
}

impl Error {
    /// The cause, without its details.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Dns(_) => ErrorClass::Dns,
            Self::Connect(_) => ErrorClass::Connect,
            Self::Tls(_) => ErrorClass::Tls,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::CompletionTimeout => {
                ErrorClass::Timeout
            }
            Self::Throttled => ErrorClass::Throttled,
            Self::Connection(_)
            | Self::HeadTooLarge(_)
            | Self::Malformed(_)
            | Self::Request(_)
            | Self::Content(_) => ErrorClass::Connection,
            Self::Busy | Self::TooManyTunnels | Self::ClientBusy => ErrorClass::Busy,
            Self::ViewerContent => ErrorClass::Viewer,
            Self::ViewerTooSlow => ErrorClass::ViewerTooSlow,
            Self::UnexpectedStatus(_) | Self::WrongProtocol | Self::WrongRange => ErrorClass::Other,
            Self::NoCredentials | Self::CredentialsPending | Self::Sign(_) => {
                ErrorClass::Configuration
            }
            Self::S3 { class, .. } => match class {
                S3Class::Rejected => ErrorClass::Rejected,
                S3Class::Configuration => ErrorClass::Configuration,
                S3Class::Kms => ErrorClass::Kms,
                S3Class::Throttled | S3Class::Transient => ErrorClass::Throttled,
                _ => ErrorClass::Other,
            },
        }
    }

    /// The status of the response, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::UnexpectedStatus(status) | Self::S3 { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the viewer's own content caused the error.
    #[must_use]
    pub const fn is_viewers(&self) -> bool {
        matches!(self, Self::ViewerContent | Self::ViewerTooSlow)
    }

    /// Whether another attempt, on another connection, may succeed.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::ResponseTimeout)
            || matches!(self.class(), ErrorClass::Connection | ErrorClass::Throttled)
    }

    /// Advice to the operator.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Dns(_) => "check the origin's host name and this machine's resolver".into(),
            Self::Connect(_) | Self::ConnectTimeout => {
                "check that the origin is running and that no firewall blocks the connection".into()
            }
            // A plain HTTP server answers a handshake with text.
            Self::Tls(error) if error.to_string().contains("corrupt message") => {
                "the origin does not speak TLS: use http:// in its URL".into()
            }
            Self::Tls(_) => {
                "check the origin's certificate; a private CA is set with `ca_file`".into()
            }
            Self::ResponseTimeout => "the origin is slow; raise `response_timeout` if that is expected".into(),
            Self::CompletionTimeout => {
                "the origin is slow; raise `completion_timeout` if that is expected".into()
            }
            Self::Throttled => s3_advice("SlowDown").into(),
            Self::Connection(_) | Self::Request(_) | Self::Content(_) => {
                "the origin closed the connection: check the origin's logs".into()
            }
            Self::Busy => "raise the origin's `max_connections`".into(),
            Self::TooManyTunnels => "raise the origin's `max_tunnels`, of which one client has at most a quarter".into(),
            Self::ClientBusy => {
                "if the client's load is legitimate, raise the origin's `max_connections_per_client`"
                    .into()
            }
            Self::ViewerContent | Self::ViewerTooSlow => "none: the viewer's upload failed".into(),
            Self::HeadTooLarge(_) => {
                "raise the origin's `max_response_fields` or `max_response_head`".into()
            }
            Self::UnexpectedStatus(_) | Self::WrongProtocol | Self::WrongRange | Self::Malformed(_) => "check the origin and any proxy in front of it".into(),
            Self::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role".into()
            }
            Self::CredentialsPending => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile; if this machine has a role, check that its credential service answers".into()
            }
            Self::Sign(_) => "check the credentials for characters that no AWS key has".into(),
            Self::S3 { code, region: Some(region), .. } if is_region_error(code) => {
                format!("the bucket is in `{region}`: set `region = \"{region}\"`")
            }
            Self::S3 { code, .. } if code.is_empty() => {
                "the response does not come from S3: check `endpoint`".into()
            }
            Self::S3 { code, .. } => s3_advice(code).into(),
        }
    }
}

fn is_region_error(code: &str) -> bool {
    matches!(code, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed")
}

fn s3_advice(code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" | "NotSignedUp" => {
            "the store does not know this access key: check which credentials are in use"
        }
        "SignatureDoesNotMatch" => {
            "the secret access key does not match the access key id: check both"
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "the session token has expired: renew it, or give this machine a role"
        }
        "RequestTimeTooSkewed" => {
            "this machine's clock is wrong: run a time service (chrony, ntpd)"
        }
        "NoSuchBucket" => {
            "there is no bucket with this name: correct `bucket` or `endpoint`; if `forebay init` wrote the file, run it again with --force"
        }
        code if is_region_error(code) => "set `region` to the bucket's region",
        code if code.starts_with("KMS.") => "check the state of the KMS key and `kms:Decrypt`",
        "InternalError" => "S3 had an internal error, and all retries failed",
        "SlowDown" | "ServiceUnavailable" => {
            "reduce cache misses, or spread keys over more prefixes"
        }
        _ => "see S3's list of error codes",
    }
}

//! The error of a request.

use std::{error::Error, fmt};

use h3::{
    error::{Code, ConnectionError, StreamError},
    quic::ConnectionErrorIncoming,
};

use crate::aws::describe;

/// The reason why a request has no complete response.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// Over HTTP/1.1 or HTTP/2.
    Hyper(hyper::Error),
    /// Over HTTP/3.
    Http3(StreamError),
    /// The response broke off.
    Truncated(String),
    /// The content is shorter or longer than `Content-Length`, which HTTP/3's library does not check.
    WrongLength,
}

impl ExchangeError {
    /// Whether the server has not read the request, which is then retried: the server had closed the connection, is
    /// shutting down gracefully, or refused the stream (RFC 9113 §8.7, RFC 9114 §5.2).
    pub(super) fn is_unread(&self) -> bool {
        match self {
            Self::Hyper(error) => {
                let cause = error.source().and_then(|cause| cause.downcast_ref());
                let reason = cause.and_then(h2::Error::reason);
                error.is_canceled()
                    || matches!(reason, Some(h2::Reason::NO_ERROR | h2::Reason::REFUSED_STREAM))
            }
            Self::Http3(StreamError::RemoteClosing) => true,
            Self::Http3(StreamError::RemoteTerminate { code, .. }) => {
                *code == Code::H3_REQUEST_REJECTED
            }
            Self::Http3(error) => error.is_h3_no_error(),
            Self::Truncated(_) | Self::WrongLength => false,
        }
    }

    /// Whether the connection takes no more requests.
    pub(super) const fn ends_connection(&self) -> bool {
        matches!(self, Self::Http3(StreamError::RemoteClosing | StreamError::ConnectionError(_)))
    }

    /// Whether the response is not HTTP.
    pub(super) fn is_parse(&self) -> bool {
        matches!(self, Self::Hyper(error) if error.is_parse())
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hyper(error) => f.write_str(&describe(error)),
            Self::Http3(error) => f.write_str(&in_words(error)),
            Self::Truncated(words) => f.write_str(words),
            Self::WrongLength => {
                f.write_str("the content's length differs from its Content-Length")
            }
        }
    }
}

/// The usual errors in words; the library's own are for its developers.
fn in_words(error: &StreamError) -> String {
    match error {
        StreamError::RemoteTerminate { code, .. } => {
            format!("the server reset the request: {code}")
        }
        StreamError::ConnectionError(ConnectionError::Timeout) => {
            "the server no longer answers".to_owned()
        }
        StreamError::ConnectionError(ConnectionError::Remote(error)) => match error {
            ConnectionErrorIncoming::ApplicationClose { error_code } => {
                format!("the server closed the connection: {}", Code::from(*error_code))
            }
            ConnectionErrorIncoming::InternalError(words) => words.clone(),
            ConnectionErrorIncoming::Undefined(error) => {
                format!("the connection failed: {error}")
            }
            ConnectionErrorIncoming::Timeout => "the server no longer answers".to_owned(),
        },
        error => error.to_string(),
    }
}

impl Error for ExchangeError {}

impl From<hyper::Error> for ExchangeError {
    fn from(error: hyper::Error) -> Self {
        Self::Hyper(error)
    }
}

impl From<StreamError> for ExchangeError {
    fn from(error: StreamError) -> Self {
        Self::Http3(error)
    }
}

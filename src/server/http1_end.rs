//! The end of an HTTP/1.1 connection.

use bytes::Bytes;

/// How an HTTP/1.1 connection ended.
pub(super) enum Http1End<S> {
    /// It is closed.
    Closed,
    /// The client speaks HTTP/2; the stream, and what was read of it.
    IsHttp2(S, Bytes),
}

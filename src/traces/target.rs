//! The target of a request, as its span describes it.

use http::Method;

/// The target of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestTarget {
    pub(crate) method: Method,
    pub(crate) is_tls: bool,
    /// The server's host, and its port unless that is the default.
    pub(crate) authority: String,
    /// The path as it is sent, without the query.
    pub(crate) path: String,
}

//! Connections to other servers, and single requests to AWS services.

pub(crate) mod address;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod s3_error;
mod service;
pub(crate) mod timing;
pub(crate) mod whole_answer;

pub(crate) use address::{Address, AddressError};
pub use connect::TrustError;
pub(crate) use connect::{HeadLimits, trusted_roots};
pub(crate) use error::{Error, ErrorClass};
pub(crate) use service::Service;
pub(crate) use timing::Timing;
pub(crate) use whole_answer::WholeAnswer;

/// The `User-Agent` of requests to origins and services.
pub(crate) const USER_AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION")));

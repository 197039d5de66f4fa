//! Connections to other servers, and single requests to AWS services.

pub(crate) mod address;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod s3_error;
mod service;
pub(crate) mod timing;
pub(crate) mod whole_answer;

pub use address::{Address, AddressError};
pub use connect::{HeadLimits, TrustError, trusted_roots};
pub use error::{Error, ErrorClass};
pub use s3_error::S3Class;
pub use service::{Service, ServiceError};
pub use timing::Timing;
pub use whole_answer::WholeAnswer;

/// The `User-Agent` of requests to origins and services.
pub(crate) const USER_AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION")));

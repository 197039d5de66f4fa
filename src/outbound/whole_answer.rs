//! A response of an AWS service, with its whole content.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::timing::Timing;

/// A response whose content was read to the end.
#[derive(Debug)]
pub struct WholeAnswer {
    /// Status code.
    pub status: StatusCode,
    /// All fields.
    pub fields: HeaderMap,
    /// Content, up to 4 MiB.
    pub content: Bytes,
    /// The times of the exchange.
    pub timing: Timing,
}

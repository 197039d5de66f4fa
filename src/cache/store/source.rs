//! The origin, as readers of a stored response see it.

use std::ops::Range;

use futures_util::future::BoxFuture;

use super::{FetchError, response::StoredResponse};
use crate::http::body::{Body, BodyError};

/// The reason a [`SliceSource`] cannot deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The object is no longer the one that the stored response describes.
    Changed,
    /// The origin failed.
    Failed(FetchError),
}

impl From<SourceError> for BodyError {
    fn from(error: SourceError) -> Self {
        Self::Aborted(match error {
            SourceError::Changed => "the object changed",
            SourceError::Failed(failure) => failure.detail,
        })
    }
}

/// The source of missing slices.
pub(crate) trait SliceSource: Send + Sync {
    /// Requests `bytes` from the origin, of exactly the version that `response` describes. The body
    /// delivers exactly these bytes.
    fn open<'a>(
        &'a self,
        response: &'a StoredResponse,
        bytes: Range<u64>,
    ) -> BoxFuture<'a, Result<Body, SourceError>>;
}

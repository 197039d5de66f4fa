//! What forwarding a request leads to.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::{
    base::metrics::ResultType,
    cache::{
        policy::NotStored,
        store::{FetchError, StoredResponse},
    },
    http::cache_status::Report,
    origin::OriginResponse,
    outbound::Timing,
};

/// The outcome of forwarding a request.
pub(crate) enum Forwarded {
    /// A stored response.
    Stored {
        response: Arc<StoredResponse>,
        how: How,
        /// Fields of the origin's answer that are not stored, for this viewer alone.
        own_fields: Option<Box<HeaderMap>>,
        /// How long the origin took.
        timing: Option<Box<Timing>>,
    },
    /// A response that another request stored in the meantime.
    Found(Arc<StoredResponse>),
    /// The origin's answer, which must not be stored.
    Unstorable(Box<OriginResponse>, NotStored),
    /// Something is stored now, but not what this request selects.
    Again,
    /// Nothing: this request must be forwarded without sharing a fetch.
    Alone,
    /// An error: the origin did not respond.
    Failed(FetchError),
}

/// How a stored response came to answer a request that was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The origin sent it.
    Fetched,
    /// The origin confirmed it with a 304, whose fields may forbid to store it again.
    Validated(Result<(), NotStored>),
    /// The origin failed for the reason in the token, so the stale response stays in use.
    Kept(&'static str),
    /// This request waited for the fetch of another one.
    Collapsed,
}

impl How {
    /// Notes it for `Cache-Status`, and returns CloudFront's result type.
    pub(crate) const fn tell(self, report: &mut Report) -> ResultType {
        match self {
            Self::Fetched => {
                report.stored = true;
                ResultType::Miss
            }
            Self::Validated(stored) => {
                report.forward_status = Some(StatusCode::NOT_MODIFIED.as_u16());
                match stored {
                    Ok(()) => report.stored = true,
                    Err(reason) => report.detail = Some(reason.token()),
                }
                ResultType::RefreshHit
            }
            Self::Kept(why) => {
                report.detail = Some(why);
                ResultType::Hit
            }
            Self::Collapsed => {
                report.collapsed = true;
                ResultType::Hit
            }
        }
    }
}

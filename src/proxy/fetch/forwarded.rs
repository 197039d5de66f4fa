//! Outcomes of forwarding a request.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::{
    base::metrics::ResultType,
    cache::{
        policy::NotStored,
        store::{FetchError, StoredResponse},
    },
    http::cache_status::{PEER_HIT, Report},
    origin::{FromPeer, OriginResponse},
    outbound::Timing,
};

/// The outcome of forwarding a request.
pub(crate) enum Forwarded {
    /// A stored response.
    Stored {
        response: Arc<StoredResponse>,
        how: How,
        /// Headers of the origin's response that are not stored, for this viewer alone.
        own_fields: Option<Box<HeaderMap>>,
        /// The origin's timing.
        timing: Option<Box<Timing>>,
    },
    /// A response that another request stored in the meantime.
    Found(Arc<StoredResponse>),
    /// The origin's response, which must not be stored.
    Unstorable(Box<OriginResponse>, NotStored),
    /// Another response is stored now, but not the one this request selects.
    Again,
    /// No response: this request must be forwarded without sharing a fetch.
    Alone,
    /// An error: the origin did not respond.
    Failed(FetchError),
}

/// The way in which a forwarded request got its stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The origin sent it, or another node of the cluster.
    Fetched { peer: Option<FromPeer> },
    /// The origin confirmed it with a 304, whose headers may forbid storing it again.
    Validated(Result<(), NotStored>),
    /// The origin failed for the reason in the token, so the stale response stays in use.
    Kept(&'static str),
    /// This request waited for the fetch of another one.
    Collapsed,
}

impl How {
    /// Records the outcome for `Cache-Status` and returns CloudFront's result type.
    pub(crate) fn tell(self, report: &mut Report) -> ResultType {
        match self {
            Self::Fetched { peer } => {
                report.stored = true;
                report.detail = peer.filter(|peer| peer.is_hit).map(|_| PEER_HIT);
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

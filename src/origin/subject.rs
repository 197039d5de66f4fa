//! The subject of a log line about an origin.

use super::OriginRequest;

/// The request that a log line is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(super) path: Box<str>,
    pub(super) id: Option<Box<str>>,
}

impl Subject {
    pub(crate) fn of(request: &OriginRequest<'_>) -> Self {
        Self { path: request.path.as_str().into(), id: request.id.clone() }
    }
}

//! The columns of CloudFront's report of popular objects.

use serde::Serialize;

use super::{sample::Sample, space_saving::Counted};
use crate::base::metrics::ResultType;

/// The columns of CloudFront's report of popular objects (Amazon CloudFront Developer Guide, "View CloudFront popular
/// objects reports").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    /// Also those that the origin validated.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Bytes of content sent.
    pub(crate) bytes: u64,
    pub(crate) client_errors: u64,
    pub(crate) server_errors: u64,
}

impl Counts {
    /// The counts that a sample adds, by its weight.
    pub(super) fn of(sample: &Sample) -> Self {
        let weight = u64::from(sample.weight);
        let if_so = |is_so: bool| if is_so { weight } else { 0 };
        Self {
            requests: weight,
            hits: if_so(matches!(sample.result, ResultType::Hit | ResultType::RefreshHit)),
            misses: if_so(sample.result == ResultType::Miss),
            bytes: weight.saturating_mul(sample.bytes),
            client_errors: if_so((400..500).contains(&sample.status)),
            server_errors: if_so(sample.status >= 500),
        }
    }
}

impl Counted for Counts {
    fn weight(&self) -> u64 {
        self.requests
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.hits += more.hits;
        self.misses += more.misses;
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.client_errors += more.client_errors;
        self.server_errors += more.server_errors;
    }
}

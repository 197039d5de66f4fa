//! What was counted of a distribution.

use serde::Serialize;

use super::LATENCY;

/// The number of buckets of durations.
pub(super) const BUCKETS: usize = LATENCY.len() + 1;

/// What was counted of a distribution, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Those answered from the cache without the origin.
    pub hits: u64,
    /// Those answered from the cache after the origin validated it.
    pub refresh_hits: u64,
    /// Those fetched from the origin.
    pub misses: u64,
    /// Responses with a status from 400 to 499.
    pub client_errors: u64,
    /// Responses with a status from 500.
    pub server_errors: u64,
    /// Bytes of content sent.
    pub bytes: u64,
    /// Those from the cache, also after a validation.
    pub hit_bytes: u64,
    /// Requests that waited for the fetch of another one.
    pub collapsed: u64,
    /// Stale responses served.
    pub stale: u64,
    /// Hits by duration.
    pub hit_times: [u64; BUCKETS],
    /// Misses by duration.
    pub miss_times: [u64; BUCKETS],
}

impl Totals {
    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let times = |a: &[u64; BUCKETS], b: &[u64; BUCKETS]| {
            std::array::from_fn(|place| f(a[place], b[place]))
        };
        Self {
            requests: f(self.requests, other.requests),
            hits: f(self.hits, other.hits),
            refresh_hits: f(self.refresh_hits, other.refresh_hits),
            misses: f(self.misses, other.misses),
            client_errors: f(self.client_errors, other.client_errors),
            server_errors: f(self.server_errors, other.server_errors),
            bytes: f(self.bytes, other.bytes),
            hit_bytes: f(self.hit_bytes, other.hit_bytes),
            collapsed: f(self.collapsed, other.collapsed),
            stale: f(self.stale, other.stale),
            hit_times: times(&self.hit_times, &other.hit_times),
            miss_times: times(&self.miss_times, &other.miss_times),
        }
    }
}

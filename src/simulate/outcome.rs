//! Counts of a simulation.

use super::Trace;

/// Counts of a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    /// Requests that the cache answered without the origin.
    pub(crate) hits: u64,
    /// Requests that it answered after the origin had confirmed the object, because its TTL had passed.
    pub(crate) validated: u64,
    /// Bytes that viewers got.
    pub(crate) bytes: u64,
    /// Those from the cache.
    pub(crate) hit_bytes: u64,
    /// Bytes that the origin sent.
    pub(crate) origin_bytes: u64,
}

impl Outcome {
    pub(super) fn count(&mut self, (bytes, fetched): (u64, u64), is_hit: bool, is_fresh: bool) {
        self.requests += 1;
        self.bytes += bytes;
        match (is_hit, is_fresh) {
            (true, true) => self.hits += 1,
            (true, false) => self.validated += 1,
            // Of a large object, only the parts that viewers request are fetched.
            (false, _) => self.origin_bytes += fetched,
        }
        if is_hit {
            self.hit_bytes += bytes;
        }
    }

    /// The counts of all objects, if these are those of a sample.
    pub(super) const fn scaled(&self, trace: &Trace) -> Self {
        let (passed, passed_bytes) = trace.passed();
        Self {
            // A sample has more or fewer requests than its share of objects; most of the difference are hits of the most popular
            // ones (SHARDS calls this correction "adj").
            requests: trace.total(),
            hits: (trace.unscaled(self.hits) + trace.total() - passed)
                .saturating_sub(trace.unscaled(self.requests)),
            validated: trace.unscaled(self.validated),
            bytes: trace.unscaled(self.bytes) + passed_bytes,
            hit_bytes: trace.unscaled(self.hit_bytes),
            origin_bytes: trace.unscaled(self.origin_bytes) + passed_bytes,
        }
    }

    /// Requests to the origin.
    pub(crate) const fn origin_requests(&self) -> u64 {
        self.requests - self.hits
    }

    /// The share of requests that the cache answered.
    pub(crate) fn hit_ratio(&self) -> f64 {
        ratio(self.hits + self.validated, self.requests)
    }

    /// The share of bytes that the cache answered.
    pub(crate) fn byte_hit_ratio(&self) -> f64 {
        ratio(self.hit_bytes, self.bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

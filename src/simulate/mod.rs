//! Simulates caches of several sizes with the requests of access logs.

mod cache_policies;
mod cluster;
mod outcome;
mod page;
mod policy;
mod purges;
mod report;
mod trace;

pub(crate) use cache_policies::CachePolicies;
pub(crate) use cluster::{Cluster, ClusterOutcome};
pub(crate) use outcome::Outcome;
pub(crate) use policy::PolicyName;
use policy::{Gdsf, Lru, Policy, S3Fifo, Sieve, TinyLfu};
pub(crate) use purges::Purges;
pub(crate) use report::{Prices, Report};
pub(crate) use trace::{Trace, TraceOptions};

/// Simulates one cache that starts empty.
pub(crate) fn simulate(trace: &Trace, policy: PolicyName, capacity: u64, ttl: u32) -> Outcome {
    // A sample of the objects needs the same share of the memory.
    let capacity = trace.scaled(capacity);
    let objects = trace.sizes().len();
    match policy {
        PolicyName::Lru => run(trace, ttl, Lru::new(capacity, objects)),
        PolicyName::Sieve => run(trace, ttl, Sieve::new(capacity, objects)),
        PolicyName::S3Fifo => run(trace, ttl, S3Fifo::new(capacity, objects)),
        PolicyName::Gdsf => run(trace, ttl, Gdsf::new(capacity, objects)),
        PolicyName::TinyLfu => run(trace, ttl, TinyLfu::new(capacity, objects)),
    }
}

fn run(trace: &Trace, ttl: u32, mut policy: impl Policy) -> Outcome {
    let mut outcome = Outcome::default();
    let mut fetched_at = vec![0_u32; trace.sizes().len()];
    for request in trace.requests() {
        let object = request.object as usize;
        let size = trace.sizes()[object];
        let is_hit = policy.request(request.object, size)
            && !trace.was_purged(object, fetched_at[object], request.second);
        let is_fresh = request.second.saturating_sub(fetched_at[object]) < trace.ttl(object, ttl);
        outcome.count((request.bytes, request.fetched(size)), is_hit, is_fresh);
        if !(is_hit && is_fresh) {
            fetched_at[object] = request.second;
        }
    }
    outcome
}

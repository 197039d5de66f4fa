//! The requests of a simulation.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{CachePolicies, Purges, cache_policies::Use};
use crate::{access::signed::unsigned_query, access_log::LoggedRequest};

/// Which requests count, and which of them are for the same object.
#[derive(Debug)]
pub(crate) struct TraceOptions {
    /// Whether URLs with different queries are different objects.
    pub(crate) with_query: bool,
    /// The most requests in memory. With more, the objects are sampled.
    pub(crate) most: usize,
    /// The policies that decide what an object is and how long it is fresh, instead of `with_query`.
    pub(crate) policies: Option<CachePolicies>,
    pub(crate) purges: Purges,
}

/// Requests in the order of time, of all objects or of a sample.
///
/// A sample has the objects whose hash is below a threshold, with all their requests (Waldspurger and others, "Efficient MRC
/// construction with SHARDS", FAST 2015). The threshold is halved whenever there are too many requests.
#[derive(Debug)]
pub(crate) struct Trace {
    options: TraceOptions,
    hasher: siphasher::sip::SipHasher13,
    ids: HashMap<u64, u32>,
    sizes: Vec<u64>,
    hashes: Vec<u64>,
    /// How long each object is fresh, in seconds, if policies say so.
    ttls: Vec<u32>,
    /// When objects were purged.
    purged: HashMap<u32, Arc<[u32]>>,
    /// The lists in `purged`: many objects have the same one.
    purge_times: BTreeSet<Arc<[u32]>>,
    /// Requests and bytes of what is never stored.
    passed: (u64, u64),
    requests: Vec<Request>,
    /// Objects whose hash is shifted by so many bits to 0 are in the sample.
    halvings: u32,
    /// Requests and bytes that count, also of objects that are not in the sample.
    total: u64,
    total_bytes: u64,
    skipped: u64,
    unreadable: u64,
}

/// A request for an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) object: u32,
    /// Since 1970.
    pub(super) second: u32,
    pub(super) bytes: u64,
}

impl Request {
    /// Bytes that a cache without the object fetches, if the object has `size`. A viewer that has the object already gets nothing,
    /// but the cache fetches all of it.
    pub(super) const fn fetched(&self, size: u64) -> u64 {
        if self.bytes == 0 { size } else { self.bytes }
    }
}

impl Trace {
    pub(crate) fn new(options: TraceOptions) -> Self {
        Self {
            options,
            // The same sample for the same log.
            hasher: siphasher::sip::SipHasher13::new_with_keys(1, 2),
            ids: HashMap::new(),
            sizes: Vec::new(),
            hashes: Vec::new(),
            ttls: Vec::new(),
            purged: HashMap::new(),
            purge_times: BTreeSet::new(),
            passed: (0, 0),
            requests: Vec::new(),
            halvings: 0,
            total: 0,
            total_bytes: 0,
            skipped: 0,
            unreadable: 0,
        }
    }

    /// Adds a line of a log. Only successful GETs count: a cache stores nothing else for long.
    pub(crate) fn add(&mut self, line: &str) {
        if line.starts_with('#') || line.trim().is_empty() {
            return;
        }
        let logged = LoggedRequest::parse(line);
        let Some((logged, time)) = logged.and_then(|it| it.time.map(|time| (it, time))) else {
            self.unreadable += 1;
            return;
        };
        if logged.method != "GET" || !matches!(logged.status, Some(200 | 206 | 304)) {
            self.skipped += 1;
            return;
        }
        let second = u32::try_from(time.as_secs()).unwrap_or_default();
        let size = logged.bytes.max(logged.last_byte().map_or(0, |last| last.saturating_add(1)));
        let Some(used) = self.used(&logged) else {
            self.unreadable += 1;
            return;
        };
        self.request(&logged.path, &used, (second, logged.bytes), size);
    }

    fn used(&self, logged: &LoggedRequest) -> Option<Use> {
        // A signature does not make another object.
        let query = logged.query.as_deref().and_then(unsigned_query);
        if let Some(policies) = &self.options.policies {
            return policies.of(&LoggedRequest { query, ..logged.clone() });
        }
        let query = query.filter(|_| self.options.with_query).unwrap_or_default();
        Some(Use { key: format!("{}\0{query}", logged.path).into_bytes(), ttl: u32::MAX })
    }

    /// Puts the requests in order: logs have several files for the same time.
    pub(crate) fn sort(&mut self) {
        self.requests.sort_by_key(|request| request.second);
    }

    fn request(
        &mut self,
        path: &str,
        Use { key, ttl }: &Use,
        (second, bytes): (u32, u64),
        least_size: u64,
    ) {
        if *ttl == 0 {
            // Its objects do not matter, so a sample does not need them.
            self.passed = (self.passed.0 + 1, self.passed.1.saturating_add(bytes));
            return;
        }
        self.total += 1;
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let hash = self.hasher.hash(key);
        if !self.has(hash) {
            return;
        }
        let next = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let object = *self.ids.entry(hash).or_insert(next);
        if object == next {
            self.sizes.push(0);
            self.hashes.push(hash);
            self.ttls.push(*ttl);
            let purged = self.options.purges.of(path);
            if !purged.is_empty() {
                let known = self.purge_times.get(&purged[..]).cloned();
                let times = known.unwrap_or_else(|| {
                    let times: Arc<[u32]> = purged.into();
                    self.purge_times.insert(Arc::clone(&times));
                    times
                });
                self.purged.insert(object, times);
            }
        }
        // A range, or a 304, has only a part of the object.
        let size = &mut self.sizes[object as usize];
        *size = (*size).max(least_size);
        self.requests.push(Request { object, second, bytes });
        while self.requests.len() > self.options.most && self.sizes.len() > 1 {
            self.halve();
        }
    }

    fn has(&self, hash: u64) -> bool {
        self.halvings == 0 || hash >> (u64::BITS - self.halvings) == 0
    }

    /// Keeps half of the objects.
    fn halve(&mut self) {
        self.halvings += 1;
        let mut new_ids = vec![None; self.sizes.len()];
        let (mut sizes, mut hashes, mut ttls) = (Vec::new(), Vec::new(), Vec::new());
        for (old, hash) in self.hashes.iter().enumerate() {
            if self.has(*hash) {
                new_ids[old] = u32::try_from(sizes.len()).ok();
                sizes.push(self.sizes[old]);
                hashes.push(*hash);
                ttls.push(self.ttls[old]);
            }
        }
        let purged = std::mem::take(&mut self.purged).into_iter();
        self.purged =
            purged.filter_map(|(old, times)| Some((new_ids[old as usize]?, times))).collect();
        let kept = |request: &Request| {
            Some(Request { object: new_ids[request.object as usize]?, ..*request })
        };
        self.requests = self.requests.iter().filter_map(kept).collect();
        let ids = hashes.iter().enumerate();
        self.ids = ids.filter_map(|(id, hash)| Some((*hash, u32::try_from(id).ok()?))).collect();
        (self.sizes, self.hashes, self.ttls) = (sizes, hashes, ttls);
    }

    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The size of each object in bytes: the most that one request got.
    pub(super) fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Requests and bytes of what is never stored.
    pub(super) const fn passed(&self) -> (u64, u64) {
        self.passed
    }

    /// How long an object is fresh: `most`, unless its policy says less.
    pub(super) fn ttl(&self, object: usize, most: u32) -> u32 {
        self.ttls[object].min(most)
    }

    /// Whether an object was purged after it was fetched.
    pub(super) fn was_purged(&self, object: usize, fetched_at: u32, now: u32) -> bool {
        let purged = u32::try_from(object).ok().and_then(|object| self.purged.get(&object));
        purged.is_some_and(|times| {
            let before = times.partition_point(|time| *time <= now);
            before > 0 && times[before - 1] > fetched_at
        })
    }

    /// Scales a number of all objects down to the sample.
    pub(super) const fn scaled(&self, number: u64) -> u64 {
        number >> self.halvings
    }

    /// Scales a number of the sample up to all objects.
    pub(super) const fn unscaled(&self, number: u64) -> u64 {
        number.saturating_mul(1 << self.halvings)
    }

    /// Requests that count.
    pub(crate) const fn total(&self) -> u64 {
        self.total + self.passed.0
    }

    /// Lines that are not successful GETs, and lines that are in no known format.
    pub(crate) const fn left_out(&self) -> (u64, u64) {
        (self.skipped, self.unreadable)
    }

    /// Bytes of all objects together.
    pub(crate) fn working_set(&self) -> u64 {
        self.unscaled(self.sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size)))
    }

    /// The number of objects.
    pub(crate) fn objects(&self) -> u64 {
        self.unscaled(self.sizes.len() as u64)
    }

    /// Bytes of all requests that count.
    pub(super) const fn total_bytes(&self) -> u64 {
        self.total_bytes.saturating_add(self.passed.1)
    }

    /// Whether the sample has no object.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Seconds from the first request to the last.
    pub(crate) fn seconds(&self) -> u32 {
        let (first, last) = (self.requests.first(), self.requests.last());
        first.zip(last).map_or(0, |(first, last)| last.second.saturating_sub(first.second))
    }

    /// The share of objects in the sample: one of so many.
    pub(crate) const fn one_of(&self) -> u64 {
        1 << self.halvings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(with_query: bool) -> TraceOptions {
        TraceOptions { with_query, most: 1000, policies: None, purges: Purges::default() }
    }

    fn line(path: &str, second: u32, bytes: u64) -> String {
        format!(
            "h - - [25/Nov/2026:01:02:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 {bytes} \"-\""
        )
    }

    #[test]
    fn a_sample_has_all_requests_of_its_objects() {
        let mut trace = Trace::new(options(false));
        for number in 0..8000 {
            trace.add(&line(&format!("/{}?n={number}", number % 800), 1, 100));
        }
        assert_eq!(trace.total(), 8000);
        assert!(trace.requests().len() <= 1000 && trace.one_of() >= 8, "{}", trace.one_of());
        assert_eq!(trace.requests().len(), trace.sizes().len() * 10);
        assert!((500..1100).contains(&trace.objects()), "{}", trace.objects());
    }

    #[test]
    fn sizes_are_those_of_whole_objects() {
        let mut trace = Trace::new(options(true));
        for (path, second, bytes) in [("/a", 9, 10), ("/a", 5, 100), ("/a?b&Signature=s", 0, 7)] {
            trace.add(&line(path, second, bytes));
        }
        trace.add("h - - [25/Nov/2026:01:02:03 +0000] \"HEAD /a HTTP/1.1\" 200 0");
        trace.add("nonsense");
        trace.sort();
        assert_eq!((trace.sizes(), trace.seconds(), trace.left_out()), (&[100, 7][..], 9, (1, 1)));
        let seconds = trace.requests().iter().map(|request| request.second);
        assert!(seconds.is_sorted());
        trace.add("{\"time\":\"2026-11-25T01:02:03Z\",\"method\":\"GET\",\"path\":\"/v\",\"status\":206,\"bytes\":10,\"range\":\"bytes=990-\"}");
        assert_eq!(trace.sizes()[2], 1000);
    }

    #[test]
    fn policies_make_objects_and_purges_end_them() {
        let text = r#"
[listen]
http = "127.0.0.1:0"
[[cache_policy]]
name = "size"
query_strings = { whitelist = ["size"] }
default_ttl = "10s"
[[distribution]]
id = "a"
aliases = ["*"]
[[distribution.origin]]
id = "o"
url = "http://a.example"
[distribution.default_behavior]
origin = "o"
cache_policy = "size"
[[distribution.behavior]]
path_pattern = "/api/*"
origin = "o"
cache_policy = "CachingDisabled"
"#;
        let config = crate::config::Config::compile("t", text, std::path::Path::new(""));
        let behaviors = config.expect("valid").distributions[0].settings.behaviors.clone();
        let purges = Purges::parse("2026-11-25T01:02:07Z /b*").expect("purges");
        let policies = Some(CachePolicies::new(behaviors));
        let mut trace = Trace::new(TraceOptions { policies, purges, ..options(false) });
        let outcome = |trace: &Trace| {
            let all =
                super::super::simulate(trace, super::super::PolicyName::Lru, 1_000_000, u32::MAX);
            let all = all.scaled(trace);
            (all.hits, all.validated, all.origin_requests())
        };
        for (path, second) in [
            ("/a?size=1&x=1", 0),
            // The other parameter is not in the key.
            ("/a?x=2&size=1", 1),
            ("/a?size=2", 2),
            // Not fresh any more.
            ("/a?size=1", 12),
            // Never stored.
            ("/api/a", 3),
            ("/api/a", 4),
            ("/b", 5),
            ("/b", 6),
            // Purged.
            ("/b", 8),
            ("/b", 9),
        ] {
            trace.add(&line(path, second, 100));
        }
        trace.sort();
        assert_eq!(trace.objects(), 3);
        assert_eq!(outcome(&trace), (3, 1, 7));
        let cluster = super::super::Cluster { nodes: 2, has_peer_fill: true };
        let all = cluster.simulate(&trace, 1_000_000, u32::MAX);
        assert_eq!((all.requests, all.origin_requests), (10, 7));
    }
}

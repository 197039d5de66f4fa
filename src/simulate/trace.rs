//! The requests of a simulation.

use std::collections::HashMap;

use super::log_line::LogLine;

/// Which requests count, and how objects are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceOptions {
    /// Whether URLs with different queries are different objects.
    pub(crate) with_query: bool,
    /// The most requests in memory. With more, the objects are sampled.
    pub(crate) most: usize,
}

/// Requests in the order of the logs, of all objects or of a sample.
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
    requests: Vec<Request>,
    /// Objects whose hash is shifted by so many bits to 0 are in the sample.
    halvings: u32,
    first: Option<i64>,
    seconds: u32,
    /// Requests that count, also of objects that are not in the sample.
    total: u64,
    skipped: u64,
    unreadable: u64,
}

/// A request for an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) object: u32,
    /// Since the first request.
    pub(super) second: u32,
    pub(super) bytes: u64,
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
            requests: Vec::new(),
            halvings: 0,
            first: None,
            seconds: 0,
            total: 0,
            skipped: 0,
            unreadable: 0,
        }
    }

    /// Adds a line of a log. Only successful GETs count: a cache stores nothing else for long.
    pub(crate) fn add(&mut self, line: &str) {
        if line.starts_with('#') || line.trim().is_empty() {
            return;
        }
        let Some(line) = LogLine::parse(line) else {
            self.unreadable += 1;
            return;
        };
        if line.method != "GET" || !matches!(line.status, 200 | 206 | 304) {
            self.skipped += 1;
            return;
        }
        let first = *self.first.get_or_insert(line.second);
        let second = u32::try_from(line.second.saturating_sub(first)).unwrap_or_default();
        self.seconds = self.seconds.max(second);
        let query = line.query.as_deref().filter(|_| self.options.with_query);
        self.request((&line.path, query), second, line.bytes);
    }

    fn request(&mut self, key: (&str, Option<&str>), second: u32, bytes: u64) {
        self.total += 1;
        let hash = self.hasher.hash(format!("{}\0{}", key.0, key.1.unwrap_or_default()).as_bytes());
        if !self.has(hash) {
            return;
        }
        let next = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let object = *self.ids.entry(hash).or_insert(next);
        if object == next {
            self.sizes.push(0);
            self.hashes.push(hash);
        }
        // A range, or a 304, has only a part of the object.
        let size = &mut self.sizes[object as usize];
        *size = (*size).max(bytes);
        self.requests.push(Request { object, second, bytes });
        while self.requests.len() > self.options.most {
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
        let (mut sizes, mut hashes) = (Vec::new(), Vec::new());
        for (old, hash) in self.hashes.iter().enumerate() {
            if self.has(*hash) {
                new_ids[old] = u32::try_from(sizes.len()).ok();
                sizes.push(self.sizes[old]);
                hashes.push(*hash);
            }
        }
        let kept = |request: &Request| {
            Some(Request { object: new_ids[request.object as usize]?, ..*request })
        };
        self.requests = self.requests.iter().filter_map(kept).collect();
        let ids = hashes.iter().enumerate();
        self.ids = ids.filter_map(|(id, hash)| Some((*hash, u32::try_from(id).ok()?))).collect();
        (self.sizes, self.hashes) = (sizes, hashes);
    }

    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The size of each object in bytes: the most that one request got.
    pub(super) fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The share of a number that a sample has.
    pub(super) const fn scaled(&self, number: u64) -> u64 {
        number >> self.halvings
    }

    /// The number that a number of the sample stands for.
    pub(super) const fn unscaled(&self, number: u64) -> u64 {
        number << self.halvings
    }

    /// Requests that count.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Lines that are not successful GETs, and lines that are in no known format.
    pub(crate) const fn left_out(&self) -> (u64, u64) {
        (self.skipped, self.unreadable)
    }

    /// Bytes of all objects together.
    pub(crate) fn working_set(&self) -> u64 {
        self.unscaled(self.sizes.iter().sum())
    }

    /// The number of objects.
    pub(crate) fn objects(&self) -> u64 {
        self.unscaled(self.sizes.len() as u64)
    }

    /// Seconds from the first request to the last.
    pub(crate) const fn seconds(&self) -> u32 {
        self.seconds
    }

    /// The share of objects in the sample: one of so many.
    pub(crate) const fn one_of(&self) -> u64 {
        1 << self.halvings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, second: u32, bytes: u64) -> String {
        format!(
            "h - - [25/Nov/2026:01:02:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 {bytes} \"-\""
        )
    }

    #[test]
    fn a_sample_has_all_requests_of_its_objects() {
        let mut trace = Trace::new(TraceOptions { with_query: false, most: 1000 });
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
        let mut trace = Trace::new(TraceOptions { with_query: true, most: 1000 });
        for (path, second, bytes) in [("/a", 0, 10), ("/a", 5, 100), ("/a?b", 9, 7)] {
            trace.add(&line(path, second, bytes));
        }
        trace.add("h - - [25/Nov/2026:01:02:03 +0000] \"HEAD /a HTTP/1.1\" 200 0");
        trace.add("nonsense");
        assert_eq!((trace.sizes(), trace.seconds(), trace.left_out()), (&[100, 7][..], 9, (1, 1)));
    }
}

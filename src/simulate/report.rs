//! The report of a simulation.

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::{Cluster, ClusterOutcome, Outcome, PolicyName, Trace, outcome::ratio, simulate};

/// Prices of an origin, in any currency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    /// Of 1,000,000,000 bytes that it sends.
    pub(crate) per_gigabyte: f64,
    /// Of 1,000 requests.
    pub(crate) per_1000_requests: f64,
}

/// The results for one size of the cache.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) capacity: u64,
    /// By LRU, as Forebay evicts, in the whole log: numbers of a sample are scaled up.
    pub(super) outcome: Outcome,
    pub(super) cost: f64,
    /// The hit ratios of all policies.
    pub(super) policies: Vec<(PolicyName, f64)>,
    /// In a cluster: without peer fill, and with it, each with its cost.
    pub(super) clusters: Vec<(Cluster, ClusterOutcome, f64)>,
}

/// The results of a simulation.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    /// What all requests cost without a cache.
    cost_without: f64,
    head: Vec<String>,
    facts: Value,
}

impl Report {
    /// Simulates caches of all sizes with all policies. `progress` gets the number of simulations that are done.
    pub(crate) fn of(
        trace: &Trace,
        capacities: &[u64],
        (ttl, nodes): (u32, Option<u32>),
        prices: Prices,
        progress: impl Fn(usize),
    ) -> Self {
        let mut done = 0;
        let mut rows = Vec::with_capacity(capacities.len());
        let (requests, origin_bytes) = (trace.total(), trace.total_bytes());
        let without = Outcome { requests, origin_bytes, ..Outcome::default() };
        for capacity in capacities {
            let mut policies = Vec::with_capacity(PolicyName::ALL.len());
            let mut lru = Outcome::default();
            for policy in PolicyName::ALL {
                let outcome = simulate(trace, policy, *capacity, ttl).scaled(trace);
                policies.push((policy, outcome.hit_ratio()));
                if policy == PolicyName::Lru {
                    lru = outcome;
                }
                done += 1;
                progress(done);
            }
            let clusters = nodes.into_iter().flat_map(|nodes| {
                [false, true].map(|has_peer_fill| Cluster { nodes, has_peer_fill })
            });
            let clusters = clusters.map(|cluster| {
                let outcome = cluster.simulate(trace, *capacity, ttl);
                let cost = prices.cost(outcome.origin_requests, outcome.origin_bytes);
                (cluster, outcome, cost)
            });
            let cost = prices.cost(lru.origin_requests(), lru.origin_bytes);
            let clusters = clusters.collect();
            rows.push(Row { capacity: *capacity, outcome: lru, cost, policies, clusters });
        }
        let (skipped, unreadable) = trace.left_out();
        let facts = json!({
            "requests": trace.total(),
            "objects": trace.objects(),
            "working_set": trace.working_set(),
            "seconds": trace.seconds(),
            "sampled_one_of": trace.one_of(),
            "lines_without_get": skipped,
            "lines_unreadable": unreadable,
        });
        Self {
            rows,
            cost_without: prices.cost(without.origin_requests(), without.origin_bytes),
            head: head(trace),
            facts,
        }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What the logs have.
    pub(super) fn head(&self) -> &[String] {
        &self.head
    }

    pub(super) const fn cost_without(&self) -> f64 {
        self.cost_without
    }

    /// The results as a table.
    pub(crate) fn table(&self) -> String {
        let mut lines = self.head.clone();
        lines.push(String::new());
        lines.push(format!(
            "{:>10}  {:>8}  {:>8}  {:>12}  {:>10}  {:>9}",
            "cache", "hits", "of bytes", "S3 requests", "S3 egress", "S3 cost"
        ));
        for Row { capacity, outcome, cost, .. } in &self.rows {
            lines.push(format!(
                "{:>10}  {:>8}  {:>8}  {:>12}  {:>10}  {:>9}",
                size(*capacity),
                percent(outcome.hit_ratio()),
                percent(outcome.byte_hit_ratio()),
                outcome.origin_requests(),
                size(outcome.origin_bytes),
                money(*cost),
            ));
        }
        lines.push(format!("{:>10}  {:>55}", "none", money(self.cost_without)));
        lines.extend(self.clusters());
        lines.push(String::new());
        lines.push("hits by eviction policy; `cache.eviction` selects LRU or TinyLFU".to_owned());
        let names = PolicyName::ALL.map(|policy| format!("{:>8}", policy.name())).join("  ");
        lines.push(format!("{:>10}  {names}", "cache"));
        for Row { capacity, policies, .. } in &self.rows {
            let ratios: Vec<String> =
                policies.iter().map(|(_, ratio)| format!("{:>8}", percent(*ratio))).collect();
            lines.push(format!("{:>10}  {}", size(*capacity), ratios.join("  ")));
        }
        lines.join("\n")
    }

    /// The results for a cluster, as lines of a table.
    fn clusters(&self) -> Vec<String> {
        let Some((Cluster { nodes, .. }, ..)) =
            self.rows.iter().find_map(|row| row.clusters.first())
        else {
            return Vec::new();
        };
        let mut lines = vec![
            String::new(),
            format!("{nodes} nodes, each with such a cache; without peer fill, and with it"),
            format!(
                "{:>10}  {:>9}  {:>8}  {:>11}  {:>12}  {:>10}  {:>9}",
                "cache", "peer fill", "hits", "other nodes", "S3 requests", "S3 egress", "S3 cost"
            ),
        ];
        for row in &self.rows {
            for (cluster, outcome, cost) in &row.clusters {
                lines.push(format!(
                    "{:>10}  {:>9}  {:>8}  {:>11}  {:>12}  {:>10}  {:>9}",
                    size(row.capacity),
                    if cluster.has_peer_fill { "yes" } else { "no" },
                    percent(ratio(outcome.hits(), outcome.requests)),
                    percent(ratio(outcome.peer_hits, outcome.requests)),
                    outcome.origin_requests,
                    size(outcome.origin_bytes),
                    money(*cost),
                ));
            }
        }
        lines
    }

    /// The results as JSON.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let policies = row.policies.iter();
            let policies: serde_json::Map<String, Value> =
                policies.map(|(policy, ratio)| (policy.name().to_owned(), json!(ratio))).collect();
            let clusters = row.clusters.iter().map(|(cluster, outcome, cost)| {
                json!({
                    "nodes": cluster.nodes,
                    "peer_fill": cluster.has_peer_fill,
                    "hit_ratio": ratio(outcome.hits(), outcome.requests),
                    "other_nodes_ratio": ratio(outcome.peer_hits, outcome.requests),
                    "origin_requests": outcome.origin_requests,
                    "origin_bytes": outcome.origin_bytes,
                    "cost": cost,
                })
            });
            json!({
                "cache": row.capacity,
                "hit_ratio": row.outcome.hit_ratio(),
                "byte_hit_ratio": row.outcome.byte_hit_ratio(),
                "origin_requests": row.outcome.origin_requests(),
                "origin_bytes": row.outcome.origin_bytes,
                "cost": row.cost,
                "hit_ratio_by_policy": policies,
                "clusters": clusters.collect::<Vec<_>>(),
            })
        };
        json!({
            "log": self.facts,
            "cost_without_cache": self.cost_without,
            "caches": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Prices {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn cost(&self, requests: u64, bytes: u64) -> f64 {
        bytes as f64 / 1e9 * self.per_gigabyte + requests as f64 / 1e3 * self.per_1000_requests
    }
}

fn head(trace: &Trace) -> Vec<String> {
    let mut lines = vec![format!(
        "{} requests for {} objects of {} together, in {}",
        trace.total(),
        trace.objects(),
        size(trace.working_set()),
        humantime::format_duration(std::time::Duration::from_secs(trace.seconds().into())),
    )];
    if trace.one_of() > 1 {
        lines.push(format!("sampled: one object of {}, with all its requests", trace.one_of()));
    }
    let (skipped, unreadable) = trace.left_out();
    for (count, what) in [(skipped, "not successful GETs"), (unreadable, "in no known format")] {
        if count > 0 {
            lines.push(format!("{count} lines left out: {what}"));
        }
    }
    lines
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

pub(super) fn percent(ratio: f64) -> String {
    format!("{:.2}%", ratio * 100.0)
}

pub(super) fn money(amount: f64) -> String {
    if amount < 100.0 { format!("{amount:.2}") } else { format!("{amount:.0}") }
}

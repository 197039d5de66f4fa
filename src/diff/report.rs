//! The report of a comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    difference::{Class, Difference},
    probe::Probe,
};
use crate::load::{Latencies, latencies, milliseconds};

/// Examples of a difference that are kept.
const EXAMPLES: usize = 100;

/// The differences, grouped.
pub(crate) struct Report {
    /// Objects of which all responses were compared.
    pub(super) objects: usize,
    /// Objects that were not compared, because the comparison was interrupted.
    pub(super) left: usize,
    /// Requests to each server.
    requests: u64,
    /// Requests without a difference but the expected ones.
    same: u64,
    groups: BTreeMap<Key, Group>,
    /// Times to the first byte of the reference and of the candidate, in microseconds.
    times: [Latencies; 2],
}

/// What the differences of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: Class,
    place: String,
    reason: &'static str,
}

/// A difference that several requests have.
#[derive(Default)]
struct Group {
    times: u64,
    probes: BTreeSet<Probe>,
    examples: Vec<Example>,
}

struct Example {
    probe: Probe,
    path: String,
    /// Of the reference and of the candidate.
    values: [String; 2],
}

impl Default for Report {
    fn default() -> Self {
        Self {
            objects: 0,
            left: 0,
            requests: 0,
            same: 0,
            groups: BTreeMap::new(),
            times: [latencies(), latencies()],
        }
    }
}

impl Report {
    /// Adds the differences of the responses to a request.
    pub(super) fn add(&mut self, probe: Probe, path: &str, differences: Vec<Difference>) {
        self.requests += 1;
        if differences.iter().all(|it| it.class == Class::Expected) {
            self.same += 1;
        }
        for Difference { class, place, reason, values } in differences {
            let group = self.groups.entry(Key { class, place, reason }).or_default();
            group.times += 1;
            group.probes.insert(probe);
            if group.examples.len() < EXAMPLES {
                group.examples.push(Example { probe, path: path.to_owned(), values });
            }
        }
    }

    /// Adds the times to the first byte.
    pub(super) fn time(&mut self, times: [Duration; 2]) {
        for (all, time) in self.times.iter_mut().zip(times) {
            // It grows with its values.
            let _ = all.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Whether any difference is wrong.
    pub(crate) fn has_wrong(&self) -> bool {
        self.count(Class::Wrong) > 0
    }

    /// Whether the comparison was interrupted.
    pub(crate) const fn is_interrupted(&self) -> bool {
        self.left > 0
    }

    fn count(&self, class: Class) -> u64 {
        self.of(class).map(|(_, group)| group.times).sum()
    }

    fn of(&self, class: Class) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter().filter(move |(key, _)| key.class == class)
    }

    /// The report as text. Differences that are expected are named, without examples.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{} requests for {} objects to each server: {} answered alike, {} wrong and {} harmless differences",
            self.requests,
            self.objects,
            self.same,
            self.count(Class::Wrong),
            self.count(Class::Harmless)
        )];
        if self.left > 0 {
            lines.push(format!("interrupted: {} objects were not compared", self.left));
        }
        for class in [Class::Wrong, Class::Harmless] {
            let mut groups = self.of(class).peekable();
            if groups.peek().is_some() {
                lines.extend([String::new(), format!("{}:", class.name())]);
            }
            for (Key { place, reason, .. }, group) in groups {
                let probes: Vec<&str> = group.probes.iter().map(|probe| probe.name()).collect();
                lines.push(format!("  {place}: {reason}"));
                let responses = if group.times == 1 { "response" } else { "responses" };
                lines.push(format!("    {} {responses} to {}", group.times, probes.join(", ")));
                if let Some(Example { probe, path, values: [one, other] }) = group.examples.first()
                {
                    lines.push(format!("    such as {} of {}", probe.name(), short(path)));
                    lines.push(format!("      reference  {}", short(one)));
                    lines.push(format!("      candidate  {}", short(other)));
                }
            }
        }
        lines.extend(self.expected());
        lines.push(String::new());
        lines.push(format!("{:>14}  {:>10}  {:>10}", "first byte", "median", "p99"));
        for (name, times) in ["reference", "candidate"].into_iter().zip(&self.times) {
            let at = |part| milliseconds(Duration::from_micros(times.value_at_quantile(part)));
            lines.push(format!("{name:>14}  {:>10}  {:>10}", at(0.5), at(0.99)));
        }
        lines.join("\n")
    }

    /// The fields that differ as expected, by reason.
    fn expected(&self) -> Vec<String> {
        let mut reasons = BTreeMap::<&str, Vec<&str>>::new();
        for (Key { place, reason, .. }, _) in self.of(Class::Expected) {
            reasons.entry(reason).or_default().push(place);
        }
        if reasons.is_empty() {
            return Vec::new();
        }
        let line =
            |(reason, places): (&str, Vec<&str>)| format!("  {reason}: {}", places.join(", "));
        let lines = reasons.into_iter().map(line);
        [String::new(), "expected:".to_owned()].into_iter().chain(lines).collect()
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let groups = Class::ALL.into_iter().flat_map(|class| self.of(class));
        let groups = groups.map(|(Key { class, place, reason }, group)| {
            let examples = group.examples.iter().map(|Example { probe, path, values }| {
                let [one, other] = values;
                json!({ "request": probe.name(), "path": path, "reference": one, "candidate": other })
            });
            json!({
                "class": class,
                "place": place,
                "reason": reason,
                "times": group.times,
                "requests": group.probes.iter().map(|probe| probe.name()).collect::<Vec<_>>(),
                "examples": examples.collect::<Vec<_>>(),
            })
        });
        let time = |times: &Latencies| {
            json!({
                "median_microseconds": times.value_at_quantile(0.5),
                "p99_microseconds": times.value_at_quantile(0.99),
            })
        };
        json!({
            "objects": self.objects,
            "objects_left": self.left,
            "requests": self.requests,
            "alike": self.same,
            "wrong": self.count(Class::Wrong),
            "harmless": self.count(Class::Harmless),
            "differences": groups.collect::<Vec<_>>(),
            "first_byte": { "reference": time(&self.times[0]), "candidate": time(&self.times[1]) },
        })
    }
}

/// The start of a long value. Values come from the network, and may have characters that move a terminal's cursor.
fn short(value: &str) -> String {
    const MOST: usize = 120;
    let visible = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut text: String = visible.take(MOST).collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

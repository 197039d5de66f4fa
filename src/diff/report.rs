//! The report of a comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    compare::DIFFERS,
    difference::{Class, Difference},
    probe::Probe,
    response::Response,
};
use crate::load::{Latencies, latencies, milliseconds};

/// URLs of a difference that are kept, and those that the text shows.
const URLS: usize = 100;
const SHOWN_URLS: usize = 3;

/// Pairs of values that the text shows for an aspect.
const SHOWN_VALUES: usize = 5;

/// The most differences of a class that are kept apart; hostile servers may send any number of different ones.
const DIFFERENCES: usize = 10_000;

/// Characters of a value that are kept.
const VALUE: usize = 200;

/// The differences, grouped.
pub(crate) struct Report {
    /// Objects whose requests have all been sent.
    pub(super) objects: usize,
    /// Objects that were not compared, because the comparison was interrupted.
    pub(super) left: usize,
    /// Objects that the reference answered with 2xx.
    successes: usize,
    /// Requests to each server, by the worst class of their differences; `None` if there is none.
    requests: BTreeMap<Option<Class>, u64>,
    groups: BTreeMap<Key, Group>,
    /// The number of groups of each class.
    kept: [usize; Class::ALL.len()],
    /// Further differences, of which only the number is kept.
    more: u64,
    /// The kinds of requests that were sent.
    sent: BTreeSet<Probe>,
    /// Those that were not sent for any object, because no response allowed them.
    pub(super) not_sent: Vec<Probe>,
    /// Times to the first byte of the reference and of the candidate, in microseconds.
    times: [Latencies; 2],
}

/// What the differences of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: Class,
    aspect: String,
    reason: &'static str,
    /// Of the reference and of the candidate.
    values: [Option<String>; 2],
}

/// Responses with the same difference.
#[derive(Default)]
struct Group {
    responses: u64,
    probes: BTreeSet<Probe>,
    urls: BTreeSet<String>,
    /// URLs that are not kept.
    more_urls: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            objects: 0,
            left: 0,
            successes: 0,
            requests: BTreeMap::new(),
            groups: BTreeMap::new(),
            kept: Default::default(),
            more: 0,
            sent: BTreeSet::new(),
            not_sent: Vec::new(),
            times: [latencies(), latencies()],
        }
    }
}

impl Report {
    /// Adds the differences of the responses to a request.
    pub(super) fn add(&mut self, probe: Probe, url: &str, differences: Vec<Difference>) {
        let worst = differences.iter().map(|it| it.class).min();
        *self.requests.entry(worst).or_default() += 1;
        self.sent.insert(probe);
        for Difference { class, aspect, reason, values } in differences {
            // Some of those that are expected are different in each response.
            let has_values = class != Class::Expected;
            let values = values.map(|value| value.filter(|_| has_values).map(|it| visible(&it)));
            let key = Key { class, aspect: visible(&aspect), reason, values };
            if !self.groups.contains_key(&key) {
                let kept = &mut self.kept[class as usize];
                if *kept == DIFFERENCES {
                    self.more += 1;
                    continue;
                }
                *kept += 1;
            }
            let group = self.groups.entry(key).or_default();
            group.responses += 1;
            group.probes.insert(probe);
            if group.urls.len() < URLS || group.urls.contains(url) {
                group.urls.insert(url.to_owned());
            } else {
                group.more_urls = true;
            }
        }
    }

    /// Notes the responses to a GET.
    pub(super) fn note_get(&mut self, reference: &Response) {
        self.successes += usize::from(reference.status.is_success());
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

    /// Whether the reference failed, changes its responses, or has none of the objects.
    pub(crate) fn is_inconclusive(&self) -> bool {
        self.count(Class::NotCompared) > 0 || self.successes == 0
    }

    /// Notes which kinds of requests were not sent for any object.
    pub(super) fn finish(&mut self, wanted: &[Probe]) {
        self.not_sent = wanted.iter().copied().filter(|probe| !self.sent.contains(probe)).collect();
    }

    /// Whether the comparison was interrupted.
    pub(crate) const fn is_interrupted(&self) -> bool {
        self.left > 0
    }

    /// Requests whose worst difference is of a class.
    fn count(&self, class: Class) -> u64 {
        self.requests.get(&Some(class)).copied().unwrap_or_default()
    }

    /// Requests without a difference but those that are expected.
    fn alike(&self) -> u64 {
        self.requests.get(&None).copied().unwrap_or_default() + self.count(Class::Expected)
    }

    fn of(&self, class: Class) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter().filter(move |(key, _)| key.class == class)
    }

    /// The report as text. Of differences that are expected, it has only the names.
    pub(crate) fn table(&self) -> String {
        let requests: u64 = self.requests.values().sum();
        let mut lines = vec![
            format!(
                "{} to each server, for {}; the reference answered {} of them with 2xx",
                counted(requests, "request"),
                counted(self.objects as u64, "object"),
                self.successes
            ),
            format!(
                "responses: {} alike, {} with harmless differences, {} wrong, {} not compared",
                self.alike(),
                self.count(Class::Harmless),
                self.count(Class::Wrong),
                self.count(Class::NotCompared)
            ),
        ];
        if self.left > 0 {
            lines.push(format!("interrupted: {} left", counted(self.left as u64, "object")));
        }
        if !self.not_sent.is_empty() {
            let names: Vec<&str> = self.not_sent.iter().map(|probe| probe.name()).collect();
            lines.push(format!("not sent, because no response allowed it: {}", names.join(", ")));
        }
        if self.more > 0 {
            lines.push(format!("{} further differences are not listed", self.more));
        }
        lines.extend(self.differences(Class::Wrong));
        lines.extend(self.differences(Class::NotCompared));
        lines.extend(self.harmless());
        lines.extend(self.expected());
        lines.push(String::new());
        lines
            .push(format!("{:>14}  {:>9}  {:>9}  {:>9}", "first byte", "median", "p99", "longest"));
        for (name, times) in ["reference", "candidate"].into_iter().zip(&self.times) {
            let shown = |micros| {
                let time = milliseconds(Duration::from_micros(micros));
                if times.is_empty() { "–".to_owned() } else { time }
            };
            let [median, p99] = [0.5, 0.99].map(|part| shown(times.value_at_quantile(part)));
            let longest = shown(times.max());
            lines.push(format!("{name:>14}  {median:>9}  {p99:>9}  {longest:>9}"));
        }
        lines.join("\n")
    }

    /// The differences of a class, by aspect: each pair of values with the requests and URLs that have it.
    fn differences(&self, class: Class) -> Vec<String> {
        let mut lines = Vec::new();
        let mut last = None;
        let mut shown = 0;
        let groups: Vec<(&Key, &Group)> = self.of(class).collect();
        if !groups.is_empty() {
            lines.extend([String::new(), format!("{}:", class.name())]);
        }
        for (key, group) in groups {
            if last != Some((&key.aspect, key.reason)) {
                (last, shown) = (Some((&key.aspect, key.reason)), 0);
                let reason = match key.reason {
                    DIFFERS => String::new(),
                    reason => format!(" ({reason})"),
                };
                lines.push(format!("  {}{reason}", key.aspect));
            }
            shown += 1;
            if shown > SHOWN_VALUES {
                if shown == SHOWN_VALUES + 1 {
                    lines.push("    and other values: --json has them all".to_owned());
                }
                continue;
            }
            let [one, other] = key.values.each_ref().map(|it| it.as_deref().unwrap_or("none"));
            let probes: Vec<&str> = group.probes.iter().map(|probe| probe.name()).collect();
            let urls: Vec<&str> = group.urls.iter().take(SHOWN_URLS).map(String::as_str).collect();
            let has_more = group.more_urls || group.urls.len() > SHOWN_URLS;
            lines.push(format!("    {one}  →  {other}"));
            lines.push(format!(
                "      {} to {}: {}{}",
                counted(group.responses, "response"),
                probes.join(", "),
                urls.join(" "),
                if has_more { " and others" } else { "" }
            ));
        }
        lines
    }

    /// The harmless differences, without values.
    fn harmless(&self) -> Vec<String> {
        let mut counts = BTreeMap::<(&str, &str), u64>::new();
        for (Key { aspect, reason, .. }, group) in self.of(Class::Harmless) {
            *counts.entry((aspect, reason)).or_default() += group.responses;
        }
        if counts.is_empty() {
            return Vec::new();
        }
        let lines = counts.into_iter().map(|((aspect, reason), responses)| {
            format!("  {aspect}: {reason} ({})", counted(responses, "response"))
        });
        [String::new(), "harmless; --json has the values:".to_owned()]
            .into_iter()
            .chain(lines)
            .collect()
    }

    /// The fields that differ as expected, by reason.
    fn expected(&self) -> Vec<String> {
        let mut reasons = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (Key { aspect, reason, .. }, _) in self.of(Class::Expected) {
            reasons.entry(reason).or_default().insert(aspect);
        }
        if reasons.is_empty() {
            return Vec::new();
        }
        let line = |(reason, aspects): (&str, BTreeSet<&str>)| {
            let aspects: Vec<&str> = aspects.into_iter().collect();
            format!("  {reason}: {}", aspects.join(", "))
        };
        let lines = reasons.into_iter().map(line);
        [String::new(), "expected:".to_owned()].into_iter().chain(lines).collect()
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let groups = Class::ALL.into_iter().flat_map(|class| self.of(class));
        let groups = groups.map(|(Key { class, aspect, reason, values: [one, other] }, group)| {
            json!({
                "class": class,
                "aspect": aspect,
                "reason": reason,
                "reference": one,
                "candidate": other,
                "responses": group.responses,
                "requests": group.probes.iter().map(|probe| probe.name()).collect::<Vec<_>>(),
                "urls": group.urls,
                "has_more_urls": group.more_urls,
            })
        });
        let time = |times: &Latencies| {
            let known = |micros| (!times.is_empty()).then_some(micros);
            json!({
                "median_microseconds": known(times.value_at_quantile(0.5)),
                "p99_microseconds": known(times.value_at_quantile(0.99)),
                "longest_microseconds": known(times.max()),
            })
        };
        json!({
            "objects": self.objects,
            "objects_left": self.left,
            "reference_successes": self.successes,
            "requests_not_sent": self.not_sent.iter().map(|it| it.name()).collect::<Vec<_>>(),
            "interrupted": self.is_interrupted(),
            "requests": self.requests.values().sum::<u64>(),
            "alike": self.alike(),
            "harmless": self.count(Class::Harmless),
            "wrong": self.count(Class::Wrong),
            "not_compared": self.count(Class::NotCompared),
            "differences": groups.collect::<Vec<_>>(),
            "differences_not_listed": self.more,
            "first_byte": { "reference": time(&self.times[0]), "candidate": time(&self.times[1]) },
        })
    }
}

fn counted(number: u64, what: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {what}{end}")
}

/// The start of a value from the network, without characters that move a terminal's cursor.
fn visible(value: &str) -> String {
    let mut text: String =
        value.chars().take(VALUE).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if value.chars().nth(VALUE).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_responses_displace_nothing_that_is_wrong() {
        let mut report = Report::default();
        let difference = |class, number: usize| Difference {
            class,
            aspect: format!("x-{number}-{}", "a".repeat(1000)),
            reason: "it differs",
            values: [Some("\u{1b}[2J".repeat(1000)), None],
        };
        for number in 0..DIFFERENCES + 5 {
            let differences =
                vec![difference(Class::Harmless, number), difference(Class::Expected, 7)];
            report.add(Probe::Get, &format!("/{number}"), differences);
        }
        assert!(!report.has_wrong());
        report.add(Probe::Head, "/last", vec![difference(Class::Wrong, 1)]);
        assert!(report.has_wrong());
        assert_eq!((report.of(Class::Wrong).count(), report.more), (1, 5));
        assert_eq!(report.of(Class::Expected).count(), 1);
        let (key, group) = report.of(Class::Wrong).next().expect("a difference");
        let value = key.values[0].as_deref().expect("a value");
        assert!(value.chars().count() == VALUE + 1 && !value.contains('\u{1b}'), "{value}");
        assert!(key.aspect.len() < 2 * VALUE && group.urls.contains("/last"));
        report.finish(&[Probe::Get, Probe::Head, Probe::Cors]);
        assert_eq!(report.not_sent, [Probe::Cors]);
    }
}

//! The results of a run: the table, and the figures for JSON and page.

use std::{sync::Arc, time::Duration};

use bytesize::ByteSize;
use humantime::format_duration;

use super::{
    Due, Mix, Phase, Pick, Run, Second, TICK, Until,
    gathered::LeftOut,
    line::Http,
    machine,
    tally::{Failed, PERCENTILES, Tally, percentiles, ratio},
    warm::Warmed,
};
use crate::base::clock::Timestamp;

/// The results of a run.
pub struct Report {
    pub(super) run: Arc<Run>,
    pub(super) machine: String,
    begun: Timestamp,
    pub(super) warmed: Option<Warmed>,
    pub(super) total: Tally,
    pub(super) seconds: Vec<Second>,
    /// Counts of the last of these seconds.
    last: Tally,
    /// Responses that arrived while requests were sent; rates use only these.
    in_time: InTime,
    /// Time from then until the last response.
    pub(super) tail: Duration,
}

#[derive(Default)]
struct InTime {
    answers: u64,
    bytes: u64,
    time: Duration,
}

impl Report {
    pub(super) fn new(run: Arc<Run>, begun: Timestamp, warmed: Option<Warmed>) -> Self {
        Self {
            run,
            machine: machine::describe(),
            begun,
            warmed,
            total: Tally::default(),
            seconds: Vec::new(),
            last: Tally::default(),
            in_time: InTime::default(),
            tail: Duration::ZERO,
        }
    }

    /// Adds the counts up to `at`, over `length`. A short rest at the end is part of the second before.
    pub(super) fn add(&mut self, tally: Tally, at: Duration, mut length: Duration) -> &Second {
        self.total.add(&tally);
        match self.seconds.pop_if(|_| length < TICK / 2) {
            Some(before) => {
                self.last.add(&tally);
                length += before.length;
            }
            None => self.last = tally,
        }
        self.seconds.push(Second::of(&self.last, at, length));
        &self.seconds[self.seconds.len() - 1]
    }

    /// Adds responses that arrived after the run ended at `end`, up to `last`.
    pub(super) fn finish(&mut self, tail: &Tally, end: Duration, last: Duration) {
        let (answers, bytes) = (self.total.answers(), self.total.bytes);
        // If its end is not known in advance, a run ends with its last response, a moment before this is noticed.
        let is_known = self.run.end().is_some() || self.is_interrupted();
        let time = if is_known { end } else { end.min(last) };
        self.in_time = InTime { answers, bytes, time };
        self.total.add(tail);
        self.tail = last.saturating_sub(end);
    }

    /// Whether any response was not an error.
    #[must_use]
    pub fn has_success(&self) -> bool {
        self.total.statuses.keys().any(|status| *status < 400)
    }

    /// The number of failed requests and error responses.
    #[must_use]
    pub fn errors_count(&self) -> u64 {
        self.total.errors()
    }

    /// The part of all requests that failed or got an error response.
    #[must_use]
    pub fn error_ratio(&self) -> f64 {
        let failed: u64 = self.total.failures.values().map(|failed| failed.count).sum();
        ratio(self.total.errors(), self.total.answers() + failed).unwrap_or(0.0)
    }

    /// The 99th percentile of latency.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        percentiles(&self.total.latencies).map(|[_, _, p99, _]| p99)
    }

    /// Whether the user interrupted the run.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(*self.run.phase.borrow(), Phase::Abandoned(_))
    }

    /// How long requests were sent.
    pub(super) const fn time(&self) -> Duration {
        self.in_time.time
    }

    pub(super) fn server(&self) -> &str {
        self.run.targets.server()
    }

    pub(super) fn requests_per_second(&self) -> f64 {
        per_second(self.in_time.answers, self.in_time.time)
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        per_second(self.in_time.bytes, self.in_time.time)
    }

    pub(super) fn hit_ratio(&self) -> Option<f64> {
        ratio(self.total.hits, self.total.reported)
    }

    /// Names and values of the reported latencies; `None` if there are none.
    pub(super) fn latencies(&self) -> Vec<(String, Option<Duration>)> {
        let histogram = &self.total.latencies;
        let value = |micros| (!histogram.is_empty()).then_some(Duration::from_micros(micros));
        let percentiles = PERCENTILES
            .iter()
            .map(|part| (format!("p{}", part * 100.0), value(histogram.value_at_quantile(*part))));
        let mut all = vec![("min".into(), value(histogram.min()))];
        all.extend(percentiles);
        all.push(("max".into(), value(histogram.max())));
        all
    }

    pub(super) fn protocol(&self) -> &'static str {
        match (self.run.line.http(), self.run.line.is_encrypted()) {
            (Http::One, false) => "HTTP/1.1",
            (Http::One, true) => "HTTP/1.1 with TLS",
            (Http::Two, false) => "HTTP/2",
            (Http::Two, true) => "HTTP/2 with TLS",
            (Http::Three, _) => "HTTP/3",
        }
    }

    pub(super) fn begun(&self) -> String {
        self.begun.rfc3339()
    }

    /// All other rows of the report, in order.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let total = &self.total;
        let mut rows = vec![
            ("server", self.server().to_owned()),
            ("started", self.begun()),
            ("command", self.run.options.command.clone()),
            ("machine", self.machine.clone()),
            ("targets", self.targets()),
            ("protocol", self.connections()),
        ];
        rows.push(("load", self.wanted()));
        rows.push(("time", self.times()));
        rows.push(("requests", self.answered()));
        let per_second = bytes(self.bytes_per_second());
        rows.push(("content", format!("{}, {per_second}/s", ByteSize(total.bytes))));
        rows.push(("hits", self.hit_ratio().map_or("not reported".into(), percent)));
        if total.collapsed > 0 {
            let part = ratio(total.collapsed, total.reported).map_or_else(String::new, percent);
            rows.push(("collapsed", format!("{part} (waited for another request's fetch)")));
        }
        let statuses = total.statuses.iter();
        rows.push((
            "statuses",
            listed(statuses.map(|(status, count)| format!("{status}: {}", grouped_int(*count)))),
        ));
        if let Some(location) = &total.location {
            let location = String::from_utf8_lossy(location.as_bytes());
            rows.push((
                "redirects to",
                format!("{location} (redirects are not followed: load that URL instead)"),
            ));
        }
        let failures = total.failures.iter().map(|(failure, Failed { count, reason })| {
            let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
            format!("{}: {}{reason}", failure.name(), grouped_int(*count))
        });
        rows.push(("failures", listed(failures)));
        rows.push(("errors", self.errors()));
        rows
    }

    /// Responses that arrived after the run ended; rates exclude them.
    pub(super) fn answered_late(&self) -> u64 {
        self.total.answers() - self.in_time.answers
    }

    fn answered(&self) -> String {
        let all = self.total.answers();
        let after = match self.answered_late() {
            0 => String::new(),
            after => format!(", of which {} arrived after the end of the run", grouped_int(after)),
        };
        format!("{}, {}/s{after}", grouped_int(all), grouped(self.requests_per_second()))
    }

    /// Failures and error responses together.
    fn errors(&self) -> String {
        let errors = grouped_int(self.total.errors());
        let nothing_else = self.total.errors() > 0 && !self.has_success();
        if nothing_else { format!("{errors}: no response was a success") } else { errors }
    }

    fn targets(&self) -> String {
        let Run { options, targets, .. } = &*self.run;
        let mut parts = vec![plural(targets.urls(), "URL")];
        if targets.len() > targets.urls() {
            parts.push(format!("{} with their ranges", grouped_int(targets.len() as u64)));
        }
        match targets.pick() {
            Pick::Order => {}
            Pick::Random => parts.push("at random".into()),
            Pick::Zipf(exponent) => parts.push(format!("by Zipf's law ({exponent})")),
        }
        let Mix { ranges, range_length, conditions } = options.mix;
        if ranges > 0.0 {
            let (made, size) = (grouped_int(self.total.ranges), ByteSize(range_length));
            let of_log = if targets.has_ranges() { ", including those from the log" } else { "" };
            parts.push(format!("{ranges} % for ranges of {size} ({made} sent{of_log})"));
        } else if self.total.ranges > 0 {
            parts.push(format!("{} for ranges from the log", grouped_int(self.total.ranges)));
        }
        if conditions > 0.0 {
            let made = grouped_int(self.total.conditions);
            parts.push(format!("{conditions} % conditional ({made} sent)"));
        }
        if targets.is_signed() {
            parts.push("signed".into());
        }
        let LeftOut { no_get, unreadable } = targets.left_out();
        if no_get > 0 {
            parts.push(format!(
                "{} of the log skipped (not a complete GET)",
                plural(no_get, "line")
            ));
        }
        if unreadable > 0 {
            parts.push(format!("{} of the log skipped (unreadable)", plural(unreadable, "line")));
        }
        if let Some(warmed) = &self.warmed {
            parts.push("warmed".into());
            if let Some(trouble) = warmed.trouble() {
                parts.push(format!(
                    "warming failed for {} ({trouble})",
                    grouped_int(warmed.failed.len() as u64)
                ));
            }
        }
        parts.join(", ")
    }

    fn connections(&self) -> String {
        let connections = plural(self.run.options.connections.get(), "connection");
        let streams = match self.run.streams() {
            1 => String::new(),
            streams => format!(" with {streams} streams each"),
        };
        format!("{}, {connections}{streams}", self.protocol())
    }

    fn wanted(&self) -> String {
        let options = &self.run.options;
        let rate = match options.due {
            Due::Rate(rate) => format!("constant rate of {} requests/s", number(rate)),
            Due::Logged(_, speed) => format!("at {}× the logged speed", number(speed)),
            Due::AtOnce => "as fast as responses arrive".into(),
        };
        let until = match options.until {
            Until::Time(time) => format!("for {}", format_duration(time)),
            Until::Requests(requests) => plural(requests, "request"),
        };
        format!("{rate}, {until}, timeout {}", format_duration(options.timeout))
    }

    fn times(&self) -> String {
        let time = match self.time() {
            short if short < Duration::from_secs(1) => milliseconds(short),
            long => format!("{:.1} s", long.as_secs_f64()),
        };
        if self.is_interrupted() {
            return format!("{time}, then interrupted");
        }
        // Responses in flight at the end arrive a moment later anyway.
        if self.tail < Duration::from_millis(100) {
            return time;
        }
        format!("{time}; the last response arrived {:.1} s later", self.tail.as_secs_f64())
    }

    /// The report as a text table.
    #[must_use]
    pub fn table(&self) -> String {
        let row = |name: &str, cells: &str| format!("{name:<12}{cells}\n");
        let cells = |values: Vec<String>| {
            values.iter().fold(String::new(), |cells, value| cells + &format!("{value:>10}"))
        };
        let rows: Vec<String> = self.rows().iter().map(|(name, value)| row(name, value)).collect();
        let (names, values) = self.latencies().into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let values = values.into_iter().map(latency_text).collect();
        rows.concat() + &row("latency", &cells(names)) + &row("", &cells(values))
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(count) / time.as_secs_f64() }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) const fn float(number: u64) -> f64 {
    number as f64
}

fn plural(count: impl TryInto<u64>, word: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let number = grouped_int(count);
    if count == 1 { format!("{number} {word}") } else { format!("{number} {word}s") }
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// A percentage, precise enough to show one miss in ten thousand. Only all is 100%, and only none is 0%.
pub(super) fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        part if (99.995..100.0).contains(&part) => "> 99.99%".into(),
        part if part > 0.0 && part < 0.005 => "< 0.01%".into(),
        part => format!("{part:.2}%"),
    }
}

/// A rounded number with its digits in groups of three.
pub(super) fn grouped(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
    grouped_int(number.round() as u64)
}

/// A number as given; its digits are grouped if it is whole.
fn number(number: f64) -> String {
    if number.fract() == 0.0 { grouped(number) } else { number.to_string() }
}

fn grouped_int(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

fn bytes(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
    ByteSize(number.round() as u64).to_string()
}

pub(super) fn in_milliseconds(duration: Duration) -> f64 {
    float(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)) / 1000.0
}

/// A duration with three significant digits.
pub(crate) fn milliseconds(duration: Duration) -> String {
    match in_milliseconds(duration) {
        value if value >= 100.0 => format!("{value:.0} ms"),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value => format!("{value:.2} ms"),
    }
}

/// A latency, or a dash if there is none.
pub(super) fn latency_text(latency: Option<Duration>) -> String {
    latency.map_or("–".into(), milliseconds)
}

//! What a run came to: as a table, as JSON, and what the page is made of.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::{
    Run, Second, TICK,
    line::Http,
    page,
    tally::{self, Collected, TOLD, Tally, ratio},
};

/// The figures of a run.
pub struct Report {
    pub(super) settings: Settings,
    pub(super) total: Tally,
    pub(super) seconds: Vec<Second>,
    last: Option<Collected>,
    pub(super) elapsed: Duration,
}

/// What was asked, and how.
pub(super) struct Settings {
    pub(super) server: String,
    pub(super) targets: usize,
    pub(super) protocol: &'static str,
    pub(super) connections: usize,
    pub(super) lanes: usize,
    pub(super) threads: usize,
    /// Requests a second that were due; `None` where each answer brought the next request.
    pub(super) rate: Option<f64>,
    pub(super) warmed: bool,
}

impl Report {
    pub(super) fn new(run: &Run) -> Self {
        let protocol = match (run.line.http(), run.line.is_encrypted()) {
            (Http::One, false) => "HTTP/1.1",
            (Http::One, true) => "HTTP/1.1 with TLS",
            (Http::Two, false) => "HTTP/2",
            (Http::Two, true) => "HTTP/2 with TLS",
        };
        let settings = Settings {
            server: run.targets.server().to_owned(),
            targets: run.targets.len(),
            protocol,
            connections: run.options.connections.get(),
            lanes: run.lanes(),
            threads: run.options.threads.get(),
            rate: run.options.rate,
            warmed: run.options.warm,
        };
        let (total, seconds) = (Tally::default(), Vec::new());
        Self { settings, total, seconds, last: None, elapsed: Duration::ZERO }
    }

    /// Adds what was counted in a second; what is left at the end belongs to the second before.
    pub(super) fn add(&mut self, collected: Collected) {
        self.total.add(&collected.tally);
        match &mut self.last {
            Some(last) if collected.at.saturating_sub(last.at) < TICK / 2 => {
                last.tally.add(&collected.tally);
                last.at = collected.at;
                self.seconds.pop();
                self.seconds.push(last.told());
            }
            _ => {
                self.seconds.push(collected.told());
                self.last = Some(collected);
            }
        }
    }

    pub(super) const fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    /// Whether there was any answer.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.total.answers() > 0
    }

    pub(super) fn requests_per_second(&self) -> f64 {
        per_second(self.total.answers(), self.elapsed)
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        per_second(self.total.bytes, self.elapsed)
    }

    pub(super) fn hit_ratio(&self) -> Option<f64> {
        ratio(self.total.hits, self.total.told)
    }

    /// Name and latency of what is told of the distribution.
    pub(super) fn latencies(&self) -> Vec<(String, Duration)> {
        let of = Duration::from_micros;
        let histogram = &self.total.latencies;
        let percentiles = TOLD.iter().zip(tally::percentiles(histogram));
        let mut told = vec![("least".into(), of(histogram.min()))];
        told.extend(percentiles.map(|(part, value)| (percentile(*part), value)));
        told.push(("most".into(), of(histogram.max())));
        told
    }

    /// Everything else that is told, in its order.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { settings, total, elapsed, .. } = self;
        let streams = settings.lanes / settings.connections.max(1);
        let streams =
            if streams > 1 { format!(" with {streams} streams each") } else { String::new() };
        let loop_ = match settings.rate {
            Some(rate) => format!("open, {} requests/s due", grouped(rate)),
            None => "closed".into(),
        };
        let mut rows = vec![
            ("server", settings.server.clone()),
            (
                "asked for",
                format!(
                    "{} {}",
                    grouped_int(settings.targets as u64),
                    plural(settings.targets, "URL")
                ),
            ),
            (
                "protocol",
                format!(
                    "{}, {} {}{streams}",
                    settings.protocol,
                    settings.connections,
                    plural(settings.connections, "connection")
                ),
            ),
            ("loop", loop_),
            ("time", format!("{:.1} s", elapsed.as_secs_f64())),
            (
                "requests",
                format!(
                    "{}, {}/s",
                    grouped_int(total.answers()),
                    grouped(self.requests_per_second())
                ),
            ),
            ("content", format!("{}, {}/s", ByteSize(total.bytes), bytes(self.bytes_per_second()))),
            ("hits", self.hit_ratio().map_or("not told".into(), percent)),
        ];
        rows.push((
            "statuses",
            counts(total.statuses.iter().map(|(status, count)| (status.to_string(), *count))),
        ));
        let failures =
            total.failures.iter().map(|(failure, count)| (failure.name().to_owned(), *count));
        rows.push(("failures", counts(failures)));
        rows
    }

    /// As a table of text.
    #[must_use]
    pub fn table(&self) -> String {
        let row = |name: &str, cells: &str| format!("{name:<12}{cells}\n");
        let cells = |values: Vec<String>| {
            values.iter().fold(String::new(), |cells, value| cells + &format!("{value:>10}"))
        };
        let rows: Vec<String> = self.rows().iter().map(|(name, value)| row(name, value)).collect();
        let (names, values) = self.latencies().into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let values = values.into_iter().map(milliseconds).collect();
        rows.concat() + &row("latency", &cells(names)) + &row("", &cells(values))
    }

    /// As JSON; times in milliseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { settings, total, elapsed, .. } = self;
        let latency: BTreeMap<String, f64> = self
            .latencies()
            .into_iter()
            .map(|(name, value)| (name, in_milliseconds(value)))
            .collect();
        let failures: BTreeMap<&str, u64> =
            total.failures.iter().map(|(failure, count)| (failure.name(), *count)).collect();
        json!({
            "server": settings.server,
            "urls": settings.targets,
            "protocol": settings.protocol,
            "connections": settings.connections,
            "requests_under_way": settings.lanes,
            "threads": settings.threads,
            "rate": settings.rate,
            "warmed": settings.warmed,
            "seconds": elapsed.as_secs_f64(),
            "requests": total.answers(),
            "requests_per_second": self.requests_per_second(),
            "bytes": total.bytes,
            "bytes_per_second": self.bytes_per_second(),
            "hit_ratio": self.hit_ratio(),
            "statuses": total.statuses,
            "failures": failures,
            "latency": latency,
            "mean": total.latencies.mean() / 1000.0,
            "intervals": self.seconds.iter().map(second).collect::<Vec<_>>(),
        })
    }

    /// As a page for browsers, with plots, which needs nothing else.
    #[must_use]
    pub fn page(&self) -> String {
        page::render(self)
    }
}

fn second(second: &Second) -> Value {
    let [p50, p90, p99, p999] = second.percentiles.map(in_milliseconds);
    json!({
        "at": second.at.as_secs_f64(),
        "requests": second.answers,
        "bytes": second.bytes,
        "hit_ratio": second.hit_ratio,
        "errors": second.errors,
        "p50": p50, "p90": p90, "p99": p99, "p99.9": p999,
    })
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(count) / time.as_secs_f64() }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) const fn float(number: u64) -> f64 {
    number as f64
}

fn percentile(part: f64) -> String {
    format!("p{}", part * 100.0)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn counts(counts: impl Iterator<Item = (String, u64)>) -> String {
    let all: Vec<String> =
        counts.map(|(what, count)| format!("{what}: {}", grouped_int(count))).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// As percent, so exact that a miss in ten thousand is seen.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

/// A rounded number, its digits in groups of three.
pub(super) fn grouped(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
    grouped_int(number.round() as u64)
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

pub(super) fn bytes(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
    ByteSize(number.round() as u64).to_string()
}

pub(super) fn in_milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// With three digits that count.
pub(super) fn milliseconds(duration: Duration) -> String {
    match in_milliseconds(duration) {
        value if value >= 100.0 => format!("{value:.0} ms"),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value => format!("{value:.2} ms"),
    }
}

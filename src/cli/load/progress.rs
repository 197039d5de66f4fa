//! Progress of a run.

use std::cell::Cell;

use bytesize::ByteSize;
use indicatif::ProgressBar;

use crate::{
    cli::progress_bar::progress_bar,
    load::{LoadEvent, Options, Second, Until},
};

/// One line in the terminal, updated every second; nothing without a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    until: Until,
    answers: Cell<u64>,
}

impl Progress {
    pub(super) fn new(options: &Options) -> Self {
        let bar = progress_bar(1000, "{spinner} {percent:>3}%  {wide_msg}");
        bar.set_message("connecting");
        Self { bar, until: options.until, answers: Cell::new(0) }
    }

    pub(super) fn show(&self, event: LoadEvent<'_>) {
        match event {
            LoadEvent::Signing(urls) => self.bar.set_message(format!("signing {urls} URLs")),
            LoadEvent::Warming(urls) => self.bar.set_message(format!("warming {urls} URLs")),
            LoadEvent::Second(second) => {
                self.answers.set(self.answers.get() + second.answers);
                self.bar.set_position(self.part(second));
                self.bar.set_message(line(second));
            }
            LoadEvent::Ending => self.bar.set_message("waiting for the last responses"),
        }
    }

    /// Elapsed part of the run, in thousandths.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
    fn part(&self, second: &Second) -> u64 {
        match self.until {
            Until::Time(time) => (second.at.div_duration_f64(time) * 1000.0).min(1000.0) as u64,
            Until::Requests(requests) => self.answers.get().saturating_mul(1000) / requests.max(1),
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(second: &Second) -> String {
    let Second { answers, bytes, errors, length, .. } = second;
    let parts = length.as_secs_f64().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let a_second = |number: u64| (number as f64 / parts).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
    let bytes = ByteSize(a_second(*bytes) as u64);
    let hits = second.hit_ratio.map_or("–".into(), |ratio| format!("{:.1}%", ratio * 100.0));
    let latency = second.percentiles.map_or("no responses".into(), |percentiles| {
        let [p50, p99] = [percentiles[0], percentiles[2]]
            .map(|value| format!("{:.2}", value.as_secs_f64() * 1000.0));
        format!("p50 {p50} p99 {p99} ms")
    });
    // Fits into 80 columns with the percentage before it.
    format!("{}/s  {bytes}/s  hits {hits}  {latency}  errors {errors}", a_second(*answers))
}

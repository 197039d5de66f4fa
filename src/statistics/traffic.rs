//! How traffic changed in the last hour and day.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use super::Range;
use crate::base::{clock::Timestamp, metrics::Totals};

/// Snapshots that are kept: of an hour, and of a day one in so many.
const OF_HOUR: usize = 361;
const OF_DAY: usize = 97;
const ONE_IN: u32 = 90;

/// What the metrics had counted, at many moments.
#[derive(Debug, Default)]
pub(crate) struct TrafficHistory {
    of_hour: VecDeque<Moment>,
    of_day: VecDeque<Moment>,
    count: u32,
}

#[derive(Clone, Debug)]
struct Moment {
    at: Timestamp,
    totals: Vec<(String, Totals)>,
    sum: Totals,
}

impl Moment {
    fn new(totals: Vec<(String, Totals)>, at: Timestamp) -> Self {
        let sum = totals.iter().fold(Totals::default(), |sum, (_, totals)| sum.plus(totals));
        Self { at, totals, sum }
    }
}

/// The traffic of a time, in steps.
#[derive(Debug, Serialize)]
pub(crate) struct Traffic {
    /// Seconds that it covers: less than requested if the process is younger.
    pub(crate) seconds: u64,
    pub(crate) total: Totals,
    pub(crate) distributions: Vec<OfDistribution>,
    /// Oldest first.
    pub(crate) steps: Vec<Step>,
}

/// The traffic of one distribution.
#[derive(Debug, Serialize)]
pub(crate) struct OfDistribution {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) totals: Totals,
}

/// The traffic of a step.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// When it ended, in milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) refresh_hits: u64,
    pub(crate) misses: u64,
    pub(crate) bytes: u64,
    pub(crate) hit_bytes: u64,
    pub(crate) client_errors: u64,
    pub(crate) server_errors: u64,
    pub(crate) stale: u64,
}

impl TrafficHistory {
    /// The time between two snapshots.
    pub(super) const STEP: Duration = Duration::from_secs(10);

    /// Keeps what the metrics have counted until now.
    pub(super) fn remember(&mut self, totals: Vec<(String, Totals)>, at: Timestamp) {
        let moment = Moment::new(totals, at);
        if self.count.is_multiple_of(ONE_IN) {
            keep(&mut self.of_day, moment.clone(), OF_DAY);
        }
        keep(&mut self.of_hour, moment, OF_HOUR);
        self.count = self.count.wrapping_add(1);
    }

    /// The traffic of a time until now.
    pub(super) fn of(
        &self,
        range: Range,
        totals: Vec<(String, Totals)>,
        now: Timestamp,
    ) -> Traffic {
        let moments = match range {
            Range::Hour => &self.of_hour,
            Range::Day => &self.of_day,
        };
        // Half a step more, because snapshots are not taken on the second.
        let oldest = range.length() + Self::STEP / 2;
        let recent = moments.iter().filter(|moment| now.since(moment.at) <= oldest);
        let last = Moment::new(totals, now);
        let all: Vec<&Moment> = recent.chain([&last]).collect();
        let first = all.first().copied().unwrap_or(&last);
        let step = |pair: &[&Moment]| {
            let more = pair[1].sum.since(&pair[0].sum);
            Step {
                at: pair[1].at.as_millis(),
                seconds: pair[1].at.since(pair[0].at).as_secs_f64(),
                requests: more.requests,
                hits: more.hits,
                refresh_hits: more.refresh_hits,
                misses: more.misses,
                bytes: more.bytes,
                hit_bytes: more.hit_bytes,
                client_errors: more.client_errors,
                server_errors: more.server_errors,
                stale: more.stale,
            }
        };
        let before: HashMap<&str, &Totals> =
            first.totals.iter().map(|(id, totals)| (id.as_str(), totals)).collect();
        let distribution = |(id, totals): &(String, Totals)| OfDistribution {
            id: id.clone(),
            totals: before.get(id.as_str()).map_or(*totals, |before| totals.since(before)),
        };
        Traffic {
            seconds: now.since(first.at).as_secs(),
            total: last.sum.since(&first.sum),
            distributions: last.totals.iter().map(distribution).collect(),
            steps: all.windows(2).map(step).collect(),
        }
    }
}

fn keep(moments: &mut VecDeque<Moment>, moment: Moment, most: usize) {
    if moments.len() == most {
        moments.pop_front();
    }
    moments.push_back(moment);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::metrics::{Answered, Metrics, ResultType};

    fn at(step: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + step * 10)
    }

    #[test]
    fn a_time_has_what_was_counted_within_it() {
        let metrics = Metrics::new();
        let media = metrics.distribution("media");
        let answer = |result, bytes| {
            media.answered(&Answered {
                result,
                status: 200,
                bytes,
                duration: Duration::from_millis(3),
                is_collapsed: false,
                stale: None,
            });
        };
        let mut history = TrafficHistory::default();
        for step in 0..1080 {
            history.remember(metrics.totals(), at(step));
            answer(ResultType::Hit, 10);
            if step == 600 {
                answer(ResultType::Miss, 1000);
            }
        }
        let hour = history.of(Range::Hour, metrics.totals(), at(1080));
        assert_eq!((hour.seconds, hour.steps.len()), (3600, 360));
        assert_eq!((hour.total.requests, hour.total.hits, hour.total.bytes), (360, 360, 3600));
        let day = history.of(Range::Day, metrics.totals(), at(1080));
        assert_eq!((day.seconds, day.steps.len()), (3 * 3600, 12));
        assert_eq!((day.total.requests, day.total.misses), (1081, 1));
        assert_eq!((day.total.bytes, day.total.hit_bytes), (11_800, 10_800));
        assert_eq!(day.distributions[0].id, "media");
        assert_eq!(day.total.miss_times.iter().sum::<u64>(), 1);
        let stepped: u64 = day.steps.iter().map(|step| step.requests).sum();
        assert_eq!(stepped, day.total.requests);
    }
}

//! The results of a run as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Due, Pick, Run, Second, Until,
    report::{Report, in_milliseconds},
};

impl Report {
    /// The report as JSON. Latencies are in milliseconds, other times in seconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let (options, total) = (&self.run.options, &self.total);
        let latency: BTreeMap<String, Option<f64>> = self
            .latencies()
            .into_iter()
            .map(|(name, value)| (name, value.map(in_milliseconds)))
            .collect();
        let failures = total.failures.iter();
        let counts: BTreeMap<_, _> =
            failures.clone().map(|(failure, failed)| (failure.name(), failed.count)).collect();
        let reasons: BTreeMap<_, _> = failures
            .filter_map(|(failure, failed)| Some((failure.name(), failed.reason.as_ref()?)))
            .collect();
        let left_out = self.run.targets.left_out();
        let mean = (!total.latencies.is_empty()).then(|| total.latencies.mean() / 1000.0);
        json!({
            "begun": self.begun(),
            "server": self.server(),
            "command": options.command,
            "machine": self.machine,
            "urls": self.run.targets.urls(),
            "first_urls": self.run.targets.first_urls(),
            "lines_left_out": left_out.no_get + left_out.unreadable,
            "lines_unreadable": left_out.unreadable,
            "settings": self.settings(),
            "protocol": self.protocol(),
            "connections": options.connections,
            "requests_in_progress": options.connections.get() * self.run.streams(),
            "threads": self.run.threads(),
            "rate": if let Due::Rate(rate) = options.due { Some(rate) } else { None },
            "speed": if let Due::Logged(_, speed) = options.due { Some(speed) } else { None },
            "warming": self.warmed.as_ref().map(|warmed| {
                json!({ "failed": warmed.failed.len(), "trouble": warmed.trouble() })
            }),
            "seconds": self.time().as_secs_f64(),
            "last_answer_after_seconds": (self.time() + self.tail).as_secs_f64(),
            "requests": total.answers(),
            "requests_after_the_end": self.answered_late(),
            "requests_per_second": self.requests_per_second(),
            "bytes": total.bytes,
            "bytes_per_second": self.bytes_per_second(),
            "interrupted": self.is_interrupted(),
            "ranges": total.ranges,
            "conditions": total.conditions,
            "hit_ratio": self.hit_ratio(),
            "collapsed": total.collapsed,
            "statuses": total.statuses,
            "redirected_to": total.location.as_ref().map(|location| String::from_utf8_lossy(location.as_bytes())),
            "errors": total.errors(),
            "failures": counts,
            "reasons": reasons,
            "latency": latency,
            "mean": mean,
            "intervals": self.seconds.iter().map(second).collect::<Vec<_>>(),
        })
    }

    /// The run's settings that are not reported elsewhere.
    fn settings(&self) -> Value {
        let Run { options, targets, .. } = &*self.run;
        let (duration, requests) = match options.until {
            Until::Time(time) => (Some(time.as_secs_f64()), None),
            Until::Requests(requests) => (None, Some(requests)),
        };
        let pick = match targets.pick() {
            Pick::Order => "order".to_owned(),
            Pick::Random => "random".to_owned(),
            Pick::Zipf(exponent) => format!("zipf {exponent}"),
        };
        json!({
            "duration_seconds": duration,
            "requests": requests,
            "timeout_seconds": options.timeout.as_secs_f64(),
            "pick": pick,
            "ranges_percent": options.mix.ranges,
            "range_length": options.mix.range_length,
            "conditions_percent": options.mix.conditions,
            "signed": targets.is_signed(),
        })
    }
}

fn second(second: &Second) -> Value {
    let [p50, p90, p99, p999] = match second.percentiles {
        Some(percentiles) => percentiles.map(|value| Some(in_milliseconds(value))),
        None => [None; 4],
    };
    json!({
        "at": second.at.as_secs_f64(),
        "length": second.length.as_secs_f64(),
        "requests": second.answers,
        "bytes": second.bytes,
        "hit_ratio": second.hit_ratio,
        "errors": second.errors,
        "p50": p50, "p90": p90, "p99": p99, "p99.9": p999,
    })
}

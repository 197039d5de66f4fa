//! Whether what a configuration needs is there: ports, files, certificates, memory, credentials, buckets.
//!
//! Nothing is written and nothing changed; buckets are asked as the edge would ask them, and once as
//! nobody in particular, who should be refused.

mod account;
mod bucket;
mod machine;

pub(crate) use bucket::bucket_region;

use serde::Serialize;

use crate::{
    aws::{FoundCredentials, Installed},
    base::clock::Clock,
    config::Config,
    origin::{self, Protocol},
};

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// It works, and could be better; or it cannot be told.
    Advice,
    /// It does not work.
    Bad,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is about.
    pub area: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub text: String,
    /// What to do about it, unless it is good.
    pub mend: Option<String>,
}

/// Findings about one area in the making.
struct Chart {
    area: String,
    findings: Vec<Finding>,
}

impl Chart {
    fn of(area: impl Into<String>) -> Self {
        Self { area: area.into(), findings: Vec::new() }
    }

    fn good(&mut self, text: impl Into<String>) {
        self.note(Verdict::Good, text, None);
    }

    fn advise(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.note(Verdict::Advice, text, Some(mend.into()));
    }

    fn bad(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.note(Verdict::Bad, text, Some(mend.into()));
    }

    fn note(&mut self, verdict: Verdict, text: impl Into<String>, mend: Option<String>) {
        self.findings.push(Finding { area: self.area.clone(), verdict, text: text.into(), mend });
    }
}

/// Looks at everything. `sample` is the key of an object that must be readable.
pub(crate) async fn examine(config: &Config, sample: Option<&str>, clock: &Clock) -> Vec<Finding> {
    let mut findings = machine::examine(config, clock);
    let mut charts = Vec::new();
    let mut found = None;
    if let Some(region) = signed_region(config) {
        let (chart, credentials) = account::examine(config, region, clock).await;
        charts.push(chart);
        found = credentials;
    }
    let mut seen: Vec<origin::Options> = Vec::new();
    for distribution in &config.distributions {
        for options in &distribution.origins {
            // The same origin of several distributions is looked at once.
            let same = origin::Options { id: String::new(), ..options.clone() };
            if !seen.contains(&same) {
                seen.push(same);
                let name = format!("{} of distribution {}", options.id, distribution.settings.id);
                charts.push(bucket::examine(&name, options, found.as_ref(), sample, clock).await);
            }
        }
    }
    findings.extend(charts.into_iter().flat_map(|chart| chart.findings));
    findings
}

/// The region of the first bucket that is asked by signed requests.
fn signed_region(config: &Config) -> Option<&str> {
    let origins = config.distributions.iter().flat_map(|distribution| &distribution.origins);
    origins.filter(|options| options.protocol.is_signed()).find_map(|options| {
        match &options.protocol {
            Protocol::S3 { region, .. } => Some(region.as_str()),
            Protocol::Plain => None,
        }
    })
}

/// What requests are signed with, if anything.
fn keys(found: Option<&FoundCredentials>) -> Option<&Installed> {
    found.map(|found| &found.installed)
}

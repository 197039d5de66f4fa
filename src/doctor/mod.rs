//! Checks the requirements of a configuration: ports, files, certificates, memory, credentials, buckets.
//!
//! Nothing is written or changed. Buckets receive the requests that the edge would send, and one without credentials,
//! which they should refuse.

mod account;
mod bucket;
mod certificates;
mod cluster;
mod disk;
mod machine;

pub(crate) use bucket::{bucket_region, needs_path_style};

use serde::Serialize;

use crate::{
    aws::{FoundCredentials, Installed},
    base::clock::Clock,
    config::Config,
    origin::{self, Protocol},
};

/// The verdict on one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It works as expected.
    Good,
    /// It works but could be better, or the check was inconclusive.
    Advice,
    /// It does not work.
    Bad,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The area of the check.
    pub area: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The observation.
    pub text: String,
    /// The fix, unless the verdict is good.
    #[serde(rename = "mend")]
    pub fix: Option<String>,
}

/// Findings about one area, as they are collected.
struct Checks {
    area: String,
    findings: Vec<Finding>,
}

impl Checks {
    fn of(area: impl Into<String>) -> Self {
        Self { area: area.into(), findings: Vec::new() }
    }

    fn good(&mut self, text: impl Into<String>) {
        self.note(Verdict::Good, text, None);
    }

    fn advise(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.note(Verdict::Advice, text, Some(fix.into()));
    }

    fn bad(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.note(Verdict::Bad, text, Some(fix.into()));
    }

    fn note(&mut self, verdict: Verdict, text: impl Into<String>, fix: Option<String>) {
        self.findings.push(Finding { area: self.area.clone(), verdict, text: text.into(), fix });
    }
}

/// Checks this machine only: ports, files, certificates, memory.
pub(crate) fn examine_machine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut findings = machine::examine(config, clock);
    findings.extend(certificates::examine(config, clock).findings);
    findings.extend(config.disk.iter().flat_map(|disk| disk::examine(disk, config.admin).findings));
    findings
}

/// Runs all checks. `sample` is the key of an object that must be readable.
pub(crate) async fn examine(config: &Config, sample: Option<&str>, clock: &Clock) -> Vec<Finding> {
    let mut findings = examine_machine(config, clock);
    let mut all = Vec::new();
    let mut found = None;
    if let Some(region) = signed_region(config) {
        let (checks, credentials) = account::examine(config, region, clock).await;
        all.push(checks);
        found = credentials;
    }
    if let Some(options) = &config.cluster {
        all.push(cluster::examine(options).await);
    }
    let mut seen: Vec<origin::Options> = Vec::new();
    for distribution in config.all_distributions() {
        for options in &distribution.origins {
            // An origin shared by several distributions is checked once.
            let same = origin::Options { id: String::new(), ..options.clone() };
            if !seen.contains(&same) {
                seen.push(same);
                let name = format!("{} of distribution {}", options.id, distribution.settings.id);
                all.push(bucket::examine(&name, options, found.as_ref(), sample, clock).await);
            }
        }
    }
    findings.extend(all.into_iter().flat_map(|checks| checks.findings));
    findings
}

/// The region of the first bucket that receives signed requests.
fn signed_region(config: &Config) -> Option<&str> {
    let origins = config.all_distributions().flat_map(|distribution| &distribution.origins);
    origins.filter(|options| options.protocol.is_signed()).find_map(|options| {
        match &options.protocol {
            Protocol::S3 { region, .. } => Some(region.as_str()),
            Protocol::Plain => None,
        }
    })
}

/// The keys that sign requests, if any.
fn keys(found: Option<&FoundCredentials>) -> Option<&Installed> {
    found.map(|found| &found.installed)
}

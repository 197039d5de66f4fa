//! `[staging]`: a second configuration that serves a part of the requests.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, HeaderValue};

use super::{Config, DistributionOptions, response_headers::field_value, section::Section};
use crate::{
    base::sha256,
    http::field_table::STAGING_PREFIX,
    proxy::{StagingOptions, Stickiness, staged_id},
};

/// The largest share of requests, as in CloudFront.
const MAX_WEIGHT: f64 = 0.15;

/// By how much the share of errors may exceed that of other requests, if the file does not say.
const DEFAULT_MARGIN: f64 = 0.05;

/// How long a session may be (Amazon CloudFront API Reference, `SessionStickinessConfig`).
const SESSION: RangeInclusive<Duration> = Duration::from_secs(300)..=Duration::from_secs(3600);

/// A second configuration that serves a part of the requests.
#[derive(Clone, Debug)]
pub struct StagedConfig {
    /// The file that has it.
    pub file: PathBuf,
    /// Which requests it serves.
    pub options: StagingOptions,
    /// Its distributions, once the file is read.
    pub distributions: Vec<DistributionOptions>,
}

pub(super) fn staging(root: &Section<'_>, directory: &Path) -> Option<StagedConfig> {
    let section = root.table("staging")?;
    let file =
        section.required("file", "name a whole configuration, such as `file = \"staging.toml\"`");
    let file = file.map(|file| directory.join(file.value));
    let weight = section.share("weight", MAX_WEIGHT);
    let header = header(&section);
    let has_weight = section.has("weight") && weight != Some(0.0);
    let weight = weight.unwrap_or_default();
    if !has_weight && !section.has("header") {
        let help = "add `weight = 0.05`, or `header = { aws-cf-cd-staging = \"yes\" }`".to_owned();
        section.fault(section.span(), "`staging` selects no requests", "in this table", help);
    }
    let stickiness = section.table("session_stickiness").map(|table| stickiness(&table));
    let error_margin = section.share("error_margin", 1.0).unwrap_or(DEFAULT_MARGIN);
    section.unknown();
    let options = StagingOptions { weight, header, stickiness, error_margin };
    Some(StagedConfig { file: file?, options, distributions: Vec::new() })
}

fn header(section: &Section<'_>) -> Option<(HeaderName, HeaderValue)> {
    let table = section.table("header")?;
    let fields = table.strings_by_name();
    let [(name, value)] = &fields[..] else {
        let help = "write one, such as `header = { aws-cf-cd-staging = \"yes\" }`".to_owned();
        table.fault(table.span(), "`header` must have one field", "in this table", help);
        return None;
    };
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    let name = name.filter(|name| name.as_str().starts_with(STAGING_PREFIX));
    if name.is_none() {
        let message = "the name of the header field must begin with `aws-cf-cd-`, as in CloudFront";
        let help = "write, for example, `header = { aws-cf-cd-staging = \"yes\" }`".to_owned();
        table.fault(value.span.clone(), message, "in this table", help);
    }
    name.zip(field_value(&table, value))
}

fn stickiness(table: &Section<'_>) -> Stickiness {
    let time = |key, default| {
        let Some(time) = table.duration(key) else { return default };
        if !SESSION.contains(&time.value) {
            let message = format!("`{key}` must be from 5 minutes to 1 hour, as in CloudFront");
            table.fault(time.span, message, "not allowed", None);
        }
        time.value
    };
    let idle = time("idle_ttl", *SESSION.start());
    let maximum = time("maximum_ttl", *SESSION.end());
    if maximum < idle {
        let help = "a session ends after `maximum_ttl` in any case".to_owned();
        table.fault(table.span(), "`maximum_ttl` is shorter than `idle_ttl`", "here", help);
    }
    table.unknown();
    Stickiness { idle, maximum }
}

impl Config {
    /// Adds the configuration of the staging file.
    ///
    /// # Errors
    /// If it has a staging file of its own, or the id of a distribution would be that of another one.
    pub fn stage(&mut self, staged: Self) -> Result<(), String> {
        let restart = self.changes_for_restart(&staged);
        let Some(staging) = &mut self.staging else { return Ok(()) };
        if staged.staging.is_some() {
            return Err("it has a table [staging] itself: remove the table there".to_owned());
        }
        let file = staging.file.display();
        for key in restart {
            self.doubts
                .push(format!("`{key}` of {file} takes effect only if you promote it and restart"));
        }
        let doubts = staged.doubts();
        self.doubts.extend(doubts.into_iter().map(|doubt| format!("{file}: {doubt}")));
        for mut distribution in staged.distributions {
            let primary =
                self.distributions.iter().find(|own| own.settings.id == distribution.settings.id);
            let Some(primary) = primary else {
                let id = &distribution.settings.id;
                self.doubts.push(format!(
                    "the distribution {id} of {file} serves no requests until you promote it: the configuration in force has none of this id"
                ));
                continue;
            };
            self.doubts.extend(less_protected(primary, &distribution));
            let settings = &mut distribution.settings;
            let id = staged_id(&settings.id);
            if self.distributions.iter().any(|own| *own.settings.id == *id) {
                return Err(format!(
                    "the distribution `{}` of staging is called `{id}` in logs and metrics, but there is one of this id: rename it",
                    settings.id
                ));
            }
            settings.id = id.into();
            // An invalidation is copied to CloudFront once.
            settings.fan_out = None;
            staging.distributions.push(distribution);
        }
        Ok(())
    }

    /// All distributions, also those of staging.
    pub(crate) fn all_distributions(&self) -> impl Iterator<Item = &DistributionOptions> {
        let staged = self.staging.iter().flat_map(|staging| &staging.distributions);
        self.distributions.iter().chain(staged)
    }
}

/// Warnings about behaviors that protect less on the staging side, which any viewer can choose.
fn less_protected(primary: &DistributionOptions, staged: &DistributionOptions) -> Vec<String> {
    let (own, other) = (&primary.settings.behaviors, &staged.settings.behaviors);
    let protected = own.all().filter(|behavior| behavior.is_protected());
    let name = |behavior| own.name(behavior);
    let is_open = |name: &String| {
        let same = other.by_name(name);
        same.is_none_or(|same| !same.is_protected())
    };
    let id = &primary.settings.id;
    let warning = |name| {
        format!(
            "the behavior {name} of distribution {id} is disabled or needs signatures or passwords, but not in the staging configuration, which any viewer can choose"
        )
    };
    protected.map(name).filter(is_open).map(warning).collect()
}

impl StagedConfig {
    /// A digest of its settings.
    pub(crate) fn digest(&self) -> u64 {
        sha256::first_64(format!("{:?}", (&self.options, &self.distributions)))
    }
}

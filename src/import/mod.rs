//! Imports CloudFront distributions. Reads the output of `aws cloudfront get-distribution-config` and similar commands,
//! and writes `forebay.toml` and a complete report (Amazon CloudFront API Reference, "DistributionConfig").
//!
//! Nothing is lost silently: settings that are not read by name are found at the end and reported.

mod behavior;
mod bucket_query;
mod distribution;
mod documents;
mod edge_code;
mod functions;
mod managed;
mod origin;
mod policies;
mod report;
mod response_headers;
mod staging;
mod text;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(crate) use documents::DocumentError;
pub use documents::Documents;
pub use documents::decode;
use documents::{Document, Parts, stem};
use report::{Ledger, Node};
pub(crate) use report::{Note, Report};
use staging::{Deployment, Staging};
use text::{Text, quote};

use crate::{
    behavior::Behavior,
    cache::key::PathForm,
    config::{Config, DistributionOptions},
};

/// A configuration and the import report.
#[derive(Clone, Debug)]
pub struct Import {
    /// The text of `forebay.toml`.
    pub toml: String,
    /// The text of [`STAGING_FILE`], if CloudFront has a staging distribution.
    pub staging: Option<String>,
    /// How each setting was carried over.
    pub report: Report,
    /// The configuration, if the file has no faults.
    pub config: Option<Config>,
}

/// The name of the file for a staging configuration, beside the other one.
pub const STAGING_FILE: &str = "staging.toml";

/// How TLS is terminated, which CloudFront's documents do not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not known yet.
    #[default]
    Unknown,
    /// Forebay terminates TLS with these certificate and key files.
    Here(String, String),
    /// Something in front of Forebay terminates TLS.
    Before,
}

/// The state of an import.
struct Job<'a> {
    parts: &'a Parts,
    ledger: &'a Ledger,
    tls: &'a Tls,
    /// The ids of continuous deployment policies, each with the reason why it is not carried over, or none.
    deployments: &'a BTreeMap<String, Option<String>>,
    shared: RefCell<Shared>,
}

/// State shared by all distributions.
#[derive(Default)]
struct Shared {
    /// Policies and key groups already written, by id.
    policies: BTreeMap<String, Text>,
    /// Policies made from settings inside behaviors.
    legacy: Vec<(Legacy, Text)>,
    ids: Vec<String>,
    needs: BTreeSet<Need>,
}

/// A kind of policy that older distributions define inside their behaviors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Legacy {
    Cache,
    OriginRequest,
}

/// Requirements of the file besides distributions and their policies, and notes already reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Geography,
    Log,
    ToldOfPrivate,
}

/// Builds a configuration from documents.
#[must_use]
pub fn import(documents: &Documents, tls: &Tls) -> Import {
    let Deployment { primary, staging, policies, left_out } = Deployment::of(documents);
    let parts = &documents.parts;
    let lines = staging.as_ref().map(|staging| &staging.lines);
    let mut imported = side(parts, &primary, tls, &policies, lines);
    if let Some(Staging { document, place, .. }) = &staging {
        let staged = primary.iter().enumerate();
        let staged: Vec<&Document> =
            staged.map(|(index, own)| if index == *place { document } else { *own }).collect();
        imported.stage(side(parts, &staged, tls, &policies, None));
    }
    let text = "a staging distribution that no enabled policy of these documents uses";
    let notes = left_out.into_iter().map(|path| Note { path, text: text.to_owned() });
    imported.report.dropped.extend(notes);
    imported
}

/// Builds one configuration. `staging` has the lines that select requests for another one.
fn side(
    parts: &Parts,
    documents: &[&Document],
    tls: &Tls,
    deployments: &BTreeMap<String, Option<String>>,
    staging: Option<&Text>,
) -> Import {
    let ledger = Ledger::default();
    let job = Job { parts, ledger: &ledger, tls, deployments, shared: RefCell::default() };
    let alone = documents.len() == 1;
    let distributions = documents.iter();
    let distributions: Vec<Text> =
        distributions.map(|document| distribution::distribution(&job, document, alone)).collect();
    let mut text = job.preamble(staging);
    for part in job.shared.take().into_texts().iter().chain(&distributions) {
        text.append(part);
    }
    let toml = text.as_str().to_owned();
    let compiled = Config::compile("forebay.toml", &toml, Path::new(""));
    let mut report = ledger.finish();
    let config = match compiled {
        Ok(config) => {
            report.different.extend(config.distributions.iter().flat_map(cookie_notes));
            Some(config)
        }
        Err(faults) => {
            let mend = faults.faults.iter().map(|fault| match fault.help() {
                Some(help) => format!("fix the file: {} ({help})", fault.message()),
                None => format!("fix the file: {}", fault.message()),
            });
            report.to_do.extend(mend);
            None
        }
    };
    Import { toml, staging: None, report, config }
}

impl Import {
    /// Adds a staging configuration, and what its report says beyond this one.
    fn stage(&mut self, staged: Self) {
        let Report { exact, different, dropped, to_do } = staged.report;
        let own = &mut self.report;
        for (own, notes) in
            [(&mut own.exact, exact), (&mut own.different, different), (&mut own.dropped, dropped)]
        {
            let new = notes.into_iter().filter(|note| !own.contains(note)).collect::<Vec<_>>();
            let named = |Note { path, text }| Note { path: format!("staging: {path}"), text };
            own.extend(new.into_iter().map(named));
        }
        let new: Vec<String> = to_do.into_iter().filter(|line| !own.to_do.contains(line)).collect();
        own.to_do.extend(new.into_iter().map(|line| format!("staging: {line}")));
        if let (Some(config), Some(staged)) = (&mut self.config, staged.config)
            && let Err(reason) = config.stage(staged)
        {
            self.report.to_do.push(format!("fix the staging configuration: {reason}"));
        }
        self.staging = Some(staged.toml);
    }
}

/// Notes on behaviors whose origins may set cookies in cached responses.
fn cookie_notes(distribution: &DistributionOptions) -> Vec<Note> {
    let behaviors = &distribution.settings.behaviors;
    let ordered =
        behaviors.ordered.iter().map(|(pattern, behavior)| (pattern.to_string(), behavior));
    let all = ordered.chain([("the default behavior".to_owned(), &behaviors.default)]);
    let caches = |behavior: &Behavior| {
        behavior.path_form == PathForm::Uri
            && behavior.forwards_cookies()
            && !behavior.cache_policy.caching.ttl.is_disabled()
    };
    let note = |(pattern, _)| {
        Note {
        path: format!("{pattern} of distribution {}", distribution.settings.id),
        text: "a response with `Set-Cookie` is not stored; CloudFront stores it and sends the cookie to other viewers (`cache_set_cookie = true` does the same)".to_owned(),
    }
    };
    all.filter(|(_, behavior)| caches(behavior)).map(note).collect()
}

impl Job<'_> {
    /// The text before all distributions.
    fn preamble(&self, staging: Option<&Text>) -> Text {
        let shared = self.shared.borrow();
        let mut text = Text::default();
        text.comment("Imported from CloudFront. `forebay check --config` reports errors; `forebay doctor --config` checks buckets, credentials and certificates.");
        text.heading("[listen]");
        text.line("http", quote("[::]:8080"));
        match self.tls {
            Tls::Here(certificate, key) => {
                text.line("https", quote("[::]:8443"));
                let (certificate, key) = (quote(certificate), quote(key));
                text.line("tls", format!("[{{ certificate = {certificate}, key = {key} }}]"));
            }
            Tls::Before => {
                text.comment("TLS is terminated in front of Forebay: see `public_scheme`.");
            }
            Tls::Unknown => {
                text.comment("For HTTPS, uncomment these lines and set your own files:");
                text.comment("https = \"[::]:8443\"");
                text.comment("tls = [{ certificate = \"certificate.pem\", key = \"key.pem\" }]");
            }
        }
        if let Some(lines) = staging {
            text.remark(
                "A part of the requests is served by another configuration: see docs/staging.md.",
            );
            text.push("[staging]");
            text.line("file", quote(STAGING_FILE));
            text.append_lines(lines);
        }
        if shared.needs.contains(&Need::Log) {
            text.heading("[access_log]");
            text.line("format", quote("cloudfront-v1"));
            text.line("path", quote("/var/log/forebay"));
        }
        if shared.needs.contains(&Need::Geography) {
            text.remark("Countries of viewers, in MaxMind's format. GeoLite2 is free with a MaxMind account.");
            text.push("[geo]");
            text.line("database", quote("GeoLite2-Country.mmdb"));
        }
        text
    }

    /// The id of the distribution being imported.
    fn distribution(&self) -> String {
        self.shared.borrow().ids.last().cloned().unwrap_or_default()
    }

    /// Adds a policy or key group with this id, unless it exists.
    fn add_policy(&self, id: &str, write: impl FnOnce() -> Text) {
        if !self.shared.borrow().policies.contains_key(id) {
            let text = write();
            self.shared.borrow_mut().policies.insert(id.to_owned(), text);
        }
    }

    /// Adds a policy for a behavior's own settings and returns its name.
    fn add_legacy(&self, kind: Legacy, policy: &Text) -> String {
        let legacy = &mut self.shared.borrow_mut().legacy;
        let same = |known: &(Legacy, Text)| known.0 == kind && known.1 == *policy;
        let place = legacy.iter().position(same).unwrap_or_else(|| {
            legacy.push((kind, policy.clone()));
            legacy.len() - 1
        });
        format!("legacy-{}", place + 1)
    }

    /// Records a need. Returns whether it is new.
    fn need(&self, need: Need) -> bool {
        self.shared.borrow_mut().needs.insert(need)
    }

    /// Reports once how a policy that stores everything for a while differs here.
    fn tell_of_private(&self, policy: &Node<'_>) {
        if self.need(Need::ToldOfPrivate) {
            policy.differs("`private` and `no-store` responses are never shared; CloudFront shares them for the policy's MinTTL (a custom policy with `honor_private = \"cloudfront\"` does the same)");
        }
    }

    /// A distribution id from the document, or from the file name.
    fn free_id(&self, wanted: Option<&str>, file: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let words = stem(file).split(|c: char| !c.is_ascii_alphanumeric());
        let is_id = |word: &&str| {
            word.len() >= 10
                && word.starts_with('E')
                && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        let named = words.clone().find(is_id).unwrap_or(stem(file));
        let named = wanted.unwrap_or(named);
        let plain: String =
            named.chars().map(|c| if allowed(c) { c } else { '-' }).take(60).collect();
        let plain = if plain.is_empty() { "default".to_owned() } else { plain };
        let ids = &mut self.shared.borrow_mut().ids;
        let numbered = (2_usize..).map(|number| format!("{plain}-{number}"));
        let mut all = std::iter::once(plain.clone()).chain(numbered);
        let id = all.find(|id| !ids.contains(id)).unwrap_or(plain);
        ids.push(id.clone());
        id
    }
}

impl Shared {
    fn into_texts(self) -> Vec<Text> {
        let mut texts: Vec<Text> = self.policies.into_values().collect();
        for (place, (kind, policy)) in self.legacy.iter().enumerate() {
            let mut text = Text::default();
            text.push(match kind {
                Legacy::Cache => "[[cache_policy]]",
                Legacy::OriginRequest => "[[origin_request_policy]]",
            });
            text.line("name", quote(&format!("legacy-{}", place + 1)));
            text.append_lines(policy);
            texts.push(text);
        }
        texts
    }
}

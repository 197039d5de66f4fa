//! CloudFront's distributions as a configuration: what `aws cloudfront get-distribution-config` and its
//! like tell, in, `forebay.toml` and an honest report, out
//! (Amazon CloudFront API Reference, "DistributionConfig").
//!
//! Nothing is lost silently: what is not read by name is found at the end, and told.

mod behavior;
mod bucket_query;
mod distribution;
mod documents;
mod managed;
mod origin;
mod policies;
mod report;
mod response_headers;
mod text;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(crate) use documents::DocumentError;
pub use documents::Documents;
pub use documents::decode;
use documents::{Parts, stem};
use report::{Ledger, Node};
pub(crate) use report::{Note, Report};
use text::{Text, quote};

use crate::{
    behavior::Behavior,
    cache::key::PathForm,
    config::{Config, DistributionOptions},
};

/// A configuration, and what became of the documents.
#[derive(Clone, Debug)]
pub struct Import {
    /// The text of `forebay.toml`.
    pub toml: String,
    /// What was carried how.
    pub report: Report,
    /// The configuration, if the file has no fault.
    pub config: Option<Config>,
}

/// How TLS is ended, which CloudFront's documents cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// It is not known yet.
    #[default]
    Unknown,
    /// By Forebay, with these files of a certificate and its key.
    Here(String, String),
    /// By something before Forebay.
    Before,
}

/// What is at hand while documents are imported.
struct Job<'a> {
    parts: &'a Parts,
    ledger: &'a Ledger,
    tls: &'a Tls,
    shared: RefCell<Shared>,
}

/// What distributions share.
#[derive(Default)]
struct Shared {
    /// Policies and key groups that are written already, by id.
    policies: BTreeMap<String, Text>,
    /// Policies made of what behaviors say themselves.
    legacy: Vec<(Legacy, Text)>,
    ids: Vec<String>,
    needs: BTreeSet<Need>,
}

/// A kind of policy that older distributions have within their behaviors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Legacy {
    Cache,
    OriginRequest,
}

/// What the file needs besides distributions and their policies, and what was told already.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Geography,
    Log,
    ToldOfPrivate,
}

/// Makes a configuration of documents.
#[must_use]
pub fn import(documents: &Documents, tls: &Tls) -> Import {
    let ledger = Ledger::default();
    let job = Job { parts: &documents.parts, ledger: &ledger, tls, shared: RefCell::default() };
    let alone = documents.distributions.len() == 1;
    let distributions: Vec<Text> = documents
        .distributions
        .iter()
        .map(|document| distribution::distribution(&job, document, alone))
        .collect();
    let mut text = job.preamble();
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
    Import { toml, report, config }
}

/// Behaviors whose origins may set cookies in responses that are cached.
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
    /// What comes before all distributions.
    fn preamble(&self) -> Text {
        let shared = self.shared.borrow();
        let mut text = Text::default();
        text.comment("Imported from CloudFront. `forebay check --config` finds faults; `forebay doctor --config` looks at buckets, credentials and certificates.");
        text.heading("[listen]");
        text.line("http", quote("[::]:8080"));
        match self.tls {
            Tls::Here(certificate, key) => {
                text.line("https", quote("[::]:8443"));
                let (certificate, key) = (quote(certificate), quote(key));
                text.line("tls", format!("[{{ certificate = {certificate}, key = {key} }}]"));
            }
            Tls::Before => text.comment("TLS ends before Forebay: see `public_scheme`."),
            Tls::Unknown => {
                text.comment("For HTTPS, with files of your own:");
                text.comment("https = \"[::]:8443\"");
                text.comment("tls = [{ certificate = \"certificate.pem\", key = \"key.pem\" }]");
            }
        }
        if shared.needs.contains(&Need::Log) {
            text.heading("[access_log]");
            text.line("format", quote("cloudfront-v1"));
            text.line("path", quote("/var/log/forebay"));
        }
        if shared.needs.contains(&Need::Geography) {
            text.remark("Where viewers are, in MaxMind's format: free with an account of theirs.");
            text.push("[geo]");
            text.line("database", quote("GeoLite2-Country.mmdb"));
        }
        text
    }

    /// The id of the distribution that is being imported.
    fn distribution(&self) -> String {
        self.shared.borrow().ids.last().cloned().unwrap_or_default()
    }

    /// Adds a policy or key group of this id, unless it is there.
    fn add_policy(&self, id: &str, write: impl FnOnce() -> Text) {
        if !self.shared.borrow().policies.contains_key(id) {
            let text = write();
            self.shared.borrow_mut().policies.insert(id.to_owned(), text);
        }
    }

    /// The name of a policy that says what a behavior says itself.
    fn add_legacy(&self, kind: Legacy, policy: &Text) -> String {
        let legacy = &mut self.shared.borrow_mut().legacy;
        let same = |known: &(Legacy, Text)| known.0 == kind && known.1 == *policy;
        let place = legacy.iter().position(same).unwrap_or_else(|| {
            legacy.push((kind, policy.clone()));
            legacy.len() - 1
        });
        format!("legacy-{}", place + 1)
    }

    /// Notes a need; whether it is a new one.
    fn need(&self, need: Need) -> bool {
        self.shared.borrow_mut().needs.insert(need)
    }

    /// Tells, once, how a policy that stores everything for a while differs here.
    fn tell_of_private(&self, policy: &Node<'_>) {
        if self.need(Need::ToldOfPrivate) {
            policy.differs("what is `private` or `no-store` is never shared here; CloudFront shares it for the policy's MinTTL (`honor_private = \"cloudfront\"` in a policy of one's own)");
        }
    }

    /// The id of a distribution: as told, or as the file's name has it.
    fn free_id(&self, told: Option<&str>, file: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let words = stem(file).split(|c: char| !c.is_ascii_alphanumeric());
        let is_id = |word: &&str| {
            word.len() >= 10
                && word.starts_with('E')
                && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        let named = words.clone().find(is_id).unwrap_or(stem(file));
        let named = told.unwrap_or(named);
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

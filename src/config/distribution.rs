//! `[[distribution]]`: hosts, origins, behaviors.

use std::{collections::BTreeSet, path::Path};

use super::{
    behavior::{Policies, behaviors},
    origin::origins,
    policy::word,
    section::{Section, check_id},
};
use crate::{behavior::Behaviors, key::CanonicalPath, origin, policy::ErrorTtl};

/// Status codes that are stored as errors; a minimum TTL may be given for each.
const CACHED_ERRORS: [&str; 12] =
    ["400", "403", "404", "405", "412", "414", "415", "500", "501", "502", "503", "504"];

/// One distribution, compiled.
#[derive(Clone, Debug)]
pub struct DistributionOptions {
    /// Its id.
    pub id: String,
    /// Hosts it answers for.
    pub aliases: Vec<String>,
    /// What `/` stands for.
    pub default_root_object: Option<String>,
    /// `http` or `https`, where it is another than connections tell.
    pub public_scheme: Option<String>,
    /// `X-Cache: Hit from …`.
    pub x_cache_suffix: String,
    /// Origins, as behaviors count them.
    pub origins: Vec<origin::Options>,
    /// What applies to which path.
    pub behaviors: Behaviors,
}

pub(super) fn distributions(
    root: &Section<'_>,
    policies: &Policies,
    directory: &Path,
) -> Vec<DistributionOptions> {
    let (mut ids, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    let sections = root.tables("distribution");
    if sections.is_empty() {
        let help = "see config/minimal.toml for one".to_owned();
        root.fault(0..0, "there is no `[[distribution]]`", "nothing to serve", help);
    }
    let read = |section: Section<'_>| {
        let distribution = distribution(&section, policies, directory, &mut ids, &mut hosts);
        section.unknown();
        distribution
    };
    sections.into_iter().filter_map(read).collect()
}

fn distribution(
    section: &Section<'_>,
    policies: &Policies,
    directory: &Path,
    ids: &mut BTreeSet<String>,
    hosts: &mut BTreeSet<String>,
) -> Option<DistributionOptions> {
    let id = section.required("id", "an id names the distribution in purges, logs and metrics");
    let id = id.and_then(|id| check_id(section, id, ids));
    let aliases = aliases(section, hosts);
    let default_root_object = root_object(section);
    let suffix = section.string("x_cache_suffix");
    let x_cache_suffix = suffix.map_or("forebay", |suffix| {
        if !suffix.value.chars().all(|c| c.is_ascii_graphic() || c == ' ')
            || suffix.value.is_empty()
        {
            let message = "`x_cache_suffix` must be printable ASCII";
            section.fault(suffix.span, message, "cannot stand in a field", None);
        }
        suffix.value
    });
    let origins = origins(section, directory);
    let behaviors = behaviors(section, &origins, policies, &error_ttl(section));
    // A faulty origin is reported already; behaviors that name it are not at fault.
    let origins = origins.into_iter().filter_map(|origin| origin.options).collect();
    Some(DistributionOptions {
        id: id?,
        aliases,
        default_root_object,
        public_scheme: public_scheme(section),
        x_cache_suffix: x_cache_suffix.to_owned(),
        origins,
        behaviors: behaviors?,
    })
}

fn aliases(section: &Section<'_>, taken: &mut BTreeSet<String>) -> Vec<String> {
    let Some(texts) = section.strings("aliases") else {
        if section.has("aliases") {
            return Vec::new();
        }
        let help = "add `aliases = [\"media.example.com\"]`, or `[\"*\"]` for any host".to_owned();
        section.fault(section.span(), "`distribution.aliases` is missing", "in this table", help);
        return Vec::new();
    };
    let mut aliases = Vec::new();
    for text in texts {
        let alias = text.value.to_ascii_lowercase();
        let host = alias.strip_prefix("*.").unwrap_or(&alias);
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
        if alias != "*" && (host.is_empty() || !host.chars().all(allowed)) {
            let message = format!("`{}` is no alias", text.value);
            let help = "a host name, `*.` and a host name, or `*`; no scheme, no port".to_owned();
            section.fault(text.span, message, "not a host name", help);
        } else if taken.insert(alias.clone()) {
            aliases.push(alias);
        } else {
            let message = format!("`{}` is an alias already", text.value);
            section.fault(text.span, message, "a host has one distribution", None);
        }
    }
    aliases
}

/// Signatures are about URLs as viewers see them; before a load balancer these may begin otherwise.
fn public_scheme(section: &Section<'_>) -> Option<String> {
    let scheme = word(section, "public_scheme", [("http", "http"), ("https", "https")]);
    scheme.map(str::to_owned)
}

fn root_object(section: &Section<'_>) -> Option<String> {
    let object = section.string("default_root_object")?;
    let url = format!("/{}", object.value);
    if object.value.is_empty()
        || object.value.starts_with('/')
        || CanonicalPath::parse(&url).is_err()
    {
        let message = format!("`{}` cannot be the default root object", object.value);
        let help = "write the name of an object without a leading slash, such as \"index.html\"";
        section.fault(object.span, message, "not an object's name", help.to_owned());
        return None;
    }
    Some(object.value.to_owned())
}

/// `error_caching_min_ttl`: one duration for all codes, or a table by code with `default`.
fn error_ttl(section: &Section<'_>) -> ErrorTtl {
    const KEY: &str = "error_caching_min_ttl";
    let mut errors = ErrorTtl::default();
    if section.is_table(KEY) {
        let Some(table) = section.table(KEY) else { return errors };
        errors.default = table.duration("default").map_or(errors.default, |ttl| ttl.value);
        for code in CACHED_ERRORS {
            if let Some(ttl) = table.duration(code) {
                errors.by_status.extend(code.parse().ok().map(|code: u16| (code, ttl.value)));
            }
        }
        table.unknown();
    } else if let Some(ttl) = section.duration(KEY) {
        errors.default = ttl.value;
    }
    errors
}

//! `[[cache_policy]]`: policies of one's own.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;

use super::section::Section;
use crate::{
    behavior::{CachePolicy, MANAGED_CACHE_POLICIES},
    key::{KeySpec, NameSpec},
    policy::{HonorPrivate, Ttl},
};

/// CloudFront's defaults where a policy leaves a TTL out.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);
const MAX_TTL: Duration = Duration::from_secs(31_536_000);

/// Fields that must not be in a key: they are Forebay's or the connection's own business.
const NOT_IN_KEY: [&str; 14] = [
    "accept-encoding",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
];

/// Policies by name.
pub(super) type Policies = BTreeMap<String, CachePolicy>;

pub(super) fn own_policies(root: &Section<'_>) -> Policies {
    let mut policies = Policies::new();
    for section in root.tables("cache_policy") {
        let name = section.required("name", "behaviors refer to a policy by its name");
        let policy = CachePolicy {
            ttl: ttl(&section),
            key: KeySpec {
                query: names(&section, "query_strings"),
                headers: headers(&section),
                cookies: names(&section, "cookies"),
            },
            honor_private: honor_private(&section),
        };
        if let Some(name) = name {
            let taken = MANAGED_CACHE_POLICIES.contains(&name.value);
            if taken || policies.insert(name.value.to_owned(), policy).is_some() {
                let message = format!("there is a cache policy `{}` already", name.value);
                section.fault(name.span, message, "choose another name", None);
            }
        }
        section.unknown();
    }
    policies
}

fn ttl(section: &Section<'_>) -> Ttl {
    let min = section.duration("min_ttl");
    let default = section.duration("default_ttl");
    let max = section.duration("max_ttl");
    let least = min.as_ref().map_or(Duration::ZERO, |min| min.value);
    let ttl = Ttl {
        min: least,
        default: default.as_ref().map_or(DEFAULT_TTL.max(least), |default| default.value),
        max: max.as_ref().map_or(MAX_TTL, |max| max.value),
    };
    let ttl = Ttl { max: if max.is_none() { ttl.max.max(ttl.default) } else { ttl.max }, ..ttl };
    let ttl = match (&default, &max) {
        (None, Some(max)) => Ttl { default: ttl.default.min(max.value).max(least), ..ttl },
        _ => ttl,
    };
    if ttl.min > ttl.default || ttl.default > ttl.max {
        let span = [&min, &default, &max].into_iter().flatten().next();
        section.fault(
            span.map_or_else(|| section.span(), |placed| placed.span.clone()),
            "the TTLs contradict each other",
            "in this policy",
            "it must hold that min_ttl ≤ default_ttl ≤ max_ttl".to_owned(),
        );
    }
    ttl
}

/// `"none"`, `"all"`, `{ whitelist = […] }` or `{ all_except = […] }`.
fn names(section: &Section<'_>, key: &'static str) -> NameSpec {
    const HELP: &str =
        "write \"none\", \"all\", { whitelist = [\"a\"] } or { all_except = [\"a\"] }";
    if section.is_string(key) {
        let Some(word) = section.string(key) else { return NameSpec::None };
        return match word.value {
            "none" => NameSpec::None,
            "all" => NameSpec::All,
            other => {
                let message = format!("`{other}` selects nothing");
                section.fault(word.span, message, "not a known word", HELP.to_owned());
                NameSpec::None
            }
        };
    }
    if !section.has(key) {
        return NameSpec::None;
    }
    let Some(table) = section.table(key) else { return NameSpec::None };
    let list =
        |key| table.strings(key).map(|names| names.iter().map(|n| n.value.to_owned()).collect());
    let spec = match (list("whitelist"), list("all_except")) {
        (Some(names), None) => NameSpec::Only(names),
        (None, Some(names)) => NameSpec::Except(names),
        _ => {
            let message = "expected one of `whitelist` and `all_except`";
            section.fault(table.span(), message, "in this table", HELP.to_owned());
            NameSpec::None
        }
    };
    table.unknown();
    spec
}

fn headers(section: &Section<'_>) -> Vec<HeaderName> {
    let mut headers: Vec<HeaderName> = Vec::new();
    for text in section.strings("headers").unwrap_or_default() {
        match HeaderName::from_bytes(text.value.as_bytes()) {
            Ok(name)
                if NOT_IN_KEY.contains(&name.as_str()) || name.as_str().starts_with("x-amz-") =>
            {
                section.fault(
                    text.span,
                    format!("`{name}` cannot be in a cache key"),
                    "not allowed here",
                    "cookies have a key of their own; codings, conditions and ranges are handled by the cache".to_owned(),
                );
            }
            Ok(name) => {
                if !headers.contains(&name) {
                    headers.push(name);
                }
            }
            Err(_) => {
                let message = format!("`{}` is no field name", text.value);
                section.fault(text.span, message, "not a field name", None);
            }
        }
    }
    headers
}

fn honor_private(section: &Section<'_>) -> HonorPrivate {
    let Some(word) = section.string("honor_private") else { return HonorPrivate::default() };
    match word.value {
        "strict" => HonorPrivate::Strict,
        "cloudfront" => HonorPrivate::CloudFront,
        other => {
            section.fault(
                word.span,
                format!("`{other}` is no way to honor `private`"),
                "expected strict or cloudfront",
                None,
            );
            HonorPrivate::Strict
        }
    }
}

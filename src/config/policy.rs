//! `[[cache_policy]]`: custom cache policies.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, header};

use super::section::Section;
use crate::{
    behavior::{CachePolicy, MANAGED_CACHE_POLICIES},
    cache::{
        key::{KeySpec, NameSpec},
        policy::{CachingRules, HonorPrivate, Ttl},
    },
    http::{coding::Codings, field_table::RequestField},
};

/// CloudFront's defaults for TTLs that a policy omits.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);
const MAX_TTL: Duration = Duration::from_secs(31_536_000);

/// Whether a field can be in a cache key. `honor_request_directives` controls `Cache-Control`, and codings have their
/// own keys.
#[must_use]
pub(crate) fn is_keyable(name: &HeaderName) -> bool {
    *name == header::HOST
        || (*name != header::CACHE_CONTROL
            && matches!(RequestField::of(name), RequestField::ByPolicy | RequestField::Described))
}

/// Cache policies by name.
pub(super) type CachePolicies = BTreeMap<String, CachePolicy>;

pub(super) fn own_policies(root: &Section<'_>) -> CachePolicies {
    let mut policies = CachePolicies::new();
    for section in root.tables("cache_policy") {
        let codings = Codings {
            gzip: flag(&section, "enable_accept_encoding_gzip"),
            brotli: flag(&section, "enable_accept_encoding_brotli"),
            zstd: flag(&section, "enable_accept_encoding_zstd"),
        };
        let key = KeySpec {
            query: names(&section, "query_strings"),
            headers: headers(&section, "headers", is_keyable, "in a cache key"),
            cookies: names(&section, "cookies"),
            codings,
            sort_query: flag(&section, "sort_query"),
        };
        let policy = CachePolicy { key, caching: caching(&section) };
        take_up(&section, &mut policies, ("caching", &MANAGED_CACHE_POLICIES), policy);
    }
    policies
}

fn caching(section: &Section<'_>) -> CachingRules {
    let caching = CachingRules::new(ttl(section));
    let targets = section.has("targeted_fields");
    let targets =
        targets.then(|| headers(section, "targeted_fields", |_| true, "a targeted field"));
    CachingRules {
        honor_private: honor_private(section),
        heuristic: flag(section, "heuristic"),
        honor_request: flag(section, "honor_request_directives"),
        stale_if_missing: section.duration("stale_if_missing").map_or(Duration::ZERO, |d| d.value),
        targets: targets.unwrap_or_else(CachingRules::default_targets),
        honor_vary: word(section, "vary", [("honor", true), ("ignore", false)]).unwrap_or(true),
        ..caching
    }
}

fn flag(section: &Section<'_>, key: &'static str) -> bool {
    section.boolean(key).is_some_and(|flag| flag.value)
}

/// One of a few known words.
pub(super) fn word<T: Copy, const N: usize>(
    section: &Section<'_>,
    key: &'static str,
    words: [(&str, T); N],
) -> Option<T> {
    let word = section.string(key)?;
    let meaning = words.iter().find(|(known, _)| *known == word.value);
    if meaning.is_none() {
        let message = format!("`{}` is not a valid value for `{key}`", word.value);
        let expected = format!("expected {}", words.map(|(word, _)| word).join(" or "));
        section.fault(word.span, message, expected, None);
    }
    meaning.map(|(_, meaning)| *meaning)
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
            "choose values with min_ttl ≤ default_ttl ≤ max_ttl".to_owned(),
        );
    }
    ttl
}

/// A selection of items of one kind.
pub(super) enum Selection<T> {
    None,
    All,
    Only(T),
    Except(T),
}

/// `"none"`, `"all"`, `{ whitelist = […] }` or `{ all_except = […] }`; `read` reads the list.
pub(super) fn selection<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&Section<'_>, &'static str) -> T,
) -> Selection<T> {
    const HELP: &str =
        "write \"none\", \"all\", { whitelist = [\"a\"] } or { all_except = [\"a\"] }";
    if section.is_string(key) {
        return match section.string(key).map(|word| (word.value, word.span)) {
            Some(("all", _)) => Selection::All,
            Some(("none", _)) | None => Selection::None,
            Some((other, span)) => {
                let message = format!("`{other}` is not a valid selection");
                section.fault(span, message, "unknown value", HELP.to_owned());
                Selection::None
            }
        };
    }
    let Some(table) = section.has(key).then(|| section.table(key)).flatten() else {
        return Selection::None;
    };
    let list = |key| table.has(key).then(|| read(&table, key));
    let selection = match (list("whitelist"), list("all_except")) {
        (Some(list), None) => Selection::Only(list),
        (None, Some(list)) => Selection::Except(list),
        _ => {
            let message = "expected either `whitelist` or `all_except`";
            section.fault(table.span(), message, "in this table", HELP.to_owned());
            Selection::None
        }
    };
    table.unknown();
    selection
}

/// The selected query strings or cookies.
pub(super) fn names(section: &Section<'_>, key: &'static str) -> NameSpec {
    let list = |table: &Section<'_>, key| {
        let names = table.strings(key).unwrap_or_default();
        names.iter().map(|name| name.value.to_owned()).collect()
    };
    match selection(section, key, list) {
        Selection::None => NameSpec::None,
        Selection::All => NameSpec::All,
        Selection::Only(names) => NameSpec::Only(names),
        Selection::Except(names) => NameSpec::Except(names),
    }
}

/// Adds a policy under its name.
pub(super) fn take_up<T>(
    section: &Section<'_>,
    policies: &mut BTreeMap<String, T>,
    (kind, managed): (&str, &[&str]),
    policy: T,
) {
    let name = section.required("name", "add a `name`, by which behaviors select this policy");
    if let Some(name) = name {
        let taken = managed.contains(&name.value);
        if taken || policies.insert(name.value.to_owned(), policy).is_some() {
            let message = format!("there is already a policy `{}` for {kind}", name.value);
            section.fault(name.span, message, "choose another name", None);
        }
    }
    section.unknown();
}

/// A list of header names.
pub(super) fn headers(
    section: &Section<'_>,
    key: &'static str,
    is_allowed: impl Fn(&HeaderName) -> bool,
    place: &str,
) -> Vec<HeaderName> {
    let mut headers: Vec<HeaderName> = Vec::new();
    for text in section.strings(key).unwrap_or_default() {
        match HeaderName::from_bytes(text.value.as_bytes()) {
            Ok(name) if !is_allowed(&name) || name.as_str().starts_with("x-amz-") => {
                section.fault(
                    text.span,
                    format!("`{name}` cannot be {place}"),
                    "not allowed here",
                    "remove it: cookies have a separate key, Forebay handles encodings, conditions and ranges itself, and fields such as X-Real-IP never reach an origin".to_owned(),
                );
            }
            Ok(name) => {
                if !headers.contains(&name) {
                    headers.push(name);
                }
            }
            Err(_) => {
                let message = format!("`{}` is not a valid header field name", text.value);
                section.fault(text.span, message, "not a valid name", None);
            }
        }
    }
    headers
}

fn honor_private(section: &Section<'_>) -> HonorPrivate {
    let words = [("strict", HonorPrivate::Strict), ("cloudfront", HonorPrivate::CloudFront)];
    word(section, "honor_private", words).unwrap_or_default()
}

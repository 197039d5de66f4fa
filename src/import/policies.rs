//! Policies: CloudFront's managed ones by id, custom ones from their documents, and the settings that older
//! distributions have instead (`ForwardedValues`).

use http::HeaderName;
use serde_json::Value;

use super::{
    Job, Legacy,
    bucket_query::{FEW_PARAMETERS, keys_more, lists_names, without_refused},
    managed::managed,
    report::Node,
    response_headers,
    text::{Text, list, quote},
};
use crate::{
    behavior::{ABOUT_VIEWERS, CachePolicy},
    config::{is_keyable, is_sendable},
    http::field_table::FieldTrait,
    origin::is_refused_parameter,
};

/// Managed policies that forward only fields a bucket may receive.
const HARMLESS: [&str; 2] = ["CORS-CustomOrigin", "CORS-S3Origin"];

/// A kind of policy: its key here and CloudFront's name for it.
struct Kind {
    key: &'static str,
    command: &'static str,
    write: fn(&Job<'_>, &Node<'_>) -> Text,
}

const CACHE: Kind = Kind { key: "cache_policy", command: "cache-policy", write: cache_policy };
const ORIGIN_REQUEST: Kind = Kind {
    key: "origin_request_policy",
    command: "origin-request-policy",
    write: origin_request_policy,
};
const RESPONSE_HEADERS: Kind = Kind {
    key: "response_headers_policy",
    command: "response-headers-policy",
    write: response_headers::policy,
};

/// Writes the policies that a behavior refers to.
pub(super) fn of_behavior(job: &Job<'_>, text: &mut Text, node: &Node<'_>, is_bucket: bool) {
    let parts = job.parts;
    let cache = node.get("CachePolicyId");
    match cache.text() {
        Some(id) => {
            // The other settings have no effect with a cache policy.
            for key in ["ForwardedValues", "MinTTL", "DefaultTTL", "MaxTTL"] {
                node.get(key).read();
            }
            let known = parts.cache_policies.get(id);
            if is_bucket {
                named_for_bucket(job, text, &CACHE, &cache, known);
            } else {
                named(job, text, &CACHE, &cache, known);
            }
            if shares_private(id, known) {
                job.tell_of_private(&cache);
            }
            if is_bucket && keys_more(id, known) {
                cache.differs(FEW_PARAMETERS);
            }
        }
        None => forwarded_values(job, text, node, is_bucket),
    }
    let request = node.get("OriginRequestPolicyId");
    if let Some(id) = request.text() {
        let known = parts.origin_request_policies.get(id);
        if !is_bucket {
            named(job, text, &ORIGIN_REQUEST, &request, known);
        } else if is_harmless(id, known) {
            named_for_bucket(job, text, &ORIGIN_REQUEST, &request, known);
            if known.is_some_and(lists_names) {
                request.differs(FEW_PARAMETERS);
            }
        } else {
            request.differs("left out: a bucket receives only Origin and Access-Control-Request-*");
        }
    }
    let response = node.get("ResponseHeadersPolicyId");
    if let Some(id) = response.text() {
        let known = parts.response_headers_policies.get(id);
        named(job, text, &RESPONSE_HEADERS, &response, known);
    }
}

/// Names a policy for a bucket, without query parameters that are S3 subresources. A changed policy gets another name,
/// because behaviors with other origins may share the original.
fn named_for_bucket(
    job: &Job<'_>,
    text: &mut Text,
    kind: &Kind,
    node: &Node<'_>,
    known: Option<&Value>,
) {
    let Some((cleaned, refused)) = known.and_then(without_refused) else {
        return named(job, text, kind, node, known);
    };
    let id = format!("{} for a bucket", node.text().unwrap_or_default());
    named_as(job, text, kind, node, &id, Some(&cleaned));
    node.differs(format!(
        "without the query parameters {}: they are S3 subresources",
        refused.join(", ")
    ));
}

/// Whether CloudFront shares responses that origins forbid sharing: the policy's minimum TTL is not zero.
fn shares_private(id: &str, config: Option<&Value>) -> bool {
    let managed = managed(id).and_then(CachePolicy::managed);
    let min = managed.map(|policy| policy.caching.ttl.min.as_secs());
    min.or_else(|| config?.get("MinTTL")?.as_u64()).is_some_and(|seconds| seconds > 0)
}

fn named(job: &Job<'_>, text: &mut Text, kind: &Kind, node: &Node<'_>, known: Option<&Value>) {
    let id = node.text().unwrap_or_default();
    named_as(job, text, kind, node, id, known);
}

/// Names a policy and writes it once for each `id`.
fn named_as(
    job: &Job<'_>,
    text: &mut Text,
    kind: &Kind,
    node: &Node<'_>,
    id: &str,
    known: Option<&Value>,
) {
    if let Some(name) = managed(id) {
        text.line(kind.key, quote(name));
        return node.is_exact(kind.key);
    }
    let Some(config) = known else {
        job.ledger.to_do(format!(
            "run `aws cloudfront get-{0} --id {id} > {0}-{id}.json` and import that file too: `{1}` refers to it",
            kind.command, kind.key
        ));
        text.line(kind.key, quote(id));
        return node.is_dropped("its document is missing");
    };
    let root = job.ledger.root(&format!("{} {id}: ", kind.command), config);
    let name = root.get("Name").text_or(id).to_owned();
    job.add_policy(id, || {
        let mut policy = Text::default();
        root.get("Comment").text().into_iter().for_each(|comment| policy.comment(comment));
        policy.push(&format!("[[{}]]", kind.key));
        policy.line("name", quote(&name));
        policy.append_lines(&(kind.write)(job, &root));
        job.ledger.tell_unread(&root);
        policy
    });
    text.line(kind.key, quote(&name));
    node.is_exact(kind.key);
}

/// Whether a policy forwards only fields that a bucket may receive.
fn is_harmless(id: &str, config: Option<&Value>) -> bool {
    if let Some(name) = managed(id) {
        return HARMLESS.contains(&name);
    }
    let headers = config.and_then(|config| config.get("HeadersConfig"));
    let behavior = headers.and_then(|headers| headers.get("HeaderBehavior")?.as_str());
    let items = headers.and_then(|headers| headers.get("Headers")?.get("Items")?.as_array());
    let mut names = items.into_iter().flatten().filter_map(Value::as_str);
    match behavior {
        Some("none") => true,
        Some("whitelist") => {
            names.all(|name| FieldTrait::ToBuckets.applies_to(&name.to_ascii_lowercase()))
        }
        // No document was given: that is reported, and nothing is left out silently.
        None => config.is_none(),
        _ => false,
    }
}

fn ttl(text: &mut Text, node: &Node<'_>) {
    for (theirs, ours) in
        [("MinTTL", "min_ttl"), ("DefaultTTL", "default_ttl"), ("MaxTTL", "max_ttl")]
    {
        let seconds = node.get(theirs);
        if let Some(value) = seconds.number() {
            text.line(ours, value);
            seconds.is_exact(ours);
        }
    }
}

/// `{"CookieBehavior": "whitelist", "Cookies": {"Items": […]}}` and similar.
fn selection(text: &mut Text, ours: &str, node: &Node<'_>, word: &str, things: &str) {
    let behavior = node.get(word);
    let names = node.get(things).strings();
    let value = match behavior.text() {
        Some("all") => quote("all"),
        Some("whitelist") => format!("{{ whitelist = {} }}", list(names)),
        Some("allExcept") => format!("{{ all_except = {} }}", list(names)),
        _ => return,
    };
    text.line(ours, value);
    behavior.is_exact(ours);
}

/// The listed header names that `is_allowed` accepts. The others are reported as not carried over.
fn headers<'a>(
    node: &Node<'a>,
    is_allowed: impl Fn(&HeaderName) -> bool,
    why: &str,
) -> Vec<&'a str> {
    let allowed = |item: &Node<'a>| {
        let name = item.text()?;
        // Invalid names are reported when the configuration is compiled.
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let is_refused = parsed.is_ok_and(|name| !is_allowed(&name));
        if is_refused {
            item.is_dropped(why);
        }
        (!is_refused).then_some(name)
    };
    node.items().iter().filter_map(allowed).collect()
}

const NO_KEY: &str = "cannot be in a cache key: Forebay handles it itself";

fn cache_policy(_: &Job<'_>, config: &Node<'_>) -> Text {
    let mut text = Text::default();
    ttl(&mut text, config);
    let key = config.get("ParametersInCacheKeyAndForwardedToOrigin");
    let query = key.get("QueryStringsConfig");
    selection(&mut text, "query_strings", &query, "QueryStringBehavior", "QueryStrings");
    selection(&mut text, "cookies", &key.get("CookiesConfig"), "CookieBehavior", "Cookies");
    let fields = key.get("HeadersConfig");
    let behavior = fields.get("HeaderBehavior");
    if behavior.text() == Some("whitelist") {
        text.line("headers", list(headers(&fields.get("Headers"), is_keyable, NO_KEY)));
        behavior.is_exact("headers");
    }
    for (theirs, ours) in [
        ("EnableAcceptEncodingGzip", "enable_accept_encoding_gzip"),
        ("EnableAcceptEncodingBrotli", "enable_accept_encoding_brotli"),
    ] {
        let enabled = key.get(theirs);
        if enabled.flag() {
            text.line(ours, true);
            enabled.is_exact(ours);
        }
    }
    text
}

fn origin_request_policy(_: &Job<'_>, config: &Node<'_>) -> Text {
    const OURS: &str = "never forwarded to an origin unchanged";
    let mut text = Text::default();
    let query = config.get("QueryStringsConfig");
    selection(&mut text, "query_strings", &query, "QueryStringBehavior", "QueryStrings");
    selection(&mut text, "cookies", &config.get("CookiesConfig"), "CookieBehavior", "Cookies");
    let fields = config.get("HeadersConfig");
    let behavior = fields.get("HeaderBehavior");
    let names = headers(&fields.get("Headers"), is_sendable, OURS);
    let is_own = |name: &&str| name.to_ascii_lowercase().starts_with("cloudfront-");
    let (about_viewers, of_viewers): (Vec<_>, Vec<_>) = names.into_iter().partition(is_own);
    let is_known = |name: &&str| ABOUT_VIEWERS.contains(&&*name.to_ascii_lowercase());
    let (about_viewers, unknown): (Vec<_>, Vec<_>) = about_viewers.into_iter().partition(is_known);
    if !unknown.is_empty() {
        let reason = format!("these CloudFront headers are not supported: {}", unknown.join(", "));
        fields.get("Headers").is_dropped(reason);
    }
    let value = match behavior.text() {
        Some("whitelist") if of_viewers.is_empty() => None,
        Some("whitelist") => Some(format!("{{ whitelist = {} }}", list(of_viewers))),
        Some("allExcept") => Some(format!("{{ all_except = {} }}", list(of_viewers))),
        Some("allViewer" | "allViewerAndWhitelistCloudFront") => Some(quote("all")),
        _ => None,
    };
    if let Some(value) = value {
        text.line("headers", value);
    }
    if !about_viewers.is_empty() && behavior.text() != Some("allExcept") {
        text.line("cloudfront_headers", format!("{{ whitelist = {} }}", list(about_viewers)));
    }
    if behavior.text() != Some("none") {
        behavior.is_exact("headers, cloudfront_headers");
    }
    text
}

/// Writes the settings of a behavior that has no cache policy (legacy cache settings).
fn forwarded_values(job: &Job<'_>, text: &mut Text, node: &Node<'_>, is_bucket: bool) {
    let values = node.get("ForwardedValues");
    if !values.is_said() && !node.get("DefaultTTL").is_said() {
        text.line("cache_policy", quote("CachingOptimized"));
        return node.get("CachePolicyId").differs("no cache policy is set: CachingOptimized");
    }
    let fields = values.get("Headers");
    let cookies = values.get("Cookies").get("Forward");
    if fields.strings().contains(&"*") {
        return uncached(job, text, node, is_bucket);
    }
    let mut policy = Text::default();
    if node.get("MinTTL").number().is_some_and(|seconds| seconds > 0) {
        job.tell_of_private(&node.get("MinTTL"));
    }
    ttl(&mut policy, node);
    let (query, keys) = (values.get("QueryString"), values.get("QueryStringCacheKeys").strings());
    let forwards_more = query.flag() && !keys.is_empty() && !keys.contains(&"*") && !is_bucket;
    if query.flag() {
        let all = keys.is_empty() || keys.contains(&"*");
        let is_kept = |name: &&str| !(is_bucket && is_refused_parameter(name));
        let kept: Vec<&str> = keys.iter().copied().filter(is_kept).collect();
        if kept.len() < keys.len() {
            values.get("QueryStringCacheKeys").differs("without S3 subresources");
        }
        let some = format!("{{ whitelist = {} }}", list(kept));
        policy.line("query_strings", if all { quote("all") } else { some });
        query.is_exact("query_strings");
    }
    let names = values.get("Cookies").get("WhitelistedNames").strings();
    match cookies.text() {
        Some("all") => policy.line("cookies", quote("all")),
        Some("whitelist") => policy.line("cookies", format!("{{ whitelist = {} }}", list(names))),
        _ => {}
    }
    if cookies.text().is_some_and(|forward| forward != "none") {
        cookies.is_exact("cookies");
    }
    let names = headers(&fields, is_keyable, NO_KEY);
    if !names.is_empty() {
        policy.line("headers", list(names));
        fields.is_exact("headers");
    }
    // With these settings CloudFront compresses only with gzip.
    if node.get("Compress").flag() {
        policy.line("enable_accept_encoding_gzip", true);
    }
    text.line("cache_policy", quote(&job.add_legacy(Legacy::Cache, &policy)));
    values.is_exact("cache_policy");
    if forwards_more {
        let mut all = Text::default();
        all.line("query_strings", quote("all"));
        text.line("origin_request_policy", quote(&job.add_legacy(Legacy::OriginRequest, &all)));
    }
}

/// Writes a behavior that forwards all header fields, so nothing is stored.
fn uncached(job: &Job<'_>, text: &mut Text, node: &Node<'_>, is_bucket: bool) {
    let values = node.get("ForwardedValues");
    text.line("cache_policy", quote("CachingDisabled"));
    values.get("Headers").is_exact("cache_policy = \"CachingDisabled\"");
    for ttl in ["MinTTL", "DefaultTTL", "MaxTTL"] {
        node.get(ttl).read();
    }
    let (query, cookies) = (values.get("QueryString"), values.get("Cookies").get("Forward"));
    let names = values.get("Cookies").get("WhitelistedNames").strings();
    if is_bucket {
        return values.is_exact("left out: a bucket receives none of these");
    }
    let mut policy = Text::default();
    policy.line("headers", quote("all"));
    if query.flag() {
        policy.line("query_strings", quote("all"));
    }
    match cookies.text() {
        Some("all") => policy.line("cookies", quote("all")),
        Some("whitelist") => policy.line("cookies", format!("{{ whitelist = {} }}", list(names))),
        _ => {}
    }
    values.is_exact("origin_request_policy");
    text.line("origin_request_policy", quote(&job.add_legacy(Legacy::OriginRequest, &policy)));
}

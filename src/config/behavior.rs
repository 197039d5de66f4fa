//! Cache behaviors: `[distribution.default_behavior]` and `[[distribution.behavior]]`.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;

use super::{
    key_group,
    origin::{GroupOptions, NamedOrigin},
    origin_request::check_origin,
    policies::Policies,
    policy::word,
    request_rules::rules,
    restrict::referers,
    section::{Placed, Section, missing},
    surroundings::Surroundings,
};
use crate::{
    access::signed::{COOKIE_NAMES, QUERY_NAMES},
    behavior::{
        AllowedMethods, Behavior, Behaviors, CachePolicy, MANAGED_CACHE_POLICIES,
        MANAGED_ORIGIN_REQUEST_POLICIES, MANAGED_RESPONSE_HEADERS_POLICIES, PathPattern,
        ResponseHeadersPolicy, ViewerProtocol, managed_origin_request_policy,
    },
    cache::{
        key::{ForwardSpec, NameSpec, PathForm},
        policy::ErrorTtl,
    },
    http::coding::Codings,
    origin::{self, OBJECT_PARAMETERS, Protocol, is_refused_parameter, listed_parameters},
};

pub(super) fn behaviors(
    section: &Section<'_>,
    origins: Origins<'_>,
    around: &Surroundings<'_>,
    errors: &ErrorTtl,
) -> Option<Behaviors> {
    let default = match section.table("default_behavior") {
        Some(table) => {
            let behavior = behavior(&table, origins, around, errors);
            table.unknown();
            behavior
        }
        None => {
            let help = "add `[distribution.default_behavior]` with `origin` and `cache_policy`";
            let message = "`distribution.default_behavior` is missing";
            section.fault(section.span(), message, "in this distribution", help.to_owned());
            None
        }
    };
    let mut ordered: Vec<(PathPattern, _)> = Vec::new();
    for table in section.tables("behavior") {
        let pattern =
            table.required("path_pattern", "for example: `path_pattern = \"/private/*\"`");
        let pattern = pattern.and_then(|text| match PathPattern::parse(text.value) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                table.fault(text.span, error.to_string(), "not a path pattern", None);
                None
            }
        });
        let behavior = behavior(&table, origins, around, errors);
        table.unknown();
        if let Some(pattern) = &pattern
            && ordered.iter().any(|(earlier, _)| earlier == pattern)
        {
            let message = format!("there is already a behavior for {pattern}");
            table.fault(table.span(), message, "in this table", "remove one of them".to_owned());
        }
        ordered.extend(pattern.zip(behavior));
    }
    Some(Behaviors { ordered, default: default? })
}

fn behavior(
    section: &Section<'_>,
    origins: Origins<'_>,
    around: &Surroundings<'_>,
    errors: &ErrorTtl,
) -> Option<Arc<Behavior>> {
    let policies = &around.policies;
    let origin =
        section.required("origin", "add `origin` with the id of one of the distribution's origins");
    let origin = origin.and_then(|id| place(section, id, origins));
    let enabled = section.boolean("enabled");
    let cache_policy = cache_policy(section, policies);
    let options = origin.and_then(|place| strictest(place, origins));
    let allowed_methods = allowed_methods(section, options);
    let cache_preflights = cache_preflights(section, allowed_methods);
    let forward = origin_request_policy(section, policies, options);
    let response_headers = response_headers_policy(section, policies);
    let viewer_protocol = word(section, "viewer_protocol_policy", ViewerProtocol::NAMES);
    let trusted = key_group::trusted(section, &policies.key_groups);
    let referers = referers(section);
    let cache_set_cookie = section.boolean("cache_set_cookie").filter(|flag| flag.value);
    let compress = section
        .has("compress")
        .then_some(cache_policy.as_ref())
        .flatten()
        .map(|policy| compress(section, policy));
    let is_bucket = options.is_some_and(|origin| origin.protocol != Protocol::Plain);
    let form = if is_bucket { PathForm::Key } else { PathForm::Uri };
    let rules = rules(section, form, around);
    let (origin, mut cache_policy) = (origin?, cache_policy?);
    if is_bucket {
        // A bucket has one representation of each object, so no coding is negotiated.
        cache_policy.key.codings = Codings::NONE;
    }
    let listed = forward.query.clone();
    let mut forward = forward.with_key(&cache_policy.key);
    if is_bucket {
        let specs = [listed, cache_policy.key.query.clone()];
        forward.query = object_parameters(section, &specs, options);
        cache_policy.key.query = cache_policy.key.query.union(&forward.query);
    }
    cache_policy.caching.errors.clone_from(errors);
    cache_policy.caching.cache_set_cookie = cache_set_cookie.is_some();
    if let Some(flag) = cache_set_cookie.filter(|_| forward.cookies == NameSpec::None) {
        section.fault(
            flag.span,
            "`cache_set_cookie` has no effect: the behavior forwards no cookies, so `Set-Cookie` is removed",
            "has no effect",
            "remove it, or use a policy that forwards cookies".to_owned(),
        );
    }
    if trusted.is_some() {
        leave_signatures_out(&mut cache_policy, &mut forward);
    }
    Some(Arc::new(Behavior {
        origin,
        path_form: form,
        cache_policy,
        forward,
        enabled: enabled.is_none_or(|enabled| enabled.value),
        allowed_methods,
        cache_preflights,
        compress: compress.unwrap_or_default(),
        response_headers,
        viewer_protocol: viewer_protocol.unwrap_or_default(),
        rules,
        referers,
        trusted,
    }))
}

/// Keeps signatures out of origin requests and cache keys. Otherwise each signed URL would have its own entry.
fn leave_signatures_out(cache_policy: &mut CachePolicy, forward: &mut ForwardSpec) {
    for (query, cookies) in [
        (&mut cache_policy.key.query, &mut cache_policy.key.cookies),
        (&mut forward.query, &mut forward.cookies),
    ] {
        *query = std::mem::take(query).without(&QUERY_NAMES);
        *cookies = std::mem::take(cookies).without(&COOKIE_NAMES);
    }
}

/// The object parameters that a bucket receives: those that either policy lists by name. They change the S3 response,
/// so they are in the cache key, whichever policy lists them.
fn object_parameters(
    section: &Section<'_>,
    policies: &[NameSpec; 2],
    options: Option<&origin::Options>,
) -> NameSpec {
    let fault = |message: String, help: String| {
        let policy = ["cache_policy", "origin_request_policy"];
        let span = policy.iter().find_map(|key| section.string(key)).map(|policy| policy.span);
        section.fault(
            span.unwrap_or_else(|| section.span()),
            message,
            "this policy lists it",
            help,
        );
    };
    let names = policies.iter().filter_map(|policy| match policy {
        NameSpec::Only(names) => Some(names),
        _ => None,
    });
    if let Some(name) = names.flatten().find(|name| is_refused_parameter(name)) {
        let help = format!(
            "remove it from the policy; a policy for a bucket may list {}, and parameters that the bucket does not receive, such as \"v\"",
            OBJECT_PARAMETERS.join(", ")
        );
        fault(format!("`{name}` is an S3 subresource and cannot be passed to a bucket"), help);
    }
    let [first, second] = policies;
    let listed = listed_parameters(first).union(&listed_parameters(second));
    let is_unsigned = options.is_some_and(|origin| !origin.protocol.is_signed());
    if let NameSpec::Only(names) = &listed
        && let Some(name) = names.iter().find(|name| name.starts_with("response-"))
        && is_unsigned
    {
        let help =
            "remove it from the policy, or remove `signing = \"never\"` from the origin".to_owned();
        fault(format!("S3 rejects `{name}` in unsigned requests"), help);
    }
    listed
}

/// Origins and origin groups. Group indices follow those of the origins.
type Origins<'a> = (&'a [NamedOrigin], &'a [GroupOptions]);

/// The index of an origin or origin group.
fn place(section: &Section<'_>, id: Placed<&str>, (origins, groups): Origins<'_>) -> Option<usize> {
    let ids = origins.iter().map(|o| o.id.as_str()).chain(groups.iter().map(|g| g.id.as_str()));
    let ids: Vec<&str> = ids.collect();
    let place = ids.iter().position(|known| *known == id.value);
    if place.is_none() {
        missing(section, id, "origin", &ids);
    }
    place
}

/// The origin whose rules apply. In a group, a bucket takes precedence.
fn strictest(place: usize, (origins, groups): Origins<'_>) -> Option<&origin::Options> {
    let alone = [place];
    let places = match place.checked_sub(origins.len()) {
        Some(group) => &groups.get(group)?.members[..],
        None => &alone[..],
    };
    let mut options = places.iter().filter_map(|place| origins.get(*place)?.options.as_ref());
    let first = options.next()?;
    let bucket = |options: &&origin::Options| options.protocol != Protocol::Plain;
    Some(options.find(bucket).filter(|_| !bucket(&first)).unwrap_or(first))
}

/// `compress`: the codings that the cache policy enables. As in CloudFront, it has no effect if the policy enables none
/// or stores nothing.
fn compress(section: &Section<'_>, policy: &CachePolicy) -> Codings {
    let wanted = section.boolean("compress").is_some_and(|compress| compress.value);
    if wanted && policy.key.codings == Codings::NONE && !policy.caching.ttl.is_disabled() {
        let text = |key| section.string(key).map_or("default", |text| text.value);
        section.doubt(format!(
            "`compress` of the behavior {} has no effect: its cache policy, {}, has neither enable_accept_encoding_gzip nor enable_accept_encoding_brotli",
            text("path_pattern"),
            text("cache_policy"),
        ));
    }
    if wanted && !policy.caching.ttl.is_disabled() { policy.key.codings } else { Codings::NONE }
}

fn response_headers_policy(
    section: &Section<'_>,
    policies: &Policies,
) -> Option<Arc<ResponseHeadersPolicy>> {
    let name = section.string("response_headers_policy")?;
    let managed = (ResponseHeadersPolicy::managed, &MANAGED_RESPONSE_HEADERS_POLICIES[..]);
    named(section, name, "response headers policy", managed, &policies.response_headers)
        .map(Arc::new)
}

fn origin_request_policy(
    section: &Section<'_>,
    policies: &Policies,
    origin: Option<&origin::Options>,
) -> ForwardSpec {
    let Some(name) = section.string("origin_request_policy") else { return ForwardSpec::default() };
    let managed = (managed_origin_request_policy, &MANAGED_ORIGIN_REQUEST_POLICIES[..]);
    let own = &policies.origin_request;
    let policy = named(section, name.clone(), "origin request policy", managed, own);
    if let Some(policy) = &policy {
        check_origin(section, &name, policy, origin);
    }
    policy.unwrap_or_default()
}

fn cache_policy(section: &Section<'_>, policies: &Policies) -> Option<CachePolicy> {
    let name =
        section.required("cache_policy", "for example: `cache_policy = \"CachingOptimized\"`")?;
    let managed = (CachePolicy::managed, &MANAGED_CACHE_POLICIES[..]);
    named(section, name, "cache policy", managed, &policies.cache)
}

/// The managed or custom policy with this name.
fn named<T: Clone>(
    section: &Section<'_>,
    name: Placed<&str>,
    kind: &str,
    (managed, names): (impl Fn(&str) -> Option<T>, &[&str]),
    own: &BTreeMap<String, T>,
) -> Option<T> {
    let policy = managed(name.value).or_else(|| own.get(name.value).cloned());
    if policy.is_none() {
        let own = own.keys().map(String::as_str);
        let known: Vec<&str> = names.iter().copied().chain(own).collect();
        missing(section, name, kind, &known);
    }
    policy
}

fn allowed_methods(section: &Section<'_>, origin: Option<&origin::Options>) -> AllowedMethods {
    let Some(list) = section.strings("allowed_methods") else { return AllowedMethods::default() };
    let any = matches!(&*list, [word] if word.value == "all");
    let names: Vec<String> = list.iter().map(|name| name.value.to_ascii_uppercase()).collect();
    let span = list.first().map_or_else(|| section.span(), |first| first.span.clone());
    let known = if any { Some(AllowedMethods::Any) } else { AllowedMethods::from_names(&names) };
    let Some(methods) = known else {
        section.fault(
            span,
            "unsupported set of methods",
            "this list",
            "use GET and HEAD; or GET, HEAD and OPTIONS; or these and PUT, PATCH, POST and DELETE; or \"all\""
                .to_owned(),
        );
        return AllowedMethods::default();
    };
    let is_bucket = origin.is_some_and(|origin| origin.protocol != Protocol::Plain);
    let is_read_only = matches!(methods, AllowedMethods::Read | AllowedMethods::ReadAndOptions);
    if is_bucket && !is_read_only {
        section.fault(
            span,
            "Forebay only reads from buckets",
            "this list",
            "use GET and HEAD, or GET, HEAD and OPTIONS; or remove `allowed_methods`".to_owned(),
        );
    }
    methods
}

/// `cached_methods`: whether preflight responses are stored. Accepts CloudFront's two sets.
fn cache_preflights(section: &Section<'_>, allowed: AllowedMethods) -> bool {
    let Some(list) = section.strings("cached_methods") else { return false };
    let names: Vec<String> = list.iter().map(|name| name.value.to_ascii_uppercase()).collect();
    let span = list.first().map_or_else(|| section.span(), |first| first.span.clone());
    match AllowedMethods::from_names(&names) {
        Some(AllowedMethods::Read) => false,
        Some(AllowedMethods::ReadAndOptions) => {
            if !allowed.allow_method(&Method::OPTIONS) {
                let help = "add \"OPTIONS\" to `allowed_methods`, or leave it out here".to_owned();
                let message = "OPTIONS is cached but not allowed";
                section.fault(span, message, "this list", help);
            }
            true
        }
        _ => {
            let help = "use GET and HEAD, or GET, HEAD and OPTIONS".to_owned();
            let message = "unsupported set of cached methods";
            section.fault(span, message, "this list", help);
            false
        }
    }
}

//! `[[distribution]]`: hosts, origins, behaviors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use super::{
    key_group::{self, KeyGroups},
    origin::{NamedOrigin, origins},
    origin_request::{self, OriginRequestPolicies, check_origin},
    policy::{self, CachePolicies, word},
    response_headers::{self, ResponseHeadersPolicies},
    section::{Placed, Section, check_id, nearest},
};
use crate::{
    behavior::{
        AllowedMethods, Behavior, Behaviors, CachePolicy, MANAGED_CACHE_POLICIES,
        MANAGED_ORIGIN_REQUEST_POLICIES, MANAGED_RESPONSE_HEADERS_POLICIES, PathPattern,
        ResponseHeadersPolicy, ViewerProtocol, managed_origin_request_policy,
    },
    key::{CanonicalPath, ForwardSpec},
    origin::{self, Protocol},
    policy::ErrorTtl,
    semantics::coding::Codings,
    signed::{COOKIE_NAMES, QUERY_NAMES},
};

/// Status codes that are stored as errors; a minimum TTL may be given for each.
const CACHED_ERRORS: [&str; 12] =
    ["400", "403", "404", "405", "412", "414", "415", "500", "501", "502", "503", "504"];

/// The policies of one's own that behaviors name.
pub(super) struct Policies {
    cache: CachePolicies,
    origin_request: OriginRequestPolicies,
    response_headers: ResponseHeadersPolicies,
    key_groups: KeyGroups,
}

impl Policies {
    pub(super) fn read(root: &Section<'_>) -> Self {
        Self {
            cache: policy::own_policies(root),
            origin_request: origin_request::own_policies(root),
            response_headers: response_headers::own_policies(root),
            key_groups: key_group::key_groups(root),
        }
    }
}

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

fn behaviors(
    section: &Section<'_>,
    origins: &[NamedOrigin],
    policies: &Policies,
    errors: &ErrorTtl,
) -> Option<Behaviors> {
    let default = match section.table("default_behavior") {
        Some(table) => {
            let behavior = behavior(&table, origins, policies, errors);
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
    let mut ordered = Vec::new();
    for table in section.tables("behavior") {
        let pattern = table.required("path_pattern", "such as \"/private/*\"");
        let pattern = pattern.and_then(|text| match PathPattern::parse(text.value) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                table.fault(text.span, error.to_string(), "not a path pattern", None);
                None
            }
        });
        let behavior = behavior(&table, origins, policies, errors);
        table.unknown();
        ordered.extend(pattern.zip(behavior));
    }
    Some(Behaviors { ordered, default: default? })
}

fn behavior(
    section: &Section<'_>,
    origins: &[NamedOrigin],
    policies: &Policies,
    errors: &ErrorTtl,
) -> Option<Arc<Behavior>> {
    let origin = section.required("origin", "the id of one of the distribution's origins");
    let origin = origin.and_then(|id| {
        let place = origins.iter().position(|origin| origin.id == id.value);
        if place.is_none() {
            let known: Vec<&str> = origins.iter().map(|origin| origin.id.as_str()).collect();
            missing(section, id, "origin", &known);
        }
        place
    });
    let cache_policy = cache_policy(section, policies);
    let options = origin.and_then(|place| origins.get(place)?.options.as_ref());
    let allowed_methods = allowed_methods(section, options);
    let forward = origin_request_policy(section, policies, options);
    let response_headers = response_headers_policy(section, policies);
    let viewer_protocol = word(section, "viewer_protocol_policy", ViewerProtocol::NAMES);
    let trusted = key_group::trusted(section, &policies.key_groups);
    if let Some(compress) = section.boolean("compress").filter(|compress| compress.value) {
        let help = "set it to false: objects are served as they are stored".to_owned();
        let message = "`compress = true` is not supported by this version";
        section.fault(compress.span, message, "cannot be done", help);
    }
    let (origin, mut cache_policy) = (origin?, cache_policy?);
    if options.is_some_and(|origin| origin.protocol != Protocol::Plain) {
        // A bucket has one representation of an object: no coding is negotiated.
        cache_policy.key.codings = Codings::NONE;
    }
    cache_policy.terms.errors.clone_from(errors);
    let mut forward = forward.with_key(&cache_policy.key);
    if trusted.is_some() {
        // What proves the viewer's right is nobody else's business, and would make every URL a key
        // of its own.
        for (query, cookies) in [
            (&mut cache_policy.key.query, &mut cache_policy.key.cookies),
            (&mut forward.query, &mut forward.cookies),
        ] {
            *query = std::mem::take(query).without(&QUERY_NAMES);
            *cookies = std::mem::take(cookies).without(&COOKIE_NAMES);
        }
    }
    Some(Arc::new(Behavior {
        origin,
        cache_policy,
        forward,
        allowed_methods,
        response_headers,
        viewer_protocol: viewer_protocol.unwrap_or_default(),
        trusted,
    }))
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

fn cache_policy(section: &Section<'_>, policies: &Policies) -> Option<CachePolicy> {
    let name = section.required("cache_policy", "such as \"CachingOptimized\"")?;
    let managed = (CachePolicy::managed, &MANAGED_CACHE_POLICIES[..]);
    named(section, name, "cache policy", managed, &policies.cache)
}

/// The policy of a name: CloudFront's, or one of one's own.
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

pub(super) fn missing(section: &Section<'_>, name: Placed<&str>, kind: &str, known: &[&str]) {
    let help = match nearest(name.value, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => format!("there is no {kind} at all yet"),
        None => format!("there is: {}", known.join(", ")),
    };
    section.fault(name.span, format!("there is no {kind} `{}`", name.value), "not known", help);
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
            "these methods are none of CloudFront's three sets",
            "begins here",
            "GET and HEAD; or with OPTIONS; or with OPTIONS, PUT, PATCH, POST and DELETE; or \"all\""
                .to_owned(),
        );
        return AllowedMethods::default();
    };
    let is_bucket = origin.is_some_and(|origin| origin.protocol != Protocol::Plain);
    if is_bucket && methods != AllowedMethods::Read {
        section.fault(
            span,
            "a bucket is only read through Forebay",
            "begins here",
            "allow GET and HEAD, or leave `allowed_methods` out".to_owned(),
        );
    }
    methods
}

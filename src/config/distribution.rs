//! `[[distribution]]`: hosts, origins, behaviors.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue};

use super::{
    behavior::behaviors,
    errors::{error_pages, error_ttl},
    host::is_host,
    object::object,
    origin::{GroupOptions, groups, origins},
    policy::word,
    request_rules::check_rewrites,
    restrict,
    section::{Section, check_id},
    surroundings::Surroundings,
};
use crate::{
    access::restrict::Rates,
    behavior::SecurityPolicy,
    origin,
    proxy::{Identity, Settings},
};

/// One distribution, compiled.
#[derive(Clone, Debug)]
pub struct DistributionOptions {
    /// Settings of the edge.
    pub settings: Settings,
    /// Hosts that it serves.
    pub aliases: Vec<String>,
    /// Origins, in the order that behaviors index them.
    pub origins: Vec<origin::Options>,
    /// Origin groups; behaviors index them after the origins.
    pub groups: Vec<GroupOptions>,
    /// Request rate limits.
    pub rates: Option<Rates>,
    /// Whether viewers can use HTTP/2.
    pub http2: bool,
    /// Whether it is served over HTTP/3.
    pub http3: bool,
}

pub(super) fn distributions(
    root: &Section<'_>,
    around: &Surroundings<'_>,
) -> Vec<DistributionOptions> {
    let (mut ids, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    let sections = root.tables("distribution");
    if sections.is_empty() {
        let help =
            "run `forebay init` to write one, or copy the one in config/minimal.toml".to_owned();
        root.fault(0..0, "there is no `[[distribution]]`", "nothing to serve", help);
    }
    let read = |section: Section<'_>| {
        let distribution = distribution(&section, around, &mut ids, &mut hosts);
        section.unknown();
        distribution
    };
    sections.into_iter().filter_map(read).collect()
}

fn distribution(
    section: &Section<'_>,
    around: &Surroundings<'_>,
    ids: &mut BTreeSet<String>,
    hosts: &mut BTreeSet<String>,
) -> Option<DistributionOptions> {
    let id = section
        .required("id", "add an `id`; it names the distribution in purges, logs and metrics");
    let id = id.and_then(|id| check_id(section, id, ids));
    let aliases = aliases(section, hosts);
    let mut errors = error_ttl(section);
    let error_pages = error_pages(section, &mut errors);
    let tags = cache_tag_header(section);
    let origins = origins(section, around.directory, tags.as_ref());
    let groups = groups(section, &origins);
    let behaviors = behaviors(section, (&origins, &groups), around, &errors);
    // An invalid origin is already reported, so behaviors that refer to it add no fault.
    let origins = origins.into_iter().filter_map(|origin| origin.options).collect();
    // Every key is read before anything that is wrong ends this: keys that were not read are reported as unknown.
    let identity = identity(section, &around.pop);
    let [default_root_object, index_document] =
        ["default_root_object", "index_document"].map(|key| object(section, key));
    let (fan_out, public_scheme) = (fan_out(section), public_scheme(section));
    let (addresses, countries) =
        (restrict::addresses(section), restrict::countries(section, around.has_geography));
    let (security, rates) = (security_policy(section), restrict::rates(section));
    let (http2, http3) = versions(section, around.http3_port.is_some());
    let id = id.unwrap_or_default();
    if let Some(behaviors) = &behaviors {
        check_rewrites(section, &id, behaviors, index_document.as_deref());
    }
    let settings = Settings {
        id: id.into(),
        fan_out,
        default_root_object,
        index_document,
        public_scheme,
        identity: identity?,
        error_pages,
        addresses,
        countries,
        security,
        alt_svc: around.http3_port.filter(|_| http3).and_then(alt_svc),
        behaviors: behaviors?,
    };
    Some(DistributionOptions { settings, aliases, origins, groups, rates, http2, http3 })
}

/// The CloudFront distribution that this one runs alongside.
fn fan_out(section: &Section<'_>) -> Option<String> {
    let id = section.string("fan_out")?;
    let is_id = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if !(1..=32).contains(&id.value.len()) || !id.value.bytes().all(is_id) {
        let message = format!("`{}` is not the id of a CloudFront distribution", id.value);
        let help =
            "use an id such as \"E2QWRUHEXAMPLE\"; `aws cloudfront list-distributions` shows yours";
        section.fault(id.span, message, "not an id", help.to_owned());
        return None;
    }
    Some(id.value.to_owned())
}

/// The header field that carries an origin's cache tags (CloudFront's `CacheTagConfig`).
fn cache_tag_header(section: &Section<'_>) -> Option<HeaderName> {
    let text = section.string("cache_tag_header")?;
    let name = HeaderName::from_bytes(text.value.as_bytes()).ok();
    if name.is_none() {
        let message = format!("`{}` is not a valid header field name", text.value);
        section.fault(text.span, message, "expected a name such as \"x-amz-meta-cache-tag\"", None);
    }
    name
}

/// `compatibility` and `x_cache_suffix`.
fn identity(section: &Section<'_>, pop: &str) -> Option<Identity> {
    let words = [("none", false), ("cloudfront", true)];
    let cloudfront = word(section, "compatibility", words).unwrap_or(false);
    let usual = if cloudfront { "cloudfront" } else { "forebay" };
    let Some(suffix) = section.string("x_cache_suffix") else {
        return Identity::new(usual, pop, cloudfront).ok();
    };
    if !suffix.value.chars().all(|c| c.is_ascii_graphic() || c == ' ') || suffix.value.is_empty() {
        let message = "`x_cache_suffix` must be printable ASCII";
        section.fault(suffix.span, message, "not valid in a header field", None);
        return None;
    }
    Identity::new(suffix.value, pop, cloudfront).ok()
}

/// `minimum_protocol_version`, with CloudFront's names.
fn security_policy(section: &Section<'_>) -> SecurityPolicy {
    const KEY: &str = "minimum_protocol_version";
    let Some(name) = section.string(KEY) else { return SecurityPolicy::default() };
    let known = SecurityPolicy::NAMES.iter().find(|(known, _)| *known == name.value);
    if known.is_none() {
        let names = SecurityPolicy::NAMES.map(|(name, _)| name).join(", ");
        let message = format!("the security policy `{}` is not supported", name.value);
        let help = "older policies allow insecure TLS versions and ciphers; use \"TLSv1.2_2021\"";
        section.fault(name.span, message, format!("expected {names}"), help.to_owned());
    }
    known.map(|(_, policy)| *policy).unwrap_or_default()
}

/// Whether HTTP/2 and HTTP/3 are offered to viewers.
fn versions(section: &Section<'_>, has_http3: bool) -> (bool, bool) {
    const VERSIONS: [(&str, (bool, bool)); 4] = [
        ("http1.1", (false, false)),
        ("http2", (true, false)),
        ("http3", (false, true)),
        ("http2and3", (true, true)),
    ];
    let version = word(section, "http_version", VERSIONS);
    if let (Some((_, true)), false, Some(given)) =
        (version, has_http3, section.string("http_version"))
    {
        let help = "add `http3 = true` under [listen]".to_owned();
        let message = format!("`{}` needs HTTP/3", given.value);
        section.fault(given.span, message, "no `listen.http3`", help);
    }
    version.unwrap_or((true, has_http3))
}

/// The `Alt-Svc` that announces HTTP/3 on a port (RFC 7838), with CloudFront's lifetime.
fn alt_svc(port: u16) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok()
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
        if alias != "*" && !is_host(alias.strip_prefix("*.").unwrap_or(&alias)) {
            let message = format!("`{}` is not a valid alias", text.value);
            let help = "use a host name or an address without scheme and port, `*.` and a host name, or `*` for any host".to_owned();
            section.fault(text.span, message, "not a host name", help);
        } else if taken.insert(alias.clone()) {
            aliases.push(alias);
        } else {
            let message = format!("the alias `{}` is already in use", text.value);
            section.fault(text.span, message, "a host belongs to one distribution only", None);
        }
    }
    aliases
}

/// `public_scheme`. Signatures cover the viewer's URL; behind a load balancer its scheme may differ.
fn public_scheme(section: &Section<'_>) -> Option<String> {
    let scheme = word(section, "public_scheme", [("http", "http"), ("https", "https")]);
    scheme.map(str::to_owned)
}

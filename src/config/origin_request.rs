//! `[[origin_request_policy]]`: the parts of a viewer's request that origins receive.

use std::collections::BTreeMap;

use http::{HeaderName, header};

use super::{
    policy::{Selection, headers, names, selection, take_up},
    section::{Placed, Section, parse_each},
};
use crate::{
    behavior::{ABOUT_VIEWERS, MANAGED_ORIGIN_REQUEST_POLICIES},
    cache::key::{ForwardSpec, HeaderSpec},
    http::field_table::{FieldTrait, RequestField},
    origin::{self, Protocol},
};

/// Whether a policy can forward a field to an origin. The edge writes `Host` and `Accept-Encoding` itself, based on the
/// viewer's fields.
#[must_use]
pub(crate) fn is_sendable(name: &HeaderName) -> bool {
    let from_viewer = [header::HOST, header::ACCEPT_ENCODING].contains(name);
    from_viewer
        || matches!(RequestField::of(name), RequestField::ByPolicy | RequestField::Described)
}

/// Origin request policies by name.
pub(super) type OriginRequestPolicies = BTreeMap<String, ForwardSpec>;

pub(super) fn own_policies(root: &Section<'_>) -> OriginRequestPolicies {
    let mut policies = OriginRequestPolicies::new();
    for section in root.tables("origin_request_policy") {
        let headers = selection(&section, "headers", |table, key| {
            headers(table, key, is_sendable, "sent to an origin")
        });
        let added = fields_about_viewers(&section);
        let policy = ForwardSpec {
            query: names(&section, "query_strings"),
            headers: match headers {
                Selection::None => HeaderSpec::Only(added),
                Selection::All => HeaderSpec::Except { names: Vec::new(), added },
                Selection::Only(names) => HeaderSpec::Only([names, added].concat()),
                Selection::Except(names) => HeaderSpec::Except { names, added },
            },
            cookies: names(&section, "cookies"),
            ..ForwardSpec::default()
        };
        let kind = ("origin requests", &MANAGED_ORIGIN_REQUEST_POLICIES[..]);
        take_up(&section, &mut policies, kind, policy);
    }
    policies
}

/// Checks that a bucket gets few viewer fields: Forebay builds and signs those requests itself.
pub(super) fn check_origin(
    section: &Section<'_>,
    name: &Placed<&str>,
    policy: &ForwardSpec,
    origin: Option<&origin::Options>,
) {
    let is_bucket = origin.is_some_and(|origin| origin.protocol != Protocol::Plain);
    let harmless = match &policy.headers {
        HeaderSpec::Only(names) => {
            names.iter().all(|name| FieldTrait::ToBuckets.applies_to(name.as_str()))
        }
        HeaderSpec::Except { .. } => false,
    };
    if is_bucket && !harmless {
        section.fault(
            name.span.clone(),
            format!("`{}` forwards header fields that a bucket must not receive", name.value),
            "not allowed for a bucket",
            "a bucket receives only Origin and Access-Control-Request-*: use \"CORS-S3Origin\", or remove the policy".to_owned(),
        );
    }
}

/// The listed CloudFront headers to add to origin requests.
fn fields_about_viewers(section: &Section<'_>) -> Vec<HeaderName> {
    let known = |text: &str| {
        let name = text.to_ascii_lowercase();
        let known = ABOUT_VIEWERS.iter().find(|known| **known == name)?;
        Some(HeaderName::from_static(known))
    };
    match selection(section, "cloudfront_headers", |table, key| {
        parse_each(table, key, known, |text| {
            let help = format!("use one of: {}", ABOUT_VIEWERS.join(", "));
            (format!("`{text}` is not a supported CloudFront header"), "not supported", help)
        })
    }) {
        Selection::None => Vec::new(),
        Selection::All => ABOUT_VIEWERS.map(HeaderName::from_static).into(),
        Selection::Only(names) => names,
        Selection::Except(names) => ABOUT_VIEWERS
            .map(HeaderName::from_static)
            .into_iter()
            .filter(|name| !names.contains(name))
            .collect(),
    }
}

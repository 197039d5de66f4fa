//! `[[response_headers_policy]]`: fields added to and removed from responses.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};

use super::{
    policy::{headers, take_up},
    restrict::sites,
    section::{Placed, Section},
};
use crate::{
    behavior::{
        AddedField, Cors, MANAGED_RESPONSE_HEADERS_POLICIES, OriginPattern, ResponseHeadersPolicy,
    },
    http::field_table::FieldTrait,
};

pub(super) fn is_changeable(name: &HeaderName) -> bool {
    !FieldTrait::Fixed.applies_to(name.as_str())
}

/// Security header fields by configuration key.
const SECURITY: [(&str, HeaderName); 6] = [
    ("content_security_policy", header::CONTENT_SECURITY_POLICY),
    ("content_type_options", header::X_CONTENT_TYPE_OPTIONS),
    ("frame_options", header::X_FRAME_OPTIONS),
    ("referrer_policy", header::REFERRER_POLICY),
    ("strict_transport_security", header::STRICT_TRANSPORT_SECURITY),
    ("xss_protection", header::X_XSS_PROTECTION),
];

/// Allowed values of security fields for which browsers know only a few.
const SECURITY_VALUES: [(&str, &[&str]); 3] = [
    ("content_type_options", &["nosniff"]),
    ("frame_options", &["DENY", "SAMEORIGIN"]),
    (
        "referrer_policy",
        &[
            "no-referrer",
            "no-referrer-when-downgrade",
            "origin",
            "origin-when-cross-origin",
            "same-origin",
            "strict-origin",
            "strict-origin-when-cross-origin",
            "unsafe-url",
        ],
    ),
];

/// Response headers policies by name.
pub(super) type ResponseHeadersPolicies = BTreeMap<String, ResponseHeadersPolicy>;

pub(super) fn own_policies(root: &Section<'_>) -> ResponseHeadersPolicies {
    let mut policies = ResponseHeadersPolicies::new();
    for section in root.tables("response_headers_policy") {
        let policy = ResponseHeadersPolicy {
            cors: section.table("cors").map(|table| cors(&table)),
            fields: security(&section).into_iter().chain(custom(&section)).collect(),
            server_timing: server_timing(&section),
            remove: headers(&section, "remove", is_changeable, "removed"),
        };
        let kind = ("response headers", &MANAGED_RESPONSE_HEADERS_POLICIES[..]);
        take_up(&section, &mut policies, kind, policy);
    }
    policies
}

/// `server_timing = { sampling_rate = 5.0 }`.
fn server_timing(section: &Section<'_>) -> Option<f64> {
    let table = section.table("server_timing")?;
    let percent = table.percent("sampling_rate").unwrap_or(100.0);
    // Amazon CloudFront Developer Guide, "Server-Timing header": up to four decimal places.
    if (percent * 10_000.0 - (percent * 10_000.0).round()).abs() > 1e-6 {
        let help = "use at most four, such as `sampling_rate = 0.0001`".to_owned();
        let message = "`sampling_rate` has more than four decimal places";
        table.fault(table.span(), message, "in this table", help);
    }
    table.unknown();
    Some(percent)
}

fn cors(table: &Section<'_>) -> Cors {
    let origins = sites(table, "allow_origins");
    let list = |key| {
        let items = table.strings(key)?;
        let items: Vec<&str> = items.iter().map(|item| item.value).collect();
        let span = table.span();
        field_value(table, &Placed { value: &items.join(", "), span })
    };
    let cors = Cors {
        origins,
        methods: list("allow_methods"),
        headers: list("allow_headers"),
        expose: list("expose_headers"),
        expose_in_preflights: None,
        credentials: table.boolean("allow_credentials").is_some_and(|flag| flag.value),
        max_age: table.duration("max_age").map(|age| HeaderValue::from(age.value.as_secs())),
        overrides: overrides(table),
    };
    if cors.credentials && cors.origins.contains(&OriginPattern::Any) {
        let help = "list the allowed origins, or remove `allow_credentials`".to_owned();
        let message = "any website could read responses meant for logged-in users";
        table.fault(table.span(), message, "`*` with credentials", help);
    }
    table.unknown();
    cors
}

/// Whether the field replaces the origin's; true by default.
fn overrides(table: &Section<'_>) -> bool {
    table.boolean("override").is_none_or(|flag| flag.value)
}

fn security(section: &Section<'_>) -> Vec<AddedField> {
    let Some(table) = section.table("security_headers") else { return Vec::new() };
    let overrides = overrides(&table);
    let field = |(key, name): &(&'static str, HeaderName)| {
        let text = table.string(key)?;
        let known = SECURITY_VALUES.iter().find(|(of, _)| of == key);
        if let Some((_, values)) = known.filter(|(_, values)| !values.contains(&text.value)) {
            let message = format!("`{}` is not a valid value for `{key}`", text.value);
            let expected = format!("expected {}", values.join(" or "));
            table.fault(text.span.clone(), message, expected, None);
        }
        let value = field_value(&table, &text)?;
        Some(AddedField { name: name.clone(), value, overrides })
    };
    let fields = SECURITY.iter().filter_map(field).collect();
    table.unknown();
    fields
}

fn custom(section: &Section<'_>) -> Vec<AddedField> {
    let mut fields = Vec::new();
    for table in section.tables("custom_header") {
        // The name must be a single string; `headers` would also accept a list.
        let name = table
            .string("name")
            .and_then(|_| headers(&table, "name", is_changeable, "changed").pop());
        let value = table.required("value", "add the value of the header field");
        let value = value.and_then(|value| field_value(&table, &value));
        if !table.has("name") {
            table.required("name", "add the name of the header field");
        }
        let overrides = overrides(&table);
        table.unknown();
        fields.extend(name.zip(value).map(|(name, value)| AddedField { name, value, overrides }));
    }
    fields
}

pub(super) fn field_value(section: &Section<'_>, text: &Placed<&str>) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text.value).ok();
    if value.is_none() {
        let message = "this value is not valid in a header field";
        section.fault(text.span.clone(), message, "printable ASCII only", None);
    }
    value
}

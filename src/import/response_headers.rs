//! Response headers policies.

use super::{
    Job,
    report::Node,
    text::{Text, list, quote},
};
use crate::http::field_table::FieldTrait;

/// The methods that CloudFront's `ALL` covers.
const ALL_METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"];

/// The text of a response headers policy.
pub(super) fn policy(_: &Job<'_>, config: &Node<'_>) -> Text {
    let mut text = Text::default();
    remove(&mut text, &config.get("RemoveHeadersConfig"));
    cors(&mut text, &config.get("CorsConfig"));
    let kept = security(&mut text, &config.get("SecurityHeadersConfig"));
    server_timing(&mut text, &config.get("ServerTimingHeadersConfig"));
    for (name, value) in kept {
        custom(&mut text, name, &value, false);
    }
    for item in config.get("CustomHeadersConfig").items() {
        let (name, value) = (item.get("Header"), item.get("Value"));
        if is_changed(&name) {
            custom(&mut text, name.text_or(""), value.text_or(""), item.get("Override").flag());
            name.is_exact("custom_header");
        } else {
            value.read();
            item.get("Override").read();
        }
    }
    text
}

/// Whether a field can be added or removed. Reports the field if it cannot.
fn is_changed(name: &Node<'_>) -> bool {
    let field = name.text_or("").to_ascii_lowercase();
    let fixed = FieldTrait::Fixed.applies_to(&field);
    if fixed {
        name.is_dropped("describes the content or the connection, so Forebay never changes it");
    }
    !fixed
}

fn remove(text: &mut Text, node: &Node<'_>) {
    let mut names = Vec::new();
    for item in node.items() {
        let header = item.get("Header");
        let Some(name) = header.text() else { continue };
        if name.to_ascii_lowercase().starts_with("x-amz-") {
            // Viewers never receive these anyway.
            header.is_exact("never sent");
        } else if is_changed(&header) {
            names.push(name);
            header.is_exact("remove");
        }
    }
    if !names.is_empty() {
        text.line("remove", list(names));
    }
}

fn cors(text: &mut Text, node: &Node<'_>) {
    if !node.is_said() {
        return;
    }
    text.heading("[response_headers_policy.cors]");
    let strings = |key: &str| {
        let list = node.get(key);
        list.is_exact("cors");
        list.strings()
    };
    let origins = strings("AccessControlAllowOrigins");
    text.line("allow_origins", list(origins.iter().copied()));
    let methods = strings("AccessControlAllowMethods");
    let all = methods.contains(&"ALL");
    text.line("allow_methods", list(if all { ALL_METHODS.to_vec() } else { methods }));
    for (theirs, ours) in [
        ("AccessControlAllowHeaders", "allow_headers"),
        ("AccessControlExposeHeaders", "expose_headers"),
    ] {
        let names = strings(theirs);
        if !names.is_empty() {
            text.line(ours, list(names));
        }
    }
    let credentials = node.get("AccessControlAllowCredentials");
    if credentials.flag() && origins.contains(&"*") {
        credentials
            .is_dropped("with `*`, any website could read responses meant for logged-in users");
    } else if credentials.flag() {
        text.line("allow_credentials", true);
        credentials.is_exact("allow_credentials");
    }
    let age = node.get("AccessControlMaxAgeSec");
    if let Some(seconds) = age.number() {
        text.line("max_age", seconds);
        age.is_exact("max_age");
    }
    let overrides = node.get("OriginOverride");
    text.line("override", overrides.flag());
    overrides.is_exact("override");
}

/// CloudFront's name for a security field, the key here, the header name, and the function that reads its value.
type SecurityField = (&'static str, &'static str, &'static str, fn(&Node<'_>) -> Option<String>);

/// Writes the security fields that replace the origin's, and returns those that do not: each table has only one
/// `override`.
fn security(text: &mut Text, node: &Node<'_>) -> Vec<(&'static str, String)> {
    let fields: [SecurityField; 6] = [
        ("ContentSecurityPolicy", "content_security_policy", "Content-Security-Policy", |node| {
            Some(node.get("ContentSecurityPolicy").text()?.to_owned())
        }),
        ("ContentTypeOptions", "content_type_options", "X-Content-Type-Options", |_| {
            Some("nosniff".into())
        }),
        ("FrameOptions", "frame_options", "X-Frame-Options", |node| {
            Some(node.get("FrameOption").text()?.to_owned())
        }),
        ("ReferrerPolicy", "referrer_policy", "Referrer-Policy", |node| {
            Some(node.get("ReferrerPolicy").text()?.to_owned())
        }),
        (
            "StrictTransportSecurity",
            "strict_transport_security",
            "Strict-Transport-Security",
            strict_transport_security,
        ),
        ("XSSProtection", "xss_protection", "X-XSS-Protection", xss_protection),
    ];
    let (mut overriding, mut kept) = (Vec::new(), Vec::new());
    for (theirs, ours, name, value) in fields {
        let field = node.get(theirs);
        let Some(value) = Some(&field).filter(|field| is_there(field)).and_then(value) else {
            continue;
        };
        if field.get("Override").flag() {
            overriding.push((ours, value));
        } else {
            kept.push((name, value));
        }
        field.is_exact(ours);
    }
    if !overriding.is_empty() {
        text.heading("[response_headers_policy.security_headers]");
        for (key, value) in overriding {
            text.line(key, quote(&value));
        }
    }
    kept
}

/// Whether the field is present; `{"Override": false}` means that it is.
fn is_there(field: &Node<'_>) -> bool {
    field.get("Override").is_there()
}

fn strict_transport_security(node: &Node<'_>) -> Option<String> {
    let mut value = format!("max-age={}", node.get("AccessControlMaxAgeSec").number()?);
    for (flag, word) in [("IncludeSubdomains", "; includeSubDomains"), ("Preload", "; preload")] {
        if node.get(flag).flag() {
            value.push_str(word);
        }
    }
    Some(value)
}

fn xss_protection(node: &Node<'_>) -> Option<String> {
    let protects = node.get("Protection");
    let mut value = u8::from(protects.flag()).to_string();
    for (word, more) in [
        ("; mode=block", node.get("ModeBlock").flag().then_some("")),
        ("; report=", node.get("ReportUri").text()),
    ] {
        if let Some(more) = more.filter(|_| protects.flag()) {
            value.push_str(word);
            value.push_str(more);
        }
    }
    protects.is_there().then_some(value)
}

fn server_timing(text: &mut Text, node: &Node<'_>) {
    let rate = node.get("SamplingRate");
    if !node.get("Enabled").flag() {
        return rate.read();
    }
    text.heading("[response_headers_policy.server_timing]");
    let percent = rate.fraction().unwrap_or_default();
    let rounded = (percent * 10_000.0).round() / 10_000.0;
    if (rounded - percent).abs() > f64::EPSILON {
        rate.differs("rounded to four decimal places, as CloudFront requires");
    }
    text.line("sampling_rate", format!("{rounded:?}"));
    node.is_exact("server_timing");
}

fn custom(text: &mut Text, name: &str, value: &str, overrides: bool) {
    text.heading("[[response_headers_policy.custom_header]]");
    text.line("name", quote(name));
    text.line("value", quote(value));
    text.line("override", overrides);
}

//! Response headers policies, including CloudFront's managed ones
//! (Amazon CloudFront Developer Guide, "Understand response headers policies" and "Use managed
//! response headers policies").

use http::{HeaderMap, HeaderName, HeaderValue, header};

const ANY: HeaderValue = HeaderValue::from_static("*");

/// Header fields by which origins control access from other sites' pages.
const CORS_FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// The names of the managed policies that Forebay supports.
pub(crate) const MANAGED_RESPONSE_HEADERS_POLICIES: [&str; 5] = [
    "SimpleCORS",
    "CORS-With-Preflight",
    "SecurityHeadersPolicy",
    "CORS-and-SecurityHeadersPolicy",
    "CORS-with-preflight-and-SecurityHeadersPolicy",
];

/// The header fields to add to responses and remove from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseHeadersPolicy {
    /// The CORS settings.
    pub cors: Option<Cors>,
    /// Fields to add.
    pub fields: Vec<AddedField>,
    /// Header fields of the origin to remove.
    pub remove: Vec<HeaderName>,
    /// The share of responses that get a `Server-Timing` field, in percent.
    pub server_timing: Option<f64>,
}

/// A field to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedField {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// Whether it replaces the origin's field.
    pub overrides: bool,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Sites whose pages have access.
    pub origins: Vec<OriginPattern>,
    /// `Access-Control-Allow-Methods`, for preflights.
    pub methods: Option<HeaderValue>,
    /// `Access-Control-Allow-Headers`, for preflights.
    pub headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`, for all CORS requests.
    pub expose: Option<HeaderValue>,
    /// The same, but only for preflights, like CloudFront's managed policies.
    pub expose_in_preflights: Option<HeaderValue>,
    /// Whether requests with cookies are allowed.
    pub credentials: bool,
    /// `Access-Control-Max-Age`, for preflights.
    pub max_age: Option<HeaderValue>,
    /// Whether these settings replace the origin's.
    pub overrides: bool,
}

/// A pattern for sites, in CloudFront's syntax: `*`, `https://example.com`, `https://*.example.com`,
/// `example.com`, `http://example.com:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Every site.
    Any,
    /// The sites of one host, or of all hosts below it.
    Host {
        /// The scheme, if given.
        scheme: Option<String>,
        /// The host; with a leading dot, all hosts below it.
        host: String,
        /// The port as in a URL; `*` matches any.
        port: Option<String>,
    },
}

impl OriginPattern {
    /// Parses a pattern; `None` if it is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (scheme, host, port) = parts(text)?;
        let scheme = scheme.map(str::to_ascii_lowercase);
        let port_fits = port.is_none_or(|port| port == "*" || port.parse::<u16>().is_ok());
        let scheme_fits = matches!(scheme.as_deref(), None | Some("http" | "https"));
        let host = host.to_ascii_lowercase();
        let labels = host.strip_prefix("*.").unwrap_or(&host);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
        let valid = port_fits && scheme_fits && labels.split('.').all(is_label);
        // `*.example.org` is stored as `.example.org`.
        let host = host.trim_start_matches('*').to_owned();
        valid.then(|| Self::Host { scheme, host, port: port.map(str::to_owned) })
    }

    pub(super) fn matches(&self, origin: &str) -> bool {
        let Self::Host { scheme, host, port } = self else { return true };
        let Some((is_scheme, is_host, is_port)) = parts(origin) else { return false };
        let is_host = is_host.to_ascii_lowercase();
        let host_fits = match host.strip_prefix('.') {
            Some(_) => is_host.ends_with(host.as_str()) && is_host.len() > host.len(),
            None => is_host == *host,
        };
        let scheme_fits = scheme.as_deref().is_none_or(|scheme| is_scheme == Some(scheme));
        let port_fits = port.as_deref() == Some("*") || port.as_deref() == is_port;
        host_fits && scheme_fits && port_fits
    }
}

fn parts(text: &str) -> Option<(Option<&str>, &str, Option<&str>)> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    (!host.is_empty() && !rest.contains('/')).then_some((scheme, host, port))
}

impl ResponseHeadersPolicy {
    /// The managed policy with this name.
    #[must_use]
    pub fn managed(name: &str) -> Option<Self> {
        let (cors, secure) = match name {
            "SimpleCORS" => (Some(Cors::simple()), false),
            "CORS-With-Preflight" => (Some(Cors::with_preflight()), false),
            "SecurityHeadersPolicy" => (None, true),
            "CORS-and-SecurityHeadersPolicy" => (Some(Cors::simple()), true),
            "CORS-with-preflight-and-SecurityHeadersPolicy" => (Some(Cors::with_preflight()), true),
            _ => return None,
        };
        let fields = if secure { security() } else { Vec::new() };
        Some(Self { cors, fields, ..Self::default() })
    }

    /// Applies the policy to a response. `origin` is the site of the requesting page, if any;
    /// `preflight` is whether the request is a CORS preflight.
    pub fn apply(&self, fields: &mut HeaderMap, origin: Option<&HeaderValue>, preflight: bool) {
        for name in &self.remove {
            fields.remove(name);
        }
        if let Some(cors) = &self.cors {
            cors.apply(fields, origin, preflight);
        }
        for AddedField { name, value, overrides } in &self.fields {
            if *overrides || !fields.contains_key(name) {
                fields.insert(name, value.clone());
            }
        }
    }
}

impl Cors {
    /// Whether the response is the same for all sites.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.origins.contains(&OriginPattern::Any) && !self.credentials
    }

    fn simple() -> Self {
        Self {
            origins: vec![OriginPattern::Any],
            methods: None,
            headers: None,
            expose: None,
            expose_in_preflights: None,
            credentials: false,
            max_age: None,
            overrides: false,
        }
    }

    fn with_preflight() -> Self {
        let methods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
        Self {
            methods: Some(HeaderValue::from_static(methods)),
            expose_in_preflights: Some(ANY),
            ..Self::simple()
        }
    }

    fn apply(&self, fields: &mut HeaderMap, origin: Option<&HeaderValue>, preflight: bool) {
        let all = self.is_for_all();
        if !all {
            // A response for one site is not valid for another, nor for a page of the same site.
            fields.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if !self.overrides && CORS_FIELDS.iter().any(|name| fields.contains_key(name)) {
            return;
        }
        for name in &CORS_FIELDS {
            fields.remove(name);
        }
        let Some(origin) = origin else { return };
        let text = origin.to_str().unwrap_or_default();
        if !self.origins.iter().any(|pattern| pattern.matches(text)) {
            return;
        }
        let allowed = if all { ANY } else { origin.clone() };
        fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        let of_preflights = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose_in_preflights),
        ];
        let of_all = [(header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose)];
        for (name, value) in of_preflights.into_iter().filter(|_| preflight).chain(of_all) {
            fields.extend(value.clone().map(|value| (name, value)));
        }
    }
}

fn security() -> Vec<AddedField> {
    let field = |name, value, overrides| AddedField {
        name,
        value: HeaderValue::from_static(value),
        overrides,
    };
    vec![
        field(header::REFERRER_POLICY, "strict-origin-when-cross-origin", false),
        field(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000", false),
        field(header::X_CONTENT_TYPE_OPTIONS, "nosniff", true),
        field(header::X_FRAME_OPTIONS, "SAMEORIGIN", false),
        field(header::X_XSS_PROTECTION, "1; mode=block", false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(
        policy: &ResponseHeadersPolicy,
        sent: &[(&'static str, &str)],
        origin: Option<&str>,
        preflight: bool,
    ) -> Vec<String> {
        let mut fields: HeaderMap = sent
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("value")))
            .collect();
        let origin = origin.map(|origin| origin.parse().expect("value"));
        policy.apply(&mut fields, origin.as_ref(), preflight);
        let mut lines: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        lines
    }

    fn managed(name: &str) -> ResponseHeadersPolicy {
        ResponseHeadersPolicy::managed(name).expect(name)
    }

    #[test]
    fn managed_policies_add_what_cloudfront_adds() {
        let (page, any) = (Some("https://a.example"), "access-control-allow-origin: *");
        let security = [
            "referrer-policy: strict-origin-when-cross-origin",
            "strict-transport-security: max-age=31536000",
            "x-content-type-options: nosniff",
            "x-frame-options: SAMEORIGIN",
            "x-xss-protection: 1; mode=block",
        ];
        let preflight = [
            "access-control-allow-methods: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            any,
            "access-control-expose-headers: *",
        ];
        let none: &[&str] = &[];
        assert_eq!(applied(&managed("SimpleCORS"), &[], None, false), none);
        assert_eq!(applied(&managed("SimpleCORS"), &[], page, false), [any]);
        assert_eq!(applied(&managed("SimpleCORS"), &[], page, true), [any]);
        assert_eq!(applied(&managed("CORS-With-Preflight"), &[], page, true), preflight);
        assert_eq!(applied(&managed("CORS-With-Preflight"), &[], page, false), [any]);
        assert_eq!(applied(&managed("SecurityHeadersPolicy"), &[], page, false), security);
        let both = managed("CORS-and-SecurityHeadersPolicy");
        assert_eq!(applied(&both, &[], page, false), [&[any], &security[..]].concat());
        let both = managed("CORS-with-preflight-and-SecurityHeadersPolicy");
        assert_eq!(applied(&both, &[], page, true), [&preflight, &security[..]].concat());
        let sent = [("x-frame-options", "DENY"), ("x-content-type-options", "x")];
        let kept = applied(&managed("SecurityHeadersPolicy"), &sent, None, false);
        assert!(kept.contains(&"x-frame-options: DENY".to_owned()));
        assert!(kept.contains(&"x-content-type-options: nosniff".to_owned()));
        for name in MANAGED_RESPONSE_HEADERS_POLICIES {
            assert!(ResponseHeadersPolicy::managed(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_origins_word_stands_unless_it_is_overridden() {
        let sent = [("access-control-allow-methods", "GET"), ("server", "s")];
        let page = Some("https://a.example");
        let mut policy = managed("SimpleCORS");
        policy.remove.push(header::SERVER);
        assert_eq!(applied(&policy, &sent, page, false), ["access-control-allow-methods: GET"]);
        policy.cors.as_mut().expect("cors").overrides = true;
        assert_eq!(applied(&policy, &sent, page, false), ["access-control-allow-origin: *"]);
    }

    #[test]
    fn named_sites_are_told_apart() {
        let mut policy = managed("SimpleCORS");
        let cors = policy.cors.as_mut().expect("cors");
        cors.origins = vec![OriginPattern::parse("https://*.example.org").expect("a pattern")];
        cors.credentials = true;
        assert_eq!(
            applied(&policy, &[], Some("https://a.b.example.org"), false),
            [
                "access-control-allow-credentials: true",
                "access-control-allow-origin: https://a.b.example.org",
                "vary: Origin"
            ]
        );
        for other in [None, Some("https://example.org"), Some("http://a.example.org"), Some("null")]
        {
            assert_eq!(applied(&policy, &[], other, false), ["vary: Origin"], "{other:?}");
        }
    }

    #[test]
    fn patterns_of_sites() {
        for (pattern, origin, expected) in [
            ("*", "null", true),
            ("example.org", "https://example.org", true),
            ("example.org", "http://example.org", true),
            ("example.org", "http://example.org:8080", false),
            ("example.org", "http://xexample.org", false),
            ("https://example.org", "http://example.org", false),
            ("https://Example.org", "https://example.ORG", true),
            ("*.example.org", "https://a.b.example.org", true),
            ("*.example.org", "https://example.org", false),
            ("*.example.org", "https://evilexample.org", false),
            ("*.example.org", "https://.example.org", false),
            ("http://example.org:*", "http://example.org:8080", true),
            ("http://example.org:*", "http://example.org", true),
            ("http://example.org:81", "http://example.org:8080", false),
        ] {
            let parsed = OriginPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(origin), expected, "{pattern} {origin}");
        }
        for bad in ["", "example.*", "a.*.org", "*test.org", "https://", "a/b", "https://a:x", "*."]
        {
            assert_eq!(OriginPattern::parse(bad), None, "{bad}");
        }
    }
}

//! The viewer of a request: its address and scheme, seen through trusted proxies, and the headers that describe
//! it to origins.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::{
    connection::{Cipher, Connection},
    routing::Rules,
};
use crate::access::restrict::{NetworkLocation, Networks};

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The viewer behind a request.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) address: IpAddr,
    /// Its port, unless a proxy hides it.
    port: Option<u16>,
    /// The address as text, if the connection is from a trusted proxy.
    text: Option<Box<str>>,
    pub(crate) https: bool,
}

impl Viewer {
    pub(crate) fn of(proxies: &Networks, connection: &Connection, fields: &HeaderMap) -> Self {
        let direct = Self {
            address: connection.client,
            port: connection.port,
            text: None,
            https: connection.security.is_some(),
        };
        if proxies.is_empty() || !proxies.contain(connection.client) {
            return direct;
        }
        let (address, port) =
            forwarded_for(proxies, fields).unwrap_or((connection.client, connection.port));
        let https = last(fields, &X_FORWARDED_PROTO)
            .map_or(connection.security.is_some(), |scheme| scheme.eq_ignore_ascii_case("https"));
        Self { address, port, text: Some(address.to_string().into()), https }
    }

    /// The address as text.
    pub(crate) fn text<'a>(&'a self, connection: &'a Connection) -> &'a str {
        self.text.as_deref().unwrap_or(&connection.client_text)
    }

    /// Whether the connection is from a trusted proxy that reads and changes requests. One that only sends a PROXY header
    /// passes on what a viewer writes.
    pub(crate) const fn is_behind_http_proxy(&self) -> bool {
        self.text.is_some()
    }

    /// Whether a trusted proxy supplied the address.
    pub(crate) const fn is_told(&self, connection: &Connection) -> bool {
        self.text.is_some() || connection.is_proxied
    }
}

/// The nearest address that is not a trusted proxy's, and its port if the proxies add one. The client can forge
/// anything before it.
fn forwarded_for(proxies: &Networks, fields: &HeaderMap) -> Option<(IpAddr, Option<u16>)> {
    let lines: Vec<&HeaderValue> = fields.get_all(X_FORWARDED_FOR).iter().collect();
    let members = lines.iter().rev().filter_map(|line| line.to_str().ok());
    let mut nearest = None;
    for member in members.flat_map(|line| line.rsplit(',')) {
        let Some((address, port)) = address(member.trim()) else { break };
        nearest = Some((address, port));
        if !proxies.contain(address) {
            break;
        }
    }
    nearest
}

/// Parses an address with or without a port.
fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let alone = || {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        bracketed.unwrap_or(text).parse().ok()
    };
    let (address, port) = match text.parse::<SocketAddr>() {
        Ok(both) => (both.ip(), Some(both.port())),
        Err(_) => (alone()?, None),
    };
    Some((IpAddr::to_canonical(&address), port))
}

fn last<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = fields.get_all(name).iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim)
}

/// Adds the headers that describe the viewer to origins, and removes any that the viewer forged
/// (Amazon CloudFront Developer Guide, "Add CloudFront request headers").
pub(crate) fn describe(
    fields: &mut HeaderMap,
    viewer: &Viewer,
    connection: &Connection,
    version: Version,
    rules: &Rules,
) {
    let order = field_names(fields);
    let invented: Vec<HeaderName> =
        fields.keys().filter(|name| name.as_str().starts_with("cloudfront-")).cloned().collect();
    for name in invented {
        fields.remove(name);
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            fields.insert(HeaderName::from_static(name), value);
        }
    };
    let place = rules.geography.as_ref().and_then(|database| database.locate(viewer.address));
    describe_place(&place.unwrap_or_default(), &mut set);
    if let Some(geography) = &rules.geography
        && let Some(number) = geography.autonomous_system(viewer.address)
    {
        set("cloudfront-viewer-asn", &number.to_string());
    }
    if let Some(session) = tls_session(viewer, connection) {
        set("cloudfront-viewer-tls", &session);
    }
    set("cloudfront-viewer-header-count", &order.len().to_string());
    set("cloudfront-viewer-header-order", &joined(&order));
    set("cloudfront-viewer-address", &with_port(viewer));
    set("cloudfront-viewer-http-version", number(version));
    set("cloudfront-forwarded-proto", if viewer.https { "https" } else { "http" });
    let agent = fields.get(header::USER_AGENT).cloned();
    let agent = agent.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    for (name, is_so) in devices(&String::from_utf8_lossy(agent)) {
        fields.insert(name, HeaderValue::from_static(if is_so { "true" } else { "false" }));
    }
    append_forwarded_for(fields, connection);
}

fn describe_place(place: &NetworkLocation<'_>, set: &mut impl FnMut(&'static str, &str)) {
    let region = place.subdivisions.first();
    let number = |number: Option<f64>| number.map(|number| format!("{number:.5}"));
    let (latitude, longitude) = (number(place.location.latitude), number(place.location.longitude));
    let metro = place.location.metro_code.map(|code| code.to_string());
    for (name, value) in [
        ("cloudfront-viewer-country", place.country.iso_code),
        ("cloudfront-viewer-country-name", place.country.names.en),
        ("cloudfront-viewer-country-region", region.and_then(|region| region.iso_code)),
        ("cloudfront-viewer-country-region-name", region.and_then(|region| region.names.en)),
        ("cloudfront-viewer-city", place.city.names.en),
        ("cloudfront-viewer-postal-code", place.postal.code),
        ("cloudfront-viewer-time-zone", place.location.time_zone),
        ("cloudfront-viewer-latitude", latitude.as_deref()),
        ("cloudfront-viewer-longitude", longitude.as_deref()),
        ("cloudfront-viewer-metro-code", metro.as_deref()),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
}

/// Address and port in CloudFront's format, without the port if a proxy hides it.
fn with_port(viewer: &Viewer) -> String {
    match viewer.port {
        Some(port) => format!("{}:{port}", viewer.address),
        None => viewer.address.to_string(),
    }
}

/// Version, cipher suite and kind of handshake. They are unknown behind a proxy that terminates TLS.
fn tls_session(viewer: &Viewer, connection: &Connection) -> Option<String> {
    let Cipher { version, suite, resumed } = connection.cipher.filter(|_| viewer.text.is_none())?;
    let handshake = match (connection.exchanges.begun(), resumed) {
        (0, true) => "sessionResumed",
        (0, false) => "fullHandshake",
        _ => "connectionReused",
    };
    Some(format!("{version}:{suite}:{handshake}"))
}

/// The names of the viewer's headers in order, one per line.
fn field_names(fields: &HeaderMap) -> Vec<HeaderName> {
    fields.iter().map(|(name, _)| name.clone()).collect()
}

/// Names joined by colons, up to CloudFront's limit of 7,680 characters.
fn joined(names: &[HeaderName]) -> String {
    const LONGEST: usize = 7_680;
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push(':');
        }
        text.push_str(name.as_str());
    }
    text.truncate(LONGEST);
    text
}

const fn number(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    }
}

/// The device headers for a `User-Agent`.
fn devices(agent: &str) -> [(HeaderName, bool); 6] {
    let says = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    let (ios, android) = (says(&["iPhone", "iPad", "iPod"]), says(&["Android"]));
    let television =
        says(&["SmartTV", "SMART-TV", "Smart-TV", "Tizen", "Web0S", "AppleTV", "BRAVIA"]);
    let tablet = !television && (says(&["iPad", "Tablet"]) || (android && !says(&["Mobile"])));
    let mobile = !television && !tablet && says(&["Mobile", "iPhone", "iPod"]);
    [
        ("cloudfront-is-android-viewer", android),
        ("cloudfront-is-desktop-viewer", !(television || tablet || mobile)),
        ("cloudfront-is-ios-viewer", ios),
        ("cloudfront-is-mobile-viewer", mobile),
        ("cloudfront-is-smarttv-viewer", television),
        ("cloudfront-is-tablet-viewer", tablet),
    ]
    .map(|(name, is_so)| (HeaderName::from_static(name), is_so))
}

/// Appends the connection's address to `X-Forwarded-For`.
fn append_forwarded_for(fields: &mut HeaderMap, connection: &Connection) {
    let lines = fields.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let all: Vec<&str> = lines.chain([&*connection.client_text]).collect();
    if let Ok(value) = HeaderValue::try_from(all.join(", ")) {
        fields.insert(X_FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(client: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|n| Networks::parse(n).expect("network"));
        let connection = Connection::new(client.parse().expect("address"), false);
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().expect("value"));
        }
        let viewer = Viewer::of(&proxies.into_iter().collect(), &connection, &fields);
        (viewer.text(&connection).to_owned(), viewer.https)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let (name, proto) = ("x-forwarded-for", "x-forwarded-proto");
        for (client, lines, expected) in [
            ("192.0.2.1", &[(name, "203.0.113.9"), (proto, "https")][..], ("192.0.2.1", false)),
            ("10.0.0.1", &[(name, "203.0.113.9"), (proto, "https")], ("203.0.113.9", true)),
            ("10.0.0.1", &[], ("10.0.0.1", false)),
            // Forged addresses precede those that the proxies add.
            ("10.0.0.1", &[(name, "1.2.3.4, 203.0.113.9, 10.0.0.7")], ("203.0.113.9", false)),
            ("10.0.0.1", &[(name, "1.2.3.4"), (name, "203.0.113.9")], ("203.0.113.9", false)),
            ("10.0.0.1", &[(name, "nonsense, 10.0.0.7")], ("10.0.0.7", false)),
            ("10.0.0.1", &[(name, "nonsense")], ("10.0.0.1", false)),
            ("10.0.0.1", &[(name, "203.0.113.9:4711")], ("203.0.113.9", false)),
            ("10.0.0.1", &[(name, "[2001:db9::1]:443")], ("2001:db9::1", false)),
            ("2001:db8::5", &[(name, "::ffff:203.0.113.9")], ("203.0.113.9", false)),
            ("10.0.0.1", &[(proto, "https, http")], ("10.0.0.1", false)),
        ] {
            let (address, https) = viewer(client, lines);
            assert_eq!((address.as_str(), https), expected, "{client} {lines:?}");
        }
    }

    #[test]
    fn devices_are_told_apart() {
        let kind = |agent: &str| {
            let named = devices(agent).into_iter().filter(|(_, is_so)| *is_so);
            named.map(|(name, _)| name.as_str()["cloudfront-is-".len()..].to_owned()).collect()
        };
        for (agent, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64)", &["desktop-viewer"][..]),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E",
                &["ios-viewer", "mobile-viewer"],
            ),
            ("Mozilla/5.0 (iPad; CPU OS 18_0)", &["ios-viewer", "tablet-viewer"]),
            ("Mozilla/5.0 (Linux; Android 15) Mobile", &["android-viewer", "mobile-viewer"]),
            ("Mozilla/5.0 (Linux; Android 15)", &["android-viewer", "tablet-viewer"]),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0)", &["smarttv-viewer"]),
        ] {
            let kinds: Vec<String> = kind(agent);
            assert_eq!(kinds, expected, "{agent}");
        }
    }
}

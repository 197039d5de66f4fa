//! What the values of fields mean.

use std::collections::BTreeSet;

use http::{header, uri::Authority};

use super::response::Response;
use crate::{base::clock::Timestamp, http::date as http_date};

/// The members of a comma-separated list, in lower case.
pub(super) fn tokens(list: &str) -> BTreeSet<String> {
    members(list, ',').map(str::to_ascii_lowercase).collect()
}

fn members(list: &str, separator: char) -> impl Iterator<Item = &str> {
    list.split(separator).map(str::trim).filter(|member| !member.is_empty())
}

/// Whether two values of a field mean the same. `bases` are the starts of the servers' URLs.
pub(super) fn is_same(
    name: &str,
    [(a, of_a), (b, of_b)]: [(&str, &Response); 2],
    bases: [&str; 2],
) -> bool {
    match name {
        "cache-control"
        | "vary"
        | "allow"
        | "accept-ranges"
        | "content-encoding"
        | "access-control-allow-headers"
        | "access-control-expose-headers" => tokens(a) == tokens(b),
        // Methods are case-sensitive.
        "access-control-allow-methods" => {
            members(a, ',').collect::<BTreeSet<_>>() == members(b, ',').collect()
        }
        "strict-transport-security" => {
            let directives = |text: &str| {
                members(text, ';').map(str::to_ascii_lowercase).collect::<BTreeSet<_>>()
            };
            directives(a) == directives(b)
        }
        "content-type" => media_type(a) == media_type(b),
        "last-modified" => date(a).is_some() && date(a) == date(b),
        // The same time after the response. An invalid date has passed (RFC 9111 §5.3).
        "expires" => {
            let (one, other) = (lifetime(a, of_a), lifetime(b, of_b));
            (one <= 0 && other <= 0) || one.abs_diff(other) <= 2
        }
        "location" => location(a, bases[0]) == location(b, bases[1]),
        _ => a == b,
    }
}

/// Whether two responses set cookies of the same names with the same attributes. Values and times may differ.
pub(super) fn set_same_cookies(responses: [&Response; 2]) -> bool {
    let cookies = responses.map(|response| {
        let lines = response.fields.get_all(header::SET_COOKIE).iter();
        lines.map(|line| cookie(&String::from_utf8_lossy(line.as_bytes()))).collect::<BTreeSet<_>>()
    });
    cookies[0] == cookies[1]
}

/// A cookie's name and attributes.
fn cookie(line: &str) -> (String, BTreeSet<String>) {
    let mut parts = line.split(';').map(str::trim);
    let name = parts.next().and_then(|cookie| cookie.split_once('=')).map(|(name, _)| name);
    let attribute = |text: &str| {
        let text = text.to_ascii_lowercase();
        let name = text.split('=').next().unwrap_or_default();
        if ["expires", "max-age"].contains(&name) { name.to_owned() } else { text }
    };
    (name.unwrap_or_default().to_owned(), parts.map(attribute).collect())
}

/// A media type without spaces and quotes, in lower case. Both types of JavaScript are the same (RFC 9239 §6).
fn media_type(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
    let plain = plain.to_ascii_lowercase();
    match plain.strip_prefix("application/javascript") {
        Some(rest) => format!("text/javascript{rest}"),
        None => plain,
    }
}

fn date(text: &str) -> Option<Timestamp> {
    http_date::parse(text.as_bytes())
}

/// Seconds from the response to a time; 0 if it is no date.
fn lifetime(expires: &str, response: &Response) -> i64 {
    let times = date(expires).zip(response.text("date").and_then(|text| date(&text)));
    times.map_or(0, |(expires, date)| {
        let (expires, date) = (expires.as_secs(), date.as_secs());
        i64::try_from(expires).unwrap_or(i64::MAX).saturating_sub_unsigned(date)
    })
}

/// A location without the name of the server that answered, but with the scheme.
fn location(text: &str, base: &str) -> String {
    let Some((scheme, own)) = base.split_once("://") else { return text.to_owned() };
    if text.starts_with('/') && !text.starts_with("//") {
        return format!("{scheme}://{text}");
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (Ok(named), Ok(own)) = (rest[..end].parse::<Authority>(), own.parse::<Authority>()) else {
        return text.to_owned();
    };
    // A redirect to HTTPS names the port of HTTP no more.
    let is_own = named.host() == own.host()
        && (named.port_u16().is_none() || named.port_u16() == own.port_u16());
    if !is_own {
        return text.to_owned();
    }
    let slash = if rest[end..].starts_with('/') { "" } else { "/" };
    format!("{scheme}://{slash}{}", &rest[end..])
}

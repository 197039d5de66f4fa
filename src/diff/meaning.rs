//! What the values of fields mean.

use std::{collections::BTreeSet, time::SystemTime};

use http::{Uri, uri::Authority};

use super::response::Response;

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
        "expires" => match (date(a), date(b)) {
            (Some(one), Some(other)) => {
                let lifetimes = (lifetime(one, of_a), lifetime(other, of_b));
                matches!(lifetimes, (Some(one), Some(other)) if one.abs_diff(other) <= 2)
            }
            (one, other) => one == other,
        },
        "location" => location(a, bases[0]) == location(b, bases[1]),
        _ => a == b,
    }
}

/// Whether two values of `Set-Cookie` set cookies of the same names.
pub(super) fn names_same_cookies(values: &[Option<String>; 2]) -> bool {
    let names = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        let cookies =
            text.split(", ").filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        cookies.map(|(name, _)| name.trim().to_owned()).collect::<BTreeSet<_>>()
    };
    names(&values[0]) == names(&values[1])
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

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Seconds from the response to a time.
fn lifetime(expires: SystemTime, response: &Response) -> Option<i64> {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    Some(seconds(expires)? - seconds(date(&response.text("date")?)?)?)
}

/// A location without the name of the server that answered, but with the scheme.
fn location(text: &str, base: &str) -> String {
    let Some((scheme, own)) = base.split_once("://") else { return text.to_owned() };
    if text.starts_with('/') && !text.starts_with("//") {
        return format!("{scheme}://{text}");
    }
    let Ok(uri) = text.parse::<Uri>() else { return text.to_owned() };
    let own = own.parse::<Authority>();
    let is_own = |other: &Authority| own.as_ref().is_ok_and(|own| own.host() == other.host());
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) if is_own(authority) => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            format!("{scheme}://{path}")
        }
        _ => text.to_owned(),
    }
}

//! What the values of fields mean.

use std::{collections::BTreeSet, time::SystemTime};

use super::seen::Seen;

/// The members of a comma-separated list, in lower case.
pub(super) fn tokens(list: &str) -> BTreeSet<String> {
    let members = list.split(',').map(|member| member.trim().to_ascii_lowercase());
    members.filter(|member| !member.is_empty()).collect()
}

/// Whether two values of a field mean the same. `bases` are the starts of the servers' URLs.
pub(super) fn is_same(
    name: &str,
    [(a, of_a), (b, of_b)]: [(&str, &Seen); 2],
    bases: [&str; 2],
) -> bool {
    match name {
        "cache-control" | "vary" | "allow" | "accept-ranges" | "content-encoding" => {
            tokens(a) == tokens(b)
        }
        name if name.starts_with("access-control-") && name != "access-control-allow-origin" => {
            tokens(a) == tokens(b)
        }
        "content-type" => media_type(a) == media_type(b),
        "last-modified" => date(a).is_some() && date(a) == date(b),
        // The same time after the response.
        "expires" => match (lifetime(a, of_a), lifetime(b, of_b)) {
            (Some(one), Some(other)) => one.abs_diff(other) <= 2,
            _ => false,
        },
        "location" => path(a, bases[0]) == path(b, bases[1]),
        _ => a == b,
    }
}

/// Whether two entity tags are the same but for their strength (RFC 9110 §8.8.3.2).
pub(super) fn is_weakly_same(texts: &[Option<String>; 2]) -> bool {
    let opaque = |text: &Option<String>| {
        text.as_deref().map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned())
    };
    texts[0].is_some() && opaque(&texts[0]) == opaque(&texts[1])
}

/// A media type without spaces and quotes, in lower case.
fn media_type(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '"')
        .collect::<String>()
        .to_ascii_lowercase()
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Seconds from the response to a time.
fn lifetime(expires: &str, seen: &Seen) -> Option<i64> {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    Some(seconds(date(expires)?)? - seconds(date(&seen.text("date")?)?)?)
}

/// A location without its server, if that is the one that answered.
fn path<'a>(location: &'a str, base: &str) -> &'a str {
    match location.strip_prefix(base) {
        Some("") => "/",
        Some(path) if path.starts_with(['/', '?']) => path,
        _ => location,
    }
}

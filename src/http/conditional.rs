//! Conditional requests (RFC 9110 §13).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    date,
    entity_tag::{EntityTag, any_in_list},
};
use crate::base::clock::Timestamp;

/// The validators of the selected representation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// `ETag`, if there is a well-formed one.
    pub etag: Option<EntityTag<'a>>,
    /// `Last-Modified`, if there is a well-formed one.
    pub last_modified: Option<Timestamp>,
    /// An `ETag` that is malformed, such as one without quotes. It matches only if a viewer repeats it exactly.
    pub bare_etag: Option<&'a [u8]>,
}

impl<'a> Validators<'a> {
    /// Reads both validators from raw field values.
    #[must_use]
    pub fn read(etag: Option<&'a [u8]>, last_modified: Option<&[u8]>) -> Self {
        let parsed = etag.and_then(EntityTag::parse);
        let bare = etag.map(<[u8]>::trim_ascii).filter(|etag| parsed.is_none() && !etag.is_empty());
        Self { etag: parsed, last_modified: last_modified.and_then(date::parse), bare_etag: bare }
    }
}

/// The result of a request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Respond as if there were none.
    Proceed,
    /// 304: the viewer's copy is current.
    NotModified,
    /// 412: the state that the viewer expected is gone.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD in the order of RFC 9110 §13.2.2.
#[must_use]
pub fn evaluate(request: &HeaderMap, current: &Validators<'_>) -> Precondition {
    if let Some(precondition) = unmet(request, current) {
        return precondition;
    }
    // Step 3: If-None-Match, else step 4: If-Modified-Since.
    if request.contains_key(header::IF_NONE_MATCH) {
        let matches = lists(request, &header::IF_NONE_MATCH, |list| {
            list == b"*"
                || current.etag.is_some_and(|etag| any_in_list(list, |tag| tag.weak_eq(&etag)))
                || current.bare_etag == Some(list)
        });
        return if matches { Precondition::NotModified } else { Precondition::Proceed };
    }
    let since = single_date(request, &header::IF_MODIFIED_SINCE);
    match (since, current.last_modified) {
        (Some(since), Some(modified)) if modified <= since => Precondition::NotModified,
        _ => Precondition::Proceed,
    }
}

/// Steps 1 and 2: `If-Match`, else `If-Unmodified-Since`.
fn unmet(request: &HeaderMap, current: &Validators<'_>) -> Option<Precondition> {
    if request.contains_key(header::IF_MATCH) {
        let matches = lists(request, &header::IF_MATCH, |list| {
            list == b"*"
                || current.etag.is_some_and(|etag| any_in_list(list, |tag| tag.strong_eq(&etag)))
        });
        return (!matches).then_some(Precondition::Failed);
    }
    let since = single_date(request, &header::IF_UNMODIFIED_SINCE)?;
    (current.last_modified? > since).then_some(Precondition::Failed)
}

/// RFC 9110 §13.1.5: whether `If-Range` allows the range to be honoured (strong comparison).
#[must_use]
pub fn range_allowed(if_range: Option<&HeaderValue>, current: &Validators<'_>) -> bool {
    let Some(value) = if_range.map(HeaderValue::as_bytes) else {
        return true;
    };
    if let Some(tag) = EntityTag::parse(value) {
        return current.etag.is_some_and(|etag| etag.strong_eq(&tag));
    }
    let date = date::parse(value);
    date.is_some() && date == current.last_modified
}

fn lists(request: &HeaderMap, name: &HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    request.get_all(name).iter().any(|value| matches(value.as_bytes().trim_ascii()))
}

/// A well-formed date field that occurs exactly once.
fn single_date(request: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let mut values = request.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| date::parse(first.as_bytes())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators<'static> {
        Validators::read(Some(b"\"v1\""), Some(SAME.as_bytes()))
    }

    fn ask(fields: &[(&str, &str)]) -> Precondition {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("name"),
                value.parse().expect("value"),
            );
        }
        evaluate(&map, &current())
    }

    #[test]
    fn preconditions_follow_the_order_of_the_rfc() {
        use Precondition::{Failed, NotModified, Proceed};
        for (fields, expected) in [
            (&[][..], Proceed),
            (&[("if-none-match", "\"v1\"")], NotModified),
            (&[("if-none-match", "W/\"v1\"")], NotModified),
            (&[("if-none-match", "\"v0\", \"v1\"")], NotModified),
            (&[("if-none-match", "\"v0\""), ("if-none-match", "\"v1\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"v2\"")], Proceed),
            // If-None-Match takes precedence over If-Modified-Since
            (&[("if-none-match", "\"v2\""), ("if-modified-since", NEW)], Proceed),
            (&[("if-modified-since", SAME)], NotModified),
            (&[("if-modified-since", NEW)], NotModified),
            (&[("if-modified-since", OLD)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-match", "\"v1\"")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "W/\"v1\"")], Failed),
            (&[("if-match", "\"v2\"")], Failed),
            (&[("if-unmodified-since", OLD)], Failed),
            (&[("if-unmodified-since", SAME)], Proceed),
            // If-Match takes precedence over If-Unmodified-Since
            (&[("if-match", "\"v1\""), ("if-unmodified-since", OLD)], Proceed),
            (&[("if-match", "\"v2\""), ("if-none-match", "\"v1\"")], Failed),
        ] {
            assert_eq!(ask(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_bare_entity_tag_matches_its_exact_echo() {
        let bare = Validators::read(Some(b"abc123"), None);
        for (name, value, expected) in [
            (header::IF_NONE_MATCH, "abc123", Precondition::NotModified),
            (header::IF_NONE_MATCH, "\"abc123\"", Precondition::Proceed),
            (header::IF_NONE_MATCH, "abc12", Precondition::Proceed),
            (header::IF_MATCH, "abc123", Precondition::Failed),
        ] {
            let fields = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            assert_eq!(evaluate(&fields, &bare), expected, "{value}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let weak = Validators::read(Some(b"W/\"v1\""), None);
        for (value, current, allowed) in [
            ("\"v1\"", current(), true),
            ("\"v2\"", current(), false),
            ("W/\"v1\"", current(), false),
            ("\"v1\"", weak, false),
            (SAME, current(), true),
            (NEW, current(), false),
            ("nonsense", current(), false),
        ] {
            let value = HeaderValue::from_static(value);
            assert_eq!(range_allowed(Some(&value), &current), allowed, "{value:?}");
        }
        assert!(range_allowed(None, &current()));
    }
}

//! Sets of field names.

use http::{HeaderMap, HeaderName, header};

/// Removes the fields whose names are `unwanted`.
pub fn remove_all(fields: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    // Most messages have few of them or none. Looking up each name would take longer.
    let found: Vec<HeaderName> = fields.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in found {
        fields.remove(name);
    }
}

/// The fields that `Connection` names (RFC 9110 §7.6.1).
#[must_use]
pub fn connection_names(fields: &HeaderMap) -> Vec<HeaderName> {
    names(fields, &header::CONNECTION).filter_map(Result::ok).collect()
}

/// The members of a field that lists field names. An invalid member is returned as it is.
pub fn names<'a>(
    fields: &'a HeaderMap,
    list: &HeaderName,
) -> impl Iterator<Item = Result<HeaderName, &'a [u8]>> {
    let lines = fields.get_all(list).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .map(|member| HeaderName::from_bytes(member).ok().filter(|name| name != "*").ok_or(member))
}

//! Query parameters of S3 requests (Amazon S3 API Reference, "GetObject").

use std::{borrow::Cow, collections::BTreeSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    cache::key::NameSpec,
    http::query::{name_and_value, pairs},
};

/// Parameters that select an object's version or set response fields. A bucket receives those that a policy lists by
/// name.
pub(crate) const OBJECT_PARAMETERS: [&str; 7] = [
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];

/// Parameters that make a request one about something other than an object or a byte range of it.
const OTHER_REQUESTS: [&str; 39] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// What is escaped in a query parameter: all but unreserved characters, as SigV4 encodes them.
pub(crate) const ENCODED_PARAMETER: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a bucket's policy must not list this parameter, because it makes the request one about a non-object.
#[must_use]
pub(crate) fn is_refused_parameter(name: &str) -> bool {
    OTHER_REQUESTS.contains(&name) || name.to_ascii_lowercase().starts_with("x-amz-")
}

/// The object parameters that a policy lists by name. `all` and `allExcept` list none: a viewer must not choose
/// versions and response fields unless the operator allows it.
#[must_use]
pub(crate) fn listed_parameters(policy: &NameSpec) -> NameSpec {
    let NameSpec::Only(names) = policy else { return NameSpec::None };
    let known = OBJECT_PARAMETERS.into_iter().map(str::to_owned);
    let listed: BTreeSet<String> = known.filter(|name| names.contains(name)).collect();
    if listed.is_empty() { NameSpec::None } else { NameSpec::Only(listed) }
}

/// The object parameters of a query string, as they are signed. The first of each name counts.
pub(super) fn signed_query(query: &str) -> String {
    let mut sent = String::new();
    let mut seen = BTreeSet::new();
    for pair in pairs(query) {
        let (name, value) = name_and_value(pair);
        let is_known = OBJECT_PARAMETERS.contains(&name);
        if !is_known || !seen.insert(name) {
            continue;
        }
        // S3 parses query strings as forms.
        let value = value.unwrap_or_default().replace('+', " ");
        let value: Cow<'_, str> = percent_decode_str(&value).decode_utf8_lossy();
        if !sent.is_empty() {
            sent.push('&');
        }
        sent.push_str(name);
        sent.push('=');
        sent.extend(utf8_percent_encode(&value, ENCODED_PARAMETER));
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_as_they_are_signed() {
        for (query, expected) in [
            ("versionId=abc.D_e-f~g", "versionId=abc.D_e-f~g"),
            ("v=1&versionId=a&versionId=b&acl", "versionId=a"),
            (
                "response-content-disposition=attachment;+filename%3D%22a%2Bb%C3%A9.txt%22",
                "response-content-disposition=attachment%3B%20filename%3D%22a%2Bb%C3%A9.txt%22",
            ),
            ("versionId", "versionId="),
            ("versionid=1&VersionId=2", ""),
            ("versionId=a%0d%0ab%26acl", "versionId=a%0D%0Ab%26acl"),
        ] {
            assert_eq!(signed_query(query), expected, "{query}");
        }
    }

    #[test]
    fn only_what_a_policy_names_is_listed() {
        let only = |names: &[&str]| NameSpec::Only(names.iter().map(ToString::to_string).collect());
        for (policy, expected) in [
            (
                only(&["v", "versionId", "response-expires"]),
                only(&["versionId", "response-expires"]),
            ),
            (only(&["v"]), NameSpec::None),
            (NameSpec::All, NameSpec::None),
            (NameSpec::Except(BTreeSet::default()), NameSpec::None),
        ] {
            assert_eq!(listed_parameters(&policy), expected);
        }
    }

    #[test]
    fn subresources_and_signatures_are_refused() {
        for name in ["acl", "partNumber", "website", "X-Amz-Signature", "x-amz-security-token"] {
            assert!(is_refused_parameter(name), "{name}");
        }
        for name in ["v", "versionId", "response-content-type", "prefix", "width"] {
            assert!(!is_refused_parameter(name), "{name}");
        }
    }
}

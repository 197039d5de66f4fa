//! `[[distribution.origin]]`: buckets and plain HTTP servers.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::section::{Section, check_id};
use crate::{
    key::CanonicalPath,
    origin::{self, Address, Protocol},
};

/// An origin as behaviors refer to it, whether or not the rest of it is good.
pub(super) struct NamedOrigin {
    pub(super) id: String,
    pub(super) options: Option<origin::Options>,
}

pub(super) fn origins(section: &Section<'_>, directory: &Path) -> Vec<NamedOrigin> {
    let mut ids = BTreeSet::new();
    let sections = section.tables("origin");
    if sections.is_empty() {
        let help = "add a `[[distribution.origin]]` with `id`, `bucket` and `region`".to_owned();
        section.fault(section.span(), "there is no origin", "in this distribution", help);
    }
    let read = |section: Section<'_>| {
        let options = origin(&section, directory, &mut ids);
        section.unknown();
        options
    };
    sections.into_iter().filter_map(read).collect()
}

fn origin(
    section: &Section<'_>,
    directory: &Path,
    ids: &mut BTreeSet<String>,
) -> Option<NamedOrigin> {
    let id = section.required("id", "behaviors refer to an origin by its id");
    let id = id.and_then(|id| check_id(section, id, ids));
    let target = target(section);
    let duration = |key, default| section.duration(key).map_or(default, |d| d.value);
    let number = |key, range, default| section.number(key, range).unwrap_or(default);
    let connect_timeout = duration("connect_timeout", Duration::from_secs(10));
    let attempts = number("connect_attempts", 1..11, 3);
    let response_timeout = duration("response_timeout", Duration::from_secs(30));
    let max_connections = number("max_connections", 1..65_536, 256);
    let ca_file = section.string("ca_file").map(|path| directory.join(path.value));
    let origin_path = origin_path(section);
    let id = id?;
    let options = target.map(|(address, protocol)| origin::Options {
        id: id.clone(),
        address,
        origin_path,
        protocol,
        connect_timeout,
        connect_attempts: u32::try_from(attempts).unwrap_or(3),
        response_timeout,
        max_connections: usize::try_from(max_connections).unwrap_or(256),
        ca_file,
    });
    Some(NamedOrigin { id, options })
}

fn target(section: &Section<'_>) -> Option<(Address, Protocol)> {
    let (bucket, url) = (section.string("bucket"), section.string("url"));
    let region = section.string("region");
    let endpoint = section.string("endpoint");
    let path_style = section.boolean("path_style");
    let owner = section.string("expected_bucket_owner");
    let payer = section.boolean("request_payer");
    let signing = signing(section, bucket.is_some());
    match (bucket, url) {
        (Some(bucket), None) => {
            let help =
                "for stores without regions, what their manual says: us-east-1, auto, garage";
            let Some(region) = region else {
                return section.required("region", help).and(None);
            };
            let is_region = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if region.value.is_empty() || !region.value.bytes().all(is_region) {
                let message = format!("`{}` is no region", region.value);
                let help = "such as \"eu-central-1\"".to_owned();
                section.fault(region.span.clone(), message, "not a region", help);
            }
            if let Some(owner) = &owner
                && !(owner.value.len() == 12 && owner.value.bytes().all(|b| b.is_ascii_digit()))
            {
                let message = "`expected_bucket_owner` is no AWS account";
                section.fault(owner.span.clone(), message, "expected 12 digits", None);
            }
            let endpoint_url = endpoint.as_ref().map(|endpoint| endpoint.value);
            let style = path_style.as_ref().map(|style| style.value);
            let address = Address::bucket(bucket.value, region.value, endpoint_url, style);
            let span = match (&address, endpoint) {
                (Err(origin::AddressError::NotAUrl | origin::AddressError::HasPath), Some(url)) => {
                    url.span
                }
                _ => bucket.span,
            };
            let protocol = Protocol::S3 {
                region: region.value.to_owned(),
                expected_bucket_owner: owner.map(|owner| owner.value.to_owned()),
                request_payer: payer.is_some_and(|payer| payer.value),
            };
            address_or_fault(section, address, span).map(|address| (address, protocol))
        }
        (None, Some(url)) => {
            signing?;
            let address = Address::from_url(url.value);
            address_or_fault(section, address, url.span).map(|a| (a, Protocol::Plain))
        }
        (found, _) => {
            let message = "an origin has either a `bucket` or a `url`";
            let label = if found.is_some() { "this one has both" } else { "this one has neither" };
            section.fault(section.span(), message, label, None);
            None
        }
    }
}

/// `signing`: a bucket's requests are always signed, a plain origin's never.
fn signing(section: &Section<'_>, is_bucket: bool) -> Option<()> {
    let Some(word) = section.string("signing") else { return Some(()) };
    let expected = if is_bucket { "always" } else { "never" };
    if word.value == expected {
        return Some(());
    }
    let message = format!("`signing = \"{}\"` cannot be had here", word.value);
    let help = "requests for a `bucket` are signed \"always\", those for a `url` \"never\"";
    section.fault(word.span, message, format!("expected {expected}"), help.to_owned());
    None
}

fn address_or_fault(
    section: &Section<'_>,
    address: Result<Address, origin::AddressError>,
    span: std::ops::Range<usize>,
) -> Option<Address> {
    address.map_err(|error| section.fault(span, error.to_string(), "here", None)).ok()
}

fn origin_path(section: &Section<'_>) -> String {
    let Some(path) = section.string("origin_path") else { return String::new() };
    if path.value.is_empty() {
        return String::new();
    }
    let canonical = CanonicalPath::parse(path.value);
    match canonical {
        Ok(canonical) if !path.value.ends_with('/') => {
            let mut encoded = String::new();
            canonical.encode_into(&mut encoded);
            encoded
        }
        _ => {
            let message = format!("`{}` cannot be an origin path", path.value);
            let help = "begin it with a slash and end it without one, such as \"/media/2026\"";
            section.fault(path.span, message, "not an origin path", help.to_owned());
            String::new()
        }
    }
}

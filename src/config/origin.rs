//! `[[distribution.origin]]`: buckets and plain HTTP servers.

use std::{collections::BTreeSet, path::Path, time::Duration};

use http::{HeaderName, HeaderValue};

use super::{
    errors::statuses,
    policy::word,
    section::{Placed, Section, check_id},
};
use crate::{
    cache::key::{CanonicalPath, PathForm},
    http::field_table::FieldTrait,
    origin::{self, FAILOVER_CODES, Protocol, Signing},
    outbound::{Address, AddressError, HeadLimits},
};

/// An origin that behaviors can refer to, even if its other settings are invalid.
pub(super) struct NamedOrigin {
    pub(super) id: String,
    pub(super) options: Option<origin::Options>,
}

/// A primary origin and the secondary that it fails over to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Name within its distribution.
    pub id: String,
    /// Indices of the primary and the secondary origin.
    pub members: [usize; 2],
    /// Status codes that trigger failover to the secondary.
    pub failover: Vec<http::StatusCode>,
}

/// `[[distribution.origin_group]]`.
pub(super) fn groups(section: &Section<'_>, origins: &[NamedOrigin]) -> Vec<GroupOptions> {
    let mut ids: BTreeSet<String> = origins.iter().map(|origin| origin.id.clone()).collect();
    let mut groups = Vec::new();
    for table in section.tables("origin_group") {
        let id = table.required("id", "add an `id`, by which behaviors select this group");
        let id = id.and_then(|id| check_id(&table, id, &mut ids));
        let members = members(&table, origins);
        let failover = if table.has("failover_status_codes") {
            statuses(&table, "failover_status_codes", &FAILOVER_CODES)
        } else {
            [500, 502, 503, 504]
                .into_iter()
                .filter_map(|c| http::StatusCode::from_u16(c).ok())
                .collect()
        };
        table.unknown();
        let group = id.zip(members);
        groups.extend(group.map(|(id, members)| GroupOptions { id, members, failover }));
    }
    groups
}

fn members(table: &Section<'_>, origins: &[NamedOrigin]) -> Option<[usize; 2]> {
    let names = table.strings("members").unwrap_or_default();
    let place = |name: &str| origins.iter().position(|origin| origin.id == name);
    let places: Vec<usize> = names.iter().filter_map(|name| place(name.value)).collect();
    match places[..] {
        [primary, secondary] if names.len() == 2 && primary != secondary => {
            Some([primary, secondary])
        }
        _ => {
            let known: Vec<&str> = origins.iter().map(|origin| origin.id.as_str()).collect();
            let help =
                format!("list the primary and the secondary; choose from: {}", known.join(", "));
            let message = "`members` must list two different origins of this distribution";
            table.fault(table.span(), message, "in this group", help);
            None
        }
    }
}

pub(super) fn origins(
    section: &Section<'_>,
    directory: &Path,
    tags: Option<&HeaderName>,
) -> Vec<NamedOrigin> {
    let mut ids = BTreeSet::new();
    let sections = section.tables("origin");
    if sections.is_empty() {
        let help = "add a `[[distribution.origin]]` with `id`, `bucket` and `region`".to_owned();
        section.fault(section.span(), "there is no origin", "in this distribution", help);
    }
    let read = |section: Section<'_>| {
        let options = origin(&section, directory, tags, &mut ids);
        section.unknown();
        options
    };
    sections.into_iter().filter_map(read).collect()
}

fn origin(
    section: &Section<'_>,
    directory: &Path,
    tags: Option<&HeaderName>,
    ids: &mut BTreeSet<String>,
) -> Option<NamedOrigin> {
    let id = section.required("id", "add an `id`, by which behaviors select this origin");
    let id = id.and_then(|id| check_id(section, id, ids));
    let target = target(section);
    let duration = |key, default| section.duration(key).map_or(default, |d| d.value);
    let number = |key, range, default| section.number(key, range).unwrap_or(default);
    let connect_timeout = duration("connect_timeout", Duration::from_secs(10));
    let attempts = number("connect_attempts", 1..11, 3);
    let response_timeout = duration("response_timeout", Duration::from_secs(30));
    let response_attempts = number("response_attempts", 1..11, 3);
    let completion_timeout = completion_timeout(section, response_timeout);
    let response_head = response_head(section);
    let max_connections = number("max_connections", 1..65_536, 256);
    let per_client = section.number("max_connections_per_client", 1..65_536);
    let max_tunnels = number("max_tunnels", 0..65_537, 1000);
    let tunnel_idle_timeout = tunnel_idle_timeout(section);
    let interim_responses = section.boolean("interim_responses").is_none_or(|sent| sent.value);
    let upload_min_rate = section.size("upload_min_rate").map_or(500, |rate| rate.value);
    let upload_timeout = duration("upload_timeout", Duration::from_secs(3600));
    let stale_if_denied = duration("stale_if_denied", Duration::from_secs(3600));
    let ca_file = section.string("ca_file").map(|path| directory.join(path.value));
    let origin_path = origin_path(section);
    let custom_headers = custom_headers(section);
    let id = id?;
    let options = target.map(|(address, protocol)| origin::Options {
        id: id.clone(),
        address,
        origin_path,
        protocol,
        connect_timeout,
        connect_attempts: u32::try_from(attempts).unwrap_or(3),
        response_timeout,
        response_attempts: u32::try_from(response_attempts).unwrap_or(3),
        completion_timeout,
        response_head,
        max_connections: usize::try_from(max_connections).unwrap_or(256),
        max_connections_per_client: per_client.and_then(|n| usize::try_from(n).ok()),
        max_tunnels: usize::try_from(max_tunnels).unwrap_or(1000),
        tunnel_idle_timeout,
        interim_responses,
        upload_min_rate,
        upload_timeout,
        stale_if_denied,
        ca_file,
        custom_headers,
        cache_tag_header: tags.cloned(),
    });
    Some(NamedOrigin { id, options })
}

/// Amazon CloudFront Developer Guide, "Response completion timeout": at least the response timeout; none by default.
fn completion_timeout(section: &Section<'_>, response_timeout: Duration) -> Option<Duration> {
    let timeout = section.duration("completion_timeout")?;
    if timeout.value < response_timeout {
        let message = "`completion_timeout` is shorter than `response_timeout`";
        let help = "it limits the whole response: raise it, or lower `response_timeout`".to_owned();
        section.fault(timeout.span, message, "too short", help);
    }
    Some(timeout.value)
}

fn tunnel_idle_timeout(section: &Section<'_>) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(600);
    let Some(timeout) = section.duration("tunnel_idle_timeout") else { return DEFAULT };
    if timeout.value < Duration::from_millis(100) {
        let message = "`tunnel_idle_timeout` must be at least 100ms";
        let help = "write, for example, \"10m\"; `max_tunnels = 0` allows no WebSocket".to_owned();
        section.fault(timeout.span, message, "too short", help);
    }
    timeout.value
}

fn response_head(section: &Section<'_>) -> HeadLimits {
    let default = HeadLimits::default();
    let fields = section.number("max_response_fields", 100..10_001);
    let bytes = section.size("max_response_head");
    if let Some(bytes) = bytes.as_ref().filter(|bytes| !(8 << 10..=1 << 20).contains(&bytes.value))
    {
        let help = "write, for example, \"256KiB\"".to_owned();
        let message = "`max_response_head` must be from 8KiB to 1MiB";
        section.fault(bytes.span.clone(), message, "out of range", help);
    }
    HeadLimits {
        bytes: bytes.and_then(|bytes| usize::try_from(bytes.value).ok()).unwrap_or(default.bytes),
        fields: fields.and_then(|fields| usize::try_from(fields).ok()).unwrap_or(default.fields),
    }
}

/// Address, region and name of a bucket, from `region`, `endpoint` and `path_style`. All keys are read, even without a bucket, so
/// that none is reported as unknown.
pub(super) fn bucket_location(
    section: &Section<'_>,
    bucket: Option<&Placed<&str>>,
) -> Option<(Address, String, String)> {
    let endpoint = section.string("endpoint");
    let path_style = section.boolean("path_style");
    let _ = section.string("region");
    let bucket = bucket?;
    let help = "add `region`; if the store has no regions, use the value from its manual, such as us-east-1, auto or garage";
    let region = section.required("region", help)?;
    let is_region = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if region.value.is_empty() || !region.value.bytes().all(is_region) {
        let message = format!("`{}` is not a valid region", region.value);
        let help = "use a name such as \"eu-central-1\"".to_owned();
        section.fault(region.span.clone(), message, "not a region", help);
    } else if !section.has("endpoint") && !is_aws_region(region.value) {
        let message = format!("`{}` is not an AWS region", region.value);
        let help =
            "use a region such as \"eu-central-1\"; a bucket outside AWS also needs an endpoint";
        section.fault(region.span.clone(), message, "not an AWS region", help.to_owned());
    }
    let endpoint_url = endpoint.as_ref().map(|endpoint| endpoint.value);
    let style = path_style.as_ref().map(|style| style.value);
    let address = Address::bucket(bucket.value, region.value, endpoint_url, style);
    let span = match (&address, endpoint) {
        (
            Err(
                AddressError::NotAUrl
                | AddressError::HasPath
                | AddressError::EndpointPath
                | AddressError::PathNeedsPathStyle,
            ),
            Some(url),
        ) => url.span,
        _ => bucket.span.clone(),
    };
    let address = address_or_fault(section, address, span)?;
    Some((address, region.value.to_owned(), bucket.value.to_owned()))
}

fn target(section: &Section<'_>) -> Option<(Address, Protocol)> {
    let (bucket, url) = (section.string("bucket"), section.string("url"));
    let owner = section.string("expected_bucket_owner");
    let payer = section.boolean("request_payer");
    let signing = signing(section, bucket.is_some());
    let location = bucket_location(section, bucket.as_ref().filter(|_| url.is_none()));
    match (bucket, url) {
        (Some(_), None) => {
            if let Some(owner) = &owner
                && !(owner.value.len() == 12 && owner.value.bytes().all(|b| b.is_ascii_digit()))
            {
                let message = "`expected_bucket_owner` is not an AWS account id";
                section.fault(owner.span.clone(), message, "expected 12 digits", None);
            }
            let (address, region, bucket) = location?;
            let protocol = Protocol::S3 {
                bucket,
                region,
                expected_bucket_owner: owner.map(|owner| owner.value.to_owned()),
                request_payer: payer.is_some_and(|payer| payer.value),
                signing: signing?,
            };
            Some((address, protocol))
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

/// `signing`: which bucket requests are signed. Requests to a plain origin never are.
fn signing(section: &Section<'_>, is_bucket: bool) -> Option<Signing> {
    let signing = word(section, "signing", Signing::NAMES);
    if !section.has("signing") {
        return Some(Signing::default());
    }
    if !is_bucket && signing != Some(Signing::Never) {
        let help = "Forebay signs only requests to a `bucket`; remove `signing` here".to_owned();
        let message = "requests to a `url` are never signed";
        section.fault(section.string("signing")?.span, message, "expected \"never\"", help);
        return None;
    }
    signing
}

/// `[distribution.origin.custom_headers]`. CloudFront allows ten fields by default and more on request
/// (Amazon CloudFront Developer Guide, "Quotas on headers").
fn custom_headers(section: &Section<'_>) -> Vec<(HeaderName, HeaderValue)> {
    const MOST: usize = 100;
    const LONGEST_NAME: usize = 256;
    const LONGEST_VALUE: usize = 1_783;
    const LONGEST_ALL: usize = 16_384;
    let Some(table) = section.table("custom_headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (text, value) in table.strings_by_name() {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        let allowed = |name: &HeaderName| {
            let own = ["x-amz-", "x-edge-", "proxy-"];
            !FieldTrait::NeverCustom.applies_to(name.as_str())
                && !own.iter().any(|start| name.as_str().starts_with(start))
        };
        let Some(name) = name.filter(|name| text.len() <= LONGEST_NAME && allowed(name)) else {
            let message = format!("`{text}` cannot be a custom header");
            table.fault(value.span, message, "not allowed here", None);
            continue;
        };
        match HeaderValue::from_str(value.value) {
            Ok(content) if content.len() <= LONGEST_VALUE => headers.push((name, content)),
            _ => {
                let label = format!("expected at most {LONGEST_VALUE} printable characters");
                table.fault(value.span, format!("the value of `{text}` is not valid"), label, None);
            }
        }
    }
    let all = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len();
    if headers.len() > MOST || headers.iter().map(all).sum::<usize>() > LONGEST_ALL {
        let label =
            format!("expected at most {MOST} headers, with {LONGEST_ALL} characters in total");
        table.fault(table.span(), "too many custom headers", label, None);
    }
    headers
}

fn address_or_fault(
    section: &Section<'_>,
    address: Result<Address, AddressError>,
    span: std::ops::Range<usize>,
) -> Option<Address> {
    address.map_err(|error| section.fault(span, error.to_string(), "here", None)).ok()
}

fn origin_path(section: &Section<'_>) -> String {
    let Some(path) = section.string("origin_path") else { return String::new() };
    if path.value.is_empty() {
        return String::new();
    }
    let canonical = CanonicalPath::resolve(path.value, PathForm::Key);
    match canonical {
        Ok(canonical) if !path.value.ends_with('/') => {
            let mut encoded = String::new();
            canonical.encode_for_bucket(&mut encoded);
            encoded
        }
        _ => {
            let message = format!("`{}` is not a valid origin path", path.value);
            let help = "start it with a slash, but do not end it with one, such as \"/media/2026\"";
            section.fault(path.span, message, "not an origin path", help.to_owned());
            String::new()
        }
    }
}
/// Whether a text has the form of AWS's region codes: words, then a number (AWS General Reference, "AWS service
/// endpoints").
fn is_aws_region(text: &str) -> bool {
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.rsplit_once('-').is_some_and(|(words, number)| {
        is_number(number) && words.contains('-') && words.split('-').all(is_word)
    })
}

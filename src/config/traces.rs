//! `[traces]`.

use std::path::Path;

use http::Uri;

use super::section::{Placed, Section};
use crate::{
    outbound::Address,
    traces::{Parents, TraceOptions},
};

/// The share of requests that are traced if the configuration does not say it, in percent.
const DEFAULT_RATE: f64 = 1.0;

/// `[traces]`.
pub(super) fn traces(
    root: &Section<'_>,
    has_trusted_proxies: bool,
    directory: &Path,
) -> Option<TraceOptions> {
    let section = root.table("traces")?;
    let help = "add the URL of your collector, such as `endpoint = \"http://127.0.0.1:4318\"`";
    let endpoint = section.required("endpoint", help).and_then(|url| endpoint(&section, &url));
    let rate = section.percent("sampling_rate").unwrap_or(DEFAULT_RATE);
    let parents = section.string("parent").and_then(|text| parents(&section, &text));
    if parents == Some(Parents::TrustedProxies) && !has_trusted_proxies {
        section.doubt(
            "`traces.parent` has no effect: there are no `listen.trusted_proxies`".to_owned(),
        );
    }
    let to_origins = section.boolean("to_origins").is_some_and(|flag| flag.value);
    let service_name = section.string("service_name").map_or("forebay", |name| name.value);
    let file = |key| section.string(key).map(|path| directory.join(path.value));
    let (headers_file, ca_file) = (file("headers_file"), file("ca_file"));
    section.unknown();
    let (address, path) = endpoint?;
    Some(TraceOptions {
        address,
        path,
        headers_file,
        ca_file,
        sampling_ratio: rate / 100.0,
        parents: parents.unwrap_or_default(),
        to_origins,
        service_name: service_name.to_owned(),
    })
}

/// The collector's address, and the path to send spans to.
fn endpoint(section: &Section<'_>, url: &Placed<&str>) -> Option<(Address, String)> {
    let parsed = || {
        let uri: Uri = url.value.parse().ok()?;
        let server = format!("{}://{}", uri.scheme()?, uri.authority()?);
        let address = Address::from_url(&server).ok()?;
        let path = uri.path_and_query().filter(|path| path.as_str() != "/");
        Some((address, path.map_or(TraceOptions::PATH, |path| path.as_str()).to_owned()))
    };
    let endpoint = parsed();
    if endpoint.is_none() {
        // The URL may have a password.
        let message = "`traces.endpoint` is not the URL of a collector";
        let help = "write scheme, host and port, such as \"http://127.0.0.1:4318\"; OTLP over gRPC (port 4317) is not supported".to_owned();
        section.fault(url.span.clone(), message, "expected http:// or https://", help);
    }
    endpoint
}

fn parents(section: &Section<'_>, text: &Placed<&str>) -> Option<Parents> {
    let parents = match text.value {
        "no-one" => Some(Parents::NoOne),
        "trusted-proxies" => Some(Parents::TrustedProxies),
        "anyone" => Some(Parents::Anyone),
        _ => None,
    };
    if parents.is_none() {
        let message = format!("`traces.parent` cannot be `{}`", text.value);
        let label = "expected no-one, trusted-proxies or anyone";
        section.fault(text.span.clone(), message, label, None);
    }
    parents
}

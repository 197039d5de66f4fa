//! Hints in the log about settings that a first request often lacks.

use std::{net::IpAddr, sync::Arc};

use super::{
    admission::signed_request,
    incoming::IncomingRequest,
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::{access::signed::SignatureError, http::authority::host};

/// Most sites for which a refused signature is verified again.
const SITES: usize = 8;

/// Logs the hint that helps with a rejection, if there is one that the distribution has not logged before.
pub(crate) fn log_hint(
    rejection: Rejection,
    rules: &Rules,
    distribution: &Arc<Distribution>,
    incoming: &IncomingRequest,
) {
    let hints = &distribution.hints;
    match rejection {
        Rejection::NoRootObject if hints.take_root() => {
            tracing::warn!(
                distribution = &*distribution.settings.id,
                advice = "set `default_root_object = \"index.html\"` in the distribution",
                "a viewer requested `/`, which names no object, and got 403"
            );
        }
        Rejection::Signed(SignatureError::WrongSignature | SignatureError::OtherResource)
            if hints.may_try_sites(incoming.at) =>
        {
            try_sites(rules, distribution, incoming);
        }
        _ => {}
    }
}

/// Logs a hint if the request is for an address of this machine: viewers sign for a name.
fn unforwarded_host(distribution: &Distribution, authority: &str) {
    let host = host(authority).unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if is_local && distribution.hints.take_site() {
        tracing::warn!(
            distribution = &*distribution.settings.id,
            received_for = authority,
            advice = "if a proxy is in front of Forebay, make it forward the viewer's Host header; otherwise another URL was signed",
            "a signature was refused, and the request's Host is this machine"
        );
    }
}

/// Logs a hint if the signature is right for another scheme or host.
fn try_sites(rules: &Rules, distribution: &Arc<Distribution>, incoming: &IncomingRequest) {
    let Ok((_, behavior)) = distribution.route(incoming.request.uri.path()) else { return };
    let Some(trusted) = &behavior.trusted else { return };
    let request = signed_request(distribution, behavior, incoming);
    let mut sites = rules.sites(distribution, request.authority);
    sites.truncate(SITES);
    let Some((scheme, host)) = trusted.signed_for(&request, &sites) else {
        return unforwarded_host(distribution, request.authority);
    };
    if !distribution.hints.take_site() {
        return;
    }
    let is_configured = distribution.settings.public_scheme.as_deref() == Some(request.scheme);
    let advice = if scheme == request.scheme {
        "make the proxy in front of Forebay forward the viewer's Host header".to_owned()
    } else if is_configured {
        format!("sign URLs for {}://, the distribution's `public_scheme`", request.scheme)
    } else {
        format!(
            "sign URLs for {}://, or, if a load balancer in front terminates TLS, set `public_scheme = \"{scheme}\"` in the distribution",
            request.scheme
        )
    };
    tracing::warn!(
        distribution = &*distribution.settings.id,
        signed_for = format!("{scheme}://{host}"),
        received_for = format!("{}://{}", request.scheme, request.authority),
        advice,
        "a signature was refused because it is for another scheme or host"
    );
}

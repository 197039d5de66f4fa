//! Hints in the log about settings that a first request often lacks.

use std::sync::Arc;

use super::{
    admission::signed_request,
    incoming::IncomingRequest,
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::access::signed::SignatureError;

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

/// Logs a hint if the signature is right for another scheme or host.
fn try_sites(rules: &Rules, distribution: &Arc<Distribution>, incoming: &IncomingRequest) {
    let Ok((_, behavior)) = distribution.route(incoming.request.uri.path()) else { return };
    let Some(trusted) = &behavior.trusted else { return };
    let request = signed_request(distribution, behavior, incoming);
    let mut sites = rules.sites(distribution, request.authority);
    sites.truncate(SITES);
    let Some((scheme, host)) = trusted.signed_for(&request, &sites) else { return };
    if !distribution.hints.take_site() {
        return;
    }
    let advice = if scheme == request.scheme {
        "make the proxy in front of Forebay pass the viewer's Host header on".to_owned()
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

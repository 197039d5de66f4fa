//! Restrictions: access rules of a distribution and a behavior that apply to every object.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    incoming::IncomingRequest,
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::{behavior::Behavior, proxy::response::identity::is_looping};

/// Rejects requests that the distribution does not serve.
pub(crate) fn restrict(
    rules: &Rules,
    distribution: &Arc<Distribution>,
    incoming: &IncomingRequest,
) -> Result<(), Rejection> {
    let address = incoming.viewer.address;
    if is_looping(&incoming.request.headers) {
        return Err(Rejection::Loop);
    }
    // A handshake for another host may have negotiated weaker TLS than this one allows.
    let security = incoming.connection.security;
    if security.is_some_and(|security| security < distribution.settings.security) {
        return Err(Rejection::UnknownHost);
    }
    if !distribution.settings.addresses.admit(address) {
        return Err(Rejection::Address);
    }
    if let Some(countries) = &distribution.settings.countries {
        let country = rules.geography.as_ref().and_then(|database| database.country(address));
        if country.is_some_and(|country| !countries.admit(country)) {
            return Err(Rejection::Country);
        }
    }
    match &distribution.limits {
        Some(limits) if incoming.counts => limits.admit(address).map_err(Rejection::too_many),
        _ => Ok(()),
    }
}

/// Rejects requests whose `Referer` the behavior does not allow.
pub(crate) fn check_referer(
    behavior: &Behavior,
    incoming: &IncomingRequest,
) -> Result<(), Rejection> {
    let Some(referers) = &behavior.referers else { return Ok(()) };
    let referer = incoming.request.headers.get(header::REFERER).map(HeaderValue::as_bytes);
    if referers.admit(referer) { Ok(()) } else { Err(Rejection::Referer) }
}

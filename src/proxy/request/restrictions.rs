//! Restrictions: whom a distribution does not serve, whatever is asked for.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    incoming::IncomingRequest,
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::{behavior::Behavior, proxy::response::identity::is_looping};

/// Refuses whom the distribution does not serve.
pub(crate) fn restrict(
    rules: &Rules,
    distribution: &Arc<Distribution>,
    incoming: &IncomingRequest,
) -> Result<(), Rejection> {
    let address = incoming.viewer.address;
    if is_looping(&incoming.request.headers) {
        return Err(Rejection::Loop);
    }
    // Who asked for another host in the handshake may have got weaker TLS than this one allows.
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

/// Refuses requests from pages of sites that may not show what the behavior serves.
pub(crate) fn check_referer(
    behavior: &Behavior,
    incoming: &IncomingRequest,
) -> Result<(), Rejection> {
    let Some(referers) = &behavior.referers else { return Ok(()) };
    let referer = incoming.request.headers.get(header::REFERER).map(HeaderValue::as_bytes);
    if referers.admit(referer) { Ok(()) } else { Err(Rejection::Referer) }
}

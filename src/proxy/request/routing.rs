//! The active rules: the distributions, their hosts and their settings.

use std::sync::Arc;

use http::{request::Parts, uri::Authority};

use super::staging::{Side, Staging};
pub use super::{
    distribution::{Distribution, Settings},
    hosts::Hosts,
};
use crate::{
    access::restrict::{Geography, Networks},
    http::authority::{authority, host},
};

/// An immutable set of rules. A request keeps the set it started with.
#[derive(Debug, Default)]
pub struct Rules {
    /// Distributions by host.
    pub hosts: Hosts,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
    pub trusted_proxies: Networks,
    /// The geolocation database.
    pub geography: Option<Arc<Geography>>,
    /// The port of HTTPS, unless it is off or on its default port.
    pub https_port: Option<u16>,
    /// The configuration that serves a part of the requests instead, if there is one.
    pub staging: Option<Staging>,
    /// Whether any distribution sends its origins the edge's headers that describe the viewer.
    describes_viewers: bool,
}

impl Rules {
    /// Rules for these hosts.
    #[must_use]
    pub fn new(
        hosts: Hosts,
        staging: Option<Staging>,
        trusted_proxies: Networks,
        geography: Option<Arc<Geography>>,
    ) -> Self {
        let https_port = None;
        let rules = Self {
            hosts,
            trusted_proxies,
            geography,
            https_port,
            staging,
            describes_viewers: false,
        };
        let describes_viewers = rules.all().any(|distribution| distribution.describes_viewers());
        Self { describes_viewers, ..rules }
    }

    /// The distribution for a host (without port), on one side. One that staging does not have serves all of its requests.
    #[inline]
    pub(crate) fn select(&self, host: &str, side: &Side) -> Option<&Arc<Distribution>> {
        let primary = self.hosts.select(host)?;
        let staged = side.is_staged.then(|| self.staged(&primary.settings.id)).flatten();
        Some(staged.unwrap_or(primary))
    }

    /// All distributions, also those of staging.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Distribution>> {
        self.with_aliases().map(|(distribution, _)| distribution)
    }

    /// All distributions with their aliases, also those of staging.
    pub(crate) fn with_aliases(&self) -> impl Iterator<Item = (&Arc<Distribution>, &[String])> {
        let staged = self.staging.iter().flat_map(|staging| staging.hosts.with_aliases());
        self.hosts.with_aliases().chain(staged)
    }

    /// The distribution with this id, which may be one of staging.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Distribution>> {
        let staged = || self.staging.as_ref().and_then(|staging| staging.hosts.by_id(id));
        self.hosts.by_id(id).or_else(staged)
    }

    /// The distribution that serves a part of the requests to another one instead.
    pub(crate) fn staged(&self, id: &str) -> Option<&Arc<Distribution>> {
        self.staging.as_ref()?.of(id)
    }

    /// The port that an HTTPS URL for the viewer must name. A viewer that used the default port of HTTP reached
    /// Forebay through a proxy or a port mapping, which has the default port of HTTPS, too.
    pub(crate) fn https_port(&self, request: &Parts) -> Option<u16> {
        authority(request)?.parse::<Authority>().ok()?.port_u16()?;
        self.https_port
    }

    /// Schemes and authorities that viewers of a distribution may have used: both schemes, with the request's own
    /// authority and with each alias.
    pub(crate) fn sites(
        &self,
        distribution: &Arc<Distribution>,
        authority: &str,
    ) -> Vec<(&'static str, String)> {
        let aliases = self.with_aliases();
        let own = aliases.filter(|(known, _)| Arc::ptr_eq(known, distribution));
        let names = own.flat_map(|(_, aliases)| aliases).filter(|alias| !alias.contains('*'));
        let without_port = host(authority).filter(|host| *host != authority);
        let hosts = [authority].into_iter().chain(without_port).chain(names.map(String::as_str));
        hosts.flat_map(|host| ["https", "http"].map(|scheme| (scheme, host.to_owned()))).collect()
    }

    /// Whether the request's distribution sends its origins the edge's headers that describe the viewer.
    pub(crate) fn describe_viewers(&self, side: &Side, request: &Parts) -> bool {
        self.describes_viewers
            && authority(request)
                .and_then(host)
                .and_then(|host| self.select(host, side))
                .is_some_and(|distribution| distribution.describes_viewers())
    }
}

//! Distributions by host.

use std::{collections::HashMap, sync::Arc};

use super::distribution::Distribution;

/// Distributions by alias.
#[derive(Debug, Default)]
pub struct Hosts {
    exact: HashMap<String, Arc<Distribution>>,
    /// Wildcard aliases: `*.example.com` is under `example.com`.
    wildcard: HashMap<String, Arc<Distribution>>,
    any: Option<Arc<Distribution>>,
    all: Vec<Arc<Distribution>>,
    /// The aliases of each distribution in `all`.
    aliases: Vec<Vec<String>>,
}

impl Hosts {
    /// Adds a distribution under its aliases: host names, `*.` and a host name, or `*`.
    pub fn add(&mut self, distribution: &Arc<Distribution>, aliases: &[String]) {
        for alias in aliases {
            let alias = alias.to_ascii_lowercase();
            match alias.strip_prefix("*.") {
                _ if alias == "*" => self.any = Some(Arc::clone(distribution)),
                Some(domain) => {
                    self.wildcard.insert(domain.to_owned(), Arc::clone(distribution));
                }
                None => {
                    self.exact.insert(alias, Arc::clone(distribution));
                }
            }
        }
        self.all.push(Arc::clone(distribution));
        self.aliases.push(aliases.to_vec());
    }

    /// All distributions with their aliases, in the order of the configuration.
    pub fn with_aliases(&self) -> impl Iterator<Item = (&Arc<Distribution>, &[String])> {
        self.all.iter().zip(self.aliases.iter().map(Vec::as_slice))
    }

    /// The distribution for a host (without port): an exact alias before a wildcard before `*`.
    #[must_use]
    pub fn select(&self, host: &str) -> Option<&Arc<Distribution>> {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return self.any.as_ref();
        }
        let lowered;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lowered = host.to_ascii_lowercase();
            lowered.as_str()
        } else {
            host
        };
        let wildcard = || {
            let domains = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
            domains.into_iter().find_map(|domain| self.wildcard.get(domain))
        };
        self.exact.get(host).or_else(wildcard).or(self.any.as_ref())
    }

    /// The distribution with this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<Distribution>> {
        self.all.iter().find(|distribution| &*distribution.settings.id == id)
    }

    /// All distributions, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[Arc<Distribution>] {
        &self.all
    }
}

//! The rules in force: which distribution answers for a host, and how.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderValue, request::Parts};

use crate::{
    behavior::{Behavior, Behaviors},
    key::{CanonicalPath, PathError},
    metrics::{DistributionMetrics, ResultType},
    origin::Origin,
};

/// One immutable set of rules; a request holds on to the set it began with.
#[derive(Debug, Default)]
pub struct Rules {
    /// Distributions by the hosts they answer for.
    pub hosts: Hosts,
}

/// One distribution, ready to serve.
#[derive(Debug)]
pub struct Distribution {
    /// Its id: the beginning of its cache keys, and its name in logs and metrics.
    pub id: Arc<str>,
    /// What `/` stands for, without a leading slash.
    pub default_root_object: Option<String>,
    /// `http` or `https`, where viewers see another scheme than their connections to here tell.
    pub public_scheme: Option<String>,
    /// What applies to which path.
    pub behaviors: Behaviors,
    /// Origins, in the order that behaviors count them.
    pub origins: Vec<Arc<Origin>>,
    /// Counters.
    pub metrics: DistributionMetrics,
    /// `X-Cache` by result type.
    x_cache: [HeaderValue; ResultType::ALL.len()],
}

impl Distribution {
    /// A distribution whose `X-Cache` says `Hit from {suffix}`.
    ///
    /// # Errors
    /// When the suffix cannot stand in a field.
    pub fn new(
        id: &str,
        default_root_object: Option<String>,
        behaviors: Behaviors,
        origins: Vec<Arc<Origin>>,
        metrics: DistributionMetrics,
        suffix: &str,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut x_cache = ResultType::ALL.map(|_| HeaderValue::from_static(""));
        for (value, result) in x_cache.iter_mut().zip(ResultType::ALL) {
            *value = HeaderValue::try_from(format!("{} from {suffix}", result.name()))?;
        }
        Ok(Self {
            id: id.into(),
            default_root_object,
            public_scheme: None,
            behaviors,
            origins,
            metrics,
            x_cache,
        })
    }

    /// The behavior for a request, where its path is one.
    #[must_use]
    pub fn behavior(&self, request: &Parts) -> Option<&Arc<Behavior>> {
        let path = self.path(request).ok()?;
        Some(self.behaviors.select(path.as_str()))
    }

    /// The path that a request is about: that of the default root object, where it is the root.
    pub(super) fn path<'a>(&self, request: &'a Parts) -> Result<CanonicalPath<'a>, PathError> {
        let path = CanonicalPath::parse(request.uri.path())?;
        match &self.default_root_object {
            Some(object) if path.is_root() => Ok(CanonicalPath::root_object(object)),
            _ => Ok(path),
        }
    }

    /// The value of `X-Cache`.
    #[must_use]
    pub fn x_cache(&self, result: ResultType) -> HeaderValue {
        self.x_cache[result as usize].clone()
    }
}

/// Distributions by alias.
#[derive(Debug, Default)]
pub struct Hosts {
    exact: HashMap<String, Arc<Distribution>>,
    /// `*.example.com`, by `example.com`.
    wildcard: HashMap<String, Arc<Distribution>>,
    any: Option<Arc<Distribution>>,
    all: Vec<Arc<Distribution>>,
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

    /// The distribution of this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<Distribution>> {
        self.all.iter().find(|distribution| &*distribution.id == id)
    }

    /// All distributions, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[Arc<Distribution>] {
        &self.all
    }
}

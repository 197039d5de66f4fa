//! A distribution: its settings, its origins and the routes of its requests.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderValue;

use super::{custom_error::ErrorPage, hints::Hints};
use crate::{
    access::restrict::{Addresses, Countries, RateLimits},
    base::metrics::Served,
    behavior::{Behavior, Behaviors, SecurityPolicy},
    cache::key::{CanonicalPath, PathError, PathForm, PlainPath},
    origin::Group,
    proxy::response::identity::Identity,
};

/// How the id of a distribution ends that serves a part of the requests to another one.
pub(crate) const STAGED: &str = "-staging";

/// The id of the distribution that serves a part of the requests to another one instead.
pub(crate) fn staged_id(id: &str) -> String {
    format!("{id}{STAGED}")
}

/// The configuration of a distribution.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The prefix of its cache keys, and its name in logs and metrics.
    pub id: Arc<str>,
    /// The CloudFront distribution in which invalidations are also created.
    pub fan_out: Option<String>,
    /// The object served for `/`, without a leading slash.
    pub default_root_object: Option<String>,
    /// The object appended to every path with a trailing slash, without a leading slash.
    pub index_document: Option<String>,
    /// `http` or `https`, if the scheme that viewers see differs from that of their connections to Forebay.
    pub public_scheme: Option<String>,
    /// The headers that identify the server in its responses.
    pub identity: Identity,
    /// Custom error pages.
    pub error_pages: Vec<ErrorPage>,
    /// The client addresses that it serves.
    pub addresses: Addresses,
    /// The countries that it serves.
    pub countries: Option<Countries>,
    /// The TLS security policy for viewers.
    pub security: SecurityPolicy,
    /// What viewers over TCP learn about HTTP/3, if there is any.
    pub alt_svc: Option<HeaderValue>,
    /// The cache behaviors by path pattern.
    pub behaviors: Behaviors,
}

/// One distribution, ready to serve.
#[derive(Debug)]
pub struct Distribution {
    /// Its configuration.
    pub settings: Settings,
    /// Origins and origin groups, indexed by the behaviors.
    pub origins: Vec<Arc<Group>>,
    /// Rate limits.
    pub limits: Option<Arc<RateLimits>>,
    /// Counters.
    pub metrics: Arc<Served>,
    /// Hints to the operator.
    pub(crate) hints: Hints,
    /// A number unique among all distributions, across reloads.
    pub(crate) serial: u64,
    /// A part of the keys of what it stores, if it is one of staging.
    pub(crate) generation: Option<HeaderValue>,
}

impl Distribution {
    /// Creates a distribution.
    #[must_use]
    pub fn new(
        settings: Settings,
        origins: Vec<Arc<Group>>,
        limits: Option<Arc<RateLimits>>,
        metrics: Arc<Served>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let hints = Hints::default();
        Self { settings, origins, limits, metrics, hints, serial, generation: None }
    }

    /// The same distribution of a staging configuration, which finds only what this generation of it stored.
    #[must_use]
    pub fn of_generation(self, generation: Option<u64>) -> Self {
        Self { generation: generation.map(HeaderValue::from), ..self }
    }

    /// Whether its origins get header fields in which the edge describes the viewer.
    pub(super) fn describes_viewers(&self) -> bool {
        self.settings.behaviors.all().any(|behavior| {
            behavior.forward.headers.describe_viewers()
                || behavior.rules.as_ref().is_some_and(|rules| rules.reads_descriptions())
        })
    }

    /// Whether stored responses have cache tags.
    #[must_use]
    pub fn reads_tags(&self) -> bool {
        let mut origins = self.origins.iter().flat_map(|group| group.members());
        origins.any(|origin| origin.options().cache_tag_header.is_some())
    }

    /// Whether responses for a path can be stored, by its own behavior or by one whose rules may rewrite to it.
    #[must_use]
    pub fn stores(&self, path: &str) -> bool {
        let is_caching = |behavior: &Behavior| !behavior.cache_policy.caching.ttl.is_disabled();
        let rewrites =
            |behavior: &Behavior| behavior.rules.as_ref().is_some_and(|rules| rules.has_rewrites());
        let mut others = self.settings.behaviors.all();
        is_caching(self.settings.behaviors.select(path))
            || others.any(|behavior| is_caching(behavior) && rewrites(behavior))
    }

    /// Resolves the path of a request and selects its behavior.
    ///
    /// # Errors
    /// If the path is invalid, or an origin could read it as a path of another behavior.
    pub fn route<'a>(
        &self,
        raw: &'a str,
    ) -> Result<(CanonicalPath<'a>, &Arc<Behavior>), PathError> {
        let behaviors = &self.settings.behaviors;
        if let Some(plain) = PlainPath::of(raw) {
            let in_form = |form| self.with_index(CanonicalPath::of_plain(plain, form));
            // Patterns match decoded text, and a key is decoded.
            let key = in_form(PathForm::Key);
            let behavior = behaviors.select(key.as_str());
            return match behavior.path_form {
                PathForm::Key => Ok((key, behavior)),
                PathForm::Uri => Ok((in_form(PathForm::Uri), behavior)),
            };
        }
        let resolve = |form| CanonicalPath::resolve(raw, form).map(|path| self.with_index(path));
        let (key, uri) = (resolve(PathForm::Key), resolve(PathForm::Uri));
        // A path that is valid in one form only can still belong to a behavior of that form.
        let (for_keys, for_uris) = match (&key, &uri) {
            (Ok(key), Ok(uri)) => (key, uri),
            (Ok(only), Err(_)) | (Err(_), Ok(only)) => (only, only),
            (Err(error), Err(_)) => return Err(*error),
        };
        let behavior = behaviors.select_spelled(&for_keys.for_patterns(), &for_uris.for_patterns());
        let path = match behavior.path_form {
            PathForm::Key => key?,
            PathForm::Uri => uri?,
        };
        if !Arc::ptr_eq(behaviors.select(&path.generous()), behavior) {
            return Err(PathError::Ambiguous);
        }
        Ok((path, behavior))
    }

    /// Whether a path that a rule of `behavior` has made belongs to another behavior.
    pub(crate) fn is_of_another(&self, behavior: &Arc<Behavior>, path: &CanonicalPath<'_>) -> bool {
        self.readings(path).iter().any(|selected| !Arc::ptr_eq(selected, behavior))
    }

    /// Whether a path that a rule of `behavior` has made belongs to another behavior, which is protected.
    pub(crate) fn protects_from(&self, behavior: &Arc<Behavior>, path: &CanonicalPath<'_>) -> bool {
        let mut readings = self.readings(path).into_iter();
        readings.any(|selected| !Arc::ptr_eq(selected, behavior) && selected.is_protected())
    }

    /// The behaviors that a path may belong to, as it is written and as the most generous origin reads it.
    fn readings(&self, path: &CanonicalPath<'_>) -> [&Arc<Behavior>; 2] {
        [path.for_patterns(), path.generous()].map(|text| self.settings.behaviors.select(&text))
    }

    /// The generous readings of a path, which purges compare: one for each path form that the distribution's behaviors use, and
    /// that of the index document if the path is a folder. With `is_exact`, also those of the paths that rules rewrite it to.
    ///
    /// # Errors
    /// If none of its origins could serve the path.
    pub fn purge_paths(&self, raw: &str, is_exact: bool) -> Result<Vec<String>, PathError> {
        let mut paths: Vec<String> = Vec::new();
        let mut refused = None;
        for behavior in self.settings.behaviors.all() {
            let path = match CanonicalPath::resolve(raw, behavior.path_form) {
                Ok(path) => path,
                Err(error) => {
                    refused = Some(error);
                    continue;
                }
            };
            // A folder's URL also means its index document.
            let indexed = self.with_index(path.clone());
            let is_own = |path: &CanonicalPath<'_>| {
                self.readings(path).iter().any(|selected| Arc::ptr_eq(selected, behavior))
            };
            let rules = behavior.rules.as_ref().filter(|_| is_exact);
            let rules = rules.filter(|_| is_own(&path) || is_own(&indexed));
            let rewritten =
                rules.map(|rules| rules.rewritten(&path.for_patterns(), behavior.path_form));
            let rewritten = rewritten.into_iter().flatten().filter_map(|url| {
                let path = CanonicalPath::resolve(&url, behavior.path_form).ok()?;
                Some(self.with_index(path).generous().into_owned())
            });
            let own = [path.generous(), indexed.generous()].map(Cow::into_owned);
            for path in own.into_iter().chain(rewritten) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        refused.filter(|_| paths.is_empty()).map_or(Ok(paths), Err)
    }

    /// The path of the index document, if `path` is a folder and an index document is configured.
    pub(crate) fn with_index<'a>(&self, path: CanonicalPath<'a>) -> CanonicalPath<'a> {
        let Settings { default_root_object, index_document, .. } = &self.settings;
        let root = default_root_object.as_ref().filter(|_| path.is_root());
        let index = index_document.as_ref().filter(|_| path.as_str().ends_with('/'));
        match root.or(index) {
            Some(object) => path.append(object),
            None => path,
        }
    }
}

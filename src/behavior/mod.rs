//! Cache behaviors: the settings for a path pattern, in CloudFront's words.

mod cache_policy;
mod origin_request_policy;
mod pattern;
mod referers;
mod request_rules;
mod response_headers_policy;
mod security_policy;

use std::sync::Arc;

pub use cache_policy::CachePolicy;
pub(crate) use cache_policy::MANAGED_CACHE_POLICIES;
use http::Method;
pub(crate) use origin_request_policy::{
    ABOUT_VIEWERS, MANAGED_ORIGIN_REQUEST_POLICIES, managed_origin_request_policy,
};
pub(crate) use pattern::PathPattern;
pub(crate) use referers::Referers;
pub(crate) use request_rules::{
    Action, BasicAuth, Conditions, HeaderChanges, PathCondition, Redirect, RedirectList, Redirects,
    RequestRule, RequestRules, RuleAnswer, RuleEnd, RuleFiles, RuleInput, RuleMatches, RuleOutcome,
    Target, TargetError, TrailingSlash,
};

pub(crate) use response_headers_policy::{
    AddedField, Cors, MANAGED_RESPONSE_HEADERS_POLICIES, OriginPattern, ResponseHeadersPolicy,
};
pub(crate) use security_policy::SecurityPolicy;

use crate::{
    access::signed::TrustedKeys,
    cache::key::{ForwardSpec, NameSpec, PathForm},
    http::coding::Codings,
};

/// The settings for requests that match one path pattern.
#[derive(Clone, Debug)]
pub struct Behavior {
    /// The index of the origin in the distribution.
    pub origin: usize,
    /// The form in which the origin identifies objects. A group with a bucket counts as a bucket.
    pub path_form: PathForm,
    /// The contents of the cache key, and for how long responses are fresh.
    pub cache_policy: CachePolicy,
    /// The parts of the viewer's request that origin requests carry: the whole cache key, and perhaps more.
    pub forward: ForwardSpec,
    /// The methods that viewers may use.
    pub allowed_methods: AllowedMethods,
    /// Whether requests are served. Otherwise all of them get 403.
    pub enabled: bool,
    /// Whether the origin's responses to preflights are stored.
    pub cache_preflights: bool,
    /// Codings that objects are compressed with for viewers that accept them.
    pub compress: Codings,
    /// The policy that adds and removes response header fields.
    pub response_headers: Option<Arc<ResponseHeadersPolicy>>,
    /// Whether viewers may use plain HTTP.
    pub viewer_protocol: ViewerProtocol,
    /// Redirects, rewrites and changes of header fields.
    pub(crate) rules: Option<Arc<RequestRules>>,
    /// The sites whose pages may embed the objects.
    pub referers: Option<Referers>,
    /// The keys that requests must be signed with, if signatures are required.
    pub trusted: Option<Arc<TrustedKeys>>,
}

impl Behavior {
    /// Whether any viewer cookies are forwarded to origins. Otherwise the origin's cookies are not sent to viewers
    /// (Amazon CloudFront Developer Guide, "Cache content based on cookies").
    #[must_use]
    pub fn forwards_cookies(&self) -> bool {
        self.forward.cookies != NameSpec::None
    }

    /// Whether only some viewers may read its paths: it is disabled, or needs signatures or passwords.
    pub(crate) fn is_protected(&self) -> bool {
        !self.enabled
            || self.trusted.is_some()
            || self.rules.as_ref().is_some_and(|rules| rules.want_passwords())
    }
}

/// The handling of plain HTTP requests
/// (Amazon CloudFront Developer Guide, "Viewer protocol policy").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewerProtocol {
    /// Requests are served.
    #[default]
    AllowAll,
    /// Requests are refused.
    HttpsOnly,
    /// Requests are redirected to HTTPS.
    RedirectToHttps,
}

impl ViewerProtocol {
    /// CloudFront's names.
    pub const NAMES: [(&str, Self); 3] = [
        ("allow-all", Self::AllowAll),
        ("https-only", Self::HttpsOnly),
        ("redirect-to-https", Self::RedirectToHttps),
    ];
}

/// CloudFront's three sets of allowed methods, and a fourth for any method
/// (Amazon CloudFront Developer Guide, "Allowed HTTP methods").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowedMethods {
    /// GET and HEAD.
    #[default]
    Read,
    /// GET, HEAD and OPTIONS.
    ReadAndOptions,
    /// GET, HEAD, OPTIONS, PUT, PATCH, POST and DELETE.
    All,
    /// Every method except CONNECT and TRACE, which do not act on resources.
    Any,
}

impl AllowedMethods {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const READ_AND_OPTIONS: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
    const ALL: &[Method] = &[
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
        Method::POST,
        Method::DELETE,
    ];

    fn methods(self) -> &'static [Method] {
        match self {
            Self::Read => Self::READ,
            Self::ReadAndOptions => Self::READ_AND_OPTIONS,
            Self::All | Self::Any => Self::ALL,
        }
    }

    /// Whether viewers may use this method.
    #[must_use]
    pub fn allow_method(self, method: &Method) -> bool {
        match self {
            Self::Any => !matches!(*method, Method::CONNECT | Method::TRACE),
            _ => self.methods().contains(method),
        }
    }

    /// Whether viewers may change what the origin has.
    #[must_use]
    pub const fn allow_changes(self) -> bool {
        matches!(self, Self::All | Self::Any)
    }

    /// The set with exactly these methods, in any order.
    #[must_use]
    pub fn from_names(names: &[String]) -> Option<Self> {
        [Self::Read, Self::ReadAndOptions, Self::All].into_iter().find(|set| {
            let methods = set.methods();
            methods.len() == names.len()
                && methods.iter().all(|method| names.iter().any(|name| name == method.as_str()))
        })
    }

    /// The value of an `Allow` field.
    #[must_use]
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::ReadAndOptions => "GET, HEAD, OPTIONS",
            Self::All | Self::Any => "GET, HEAD, OPTIONS, PUT, PATCH, POST, DELETE",
        }
    }
}

/// The name of the default behavior.
const DEFAULT: &str = "default";

/// Ordered path patterns. The first match wins, and the default is last.
#[derive(Clone, Debug)]
pub struct Behaviors {
    /// Patterns and their behaviors, in configuration order.
    pub ordered: Vec<(PathPattern, Arc<Behavior>)>,
    /// The behavior for paths that no pattern matches.
    pub default: Arc<Behavior>,
}

impl Behaviors {
    /// The behavior for a path.
    #[must_use]
    pub fn select(&self, path: &str) -> &Arc<Behavior> {
        self.select_spelled(path, path)
    }

    /// The behavior for a path that is `key` for behaviors with a bucket, and `uri` for the
    /// others.
    #[must_use]
    pub fn select_spelled(&self, key: &str, uri: &str) -> &Arc<Behavior> {
        let matches = |(pattern, behavior): &&(PathPattern, Arc<Behavior>)| {
            pattern.matches(match behavior.path_form {
                PathForm::Key => key,
                PathForm::Uri => uri,
            })
        };
        self.ordered.iter().find(matches).map_or(&self.default, |(_, behavior)| behavior)
    }

    /// The path pattern of a behavior, or `default`.
    #[must_use]
    pub fn name(&self, behavior: &Arc<Behavior>) -> String {
        let mut ordered = self.ordered.iter();
        let own = ordered.find(|(_, known)| Arc::ptr_eq(known, behavior));
        own.map_or_else(|| DEFAULT.to_owned(), |(pattern, _)| pattern.to_string())
    }

    /// The behavior with this name, which [`Self::name`] returns.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Behavior>> {
        let mut ordered = self.ordered.iter();
        match ordered.find(|(pattern, _)| pattern.to_string() == name) {
            Some((_, behavior)) => Some(behavior),
            None => (name == DEFAULT).then_some(&self.default),
        }
    }

    /// The same behaviors with the contents of the files that their rules name.
    pub(crate) fn with_files<F: RuleFiles>(&self, files: &mut F) -> Result<Self, F::Error> {
        let mut all = self.clone();
        for behavior in all.ordered.iter_mut().map(|(_, it)| it).chain([&mut all.default]) {
            if let Some(rules) = behavior.rules.as_ref().filter(|rules| rules.need_files()) {
                let rules = Some(Arc::new(rules.with_files(files, behavior.path_form)?));
                *behavior = Arc::new(Behavior { rules, ..Behavior::clone(behavior) });
            }
        }
        Ok(all)
    }

    /// Every behavior, in order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Behavior>> {
        self.ordered.iter().map(|(_, behavior)| behavior).chain([&self.default])
    }
}

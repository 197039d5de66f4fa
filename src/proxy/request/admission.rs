//! Admission: checks an untrusted request and turns it into an `AdmittedRequest`.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
};

use super::{
    applied_rules::AppliedRules,
    connection::Connection,
    incoming::IncomingRequest,
    not_admitted::NotAdmitted,
    preflight::{self, is_answered_preflight, is_preflight},
    rejection::Rejection,
    restrictions::{check_referer, restrict},
    routing::{Distribution, Rules},
    steps::Steps,
};
use crate::{
    access::signed::SignedRequest,
    behavior::{Behavior, ViewerProtocol},
    cache::{
        key::{CacheKey, CanonicalPath, PathError, PathForm, Projection, without_dot_segments},
        policy::RequestDirectives,
    },
    http::{
        authority::{authority, host, target_length},
        coding::Codings,
        field_table::FieldTrait,
        upgrade,
    },
    origin::{Group, OnInterim, Origin},
    peers::PeerRules,
    proxy::response::identity::RequestId,
    traces::Trace,
};

/// Longest request target in bytes (Amazon CloudFront Developer Guide, "Quotas").
const MAX_TARGET: usize = 8192;

/// Longest request head in bytes (as above).
const MAX_HEAD: usize = 32 << 10;

/// Longest S3 key in bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
const MAX_S3_KEY: usize = 1024;

/// An admitted request: all that the edge may act on.
pub(crate) struct AdmittedRequest<'a> {
    pub(crate) distribution: &'a Arc<Distribution>,
    pub(crate) behavior: &'a Arc<Behavior>,
    pub(crate) method: &'a Method,
    pub(crate) path: CanonicalPath<'a>,
    /// The host without its port.
    pub(crate) host: &'a str,
    pub(crate) projection: Projection<'a>,
    /// The viewer's headers. Conditions and ranges are read from here without a copy.
    pub(crate) fields: &'a HeaderMap,
    pub(crate) request: &'a Parts,
    /// The viewer's address; `None` for an internal request.
    pub(crate) client: Option<IpAddr>,
    /// The id of the viewer's request; `None` for an internal request.
    pub(crate) id: Option<RequestId>,
    /// The viewer's connection; `None` for an internal request.
    pub(crate) connection: Option<&'a Arc<Connection>>,
    /// Its trace, if it is traced.
    pub(crate) trace: Option<&'a Arc<Trace>>,
    /// Whether another node of the cluster admitted it, and wants the response of the origin for its own cache.
    pub(crate) is_of_peer: bool,
    /// What the behavior's rules changed.
    pub(crate) rules: AppliedRules,
}

impl<'a> AdmittedRequest<'a> {
    fn new(
        distribution: &'a Arc<Distribution>,
        behavior: &'a Arc<Behavior>,
        path: CanonicalPath<'a>,
        host: &'a str,
        request: &'a Parts,
        (client, id): (Option<IpAddr>, Option<RequestId>),
        rules: AppliedRules,
    ) -> Self {
        let mut projection = behavior.cache_policy.key.project(request, host);
        if behavior.cache_preflights && is_preflight(request) {
            preflight::add_fields(request, &mut projection.headers);
            projection.preflight = true;
        }
        rules.change_key(distribution, behavior, &mut projection.headers);
        let (method, fields) = (&request.method, &request.headers);
        let (connection, trace, is_of_peer) = (None, None, false);
        Self {
            distribution,
            behavior,
            method,
            path,
            host,
            projection,
            fields,
            request,
            client,
            id,
            connection,
            trace,
            is_of_peer,
            rules,
        }
    }

    /// A request that another node of the cluster admitted. It bypasses access control.
    pub(crate) fn of_peer(
        distribution: &'a Arc<Distribution>,
        request: &'a Parts,
        id: Option<RequestId>,
        rules: Option<&PeerRules>,
    ) -> Option<Self> {
        let host = authority(request).and_then(host)?;
        let raw = request.uri.path();
        let (path, behavior, rules) = match rules {
            Some(rules) => AppliedRules::of_peer(rules, distribution, raw)?,
            None => {
                let (path, behavior) = distribution.route(raw).ok()?;
                (path, behavior, AppliedRules::default())
            }
        };
        let admitted = Self::new(distribution, behavior, path, host, request, (None, id), rules);
        Some(Self { is_of_peer: true, ..admitted })
    }

    /// An internal request for a custom error page. It bypasses access control.
    pub(crate) fn of_page(
        distribution: &'a Arc<Distribution>,
        request: &'a Parts,
        host: &'a str,
    ) -> Option<Self> {
        let (path, behavior) = distribution.route(request.uri.path()).ok()?;
        let page = || {
            let rules = AppliedRules::default();
            Self::new(distribution, behavior, path, host, request, (None, None), rules)
        };
        behavior.enabled.then(page)
    }

    /// The cache key of the resource, shared by all its variants.
    pub(crate) fn key(&self) -> CacheKey {
        CacheKey::new(&self.distribution.settings.id, &self.path, &self.projection)
    }

    /// The part of this request that is forwarded to the origin.
    pub(crate) fn forwarded(&self) -> Projection<'a> {
        let mut projection = self.behavior.forward.project(self.request, self.host);
        if is_preflight(self.request) {
            preflight::add_fields(self.request, &mut projection.headers);
        }
        self.rules.change_request(self.behavior, &mut projection.headers);
        projection
    }

    /// Whether the request is cacheable: a GET, a HEAD, or a preflight if the behavior caches preflights.
    pub(crate) fn is_cacheable(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD) || self.projection.preflight
    }

    /// Whether the origin gets any part of this request that the cache key lacks.
    pub(crate) fn sends_more_than_key(&self) -> bool {
        let is_bucket = self.behavior.path_form == PathForm::Key;
        let (sent, key) = (self.forwarded(), &self.projection);
        let is_sent =
            |name: &HeaderName| !is_bucket || FieldTrait::ToBuckets.applies_to(name.as_str());
        let mut sent_fields = sent.headers.iter().filter(|(name, _)| is_sent(name));
        sent_fields.any(|field| !key.headers.contains(field))
            || (!is_bucket && (sent.query != key.query || sent.cookies != key.cookies))
    }

    /// The header that sends the request's id to a plain origin.
    pub(crate) fn id_field(&self) -> Option<(HeaderName, HeaderValue)> {
        let id = self.id.filter(|_| self.behavior.path_form == PathForm::Uri)?;
        self.distribution.settings.identity.for_origin(&id)
    }

    /// The id of the viewer's request as the access log writes it.
    pub(crate) fn id_text(&self) -> Option<Box<str>> {
        let id = self.id.as_ref()?;
        let id = self.distribution.settings.identity.id(id);
        Some(String::from_utf8_lossy(&id).into())
    }

    /// The protocols that the viewer's connection may change to. CloudFront allows WebSocket everywhere; here, a behavior
    /// must allow all methods: inside the connection, a viewer may do anything.
    pub(crate) fn upgrade(&self) -> Option<HeaderValue> {
        if !self.behavior.allowed_methods.allow_changes() || self.client.is_none() {
            return None;
        }
        let protocols = upgrade::requested(self.request)?;
        self.no_tunnel().is_none().then_some(protocols)
    }

    /// Why the origin gets no request to switch protocols, although the viewer sent one.
    pub(crate) fn ignored_upgrade(&self) -> Option<&'static str> {
        if !self.fields.contains_key(header::UPGRADE) {
            return None;
        }
        if upgrade::requested(self.request).is_none() {
            return Some(
                "only GET and the like over HTTP/1.1 can switch protocols, with `Connection: Upgrade`, and not to HTTP or TLS",
            );
        }
        if !self.behavior.allowed_methods.allow_changes() {
            return Some("the behavior does not allow all methods");
        }
        self.no_tunnel()
    }

    /// Why an origin can have no tunnels.
    fn no_tunnel(&self) -> Option<&'static str> {
        let mut members = self.origin().members();
        members.find_map(|origin| match origin.options().max_tunnels {
            _ if origin.is_s3() => Some("the origin is a bucket"),
            0 => Some("the origin's `max_tunnels` is 0"),
            _ => None,
        })
    }

    /// Lets the viewer, which waits for its response, receive interim responses. Only over HTTP/1.1: hyper sends none over
    /// HTTP/2, and HTTP/1.0 has none.
    pub(crate) fn open_interim(&self) -> Option<OnInterim> {
        let is_http1 = self.version() == Version::HTTP_11;
        let are_sent = self.origin().members().any(|origin| origin.sends_interim_responses());
        let connection = Arc::clone(self.connection.filter(|_| is_http1 && are_sent)?);
        let exchange = connection.exchanges.begun();
        connection.interim.open(exchange);
        Some(OnInterim::new(move |status, fields| {
            connection.interim.push(exchange, status, fields);
        }))
    }

    pub(crate) fn origin(&self) -> &Arc<Group> {
        &self.distribution.origins[self.behavior.origin]
    }

    /// The codings in which the response may be compressed. Another node gets it as it is.
    pub(crate) fn codings(&self) -> Codings {
        if self.is_of_peer { Codings::NONE } else { self.behavior.compress }
    }

    pub(crate) fn version(&self) -> Version {
        self.request.version
    }

    /// The request's cache directives, if the cache policy honors them.
    pub(crate) fn directives(&self) -> RequestDirectives {
        let listens = self.behavior.cache_policy.caching.honor_request && !self.is_of_peer;
        if listens { RequestDirectives::read(self.fields) } else { RequestDirectives::default() }
    }
}

/// The route of a request, before admission.
pub(crate) struct Route<'a> {
    pub(crate) distribution: &'a Arc<Distribution>,
    host: &'a str,
    target: Result<(CanonicalPath<'a>, &'a Arc<Behavior>), PathError>,
}

impl<'a> Route<'a> {
    /// Routes a request by its host, then by its path.
    pub(crate) fn of(rules: &'a Rules, incoming: &'a IncomingRequest) -> Result<Self, Rejection> {
        let request = &incoming.request;
        let host = authority(request).and_then(host).ok_or(Rejection::BadHost)?;
        let distribution = rules.select(host, &incoming.side).ok_or(Rejection::UnknownHost)?;
        let target = distribution.route(request.uri.path());
        Ok(Self { distribution, host, target })
    }

    /// The behavior, if the path is valid.
    pub(crate) fn behavior(&self) -> Option<&'a Arc<Behavior>> {
        self.target.as_ref().ok().map(|(_, behavior)| *behavior)
    }

    /// Admits the request, or returns the reason to reject it.
    pub(crate) fn admit(
        self,
        rules: &Rules,
        incoming: &'a IncomingRequest,
        has_content: bool,
        steps: &Steps,
    ) -> Result<AdmittedRequest<'a>, NotAdmitted> {
        steps.admissions.add();
        let Self { distribution, host, target } = self;
        let request = &incoming.request;
        restrict(rules, distribution, incoming)?;
        if target_length(request) > MAX_TARGET {
            return Err(Rejection::UriTooLong.into());
        }
        if incoming.head_length > MAX_HEAD {
            return Err(Rejection::HeadTooLarge.into());
        }
        let (path, behavior) = target.map_err(Rejection::BadPath)?;
        if !behavior.enabled {
            return Err(Rejection::Disabled.into());
        }
        check_protocol(behavior.viewer_protocol, rules, distribution, incoming)?;
        if is_answered_preflight(behavior, request) {
            return Err(Rejection::Preflight.into());
        }
        let methods = behavior.allowed_methods;
        if !methods.allow_method(&request.method) {
            return Err(Rejection::Method(methods.allow()).into());
        }
        check_referer(behavior, incoming)?;
        if let Some(trusted) = &behavior.trusted {
            steps.signatures.add();
            let request = signed_request(distribution, behavior, incoming);
            trusted.verify(&request).map_err(Rejection::Signed)?;
        }
        // CloudFront answers 403 to a GET with content. A cached response would leave the content unread.
        if matches!(request.method, Method::GET | Method::HEAD) && has_content {
            return Err(Rejection::UnexpectedContent.into());
        }
        let (path, applied) =
            AppliedRules::of(rules, distribution, behavior, host, path, incoming)?;
        for origin in distribution.origins[behavior.origin].members().filter(|o| o.is_s3()) {
            check_object(&path, origin)?;
        }
        let viewer = (Some(incoming.viewer.address), Some(incoming.id));
        let mut admitted =
            AdmittedRequest::new(distribution, behavior, path, host, request, viewer, applied);
        admitted.connection = Some(&incoming.connection);
        Ok(admitted)
    }
}

/// The scheme that the viewer sees.
pub(crate) fn scheme<'a>(distribution: &'a Distribution, incoming: &IncomingRequest) -> &'a str {
    let own = if incoming.viewer.https { "https" } else { "http" };
    distribution.settings.public_scheme.as_deref().unwrap_or(own)
}

/// Checks the viewer protocol. Like CloudFront, redirects GET and HEAD with 301, other methods with 307, and
/// never before HTTP/1.1.
fn check_protocol(
    policy: ViewerProtocol,
    rules: &Rules,
    distribution: &Distribution,
    incoming: &IncomingRequest,
) -> Result<(), Rejection> {
    if policy == ViewerProtocol::AllowAll || scheme(distribution, incoming) == "https" {
        return Ok(());
    }
    let Parts { method, version, .. } = &incoming.request;
    Err(match policy {
        ViewerProtocol::RedirectToHttps if *version >= Version::HTTP_11 => {
            let reading = matches!(*method, Method::GET | Method::HEAD);
            let status = if reading {
                StatusCode::MOVED_PERMANENTLY
            } else {
                StatusCode::TEMPORARY_REDIRECT
            };
            Rejection::RedirectToHttps { status, port: rules.https_port(&incoming.request) }
        }
        _ => Rejection::HttpsOnly,
    })
}

/// The request data that a viewer's signature must cover.
pub(crate) fn signed_request<'a>(
    distribution: &'a Distribution,
    behavior: &Behavior,
    incoming: &'a IncomingRequest,
) -> SignedRequest<'a> {
    let request = &incoming.request;
    SignedRequest {
        scheme: scheme(distribution, incoming),
        authority: authority(request).unwrap_or_default(),
        path: request.uri.path(),
        resolved: without_dot_segments(request.uri.path(), behavior.path_form),
        query: request.uri.query(),
        fields: &request.headers,
        // Behind a load balancer that is not trusted, the visible address is not the viewer's.
        client: (incoming.viewer.is_told(&incoming.connection)
            || distribution.settings.public_scheme.is_none())
        .then_some(incoming.viewer.address),
        now: incoming.at,
    }
}

/// Checks that a request for a bucket names an object. The root would list the bucket, in any spelling that a
/// store may read as the root.
fn check_object(path: &CanonicalPath<'_>, origin: &Origin) -> Result<(), Rejection> {
    if path.generous() == "/" {
        return Err(Rejection::NoRootObject);
    }
    let key = origin.options().origin_path.len() + path.as_bytes().len() - 1;
    if key > MAX_S3_KEY { Err(Rejection::UriTooLong) } else { Ok(()) }
}

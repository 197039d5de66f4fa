//! Origin requests, built from method, canonical path, projection and policy.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};

use super::{
    Origin, OriginRequest, Protocol, Signing, USER_AGENT, object_parameters::signed_query,
};
use crate::{
    base::instance,
    cache::key::CDN_LOOP,
    http::{body::Body, field_table::FieldTrait},
    outbound::Error,
};

impl Origin {
    pub(super) fn message(
        &self,
        request: &OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<Request<Body>, Error> {
        let target = self.target(request);
        let mut fields = request.fields.clone();
        let host = HeaderValue::from_str(&self.options.address.authority);
        fields.insert(header::HOST, host.map_err(http::Error::from)?);
        match &self.options.protocol {
            Protocol::Plain => {
                add_projection(&mut fields, request, |_| true)?;
                add_path(&mut fields)?;
            }
            Protocol::S3 { expected_bucket_owner, request_payer, signing, .. } => {
                if let Some(owner) = expected_bucket_owner {
                    let owner = HeaderValue::from_str(owner).map_err(http::Error::from)?;
                    fields.insert("x-amz-expected-bucket-owner", owner);
                }
                if *request_payer {
                    fields.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
                }
                let viewers_own = *signing == Signing::NoOverride
                    && request.projection.headers.iter().any(|(n, _)| *n == header::AUTHORIZATION);
                // S3 answers preflights without a signature.
                let is_preflight = request.method == Method::OPTIONS;
                if *signing != Signing::Never && !viewers_own && !is_preflight {
                    self.sign(&request.method, &target, &mut fields)?;
                }
                // Not signed: S3 uses them for CORS.
                add_projection(&mut fields, request, |name| {
                    FieldTrait::ToBuckets.applies_to(name.as_str())
                        || (viewers_own && *name == header::AUTHORIZATION)
                })?;
            }
        }
        for (name, value) in &self.options.custom_headers {
            fields.insert(name, value.clone());
        }
        fields.entry(header::USER_AGENT).or_insert(USER_AGENT);
        // RFC 9110 §8.6: a request whose method expects content sends a zero length if it has none. Some servers
        // answer 411 otherwise.
        let expects_content = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
        if body.is_none() && expects_content {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut message = Request::new(body.unwrap_or_else(Body::empty));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = target.parse().map_err(http::Error::from)?;
        *message.headers_mut() = fields;
        Ok(message)
    }

    fn sign(&self, method: &Method, target: &str, fields: &mut HeaderMap) -> Result<(), Error> {
        let keys = self.credentials.current().ok_or_else(|| {
            if self.credentials.is_loading() {
                Error::CredentialsPending
            } else {
                Error::NoCredentials
            }
        })?;
        self.signer.sign(&keys, self.clock.now(), method, target, fields)?;
        Ok(())
    }

    /// Path and query as they are both sent and signed.
    pub(super) fn target(&self, request: &OriginRequest<'_>) -> String {
        let mut target = self.options.address.base_path.clone();
        target.push_str(&self.options.origin_path);
        if self.is_s3() {
            request.path.encode_for_bucket(&mut target);
        } else {
            request.path.encode_for_server(&mut target);
        }
        let query = request.projection.query.as_deref();
        // All S3 subresources (?acl, ?uploads, …) are query parameters. A bucket receives only those of objects.
        let query = match self.options.protocol {
            Protocol::Plain => query.map(Cow::Borrowed),
            Protocol::S3 { .. } => {
                query.map(signed_query).filter(|q| !q.is_empty()).map(Cow::Owned)
            }
        };
        if let Some(query) = query {
            target.push('?');
            target.push_str(&query);
        }
        target
    }
}

/// Adds the viewer's fields that the policies forward to the origin, if `may_see` allows them.
fn add_projection(
    fields: &mut HeaderMap,
    request: &OriginRequest<'_>,
    may_see: impl Fn(&HeaderName) -> bool,
) -> Result<(), Error> {
    let projection = request.projection;
    for (name, value) in projection.headers.iter().filter(|(name, _)| may_see(name)) {
        if *name == header::HOST {
            fields.insert(name, value.clone());
        } else if !request.fields.contains_key(name) {
            fields.append(name, value.clone());
        }
    }
    if let Some(cookies) = projection.cookies.as_ref().filter(|_| may_see(&header::COOKIE)) {
        let value = HeaderValue::from_bytes(cookies).map_err(http::Error::from)?;
        fields.insert(header::COOKIE, value);
    }
    Ok(())
}

/// Adds the fields that a gateway must send with each forwarded request: `Via` (RFC 9110 §7.6.3) and, after
/// the tokens of other networks, `CDN-Loop` (RFC 8586 §2).
fn add_path(fields: &mut HeaderMap) -> Result<(), Error> {
    let via = HeaderValue::try_from(format!("1.1 {}", instance::pseudonym()));
    fields.insert(header::VIA, via.map_err(http::Error::from)?);
    let token = HeaderValue::from_str(instance::pseudonym()).map_err(http::Error::from)?;
    fields.append(CDN_LOOP, token);
    Ok(())
}

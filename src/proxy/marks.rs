//! The headers that every response gets.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Version, header};

use super::{
    prepared::PlainHit,
    request::{
        headers_policy::{HeadersPolicy, ResponseInfo},
        routing::Distribution,
    },
    response::{head_sink::HeadSink, proxy_response::StoredHead},
};
use crate::http::cache_status::Report;

/// The headers of every response, except the request id.
pub(super) struct Marks<'a> {
    pub(super) headers_policy: Option<&'a HeadersPolicy>,
    /// The cookie that keeps the viewer on its side of a staging configuration.
    pub(super) cookie: Option<Box<HeaderValue>>,
    pub(super) info: ResponseInfo<'a>,
    pub(super) report: &'a Report,
    pub(super) version: Version,
}

impl Marks<'_> {
    /// Whether fields of the response are changed or added beyond those of every response.
    pub(super) const fn change_fields(&self) -> bool {
        self.headers_policy.is_some() || self.cookie.is_some()
    }

    /// Applies the policy, then replaces the identity headers with our own.
    pub(super) fn apply(&self, fields: &mut HeaderMap) {
        if let Some(headers_policy) = self.headers_policy {
            headers_policy.apply(fields, &self.info);
        }
        if let Some(cookie) = &self.cookie {
            fields.append(header::SET_COOKIE, HeaderValue::clone(cookie));
        }
        for name in self.info.identity.names() {
            fields.remove(name);
        }
        self.write(fields);
    }

    pub(super) fn write(&self, sink: &mut impl HeadSink) {
        self.info.identity.write(sink, self.info.result, self.report, self.version);
    }

    /// The hit, if its headers are the same for other hits.
    pub(super) fn plain_hit<'b>(
        &self,
        head: &'b StoredHead,
        distribution: Option<&'b Arc<Distribution>>,
    ) -> Option<PlainHit<'b>> {
        if self.cookie.is_some() {
            return None;
        }
        let site = self.headers_policy.map_or(Some(false), HeadersPolicy::is_cross_site)?;
        PlainHit::of(head, self.info.result, *self.report, distribution, self.version, site)
    }
}

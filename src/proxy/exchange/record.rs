//! The record of an exchange, for the access log and the statistics.

use std::time::Duration;

use http::HeaderValue;

use super::{Exchange, identity_of};
use crate::{
    access_log::{Detail, Record},
    proxy::logged::Logged,
};

impl Exchange {
    pub(super) fn record<'a>(&'a self, duration: Duration, id: &'a [u8]) -> Record<'a> {
        let Logged { host, range, referer, user_agent, .. } = &self.logged;
        let authority =
            || self.incoming.request.uri.authority().map(|authority| authority.as_str().as_bytes());
        Record {
            at: self.incoming.at,
            id,
            client: self.incoming.viewer.text(&self.incoming.connection),
            host: host.as_ref().map(HeaderValue::as_bytes).or_else(authority),
            method: &self.incoming.request.method,
            uri: &self.incoming.request.uri,
            version: self.incoming.request.version,
            tls: self.incoming.viewer.https,
            distribution: self.distribution.as_ref().map(|d| &*d.settings.id),
            status: self.status,
            bytes: self.sent,
            complete: self.complete,
            duration,
            first_byte: self.first_byte.unwrap_or(duration),
            result: self.result,
            report: self.report,
            range: range.as_ref(),
            referer: referer.as_ref(),
            user_agent: user_agent.as_ref(),
            detail: self.edge.access_log.is_detailed().then(|| self.detail()),
        }
    }

    fn detail(&self) -> Detail<'_> {
        let shown = self.shown.as_deref();
        let forwarded_for = if self.incoming.is_described {
            &self.incoming.forwarded_for
        } else {
            &self.logged.forwarded_for
        };
        let identity = identity_of(self.distribution.as_deref());
        Detail {
            pop: identity.pop.to_str().ok().filter(|pop| !pop.is_empty()).unwrap_or("-"),
            head_bytes: shown.map_or(0, |shown| shown.bytes),
            request_bytes: self.incoming.head_length as u64,
            port: self
                .incoming
                .connection
                .port
                .filter(|_| self.incoming.viewer.address == self.incoming.connection.client),
            tls: self.incoming.connection.cipher.map(|cipher| (cipher.version, cipher.suite)),
            forwarded_for: forwarded_for.as_ref(),
            content_type: shown.and_then(|shown| shown.content_type.as_ref()),
            content_length: shown.and_then(|shown| shown.content_length),
            range: shown.and_then(|shown| shown.range),
        }
    }
}

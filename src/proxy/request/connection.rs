//! Viewer connections, shared by the requests on them.

use std::{net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::{exchange_tracker::ExchangeTracker, interim::Interim, routing::Distribution};
use crate::behavior::SecurityPolicy;

/// The outcome of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// The protocol version, by its OpenSSL name.
    pub version: &'static str,
    /// The cipher suite, by its OpenSSL name.
    pub suite: &'static str,
    /// Whether the handshake resumed an earlier session.
    pub resumed: bool,
}

/// The connection of a request.
pub struct Connection {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port, if known.
    pub port: Option<u16>,
    /// Whether a trusted proxy sent address and port at the start of the connection.
    pub is_proxied: bool,
    /// The client's address as text, for the log.
    pub(crate) client_text: Box<str>,
    /// The TLS security policy, if the connection is encrypted.
    pub security: Option<SecurityPolicy>,
    /// The outcome of the TLS handshake, if there was one.
    pub cipher: Option<Cipher>,
    /// The state of its exchanges.
    pub exchanges: ExchangeTracker,
    /// Interim responses to be sent.
    pub(crate) interim: Interim,
    /// The distribution of the last request.
    distribution: Mutex<Option<HeldDistribution>>,
}

/// A distribution held by the exchanges of one connection. Each connection has its own reference count,
/// because threads that share a count slow each other down.
#[derive(Clone, Debug)]
#[expect(clippy::redundant_allocation, reason = "it is for the count of its own")]
pub(crate) struct HeldDistribution(Arc<Arc<Distribution>>);

impl std::ops::Deref for HeldDistribution {
    type Target = Arc<Distribution>;

    fn deref(&self) -> &Arc<Distribution> {
        &self.0
    }
}

impl Connection {
    /// A new connection: plain HTTP, or TLS with the default security policy.
    #[must_use]
    pub fn new(client: IpAddr, tls: bool) -> Arc<Self> {
        Self::of(client, None, false, tls.then(|| (SecurityPolicy::default(), None)))
    }

    /// A new connection with its port and its TLS policy.
    #[must_use]
    pub fn of(
        client: IpAddr,
        port: Option<u16>,
        is_proxied: bool,
        tls: Option<(SecurityPolicy, Option<Cipher>)>,
    ) -> Arc<Self> {
        let (security, cipher) =
            (tls.map(|(policy, _)| policy), tls.and_then(|(_, cipher)| cipher));
        let client_text = client.to_string().into();
        Arc::new(Self {
            client,
            port,
            is_proxied,
            client_text,
            security,
            cipher,
            exchanges: ExchangeTracker::default(),
            interim: Interim::default(),
            distribution: Mutex::default(),
        })
    }

    /// Holds `distribution` for an exchange.
    pub(crate) fn hold(&self, distribution: &Arc<Distribution>) -> HeldDistribution {
        let mut last = self.distribution.lock();
        match &*last {
            Some(held) if Arc::ptr_eq(held, distribution) => held.clone(),
            _ => last.insert(HeldDistribution(Arc::new(Arc::clone(distribution)))).clone(),
        }
    }
}

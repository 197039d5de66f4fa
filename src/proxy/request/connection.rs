//! Connections, as requests that came on them know them.

use std::{net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::{exchange_tracker::ExchangeTracker, routing::Distribution};
use crate::behavior::SecurityPolicy;

/// The outcome of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// The protocol version, as OpenSSL names it.
    pub version: &'static str,
    /// The cipher suite, as OpenSSL names it.
    pub suite: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// The connection a request came on.
pub struct Connection {
    /// The address that the connection comes from.
    pub client: IpAddr,
    /// And its port, where it is known.
    pub port: Option<u16>,
    /// Whether a trusted proxy has told them, before everything else.
    pub told: bool,
    /// The same as text, for the log.
    pub(crate) client_text: Box<str>,
    /// The policy by which the connection is encrypted, if it is.
    pub security: Option<SecurityPolicy>,
    /// The outcome of the TLS handshake, if there was one.
    pub cipher: Option<Cipher>,
    /// The state of its exchanges.
    pub exchanges: ExchangeTracker,
    /// The distribution of the last request.
    distribution: Mutex<Option<HeldDistribution>>,
}

/// A distribution as the exchanges of one connection hold it. They count their references with each
/// other, not with all that are served: threads that count together slow each other down.
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
    /// A connection in the clear, or one by the default security policy, on which nothing was asked yet.
    #[must_use]
    pub fn new(client: IpAddr, tls: bool) -> Arc<Self> {
        Self::of(client, None, false, tls.then(|| (SecurityPolicy::default(), None)))
    }

    /// The same, from a port that is known, by a policy of TLS.
    #[must_use]
    pub fn of(
        client: IpAddr,
        port: Option<u16>,
        told: bool,
        tls: Option<(SecurityPolicy, Option<Cipher>)>,
    ) -> Arc<Self> {
        let (security, cipher) =
            (tls.map(|(policy, _)| policy), tls.and_then(|(_, cipher)| cipher));
        let client_text = client.to_string().into();
        Arc::new(Self {
            client,
            port,
            told,
            client_text,
            security,
            cipher,
            exchanges: ExchangeTracker::default(),
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

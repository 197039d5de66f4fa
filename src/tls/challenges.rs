//! The proofs that a certificate authority looks for before it issues a certificate.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

/// The beginning of the path of a proof (RFC 8555 §8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// A proof that this machine serves a host. It answers HTTP-01 and TLS-ALPN-01.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) host: String,
    pub(crate) token: String,
    /// The content at the path that ends with the token (RFC 8555 §8.1).
    pub(crate) key_authorization: String,
    /// The certificate with the digest of that content (RFC 8737 §3).
    pub(crate) certificate: Arc<CertifiedKey>,
}

/// The proofs that an authority may look for now.
#[derive(Debug, Default)]
pub struct Challenges {
    pending: Mutex<Vec<Arc<Challenge>>>,
    /// Whether there are any: requests read this, so that they need not lock.
    is_pending: AtomicBool,
}

/// A proof that is answered until this is dropped.
#[derive(Debug)]
pub(crate) struct PendingChallenge {
    challenges: Arc<Challenges>,
    challenge: Arc<Challenge>,
}

impl Challenges {
    /// Whether an authority may look for a proof.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Relaxed)
    }

    /// Whether an authority may look for a proof at this path.
    pub(crate) fn may_be_at(&self, path: &str) -> bool {
        self.is_pending() && path.starts_with(PATH)
    }

    /// Answers a challenge from now on.
    pub(crate) fn begin(self: &Arc<Self>, challenge: Challenge) -> PendingChallenge {
        let challenge = Arc::new(challenge);
        let mut pending = self.pending.lock();
        pending.push(Arc::clone(&challenge));
        self.is_pending.store(true, Ordering::Relaxed);
        PendingChallenge { challenges: Arc::clone(self), challenge }
    }

    /// The content at a path, if HTTP-01 looks there.
    pub(crate) fn content(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let pending = self.pending.lock();
        let found = pending.iter().find(|challenge| challenge.token == token)?;
        Some(found.key_authorization.clone())
    }

    /// The certificate for a host that TLS-ALPN-01 looks for.
    pub(crate) fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let pending = self.pending.lock();
        let found = pending.iter().find(|challenge| challenge.host == host)?;
        Some(Arc::clone(&found.certificate))
    }
}

impl Drop for PendingChallenge {
    fn drop(&mut self) {
        let mut pending = self.challenges.pending.lock();
        pending.retain(|challenge| !Arc::ptr_eq(challenge, &self.challenge));
        self.challenges.is_pending.store(!pending.is_empty(), Ordering::Relaxed);
    }
}

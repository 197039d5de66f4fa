//! Signatures that were found valid, so that a repeated one costs a digest and no public-key operation.
//!
//! Each thread remembers its own: threads that serve the same viewers do not wait for each other. The digest
//! covers everything that the verification depends on. What a policy says about time, address and resource is
//! judged on every request. An invalid signature is never remembered.

use std::{cell::RefCell, rc::Rc};

use sha2::{Digest as _, Sha256};

use super::policy::Policy;

/// Signatures that a thread remembers. A further one replaces the one in its slot.
const SLOTS: usize = 4096;

/// The digest of a key, a signature and what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignatureDigest([u8; 32]);

impl SignatureDigest {
    fn slot(&self) -> usize {
        let [first, second, ..] = self.0;
        usize::from(u16::from_le_bytes([first, second])) % SLOTS
    }
}

/// Makes a [`SignatureDigest`] of parts, including their boundaries.
#[derive(Default)]
pub(super) struct Digester(Sha256);

impl Digester {
    pub(super) fn part(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub(super) fn digest(self) -> SignatureDigest {
        SignatureDigest(self.0.finalize().into())
    }
}

struct Verified {
    digest: SignatureDigest,
    /// The custom policy, if there is one.
    policy: Option<Rc<Policy>>,
}

thread_local! {
    static VERIFIED: RefCell<Vec<Option<Verified>>> = const { RefCell::new(Vec::new()) };
}

/// Returns the policy that belongs to a signature; calls `verify` unless it is remembered.
///
/// # Errors
/// Those of `verify`.
pub(super) fn remember<E>(
    digest: SignatureDigest,
    verify: impl FnOnce() -> Result<Option<Policy>, E>,
) -> Result<Option<Rc<Policy>>, E> {
    let known = VERIFIED.with_borrow(|slots| {
        let verified = slots.get(digest.slot())?.as_ref()?;
        (verified.digest == digest).then(|| verified.policy.clone())
    });
    if let Some(policy) = known {
        return Ok(policy);
    }
    let policy = verify()?.map(Rc::new);
    VERIFIED.with_borrow_mut(|slots| {
        slots.resize_with(SLOTS, || None);
        slots[digest.slot()] = Some(Verified { digest, policy: policy.clone() });
    });
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> SignatureDigest {
        let add = |digester: Digester, part: &&str| digester.part(part.as_bytes());
        parts.iter().fold(Digester::default(), add).digest()
    }

    #[test]
    fn only_valid_signatures_are_remembered() {
        assert_eq!(remember(of(&["valid"]), || Err("wrong")), Err("wrong"));
        assert_eq!(remember(of(&["valid"]), || Ok::<_, &str>(None)), Ok(None));
        assert_eq!(remember(of(&["valid"]), || Err("not called")), Ok(None));
        assert_eq!(remember(of(&["other"]), || Err("wrong")), Err("wrong"));
    }

    #[test]
    fn the_boundaries_of_parts_are_covered() {
        assert_ne!(of(&["a", "bc"]), of(&["ab", "c"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        assert_eq!(of(&["a", "bc"]), of(&["a", "bc"]));
    }
}

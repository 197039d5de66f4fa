//! Remembers valid signatures, so that a repeated one needs no public-key operation.
//!
//! Each thread has its own memory, so threads that serve the same viewers do not wait for each other. A lookup compares
//! all inputs to the verification, byte by byte. The policy's time, address and resource are checked on every request.
//! An invalid signature is never remembered.

use std::{cell::RefCell, rc::Rc};

use super::policy::Policy;

/// Number of signatures that a thread remembers, a power of two. A new one replaces the one in its slot.
const SLOTS: usize = 4096;

/// Maximum bytes of evidence that a thread remembers. Beyond that, it forgets everything.
const MAX_BYTES: usize = 4 << 20;

/// All inputs to a signature's verification: the key, the signature and the signed text.
pub(super) struct Evidence {
    /// The parts, each prefixed with its length.
    bytes: Vec<u8>,
    slot: usize,
}

impl Evidence {
    pub(super) fn new<'a>(
        signature: &'a str,
        keys: u64,
        hash: u8,
        parts: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut bytes = Vec::with_capacity(signature.len() + 128);
        bytes.extend_from_slice(&keys.to_le_bytes());
        bytes.push(hash);
        for part in [signature].into_iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self { bytes, slot: slot_of(signature) }
    }
}

/// The slot of a signature. Its last characters are as good as random. The first ones are not, because ECDSA
/// signatures begin with a DER header.
fn slot_of(signature: &str) -> usize {
    let last = signature.as_bytes().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = last.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SLOTS.ilog2());
    usize::try_from(mixed).unwrap_or(0)
}

struct Verified {
    evidence: Box<[u8]>,
    /// The custom policy, if any.
    policy: Option<Rc<Policy>>,
}

#[derive(Default)]
struct Memory {
    slots: Vec<Option<Verified>>,
    bytes: usize,
}

impl Memory {
    fn find(&self, evidence: &Evidence) -> Option<&Verified> {
        let verified = self.slots.get(evidence.slot)?.as_ref()?;
        (*verified.evidence == *evidence.bytes).then_some(verified)
    }

    fn insert(&mut self, evidence: Evidence, policy: Option<Rc<Policy>>) {
        if self.bytes + evidence.bytes.len() > MAX_BYTES {
            *self = Self::default();
        }
        self.slots.resize_with(SLOTS, || None);
        self.bytes += evidence.bytes.len();
        let verified = Verified { evidence: evidence.bytes.into_boxed_slice(), policy };
        if let Some(replaced) = self.slots[evidence.slot].replace(verified) {
            self.bytes -= replaced.evidence.len();
        }
    }
}

thread_local! {
    static VERIFIED: RefCell<Memory> = const { RefCell::new(Memory { slots: Vec::new(), bytes: 0 }) };
}

/// Returns the policy of a signature. Calls `verify` unless the signature is remembered.
///
/// # Errors
/// The errors of `verify`.
pub(super) fn remember<E>(
    evidence: Evidence,
    verify: impl FnOnce() -> Result<Option<Policy>, E>,
) -> Result<Option<Rc<Policy>>, E> {
    let policy_of = |verified: &Verified| verified.policy.clone();
    if let Some(policy) = VERIFIED.with_borrow(|memory| memory.find(&evidence).map(policy_of)) {
        return Ok(policy);
    }
    let policy = verify()?.map(Rc::new);
    VERIFIED.with_borrow_mut(|memory| memory.insert(evidence, policy.clone()));
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(signature: &str, parts: &[&str]) -> Evidence {
        Evidence::new(signature, 1, 0, parts.iter().copied())
    }

    #[test]
    fn only_valid_signatures_are_remembered() {
        assert_eq!(remember(of("signature-1", &["valid"]), || Err("wrong")), Err("wrong"));
        assert_eq!(remember(of("signature-1", &["valid"]), || Ok::<_, &str>(None)), Ok(None));
        assert_eq!(remember(of("signature-1", &["valid"]), || Err("not called")), Ok(None));
        assert_eq!(remember(of("signature-1", &["other"]), || Err("wrong")), Err("wrong"));
        assert_eq!(remember(of("signature-2", &["valid"]), || Err("wrong")), Err("wrong"));
    }

    #[test]
    fn the_boundaries_of_parts_are_covered() {
        let bytes = |parts: &[&str]| of("s", parts).bytes;
        assert_ne!(bytes(&["a", "bc"]), bytes(&["ab", "c"]));
        assert_ne!(bytes(&["a", ""]), bytes(&["a"]));
        assert_ne!(bytes(&["a"]), Evidence::new("s", 2, 0, ["a"].into_iter()).bytes);
        assert_ne!(bytes(&["a"]), Evidence::new("s", 1, 1, ["a"].into_iter()).bytes);
        assert_eq!(bytes(&["a", "bc"]), bytes(&["a", "bc"]));
    }

    #[test]
    fn signatures_of_both_kinds_spread_over_the_slots() {
        use crate::access::signed::encoding::encode;

        let random = |length: usize| -> Vec<u8> { (0..length).map(|_| fastrand::u8(..)).collect() };
        let rsa = || random(256);
        // Two integers of 32 bytes, each after its DER header.
        let ecdsa = || [&[0x30, 0x44, 2, 32][..], &random(32), &[2, 32], &random(32)].concat();
        for make in [&rsa as &dyn Fn() -> Vec<u8>, &ecdsa] {
            let slots: std::collections::HashSet<usize> =
                (0..2000).map(|_| slot_of(&encode(&make()))).collect();
            assert!(slots.len() > 1300, "{}", slots.len());
        }
        assert_eq!(slot_of("short"), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..3000 {
            memory.insert(of(&format!("{number:08}"), &[&"a".repeat(4000)]), None);
            let held = memory.slots.iter().flatten().map(|verified| verified.evidence.len());
            assert_eq!(held.sum::<usize>(), memory.bytes);
            assert!(memory.bytes <= MAX_BYTES);
        }
    }
}

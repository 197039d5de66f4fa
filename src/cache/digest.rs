//! Digests of keys.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// The digest of a key: a keyed 128-bit hash, of which 71 bits are compared here. The hash key is
/// secret, so viewers cannot search for collisions. The chance that any two of ten million keys collide
/// is below 1 : 10^7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u64, pub(crate) u64);

/// A new key for the hash function.
pub(crate) fn random_secret() -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().hash_one(()))
}

/// The hasher of tables that are keyed by digests.
pub(crate) type ByDigest = BuildHasherDefault<Leading>;

impl Hash for Digest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0);
    }
}

/// A hasher for digests, which are hashes already.
#[derive(Default)]
pub(crate) struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The hashed value may be a digest and more.
        self.0 = self.0.rotate_left(32) ^ number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

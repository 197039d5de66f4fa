//! Digests that are the same on every machine and in every version.

use sha2::{Digest, Sha256};

/// The first 64 bits of the SHA-256 of some bytes.
#[must_use]
pub fn first_64(bytes: impl AsRef<[u8]>) -> u64 {
    Sha256::digest(bytes).first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// The first 128 bits of the SHA-256 of some bytes.
#[must_use]
pub fn first_128(bytes: impl AsRef<[u8]>) -> u128 {
    Sha256::digest(bytes).first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}

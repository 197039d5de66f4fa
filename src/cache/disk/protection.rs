//! How the content of a file is protected: by checksums, or by encryption.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::checksum::checksum;

/// Length of a [`Proof`] in bytes.
pub(crate) const PROOF: usize = 16;

/// Proves that content is what was written: its checksum and zeros, or the tag of AES-256-GCM.
pub(crate) type Proof = [u8; PROOF];

/// The protection of the content of one file.
#[derive(Debug)]
pub(crate) enum Protection {
    /// CRC-64/NVME. Detects damage.
    Checksum,
    /// AES-256-GCM with a key of this file alone. Hides the content, and detects changes by others, too.
    Cipher(LessSafeKey),
    /// Encrypted with a key that is not at hand.
    KeyMissing,
}

impl Protection {
    /// Protects content, in place. Encryption also authenticates `clear`, which precedes the content in the file.
    /// `None` if it cannot be encrypted; then it must not be written.
    ///
    /// `offset` is the content's place in the file. Encryption is only secure if no offset is used twice.
    pub(crate) fn seal(&self, offset: u64, clear: &[u8], content: &mut [u8]) -> Option<Proof> {
        match self {
            Self::Checksum => Some(checksum_proof(content)),
            Self::Cipher(key) => {
                let sealed =
                    key.seal_in_place_separate_tag(nonce(offset), Aad::from(clear), content);
                sealed.ok()?.as_ref().first_chunk().copied()
            }
            Self::KeyMissing => None,
        }
    }

    /// Verifies content, and decrypts it in place. False if it is not what was written.
    pub(crate) fn open(
        &self,
        offset: u64,
        clear: &[u8],
        content: &mut [u8],
        proof: &Proof,
    ) -> bool {
        match self {
            Self::Checksum => checksum_proof(content) == *proof,
            Self::Cipher(key) => key
                .open_in_place_separate_tag(nonce(offset), Aad::from(clear), proof, content)
                .is_ok(),
            Self::KeyMissing => false,
        }
    }

    /// Whether the key is at hand.
    pub(crate) const fn is_readable(&self) -> bool {
        !matches!(self, Self::KeyMissing)
    }
}

fn checksum_proof(content: &[u8]) -> Proof {
    let mut proof = [0; PROOF];
    proof[..8].copy_from_slice(&checksum(content).to_le_bytes());
    proof
}

fn nonce(offset: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&offset.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

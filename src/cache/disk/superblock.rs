//! The file that identifies a disk cache.

use std::{fmt, fs, io, path::Path};

use super::{
    checksum::checksum,
    keys::{EncryptionKeys, KeyNote},
    layout::{FORMAT, Fields},
    protection::{PROOF, Proof},
    replace::replace,
    segment::TierId,
};
use crate::cache::digest::random_secret;

/// The name of the file.
pub(super) const SUPERBLOCK: &str = "super";

const MAGIC: u64 = u64::from_le_bytes(*b"FBSUPER\0");

/// The identity of what a folder has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) tier: TierId,
    /// Higher at each start.
    pub(crate) epoch: u16,
    /// The key of the hash function of the keys.
    pub(crate) secret: [u64; 2],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Identity {
    /// The identity of a new disk cache.
    pub(super) fn new() -> Self {
        let [first, second] = [(); 2].map(|()| fastrand::u64(..).to_le_bytes());
        let mut tier = [0; 16];
        tier[..8].copy_from_slice(&first);
        tier[8..].copy_from_slice(&second);
        Self { tier, epoch: 1, secret: random_secret() }
    }

    /// Writes the identity, which is on disk when this returns.
    pub(super) fn write(&self, folder: &Path, keys: &EncryptionKeys) -> io::Result<()> {
        let (note, protection) = keys.protect(self.epoch)?;
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.tier);
        bytes.extend_from_slice(&note.bytes());
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&self.secret[0].to_le_bytes());
        secret[8..].copy_from_slice(&self.secret[1].to_le_bytes());
        let proof = protection.seal(0, &bytes, &mut secret);
        let proof = proof.ok_or_else(|| io::Error::other("it cannot be encrypted"))?;
        bytes.extend_from_slice(&secret);
        bytes.extend_from_slice(&proof);
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        replace(&folder.join(SUPERBLOCK), &bytes)
    }
}

/// The file, before its key is known.
pub(super) struct Superblock {
    pub(super) tier: TierId,
    pub(super) note: KeyNote,
    /// Everything before the secret.
    clear: Vec<u8>,
    secret: [u8; 16],
    proof: Proof,
}

impl Superblock {
    /// Reads the file in a folder. `None` if there is none, or if it is damaged or of another format.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(SUPERBLOCK)) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let is_ours = fields.u64()? == MAGIC && fields.u32()? == FORMAT;
        let tier = fields.array()?;
        let note = KeyNote::take(&mut fields)?;
        let clear = bytes[..bytes.len() - fields.0.len()].to_vec();
        let (secret, proof) = (fields.array()?, fields.array::<PROOF>()?);
        fields.verify(bytes)?;
        is_ours.then_some(Self { tier, note, clear, secret, proof })
    }

    /// The keys of the cache: none if it is not encrypted, because a key may be configured and not in use yet.
    pub(super) fn keys(&self, keys: &EncryptionKeys) -> EncryptionKeys {
        if self.note.is_encrypted() { keys.clone() } else { EncryptionKeys::default() }
    }

    /// The identity, if one of the keys opens it.
    pub(super) fn identity(&self, keys: &EncryptionKeys) -> Option<Identity> {
        let mut secret = self.secret;
        if !keys.of(&self.note).open(0, &self.clear, &mut secret, &self.proof) {
            return None;
        }
        let mut fields = Fields(&secret);
        let secret = [fields.u64()?, fields.u64()?];
        Some(Identity { tier: self.tier, epoch: self.note.epoch, secret })
    }
}

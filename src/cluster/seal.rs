//! Seals what nodes write into NATS, if they share a key: others can neither read nor forge it.

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};

use crate::base::key_file::{KeysError, SecretKey, read_keys};

/// Length of the random salt at the beginning of a message.
const SALT: usize = 32;

/// The name of what is derived from a key.
const KEY_OF_MESSAGE: &[u8] = b"forebay cluster message";

/// The keys that nodes share, newest first. Without any, nothing is sealed.
///
/// Each message has a key of its own, which HKDF (RFC 5869) derives from a key and a random salt. The subject is
/// authenticated, too.
#[derive(Clone, Default)]
pub(crate) struct Seal(Arc<[SecretKey]>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.0.len())
    }
}

impl Seal {
    /// Reads a file of keys, if there is one.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, KeysError> {
        let keys = path.map(read_keys).transpose()?.unwrap_or_default();
        Ok(Self(keys.into()))
    }

    /// Seals a message with the newest key. `None` if the system has no random numbers.
    pub(super) fn seal(&self, subject: &str, mut content: Vec<u8>) -> Option<Vec<u8>> {
        let Some(newest) = self.0.first() else { return Some(content) };
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let key = key(newest, &salt)?;
        key.seal_in_place_append_tag(nonce(), Aad::from(subject.as_bytes()), &mut content).ok()?;
        Some([&salt[..], &content].concat())
    }

    /// Opens a message. `None` if no node with one of the keys has written it for this subject.
    pub(super) fn open(&self, subject: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(sealed.to_vec());
        }
        let (salt, content) = sealed.split_first_chunk::<SALT>()?;
        self.0.iter().find_map(|secret| {
            let mut content = content.to_vec();
            let key = key(secret, salt)?;
            let opened = key.open_in_place(nonce(), Aad::from(subject.as_bytes()), &mut content);
            opened.ok().map(|content| content.to_vec())
        })
    }
}

fn key(secret: &SecretKey, salt: &[u8; SALT]) -> Option<LessSafeKey> {
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    let key: UnboundKey = derived.expand(&[KEY_OF_MESSAGE], &AES_256_GCM).ok()?.into();
    Some(LessSafeKey::new(key))
}

/// Each key seals one message.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(keys: &[u8]) -> Seal {
        Seal(keys.iter().map(|byte| SecretKey::new(vec![*byte; 32])).collect())
    }

    #[test]
    fn only_nodes_with_a_key_can_write_and_read() {
        let sealed = with(&[1]).seal("a", b"content".to_vec()).expect("sealed");
        assert!(!sealed.windows(7).any(|part| part == b"content"));
        // While keys are replaced, nodes know both.
        for keys in [&[1][..], &[2, 1], &[1, 2]] {
            assert_eq!(with(keys).open("a", &sealed).as_deref(), Some(&b"content"[..]));
        }
        assert_eq!(with(&[2]).open("a", &sealed), None);
        assert_eq!(with(&[1]).open("b", &sealed), None, "another subject");
        for at in [0, SALT, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(with(&[1]).open("a", &changed), None);
        }
        for short in [&b""[..], b"content", &sealed[..SALT]] {
            assert_eq!(with(&[1]).open("a", short), None);
        }
        assert_ne!(with(&[1]).seal("a", b"content".to_vec()), Some(sealed), "another salt");
        let plain = Seal::default();
        let written = plain.seal("a", b"content".to_vec()).expect("written");
        assert_eq!(plain.open("a", &written).as_deref(), Some(&b"content"[..]));
    }
}

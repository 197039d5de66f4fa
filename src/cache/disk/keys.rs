//! The keys of an encrypted disk cache.
//!
//! Each file has a key of its own, which HKDF (RFC 5869) derives from a master key, and from the epoch and a random salt
//! at the beginning of the file.

use std::{fmt, io, path::Path, sync::Arc};

use super::{layout::Fields, protection::Protection};
use crate::base::key_file::{KeysError, SecretKey, read_keys};
use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};

/// The names of what is derived from a master key.
const NAME_OF_KEY: &[u8] = b"forebay disk cache key name";
const KEY_OF_FILE: &[u8] = b"forebay disk cache file";

/// Says at the beginning of a file in which epoch it was made, and with which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyNote {
    /// The number of the start that made it.
    pub(crate) epoch: u16,
    /// The master key; zeros if the file is not encrypted.
    name: [u8; 8],
    salt: [u8; 32],
}

impl KeyNote {
    /// Length in bytes.
    pub(crate) const LENGTH: usize = 42;

    pub(crate) fn bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..2].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[2..10].copy_from_slice(&self.name);
        bytes[10..].copy_from_slice(&self.salt);
        bytes
    }

    pub(crate) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { epoch: fields.u16()?, name: fields.array()?, salt: fields.array()? })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.name != [0; 8]
    }
}

/// A key from which the keys of files are derived.
struct MasterKey {
    name: [u8; 8],
    secret: SecretKey,
}

impl MasterKey {
    fn new(secret: SecretKey) -> Self {
        let mut name = [0; 8];
        // Cannot fail: the lengths are fixed, and short.
        let derived = Salt::none(HKDF_SHA256).extract(&secret);
        let _ = derived.expand(&[NAME_OF_KEY], Name).and_then(|okm| okm.fill(&mut name));
        Self { name, secret }
    }

    fn protection(&self, note: &KeyNote) -> Option<Protection> {
        let derived = Salt::new(HKDF_SHA256, &note.salt).extract(&self.secret);
        let epoch = note.epoch.to_le_bytes();
        let key: UnboundKey = derived.expand(&[KEY_OF_FILE, &epoch], &AES_256_GCM).ok()?.into();
        Some(Protection::Cipher(LessSafeKey::new(key)))
    }
}

/// The length of a name, in the form that HKDF takes.
#[derive(Clone, Copy)]
struct Name;

impl aws_lc_rs::hkdf::KeyType for Name {
    fn len(&self) -> usize {
        8
    }
}

/// The master keys of a disk cache, newest first. Without any, the files are not encrypted.
#[derive(Clone, Default)]
pub struct EncryptionKeys(Arc<[MasterKey]>);

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKeys({})", self.0.len())
    }
}

impl EncryptionKeys {
    /// Reads a file with one key a line, newest first. Empty lines and those that begin with `#` are ignored.
    ///
    /// # Errors
    /// If it cannot be read, or a line is not a key.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let keys = read_keys(path)?.into_iter().map(MasterKey::new);
        Ok(Self(keys.collect()))
    }

    /// Whether files are encrypted.
    pub(super) fn encrypt(&self) -> bool {
        !self.0.is_empty()
    }

    /// The protection of a new file of an epoch, which must begin with the note.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn protect(&self, epoch: u16) -> io::Result<(KeyNote, Protection)> {
        let mut note = KeyNote { epoch, name: [0; 8], salt: [0; 32] };
        let Some(newest) = self.0.first() else { return Ok((note, Protection::Checksum)) };
        note.name = newest.name;
        let protection = rand::fill(&mut note.salt).ok().and_then(|()| newest.protection(&note));
        let protection =
            protection.ok_or_else(|| io::Error::other("cannot make a key for a file"))?;
        Ok((note, protection))
    }

    /// The protection of a file that begins with this note.
    pub(crate) fn of(&self, note: &KeyNote) -> Protection {
        if !note.is_encrypted() && !self.encrypt() {
            return Protection::Checksum;
        }
        let key = self.0.iter().find(|key| key.name == note.name);
        key.and_then(|key| key.protection(note)).unwrap_or(Protection::KeyMissing)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::base::key_file::KEY;

    fn read(text: &str) -> Result<EncryptionKeys, KeysError> {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), text).expect("written");
        EncryptionKeys::read(file.path())
    }

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let text = format!("# newest\n{}\r\n\n  {}\n", line(1), line(2));
        assert_eq!(read(&text).expect("keys").0.len(), 2);
        assert!(matches!(read("# none\n"), Err(KeysError::Empty(_))));
        for wrong in ["c2hvcnQ=", "not base64!", &line(1)[1..]] {
            let error = read(&format!("{}\n{wrong}\n", line(1))).expect_err(wrong);
            assert!(matches!(error, KeysError::Line { line: 2, .. }), "{error}");
            assert!(!format!("{error} {error:?} {}", error.advice()).contains(wrong));
        }
        let error = EncryptionKeys::read(Path::new("/nowhere/keys")).expect_err("missing");
        assert!(error.to_string().contains("/nowhere/keys"), "{error}");
    }

    #[test]
    fn only_the_right_key_at_the_right_place_opens() {
        let (old, both) = (read(&line(1)).expect("key"), [line(2), line(1)].join("\n"));
        let both = read(&both).expect("keys");
        let (note, protection) = old.protect(1).expect("random");
        let mut sealed = *b"content";
        let proof = protection.seal(64, b"clear", &mut sealed).expect("sealed");
        assert_ne!(&sealed, b"content");
        let open = |keys: &EncryptionKeys, note: &KeyNote, offset, clear: &[u8]| {
            let mut content = sealed;
            let is_right = keys.of(note).open(offset, clear, &mut content, &proof);
            assert!(!is_right || content == *b"content");
            is_right
        };
        assert!(open(&old, &note, 64, b"clear") && open(&both, &note, 64, b"clear"));
        assert!(!open(&old, &note, 128, b"clear") && !open(&old, &note, 64, b"cleaR"));
        let (other, _) = old.protect(1).expect("random");
        assert!(!open(&old, &other, 64, b"clear"), "another salt");
        assert_eq!(both.protect(1).expect("random").0.name, both.0[0].name, "the newest key");
        let foreign = read(&line(3)).expect("key");
        assert!(
            !foreign.of(&note).is_readable() && !EncryptionKeys::default().of(&note).is_readable()
        );
        let (clear, _) = EncryptionKeys::default().protect(1).expect("none");
        assert!(EncryptionKeys::default().of(&clear).is_readable());
        assert!(!old.of(&clear).is_readable(), "everything must be encrypted");
    }
}

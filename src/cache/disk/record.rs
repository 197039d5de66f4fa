//! Records: what the segments consist of.
//!
//! A record is a header of 64 bytes, a key, a description and a body, padded to 64 bytes. The header has a
//! checksum of its own and the proof of the rest, which may be encrypted. It also names its segment, so that bytes
//! of another segment are never taken for this one's.

use bytes::Bytes;

use super::{
    aligned::AlignedBuffer,
    checksum::checksum,
    layout::{Fields, UNIT},
    protection::{PROOF, Proof, Protection},
    read_buffer::ReadBuffer,
};
use crate::cache::digest::Digest;

/// Begins every record.
const MAGIC: u32 = u32::from_le_bytes(*b"FBR1");

/// Length of a header in bytes.
pub(super) const HEADER: usize = 64;

/// Bytes of a header that its checksum covers, and before these, those before the proof.
const CHECKED: usize = HEADER - 8;
const CLEAR: usize = CHECKED - PROOF;

/// The contents of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A stored response: its head, and its content unless that is sliced.
    Response = 1,
    /// One slice of a content.
    Slice = 2,
    /// The compressed form of a content.
    Encoded = 3,
    /// The note that responses of a resource vary.
    Variants = 4,
    /// The record of this digest in older segments no longer counts.
    Forget = 5,
    /// An unsafe request invalidated a path.
    Invalidation = 6,
}

impl Kind {
    pub(crate) const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Response,
            2 => Self::Slice,
            3 => Self::Encoded,
            4 => Self::Variants,
            5 => Self::Forget,
            6 => Self::Invalidation,
            _ => return None,
        })
    }

    /// Whether the record is found by its digest.
    pub(super) const fn is_indexed(self) -> bool {
        !matches!(self, Self::Forget | Self::Invalidation)
    }
}

/// A record before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    /// The key whose digest it is.
    pub(crate) key: Box<[u8]>,
    /// Describes the body.
    pub(crate) description: Box<[u8]>,
    pub(crate) body: Bytes,
}

impl Record {
    pub(super) fn forget(digest: Digest) -> Self {
        let (key, description) = (Box::default(), Box::default());
        Self { kind: Kind::Forget, digest, key, description, body: Bytes::new() }
    }

    /// Length on disk in bytes.
    pub(super) fn length(&self) -> usize {
        let content = self.key.len() + self.description.len() + self.body.len();
        (HEADER + content).next_multiple_of(UNIT)
    }

    /// Whether its lengths fit into a header.
    pub(super) fn fits(&self) -> bool {
        u16::try_from(self.key.len()).is_ok()
            && [self.description.len(), self.body.len()].iter().all(|&n| u32::try_from(n).is_ok())
    }

    /// Appends the record to a buffer that will be part of segment `segment`, at `offset` in it. False if it cannot
    /// be encrypted; then the buffer remains as it was.
    pub(super) fn append_to(
        &self,
        buffer: &mut AlignedBuffer,
        segment: u64,
        offset: u64,
        protection: &Protection,
    ) -> bool {
        let start = buffer.len();
        let clear = Header {
            kind: self.kind,
            segment,
            digest: self.digest,
            key: self.key.len(),
            description: self.description.len(),
            body: self.body.len(),
            proof: [0; PROOF],
        };
        buffer.append(&[0; HEADER]);
        for part in [&*self.key, &*self.description, &*self.body] {
            buffer.append(part);
        }
        let content = &mut buffer.bytes_mut()[start + HEADER..];
        let Some(proof) = protection.seal(offset, &clear.bytes()[..CLEAR], content) else {
            buffer.set_length(start);
            return false;
        };
        let header = Header { proof, ..clear };
        buffer.pad(UNIT);
        buffer.bytes_mut()[start..start + HEADER].copy_from_slice(&header.bytes());
        true
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The sequence number of the segment that the record was written to.
    pub(super) segment: u64,
    pub(super) digest: Digest,
    /// Length of the key in bytes, and of the other parts.
    key: usize,
    description: usize,
    body: usize,
    /// The proof of the parts.
    proof: Proof,
}

impl Header {
    /// Reads the header at the beginning of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let mut fields = Fields(header);
        let is_record = fields.u32()? == MAGIC;
        let kind = fields.u8()?;
        fields.u8()?;
        let key = usize::from(fields.u16()?);
        let [description, body] = [fields.u32()?, fields.u32()?].map(|n| usize::try_from(n).ok());
        let segment = fields.u64()?;
        let digest = Digest(fields.u64()?, fields.u64()?);
        let parsed = Self {
            kind: Kind::of(kind)?,
            segment,
            digest,
            key,
            description: description?,
            body: body?,
            proof: fields.array()?,
        };
        (is_record && checksum(&header[..CHECKED]) == header_checksum(header)).then_some(parsed)
    }

    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[self.kind as u8, 0]);
        bytes.extend_from_slice(&u16::try_from(self.key).unwrap_or(u16::MAX).to_le_bytes());
        for length in [self.description, self.body] {
            bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        for number in [self.segment, self.digest.0, self.digest.1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.proof);
        let mut header = [0; HEADER];
        header[..bytes.len()].copy_from_slice(&bytes);
        let checksum = checksum(&header[..CHECKED]);
        header[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// Length of the record on disk in bytes.
    pub(super) const fn length(&self) -> usize {
        (HEADER + self.key + self.description + self.body).next_multiple_of(UNIT)
    }
}

fn header_checksum(header: &[u8; HEADER]) -> u64 {
    header.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A record that was read and verified.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    pub(crate) key: Bytes,
    pub(crate) description: Bytes,
    pub(crate) body: Bytes,
}

/// Why bytes are not the expected record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("its header is damaged")]
    Header,
    #[error("its content is not what was written")]
    Content,
    #[error("it is another record")]
    Other,
}

impl Loaded {
    /// Verifies and decrypts the record of segment `segment` at `offset` in it. The record begins at `start` in
    /// `blocks`.
    pub(super) fn open(
        mut blocks: ReadBuffer,
        start: usize,
        segment: u64,
        offset: u64,
        protection: &Protection,
    ) -> Result<Self, Invalid> {
        let bytes = blocks.bytes_mut().get_mut(start..).ok_or(Invalid::Header)?;
        let header = Header::parse(bytes).ok_or(Invalid::Header)?;
        if header.segment != segment {
            return Err(Invalid::Other);
        }
        let end = HEADER + header.key + header.description + header.body;
        let (clear, rest) = bytes.split_at_mut(HEADER);
        let content = rest.get_mut(..end - HEADER).ok_or(Invalid::Content)?;
        if !protection.open(offset, &clear[..CLEAR], content, &header.proof) {
            return Err(Invalid::Content);
        }
        let bytes = blocks.freeze().slice(start..start + end);
        let description = HEADER + header.key;
        let body = description + header.description;
        Ok(Self {
            kind: header.kind,
            digest: header.digest,
            key: bytes.slice(HEADER..description),
            description: bytes.slice(description..body),
            body: bytes.slice(body..),
        })
    }

    /// A copy of the record, to be written again. Unlike this one, it does not keep whole blocks in memory.
    pub(super) fn into_record(self) -> Record {
        Record {
            kind: self.kind,
            digest: self.digest,
            key: self.key[..].into(),
            description: self.description[..].into(),
            body: Bytes::copy_from_slice(&self.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};

    use super::*;

    fn record() -> Record {
        Record {
            kind: Kind::Response,
            digest: Digest(1, 2),
            key: b"d\0/a.png"[..].into(),
            description: b"200"[..].into(),
            body: Bytes::from(vec![7; 300]),
        }
    }

    fn written(protection: &Protection) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::new(0);
        assert!(record().append_to(&mut buffer, 9, 4096, protection));
        buffer
    }

    fn open(bytes: &[u8], segment: u64, protection: &Protection) -> Result<Loaded, Invalid> {
        let mut blocks = ReadBuffer::new(bytes.len());
        blocks.bytes_mut().copy_from_slice(bytes);
        Loaded::open(blocks, 0, segment, 4096, protection)
    }

    fn protections() -> [Protection; 2] {
        let key = UnboundKey::new(&AES_256_GCM, &[5; 32]).expect("a key");
        [Protection::Checksum, Protection::Cipher(LessSafeKey::new(key))]
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for protection in protections() {
            let written = written(&protection);
            let is_encrypted = matches!(protection, Protection::Cipher(_));
            let is_clear = written.bytes().windows(5).any(|window| window == b"a.png");
            assert_eq!(is_clear, !is_encrypted);
            assert_eq!(written.len(), record().length());
            let loaded = open(written.bytes(), 9, &protection).expect("valid");
            assert_eq!((loaded.kind, loaded.digest), (Kind::Response, Digest(1, 2)));
            assert_eq!(&loaded.key[..], b"d\0/a.png");
            assert_eq!(&loaded.description[..], b"200");
            assert_eq!(loaded.body, vec![7; 300]);
            let other = open(written.bytes(), 8, &protection).expect_err("another segment");
            assert_eq!(other, Invalid::Other);
        }
    }

    /// The padding is the only part of a record that may change.
    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for protection in protections() {
            let written = written(&protection);
            let content = HEADER + 8 + 3 + 300;
            for bit in 0..content * 8 {
                let mut flipped = written.bytes().to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&flipped, 9, &protection).is_err(), "bit {bit}");
            }
            for length in 0..content {
                let cut = &written.bytes()[..length];
                assert!(open(cut, 9, &protection).is_err(), "{length} bytes");
            }
        }
    }

    /// Someone who can write to the disk cannot pass one record off as another, even with the right checksum.
    #[test]
    fn encryption_covers_the_header() {
        let [_, protection] = protections();
        let written = written(&protection);
        for byte in [4, 6, 8, 12, 24, 32] {
            let mut changed = written.bytes().to_vec();
            changed[byte] ^= 3;
            let sum = checksum(&changed[..CHECKED]).to_le_bytes();
            changed[CHECKED..HEADER].copy_from_slice(&sum);
            assert!(open(&changed, 9, &protection).is_err(), "byte {byte}");
        }
    }

    /// A record without its key is not written in clear.
    #[test]
    fn nothing_is_written_without_its_key() {
        let mut buffer = AlignedBuffer::new(0);
        buffer.append(b"before");
        assert!(!record().append_to(&mut buffer, 9, 64, &Protection::KeyMissing));
        assert_eq!(buffer.bytes(), b"before");
    }
}

//! Records: what the segments consist of.
//!
//! A record is a header of 64 bytes, a key, a description and a body, padded to 64 bytes. The header has a
//! checksum of its own and one of the rest. It also names its segment, so that bytes of another segment are
//! never taken for this one's.

use bytes::Bytes;

use super::{
    aligned::AlignedBuffer,
    checksum::checksum,
    layout::{Fields, UNIT},
};
use crate::cache::digest::Digest;

/// Begins every record.
const MAGIC: u32 = u32::from_le_bytes(*b"FBR1");

/// Length of a header in bytes.
pub(super) const HEADER: usize = 64;

/// Bytes of a header that its checksum covers.
const CHECKED: usize = HEADER - 8;

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
    pub(super) const fn of(byte: u8) -> Option<Self> {
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

    /// Appends the record to a buffer that will be part of segment `segment`.
    pub(super) fn append_to(&self, buffer: &mut AlignedBuffer, segment: u64) {
        let start = buffer.len();
        buffer.append(&[0; HEADER]);
        for part in [&*self.key, &*self.description, &*self.body] {
            buffer.append(part);
        }
        let header = Header {
            kind: self.kind,
            segment,
            digest: self.digest,
            key: self.key.len(),
            description: self.description.len(),
            body: self.body.len(),
            checksum: checksum(&buffer.bytes()[start + HEADER..]),
        };
        buffer.pad(UNIT);
        buffer.bytes_mut()[start..start + HEADER].copy_from_slice(&header.bytes());
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
    /// The checksum of the parts.
    checksum: u64,
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
            checksum: fields.u64()?,
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
        for number in [self.segment, self.digest.0, self.digest.1, self.checksum] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
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
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is another record")]
    Other,
}

impl Loaded {
    /// Verifies the record of segment `segment` at the beginning of `bytes`.
    pub(super) fn verify(bytes: &Bytes, segment: u64) -> Result<Self, Invalid> {
        let header = Header::parse(bytes).ok_or(Invalid::Header)?;
        if header.segment != segment {
            return Err(Invalid::Other);
        }
        let end = HEADER + header.key + header.description + header.body;
        if bytes.len() < end || checksum(&bytes[HEADER..end]) != header.checksum {
            return Err(Invalid::Checksum);
        }
        let description = HEADER + header.key;
        let body = description + header.description;
        Ok(Self {
            kind: header.kind,
            digest: header.digest,
            key: bytes.slice(HEADER..description),
            description: bytes.slice(description..body),
            body: bytes.slice(body..end),
        })
    }

    /// The record, to be written again.
    pub(super) fn into_record(self) -> Record {
        Record {
            kind: self.kind,
            digest: self.digest,
            key: self.key[..].into(),
            description: self.description[..].into(),
            body: self.body,
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn written(segment: u64) -> Bytes {
        let mut buffer = AlignedBuffer::new(0);
        record().append_to(&mut buffer, segment);
        buffer.freeze()
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let bytes = written(9);
        assert_eq!(bytes.len(), record().length());
        let loaded = Loaded::verify(&bytes, 9).expect("valid");
        assert_eq!((loaded.kind, loaded.digest), (Kind::Response, Digest(1, 2)));
        assert_eq!(&loaded.key[..], b"d\0/a.png");
        assert_eq!(&loaded.description[..], b"200");
        assert_eq!(loaded.body, vec![7; 300]);
        assert_eq!(Loaded::verify(&bytes, 8).expect_err("another segment"), Invalid::Other);
    }

    /// The padding is the only part of a record that may change.
    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = written(9);
        let content = HEADER + 8 + 3 + 300;
        for bit in 0..content * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Loaded::verify(&flipped.into(), 9).is_err(), "bit {bit}");
        }
        for length in 0..content {
            assert!(Loaded::verify(&bytes.slice(..length), 9).is_err(), "{length} bytes");
        }
    }
}

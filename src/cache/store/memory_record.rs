//! Contents of the memory on their way to the next process.

use bytes::Bytes;

/// A response, a note or a slice, as the disk cache would write it. It has no key: both processes hash keys with the same
/// secret, so a digest is enough.
#[derive(Clone, Debug)]
pub(crate) struct MemoryRecord {
    /// The kind of the record, as a number.
    pub(crate) kind: u8,
    /// The digest of the key.
    pub(crate) digest: (u64, u64),
    /// Describes the body.
    pub(crate) description: Bytes,
    pub(crate) body: Bytes,
}

//! The entries of the LRU cache and their weights.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    encoded::Encoded,
    index::{Index, Note, Stored},
};
use crate::cache::{digest::Digest, memfd::footprint};

/// The cost of a stored response beyond its fields and bytes: its own structures and the cache's
/// bookkeeping. With a million stored responses, 550 were measured from the process's memory.
const RESPONSE_OVERHEAD: usize = 650;

/// The cost of a slice beyond its bytes.
const SLICE_OVERHEAD: usize = 450;

/// The fraction of the bound (one eighth) that is kept free of stored bytes: for slices being filled,
/// and for evicted ones that a reader still holds.
const HEADROOM: u64 = 8;

/// A slice or compressed form of a content.
pub(super) enum Piece {
    Slice(Bytes),
    Encoded(Arc<Encoded>),
    /// No content, but this weight.
    Room(usize),
}

/// An entry of the LRU cache, of which there are millions: a piece, or `None` if the value is in the index.
pub(super) type Entry = Option<Arc<Piece>>;

/// The bytes that may be stored, of those that may be alive.
pub(super) const fn limit(bound: u64) -> u64 {
    bound - bound / HEADROOM
}

/// The weight of an entry in bytes, if slices are `slice` bytes long.
pub(super) fn weight(index: &Index, digest: Digest, entry: &Entry, slice: u32) -> u32 {
    let size = match entry {
        Some(piece) => piece_weight(piece, slice),
        None => {
            let stored = index.get(digest);
            stored.map_or(RESPONSE_OVERHEAD, |stored| stored_weight(&stored, slice))
        }
    };
    u32::try_from(size).unwrap_or(u32::MAX)
}

pub(super) fn stored_weight(stored: &Stored, slice: u32) -> usize {
    match stored {
        Stored::Response(response) => response.size(slice) + RESPONSE_OVERHEAD,
        Stored::Note(Note::Varies(variants)) => variants.size() + RESPONSE_OVERHEAD,
        Stored::Note(Note::HitForMiss(_)) => RESPONSE_OVERHEAD,
    }
}

pub(super) fn piece_weight(piece: &Piece, slice: u32) -> usize {
    match piece {
        Piece::Slice(bytes) => footprint(bytes.len()) + SLICE_OVERHEAD,
        Piece::Encoded(encoded) => encoded.size(slice) + RESPONSE_OVERHEAD,
        Piece::Room(bytes) => *bytes,
    }
}

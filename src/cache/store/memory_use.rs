//! Counters of the memory tier.

/// Counters of the memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of content alive: stored, being filled, or evicted but still being read.
    pub bytes: u64,
    /// Stored responses and slices.
    pub entries: u64,
    /// Evictions for lack of room since the start.
    pub evictions: u64,
    /// Misses for responses that could have been served if they had not been evicted, as far as they are remembered.
    pub evicted_misses: u64,
}

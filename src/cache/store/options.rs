//! Options of a store.

/// The sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of content in memory: stored, arriving, and held by readers together.
    pub memory: u64,
    /// Length of a slice in bytes, the unit of fetching.
    pub slice: u32,
    /// How many slices an origin response may be ahead of its fastest reader.
    pub read_ahead: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory: 1 << 30, slice: 1 << 20, read_ahead: 4 }
    }
}

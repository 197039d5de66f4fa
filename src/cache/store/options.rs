//! Options of a store.

/// The sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of content in memory, including stored bytes, arriving bytes and those held by readers.
    pub memory: u64,
    /// Length of a slice, the unit of fetching, in bytes.
    pub slice: u32,
    /// How many slices an origin response may be ahead of its fastest reader.
    pub read_ahead: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory: 1 << 30, slice: 1 << 20, read_ahead: 4 }
    }
}

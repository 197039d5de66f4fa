//! Options of a store.

/// Which entries are evicted from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The least recently used.
    #[default]
    Lru,
    /// Those used least often: a new one is stored only if it was requested more often than those that it would replace (Einziger
    /// and others, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM TOS 2017).
    TinyLfu,
}

/// The sizes of a store, and what it evicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of content in memory, including stored bytes, arriving bytes and those held by readers.
    pub memory: u64,
    /// Which entries are evicted if the memory is full.
    pub eviction: Eviction,
    /// Length of a slice, the unit of fetching, in bytes.
    pub slice: u32,
    /// How many slices an origin response may be ahead of its fastest reader.
    pub read_ahead: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory: 1 << 30, eviction: Eviction::Lru, slice: 1 << 20, read_ahead: 4 }
    }
}

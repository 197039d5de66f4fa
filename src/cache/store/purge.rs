//! Purges as operators request them.

use serde::{Deserialize, Serialize};

use super::cache_tags::Tag;

/// The stored responses of a distribution that a purge selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// Those of one path, in its generous reading, regardless of the rest of their keys.
    Exact(String),
    /// Those whose path, in its generous reading, has this prefix.
    Prefix(String),
    /// Those with a tag.
    Tag(Tag),
}

/// The effect of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeMode {
    /// The responses are removed.
    #[default]
    Hard,
    /// The responses are stale: each is validated before it is used again.
    Soft,
}

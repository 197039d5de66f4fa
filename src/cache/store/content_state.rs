//! The state of a stored response's content.

/// How much of a response is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentState {
    /// Its head, and content that is stored, arriving, or fetched in slices when it is needed.
    #[default]
    Full,
    /// Its head; this copy is without the bytes of its content, which are read in parts.
    Released,
    /// Its head alone: it answered a HEAD.
    HeadOnly,
    /// The same, and the origin did not say how long the content is.
    HeadOnlyOfUnknownLength,
}

impl ContentState {
    /// Whether only a HEAD was answered.
    #[must_use]
    pub const fn is_head_only(self) -> bool {
        matches!(self, Self::HeadOnly | Self::HeadOnlyOfUnknownLength)
    }
}

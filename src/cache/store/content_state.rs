//! The state of a stored response's content.

/// How much of a response is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentState {
    /// The head, with content that is stored, arriving, or fetched in slices on demand.
    #[default]
    Full,
    /// The head; this copy has no content bytes, which are read in parts.
    Released,
    /// The head alone, from a response to a HEAD.
    HeadOnly,
    /// The head alone, and the origin did not send the content's length.
    HeadOnlyOfUnknownLength,
}

impl ContentState {
    /// The state as a number, for the disk.
    pub(super) const fn number(self) -> u8 {
        match self {
            // The content of a released response is stored with another copy of it.
            Self::Full | Self::Released => 0,
            Self::HeadOnly => 1,
            Self::HeadOnlyOfUnknownLength => 2,
        }
    }

    /// The state with a number.
    pub(super) const fn of_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Full,
            1 => Self::HeadOnly,
            2 => Self::HeadOnlyOfUnknownLength,
            _ => return None,
        })
    }

    /// Whether only the head is stored.
    #[must_use]
    pub const fn is_head_only(self) -> bool {
        matches!(self, Self::HeadOnly | Self::HeadOnlyOfUnknownLength)
    }
}

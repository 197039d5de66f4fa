//! Which rules of a behavior apply to a request.

/// Which rules of a behavior apply to a request, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleMatches(u64);

impl RuleMatches {
    pub(super) const MOST: usize = 64;

    /// The matches with this number, which another node has sent.
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The matches as a number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(super) const fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

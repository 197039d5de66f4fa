//! The rules of a behavior that apply to a request.

/// The rules of a behavior that apply to a request, by their index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleMatches(u64);

impl RuleMatches {
    pub(super) const MAX: usize = 64;

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

    pub(super) const fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(super) const fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

//! The floor of one path, prefix or tag.

use super::purge::PurgeMode;

/// The verdict on a response after the purges since its request started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PurgeVerdict {
    /// The response is gone.
    Nothing,
    /// The response is stale.
    Stale,
    /// The response is unaffected.
    All,
}

/// The newest positions of purges; zero if there was none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    pub(super) hard: u64,
    pub(super) soft: u64,
}

impl Floor {
    pub(super) fn raise(&mut self, mode: PurgeMode, position: u64) {
        match mode {
            PurgeMode::Hard => self.hard = self.hard.max(position),
            PurgeMode::Soft => self.soft = self.soft.max(position),
        }
    }

    pub(super) fn remains(self, position: u64) -> PurgeVerdict {
        if self.hard > position {
            PurgeVerdict::Nothing
        } else if self.soft > position {
            PurgeVerdict::Stale
        } else {
            PurgeVerdict::All
        }
    }

    pub(super) const fn newest(self) -> u64 {
        if self.hard > self.soft { self.hard } else { self.soft }
    }
}

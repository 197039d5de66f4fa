//! The last errors that viewers got.

use std::collections::VecDeque;

use super::{sample::Sample, seen_error::SeenError};

/// Errors that are kept of each kind.
const KEPT: usize = 100;

/// The last errors that viewers got, oldest first: those of clients and those of servers. Equal ones are one entry, which
/// moves to the end.
#[derive(Debug, Default)]
pub(crate) struct RecentErrors {
    of_clients: VecDeque<SeenError>,
    of_servers: VecDeque<SeenError>,
}

impl RecentErrors {
    /// Keeps an exchange if it is an error.
    pub(super) fn add(&mut self, sample: Sample) {
        if sample.status < 400 {
            return;
        }
        let kept = if sample.status < 500 { &mut self.of_clients } else { &mut self.of_servers };
        let mut error = SeenError::of(sample);
        if let Some(earlier) = kept.iter().position(|known| known.is_like(&error)) {
            error.times += kept.remove(earlier).map_or(0, |known| known.times);
        } else if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(error);
    }

    pub(super) fn newest_first(&self) -> Vec<SeenError> {
        // The last of those that arrived in the same millisecond first.
        let both = self.of_clients.iter().chain(&self.of_servers).rev();
        let mut all: Vec<_> = both.cloned().collect();
        all.sort_by_key(|error| std::cmp::Reverse(error.at));
        all
    }
}

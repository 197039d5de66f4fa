//! The last errors that viewers got.

use std::collections::{HashMap, VecDeque};

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
            remove_one(kept);
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

/// Removes the oldest error of the cause that has the most: a scan of missing paths must not displace other causes.
fn remove_one(kept: &mut VecDeque<SeenError>) {
    let mut counts = HashMap::<_, usize>::new();
    for error in &*kept {
        *counts.entry(error.cause()).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let removed = kept.iter().position(|error| counts.get(&error.cause()).copied() == most);
    kept.remove(removed.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::{clock::Timestamp, metrics::ResultType};

    fn sample(at: u64, path: &str, status: u16) -> Sample {
        Sample {
            at: Timestamp::from_secs(at),
            weight: 1,
            distribution: "media".into(),
            method: "GET".into(),
            path: path.into(),
            referrer: None,
            user_agent: "other",
            country: None,
            status,
            result: ResultType::Error,
            bytes: 0,
            first_byte: Duration::ZERO,
            detail: None,
            request_id: String::new(),
        }
    }

    #[test]
    fn many_errors_of_one_cause_displace_no_other() {
        let mut errors = RecentErrors::default();
        errors.add(sample(1, "/private", 403));
        for number in 0..1000 {
            errors.add(sample(2 + number, &format!("/{number}"), 404));
        }
        let kept = errors.newest_first();
        assert_eq!((kept.len(), &*kept[0].path, &*kept[KEPT - 1].path), (KEPT, "/999", "/private"));
    }
}

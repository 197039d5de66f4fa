//! What viewers requested most: objects, referring pages and kinds of user agents.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use serde::Serialize;

use super::{Counts, Range, sample::Sample, space_saving::SpaceSaving};
use crate::base::clock::Timestamp;

/// Seconds that a part of the lists covers, and the parts of a day.
const PART: u64 = 15 * 60;
const PARTS: usize = 97;

/// Keys that each part keeps.
const OBJECTS: usize = 400;
const REFERRERS: usize = 100;
const USER_AGENTS: usize = 50;

/// The most entries of a list that are shown.
const SHOWN: usize = 50;

/// The lists of the last day, in parts of a quarter of an hour.
#[derive(Debug, Default)]
pub(crate) struct TopLists(VecDeque<Part>);

#[derive(Debug)]
struct Part {
    /// Its number since 1970.
    number: u64,
    objects: SpaceSaving<(String, String)>,
    referrers: SpaceSaving<String>,
    user_agents: SpaceSaving<String>,
}

impl Part {
    fn new(number: u64) -> Self {
        Self {
            number,
            objects: SpaceSaving::new(OBJECTS),
            referrers: SpaceSaving::new(REFERRERS),
            user_agents: SpaceSaving::new(USER_AGENTS),
        }
    }
}

/// What viewers requested most, each list with the most frequent first.
#[derive(Debug, Serialize)]
pub(crate) struct Top {
    pub(crate) objects: Vec<Object>,
    pub(crate) referrers: Vec<Named>,
    pub(crate) user_agents: Vec<Named>,
}

/// An object of a distribution.
#[derive(Debug, Serialize)]
pub(crate) struct Object {
    pub(crate) distribution: String,
    pub(crate) path: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// A referring page, or a kind of user agents.
#[derive(Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

impl TopLists {
    /// Adds a sample, by its weight.
    pub(super) fn add(&mut self, sample: &Sample) {
        // Requests for unknown hosts are not for objects.
        if sample.weight == 0 || sample.distribution.is_empty() {
            return;
        }
        let number = sample.at.as_secs() / PART;
        // A long exchange that began in an earlier part counts in the newest.
        if self.0.back().is_none_or(|newest| newest.number < number) {
            self.0.push_back(Part::new(number));
            if self.0.len() > PARTS {
                self.0.pop_front();
            }
        }
        let (Some(part), counts) = (self.0.back_mut(), Counts::of(sample)) else { return };
        part.objects.add(&(sample.distribution.clone(), sample.path.clone()), &counts);
        if let Some(referrer) = &sample.referrer {
            part.referrers.add(referrer.as_str(), &counts);
        }
        part.user_agents.add(sample.user_agent, &counts);
    }

    /// The lists of a time.
    pub(super) fn of(&self, range: Range, now: Timestamp) -> Top {
        let first = now.as_secs().saturating_sub(range.length().as_secs()) / PART;
        let parts = || self.0.iter().filter(move |part| part.number >= first);
        let named = |(name, counts)| Named { name, counts };
        let object = |((distribution, path), counts)| Object { distribution, path, counts };
        let objects = merged(parts().flat_map(|part| part.objects.entries()));
        let referrers = merged(parts().flat_map(|part| part.referrers.entries()));
        let user_agents = merged(parts().flat_map(|part| part.user_agents.entries()));
        Top {
            objects: objects.into_iter().map(object).collect(),
            referrers: referrers.into_iter().map(named).collect(),
            user_agents: user_agents.into_iter().map(named).collect(),
        }
    }
}

fn merged<'a, K: Clone + Eq + Hash + Ord + 'a>(
    entries: impl Iterator<Item = (&'a K, &'a Counts)>,
) -> Vec<(K, Counts)> {
    let mut sums = HashMap::<&K, Counts>::new();
    for (key, counts) in entries {
        sums.entry(key).or_default().add(counts);
    }
    let mut all: Vec<(&K, Counts)> = sums.into_iter().collect();
    all.sort_unstable_by(|(a, of_a), (b, of_b)| {
        of_b.requests.cmp(&of_a.requests).then_with(|| a.cmp(b))
    });
    all.into_iter().take(SHOWN).map(|(key, counts)| (key.clone(), counts)).collect()
}

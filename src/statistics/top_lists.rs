//! What viewers requested most and what they waited for longest: objects, referring pages, kinds of user agents, countries.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use serde::Serialize;

use super::{
    Counts, Range,
    sample::Sample,
    space_saving::{Counted, SpaceSaving},
    waits::Waits,
};
use crate::base::clock::Timestamp;

/// Seconds that a part of the lists covers, and the parts of a day.
const PART: u64 = 15 * 60;
const PARTS: usize = 97;

/// Keys that each part keeps.
const OBJECTS: usize = 400;
const REFERRERS: usize = 100;
const USER_AGENTS: usize = 50;
const COUNTRIES: usize = 250;

/// A response is slow if its first byte comes after this time.
const SLOW: Duration = Duration::from_millis(100);

/// The most entries of a list that are shown.
const SHOWN: usize = 50;

/// The lists of the last day, in parts of a quarter of an hour.
#[derive(Debug, Default)]
pub(crate) struct TopLists(VecDeque<Part>);

#[derive(Debug)]
struct Part {
    /// Its number since 1970.
    number: u64,
    objects: SpaceSaving<(String, String), Counts>,
    slow_objects: SpaceSaving<(String, String), Waits>,
    referrers: SpaceSaving<String, Counts>,
    user_agents: SpaceSaving<String, Counts>,
    countries: SpaceSaving<String, Counts>,
}

impl Part {
    fn new(number: u64) -> Self {
        Self {
            number,
            objects: SpaceSaving::new(OBJECTS),
            slow_objects: SpaceSaving::new(OBJECTS),
            referrers: SpaceSaving::new(REFERRERS),
            user_agents: SpaceSaving::new(USER_AGENTS),
            countries: SpaceSaving::new(COUNTRIES),
        }
    }
}

/// What viewers requested most, each list with the most frequent first; and what they waited for longest in total.
#[derive(Debug, Serialize)]
pub(crate) struct Top {
    pub(crate) objects: Vec<Object<Counts>>,
    pub(crate) slow_objects: Vec<Object<Waits>>,
    pub(crate) referrers: Vec<Named>,
    pub(crate) user_agents: Vec<Named>,
    /// The name is empty for viewers whose country is unknown.
    pub(crate) countries: Vec<Named>,
}

/// An object of a distribution.
#[derive(Debug, Serialize)]
pub(crate) struct Object<C> {
    pub(crate) distribution: String,
    pub(crate) path: String,
    /// The ids of the origins that have it, the primary first.
    pub(crate) origins: Vec<String>,
    #[serde(flatten)]
    pub(crate) counts: C,
}

/// A referring page, a kind of user agents, or a country.
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
        let object = (sample.distribution.clone(), sample.path.clone());
        part.objects.add(&object, &counts);
        if sample.first_byte >= SLOW {
            part.slow_objects.add(&object, &Waits::of(sample));
        }
        if let Some(referrer) = &sample.referrer {
            part.referrers.add(referrer.as_str(), &counts);
        }
        part.user_agents.add(sample.user_agent, &counts);
        if let Some(country) = &sample.country {
            part.countries.add(country.as_str(), &counts);
        }
    }

    /// The lists of a time. `origins` returns those of a distribution's path.
    pub(super) fn of(
        &self,
        range: Range,
        now: Timestamp,
        origins: impl Fn(&str, &str) -> Vec<String>,
    ) -> Top {
        let first = now.as_secs().saturating_sub(range.length().as_secs()) / PART;
        let parts = || self.0.iter().filter(move |part| part.number >= first);
        let named = |(name, counts)| Named { name, counts };
        let origins = &origins;
        let objects = merged(parts().flat_map(|part| part.objects.entries()));
        let slow_objects = merged(parts().flat_map(|part| part.slow_objects.entries()));
        let referrers = merged(parts().flat_map(|part| part.referrers.entries()));
        let user_agents = merged(parts().flat_map(|part| part.user_agents.entries()));
        let countries = merged(parts().flat_map(|part| part.countries.entries()));
        Top {
            objects: objects.into_iter().map(|it| Object::new(it, origins)).collect(),
            slow_objects: slow_objects.into_iter().map(|it| Object::new(it, origins)).collect(),
            referrers: referrers.into_iter().map(named).collect(),
            user_agents: user_agents.into_iter().map(named).collect(),
            countries: countries.into_iter().map(named).collect(),
        }
    }
}

impl<C> Object<C> {
    fn new(
        ((distribution, path), counts): ((String, String), C),
        origins: impl Fn(&str, &str) -> Vec<String>,
    ) -> Self {
        Self { origins: origins(&distribution, &path), distribution, path, counts }
    }
}

fn merged<'a, K: Clone + Eq + Hash + Ord + 'a, C: Counted + 'a>(
    entries: impl Iterator<Item = (&'a K, &'a C)>,
) -> Vec<(K, C)> {
    let mut sums = HashMap::<&K, C>::new();
    for (key, counts) in entries {
        sums.entry(key).or_default().add(counts);
    }
    let mut all: Vec<(&K, C)> = sums.into_iter().collect();
    all.sort_unstable_by(|(a, of_a), (b, of_b)| {
        of_b.weight().cmp(&of_a.weight()).then_with(|| a.cmp(b))
    });
    all.into_iter().take(SHOWN).map(|(key, counts)| (key.clone(), counts)).collect()
}

//! Eviction policies.

mod gdsf;
mod links;
mod lru;
mod s3_fifo;
mod sieve;
mod tiny_lfu;

pub(super) use gdsf::Gdsf;
pub(super) use lru::Lru;
pub(super) use s3_fifo::S3Fifo;
pub(super) use sieve::Sieve;
pub(super) use tiny_lfu::TinyLfu;

/// A cache with an eviction policy. Objects are numbered from 0.
pub(super) trait Policy {
    /// Requests an object of a size in bytes, and stores it unless it is larger than the cache. Returns whether it was there.
    fn request(&mut self, object: u32, size: u64) -> bool;
}

/// The name of an eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyName {
    /// Least recently used, as Forebay evicts.
    Lru,
    /// SIEVE (Zhang and others, NSDI 2024).
    Sieve,
    /// S3-FIFO (Yang and others, SOSP 2023).
    S3Fifo,
    /// Greedy-Dual-Size-Frequency (Cherkasova, HP Labs 1998).
    Gdsf,
    /// TinyLFU, as moka admits (Einziger and others, ACM TOS 2017).
    TinyLfu,
}

impl PolicyName {
    pub(crate) const ALL: [Self; 5] =
        [Self::Lru, Self::TinyLfu, Self::Sieve, Self::S3Fifo, Self::Gdsf];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lru => "LRU",
            Self::Sieve => "SIEVE",
            Self::S3Fifo => "S3-FIFO",
            Self::Gdsf => "GDSF",
            Self::TinyLfu => "TinyLFU",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests with these outcomes: `+` for a hit.
    fn outcomes(mut policy: impl Policy, requests: &[(u32, u64)]) -> String {
        let hit = |(object, size): &(u32, u64)| policy.request(*object, *size);
        requests.iter().map(hit).map(|hit| if hit { '+' } else { '-' }).collect()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let requests = [(0, 4), (1, 4), (0, 4), (2, 4), (1, 4), (0, 4), (3, 99), (0, 4)];
        assert_eq!(outcomes(Lru::new(8, 4), &requests), "--+----+");
    }

    #[test]
    fn tiny_lfu_admits_as_moka_does() {
        const OBJECTS: u32 = 3000;
        let mut random = fastrand::Rng::with_seed(3);
        // About Zipf's law with exponent 1.
        let object = |at: f64| (f64::from(OBJECTS).powf(at) - 1.0).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 3000"
        )]
        let requests: Vec<u32> = (0..60_000).map(|_| object(random.f64()) as u32).collect();
        for capacity in [50_u64, 300] {
            let moka = moka::sync::Cache::builder()
                .max_capacity(capacity)
                .eviction_policy(moka::policy::EvictionPolicy::tiny_lfu())
                .build();
            let mut own = TinyLfu::new(capacity, OBJECTS as usize);
            let (mut hits, mut of_moka) = (0_u32, 0_u32);
            for object in &requests {
                hits += u32::from(own.request(*object, 1));
                of_moka += u32::from(moka.get(object).is_some());
                if !moka.contains_key(object) {
                    moka.insert(*object, ());
                }
                moka.run_pending_tasks();
            }
            let difference = (f64::from(hits) - f64::from(of_moka)).abs() / 60_000.0;
            assert!(difference < 0.02, "{capacity}: {hits}, {of_moka}");
        }
    }

    #[test]
    fn no_policy_stores_more_than_fits() {
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(7));
        let requests: Vec<(u32, u64)> = (0..20_000)
            .map(|_| {
                let object = random.borrow_mut().u32(0..300);
                (object, u64::from(object % 17 + 1))
            })
            .collect();
        // With room for everything, only the first request of each object misses.
        let all: u64 = (0..300).map(|object| object % 17 + 1).sum();
        for name in PolicyName::ALL {
            let hits = |capacity| {
                let seen = match name {
                    PolicyName::Lru => outcomes(Lru::new(capacity, 300), &requests),
                    PolicyName::Sieve => outcomes(Sieve::new(capacity, 300), &requests),
                    PolicyName::S3Fifo => outcomes(S3Fifo::new(capacity, 300), &requests),
                    PolicyName::Gdsf => outcomes(Gdsf::new(capacity, 300), &requests),
                    PolicyName::TinyLfu => outcomes(TinyLfu::new(capacity, 300), &requests),
                };
                seen.bytes().filter(|byte| *byte == b'+').count()
            };
            assert_eq!(hits(2 * all), 20_000 - 300, "{name:?}");
            assert_eq!(hits(0), 0, "{name:?}");
            let third = hits(all / 3);
            assert!((4_000..14_000).contains(&third), "{name:?}: {third}");
        }
    }
}

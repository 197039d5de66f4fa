//! Rate limits for requests: the generic cell rate algorithm, with one cell per client.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::DashMapStateStore},
};

use super::ClientNetwork;
use crate::base::clock::Clock;

/// Maximum number of client cells: enough that two clients seldom share one, and few enough to fit in
/// any machine's memory.
const CELLS: u64 = 1 << 18;

/// A number of requests per period, and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per period.
    pub requests: NonZeroU32,
    /// The period.
    pub per: Duration,
    /// Requests at once, after an idle time.
    pub burst: NonZeroU32,
}

impl Rate {
    fn quota(self) -> Option<Quota> {
        let each = self.per / self.requests.get();
        Some(Quota::with_period(each)?.allow_burst(self.burst))
    }
}

/// The configured rate limits of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The limit for each client: an IPv4 address or an IPv6 /64.
    pub per_client: Option<Rate>,
    /// The limit for all clients together.
    pub total: Option<Rate>,
}

type Limiter<K, S> = RateLimiter<K, S, Cells, NoOpMiddleware<Duration>>;

/// The active rate limits of a distribution.
pub struct RateLimits {
    rates: Rates,
    per_client: Option<Limiter<u32, DashMapStateStore<u32>>>,
    total: Option<Limiter<NotKeyed, InMemoryState>>,
    hasher: RandomState,
    clock: Cells,
}

impl std::fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimits").field("rates", &self.rates).finish_non_exhaustive()
    }
}

/// Adapts our clock to the limiter.
#[derive(Clone, Debug)]
struct Cells(Clock);

impl governor::clock::Clock for Cells {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime()
    }
}

impl RateLimits {
    /// Creates rate limits that have counted no requests yet.
    #[must_use]
    pub fn new(rates: Rates, clock: &Clock) -> Self {
        let clock = Cells(clock.clone());
        let per_client = rates.per_client.and_then(Rate::quota).map(|quota| {
            RateLimiter::new(quota, DashMapStateStore::<u32>::default(), clock.clone())
        });
        let total = rates
            .total
            .and_then(Rate::quota)
            .map(|quota| RateLimiter::new(quota, InMemoryState::default(), clock.clone()));
        Self { rates, per_client, total, hasher: RandomState::new(), clock }
    }

    /// The configured rates.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// Counts a request.
    ///
    /// # Errors
    /// If the request exceeds a limit: the time until it would be admitted.
    pub fn admit(&self, client: IpAddr) -> Result<(), Duration> {
        let now = || self.clock.now();
        if let Some(limiter) = &self.per_client {
            limiter.check_key(&self.cell(client)).map_err(|wait| wait.wait_time_from(now()))?;
        }
        match &self.total {
            Some(limiter) => limiter.check().map_err(|wait| wait.wait_time_from(now())),
            None => Ok(()),
        }
    }

    /// The cell of a client. The hash is keyed, so a client cannot choose whose cell it shares.
    fn cell(&self, client: IpAddr) -> u32 {
        let client = ClientNetwork::of(client);
        u32::try_from(self.hasher.hash_one(client) % CELLS).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn rate(requests: u32, seconds: u64, burst: u32) -> Rate {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        Rate { requests: number(requests), per: Duration::from_secs(seconds), burst: number(burst) }
    }

    #[test]
    fn a_client_that_asks_too_often_waits() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let rates = Rates { per_client: Some(rate(2, 1, 3)), total: None };
        let limits = RateLimits::new(rates, &clock);
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..3 {
            assert_eq!(limits.admit(one), Ok(()));
        }
        let wait = limits.admit(one).expect_err("too many");
        assert!(wait <= Duration::from_millis(500) && !wait.is_zero(), "{wait:?}");
        assert_eq!(limits.admit(other), Ok(()));
        clock.advance(Duration::from_millis(500));
        assert_eq!(limits.admit(one), Ok(()));
        assert!(limits.admit(one).is_err());
    }

    #[test]
    fn neighbours_of_one_network_are_one_client() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let rates = Rates { per_client: Some(rate(1, 60, 1)), total: None };
        let limits = RateLimits::new(rates, &clock);
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
        assert_eq!(limits.admit(address("2001:db8::1")), Ok(()));
        assert!(limits.admit(address("2001:db8::2")).is_err());
        assert_eq!(limits.admit(address("2001:db8:0:1::1")), Ok(()));
    }

    #[test]
    fn all_clients_share_the_total() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let rates = Rates { per_client: None, total: Some(rate(1, 1, 2)) };
        let limits = RateLimits::new(rates, &clock);
        let admitted = (1..=5).filter(|n| limits.admit([192, 0, 2, *n].into()).is_ok()).count();
        assert_eq!(admitted, 2);
    }
}

//! Shares of a scarce resource, counted per client.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of a client's waiting requests, per share that it may hold.
const WAITING: usize = 16;

/// The identity of a client by address: an IPv4 address or an IPv6 /64, because a /64 usually
/// belongs to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientNetwork {
    is_v4: bool,
    bits: u64,
}

impl ClientNetwork {
    /// The client network of an address.
    #[must_use]
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { is_v4: true, bits: u64::from(address.to_bits()) },
            IpAddr::V6(address) => Self { is_v4: false, bits: (address.to_bits() >> 64) as u64 },
        }
    }
}

/// Limits how many shares each client holds.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    clients: Mutex<HashMap<ClientNetwork, Client>>,
}

/// A client that holds shares or waits for one.
#[derive(Debug)]
struct Client {
    shares: Arc<Semaphore>,
    /// Shares held and requests waiting.
    users: usize,
}

impl Shares {
    /// Creates shares with at most `most` per client.
    #[must_use]
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, clients: Mutex::default() })
    }

    /// Creates shares with at most `limit` per client, or a quarter of `all` if no limit is set.
    #[must_use]
    pub(crate) fn of(all: usize, limit: Option<usize>) -> Arc<Self> {
        Self::new(limit.unwrap_or((all / 4).max(1)))
    }

    /// Takes a share for a client, unless it holds the maximum.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let (user, shares) = self.user(client)?;
        let permit = shares.try_acquire_owned().ok()?;
        Some(Share { _permit: Some(permit), _user: Some(user) })
    }

    /// Waits for a share for a client. Returns `None` if that takes longer than `patience`, or if too many of
    /// the client's requests are already waiting. Cancel-safe.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        client: IpAddr,
        patience: Duration,
    ) -> Option<Share> {
        let (user, shares) = self.user(client)?;
        let permit = tokio::time::timeout(patience, shares.acquire_owned()).await.ok()?.ok()?;
        Some(Share { _permit: Some(permit), _user: Some(user) })
    }

    fn user(self: &Arc<Self>, client: IpAddr) -> Option<(User, Arc<Semaphore>)> {
        let client = ClientNetwork::of(client);
        let mut clients = self.clients.lock();
        let known = clients
            .entry(client)
            .or_insert_with(|| Client { shares: Arc::new(Semaphore::new(self.most)), users: 0 });
        if known.users >= self.most.saturating_mul(1 + WAITING) {
            return None;
        }
        known.users += 1;
        let shares = Arc::clone(&known.shares);
        Some((User { all: Arc::clone(self), client }, shares))
    }
}

/// A share, returned when dropped.
#[derive(Debug)]
pub struct Share {
    // Drop order matters: the permit is returned before the client may be removed.
    _permit: Option<OwnedSemaphorePermit>,
    _user: Option<User>,
}

impl Share {
    /// A share that counts against no client.
    #[must_use]
    pub const fn exempt() -> Self {
        Self { _permit: None, _user: None }
    }
}

/// Keeps its client in the table.
#[derive(Debug)]
struct User {
    all: Arc<Shares>,
    client: ClientNetwork,
}

impl Drop for User {
    fn drop(&mut self) {
        let mut clients = self.all.clients.lock();
        if let Entry::Occupied(mut client) = clients.entry(self.client) {
            client.get_mut().users -= 1;
            if client.get().users == 0 {
                client.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn each_client_has_a_part_and_no_more() {
        let shares = Shares::new(2);
        let first = shares.take(address("192.0.2.1")).expect("one");
        let second = shares.take(address("::ffff:192.0.2.1")).expect("two");
        assert!(shares.take(address("192.0.2.1")).is_none());
        let others = ["192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|a| shares.take(address(a)));
        assert!(others.iter().all(Option::is_some));
        assert!(shares.take(address("2001:db8::3")).is_none(), "one network");
        assert!(shares.take(address("2001:db8:0:1::3")).is_some());
        drop(first);
        assert!(shares.take(address("192.0.2.1")).is_some());
        drop((second, others));
        assert!(shares.clients.lock().is_empty());
    }

    #[tokio::test]
    async fn a_share_that_is_given_back_goes_to_the_next() {
        let shares = Shares::of(4, None);
        let client = address("192.0.2.1");
        let held = shares.take(client).expect("a quarter");
        let waiting = Arc::clone(&shares);
        let waiting =
            tokio::spawn(async move { waiting.wait(client, Duration::from_secs(10)).await });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.expect("waited").is_some());
        assert!(shares.clients.lock().is_empty());
    }
}

//! Shares of something scarce, counted for each client.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A client as far as its address shows: an IPv4 address, or an IPv6 network of 64 bits, all of which belong to
/// whoever has one address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork {
    is_v4: bool,
    bits: u64,
}

impl ClientNetwork {
    /// The network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { is_v4: true, bits: u64::from(address.to_bits()) },
            IpAddr::V6(address) => Self { is_v4: false, bits: (address.to_bits() >> 64) as u64 },
        }
    }
}

/// Hands out shares, each client at most so many at a time.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    taken: Mutex<HashMap<ClientNetwork, usize>>,
    /// Notified of every share that is given back.
    returned: Notify,
}

impl Shares {
    /// At most `most` for each client.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), returned: Notify::new() })
    }

    /// A share for a client, unless it has its part already.
    #[must_use]
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let client = ClientNetwork::of(client);
        let mut taken = self.taken.lock();
        let count = taken.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share(Some((Arc::clone(self), client))))
    }
}

impl Shares {
    /// A share for a client, as soon as it has one left; `None` when that takes longer than `patience`.
    /// Cancel-safe.
    pub async fn wait(self: &Arc<Self>, client: IpAddr, patience: Duration) -> Option<Share> {
        let share = async {
            loop {
                let returned = self.returned.notified();
                if let Some(share) = self.take(client) {
                    return share;
                }
                returned.await;
            }
        };
        tokio::time::timeout(patience, share).await.ok()
    }
}

/// A share, given back when dropped.
#[derive(Debug)]
pub struct Share(Option<(Arc<Shares>, ClientNetwork)>);

impl Share {
    /// A share that counts for no client.
    #[must_use]
    pub const fn exempt() -> Self {
        Self(None)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, client)) = &self.0 else { return };
        let mut taken = shares.taken.lock();
        if let Entry::Occupied(mut count) = taken.entry(*client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        drop(taken);
        shares.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_part_and_no_more() {
        let shares = Shares::new(2);
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
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
        assert!(shares.taken.lock().is_empty());
    }
}

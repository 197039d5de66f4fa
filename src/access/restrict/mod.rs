//! Access control by address, country and rate.

mod geography;
mod rate;
mod shares;

use std::net::IpAddr;

pub(crate) use geography::{Countries, DatabaseError, Databases, Geography, NetworkLocation};
use ipnet::IpNet;
pub(crate) use rate::{Rate, RateLimits, Rates};
pub(crate) use shares::{ClientNetwork, Share, Shares};

/// Networks, in CIDR notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Parses a network or a single address; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<IpNet> {
        text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
    }

    /// Whether any of the networks contains an address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether the list is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// The client addresses that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// If set, only these are allowed.
    pub allow: Option<Networks>,
    /// These are denied, even if `allow` has them.
    pub deny: Networks,
}

impl Addresses {
    /// Whether an address is allowed.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        !self.deny.contain(address)
            && self.allow.as_ref().is_none_or(|networks| networks.contain(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_comes_before_allowance() {
        let networks = |texts: &[&str]| -> Networks {
            texts.iter().map(|text| Networks::parse(text).expect("network")).collect()
        };
        let rule = Addresses {
            allow: Some(networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])),
            deny: networks(&["10.1.0.0/16"]),
        };
        for (address, admitted) in [
            ("10.2.3.4", true),
            ("10.1.3.4", false),
            ("11.0.0.1", false),
            ("2001:db8::1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(rule.admit(address.parse().expect("address")), admitted, "{address}");
        }
        assert!(Addresses::default().admit([1, 2, 3, 4].into()));
        assert_eq!(Networks::parse("10.0.0.0/33"), None);
        assert_eq!(Networks::parse("example.com"), None);
    }
}

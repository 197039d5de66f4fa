//! Estimated savings.

use serde::Serialize;

use crate::base::metrics::Totals;

/// Prices of origins.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// Of 1,000,000,000 bytes that an origin sends.
    pub per_gigabyte: f64,
    /// Of 1,000 requests to an origin.
    pub per_1000_requests: f64,
    /// The name of the currency.
    pub currency: String,
}

impl Default for Prices {
    /// S3's prices in us-east-1: the first 10 TB a month to the Internet, and GET requests of S3 Standard (Amazon S3
    /// pricing, November 2026).
    fn default() -> Self {
        Self { per_gigabyte: 0.09, per_1000_requests: 0.0004, currency: "USD".to_owned() }
    }
}

/// Requests and bytes that the cache served without an origin, and their price.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    requests: u64,
    bytes: u64,
    cost: f64,
    currency: String,
}

impl Prices {
    /// What the hits among `totals` saved.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn saved(&self, totals: &Totals) -> Saved {
        let (requests, bytes) = (totals.hits, totals.hit_bytes);
        let cost =
            bytes as f64 / 1e9 * self.per_gigabyte + requests as f64 / 1e3 * self.per_1000_requests;
        Saved { requests, bytes, cost, currency: self.currency.clone() }
    }
}

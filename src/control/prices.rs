//! What the cache saves, in money.

use serde::Serialize;

use crate::base::metrics::Totals;

/// What origins charge.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// 1,000,000,000 bytes that an origin sends.
    pub gigabyte: f64,
    /// 1,000 requests to an origin.
    pub thousand_requests: f64,
    /// The name of the currency.
    pub currency: String,
}

impl Default for Prices {
    /// S3's prices in us-east-1: the first 10 TB a month to the Internet, and GET requests of S3 Standard (Amazon S3
    /// pricing, November 2026).
    fn default() -> Self {
        Self { gigabyte: 0.09, thousand_requests: 0.0004, currency: "USD".to_owned() }
    }
}

/// What origins did not have to answer and send, because the cache did.
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
            bytes as f64 / 1e9 * self.gigabyte + requests as f64 / 1e3 * self.thousand_requests;
        Saved { requests, bytes, cost, currency: self.currency.clone() }
    }
}

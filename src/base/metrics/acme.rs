//! Metrics of automatic certificates.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::base::clock::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Metrics of automatic certificates.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcmeMetrics {
    orders: Family<OutcomeLabel, Counter>,
    expiry: Family<HostLabel, Gauge>,
}

impl AcmeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("acme_orders", "Orders of certificates, by outcome", self.orders.clone());
        registry.register_with_unit(
            "acme_expiry_timestamp",
            "When the certificate of a host expires, since 1970; 0 if it has none",
            Unit::Seconds,
            self.expiry.clone(),
        );
        for outcome in ["issued", "failed"] {
            let _ = self.orders.get_or_create(&OutcomeLabel { outcome });
        }
    }

    /// Counts an order.
    pub(crate) fn ordered(&self, is_issued: bool) {
        let outcome = if is_issued { "issued" } else { "failed" };
        self.orders.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Replaces the hosts, and the ends of their certificates.
    pub(crate) fn set_hosts<'a>(&self, hosts: impl Iterator<Item = (&'a str, Option<Timestamp>)>) {
        self.expiry.clear();
        for (host, end) in hosts {
            let end = end.map_or(0, |end| i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
            self.expiry.get_or_create(&HostLabel { host: host.to_owned() }).set(end);
        }
    }
}

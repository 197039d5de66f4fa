//! Decides which requests are traced, and collects their spans.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Parents, Trace, TraceOptions,
    context::{OF_PEERS, Parent, STANDARD},
    span_queue::SpanQueue,
};
use crate::base::metrics::TraceMetrics;

/// Decides which requests are traced, and collects their spans until they are sent.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    /// A request begins a trace if a random number is at most this.
    threshold: u64,
    parents: Parents,
    to_origins: bool,
    queue: Arc<SpanQueue>,
}

impl Tracer {
    /// A tracer with these options.
    pub(crate) fn new(options: &TraceOptions, metrics: TraceMetrics) -> Self {
        Self {
            threshold: threshold(options.sampling_ratio),
            parents: options.parents,
            to_origins: options.to_origins,
            queue: Arc::new(SpanQueue::new(metrics)),
        }
    }

    /// The spans that wait to be sent.
    pub(crate) const fn queue(&self) -> &Arc<SpanQueue> {
        &self.queue
    }

    /// Whether a viewer's request is traced: as its `traceparent` says if that is to be trusted, else by chance.
    pub(crate) fn begin(
        &self,
        fields: &HeaderMap,
        is_from_trusted_proxy: bool,
    ) -> Option<Arc<Trace>> {
        let continues = match self.parents {
            Parents::TrustedProxies => is_from_trusted_proxy,
            Parents::Anyone => true,
            Parents::NoOne => false,
        };
        match continues.then(|| Parent::of(fields, &STANDARD)).flatten() {
            Some(parent) => parent.is_sampled().then(|| self.trace(Some(parent))),
            None => self.is_chosen().then(|| self.trace(None)),
        }
    }

    /// Continues the trace of another node's request.
    pub(crate) fn begin_for_peer(&self, fields: &HeaderMap) -> Option<Arc<Trace>> {
        let parent = Parent::of(fields, &OF_PEERS).filter(Parent::is_sampled)?;
        Some(self.trace(Some(parent)))
    }

    fn trace(&self, parent: Option<Parent>) -> Arc<Trace> {
        Trace::new(&self.queue, self.to_origins, parent)
    }

    fn is_chosen(&self) -> bool {
        self.threshold > 0 && fastrand::u64(..) <= self.threshold
    }
}

/// The number that this share of all random numbers does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share needs no precision, and the cast saturates"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio * u64::MAX as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(share: f64, parents: Parents) -> Tracer {
        Tracer { threshold: threshold(share), parents, ..Tracer::default() }
    }

    fn fields(flags: &str) -> HeaderMap {
        let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        HeaderMap::from_iter([(STANDARD.parent, value.parse().expect("value"))])
    }

    #[test]
    fn a_trusted_parent_decides_and_chance_otherwise() {
        let none = HeaderMap::new();
        let (all, nothing) = (1.0, 0.0);
        for (share, parents, fields, is_trusted, is_traced, continues) in [
            (all, Parents::TrustedProxies, &none, false, true, false),
            (nothing, Parents::TrustedProxies, &none, true, false, false),
            (nothing, Parents::TrustedProxies, &fields("01"), true, true, true),
            (nothing, Parents::TrustedProxies, &fields("01"), false, false, false),
            (all, Parents::TrustedProxies, &fields("00"), true, false, false),
            (all, Parents::TrustedProxies, &fields("00"), false, true, false),
            (nothing, Parents::Anyone, &fields("01"), false, true, true),
            (nothing, Parents::NoOne, &fields("01"), true, false, false),
            (all, Parents::NoOne, &fields("01"), true, true, false),
        ] {
            let trace = tracer(share, parents).begin(fields, is_trusted);
            let case = format!("{share} {parents:?} {fields:?} {is_trusted}");
            assert_eq!(trace.is_some(), is_traced, "{case}");
            assert_eq!(trace.is_some_and(|trace| trace.ids.parent.is_some()), continues, "{case}");
        }
    }

    #[test]
    fn a_share_is_about_a_share() {
        let tracer = tracer(0.25, Parents::NoOne);
        let fields = HeaderMap::new();
        let chosen = (0..10_000).filter(|_| tracer.begin(&fields, false).is_some()).count();
        assert!((2_000..3_000).contains(&chosen), "{chosen}");
    }
}

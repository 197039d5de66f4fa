//! The most requests in a second.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior},
};

/// Bounds the requests in a second. After a pause, requests are not made up for.
pub(crate) struct RateLimit(Mutex<Interval>);

impl RateLimit {
    /// At most `rate` requests in a second. Must be called within a runtime.
    pub(crate) fn new(rate: f64) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Mutex::new(ticks))
    }

    /// Waits until the next request may be sent.
    pub(crate) async fn wait(&self) {
        self.0.lock().await.tick().await;
    }
}

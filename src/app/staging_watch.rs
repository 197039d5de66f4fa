//! Ends a staging configuration whose requests fail more often than the others.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::proxy::{Edge, STAGED, Staging};

/// How often counts are compared.
const INTERVAL: Duration = Duration::from_secs(1);

/// Over how many intervals they are compared: a minute.
const INTERVALS: usize = 60;

/// The fewest requests of each side in that time that say something.
const MIN_REQUESTS: u64 = 20;

/// By how many standard deviations shares must differ: they are compared every second.
const DEVIATIONS: f64 = 3.0;

/// Requests, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    requests: u64,
    errors: u64,
}

/// What was counted on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sides {
    primary: Count,
    staging: Count,
}

/// The counts of the last minute, for one staging configuration.
#[derive(Default)]
struct Recent {
    generation: u64,
    counts: VecDeque<Sides>,
}

/// Compares the shares of errors until Forebay stops.
pub(super) async fn watch(edge: Arc<Edge>, mut stopped: watch::Receiver<bool>) {
    let mut recent = Recent::default();
    show(&edge);
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        look(&edge, &mut recent);
    }
}

/// Shows in the metrics whether a staging configuration serves requests.
pub(super) fn show(edge: &Edge) {
    let is_active = edge.rules().staging.as_ref().is_some_and(|staging| !staging.has_ended());
    edge.metrics().configuration.set_staging(is_active);
}

fn look(edge: &Edge, recent: &mut Recent) {
    let rules = edge.rules();
    let staging = rules.staging.as_ref().filter(|staging| !staging.has_ended());
    let Some(staging) = staging else { return recent.counts.clear() };
    if recent.generation != staging.generation {
        *recent = Recent { generation: staging.generation, ..Recent::default() };
    }
    let Some((now, primary, staged)) = recent.add(count(edge, staging), staging) else { return };
    staging.end();
    show(edge);
    tracing::error!(
        requests = now.requests,
        errors = now.errors,
        "the staging configuration ended: {:.1}% of its requests in the last minute failed, and {:.1}% of the others; change it and reload to try again",
        staged * 100.0,
        primary * 100.0
    );
}

/// What was counted until now. The primary side counts only what the other one has a distribution for.
fn count(edge: &Edge, staging: &Staging) -> Sides {
    let mut sides = Sides::default();
    let staged: Vec<&str> = staging.hosts.all().iter().map(|it| &*it.settings.id).collect();
    for (id, totals) in edge.metrics().totals() {
        let side = match staged.iter().find(|staged| staged.strip_suffix(STAGED) == Some(&*id)) {
            _ if staged.contains(&&*id) => &mut sides.staging,
            Some(_) => &mut sides.primary,
            None => continue,
        };
        side.requests += totals.requests;
        side.errors += totals.client_errors + totals.server_errors;
    }
    sides
}

impl Recent {
    /// Adds counts. Returns what staging did in the last minute and the shares of errors of both sides, if staging is worse by
    /// more than its margin.
    fn add(&mut self, sides: Sides, staging: &Staging) -> Option<(Count, f64, f64)> {
        self.counts.push_back(sides);
        if self.counts.len() > INTERVALS + 1 {
            self.counts.pop_front();
        }
        let first = self.counts.front()?;
        let [staged, primary] =
            [sides.staging.since(first.staging), sides.primary.since(first.primary)];
        let (own, other) = (staged.share(), primary.share());
        let by_chance = DEVIATIONS * (staged.variance() + primary.variance()).sqrt();
        let is_worse = staged.requests.min(primary.requests) >= MIN_REQUESTS
            && own > other + staging.error_margin() + by_chance;
        is_worse.then_some((staged, other, own))
    }
}

impl Count {
    fn since(self, earlier: Self) -> Self {
        let requests = self.requests.saturating_sub(earlier.requests);
        Self { requests, errors: self.errors.saturating_sub(earlier.errors) }
    }

    /// The variance of the share, if each request fails by chance.
    #[expect(clippy::cast_precision_loss, reason = "it needs no more than 52 bits")]
    fn variance(self) -> f64 {
        let share = self.share();
        share * (1.0 - share) / self.requests.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    fn share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }
}

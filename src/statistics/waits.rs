//! How long viewers waited for an object.

use serde::Serialize;

use super::{sample::Sample, space_saving::Counted};

/// How long viewers waited for the heads of responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Waits {
    pub(crate) requests: u64,
    /// The sum, in microseconds.
    pub(crate) microseconds: u64,
}

impl Waits {
    /// The waits that a sample adds, by its weight.
    pub(super) fn of(sample: &Sample) -> Self {
        let weight = u64::from(sample.weight);
        let wait = u64::try_from(sample.first_byte.as_micros()).unwrap_or(u64::MAX);
        Self { requests: weight, microseconds: weight.saturating_mul(wait) }
    }
}

impl Counted for Waits {
    fn weight(&self) -> u64 {
        self.microseconds
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.microseconds = self.microseconds.saturating_add(more.microseconds);
    }
}

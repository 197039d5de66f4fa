//! Classes of status codes, as metrics name them.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// A class of status codes: `1xx` to `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StatusClass(u16);

impl StatusClass {
    pub(super) const COUNT: usize = 5;
    pub(super) const ALL: [Self; Self::COUNT] = [Self(1), Self(2), Self(3), Self(4), Self(5)];

    /// The place of a status's class in [`Self::ALL`].
    pub(super) fn place(status: u16) -> usize {
        usize::from(status / 100).clamp(1, Self::COUNT) - 1
    }
}

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        write!(encoder, "{}xx", self.0)
    }
}

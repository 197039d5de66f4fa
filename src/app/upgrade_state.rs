//! The state of an upgrade.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::late_invalidations::LateInvalidations;
use crate::handover::Channel;

/// The state of an upgrade.
#[derive(Default)]
pub(super) struct UpgradeState {
    /// Whether the upgrade in progress must end.
    pub(super) is_cancelled: AtomicBool,
    /// The channel to the process that is to replace this one.
    pub(super) channel: Mutex<Option<Channel>>,
    /// The invalidations that the process that has replaced this one must know of.
    pub(super) late_invalidations: Mutex<Option<LateInvalidations>>,
}

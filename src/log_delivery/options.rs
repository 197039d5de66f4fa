//! The options of the delivery.

use crate::outbound::Address;

/// `[access_log.s3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryOptions {
    /// The bucket's name.
    pub(crate) bucket: String,
    /// Its region.
    pub(crate) region: String,
    /// Its address.
    pub(crate) address: Address,
    /// The beginning of the keys.
    pub(crate) prefix: String,
    /// The most bytes of files that may wait after a failure. Beyond it, the oldest are removed.
    pub(crate) max_waiting: u64,
}

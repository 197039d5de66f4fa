//! What the writer, the readers and the recovery share.

use std::sync::Arc;

use super::{
    counters::Counters, files::Files, index::Index, options::DiskOptions, queue::Queue,
    segment::TierId, segments::Segments,
};
use crate::base::clock::Clock;

pub(super) struct Shared {
    pub(super) options: DiskOptions,
    pub(super) tier: TierId,
    pub(super) files: Arc<dyn Files>,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) queue: Queue,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
}

//! Compressions in progress.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    cache::store::{ContentId, StoredResponse},
    http::coding::Coding,
};

/// An encoding in progress, which several requests may wait for.
pub(crate) type PendingEncoding = Shared<BoxFuture<'static, Option<Arc<StoredResponse>>>>;

/// The encodings in progress. One task makes each, however many requests wait for it.
#[derive(Debug)]
pub(crate) struct Compressor {
    pub(crate) making: Mutex<HashMap<(ContentId, Coding), PendingEncoding>>,
    /// One permit for every two cores, so that compression does not starve serving.
    pub(crate) permits: Semaphore,
}

impl Compressor {
    /// The encodings that run or wait for their turn.
    pub(crate) fn in_progress(&self) -> usize {
        self.making.lock().len()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { making: Mutex::default(), permits: Semaphore::new(cores.div_ceil(2)) }
    }
}

//! Fetches from origins: collapsed misses, validation, slices, request bodies.

pub(crate) mod buffer;
pub(crate) mod coalesce;
pub(crate) mod fetch_task;
pub(crate) mod forwarded;
pub(crate) mod paced;
pub(crate) mod received_range;
pub(crate) mod revalidate;
mod source;
pub(crate) mod storing;
pub(crate) mod upload;
pub(crate) mod upstream;

//! Shared foundations: time, the operator's log, metrics.

pub mod clock;
pub mod glob;
pub mod instance;
pub mod key_file;
pub(crate) mod list_lines;
pub mod log;
pub(crate) mod memory;
pub mod metrics;
pub mod sha256;
pub mod text;
pub(crate) mod write_layer;

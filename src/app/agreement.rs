//! Agreements between a process and the one that replaces it.

use crate::{cache::store::RECORDS, config::Config};

/// Set for a process that replaces another one. Its standard input is the channel.
pub(super) const VARIABLE: &str = "FOREBAY_UPGRADE";

/// The kind of contents that a process with this configuration can take over from the memory of another one. `None` if
/// they are on its disk.
pub(super) fn contents_of(config: &Config) -> Option<String> {
    let cluster = config.cluster.as_ref().map_or("none", |cluster| &cluster.name);
    let is_in_memory = config.disk.is_none();
    is_in_memory.then(|| format!("{RECORDS}, {}, {cluster}", config.cache.slice))
}

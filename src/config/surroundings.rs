//! Configuration from outside `[[distribution]]`.

use std::path::Path;

use super::policies::Policies;

/// Configuration from outside `[[distribution]]` that distributions need.
pub(super) struct Surroundings<'a> {
    pub(super) policies: Policies,
    pub(super) directory: &'a Path,
    /// The location of this machine.
    pub(super) pop: String,
    /// Whether viewers' countries are known.
    pub(super) has_geography: bool,
    /// The port for HTTP/3, if there is one.
    pub(super) http3_port: Option<u16>,
}

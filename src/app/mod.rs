//! The composition root: builds the components from a configuration, starts, reloads, replaces and drains them.

mod agreement;
mod automatic_https;
mod background;
mod certificates;
mod error;
mod files_of_rules;
mod last_state;
mod late_invalidations;
mod listeners;
mod listening_sockets;
mod named_files;
mod open_files;
mod peers;
mod predecessor;
mod program;
mod quic_sockets;
mod replaced;
mod rules;
mod running;
mod signal;
mod staging_watch;
mod start;
mod stop;
mod successor;
mod tls_options;
mod upgrade;
mod upgrade_error;
mod upgrade_state;

use std::sync::Arc;

pub use error::Error;
pub use named_files::check_files;
pub use predecessor::Predecessor;
pub use program::Program;
pub use running::Running;
pub(crate) use start::prepare;
pub use start::start;
pub use successor::Successor;
pub use upgrade_error::UpgradeError;

use crate::aws::Credentials;

pub use crate::control::Reloaded;

/// The source of the credentials.
#[derive(Debug)]
pub enum CredentialSource {
    /// AWS's standard chain, renewed in the background.
    StandardChain,
    /// Credentials that the caller maintains.
    Given(Arc<Credentials>),
}

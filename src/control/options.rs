//! The configuration of the admin listener.

use std::path::PathBuf;

use super::{CallerOptions, Queue, prices::Prices};

/// The configuration of the admin listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The callers that may change something.
    pub callers: CallerOptions,
    /// The folder for state that survives a restart.
    pub state: Option<PathBuf>,
    /// SQS queues that receive S3's events.
    pub queues: Vec<Queue>,
    /// SNS topics whose messages `POST /events` accepts.
    pub topics: Vec<String>,
    /// Whether viewers can connect with TLS.
    pub has_https: bool,
    /// Prices for the dashboard's estimate of savings.
    pub prices: Prices,
}

//! Why a process was not replaced.

use std::{io, path::PathBuf};

/// The reason why a process was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The program cannot be started.
    #[error("`{}` cannot be started: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The new process cannot start, and says why.
    #[error("the new process cannot start:\n{0}")]
    Refused(String),
    /// The new process ended without a reason.
    #[error("the new process ended before it was ready ({0})")]
    Ended(String),
    /// The new process takes too long.
    #[error("the new process was not ready in time")]
    TooSlow,
    /// Purges or writes to the disk do not end.
    #[error("a purge or a write to the disk cache has been in progress for too long")]
    Busy,
    /// This process was stopped.
    #[error("it was cancelled, because this process stops")]
    Cancelled,
    /// The index of the disk cache is not complete.
    #[error(
        "the disk cache still reads its index: try again once `/readyz` shows that it is ready"
    )]
    Recovering,
    /// The new process speaks another version of the protocol.
    #[error("version {0} of Forebay cannot replace this one while it runs: restart it instead")]
    OtherVersion(String),
    /// The connection to it failed.
    #[error("the new process cannot be reached: {0}")]
    System(io::Error),
    /// The process would end its container.
    #[error("the container ends with this process: replace the container instead")]
    FirstOfContainer,
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Ended(String::new()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::System(error),
        }
    }
}

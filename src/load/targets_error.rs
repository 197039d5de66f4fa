//! Why there are no targets.

use std::path::PathBuf;

/// The error if there are no targets.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// A line is invalid.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from one.
        line: usize,
        /// The problem with the line.
        reason: String,
    },
    /// The file has no targets.
    #[error("`{}` has nothing to request: a list needs at least one URL, a log at least one GET", .0.display())]
    Nothing(PathBuf),
    /// A log does not say when each request arrived.
    #[error("the logs do not say when each request arrived; leave out --speed")]
    NoTimes,
}

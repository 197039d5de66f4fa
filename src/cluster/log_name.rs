//! The name of a log of purges in a node's journal.

use std::{fmt, str::FromStr};

use super::stream_state::Reset;

/// A stream, and the last purge of everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogName {
    /// The name of the stream, and when it was created.
    pub(super) stream: String,
    /// The number of the purge of everything; 0 if there was none.
    pub(super) reset: u64,
}

impl LogName {
    /// The log of a stream, whose last purge of everything is `reset`.
    pub(super) fn of(stream: &str, reset: Option<Reset>) -> Self {
        Self { stream: stream.to_owned(), reset: reset.map_or(0, |reset| reset.number) }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.stream, self.reset)
    }
}

impl FromStr for LogName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, reset) = text.rsplit_once(' ').ok_or(())?;
        let reset = u64::from_str_radix(reset, 16).map_err(|_| ())?;
        Ok(Self { stream: stream.to_owned(), reset })
    }
}

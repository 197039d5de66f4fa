//! The operator's log, on standard error.
//!
//! Serving threads hand their lines to a writer with a bounded queue. If standard error blocks, as with a
//! container's blocking log driver, lines are dropped and counted. Serving continues.

use std::{
    io::IsTerminal,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::clock::Timestamp;

/// The number of lines that may wait for the writer.
const QUEUE: usize = 8192;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// On drop, flushes queued lines for up to one second.
#[must_use = "dropping it ends the log"]
pub struct Log {
    _writer: WorkerGuard,
}

/// Starts the log for this process.
pub fn start(filter: EnvFilter) -> Log {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true);
    let (writer, guard) = builder.finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer)
        .with_target(false)
        .init();
    // The standard hook writes to standard error directly and would block there.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, "panicked: {message}");
    }));
    Log { _writer: guard }
}

/// Time between two lines with the same message.
pub const QUIET: Duration = Duration::from_secs(1);

/// Limits a log message to one line a second.
#[derive(Debug, Default)]
pub struct LogLimiter {
    /// Milliseconds since the epoch; zero before the first line.
    last: AtomicU64,
    suppressed: AtomicU64,
}

impl LogLimiter {
    /// Creates a limiter that allows the next line.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// The number of lines suppressed since the last one, if another is allowed now.
    pub fn admit(&self, now: Timestamp) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        let is_quiet = now.since(Timestamp::from_millis(last)) < QUIET;
        let is_ours = || {
            let now = now.as_millis();
            self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if is_quiet || !is_ours() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

/// A number for a log field, which is left out if the number is zero.
#[must_use]
pub fn unless_zero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// Lines dropped so far.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

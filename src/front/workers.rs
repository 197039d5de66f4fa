//! How work is spread over the cores.
//!
//! This is the one place that decides: each worker is a thread with a runtime and listening
//! sockets of its own, so that a request is served on one core from its first byte to its last.

use std::{io, thread::JoinHandle};

use tokio::runtime::{Builder, Runtime};

/// The threads that serve viewers.
#[derive(Debug)]
pub struct Workers(Vec<JoinHandle<()>>);

/// Starts `count` workers; each runs the future that `work` makes for it.
///
/// # Errors
/// When a thread or a runtime cannot be started.
pub fn spawn_workers<W>(count: usize, mut work: impl FnMut() -> W) -> io::Result<Workers>
where
    W: FnOnce(&Runtime) + Send + 'static,
{
    let mut threads = Vec::with_capacity(count);
    for number in 0..count {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let work = work();
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || work(&runtime))?);
    }
    Ok(Workers(threads))
}

impl Workers {
    /// Waits until all have ended.
    pub fn join(self) {
        for thread in self.0 {
            // A worker that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

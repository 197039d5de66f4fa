//! Load for caches: many requests for what is stored, and how fast it comes.
//!
//! A run asks for its [`Targets`] over a number of lanes (connections, and with HTTP/2 streams on
//! them), either one request after the other on each (a closed loop) or at a constant rate, whatever
//! becomes of the answers (an open loop, whose latencies count from when a request was due, so that a
//! server that stands still is not measured by the requests that were never sent). Each thread counts
//! for itself; once a second what it counted is taken from it.

mod answer;
mod lane;
mod line;
mod mix;
mod pace;
mod page;
mod plot;
mod report;
mod sign;
mod tally;
mod targets;
mod warm;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::HeaderMap;
pub use line::{Http, Line, Trust, TrustError};
pub use mix::Mix;
use parking_lot::Mutex;
pub use report::Report;
pub use sign::{Signer, SignerError};
use tally::Tally;
pub use tally::{Failure, Second};
pub use targets::{Pick, Target, Targets, TargetsError};
use tokio::runtime::Builder;

use crate::clock::Stopwatch;

/// How long and how hard to ask.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that ask; connections are spread over them.
    pub threads: NonZeroUsize,
    /// Connections open at once.
    pub connections: NonZeroUsize,
    /// Requests under way at once on each connection, with HTTP/2.
    pub streams: NonZeroUsize,
    /// Requests a second that become due, whatever becomes of the answers; `None` asks anew as soon as
    /// an answer is there.
    pub rate: Option<f64>,
    /// When to stop.
    pub until: Until,
    /// Longest time for an answer.
    pub timeout: Duration,
    /// Fields of every request.
    pub fields: HeaderMap,
    /// Ranges and conditions among the requests.
    pub mix: Mix,
    /// Whether everything is asked for once before it counts.
    pub warm: bool,
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// When so many requests were answered.
    Requests(u64),
}

/// What all threads of a run share.
struct Run {
    options: Options,
    line: Line,
    targets: Arc<Targets>,
    /// Since measuring began.
    watch: Stopwatch,
    /// Requests that may still be begun.
    left: AtomicU64,
    over: AtomicBool,
}

impl Run {
    /// Takes the right to one more request.
    fn take(&self) -> bool {
        if self.over.load(Ordering::Relaxed) {
            return false;
        }
        match self.options.until {
            Until::Time(_) => true,
            Until::Requests(_) => {
                let one_less = |left: u64| left.checked_sub(1);
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            }
        }
    }

    const fn lanes(&self) -> usize {
        self.options.connections.get() * self.line.streams(self.options.streams.get())
    }
}

/// How often what was counted is collected, and told.
const TICK: Duration = Duration::from_secs(1);

/// Asks, and tells each second; returns when the run is over.
///
/// # Errors
/// When threads cannot be started, or nothing answers at all before anything was measured.
pub fn run(
    options: Options,
    line: Line,
    targets: Targets,
    mut tell: impl FnMut(&Second),
) -> std::io::Result<Report> {
    let targets = Arc::new(targets);
    if options.warm {
        warm::warm(&options, &line, &targets)?;
    }
    let left = match options.until {
        Until::Time(_) => u64::MAX,
        Until::Requests(requests) => requests,
    };
    let (watch, over) = (Stopwatch::start(), AtomicBool::new(false));
    let run = Arc::new(Run { options, line, targets, watch, left: AtomicU64::new(left), over });
    let threads = run.options.threads.get().min(run.options.connections.get());
    let tallies: Vec<Arc<Mutex<Tally>>> = (0..threads).map(|_| Arc::default()).collect();
    let mut working = Vec::with_capacity(threads);
    for (number, tally) in tallies.iter().enumerate() {
        let (run, tally) = (Arc::clone(&run), Arc::clone(tally));
        let thread = std::thread::Builder::new().name(format!("load-{number}"));
        working.push(thread.spawn(move || work(&run, &tally, number, threads))?);
    }
    let mut report = Report::new(&run);
    let mut at = Duration::ZERO;
    loop {
        let is_over = wait(&run, at + TICK, || working.iter().all(JoinHandle::is_finished));
        at = run.watch.elapsed();
        let second = tally::collect(&tallies, at);
        if let Some(second) = second {
            tell(&second.told());
            report.add(second);
        }
        if is_over {
            break;
        }
    }
    for thread in working {
        // A thread that panicked has said so on standard error.
        let _ = thread.join();
    }
    report.finish(at);
    Ok(report)
}

/// Sleeps until `until`, or until the run is over.
fn wait(run: &Run, until: Duration, is_finished: impl Fn() -> bool) -> bool {
    const NAP: Duration = Duration::from_millis(5);
    loop {
        let now = run.watch.elapsed();
        if matches!(run.options.until, Until::Time(time) if now >= time) {
            run.over.store(true, Ordering::Relaxed);
        }
        if is_finished() {
            return true;
        }
        if now >= until {
            return false;
        }
        std::thread::sleep(NAP.min(until.saturating_sub(now)));
    }
}

/// What one thread does: its share of the lanes, on a runtime of its own.
fn work(run: &Arc<Run>, tally: &Arc<Mutex<Tally>>, number: usize, threads: usize) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        tally.lock().fail(Failure::Connect);
        return;
    };
    let connections = run.options.connections.get();
    let mine = connections / threads + usize::from(number < connections % threads);
    runtime.block_on(lane::all(run, tally, mine));
}

/// Whether all addresses are this machine's own.
#[must_use]
pub fn is_loopback(addresses: &[SocketAddr]) -> bool {
    !addresses.is_empty()
        && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}

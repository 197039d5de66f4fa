//! A load generator for caches: sends many requests for stored objects and measures the responses.
//!
//! A run requests its [`Targets`] over a number of lanes: connections, or streams on them with HTTP/2 and HTTP/3.
//! In a closed loop, each lane sends one request after another. In an open loop, requests are due at given
//! times, regardless of the responses. Its latencies count from when a request was due, and requests
//! that were due but never sent count too, so a stalled server hides nothing. Each thread keeps its own
//! counts, which are collected once a second.

mod answer;
mod client;
mod exchange_error;
mod gathered;
mod json;
mod kept_connection;
mod lane;
mod line;
mod log_files;
mod logged;
mod machine;
mod mix;
mod pace;
mod page;
mod plot;
mod rate_limit;
mod received;
mod report;
mod request_kind;
mod requests;
mod schedule;
mod sender;
mod server;
mod sign;
mod slot;
mod tally;
mod target;
mod targets;
mod targets_error;
mod warm;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

pub(crate) use client::Client;
pub(crate) use gathered::LeftOut;
use http::{HeaderMap, header};
pub use line::{Http, Line, Trust, TrustError};
pub(crate) use log_files::{for_each_line, log_files};
pub use mix::Mix;
use pace::Pace;
pub(crate) use page::html_page;
use parking_lot::Mutex;
pub(crate) use plot::{Curve, Plot};
pub(crate) use rate_limit::RateLimit;
pub use report::Report;
pub(crate) use report::milliseconds;
pub(crate) use server::{Server, ServerError};
pub use sign::Signer;
use tally::Tally;
pub(crate) use tally::{Failure, Latencies, Second, latencies};
pub use targets::{Pick, Targets};
pub(crate) use targets_error::TargetsError;
use tokio::{runtime::Builder, sync::watch};
pub(crate) use warm::{WarmOptions, Warmed, warm_all};

use crate::base::clock::{Clock, Stopwatch};

/// The duration and intensity of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that send requests; connections are spread over them.
    pub threads: NonZeroUsize,
    /// Concurrent connections.
    pub connections: NonZeroUsize,
    /// Concurrent requests per connection with HTTP/2 and HTTP/3.
    pub streams: NonZeroUsize,
    /// When requests are due.
    pub due: Due,
    /// When to stop.
    pub until: Until,
    /// Longest wait for a response.
    pub timeout: Duration,
    /// Header fields of every request.
    pub fields: HeaderMap,
    /// Range and conditional requests among the others.
    pub mix: Mix,
    /// Whether to request every target once before measuring.
    pub warm: bool,
    /// The command line, for the report.
    pub command: String,
}

/// When requests are due.
#[derive(Clone, Debug)]
pub enum Due {
    /// As soon as a response arrives.
    AtOnce,
    /// So many a second, regardless of the responses.
    Rate(f64),
    /// At these times after the start, in order, regardless of the responses: those of a log, so many times as fast.
    Logged(Arc<[Duration]>, f64),
}

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After this many responses; at a constant rate, when this many requests would have been due.
    Requests(u64),
}

/// The phase of a run.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Requests are being sent.
    Asking,
    /// The run ended at this time and only waits for responses.
    Ending(Duration),
    /// The run ended at this time and waits for nothing.
    Abandoned(Duration),
}

/// State that all threads of a run share.
struct Run {
    options: Options,
    line: Line,
    targets: Targets,
    /// Time since measuring began.
    watch: Stopwatch,
    /// Requests left to send in a closed loop.
    left: AtomicU64,
    /// `None` in a closed loop.
    pace: Option<Pace>,
    phase: watch::Receiver<Phase>,
}

impl Run {
    /// Whether no more requests begin at `now`. Threads check this themselves: the signal arrives a moment later.
    fn is_over(&self, now: Duration) -> bool {
        self.phase.has_changed().unwrap_or(true) || self.end().is_some_and(|end| now >= end)
    }

    /// Takes the right to one more request in a closed loop, and returns the time.
    fn take(&self) -> Option<Duration> {
        let now = self.watch.elapsed();
        if self.is_over(now) {
            return None;
        }
        let is_left = match self.options.until {
            Until::Time(_) => true,
            Until::Requests(_) => {
                let one_less = |left: u64| left.checked_sub(1);
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            }
        };
        is_left.then_some(now)
    }

    /// Whether requests may be left in a closed loop.
    fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    fn give_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of the run, if known in advance.
    fn end(&self) -> Option<Duration> {
        self.options.end()
    }

    /// The time when the run ended.
    fn ended(&self) -> Duration {
        match *self.phase.borrow() {
            Phase::Ending(at) | Phase::Abandoned(at) => at,
            Phase::Asking => self.end().unwrap_or_else(|| self.watch.elapsed()),
        }
    }

    fn threads(&self) -> usize {
        self.options.threads.get().min(self.options.connections.get())
    }

    /// Maximum concurrent requests on a connection.
    fn streams(&self) -> usize {
        self.line.streams(self.options.streams.get())
    }

    /// The number of connections of a thread.
    fn share(&self, thread: usize) -> usize {
        (self.options.connections.get() - thread).div_ceil(self.threads())
    }
}

impl Options {
    /// The end of a run, if known in advance; if times are given, it always is.
    fn end(&self) -> Option<Duration> {
        match (self.until, &self.due) {
            (Until::Time(time), _) => Some(time),
            #[expect(clippy::cast_precision_loss, reason = "no run has so many requests")]
            (Until::Requests(requests), Due::Rate(rate)) => {
                Some(Duration::try_from_secs_f64(requests as f64 / rate).unwrap_or(Duration::MAX))
            }
            (Until::Requests(_), Due::Logged(times, _)) => times.last().copied(),
            (Until::Requests(_), Due::AtOnce) => None,
        }
    }
}

/// Interval at which counts are collected and reported.
const TICK: Duration = Duration::from_secs(1);

/// An event that is reported during a run.
#[derive(Clone, Copy, Debug)]
pub enum LoadEvent<'a> {
    /// This many URLs are being signed.
    Signing(usize),
    /// This many URLs are being requested once.
    Warming(usize),
    /// Another second is over.
    Second(&'a Second),
    /// The run waits for the last responses.
    Ending,
}

/// Sends requests and reports progress; returns when the run is over, or soon after `stop` is set.
///
/// # Errors
/// When threads or timers cannot be started, or the server does not answer before anything is measured.
pub fn run(
    options: Options,
    line: Line,
    mut targets: Targets,
    stop: &AtomicBool,
    mut tell: impl FnMut(LoadEvent<'_>),
) -> io::Result<Report> {
    warm::connect_once(&options, &line, stop)?;
    if targets.is_signed() {
        tell(LoadEvent::Signing(targets.len()));
        targets.sign(options.fields.get(header::HOST), stop)?;
    }
    let mut warmed = None;
    if options.warm {
        tell(LoadEvent::Warming(targets.len()));
        warmed = Some(warm::warm(&options, &line, &targets, stop)?);
    }
    let left = match options.until {
        Until::Time(_) => u64::MAX,
        Until::Requests(requests) => requests,
    };
    let ((phases, phase), begun) = (watch::channel(Phase::Asking), Clock::system().now());
    let pace = match &options.due {
        Due::AtOnce => None,
        due => options.end().map(|end| Pace::new(due.clone(), end)),
    };
    let (watch, left) = (Stopwatch::start(), AtomicU64::new(left));
    let run = Arc::new(Run { options, line, targets, watch, left, pace, phase });
    let mut threads = Threads::start(&run)?;
    let mut report = Report::new(Arc::clone(&run), begun, warmed);
    let mut at = Duration::ZERO;
    loop {
        let is_over = threads.wait(at + TICK, stop);
        let now = run.watch.elapsed();
        let length = now.saturating_sub(at);
        tell(LoadEvent::Second(report.add(tally::collect(&threads.tallies), now, length)));
        at = now;
        if is_over {
            break;
        }
    }
    // No receiver is left if all have ended.
    let _ = phases.send(Phase::Ending(at));
    tell(LoadEvent::Ending);
    let last = threads.join(|| {
        if stop.load(Ordering::Relaxed) {
            let _ = phases.send(Phase::Abandoned(at));
        }
    })?;
    let mut tail = tally::collect(&threads.tallies);
    let reason =
        io::Error::other("no connection was free; use more connections, or a lower rate or speed");
    for waited in run.pace.iter().flat_map(|pace| pace.never_taken(run.ended())) {
        tail.fail(Failure::Unsent, Some(&reason), waited);
    }
    report.finish(&tail, at, last);
    Ok(report)
}

/// The threads of a run.
struct Threads {
    run: Arc<Run>,
    /// Counts of each thread since the last collection.
    tallies: Vec<Arc<Mutex<Tally>>>,
    /// Handles of the threads; each thread returns the time when it ended.
    working: Vec<JoinHandle<io::Result<Duration>>>,
}

/// Poll interval.
const NAP: Duration = Duration::from_millis(5);

impl Threads {
    fn start(run: &Arc<Run>) -> io::Result<Self> {
        let tallies: Vec<Arc<Mutex<Tally>>> = (0..run.threads()).map(|_| Arc::default()).collect();
        let mut working = Vec::with_capacity(tallies.len());
        for (number, tally) in tallies.iter().enumerate() {
            let (run, tally) = (Arc::clone(run), Arc::clone(tally));
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            working.push(thread.spawn(move || work(&run, &tally, number))?);
        }
        Ok(Self { run: Arc::clone(run), tallies, working })
    }

    /// Sleeps until `until` or the end of the run. Returns whether the run is over.
    fn wait(&self, until: Duration, stop: &AtomicBool) -> bool {
        let end = self.run.end();
        loop {
            let now = self.run.watch.elapsed();
            let is_over = end.map_or_else(|| self.have_ended(), |end| now >= end);
            if is_over || stop.load(Ordering::Relaxed) {
                return true;
            }
            if now >= until {
                return false;
            }
            let next = end.map_or(until, |end| until.min(end));
            std::thread::sleep(NAP.min(next.saturating_sub(now)));
        }
    }

    fn have_ended(&self) -> bool {
        self.working.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all threads have ended, and returns when the last one did.
    fn join(&mut self, mut look: impl FnMut()) -> io::Result<Duration> {
        while !self.have_ended() {
            look();
            std::thread::sleep(NAP);
        }
        let mut last = Duration::ZERO;
        for thread in self.working.drain(..) {
            // A panic is already printed on standard error.
            let ended = thread.join().unwrap_or_else(|_| Ok(self.run.watch.elapsed()))?;
            last = last.max(ended);
        }
        Ok(last)
    }
}

/// Runs one thread's share of the connections on its own runtime.
fn work(run: &Arc<Run>, tally: &Arc<Mutex<Tally>>, thread: usize) -> io::Result<Duration> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lane::all(run, tally, thread))?;
    Ok(run.watch.elapsed())
}

/// The error if the user interrupts.
fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "interrupted before measuring started")
}

/// Runs a preparation step before a run, unless `stop` is set.
pub(crate) fn prepare<T>(
    stop: &AtomicBool,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(NAP).await;
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = stopped => Err(interrupted()),
        }
    })
}

/// Whether all addresses are loopback addresses.
#[must_use]
pub fn is_loopback(addresses: &[SocketAddr]) -> bool {
    !addresses.is_empty()
        && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}
